/* The main loop: a reading now and then, commands as they come, and whatever the protocol has due. This is what a user
 * of the library writes; it knows the board (board.h), the flash (flash.h) and moteseal.h. */

#include "device.h"

#include <string.h>

#include <moteseal.h>

#include "board.h"
#include "options.h"
#include "report.h"

/* The shortest wait, so that a device whose hardware fails does not spin. */
#define MIN_WAIT_MS 5u

/* Static memory is zero before the first boot, as the library wants it, and stays where it is. */
static moteseal_device device;
/* Datagrams on their way out; whoever is asked for one writes it here. */
static uint8_t out[MOTESEAL_DATAGRAM_MAX];

static uint32_t boot;
static uint32_t serial = 1;
static uint32_t period_ms;
static uint64_t next_reading;

/* What the library asks of the hardware: 0 is success. The context is the flash. */

static int read_flash(void *context, uint32_t offset, uint8_t *bytes, size_t len)
{
    return flash_read(context, offset, bytes, len) != FLASH_OK;
}

static int write_flash(void *context, uint32_t offset, const uint8_t *bytes, size_t len)
{
    return flash_program(context, offset, bytes, len) != FLASH_OK;
}

static int erase_flash(void *context, uint32_t offset, size_t len)
{
    return flash_erase(context, offset, len) != FLASH_OK;
}

static int fill_random(void *context, uint8_t *bytes, size_t len)
{
    (void)context;
    return !board_random(bytes, len);
}

static moteseal_error start(nor_flash *flash)
{
    moteseal_config config = MOTESEAL_CONFIG_INIT;
    uint8_t id[8];
    config.context = flash;
    config.flash_read = read_flash;
    config.flash_write = write_flash;
    config.flash_erase = erase_flash;
    config.random = fill_random;
    /* Advances the boot counter. If it fails, this device must not send anything. */
    moteseal_error error = moteseal_boot(&device, &config);
    if (error == MOTESEAL_OK) {
        error = moteseal_device_id(&device, id);
    }
    if (error == MOTESEAL_OK) {
        error = moteseal_boot_count(&device, &boot);
    }
    if (error == MOTESEAL_OK) {
        report_device(id, boot);
    }
    return error;
}

/* Sends a payload; the library keeps and repeats it if `confirm` says so. */
static moteseal_error send(const uint8_t *payload, size_t len, uint8_t confirm)
{
    moteseal_sent sent;
    moteseal_error error = moteseal_send(&device, board_now(), payload, len, confirm, out, sizeof out, &sent);
    if (error == MOTESEAL_OK) {
        report_sent(sent.ticket, payload, len);
        if (sent.datagram_len != 0) {
            board_send(out, sent.datagram_len);
        }
    }
    return error;
}

/* Adds a decimal number to text. */
static size_t number(uint8_t *text, uint32_t value)
{
    uint8_t digits[10];
    size_t count = 0, len = 0;
    do {
        digits[count++] = (uint8_t)('0' + value % 10);
        value /= 10;
    } while (value != 0);
    while (count > 0) {
        text[len++] = digits[--count];
    }
    return len;
}

/* `BOOT.N TEMPERATURE`. The temperature is made up, 15.0 to 24.9 degrees: these boards have no thermometer. */
static size_t reading(uint8_t text[32])
{
    uint32_t tenths = 150 + (serial * 7 + boot) % 100;
    size_t len = number(text, boot);
    text[len++] = '.';
    len += number(text + len, serial);
    text[len++] = ' ';
    len += number(text + len, tenths / 10);
    text[len++] = '.';
    return len + number(text + len, tenths % 10);
}

static void send_reading(void)
{
    uint8_t text[32];
    uint64_t now = board_now();
    if (now < next_reading) {
        return;
    }
    next_reading = now + period_ms;
    size_t len = reading(text);
    moteseal_error error = send(text, len, 1);
    if (error == MOTESEAL_BUSY) {
        /* While the outcome of one payload is awaited, the next one goes out without asking for one. */
        error = send(text, len, 0);
    }
    if (error == MOTESEAL_OK) {
        serial++;
    } else if (error != MOTESEAL_BUSY) { /* without a session one payload waits, and the time of this one has passed */
        report_error(error);
    }
}

/* Sends all that is due: acknowledgements, repeats, a new Hello. */
static void poll(void)
{
    static moteseal_error told = MOTESEAL_OK;
    size_t len;
    moteseal_error error;
    while ((error = moteseal_poll(&device, board_now(), out, sizeof out, &len)) == MOTESEAL_OK && len != 0) {
        board_send(out, len);
    }
    /* A fault of flash or randomness: what was due stays due, and one that lasts is told once. */
    if (error != MOTESEAL_OK && error != told) {
        report_error(error);
    }
    told = error;
}

/* Does what a command says, if it is one that this device knows: `every MS` and `close`. Returns whether to go on. */
static bool obey(const uint8_t *command, size_t len)
{
    static const char every[] = "every ";
    const char *text = (const char *)command;
    if (len > sizeof every - 1 && memcmp(text, every, sizeof every - 1) == 0) {
        if (options_period(text + sizeof every - 1, text + len, &period_ms)) {
            next_reading = board_now() + period_ms;
        }
        return true;
    }
    return !(len == 5 && memcmp(text, "close", 5) == 0);
}

/* Takes a datagram of the network. Returns whether to go on. */
static bool receive(uint8_t *datagram, size_t len)
{
    moteseal_received received;
    /* The time after the wait, not before it: ages of commands are measured by it. */
    moteseal_error error = moteseal_receive(&device, board_now(), datagram, len, &received);
    /* From 64 on an error is the datagram's, and anybody can send one: nothing is told. */
    if (error != MOTESEAL_OK && error < 64) {
        report_error(error);
    }
    report_received(&received);
    return received.payload == NULL || obey(received.payload, received.payload_len);
}

/* When to wake up if nothing comes. */
static uint64_t wake(void)
{
    uint64_t deadline;
    uint64_t soonest = board_now() + MIN_WAIT_MS;
    if (moteseal_deadline(&device, &deadline) != MOTESEAL_OK || deadline > next_reading) {
        deadline = next_reading;
    }
    return deadline > soonest ? deadline : soonest;
}

static void close(void)
{
    moteseal_closed closed;
    moteseal_error error = moteseal_close(&device, board_now(), out, sizeof out, &closed);
    if (error != MOTESEAL_OK) {
        report_error(error);
        return;
    }
    if (closed.datagram_len != 0) {
        board_send(out, closed.datagram_len);
    }
    report_settled(closed.settled, closed.settled_count);
    report_closed();
}

int device_run(nor_flash *flash, uint32_t every_ms)
{
    moteseal_error error = start(flash);
    if (error != MOTESEAL_OK) {
        return device_stop(moteseal_error_text(error));
    }
    period_ms = every_ms;
    next_reading = board_now();
    for (bool on = true; on;) {
        uint8_t *datagram;
        send_reading();
        poll();
        size_t len = board_receive(&datagram, wake());
        on = len == 0 || receive(datagram, len);
    }
    close(); /* which acknowledges the command as well */
    moteseal_wipe(&device);
    return 0;
}

int device_stop(const char *why)
{
    report_stopped(why);
    return 1;
}
