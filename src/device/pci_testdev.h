/* A PCI function to test the bus from inside: registers that make it interrupt, write to memory and
 * count. Not for ordinary guests. */
#ifndef VENEER_DEVICE_PCI_TESTDEV_H
#define VENEER_DEVICE_PCI_TESTDEV_H

#include "device/pci/pci.h"

#define PCI_TESTDEV_VENDOR  0x1b36
#define PCI_TESTDEV_DEVICE  0x7e57
#define PCI_TESTDEV_VECTORS 4

/* Doublewords in BAR 0 (memory, 4 KiB). BAR 1 (8 ports) and BAR 2 (64-bit memory, 16 KiB) have the
 * latch at all of their addresses; BAR 4 is MSI-X's. */
enum pci_testdev_register {
	PCI_TESTDEV_LATCH = 0x00,     /* reads as written */
	PCI_TESTDEV_NOTIFY = 0x04,    /* a write signals that vector */
	PCI_TESTDEV_PIN = 0x08,       /* a write of 1 asserts the pin, of 0 lets go of it */
	PCI_TESTDEV_RESETS = 0x0c,    /* resets of the function since the machine's */
	PCI_TESTDEV_RINGS = 0x10,     /* stores to the doorbell */
	PCI_TESTDEV_RUNG = 0x14,      /* of the last one: offset << 16 | value */
	PCI_TESTDEV_ADDRESS = 0x18,   /* and 0x1c: for DMA */
	PCI_TESTDEV_DMA = 0x20,       /* what is written is written to memory there; reads 1 where
					 * that has succeeded */
	PCI_TESTDEV_DOORBELL = 0x800, /* 16 bytes */
};

/* Put one on the bus: `slot` as for pci_add(). 0, or -errno with a message. */
int pci_testdev_create(struct pci_bus *bus, struct device_list *devices, int slot);

#endif
