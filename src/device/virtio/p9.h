/* The 9P device (virtio 1.2, 5 has its number; its one queue, tag and feature are those of
 * Linux' include/uapi/linux/virtio_9p.h). */
#ifndef VENEER_DEVICE_VIRTIO_P9_H
#define VENEER_DEVICE_VIRTIO_P9_H

#include "device/pci/pci.h"
#include "host/share/share.h"

/* Put a 9P device on the bus (`slot` as for pci_add()) by which the guest finds `share` under
 * `tag`. The share is the device's from now on, also where this fails. `instance` tells a machine's
 * shares apart. 0, or -errno with a message. */
int virtio_p9_create(
	struct pci_bus *bus, int slot, uint32_t instance, struct share *share, const char *tag);

#endif
