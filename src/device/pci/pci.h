/* PCI: a host bridge with its bus, root ports with a function behind each, configuration space,
 * base address registers and interrupts (PCI Local Bus 3.0, PCI Express Base 3.0).
 *
 * A device on the bus embeds a struct pci_function, fills in its struct pci_description, and is
 * added with pci_add(). The function is a struct device of its own: it keeps and saves the
 * configuration space and the MSI-X table; the device around it is another one and saves the rest.
 *
 * Configuration space is reached by ports 0xcf8 and 0xcfc, and by ECAM (MCFG). */
#ifndef VENEER_DEVICE_PCI_PCI_H
#define VENEER_DEVICE_PCI_PCI_H

#include "device/device.h"
#include "device/irq.h"
#include "host/event_loop.h"
#include "memory/dma.h"

#define PCI_SLOTS        32
#define PCI_FUNCTIONS    8  /* of a device */
#define PCI_MAX_FUNCTION 96 /* of all devices, root ports included */
#define PCI_BARS         6
#define PCI_CONFIG_SIZE  256
#define PCI_MSIX_VECTORS 64 /* of a function at most */
#define PCI_NO_VECTOR    0xffff

/* For pci_add(), in the place of a slot: */
#define PCI_ANY_SLOT -1 /* the next free one */
#define PCI_OWN_PORT -2 /* behind a root port of the function's own, which takes that slot */
/* Function n, 1 to 7, of the device whose function 0 is in that slot already, or behind the root
 * port that is. */
#define PCI_FUNCTION_OF(slot, n) ((slot) | (n) << 5)
/* Function 0 behind the root port with that devfn, which has none yet: pci_port_inserted(). */
#define PCI_BEHIND(devfn) ((devfn) | 1 << 8)

/* Where the host bridge claims addresses; the rest of the hole is the chipset's. */
#define PCI_ECAM_BASE     UINT64_C(0xe0000000) /* where there is no firmware to say it */
#define PCI_ECAM_SIZE     (256 * MIB)
#define PCI_WINDOW_BASE   UINT64_C(0xc0000000) /* BARs of 32 bits */
#define PCI_WINDOW_SIZE   (512 * MIB)
#define PCI_WINDOW64_SIZE (64 * GIB) /* BARs of 64 bits, above RAM: pci_window64_base() */
#define PCI_INTX_GSI      16         /* INTA# to INTD# of all slots: GSI 16 to 23 */
#define PCI_INTX_GSIS     8

struct pci_bus;
struct pci_function;

enum pci_bar_kind { PCI_BAR_NONE, PCI_BAR_IO, PCI_BAR_MEMORY32, PCI_BAR_MEMORY64 };

/* A BAR as the device describes it. A 64-bit one takes two registers. Its size is a power of two,
 * at least 4 (I/O) or 16 (memory). */
struct pci_bar {
	enum pci_bar_kind kind;
	bool prefetchable;
	uint64_t size;
	const struct io_ops *ops; /* offsets are from the BAR's base; machine lock held */
	void *opaque;
	/* Stores to [doorbell_start, doorbell_start + doorbell_size) call this instead, on the
	 * vCPU's thread without the machine lock. It may be called once more after the BAR has been
	 * moved. NULL: there are none. */
	void (*doorbell)(void *opaque, uint64_t offset, uint64_t value);
	uint64_t doorbell_start, doorbell_size;
	/* Video memory, found as RAM from the BAR's base on; `ops` get what is left of accesses,
	 * which is nothing. NULL: the BAR has registers. */
	struct memory_aperture *aperture;
};

struct pci_description {
	const char *name; /* for messages; not owned */
	uint16_t vendor, device, subsystem_vendor, subsystem;
	uint32_t class_code; /* class << 16 | subclass << 8 | interface */
	uint8_t revision;
	bool intx;             /* it has an interrupt pin */
	unsigned msix_vectors; /* 0: no MSI-X capability */
	/* A BAR that is left to pci/, PCI_BAR_NONE here: table and pending bits are all it has. */
	unsigned msix_bar;
	bool msi; /* an MSI capability of one vector */
	/* It has no capabilities of pci/'s own: a function of the chipset. */
	bool conventional;
	struct pci_bar bar[PCI_BARS];
	void *opaque;
	/* The function was reset (FLR, D3hot to D0, hot reset): the device is to begin anew. Its
	 * configuration space has been reset already. Machine lock held. NULL: nothing to do. */
	void (*reset)(void *opaque);
	/* The guest is about to read, or has written, bytes [offset, offset + size) of
	 * configuration space (state.config), which belong to capabilities that
	 * pci_add_capability() or registers that pci_add_registers() made: to bring up to date what
	 * it will read; to act on what it wrote. NULL: nothing to do. Machine lock held. */
	void (*capability_read)(void *opaque, unsigned offset, unsigned size);
	void (*capability_written)(void *opaque, unsigned offset, unsigned size);
};

struct pci_msix_entry {
	uint64_t address;
	uint32_t data;
	uint32_t control; /* bit 0: masked */
};

struct pci_function_state {
	uint8_t config[PCI_CONFIG_SIZE];
	struct pci_msix_entry msix[PCI_MSIX_VECTORS];
	_Atomic uint64_t msix_pending; /* a bit a vector; bit 0 is MSI's */
	bool intx;                     /* the device asserts its pin */
};

struct pci_function {
	struct device device;
	struct pci_function_state state;
	struct pci_bus *bus;
	uint8_t devfn;                /* slot << 3 | function; behind a port the slot is 0 */
	struct pci_function *port;    /* the root port that it is behind; NULL: it is on bus 0 */
	bool is_port;                 /* a root port */
	struct pci_function *child;   /* of a root port: function 0 behind it; NULL: nothing is */
	struct pci_function *sibling; /* the device's next function, by number */
	struct pci_description description;
	struct dma dma;
	/* What follows is pci/'s own. */
	bool hot_plug;                     /* a root port with native hot plug */
	bool present;                      /* what is behind it is complete */
	unsigned slot_number;              /* that its slot bears */
	uint8_t initial[PCI_CONFIG_SIZE];  /* configuration space after a reset */
	uint8_t writable[PCI_CONFIG_SIZE]; /* bits that the guest may change */
	unsigned next_capability;          /* where there is room for one */
	uint8_t last_capability;
	unsigned device_capabilities; /* where those begin that are not pci/'s own */
	uint8_t msix_capability, msi_capability, express_capability, power_capability;
	uint64_t mapped[PCI_BARS]; /* where each BAR is in the machine's spaces; 0: nowhere */
	struct irq_line line;
	atomic_bool msi_enabled; /* MSI-X or MSI */
	/* What each vector's interrupt is signalled by, in one word, so that any thread reads all
	 * of it or nothing; 0: it is masked. See interrupt.c. */
	_Atomic uint64_t message[PCI_MSIX_VECTORS];
};

struct pci_config {
	struct memory *memory;
	struct io_space *ports;
	struct device_list *devices;
	struct event_loop *loop;
	struct irq_line intx[PCI_INTX_GSIS]; /* lines to GSI 16 to 23, never driven */
	/* The write of `data` to `address` that a function makes; see chipset_msi(). */
	bool (*msi)(void *opaque, uint64_t address, uint32_t data);
	void *opaque;
	/* The guest has let go of what is behind a port with hot plug: pci_port_eject() may be
	 * called, but not from here. Machine lock held. NULL: there is no hot plug. */
	void (*ejected)(void *eject_opaque, struct pci_function *port);
	void *eject_opaque;
};

/* The bus, with the host bridge at 00.0; it is added to the list of devices. NULL with a
 * message. */
struct pci_bus *pci_create(const struct pci_config *config);
/* What it was made with. */
const struct pci_config *pci_bus_config(const struct pci_bus *bus);
/* Where the window for 64-bit BARs begins, for the ACPI tables; 0: the processor's addresses do not
 * reach as far. */
uint64_t pci_window64_base(const struct memory *memory);

/* Put a function into slot `slot` (1 to 31, or one of the three above), with `description`.
 * Capabilities for PCI Express (with FLR), power management, and MSI-X or MSI where it has
 * vectors are made. The function must be zeroed; it is added to the list of devices before this
 * returns, so add the device around it after it. BARs get addresses from firmware_setup(). 0, or
 * -errno with a message. */
int pci_add(struct pci_bus *bus, struct pci_function *function, int slot,
	const struct pci_description *description);
/* Reserve a slot: PCI_ANY_SLOT does not take it, only those that ask for it. */
void pci_reserve_slot(struct pci_bus *bus, unsigned slot);
/* The function that was put on the bus last; NULL: it has been removed. */
const struct pci_function *pci_newest(const struct pci_bus *bus);
/* All functions, in the order of the bus: a device's one after the other, each followed by what is
 * behind it. `previous` NULL: the first. NULL: there are no more. */
struct pci_function *pci_next_function(
	const struct pci_bus *bus, const struct pci_function *previous);
/* Append a capability: `bytes` begins with the ID, its second byte is filled in. `writable`: mask
 * of the bits the guest may change, NULL: none. Before the machine runs. Returns its offset, or 0
 * with a message: there is no room. */
unsigned pci_add_capability(
	struct pci_function *function, const void *bytes, const void *writable, unsigned size);

/* Registers of the device's own in configuration space, [at, at + size), at 0x40 or above where no
 * capability is: what they are after a reset, and which bits the guest may change. Before the
 * machine runs. */
void pci_add_registers(struct pci_function *function, unsigned at, const void *bytes,
	const void *writable, unsigned size);

/* --- root ports --- */

struct pci_port_config {
	int place;            /* PCI_ANY_SLOT, a slot, or a further function of one */
	unsigned slot_number; /* that the slot behind it bears */
	bool hot_plug;        /* native hot plug */
};

/* Put a root port on the bus, with nothing behind it. The list of devices owns it. 0, or -errno
 * with a message. */
int pci_port_create(
	struct pci_bus *bus, const struct pci_port_config *config, struct pci_function **port);
/* All functions that were put behind the port are complete, and the guest may find them: from
 * power-up on, or by hot plug, from when it has powered the slot on. Machine lock held, or before
 * the machine runs. */
void pci_port_inserted(struct pci_function *port, bool at_power_up);
/* Press the button by which the user asks the guest to let go of what is behind the port. False:
 * it has already, or never wanted it. Machine lock held. */
bool pci_port_ask_to_eject(struct pci_function *port);
/* Take away what is behind the port: no access of the guest reaches it any more, but for doorbells
 * that are being rung (io_space_doorbells_quiet()), and nothing of it any interrupt. The functions'
 * memory is their devices'. Machine lock held. */
void pci_port_eject(struct pci_function *port);

/* Let all functions answer at the addresses that device_ops.firmware_setup has given them, as a
 * BIOS does. */
void pci_enable_decoding(struct pci_bus *bus);

/* --- the host bridge: Intel's Q35 MCH, as far as firmware programs it --- */

/* Where configuration space is mapped (ECAM); 0: nowhere. */
uint64_t pci_ecam_base(const struct pci_bus *bus);
/* There is firmware: `image` (PCI_SHADOW_SIZE bytes, which outlive the bus) is what a reader finds
 * at PCI_SHADOW_BASE until firmware has the host bridge show RAM there (the PAM registers). Call it
 * at power-up, when RAM is zero. Without it there is RAM, whatever the guest programs. */
#define PCI_SHADOW_BASE UINT64_C(0xc0000)
#define PCI_SHADOW_SIZE (256 * KIB)
void pci_show_rom(struct pci_bus *bus, const uint8_t *image);

/* --- interrupts --- */

/* Is MSI-X or MSI enabled, so that pci_notify() works and INTx is quiet? Any thread. */
bool pci_msi_enabled(const struct pci_function *function);
/* Signal the function's vector: send the message, or mark it pending where it is masked. Does
 * nothing where MSI-X and MSI are off, or for a vector that the function does not have. From any
 * thread, lock or no lock. */
void pci_notify(struct pci_function *function, unsigned vector);
/* Drive the interrupt pin. Nothing reaches the line while MSI is enabled or the pin is disabled
 * (command register, bit 10). Machine lock held. */
void pci_set_intx(struct pci_function *function, bool level);

#endif
