/* The machine's I/O thread: epoll over descriptors, and timers in machine time. Callbacks run on
 * the I/O thread with the machine lock held, which it gets before vCPU threads do. Everything here
 * except event_loop_run() may be called from any thread that holds the machine lock (or before the
 * loop runs). */
#ifndef VENEER_HOST_EVENT_LOOP_H
#define VENEER_HOST_EVENT_LOOP_H

#include "base/priority_lock.h"
#include "host/clock.h"

#include <stdbool.h>
#include <stdint.h>

struct event_loop;

/* NULL with errno set on failure. The clock and lock outlive the loop. */
struct event_loop *event_loop_create(struct clock *clock, struct priority_lock *machine_lock);
void event_loop_destroy(struct event_loop *loop);
/* The clock that its timers go by. */
const struct clock *event_loop_clock(const struct event_loop *loop);

/* Run until event_loop_stop(). What is ready by then is served before it returns: even where the
 * stop comes before the run, there is one turn. 0; or -errno, with a message, where the host does
 * not let us wait for events: then the machine cannot go on. */
int event_loop_run(struct event_loop *loop);
/* Make event_loop_run() return; from any thread or a signal handler; lock not needed. */
void event_loop_stop(struct event_loop *loop);

/* What the loop does with timers in each turn, for tests and fuzzers, which move the clock
 * themselves: event_loop_run_timers() calls back some of the timers that are due; the other returns
 * the machine time at which the next one is due (all ones: none is armed). */
void event_loop_run_timers(struct event_loop *loop);
uint64_t event_loop_next_deadline(const struct event_loop *loop);

/* The machine's clock was paused or resumed: timers stand still or go on. */
void event_loop_clock_changed(struct event_loop *loop);

/* Watch a descriptor. `events` are EPOLLIN, EPOLLOUT. One watch per descriptor; -EEXIST for a
 * second. What epoll cannot watch because it is always ready (a file, /dev/null) is reported again
 * and again until it is unwatched. 0 or -errno. */
typedef void fd_callback(void *opaque, uint32_t events);
int event_loop_watch(
	struct event_loop *loop, int fd, uint32_t events, fd_callback *callback, void *opaque);
int event_loop_unwatch(struct event_loop *loop, int fd);

/* Something to be done soon on the I/O thread. Embed it; event_work_init() once, then post it as
 * often as there is need. Neither posting nor taking back can fail. */
struct event_work {
	struct event_work *next;
	void (*run)(void *opaque);
	void *opaque;
	bool posted;
};
void event_work_init(struct event_work *work, void (*run)(void *opaque), void *opaque);
/* Have run() called soon, once, on the I/O thread with the machine lock held. To post work that
 * waits already has no effect. From any thread, lock or no lock, but not from a signal handler.
 * What was written before the call is seen in run(). */
void event_loop_post(struct event_loop *loop, struct event_work *work);
/* Take it back, before its memory goes: run() will not be called. With the machine lock held. */
void event_loop_unpost(struct event_loop *loop, struct event_work *work);

/* A one-shot timer. Embed it in a device; timer_init() once, then arm and cancel at will. An armed
 * timer must be cancelled before its memory goes. None of it allocates or can fail. */
struct timer {
	struct event_loop *loop;
	void (*expired)(void *opaque);
	void *opaque;
	uint64_t deadline_ns; /* machine time */
	bool armed;
	/* Links of the heap: the first timer below this one, the next one beside it, and the timer
	 * that points at this one (its parent, or the one before it). */
	struct timer *child, *next, *previous;
};
void timer_init(
	struct timer *timer, struct event_loop *loop, void (*expired)(void *opaque), void *opaque);
/* Expire at machine time deadline_ns (at once if past); moves an armed timer. */
void timer_arm(struct timer *timer, uint64_t deadline_ns);
void timer_cancel(struct timer *timer);
static inline bool timer_armed(const struct timer *timer)
{
	return timer->armed;
}

#endif
