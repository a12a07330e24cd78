/* A turn of the worker's thread: the tasks that were posted, then the descriptors that are ready,
 * the timers that are due, the idle callbacks, and sleep in epoll_wait(2), where nothing was posted
 * meanwhile.
 *
 * Posted tasks are a list that posters push to with compare-and-swap and the worker takes as a
 * whole, so neither side ever waits for the other. A poster that pushes while the worker is awake
 * makes no system call: the worker says in `asleep` that it is about to sleep and then looks at the
 * list once more, a poster pushes and then looks at `asleep`, and since both are sequentially
 * consistent, one of them sees what the other one wrote. */
#include "host/worker.h"

#include "base/bits.h"
#include "base/log.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define BATCH         32 /* events a turn */
#define LONGEST_SLEEP (3600 * NS_PER_SECOND)

struct worker_watch {
	struct worker_watch *next;
	int fd;
	void (*callback)(void *opaque, uint32_t events); /* NULL: unwatched, waits to be freed */
	void *opaque;
};

struct worker_idle {
	struct worker_idle *next;
	void (*run)(void *opaque); /* NULL: removed, waits to be freed */
	void *opaque;
};

struct worker {
	pthread_t thread;
	int epoll_fd, wake_fd;
	atomic_bool stop, asleep;
	_Atomic(struct worker_task *) posted; /* the last one first; ends with &end_of_tasks */

	/* The worker's thread's alone. */
	struct worker_watch *watches;
	/* Unwatched, but epoll_wait() may have returned them already: freed after the turn. */
	struct worker_watch *graveyard;
	struct worker_idle *idles;
	struct worker_timer *timers; /* the earliest first */
	bool idle_wanted;            /* there is something for the idle callbacks */
	bool milliseconds;           /* epoll_pwait2(2) is refused */
};

/* A task's `next` is NULL where it is not posted, so the list's last one points here. */
static struct worker_task end_of_tasks;

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * NS_PER_SECOND + (uint64_t)now.tv_nsec;
}

static void wake(struct worker *worker)
{
	const uint64_t one = 1;
	ssize_t ignored = write(worker->wake_fd, &one, sizeof(one));

	(void)ignored;
}

/* --- tasks --- */

void worker_task_init(struct worker_task *task, void (*run)(void *opaque), void *opaque)
{
	task->run = run;
	task->opaque = opaque;
	atomic_init(&task->next, NULL);
}

/* Make the task ours to push. False where it waits already. In that case, too, `next` is written
 * (with what it was), because only a write releases what the caller has stored to the run() that
 * is to come. */
static bool claim(struct worker_task *task)
{
	struct worker_task *next = NULL;

	while (!atomic_compare_exchange_weak(&task->next, &next, next ? next : &end_of_tasks))
		;
	return !next;
}

void worker_post(struct worker *worker, struct worker_task *task)
{
	struct worker_task *head;

	if (!claim(task))
		return;
	head = atomic_load(&worker->posted);
	do {
		/* An exchange, not a store: it passes on what other posters, who found the task
		 * claimed, have released. */
		atomic_exchange(&task->next, head);
	} while (!atomic_compare_exchange_weak(&worker->posted, &head, task));
	if (atomic_load(&worker->asleep) && atomic_exchange(&worker->asleep, false))
		wake(worker);
}

static bool has_tasks(struct worker *worker)
{
	return atomic_load(&worker->posted) != &end_of_tasks;
}

/* Take all tasks, and put the one that was posted first in front. Only the worker changes `next` of
 * a task that is posted, but for claim(), which leaves its value. */
static struct worker_task *take_tasks(struct worker *worker)
{
	struct worker_task *task = atomic_exchange(&worker->posted, &end_of_tasks);
	struct worker_task *first = &end_of_tasks, *next;

	for (; task != &end_of_tasks; task = next) {
		next = atomic_exchange(&task->next, first);
		first = task;
	}
	return first;
}

static void run_tasks(struct worker *worker)
{
	struct worker_task *task, *next;

	if (!has_tasks(worker))
		return;
	for (task = take_tasks(worker); task != &end_of_tasks; task = next) {
		/* From here on it may be posted again, and from its run() on it may be gone. */
		next = atomic_exchange(&task->next, NULL);
		if (!atomic_load(&worker->stop))
			task->run(task->opaque);
	}
}

struct call {
	struct worker_task task;
	void (*run)(void *opaque);
	void *opaque;
	sem_t done;
};

static void run_call(void *opaque)
{
	struct call *call = opaque;

	call->run(call->opaque);
	sem_post(&call->done);
}

void worker_call(struct worker *worker, void (*run)(void *opaque), void *opaque)
{
	struct call call = {.run = run, .opaque = opaque};

	worker_task_init(&call.task, run_call, &call);
	sem_init(&call.done, 0, 0);
	worker_post(worker, &call.task);
	while (sem_wait(&call.done) < 0)
		; /* a signal */
	sem_destroy(&call.done);
}

/* --- descriptors --- */

static struct worker_watch **find_watch(struct worker *worker, int fd)
{
	struct worker_watch **link = &worker->watches;

	while (*link && (*link)->fd != fd)
		link = &(*link)->next;
	return link;
}

int worker_watch(struct worker *worker, int fd, uint32_t events,
	void (*callback)(void *opaque, uint32_t events), void *opaque)
{
	struct worker_watch *watch = *find_watch(worker, fd), *made = NULL;
	struct epoll_event event = {.events = events};

	if (!watch) {
		watch = made = calloc(1, sizeof(*watch));
		if (!made)
			return -ENOMEM;
	}
	event.data.ptr = watch;
	if (epoll_ctl(worker->epoll_fd, made ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, fd, &event) < 0) {
		int error = errno;

		free(made);
		return -error;
	}
	watch->callback = callback;
	watch->opaque = opaque;
	if (made) {
		watch->fd = fd;
		watch->next = worker->watches;
		worker->watches = watch;
	}
	return 0;
}

void worker_unwatch(struct worker *worker, int fd)
{
	struct worker_watch **link = find_watch(worker, fd), *watch = *link;

	if (!watch)
		return;
	*link = watch->next;
	epoll_ctl(worker->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
	watch->callback = NULL;
	watch->next = worker->graveyard;
	worker->graveyard = watch;
}

static void free_watches(struct worker_watch **list)
{
	struct worker_watch *watch;

	while ((watch = *list)) {
		*list = watch->next;
		free(watch);
	}
}

/* --- idle callbacks --- */

int worker_add_idle(struct worker *worker, void (*run)(void *opaque), void *opaque)
{
	struct worker_idle *idle = malloc(sizeof(*idle));

	if (!idle)
		return -ENOMEM;
	*idle = (struct worker_idle){.next = worker->idles, .run = run, .opaque = opaque};
	worker->idles = idle;
	return 0;
}

void worker_remove_idle(struct worker *worker, void *opaque)
{
	for (struct worker_idle *idle = worker->idles; idle; idle = idle->next)
		if (idle->opaque == opaque)
			idle->run = NULL;
}

void worker_want_idle(struct worker *worker)
{
	worker->idle_wanted = true;
}

static void run_idles(struct worker *worker)
{
	struct worker_idle **link = &worker->idles, *idle;

	worker->idle_wanted = false;
	for (idle = worker->idles; idle; idle = idle->next)
		if (idle->run && !atomic_load(&worker->stop))
			idle->run(idle->opaque);
	while ((idle = *link)) {
		if (idle->run) {
			link = &idle->next;
		} else {
			*link = idle->next;
			free(idle);
		}
	}
}

/* --- timers --- */

void worker_timer_init(struct worker_timer *timer, struct worker *worker,
	void (*expired)(void *opaque), void *opaque)
{
	*timer = (struct worker_timer){.worker = worker, .expired = expired, .opaque = opaque};
}

void worker_timer_arm(struct worker_timer *timer, uint64_t delay_ns)
{
	struct worker_timer **link = &timer->worker->timers;

	worker_timer_cancel(timer);
	timer->deadline_ns = now_ns() + delay_ns;
	while (*link && (*link)->deadline_ns <= timer->deadline_ns)
		link = &(*link)->next;
	timer->next = *link;
	*link = timer;
	timer->armed = true;
}

void worker_timer_cancel(struct worker_timer *timer)
{
	struct worker_timer **link = &timer->worker->timers;

	if (!timer->armed)
		return;
	while (*link != timer)
		link = &(*link)->next;
	*link = timer->next;
	timer->armed = false;
}

/* Those that were due when this began: a timer may arm itself for now again and again. */
static void run_timers(struct worker *worker)
{
	struct worker_timer *timer;
	uint64_t now;

	if (!worker->timers)
		return;
	now = now_ns();
	while ((timer = worker->timers) && timer->deadline_ns < now &&
		!atomic_load(&worker->stop)) {
		worker_timer_cancel(timer);
		timer->expired(timer->opaque);
	}
}

/* --- the thread --- */

/* epoll_wait(2) till a timer is due, or without waiting. Number of events, or -1 with errno. */
static int wait_for_events(struct worker *worker, struct epoll_event *events, bool sleep)
{
	uint64_t now = worker->timers && sleep ? now_ns() : 0, delay = 0;
	bool forever = sleep && !worker->timers;
	int count;

	if (worker->timers && sleep && worker->timers->deadline_ns >= now)
		delay = MIN(worker->timers->deadline_ns - now + 1, LONGEST_SLEEP);
	if (forever || !delay)
		return epoll_wait(worker->epoll_fd, events, BATCH, forever ? -1 : 0);
	if (!worker->milliseconds) {
		struct timespec time = {.tv_sec = (time_t)(delay / NS_PER_SECOND),
			.tv_nsec = (long)(delay % NS_PER_SECOND)};

		count = epoll_pwait2(worker->epoll_fd, events, BATCH, &time, NULL);
		if (count >= 0 || (errno != ENOSYS && errno != EPERM))
			return count;
		worker->milliseconds = true;
	}
	return epoll_wait(worker->epoll_fd, events, BATCH, (int)((delay + 999999) / 1000000));
}

static int sleep_for_events(struct worker *worker, struct epoll_event *events)
{
	bool sleep;
	int count;

	atomic_store(&worker->asleep, true);
	sleep = !worker->idle_wanted && !has_tasks(worker) && !atomic_load(&worker->stop);
	if (!sleep)
		atomic_store(&worker->asleep, false);
	count = wait_for_events(worker, events, sleep);
	atomic_store(&worker->asleep, false);
	return count;
}

static void dispatch(struct worker *worker, const struct epoll_event *events, int count)
{
	for (int i = 0; i < count && !atomic_load(&worker->stop); i++) {
		struct worker_watch *watch = events[i].data.ptr;

		if (watch && watch->callback) /* NULL: wake_fd, edge-triggered, never read */
			watch->callback(watch->opaque, events[i].events);
	}
	free_watches(&worker->graveyard);
}

static void *worker_thread(void *opaque)
{
	struct worker *worker = opaque;
	struct epoll_event events[BATCH];
	int count = 0;

	while (!atomic_load(&worker->stop)) {
		run_tasks(worker);
		dispatch(worker, events, count);
		run_timers(worker);
		run_idles(worker);
		count = sleep_for_events(worker, events);
		if (count < 0 && errno != EINTR) {
			log_error("a worker cannot wait for events: %s", strerror(errno));
			break;
		}
	}
	return NULL;
}

static void free_worker(struct worker *worker)
{
	struct worker_idle *idle;

	if (worker->epoll_fd >= 0)
		close(worker->epoll_fd);
	if (worker->wake_fd >= 0)
		close(worker->wake_fd);
	free_watches(&worker->watches);
	free_watches(&worker->graveyard);
	while ((idle = worker->idles)) {
		worker->idles = idle->next;
		free(idle);
	}
	free(worker);
}

static int start_thread(struct worker *worker, const char *name)
{
	sigset_t all, before;
	int error;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	error = pthread_create(&worker->thread, NULL, worker_thread, worker);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (error)
		return error;
	pthread_setname_np(worker->thread, name);
	return 0;
}

struct worker *worker_create(const char *name)
{
	struct epoll_event event = {.events = EPOLLIN | EPOLLET};
	struct worker *worker = calloc(1, sizeof(*worker));
	int error = ENOMEM;

	if (worker) {
		atomic_init(&worker->posted, &end_of_tasks);
		worker->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
		worker->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (worker->epoll_fd < 0 || worker->wake_fd < 0 ||
			epoll_ctl(worker->epoll_fd, EPOLL_CTL_ADD, worker->wake_fd, &event) < 0)
			error = errno;
		else
			error = start_thread(worker, name);
		if (!error)
			return worker;
		free_worker(worker);
	}
	log_error("cannot start the thread '%s': %s", name, strerror(error));
	return NULL;
}

void worker_destroy(struct worker *worker)
{
	if (!worker)
		return;
	atomic_store(&worker->stop, true);
	wake(worker);
	pthread_join(worker->thread, NULL);
	free_worker(worker);
}
