/* The frames, byte by byte:
 *
 *   Ethernet  0 to 6 | 6 from 6 | 12 type 2
 *   ARP      14 hardware 2, protocol 2, lengths 2 | 20 operation 2 | 22 sender 6 + 4 | 32 target 6 + 4
 *   IPv4     14 version, header length | 16 length 2 | 20 fragment 2 | 23 protocol | 24 checksum 2 | 26 from 4 | 30 to 4
 *   UDP      behind the IPv4 header: from 2 | to 2 | length 2 | checksum 2 | datagram
 *
 * Each field is looked at only behind a check that it is there. A frame that is not exactly as it should be is dropped:
 * the datagrams are authenticated further up, so here it is enough never to read or write outside. */

#include "udp.h"

#include <string.h>

#define ETHERNET_LEN 14u
#define ARP_LEN 28u
#define IP_LEN 20u
#define UDP_LEN 8u
#define TYPE_IPV4 0x0800u
#define TYPE_ARP 0x0806u
#define ARP_REQUEST 1u
#define ARP_REPLY 2u
#define PROTOCOL_UDP 17u

/* Hardware Ethernet, protocol IPv4, and the lengths of their addresses. */
static const uint8_t arp_head[6] = { 0, 1, 8, 0, 6, 4 };
static const uint8_t broadcast[6] = { 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF };

static uint16_t get16(const uint8_t *at)
{
    return (uint16_t)(at[0] << 8 | at[1]);
}

static uint32_t get32(const uint8_t *at)
{
    return (uint32_t)get16(at) << 16 | get16(at + 2);
}

static void put16(uint8_t *at, uint32_t value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

static void put32(uint8_t *at, uint32_t value)
{
    put16(at, value >> 16);
    put16(at + 2, value);
}

/* Adds bytes to a sum of 16-bit words; an odd last byte is the high half of a word. */
static uint32_t sum(uint32_t before, const uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        before += i % 2 == 0 ? (uint32_t)bytes[i] << 8 : bytes[i];
    }
    return before;
}

/* The Internet checksum (RFC 1071): 0 over bytes that hold a right one. */
static uint16_t checksum(uint32_t total)
{
    while (total >> 16 != 0) {
        total = (total & 0xFFFF) + (total >> 16);
    }
    return (uint16_t)~total;
}

/* The checksum of a UDP packet with its pseudo header. */
static uint16_t udp_checksum(uint32_t from, uint32_t to, const uint8_t *udp, size_t len)
{
    uint8_t pseudo[12] = { 0 };
    put32(pseudo, from);
    put32(pseudo + 4, to);
    put16(pseudo + 8, PROTOCOL_UDP);
    put16(pseudo + 10, (uint32_t)len);
    return checksum(sum(sum(0, pseudo, sizeof pseudo), udp, len));
}

static void put_ethernet(uint8_t *frame, const uint8_t to[6], const uint8_t from[6], uint32_t type)
{
    memcpy(frame, to, 6);
    memcpy(frame + 6, from, 6);
    put16(frame + 12, type);
}

static void put_arp(uint8_t *arp, uint32_t operation, const udp_socket *from, const uint8_t to[6], uint32_t address)
{
    memcpy(arp, arp_head, sizeof arp_head);
    put16(arp + 6, operation);
    memcpy(arp + 8, from->mac, 6);
    put32(arp + 14, from->address);
    memcpy(arp + 18, to, 6);
    put32(arp + 24, address);
}

size_t udp_ask(const udp_socket *socket, uint8_t frame[UDP_OVERHEAD])
{
    static const uint8_t unknown[6] = { 0 };
    put_ethernet(frame, broadcast, socket->mac, TYPE_ARP);
    put_arp(frame + ETHERNET_LEN, ARP_REQUEST, socket, unknown, socket->next_hop);
    return ETHERNET_LEN + ARP_LEN;
}

static void put_ip(uint8_t *ip, const udp_socket *socket, size_t len)
{
    static const uint8_t head[IP_LEN] = { 0x45, [6] = 0x40 /* not to be fragmented */, [8] = 64, [9] = PROTOCOL_UDP };
    memcpy(ip, head, IP_LEN);
    put16(ip + 2, (uint32_t)len);
    put32(ip + 12, socket->address);
    put32(ip + 16, socket->server);
    put16(ip + 10, checksum(sum(0, ip, IP_LEN)));
}

size_t udp_wrap(const udp_socket *socket, const uint8_t *datagram, size_t len, uint8_t *frame)
{
    if (!socket->next_hop_known || len > UDP_DATAGRAM_MAX) {
        return 0;
    }
    uint8_t *ip = frame + ETHERNET_LEN;
    uint8_t *udp = ip + IP_LEN;
    put_ethernet(frame, socket->next_hop_mac, socket->mac, TYPE_IPV4);
    put_ip(ip, socket, IP_LEN + UDP_LEN + len);
    put16(udp, socket->port);
    put16(udp + 2, socket->server_port);
    put16(udp + 4, (uint32_t)(UDP_LEN + len));
    put16(udp + 6, 0);
    memcpy(udp + UDP_LEN, datagram, len);
    uint16_t check = udp_checksum(socket->address, socket->server, udp, UDP_LEN + len);
    put16(udp + 6, check == 0 ? 0xFFFF : check); /* 0 would say that there is none */
    return UDP_OVERHEAD + len;
}

static udp_kind take_arp(udp_socket *socket, uint8_t *frame, size_t *len)
{
    uint8_t *arp = frame + ETHERNET_LEN;
    if (*len < ETHERNET_LEN + ARP_LEN || memcmp(arp, arp_head, sizeof arp_head) != 0) {
        return UDP_NOTHING;
    }
    if (get32(arp + 24) != socket->address) {
        return UDP_NOTHING;
    }
    uint32_t operation = get16(arp + 6);
    uint32_t sender = get32(arp + 14);
    if (sender == socket->next_hop && (operation == ARP_REPLY || operation == ARP_REQUEST)) {
        memcpy(socket->next_hop_mac, arp + 8, 6);
        socket->next_hop_known = true;
    }
    if (operation != ARP_REQUEST) {
        return UDP_NOTHING;
    }
    uint8_t asker[6];
    memcpy(asker, arp + 8, 6);
    put_ethernet(frame, asker, socket->mac, TYPE_ARP);
    put_arp(arp, ARP_REPLY, socket, asker, sender);
    *len = ETHERNET_LEN + ARP_LEN;
    return UDP_ANSWER;
}

/* Whether these `len` bytes are one whole UDP packet from the server to this device. */
static bool is_from_server(const udp_socket *socket, const uint8_t *udp, size_t len)
{
    if (len < UDP_LEN || get16(udp + 4) != len) {
        return false;
    }
    bool checked = get16(udp + 6) == 0 || udp_checksum(socket->server, socket->address, udp, len) == 0;
    return checked && get16(udp) == socket->server_port && get16(udp + 2) == socket->port;
}

static udp_kind take_ip(const udp_socket *socket, const uint8_t *frame, size_t *len, size_t *start)
{
    const uint8_t *ip = frame + ETHERNET_LEN;
    size_t there = *len - ETHERNET_LEN; /* udp_take has checked it */
    if (there < IP_LEN || ip[0] >> 4 != 4) {
        return UDP_NOTHING;
    }
    size_t header = 4 * (size_t)(ip[0] & 0x0F);
    size_t total = get16(ip + 2); /* a short frame is padded behind it */
    if (header < IP_LEN || total < header || total > there || checksum(sum(0, ip, header)) != 0) {
        return UDP_NOTHING;
    }
    bool whole = (get16(ip + 6) & 0x3FFF) == 0;
    bool ours = get32(ip + 12) == socket->server && get32(ip + 16) == socket->address;
    if (!whole || !ours || ip[9] != PROTOCOL_UDP || !is_from_server(socket, ip + header, total - header)) {
        return UDP_NOTHING;
    }
    *start = ETHERNET_LEN + header + UDP_LEN;
    *len = total - header - UDP_LEN;
    return UDP_DATAGRAM;
}

udp_kind udp_take(udp_socket *socket, uint8_t *frame, size_t *len, size_t *start)
{
    if (*len < ETHERNET_LEN) {
        return UDP_NOTHING;
    }
    bool to_us = memcmp(frame, socket->mac, 6) == 0;
    switch (get16(frame + 12)) {
    case TYPE_ARP:
        return to_us || memcmp(frame, broadcast, 6) == 0 ? take_arp(socket, frame, len) : UDP_NOTHING;
    case TYPE_IPV4:
        return to_us ? take_ip(socket, frame, len, start) : UDP_NOTHING;
    default:
        return UDP_NOTHING;
    }
}
