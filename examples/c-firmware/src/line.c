/* One buffer, handed to the board when it is full and at the end of a line: a short line is one write. */

#include "line.h"

#include "board.h"

static char buffer[192];
static size_t used;

static void flush(void)
{
    board_say(buffer, used);
    used = 0;
}

static void character(char c)
{
    if (used == sizeof buffer) {
        flush();
    }
    buffer[used++] = c;
}

void line_text(const char *text)
{
    for (; *text != '\0'; text++) {
        character(*text);
    }
}

void line_number(uint64_t number)
{
    char digits[20];
    size_t count = 0;
    do {
        digits[count++] = (char)('0' + number % 10);
        number /= 10;
    } while (number != 0);
    while (count > 0) {
        character(digits[--count]);
    }
}

void line_hex(const uint8_t *bytes, size_t len)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < len; i++) {
        character(digits[bytes[i] >> 4]);
        character(digits[bytes[i] & 0x0F]);
    }
}

void line_end(void)
{
    character('\n');
    flush();
}
