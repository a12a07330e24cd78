/* What the files of pci/ share. */
#ifndef VENEER_DEVICE_PCI_INTERNAL_H
#define VENEER_DEVICE_PCI_INTERNAL_H

#include "device/pci/pci.h"

#include <linux/pci.h> /* the registers' names */
#include <string.h>

struct pci_bus_state {
	uint32_t address; /* port 0xcf8 */
};

#define PCI_PAM_SEGMENTS 13

struct pci_host_bridge_state {
	uint8_t mode[PCI_PAM_SEGMENTS];   /* of its PAM register, as it has been applied */
	bool shows_ram[PCI_PAM_SEGMENTS]; /* or else the ROM */
	uint8_t hidden[PCI_SHADOW_SIZE];  /* RAM where the ROM is shown */
};

struct pci_host_bridge {
	struct pci_function function;
	struct device device;
	struct pci_host_bridge_state state;
	const uint8_t *rom; /* NULL: there is none */
};

struct pci_bus {
	struct device device;
	struct pci_bus_state state;
	struct pci_config config;
	struct pci_host_bridge host_bridge;
	const struct pci_function *newest;
	uint64_t ecam, ecam_size;             /* size 0: it is not mapped */
	struct pci_function *slot[PCI_SLOTS]; /* function 0 of each; NULL: it is empty */
	uint32_t reserved;                    /* a bit a slot: not for those who take any */
	unsigned function_count;
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
extern const struct device_ops pci_root_port_device; /* the same, which frees the function */

/* Fill in the header, and the capabilities of pci/'s own where `capabilities`. */
void pci_config_init(struct pci_function *function, bool capabilities);
/* The guest's accesses: `size` 1, 2 or 4 bytes within configuration space. */
uint32_t pci_config_read(struct pci_function *function, unsigned offset, unsigned size);
void pci_config_write(
	struct pci_function *function, unsigned offset, uint32_t value, unsigned size);
/* Is it in D0, and not in D3hot? */
bool pci_powered(const struct pci_function *function);
/* Work out anew what follows from the registers, of what is behind a port, too. */
void pci_update_function(struct pci_function *function);
/* Reset this function alone, as a write to its own registers does, and its device. */
void pci_reset_function(struct pci_function *function);

/* --- pci.c, host_bridge.c --- */

extern const struct pci_description pci_host_bridge;

/* After the function was put on the bus. */
void pci_host_bridge_init(struct pci_bus *bus);
/* What firmware does to it. */
void pci_host_bridge_setup(struct pci_bus *bus);
/* Map configuration space there; size 0: nowhere. */
void pci_map_ecam(struct pci_bus *bus, uint64_t base, uint64_t size);

/* --- bar.c --- */

/* Fill in the register and its writable bits for BAR `index`. */
void pci_bar_init(struct pci_function *function, unsigned index);
/* Put all BARs where the configuration spaces say now. */
void pci_map_bars(struct pci_bus *bus);
/* What firmware does: give each BAR an address, and each root port its bus number and windows.
 * Nothing is enabled. */
void pci_assign_resources(struct pci_bus *bus);

/* --- root_port.c --- */

/* What a root port passes on to what is behind it: a range of addresses for each. */
enum pci_window { PCI_WINDOW_PORTS, PCI_WINDOW_MEMORY, PCI_WINDOW_PREFETCHABLE, PCI_WINDOWS };

/* What all root ports are; not their own BARs, they have none. */
extern const struct pci_description pci_root_port;

/* Fill in what the header of a bridge has and others have not. */
void pci_root_port_init_header(struct pci_function *port);
/* Fill in what its PCI Express capability has and others have not. */
void pci_root_port_init_express(
	const struct pci_function *port, uint8_t *capability, uint8_t *writable);
/* Does the link carry anything? Not in a reset, and not in a low power state. */
bool pci_root_port_link_up(const struct pci_function *port);
/* Does the link hold what is behind it in reset? */
bool pci_root_port_holds_reset(const struct pci_function *port);
/* Is configuration space of that bus reached through it? */
bool pci_root_port_leads_to(const struct pci_function *port, unsigned bus_number);
/* Does it pass on accesses to all of these ports (`io`) or this memory? */
bool pci_root_port_passes(const struct pci_function *port, bool io, uint64_t start, uint64_t size);
/* Firmware: what is behind it is bus `bus_number`, and a window is [start, end); nothing where they
 * are equal. */
void pci_root_port_set_bus(struct pci_function *port, uint8_t bus_number);
void pci_root_port_set_window(
	struct pci_function *port, enum pci_window window, uint64_t start, uint64_t end);

/* --- hot_plug.c: a root port's slot; where there is no hot plug, little of it does anything --- */

/* Fill in what the capability says of it. */
void pci_slot_init(
	const struct pci_function *port, unsigned number, uint8_t *capability, uint8_t *writable);
/* The guest has switched its power off. */
bool pci_slot_is_off(const struct pci_function *port);
/* After the port's registers were reset. */
void pci_slot_reset(struct pci_function *port);
/* The guest is about to write to the port's registers; and has, which may change the slot. */
struct pci_slot_before {
	uint16_t control, events;
};
struct pci_slot_before pci_slot_before(const struct pci_function *port);
void pci_slot_written(struct pci_function *port, const struct pci_slot_before *before,
	unsigned offset, uint32_t value, unsigned size);
/* Of a saved state: bits that need not be as they are (0 in `fixed`); whether it fits what is in
 * the slot; it was loaded. */
void pci_slot_mask_fixed(const struct pci_function *port, uint8_t fixed[PCI_CONFIG_SIZE]);
bool pci_slot_valid(const struct pci_function *port, const uint8_t *config);
void pci_slot_loaded(struct pci_function *port);

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
