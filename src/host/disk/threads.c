/* File I/O by threads that block. They are started as they are needed: a job that finds no thread
 * idle starts one, up to MAX_THREADS; one that finds all busy waits. They end with the disk. */
#include "host/disk/file_io.h"

#include "base/bits.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define MAX_THREADS 8

struct threads {
	struct file_io io;
	struct worker_task completed_task;
	pthread_t threads[MAX_THREADS];
	unsigned thread_count;

	pthread_mutex_t lock; /* of all below */
	pthread_cond_t wanted;
	unsigned idle;
	unsigned waiting; /* jobs in `queue` */
	struct file_job *queue, **queue_end;
	struct file_job *completed, **completed_end;
	bool stop;
};

static int64_t call(const struct file_job *job)
{
	uint64_t range[2] = {job->offset, job->bytes};
	off_t offset = (off_t)job->offset;

	switch (job->call) {
	case FILE_READ:
		return preadv(job->fd, job->pieces, (int)job->piece_count, offset);
	case FILE_WRITE:
		return pwritev2(job->fd, job->pieces, (int)job->piece_count, offset,
			job->durable ? RWF_DSYNC : 0);
	case FILE_SYNC:
		return fdatasync(job->fd);
	case FILE_ALLOCATE:
		return fallocate(job->fd, job->mode, offset, (off_t)job->bytes);
	case FILE_DISCARD:
		return ioctl(job->fd, BLKDISCARD, range);
	}
	errno = EINVAL;
	return -1;
}

static void *thread(void *opaque)
{
	struct threads *threads = opaque;
	struct file_job *job;

	pthread_mutex_lock(&threads->lock);
	for (;;) {
		threads->idle++;
		while (!threads->queue && !threads->stop)
			pthread_cond_wait(&threads->wanted, &threads->lock);
		threads->idle--;
		if (threads->stop)
			break;
		job = threads->queue;
		threads->queue = job->next;
		threads->waiting--;
		if (!threads->queue)
			threads->queue_end = &threads->queue;
		pthread_mutex_unlock(&threads->lock);

		do
			job->result = call(job);
		while (job->result < 0 && errno == EINTR);
		if (job->result < 0)
			job->result = -errno;

		pthread_mutex_lock(&threads->lock);
		job->next = NULL;
		*threads->completed_end = job;
		threads->completed_end = &job->next;
		worker_post(threads->io.worker, &threads->completed_task);
	}
	pthread_mutex_unlock(&threads->lock);
	return NULL;
}

/* One more. A failure matters only where there is none yet: the others will come to the job. */
static int start_thread(struct threads *threads)
{
	sigset_t all, before;
	int error;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	error = pthread_create(&threads->threads[threads->thread_count], NULL, thread, threads);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (error)
		return -error;
	pthread_setname_np(threads->threads[threads->thread_count], "disk-io");
	threads->thread_count++;
	return 0;
}

static void threads_submit(struct file_io *io, struct file_job *job)
{
	struct threads *threads = container_of(io, struct threads, io);
	bool more;

	job->next = NULL;
	pthread_mutex_lock(&threads->lock);
	*threads->queue_end = job;
	threads->queue_end = &job->next;
	threads->waiting++;
	more = threads->waiting > threads->idle && threads->thread_count < MAX_THREADS;
	pthread_cond_signal(&threads->wanted);
	pthread_mutex_unlock(&threads->lock);
	if (more)
		start_thread(threads);
}

static void run_completed(void *opaque)
{
	struct threads *threads = opaque;
	struct file_job *job, *next;

	pthread_mutex_lock(&threads->lock);
	job = threads->completed;
	threads->completed = NULL;
	threads->completed_end = &threads->completed;
	pthread_mutex_unlock(&threads->lock);
	for (; job; job = next) {
		next = job->next;
		job->done(job, job->result);
	}
}

static void threads_flush(struct file_io *io)
{
}

static void threads_destroy(struct file_io *io)
{
	struct threads *threads = container_of(io, struct threads, io);

	pthread_mutex_lock(&threads->lock);
	threads->stop = true;
	pthread_cond_broadcast(&threads->wanted);
	pthread_mutex_unlock(&threads->lock);
	for (unsigned i = 0; i < threads->thread_count; i++)
		pthread_join(threads->threads[i], NULL);
	pthread_cond_destroy(&threads->wanted);
	pthread_mutex_destroy(&threads->lock);
	free(threads);
}

static const struct file_io_ops threads_ops = {threads_submit, threads_flush, threads_destroy};

struct file_io *threads_start(struct worker *worker)
{
	struct threads *threads = calloc(1, sizeof(*threads));

	if (!threads)
		return NULL;
	threads->io = (struct file_io){&threads_ops, "threads", worker};
	worker_task_init(&threads->completed_task, run_completed, threads);
	pthread_mutex_init(&threads->lock, NULL);
	pthread_cond_init(&threads->wanted, NULL);
	threads->queue_end = &threads->queue;
	threads->completed_end = &threads->completed;
	if (start_thread(threads) < 0) {
		threads_destroy(&threads->io);
		return NULL;
	}
	return &threads->io;
}
