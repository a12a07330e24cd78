/* A disk in memory whose requests are in flight until the test completes them. One at a time. */
#ifndef VENEER_TESTS_UNIT_SLOW_DISK_H
#define VENEER_TESTS_UNIT_SLOW_DISK_H

#include "base/bits.h"
#include "host/disk/disk.h"

#include <string.h>

#define SLOW_DISK_SIZE (64 * KIB)

static struct slow_disk {
	struct disk disk;
	struct worker *worker;
	struct disk_request *first, *last; /* in flight; the worker's */
	uint8_t bytes[SLOW_DISK_SIZE];
} slow;

static inline int slow_disk_start(struct disk *disk, struct worker *worker)
{
	slow.worker = worker;
	return 0;
}

static inline void slow_disk_submit(struct disk *disk, struct disk_request *request)
{
	request->next = NULL;
	if (slow.last)
		slow.last->next = request;
	else
		slow.first = request;
	slow.last = request;
}

static inline void slow_disk_flush_queue(struct disk *disk)
{
}

static inline void slow_disk_destroy(struct disk *disk)
{
}

static inline void slow_disk_transfer(const struct disk_request *request)
{
	uint8_t *at = slow.bytes + request->offset;

	for (unsigned i = 0; i < request->piece_count; i++) {
		const struct iovec *piece = &request->pieces[i];

		if (request->operation == DISK_READ)
			memcpy(piece->iov_base, at, piece->iov_len);
		else
			memcpy(at, piece->iov_base, piece->iov_len);
		at += piece->iov_len;
	}
}

/* The request that has waited longest ends. On the worker. */
static inline void slow_disk_complete_one(void *opaque)
{
	struct disk_request *request = slow.first;

	if (!request)
		return;
	slow.first = request->next;
	if (!slow.first)
		slow.last = NULL;
	if (request->operation == DISK_READ || request->operation == DISK_WRITE)
		slow_disk_transfer(request);
	request->done(request, 0);
}

static inline void slow_disk_complete_all(void *opaque)
{
	while (slow.first)
		slow_disk_complete_one(opaque);
}

static inline struct disk *slow_disk_create(void)
{
	static const struct disk_ops ops = {
		.start = slow_disk_start,
		.submit = slow_disk_submit,
		.flush_queue = slow_disk_flush_queue,
		.destroy = slow_disk_destroy,
	};

	slow = (struct slow_disk){
		.disk = {.ops = &ops, .size = SLOW_DISK_SIZE, .block_size = 512, .how = "slowly"}};
	return &slow.disk;
}

#endif
