/* A disk in the test's memory, whose requests may be held. */
#ifndef VENEER_TESTS_UNIT_MEMORY_DISK_H
#define VENEER_TESTS_UNIT_MEMORY_DISK_H

#include "base/bits.h"
#include "device/storage/drive.h"

#include <stdlib.h>
#include <string.h>

struct memory_disk {
	struct disk disk;
	uint8_t *bytes;
	unsigned reads, writes, flushes, discards, fuas;
	int error; /* what requests end with */
	bool held; /* they wait */
	struct disk_request *first, **last;
};

static inline int memory_disk_start(struct disk *disk, struct worker *worker)
{
	return 0;
}

static inline void memory_disk_submit(struct disk *disk, struct disk_request *request)
{
	struct memory_disk *on = container_of(disk, struct memory_disk, disk);

	request->next = NULL;
	*on->last = request;
	on->last = &request->next;
}

static inline void memory_disk_run(struct memory_disk *on, struct disk_request *request)
{
	uint64_t at = request->offset, bytes = 0;

	if (request->offset > on->disk.size || request->bytes > on->disk.size - request->offset ||
		request->bytes % DISK_SECTOR)
		abort();
	on->reads += request->operation == DISK_READ;
	on->writes += request->operation == DISK_WRITE;
	on->flushes += request->operation == DISK_FLUSH;
	on->discards += request->operation == DISK_DISCARD;
	on->fuas += request->fua;
	if (request->operation == DISK_DISCARD && !on->error)
		memset(on->bytes + at, 0, request->bytes);
	if (request->operation > DISK_WRITE)
		return;
	for (unsigned i = 0; i < request->piece_count; i++)
		bytes += request->pieces[i].iov_len;
	if (bytes != request->bytes)
		abort();
	for (unsigned i = 0; i < request->piece_count && !on->error; i++) {
		const struct iovec *piece = &request->pieces[i];

		if (request->operation == DISK_READ)
			memcpy(piece->iov_base, on->bytes + at, piece->iov_len);
		else
			memcpy(on->bytes + at, piece->iov_base, piece->iov_len);
		at += piece->iov_len;
	}
}

static inline void memory_disk_flush_queue(struct disk *disk)
{
	struct memory_disk *on = container_of(disk, struct memory_disk, disk);
	struct disk_request *request;

	while (!on->held && (request = on->first)) {
		on->first = request->next;
		if (!on->first)
			on->last = &on->first;
		memory_disk_run(on, request);
		request->done(request, on->error);
	}
}

static inline void memory_disk_destroy(struct disk *disk)
{
	struct memory_disk *on = container_of(disk, struct memory_disk, disk);

	free(on->bytes);
	free(on);
}

/* Machines that end have their requests complete. */
static inline void memory_disk_abandon(struct disk *disk)
{
	container_of(disk, struct memory_disk, disk)->held = false;
	memory_disk_flush_queue(disk);
}

static const struct disk_ops memory_disk_ops = {memory_disk_start, memory_disk_submit,
	memory_disk_flush_queue, memory_disk_destroy, memory_disk_abandon};

/* Each sector begins with its number, and is filled with its lowest byte. */
static inline struct memory_disk *memory_disk(uint64_t sectors)
{
	struct memory_disk *on = calloc(1, sizeof(*on));

	on->disk = (struct disk){.ops = &memory_disk_ops,
		.size = sectors * DISK_SECTOR,
		.can_discard = true,
		.block_size = 4096,
		.how = "memory"};
	on->bytes = malloc(on->disk.size);
	on->last = &on->first;
	for (uint64_t i = 0; i < sectors; i++) {
		memset(on->bytes + i * DISK_SECTOR, (uint8_t)i, DISK_SECTOR);
		memcpy(on->bytes + i * DISK_SECTOR, &i, sizeof(i));
	}
	return on;
}

static inline void memory_disk_go_on(void *disk)
{
	memory_disk_abandon(disk);
}

/* Let what is held go on. */
static inline void memory_disk_release(struct drive *drive)
{
	worker_call(drive->worker, memory_disk_go_on, drive->disk);
}

#endif
