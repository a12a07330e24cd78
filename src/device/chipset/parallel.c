/* The printer adapter of IBM's PC/AT Technical Reference; IEEE 1284's compatibility mode.
 *
 * The printer acknowledges a byte at once. The interrupt line is the acknowledgement, which on the
 * wire is a pulse; here it stays until a register is read or written, so that the interrupt
 * controller cannot miss it. */
#include "device/chipset/parallel.h"

#include "base/bits.h"

enum { DATA = 0, STATUS = 1, CONTROL = 2, REGISTERS = 3 };

/* A printer that is selected, has paper and no error, and is not busy. Bits 0 to 2 are not
 * connected. */
#define STATUS_READY 0xdf

#define CONTROL_STROBE  BIT(0)
#define CONTROL_STORED  0x1f
#define CONTROL_IRQ     BIT(4)
#define CONTROL_OPEN    0xe0 /* these bits are not connected */
#define CONTROL_AT_BOOT 0x0c /* selected, not being reset */

static void set_acknowledged(struct parallel *parallel, bool acknowledged)
{
	parallel->state.acknowledged = acknowledged;
	irq_set(&parallel->irq, acknowledged && (parallel->state.control & CONTROL_IRQ));
}

static uint64_t parallel_read(void *opaque, uint64_t offset, unsigned size)
{
	struct parallel *parallel = opaque;

	set_acknowledged(parallel, false);
	switch (offset) {
	case DATA:
		return parallel->state.data;
	case STATUS:
		return STATUS_READY;
	default:
		return parallel->state.control | CONTROL_OPEN;
	}
}

/* The printer takes the byte when the strobe ends. */
static void write_control(struct parallel *parallel, uint8_t value)
{
	bool ends = (parallel->state.control & ~value) & CONTROL_STROBE;

	parallel->state.control = value & CONTROL_STORED;
	if (ends)
		parallel->printer->ops->write(parallel->printer, &parallel->state.data, 1);
	set_acknowledged(parallel, ends);
}

static void parallel_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct parallel *parallel = opaque;

	set_acknowledged(parallel, false);
	if (offset == DATA)
		parallel->state.data = (uint8_t)value;
	else if (offset == CONTROL)
		write_control(parallel, (uint8_t)value);
}

static void parallel_reset(void *device)
{
	struct parallel *parallel = device;

	parallel->state = (struct parallel_state){.control = CONTROL_AT_BOOT};
	set_acknowledged(parallel, false);
}

static void parallel_loaded(void *device)
{
	struct parallel *parallel = device;

	set_acknowledged(parallel, parallel->state.acknowledged);
}

static const struct state_field parallel_fields[] = {
	STATE_ANY(struct parallel_state, data),
	STATE_FIELD(struct parallel_state, control, 0, CONTROL_STORED),
	STATE_BOOL(struct parallel_state, acknowledged),
	STATE_END,
};

static const struct device_ops parallel_device = {
	.name = "parallel",
	.version = 1,
	DEVICE_STATE(struct parallel, parallel_fields),
	.reset = parallel_reset,
	.loaded = parallel_loaded,
};

int parallel_init(struct parallel *parallel, struct device_list *devices, struct io_space *ports,
	struct irq_line irq, struct char_backend *printer)
{
	static const struct io_ops ops = {
		.read = parallel_read, .write = parallel_write, .width = 1};

	*parallel = (struct parallel){.irq = irq, .printer = printer};
	device_list_add(devices, &parallel->device, &parallel_device, 0);
	parallel_reset(parallel);
	return io_space_add(ports, PARALLEL_PORT, REGISTERS, "parallel port", &ops, parallel);
}
