/* Where a helper reads a disk from. The disk is hostile, and may shrink or fail at any moment. */
#ifndef VENEER_HELPER_DISK_SOURCE_H
#define VENEER_HELPER_DISK_SOURCE_H

#include <stddef.h>
#include <stdint.h>

struct disk_source {
	uint64_t size;        /* bytes */
	uint64_t start;       /* where the disk begins in the file */
	int fd;               /* -1: see below */
	const uint8_t *bytes; /* in memory, for tests and fuzzers; `start` is 0 */
	/* From elsewhere: read all of [offset, offset + bytes), 0 or -errno. */
	int (*read)(uint64_t offset, void *buffer, size_t bytes);
};

/* The part of a file or block device that begins at `start`; size 0: all that follows. The caller
 * keeps the descriptor. 0, or -errno: -EINVAL where the file ends before the part does. */
int disk_source_file(struct disk_source *source, int fd, uint64_t start, uint64_t size);
/* Bytes in memory, which must outlive it. */
void disk_source_bytes(struct disk_source *source, const void *bytes, uint64_t size);

/* What `read` reads. */
void disk_source_other(struct disk_source *source, uint64_t start, uint64_t size,
	int (*read)(uint64_t offset, void *buffer, size_t bytes));

/* Read all of [offset, offset + bytes). 0; -EINVAL past the disk's end; -EIO where the file has
 * shrunk; another -errno. */
int disk_source_read(const struct disk_source *source, uint64_t offset, void *buffer, size_t bytes);

#endif
