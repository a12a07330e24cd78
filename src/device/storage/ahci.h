/* AHCI: a SATA controller like the ICH9's (Serial ATA AHCI 1.3.1), with six ports, native command
 * queueing, and disks (ata.h) and CD-ROM drives (atapi.h) that cannot be unplugged. */
#ifndef VENEER_DEVICE_STORAGE_AHCI_H
#define VENEER_DEVICE_STORAGE_AHCI_H

#include "device/pci/pci.h"
#include "device/storage/ide.h"

#define AHCI_PORTS 6

/* Make the controller in `slot` (pci_add()), with a drive at each port that has a disk. It owns the
 * disks from now on, and destroys them where it fails. 0, or -errno with a message. */
int ahci_create(struct pci_bus *bus, int slot, const struct ide_drive_config drives[AHCI_PORTS]);

#endif
