/* A virtqueue (virtio 1.2, 2.7 split and 2.8 packed), as a device uses it.
 *
 * A queue belongs to one thread, its device's worker. What the guest has written is looked at once:
 * each index, address and length is checked as it is read, and a descriptor that has been read is
 * not read again. A queue that the driver has filled with nonsense is *broken*: nothing is taken
 * from it any more, and the device needs a reset (2.1.2).
 *
 *	while ((got = virtqueue_take(queue, &chain)) > 0)
 *		...
 *	if (got < 0)
 *		virtio_needs_reset(device);
 *
 *	virtqueue_give_back(queue, &chain, bytes);
 *	virtqueue_tell_driver(queue); */
#ifndef VENEER_DEVICE_VIRTIO_QUEUE_H
#define VENEER_DEVICE_VIRTIO_QUEUE_H

#include "memory/dma.h"

#define VIRTQUEUE_MAX_SIZE 1024 /* descriptors; a power of two */
/* Pieces of host memory of one chain at most: a chain has no more descriptors than the largest
 * queue, and hardly any of them consists of two pieces. */
#define VIRTIO_CHAIN_PIECES 1040

/* What the driver tells about a queue before it enables it; plain data, saved. */
struct virtqueue_setup {
	uint16_t size; /* a power of two where the ring is split; 0: no queue */
	uint64_t descriptors, driver, device; /* guest addresses of the three areas */
	bool enabled;
	/* Where a queue that has been in use goes on; both 0 at first. For a packed ring bit 15 is
	 * the wrap counter's complement (2.8.1). virtqueue_position() fills them in. */
	uint16_t next_available, next_used;
};

struct virtqueue {
	struct dma *dma;
	struct virtqueue_setup setup;
	bool packed, event_index, indirect, in_order;
	bool broken;
	bool notifications_off; /* the driver has been told not to notify */
	/* Host addresses of the areas, each in one piece. */
	uint8_t *descriptors, *driver, *device;
	uint16_t next_available, next_used;
	bool used_wrap, available_wrap;
	uint16_t told_used; /* next_used when the driver was last told */
	bool told_wrap;
	unsigned in_flight; /* chains taken and not given back */
	bool stopped;       /* nothing is taken from it any more; see virtqueue_stop() */
	/* Interrupt the driver. */
	void (*interrupt)(void *opaque, struct virtqueue *queue);
	/* A queue that was stopped has nothing in flight any more. NULL: nobody waits for it. */
	void (*drained)(void *opaque, struct virtqueue *queue);
	void *opaque;
	unsigned index; /* which queue of its device */
};

/* A request: guest memory that the device may read, and then memory that it may write. `pieces` has
 * the readable ones first. It may be copied (the pieces are then the copier's to keep). */
struct virtio_chain {
	struct iovec *pieces; /* the caller's; `limit` of them */
	unsigned limit;
	unsigned readable, writable; /* how many pieces of each */
	uint64_t readable_bytes, writable_bytes;
	uint16_t id, descriptors; /* the queue's own */
};

/* Begin to use a queue that the driver has enabled, with these features. queue->interrupt,
 * ->drained and ->opaque are the caller's and stay; the rest is filled in. A device that gives all
 * chains back in the order in which it has taken them may offer VIRTIO_F_IN_ORDER; the queue does
 * nothing else for it. 0; or -EINVAL: size or addresses are impossible (not in RAM, not aligned),
 * and the queue is broken. */
int virtqueue_start(struct virtqueue *queue, struct dma *dma, const struct virtqueue_setup *setup,
	unsigned index, uint64_t features);

/* Take nothing more from the queue, as if it were empty: drained() is called when nothing is
 * in flight, which may be at once. */
void virtqueue_stop(struct virtqueue *queue);

/* Note in `setup` where the queue would go on: nothing is in flight. */
void virtqueue_position(const struct virtqueue *queue, struct virtqueue_setup *setup);

/* The next chain that the driver has made available: 1; 0: none is, and the driver will notify when
 * it adds one (notifications are off while chains keep coming); -EINVAL: it is malformed, and the
 * queue is broken. chain->pieces and ->limit are the caller's. */
int virtqueue_take(struct virtqueue *queue, struct virtio_chain *chain);
/* Has the driver made more available? Without taking it. */
bool virtqueue_has_more(struct virtqueue *queue);
/* Put the chain taken last back, as if it had not been taken; then, if so wished, the one before
 * it, and so on. Only before any other of these calls than virtqueue_take(). */
void virtqueue_untake(struct virtqueue *queue, const struct virtio_chain *chain);

/* The device is done with the chain: it has stored `written` bytes, from the beginning, to its
 * writable pieces. Marks them written (dma_range_written()). Chains may be given back in any order.
 * The driver sees this at once, but is not interrupted. */
void virtqueue_give_back(
	struct virtqueue *queue, const struct virtio_chain *chain, uint32_t written);
/* The same for `count` chains, of which the driver must see all or none: the buffers of one packet
 * (5.1.6.4.1). They are in the order in which they were taken, with nothing taken between them that
 * is not given back. */
void virtqueue_give_back_together(struct virtqueue *queue, const struct virtio_chain *chains,
	const uint32_t *written, unsigned count);
/* Interrupt the driver if anything was given back since the last time, and it wants to know. */
void virtqueue_tell_driver(struct virtqueue *queue);

/* Copy between a buffer and the readable or writable pieces, from byte `offset` of those on.
 * Returns how many bytes there were, at most `size`. */
uint64_t virtio_chain_read(
	const struct virtio_chain *chain, uint64_t offset, void *buffer, uint64_t size);
uint64_t virtio_chain_write(
	const struct virtio_chain *chain, uint64_t offset, const void *buffer, uint64_t size);

#endif
