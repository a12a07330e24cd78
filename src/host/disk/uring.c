/* File I/O by io_uring(7). Jobs gather in the submission ring and are shown to the kernel with one
 * system call when the worker has nothing else to do. What the page cache has is complete by the
 * end of that call; the rest is announced by the ring's descriptor, which the worker watches.
 *
 * No more jobs are in flight than the completion ring holds, so it cannot overflow. */
#include "host/disk/file_io.h"

#include "base/bits.h"

#include <errno.h>
#include <liburing.h>
#include <stdlib.h>
#include <sys/epoll.h>

#define ENTRIES 256

struct uring {
	struct file_io io;
	struct io_uring ring;
	unsigned in_flight, gathered;
	struct file_job *waiting, **waiting_end; /* for a place in the ring */
	struct file_io *threads;                 /* for what io_uring cannot do; or NULL */
};

static void prepare(struct io_uring_sqe *sqe, struct file_job *job)
{
	const struct iovec *first = job->pieces;
	bool one = job->piece_count == 1 && first->iov_len <= INT32_MAX;

	switch (job->call) {
	case FILE_READ:
		if (one)
			io_uring_prep_read(sqe, job->fd, first->iov_base, (unsigned)first->iov_len,
				job->offset);
		else
			io_uring_prep_readv(
				sqe, job->fd, job->pieces, job->piece_count, job->offset);
		break;
	case FILE_WRITE:
		if (one)
			io_uring_prep_write(sqe, job->fd, first->iov_base, (unsigned)first->iov_len,
				job->offset);
		else
			io_uring_prep_writev(
				sqe, job->fd, job->pieces, job->piece_count, job->offset);
		sqe->rw_flags = job->durable ? RWF_DSYNC : 0;
		break;
	case FILE_SYNC:
		io_uring_prep_fsync(sqe, job->fd, IORING_FSYNC_DATASYNC);
		break;
	case FILE_ALLOCATE:
	case FILE_DISCARD: /* goes to the threads */
		io_uring_prep_fallocate(
			sqe, job->fd, job->mode, (off_t)job->offset, (off_t)job->bytes);
		break;
	}
	io_uring_sqe_set_data(sqe, job);
}

/* Into the ring, as far as there is room. */
static void gather(struct uring *uring)
{
	while (uring->waiting && uring->in_flight < 2 * ENTRIES) {
		struct io_uring_sqe *sqe = io_uring_get_sqe(&uring->ring);
		struct file_job *job = uring->waiting;

		if (!sqe)
			break;
		uring->waiting = job->next;
		if (!uring->waiting)
			uring->waiting_end = &uring->waiting;
		prepare(sqe, job);
		uring->in_flight++;
		uring->gathered++;
	}
}

static void uring_submit(struct file_io *io, struct file_job *job)
{
	struct uring *uring = container_of(io, struct uring, io);

	if (job->call == FILE_DISCARD && !uring->threads)
		uring->threads = threads_start(io->worker);
	if (job->call == FILE_DISCARD && uring->threads) {
		file_io_submit(uring->threads, job);
		return;
	}
	job->next = NULL;
	*uring->waiting_end = job;
	uring->waiting_end = &job->next;
	worker_want_idle(io->worker);
}

static void reap(struct uring *uring)
{
	struct io_uring_cqe *cqe;

	while (io_uring_peek_cqe(&uring->ring, &cqe) == 0) {
		struct file_job *job = io_uring_cqe_get_data(cqe);
		int result = cqe->res;

		io_uring_cqe_seen(&uring->ring, cqe);
		uring->in_flight--;
		if (result == -EINTR || result == -EAGAIN)
			uring_submit(&uring->io, job);
		else
			job->done(job, result);
	}
}

/* The kernel may refuse for a moment (-EAGAIN, -EBUSY): what it has not taken stays in the ring. */
static void uring_flush(struct file_io *io)
{
	struct uring *uring = container_of(io, struct uring, io);
	int taken;

	gather(uring);
	if (!uring->gathered)
		return;
	taken = io_uring_submit(&uring->ring);
	if (taken > 0)
		uring->gathered -= MIN((unsigned)taken, uring->gathered);
	reap(uring);
	if (uring->gathered)
		worker_want_idle(io->worker);
}

static void ring_ready(void *opaque, uint32_t events)
{
	reap(opaque);
}

static void uring_destroy(struct file_io *io)
{
	struct uring *uring = container_of(io, struct uring, io);

	file_io_destroy(uring->threads);
	io_uring_queue_exit(&uring->ring);
	free(uring);
}

static const struct file_io_ops uring_ops = {uring_submit, uring_flush, uring_destroy};

/* All calls that prepare() makes, which is Linux 5.6. */
static bool complete(struct io_uring *ring)
{
	static const int needed[] = {IORING_OP_READ, IORING_OP_WRITE, IORING_OP_READV,
		IORING_OP_WRITEV, IORING_OP_FSYNC, IORING_OP_FALLOCATE};
	struct io_uring_probe *probe = io_uring_get_probe_ring(ring);
	bool all = probe;

	for (unsigned i = 0; all && i < ARRAY_SIZE(needed); i++)
		all = io_uring_opcode_supported(probe, needed[i]);
	io_uring_free_probe(probe);
	return all;
}

struct file_io *uring_start(struct worker *worker)
{
	struct uring *uring = calloc(1, sizeof(*uring));
	/* The worker alone submits, and enters the kernel often enough to run completions. */
	unsigned flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_COOP_TASKRUN;
	int error;

	if (!uring)
		return NULL;
	error = io_uring_queue_init(ENTRIES, &uring->ring, flags);
	if (error == -EINVAL) /* Linux before 6.0 */
		error = io_uring_queue_init(ENTRIES, &uring->ring, 0);
	if (error) {
		free(uring);
		return NULL;
	}
	uring->io = (struct file_io){&uring_ops, "io_uring", worker};
	uring->waiting_end = &uring->waiting;
	if (!complete(&uring->ring) ||
		worker_watch(worker, uring->ring.ring_fd, EPOLLIN, ring_ready, uring) < 0) {
		uring_destroy(&uring->io);
		return NULL;
	}
	return &uring->io;
}
