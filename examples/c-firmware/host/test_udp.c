/* The frames of udp.c: against a frame made elsewhere, and against everything that can be cut, changed or invented.
 * Each frame lies in memory of its own length, so that the sanitizer sees any look outside. */

#include <string.h>

#include "check.h"
#include "udp.h"

#define BROKEN_FRAMES 300000u

static const udp_socket peer = {
    .mac = { 0x52, 0x54, 0x00, 0x12, 0x34, 0x56 },
    .address = 0x0A00020F,
    .port = 4242,
    .server = 0x0A000202,
    .server_port = 9,
    .next_hop = 0x0A000202,
    .next_hop_mac = { 0x52, 0x55, 0x0A, 0x00, 0x02, 0x02 },
    .next_hop_known = true,
};

/* "hello" from 10.0.2.2:9 to the device, with an Ethernet frame's padding; checksums by another program. */
static const uint8_t hello[60] = {
    0x52, 0x54, 0x00, 0x12, 0x34, 0x56, 0x52, 0x55, 0x0A, 0x00, 0x02, 0x02, 0x08, 0x00, /* Ethernet */
    0x45, 0x00, 0x00, 0x21, 0x12, 0x34, 0x00, 0x00, 0x40, 0x11, 0x50, 0x88,             /* IPv4: 33 bytes */
    0x0A, 0x00, 0x02, 0x02, 0x0A, 0x00, 0x02, 0x0F,                                     /* from, to */
    0x00, 0x09, 0x10, 0x92, 0x00, 0x0D, 0x93, 0x56,                                     /* UDP: 13 bytes */
    'h',  'e',  'l',  'l',  'o',
};

static udp_kind take(const udp_socket *socket, const uint8_t *bytes, size_t len, size_t *start, size_t *taken)
{
    udp_socket copy = *socket;
    uint8_t *frame = malloc(len == 0 ? 1 : len);
    CHECK(frame != NULL);
    memcpy(frame, bytes, len);
    *taken = len;
    udp_kind kind = udp_take(&copy, frame, taken, start);
    CHECK(kind == UDP_NOTHING || *taken <= len);
    CHECK(kind != UDP_DATAGRAM || *start + *taken <= len);
    free(frame);
    return kind;
}

static udp_kind take_hello(const uint8_t frame[60])
{
    size_t start, taken;
    return take(&peer, frame, 60, &start, &taken);
}

static void a_datagram_is_found(void)
{
    size_t start, taken;
    CHECK(take(&peer, hello, sizeof hello, &start, &taken) == UDP_DATAGRAM);
    CHECK(start == UDP_OVERHEAD && taken == 5);
    /* Without the padding too, and not with a byte less. */
    CHECK(take(&peer, hello, 47, &start, &taken) == UDP_DATAGRAM && taken == 5);
    for (size_t len = 0; len < 47; len++) {
        CHECK(take(&peer, hello, len, &start, &taken) == UDP_NOTHING);
    }
}

static void every_changed_bit_of_a_datagram_is_seen(void)
{
    for (size_t bit = 0; bit < 8 * 47; bit++) {
        uint8_t frame[60];
        memcpy(frame, hello, sizeof frame);
        frame[bit / 8] ^= (uint8_t)(1 << bit % 8);
        bool sender_of_frame = bit / 8 >= 6 && bit / 8 < 12; /* nobody looks at it */
        CHECK(take_hello(frame) == (sender_of_frame ? UDP_DATAGRAM : UDP_NOTHING));
    }
}

/* RFC 1071, over a range of an even length or with a zero behind it. */
static void put_checksum(uint8_t *at, const uint8_t *bytes, size_t len, uint32_t total)
{
    for (size_t i = 0; i < len; i += 2) {
        total += (uint32_t)(bytes[i] << 8 | bytes[i + 1]);
    }
    total = (total & 0xFFFF) + (total >> 16);
    total += total >> 16;
    at[0] = (uint8_t)~(total >> 8);
    at[1] = (uint8_t)~total;
}

/* Makes the checksums of a frame with an IPv4 header of 20 bytes and a datagram of 5 right again. */
static void put_checksums(uint8_t frame[60])
{
    frame[24] = frame[25] = frame[40] = frame[41] = 0;
    put_checksum(frame + 24, frame + 14, 20, 0);
    put_checksum(frame + 40, frame + 26, 22, 17 + 13);
}

static void a_frame_that_is_wrong_under_right_checksums_is_refused(void)
{
    static const struct {
        size_t at;
        uint8_t byte;
    } wrong[] = {
        { 14, 0x65 }, /* IPv6 */
        { 14, 0x44 }, /* a header too short to be one */
        { 14, 0x4F }, /* one that is longer than the packet */
        { 17, 19 },   /* a packet shorter than its header */
        { 17, 27 },   /* one without a whole UDP header */
        { 17, 32 },   /* one that ends within the datagram */
        { 17, 47 },   /* one that ends behind the frame */
        { 20, 0x20 }, /* more fragments follow */
        { 21, 1 },    /* a later fragment */
        { 23, 6 },    /* TCP */
        { 29, 3 },    /* from another host */
        { 33, 14 },   /* to another host */
        { 35, 8 },    /* from another port */
        { 37, 0x93 }, /* to another port */
        { 39, 7 },    /* shorter than a UDP header */
        { 39, 12 },   /* shorter than the packet */
        { 39, 14 },   /* longer than the packet */
    };
    uint8_t frame[60];
    memcpy(frame, hello, sizeof frame);
    put_checksums(frame);
    CHECK(memcmp(frame, hello, sizeof frame) == 0);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        memcpy(frame, hello, sizeof frame);
        frame[wrong[i].at] = wrong[i].byte;
        put_checksums(frame);
        udp_kind checked = take_hello(frame);
        frame[40] = frame[41] = 0;
        if (checked != UDP_NOTHING || take_hello(frame) != UDP_NOTHING) {
            fprintf(stderr, "taken: %u at %zu\n", wrong[i].byte, wrong[i].at);
            exit(1);
        }
    }
}

static void no_checksum_that_is_made_is_zero(void)
{
    for (uint32_t payload = 0; payload < 0x10000; payload++) {
        const uint8_t datagram[2] = { (uint8_t)(payload >> 8), (uint8_t)payload };
        uint8_t frame[UDP_OVERHEAD + 2];
        udp_wrap(&peer, datagram, sizeof datagram, frame);
        CHECK(frame[40] != 0 || frame[41] != 0);
    }
}

static void a_datagram_may_have_no_checksum(void)
{
    uint8_t frame[60];
    memcpy(frame, hello, sizeof frame);
    frame[40] = frame[41] = 0;
    CHECK(take_hello(frame) == UDP_DATAGRAM);
}

/* What was wrapped here is unwrapped there, whatever its length. */
static void what_is_wrapped_is_taken(void)
{
    static uint8_t datagram[UDP_DATAGRAM_MAX + 1];
    udp_socket other = peer;
    memcpy(other.mac, peer.next_hop_mac, 6);
    other.address = peer.server;
    other.port = peer.server_port;
    other.server = peer.address;
    other.server_port = peer.port;
    for (size_t len = 0; len <= UDP_DATAGRAM_MAX; len++) {
        uint8_t *frame = malloc(UDP_OVERHEAD + len);
        size_t start, taken;
        CHECK(frame != NULL);
        datagram[len] = (uint8_t)(len * 7);
        CHECK(udp_wrap(&peer, datagram, len, frame) == UDP_OVERHEAD + len);
        CHECK(take(&other, frame, UDP_OVERHEAD + len, &start, &taken) == UDP_DATAGRAM && taken == len);
        CHECK(memcmp(frame + start, datagram, len) == 0);
        free(frame);
    }
    CHECK(udp_wrap(&peer, datagram, UDP_DATAGRAM_MAX + 1, NULL) == 0);
}

static void the_next_hop_is_asked_for_and_learned(void)
{
    udp_socket device = peer, host = peer;
    uint8_t frame[UDP_OVERHEAD];
    size_t start, len;
    device.next_hop_known = false;
    memset(device.next_hop_mac, 0, 6);
    CHECK(udp_wrap(&device, (const uint8_t *)"x", 1, NULL) == 0);
    memcpy(host.mac, peer.next_hop_mac, 6);
    host.address = peer.next_hop;
    host.next_hop = peer.address;
    host.next_hop_known = false;

    len = udp_ask(&device, frame);
    CHECK(len == sizeof frame && udp_take(&host, frame, &len, &start) == UDP_ANSWER && len == sizeof frame);
    CHECK(host.next_hop_known && memcmp(host.next_hop_mac, device.mac, 6) == 0);
    CHECK(udp_take(&device, frame, &len, &start) == UDP_NOTHING);
    CHECK(device.next_hop_known && memcmp(device.next_hop_mac, host.mac, 6) == 0);
}

static void a_stranger_is_answered_and_not_learned(void)
{
    udp_socket device = peer, stranger = peer;
    uint8_t frame[UDP_OVERHEAD];
    size_t start, len;
    device.next_hop_known = false;
    stranger.mac[5] = 0x99;
    stranger.address = 0x0A000203;
    stranger.next_hop = peer.address;
    len = udp_ask(&stranger, frame);
    CHECK(udp_take(&device, frame, &len, &start) == UDP_ANSWER && !device.next_hop_known);
    /* For somebody else. */
    stranger.next_hop = 0x0A000204;
    len = udp_ask(&stranger, frame);
    CHECK(udp_take(&device, frame, &len, &start) == UDP_NOTHING);
}

static uint32_t next_random(uint32_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state;
}

/* Frames that are broken in several places and cut anywhere: nothing is read or written outside. */
static void broken_frames_do_no_harm(void)
{
    uint8_t arp[UDP_OVERHEAD];
    uint32_t state = 1;
    udp_ask(&peer, arp);
    for (unsigned i = 0; i < BROKEN_FRAMES; i++) {
        uint8_t frame[60] = { 0 };
        size_t start, taken;
        memcpy(frame, i % 4 == 0 ? arp : hello, i % 4 == 0 ? sizeof arp : sizeof hello);
        for (uint32_t changes = next_random(&state) % 4; changes > 0; changes--) {
            frame[next_random(&state) % sizeof frame] = (uint8_t)next_random(&state);
        }
        if (i % 4 == 1) {
            put_checksums(frame); /* so that it gets behind them */
        }
        take(&peer, frame, next_random(&state) % (sizeof frame + 1), &start, &taken);
    }
}

int main(void)
{
    a_datagram_is_found();
    every_changed_bit_of_a_datagram_is_seen();
    a_frame_that_is_wrong_under_right_checksums_is_refused();
    no_checksum_that_is_made_is_zero();
    a_datagram_may_have_no_checksum();
    what_is_wrapped_is_taken();
    the_next_hop_is_asked_for_and_learned();
    a_stranger_is_answered_and_not_learned();
    broken_frames_do_no_harm();
    return 0;
}
