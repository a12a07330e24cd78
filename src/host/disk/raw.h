/* A raw disk, as raw.c, which serves its requests, and raw_open.c, which finds out what it is, see
 * it; for none else. */
#ifndef VENEER_HOST_DISK_RAW_H
#define VENEER_HOST_DISK_RAW_H

#include "host/disk/disk.h"
#include "host/disk/internal.h"

#define RAW_BLOCK 4096 /* the best size and alignment, where nothing else is known */

struct raw {
	struct disk disk;
	char *name;
	int fd;
	bool direct, unsafe, threads, block_device;
	uint64_t start;     /* of the disk in the file */
	uint64_t file_end;  /* where the file ended, if in the disk's last sector; or UINT64_MAX */
	uint32_t alignment; /* direct: of everything */
	unsigned missing;   /* a bit for each enum zero_call that the file system lacks */
	unsigned told_errors; /* a bit for each kind of error that was logged */

	struct file_io *io;
	struct raw_job *spare;
	struct disk_finished finished;

	/* Direct: requests under way, and those that wait for a bounce buffer or for one to be
	 * alone. */
	unsigned running, bounces;
	bool alone;
	struct disk_request *held, **held_end;
};

/* One with defaults for all but its size; takes `fd`, also where it fails. NULL with a message. */
struct raw *raw_new(const char *name, int fd);

#endif
