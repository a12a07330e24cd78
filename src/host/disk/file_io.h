/* System calls on a file, made asynchronously: by io_uring (uring.c), or by threads that block in
 * the worker's stead (threads.c). Everything here is called on the worker, and completes there. */
#ifndef VENEER_HOST_DISK_FILE_IO_H
#define VENEER_HOST_DISK_FILE_IO_H

#include "host/worker.h"

#include <sys/uio.h>

struct file_io;

enum file_call {
	FILE_READ,     /* preadv(2) */
	FILE_WRITE,    /* pwritev2(2) */
	FILE_SYNC,     /* fdatasync(2) */
	FILE_ALLOCATE, /* fallocate(2) with `mode` */
	FILE_DISCARD,  /* ioctl(BLKDISCARD) */
};

struct file_job {
	enum file_call call;
	bool durable; /* WRITE: RWF_DSYNC */
	int fd, mode;
	uint64_t offset, bytes;     /* in the file; `bytes`: ALLOCATE, DISCARD */
	const struct iovec *pieces; /* READ, WRITE: the caller's until it completes */
	unsigned piece_count;       /* at most IOV_MAX */
	/* What the system call returned, or -errno. Not from inside file_io_submit(). */
	void (*done)(struct file_job *job, int64_t result);

	struct file_job *next; /* file_io's own from here */
	int64_t result;
};

struct file_io_ops {
	void (*submit)(struct file_io *io, struct file_job *job);
	/* Have the kernel see what was submitted, and complete what is complete already. */
	void (*flush)(struct file_io *io);
	/* Nothing is in flight. On any thread, after the worker's has ended. */
	void (*destroy)(struct file_io *io);
};

struct file_io {
	const struct file_io_ops *ops;
	const char *how; /* "io_uring", "threads" */
	struct worker *worker;
};

/* Begin, by io_uring where the kernel lets us and `threads` does not forbid it. NULL with a
 * message. */
struct file_io *file_io_start(struct worker *worker, bool threads);
static inline void file_io_submit(struct file_io *io, struct file_job *job)
{
	io->ops->submit(io, job);
}

static inline void file_io_flush(struct file_io *io)
{
	io->ops->flush(io);
}

static inline void file_io_destroy(struct file_io *io)
{
	if (io)
		io->ops->destroy(io);
}

/* The two ways. NULL without a message: this one is not to be had. */
struct file_io *uring_start(struct worker *worker);
struct file_io *threads_start(struct worker *worker);

#endif
