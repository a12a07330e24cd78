/* What the machine consists of, for a human. */
#include "control/human.h"

#include "device/chipset/chipset.h"
#include "device/pci/pci.h"

#include <string.h>
#include <unistd.h>

void human_cpus(struct human *human, const char *words)
{
	for (unsigned i = 0; i < human->machine->config.cpu_count; i++)
		fprintf(human->out, "%c CPU #%u: thread_id=%d\n",
			human->machine->cpus[i] == human->cpu ? '*' : ' ', i, (int)getpid());
}

static void print_disk(FILE *out, const char *name, const struct disk_config *config)
{
	static const char *const buses[] = {[DISK_BUS_ANY] = "default",
		[DISK_BUS_VIRTIO] = "virtio",
		[DISK_BUS_IDE] = "ide",
		[DISK_BUS_AHCI] = "ahci",
		[DISK_BUS_NVME] = "nvme",
		[DISK_BUS_SCSI] = "scsi"};
	const char *bus = config->bus < ARRAY_SIZE(buses) ? buses[config->bus] : NULL;

	fprintf(out, "%s: %s (%s%s)\n    Attached to:      %s\n    Cache mode:       %s\n", name,
		config->path ? config->path : "[not inserted]",
		config->format[0] ? config->format : "raw", config->read_only ? ", read-only" : "",
		bus ? bus : "another controller",
		config->cache == DISK_WRITEBACK ? "writeback"
		: config->cache == DISK_DIRECT  ? "writeback, direct"
						: "writeback, ignore flushes");
}

void human_block(struct human *human, const char *words)
{
	const struct machine_config *config = &human->machine->config;
	char name[32];

	for (unsigned i = 0; i < config->disk_count; i++) {
		if (!config->disks[i].path)
			continue;
		snprintf(name, sizeof(name), "disk%u", i);
		print_disk(human->out, name, &config->disks[i]);
	}
	for (unsigned i = 0; i < config->floppy_count; i++) {
		snprintf(name, sizeof(name), "floppy%u", i);
		print_disk(human->out, name, &config->floppies[i]);
	}
}

void human_network(struct human *human, const char *words)
{
	static const char *const kinds[] = {[NET_USER] = "user",
		[NET_TAP] = "tap",
		[NET_SWITCH] = "switch",
		[NET_NONE] = "none"};
	const struct machine_config *config = &human->machine->config;

	for (unsigned i = 0; i < config->net_count; i++) {
		const struct net_config *net = &config->nets[i];

		if (net->gone)
			continue;
		fprintf(human->out, "net%u: type=%s%s%s,model=%s\n", i,
			net->kind < ARRAY_SIZE(kinds) && kinds[net->kind] ? kinds[net->kind]
									  : "other",
			net->name ? ",name=" : "", net->name ? net->name : "",
			net->model == NET_E1000 ? "e1000" : "virtio");
	}
}

void human_chardev(struct human *human, const char *words)
{
	const struct char_devices *devices = human->machine->chardevs;
	char filename[CHAR_MAX_PATH + 64];
	json_t *chardev;
	size_t i;

	json_array_foreach(human->shared->chardevs, i, chardev)
	{
		fprintf(human->out, "%s: filename=%s\n",
			json_string_value(json_object_get(chardev, "label")),
			json_string_value(json_object_get(chardev, "filename")));
	}
	for (struct char_device *device = char_devices_next(devices, NULL); device;
		device = char_devices_next(devices, device)) {
		char_device_describe(device, filename, sizeof(filename));
		fprintf(human->out, "%s: filename=%s\n", char_device_config(device)->id, filename);
	}
}

void human_pci(struct human *human, const char *words)
{
	struct pci_bus *bus = human->machine->pci;

	for (struct pci_function *function = bus ? pci_next_function(bus, NULL) : NULL; function;
		function = pci_next_function(bus, function)) {
		const struct pci_description *description = &function->description;

		fprintf(human->out,
			"  Bus %s, device %3u, function %u:\n    %s: PCI device %04x:%04x\n",
			function->port ? "behind port" : " 0",
			(function->port ? function->port : function)->devfn >> 3,
			function->devfn & 7u, description->name, description->vendor,
			description->device);
		for (unsigned i = 0; i < PCI_BARS; i++)
			if (description->bar[i].kind != PCI_BAR_NONE)
				fprintf(human->out, "      BAR%u: %s at 0x%llx [0x%llx bytes]\n", i,
					description->bar[i].kind == PCI_BAR_IO ? "I/O" : "memory",
					(unsigned long long)function->mapped[i],
					(unsigned long long)description->bar[i].size);
	}
}

void human_qtree(struct human *human, const char *words)
{
	struct device_list *devices =
		human->machine->chipset ? chipset_devices(human->machine->chipset) : NULL;

	for (struct device *device = devices ? devices->first : NULL; device; device = device->next)
		fprintf(human->out, "dev: %s, id \"%x\"\n", device->ops->name, device->instance);
}
