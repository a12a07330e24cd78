#include "host/host_timer.h"

#include <errno.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

static void on_timer(void *opaque, uint32_t events)
{
	struct host_timer *timer = opaque;
	uint64_t expirations;

	if (read(timer->fd, &expirations, sizeof(expirations)) > 0)
		timer->expired(timer->opaque);
}

int host_timer_init(struct host_timer *timer, struct event_loop *loop,
	void (*expired)(void *opaque), void *opaque)
{
	int error;

	*timer = (struct host_timer){
		loop, timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK), expired, opaque};
	if (timer->fd < 0)
		return -errno;
	error = event_loop_watch(loop, timer->fd, EPOLLIN, on_timer, timer);
	if (error)
		close(timer->fd);
	return error;
}

static void set(struct host_timer *timer, unsigned ms)
{
	const struct itimerspec delay = {
		.it_value = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000}};

	timerfd_settime(timer->fd, 0, &delay, NULL);
}

void host_timer_arm(struct host_timer *timer, unsigned ms)
{
	set(timer, ms ? ms : 1);
}

void host_timer_cancel(struct host_timer *timer)
{
	set(timer, 0);
}

void host_timer_end(struct host_timer *timer)
{
	event_loop_unwatch(timer->loop, timer->fd);
	close(timer->fd);
}
