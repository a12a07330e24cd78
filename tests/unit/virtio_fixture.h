/* In place of a virtio device's transport, worker and event loop: a few functions that call at once
 * what those would call soon, for tests and fuzzers of one device. Tasks that are posted wait for
 * run_posted(). */
#ifndef VENEER_TESTS_VIRTIO_FIXTURE_H
#define VENEER_TESTS_VIRTIO_FIXTURE_H

#include "device/virtio/virtio.h"

#include <stdlib.h>
#include <string.h>

static struct virtio_device *device; /* the one that was added last */
static unsigned needs_reset, stopped, config_changes;

static struct worker_task *posted[64];
static unsigned posted_count;

int virtio_add(struct virtio_device *added, struct pci_bus *bus, int slot, uint32_t instance)
{
	device = added;
	return 0;
}

const struct pci_config *pci_bus_config(const struct pci_bus *bus)
{
	static struct device_list devices;
	static const struct pci_config config = {.devices = &devices};

	devices = (struct device_list){0}; /* none is kept */
	return &config;
}

void virtio_stopped(struct virtio_device *from)
{
	stopped++;
}

void virtio_needs_reset(struct virtio_device *from)
{
	needs_reset++;
}

void virtio_config_changed(struct virtio_device *from)
{
	config_changes++;
}

void worker_task_init(struct worker_task *task, void (*run)(void *opaque), void *opaque)
{
	*task = (struct worker_task){.run = run, .opaque = opaque};
}

void worker_post(struct worker *worker, struct worker_task *task)
{
	for (unsigned i = 0; i < posted_count; i++)
		if (posted[i] == task)
			return;
	posted[posted_count++] = task;
}

/* It is in a system call that does not return: nobody may wait for it. */
static bool worker_is_stuck;

void worker_call(struct worker *worker, void (*run)(void *opaque), void *opaque)
{
	if (worker_is_stuck)
		abort();
	run(opaque);
}

void worker_timer_init(struct worker_timer *timer, struct worker *worker,
	void (*expired)(void *opaque), void *opaque)
{
	*timer = (struct worker_timer){.worker = worker, .expired = expired, .opaque = opaque};
}

static struct worker_timer *armed_timer; /* the last one that was armed, and not cancelled */

void worker_timer_arm(struct worker_timer *timer, uint64_t delay_ns)
{
	armed_timer = timer;
}

void worker_timer_cancel(struct worker_timer *timer)
{
	if (armed_timer == timer)
		armed_timer = NULL;
}

static inline void expire_timer(void)
{
	struct worker_timer *timer = armed_timer;

	armed_timer = NULL;
	timer->expired(timer->opaque);
}

void event_work_init(struct event_work *work, void (*run)(void *opaque), void *opaque)
{
	*work = (struct event_work){.run = run, .opaque = opaque};
}

void event_loop_post(struct event_loop *loop, struct event_work *work)
{
	work->run(work->opaque);
}

void event_loop_unpost(struct event_loop *loop, struct event_work *work)
{
}

static inline void run_one(void)
{
	struct worker_task *task = posted[0];

	memmove(posted, posted + 1, --posted_count * sizeof(posted[0]));
	task->run(task->opaque);
}

static inline void run_posted(void)
{
	while (posted_count)
		run_one();
}

static inline void fixture_reset(void)
{
	needs_reset = stopped = config_changes = posted_count = 0;
	armed_timer = NULL;
}

#endif
