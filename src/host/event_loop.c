/* Timers are a binary heap by deadline, and one timerfd that is set to the earliest. It is set
 * again only when a deadline comes in front of what it is set to: a timer that was cancelled or
 * moved back leaves it alone and costs one idle turn of the loop later. Any thread may set it,
 * since the kernel then wakes the loop by itself. Both it and the eventfd, which tells the loop to
 * look round or to stop, are watched for edges, and so need not be read. */
#include "host/event_loop.h"

#include "base/bits.h"
#include "base/log.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_SECOND UINT64_C(1000000000)
#define BATCH         16 /* events and timers per turn; then others get the lock */
#define NOT_SET       UINT64_MAX
#define LONGEST_SLEEP (3600 * NS_PER_SECOND)

struct watch {
	struct watch *next;
	int fd;
	uint32_t events;
	bool always_ready;     /* a file: epoll refuses it */
	fd_callback *callback; /* NULL: unwatched, waits to be freed */
	void *opaque;
};

struct event_loop {
	struct clock *clock;
	struct priority_lock *lock;
	int epoll_fd, timer_fd, wake_fd;
	atomic_bool stop;
	struct watch *watches;
	/* Unwatched, but epoll_wait() may have returned them already: freed after the turn. */
	struct watch *graveyard;
	unsigned always_ready;
	struct timer **heap;
	unsigned heap_count, heap_capacity, timers;
	uint64_t programmed_ns; /* machine time the timerfd is set to; NOT_SET */
	bool dispatching;       /* the loop will look at the heap after the callbacks */
};

/* --- the heap --- */

static void heap_put(struct event_loop *loop, unsigned index, struct timer *timer)
{
	loop->heap[index] = timer;
	timer->heap_index = (int)index;
}

static void heap_up(struct event_loop *loop, unsigned index, struct timer *timer)
{
	while (index) {
		unsigned parent = (index - 1) / 2;

		if (loop->heap[parent]->deadline_ns <= timer->deadline_ns)
			break;
		heap_put(loop, index, loop->heap[parent]);
		index = parent;
	}
	heap_put(loop, index, timer);
}

static void heap_down(struct event_loop *loop, unsigned index, struct timer *timer)
{
	for (;;) {
		unsigned child = 2 * index + 1;

		if (child >= loop->heap_count)
			break;
		if (child + 1 < loop->heap_count &&
			loop->heap[child + 1]->deadline_ns < loop->heap[child]->deadline_ns)
			child++;
		if (loop->heap[child]->deadline_ns >= timer->deadline_ns)
			break;
		heap_put(loop, index, loop->heap[child]);
		index = child;
	}
	heap_put(loop, index, timer);
}

static void heap_remove(struct event_loop *loop, struct timer *timer)
{
	unsigned index = (unsigned)timer->heap_index;
	struct timer *last = loop->heap[--loop->heap_count];

	timer->heap_index = -1;
	if (last == timer)
		return;
	/* The last one fills the gap, and may belong further up or further down. */
	heap_up(loop, index, last);
	heap_down(loop, (unsigned)last->heap_index, last);
}

/* --- timers --- */

static void set_timerfd(struct event_loop *loop, uint64_t deadline_ns)
{
	struct itimerspec when = {0};
	uint64_t now = clock_ns(loop->clock), delay, host;
	struct timespec host_now;

	loop->programmed_ns = deadline_ns;
	delay = deadline_ns > now ? MIN(deadline_ns - now, LONGEST_SLEEP) : 0;
	clock_gettime(CLOCK_MONOTONIC, &host_now);
	host = (uint64_t)host_now.tv_sec * NS_PER_SECOND + (uint64_t)host_now.tv_nsec + delay;
	when.it_value.tv_sec = (time_t)(host / NS_PER_SECOND);
	when.it_value.tv_nsec = (long)(host % NS_PER_SECOND);
	timerfd_settime(loop->timer_fd, TFD_TIMER_ABSTIME, &when, NULL);
}

/* Have the timerfd expire no later than the earliest timer. */
static void program_timerfd(struct event_loop *loop)
{
	if (loop->dispatching || !loop->heap_count || loop->clock->paused)
		return;
	if (loop->heap[0]->deadline_ns < loop->programmed_ns)
		set_timerfd(loop, loop->heap[0]->deadline_ns);
}

void timer_init(
	struct timer *timer, struct event_loop *loop, void (*expired)(void *opaque), void *opaque)
{
	*timer = (struct timer){
		.loop = loop, .expired = expired, .opaque = opaque, .heap_index = -1};

	/* Room for all timers that there are, so that arming one cannot fail. */
	if (++loop->timers > loop->heap_capacity) {
		unsigned capacity = MAX(2 * loop->heap_capacity, 16u);
		struct timer **heap = realloc(loop->heap, capacity * sizeof(*heap));

		if (!heap) {
			log_error("out of memory for %u timers", capacity);
			abort();
		}
		loop->heap = heap;
		loop->heap_capacity = capacity;
	}
}

void timer_arm(struct timer *timer, uint64_t deadline_ns)
{
	struct event_loop *loop = timer->loop;

	if (timer_armed(timer))
		heap_remove(loop, timer);
	/* Never before now, or a timer that arms itself for the past would always come first. */
	timer->deadline_ns = MAX(deadline_ns, clock_ns(loop->clock));
	loop->heap_count++;
	heap_up(loop, loop->heap_count - 1, timer);
	program_timerfd(loop);
}

void timer_cancel(struct timer *timer)
{
	if (timer_armed(timer))
		heap_remove(timer->loop, timer);
}

void event_loop_clock_changed(struct event_loop *loop)
{
	loop->programmed_ns = NOT_SET;
	program_timerfd(loop);
}

uint64_t event_loop_next_deadline(const struct event_loop *loop)
{
	return loop->heap_count ? loop->heap[0]->deadline_ns : UINT64_MAX;
}

/* At most BATCH, because a timer may arm itself for now again and again. */
void event_loop_run_timers(struct event_loop *loop)
{
	uint64_t now = clock_ns(loop->clock);

	for (int i = 0; i < BATCH && loop->heap_count && loop->heap[0]->deadline_ns <= now; i++) {
		struct timer *timer = loop->heap[0];

		heap_remove(loop, timer);
		timer->expired(timer->opaque);
	}
}

/* --- descriptors --- */

static void wake(struct event_loop *loop)
{
	const uint64_t one = 1;
	ssize_t ignored = write(loop->wake_fd, &one, sizeof(one));

	(void)ignored;
}

static struct watch *find_watch(struct event_loop *loop, int fd)
{
	struct watch *watch = loop->watches;

	while (watch && watch->fd != fd)
		watch = watch->next;
	return watch;
}

int event_loop_watch(
	struct event_loop *loop, int fd, uint32_t events, fd_callback *callback, void *opaque)
{
	struct epoll_event event = {.events = events};
	struct watch *watch;

	if (find_watch(loop, fd))
		return -EEXIST;
	watch = malloc(sizeof(*watch));
	if (!watch)
		return -ENOMEM;
	*watch = (struct watch){.fd = fd, .events = events, .callback = callback, .opaque = opaque};
	event.data.ptr = watch;
	if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0) {
		if (errno != EPERM) {
			int error = errno;

			free(watch);
			return -error;
		}
		watch->always_ready = true;
		loop->always_ready++;
		wake(loop);
	}
	watch->next = loop->watches;
	loop->watches = watch;
	return 0;
}

int event_loop_unwatch(struct event_loop *loop, int fd)
{
	struct watch **link = &loop->watches, *watch;

	while (*link && (*link)->fd != fd)
		link = &(*link)->next;
	watch = *link;
	if (!watch)
		return -ENOENT;
	*link = watch->next;
	if (watch->always_ready)
		loop->always_ready--;
	else
		epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
	watch->callback = NULL;
	watch->next = loop->graveyard;
	loop->graveyard = watch;
	return 0;
}

static void free_watches(struct watch **list)
{
	while (*list) {
		struct watch *watch = *list;

		*list = watch->next;
		free(watch);
	}
}

/* One callback a turn: it may change the list. The one served goes to the list's end. */
static void run_always_ready(struct event_loop *loop)
{
	struct watch **link = &loop->watches, *watch;

	while (*link && !(*link)->always_ready)
		link = &(*link)->next;
	watch = *link;
	if (!watch)
		return;
	*link = watch->next;
	watch->next = NULL;
	while (*link)
		link = &(*link)->next;
	*link = watch;
	watch->callback(watch->opaque, watch->events);
}

/* --- the loop --- */

static int watch_edges(struct event_loop *loop, int fd, int *marker)
{
	struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.ptr = marker};

	return epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &event);
}

struct event_loop *event_loop_create(struct clock *clock, struct priority_lock *machine_lock)
{
	struct event_loop *loop = calloc(1, sizeof(*loop));

	if (!loop)
		return NULL;
	loop->clock = clock;
	loop->lock = machine_lock;
	loop->programmed_ns = NOT_SET;
	loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	loop->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	loop->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (loop->epoll_fd < 0 || loop->timer_fd < 0 || loop->wake_fd < 0 ||
		watch_edges(loop, loop->timer_fd, &loop->timer_fd) < 0 ||
		watch_edges(loop, loop->wake_fd, &loop->wake_fd) < 0) {
		int error = errno;

		event_loop_destroy(loop);
		errno = error;
		return NULL;
	}
	return loop;
}

void event_loop_destroy(struct event_loop *loop)
{
	const int fds[] = {loop->epoll_fd, loop->timer_fd, loop->wake_fd};

	for (unsigned i = 0; i < ARRAY_SIZE(fds); i++)
		if (fds[i] >= 0)
			close(fds[i]);
	free_watches(&loop->watches);
	free_watches(&loop->graveyard);
	free(loop->heap);
	free(loop);
}

static void dispatch(struct event_loop *loop, const struct epoll_event *events, int count)
{
	loop->dispatching = true;
	for (int i = 0; i < count; i++) {
		struct watch *watch = events[i].data.ptr;

		if (events[i].data.ptr == &loop->timer_fd)
			loop->programmed_ns = NOT_SET; /* it has expired */
		else if (events[i].data.ptr != &loop->wake_fd && watch->callback)
			watch->callback(watch->opaque, events[i].events);
	}
	if (loop->always_ready)
		run_always_ready(loop);
	if (!loop->clock->paused)
		event_loop_run_timers(loop);
	loop->dispatching = false;
	free_watches(&loop->graveyard);
	program_timerfd(loop);
}

void event_loop_run(struct event_loop *loop)
{
	struct epoll_event events[BATCH];
	bool poll_only = false, stop;

	do {
		int count;

		/* Asked to stop, it still serves what is ready: a guest that asks again and again,
		 * always before we wait, must not keep a signal from us. */
		stop = atomic_exchange(&loop->stop, false);
		count = epoll_wait(loop->epoll_fd, events, BATCH, stop || poll_only ? 0 : -1);
		priority_lock_take_first(loop->lock);
		dispatch(loop, events, MAX(count, 0));
		poll_only = loop->always_ready;
		priority_lock_release(loop->lock);
	} while (!stop);
}

void event_loop_stop(struct event_loop *loop)
{
	int saved_errno = errno; /* the caller may be a signal handler */

	atomic_store(&loop->stop, true);
	wake(loop);
	errno = saved_errno;
}
