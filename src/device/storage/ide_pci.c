/* The IDE controller as a PCI function. */
#include "device/storage/ide_internal.h"

#include "base/bits.h"
#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PIIX3_VENDOR 0x8086
#define PIIX3_DEVICE 0x7010

#define TIMING        0x40   /* IDETIM, 16 bits for each channel; 0x44: SIDETIM */
#define TIMING_DECODE 0x8000 /* the channel's ports are there; they are, whatever is written */

#define MASTER_SIZE 16 /* 8 for each channel */

static const struct {
	uint16_t command, control;
	const char *name;
} ports[2] = {{0x1f0, 0x3f6, "primary IDE channel"}, {0x170, 0x376, "secondary IDE channel"}};

struct ide {
	struct device device;
	struct pci_function function;
	struct ide_channel channel[2];
};

static uint64_t master_read(void *opaque, uint64_t offset, unsigned size)
{
	struct ide *ide = opaque;

	return ide_master_ops.read(&ide->channel[offset >> 3], offset & 7, size);
}

static void master_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct ide *ide = opaque;

	ide_master_ops.write(&ide->channel[offset >> 3], offset & 7, value, size);
}

static void free_ide(void *device)
{
	free(device);
}

/* The channels are devices of their own, and destroyed before it. */
static const struct device_ops ide_device = {.name = "ide", .destroy = free_ide};

static int add_ports(struct ide *ide, struct io_space *space)
{
	int error = 0;

	for (unsigned i = 0; !error && i < 2; i++) {
		error = io_space_add(space, ports[i].command, 8, ports[i].name, &ide_command_block,
			&ide->channel[i]);
		if (!error)
			error = io_space_add(space, ports[i].control, 1, ports[i].name,
				&ide_control_block, &ide->channel[i]);
	}
	return error;
}

static int add_function(struct ide *ide, struct pci_bus *bus, int slot)
{
	static const struct io_ops master = {
		.read = master_read, .write = master_write, .width = 4};
	const struct pci_description description = {
		.name = "ide",
		.vendor = PIIX3_VENDOR,
		.device = PIIX3_DEVICE,
		.class_code = 0x010180, /* IDE, both channels in compatibility mode, bus master */
		.conventional = true,
		.bar[4] = {.kind = PCI_BAR_IO, .size = MASTER_SIZE, .ops = &master, .opaque = ide},
		.opaque = ide,
	};
	uint8_t timing[8] = {0}, writable[8];
	int error = pci_add(bus, &ide->function, slot, &description);

	if (error)
		return error;
	timing[1] = timing[3] = TIMING_DECODE >> 8;
	memset(writable, 0xff, sizeof(writable));
	pci_add_registers(&ide->function, TIMING, timing, writable, sizeof(timing));
	return 0;
}

/* Every disk is either a drive's or destroyed, whatever happens. */
static int start_drives(struct ide *ide, const struct ide_drive_config *drives,
	struct event_loop *loop, struct priority_lock *lock)
{
	int error = 0;

	for (unsigned i = 0; i < IDE_MAX_DRIVES; i++) {
		struct ide_drive *drive = &ide->channel[i / 2].drive[i % 2];
		struct disk *disk = drives[i].disk;
		char name[16];

		if (!disk)
			continue;
		if (drives[i].cdrom && disk->size < ATAPI_SECTOR && !error) {
			log_error("a CD-ROM has at least one sector of %u bytes", ATAPI_SECTOR);
			error = -EINVAL;
		}
		if (error) {
			disk->ops->destroy(disk);
			continue;
		}
		snprintf(name, sizeof(name), "ide%u", i);
		drive->cdrom = drives[i].cdrom;
		memcpy(drive->serial, drives[i].serial,
			strnlen(drives[i].serial, sizeof(drive->serial) - 1));
		error = drive_create(&drive->drive, disk, name, loop, lock);
	}
	return error;
}

int ide_create(struct pci_bus *bus, int slot, const struct ide_drive_config drives[IDE_MAX_DRIVES],
	const struct irq_line lines[2])
{
	const struct pci_config *config = pci_bus_config(bus);
	struct ide *ide = calloc(1, sizeof(*ide));
	int error;

	if (!ide) {
		log_error("out of memory for an IDE controller");
		for (unsigned i = 0; i < IDE_MAX_DRIVES; i++)
			if (drives[i].disk)
				drives[i].disk->ops->destroy(drives[i].disk);
		return -ENOMEM;
	}
	error = start_drives(ide, drives, config->loop, config->ports->lock);
	if (!error)
		error = add_function(ide, bus, slot);
	if (error) {
		for (unsigned i = 0; i < IDE_MAX_DRIVES; i++)
			drive_destroy(&ide->channel[i / 2].drive[i % 2].drive);
		free(ide);
		return error;
	}
	device_list_add(config->devices, &ide->device, &ide_device, 0);
	for (unsigned i = 0; i < 2; i++) {
		struct ide_channel *channel = &ide->channel[i];

		channel->line = lines[i];
		channel->dma = &ide->function.dma;
		device_list_add(config->devices, &channel->device, &ide_channel_device, i);
		ide_channel_init(channel);
	}
	return add_ports(ide, config->ports);
}
