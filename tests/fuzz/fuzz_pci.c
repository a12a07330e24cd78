/* The PCI bus at the hands of a hostile guest: configuration space by both ways, BARs wherever they
 * may be, tables, pending bits, resets, and saved states that nobody has saved. The input is a list
 * of steps of eight bytes. What must hold besides the sanitizers is in check(). */
#include "device/pci/internal.h"
#include "device/pci_testdev.h"

#include <stdlib.h>

#define MAPPED (PCI_MAX_FUNCTION * PCI_BARS)

struct step {
	uint8_t action; /* enum action, modulo */
	uint8_t choice; /* function, modulo; access size in bits 2 and 3 */
	uint16_t offset;
	uint32_t value;
};

enum action {
	CONFIG_READ,
	CONFIG_WRITE,
	PORT_READ,
	PORT_WRITE,
	MAPPED_READ,
	MAPPED_WRITE,
	PLACE_BAR,
	NOTIFY,
	PIN,
	RESET,
	SAVE_AND_LOAD,
	LOAD_CHANGED,
	HOT_PLUG, /* value bit 1: take it out, or just press the button; bit 0: at power-up */
	ACTIONS
};

static struct priority_lock lock = PRIORITY_LOCK_INITIALIZER;
static struct memory memory;
static struct io_space ports;
static struct device_list devices;
static struct pci_bus *bus;
static struct pci_function
	*functions[10]; /* host bridge, two of one device, two ports and what they have; a port
			   with hot plug; what is behind that, or else the port again */
static struct pci_function *hot_port;
static bool plugged;
static bool levels[PCI_INTX_GSIS];

static void require(bool condition)
{
	if (!condition)
		abort();
}

static bool take_message(void *opaque, uint64_t address, uint32_t data)
{
	require(address < UINT64_C(0x100000000) && !(address & 3) && data <= 0xffff);
	return true;
}

static void set_level(void *opaque, unsigned number, bool level)
{
	require(levels[number] != level);
	levels[number] = level;
}

/* It has let go of something. */
static void note_ejected(void *opaque, struct pci_function *port)
{
	require(port == hot_port && plugged);
}

static void find_functions(void)
{
	functions[0] = pci_next_function(bus, NULL);
	for (unsigned i = 1; i < ARRAY_SIZE(functions); i++)
		functions[i] = pci_next_function(bus, functions[i - 1]);
	if (!plugged)
		functions[ARRAY_SIZE(functions) - 1] = hot_port;
}

static void plug(bool at_power_up)
{
	devices.group = 1;
	require(pci_testdev_create(bus, &devices, PCI_BEHIND(hot_port->devfn)) == 0);
	devices.group = 0;
	pci_port_inserted(hot_port, at_power_up);
	plugged = true;
}

static void unplug(void)
{
	struct device_list taken;

	pci_port_eject(hot_port);
	taken = device_list_take(&devices, 1);
	require(taken.first && io_space_doorbells_quiet(&memory.mmio));
	device_list_destroy(&taken);
	plugged = false;
}

static void create(void)
{
	static const int places[] = {PCI_ANY_SLOT, PCI_OWN_PORT, PCI_OWN_PORT,
		PCI_FUNCTION_OF(1, 5), PCI_FUNCTION_OF(3, 1)};
	const struct pci_port_config port = {.place = PCI_ANY_SLOT, .hot_plug = true};
	struct pci_config config = {.memory = &memory,
		.ports = &ports,
		.devices = &devices,
		.msi = take_message,
		.ejected = note_ejected};

	memset(levels, 0, sizeof(levels));
	for (unsigned i = 0; i < PCI_INTX_GSIS; i++)
		config.intx[i] = (struct irq_line){.set = set_level, .number = i};
	io_space_init(&ports, &lock);
	io_space_init(&memory.mmio, &lock);
	bus = pci_create(&config);
	require(bus);
	for (unsigned i = 0; i < ARRAY_SIZE(places); i++)
		require(pci_testdev_create(bus, &devices, places[i]) == 0);
	require(pci_port_create(bus, &port, &hot_port) == 0);
	device_list_firmware_setup(&devices);
	if (plugged)
		plug(true);
	find_functions();
}

static void destroy(void)
{
	device_list_destroy(&devices);
	io_space_destroy(&ports);
	io_space_destroy(&memory.mmio);
}

/* --- what must hold --- */

static void check_bars(const struct pci_function *function)
{
	uint16_t command = pci_get16(function->state.config, PCI_COMMAND);

	for (unsigned i = 0; i < PCI_BARS; i++) {
		const struct pci_bar *bar = &function->description.bar[i];
		uint64_t start = function->mapped[i];
		uint16_t enable = bar->kind == PCI_BAR_IO ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY;

		if (!start)
			continue;
		require(!function->port || pci_root_port_passes(function->port,
						   bar->kind == PCI_BAR_IO, start, bar->size));
		require(bar->kind != PCI_BAR_NONE && (command & enable) && pci_powered(function));
		require(!(start & (bar->size - 1)));
		require((uint32_t)start ==
			(pci_get32(function->state.config, PCI_BASE_ADDRESS_0 + 4 * i) &
				~(uint32_t)(bar->size - 1)));
		if (bar->kind == PCI_BAR_IO)
			require(start + bar->size <= 0x10000);
		else
			require(!memory_region_at(&memory, start) ||
				memory_region_at(&memory, start)->kind == MEMORY_HOLE);
	}
}

static void check_interrupts(struct pci_function *function)
{
	const struct pci_function_state *state = &function->state;
	bool asserted = state->config[PCI_STATUS] & PCI_STATUS_INTERRUPT;

	require(asserted == state->intx);
	require(!dma_enabled(&function->dma) || !function->port ||
		(dma_enabled(&function->port->dma) && pci_root_port_link_up(function->port)));
	require(!function->line.level || (asserted && !pci_msi_enabled(function)));
	/* Nothing waits that could be sent. */
	for (unsigned i = 0; i < PCI_MSIX_VECTORS; i++)
		require(!(atomic_load(&state->msix_pending) & BIT(i)) ||
			!atomic_load(&function->message[i]));
}

/* The slot shows what is in it; without power there is no link. */
static void check_slot(void)
{
	const uint8_t *express = hot_port->state.config + hot_port->express_capability;
	bool active = pci_get16(express, PCI_EXP_LNKSTA) & PCI_EXP_LNKSTA_DLLLA;

	require(!(pci_get16(express, PCI_EXP_SLTSTA) & PCI_EXP_SLTSTA_PDS) == !plugged);
	require(active == (plugged && pci_root_port_link_up(hot_port)));
	require(!active || !(pci_get16(express, PCI_EXP_SLTCTL) & PCI_EXP_SLTCTL_PCC));
}

static void check(void)
{
	for (unsigned i = 0; i < ARRAY_SIZE(functions); i++) {
		check_bars(functions[i]);
		check_interrupts(functions[i]);
	}
	require(atomic_load(&memory.mmio.doorbell_count) < ARRAY_SIZE(functions));
	check_slot();
}

/* --- steps --- */

static void note_mapped(uint64_t mapped[MAPPED])
{
	for (unsigned i = 0; i < ARRAY_SIZE(functions); i++)
		memcpy(mapped + i * PCI_BARS, functions[i]->mapped, sizeof(functions[i]->mapped));
}

/* Where BARs are follows from the state alone: a machine that loads it has them at the same
 * places. */
static void save_and_load(void)
{
	uint64_t before[MAPPED] = {0}, after[MAPPED] = {0};
	struct state_writer saved = {0};
	struct state_reader reader;

	note_mapped(before);
	device_list_save(&devices, &saved);
	destroy();
	create();
	reader = (struct state_reader){saved.bytes, saved.size};
	require(device_list_load(&devices, &reader) == 0);
	note_mapped(after);
	require(!memcmp(before, after, sizeof(before)));
	free(saved.bytes);
}

static void load_changed(const struct step *step)
{
	struct state_writer saved = {0}, again = {0};
	struct state_reader reader;
	int error;

	device_list_save(&devices, &saved);
	saved.bytes[step->offset % saved.size] = (uint8_t)step->value;
	if (step->value & 0x100)
		saved.bytes[(step->value >> 16) % saved.size] = (uint8_t)(step->value >> 9);
	reader = (struct state_reader){saved.bytes, saved.size};
	error = device_list_load(&devices, &reader);
	device_list_save(&devices, &again);
	/* What was taken may send at once what is pending in it. */
	require(error || again.size == saved.size);
	free(saved.bytes);
	free(again.bytes);
}

/* There may be none: a guest can unmap all of them. */
static uint64_t in_region(const struct io_space *space, const struct step *step)
{
	const struct io_region *region;

	if (!space->count)
		return step->offset;
	region = &space->regions[step->choice / 16 % space->count];
	return region->start + step->offset % region->size;
}

/* Where its configuration space is now, or was where it is not mapped. */
static uint64_t config_of(const struct pci_function *function)
{
	uint64_t number = function->port ? function->port->state.config[PCI_SECONDARY_BUS] : 0;
	uint64_t base = pci_ecam_base(function->bus);

	return (base ? base : PCI_ECAM_BASE) + (number << 20) + ((uint64_t)function->devfn << 12);
}

static void place_bar(const struct step *step)
{
	static const uint32_t places[] = {0, 0x1000, 0xa0000, 0xfff000, 0x1000000, 0xc0000000,
		0xc0001000, 0xdffff000, 0xe0000000, 0xfee00000, 0xfffff000, 0xcf8, 0xcffc, 0xfff8};
	const struct pci_function *function = functions[step->choice % ARRAY_SIZE(functions)];
	uint64_t config = config_of(function);

	/* Its port lets everything through. */
	if (function->port && step->choice & 0x40) {
		io_space_write(&memory.mmio, config_of(function->port) + PCI_COMMAND, 7, 2);
		io_space_write(
			&memory.mmio, config_of(function->port) + PCI_MEMORY_BASE, 0xfff00000, 4);
		io_space_write(&memory.mmio, config_of(function->port) + PCI_IO_BASE, 0xf000, 2);
	}
	io_space_write(&memory.mmio, config + PCI_BASE_ADDRESS_0 + 4 * (step->offset % PCI_BARS),
		places[step->value % ARRAY_SIZE(places)] + (step->value >> 16 & 0x3000), 4);
	if (step->choice & 0x80)
		io_space_write(&memory.mmio, config + PCI_COMMAND, 7, 2);
}

static void run_step(const struct step *step)
{
	struct pci_function *function = functions[step->choice % ARRAY_SIZE(functions)];
	unsigned size = 1u << (step->choice >> 2 & 3);
	uint64_t config = config_of(function) + step->offset % 4096;
	uint64_t wide = (uint64_t)step->value << 32 | step->value;

	switch ((enum action)(step->action % ACTIONS)) {
	case CONFIG_READ:
		io_space_read(&memory.mmio, config, size);
		break;
	case CONFIG_WRITE:
		io_space_write(&memory.mmio, config, wide, size);
		break;
	case PORT_READ:
		io_space_read(&ports, in_region(&ports, step), MIN(size, 4u));
		break;
	case PORT_WRITE:
		io_space_write(&ports, in_region(&ports, step), step->value, MIN(size, 4u));
		break;
	case MAPPED_READ:
		io_space_read(&memory.mmio, in_region(&memory.mmio, step), size);
		break;
	case MAPPED_WRITE:
		io_space_write(&memory.mmio, in_region(&memory.mmio, step), wide, size);
		break;
	case PLACE_BAR:
		place_bar(step);
		break;
	case NOTIFY:
		pci_notify(function, step->offset);
		break;
	case PIN:
		pci_set_intx(function, step->value & 1);
		break;
	case RESET:
		device_list_reset(&devices);
		if (step->value & 1)
			device_list_firmware_setup(&devices);
		break;
	case SAVE_AND_LOAD:
		save_and_load();
		break;
	case LOAD_CHANGED:
		load_changed(step);
		break;
	case HOT_PLUG:
		if (!plugged)
			plug(step->value & 1);
		else if (step->value & 2)
			unplug();
		else
			pci_port_ask_to_eject(hot_port);
		find_functions();
		break;
	case ACTIONS:
		break;
	}
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	require(memory_create(&memory, 16 * MIB, 40, &lock) == 0);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct step step;

	plugged = false;
	create();
	for (; size >= sizeof(step); data += sizeof(step), size -= sizeof(step)) {
		memcpy(&step, data, sizeof(step));
		run_step(&step);
		check();
	}
	destroy();
	return 0;
}
