//! The Ethernet controller LAN9118, for `smoltcp`: frames in, frames out, polled. (Data sheet: Microchip DS00002266.)

use core::fmt;

use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::time::Instant;
use smoltcp::wire::EthernetAddress;

use crate::board::{self, Registers};
use crate::clock::Clock;

/// The longest frame in bytes, with its check sequence of 4 and rounded up to words.
const FRAME_LEN: usize = 1536;
/// Length in bytes of the check sequence behind a frame that was received.
const CHECK_LEN: usize = 4;
/// How long a reset may take, in milliseconds.
const PATIENCE_MS: u64 = 100;

/// Registers.
const RX_DATA: usize = 0x00;
const TX_DATA: usize = 0x20;
const RX_STATUS: usize = 0x40;
const TX_STATUS: usize = 0x48;
const BYTE_TEST: usize = 0x64;
const TX_CFG: usize = 0x70;
const HW_CFG: usize = 0x74;
const RX_FIFO_INF: usize = 0x7C;
const TX_FIFO_INF: usize = 0x80;
const MAC_CSR_CMD: usize = 0xA4;
const MAC_CSR_DATA: usize = 0xA8;

/// What `BYTE_TEST` reads as.
const BYTE_TEST_PATTERN: u32 = 0x8765_4321;
const HW_CFG_RESET: u32 = 1;
/// Five KiB of the FIFO for sending, and the bit that has to be one.
const HW_CFG_FIFOS: u32 = 5 << 16 | 1 << 20;
const TX_CFG_ON: u32 = 1 << 1;
const MAC_CSR_BUSY: u32 = 1 << 31;
const MAC_CSR_READ: u32 = 1 << 30;
/// Registers of the MAC, behind two others.
const MAC_CR: u32 = 1;
const MAC_ADDRESS_HIGH: u32 = 2;
const MAC_ADDRESS_LOW: u32 = 3;
/// Receiver and transmitter on.
const MAC_CR_ON: u32 = 1 << 2 | 1 << 3;
const RX_STATUS_ERROR: u32 = 1 << 15;
const TX_FIRST_AND_LAST: u32 = 1 << 13 | 1 << 12;

/// Why the controller cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EthernetError {
    Absent,
    Reset,
}

impl fmt::Display for EthernetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Absent => "there is no LAN9118 at its address",
            Self::Reset => "the LAN9118 does not come out of its reset",
        })
    }
}

/// The controller.
pub struct Ethernet {
    registers: Registers,
    frame: [u8; FRAME_LEN],
}

impl Ethernet {
    /// Resets the controller and switches it on.
    pub fn start(clock: &mut Clock) -> Result<Self, EthernetError> {
        let registers = board::ethernet();
        if registers.read(BYTE_TEST) != BYTE_TEST_PATTERN {
            return Err(EthernetError::Absent);
        }
        registers.write(HW_CFG, HW_CFG_RESET);
        let end = clock.now() + PATIENCE_MS;
        while registers.read(HW_CFG) & HW_CFG_RESET != 0 {
            if clock.now() > end {
                return Err(EthernetError::Reset);
            }
        }
        registers.write(HW_CFG, HW_CFG_FIFOS);
        write_mac(registers, MAC_CR, MAC_CR_ON);
        registers.write(TX_CFG, TX_CFG_ON);
        Ok(Self { registers, frame: [0; FRAME_LEN] })
    }

    /// Its address, from its EEPROM.
    pub fn address(&self) -> EthernetAddress {
        let low = read_mac(self.registers, MAC_ADDRESS_LOW).to_le_bytes();
        let high = read_mac(self.registers, MAC_ADDRESS_HIGH).to_le_bytes();
        EthernetAddress([low[0], low[1], low[2], low[3], high[0], high[1]])
    }

    /// Takes the next frame out of the FIFO: its length, without the check sequence.
    fn take(&mut self) -> Option<usize> {
        if waiting(self.registers, RX_FIFO_INF) == 0 {
            return None;
        }
        let status = self.registers.read(RX_STATUS);
        let len = (status >> 16 & 0x3FFF) as usize;
        // All of it has to be taken, even if it is longer than a frame can be.
        for at in (0..len).step_by(4) {
            let word = self.registers.read(RX_DATA).to_le_bytes();
            if let Some(to) = self.frame.get_mut(at..at + 4) {
                to.copy_from_slice(&word);
            }
        }
        let is_good = status & RX_STATUS_ERROR == 0 && len <= FRAME_LEN;
        len.checked_sub(CHECK_LEN).filter(|_| is_good)
    }
}

impl Device for Ethernet {
    type RxToken<'a> = Frame<'a>;
    type TxToken<'a> = Transmitter;

    fn receive(&mut self, _: Instant) -> Option<(Frame<'_>, Transmitter)> {
        let len = self.take()?;
        Some((Frame(self.frame.get(..len)?), Transmitter(self.registers)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Transmitter> {
        // Room for the longest frame and its two command words, or not yet.
        let free = (self.registers.read(TX_FIFO_INF) & 0xFFFF) as usize;
        (free >= FRAME_LEN + 8).then_some(Transmitter(self.registers))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = 1514;
        capabilities.max_burst_size = Some(1);
        capabilities
    }
}

/// A frame that was received.
pub struct Frame<'f>(&'f [u8]);

impl RxToken for Frame<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(self.0)
    }
}

/// The right to send one frame.
pub struct Transmitter(Registers);

impl TxToken for Transmitter {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, fill: F) -> R {
        let Self(registers) = self;
        let mut frame = [0; FRAME_LEN];
        let len = len.min(FRAME_LEN);
        let result = fill(frame.get_mut(..len).unwrap_or_default());
        let bits = u32::try_from(len).unwrap_or_default();
        registers.write(TX_DATA, TX_FIRST_AND_LAST | bits);
        registers.write(TX_DATA, bits);
        let (words, _) = frame.as_chunks::<4>();
        for word in words.iter().take(len.div_ceil(4)) {
            registers.write(TX_DATA, u32::from_le_bytes(*word));
        }
        // How it went is of no use, and has to be taken.
        while waiting(registers, TX_FIFO_INF) != 0 {
            registers.read(TX_STATUS);
        }
        result
    }
}

/// How many words of status wait, of frames that were received or sent.
fn waiting(registers: Registers, information: usize) -> u8 {
    let [.., statuses, _] = registers.read(information).to_le_bytes();
    statuses
}

fn read_mac(registers: Registers, register: u32) -> u32 {
    access_mac(registers, MAC_CSR_READ | register);
    registers.read(MAC_CSR_DATA)
}

fn write_mac(registers: Registers, register: u32, value: u32) {
    registers.write(MAC_CSR_DATA, value);
    access_mac(registers, register);
}

fn access_mac(registers: Registers, command: u32) {
    registers.write(MAC_CSR_CMD, MAC_CSR_BUSY | command);
    while registers.read(MAC_CSR_CMD) & MAC_CSR_BUSY != 0 {}
}
