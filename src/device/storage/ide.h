/* IDE: a PCI function like the PIIX3's (Intel 82371SB), with two channels in compatibility mode,
 * each with two devices, and bus master DMA (Programming Interface for Bus Master IDE Controller,
 * 1.0).
 *
 * Disks (ata.h) and CD-ROM drives (atapi.h) transfer by PIO, through the channel's buffer, or by
 * DMA, straight between disk and guest memory. */
#ifndef VENEER_DEVICE_STORAGE_IDE_H
#define VENEER_DEVICE_STORAGE_IDE_H

#include "device/pci/pci.h"
#include "host/disk/disk.h"

#define IDE_MAX_DRIVES    4
#define IDE_PRIMARY_IRQ   14
#define IDE_SECONDARY_IRQ 15

struct ide_drive_config {
	struct disk *disk; /* NULL: nothing is there */
	bool cdrom;
	const char *serial; /* up to 20 characters; copied */
};

/* Make the controller in `slot` (pci_add()), with the primary channel's two drives and the
 * secondary's. It owns the disks from now on, and destroys them where it fails. A channel's first
 * drive must be there where its second is. `lines`: IRQ 14 and 15, never driven. 0, or -errno with
 * a message. */
int ide_create(struct pci_bus *bus, int slot, const struct ide_drive_config drives[IDE_MAX_DRIVES],
	const struct irq_line lines[2]);

#endif
