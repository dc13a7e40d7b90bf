/* Random numbers for the emulated board. */

#ifndef ENTROPY_H
#define ENTROPY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Fills `bytes` from a cryptographic generator, or fails. */
bool entropy_fill(uint8_t *bytes, size_t len);

#endif
