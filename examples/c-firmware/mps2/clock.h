/* The time in milliseconds, and sleep until something happens. */

#ifndef CLOCK_H
#define CLOCK_H

#include <stdbool.h>
#include <stdint.h>

void clock_start(void);

/* Milliseconds since clock_start. Does not run backwards, and runs on in sleep. */
uint64_t clock_now(void);

/* Sleeps until `ready` says so or the deadline has passed. What makes `ready` true must be an interrupt that is enabled
 * in the NVIC. */
void clock_wait(uint64_t deadline, bool (*ready)(void));

#endif
