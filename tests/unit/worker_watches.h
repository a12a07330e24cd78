/* In place of a worker's descriptors: which ones a device watches, for a test or a fuzzer that
 * serves them itself. More than WATCHES_MAX, which the includer defines, are a mistake. Timers are
 * made and never expire; what arming one means is the test's to say. */
#ifndef VENEER_TESTS_WORKER_WATCHES_H
#define VENEER_TESTS_WORKER_WATCHES_H

#include "base/bits.h"
#include "host/worker.h"

#include <stdlib.h>

static struct watch {
	int fd;
	uint32_t events;
	void (*callback)(void *opaque, uint32_t events);
	void *opaque;
} watches[WATCHES_MAX];
static unsigned watch_count;

int worker_watch(struct worker *worker, int fd, uint32_t events,
	void (*callback)(void *opaque, uint32_t events), void *opaque)
{
	unsigned i = 0;

	while (i < watch_count && watches[i].fd != fd)
		i++;
	if (i == ARRAY_SIZE(watches))
		abort();
	watch_count = MAX(watch_count, i + 1);
	watches[i] = (struct watch){fd, events, callback, opaque};
	return 0;
}

void worker_unwatch(struct worker *worker, int fd)
{
	for (unsigned i = 0; i < watch_count; i++)
		if (watches[i].fd == fd)
			watches[i] = watches[--watch_count];
}

void worker_timer_init(struct worker_timer *timer, struct worker *worker,
	void (*expired)(void *opaque), void *opaque)
{
}

#endif
