/* An NVMe controller with one namespace (NVM Express Base 1.4, the NVM command set): a disk with
 * queues in guest memory, of which the guest's processors may have one each. */
#ifndef VENEER_DEVICE_STORAGE_NVME_H
#define VENEER_DEVICE_STORAGE_NVME_H

#include "device/pci/pci.h"
#include "host/disk/disk.h"

/* Make the controller in `slot` (pci_add()), with a worker of its own, named like `instance`. It
 * owns the disk from now on, and destroys it where it fails. `serial`: up to 20 characters, copied.
 * 0, or -errno with a message. */
int nvme_create(
	struct pci_bus *bus, int slot, uint32_t instance, struct disk *disk, const char *serial);

#endif
