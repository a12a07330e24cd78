/* A disk for the guest (virtio 1.2, 5.2 Block Device). */
#ifndef VENEER_DEVICE_VIRTIO_BLOCK_H
#define VENEER_DEVICE_VIRTIO_BLOCK_H

#include "device/virtio/virtio.h"
#include "host/disk/disk.h"

#define BLOCK_QUEUES 4 /* at most: one worker serves them all */

/* Put a device with that disk on the bus (`slot` as for pci_add()), with a queue for each vCPU.
 * The disk is the device's from here on, also where this fails. `serial`: up to 20 characters, ""
 * for none. 0, or -errno with a message. */
int virtio_block_create(struct pci_bus *bus, int slot, uint32_t instance, struct disk *disk,
	const char *serial, unsigned cpu_count);

#endif
