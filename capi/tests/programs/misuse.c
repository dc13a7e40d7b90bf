/* What a C program gets wrong, with buffers of exactly their length on the heap, so that a sanitizer sees one byte too
 * many. Prints nothing; exits with 1 and the line of the first answer that was not expected. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "moteseal.h"

static void expect_(int line, unsigned answer, unsigned expected) {
    if (answer != expected) {
        fprintf(stderr, "misuse.c:%d: answered %u, expected %u\n", line, answer, expected);
        exit(1);
    }
}
#define EXPECT(answer, expected) expect_(__LINE__, (unsigned)(answer), (unsigned)(expected))

/* Flash in memory that keeps the rules of NOR flash: what breaks them is a failure here. */
struct flash {
    uint8_t *bytes;
    moteseal_device *calls_back;
    unsigned refused;
};

static int within(uint32_t offset, size_t len, size_t unit) {
    return offset % unit == 0 && len % unit == 0 && len <= MOTESEAL_FLASH_LEN && offset <= MOTESEAL_FLASH_LEN - len;
}

static void call_back(struct flash *flash) {
    size_t len = 1;
    if (flash->calls_back != NULL) {
        uint8_t *out = malloc(MOTESEAL_DATAGRAM_MAX);
        EXPECT(moteseal_poll(flash->calls_back, 0, out, MOTESEAL_DATAGRAM_MAX, &len), MOTESEAL_REENTERED);
        EXPECT(len, 0);
        EXPECT(moteseal_wipe(flash->calls_back), MOTESEAL_REENTERED);
        free(out);
        flash->refused++;
    }
}

static int flash_read(void *context, uint32_t offset, uint8_t *bytes, size_t len) {
    struct flash *flash = context;
    call_back(flash);
    EXPECT(within(offset, len, MOTESEAL_FLASH_WORD), 1);
    memcpy(bytes, flash->bytes + offset, len);
    return 0;
}

static int flash_write(void *context, uint32_t offset, const uint8_t *bytes, size_t len) {
    struct flash *flash = context;
    call_back(flash);
    EXPECT(within(offset, len, MOTESEAL_FLASH_WORD), 1);
    for (size_t i = 0; i < len; i++) {
        EXPECT(flash->bytes[offset + i], 0xFF);
        flash->bytes[offset + i] = bytes[i];
    }
    return 0;
}

static int flash_erase(void *context, uint32_t offset, size_t len) {
    struct flash *flash = context;
    call_back(flash);
    EXPECT(len, MOTESEAL_FLASH_PAGE);
    EXPECT(within(offset, len, MOTESEAL_FLASH_PAGE), 1);
    memset(flash->bytes + offset, 0xFF, len);
    return 0;
}

static int random_bytes(void *context, uint8_t *bytes, size_t len) {
    static uint8_t next;
    call_back(context);
    while (len-- != 0) {
        *bytes++ = ++next;
    }
    return 0;
}

static moteseal_config config_of(struct flash *flash) {
    moteseal_config config = MOTESEAL_CONFIG_INIT;
    config.context = flash;
    config.flash_read = flash_read;
    config.flash_write = flash_write;
    config.flash_erase = flash_erase;
    config.random = random_bytes;
    return config;
}

/* The factory image, from a file; NULL for erased flash. */
static struct flash flash_from(const char *path) {
    struct flash flash = {malloc(MOTESEAL_FLASH_LEN), NULL, 0};
    memset(flash.bytes, 0xFF, MOTESEAL_FLASH_LEN);
    if (path != NULL) {
        FILE *file = fopen(path, "rb");
        if (file == NULL || fread(flash.bytes, 1, MOTESEAL_FLASH_LEN, file) != MOTESEAL_FLASH_LEN) {
            perror(path);
            exit(1);
        }
        fclose(file);
    }
    return flash;
}

static void blank_flash(void) {
    struct flash flash = flash_from(NULL);
    moteseal_config config = config_of(&flash);
    moteseal_device device = MOTESEAL_DEVICE_INIT;
    uint8_t id[MOTESEAL_DEVICE_ID_LEN];
    EXPECT(moteseal_check(&config, id), MOTESEAL_IMAGE_BLANK);
    EXPECT(moteseal_boot(&device, &config), MOTESEAL_IMAGE_BLANK);
    EXPECT(moteseal_connect(&device, 0), MOTESEAL_NOT_BOOTED);
    free(flash.bytes);
}

static void wrong_pointers(moteseal_device *device, moteseal_config *config) {
    uint8_t *out = malloc(MOTESEAL_DATAGRAM_MAX), payload = 1;
    moteseal_sent sent;
    size_t len;
    EXPECT(moteseal_boot(device, config), MOTESEAL_IN_USE);
    EXPECT(moteseal_boot(NULL, config), MOTESEAL_NULL_POINTER);
    EXPECT(moteseal_send(NULL, 0, &payload, 1, 1, out, MOTESEAL_DATAGRAM_MAX, &sent), MOTESEAL_NULL_POINTER);
    EXPECT(moteseal_send(device, 0, NULL, 1, 1, out, MOTESEAL_DATAGRAM_MAX, &sent), MOTESEAL_NULL_POINTER);
    EXPECT(moteseal_send(device, 0, NULL, 0, 1, out, MOTESEAL_DATAGRAM_MAX, &sent), MOTESEAL_EMPTY);
    EXPECT(moteseal_send(device, 0, out, 1, 1, out, MOTESEAL_DATAGRAM_MAX, &sent), MOTESEAL_OVERLAP);
    EXPECT(moteseal_send(device, 0, &payload, 1, 1, (uint8_t *)device, sizeof *device, &sent), MOTESEAL_OVERLAP);
    EXPECT(moteseal_send(device, 0, &payload, SIZE_MAX, 1, out, MOTESEAL_DATAGRAM_MAX, &sent), MOTESEAL_OVERLAP);
    EXPECT(moteseal_poll(device, 0, out, MOTESEAL_DATAGRAM_MAX - 1, &len), MOTESEAL_BUFFER_TOO_SHORT);
    config->flash_page *= 2;
    EXPECT(moteseal_check(config, out), MOTESEAL_WRONG_BUILD);
    config->flash_page /= 2;
    free(out);
}

static void too_long(moteseal_device *device) {
    uint8_t *out = malloc(MOTESEAL_DATAGRAM_MAX), *payload = malloc(MOTESEAL_PAYLOAD_MAX + 1);
    moteseal_sent sent;
    memset(payload, 'x', MOTESEAL_PAYLOAD_MAX + 1);
    EXPECT(moteseal_send(device, 0, payload, MOTESEAL_PAYLOAD_MAX + 1, 1, out, MOTESEAL_DATAGRAM_MAX, &sent),
           MOTESEAL_TOO_LONG);
    EXPECT(moteseal_send(device, 0, payload, MOTESEAL_PAYLOAD_MAX, 1, out, MOTESEAL_DATAGRAM_MAX, &sent), MOTESEAL_OK);
    EXPECT(sent.datagram_len, MOTESEAL_DATAGRAM_MAX);
    EXPECT(moteseal_send(device, 0, payload, 1, 1, out, MOTESEAL_DATAGRAM_MAX, &sent), MOTESEAL_BUSY);
    EXPECT(sent.datagram_len, 0);
    free(payload);
    free(out);
}

/* Datagrams of every length up to 300 bytes, made of noise behind a plausible first byte. */
static void noise(moteseal_device *device) {
    uint32_t state = 1;
    for (unsigned round = 0; round < 60000; round++) {
        size_t len = round % 300;
        uint8_t *datagram = malloc(len == 0 ? 1 : len);
        moteseal_received received;
        for (size_t i = 0; i < len; i++) {
            state = state * 1664525u + 1013904223u;
            datagram[i] = (uint8_t)(state >> 24);
        }
        if (len != 0) {
            datagram[0] = (uint8_t)((0x40 | (round / 300 % 8) << 3) | (datagram[0] & 7));
        }
        moteseal_error error = moteseal_receive(device, round, datagram, len, &received);
        EXPECT(error >= MOTESEAL_NOT_MOTESEAL, 1);
        EXPECT(received.payload == NULL && received.settled_count == 0 && received.event == MOTESEAL_EVENT_NONE, 1);
        free(datagram);
    }
}

static void copies(moteseal_device *device) {
    moteseal_device *copy = malloc(sizeof *copy);
    uint64_t deadline;
    memcpy(copy, device, sizeof *copy);
    EXPECT(moteseal_connect(copy, 0), MOTESEAL_COPIED);
    EXPECT(moteseal_deadline(copy, &deadline), MOTESEAL_COPIED);
    EXPECT(deadline == MOTESEAL_NEVER, 1);
    EXPECT(moteseal_wipe(copy), MOTESEAL_OK);
    EXPECT(moteseal_connect(copy, 0), MOTESEAL_NOT_BOOTED);
    memset(copy, 0xA5, sizeof *copy);
    EXPECT(moteseal_wipe(copy), MOTESEAL_NOT_BOOTED);
    EXPECT(moteseal_connect(copy, 0), MOTESEAL_NOT_BOOTED);
    free(copy);
    EXPECT(moteseal_deadline(device, &deadline), MOTESEAL_OK);
}

static void callbacks_that_call_back(struct flash *flash, moteseal_device *device) {
    uint32_t boot;
    moteseal_config config = config_of(flash);
    uint8_t *out = malloc(MOTESEAL_DATAGRAM_MAX);
    size_t len;
    EXPECT(moteseal_wipe(device), MOTESEAL_OK);
    flash->calls_back = device;
    EXPECT(moteseal_boot(device, &config), MOTESEAL_OK);
    EXPECT(moteseal_boot_count(device, &boot), MOTESEAL_OK);
    EXPECT(boot, 2);
    EXPECT(moteseal_connect(device, 0), MOTESEAL_OK);
    EXPECT(moteseal_poll(device, 0, out, MOTESEAL_DATAGRAM_MAX, &len), MOTESEAL_OK);
    EXPECT(len, 37);
    EXPECT(flash->refused > 100, 1);
    free(out);
}

/* What no library can see, and a sanitizer must: a buffer that is shorter than said. */
static int lie(moteseal_device *device) {
    uint8_t *datagram = malloc(8);
    moteseal_received received;
    memset(datagram, 0x40, 8);
    (void)moteseal_receive(device, 0, datagram, 300, &received);
    free(datagram);
    return 0;
}

int main(int argc, char **argv) {
    if (argc != 2 && argc != 3) {
        return 2;
    }
    struct flash flash = flash_from(argv[1]);
    moteseal_config config = config_of(&flash);
    moteseal_device *device = malloc(sizeof *device);
    memset(device, 0, sizeof *device);
    uint8_t id[MOTESEAL_DEVICE_ID_LEN];
    blank_flash();
    EXPECT(moteseal_check(&config, id), MOTESEAL_OK);
    EXPECT(moteseal_boot(device, &config), MOTESEAL_OK);
    if (argc == 3) {
        return lie(device);
    }
    wrong_pointers(device, &config);
    too_long(device);
    noise(device);
    copies(device);
    callbacks_that_call_back(&flash, device);
    flash.calls_back = NULL;
    EXPECT(moteseal_wipe(device), MOTESEAL_OK);
    EXPECT(moteseal_wipe(device), MOTESEAL_OK);
    free(device);
    free(flash.bytes);
    for (unsigned error = 0; error < 256; error++) {
        EXPECT(strlen(moteseal_error_text((moteseal_error)error)) > 5, 1);
    }
    return 0;
}
