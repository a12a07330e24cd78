#include "machine/disk_controllers.h"

#include "base/log.h"
#include "device/chipset/chipset.h"
#include "device/lpc_bridge.h"
#include "device/pci/pci.h"
#include "device/storage/ahci.h"
#include "device/storage/floppy.h"
#include "device/storage/ide.h"
#include "machine/machine.h"

#include <errno.h>
#include <stdio.h>

#define IDE_SLOT   30
#define AHCI_PLACE PCI_FUNCTION_OF(LPC_BRIDGE_SLOT, 2) /* as in the ICH9 */

enum disk_bus machine_disk_bus(const struct machine *machine, const struct disk_config *config)
{
	if (config->bus != DISK_BUS_ANY)
		return config->bus;
	/* What a BIOS, and the oldest guests, have a driver for. Systems that EFI starts know
	 * virtio; some are made for nothing else (Debian's cloud kernel). */
	return config->cdrom || (firmware_is_used(machine) && !machine->firmware.efi.used)
		       ? DISK_BUS_IDE
		       : DISK_BUS_VIRTIO;
}

/* --- IDE and AHCI --- */

#define MAX_PLACES MAX(IDE_MAX_DRIVES, AHCI_PORTS)

/* The places of a controller, in the order in which disks and CD-ROM drives take them: that in
 * which firmware looks for disks to boot from. An IDE channel's first place comes before its
 * second. */
struct controller {
	enum disk_bus bus;
	const char *name;
	unsigned count;
	uint8_t order[2][MAX_PLACES]; /* of disks, of CD-ROM drives */
	int (*create)(struct machine *machine, const struct ide_drive_config *drives);
	/* What firmware calls it, and how many drives it says to be at one channel. */
	const char *firmware_name;
	unsigned drives_in_channel;
};

/* -ENOSPC: there is none. */
static int find_place(
	const struct controller *controller, const struct ide_drive_config *drives, bool cdrom)
{
	for (unsigned i = 0; i < controller->count; i++)
		if (!drives[controller->order[cdrom][i]].disk)
			return controller->order[cdrom][i];
	return -ENOSPC;
}

static int open_disks(struct machine *machine, const struct controller *controller, bool cdrom,
	struct ide_drive_config *drives)
{
	int error = 0, place;

	for (unsigned i = 0; !error && i < machine->config.disk_count; i++) {
		const struct disk_config *config = &machine->config.disks[i];
		struct disk *disk;

		if (machine_disk_bus(machine, config) != controller->bus || config->cdrom != cdrom)
			continue;
		place = find_place(controller, drives, cdrom);
		if (place < 0) {
			log_error("%s: the %s controller has room for %u disks and CD-ROMs",
				config->path, controller->name, controller->count);
			return place;
		}
		error = disk_open(config, &disk);
		if (error)
			break;
		drives[place] = (struct ide_drive_config){disk, cdrom, config->serial};
		machine->disk[i] = disk;
	}
	return error;
}

static int create_ide(struct machine *machine, const struct ide_drive_config *drives)
{
	const struct irq_line lines[2] = {chipset_irq_line(machine->chipset, IDE_PRIMARY_IRQ),
		chipset_irq_line(machine->chipset, IDE_SECONDARY_IRQ)};

	return ide_create(machine->pci, IDE_SLOT, drives, lines);
}

static int create_ahci(struct machine *machine, const struct ide_drive_config *drives)
{
	return ahci_create(machine->pci, AHCI_PLACE, drives);
}

static unsigned boot_index_of(const struct machine *machine, const struct disk *disk)
{
	for (unsigned i = 0; i < machine->config.disk_count; i++)
		if (machine->disk[i] == disk)
			return machine->config.disks[i].boot_index;
	return 0;
}

static void tell_firmware(struct machine *machine, const struct controller *controller,
	const struct ide_drive_config *drives)
{
	for (unsigned i = 0; i < controller->count; i++) {
		unsigned place = controller->order[0][i];
		char name[32];

		if (!drives[place].disk)
			continue;
		snprintf(name, sizeof(name), "drive@%x/disk@%x",
			place / controller->drives_in_channel,
			place % controller->drives_in_channel);
		firmware_can_boot(
			machine, drives[place].cdrom ? 'd' : 'c', controller->firmware_name, name);
		firmware_boot_index(machine, boot_index_of(machine, drives[place].disk));
	}
}

static int create_controller(struct machine *machine, const struct controller *controller)
{
	struct ide_drive_config drives[MAX_PLACES] = {{0}};
	int error = open_disks(machine, controller, false, drives);
	bool any = false;

	if (!error)
		error = open_disks(machine, controller, true, drives);
	for (unsigned i = 0; i < controller->count; i++) {
		any |= drives[i].disk != NULL;
		if (error && drives[i].disk)
			drives[i].disk->ops->destroy(drives[i].disk);
	}
	if (error || !any)
		return error;
	error = controller->create(machine, drives);
	if (!error)
		tell_firmware(machine, controller, drives);
	return error;
}

static const struct controller controllers[] = {
	{DISK_BUS_IDE, "IDE", IDE_MAX_DRIVES, {{0, 1, 2, 3}, {2, 3, 0, 1}}, create_ide, "ide", 2},
	{DISK_BUS_AHCI, "AHCI", AHCI_PORTS, {{0, 1, 2, 3, 4, 5}, {0, 1, 2, 3, 4, 5}}, create_ahci,
		"sata", 1},
};

/* --- floppies --- */

/* What the BIOS looks up in CMOS memory: the drives' types, and how many there are. */
static void set_cmos(struct machine *machine, struct disk *const *disks)
{
	uint8_t types = 0, equipment = 0x06; /* a mouse, a coprocessor */

	for (unsigned i = 0; i < FLOPPY_DRIVES; i++)
		if (disks[i])
			types |= (uint8_t)(floppy_drive_type(disks[i]->size) << (i ? 0 : 4));
	equipment |= (uint8_t)(1 | (disks[1] ? 0x40 : 0));
	chipset_set_cmos(machine->chipset, FLOPPY_CMOS, types);
	chipset_set_cmos(machine->chipset, FLOPPY_CMOS_EQUIPMENT, equipment);
}

static void tell_firmware_of_floppies(struct machine *machine)
{
	char path[FIRMWARE_PATH];

	for (unsigned i = 0; i < machine->config.floppy_count; i++) {
		snprintf(path, sizeof(path), "/pci@i0cf8/isa@%x/fdc@03f0/floppy@%u",
			LPC_BRIDGE_SLOT, i);
		firmware_can_boot_path(machine, 'a', path);
	}
}

static int create_floppies(struct machine *machine)
{
	struct floppy_config config = {
		.devices = chipset_devices(machine->chipset),
		.ports = &machine->ports,
		.dma = chipset_dma(machine->chipset),
		.irq = chipset_irq_line(machine->chipset, FLOPPY_IRQ),
		.loop = machine->loop,
		.machine_lock = &machine->lock,
	};
	int error = 0;

	if (!machine->config.floppy_count)
		return 0;
	for (unsigned i = 0; !error && i < machine->config.floppy_count; i++)
		error = disk_open(&machine->config.floppies[i], &config.disks[i]);
	if (!error) {
		set_cmos(machine, config.disks);
		tell_firmware_of_floppies(machine);
		return floppy_create(&config);
	}
	for (unsigned i = 0; i < FLOPPY_DRIVES; i++)
		if (config.disks[i])
			config.disks[i]->ops->destroy(config.disks[i]);
	return error;
}

int machine_create_controllers(struct machine *machine)
{
	int error = 0;

	for (unsigned i = 0; !error && i < ARRAY_SIZE(controllers); i++)
		error = create_controller(machine, &controllers[i]);
	return error ? error : create_floppies(machine);
}
