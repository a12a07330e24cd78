#include "machine/io_devices.h"

#include "base/log.h"
#include "device/chipset/chipset.h"
#include "device/display/vga.h"
#include "device/fw_cfg.h"
#include "device/lpc_bridge.h"
#include "device/net/e1000.h"
#include "device/pci/pci.h"
#include "device/storage/nvme.h"
#include "device/virtio/block.h"
#include "device/virtio/console.h"
#include "device/virtio/entropy.h"
#include "device/virtio/net.h"
#include "device/virtio/p9.h"
#include "host/display/font.h"
#include "machine/disk_controllers.h"
#include "machine/machine.h"
#include "machine/scsi_controllers.h"
#include "machine/test_devices.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

static bool send_message(void *opaque, uint64_t address, uint32_t data)
{
	return chipset_msi(opaque, address, data);
}

static int create_bus(struct machine *machine)
{
	struct pci_config config = {
		.memory = &machine->memory,
		.ports = &machine->ports,
		.devices = chipset_devices(machine->chipset),
		.loop = machine->loop,
		.msi = send_message,
		.opaque = machine->chipset,
		.ejected = machine_port_ejected,
		.eject_opaque = machine,
	};

	for (unsigned i = 0; i < PCI_INTX_GSIS; i++)
		config.intx[i] = chipset_irq_line(machine->chipset, PCI_INTX_GSI + i);
	machine->pci = pci_create(&config);
	return machine->pci ? 0 : -ENODEV;
}

static int create_lpc_bridge(struct machine *machine)
{
	return lpc_bridge_create(machine->pci);
}

static int create_entropy(struct machine *machine)
{
	return virtio_entropy_create(machine->pci);
}

static int create_virtio_disk(
	struct machine *machine, const struct machine_spot *spot, unsigned index, struct disk *disk)
{
	return virtio_block_create(machine->pci, spot->place, machine_spot_instance(spot, index),
		disk, machine->config.disks[index].serial, machine->config.cpu_count);
}

static int create_nvme_disk(
	struct machine *machine, const struct machine_spot *spot, unsigned index, struct disk *disk)
{
	return nvme_create(machine->pci, spot->place, machine_spot_instance(spot, index), disk,
		machine->config.disks[index].serial);
}

/* Disks that are functions on the bus by themselves: `disk` is owned from create() on. */
static const struct disk_kind {
	int (*create)(struct machine *machine, const struct machine_spot *spot, unsigned index,
		struct disk *disk);
	const char *firmware_name, *firmware_rest;
	bool unplugs; /* it can be unplugged, and plugged in while the machine runs */
} disk_kinds[] = {
	[DISK_BUS_VIRTIO] = {create_virtio_disk, "scsi", "disk@0,0", true},
	[DISK_BUS_NVME] = {create_nvme_disk, "nvme", "namespace@1,0", false},
};

/* NULL: it is at a controller. */
static const struct disk_kind *kind_of(const struct machine *machine, unsigned index)
{
	enum disk_bus bus = machine_disk_bus(machine, &machine->config.disks[index]);

	return bus < ARRAY_SIZE(disk_kinds) && disk_kinds[bus].create ? &disk_kinds[bus] : NULL;
}

static int refuse_hot_plug(void)
{
	log_error("the device does not support hotplugging; expected a virtio disk or card");
	return -EOPNOTSUPP;
}

int machine_make_disk(struct machine *machine, unsigned index)
{
	const struct disk_config *config = &machine->config.disks[index];
	const struct disk_kind *kind = kind_of(machine, index);
	struct machine_spot spot;
	struct disk *disk = NULL;
	int error;

	if (machine->built && (!kind || !kind->unplugs))
		return refuse_hot_plug();
	error = machine_spot_take(machine, &config->place, config->port, &spot);
	if (error)
		return error;
	error = disk_open(config, &disk);
	if (!error)
		error = kind->create(machine, &spot, index, disk);
	machine->disk[index] = error ? NULL : disk;
	machine_spot_done(machine, &spot, kind->unplugs ? PORT_DISK : PORT_FIXED, index, error);
	if (!error && !machine->built) {
		firmware_can_boot(machine, 'c', kind->firmware_name, kind->firmware_rest);
		firmware_boot_index(machine, config->boot_index);
	}
	return error;
}

static int create_disks(struct machine *machine)
{
	int error = 0;

	for (unsigned i = 0; !error && i < machine->config.disk_count; i++)
		if (kind_of(machine, i))
			error = machine_make_disk(machine, i);
	return error;
}

/* A card's address where none was said. On a user network there is nobody else; on others there may
 * be, and a number made up at random is told apart from theirs. */
static int choose_mac(const struct net_config *config, unsigned index, uint8_t mac[6])
{
	static const uint8_t unset[6];

	memcpy(mac, config->mac, 6);
	if (memcmp(mac, unset, 6) != 0)
		return 0;
	memcpy(mac, (const uint8_t[6]){0x52, 0x54, 0x00, 0x12, 0x34, (uint8_t)(0x56 + index)}, 6);
	if (config->kind == NET_USER || getrandom(mac + 1, 5, 0) == 5)
		return 0;
	return -errno;
}

static const struct card_kind {
	int (*create)(struct pci_bus *bus, int slot, uint32_t instance, struct net_backend *backend,
		const uint8_t mac[6]);
	bool unplugs;
} card_kinds[] = {
	[NET_VIRTIO] = {virtio_net_create, true},
	[NET_E1000] = {e1000_create, false},
};

int machine_make_card(struct machine *machine, unsigned index)
{
	const struct net_config *config = &machine->config.nets[index];
	const struct card_kind *kind = &card_kinds[config->model];
	struct machine_spot spot;
	struct net_backend *backend = NULL;
	uint8_t mac[6];
	int error = choose_mac(config, index, mac);

	if (machine->built && !kind->unplugs)
		return refuse_hot_plug();
	if (!error)
		error = net_open(config, &backend);
	if (error || !backend)
		return error;
	error = machine_spot_take(machine, &config->place, config->port, &spot);
	if (error) {
		backend->ops->destroy(backend);
		return error;
	}
	error = kind->create(
		machine->pci, spot.place, machine_spot_instance(&spot, index), backend, mac);
	machine_spot_done(machine, &spot, kind->unplugs ? PORT_CARD : PORT_FIXED, index, error);
	if (!error && !machine->built) {
		firmware_can_boot(machine, 'n', "ethernet", "ethernet-phy@0");
		firmware_boot_index(machine, config->boot_index);
	}
	return error;
}

static int create_networks(struct machine *machine)
{
	int error = 0;

	for (unsigned i = 0; !error && i < machine->config.net_count; i++)
		error = machine_make_card(machine, i);
	return error;
}

/* `share` is owned from now on. */
static int create_share(struct machine *machine, unsigned index, struct share *share)
{
	const struct share_config *config = &machine->config.shares[index];
	struct machine_spot spot;
	int error = machine_spot_take(machine, &config->place, false, &spot);

	if (error) {
		share_close(share);
		return error;
	}
	error = virtio_p9_create(
		machine->pci, spot.place, machine_spot_instance(&spot, index), share, config->tag);
	machine_spot_done(machine, &spot, PORT_FIXED, index, error);
	return error;
}

static int create_shares(struct machine *machine)
{
	const struct share_memory memory = {
		machine->memory.fd, machine->memory.ram, machine->memory.file_size};
	struct share *share;
	int error = 0;

	for (unsigned i = 0; !error && i < machine->config.share_count; i++) {
		const struct share_config *config = &machine->config.shares[i];

		error = share_open(config, &memory, &share);
		if (!error)
			error = create_share(machine, i, share);
	}
	return error;
}

/* The ports of one virtio console. */
static unsigned ports_of(const struct machine_config *config, unsigned controller,
	struct console_port_config ports[CONSOLE_MAX_PORTS + 1])
{
	unsigned count = 0;

	if (!controller && config->virtio_console)
		ports[count++] = (struct console_port_config){.console = true};
	for (unsigned i = 0; i < config->console_port_count && count <= CONSOLE_MAX_PORTS; i++)
		if (config->console_ports[i].controller == controller)
			ports[count++] = config->console_ports[i];
	return count;
}

static int find_far_end(struct machine *machine, struct console_port_config *port)
{
	struct char_device *device;

	if (!*port->chardev)
		return 0;
	device = char_devices_find(machine->chardevs, port->chardev);
	if (device)
		return char_device_use(device, true, "virtio-console", &port->backend);
	log_error("virtio-console: there is no character device '%s'", port->chardev);
	return -ENOENT;
}

static int create_controller(struct machine *machine, unsigned controller)
{
	struct console_port_config ports[CONSOLE_MAX_PORTS + 1];
	unsigned count = ports_of(&machine->config, controller, ports);
	struct console_device *created;
	int error = console_ports_number(ports, count, "virtio-console");

	if (!count)
		return 0;
	for (unsigned i = 0; !error && i < count; i++)
		error = find_far_end(machine, &ports[i]);
	if (!error)
		error = virtio_console_create(machine->pci, controller, ports, count, &created);
	if (!error && !controller && machine->config.virtio_console)
		machine->virtio_console = created;
	return error;
}

static int create_consoles(struct machine *machine)
{
	int error = 0;

	for (unsigned i = 0; !error && i < MACHINE_MAX_CONSOLES; i++)
		error = create_controller(machine, i);
	return error;
}

/* A kernel that is started without firmware finds text mode, and the characters that firmware would
 * have loaded. */
static int create_vga(struct machine *machine)
{
	struct vga_config config = {.bus = machine->pci,
		.clock = &machine->clock,
		.text_mode = !firmware_is_used(machine)};
	size_t size;
	uint8_t *bios;
	int error;

	if (!machine_has_vga(&machine->config))
		return 0;
	bios = font_read_bios(&size);
	config.font = bios ? font_find(bios, size) : NULL;
	if (!config.font)
		log_warning("%s is missing, which the screen has its characters from; install the "
			    "package seabios",
			VIDEO_BIOS);
	error = vga_create(&config, &machine->display);
	/* By this name SeaBIOS takes it for the ROM of the function, and tells it where that is:
	 * one in vgaroms/ would not find its BAR. */
	if (!error && machine->fw_cfg && bios)
		error = fw_cfg_add_file(machine->fw_cfg, "pci1234,1111.rom", bios, (uint32_t)size);
	free(bios);
	return error;
}

/* In this order, which gives each its slot: a guest finds its devices where they were. */
static int (*const rows[])(struct machine *machine) = {
	create_bus,
	machine_create_ports,
	create_lpc_bridge,
	firmware_create,
	create_entropy,
	test_devices_create_own,
	create_disks,
	machine_create_scsi,
	create_networks,
	create_consoles,
	create_vga,
	machine_create_controllers,
	create_shares,
	test_devices_create,
	firmware_finish,
};

int io_devices_create(struct machine *machine)
{
	int error = 0;

	for (unsigned i = 0; !error && i < ARRAY_SIZE(rows); i++)
		error = rows[i](machine);
	return error;
}
