/* The command line: what is read, and that everything else is refused. */

#include <string.h>

#include "check.h"
#include "options.h"

static void all_three_are_read(void)
{
    device_options options = OPTIONS_INIT;
    CHECK(options.every_ms == 10000 && !options_complete(&options));
    CHECK(options_take(&options, "flash=/a/b.flash") && strcmp(options.flash, "/a/b.flash") == 0);
    CHECK(!options_complete(&options));
    CHECK(options_take(&options, "server=10.0.2.255:65535"));
    CHECK(options.server == 0x0A0002FF && options.port == 65535 && options_complete(&options));
    CHECK(options_take(&options, "every=4294967295") && options.every_ms == UINT32_MAX);
}

static void everything_else_is_refused(void)
{
    static const char *const wrong[] = {
        "", "flash", "flash=", "speed=2", "server=", "server=10.0.2.2", "server=10.0.2.2:", "server=10.0.2.2:0",
        "server=10.0.2.2:65536", "server=10.0.2.2:4242 ", "server=10.0.2:4242", "server=10.0.2.256:4242",
        "server=10.0.2.2.2:4242", "server=.0.2.2:4242", "server=example.org:4242", "server=10.0.2.-2:4242",
        "server=99999999999999999999.0.2.2:1", "every=", "every=0", "every=-1", "every=250 ", "every=4294967296",
        "every=18446744073709551617", "every=soon",
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        /* In memory of its own length, so that the sanitizer sees a look behind the end. */
        char *word = strdup(wrong[i]);
        device_options options = OPTIONS_INIT;
        CHECK(word != NULL);
        if (options_take(&options, word)) {
            fprintf(stderr, "taken: %s\n", word);
            exit(1);
        }
        free(word);
    }
}

static void a_period_ends_where_it_is_told(void)
{
    static const char text[] = "2505";
    uint32_t ms = 7;
    CHECK(options_period(text, text + 3, &ms) && ms == 250);
    CHECK(!options_period(text, text, &ms) && ms == 250);
}

int main(void)
{
    all_three_are_read();
    everything_else_is_refused();
    a_period_ends_where_it_is_told();
    return 0;
}
