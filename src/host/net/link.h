/* A link carries frames between two processes: a memfd with a ring for each direction, and a stream
 * socket over which each end wakes the other, and learns of its end. A frame is copied once into
 * the ring and once out of it; while both ends are awake there are no system calls.
 *
 * Nothing that the other end writes is trusted: indices and lengths are read once and checked
 * (-EPROTO: it has broken the rules; close the link), and the memory cannot shrink. What a frame
 * holds may change while it is looked at; copy what is to be checked.
 *
 * Each end is used by one thread. Neither waits for the other. */
#ifndef VENEER_HOST_NET_LINK_H
#define VENEER_HOST_NET_LINK_H

#include "host/net/net_backend.h"

#include <stdatomic.h>
#include <stddef.h>

#define NET_LINK_RING 0x100000 /* bytes of a ring: a power of two */

struct net_link_control;

/* One direction, as one of its ends sees it. */
struct net_ring {
	struct net_ring_control *control; /* shared */
	uint8_t *data;                    /* shared, and mapped twice: no frame is in two pieces */
	uint32_t own;                     /* the index that this end moves on */
	uint32_t other;                   /* the other end's, when it was last looked at */
	uint32_t size;                    /* of the frame that was seen last, in the ring */
};

struct net_link {
	int socket; /* readable: net_link_drain(); -1: no link */
	uint8_t *map;
	struct net_link_control *control; /* shared */
	unsigned side;                    /* 0: it made the link; 1 */
	struct net_ring out, in;
	bool unannounced; /* frames have been sent since the other end was last told */
};

/* Make the memory, and the link's side 0, which owns `socket` from then on. The other side wants
 * `*memory`, a descriptor that the caller closes. 0 or -errno; then the socket is the caller's. */
int net_link_create(struct net_link *link, int socket, int *memory);
/* Side 1. Checks that the memory is what net_link_create() makes: -EPROTO. Closes neither
 * descriptor on failure; on success owns the socket. */
int net_link_join(struct net_link *link, int socket, int memory);
/* Harmless on a link that is closed. */
void net_link_close(struct net_link *link);

/* Put a frame into the ring. -EAGAIN: there is no room, and the other end will wake us when half of
 * the ring is free; -EPROTO. */
int net_link_send(struct net_link *link, const struct iovec *pieces, unsigned count, size_t bytes);
/* Wake the other end where it sleeps and there is something new for it. */
void net_link_flush(struct net_link *link);
/* Bytes that are free in the ring; with `wait`, the other end will wake us when half of the ring is
 * free, unless it is already. -EPROTO. */
int net_link_room(struct net_link *link, bool wait);

/* The next frame, where it lies in the ring, and its bytes: at least `least`, which is not 0, and
 * at most NET_MAX_FRAME. -EAGAIN: there is none, and the other end will wake us; -EPROTO. */
ssize_t net_link_peek(struct net_link *link, uint8_t **frame, size_t least);
/* Copy a frame into the pieces. `bytes`, or -EMSGSIZE: they are too small. */
ssize_t net_scatter(const struct iovec *pieces, unsigned count, const uint8_t *frame, size_t bytes);
/* Done with the frame that was seen last. */
void net_link_taken(struct net_link *link);

/* Take what the socket has to say: 0, or -EPIPE: the other end is gone. */
int net_link_drain(struct net_link *link);

/* The offloads that this end's guest takes (VIRTIO_NET_F_GUEST_*), and those of the other end's. */
void net_link_set_takes(struct net_link *link, uint64_t features);
uint64_t net_link_takes(const struct net_link *link);

#endif
