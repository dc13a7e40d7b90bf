/* Datagrams between one device and one server over Ethernet: ARP, IPv4 and UDP with a static address, and nothing else.
 * Frames go in and out as bytes; it owns no network interface. */

#ifndef UDP_H
#define UDP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a frame has around a datagram, and the longest datagram in bytes. */
#define UDP_OVERHEAD 42u
#define UDP_DATAGRAM_MAX (1514u - UDP_OVERHEAD)

/* A socket that is connected to the server. Addresses are numbers: 10.0.2.15 is 0x0A00020F. */
typedef struct {
    uint8_t mac[6];
    uint32_t address;
    uint16_t port;
    uint32_t server;
    uint16_t server_port;
    /* The server, or the gateway to it, and what ARP has found out about it. */
    uint32_t next_hop;
    uint8_t next_hop_mac[6];
    bool next_hop_known;
} udp_socket;

typedef enum {
    UDP_NOTHING,  /* not for this device, or not understood */
    UDP_ANSWER,   /* the frame is now an answer; send it */
    UDP_DATAGRAM, /* a datagram of the server */
} udp_kind;

/* Makes the frame that asks for the next hop. */
size_t udp_ask(const udp_socket *socket, uint8_t frame[UDP_OVERHEAD]);

/* Makes a frame of a datagram; `frame` has room for it and UDP_OVERHEAD. 0 if the next hop is not known, or the datagram
 * is too long. */
size_t udp_wrap(const udp_socket *socket, const uint8_t *datagram, size_t len, uint8_t *frame);

/* Takes a frame of `*len` bytes. A datagram is the `*len` bytes at `*start` afterwards, an answer the first `*len`. */
udp_kind udp_take(udp_socket *socket, uint8_t *frame, size_t *len, size_t *start);

#endif
