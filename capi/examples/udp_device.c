/* A device on a POSIX host: a file is its flash, UDP its radio. It sends telemetry that wants an outcome, one payload
 * after the other, and prints what happens.
 *
 *     udp_device FLASH HOST PORT COUNT
 *
 * FLASH is a file of MOTESEAL_FLASH_LEN bytes: a factory image made for pages of MOTESEAL_FLASH_PAGE bytes, and erased
 * pages. The session is closed once COUNT outcomes are known. */
#define _POSIX_C_SOURCE 200809L
#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "moteseal.h"

struct board {
    int flash;
    int random;
    int radio;
};

static int flash_read(void *context, uint32_t offset, uint8_t *bytes, size_t len) {
    const struct board *board = context;
    return pread(board->flash, bytes, len, (off_t)offset) != (ssize_t)len;
}

/* Durable before it returns, as the header asks. */
static int flash_write(void *context, uint32_t offset, const uint8_t *bytes, size_t len) {
    const struct board *board = context;
    return pwrite(board->flash, bytes, len, (off_t)offset) != (ssize_t)len || fsync(board->flash) != 0;
}

static int flash_erase(void *context, uint32_t offset, size_t len) {
    uint8_t blank[MOTESEAL_FLASH_PAGE];
    if (len != sizeof blank) {
        return -1;
    }
    memset(blank, 0xFF, sizeof blank);
    return flash_write(context, offset, blank, len);
}

static int random_bytes(void *context, uint8_t *bytes, size_t len) {
    const struct board *board = context;
    return read(board->random, bytes, len) != (ssize_t)len;
}

static uint64_t clock_ms(void) {
    struct timespec now;
    /* Linux has CLOCK_BOOTTIME for machines that sleep. */
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* A datagram that is lost is the protocol's business: it is repeated. */
static void radio_send(const struct board *board, const uint8_t *datagram, size_t len) {
    if (len != 0 && send(board->radio, datagram, len, 0) < 0) {
        perror("send");
    }
}

/* The length of the next datagram, or 0 once the deadline has passed. */
static size_t radio_wait(const struct board *board, uint8_t *datagram, size_t size, uint64_t deadline_ms) {
    struct pollfd radio = {board->radio, POLLIN, 0};
    uint64_t now = clock_ms();
    uint64_t wait = deadline_ms > now ? deadline_ms - now : 0;
    if (poll(&radio, 1, wait > 1000 ? 1000 : (int)wait) != 1) {
        return 0;
    }
    ssize_t len = recv(board->radio, datagram, size, 0);
    return len < 0 ? 0 : (size_t)len;
}

static void stop(const char *what, moteseal_error error) {
    fprintf(stderr, "stopped: %s: %s\n", what, moteseal_error_text(error));
    exit(1);
}

static void open_board(struct board *board, char *const *arguments) {
    struct sockaddr_in server;
    memset(&server, 0, sizeof server);
    server.sin_family = AF_INET;
    server.sin_port = htons((uint16_t)atoi(arguments[3]));
    board->flash = open(arguments[1], O_RDWR);
    board->random = open("/dev/urandom", O_RDONLY);
    board->radio = socket(AF_INET, SOCK_DGRAM, 0);
    if (board->flash < 0 || board->random < 0 || board->radio < 0 ||
        inet_pton(AF_INET, arguments[2], &server.sin_addr) != 1 ||
        connect(board->radio, (const struct sockaddr *)&server, sizeof server) != 0) {
        perror("board");
        exit(1);
    }
}

static void boot(moteseal_device *device, struct board *board) {
    moteseal_config config = MOTESEAL_CONFIG_INIT;
    config.context = board;
    config.flash_read = flash_read;
    config.flash_write = flash_write;
    config.flash_erase = flash_erase;
    config.random = random_bytes;
    moteseal_error error = moteseal_boot(device, &config);
    if (error != MOTESEAL_OK) {
        stop("boot", error);
    }
    uint8_t id[MOTESEAL_DEVICE_ID_LEN];
    uint32_t count;
    if ((error = moteseal_device_id(device, id)) != MOTESEAL_OK ||
        (error = moteseal_boot_count(device, &count)) != MOTESEAL_OK) {
        stop("name", error);
    }
    printf("device ");
    for (size_t i = 0; i < sizeof id; i++) {
        printf("%02x", id[i]);
    }
    printf(" boot %lu\n", (unsigned long)count);
}

/* Prints what a datagram brought. Gives how many outcomes it told. */
static unsigned tell(const moteseal_received *received) {
    if (received->event == MOTESEAL_EVENT_SESSION_OPENED) {
        printf("session %lu.%u\n", (unsigned long)received->epoch.boot, (unsigned)received->epoch.count);
    } else if (received->event != MOTESEAL_EVENT_NONE) {
        printf("event %u\n", (unsigned)received->event);
    }
    if (received->payload != NULL) {
        printf("command %.*s\n", (int)received->payload_len, (const char *)received->payload);
    }
    for (unsigned i = 0; i < received->settled_count; i++) {
        const char *words[] = {"-", "acknowledged", "unknown", "unsent"};
        printf("%s %u\n", words[received->settled[i].outcome], (unsigned)received->settled[i].ticket);
    }
    return received->settled_count;
}

/* Sends the next payload, unless one is outstanding. */
static void telemetry(moteseal_device *device, const struct board *board, unsigned number) {
    uint8_t out[MOTESEAL_DATAGRAM_MAX];
    char payload[32];
    moteseal_sent sent;
    int len = snprintf(payload, sizeof payload, "%u.5 C", 20 + number);
    moteseal_error error = moteseal_send(device, clock_ms(), (const uint8_t *)payload, (size_t)len, 1, out, sizeof out, &sent);
    if (error != MOTESEAL_OK && error != MOTESEAL_BUSY) {
        stop("send", error);
    }
    radio_send(board, out, sent.datagram_len);
}

static void send_what_is_due(moteseal_device *device, const struct board *board) {
    uint8_t out[MOTESEAL_DATAGRAM_MAX];
    size_t len;
    moteseal_error error;
    while ((error = moteseal_poll(device, clock_ms(), out, sizeof out, &len)) == MOTESEAL_OK && len != 0) {
        radio_send(board, out, len);
    }
    if (error != MOTESEAL_OK) {
        fprintf(stderr, "poll: %s\n", moteseal_error_text(error));
    }
}

int main(int argc, char **argv) {
    static moteseal_device device;
    struct board board;
    if (argc != 5) {
        fprintf(stderr, "udp_device FLASH HOST PORT COUNT\n");
        return 2;
    }
    open_board(&board, argv);
    boot(&device, &board);
    setvbuf(stdout, NULL, _IOLBF, 0);
    unsigned count = (unsigned)atoi(argv[4]);
    for (unsigned known = 0; known < count;) {
        uint8_t in[1500];
        uint64_t deadline;
        moteseal_received received;
        telemetry(&device, &board, known);
        send_what_is_due(&device, &board);
        if (moteseal_deadline(&device, &deadline) != MOTESEAL_OK) {
            return 1;
        }
        size_t len = radio_wait(&board, in, sizeof in, deadline);
        if (len == 0) {
            continue;
        }
        /* What is not authentic is dropped in silence; an outcome may be told along with an error. */
        (void)moteseal_receive(&device, clock_ms(), in, len, &received);
        known += tell(&received);
    }
    /* Whatever is still owed to the server, such as the acknowledgement of a command. */
    send_what_is_due(&device, &board);
    uint8_t out[MOTESEAL_DATAGRAM_MAX];
    moteseal_closed closed;
    moteseal_error error = moteseal_close(&device, clock_ms(), out, sizeof out, &closed);
    if (error != MOTESEAL_OK) {
        stop("close", error);
    }
    radio_send(&board, out, closed.datagram_len);
    error = moteseal_wipe(&device);
    printf("closed\n");
    return error == MOTESEAL_OK ? 0 : 1;
}
