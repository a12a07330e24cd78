/* An interrupt line: what a device holds to signal an interrupt controller. A line carries
 * assertion, not voltage: true is "asserted", whatever polarity the controller's pin has. */
#ifndef VENEER_DEVICE_IRQ_H
#define VENEER_DEVICE_IRQ_H

#include <stdbool.h>

struct irq_line {
	void (*set)(void *opaque, unsigned number, bool level); /* NULL: not connected */
	void *opaque;
	unsigned number;
};

/* Drive the line. The machine lock is held. Setting the level it has already is harmless. */
static inline void irq_set(const struct irq_line *line, bool level)
{
	if (line->set)
		line->set(line->opaque, line->number, level);
}

#endif
