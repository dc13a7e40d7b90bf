/* What the device asks of a board, besides its flash: a network, a clock, random numbers, and a place to write lines.
 * mps2/main.c has it for the microcontroller, host/main.c for Linux. */

#ifndef BOARD_H
#define BOARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Milliseconds, from any start. Does not run backwards, and runs on in sleep. */
uint64_t board_now(void);

/* Sends a datagram to the server. One that the network does not take is lost, as on the way. */
void board_send(const uint8_t *datagram, size_t len);

/* The next datagram of the server, in memory that stays until the next call, and its length; 0 once the deadline has
 * passed. */
size_t board_receive(uint8_t **datagram, uint64_t deadline);

/* Fills `bytes` from a cryptographic generator, or fails. */
bool board_random(uint8_t *bytes, size_t len);

/* Writes text to the console. */
void board_say(const char *text, size_t len);

#endif
