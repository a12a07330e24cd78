#include "machine/disk_controllers.h"

#include "base/log.h"
#include "device/chipset/chipset.h"
#include "device/pci/pci.h"
#include "device/storage/floppy.h"
#include "device/storage/ide.h"
#include "machine/machine.h"

#include <errno.h>

#define IDE_SLOT 30

enum disk_bus machine_disk_bus(const struct machine *machine, const struct disk_config *config)
{
	if (config->bus != DISK_BUS_ANY)
		return config->bus;
	/* What firmware, and the oldest guests, have a driver for. */
	return config->cdrom || firmware_is_used(machine) ? DISK_BUS_IDE : DISK_BUS_VIRTIO;
}

/* --- IDE --- */

/* A place at the IDE controller, in the order in which firmware looks for disks to boot from: disks
 * from the first, CD-ROM drives from the second channel on; a channel's first place before its
 * second. -ENOSPC: there is none. */
static int ide_place(const struct ide_drive_config *drives, bool cdrom)
{
	static const uint8_t order[2][IDE_MAX_DRIVES] = {{0, 1, 2, 3}, {2, 3, 0, 1}};

	for (unsigned i = 0; i < IDE_MAX_DRIVES; i++)
		if (!drives[order[cdrom][i]].disk)
			return order[cdrom][i];
	return -ENOSPC;
}

static int open_ide_disks(
	struct machine *machine, bool cdrom, struct ide_drive_config *drives, unsigned *count)
{
	int error = 0, place;

	for (unsigned i = 0; !error && i < machine->config.disk_count; i++) {
		const struct disk_config *config = &machine->config.disks[i];
		struct disk *disk;

		if (machine_disk_bus(machine, config) != DISK_BUS_IDE || config->cdrom != cdrom)
			continue;
		place = ide_place(drives, cdrom);
		if (place < 0) {
			log_error("%s: the IDE controller has room for %u disks and CD-ROMs",
				config->path, IDE_MAX_DRIVES);
			return -ENOSPC;
		}
		error = disk_open(config, &disk);
		if (error)
			break;
		drives[place] = (struct ide_drive_config){disk, cdrom, config->serial};
		machine->disk[i] = disk;
		++*count;
	}
	return error;
}

static int create_ide(struct machine *machine)
{
	struct ide_drive_config drives[IDE_MAX_DRIVES] = {{0}};
	unsigned count = 0;
	int error = open_ide_disks(machine, false, drives, &count);

	if (!error)
		error = open_ide_disks(machine, true, drives, &count);
	if (!count)
		return error;
	if (error)
		for (unsigned i = 0; i < IDE_MAX_DRIVES; i++)
			if (drives[i].disk)
				drives[i].disk->ops->destroy(drives[i].disk);
	if (!error)
		error = ide_create(machine->pci, IDE_SLOT, drives,
			(const struct irq_line[2]){
				chipset_irq_line(machine->chipset, IDE_PRIMARY_IRQ),
				chipset_irq_line(machine->chipset, IDE_SECONDARY_IRQ)});
	return error;
}

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
		return floppy_create(&config);
	}
	for (unsigned i = 0; i < FLOPPY_DRIVES; i++)
		if (config.disks[i])
			config.disks[i]->ops->destroy(config.disks[i]);
	return error;
}

int machine_create_controllers(struct machine *machine)
{
	int error = create_ide(machine);

	return error ? error : create_floppies(machine);
}
