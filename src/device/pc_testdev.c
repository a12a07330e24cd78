#include "device/pc_testdev.h"

#include "base/bits.h"

#include <string.h>

#define LATCH_PORT 0xe0   /* four bytes that read as written */
#define FLUSH_PORT 0xe4   /* writes ask the monitor to drop a page's mapping: nothing to do here */
#define BYTES_PORT 0xe8   /* the latch again, for byte accesses */
#define LINES_PORT 0x2000 /* one port a line: non-zero asserts */
#define MMIO_START 0xff000000

static uint64_t latch_read(void *opaque, uint64_t offset, unsigned size)
{
	const struct pc_testdev *device = opaque;

	return device->latch >> (8 * offset);
}

static void latch_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct pc_testdev *device = opaque;
	uint64_t mask = (BIT(8 * size) - 1) << (8 * offset);

	device->latch = (uint32_t)((device->latch & ~mask) | ((value << (8 * offset)) & mask));
}

static void lines_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct pc_testdev *device = opaque;

	irq_set(&device->lines[offset], value & 0xff);
}

/* io_space splits an access that would run past the region's end. */
static uint64_t scratch_read(void *opaque, uint64_t offset, unsigned size)
{
	const struct pc_testdev *device = opaque;
	uint64_t value = 0;

	memcpy(&value, device->scratch + offset, size);
	return value;
}

static void scratch_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct pc_testdev *device = opaque;

	memcpy(device->scratch + offset, &value, size);
}

int pc_testdev_init(struct pc_testdev *device, struct io_space *ports, struct io_space *mmio,
	const struct irq_line lines[PC_TESTDEV_LINES])
{
	static const struct io_ops latch = {.read = latch_read, .write = latch_write};
	static const struct io_ops flush = {0};
	static const struct io_ops line = {.write = lines_write};
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

	*device = (struct pc_testdev){0};
	memcpy(device->lines, lines, sizeof(device->lines));
	for (unsigned i = 0; i < ARRAY_SIZE(regions); i++) {
		int error = io_space_add(regions[i].space, regions[i].start, regions[i].size,
			"pc-testdev", regions[i].ops, device);

		if (error)
			return error;
	}
	return 0;
}
