/* A block device between a queue, a worker and a disk that the test plays: chains are pieces of the
 * test's memory, tasks run when it says so, and requests complete when it says so. Linked in the
 * place of the real ones. */
#ifndef VENEER_TESTS_UNIT_BLOCK_FIXTURE_H
#define VENEER_TESTS_UNIT_BLOCK_FIXTURE_H

#include "device/virtio/block.h"

#include <stdlib.h>
#include <string.h>

#define CHAINS 2048

/* What the device was told, and what it did. */
static struct {
	struct virtio_device *device;
	struct virtio_chain chains[CHAINS]; /* not yet taken; pieces are the test's */
	unsigned chain_count, taken;
	bool malformed; /* the next one is */
	unsigned given_back, told, needs_reset, stopped;
	uint32_t written; /* by the chain given back last */
	struct worker_task *posted;
	bool idle_wanted;
	void (*idle)(void *opaque);
	void *idle_opaque;
	int add_error;
	struct device *settings; /* that the device has added beside itself */
	const struct device_ops *settings_ops;
} played;

int virtqueue_take(struct virtqueue *queue, struct virtio_chain *chain)
{
	struct virtio_chain *next = &played.chains[played.taken];
	struct iovec *pieces = chain->pieces;

	if (played.malformed)
		return -EINVAL;
	if (played.taken == played.chain_count)
		return 0;
	if (next->readable + next->writable > chain->limit)
		abort();
	played.taken++;
	memcpy(pieces, next->pieces, (next->readable + next->writable) * sizeof(*pieces));
	*chain = *next;
	chain->pieces = pieces;
	return 1;
}

void virtqueue_give_back(
	struct virtqueue *queue, const struct virtio_chain *chain, uint32_t written)
{
	uint64_t room = 0;

	for (unsigned i = 0; i < chain->writable; i++)
		room += chain->pieces[chain->readable + i].iov_len;
	if (room != chain->writable_bytes || written > room)
		abort();
	played.given_back++;
	played.written = written;
}

void virtqueue_tell_driver(struct virtqueue *queue)
{
	played.told++;
}

static uint64_t copy(const struct iovec *pieces, unsigned count, uint64_t offset, uint8_t *buffer,
	uint64_t size, bool write)
{
	uint64_t done = 0;

	for (; count; count--, pieces++) {
		uint64_t skip = MIN(offset, pieces->iov_len);
		uint64_t part = MIN(size - done, pieces->iov_len - skip);
		uint8_t *at = (uint8_t *)pieces->iov_base + skip;

		offset -= skip;
		if (part)
			memcpy(write ? at : buffer + done, write ? buffer + done : at, part);
		done += part;
	}
	return done;
}

uint64_t virtio_chain_read(
	const struct virtio_chain *chain, uint64_t offset, void *buffer, uint64_t size)
{
	return copy(chain->pieces, chain->readable, offset, buffer, size, false);
}

uint64_t virtio_chain_write(
	const struct virtio_chain *chain, uint64_t offset, const void *buffer, uint64_t size)
{
	return copy(chain->pieces + chain->readable, chain->writable, offset, (void *)buffer, size,
		true);
}

int virtio_add(struct virtio_device *device, struct pci_bus *bus, int slot, uint32_t instance)
{
	if (played.add_error)
		return played.add_error;
	played.device = device;
	for (unsigned i = 0; i < device->queue_count; i++)
		device->queue[i].index = i;
	return 0;
}

void virtio_stopped(struct virtio_device *device)
{
	played.stopped++;
}

void virtio_needs_reset(struct virtio_device *device)
{
	played.needs_reset++;
}

void worker_task_init(struct worker_task *task, void (*run)(void *opaque), void *opaque)
{
	task->run = run;
	task->opaque = opaque;
}

void worker_post(struct worker *worker, struct worker_task *task)
{
	played.posted = task;
}

void worker_call(struct worker *worker, void (*run)(void *opaque), void *opaque)
{
	run(opaque);
}

void worker_want_idle(struct worker *worker)
{
	played.idle_wanted = true;
}

int worker_add_idle(struct worker *worker, void (*run)(void *opaque), void *opaque)
{
	played.idle = run;
	played.idle_opaque = opaque;
	return 0;
}

const struct pci_config *pci_bus_config(const struct pci_bus *bus)
{
	static struct device_list devices;
	static const struct pci_config config = {.devices = &devices};

	return &config;
}

void device_list_add(struct device_list *list, struct device *device, const struct device_ops *ops,
	uint32_t instance)
{
	played.settings = device;
	played.settings_ops = ops;
}

/* Let the worker sleep. */
static inline void idle(void)
{
	while (played.idle_wanted) {
		played.idle_wanted = false;
		played.idle(played.idle_opaque);
	}
}

/* --- the disk --- */

#define FAKE_SECTORS 64

static struct fake_disk {
	struct disk disk;
	uint8_t bytes[FAKE_SECTORS * DISK_SECTOR];
	struct disk_request *first, **last; /* submitted */
	unsigned submitted, sent, destroyed;
	int start_error;
} fake;

static int fake_start(struct disk *disk, struct worker *worker)
{
	return fake.start_error;
}

static void fake_submit(struct disk *disk, struct disk_request *request)
{
	request->next = NULL;
	*fake.last = request;
	fake.last = &request->next;
	fake.submitted++;
}

static void fake_flush_queue(struct disk *disk)
{
	fake.sent = fake.submitted;
}

static void fake_destroy(struct disk *disk)
{
	fake.destroyed++;
}

static const struct disk_ops fake_ops = {
	fake_start, fake_submit, fake_flush_queue, fake_destroy, NULL};

static void fake_disk_setup(void)
{
	memset(&fake, 0, sizeof(fake));
	fake.disk = (struct disk){.ops = &fake_ops,
		.size = sizeof(fake.bytes),
		.can_discard = true,
		.can_write_zeroes = true,
		.block_size = 4096,
		.how = "fake"};
	fake.last = &fake.first;
}

/* Do what the oldest request asks for, if `error` is 0, and complete it. False: there is none. */
static bool fake_complete(int error)
{
	struct disk_request *request = fake.first;
	uint64_t pieces = 0;

	if (!request)
		return false;
	fake.first = request->next;
	if (!fake.first)
		fake.last = &fake.first;
	if (request->offset > sizeof(fake.bytes) ||
		request->bytes > sizeof(fake.bytes) - request->offset ||
		request->bytes % DISK_SECTOR)
		abort();
	if (request->operation == DISK_READ || request->operation == DISK_WRITE) {
		for (unsigned i = 0; i < request->piece_count; i++)
			pieces += request->pieces[i].iov_len;
		if (pieces != request->bytes)
			abort();
		if (!error)
			copy(request->pieces, request->piece_count, 0, fake.bytes + request->offset,
				request->bytes, request->operation == DISK_READ);
	} else if (request->operation != DISK_FLUSH && !error) {
		memset(fake.bytes + request->offset, 0, request->bytes);
	}
	request->done(request, error);
	return true;
}

#endif
