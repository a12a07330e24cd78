/* High precision event timer: a counter of 100 MHz and three timers, each of which can be periodic
 * (Intel's "IA-PC HPET specification" 1.0a). */
#ifndef VENEER_DEVICE_CHIPSET_HPET_H
#define VENEER_DEVICE_CHIPSET_HPET_H

#include "device/device.h"
#include "device/irq.h"
#include "host/event_loop.h"
#include "memory/io_space.h"

#define HPET_BASE           UINT64_C(0xfed00000)
#define HPET_SIZE           0x400
#define HPET_TIMERS         3
#define HPET_BLOCK_ID       UINT32_C(0x8086a201) /* the low half of the capabilities, for ACPI */
#define HPET_SHORTEST_TICKS 5000 /* periodic interrupts come at most so often: each 50 us */
#define HPET_FIRST_GSI      20   /* timers can be routed to this one and the next three */
#define HPET_GSIS           4

struct hpet_timer_state {
	uint32_t config;
	uint64_t comparator, period;
	/* Machine time in ticks at which the counter reaches the comparator next; all ones: never.
	 * It is meant only while the counter runs. */
	uint64_t match_tick;
	uint64_t quiet_ns; /* machine time before which no periodic interrupt comes */
};

struct hpet_state {
	uint32_t config, status;
	uint64_t counter;    /* its value at start_tick; while it is halted, its value */
	uint64_t start_tick; /* machine time in ticks since which it runs */
	struct hpet_timer_state timers[HPET_TIMERS];
};

struct hpet_timer {
	struct hpet *hpet;
	struct timer timer;
	struct irq_line lines[HPET_GSIS];
};

struct hpet {
	struct device device;
	struct hpet_state state;
	const struct clock *clock;
	struct hpet_timer timers[HPET_TIMERS];
	struct irq_line legacy[2]; /* of timers 0 and 1 */
	void (*legacy_changed)(void *opaque);
	void *opaque;
};

/* Add the registers to the MMIO space, and the device to the list. The lines, which nobody has
 * driven, are copied: those of the GSIs, and IRQ 0 and 8, which timers 0 and 1 use in legacy
 * replacement mode. legacy_changed() is called when that mode begins or ends. 0 or -errno. */
int hpet_init(struct hpet *hpet, struct device_list *devices, struct io_space *mmio,
	const struct irq_line gsis[HPET_GSIS], const struct irq_line legacy[2],
	struct event_loop *loop, const struct clock *clock, void (*legacy_changed)(void *opaque),
	void *opaque);
/* Do timers 0 and 1 replace the PIT and the RTC? */
bool hpet_replaces_legacy(const struct hpet *hpet);

#endif
