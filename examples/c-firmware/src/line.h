/* Lines for the console, piece by piece, without printf. */

#ifndef LINE_H
#define LINE_H

#include <stddef.h>
#include <stdint.h>

void line_text(const char *text);
void line_number(uint64_t number);
void line_hex(const uint8_t *bytes, size_t len);

/* Ends the line. What was written so far is on the console at the latest now. */
void line_end(void);

#endif
