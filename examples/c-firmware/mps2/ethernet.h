/* Frames in and out of the board's Ethernet chip. */

#ifndef ETHERNET_H
#define ETHERNET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The longest frame in bytes, without its check sequence. */
#define ETHERNET_FRAME_MAX 1514u

/* Resets the chip and reads its address. Fails if there is none, or it does not come up. */
bool ethernet_start(uint8_t mac[6]);

/* Sends a frame of 14 to ETHERNET_FRAME_MAX bytes; false if it was not taken. */
bool ethernet_send(const uint8_t *frame, size_t len);

/* Whether a frame waits. The chip's interrupt is pending in the NVIC from then on. */
bool ethernet_ready(void);

/* The next good frame, and its length; 0 if there is none. */
size_t ethernet_receive(uint8_t frame[ETHERNET_FRAME_MAX]);

#endif
