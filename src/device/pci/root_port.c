/* A PCI Express root port: a bridge from bus 0 to a link with one function at its end (PCI-to-PCI
 * Bridge Architecture 1.2, chapter 3; PCI Express Base 3.0, 7.5.3 and 7.8).
 *
 * All that it does follows from its configuration space. Cycles for the bus numbers that it was
 * given, and accesses to the ports and the memory in its windows, go down; writes to memory, and so
 * message-signalled interrupts, come up where it is a bus master. A link in reset carries nothing;
 * as it begins to be, the function behind it is reset (a hot reset, 6.6.1). No lane is modelled, so
 * the link is up as soon as nothing keeps it down. hot_plug.c has the slot. There is no error
 * reporting. */
#include "device/pci/internal.h"

/* The "PCIe root port" of the PCI IDs that QEMU's project gives out. */
const struct pci_description pci_root_port = {
	.name = "PCI Express root port",
	.vendor = 0x1b36,
	.device = 0x000c,
	.class_code = 0x060400, /* a PCI-to-PCI bridge */
	.msi = true,
};

/* Where a window's two registers are: they have the upper bits of its first and last address. */
static const struct window_registers {
	uint8_t base, limit, base_upper, limit_upper; /* upper: 0: none */
	uint8_t size;                                 /* of the first two, in bytes */
	uint8_t shift;                                /* bit 0 of a register is that of addresses */
} registers[PCI_WINDOWS] = {
	[PCI_WINDOW_PORTS] = {PCI_IO_BASE, PCI_IO_LIMIT, 0, 0, 1, 8},
	[PCI_WINDOW_MEMORY] = {PCI_MEMORY_BASE, PCI_MEMORY_LIMIT, 0, 0, 2, 16},
	[PCI_WINDOW_PREFETCHABLE] = {PCI_PREF_MEMORY_BASE, PCI_PREF_MEMORY_LIMIT,
		PCI_PREF_BASE_UPPER32, PCI_PREF_LIMIT_UPPER32, 2, 16},
};

#define ADDRESS_BITS(register) ((register) & ~0xfu) /* the others say how wide it is */

void pci_root_port_init_header(struct pci_function *port)
{
	uint8_t *config = port->state.config, *writable = port->writable;

	config[PCI_HEADER_TYPE] = PCI_HEADER_TYPE_BRIDGE;
	config[PCI_PREF_MEMORY_BASE] = config[PCI_PREF_MEMORY_LIMIT] = PCI_PREF_RANGE_TYPE_64;
	writable[PCI_PRIMARY_BUS] = writable[PCI_SECONDARY_BUS] = 0xff;
	writable[PCI_SUBORDINATE_BUS] = 0xff;
	for (unsigned i = 0; i < PCI_WINDOWS; i++) {
		const struct window_registers *at = &registers[i];

		writable[at->base] = writable[at->limit] = 0xf0;
		if (at->size == 2)
			writable[at->base + 1] = writable[at->limit + 1] = 0xff;
		if (at->base_upper) {
			pci_put32(writable, at->base_upper, UINT32_MAX);
			pci_put32(writable, at->limit_upper, UINT32_MAX);
		}
	}
	pci_put16(writable, PCI_BRIDGE_CONTROL,
		PCI_BRIDGE_CTL_PARITY | PCI_BRIDGE_CTL_SERR | PCI_BRIDGE_CTL_BUS_RESET);
}

void pci_root_port_init_express(
	const struct pci_function *port, uint8_t *capability, uint8_t *writable)
{
	capability[PCI_EXP_FLAGS + 1] |= PCI_EXP_FLAGS_SLOT >> 8;
	capability[PCI_EXP_LNKCAP + 3] =
		port->devfn & 7 ? port->devfn : PCI_SLOT(port->devfn); /* its number */
	writable[PCI_EXP_LNKCTL] |= PCI_EXP_LNKCTL_LD;
	pci_slot_init(port, port->slot_number, capability, writable);
	pci_put16(writable, PCI_EXP_RTCTL,
		PCI_EXP_RTCTL_SECEE | PCI_EXP_RTCTL_SENFEE | PCI_EXP_RTCTL_SEFEE |
			PCI_EXP_RTCTL_PMEIE);
}

/* --- the link --- */

bool pci_root_port_holds_reset(const struct pci_function *port)
{
	const uint8_t *config = port->state.config;

	return (pci_get16(config, PCI_BRIDGE_CONTROL) & PCI_BRIDGE_CTL_BUS_RESET) ||
	       pci_slot_is_off(port) ||
	       (pci_get16(config, port->express_capability + PCI_EXP_LNKCTL) & PCI_EXP_LNKCTL_LD);
}

bool pci_root_port_link_up(const struct pci_function *port)
{
	return pci_powered(port) && !pci_root_port_holds_reset(port);
}

/* --- what goes down --- */

bool pci_root_port_leads_to(const struct pci_function *port, unsigned bus_number)
{
	return bus_number && port->state.config[PCI_SECONDARY_BUS] == bus_number &&
	       pci_root_port_link_up(port);
}

static uint64_t register_value(const struct pci_function *port,
	const struct window_registers *registers, unsigned at, unsigned upper)
{
	const uint8_t *config = port->state.config;
	uint64_t low = registers->size == 1 ? config[at] : pci_get16(config, at);

	return ADDRESS_BITS(low) << registers->shift |
	       (upper ? (uint64_t)pci_get32(config, upper) << 32 : 0);
}

static bool in_window(
	const struct pci_function *port, enum pci_window window, uint64_t start, uint64_t size)
{
	const struct window_registers *at = &registers[window];
	uint64_t base = register_value(port, at, at->base, at->base_upper);
	/* Of the last address, which has ones below. */
	uint64_t limit = register_value(port, at, at->limit, at->limit_upper) |
			 ((UINT64_C(0x10) << at->shift) - 1);

	return start >= base && start <= limit && size - 1 <= limit - start;
}

bool pci_root_port_passes(const struct pci_function *port, bool io, uint64_t start, uint64_t size)
{
	uint16_t command = pci_get16(port->state.config, PCI_COMMAND);

	if (!(command & (io ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY)) || !pci_root_port_link_up(port))
		return false;
	if (io)
		return in_window(port, PCI_WINDOW_PORTS, start, size);
	return in_window(port, PCI_WINDOW_MEMORY, start, size) ||
	       in_window(port, PCI_WINDOW_PREFETCHABLE, start, size);
}

/* --- firmware --- */

void pci_root_port_set_bus(struct pci_function *port, uint8_t bus_number)
{
	uint8_t *config = port->state.config;

	config[PCI_PRIMARY_BUS] = 0;
	config[PCI_SECONDARY_BUS] = config[PCI_SUBORDINATE_BUS] = bus_number;
}

static void set_register(struct pci_function *port, const struct window_registers *registers,
	unsigned at, unsigned upper, uint64_t address)
{
	uint8_t *config = port->state.config;
	uint16_t value = (uint16_t)ADDRESS_BITS(address >> registers->shift);

	config[at] = (uint8_t)((config[at] & 0xf) | (value & 0xf0));
	if (registers->size == 2)
		config[at + 1] = (uint8_t)(value >> 8);
	if (upper)
		pci_put32(config, upper, (uint32_t)(address >> 32));
}

/* A window whose first address is above its last one is none (3.2.5.6). */
void pci_root_port_set_window(
	struct pci_function *port, enum pci_window window, uint64_t start, uint64_t end)
{
	const struct window_registers *at = &registers[window];
	bool empty = start == end;

	set_register(port, at, at->base, at->base_upper, empty ? UINT32_MAX : start);
	set_register(port, at, at->limit, at->limit_upper, empty ? 0 : end - 1);
}
