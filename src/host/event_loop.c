/* Timers are a pairing heap by deadline, made of the timers themselves, so that no timer ever needs
 * memory, and one timerfd that is set to the earliest. It is set again only when a deadline comes
 * in front of what it is set to: a timer that was cancelled or moved back leaves it alone and costs
 * one idle turn of the loop later. Any thread may set it, since the kernel then wakes the loop by
 * itself. The timerfd and the eventfd, which tells the loop to look at its lists or to stop, are
 * both watched edge-triggered, and so need not be read. */
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
	struct timer *earliest; /* the heap's root */
	uint64_t programmed_ns; /* machine time the timerfd is set to; NOT_SET */
	bool dispatching;       /* the loop will look at the heap after the callbacks */
	/* Posted work, first come, first served; under post_lock, which is the innermost lock. */
	pthread_mutex_t post_lock;
	struct event_work *posted, **posted_end;
};

/* --- the heap --- */

/* Of two heaps one: the later root becomes the earlier root's first child. */
static struct timer *heap_meld(struct timer *a, struct timer *b)
{
	struct timer *first = b->deadline_ns < a->deadline_ns ? b : a;
	struct timer *second = first == a ? b : a;

	second->previous = first;
	second->next = first->child;
	if (first->child)
		first->child->previous = second;
	first->child = second;
	return first;
}

/* One heap of a list of heaps: meld them in pairs, then all pairs, the last first. NULL for
 * none. */
static struct timer *heap_meld_list(struct timer *list)
{
	struct timer *pairs = NULL, *heap = NULL;

	while (list) {
		struct timer *a = list, *b = a->next;

		list = b ? b->next : NULL;
		a = b ? heap_meld(a, b) : a;
		a->next = pairs;
		pairs = a;
	}
	while (pairs) {
		struct timer *pair = pairs;

		pairs = pair->next;
		heap = heap ? heap_meld(heap, pair) : pair;
	}
	if (heap)
		heap->next = heap->previous = NULL;
	return heap;
}

static void heap_insert(struct event_loop *loop, struct timer *timer)
{
	timer->child = timer->next = timer->previous = NULL;
	timer->armed = true;
	loop->earliest = loop->earliest ? heap_meld(loop->earliest, timer) : timer;
}

static void heap_remove(struct event_loop *loop, struct timer *timer)
{
	struct timer *below = heap_meld_list(timer->child);

	timer->armed = false;
	if (timer == loop->earliest) {
		loop->earliest = below;
		return;
	}
	if (timer->previous->child == timer)
		timer->previous->child = timer->next;
	else
		timer->previous->next = timer->next;
	if (timer->next)
		timer->next->previous = timer->previous;
	if (below)
		loop->earliest = heap_meld(loop->earliest, below);
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
	if (loop->dispatching || !loop->earliest || loop->clock->paused)
		return;
	if (loop->earliest->deadline_ns < loop->programmed_ns)
		set_timerfd(loop, loop->earliest->deadline_ns);
}

void timer_init(
	struct timer *timer, struct event_loop *loop, void (*expired)(void *opaque), void *opaque)
{
	*timer = (struct timer){.loop = loop, .expired = expired, .opaque = opaque};
}

void timer_arm(struct timer *timer, uint64_t deadline_ns)
{
	struct event_loop *loop = timer->loop;

	if (timer_armed(timer))
		heap_remove(loop, timer);
	/* Never before now, or a timer that arms itself for the past would always come first. */
	timer->deadline_ns = MAX(deadline_ns, clock_ns(loop->clock));
	heap_insert(loop, timer);
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
	return loop->earliest ? loop->earliest->deadline_ns : UINT64_MAX;
}

/* At most BATCH, because a timer may arm itself for now again and again. */
void event_loop_run_timers(struct event_loop *loop)
{
	uint64_t now = clock_ns(loop->clock);

	for (int i = 0; i < BATCH && loop->earliest && loop->earliest->deadline_ns <= now; i++) {
		struct timer *timer = loop->earliest;

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

/* --- posted work --- */

void event_work_init(struct event_work *work, void (*run)(void *opaque), void *opaque)
{
	*work = (struct event_work){.run = run, .opaque = opaque};
}

void event_loop_post(struct event_loop *loop, struct event_work *work)
{
	pthread_mutex_lock(&loop->post_lock);
	if (!work->posted) {
		work->posted = true;
		work->next = NULL;
		*loop->posted_end = work;
		loop->posted_end = &work->next;
		wake(loop);
	}
	pthread_mutex_unlock(&loop->post_lock);
}

/* Out of the list, whose member `*link` points at. Post lock held. */
static void take_work(struct event_loop *loop, struct event_work **link)
{
	struct event_work *work = *link;

	*link = work->next;
	if (loop->posted_end == &work->next)
		loop->posted_end = link;
	work->posted = false;
}

void event_loop_unpost(struct event_loop *loop, struct event_work *work)
{
	struct event_work **link = &loop->posted;

	pthread_mutex_lock(&loop->post_lock);
	while (*link && *link != work)
		link = &(*link)->next;
	if (*link)
		take_work(loop, link);
	pthread_mutex_unlock(&loop->post_lock);
}

static struct event_work *next_work(struct event_loop *loop)
{
	struct event_work *work;

	pthread_mutex_lock(&loop->post_lock);
	work = loop->posted;
	if (work)
		take_work(loop, &loop->posted);
	pthread_mutex_unlock(&loop->post_lock);
	return work;
}

/* At most BATCH, because work may post itself again. What is left waits for the next turn. */
static void run_posted(struct event_loop *loop)
{
	struct event_work *work;
	int i;

	for (i = 0; i < BATCH && (work = next_work(loop)); i++)
		work->run(work->opaque);
	if (i == BATCH)
		wake(loop);
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
	pthread_mutex_init(&loop->post_lock, NULL);
	loop->posted_end = &loop->posted;
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

const struct clock *event_loop_clock(const struct event_loop *loop)
{
	return loop->clock;
}

void event_loop_destroy(struct event_loop *loop)
{
	const int fds[] = {loop->epoll_fd, loop->timer_fd, loop->wake_fd};

	for (unsigned i = 0; i < ARRAY_SIZE(fds); i++)
		if (fds[i] >= 0)
			close(fds[i]);
	free_watches(&loop->watches);
	free_watches(&loop->graveyard);
	pthread_mutex_destroy(&loop->post_lock);
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
	run_posted(loop);
	if (loop->always_ready)
		run_always_ready(loop);
	if (!loop->clock->paused)
		event_loop_run_timers(loop);
	loop->dispatching = false;
	free_watches(&loop->graveyard);
	program_timerfd(loop);
}

int event_loop_run(struct event_loop *loop)
{
	struct epoll_event events[BATCH];
	bool poll_only = false, stop;

	do {
		int count;

		/* Asked to stop, it still serves what is ready: a guest that asks again and again,
		 * always before we wait, must not keep a signal from us. */
		stop = atomic_exchange(&loop->stop, false);
		count = epoll_wait(loop->epoll_fd, events, BATCH, stop || poll_only ? 0 : -1);
		if (count < 0 && errno != EINTR) {
			int error = errno;

			log_error("cannot wait for events: %s", strerror(error));
			return -error;
		}
		priority_lock_take_first(loop->lock);
		dispatch(loop, events, MAX(count, 0));
		poll_only = loop->always_ready;
		priority_lock_release(loop->lock);
	} while (!stop);
	return 0;
}

void event_loop_stop(struct event_loop *loop)
{
	int saved_errno = errno; /* the caller may be a signal handler */

	atomic_store(&loop->stop, true);
	wake(loop);
	errno = saved_errno;
}
