#include "machine/ports.h"

#include "base/log.h"
#include "device/chipset/chipset.h"
#include "device/pci/pci.h"
#include "machine/machine.h"

#include <errno.h>
#include <string.h>

#define BUS_0(slot, function) ((function) ? PCI_FUNCTION_OF(slot, function) : (slot))
#define HIGHEST_SPARE         29 /* above are the board's own controllers */

/* --- ports --- */

static bool is_bus_0(const char *name)
{
	static const char *const names[] = {"", "pci.0", "pcie.0", "pci", "pcie"};

	for (unsigned i = 0; i < ARRAY_SIZE(names); i++)
		if (strcmp(names[i], name) == 0)
			return true;
	return false;
}

static uint32_t reserve(struct machine *machine, const struct device_place *place)
{
	if (!place->addressed || !is_bus_0(place->bus) || place->slot >= PCI_SLOTS)
		return 0;
	pci_reserve_slot(machine->pci, place->slot);
	return (uint32_t)BIT(place->slot);
}

/* Who says no slot gets none that another one has said. The slots. */
static uint32_t reserve_slots(struct machine *machine)
{
	const struct machine_config *config = &machine->config;
	uint32_t slots = 0;

	for (unsigned i = 0; i < config->port_count; i++)
		slots |= reserve(machine, &config->ports[i].place);
	for (unsigned i = 0; i < config->disk_count; i++)
		slots |= reserve(machine, &config->disks[i].place);
	for (unsigned i = 0; i < config->net_count; i++)
		slots |= reserve(machine, &config->nets[i].place);
	for (unsigned i = 0; i < config->share_count; i++)
		slots |= reserve(machine, &config->shares[i].place);
	return slots;
}

static int create_port(struct machine *machine, const struct port_config *config)
{
	struct machine_port *port = &machine->root_ports[machine->root_port_count];
	struct machine_spot spot;
	struct pci_port_config pci = {
		.slot_number = config->slot_number, .hot_plug = config->hot_plug};
	int error;

	if (config->bus_0)
		return 0;
	if (!is_bus_0(config->place.bus)) {
		log_error("root port %s: expected to be on bus 0, and not on '%s'",
			config->place.id, config->place.bus);
		return -EINVAL;
	}
	error = machine_spot_take(machine, &config->place, false, &spot);
	if (error)
		return error;
	pci.place = spot.place;
	error = pci_port_create(machine->pci, &pci, &port->function);
	if (error)
		return error;
	port->config = config;
	machine->root_port_count++;
	return 0;
}

/* All are one device, in a slot that nobody has asked for. */
static int create_spare_ports(struct machine *machine, uint32_t reserved)
{
	unsigned slot = HIGHEST_SPARE;
	int error = 0;

	while (slot > 1 && (reserved & BIT(slot)))
		slot--;
	for (unsigned i = 0; !error && i < machine->config.spare_ports; i++) {
		struct machine_port *port = &machine->root_ports[machine->root_port_count];
		const struct pci_port_config config = {
			.place = BUS_0((int)slot, (int)i), .slot_number = i + 1, .hot_plug = true};

		error = pci_port_create(machine->pci, &config, &port->function);
		machine->root_port_count += !error;
	}
	return error;
}

int machine_create_ports(struct machine *machine)
{
	uint32_t reserved = reserve_slots(machine);
	int error = 0;

	for (unsigned i = 0; !error && i < machine->config.port_count; i++)
		error = create_port(machine, &machine->config.ports[i]);
	return error ? error : create_spare_ports(machine, reserved);
}

/* --- spots --- */

/* The port of that name; NULL with *bus_0 set: what has that name leads to bus 0; else NULL. */
static struct machine_port *find_port(struct machine *machine, const char *name, bool *bus_0)
{
	*bus_0 = is_bus_0(name);
	for (unsigned i = 0; !*bus_0 && i < machine->config.port_count; i++)
		*bus_0 = machine->config.ports[i].bus_0 &&
			 strcmp(machine->config.ports[i].place.id, name) == 0;
	for (unsigned i = 0; !*bus_0 && i < machine->root_port_count; i++)
		if (machine->root_ports[i].config &&
			strcmp(machine->root_ports[i].config->place.id, name) == 0)
			return &machine->root_ports[i];
	return NULL;
}

static int take_bus_0(const struct device_place *place, bool own_port, struct machine_spot *spot)
{
	spot->place = own_port ? PCI_OWN_PORT : PCI_ANY_SLOT;
	if (!place->addressed || !is_bus_0(place->bus))
		return 0;
	if (!place->slot || place->slot >= PCI_SLOTS || place->function >= PCI_FUNCTIONS) {
		log_error("addr=%x.%x: expected a slot from 1 to 1f, and a function up to 7",
			place->slot, place->function);
		return -EINVAL;
	}
	spot->place = BUS_0(place->slot, place->function);
	return 0;
}

static struct machine_port *find_free_port(struct machine *machine)
{
	for (unsigned i = 0; i < machine->root_port_count; i++)
		if (machine->root_ports[i].function->hot_plug &&
			machine->root_ports[i].content == PORT_EMPTY)
			return &machine->root_ports[i];
	log_error("there is no free port with hot plug; expected -device pcie-root-port,id=NAME "
		  "when the machine starts");
	return NULL;
}

static int take_port(const struct machine *machine, const struct device_place *place,
	struct machine_port *port, struct machine_spot *spot)
{
	if (place->addressed && !is_bus_0(place->bus) && (place->slot || place->function)) {
		log_error("bus=%s,addr=%x.%x: behind a root port is function 0 of slot 0",
			place->bus, place->slot, place->function);
		return -EINVAL;
	}
	if (machine->built && !port->function->hot_plug) {
		log_error("bus '%s' does not support hotplugging", place->bus);
		return -EINVAL;
	}
	if (port->content != PORT_EMPTY) {
		log_error("there is a device behind '%s'", place->bus);
		return -EEXIST;
	}
	spot->place = PCI_BEHIND(port->function->devfn);
	spot->port = port;
	return 0;
}

int machine_spot_take(struct machine *machine, const struct device_place *place, bool own_port,
	struct machine_spot *spot)
{
	struct machine_port *port;
	bool bus_0;
	int error;

	*spot = (struct machine_spot){0};
	port = find_port(machine, place->bus, &bus_0);
	if (!bus_0 && !port) {
		log_error("there is no bus '%s'; expected pcie.0, or the id of a pcie-root-port",
			place->bus);
		return -ENOENT;
	}
	if (bus_0 && machine->built)
		port = find_free_port(machine);
	if (bus_0 && !machine->built)
		error = take_bus_0(place, own_port, spot);
	else
		error = port ? take_port(machine, place, port, spot) : -ENOSPC;
	if (!error && spot->port && port->function->hot_plug)
		chipset_devices(machine->chipset)->group = ++machine->groups;
	return error;
}

/* Nobody has used it yet: its worker stands as soon as it is asked. */
static void forget_device(struct machine *machine, struct machine_port *port, uint32_t group)
{
	struct device_list taken;

	if (port->function->child)
		pci_port_eject(port->function);
	taken = device_list_take(chipset_devices(machine->chipset), group);
	device_list_destroy(&taken);
}

void machine_spot_done(struct machine *machine, struct machine_spot *spot,
	enum port_content content, unsigned index, int error)
{
	struct device_list *devices = chipset_devices(machine->chipset);
	struct machine_port *port = spot->port;
	uint32_t group = devices->group;

	devices->group = 0;
	if (!port)
		return;
	if (error) {
		if (group)
			forget_device(machine, port, group);
		return;
	}
	port->content = content;
	port->index = index;
	port->group = content == PORT_FIXED ? 0 : group;
	pci_port_inserted(port->function, !machine->built);
}

uint32_t machine_spot_instance(const struct machine_spot *spot, unsigned index)
{
	return spot->port && spot->port->function->hot_plug
		       ? (uint32_t)spot->port->function->devfn << 8
		       : index;
}
