/* A worker that is played by the fuzzer, on its own thread, so that all happens in order. */
#ifndef VENEER_TESTS_FUZZ_WORKER_H
#define VENEER_TESTS_FUZZ_WORKER_H

#include "base/bits.h"
#include "host/worker.h"

#include <stdlib.h>

static void require(bool condition)
{
	if (!condition)
		abort();
}

static struct watch {
	void (*callback)(void *opaque, uint32_t events);
	void *opaque;
} watches[1024];
static struct worker_task *task;
static struct worker_timer *timer;

int worker_watch(struct worker *worker, int fd, uint32_t events,
	void (*callback)(void *opaque, uint32_t events), void *opaque)
{
	watches[fd] = (struct watch){callback, opaque};
	return 0;
}

void worker_unwatch(struct worker *worker, int fd)
{
	watches[fd] = (struct watch){0};
}

void worker_task_init(struct worker_task *made, void (*run)(void *opaque), void *opaque)
{
	made->run = run;
	made->opaque = opaque;
}

void worker_post(struct worker *worker, struct worker_task *posted)
{
	task = posted;
}

void worker_timer_init(struct worker_timer *made, struct worker *worker,
	void (*expired)(void *opaque), void *opaque)
{
	*made = (struct worker_timer){.expired = expired, .opaque = opaque};
}

void worker_timer_arm(struct worker_timer *armed, uint64_t delay_ns)
{
	timer = armed;
}

void worker_timer_cancel(struct worker_timer *cancelled)
{
	timer = NULL;
}

static void call(int fd)
{
	if (watches[fd].callback)
		watches[fd].callback(watches[fd].opaque, 1);
}

static void call_all(void)
{
	for (unsigned fd = 0; fd < ARRAY_SIZE(watches); fd++)
		call((int)fd);
	if (task)
		task->run(task->opaque);
	task = NULL;
}

#endif
