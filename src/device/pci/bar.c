/* Base address registers: where in the machine's spaces a function's registers are.
 *
 * A guest writes what it likes there: addresses of RAM, of the chipset, of another BAR. Which BARs
 * are mapped follows from the configuration spaces alone, and not from the order in which they were
 * written: of those that overlap the first one on the bus is mapped, and none is where RAM, a ROM
 * or the chipset is. What is not mapped comes back when it is moved away, or the other one is. */
#include "device/pci/internal.h"

/* What firmware gives out ports from; below are the chipset's. */
#define PORTS_BASE 0xc000
#define PORTS_END  0x10000

#define HOT_PLUG_WINDOW (2 * MIB)

static unsigned bar_register(unsigned index)
{
	return PCI_BASE_ADDRESS_0 + 4 * index;
}

static void put_bar(uint8_t *config, const struct pci_bar *bar, unsigned index, uint64_t value)
{
	pci_put32(config, bar_register(index), (uint32_t)value);
	if (bar->kind == PCI_BAR_MEMORY64)
		pci_put32(config, bar_register(index + 1), (uint32_t)(value >> 32));
}

static uint32_t type_bits(const struct pci_bar *bar)
{
	uint32_t prefetchable = bar->prefetchable ? PCI_BASE_ADDRESS_MEM_PREFETCH : 0;

	if (bar->kind == PCI_BAR_IO)
		return PCI_BASE_ADDRESS_SPACE_IO;
	if (bar->kind == PCI_BAR_MEMORY64)
		return PCI_BASE_ADDRESS_MEM_TYPE_64 | prefetchable;
	return prefetchable;
}

void pci_bar_init(struct pci_function *function, unsigned index)
{
	const struct pci_bar *bar = &function->description.bar[index];

	if (bar->kind == PCI_BAR_NONE)
		return;
	pci_put32(function->state.config, bar_register(index), type_bits(bar));
	put_bar(function->writable, bar, index, ~(bar->size - 1));
}

static uint64_t bar_address(const struct pci_function *function, unsigned index)
{
	const struct pci_bar *bar = &function->description.bar[index];
	const uint8_t *config = function->state.config;
	uint64_t value = pci_get32(config, bar_register(index));

	if (bar->kind == PCI_BAR_MEMORY64)
		value |= (uint64_t)pci_get32(config, bar_register(index + 1)) << 32;
	return value & ~(bar->size - 1);
}

static struct io_space *space_of(const struct pci_bus *bus, const struct pci_bar *bar)
{
	return bar->kind == PCI_BAR_IO ? bus->config.ports : &bus->config.memory->mmio;
}

/* --- where they are --- */

struct claim {
	const struct pci_bar *bar;
	uint64_t start;
	uint64_t *mapped; /* where it is now */
	const char *name;
};

static bool overlap(uint64_t a, uint64_t a_size, uint64_t b, uint64_t b_size)
{
	return a <= b + (b_size - 1) && b <= a + (a_size - 1);
}

static bool in_ram(const struct memory *memory, uint64_t start, uint64_t size)
{
	for (unsigned i = 0; i < memory->region_count; i++)
		if (memory->region[i].kind != MEMORY_HOLE &&
			overlap(start, size, memory->region[i].gpa, memory->region[i].size))
			return true;
	return false;
}

/* Where the BAR is asked to be, in itself; 0: nowhere. */
static uint64_t wanted(const struct pci_function *function, unsigned index)
{
	const struct pci_bar *bar = &function->description.bar[index];
	bool io = bar->kind == PCI_BAR_IO;
	uint16_t enable = io ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY;
	uint64_t start = bar_address(function, index);

	if (!(pci_get16(function->state.config, PCI_COMMAND) & enable) || !pci_powered(function))
		return 0;
	if (function->port && !pci_root_port_passes(function->port, io, start, bar->size))
		return 0;
	if (io ? start + bar->size > PORTS_END
	       : in_ram(function->bus->config.memory, start, bar->size))
		return 0;
	return start;
}

static bool taken(
	const struct claim *claims, unsigned count, const struct pci_bar *bar, uint64_t start)
{
	for (unsigned i = 0; i < count; i++)
		if ((claims[i].bar->kind == PCI_BAR_IO) == (bar->kind == PCI_BAR_IO) &&
			claims[i].start &&
			overlap(claims[i].start, claims[i].bar->size, start, bar->size))
			return true;
	return false;
}

/* Add the function's BARs to the `count` claims of those before it; returns how many there are. */
static unsigned collect_function(
	struct pci_function *function, struct claim *claims, unsigned count)
{
	for (unsigned i = 0; i < PCI_BARS; i++) {
		const struct pci_bar *bar = &function->description.bar[i];
		uint64_t start;

		if (bar->kind == PCI_BAR_NONE)
			continue;
		start = wanted(function, i);
		if (start && taken(claims, count, bar, start))
			start = 0;
		claims[count++] = (struct claim){
			bar, start, &function->mapped[i], function->description.name};
	}
	return count;
}

/* All BARs, and where each is to be. */
static unsigned collect(struct pci_bus *bus, struct claim *claims)
{
	unsigned count = 0;

	for (struct pci_function *function = pci_next_function(bus, NULL); function;
		function = pci_next_function(bus, function))
		count = collect_function(function, claims, count);
	return count;
}

static void unmap(struct pci_bus *bus, const struct claim *claim)
{
	struct io_space *space = space_of(bus, claim->bar);

	io_space_remove(space, *claim->mapped);
	if (claim->bar->doorbell)
		io_space_remove_doorbell(space, *claim->mapped + claim->bar->doorbell_start);
	if (claim->bar->aperture)
		memory_aperture_move(bus->config.memory, claim->bar->aperture, MEMORY_NOWHERE, 0);
	*claim->mapped = 0;
}

/* Where the chipset is, or the host has no memory, it stays unmapped. */
static void map(struct pci_bus *bus, const struct claim *claim)
{
	const struct pci_bar *bar = claim->bar;
	struct io_space *space = space_of(bus, bar);

	if (!io_space_is_free(space, claim->start, bar->size) ||
		io_space_add(space, claim->start, bar->size, claim->name, bar->ops, bar->opaque) <
			0)
		return;
	*claim->mapped = claim->start;
	if (bar->doorbell)
		io_space_add_doorbell(space, claim->start + bar->doorbell_start, bar->doorbell_size,
			claim->start, bar->doorbell, bar->opaque);
	if (bar->aperture)
		memory_aperture_move(bus->config.memory, bar->aperture, claim->start, 0);
}

void pci_map_bars(struct pci_bus *bus)
{
	struct claim claims[PCI_MAX_FUNCTION * PCI_BARS];
	unsigned count = collect(bus, claims);

	for (unsigned i = 0; i < count; i++)
		if (*claims[i].mapped && *claims[i].mapped != claims[i].start)
			unmap(bus, &claims[i]);
	for (unsigned i = 0; i < count; i++)
		if (claims[i].start && !*claims[i].mapped)
			map(bus, &claims[i]);
}

/* --- firmware --- */

struct window {
	uint64_t next, end;
};

/* What there is to give out, and in what pieces a root port passes it on. */
struct windows {
	struct window of[PCI_WINDOWS];
};

static const uint64_t granularity[PCI_WINDOWS] = {
	[PCI_WINDOW_PORTS] = 4 * KIB,
	[PCI_WINDOW_MEMORY] = MIB,
	[PCI_WINDOW_PREFETCHABLE] = MIB,
};

/* The next aligned address; 0: the window is used up. */
static uint64_t take(struct window *window, uint64_t size)
{
	uint64_t start = ALIGN_UP(window->next, size);

	if (start < window->next || start >= window->end || size > window->end - start)
		return 0;
	window->next = start + size;
	return start;
}

/* Memory below 4 GiB is what also 32-bit systems reach. Above, a root port passes on only what may
 * be prefetched. */
static void assign_bar(struct pci_function *function, unsigned index, struct windows *windows)
{
	const struct pci_bar *bar = &function->description.bar[index];
	uint64_t size = MAX(bar->size, PAGE_SIZE), start;

	if (bar->kind == PCI_BAR_NONE)
		return;
	start = bar->kind == PCI_BAR_IO ? take(&windows->of[PCI_WINDOW_PORTS], bar->size)
					: take(&windows->of[PCI_WINDOW_MEMORY], size);
	if (!start && bar->kind == PCI_BAR_MEMORY64 && (bar->prefetchable || !function->port))
		start = take(&windows->of[PCI_WINDOW_PREFETCHABLE], size);
	put_bar(function->state.config, bar, index, start | type_bits(bar));
}

/* Of the function and those of its device that follow. */
static void assign_bars(struct pci_function *first, struct windows *windows)
{
	for (struct pci_function *function = first; function; function = function->sibling)
		for (unsigned i = 0; i < PCI_BARS; i++)
			assign_bar(function, i, windows);
}

static void align(struct windows *windows)
{
	for (unsigned i = 0; i < PCI_WINDOWS; i++)
		windows->of[i].next = ALIGN_UP(windows->of[i].next, granularity[i]);
}

/* For what may be plugged in: as much as firmware reserves. Such functions have no ports. */
static void reserve(struct windows *windows, const struct windows *before)
{
	static const enum pci_window kinds[] = {PCI_WINDOW_MEMORY, PCI_WINDOW_PREFETCHABLE};

	for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++) {
		struct window *window = &windows->of[kinds[i]];
		uint64_t end = before->of[kinds[i]].next + HOT_PLUG_WINDOW;

		if (end <= window->end)
			window->next = MAX(window->next, end);
	}
}

/* What the functions behind the port take, up to whole pieces, is what the port passes on. */
static void assign_behind(struct pci_function *port, struct windows *windows)
{
	struct windows before;

	align(windows);
	before = *windows;
	assign_bars(port->child, windows);
	align(windows);
	if (port->hot_plug)
		reserve(windows, &before);
	for (unsigned i = 0; i < PCI_WINDOWS; i++)
		pci_root_port_set_window(port, i, before.of[i].next, windows->of[i].next);
}

void pci_assign_resources(struct pci_bus *bus)
{
	uint64_t high = pci_window64_base(bus->config.memory);
	struct windows windows = {{
		[PCI_WINDOW_PORTS] = {PORTS_BASE, PORTS_END},
		[PCI_WINDOW_MEMORY] = {PCI_WINDOW_BASE, PCI_WINDOW_BASE + PCI_WINDOW_SIZE},
		[PCI_WINDOW_PREFETCHABLE] = {high, high ? high + PCI_WINDOW64_SIZE : 0},
	}};
	uint8_t bus_number = 0;

	for (unsigned slot = 0; slot < PCI_SLOTS; slot++) {
		struct pci_function *function = bus->slot[slot];

		if (!function)
			continue;
		assign_bars(function, &windows);
		for (struct pci_function *port = function; port; port = port->sibling)
			if (port->is_port) {
				pci_root_port_set_bus(port, ++bus_number);
				assign_behind(port, &windows);
			}
	}
}
