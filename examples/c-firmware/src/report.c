/* The lines, as moteseal/1's other devices tell them. */

#include "report.h"

#include "line.h"

static void words(const char *first, uint64_t number)
{
    line_text(first);
    line_number(number);
}

static void boot_and_count(const char *first, moteseal_epoch epoch)
{
    words(first, epoch.boot);
    words(".", epoch.count);
}

static void seq_and_age(const moteseal_received *received)
{
    words(" seq ", received->seq);
    if (received->age_ms == MOTESEAL_AGE_UNKNOWN) {
        line_text(" age -");
    } else {
        words(" age ", received->age_ms);
    }
    line_end();
}

void report_device(const uint8_t id[8], uint32_t boot)
{
    line_text("device ");
    line_hex(id, 8);
    words(" boot ", boot);
    line_end();
}

void report_sent(uint16_t ticket, const uint8_t *payload, size_t len)
{
    line_text("sent ");
    if (ticket == 0) {
        line_text("-");
    } else {
        line_number(ticket);
    }
    line_text(" ");
    line_hex(payload, len);
    line_end();
}

static const char *word(moteseal_outcome outcome)
{
    switch (outcome) {
    case MOTESEAL_OUTCOME_ACKNOWLEDGED:
        return "acknowledged ";
    case MOTESEAL_OUTCOME_UNSENT:
        return "unsent ";
    default:
        return "unknown ";
    }
}

void report_settled(const moteseal_settled *settled, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        words(word(settled[i].outcome), settled[i].ticket);
        line_end();
    }
}

static void session_opened(const moteseal_received *received)
{
    boot_and_count("session ", received->epoch);
    line_end();
    if (received->old_key == MOTESEAL_OLD_KEY_ERASED) {
        line_text("rotated");
        line_end();
    } else if (received->old_key == MOTESEAL_OLD_KEY_KEPT) {
        line_text("error the key of before could not be erased");
        line_end();
    }
}

static void event(const moteseal_received *received)
{
    switch (received->event) {
    case MOTESEAL_EVENT_SESSION_OPENED:
        session_opened(received);
        break;
    case MOTESEAL_EVENT_STALE:
        boot_and_count("stale ", received->epoch);
        line_text(received->moved ? " moved" : " kept");
        line_end();
        break;
    case MOTESEAL_EVENT_SESSION_LOST:
        line_text("reset");
        line_end();
        break;
    case MOTESEAL_EVENT_KEY_TAKEN:
        words("key taken ", received->generation);
        line_end();
        break;
    case MOTESEAL_EVENT_COMMAND_REFUSED:
        line_text("refused");
        seq_and_age(received);
        break;
    default: /* nothing, or nothing that this device acts upon */
        break;
    }
}

void report_received(const moteseal_received *received)
{
    event(received);
    report_settled(received->settled, received->settled_count);
    if (received->payload != NULL) {
        line_text("command ");
        line_hex(received->payload, received->payload_len);
        seq_and_age(received);
    }
}

void report_closed(void)
{
    line_text("closed");
    line_end();
}

void report_error(moteseal_error error)
{
    line_text("error ");
    line_text(moteseal_error_text(error));
    line_end();
}

void report_stopped(const char *why)
{
    line_text("stopped: ");
    line_text(why);
    line_end();
}
