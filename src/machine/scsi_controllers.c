#include "machine/scsi_controllers.h"

#include "base/log.h"
#include "device/virtio/scsi.h"
#include "machine/disk_controllers.h"
#include "machine/machine.h"

#include <errno.h>
#include <stdio.h>

static bool is_here(const struct machine *machine, unsigned disk, unsigned controller)
{
	const struct disk_config *config = &machine->config.disks[disk];

	return machine_disk_bus(machine, config) == DISK_BUS_SCSI &&
	       (unsigned)MAX(config->controller, 0) == controller;
}

static bool is_free(
	const struct scsi_unit_config *units, unsigned count, unsigned target, unsigned lun)
{
	for (unsigned i = 0; i < count; i++)
		if (units[i].target == target && units[i].lun == lun)
			return false;
	return true;
}

/* What was not said is the first that is free: the target; or, where that was said, the unit. */
static int find_place(const struct disk_config *config, const struct scsi_unit_config *units,
	unsigned count, struct scsi_unit_config *unit)
{
	unsigned target = (unsigned)MAX(config->target, 0), lun = (unsigned)MAX(config->lun, 0);

	while (config->target < 0 && !is_free(units, count, target, lun))
		target++;
	while (config->target >= 0 && config->lun < 0 && !is_free(units, count, target, lun))
		lun++;
	if (!is_free(units, count, target, lun)) {
		log_error("%s: target %u of the SCSI controller has a unit %u already",
			config->path, target, lun);
		return -EINVAL;
	}
	unit->target = (uint8_t)target;
	unit->lun = (uint16_t)lun;
	return 0;
}

/* The units of a controller; opens their disks. */
static int open_units(struct machine *machine, unsigned controller, struct scsi_unit_config *units,
	unsigned *count)
{
	int error = 0;

	for (unsigned i = 0; !error && i < machine->config.disk_count; i++) {
		const struct disk_config *config = &machine->config.disks[i];
		struct scsi_unit_config *unit = &units[*count];

		if (!is_here(machine, i, controller))
			continue;
		error = find_place(config, units, *count, unit);
		if (!error)
			error = disk_open(config, &unit->disk);
		if (error)
			break;
		unit->cdrom = config->cdrom;
		unit->serial = config->serial;
		machine->disk[i] = unit->disk;
		++*count;
	}
	return error;
}

static void tell_firmware(
	struct machine *machine, const struct scsi_unit_config *units, unsigned count)
{
	char name[40];

	for (unsigned i = 0; i < count; i++) {
		snprintf(name, sizeof(name), "channel@0/disk@%x,%x", units[i].target, units[i].lun);
		firmware_can_boot(machine, units[i].cdrom ? 'd' : 'c', "scsi", name);
	}
}

static int create_controller(struct machine *machine, unsigned controller)
{
	struct scsi_unit_config units[SCSI_MAX_UNITS] = {{0}};
	unsigned count = 0;
	int error = open_units(machine, controller, units, &count);

	if (error) {
		for (unsigned i = 0; i < count; i++)
			units[i].disk->ops->destroy(units[i].disk);
		return error;
	}
	error = virtio_scsi_create(
		machine->pci, PCI_ANY_SLOT, controller, units, count, machine->config.cpu_count);
	if (!error)
		tell_firmware(machine, units, count);
	return error;
}

_Static_assert(MACHINE_MAX_DISKS <= SCSI_MAX_UNITS, "all of a machine's disks may be at one");

int machine_create_scsi(struct machine *machine)
{
	unsigned controllers = machine->config.scsi_controllers;
	int error = 0;

	for (unsigned i = 0; i < machine->config.disk_count; i++) {
		const struct disk_config *config = &machine->config.disks[i];

		if (machine_disk_bus(machine, config) == DISK_BUS_SCSI)
			controllers = MAX(controllers, (unsigned)MAX(config->controller, 0) + 1);
	}
	for (unsigned i = 0; !error && i < controllers; i++)
		error = create_controller(machine, i);
	return error;
}
