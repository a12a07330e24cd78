/* An interrupt line: what a device holds to signal an interrupt controller. A line carries
 * assertion, not voltage: true is "asserted", whatever polarity the controller's pin has.
 *
 * Several devices may hold lines that end at one pin. They are wired together as on a board: the
 * pin is asserted as long as one of them asserts it, so that a device that lets go does not take
 * away what another asks for. */
#ifndef VENEER_DEVICE_IRQ_H
#define VENEER_DEVICE_IRQ_H

#include <stdbool.h>

/* A copy of a line is a line of its own with its own level: give each device a copy that was never
 * driven. */
struct irq_line {
	/* The line has changed. NULL: not connected. */
	void (*set)(void *opaque, unsigned number, bool level);
	void *opaque;
	unsigned number;
	bool level;
};

/* Drive the line. The machine lock is held. Setting the level it has already does nothing. */
static inline void irq_set(struct irq_line *line, bool level)
{
	if (line->level == level)
		return;
	line->level = level;
	if (line->set)
		line->set(line->opaque, line->number, level);
}

#endif
