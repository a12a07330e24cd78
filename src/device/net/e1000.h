/* Intel's 82540EM gigabit Ethernet controller, for guests without a virtio driver. */
#ifndef VENEER_DEVICE_NET_E1000_H
#define VENEER_DEVICE_NET_E1000_H

#include "device/pci/pci.h"
#include "host/net/net_backend.h"

/* Put a card on the bus (`slot` as for pci_add()), plugged into `backend`, which is the card's from
 * now on, also where this fails. `instance` tells a machine's cards apart. 0, or -errno with a
 * message. */
int e1000_create(struct pci_bus *bus, int slot, uint32_t instance, struct net_backend *backend,
	const uint8_t mac[6]);

#endif
