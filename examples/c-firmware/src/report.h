/* What the device tells on its console, a line each: for people, and for the test that runs it. Never a key. */

#ifndef REPORT_H
#define REPORT_H

#include <moteseal.h>

void report_device(const uint8_t id[8], uint32_t boot);
void report_sent(uint16_t ticket, const uint8_t *payload, size_t len);
void report_settled(const moteseal_settled *settled, size_t count);
void report_received(const moteseal_received *received);
void report_closed(void);
void report_error(moteseal_error error);
void report_stopped(const char *why);

#endif
