/* LAN9118: Ethernet of the MPS2 boards, through its FIFOs and without DMA. Registers and bits are named as in the data
 * sheet of SMSC. */

#include "ethernet.h"

#define REGISTER(address) (*(volatile uint32_t *)(address))
#define LAN9118(offset) REGISTER(0x40200000u + (offset))

#define RX_DATA LAN9118(0x00)
#define TX_DATA LAN9118(0x20)
#define RX_STATUS LAN9118(0x40)
#define TX_STATUS LAN9118(0x48)
#define ID_REV LAN9118(0x50)
#define IRQ_CFG LAN9118(0x54)
#define INT_STS LAN9118(0x58)
#define INT_EN LAN9118(0x5C)
#define BYTE_TEST LAN9118(0x64)
#define FIFO_INT LAN9118(0x68)
#define TX_CFG LAN9118(0x70)
#define HW_CFG LAN9118(0x74)
#define RX_FIFO_INF LAN9118(0x7C)
#define TX_FIFO_INF LAN9118(0x80)
#define MAC_CSR_CMD LAN9118(0xA4)
#define MAC_CSR_DATA LAN9118(0xA8)

#define IRQ_ENABLE (1u << 8 | 1u << 4 | 1u << 0) /* on; active high, push-pull, as the NVIC wants it */
#define RX_STATUS_LEVEL (1u << 3)
#define SOFT_RESET 1u
#define TX_FIFO_5K (1u << 20 | 5u << 16)
#define TX_ON (1u << 1)
#define MAC_BUSY (1u << 31)
#define MAC_READ (1u << 30)
#define MAC_CR 1u
#define MAC_ADDRH 2u
#define MAC_ADDRL 3u
#define MAC_FULL_DUPLEX (1u << 20)
#define MAC_TX_ENABLE (1u << 3)
#define MAC_RX_ENABLE (1u << 2)
#define TX_FIRST_AND_LAST (1u << 13 | 1u << 12)
#define RX_ERRORS (1u << 30 | 1u << 15)

/* The chip is interrupt 13 of the board. */
#define NVIC_ENABLE REGISTER(0xE000E100u)
#define NVIC_CLEAR_PENDING REGISTER(0xE000E280u)
#define ETHERNET_INTERRUPT (1u << 13)

#define FCS_LEN 4u
/* How often a register is read that has to change; the chip needs microseconds. */
#define PATIENCE 1000000u

static bool becomes_clear(volatile uint32_t *reg, uint32_t bits)
{
    for (uint32_t tries = 0; tries < PATIENCE; tries++) {
        if ((*reg & bits) == 0) {
            return true;
        }
    }
    return false;
}

static bool mac_read(uint32_t reg, uint32_t *value)
{
    MAC_CSR_CMD = MAC_BUSY | MAC_READ | reg;
    if (!becomes_clear(&MAC_CSR_CMD, MAC_BUSY)) {
        return false;
    }
    *value = MAC_CSR_DATA;
    return true;
}

static bool mac_write(uint32_t reg, uint32_t value)
{
    MAC_CSR_DATA = value;
    MAC_CSR_CMD = MAC_BUSY | reg;
    return becomes_clear(&MAC_CSR_CMD, MAC_BUSY);
}

bool ethernet_start(uint8_t mac[6])
{
    uint32_t low, high;
    if (BYTE_TEST != 0x87654321u || ID_REV >> 16 != 0x0118u) {
        return false;
    }
    HW_CFG = SOFT_RESET;
    if (!becomes_clear(&HW_CFG, SOFT_RESET)) {
        return false;
    }
    HW_CFG = TX_FIFO_5K;
    TX_CFG = TX_ON;
    /* The address comes from the chip's EEPROM. */
    if (!mac_read(MAC_ADDRL, &low) || !mac_read(MAC_ADDRH, &high)) {
        return false;
    }
    for (unsigned i = 0; i < 6; i++) {
        mac[i] = (uint8_t)(i < 4 ? low >> 8 * i : high >> 8 * (i - 4));
    }
    FIFO_INT = 0; /* as soon as one frame is there */
    INT_STS = UINT32_MAX;
    INT_EN = RX_STATUS_LEVEL;
    IRQ_CFG = IRQ_ENABLE;
    NVIC_ENABLE = ETHERNET_INTERRUPT;
    return mac_write(MAC_CR, MAC_FULL_DUPLEX | MAC_TX_ENABLE | MAC_RX_ENABLE);
}

static size_t words(size_t len)
{
    return (len + 3) / 4;
}

bool ethernet_send(const uint8_t *frame, size_t len)
{
    /* What became of earlier frames is of no interest, but keeps room in its FIFO. */
    for (uint32_t done = TX_FIFO_INF >> 16 & 0xFF; done > 0; done--) {
        (void)TX_STATUS;
    }
    size_t room = TX_FIFO_INF & 0xFFFF;
    if (len < 14 || len > ETHERNET_FRAME_MAX || room < 4 * words(len) + 8) {
        return false;
    }
    TX_DATA = TX_FIRST_AND_LAST | (uint32_t)len;
    TX_DATA = (uint32_t)len;
    for (size_t at = 0; at < len; at += 4) {
        uint32_t word = 0;
        for (size_t i = 0; i < 4 && at + i < len; i++) {
            word |= (uint32_t)frame[at + i] << 8 * i;
        }
        TX_DATA = word;
    }
    return true;
}

bool ethernet_ready(void)
{
    /* First the acknowledgements, then the look: a frame that comes in between makes the interrupt pending again. */
    INT_STS = RX_STATUS_LEVEL;
    NVIC_CLEAR_PENDING = ETHERNET_INTERRUPT;
    return (RX_FIFO_INF >> 16 & 0xFF) != 0;
}

/* Takes a frame off the FIFO; one that does not fit, or is damaged, is gone with length 0. */
static size_t take(uint8_t frame[ETHERNET_FRAME_MAX])
{
    uint32_t status = RX_STATUS;
    size_t with_fcs = status >> 16 & 0x3FFF;
    size_t len = with_fcs < FCS_LEN ? 0 : with_fcs - FCS_LEN;
    bool keep = len <= ETHERNET_FRAME_MAX && (status & RX_ERRORS) == 0;
    for (size_t at = 0; at < with_fcs; at += 4) {
        uint32_t word = RX_DATA;
        for (size_t i = 0; i < 4 && keep && at + i < len; i++) {
            frame[at + i] = (uint8_t)(word >> 8 * i);
        }
    }
    return keep ? len : 0;
}

size_t ethernet_receive(uint8_t frame[ETHERNET_FRAME_MAX])
{
    while (ethernet_ready()) {
        size_t len = take(frame);
        if (len != 0) {
            return len;
        }
    }
    return 0;
}
