/* The device on a Linux host: a UDP socket, a file for the flash, the system's generator. For trying the C code without
 * a board, and under the sanitizers. */

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "board.h"
#include "device.h"
#include "options.h"

/* The longest datagram that is received. */
#define DATAGRAM_MAX 1472

static int network = -1;
static int flash_file = -1;

uint64_t board_now(void)
{
    struct timespec now;
    /* The clock that goes on while the host sleeps. It cannot fail for this one. */
    clock_gettime(CLOCK_BOOTTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

void board_send(const uint8_t *datagram, size_t len)
{
    /* What the network does not take is lost like any other datagram, and repeated. */
    ssize_t sent = send(network, datagram, len, 0);
    (void)sent;
}

size_t board_receive(uint8_t **datagram, uint64_t deadline)
{
    static uint8_t buffer[DATAGRAM_MAX];
    struct pollfd wait = { .fd = network, .events = POLLIN };
    uint64_t now = board_now();
    uint64_t left = deadline > now ? deadline - now : 0;
    if (poll(&wait, 1, left < 60000 ? (int)left : 60000) <= 0) {
        return 0;
    }
    /* One that is longer is cut, and does not verify. A server that is down is an error here, and no datagram. */
    ssize_t len = recv(network, buffer, sizeof buffer, 0);
    *datagram = buffer;
    return len > 0 ? (size_t)len : 0;
}

bool board_random(uint8_t *bytes, size_t len)
{
    return getrandom(bytes, len, 0) == (ssize_t)len;
}

void board_say(const char *text, size_t len)
{
    fwrite(text, 1, len, stdout);
    fflush(stdout);
}

static bool keep(uint32_t offset, const uint8_t *bytes, size_t len)
{
    return pwrite(flash_file, bytes, len, (off_t)offset) == (ssize_t)len && fdatasync(flash_file) == 0;
}

/* Reads the flash from its file, which no other process may use: two would use every epoch twice. */
static const char *open_flash(nor_flash *flash, const char *path)
{
    struct stat status;
    flash_file = open(path, O_RDWR | O_CLOEXEC);
    if (flash_file < 0 || fstat(flash_file, &status) != 0) {
        return "the flash file cannot be opened";
    }
    if (status.st_size != FLASH_LEN) {
        return "the flash file has another length than the flash";
    }
    if (flock(flash_file, LOCK_EX | LOCK_NB) != 0) {
        return "the flash file is in use";
    }
    flash->keep = keep;
    flash->memory = malloc(FLASH_LEN);
    if (flash->memory == NULL || pread(flash_file, flash->memory, FLASH_LEN, 0) != (ssize_t)FLASH_LEN) {
        return "the flash file cannot be read";
    }
    return NULL;
}

static bool open_network(const device_options *options)
{
    struct sockaddr_in server = { .sin_family = AF_INET, .sin_port = htons(options->port) };
    server.sin_addr.s_addr = htonl(options->server);
    network = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    return network >= 0 && connect(network, (struct sockaddr *)&server, sizeof server) == 0;
}

int main(int argc, char **argv)
{
    static nor_flash flash;
    device_options options = OPTIONS_INIT;
    for (int i = 1; i < argc; i++) {
        if (!options_take(&options, argv[i])) {
            return device_stop(options_usage);
        }
    }
    if (!options_complete(&options)) {
        return device_stop(options_usage);
    }
    const char *error = open_flash(&flash, options.flash);
    if (error != NULL) {
        return device_stop(error);
    }
    if (!open_network(&options)) {
        return device_stop("no UDP socket");
    }
    int status = device_run(&flash, options.every_ms);
    explicit_bzero(flash.memory, FLASH_LEN); /* it holds keys */
    free(flash.memory);
    return status;
}
