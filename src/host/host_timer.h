/* A one-shot timer of host time on the event loop: also while the machine, and with it struct
 * timer, stands still. */
#ifndef VENEER_HOST_HOST_TIMER_H
#define VENEER_HOST_HOST_TIMER_H

#include "host/event_loop.h"

struct host_timer {
	struct event_loop *loop;
	int fd;
	void (*expired)(void *opaque);
	void *opaque;
};

/* 0 or -errno. Machine lock, as for the others. */
int host_timer_init(struct host_timer *timer, struct event_loop *loop,
	void (*expired)(void *opaque), void *opaque);
/* Have expired(opaque) called once, after that time; moves a timer that is armed. */
void host_timer_arm(struct host_timer *timer, unsigned ms);
void host_timer_cancel(struct host_timer *timer);
void host_timer_end(struct host_timer *timer);

#endif
