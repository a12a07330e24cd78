/* A place to put one device: port and MMIO spaces, an event loop, and a clock that stands still
 * until advance() moves it, so that every test can expect exact times. */
#ifndef VENEER_TESTS_UNIT_DEVICE_FIXTURE_H
#define VENEER_TESTS_UNIT_DEVICE_FIXTURE_H

#include "device/device.h"
#include "device/irq.h"
#include "host/event_loop.h"
#include "memory/memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define MS UINT64_C(1000000)
#define US UINT64_C(1000)

struct fixture {
	struct priority_lock lock;
	struct clock clock;
	struct event_loop *loop;
	struct io_space ports;
	struct device_list devices;
	struct memory memory;
	bool level[24];     /* of the interrupt lines */
	unsigned edges[24]; /* how often each has risen */
	unsigned resets, power_offs, sleeps, wakes;
};

static struct fixture f;

static inline void set_time_ns(uint64_t ns)
{
	f.clock.paused_tsc = clock_ns_to_cycles(&f.clock, ns);
}

/* Let time pass, timers included. */
static inline void advance(uint64_t ns)
{
	uint64_t target = clock_ns(&f.clock) + ns, next;

	while ((next = event_loop_next_deadline(f.loop)) <= target) {
		if (next > clock_ns(&f.clock))
			set_time_ns(next);
		event_loop_run_timers(f.loop);
	}
	set_time_ns(target);
}

static inline void fixture_set_irq(void *opaque, unsigned number, bool level)
{
	f.edges[number] += level && !f.level[number];
	f.level[number] = level;
}

static inline struct irq_line fixture_irq(unsigned number)
{
	return (struct irq_line){.set = fixture_set_irq, .number = number};
}

static inline void fixture_reset(void *opaque)
{
	f.resets++;
}

static inline void fixture_power_off(void *opaque)
{
	f.power_offs++;
}

static inline void fixture_sleep(void *opaque)
{
	f.sleeps++;
}

static inline void fixture_wake(void *opaque)
{
	f.wakes++;
}

static inline void fixture_setup(void)
{
	f = (struct fixture){0};
	priority_lock_init(&f.lock);
	clock_init(&f.clock);
	f.clock.paused = true;
	set_time_ns(1000 * MS);
	f.loop = event_loop_create(&f.clock, &f.lock);
	assert_non_null(f.loop);
	io_space_init(&f.ports, &f.lock);
	assert_int_equal(memory_create(&f.memory, 16 * MIB, 40, &f.lock), 0);
}

static inline void fixture_teardown(void)
{
	device_list_destroy(&f.devices);
	event_loop_destroy(f.loop);
	io_space_destroy(&f.ports);
	memory_destroy(&f.memory);
	priority_lock_destroy(&f.lock);
}

static inline uint8_t inb(uint16_t port)
{
	return (uint8_t)io_space_read(&f.ports, port, 1);
}

static inline void outb(uint16_t port, uint8_t value)
{
	io_space_write(&f.ports, port, value, 1);
}

#endif
