/* What the files of pci/ share. */
#ifndef VENEER_DEVICE_PCI_INTERNAL_H
#define VENEER_DEVICE_PCI_INTERNAL_H

#include "device/pci/pci.h"

#include <linux/pci.h> /* the registers' names */
#include <string.h>

struct pci_bus_state {
	uint32_t address; /* port 0xcf8 */
};

struct pci_bus {
	struct device device;
	struct pci_bus_state state;
	struct pci_config config;
	struct pci_function host_bridge;
	struct pci_function *slot[PCI_SLOTS]; /* function 0 of each; NULL: it is empty */
};

static inline uint16_t pci_get16(const uint8_t *config, unsigned offset)
{
	uint16_t value;

	memcpy(&value, config + offset, sizeof(value));
	return value;
}

static inline uint32_t pci_get32(const uint8_t *config, unsigned offset)
{
	uint32_t value;

	memcpy(&value, config + offset, sizeof(value));
	return value;
}

static inline void pci_put16(uint8_t *config, unsigned offset, uint16_t value)
{
	memcpy(config + offset, &value, sizeof(value));
}

static inline void pci_put32(uint8_t *config, unsigned offset, uint32_t value)
{
	memcpy(config + offset, &value, sizeof(value));
}

/* --- config.c: a function's configuration space --- */

extern const struct device_ops pci_function_device;

/* Fill in the header, and the capabilities of pci/'s own where `capabilities`. */
void pci_config_init(struct pci_function *function, bool capabilities);
/* The guest's accesses: `size` 1, 2 or 4 bytes within configuration space. */
uint32_t pci_config_read(struct pci_function *function, unsigned offset, unsigned size);
void pci_config_write(
	struct pci_function *function, unsigned offset, uint32_t value, unsigned size);
/* Is it in D0, and not in D3hot? */
bool pci_powered(const struct pci_function *function);

/* --- bar.c --- */

/* Fill in the register and its writable bits for BAR `index`. */
void pci_bar_init(struct pci_function *function, unsigned index);
/* Put all BARs of the bus where the configuration spaces say now. */
void pci_map_bars(struct pci_bus *bus);
/* What firmware does: give each BAR an address. Nothing is enabled. */
void pci_assign_bars(struct pci_bus *bus);

/* --- interrupt.c --- */

extern const struct io_ops pci_msix_ops; /* of the BAR with the table and the pending bits */

/* The size of that BAR, and where in it the pending bits are. */
#define PCI_MSIX_BAR_SIZE UINT64_C(4096)
#define PCI_MSIX_PENDING  0x800

/* Each vector masked, nothing pending, the pin not asserted. */
void pci_interrupts_reset(struct pci_function *function);
/* Work out anew what pci_notify() and the pin do, and send what waited for it. */
void pci_interrupts_update(struct pci_function *function);

#endif
