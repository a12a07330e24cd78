/* pvpanic, by which a guest's kernel says that it has panicked (QEMU's docs/specs/pvpanic): a
 * register whose set bits are what may be said, and that is written with what has happened. Linux
 * finds it on the PCI bus (pvpanic-pci.ko); at an I/O port other systems look for it, too. */
#ifndef VENEER_DEVICE_PVPANIC_H
#define VENEER_DEVICE_PVPANIC_H

#include "device/pci/pci.h"

#define PVPANIC_PORT   0x505
#define PVPANIC_VENDOR 0x1b36
#define PVPANIC_DEVICE 0x0011

/* Bits of the register. */
#define PVPANIC_PANICKED    1
#define PVPANIC_CRASHLOADED 2 /* it goes on to a kernel that saves its memory */

/* Who is told: `what` is one of the bits. Machine lock held. */
struct pvpanic_config {
	void (*happened)(void *opaque, unsigned what);
	void *opaque;
};

/* At the port. What `config` points at must outlive the device. 0 or -errno. */
int pvpanic_add_port(struct io_space *ports, const struct pvpanic_config *config);
/* On the bus: `slot` as for pci_add(). 0, or -errno with a message. */
int pvpanic_create(struct pci_bus *bus, struct device_list *devices, int slot,
	const struct pvpanic_config *config);

#endif
