/* AHCI: the registers (chapter 3), interrupts and resets. */
#include "device/storage/ahci_internal.h"

#include "base/bits.h"
#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ICH9_VENDOR 0x8086
#define ICH9_DEVICE 0x2922

#define REGISTERS_SIZE 4096
#define PORT_BASE      0x100
#define PORT_SIZE      0x80

enum { CAP = 0x00, GHC = 0x04, IS = 0x08, PI = 0x0c, VS = 0x10 };
enum {
	PORT_CLB = 0x00,
	PORT_CLBU = 0x04,
	PORT_FB = 0x08,
	PORT_FBU = 0x0c,
	PORT_IS = 0x10,
	PORT_IE = 0x14,
	PORT_CMD = 0x18,
	PORT_TFD = 0x20,
	PORT_SIG = 0x24,
	PORT_SSTS = 0x28,
	PORT_SCTL = 0x2c,
	PORT_SERR = 0x30,
	PORT_SACT = 0x34,
	PORT_CI = 0x38,
};

/* 64-bit addresses, NCQ, command list override, 6 Gb/s, AHCI only, 32 slots. */
#define CAPABILITIES                                                                               \
	(BIT(31) | BIT(30) | BIT(24) | 3u << 20 | BIT(18) | 31u << 8 | (AHCI_PORTS - 1))
#define VERSION 0x00010301

#define GHC_RESET  0x00000001u
#define GHC_ENABLE 0x00000002u
#define GHC_AHCI   0x80000000u

#define STATUS_LINK 0x133 /* PxSSTS: a device, 6 Gb/s, active */
#define NO_DEVICE   0x7f  /* PxTFD */

#define SCTL_DET(value) ((value)&15)
#define DET_RESET       1
#define DET_OFFLINE     4

unsigned ahci_port_index(const struct ahci_port *port)
{
	return (unsigned)(port - port->ahci->port);
}

/* --- interrupts --- */

static uint32_t asking(const struct ahci *ahci)
{
	uint32_t ports = 0;

	for (unsigned i = 0; i < AHCI_PORTS; i++)
		if (ahci->state.port[i].is & ahci->state.port[i].ie)
			ports |= 1u << i;
	return ports;
}

/* A message goes out where there is something new, and where the guest has cleared one of several
 * (10.6.2). */
static void update_interrupt(struct ahci *ahci, bool message)
{
	bool level;

	ahci->state.is |= asking(ahci);
	level = (ahci->state.ghc & GHC_ENABLE) && ahci->state.is;
	pci_set_intx(&ahci->function, level);
	if (level && message)
		pci_notify(&ahci->function, 0);
}

void ahci_post(struct ahci_port *port, uint32_t bits)
{
	bool enabled = bits & port->state->ie;

	port->state->is |= bits;
	update_interrupt(port->ahci, enabled);
}

/* --- resets --- */

static bool resetting(const struct ahci *ahci)
{
	for (unsigned i = 0; i < AHCI_PORTS; i++)
		if (ahci->port[i].dropping)
			return true;
	return false;
}

static void show_device(struct ahci_port *port)
{
	if (!port->drive.disk) {
		port->state->status = NO_DEVICE;
		port->state->signature = UINT32_MAX;
	} else if (port->dropping) {
		port->signature_wanted = true;
		port->state->status = ATA_STATUS_BSY;
	} else {
		ahci_signature(port);
	}
}

void ahci_drained(struct ahci_port *port)
{
	struct ahci *ahci = port->ahci;

	port->dropping = false;
	if (port->signature_wanted)
		ahci_signature(port);
	if (!resetting(ahci))
		ahci->state.ghc &= ~GHC_RESET;
	ahci_schedule(port);
}

static void reset_port(struct ahci_port *port, bool power_up)
{
	struct ahci_port_state *state = port->state;
	struct ata ata = {.state = &state->ata, .disk = port->drive.disk};
	struct atapi atapi = {.state = &state->atapi};

	ahci_drop(port);
	*state = (struct ahci_port_state){.ata = state->ata, .atapi = state->atapi};
	if (power_up)
		state->ata = (struct ata_state){.cylinders = 1, .heads = 1, .sectors = 1};
	if (power_up && port->drive.disk && !port->cdrom)
		ata_reset(&ata);
	if (power_up && port->cdrom)
		atapi_power_up(&atapi);
	show_device(port);
}

/* 10.4.3: GHC.HR is set until what is in flight has come back. */
static void reset_hba(struct ahci *ahci, bool power_up)
{
	ahci->state.is = 0;
	ahci->state.ghc = GHC_AHCI;
	for (unsigned i = 0; i < AHCI_PORTS; i++)
		reset_port(&ahci->port[i], power_up);
	if (resetting(ahci))
		ahci->state.ghc |= GHC_RESET;
	update_interrupt(ahci, false);
}

/* --- a port's registers --- */

static uint32_t link_status(const struct ahci_port *port)
{
	unsigned det = SCTL_DET(port->state->sctl);

	if (det == DET_OFFLINE)
		return 4;
	return port->drive.disk && det != DET_RESET ? STATUS_LINK : 0;
}

/* COMRESET lasts while DET is 1; then the link comes up (10.4.2). */
static void write_sctl(struct ahci_port *port, uint32_t value)
{
	struct ahci_port_state *state = port->state;
	unsigned before = SCTL_DET(state->sctl), now = SCTL_DET(value);

	state->sctl = value & 0xfff;
	if (now == DET_RESET && before != DET_RESET) {
		ahci_drop(port);
		state->ci = state->sact = 0;
		state->control = 0;
		state->status = port->drive.disk ? ATA_STATUS_BSY : NO_DEVICE;
	} else if (before && !now && port->drive.disk) {
		state->serr |= AHCI_SERR_EXCHANGED;
		show_device(port);
		ahci_post(port, AHCI_IS_CONNECT);
	}
}

static uint32_t read_cmd(const struct ahci_port *port)
{
	const struct ahci_port_state *state = port->state;
	uint32_t value = state->cmd;

	if (value & AHCI_CMD_FIS)
		value |= AHCI_CMD_FIS_RUNS;
	if ((value & AHCI_CMD_START) || port->running)
		value |= AHCI_CMD_RUNS;
	if (value & AHCI_CMD_START)
		value |= AHCI_CMD_SLOT(state->slot);
	return value;
}

static void write_cmd(struct ahci_port *port, uint32_t value)
{
	struct ahci_port_state *state = port->state;
	uint32_t before = state->cmd;

	state->cmd = value & AHCI_CMD_WRITABLE;
	if (before & ~value & AHCI_CMD_START) {
		ahci_drop(port);
		state->ci = state->sact = 0;
		state->halted = false;
		state->slot = 0;
	}
	if ((value & AHCI_CMD_CLO) && port->drive.disk)
		state->status &= (uint8_t) ~(ATA_STATUS_BSY | ATA_STATUS_DRQ);
}

static uint32_t read_port(const struct ahci_port *port, unsigned offset)
{
	const struct ahci_port_state *state = port->state;

	switch (offset) {
	case PORT_CLB:
		return (uint32_t)state->list;
	case PORT_CLBU:
		return (uint32_t)(state->list >> 32);
	case PORT_FB:
		return (uint32_t)state->fis;
	case PORT_FBU:
		return (uint32_t)(state->fis >> 32);
	case PORT_IS:
		return state->is;
	case PORT_IE:
		return state->ie;
	case PORT_CMD:
		return read_cmd(port);
	case PORT_TFD:
		return (uint32_t)state->error << 8 | state->status;
	case PORT_SIG:
		return state->signature;
	case PORT_SSTS:
		return link_status(port);
	case PORT_SCTL:
		return state->sctl;
	case PORT_SERR:
		return state->serr;
	case PORT_SACT:
		return state->sact;
	case PORT_CI:
		return state->ci;
	default:
		return 0;
	}
}

static void set_low(uint64_t *address, uint32_t value)
{
	*address = (*address & ~UINT64_C(0xffffffff)) | value;
}

static void set_high(uint64_t *address, uint32_t value)
{
	*address = (uint32_t)*address | (uint64_t)value << 32;
}

static void write_port(struct ahci_port *port, unsigned offset, uint32_t value)
{
	struct ahci_port_state *state = port->state;

	switch (offset) {
	case PORT_CLB:
		set_low(&state->list, value & ~0x3ffu);
		break;
	case PORT_CLBU:
		set_high(&state->list, value);
		break;
	case PORT_FB:
		set_low(&state->fis, value & ~0xffu);
		break;
	case PORT_FBU:
		set_high(&state->fis, value);
		break;
	case PORT_IS:
		state->is &= ~value;
		update_interrupt(port->ahci, false);
		break;
	case PORT_IE:
		state->ie = value & AHCI_IS_ALL;
		update_interrupt(port->ahci, true);
		break;
	case PORT_CMD:
		write_cmd(port, value);
		break;
	case PORT_SCTL:
		write_sctl(port, value);
		break;
	case PORT_SERR:
		state->serr &= ~value;
		break;
	case PORT_SACT:
		if (state->cmd & AHCI_CMD_START)
			state->sact |= value;
		break;
	case PORT_CI:
		if (state->cmd & AHCI_CMD_START) {
			state->ci |= value;
			ahci_schedule(port);
		}
		break;
	}
}

/* --- the controller's registers --- */

static uint64_t registers_read(void *opaque, uint64_t offset, unsigned size)
{
	const struct ahci *ahci = opaque;
	unsigned at = (unsigned)offset & ~3u;
	uint32_t value = 0;

	if (at >= PORT_BASE && at < PORT_BASE + AHCI_PORTS * PORT_SIZE)
		value = read_port(
			&ahci->port[(at - PORT_BASE) / PORT_SIZE], (at - PORT_BASE) % PORT_SIZE);
	else if (at == CAP)
		value = (uint32_t)CAPABILITIES;
	else if (at == GHC)
		value = ahci->state.ghc;
	else if (at == IS)
		value = ahci->state.is;
	else if (at == PI)
		value = BIT(AHCI_PORTS) - 1;
	else if (at == VS)
		value = VERSION;
	return value >> (8 * (offset & 3));
}

static void write_ghc(struct ahci *ahci, uint32_t value)
{
	if (value & GHC_RESET) {
		reset_hba(ahci, false);
		return;
	}
	ahci->state.ghc = (ahci->state.ghc & ~GHC_ENABLE) | (value & GHC_ENABLE);
	update_interrupt(ahci, true);
}

/* Software writes doublewords (3): what else is written is ignored. */
static void registers_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct ahci *ahci = opaque;
	unsigned at = (unsigned)offset;

	if (size != 4 || at & 3)
		return;
	if (at >= PORT_BASE && at < PORT_BASE + AHCI_PORTS * PORT_SIZE) {
		write_port(&ahci->port[(at - PORT_BASE) / PORT_SIZE], (at - PORT_BASE) % PORT_SIZE,
			(uint32_t)value);
	} else if (at == GHC) {
		write_ghc(ahci, (uint32_t)value);
	} else if (at == IS) {
		ahci->state.is &= ~(uint32_t)value;
		update_interrupt(ahci, true);
	}
}

/* --- the device --- */

static void ahci_reset(void *device)
{
	reset_hba(device, true);
}

static void function_reset(void *opaque)
{
	reset_hba(opaque, true);
}

static void ahci_loaded(void *device)
{
	update_interrupt(device, false);
}

static bool ahci_valid(const void *device, const void *loaded)
{
	const struct ahci_state *state = loaded;

	if ((state->ghc & ~GHC_ENABLE) != GHC_AHCI || state->is >= BIT(AHCI_PORTS))
		return false;
	for (unsigned i = 0; i < AHCI_PORTS; i++) {
		const struct ahci_port_state *port = &state->port[i];

		if (!ata_valid(&port->ata) || (port->cmd & ~AHCI_CMD_WRITABLE) ||
			(port->list & 0x3ff) || (port->fis & 0xff))
			return false;
	}
	return true;
}

static bool ahci_quiesce(void *device, uint64_t deadline_ns)
{
	struct ahci *ahci = device;
	bool quiet = true;

	for (unsigned i = 0; i < AHCI_PORTS; i++)
		if (!drive_quiesce(&ahci->port[i].drive, deadline_ns))
			quiet = false;
	return quiet;
}

static void ahci_abandon(void *device)
{
	struct ahci *ahci = device;

	for (unsigned i = 0; i < AHCI_PORTS; i++)
		drive_abandon(&ahci->port[i].drive);
}

static void ahci_destroy(void *device)
{
	struct ahci *ahci = device;

	for (unsigned i = 0; i < AHCI_PORTS; i++) {
		drive_destroy(&ahci->port[i].drive);
		free(ahci->port[i].slots);
	}
	free(ahci);
}

static const struct state_field port_fields[] = {
	STATE_ANY(struct ahci_port_state, list),
	STATE_ANY(struct ahci_port_state, fis),
	STATE_ANY(struct ahci_port_state, is),
	STATE_ANY(struct ahci_port_state, ie),
	STATE_ANY(struct ahci_port_state, cmd),
	STATE_ANY(struct ahci_port_state, sctl),
	STATE_ANY(struct ahci_port_state, serr),
	STATE_ANY(struct ahci_port_state, sact),
	STATE_ANY(struct ahci_port_state, ci),
	STATE_ANY(struct ahci_port_state, signature),
	STATE_ANY(struct ahci_port_state, status),
	STATE_ANY(struct ahci_port_state, error),
	STATE_FIELD(struct ahci_port_state, slot, 0, AHCI_SLOTS - 1),
	STATE_ANY(struct ahci_port_state, control),
	STATE_BOOL(struct ahci_port_state, halted),
	STATE_STRUCT(struct ahci_port_state, ata, ata_state_fields),
	STATE_STRUCT(struct ahci_port_state, atapi, atapi_state_fields),
	STATE_END,
};

static const struct state_field ahci_fields[] = {
	STATE_ANY(struct ahci_state, ghc),
	STATE_ANY(struct ahci_state, is),
	STATE_STRUCTS(struct ahci_state, port, port_fields),
	STATE_END,
};

static const struct device_ops ahci_device = {
	.name = "ahci",
	.version = 1,
	DEVICE_STATE(struct ahci, ahci_fields),
	.reset = ahci_reset,
	.valid = ahci_valid,
	.loaded = ahci_loaded,
	.quiesce = ahci_quiesce,
	.abandon = ahci_abandon,
	.destroy = ahci_destroy,
};

/* --- making it --- */

static int start_drive(
	struct ahci_port *port, const struct ide_drive_config *config, const struct pci_config *bus)
{
	char name[16];

	snprintf(name, sizeof(name), "ahci%u", ahci_port_index(port));
	if (config->cdrom && config->disk->size < ATAPI_SECTOR) {
		log_error("a CD-ROM has at least one sector of %u bytes", ATAPI_SECTOR);
		config->disk->ops->destroy(config->disk);
		return -EINVAL;
	}
	port->cdrom = config->cdrom;
	memcpy(port->serial, config->serial, strnlen(config->serial, sizeof(port->serial) - 1));
	port->slots = calloc(AHCI_SLOTS, sizeof(*port->slots));
	if (!port->slots) {
		log_error("out of memory for a SATA port");
		config->disk->ops->destroy(config->disk);
		return -ENOMEM;
	}
	for (unsigned i = 0; i < AHCI_SLOTS; i++) {
		port->slots[i].port = port;
		port->slots[i].index = (uint8_t)i;
	}
	return drive_create(&port->drive, config->disk, name, bus->loop, bus->ports->lock);
}

/* Every disk is either a drive's or destroyed, whatever happens. */
static int start_drives(
	struct ahci *ahci, const struct ide_drive_config *drives, const struct pci_config *bus)
{
	int error = 0;

	for (unsigned i = 0; i < AHCI_PORTS; i++) {
		struct ahci_port *port = &ahci->port[i];

		port->ahci = ahci;
		port->state = &ahci->state.port[i];
		if (!drives[i].disk)
			continue;
		if (error)
			drives[i].disk->ops->destroy(drives[i].disk);
		else
			error = start_drive(port, &drives[i], bus);
	}
	return error;
}

int ahci_create(struct pci_bus *bus, int slot, const struct ide_drive_config drives[AHCI_PORTS])
{
	static const struct io_ops registers = {
		.read = registers_read, .write = registers_write, .width = 4};
	const struct pci_config *config = pci_bus_config(bus);
	struct ahci *ahci = calloc(1, sizeof(*ahci));
	const struct pci_description description = {
		.name = "ahci",
		.vendor = ICH9_VENDOR,
		.device = ICH9_DEVICE,
		.class_code = 0x010601, /* SATA, AHCI */
		.revision = 2,
		.intx = true,
		.msi = true,
		.bar[5] = {.kind = PCI_BAR_MEMORY32,
			.size = REGISTERS_SIZE,
			.ops = &registers,
			.opaque = ahci},
		.opaque = ahci,
		.reset = function_reset,
	};
	int error;

	if (!ahci) {
		log_error("out of memory for a SATA controller");
		for (unsigned i = 0; i < AHCI_PORTS; i++)
			if (drives[i].disk)
				drives[i].disk->ops->destroy(drives[i].disk);
		return -ENOMEM;
	}
	error = start_drives(ahci, drives, config);
	if (!error)
		error = pci_add(bus, &ahci->function, slot, &description);
	if (error) {
		ahci_destroy(ahci);
		return error;
	}
	device_list_add(config->devices, &ahci->device, &ahci_device, 0);
	ahci_reset(ahci);
	return 0;
}
