/* An IDE channel: the registers of its two devices, and the command under way (ATA/ATAPI-7).
 *
 *	PIO in		load() -> IDE_BUSY -> IDE_IN, an interrupt a block; empty: load() again
 *	PIO out		IDE_OUT, an interrupt a block; full: store() -> IDE_BUSY -> IDE_OUT
 *	DMA		IDE_DMA -> run_dma() when the bus master is started too -> IDE_BUSY
 *	PACKET		IDE_PACKET -> one of these, or nothing
 *
 * The buffer holds many blocks, so that a job for the disk brings more than one sector. */
#include "device/storage/ide_internal.h"

#include "base/bits.h"

#include <string.h>

enum { DATA, ERROR, COUNT, LOW, MID, HIGH, DEVICE, STATUS }; /* the command block */

#define FEATURE ERROR
#define COMMAND STATUS

#define CONTROL_NO_INTERRUPT 0x02
#define CONTROL_RESET        0x04
#define CONTROL_PREVIOUS     0x80 /* reads give the byte written before (48-bit addresses) */

#define DEVICE_SECOND 0x10

/* ATAPI's interrupt reason, in the count register. */
#define REASON_COMMAND 1
#define REASON_IN      2
#define REASON_DONE    3

#define STATUS_READY (ATA_STATUS_DRDY | ATA_STATUS_DSC)

/* --- the selected device --- */

static struct ide_drive *selected(struct ide_channel *channel)
{
	return &channel->drive[channel->state.selected];
}

static struct ata_registers *registers_of(struct ide_channel *channel)
{
	return &channel->state.drive[channel->state.selected].registers;
}

static struct ata ata_of(struct ide_channel *channel, unsigned index)
{
	return (struct ata){
		.state = &channel->state.drive[index].ata,
		.disk = channel->drive[index].drive.disk,
		.serial = channel->drive[index].serial,
	};
}

static struct atapi atapi_of(struct ide_channel *channel, unsigned index)
{
	return (struct atapi){
		.state = &channel->state.drive[index].atapi,
		.disk = channel->drive[index].drive.disk,
		.serial = channel->drive[index].serial,
	};
}

/* --- interrupts, and the ends of a command --- */

static void update_line(struct ide_channel *channel)
{
	const struct ide_channel_state *state = &channel->state;

	irq_set(&channel->line, state->irq && !(state->control & CONTROL_NO_INTERRUPT));
}

static void set_irq(struct ide_channel *channel, bool level)
{
	channel->state.irq = level;
	if (level)
		channel->state.master_status |= IDE_MASTER_INTERRUPT;
	update_line(channel);
}

static void complete(struct ide_channel *channel, uint8_t error)
{
	struct ata_registers *registers = registers_of(channel);

	channel->state.phase = IDE_IDLE;
	registers->status = error ? STATUS_READY | ATA_STATUS_ERR : STATUS_READY;
	registers->error = error;
	if (selected(channel)->cdrom)
		registers->count[0] = REASON_DONE;
	set_irq(channel, true);
}

static void busy(struct ide_channel *channel)
{
	channel->state.phase = IDE_BUSY;
	registers_of(channel)->status = STATUS_READY | ATA_STATUS_BSY;
}

/* The disk has failed. */
static void fail(struct ide_channel *channel)
{
	struct atapi atapi = atapi_of(channel, channel->state.selected);

	if (selected(channel)->cdrom)
		complete(channel, atapi_read_failed(&atapi));
	else
		complete(channel,
			channel->state.action == ATA_READ ? ATA_ERROR_UNC : ATA_ERROR_ABRT);
}

/* A job has come back. True: what it was for is over, because of a reset meanwhile. */
static bool is_reset(struct ide_channel *channel)
{
	if (!channel->reset_wanted)
		return false;
	channel->state.phase = IDE_IDLE;
	ide_channel_reset(channel);
	return true;
}

/* --- PIO --- */

/* The next block is the guest's. Bytes that a packet's data has in it are in mid and high. */
static void begin_block(struct ide_channel *channel, enum ide_phase phase, bool interrupt)
{
	struct ide_channel_state *state = &channel->state;
	struct ata_registers *registers = registers_of(channel);

	state->phase = (uint8_t)phase;
	state->block_end = state->position + MIN(state->at_once, state->end - state->position);
	registers->status = STATUS_READY | ATA_STATUS_DRQ;
	if (selected(channel)->cdrom) {
		uint32_t bytes = state->block_end - state->position;

		registers->count[0] = REASON_IN;
		registers->mid[0] = (uint8_t)bytes;
		registers->high[0] = (uint8_t)(bytes >> 8);
	}
	if (interrupt)
		set_irq(channel, true);
}

static void begin_buffer(struct ide_channel *channel, uint32_t bytes)
{
	channel->state.position = 0;
	channel->state.end = bytes;
}

/* A job for a block's bytes has come back. False: the command is over. */
static bool moved_on(struct ide_channel *channel, int error)
{
	struct ide_channel_state *state = &channel->state;

	if (is_reset(channel))
		return false;
	if (error) {
		fail(channel);
		return false;
	}
	state->left -= channel->transfer.moved;
	state->offset += channel->transfer.moved;
	return true;
}

static void loaded(struct transfer *transfer, int error)
{
	struct ide_channel *channel = container_of(transfer, struct ide_channel, transfer);

	if (!moved_on(channel, error))
		return;
	begin_buffer(channel, (uint32_t)transfer->moved);
	begin_block(channel, IDE_IN, true);
}

static void load(struct ide_channel *channel)
{
	struct ide_channel_state *state = &channel->state;

	busy(channel);
	channel->transfer.done = loaded;
	transfer_buffer(&channel->transfer, &selected(channel)->drive, DISK_READ, state->offset,
		state->buffer, MIN(state->left, IDE_BUFFER), false);
}

static void stored(struct transfer *transfer, int error)
{
	struct ide_channel *channel = container_of(transfer, struct ide_channel, transfer);
	struct ide_channel_state *state = &channel->state;

	if (!moved_on(channel, error))
		return;
	if (!state->left) {
		complete(channel, 0);
		return;
	}
	begin_buffer(channel, (uint32_t)MIN(state->left, IDE_BUFFER));
	begin_block(channel, IDE_OUT, true);
}

static void store(struct ide_channel *channel)
{
	struct ide_channel_state *state = &channel->state;

	busy(channel);
	channel->transfer.done = stored;
	transfer_buffer(&channel->transfer, &selected(channel)->drive, DISK_WRITE, state->offset,
		state->buffer, state->end, state->fua);
}

/* The guest has moved a block. */
static void block_moved(struct ide_channel *channel)
{
	struct ide_channel_state *state = &channel->state;

	if (state->position < state->end)
		begin_block(channel, (enum ide_phase)state->phase, true);
	else if (state->phase == IDE_OUT)
		store(channel);
	else if (state->left)
		load(channel);
	else if (selected(channel)->cdrom)
		complete(channel, 0);
	else { /* a disk's last block has no interrupt behind it */
		state->phase = IDE_IDLE;
		registers_of(channel)->status = STATUS_READY;
	}
}

/* --- DMA --- */

static void dma_done(struct transfer *transfer, int error)
{
	struct ide_channel *channel = container_of(transfer, struct ide_channel, transfer);
	struct ide_channel_state *state = &channel->state;

	state->master_status &= (uint8_t)~IDE_MASTER_ACTIVE;
	if (is_reset(channel))
		return;
	if (error == -EFAULT)
		state->master_status |= IDE_MASTER_ERROR;
	if (error)
		fail(channel);
	else
		complete(channel, 0);
}

static void run_trim(struct ide_channel *channel)
{
	struct ata ata = ata_of(channel, channel->state.selected);
	struct transfer *transfer = &channel->transfer;

	if (sg_list_copy(&transfer->list, channel->state.buffer, ATA_BLOCK, false) < ATA_BLOCK)
		dma_done(transfer, -EFAULT);
	else if (!ata_trim_valid(&ata, channel->state.buffer))
		dma_done(transfer, -EINVAL);
	else
		transfer_discard(transfer, &selected(channel)->drive,
			(const uint64_t *)channel->state.buffer);
}

/* Command and bus master have both been started. */
static void run_dma(struct ide_channel *channel)
{
	struct ide_channel_state *state = &channel->state;
	struct transfer *transfer = &channel->transfer;
	struct drive *drive = &selected(channel)->drive;

	busy(channel);
	transfer->done = dma_done;
	transfer->list = ide_master_list(channel);
	if (state->action == ATA_TRIM)
		run_trim(channel);
	else if (state->action == ATA_BLOCK_IN)
		dma_done(transfer,
			sg_list_copy(&transfer->list, state->buffer, state->end, true) < state->end
				? -EFAULT
				: 0);
	else
		transfer_list(transfer, drive, state->action == ATA_READ ? DISK_READ : DISK_WRITE,
			state->offset, state->left, state->fua);
}

void ide_channel_dma_started(struct ide_channel *channel)
{
	if (channel->state.phase == IDE_DMA)
		run_dma(channel);
}

static void begin_dma(struct ide_channel *channel)
{
	channel->state.phase = IDE_DMA;
	registers_of(channel)->status = STATUS_READY | ATA_STATUS_DRQ;
	if (channel->state.master_status & IDE_MASTER_ACTIVE)
		run_dma(channel);
}

/* --- a disk's commands --- */

static void flushed(struct transfer *transfer, int error)
{
	struct ide_channel *channel = container_of(transfer, struct ide_channel, transfer);

	if (is_reset(channel))
		return;
	complete(channel, error ? ATA_ERROR_ABRT : 0);
}

static void begin_flush(struct ide_channel *channel)
{
	busy(channel);
	channel->transfer.done = flushed;
	transfer_flush(&channel->transfer, &selected(channel)->drive);
}

static void begin_pio(struct ide_channel *channel)
{
	struct ide_channel_state *state = &channel->state;

	if (state->action == ATA_READ) {
		load(channel);
	} else if (state->action == ATA_WRITE) {
		begin_buffer(channel, (uint32_t)MIN(state->left, IDE_BUFFER));
		begin_block(channel, IDE_OUT, false);
	} else {
		begin_buffer(channel, ATA_BLOCK);
		state->left = 0;
		begin_block(channel, IDE_IN, true);
	}
}

static void run_disk_command(struct ide_channel *channel, uint8_t code)
{
	struct ide_channel_state *state = &channel->state;
	struct ata ata = ata_of(channel, state->selected);
	struct ata_command command;
	uint8_t error = ata_decode(&ata, code, registers_of(channel), &command, state->buffer);

	state->action = (uint8_t)command.action;
	state->fua = command.fua;
	state->at_once = command.at_once;
	state->offset = command.offset;
	state->left = command.bytes;
	if (error || command.action == ATA_NOTHING)
		complete(channel, error);
	else if (command.action == ATA_FLUSH)
		begin_flush(channel);
	else if (command.dma) {
		begin_buffer(channel, command.action == ATA_BLOCK_IN ? ATA_BLOCK : 0);
		begin_dma(channel);
	} else {
		begin_pio(channel);
	}
}

/* --- a CD-ROM drive's commands --- */

static void begin_packet(struct ide_channel *channel)
{
	struct ide_channel_state *state = &channel->state;
	struct ata_registers *registers = registers_of(channel);
	uint32_t limit = registers->high[0] << 8 | registers->mid[0];

	state->packet_dma = registers->feature[0] & 1;
	state->at_once = limit > 1 && limit < 0xffff ? limit & ~1u : 0xfffe;
	begin_buffer(channel, ATAPI_PACKET);
	state->block_end = ATAPI_PACKET;
	state->phase = IDE_PACKET;
	registers->status = STATUS_READY | ATA_STATUS_DRQ;
	registers->count[0] = REASON_COMMAND;
}

static void run_packet(struct ide_channel *channel)
{
	struct ide_channel_state *state = &channel->state;
	struct atapi atapi = atapi_of(channel, state->selected);
	uint8_t packet[ATAPI_PACKET], error;
	struct atapi_command command;

	memcpy(packet, state->buffer, sizeof(packet));
	error = atapi_decode(&atapi, packet, &command, state->buffer);
	if (error || command.action == ATAPI_NOTHING) {
		complete(channel, error);
		return;
	}
	state->action = command.action == ATAPI_READ ? ATA_READ : ATA_BLOCK_IN;
	state->offset = command.offset;
	state->left = command.action == ATAPI_READ ? command.bytes : 0;
	begin_buffer(channel, command.action == ATAPI_READ ? 0 : (uint32_t)command.bytes);
	if (state->packet_dma)
		begin_dma(channel);
	else if (command.action == ATAPI_READ)
		load(channel);
	else
		begin_block(channel, IDE_IN, true);
}

static void run_cdrom_command(struct ide_channel *channel, uint8_t code)
{
	struct ide_channel_state *state = &channel->state;
	struct atapi atapi = atapi_of(channel, state->selected);

	switch (code) {
	case ATA_PACKET:
		begin_packet(channel);
		break;
	case ATA_IDENTIFY_PACKET:
		atapi_identify(&atapi, false, state->buffer);
		state->action = ATA_BLOCK_IN;
		state->at_once = ATA_BLOCK;
		state->left = 0;
		begin_buffer(channel, ATA_BLOCK);
		begin_block(channel, IDE_IN, true);
		break;
	case ATA_IDENTIFY: /* refused with the signature, which says why */
		ata_signature(registers_of(channel), true);
		registers_of(channel)->status = STATUS_READY | ATA_STATUS_ERR;
		registers_of(channel)->error = ATA_ERROR_ABRT;
		set_irq(channel, true);
		break;
	case 0xe0: /* STANDBY IMMEDIATE, IDLE IMMEDIATE, SLEEP, SET FEATURES */
	case 0xe1:
	case 0xe6:
	case 0xef:
		complete(channel, 0);
		break;
	default:
		complete(channel, ATA_ERROR_ABRT);
	}
}

/* --- resets --- */

static void reset_drive(struct ide_channel *channel, unsigned index, bool power_up)
{
	struct ide_drive_state *state = &channel->state.drive[index];
	struct atapi atapi = atapi_of(channel, index);
	struct ata ata = ata_of(channel, index);

	if (power_up)
		state->ata = (struct ata_state){.cylinders = 1, .heads = 1, .sectors = 1};
	if (!channel->drive[index].drive.disk) {
		state->registers = (struct ata_registers){0};
		return;
	}
	ata_signature(&state->registers, channel->drive[index].cdrom);
	if (!power_up)
		return;
	if (channel->drive[index].cdrom)
		atapi_power_up(&atapi);
	else
		ata_reset(&ata);
}

/* The bit has been set: all that was under way is over, but for a job in flight. */
static void soft_reset(struct ide_channel *channel)
{
	for (unsigned i = 0; i < 2; i++)
		if (channel->drive[i].drive.disk)
			channel->state.drive[i].registers.status = ATA_STATUS_BSY;
	channel->state.selected = 0;
	set_irq(channel, false);
	if (channel->state.phase == IDE_BUSY)
		channel->reset_wanted = true;
	else
		channel->state.phase = IDE_IDLE;
}

static void end_soft_reset(struct ide_channel *channel)
{
	for (unsigned i = 0; i < 2; i++)
		reset_drive(channel, i, false);
}

void ide_channel_reset(struct ide_channel *channel)
{
	struct ide_channel_state *state = &channel->state;
	bool soft = channel->reset_wanted;

	if (state->phase == IDE_BUSY) {
		soft_reset(channel);
		return;
	}
	channel->reset_wanted = false;
	if (soft && state->control & CONTROL_RESET)
		return; /* it ends when the guest clears the bit */
	end_soft_reset(channel);
}

static void diagnose(struct ide_channel *channel)
{
	end_soft_reset(channel);
	channel->state.selected = 0;
	channel->state.phase = IDE_IDLE;
	set_irq(channel, true);
}

/* DEVICE RESET, the one command that an ATAPI device takes at any time. */
static void device_reset(struct ide_channel *channel)
{
	unsigned index = channel->state.selected;

	if (channel->state.phase == IDE_BUSY) {
		channel->reset_wanted = true;
		return;
	}
	channel->state.phase = IDE_IDLE;
	reset_drive(channel, index, false);
}

/* --- registers --- */

static void run_command(struct ide_channel *channel, uint8_t code)
{
	struct ide_drive *drive = selected(channel);

	if (!drive->drive.disk)
		return;
	if (code == ATA_DEVICE_RESET && drive->cdrom) {
		device_reset(channel);
		return;
	}
	if (channel->state.phase != IDE_IDLE || channel->state.control & CONTROL_RESET)
		return;
	set_irq(channel, false);
	registers_of(channel)->status = STATUS_READY;
	registers_of(channel)->error = 0;
	if (code == ATA_DIAGNOSTIC)
		diagnose(channel);
	else if (drive->cdrom)
		run_cdrom_command(channel, code);
	else
		run_disk_command(channel, code);
}

static void push(uint8_t pair[2], uint8_t value)
{
	pair[1] = pair[0];
	pair[0] = value;
}

/* Both devices listen to all writes. */
static void write_parameter(struct ata_registers *registers, unsigned index, uint8_t value)
{
	switch (index) {
	case FEATURE:
		push(registers->feature, value);
		break;
	case COUNT:
		push(registers->count, value);
		break;
	case LOW:
		push(registers->low, value);
		break;
	case MID:
		push(registers->mid, value);
		break;
	case HIGH:
		push(registers->high, value);
		break;
	case DEVICE:
		registers->device = value;
		break;
	}
}

static void write_register(struct ide_channel *channel, unsigned index, uint8_t value)
{
	struct ide_channel_state *state = &channel->state;

	if (index == COMMAND) {
		run_command(channel, value);
		return;
	}
	state->control &= (uint8_t)~CONTROL_PREVIOUS;
	if (state->phase != IDE_IDLE)
		return;
	for (unsigned i = 0; i < 2; i++)
		if (channel->drive[i].drive.disk)
			write_parameter(&state->drive[i].registers, index, value);
	if (index == DEVICE)
		state->selected = value & DEVICE_SECOND ? 1 : 0;
}

static uint8_t read_register(struct ide_channel *channel, unsigned index)
{
	const struct ata_registers *registers = registers_of(channel);
	unsigned previous = channel->state.control & CONTROL_PREVIOUS ? 1 : 0;

	if (!channel->drive[0].drive.disk)
		return 0xff;
	if (!selected(channel)->drive.disk)
		return 0;
	switch (index) {
	case ERROR:
		return registers->error;
	case COUNT:
		return registers->count[previous];
	case LOW:
		return registers->low[previous];
	case MID:
		return registers->mid[previous];
	case HIGH:
		return registers->high[previous];
	case DEVICE:
		return registers->device | 0xa0;
	default:
		return registers->status;
	}
}

/* --- the data register --- */

/* Bytes of the block that the guest reads: how many there were. */
static uint32_t take_data(struct ide_channel *channel, void *to, uint32_t most)
{
	struct ide_channel_state *state = &channel->state;
	uint32_t bytes;

	if (state->phase != IDE_IN)
		return 0;
	bytes = MIN(most, state->block_end - state->position);
	memcpy(to, state->buffer + state->position, bytes);
	state->position += bytes;
	if (bytes && state->position == state->block_end)
		block_moved(channel);
	return bytes;
}

/* Bytes of the block, or packet, that the guest writes: how many there was room for. */
static uint32_t put_data(struct ide_channel *channel, const void *from, uint32_t most)
{
	struct ide_channel_state *state = &channel->state;
	uint32_t bytes;

	if (state->phase != IDE_OUT && state->phase != IDE_PACKET)
		return 0;
	bytes = MIN(most, state->block_end - state->position);
	memcpy(state->buffer + state->position, from, bytes);
	state->position += bytes;
	if (!bytes || state->position < state->block_end)
		return bytes;
	if (state->phase == IDE_PACKET)
		run_packet(channel);
	else
		block_moved(channel);
	return bytes;
}

/* How many bytes of a string may be moved at once: whole elements of what is left of the block. */
static uint32_t whole_elements(const struct ide_channel *channel, unsigned size, unsigned count)
{
	const struct ide_channel_state *state = &channel->state;
	uint32_t left = state->block_end - state->position;

	return MIN(count, left / size) * size;
}

static unsigned read_data_block(
	void *opaque, uint64_t offset, void *bytes, unsigned size, unsigned count)
{
	return offset == DATA ? take_data(opaque, bytes, whole_elements(opaque, size, count)) / size
			      : 0;
}

static unsigned write_data_block(
	void *opaque, uint64_t offset, const void *bytes, unsigned size, unsigned count)
{
	return offset == DATA ? put_data(opaque, bytes, whole_elements(opaque, size, count)) / size
			      : 0;
}

/* --- ports --- */

static uint64_t command_block_read(void *opaque, uint64_t offset, unsigned size)
{
	struct ide_channel *channel = opaque;
	uint32_t data = 0;
	uint8_t value;

	if (offset == DATA) {
		take_data(channel, &data, size);
		return data;
	}
	value = read_register(channel, (unsigned)offset);
	if (offset == STATUS && selected(channel)->drive.disk)
		set_irq(channel, false);
	return value;
}

static void command_block_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	if (offset == DATA)
		put_data(opaque, &value, size);
	else
		write_register(opaque, (unsigned)offset, (uint8_t)value);
}

/* The alternate status: the interrupt stays. */
static uint64_t control_block_read(void *opaque, uint64_t offset, unsigned size)
{
	return read_register(opaque, STATUS);
}

static void control_block_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct ide_channel *channel = opaque;
	struct ide_channel_state *state = &channel->state;
	uint8_t before = state->control;

	state->control = (uint8_t)value & (CONTROL_NO_INTERRUPT | CONTROL_RESET | CONTROL_PREVIOUS);
	if (state->control & ~before & CONTROL_RESET)
		soft_reset(channel);
	else if (before & ~state->control & CONTROL_RESET && state->phase != IDE_BUSY)
		end_soft_reset(channel);
	update_line(channel);
}

const struct io_ops ide_command_block = {
	.read = command_block_read,
	.write = command_block_write,
	.width = 4,
	.read_block = read_data_block,
	.write_block = write_data_block,
};
const struct io_ops ide_control_block = {
	.read = control_block_read, .write = control_block_write, .width = 1};

/* --- the channel as a device --- */

static void channel_reset(void *device)
{
	struct ide_channel *channel = device;

	memset(&channel->state, 0, sizeof(channel->state));
	channel->reset_wanted = false;
	for (unsigned i = 0; i < 2; i++)
		reset_drive(channel, i, true);
	update_line(channel);
}

static void channel_loaded(void *device)
{
	update_line(device);
}

/* Is the block that the guest is to move within the buffer? */
static bool block_valid(const struct ide_channel_state *state)
{
	return state->position < state->block_end && state->block_end <= state->end;
}

/* Is what is left of a READ or WRITE within the disk? */
static bool range_valid(const struct ide_channel_state *state, const struct disk *disk)
{
	return state->left <= disk->size && state->offset <= disk->size - state->left &&
	       state->left % DISK_SECTOR == 0 && state->offset % DISK_SECTOR == 0;
}

static bool dma_valid(
	const struct ide_channel_state *state, const struct disk *disk, bool may_write)
{
	switch (state->action) {
	case ATA_BLOCK_IN:
		return true;
	case ATA_TRIM:
		return may_write && disk->can_discard;
	case ATA_READ:
		return state->left && range_valid(state, disk);
	case ATA_WRITE:
		return state->left && range_valid(state, disk) && may_write;
	default:
		return false;
	}
}

static bool channel_valid(const void *device, const void *loaded)
{
	const struct ide_channel *channel = device;
	const struct ide_channel_state *state = loaded;
	const struct ide_drive *drive = &channel->drive[state->selected];
	const struct disk *disk = drive->drive.disk;
	bool may_write = disk && !drive->cdrom && !disk->read_only;

	for (unsigned i = 0; i < 2; i++)
		if (!ata_valid(&state->drive[i].ata))
			return false;
	if (state->phase == IDE_IDLE)
		return true;
	if (!disk)
		return false;
	switch (state->phase) {
	case IDE_PACKET:
		return drive->cdrom && block_valid(state) && state->end == ATAPI_PACKET;
	case IDE_IN:
		return block_valid(state) &&
		       (state->action == ATA_BLOCK_IN
				       ? !state->left
				       : state->action == ATA_READ && range_valid(state, disk));
	case IDE_OUT:
		return block_valid(state) && state->action == ATA_WRITE && may_write &&
		       state->end <= state->left && state->end % DISK_SECTOR == 0 &&
		       range_valid(state, disk);
	default:
		return dma_valid(state, disk, may_write);
	}
}

static bool channel_quiesce(void *device, uint64_t deadline_ns)
{
	struct ide_channel *channel = device;
	bool first = drive_quiesce(&channel->drive[0].drive, deadline_ns);

	return drive_quiesce(&channel->drive[1].drive, deadline_ns) && first;
}

static void channel_abandon(void *device)
{
	struct ide_channel *channel = device;

	for (unsigned i = 0; i < 2; i++)
		drive_abandon(&channel->drive[i].drive);
}

static void channel_destroy(void *device)
{
	struct ide_channel *channel = device;

	for (unsigned i = 0; i < 2; i++)
		drive_destroy(&channel->drive[i].drive);
}

static const struct state_field drive_fields[] = {
	STATE_STRUCT(struct ide_drive_state, registers, ata_registers_fields),
	STATE_STRUCT(struct ide_drive_state, ata, ata_state_fields),
	STATE_STRUCT(struct ide_drive_state, atapi, atapi_state_fields),
	STATE_END,
};

static const struct state_field channel_fields[] = {
	STATE_STRUCTS(struct ide_channel_state, drive, drive_fields),
	STATE_FIELD(struct ide_channel_state, selected, 0, 1),
	STATE_FIELD(struct ide_channel_state, control, 0,
		CONTROL_NO_INTERRUPT | CONTROL_RESET | CONTROL_PREVIOUS),
	STATE_FIELD(struct ide_channel_state, phase, IDE_IDLE, IDE_DMA),
	STATE_BOOL(struct ide_channel_state, irq),
	STATE_FIELD(struct ide_channel_state, action, 0, ATA_TRIM),
	STATE_BOOL(struct ide_channel_state, fua),
	STATE_BOOL(struct ide_channel_state, packet_dma),
	STATE_FIELD(struct ide_channel_state, at_once, 0, UINT16_MAX),
	STATE_FIELD(struct ide_channel_state, position, 0, IDE_BUFFER),
	STATE_FIELD(struct ide_channel_state, end, 0, IDE_BUFFER),
	STATE_FIELD(struct ide_channel_state, block_end, 0, IDE_BUFFER),
	STATE_ANY(struct ide_channel_state, offset),
	STATE_ANY(struct ide_channel_state, left),
	STATE_ANY(struct ide_channel_state, master_command),
	STATE_ANY(struct ide_channel_state, master_status),
	STATE_ANY(struct ide_channel_state, master_table),
	STATE_ARRAY_ANY(struct ide_channel_state, buffer),
	STATE_END,
};

const struct device_ops ide_channel_device = {
	.name = "ide-channel",
	.version = 1,
	DEVICE_STATE(struct ide_channel, channel_fields),
	.reset = channel_reset,
	.valid = channel_valid,
	.loaded = channel_loaded,
	.quiesce = channel_quiesce,
	.abandon = channel_abandon,
	.destroy = channel_destroy,
};

void ide_channel_init(struct ide_channel *channel)
{
	channel_reset(channel);
}
