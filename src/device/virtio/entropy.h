/* The virtio entropy device: the host's random bytes for the guest. */
#ifndef VENEER_DEVICE_VIRTIO_ENTROPY_H
#define VENEER_DEVICE_VIRTIO_ENTROPY_H

#include "device/pci/pci.h"

/* Put one on the bus, in the next free slot; the bus's list of devices owns it. 0 or -errno with a
 * message. */
int virtio_entropy_create(struct pci_bus *bus);

#endif
