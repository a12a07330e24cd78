#include "host/net/offload.h"

#include "base/bits.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/ethernet.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/tcp.h>
#include <string.h>

#define UDP_HEADER 8

static uint16_t load16(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

static void store16(uint8_t *at, unsigned value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

static uint32_t load32(const uint8_t *at)
{
	return (uint32_t)load16(at) << 16 | load16(at + 2);
}

static void store32(uint8_t *at, uint32_t value)
{
	store16(at, value >> 16);
	store16(at + 2, value & 0xffff);
}

/* --- checksums --- */

static uint64_t add_carry(uint64_t a, uint64_t b)
{
	return a + b + (a + b < a);
}

static uint64_t load64(const uint8_t *at)
{
	uint64_t value;

	memcpy(&value, at, sizeof(value));
	return value;
}

/* Eight bytes at a time, in two chains of additions: a one's complement sum may be taken in any
 * word size, and its order of bytes is that of the words (RFC 1071, section 2). */
uint16_t net_sum(uint16_t sum, const void *bytes, size_t size)
{
	const uint8_t *at = bytes;
	uint64_t a = sum, b = 0;
	uint8_t rest[8] = {0};

	for (; size >= 32; size -= 32, at += 32) {
		a = add_carry(a, load64(at));
		b = add_carry(b, load64(at + 8));
		a = add_carry(a, load64(at + 16));
		b = add_carry(b, load64(at + 24));
	}
	for (; size >= 8; size -= 8, at += 8)
		a = add_carry(a, load64(at));
	memcpy(rest, at, size);
	a = add_carry(add_carry(a, b), load64(rest));
	a = (a >> 32) + (a & 0xffffffff);
	a = (a >> 32) + (a & 0xffffffff);
	a = (a >> 16) + (a & 0xffff);
	a = (a >> 16) + (a & 0xffff);
	return (uint16_t)a;
}

/* UDP has 0 for "no checksum", and TCP does not mind the other zero. */
static void store_checksum(uint8_t *at, uint16_t sum)
{
	uint16_t checksum = sum == 0xffff ? sum : (uint16_t)~sum;

	memcpy(at, &checksum, sizeof(checksum));
}

void net_fill_checksum(uint8_t *frame, size_t size, unsigned start, unsigned offset)
{
	store_checksum(frame + start + offset, net_sum(0, frame + start, size - start));
}

uint16_t net_pseudo_sum(const struct net_packet *packet, const uint8_t *frame)
{
	const uint8_t *ip = frame + packet->ip;
	uint8_t rest[4] = {0, packet->tcp ? IPPROTO_TCP : IPPROTO_UDP};
	uint16_t sum;

	/* A length has at most 16 bits here: there are no jumbograms. */
	store16(rest + 2, packet->end - packet->transport);
	sum = packet->ipv6 ? net_sum(0, ip + 8, 32) : net_sum(0, ip + 12, 8);
	return net_sum(sum, rest, sizeof(rest));
}

/* --- what is in a frame --- */

static bool parse_ipv4(struct net_packet *packet, const uint8_t *ip, size_t room, uint8_t *protocol)
{
	unsigned header;

	if (room < sizeof(struct ip) || ip[0] >> 4 != 4)
		return false;
	header = (ip[0] & 15) * 4u;
	if (header < sizeof(struct ip) || load16(ip + 2) > room || load16(ip + 2) < header ||
		(load16(ip + 6) & (IP_MF | IP_OFFMASK)))
		return false;
	*protocol = ip[9];
	packet->transport = packet->ip + header;
	packet->end = packet->ip + load16(ip + 2);
	return true;
}

static bool parse_ipv6(struct net_packet *packet, const uint8_t *ip, size_t room, uint8_t *protocol)
{
	if (room < sizeof(struct ip6_hdr) || ip[0] >> 4 != 6 ||
		load16(ip + 4) + sizeof(struct ip6_hdr) > room)
		return false;
	*protocol = ip[6];
	packet->ipv6 = true;
	packet->transport = packet->ip + sizeof(struct ip6_hdr);
	packet->end = packet->transport + load16(ip + 4);
	return true;
}

bool net_packet_parse(struct net_packet *packet, const uint8_t *frame, size_t size)
{
	unsigned type_at = 12, header = UDP_HEADER;
	uint8_t protocol;
	size_t room;
	bool ip;

	*packet = (struct net_packet){0};
	if (size < NET_ETHERNET + 4)
		return false;
	type_at += load16(frame + type_at) == ETHERTYPE_VLAN ? 4 : 0;
	packet->ip = type_at + 2;
	room = size - packet->ip;
	ip = load16(frame + type_at) == ETHERTYPE_IP
		     ? parse_ipv4(packet, frame + packet->ip, room, &protocol)
		     : load16(frame + type_at) == ETHERTYPE_IPV6 &&
			       parse_ipv6(packet, frame + packet->ip, room, &protocol);
	if (!ip || (protocol != IPPROTO_TCP && protocol != IPPROTO_UDP))
		return false;
	packet->tcp = protocol == IPPROTO_TCP;
	room = packet->end - packet->transport;
	if (packet->tcp && room < sizeof(struct tcphdr))
		return false;
	if (packet->tcp)
		header = (frame[packet->transport + 12] >> 4) * 4u;
	if (header > room || (packet->tcp && header < sizeof(struct tcphdr)))
		return false;
	packet->payload = packet->transport + header;
	return true;
}

/* --- headers --- */

static uint8_t gso_type(const struct virtio_net_hdr_v1 *header)
{
	return header->gso_type & (uint8_t)~VIRTIO_NET_HDR_GSO_ECN;
}

bool net_header_valid(const struct virtio_net_hdr_v1 *header, size_t size)
{
	bool checksum = header->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM;

	if (checksum && (size_t)header->csum_start + header->csum_offset + 2 > size)
		return false;
	if (header->gso_type == VIRTIO_NET_HDR_GSO_NONE)
		return true;
	return checksum && header->gso_size >= NET_LEAST_MSS &&
	       (gso_type(header) == VIRTIO_NET_HDR_GSO_TCPV4 ||
		       gso_type(header) == VIRTIO_NET_HDR_GSO_TCPV6);
}

bool net_header_taken(const struct virtio_net_hdr_v1 *header, uint64_t features)
{
	uint64_t needed = 0;

	if (header->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM)
		needed |= BIT(VIRTIO_NET_F_GUEST_CSUM);
	if (gso_type(header) == VIRTIO_NET_HDR_GSO_TCPV4)
		needed |= BIT(VIRTIO_NET_F_GUEST_TSO4);
	if (gso_type(header) == VIRTIO_NET_HDR_GSO_TCPV6)
		needed |= BIT(VIRTIO_NET_F_GUEST_TSO6);
	if (header->gso_type & VIRTIO_NET_HDR_GSO_ECN)
		needed |= BIT(VIRTIO_NET_F_GUEST_ECN);
	return (features & needed) == needed;
}

/* --- segmentation --- */

int net_cut_begin(
	struct net_cut *cut, const struct virtio_net_hdr_v1 *header, uint8_t *frame, size_t size)
{
	*cut = (struct net_cut){.frame = frame, .size = size};
	if (header->gso_type == VIRTIO_NET_HDR_GSO_NONE) {
		if (header->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM)
			net_fill_checksum(frame, size, header->csum_start, header->csum_offset);
		return 0;
	}
	if (!net_packet_parse(&cut->packet, frame, size) || !cut->packet.tcp)
		return -EINVAL;
	cut->mss = header->gso_size;
	return 0;
}

bool net_cut_more(const struct net_cut *cut)
{
	return !cut->number || (cut->mss && cut->done < cut->packet.end - cut->packet.payload);
}

/* The IP header of a segment: its length, its identification, which counts, and its checksum. */
static void fix_ip(const struct net_cut *cut, uint8_t *ip, unsigned bytes)
{
	unsigned header = cut->packet.transport - cut->packet.ip;
	uint16_t sum;

	if (cut->packet.ipv6) {
		store16(ip + 4, bytes - header);
		return;
	}
	store16(ip + 2, bytes);
	store16(ip + 4, load16(ip + 4) + cut->number);
	store16(ip + 10, 0);
	sum = (uint16_t)~net_sum(0, ip, header);
	memcpy(ip + 10, &sum, sizeof(sum));
}

/* FIN and PSH belong to the last segment, CWR (RFC 3168, 6.1.2) to the first. */
static void fix_tcp(const struct net_cut *cut, uint8_t *buffer, unsigned data)
{
	struct net_packet packet = cut->packet;
	uint8_t *tcp = buffer + packet.transport;
	bool last = cut->done + data == packet.end - packet.payload;

	packet.end = packet.payload + data;
	store32(tcp + 4, load32(tcp + 4) + cut->done);
	if (!last)
		tcp[13] &= (uint8_t) ~(TH_FIN | TH_PUSH);
	if (cut->number)
		tcp[13] &= (uint8_t)~0x80;
	store16(tcp + 16, 0);
	store_checksum(tcp + 16,
		net_sum(net_pseudo_sum(&packet, buffer), tcp, packet.end - packet.transport));
}

size_t net_cut_next(struct net_cut *cut, uint8_t *buffer)
{
	const struct net_packet *packet = &cut->packet;
	unsigned data;

	if (!cut->mss) {
		memcpy(buffer, cut->frame, cut->size);
		cut->number = 1;
		return cut->size;
	}
	data = MIN(cut->mss, packet->end - packet->payload - cut->done);
	memcpy(buffer, cut->frame, packet->payload);
	memcpy(buffer + packet->payload, cut->frame + packet->payload + cut->done, data);
	fix_ip(cut, buffer + packet->ip, packet->payload - packet->ip + data);
	fix_tcp(cut, buffer, data);
	cut->done += data;
	cut->number++;
	return packet->payload + data;
}
