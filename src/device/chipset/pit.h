/* The 8254 interval timer and system control port B (0x61). Counters are not ticked: a count is
 * computed from the machine clock when it is read. Channel 0 drives IRQ 0; channel 2 is the
 * speaker's, which software uses to measure time. */
#ifndef VENEER_DEVICE_CHIPSET_PIT_H
#define VENEER_DEVICE_CHIPSET_PIT_H

#include "device/device.h"
#include "device/irq.h"
#include "host/event_loop.h"
#include "memory/io_space.h"

#define PIT_HZ 1193182

struct pit_channel {
	uint32_t count; /* initial count, 1..0x10000 */
	uint8_t mode;   /* 0..5 */
	bool bcd;
	uint8_t access;  /* 1: low byte, 2: high byte, 3: low then high */
	bool null_count; /* programmed, but no count written yet */
	bool gate;
	bool running;        /* the count follows the clock; else it stands at held_ticks */
	uint64_t start_tick; /* PIT clock at which it began to count from `count` */
	uint64_t held_ticks;
	uint8_t write_low; /* first byte of a two-byte write */
	bool write_high_next, read_high_next;
	bool count_latched, status_latched;
	uint16_t latched_count;
	uint8_t latched_status;
};

struct pit_state {
	struct pit_channel channel[3];
	uint64_t edge_tick; /* PIT clock at which channel 0's output rises next; 0: it does not */
	bool irq;           /* level of the interrupt line */
	bool speaker_data;  /* port 0x61 bit 1 */
	uint8_t checks;     /* and bits 2 and 3 */
};

struct pit {
	struct device device;
	struct pit_state state;
	struct clock *clock;
	struct irq_line irq;
	struct timer timer; /* runs until edge_tick */
};

/* Add ports 0x40-0x43 and 0x61, and the device to the list. 0 or -errno. */
int pit_init(struct pit *pit, struct device_list *devices, struct io_space *ports,
	struct irq_line irq, struct event_loop *loop, struct clock *clock);

#endif
