/* What the driver sets by the control queue of a network card (virtio 1.2, 5.1.6.5), and the filter
 * of received frames that follows from it. Knows nothing of queues or of the card. */
#ifndef VENEER_DEVICE_VIRTIO_NET_CONTROL_H
#define VENEER_DEVICE_VIRTIO_NET_CONTROL_H

#include "base/bits.h"
#include "base/state.h"
#include "device/virtio/queue.h"

#include <linux/virtio_net.h>
#include <stdbool.h>
#include <stdint.h>

#define NET_MAC_TABLE 64 /* addresses of each kind; a longer table lets all of its kind through */
#define NET_VLANS     4096
/* As much of a frame as the filter looks at: two addresses, a VLAN's tag. */
#define NET_FILTER_SIZE 16

#define NET_GUEST_OFFLOADS                                                                         \
	(BIT(VIRTIO_NET_F_GUEST_CSUM) | BIT(VIRTIO_NET_F_GUEST_TSO4) |                             \
		BIT(VIRTIO_NET_F_GUEST_TSO6) | BIT(VIRTIO_NET_F_GUEST_ECN))

/* Addresses that a table of VIRTIO_NET_CTRL_MAC_TABLE_SET lets through. */
struct net_mac_table {
	bool overflow; /* there were more than fit: all are let through */
	unsigned count;
	uint8_t mac[NET_MAC_TABLE][6];
};

struct net_control {
	bool in_use;       /* a driver has set the card up; else all is as after a reset */
	uint64_t features; /* as negotiated */
	/* The filter. */
	bool promiscuous, all_multicast, all_unicast, no_multicast, no_unicast, no_broadcast;
	uint8_t mac[6];
	struct net_mac_table unicast, multicast;
	uint64_t vlans[NET_VLANS / 64]; /* a bit each: frames of this VLAN are let through */

	unsigned pairs, max_pairs; /* of queues in use, and there */
	uint64_t offloads;         /* of NET_GUEST_OFFLOADS: what received frames may have */
};

extern const struct state_field net_control_fields[];

/* As after a reset (5.1.5). Until the driver sets a filter, all frames are let through. */
void net_control_init(struct net_control *control, const uint8_t mac[6]);
/* A driver that has negotiated these features begins, or goes on with what it has set. */
void net_control_begin(struct net_control *control, uint64_t features, unsigned max_pairs);
/* Execute a command, which is what the chain has to read. VIRTIO_NET_OK, or VIRTIO_NET_ERR and
 * nothing has changed. */
uint8_t net_control_execute(struct net_control *control, const struct virtio_chain *chain);
/* The offloads in use, without those that make no sense alone. */
uint64_t net_control_offloads(const struct net_control *control);
/* Is a frame that begins with these NET_FILTER_SIZE bytes for the driver? */
bool net_control_accepts(const struct net_control *control, const uint8_t *frame);

#endif
