/* The PC's way to report x87 errors: the processor's FERR# pin raises IRQ 13, and a write to port
 * 0xf0 takes it back. */
#ifndef VENEER_DEVICE_CHIPSET_FPU_ERROR_H
#define VENEER_DEVICE_CHIPSET_FPU_ERROR_H

#include "device/device.h"
#include "device/irq.h"
#include "memory/io_space.h"

#define FPU_ERROR_IRQ 13

struct fpu_error_state {
	bool asserted;
};

struct fpu_error {
	struct device device;
	struct fpu_error_state state;
	struct irq_line irq;
};

/* Add the ports 0xf0 and 0xf1, and the device to the list. 0 or -errno. */
int fpu_error_init(struct fpu_error *error, struct device_list *devices, struct io_space *ports,
	struct irq_line irq);
/* The FERR# pin. Machine lock held. */
void fpu_error_set(struct fpu_error *error, bool level);

#endif
