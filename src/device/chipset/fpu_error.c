#include "device/chipset/fpu_error.h"

#define FPU_PORT 0xf0

void fpu_error_set(struct fpu_error *error, bool level)
{
	error->state.asserted = level;
	irq_set(&error->irq, level);
}

static void port_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	fpu_error_set(opaque, false);
}

static void fpu_error_reset(void *device)
{
	fpu_error_set(device, false);
}

static void fpu_error_loaded(void *device)
{
	struct fpu_error *error = device;

	irq_set(&error->irq, error->state.asserted);
}

static const struct state_field fpu_error_fields[] = {
	STATE_BOOL(struct fpu_error_state, asserted),
	STATE_END,
};

static const struct device_ops fpu_error_device = {
	.name = "fpu-error",
	.version = 1,
	DEVICE_STATE(struct fpu_error, fpu_error_fields),
	.reset = fpu_error_reset,
	.loaded = fpu_error_loaded,
};

int fpu_error_init(struct fpu_error *error, struct device_list *devices, struct io_space *ports,
	struct irq_line irq)
{
	static const struct io_ops ops = {.write = port_write, .width = 1};

	*error = (struct fpu_error){.irq = irq};
	device_list_add(devices, &error->device, &fpu_error_device, 0);
	return io_space_add(ports, FPU_PORT, 2, "FPU error latch", &ops, error);
}
