/* Parsing without sscanf: numbers have a largest value, and nothing may stand behind them. */

#include "options.h"

#include <stddef.h>
#include <string.h>

const char options_usage[] = "the options are flash=PATH server=ADDRESS:PORT every=MS, the last one 10000 if not given";

/* What stands behind `name` at the front of `word`, or nothing. */
static const char *value_of(const char *word, const char *name)
{
    size_t len = strlen(name);
    return strncmp(word, name, len) == 0 ? word + len : NULL;
}

/* Reads a decimal number from 0 to `largest` that ends before `end`, and moves behind it. */
static bool take_number(const char **text, const char *end, uint32_t largest, uint32_t *number)
{
    const char *at = *text;
    uint64_t value = 0;
    while (at < end && *at >= '0' && *at <= '9') {
        value = 10 * value + (uint64_t)(*at - '0');
        if (value > largest) {
            return false;
        }
        at++;
    }
    bool some = at != *text;
    *text = at;
    *number = (uint32_t)value;
    return some;
}

static bool take_server(device_options *options, const char *text)
{
    const char *end = text + strlen(text);
    uint32_t address = 0, part;
    for (unsigned i = 0; i < 4; i++) {
        /* What stands at `end` is the zero, and neither of the two. */
        if (!take_number(&text, end, 255, &part) || *text++ != (i < 3 ? '.' : ':')) {
            return false;
        }
        address = address << 8 | part;
    }
    if (!take_number(&text, end, 65535, &part) || part == 0 || text != end) {
        return false;
    }
    options->server = address;
    options->port = (uint16_t)part;
    return true;
}

bool options_period(const char *text, const char *end, uint32_t *ms)
{
    uint32_t number;
    if (!take_number(&text, end, UINT32_MAX, &number) || number == 0 || text != end) {
        return false;
    }
    *ms = number;
    return true;
}

bool options_take(device_options *options, const char *word)
{
    const char *value;
    if ((value = value_of(word, "flash=")) != NULL) {
        options->flash = value;
        return *value != '\0';
    }
    if ((value = value_of(word, "server=")) != NULL) {
        return take_server(options, value);
    }
    if ((value = value_of(word, "every=")) != NULL) {
        return options_period(value, value + strlen(value), &options->every_ms);
    }
    return false;
}

bool options_complete(const device_options *options)
{
    return options->flash != NULL && options->port != 0;
}
