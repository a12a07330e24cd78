#include "device/storage/drive.h"

#include "base/bits.h"
#include "base/log.h"

#include <errno.h>
#include <time.h>

/* --- queues --- */

static void push(struct drive_queue *queue, struct drive_job *job)
{
	job->next = NULL;
	if (queue->first)
		queue->last->next = job;
	else
		queue->first = job;
	queue->last = job;
}

static struct drive_job *take_all(struct drive *drive, struct drive_queue *queue)
{
	struct drive_job *first;

	pthread_mutex_lock(&drive->lock);
	first = queue->first;
	queue->first = NULL;
	pthread_mutex_unlock(&drive->lock);
	return first;
}

/* --- the worker --- */

static void job_done(struct disk_request *request, int error)
{
	struct drive_job *job = container_of(request, struct drive_job, request);
	struct drive *drive = job->drive;

	job->error = error;
	pthread_mutex_lock(&drive->lock);
	push(&drive->finished, job);
	pthread_cond_signal(&drive->finished_one);
	pthread_mutex_unlock(&drive->lock);
	event_loop_post(drive->loop, &drive->finish_work);
}

static void submit_all(void *opaque)
{
	struct drive *drive = opaque;
	struct drive_job *next;

	for (struct drive_job *job = take_all(drive, &drive->submitted); job; job = next) {
		next = job->next;
		disk_submit(drive->disk, &job->request);
	}
	drive->disk->ops->flush_queue(drive->disk);
}

/* --- under the machine lock --- */

void drive_submit(struct drive *drive, struct drive_job *job)
{
	job->drive = drive;
	job->request.done = job_done;
	drive->in_flight++;
	pthread_mutex_lock(&drive->lock);
	push(&drive->submitted, job);
	pthread_mutex_unlock(&drive->lock);
	worker_post(drive->worker, &drive->submit_task);
}

static void finish(void *opaque)
{
	struct drive *drive = opaque;
	struct drive_job *next;

	for (struct drive_job *job = take_all(drive, &drive->finished); job; job = next) {
		next = job->next;
		drive->in_flight--;
		job->done(job, job->error);
	}
}

/* --- pausing and ending --- */

/* False: none has come by the deadline. */
static bool wait_for_one(struct drive *drive, uint64_t deadline_ns)
{
	struct timespec deadline = {.tv_sec = (time_t)(deadline_ns / NS_PER_SECOND),
		.tv_nsec = (long)(deadline_ns % NS_PER_SECOND)};
	int error = 0;

	pthread_mutex_lock(&drive->lock);
	while (!drive->finished.first && !error)
		error = pthread_cond_timedwait(&drive->finished_one, &drive->lock, &deadline);
	pthread_mutex_unlock(&drive->lock);
	return !error;
}

bool drive_quiesce(struct drive *drive, uint64_t deadline_ns)
{
	bool quiet;

	if (!drive->disk)
		return true;
	do {
		priority_lock_take(drive->machine_lock);
		finish(drive);
		quiet = !drive->in_flight;
		priority_lock_release(drive->machine_lock);
	} while (!quiet && wait_for_one(drive, deadline_ns));
	return quiet;
}

static void run_abandon(void *opaque)
{
	struct drive *drive = opaque;

	drive->disk->ops->abandon(drive->disk);
}

void drive_abandon(struct drive *drive)
{
	if (drive->disk && drive->disk->ops->abandon)
		worker_post(drive->worker, &drive->abandon_task);
}

/* --- making and destroying --- */

struct start {
	struct drive *drive;
	int error;
};

static void run_start(void *opaque)
{
	struct start *start = opaque;
	struct disk *disk = start->drive->disk;

	start->error = disk->ops->start(disk, start->drive->worker);
}

static void free_drive(struct drive *drive)
{
	/* Its thread may have been about to post the last job. */
	worker_destroy(drive->worker);
	event_loop_unpost(drive->loop, &drive->finish_work);
	drive->disk->ops->destroy(drive->disk);
	pthread_cond_destroy(&drive->finished_one);
	pthread_mutex_destroy(&drive->lock);
	*drive = (struct drive){0};
}

int drive_create(struct drive *drive, struct disk *disk, const char *name, struct event_loop *loop,
	struct priority_lock *machine_lock)
{
	struct start start = {.drive = drive, .error = -ENOMEM};
	pthread_condattr_t attributes;

	*drive = (struct drive){.disk = disk, .loop = loop, .machine_lock = machine_lock};
	pthread_mutex_init(&drive->lock, NULL);
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&drive->finished_one, &attributes);
	pthread_condattr_destroy(&attributes);
	worker_task_init(&drive->submit_task, submit_all, drive);
	worker_task_init(&drive->abandon_task, run_abandon, drive);
	event_work_init(&drive->finish_work, finish, drive);
	drive->worker = worker_create(name);
	if (drive->worker)
		worker_call(drive->worker, run_start, &start);
	if (start.error)
		free_drive(drive);
	return start.error;
}

/* What waits in `finished` is not told: its controller is going. */
void drive_destroy(struct drive *drive)
{
	unsigned back = 0;

	if (!drive->disk)
		return;
	while (back < drive->in_flight) {
		wait_for_one(drive, UINT64_MAX / 2);
		for (struct drive_job *job = take_all(drive, &drive->finished); job;
			job = job->next)
			back++;
	}
	free_drive(drive);
}
