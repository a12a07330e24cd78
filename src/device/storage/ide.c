/* An IDE channel: the registers of its two devices, and resets (ATA/ATAPI-7).
 *
 * A command (ide_command.c) moves its data by PIO (ide_pio.c) or by DMA (ide_dma.c). What the
 * channel does meanwhile is its phase:
 *
 *	PIO	IDE_IN or IDE_OUT: the data register moves a block; IDE_BUSY: the disk has a job
 *	DMA	IDE_DMA: the bus master is not started yet; IDE_BUSY
 *	PACKET	IDE_PACKET: the data register takes the packet; then one of these, or nothing */
#include "device/storage/ide_internal.h"

#include "base/bits.h"

#include <string.h>

enum { DATA, ERROR, COUNT, LOW, MID, HIGH, DEVICE, STATUS }; /* the command block */

#define FEATURE ERROR
#define COMMAND STATUS

#define DEVICE_SECOND 0x10

/* --- resets --- */

static void reset_drive(struct ide_channel *channel, unsigned index, bool power_up)
{
	struct ide_drive_state *state = &channel->state.drive[index];
	struct atapi atapi = ide_atapi(channel, index);
	struct ata ata = ide_ata(channel, index);

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
	ide_set_irq(channel, false);
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
	if (soft && state->control & IDE_CONTROL_RESET)
		return; /* it ends when the guest clears the bit */
	end_soft_reset(channel);
}

static void diagnose(struct ide_channel *channel)
{
	end_soft_reset(channel);
	channel->state.selected = 0;
	channel->state.phase = IDE_IDLE;
	ide_set_irq(channel, true);
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
	struct ide_drive *drive = ide_selected(channel);

	if (!drive->drive.disk)
		return;
	if (code == ATA_DEVICE_RESET && drive->cdrom) {
		device_reset(channel);
		return;
	}
	if (channel->state.phase != IDE_IDLE || channel->state.control & IDE_CONTROL_RESET)
		return;
	ide_set_irq(channel, false);
	ide_registers(channel)->status = IDE_STATUS_READY;
	ide_registers(channel)->error = 0;
	if (code == ATA_DIAGNOSTIC)
		diagnose(channel);
	else if (drive->cdrom)
		ide_run_cdrom_command(channel, code);
	else
		ide_run_disk_command(channel, code);
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
	state->control &= (uint8_t)~IDE_CONTROL_PREVIOUS;
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
	const struct ata_registers *registers = ide_registers(channel);
	unsigned previous = channel->state.control & IDE_CONTROL_PREVIOUS ? 1 : 0;

	/* Nobody drives the bus, and its bit 7 is pulled down: so nobody is busy. */
	if (!channel->drive[0].drive.disk)
		return 0x7f;
	if (!ide_selected(channel)->drive.disk)
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

/* --- ports --- */

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
	return offset == DATA
		       ? ide_take_data(opaque, bytes, whole_elements(opaque, size, count)) / size
		       : 0;
}

static unsigned write_data_block(
	void *opaque, uint64_t offset, const void *bytes, unsigned size, unsigned count)
{
	return offset == DATA
		       ? ide_put_data(opaque, bytes, whole_elements(opaque, size, count)) / size
		       : 0;
}

static uint64_t command_block_read(void *opaque, uint64_t offset, unsigned size)
{
	struct ide_channel *channel = opaque;
	uint32_t data = 0;
	uint8_t value;

	if (offset == DATA) {
		ide_take_data(channel, &data, size);
		return data;
	}
	value = read_register(channel, (unsigned)offset);
	if (offset == STATUS && ide_selected(channel)->drive.disk)
		ide_set_irq(channel, false);
	return value;
}

static void command_block_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	if (offset == DATA)
		ide_put_data(opaque, &value, size);
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

	state->control = (uint8_t)value &
			 (IDE_CONTROL_NO_INTERRUPT | IDE_CONTROL_RESET | IDE_CONTROL_PREVIOUS);
	if (state->control & ~before & IDE_CONTROL_RESET)
		soft_reset(channel);
	else if (before & ~state->control & IDE_CONTROL_RESET && state->phase != IDE_BUSY)
		end_soft_reset(channel);
	ide_update_line(channel);
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
	ide_update_line(channel);
}

static void channel_loaded(void *device)
{
	ide_update_line(device);
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
		IDE_CONTROL_NO_INTERRUPT | IDE_CONTROL_RESET | IDE_CONTROL_PREVIOUS),
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
