/* A drive: a disk (host/disk/disk.h) at a controller that is driven by registers.
 *
 * The controller lives under the machine lock and submits jobs there. They are done on the drive's
 * worker, and come back to the I/O thread, which calls their done() with the machine lock held:
 *
 *	any thread, machine lock	the drive's worker	the I/O thread, machine lock
 *	drive_submit() --------------->	disk_submit()
 *					the disk is done ----->	job->done()
 *
 * Nothing is taken back: a controller that is reset while jobs are in flight stays busy until they
 * have come back, so that no data arrives in guest memory, or on the disk, after the driver has
 * seen the reset done. A machine that is paused has none in flight (drive_quiesce()). */
#ifndef VENEER_DEVICE_STORAGE_DRIVE_H
#define VENEER_DEVICE_STORAGE_DRIVE_H

#include "host/disk/disk.h"
#include "host/event_loop.h"

struct drive_job {
	/* What the disk is to do: filled in by the controller, but for done(). Offset and bytes lie
	 * within the disk. */
	struct disk_request request;
	/* 0 or -errno of disk_request.done(). Machine lock held; it may submit the job again. */
	void (*done)(struct drive_job *job, int error);
	/* The drive's own. */
	struct drive *drive;
	struct drive_job *next;
	int error;
};

struct drive_queue {
	struct drive_job *first, *last;
};

struct drive {
	struct disk *disk;
	/* What follows is the drive's own. */
	struct event_loop *loop;
	struct priority_lock *machine_lock;
	struct worker *worker;
	struct worker_task submit_task, abandon_task;
	struct event_work finish_work;
	unsigned in_flight; /* machine lock: submitted, and done() not yet called */
	pthread_mutex_t lock;
	pthread_cond_t finished_one;
	struct drive_queue submitted, finished; /* lock */
};

/* Start a disk, which is the drive's from now on, on a worker of its own (`name`: 15 characters).
 * 0, or -errno with a message: then the disk is destroyed. */
int drive_create(struct drive *drive, struct disk *disk, const char *name, struct event_loop *loop,
	struct priority_lock *machine_lock);
/* Waits for the jobs in flight, and forgets them. Machine lock not held by other threads that use
 * the drive; it may be a drive that was never created (all zero). */
void drive_destroy(struct drive *drive);

/* Machine lock held. */
void drive_submit(struct drive *drive, struct drive_job *job);

/* device_ops.quiesce: have all jobs come back, and what their done() submits. False: some are in
 * flight at deadline_ns (CLOCK_MONOTONIC). Without the machine lock. A drive that was never created
 * has none. */
bool drive_quiesce(struct drive *drive, uint64_t deadline_ns);
/* device_ops.abandon. It does not wait: the worker may be in a system call that does not return. */
void drive_abandon(struct drive *drive);

#endif
