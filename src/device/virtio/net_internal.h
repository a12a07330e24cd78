/* A network card's files among themselves. Everything runs on the card's worker, but for what makes
 * and destroys it.
 *
 *	net.c		the card: features, queues, start and stop
 *	net_transmit.c	frames of the guest
 *	net_receive.c	frames for the guest
 *	net_control.c	the control queue's commands, the filter */
#ifndef VENEER_DEVICE_VIRTIO_NET_INTERNAL_H
#define VENEER_DEVICE_VIRTIO_NET_INTERNAL_H

#include "device/virtio/net.h"
#include "device/virtio/net_control.h"
#include "device/virtio/virtio.h"

#define ETHERNET_HEADER 14
#define NET_MAX_PAIRS   8
#define NET_QUEUE_SIZE  256
#define NET_BATCH       64   /* frames of a queue before the others have their turn */
#define NET_PIECES      1024 /* of a frame, at most: what readv(2) takes (UIO_MAXIOV) */
#define NET_HAND_CHAINS 64

/* Chains of a receive queue that were taken and are not yet filled: so many that any frame fits,
 * where the driver has made so many available. */
struct net_hand {
	struct virtio_chain chain[NET_HAND_CHAINS];
	unsigned count;
	struct iovec pieces[NET_PIECES + VIRTIO_CHAIN_PIECES]; /* of all, one behind the other */
	unsigned piece_count;
	uint64_t bytes;
};

struct net_receiver {
	struct net_device *net;
	unsigned index; /* of the pair */
	struct worker_task more;
	/* The driver has made too little available, and the back end knows. */
	bool starved;
	struct net_hand hand;
	/* A frame that came while the hand was too small for any frame, or had too many pieces. */
	uint8_t frame[NET_MAX_FRAME];
	size_t frame_bytes; /* 0: there is none */
};

struct net_transmitter {
	struct net_device *net;
	unsigned index;
	struct worker_task more;
	bool blocked; /* the back end has no room, and will say when it has */
};

/* What the control queue sets outlives a stop of the machine, and is saved. */
struct net_settings {
	struct device device;
	struct net_control state;
};

struct net_device {
	struct virtio_device virtio;
	struct net_settings settings;
	struct net_backend *backend;
	unsigned max_pairs;
	uint8_t mac[6]; /* at reset */
	uint64_t transmit_features;
	unsigned largest_frame; /* of received ones, as negotiated; with its header */
	struct worker_task more_control;

	/* What the driver is to find as its address in the configuration. */
	_Atomic uint64_t config_mac;
	struct event_work config_mac_work;

	struct iovec pieces[VIRTIO_CHAIN_PIECES], frame[VIRTIO_CHAIN_PIECES + 1];
	uint8_t copy[NET_MAX_FRAME]; /* of a frame that has too many pieces */
	struct net_transmitter transmitter[NET_MAX_PAIRS];
	struct net_receiver receiver[NET_MAX_PAIRS];
};

static inline struct virtqueue *net_receive_queue(struct net_device *net, unsigned pair)
{
	return &net->virtio.queue[2 * pair];
}

static inline struct virtqueue *net_transmit_queue(struct net_device *net, unsigned pair)
{
	return &net->virtio.queue[2 * pair + 1];
}

static inline bool net_queue_usable(const struct net_device *net, const struct virtqueue *queue)
{
	return net->virtio.running && queue->setup.enabled && !queue->broken;
}

/* --- net_transmit.c --- */

/* May a frame of `size` bytes with this header be sent by a driver with these features? Brings the
 * header into the form that back ends get: what has no meaning is zero. */
bool net_header_check(struct virtio_net_hdr_v1 *header, size_t size, uint64_t features);
/* Send what the driver has made available. */
void net_transmit(void *transmitter);
void net_transmit_init(struct net_device *net, unsigned pair);

/* --- net_receive.c --- */

/* Hand on what the back end has. */
void net_receive(void *receiver);
void net_receive_init(struct net_device *net, unsigned pair);
/* The driver has made buffers available, or is ready to. */
void net_receive_notified(struct net_receiver *receiver);
/* Put back what is in hand, and forget the frame that waits. */
void net_receive_stop(struct net_receiver *receiver);

#endif
