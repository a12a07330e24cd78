/* AHCI: commands, from the list in guest memory to the FIS that says how they ended.
 *
 * A command that is not queued has the port to itself. Queued ones (NCQ) are under way together,
 * and an error of one stops the port until software has stopped and started it (6.2.2). */
#include "device/storage/ahci_internal.h"

#include "base/bits.h"

#include <string.h>

/* Command header, 4.2.2. */
#define HEADER_SIZE      32
#define HEADER_ATAPI     BIT(5)
#define HEADER_COUNT     4 /* where the number of bytes moved goes */
#define HEADER_PRDTL(dw) ((dw) >> 16)

/* Command table, 4.2.3. */
#define TABLE_PACKET  0x40
#define TABLE_REGIONS 0x80
#define REGION_SIZE   16

/* Where in the received FIS structure each kind goes (4.2.1). */
#define FIS_PIO_SETUP 0x20
#define FIS_REGISTERS 0x40
#define FIS_SET_BITS  0x58

#define FIS_HOST_TO_DEVICE 0x27
#define FIS_COMMAND        0x80 /* byte 1: it is a command, not the control register */
#define FIS_INTERRUPT      0x40
#define CONTROL_RESET      0x04

#define STATUS_READY (ATA_STATUS_DRDY | ATA_STATUS_DSC)

static struct dma *dma_of(const struct ahci_port *port)
{
	return &port->ahci->function.dma;
}

static struct ata ata_of(struct ahci_port *port)
{
	return (struct ata){.state = &port->state->ata,
		.disk = port->drive.disk,
		.serial = port->serial,
		.sata = true};
}

static struct atapi atapi_of(struct ahci_port *port)
{
	return (struct atapi){
		.state = &port->state->atapi, .disk = port->drive.disk, .serial = port->serial};
}

/* --- FISes to the host --- */

static void put_fis(struct ahci_port *port, unsigned at, const uint8_t *bytes, unsigned size)
{
	if (port->state->cmd & AHCI_CMD_FIS)
		dma_write(dma_of(port), port->state->fis + at, bytes, size);
}

/* Bytes 2 to 13 are the same in both. */
static void fill_registers(uint8_t *fis, const struct ata_registers *registers)
{
	fis[2] = registers->status;
	fis[3] = registers->error;
	fis[4] = registers->low[0];
	fis[5] = registers->mid[0];
	fis[6] = registers->high[0];
	fis[7] = registers->device;
	fis[8] = registers->low[1];
	fis[9] = registers->mid[1];
	fis[10] = registers->high[1];
	fis[12] = registers->count[0];
	fis[13] = registers->count[1];
}

static void put_registers(
	struct ahci_port *port, const struct ata_registers *registers, bool interrupt)
{
	uint8_t fis[20] = {0x34, interrupt ? FIS_INTERRUPT : 0};

	fill_registers(fis, registers);
	put_fis(port, FIS_REGISTERS, fis, sizeof(fis));
	port->state->status = registers->status;
	port->state->error = registers->error;
	if (interrupt)
		ahci_post(port, AHCI_IS_REGISTERS);
}

static void put_pio_setup(
	struct ahci_port *port, const struct ata_registers *registers, uint64_t bytes)
{
	uint8_t fis[20] = {0x5f, FIS_INTERRUPT | 0x20};

	fill_registers(fis, registers);
	fis[15] = registers->status; /* when the data has been moved */
	fis[2] |= ATA_STATUS_DRQ;
	fis[16] = (uint8_t)bytes;
	fis[17] = (uint8_t)(bytes >> 8);
	put_fis(port, FIS_PIO_SETUP, fis, sizeof(fis));
	port->state->status = registers->status;
	port->state->error = registers->error;
	ahci_post(port, AHCI_IS_PIO_SETUP);
}

static void put_set_bits(struct ahci_port *port, uint8_t status, uint8_t error, uint32_t done)
{
	uint8_t fis[8] = {0xa1, FIS_INTERRUPT, status & 0x77, error};

	memcpy(fis + 4, &done, 4);
	put_fis(port, FIS_SET_BITS, fis, sizeof(fis));
	port->state->status = status;
	port->state->error = error;
	ahci_post(port, AHCI_IS_SET_BITS);
}

void ahci_signature(struct ahci_port *port)
{
	struct ata_registers registers = {0};

	port->signature_wanted = false;
	ata_signature(&registers, port->cdrom);
	port->state->signature = (uint32_t)registers.high[0] << 24 |
				 (uint32_t)registers.mid[0] << 16 |
				 (uint32_t)registers.low[0] << 8 | registers.count[0];
	put_registers(port, &registers, false);
}

/* --- the ends of a command --- */

/* A slot's command is over. False: a reset or a stop has dropped it meanwhile. */
static bool leave(struct ahci_slot *slot)
{
	struct ahci_port *port = slot->port;
	bool dropped = slot->dropped;

	slot->running = slot->dropped = false;
	port->running--;
	if (dropped && !port->running)
		ahci_drained(port);
	return !dropped;
}

static void end_queued(struct ahci_slot *slot, uint8_t error)
{
	struct ahci_port *port = slot->port;
	struct ahci_port_state *state = port->state;

	if (state->halted)
		return; /* another one's error has ended all of them */
	if (!error) {
		state->sact &= ~(1u << slot->tag);
		put_set_bits(port, STATUS_READY, 0, 1u << slot->tag);
		return;
	}
	state->halted = true;
	state->ata.failed = true;
	state->ata.failed_tag = slot->tag;
	state->ata.failed_status = STATUS_READY | ATA_STATUS_ERR;
	state->ata.failed_error = error;
	put_set_bits(port, STATUS_READY | ATA_STATUS_ERR, error, 0);
	ahci_post(port, AHCI_IS_TASK_FILE);
}

/* A command has ended, with the bits of the error register. */
static void end(struct ahci_slot *slot, uint8_t error)
{
	struct ahci_port *port = slot->port;
	uint32_t moved = (uint32_t)slot->transfer.moved;

	if (!leave(slot))
		return;
	if (slot->queued) {
		end_queued(slot, error);
		ahci_schedule(port);
		return;
	}
	slot->registers.status = error ? STATUS_READY | ATA_STATUS_ERR : STATUS_READY;
	slot->registers.error = error;
	if (port->cdrom)
		slot->registers.count[0] = 3;
	dma_write(dma_of(port), slot->header + HEADER_COUNT, &moved, sizeof(moved));
	if (error) {
		port->state->halted = true;
		put_registers(port, &slot->registers, true);
		ahci_post(port, AHCI_IS_TASK_FILE);
		return;
	}
	port->state->ci &= ~(1u << slot->index);
	if (slot->pio_in)
		put_pio_setup(port, &slot->registers, moved);
	else
		put_registers(port, &slot->registers, true);
	ahci_schedule(port);
}

static void transferred(struct transfer *transfer, int error)
{
	struct ahci_slot *slot = container_of(transfer, struct ahci_slot, transfer);
	struct atapi atapi = atapi_of(slot->port);

	if (!error)
		end(slot, 0);
	else if (slot->port->cdrom && !slot->dropped)
		end(slot, atapi_read_failed(&atapi));
	else
		end(slot, slot->reads && error != -EFAULT ? ATA_ERROR_UNC : ATA_ERROR_ABRT);
}

/* The HBA could not read what it was pointed to. */
static void bus_fatal(struct ahci_port *port)
{
	port->state->halted = true;
	ahci_post(port, AHCI_IS_BUS_FATAL);
}

/* --- the beginning of a command --- */

static bool next_region(struct sg_list *list)
{
	uint32_t region[4];

	if (!list->entries || dma_read(list->dma, list->table, region, sizeof(region)) < 0)
		return false;
	list->entries--;
	list->table += REGION_SIZE;
	list->address = (uint64_t)region[1] << 32 | (region[0] & ~1u);
	list->bytes = (region[3] & 0x3ffffe) + 2;
	return true;
}

/* What the device answers by itself. */
static void give_answer(struct ahci_slot *slot, void *bytes, uint64_t size)
{
	slot->transfer.moved = sg_list_copy(&slot->transfer.list, bytes, size, true);
	end(slot, 0);
}

static void begin_trim(struct ahci_slot *slot)
{
	struct ahci_port *port = slot->port;
	struct ata ata = ata_of(port);

	if (sg_list_copy(&slot->transfer.list, slot->buffer, ATA_BLOCK, false) < ATA_BLOCK ||
		!ata_trim_valid(&ata, slot->buffer))
		end(slot, ATA_ERROR_ABRT);
	else
		transfer_discard(&slot->transfer, &port->drive, (const uint64_t *)slot->buffer);
}

static void begin_disk_command(struct ahci_slot *slot, uint8_t code)
{
	struct ahci_port *port = slot->port;
	struct ata ata = ata_of(port);
	struct ata_command command;
	uint8_t error = ata_decode(&ata, code, &slot->registers, &command, slot->buffer);

	slot->pio_in =
		!command.dma && (command.action == ATA_READ || command.action == ATA_BLOCK_IN);
	slot->reads = command.action == ATA_READ;
	slot->tag = command.tag;
	if (slot->queued) /* it is accepted */
		port->state->ci &= ~(1u << slot->index);
	if (error || command.action == ATA_NOTHING)
		end(slot, error);
	else if (command.action == ATA_BLOCK_IN)
		give_answer(slot, slot->buffer, ATA_BLOCK);
	else if (command.action == ATA_FLUSH)
		transfer_flush(&slot->transfer, &port->drive);
	else if (command.action == ATA_TRIM)
		begin_trim(slot);
	else
		transfer_list(&slot->transfer, &port->drive, slot->reads ? DISK_READ : DISK_WRITE,
			command.offset, command.bytes, command.fua);
}

static void begin_packet(struct ahci_slot *slot, uint64_t table)
{
	struct ahci_port *port = slot->port;
	struct atapi atapi = atapi_of(port);
	uint8_t packet[ATAPI_PACKET], error;
	struct atapi_command command;

	_Static_assert(ATAPI_ANSWER_SIZE <= ATA_BLOCK, "an answer fits into a slot's buffer");
	if (dma_read(dma_of(port), table + TABLE_PACKET, packet, sizeof(packet)) < 0) {
		end(slot, ATA_ERROR_ABRT);
		return;
	}
	error = atapi_decode(&atapi, packet, &command, slot->buffer);
	slot->reads = true;
	if (error || command.action == ATAPI_NOTHING)
		end(slot, error);
	else if (command.action == ATAPI_ANSWER)
		give_answer(slot, slot->buffer, command.bytes);
	else
		transfer_list(&slot->transfer, &port->drive, DISK_READ, command.offset,
			command.bytes, false);
}

static void begin_cdrom_command(struct ahci_slot *slot, uint8_t code, uint64_t table)
{
	struct atapi atapi = atapi_of(slot->port);

	switch (code) {
	case ATA_PACKET:
		begin_packet(slot, table);
		break;
	case ATA_IDENTIFY_PACKET:
		slot->pio_in = true;
		atapi_identify(&atapi, true, slot->buffer);
		give_answer(slot, slot->buffer, ATA_BLOCK);
		break;
	case 0xe0: /* STANDBY IMMEDIATE, IDLE IMMEDIATE, SLEEP, SET FEATURES */
	case 0xe1:
	case 0xe6:
	case 0xef:
		end(slot, 0);
		break;
	default:
		end(slot, ATA_ERROR_ABRT);
	}
}

/* A register FIS that is no command sets the device control register: SRST begins and ends a
 * reset. */
static void write_control(struct ahci_port *port, unsigned index, uint8_t value)
{
	bool ends = port->state->control & ~value & CONTROL_RESET;

	port->state->control = value & CONTROL_RESET;
	port->state->ci &= ~(1u << index);
	if (ends)
		ahci_signature(port);
}

static struct ata_registers registers_of(const uint8_t *fis)
{
	return (struct ata_registers){
		.feature = {fis[3], fis[11]},
		.low = {fis[4], fis[8]},
		.mid = {fis[5], fis[9]},
		.high = {fis[6], fis[10]},
		.device = fis[7],
		.count = {fis[12], fis[13]},
	};
}

static bool is_queued(const struct ahci_port *port, const uint8_t *fis)
{
	return !port->cdrom && (fis[1] & FIS_COMMAND) && (fis[2] == 0x60 || fis[2] == 0x61);
}

static void begin(struct ahci_port *port, unsigned index, const uint32_t *header, uint64_t table,
	const uint8_t *fis)
{
	struct ahci_slot *slot = &port->slots[index];

	slot->running = true;
	slot->dropped = slot->pio_in = slot->reads = false;
	slot->header = port->state->list + index * HEADER_SIZE;
	slot->queued = is_queued(port, fis);
	slot->registers = registers_of(fis);
	slot->transfer.moved = 0;
	slot->transfer.done = transferred;
	slot->transfer.list = (struct sg_list){.dma = dma_of(port),
		.next = next_region,
		.table = table + TABLE_REGIONS,
		.entries = HEADER_PRDTL(header[0])};
	port->running++;
	port->state->slot = (uint8_t)index;
	if (!slot->queued)
		port->state->status = ATA_STATUS_BSY | ATA_STATUS_DRDY;
	if (port->cdrom)
		begin_cdrom_command(slot, fis[2], table);
	else
		begin_disk_command(slot, fis[2]);
}

static bool any_unqueued(const struct ahci_port *port)
{
	for (unsigned i = 0; i < AHCI_SLOTS; i++)
		if (port->slots[i].running && !port->slots[i].queued)
			return true;
	return false;
}

/* Begin the command in a slot. False: it must wait for those that are under way, or the port has
 * halted. */
static bool try_slot(struct ahci_port *port, unsigned index)
{
	uint64_t at = port->state->list + index * HEADER_SIZE, table;
	uint32_t header[4];
	uint8_t fis[20];

	if (dma_read(dma_of(port), at, header, sizeof(header)) < 0) {
		bus_fatal(port);
		return false;
	}
	table = (uint64_t)header[3] << 32 | (header[2] & ~0x7fu);
	if (dma_read(dma_of(port), table, fis, sizeof(fis)) < 0) {
		bus_fatal(port);
		return false;
	}
	if (port->running && (!is_queued(port, fis) || any_unqueued(port)))
		return false;
	if (fis[0] != FIS_HOST_TO_DEVICE)
		port->state->ci &= ~(1u << index);
	else if (!(fis[1] & FIS_COMMAND))
		write_control(port, index, fis[15]);
	else
		begin(port, index, header, table, fis);
	return true;
}

static bool may_begin(const struct ahci_port *port)
{
	return port->slots && (port->state->cmd & AHCI_CMD_START) && !port->state->halted &&
	       !port->dropping;
}

void ahci_schedule(struct ahci_port *port)
{
	/* Commands that end at once call it from inside. */
	if (port->scheduling)
		return;
	port->scheduling = true;
	for (unsigned i = 0; i < AHCI_SLOTS && may_begin(port); i++)
		if ((port->state->ci & 1u << i) && !port->slots[i].running && !try_slot(port, i))
			break;
	port->scheduling = false;
}

void ahci_drop(struct ahci_port *port)
{
	for (unsigned i = 0; port->slots && i < AHCI_SLOTS; i++)
		if (port->slots[i].running)
			port->slots[i].dropped = port->dropping = true;
}
