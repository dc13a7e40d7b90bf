/* A C program that does with a device what bytes say: every function of the header in any order, with any argument that
 * the header allows, wrong ones included that it promises to refuse. Buffers are on the heap and exactly as long as is
 * said, so that a sanitizer sees one byte too many. Gives 0, or the line of the first answer that the header rules out. */
#include <stdlib.h>
#include <string.h>

#include "moteseal.h"

/* In lib.rs: a real server. Takes a datagram, gives the length of its answer. */
size_t moteseal_harness_server(const uint8_t *datagram, size_t len, uint64_t now, uint8_t *answer, size_t size);
/* In lib.rs: a command to the device, if there is a session and none is outstanding. */
size_t moteseal_harness_command(uint64_t now, uint8_t len, uint8_t *datagram, size_t size);

int moteseal_harness_run(const uint8_t *bytes, size_t len, const uint8_t *image, size_t image_len);

#define MAIL 600

static struct {
    const uint8_t *bytes;
    size_t left;
    int failed;
    uint8_t *flash;
    uint8_t flash_fails; /* one bit each: read, write, erase, and writes that are not made */
    uint8_t random_fails;
    uint8_t next_random;
    moteseal_device *device;     /* on the heap */
    moteseal_device *calls_back; /* the device that a callback calls, if it does */
    uint64_t now;
    uint8_t mail[MAIL]; /* the last answer of the server */
    size_t mail_len;
    uint16_t ticket;
} all;

static void check(int good, int line) {
    if (!good && all.failed == 0) {
        all.failed = line;
    }
}
#define CHECK(condition) check((condition) != 0, __LINE__)

static uint8_t next(void) {
    if (all.left == 0) {
        return 0;
    }
    all.left--;
    return *all.bytes++;
}

/* Memory that is NULL for length 0, as C programs have it. */
static uint8_t *heap(size_t len) {
    uint8_t *bytes = len == 0 ? NULL : malloc(len);
    if (bytes != NULL) {
        memset(bytes, 0xEE, len);
    }
    return bytes;
}

/* One of the errors of the header, and of the caller's or the hardware's unless the network may be at fault. */
static void answered(moteseal_error error, int may_be_network) {
    int known = error <= 12 || error == 31 || (error >= 32 && error <= 44) || (may_be_network && error >= 64 && error <= 68);
    CHECK(known);
    CHECK(error == MOTESEAL_OK || strlen(moteseal_error_text(error)) > 0);
}

static void call_back(void) {
    size_t len = 1;
    uint8_t *out;
    moteseal_closed closed;
    if (all.calls_back == NULL) {
        return;
    }
    out = heap(MOTESEAL_DATAGRAM_MAX);
    CHECK(moteseal_poll(all.calls_back, all.now, out, MOTESEAL_DATAGRAM_MAX, &len) == MOTESEAL_REENTERED && len == 0);
    CHECK(moteseal_close(all.calls_back, all.now, out, MOTESEAL_DATAGRAM_MAX, &closed) == MOTESEAL_REENTERED);
    CHECK(moteseal_connect(all.calls_back, all.now) == MOTESEAL_REENTERED);
    CHECK(moteseal_wipe(all.calls_back) == MOTESEAL_REENTERED);
    free(out);
}

static int within(uint32_t offset, size_t len, size_t unit) {
    return offset % unit == 0 && len % unit == 0 && len <= MOTESEAL_FLASH_LEN && offset <= MOTESEAL_FLASH_LEN - len;
}

static int flash_read(void *context, uint32_t offset, uint8_t *bytes, size_t len) {
    call_back();
    CHECK(context == &all && within(offset, len, MOTESEAL_FLASH_WORD));
    if (all.flash_fails & 1) {
        return -1;
    }
    memcpy(bytes, all.flash + offset, len);
    return 0;
}

static int flash_write(void *context, uint32_t offset, const uint8_t *bytes, size_t len) {
    size_t i;
    call_back();
    CHECK(context == &all && within(offset, len, MOTESEAL_FLASH_WORD));
    if (all.flash_fails & 2) {
        return 1;
    }
    for (i = 0; i < len && !(all.flash_fails & 8); i++) {
        CHECK(all.flash[offset + i] == 0xFF);
        all.flash[offset + i] = bytes[i];
    }
    return 0;
}

static int flash_erase(void *context, uint32_t offset, size_t len) {
    call_back();
    CHECK(context == &all && len == MOTESEAL_FLASH_PAGE && within(offset, len, MOTESEAL_FLASH_PAGE));
    if (all.flash_fails & 4) {
        return 1;
    }
    memset(all.flash + offset, 0xFF, len);
    return 0;
}

static int random_bytes(void *context, uint8_t *bytes, size_t len) {
    call_back();
    CHECK(context == &all);
    while (len-- != 0) {
        *bytes++ = all.random_fails == 2 ? 0 : ++all.next_random;
    }
    return all.random_fails == 1;
}

static moteseal_config config_of(uint8_t bits) {
    moteseal_config config = MOTESEAL_CONFIG_INIT;
    config.context = &all;
    config.flash_read = flash_read;
    config.flash_write = flash_write;
    config.flash_erase = flash_erase;
    config.random = bits & 1 ? NULL : random_bytes;
    config.refuse_old = bits >> 1 & 1;
    if (bits & 4) {
        config.command_age_ms = next();
        config.repeats = next();
        config.confirm_every = next();
        config.answer_timeout_ms = next();
        config.hello_cap_ms = next();
        config.confirm_after_ms = next();
    }
    switch (bits >> 4) {
    case 1: config.flash_read = NULL; break;
    case 2: config.flash_write = NULL; break;
    case 3: config.flash_erase = NULL; break;
    case 4: config.flash_page *= 2; break;
    case 5: config.datagram_max--; break;
    case 6: config.flash_word = 4; break;
    default: break;
    }
    return config;
}

/* The device as it is, or what a C program may take for one. */
static moteseal_device *device_of(uint8_t bits) {
    return bits == 0xFF ? NULL : all.device;
}

static void boot(void) {
    uint8_t bits = next();
    moteseal_config config = config_of(bits);
    uint8_t id[MOTESEAL_DEVICE_ID_LEN];
    moteseal_error error;
    all.calls_back = next() > 250 ? all.device : NULL;
    error = moteseal_boot(device_of(next()), next() == 0xFF ? NULL : &config);
    all.calls_back = NULL;
    answered(error, 0);
    /* A device that was not blank is as it was. */
    CHECK(error != MOTESEAL_OK || moteseal_device_id(all.device, id) == MOTESEAL_OK);
    CHECK(error != MOTESEAL_OK || (bits >> 4 == 0 || bits >> 4 > 6));
}

static void checks(void) {
    moteseal_config config = config_of(next());
    uint8_t *id = heap(next() & 1 ? MOTESEAL_DEVICE_ID_LEN : 0);
    moteseal_error error = moteseal_check(&config, id);
    answered(error, 0);
    CHECK(error != MOTESEAL_OK || id != NULL);
    if (error != MOTESEAL_OK && id != NULL) {
        CHECK(id[0] == 0xEE && id[7] == 0xEE);
    }
    free(id);
}

/* An output buffer of any size; what is behind the longest datagram stays as it was. */
static uint8_t *output(size_t *size) {
    static const size_t sizes[] = {MOTESEAL_DATAGRAM_MAX, MOTESEAL_DATAGRAM_MAX, MOTESEAL_DATAGRAM_MAX - 1, 0,
                                   MOTESEAL_DATAGRAM_MAX + 9, 1};
    uint8_t *out;
    *size = sizes[next() % 6];
    out = heap(*size);
    if (next() == 0xFF) {
        free(out);
        out = NULL;
    }
    return out;
}

static void leaves(const uint8_t *out, size_t size, size_t len) {
    size_t i;
    CHECK(len <= MOTESEAL_DATAGRAM_MAX && (len == 0 || (out != NULL && len >= 20)));
    for (i = MOTESEAL_DATAGRAM_MAX; i < size && out != NULL; i++) {
        CHECK(out[i] == 0xEE);
    }
    if (len != 0 && next() < 224) {
        all.mail_len = moteseal_harness_server(out, len, all.now, all.mail, MAIL);
    }
}

static void sends(void) {
    size_t size, len = next();
    uint8_t *payload = heap(len), *out = output(&size);
    moteseal_sent sent = {1, 1};
    uint8_t bits = next();
    moteseal_error error =
        moteseal_send(device_of(bits), all.now, payload, len, bits & 1, out, size, bits == 0xFE ? NULL : &sent);
    answered(error, 0);
    if (bits != 0xFE && out != NULL && bits != 0xFF) {
        CHECK(error == MOTESEAL_OK || (sent.datagram_len == 0 && sent.ticket == 0));
    }
    if (error == MOTESEAL_OK) {
        CHECK(sent.ticket != 0 || sent.datagram_len != 0);
        CHECK(len != 0 && len <= MOTESEAL_PAYLOAD_MAX && size >= MOTESEAL_DATAGRAM_MAX);
        all.ticket = sent.ticket;
        leaves(out, size, sent.datagram_len);
    }
    free(payload);
    free(out);
}

static void receives(const uint8_t *datagram, size_t len) {
    uint8_t *copy = heap(len);
    uint8_t bits = next();
    moteseal_received received;
    moteseal_error error;
    memset(&received, 0xEE, sizeof received);
    if (len != 0) {
        memcpy(copy, datagram, len);
    }
    error = moteseal_receive(device_of(bits), all.now, copy, len, bits == 0xFE ? NULL : &received);
    answered(error, 1);
    if (bits != 0xFE && bits != 0xFF) {
        CHECK(received.settled_count <= 2 && received.event <= 7);
        CHECK(error == MOTESEAL_OK || (received.payload == NULL && received.payload_len == 0));
        if (received.payload != NULL) {
            CHECK(received.payload >= copy && received.payload + received.payload_len <= copy + len);
            CHECK(received.payload_len != 0 && received.payload[received.payload_len - 1] == 'c');
        }
    }
    free(copy);
}

static void receives_something(void) {
    uint8_t bits = next();
    if (bits < 160) {
        if (bits & 1 && all.mail_len != 0) {
            all.mail[next() % all.mail_len] ^= next();
        }
        receives(all.mail, all.mail_len);
    } else {
        const uint8_t *datagram;
        size_t len = next();
        len = len < all.left ? len : all.left;
        datagram = all.bytes;
        all.bytes += len;
        all.left -= len;
        receives(datagram, len);
    }
}

static void polls(void) {
    size_t size, len = 1;
    uint8_t *out = output(&size);
    uint8_t bits = next();
    moteseal_error error = moteseal_poll(device_of(bits), all.now, out, size, bits == 0xFE ? NULL : &len);
    answered(error, 0);
    if (error == MOTESEAL_OK) {
        leaves(out, size, len);
    } else if (bits < 0xFE && out != NULL) {
        CHECK(len == 0);
    }
    free(out);
}

static void closes(void) {
    size_t size;
    uint8_t *out = output(&size);
    uint8_t bits = next();
    moteseal_closed closed;
    moteseal_error error;
    memset(&closed, 0xEE, sizeof closed);
    error = moteseal_close(device_of(bits), all.now, out, size, bits == 0xFE ? NULL : &closed);
    answered(error, 0);
    if (error == MOTESEAL_OK) {
        CHECK(closed.settled_count <= 2);
        leaves(out, size, closed.datagram_len);
    } else if (bits < 0xFE && out != NULL) {
        CHECK(closed.datagram_len == 0 && closed.settled_count == 0);
    }
    free(out);
}

static void asks(void) {
    uint8_t bits = next(), which = next() % 6;
    moteseal_device *device = device_of(bits);
    uint64_t deadline = 1;
    uint32_t count = 1;
    uint8_t open = 2, id[MOTESEAL_DEVICE_ID_LEN];
    moteseal_outcome outcome = 9;
    moteseal_epoch epoch;
    moteseal_error error = MOTESEAL_OK;
    switch (which) {
    case 0:
        error = moteseal_deadline(device, &deadline);
        CHECK(error == MOTESEAL_OK || deadline == MOTESEAL_NEVER || device == NULL);
        break;
    case 1:
        error = moteseal_connect(device, all.now);
        break;
    case 2:
        error = moteseal_withdraw(device, all.now, bits & 1 ? all.ticket : next(), &outcome);
        CHECK(outcome <= 3 || device == NULL);
        CHECK(error == MOTESEAL_OK || outcome == MOTESEAL_OUTCOME_NONE || device == NULL);
        break;
    case 3:
        error = moteseal_device_id(device, bits == 0xFE ? NULL : id);
        CHECK(error == MOTESEAL_OK || bits == 0xFE || device == NULL || error == MOTESEAL_NOT_BOOTED ||
              error == MOTESEAL_COPIED);
        break;
    case 4:
        error = moteseal_boot_count(device, &count);
        CHECK(error == MOTESEAL_OK || count == 0 || device == NULL);
        break;
    default:
        error = moteseal_session(device, &open, bits == 0xFE ? NULL : &epoch);
        CHECK(open <= 1 || bits >= 0xFE);
        CHECK(error == MOTESEAL_OK || open != 1);
        break;
    }
    answered(error, 0);
}

/* A copy of a device elsewhere is refused, by every function; then it goes. */
static void copies(void) {
    moteseal_device *copy = malloc(sizeof *copy);
    uint8_t blank = next();
    moteseal_error error;
    memcpy(copy, all.device, sizeof *copy);
    if (blank == 0xFF) {
        memset(copy, 0x5A, sizeof *copy);
    }
    error = moteseal_connect(copy, all.now);
    CHECK(error == MOTESEAL_COPIED || error == MOTESEAL_NOT_BOOTED);
    receives(all.mail, all.mail_len);
    error = moteseal_wipe(copy);
    CHECK(error == (blank == 0xFF ? MOTESEAL_NOT_BOOTED : MOTESEAL_OK));
    free(copy);
}

static void commands(void) {
    uint8_t len = next();
    size_t mail_len = moteseal_harness_command(all.now, len, all.mail, MAIL);
    if (mail_len != 0) {
        all.mail_len = mail_len;
    }
}

static void texts(void) {
    unsigned error;
    for (error = 0; error < 256; error++) {
        const char *text = moteseal_error_text((moteseal_error)error);
        CHECK(text != NULL && strlen(text) > 0);
    }
}

static void step(void) {
    static const uint16_t waits[] = {0, 1, 40, 1000, 3000, 60000, 65535, 10};
    switch (next() % 20) {
    case 0: boot(); break;
    case 1: checks(); break;
    case 2: answered(moteseal_wipe(device_of(next())), 0); break;
    case 3: case 4: case 5: sends(); break;
    case 6: case 7: case 8: receives_something(); break;
    case 9: case 10: case 11: polls(); break;
    case 12: closes(); break;
    case 13: case 14: asks(); break;
    case 15: copies(); break;
    case 16: all.flash_fails = next() & next() & 15; all.random_fails = next() % 8; break;
    case 17: all.now += waits[next() % 8]; break;
    case 18: commands(); break;
    default:
        /* What most programs do. */
        all.flash_fails = all.random_fails = 0;
        polls();
        receives(all.mail, all.mail_len);
        polls();
        break;
    }
}

int moteseal_harness_run(const uint8_t *bytes, size_t len, const uint8_t *image, size_t image_len) {
    moteseal_config config;
    memset(&all, 0, sizeof all);
    all.bytes = bytes;
    all.left = len;
    all.flash = heap(MOTESEAL_FLASH_LEN);
    all.device = malloc(sizeof *all.device);
    memset(all.device, 0, sizeof *all.device);
    memcpy(all.flash, image, image_len < MOTESEAL_FLASH_LEN ? image_len : MOTESEAL_FLASH_LEN);
    texts();
    if (next() < 224) {
        config = config_of(0);
        CHECK(moteseal_boot(all.device, &config) == MOTESEAL_OK);
    }
    while (all.left != 0) {
        step();
    }
    CHECK(moteseal_wipe(all.device) == MOTESEAL_OK);
    free(all.device);
    free(all.flash);
    return all.failed;
}
