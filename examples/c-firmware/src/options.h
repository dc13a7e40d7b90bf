/* The command line: flash=PATH server=A.B.C.D:PORT every=MS, and numbers as text. */

#ifndef OPTIONS_H
#define OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

typedef struct {
    /* The host's file that keeps the flash. */
    const char *flash;
    /* 10.0.2.2 is 0x0A000202. */
    uint32_t server;
    uint16_t port;
    /* From one reading to the next, in milliseconds. */
    uint32_t every_ms;
} device_options;

/* What is not given: a reading every 10 seconds. */
#define OPTIONS_INIT { .every_ms = 10000 }

/* What is wrong where one of the two below fails. */
extern const char options_usage[];

/* Takes one word, which stays where it is; false if it is none of the three. */
bool options_take(device_options *options, const char *word);

/* Whether all that must be given was given. */
bool options_complete(const device_options *options);

/* Reads a number of milliseconds above 0: decimal digits up to `end`, and nothing else. */
bool options_period(const char *text, const char *end, uint32_t *ms);

#endif
