/* Erased flash: a library and a program of the same sizes get as far as seeing that. Sizes are not the default ones. */
#include <stdio.h>
#include <string.h>

#include "moteseal.h"

static int flash_read(void *context, uint32_t offset, uint8_t *bytes, size_t len) {
    (void)context;
    (void)offset;
    memset(bytes, 0xFF, len);
    return 0;
}

static int flash_write(void *context, uint32_t offset, const uint8_t *bytes, size_t len) {
    (void)context;
    (void)offset;
    (void)bytes;
    (void)len;
    return 1;
}

static int flash_erase(void *context, uint32_t offset, size_t len) {
    (void)context;
    (void)offset;
    (void)len;
    return 1;
}

int main(void) {
    static moteseal_device device;
    moteseal_config config = MOTESEAL_CONFIG_INIT;
    config.flash_read = flash_read;
    config.flash_write = flash_write;
    config.flash_erase = flash_erase;
    moteseal_error error = moteseal_boot(&device, &config);
    printf("%d %d %d: %s\n", MOTESEAL_DATAGRAM_MAX, MOTESEAL_FLASH_PAGE, MOTESEAL_FLASH_WORD, moteseal_error_text(error));
    config.datagram_max = 256;
    return !(error == MOTESEAL_IMAGE_BLANK && moteseal_boot(&device, &config) == MOTESEAL_WRONG_BUILD);
}
