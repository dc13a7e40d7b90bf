/* The emulated board MPS2 (AN385 or AN386): reads its options, starts its parts, and is the board that the device asks
 * for. */

#include "board.h"
#include "clock.h"
#include "device.h"
#include "entropy.h"
#include "ethernet.h"
#include "flash_file.h"
#include "options.h"
#include "semihosting.h"
#include "udp.h"

/* What QEMU's user network gives a guest. */
#define OWN_ADDRESS 0x0A00020Fu /* 10.0.2.15 */
#define GATEWAY 0x0A000202u     /* 10.0.2.2, which is the host as well */
#define NETMASK 0xFFFFFF00u
#define OWN_PORT 4242u

/* How often and how long the next hop is looked for before a datagram is given up. */
#define ASK_TIMES 3u
#define ASK_MS 100u

static udp_socket network = { .address = OWN_ADDRESS, .port = OWN_PORT };
static uint8_t sending[ETHERNET_FRAME_MAX];
static uint8_t receiving[ETHERNET_FRAME_MAX];

uint64_t board_now(void)
{
    return clock_now();
}

bool board_random(uint8_t *bytes, size_t len)
{
    return entropy_fill(bytes, len);
}

void board_say(const char *text, size_t len)
{
    semihosting_say(text, len);
}

/* Takes one frame, if one comes before the deadline, and answers it where that is all it wants. */
static udp_kind take_frame(uint64_t deadline, size_t *start, size_t *len)
{
    clock_wait(deadline, ethernet_ready);
    *len = ethernet_receive(receiving);
    udp_kind kind = *len == 0 ? UDP_NOTHING : udp_take(&network, receiving, len, start);
    if (kind == UDP_ANSWER) {
        ethernet_send(receiving, *len);
    }
    return kind;
}

size_t board_receive(uint8_t **datagram, uint64_t deadline)
{
    size_t start, len;
    do {
        if (take_frame(deadline, &start, &len) == UDP_DATAGRAM) {
            *datagram = receiving + start;
            return len;
        }
    } while (clock_now() < deadline);
    return 0;
}

/* Asks for the next hop. A datagram that comes meanwhile is dropped; its sender repeats it. */
static void find_next_hop(void)
{
    for (unsigned times = 0; times < ASK_TIMES && !network.next_hop_known; times++) {
        size_t start, len;
        uint64_t deadline = clock_now() + ASK_MS;
        ethernet_send(sending, udp_ask(&network, sending));
        while (!network.next_hop_known && clock_now() < deadline) {
            take_frame(deadline, &start, &len);
        }
    }
}

void board_send(const uint8_t *datagram, size_t len)
{
    find_next_hop();
    size_t frame_len = udp_wrap(&network, datagram, len, sending);
    if (frame_len != 0) {
        ethernet_send(sending, frame_len);
    }
}

/* Reads the options from the command line, whose first word is the program's name. `line` stays in use. */
static bool read_options(device_options *options, char *line)
{
    bool first = true;
    for (char *at = line; *at != '\0';) {
        char *word = at;
        while (*at != '\0' && *at != ' ') {
            at++;
        }
        if (*at == ' ') {
            *at++ = '\0';
        }
        if (!first && !options_take(options, word)) {
            return false;
        }
        first = false;
    }
    return options_complete(options);
}

int main(void)
{
    static char line[512];
    device_options options = OPTIONS_INIT;
    nor_flash flash;
    clock_start();
    if (!semihosting_command_line(line, sizeof line) || !read_options(&options, line)) {
        return device_stop(options_usage);
    }
    const char *error = flash_file_open(&flash, options.flash);
    if (error != NULL) {
        return device_stop(error);
    }
    if (!ethernet_start(network.mac)) {
        return device_stop("the Ethernet chip does not start");
    }
    bool on_link = ((options.server ^ OWN_ADDRESS) & NETMASK) == 0;
    network.server = options.server;
    network.server_port = options.port;
    network.next_hop = on_link ? options.server : GATEWAY;
    return device_run(&flash, options.every_ms);
}
