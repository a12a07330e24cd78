#include "machine/io_devices.h"

#include "device/chipset/chipset.h"
#include "device/pci/pci.h"
#include "device/pci_testdev.h"
#include "device/virtio/block.h"
#include "device/virtio/entropy.h"
#include "machine/machine.h"

#include <errno.h>

static bool send_message(void *opaque, uint64_t address, uint32_t data)
{
	return chipset_msi(opaque, address, data);
}

static int create_bus(struct machine *machine)
{
	struct pci_config config = {
		.memory = &machine->memory,
		.ports = &machine->ports,
		.devices = chipset_devices(machine->chipset),
		.loop = machine->loop,
		.msi = send_message,
		.opaque = machine->chipset,
	};

	for (unsigned i = 0; i < PCI_INTX_GSIS; i++)
		config.intx[i] = chipset_irq_line(machine->chipset, PCI_INTX_GSI + i);
	machine->pci = pci_create(&config);
	return machine->pci ? 0 : -ENODEV;
}

static int create_entropy(struct machine *machine)
{
	return virtio_entropy_create(machine->pci);
}

static int create_testdev(struct machine *machine)
{
	if (!machine->config.pc_testdev)
		return 0;
	return pci_testdev_create(machine->pci, chipset_devices(machine->chipset));
}

static int create_disks(struct machine *machine)
{
	struct disk *disk;
	int error = 0;

	for (unsigned i = 0; !error && i < machine->config.disk_count; i++) {
		const struct disk_config *config = &machine->config.disks[i];

		error = disk_open(config, &disk);
		if (error)
			break;
		machine->disk_how[i] = disk->how;
		error = virtio_block_create(
			machine->pci, -1, i, disk, config->serial, machine->config.cpu_count);
	}
	return error;
}

/* In this order, which gives each its slot: a guest finds its devices where they were. */
static int (*const rows[])(struct machine *machine) = {
	create_bus,
	create_entropy,
	create_testdev,
	create_disks,
};

int io_devices_create(struct machine *machine)
{
	int error = 0;

	for (unsigned i = 0; !error && i < ARRAY_SIZE(rows); i++)
		error = rows[i](machine);
	return error;
}
