/* Offloads done in software: the checksums that a virtio-net header asks for (virtio 1.2, 5.1.6),
 * and TCP segmentation, for a receiver that takes neither. A frame here is what follows the header;
 * offsets are from its first byte. */
#ifndef VENEER_HOST_NET_OFFLOAD_H
#define VENEER_HOST_NET_OFFLOAD_H

#include "base/bits.h"
#include "host/net/net_backend.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NET_ETHERNET 14
/* Frames up to this size are taken by every receiver: 1500 bytes, and a VLAN tag. */
#define NET_SMALL_FRAME (NET_ETHERNET + 4 + 1500)
/* What a back end offers whose other ends are programs such as this. */
#define NET_SOFTWARE_OFFLOADS                                                                      \
	(BIT(VIRTIO_NET_F_CSUM) | BIT(VIRTIO_NET_F_HOST_TSO4) | BIT(VIRTIO_NET_F_HOST_TSO6) |      \
		BIT(VIRTIO_NET_F_HOST_ECN) | BIT(VIRTIO_NET_F_GUEST_CSUM) |                        \
		BIT(VIRTIO_NET_F_GUEST_TSO4) | BIT(VIRTIO_NET_F_GUEST_TSO6) |                      \
		BIT(VIRTIO_NET_F_GUEST_ECN))
/* The least gso_size that is taken: a frame does not become more than so many pieces. No TCP has
 * smaller segments. */
#define NET_LEAST_MSS 48

/* The Internet checksum's sum (RFC 1071) of some bytes and `sum`, folded to 16 bits, not
 * complemented, in memory's byte order. All blocks but the last one have an even size. */
uint16_t net_sum(uint16_t sum, const void *bytes, size_t size);
/* Write the checksum of the frame from `start` on at `start` + `offset`, where there is the sum of
 * the pseudo-header, as VIRTIO_NET_HDR_F_NEEDS_CSUM says. It has been checked that they fit. */
void net_fill_checksum(uint8_t *frame, size_t size, unsigned start, unsigned offset);

/* A TCP or UDP packet, not a fragment, over IPv4 or over IPv6 without extension headers. */
struct net_packet {
	bool ipv6, tcp;
	unsigned ip, transport, payload; /* where they begin */
	unsigned end;                    /* the packet's; the frame may be padded */
};
/* False: it is something else, or it is malformed. All of it lies within `size`. */
bool net_packet_parse(struct net_packet *packet, const uint8_t *frame, size_t size);
/* The sum of the pseudo-header with the packet's addresses and length. */
uint16_t net_pseudo_sum(const struct net_packet *packet, const uint8_t *frame);

/* May it be passed on to a guest, or worked on here? `size`: of the frame behind it. Only TCP is
 * segmented. */
bool net_header_valid(const struct virtio_net_hdr_v1 *header, size_t size);
/* Does a guest that takes these offloads (VIRTIO_NET_F_GUEST_*) take such a frame as it is? */
bool net_header_taken(const struct virtio_net_hdr_v1 *header, uint64_t features);

/* A frame that is made into what every receiver takes: segments with checksums. */
struct net_cut {
	const uint8_t *frame; /* the caller's, and stays as it is till the last is cut */
	size_t size;
	struct net_packet packet;
	unsigned mss, done, number;
};
/* Begin. The frame has passed net_header_valid(), and no one else changes it; where it is not
 * segmented, its checksum is filled in in place. -EINVAL: it cannot be cut. */
int net_cut_begin(
	struct net_cut *cut, const struct virtio_net_hdr_v1 *header, uint8_t *frame, size_t size);
/* Is there another one? */
bool net_cut_more(const struct net_cut *cut);
/* The next one, into a buffer of NET_MAX_FRAME bytes. Its size; there is one. */
size_t net_cut_next(struct net_cut *cut, uint8_t *buffer);

#endif
