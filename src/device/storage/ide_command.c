/* The commands of an IDE channel's devices: how they begin, and how they end. */
#include "device/storage/ide_internal.h"

#include "base/bits.h"

#include <string.h>

/* --- interrupts, and the ends of a command --- */

void ide_update_line(struct ide_channel *channel)
{
	const struct ide_channel_state *state = &channel->state;

	irq_set(&channel->line, state->irq && !(state->control & IDE_CONTROL_NO_INTERRUPT));
}

void ide_set_irq(struct ide_channel *channel, bool level)
{
	channel->state.irq = level;
	if (level)
		channel->state.master_status |= IDE_MASTER_INTERRUPT;
	ide_update_line(channel);
}

void ide_complete(struct ide_channel *channel, uint8_t error)
{
	struct ata_registers *registers = ide_registers(channel);

	channel->state.phase = IDE_IDLE;
	registers->status = error ? IDE_STATUS_READY | ATA_STATUS_ERR : IDE_STATUS_READY;
	registers->error = error;
	if (ide_selected(channel)->cdrom)
		registers->count[0] = IDE_REASON_DONE;
	ide_set_irq(channel, true);
}

void ide_busy(struct ide_channel *channel)
{
	channel->state.phase = IDE_BUSY;
	ide_registers(channel)->status = IDE_STATUS_READY | ATA_STATUS_BSY;
}

/* The disk has failed. */
void ide_fail(struct ide_channel *channel)
{
	struct atapi atapi = ide_atapi(channel, channel->state.selected);

	if (ide_selected(channel)->cdrom)
		ide_complete(channel, atapi_read_failed(&atapi));
	else
		ide_complete(channel,
			channel->state.action == ATA_READ ? ATA_ERROR_UNC : ATA_ERROR_ABRT);
}

/* A job has come back. True: what it was for is over, because of a reset meanwhile. */
bool ide_is_reset(struct ide_channel *channel)
{
	if (!channel->reset_wanted)
		return false;
	channel->state.phase = IDE_IDLE;
	ide_channel_reset(channel);
	return true;
}

/* --- a disk's commands --- */

static void flushed(struct transfer *transfer, int error)
{
	struct ide_channel *channel = container_of(transfer, struct ide_channel, transfer);

	if (ide_is_reset(channel))
		return;
	ide_complete(channel, error ? ATA_ERROR_ABRT : 0);
}

static void begin_flush(struct ide_channel *channel)
{
	ide_busy(channel);
	channel->transfer.done = flushed;
	transfer_flush(&channel->transfer, &ide_selected(channel)->drive);
}

static void begin_pio(struct ide_channel *channel)
{
	struct ide_channel_state *state = &channel->state;

	if (state->action == ATA_READ) {
		ide_load(channel);
	} else if (state->action == ATA_WRITE) {
		ide_begin_buffer(channel, (uint32_t)MIN(state->left, IDE_BUFFER));
		ide_begin_block(channel, IDE_OUT, false);
	} else {
		ide_begin_buffer(channel, ATA_BLOCK);
		state->left = 0;
		ide_begin_block(channel, IDE_IN, true);
	}
}

void ide_run_disk_command(struct ide_channel *channel, uint8_t code)
{
	struct ide_channel_state *state = &channel->state;
	struct ata ata = ide_ata(channel, state->selected);
	struct ata_command command;
	uint8_t error = ata_decode(&ata, code, ide_registers(channel), &command, state->buffer);

	state->action = (uint8_t)command.action;
	state->fua = command.fua;
	state->at_once = command.at_once;
	state->offset = command.offset;
	state->left = command.bytes;
	if (error || command.action == ATA_NOTHING)
		ide_complete(channel, error);
	else if (command.action == ATA_FLUSH)
		begin_flush(channel);
	else if (command.dma) {
		ide_begin_buffer(channel, command.action == ATA_BLOCK_IN ? ATA_BLOCK : 0);
		ide_begin_dma(channel);
	} else {
		begin_pio(channel);
	}
}

/* --- a CD-ROM drive's commands --- */

static void begin_packet(struct ide_channel *channel)
{
	struct ide_channel_state *state = &channel->state;
	struct ata_registers *registers = ide_registers(channel);
	uint32_t limit = registers->high[0] << 8 | registers->mid[0];

	state->packet_dma = registers->feature[0] & 1;
	state->at_once = limit > 1 && limit < 0xffff ? limit & ~1u : 0xfffe;
	ide_begin_buffer(channel, ATAPI_PACKET);
	state->block_end = ATAPI_PACKET;
	state->phase = IDE_PACKET;
	registers->status = IDE_STATUS_READY | ATA_STATUS_DRQ;
	registers->count[0] = IDE_REASON_COMMAND;
}

void ide_run_packet(struct ide_channel *channel)
{
	struct ide_channel_state *state = &channel->state;
	struct atapi atapi = ide_atapi(channel, state->selected);
	uint8_t packet[ATAPI_PACKET], error;
	struct atapi_command command;

	memcpy(packet, state->buffer, sizeof(packet));
	error = atapi_decode(&atapi, packet, &command, state->buffer);
	if (error || command.action == ATAPI_NOTHING) {
		ide_complete(channel, error);
		return;
	}
	state->action = command.action == ATAPI_READ ? ATA_READ : ATA_BLOCK_IN;
	state->offset = command.offset;
	state->left = command.action == ATAPI_READ ? command.bytes : 0;
	ide_begin_buffer(channel, command.action == ATAPI_READ ? 0 : (uint32_t)command.bytes);
	if (state->packet_dma)
		ide_begin_dma(channel);
	else if (command.action == ATAPI_READ)
		ide_load(channel);
	else
		ide_begin_block(channel, IDE_IN, true);
}

void ide_run_cdrom_command(struct ide_channel *channel, uint8_t code)
{
	struct ide_channel_state *state = &channel->state;
	struct atapi atapi = ide_atapi(channel, state->selected);

	switch (code) {
	case ATA_PACKET:
		begin_packet(channel);
		break;
	case ATA_IDENTIFY_PACKET:
		atapi_identify(&atapi, false, state->buffer);
		state->action = ATA_BLOCK_IN;
		state->at_once = ATA_BLOCK;
		state->left = 0;
		ide_begin_buffer(channel, ATA_BLOCK);
		ide_begin_block(channel, IDE_IN, true);
		break;
	case ATA_IDENTIFY: /* refused with the signature, which says why */
		ata_signature(ide_registers(channel), true);
		ide_registers(channel)->status = IDE_STATUS_READY | ATA_STATUS_ERR;
		ide_registers(channel)->error = ATA_ERROR_ABRT;
		ide_set_irq(channel, true);
		break;
	case 0xe0: /* STANDBY IMMEDIATE, IDLE IMMEDIATE, SLEEP, SET FEATURES */
	case 0xe1:
	case 0xe6:
	case 0xef:
		ide_complete(channel, 0);
		break;
	default:
		ide_complete(channel, ATA_ERROR_ABRT);
	}
}
