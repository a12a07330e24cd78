/* A parallel port (SPP) with a printer that is always ready: what the guest prints goes to a
 * character backend. */
#ifndef VENEER_DEVICE_CHIPSET_PARALLEL_H
#define VENEER_DEVICE_CHIPSET_PARALLEL_H

#include "device/device.h"
#include "device/irq.h"
#include "host/char_backend.h"
#include "memory/io_space.h"

#define PARALLEL_PORT 0x378
#define PARALLEL_IRQ  7

struct parallel_state {
	uint8_t data, control;
	bool acknowledged; /* the printer has taken a byte, which no interrupt handler has seen */
};

struct parallel {
	struct device device;
	struct parallel_state state;
	struct irq_line irq;
	struct char_backend *printer;
};

/* Add the port's three registers, and the device to the list. `printer` outlives it. 0 or -errno.
 */
int parallel_init(struct parallel *parallel, struct device_list *devices, struct io_space *ports,
	struct irq_line irq, struct char_backend *printer);

#endif
