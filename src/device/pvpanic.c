#include "device/pvpanic.h"

#include "base/log.h"

#include <errno.h>
#include <stdlib.h>

#define ALL (PVPANIC_PANICKED | PVPANIC_CRASHLOADED)

struct pvpanic {
	struct device device;
	struct pci_function function;
};

static uint64_t pvpanic_read(void *opaque, uint64_t offset, unsigned size)
{
	return offset ? 0 : ALL;
}

/* A kernel that will save its memory has panicked as well: that it panicked goes without saying. */
static void pvpanic_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	const struct pvpanic_config *config = opaque;

	if (offset)
		return;
	if (value & PVPANIC_CRASHLOADED)
		config->happened(config->opaque, PVPANIC_CRASHLOADED);
	else if (value & PVPANIC_PANICKED)
		config->happened(config->opaque, PVPANIC_PANICKED);
}

static const struct io_ops ops = {.read = pvpanic_read, .write = pvpanic_write, .width = 1};

int pvpanic_add_port(struct io_space *ports, const struct pvpanic_config *config)
{
	return io_space_add(ports, PVPANIC_PORT, 1, "pvpanic", &ops, (void *)config);
}

static const struct device_ops pvpanic_device = {.name = "pvpanic", .destroy = free};

int pvpanic_create(struct pci_bus *bus, struct device_list *devices, int slot,
	const struct pvpanic_config *config)
{
	struct pvpanic *pvpanic = calloc(1, sizeof(*pvpanic));
	const struct pci_description description = {
		.name = "pvpanic",
		.vendor = PVPANIC_VENDOR,
		.device = PVPANIC_DEVICE,
		.class_code = 0x088000, /* a system peripheral, other */
		.bar = {{.kind = PCI_BAR_MEMORY32,
			.size = 16,
			.ops = &ops,
			.opaque = (void *)config}},
	};
	int error;

	if (!pvpanic) {
		log_error("out of memory for pvpanic");
		return -ENOMEM;
	}
	error = pci_add(bus, &pvpanic->function, slot, &description);
	if (error) {
		free(pvpanic);
		return error;
	}
	device_list_add(
		devices, &pvpanic->device, &pvpanic_device, pvpanic->function.device.instance);
	return 0;
}
