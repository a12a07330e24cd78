/* Bus 0 and its host bridge: which function an access to configuration space is for. */
#include "device/pci/internal.h"

#include "base/log.h"

#include <errno.h>
#include <stdlib.h>

#define ADDRESS_PORT 0xcf8
#define DATA_PORT    0xcfc

#define ADDRESS_ENABLE UINT32_C(0x80000000)
/* The chip has no bits 0 and 1, and software is to write zeros there. Some writes a register's
 * number as it is, and QEMU, on which it was tested, takes it so. */
#define ADDRESS_WRITABLE    UINT32_C(0x80ffffff)
#define ADDRESS_BUS(a)      ((a) >> 16 & 0xff)
#define ADDRESS_DEVFN(a)    ((a) >> 8 & 0xff)
#define ADDRESS_REGISTER(a) ((a)&0xff)

#define HEADER_MULTIFUNCTION 0x80

/* --- configuration accesses --- */

/* The first root port that says that it leads to that bus. */
static struct pci_function *port_to(const struct pci_bus *bus, unsigned number)
{
	for (unsigned i = 0; i < PCI_SLOTS; i++)
		for (struct pci_function *port = bus->slot[i]; port; port = port->sibling)
			if (port->is_port && pci_root_port_leads_to(port, number))
				return port;
	return NULL;
}

/* Function 0 of the device there. Behind a port is one device, number 0. */
static struct pci_function *device_at(const struct pci_bus *bus, unsigned number, unsigned slot)
{
	const struct pci_function *port;

	if (!number)
		return bus->slot[slot];
	port = slot ? NULL : port_to(bus, number);
	return port ? port->child : NULL;
}

static struct pci_function *function_at(const struct pci_bus *bus, unsigned number, unsigned devfn)
{
	struct pci_function *function = device_at(bus, number, PCI_SLOT(devfn));

	while (function && function->devfn != devfn)
		function = function->sibling;
	return function;
}

struct pci_function *pci_next_function(
	const struct pci_bus *bus, const struct pci_function *previous)
{
	unsigned slot = 0;

	if (previous) {
		const struct pci_function *on_bus = previous->port ? previous->port : previous;

		if (previous->child)
			return previous->child;
		if (previous->sibling)
			return previous->sibling;
		if (on_bus->sibling)
			return on_bus->sibling;
		slot = PCI_SLOT(on_bus->devfn) + 1;
	}
	while (slot < PCI_SLOTS && !bus->slot[slot])
		slot++;
	return slot < PCI_SLOTS ? bus->slot[slot] : NULL;
}

/* An access that runs past an aligned doubleword reaches no function: the bus has no such cycle. */
static bool in_doubleword(uint64_t offset, unsigned size)
{
	return (offset & 3) + size <= 4;
}

static uint64_t read_function(struct pci_function *function, unsigned offset, unsigned size)
{
	if (!function || !in_doubleword(offset, size))
		return UINT64_MAX;
	/* There are no extended capabilities: their list is empty. */
	return offset < PCI_CONFIG_SIZE ? pci_config_read(function, offset, size) : 0;
}

static void write_function(
	struct pci_function *function, unsigned offset, uint64_t value, unsigned size)
{
	if (function && in_doubleword(offset, size) && offset < PCI_CONFIG_SIZE)
		pci_config_write(function, offset, (uint32_t)value, size);
}

static uint64_t address_read(void *opaque, uint64_t offset, unsigned size)
{
	const struct pci_bus *bus = opaque;

	return size == 4 ? bus->state.address : UINT64_MAX;
}

static void address_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct pci_bus *bus = opaque;

	if (size == 4)
		bus->state.address = (uint32_t)value & ADDRESS_WRITABLE;
}

static struct pci_function *addressed(const struct pci_bus *bus)
{
	uint32_t address = bus->state.address;

	if (!(address & ADDRESS_ENABLE))
		return NULL;
	return function_at(bus, ADDRESS_BUS(address), ADDRESS_DEVFN(address));
}

/* Which register an access at that offset of the data port is of. */
static unsigned data_register(const struct pci_bus *bus, uint64_t offset)
{
	return ADDRESS_REGISTER(bus->state.address) | (unsigned)offset;
}

static uint64_t data_read(void *opaque, uint64_t offset, unsigned size)
{
	const struct pci_bus *bus = opaque;

	return read_function(addressed(bus), data_register(bus, offset), size);
}

static void data_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	const struct pci_bus *bus = opaque;

	write_function(addressed(bus), data_register(bus, offset), value, size);
}

/* ECAM (PCI Express Base 7.2.2): bus, device, function and register are in the address. */
static struct pci_function *mapped_function(const struct pci_bus *bus, uint64_t offset)
{
	return function_at(bus, (unsigned)(offset >> 20), offset >> 12 & 0xff);
}

static uint64_t ecam_read(void *opaque, uint64_t offset, unsigned size)
{
	return read_function(mapped_function(opaque, offset), offset & 0xfff, size);
}

static void ecam_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	write_function(mapped_function(opaque, offset), offset & 0xfff, value, size);
}

/* Where the chipset or a BAR is it stays unmapped. */
void pci_map_ecam(struct pci_bus *bus, uint64_t base, uint64_t size)
{
	static const struct io_ops ecam = {.read = ecam_read, .write = ecam_write, .width = 4};
	struct io_space *space = &bus->config.memory->mmio;

	if (base == bus->ecam && size == bus->ecam_size)
		return;
	if (bus->ecam_size)
		io_space_remove(space, bus->ecam);
	bus->ecam = bus->ecam_size = 0;
	if (size && io_space_is_free(space, base, size) &&
		io_space_add(space, base, size, "PCI configuration space", &ecam, bus) == 0) {
		bus->ecam = base;
		bus->ecam_size = size;
	}
	pci_map_bars(bus);
}

uint64_t pci_ecam_base(const struct pci_bus *bus)
{
	return bus->ecam;
}

void pci_enable_decoding(struct pci_bus *bus)
{
	for (struct pci_function *function = pci_next_function(bus, NULL); function;
		function = pci_next_function(bus, function))
		pci_config_write(function, PCI_COMMAND,
			pci_config_read(function, PCI_COMMAND, 2) | PCI_COMMAND_IO |
				PCI_COMMAND_MEMORY,
			2);
}

/* --- the bus as a device --- */

static void bus_reset(void *device)
{
	struct pci_bus *bus = device;

	bus->state.address = 0;
}

static void bus_firmware_setup(void *device)
{
	pci_host_bridge_setup(device);
	pci_assign_resources(device);
}

static bool bus_valid(const void *device, const void *loaded)
{
	const struct pci_bus_state *state = loaded;

	return !(state->address & ~ADDRESS_WRITABLE);
}

static const struct state_field bus_fields[] = {
	STATE_ANY(struct pci_bus_state, address),
	STATE_END,
};

static const struct device_ops bus_device = {
	.name = "pci-bus",
	.version = 1,
	DEVICE_STATE(struct pci_bus, bus_fields),
	.reset = bus_reset,
	.firmware_setup = bus_firmware_setup,
	.valid = bus_valid,
	.destroy = free,
};

const struct pci_config *pci_bus_config(const struct pci_bus *bus)
{
	return &bus->config;
}

uint64_t pci_window64_base(const struct memory *memory)
{
	uint64_t base = ALIGN_UP(MEMORY_HIGH_START + memory->high_size, PCI_WINDOW64_SIZE);

	return base + PCI_WINDOW64_SIZE <= BIT(memory->physical_bits) ? base : 0;
}

/* --- functions --- */

static int refuse(const struct pci_description *description, int error, const char *why)
{
	log_error("cannot put %s on the PCI bus: %s", description->name, why);
	return error;
}

static bool bar_is_good(const struct pci_bar *bar)
{
	uint64_t smallest = bar->kind == PCI_BAR_IO ? 4 : 16;

	return bar->kind == PCI_BAR_NONE ||
	       (bar->size >= smallest && !(bar->size & (bar->size - 1)) && bar->ops);
}

static int check_description(const struct pci_description *description)
{
	unsigned msix = description->msix_bar;

	for (unsigned i = 0; i < PCI_BARS; i++) {
		const struct pci_bar *bar = &description->bar[i];

		if (!bar_is_good(bar))
			return refuse(description, -EINVAL, "a BAR of such a size cannot be");
		if (bar->kind == PCI_BAR_MEMORY64 &&
			(i + 1 == PCI_BARS || description->bar[i + 1].kind != PCI_BAR_NONE ||
				(description->msix_vectors && i + 1 == msix)))
			return refuse(description, -EINVAL, "a 64-bit BAR takes two registers");
	}
	if (description->msix_vectors &&
		(description->msix_vectors > PCI_MSIX_VECTORS || msix >= PCI_BARS ||
			description->bar[msix].kind != PCI_BAR_NONE))
		return refuse(description, -EINVAL, "too many vectors, or no BAR for them");
	return 0;
}

static int find_slot(const struct pci_bus *bus)
{
	int slot = 1;

	while (slot < PCI_SLOTS && (bus->slot[slot] || (bus->reserved & BIT(slot))))
		slot++;
	return slot;
}

void pci_reserve_slot(struct pci_bus *bus, unsigned slot)
{
	bus->reserved |= (uint32_t)BIT(slot);
}

static void give_msix_bar(struct pci_function *function)
{
	if (function->description.msix_vectors)
		function->description.bar[function->description.msix_bar] = (struct pci_bar){
			.kind = PCI_BAR_MEMORY32,
			.size = PCI_MSIX_BAR_SIZE,
			.ops = &pci_msix_ops,
			.opaque = function,
		};
}

/* `slot`: of the function, or of the port that it is behind. */
static void add(struct pci_bus *bus, struct pci_function *function, unsigned slot, unsigned number,
	const struct pci_description *description)
{
	uint32_t on_bus = function->port ? function->port->devfn : PCI_DEVFN(slot, number);

	function->bus = bus;
	function->devfn = (uint8_t)(function->port ? number : on_bus);
	function->description = *description;
	function->dma.memory = bus->config.memory;
	function->line = bus->config.intx[slot % PCI_INTX_GSIS];
	give_msix_bar(function);
	pci_config_init(function, !description->conventional);
	device_list_add(bus->config.devices, &function->device,
		function->is_port ? &pci_root_port_device : &pci_function_device,
		function->port ? on_bus << 8 | number : on_bus);
	if (!function->port && !number)
		bus->slot[slot] = function;
	bus->function_count++;
	pci_function_device.reset(function);
	bus->newest = function;
}

const struct pci_function *pci_newest(const struct pci_bus *bus)
{
	return bus->newest;
}

/* Put a function into its device's list. Each of them says that it is not the only one. */
static int join(struct pci_function *first, struct pci_function *function, unsigned number)
{
	struct pci_function *before = first;

	while (before->sibling && PCI_FUNC(before->sibling->devfn) <= number)
		before = before->sibling;
	if (PCI_FUNC(before->devfn) == number)
		return -EEXIST;
	function->port = first->port;
	function->sibling = before->sibling;
	before->sibling = function;
	return 0;
}

static void say_multifunction(struct pci_function *first)
{
	for (struct pci_function *each = first; each; each = each->sibling) {
		each->initial[PCI_HEADER_TYPE] |= HEADER_MULTIFUNCTION;
		each->state.config[PCI_HEADER_TYPE] |= HEADER_MULTIFUNCTION;
	}
}

/* As function `number` of the device that `first` begins, which is in that slot, or behind the port
 * that is. */
static int add_further(struct pci_bus *bus, struct pci_function *function,
	struct pci_function *first, unsigned slot, unsigned number,
	const struct pci_description *description)
{
	if (!first || number >= PCI_FUNCTIONS)
		return refuse(description, -ENOENT, "there is no device that it can be a part of");
	if (join(first, function, number) < 0)
		return refuse(description, -EEXIST, "the device has a function of that number");
	add(bus, function, slot, number, description);
	say_multifunction(first);
	return 0;
}

/* On bus 0, as function 0. */
static int add_first(struct pci_bus *bus, struct pci_function *function, int slot,
	const struct pci_description *description)
{
	if (slot < 0)
		slot = find_slot(bus);
	if (slot < 1 || slot >= PCI_SLOTS)
		return refuse(description, -ENOSPC, "it has 31 slots, all taken");
	if (bus->slot[slot])
		return refuse(description, -EEXIST, "the slot is taken");
	add(bus, function, (unsigned)slot, 0, description);
	return 0;
}

static int add_behind(struct pci_bus *bus, struct pci_function *function, unsigned devfn,
	const struct pci_description *description)
{
	struct pci_function *port = function_at(bus, 0, devfn);

	if (!port || !port->is_port)
		return refuse(description, -ENOENT, "there is no root port");
	if (port->child)
		return refuse(description, -EEXIST, "there is a device behind that root port");
	port->child = function;
	function->port = port;
	add(bus, function, PCI_SLOT(devfn), 0, description);
	return 0;
}

static int check_room(const struct pci_bus *bus, const struct pci_description *description)
{
	int error = check_description(description);

	if (!error && bus->function_count + 2 > PCI_MAX_FUNCTION)
		return refuse(description, -ENOSPC, "it has too many functions");
	return error;
}

int pci_port_create(
	struct pci_bus *bus, const struct pci_port_config *config, struct pci_function **created)
{
	unsigned slot = (unsigned)config->place % PCI_SLOTS,
		 number = (unsigned)config->place / PCI_SLOTS;
	struct pci_function *port = calloc(1, sizeof(*port));
	int error = port ? check_room(bus, &pci_root_port)
			 : refuse(&pci_root_port, -ENOMEM, "out of memory");

	if (port)
		*port = (struct pci_function){.is_port = true,
			.hot_plug = config->hot_plug,
			.slot_number = config->slot_number};
	if (!error)
		error = config->place < PCI_SLOTS
				? add_first(bus, port, config->place, &pci_root_port)
				: add_further(
					  bus, port, bus->slot[slot], slot, number, &pci_root_port);
	if (error)
		free(port);
	*created = error ? NULL : port;
	return error;
}

/* Behind a root port without hot plug, which takes the next slot. */
static int add_with_port(struct pci_bus *bus, struct pci_function *function,
	const struct pci_description *description)
{
	const struct pci_port_config config = {
		.place = PCI_ANY_SLOT, .slot_number = (unsigned)find_slot(bus)};
	struct pci_function *port;
	int error = pci_port_create(bus, &config, &port);

	if (!error)
		error = add_behind(bus, function, port->devfn, description);
	if (!error)
		pci_port_inserted(port, true);
	return error;
}

int pci_add(struct pci_bus *bus, struct pci_function *function, int place,
	const struct pci_description *description)
{
	int error = check_room(bus, description);
	struct pci_function *first;
	unsigned slot;

	if (error)
		return error;
	if (place == PCI_OWN_PORT)
		return add_with_port(bus, function, description);
	if (place < PCI_SLOTS)
		return add_first(bus, function, place, description);
	if (place & PCI_BEHIND(0))
		return add_behind(bus, function, (unsigned)place & 0xff, description);
	slot = (unsigned)place % PCI_SLOTS;
	first = bus->slot[slot];
	return add_further(bus, function, first && first->child ? first->child : first, slot,
		(unsigned)place / PCI_SLOTS, description);
}

static int add_regions(struct pci_bus *bus)
{
	/* Port 0xcf9 is another device's, and a part of this register all the same. */
	static const struct io_ops address = {
		.read = address_read, .write = address_write, .whole = 4};
	static const struct io_ops data = {.read = data_read, .write = data_write, .width = 4};
	const struct pci_config *config = &bus->config;
	int error = io_space_add(config->ports, ADDRESS_PORT, 1, "PCI address", &address, bus);

	if (!error)
		error = io_space_add(config->ports, DATA_PORT, 4, "PCI data", &data, bus);
	return error;
}

struct pci_bus *pci_create(const struct pci_config *config)
{
	struct pci_bus *bus = calloc(1, sizeof(*bus));
	int error;

	if (!bus) {
		log_error("out of memory for the PCI bus");
		return NULL;
	}
	bus->config = *config;
	error = add_regions(bus);
	if (error) {
		log_error("cannot make the PCI bus: %s", strerror(-error));
		free(bus);
		return NULL;
	}
	device_list_add(config->devices, &bus->device, &bus_device, 0);
	add(bus, &bus->host_bridge.function, 0, 0, &pci_host_bridge);
	pci_host_bridge_init(bus);
	return bus;
}
