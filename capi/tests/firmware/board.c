/* The hardware of the sketch in the header, as little as links: a port that a compiler knows nothing about. */
#include "moteseal.h"

static volatile uint8_t *const port = (volatile uint8_t *)0x40000000;

int flash_read(void *context, uint32_t offset, uint8_t *bytes, size_t len);
int flash_write(void *context, uint32_t offset, const uint8_t *bytes, size_t len);
int flash_erase(void *context, uint32_t offset, size_t len);
int random_bytes(void *context, uint8_t *bytes, size_t len);
uint64_t clock_ms(void);
void radio_send(const uint8_t *datagram, size_t len);
size_t radio_wait(uint8_t *datagram, size_t size, uint64_t deadline_ms);
void obey(const uint8_t *command, size_t len);
void settle(uint16_t ticket, moteseal_outcome outcome);
void stop(const char *why);
void run(void);
int main(void);

static int in(uint32_t offset, uint8_t *bytes, size_t len) {
    while (len-- != 0) {
        *bytes++ = port[offset++];
    }
    return *port;
}

static int out(uint32_t offset, const uint8_t *bytes, size_t len) {
    while (len-- != 0) {
        port[offset++] = *bytes++;
    }
    return *port;
}

int flash_read(void *context, uint32_t offset, uint8_t *bytes, size_t len) {
    (void)context;
    return in(offset, bytes, len);
}

int flash_write(void *context, uint32_t offset, const uint8_t *bytes, size_t len) {
    (void)context;
    return out(offset, bytes, len);
}

int flash_erase(void *context, uint32_t offset, size_t len) {
    (void)context;
    port[offset] = (uint8_t)len;
    return *port;
}

int random_bytes(void *context, uint8_t *bytes, size_t len) {
    (void)context;
    return in(0, bytes, len);
}

uint64_t clock_ms(void) {
    return *port;
}

void radio_send(const uint8_t *datagram, size_t len) {
    (void)out(0, datagram, len);
}

size_t radio_wait(uint8_t *datagram, size_t size, uint64_t deadline_ms) {
    *port = (uint8_t)deadline_ms;
    return (size_t)in(0, datagram, size);
}

void obey(const uint8_t *command, size_t len) {
    (void)out(0, command, len);
}

void settle(uint16_t ticket, moteseal_outcome outcome) {
    port[ticket] = outcome;
}

void stop(const char *why) {
    while (*why != 0) {
        *port = (uint8_t)*why++;
    }
}

/* Every function of the header is linked: so are the ways by which one might panic. */
static void the_rest(void) {
    static moteseal_device device;
    static uint8_t out[MOTESEAL_DATAGRAM_MAX];
    moteseal_config config = MOTESEAL_CONFIG_INIT;
    moteseal_closed closed;
    moteseal_outcome outcome;
    moteseal_epoch epoch;
    uint32_t boot;
    uint8_t open;
    *port = moteseal_check(&config, out);
    *port = moteseal_connect(&device, 0);
    *port = moteseal_withdraw(&device, 0, 1, &outcome);
    *port = moteseal_close(&device, 0, out, sizeof out, &closed);
    *port = moteseal_device_id(&device, out);
    *port = moteseal_boot_count(&device, &boot);
    *port = moteseal_session(&device, &open, &epoch);
    *port = moteseal_wipe(&device);
}

int main(void) {
    run();
    the_rest();
    return 0;
}
