#include "device/pc_testdev.h"

#include "base/bits.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LATCH_PORT 0xe0   /* four bytes that read as written */
#define FLUSH_PORT 0xe4   /* writes ask the monitor to drop a page's mapping: nothing to do here */
#define BYTES_PORT 0xe8   /* the latch again, for byte accesses */
#define LINES_PORT 0x2000 /* one port a line: non-zero asserts */
#define MMIO_START 0xff000000

static uint64_t latch_read(void *opaque, uint64_t offset, unsigned size)
{
	const struct pc_testdev *device = opaque;

	return device->state.latch >> (8 * offset);
}

static void latch_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct pc_testdev *device = opaque;
	uint64_t mask = (BIT(8 * size) - 1) << (8 * offset);

	device->state.latch =
		(uint32_t)((device->state.latch & ~mask) | ((value << (8 * offset)) & mask));
}

static void lines_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct pc_testdev *device = opaque;

	device->state.asserted[offset] = value & 0xff;
	irq_set(&device->lines[offset], value & 0xff);
}

/* io_space splits an access that would run past the region's end. */
static uint64_t scratch_read(void *opaque, uint64_t offset, unsigned size)
{
	const struct pc_testdev *device = opaque;
	uint64_t value = 0;

	memcpy(&value, device->state.scratch + offset, size);
	return value;
}

static void scratch_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct pc_testdev *device = opaque;

	memcpy(device->state.scratch + offset, &value, size);
}

static void drive_lines(void *opaque)
{
	struct pc_testdev *device = opaque;

	for (unsigned i = 0; i < PC_TESTDEV_LINES; i++)
		irq_set(&device->lines[i], device->state.asserted[i]);
}

static void pc_testdev_reset(void *opaque)
{
	struct pc_testdev *device = opaque;

	device->state = (struct pc_testdev_state){0};
	drive_lines(device);
}

static const struct state_field pc_testdev_fields[] = {
	STATE_ANY(struct pc_testdev_state, latch),
	STATE_ARRAY(struct pc_testdev_state, asserted, 0, 1),
	STATE_ARRAY_ANY(struct pc_testdev_state, scratch),
	STATE_END,
};

static const struct device_ops pc_testdev_device = {
	.name = "pc-testdev",
	.version = 1,
	DEVICE_STATE(struct pc_testdev, pc_testdev_fields),
	.reset = pc_testdev_reset,
	.loaded = drive_lines,
	.destroy = free,
};

int pc_testdev_create(struct device_list *devices, struct io_space *ports, struct io_space *mmio,
	const struct irq_line lines[PC_TESTDEV_LINES])
{
	static const struct io_ops latch = {.read = latch_read, .write = latch_write};
	static const struct io_ops flush = {0};
	static const struct io_ops line = {.write = lines_write};
	struct pc_testdev *device = calloc(1, sizeof(*device));
	static const struct io_ops scratch = {.read = scratch_read, .write = scratch_write};
	const struct {
		struct io_space *space;
		uint64_t start, size;
		const struct io_ops *ops;
	} regions[] = {
		{ports, LATCH_PORT, 4, &latch},
		{ports, FLUSH_PORT, 4, &flush},
		{ports, BYTES_PORT, 4, &latch},
		{ports, LINES_PORT, PC_TESTDEV_LINES, &line},
		{mmio, MMIO_START, PC_TESTDEV_MMIO, &scratch},
	};

	if (!device)
		return -ENOMEM;
	device_list_add(devices, &device->device, &pc_testdev_device, 0);
	memcpy(device->lines, lines, sizeof(device->lines));
	for (unsigned i = 0; i < ARRAY_SIZE(regions); i++) {
		int error = io_space_add(regions[i].space, regions[i].start, regions[i].size,
			"pc-testdev", regions[i].ops, device);

		if (error)
			return error;
	}
	return 0;
}
