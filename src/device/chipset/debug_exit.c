#include "device/chipset/debug_exit.h"

static uint64_t debug_exit_read(void *opaque, uint64_t offset, unsigned size)
{
	return 0;
}

static void debug_exit_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct debug_exit *device = opaque;

	device->exit(device->opaque, (int)((uint32_t)value << 1 | 1));
}

int debug_exit_init(struct debug_exit *device, struct io_space *ports, uint16_t port,
	void (*exit)(void *opaque, int status), void *opaque)
{
	static const struct io_ops ops = {.read = debug_exit_read, .write = debug_exit_write};

	*device = (struct debug_exit){.exit = exit, .opaque = opaque};
	return io_space_add(ports, port, DEBUG_EXIT_SIZE, "debug exit", &ops, device);
}
