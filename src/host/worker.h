/* A thread that does a device's work: what a vCPU's doorbell asks for, and what descriptors have to
 * say. Unlike the event loop's, its callbacks run without the machine lock, one at a time. What
 * they want of the machine they post to the event loop (event_loop_post()), or do by means that
 * need no lock (message-signalled interrupts). */
#ifndef VENEER_HOST_WORKER_H
#define VENEER_HOST_WORKER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct worker;

/* Make a worker, and start its thread, with all signals blocked. `name`: of the thread, 15
 * characters. NULL with a message. */
struct worker *worker_create(const char *name);
/* End the thread, when it is done with the callback that it is in, and free the worker. Tasks that
 * still wait are not run. Not on the worker's own thread. NULL: nothing. */
void worker_destroy(struct worker *worker);

/* Something to be done soon on the worker's thread. Embed it, worker_task_init() once. */
struct worker_task {
	void (*run)(void *opaque);
	void *opaque;
	_Atomic(struct worker_task *) next; /* the worker's own: NULL: it is not posted */
};
void worker_task_init(struct worker_task *task, void (*run)(void *opaque), void *opaque);
/* Have run() called soon, once. To post a task that waits already has no effect. What was written
 * before the call is seen in run(); a task may be posted again from its run(). From any thread,
 * lock or no lock; not from a signal handler. Takes no lock, and makes no system call where the
 * worker is awake. */
void worker_post(struct worker *worker, struct worker_task *task);
/* Post, and wait until it was run. From a thread that is not the worker's; where that holds the
 * machine lock, run() must not want it. */
void worker_call(struct worker *worker, void (*run)(void *opaque), void *opaque);

/* Have callback(opaque, events) called while the descriptor is ready (level-triggered, as
 * epoll_ctl(2) says). One watch a descriptor; to watch it again changes events, callback and
 * opaque. On the worker's thread, or through worker_call(). 0 or -errno. */
int worker_watch(struct worker *worker, int fd, uint32_t events,
	void (*callback)(void *opaque, uint32_t events), void *opaque);
/* After this no callback for it comes any more. The descriptor must still be open. */
void worker_unwatch(struct worker *worker, int fd);

/* Have run(opaque) called each time when all that was ready has been served, before the worker
 * sleeps: to send on in one system call what callbacks have gathered. One for each `opaque`. On the
 * worker's thread, or through worker_call(). 0 or -ENOMEM. */
int worker_add_idle(struct worker *worker, void (*run)(void *opaque), void *opaque);
void worker_remove_idle(struct worker *worker, void *opaque);
/* Have them called before the worker sleeps: for what was gathered in one of them, or by one that
 * has been called already. On the worker's thread. */
void worker_want_idle(struct worker *worker);

/* A one-shot timer of host time, CLOCK_MONOTONIC. */
struct worker_timer {
	struct worker *worker;
	void (*expired)(void *opaque);
	void *opaque;
	uint64_t deadline_ns;
	struct worker_timer *next; /* the worker's own */
	bool armed;
};
void worker_timer_init(struct worker_timer *timer, struct worker *worker,
	void (*expired)(void *opaque), void *opaque);
/* On the worker's thread. */
void worker_timer_arm(struct worker_timer *timer, uint64_t delay_ns);
void worker_timer_cancel(struct worker_timer *timer);

#endif
