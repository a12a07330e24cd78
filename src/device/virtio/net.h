/* The virtio network card (virtio 1.2, 5.1). */
#ifndef VENEER_DEVICE_VIRTIO_NET_H
#define VENEER_DEVICE_VIRTIO_NET_H

#include "device/pci/pci.h"
#include "host/net/net_backend.h"

/* Put a network card on the bus (`slot` as for pci_add()), plugged into `backend`, which is the
 * card's from now on, also where this fails. `instance` tells a machine's cards apart. 0, or -errno
 * with a message. */
int virtio_net_create(struct pci_bus *bus, int slot, uint32_t instance, struct net_backend *backend,
	const uint8_t mac[6]);

#endif
