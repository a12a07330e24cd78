/* QEMU's pci-testdev (docs/specs/pci-testdev): accesses to count, by which guests measure what one
 * costs. A guest selects a test by its number, reads from the header of the BAR where and with what
 * the test is to be written, and finds the count of such writes there. */
#ifndef VENEER_DEVICE_PCI_IOTEST_H
#define VENEER_DEVICE_PCI_IOTEST_H

#include "device/pci/pci.h"

#define PCI_IOTEST_VENDOR 0x1b36
#define PCI_IOTEST_DEVICE 0x0005

/* BAR 0 (memory) and BAR 1 (ports) have this at their start, of the test that is selected; all
 * zeros where there is none of that number. */
struct pci_iotest_header {
	uint8_t test; /* a write selects, and makes the count 0 */
	uint8_t width;
	uint8_t reserved[2];
	uint32_t offset; /* in the BAR */
	uint8_t data;
	uint8_t reserved2[3];
	uint32_t count;
	char name[32];
};

/* Tests of each BAR. Only a write of `data` counts; in the second one, of anything. */
#define PCI_IOTEST_TESTS 3

/* Put one on the bus: `slot` as for pci_add(). 0, or -errno with a message. */
int pci_iotest_create(struct pci_bus *bus, struct device_list *devices, int slot);

#endif
