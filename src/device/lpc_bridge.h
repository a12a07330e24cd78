/* The LPC bridge: Intel's ICH9 (data sheet 316972, chapter 13), 8086:2918, device 31. Firmware and
 * operating systems know the chipset by it, and program where its parts are; those stay where they
 * are. */
#ifndef VENEER_DEVICE_LPC_BRIDGE_H
#define VENEER_DEVICE_LPC_BRIDGE_H

#include "device/pci/pci.h"

#define LPC_BRIDGE_SLOT 31

/* Make one and put it on the bus; the list of devices frees it. 0, or -errno with a message. */
int lpc_bridge_create(struct pci_bus *bus);

#endif
