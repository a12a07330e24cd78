/* The entropy device (virtio 1.2, 5.4): it fills what the driver makes available with random bytes
 * of the host's kernel. It has no features and no configuration. */
#include "device/virtio/entropy.h"

#include "base/log.h"
#include "device/virtio/virtio.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

#define QUEUE_SIZE 64
/* A request is given so many bytes at most, and so many requests are served before what else the
 * worker has to do, so that none of it takes long; a driver asks again. */
#define LARGEST 4096
#define BATCH   64

struct entropy {
	struct virtio_device virtio;
	struct worker_task more;
	struct iovec pieces[VIRTIO_CHAIN_PIECES];
};

/* Fill the chain's first bytes. Returns how many. */
static uint32_t fill(const struct virtio_chain *chain)
{
	const struct iovec *piece = chain->pieces + chain->readable;
	uint32_t done = 0;

	for (unsigned i = 0; i < chain->writable && done < LARGEST; i++) {
		size_t size = MIN(piece[i].iov_len, LARGEST - done);
		ssize_t got;

		/* From 256 bytes on a signal may cut it short; a worker gets none. */
		got = getrandom(piece[i].iov_base, size, 0);
		if (got <= 0)
			break;
		done += (uint32_t)got;
		if ((size_t)got < size)
			break;
	}
	return done;
}

static void serve(struct entropy *entropy, struct virtqueue *queue)
{
	struct virtio_chain chain = {.pieces = entropy->pieces, .limit = VIRTIO_CHAIN_PIECES};
	unsigned count = 0;
	int got = 0;

	while (count < BATCH && (got = virtqueue_take(queue, &chain)) > 0) {
		virtqueue_give_back(queue, &chain, fill(&chain));
		count++;
	}
	virtqueue_tell_driver(queue);
	if (got < 0)
		virtio_needs_reset(&entropy->virtio);
	else if (got)
		worker_post(entropy->virtio.worker, &entropy->more);
}

static void notified(struct virtio_device *device, struct virtqueue *queue)
{
	serve((struct entropy *)device, queue);
}

static void serve_more(void *opaque)
{
	struct entropy *entropy = opaque;

	if (entropy->virtio.running)
		serve(entropy, &entropy->virtio.queue[0]);
}

static void destroy(struct virtio_device *device)
{
	free(device);
}

static const struct virtio_ops ops = {
	.name = "virtio-entropy",
	.type = VIRTIO_ENTROPY,
	.pci_class = 0xff0000, /* of no class */
	.notified = notified,
	.destroy = destroy,
};

int virtio_entropy_create(struct pci_bus *bus)
{
	struct entropy *entropy = calloc(1, sizeof(*entropy));
	int error;

	if (!entropy) {
		log_error("out of memory for the entropy device");
		return -ENOMEM;
	}
	entropy->virtio.ops = &ops;
	entropy->virtio.offered = VIRTIO_F_IN_ORDER;
	entropy->virtio.queue_count = 1;
	entropy->virtio.queue_size = QUEUE_SIZE;
	worker_task_init(&entropy->more, serve_more, entropy);
	error = virtio_add(&entropy->virtio, bus, PCI_ANY_SLOT, 0);
	if (error)
		free(entropy);
	return error;
}
