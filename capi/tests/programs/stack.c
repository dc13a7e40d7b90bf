/* What calls leave behind on the stack: no whole key. The flash is that of tests/interface/site.rs, with a device key of
 * ones and a rotation key of twos. Exits with 1 and the name of the call that left one. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "moteseal.h"

#define DEPTH 32768
#define KEY_LEN 32

static uint8_t flash[MOTESEAL_FLASH_LEN];

static int flash_read(void *context, uint32_t offset, uint8_t *bytes, size_t len) {
    (void)context;
    memcpy(bytes, flash + offset, len);
    return 0;
}

static int flash_write(void *context, uint32_t offset, const uint8_t *bytes, size_t len) {
    (void)context;
    memcpy(flash + offset, bytes, len);
    return 0;
}

static int flash_erase(void *context, uint32_t offset, size_t len) {
    (void)context;
    memset(flash + offset, 0xFF, len);
    return 0;
}

static int random_bytes(void *context, uint8_t *bytes, size_t len) {
    (void)context;
    for (size_t i = 0; i < len; i++) {
        bytes[i] = (uint8_t)(7 * i + 3);
    }
    return 0;
}

/* The stack below the caller, where calls have been or will be. */
static void look_below(const char *call) {
    volatile uint8_t stack[DEPTH];
    unsigned run = 0;
    uint8_t before = 0;
    for (size_t i = 0; i < DEPTH; i++) {
        uint8_t byte = stack[i];
        run = byte == before ? run + 1 : 1;
        before = byte;
        if (run == KEY_LEN && (byte == 1 || byte == 2)) {
            fprintf(stderr, "a key is left by %s\n", call);
            _Exit(1);
        }
        stack[i] = 0x5A;
    }
}

int main(int argc, char **argv) {
    static moteseal_device device;
    static uint8_t id[MOTESEAL_DEVICE_ID_LEN], out[MOTESEAL_DATAGRAM_MAX];
    moteseal_config config = MOTESEAL_CONFIG_INIT;
    moteseal_error error;
    size_t len = 0;
    FILE *file = argc == 2 ? fopen(argv[1], "rb") : NULL;
    if (file == NULL || fread(flash, 1, sizeof flash, file) != sizeof flash) {
        return 2;
    }
    config.flash_read = flash_read;
    config.flash_write = flash_write;
    config.flash_erase = flash_erase;
    config.random = random_bytes;
    look_below("nobody");
    error = moteseal_check(&config, id);
    look_below("moteseal_check");
    error |= moteseal_boot(&device, &config);
    look_below("moteseal_boot");
    error |= moteseal_connect(&device, 0);
    error |= moteseal_poll(&device, 0, out, sizeof out, &len);
    look_below("moteseal_poll");
    error |= moteseal_wipe(&device);
    look_below("moteseal_wipe");
    return !(error == MOTESEAL_OK && len == 37);
}
