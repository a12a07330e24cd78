/* What is on the PCI bus, as its configuration spaces say. */
#include "control/qmp_internal.h"

#include "device/pci/pci.h"

#include <linux/pci.h>
#include <string.h>

static uint64_t get(const struct pci_function *function, unsigned at, unsigned size)
{
	uint64_t value = 0;

	memcpy(&value, function->state.config + at, size);
	return value;
}

static unsigned bus_number(const struct pci_function *function)
{
	return function->port ? (unsigned)get(function->port, PCI_SECONDARY_BUS, 1) : 0;
}

static json_t *describe_bars(const struct pci_function *function)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < PCI_BARS; i++) {
		const struct pci_bar *bar = &function->description.bar[i];
		unsigned at = PCI_BASE_ADDRESS_0 + 4 * i;
		uint64_t address;
		json_t *region;

		if (bar->kind == PCI_BAR_NONE)
			continue;
		address =
			get(function, at, bar->kind == PCI_BAR_MEMORY64 ? 8 : 4) & ~(bar->size - 1);
		region = json_pack("{s:i, s:s, s:I, s:I}", "bar", (int)i, "type",
			bar->kind == PCI_BAR_IO ? "io" : "memory", "address",
			(json_int_t)(address ? address : UINT64_MAX), "size",
			(json_int_t)bar->size);
		if (bar->kind != PCI_BAR_IO) {
			json_object_set_new(region, "prefetch", json_boolean(bar->prefetchable));
			json_object_set_new(
				region, "mem_type_64", json_boolean(bar->kind == PCI_BAR_MEMORY64));
		}
		json_array_append_new(list, region);
	}
	return list;
}

static json_t *describe(struct pci_bus *bus, const struct pci_function *function);

static json_t *window(uint64_t base, uint64_t limit)
{
	return json_pack("{s:I, s:I}", "base", (json_int_t)base, "limit", (json_int_t)limit);
}

static json_t *describe_bridge(struct pci_bus *bus, const struct pci_function *port)
{
	json_t *devices = json_array(), *info;
	unsigned secondary = (unsigned)get(port, PCI_SECONDARY_BUS, 1);

	info = json_pack("{s:i, s:i, s:i, s:o, s:o, s:o}", "number",
		(int)get(port, PCI_PRIMARY_BUS, 1), "secondary", (int)secondary, "subordinate",
		(int)get(port, PCI_SUBORDINATE_BUS, 1), "io_range",
		window((get(port, PCI_IO_BASE, 1) & 0xf0) << 8,
			(get(port, PCI_IO_LIMIT, 1) & 0xf0) << 8 | 0xfff),
		"memory_range",
		window((get(port, PCI_MEMORY_BASE, 2) & 0xfff0) << 16,
			(get(port, PCI_MEMORY_LIMIT, 2) & 0xfff0) << 16 | 0xfffff),
		"prefetchable_range",
		window(get(port, PCI_PREF_BASE_UPPER32, 4) << 32 |
				(get(port, PCI_PREF_MEMORY_BASE, 2) & 0xfff0) << 16,
			get(port, PCI_PREF_LIMIT_UPPER32, 4) << 32 |
				(get(port, PCI_PREF_MEMORY_LIMIT, 2) & 0xfff0) << 16 | 0xfffff));
	for (const struct pci_function *child = port->child; child; child = child->sibling)
		json_array_append_new(devices, describe(bus, child));
	return json_pack("{s:o, s:o}", "bus", info, "devices", devices);
}

static json_t *describe(struct pci_bus *bus, const struct pci_function *function)
{
	const struct pci_description *description = &function->description;
	json_t *device = json_pack(
		"{s:i, s:i, s:i, s:{s:i, s:s}, s:{s:i, s:i, s:i, s:i}, s:i, s:s, s:o}", "bus",
		(int)bus_number(function), "slot", (int)PCI_SLOT(function->devfn), "function",
		(int)PCI_FUNC(function->devfn), "class_info", "class",
		(int)(description->class_code >> 8), "desc", description->name, "id", "device",
		(int)description->device, "vendor", (int)description->vendor, "subsystem",
		(int)description->subsystem, "subsystem-vendor", (int)description->subsystem_vendor,
		"irq_pin", (int)get(function, PCI_INTERRUPT_PIN, 1), "qdev_id", "", "regions",
		describe_bars(function));

	if (get(function, PCI_INTERRUPT_PIN, 1))
		json_object_set_new(device, "irq",
			json_integer((json_int_t)get(function, PCI_INTERRUPT_LINE, 1)));
	if (function->is_port)
		json_object_set_new(device, "pci_bridge", describe_bridge(bus, function));
	return device;
}

json_t *qmp_query_pci(struct qmp_session *session, json_t *arguments)
{
	struct pci_bus *bus = session->machine->pci;
	json_t *devices = json_array();

	for (struct pci_function *function = bus ? pci_next_function(bus, NULL) : NULL; function;
		function = pci_next_function(bus, function))
		if (!function->port)
			json_array_append_new(devices, describe(bus, function));
	return json_pack("[{s:i, s:o}]", "bus", 0, "devices", devices);
}
