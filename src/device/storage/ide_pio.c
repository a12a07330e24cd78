/* PIO of an IDE channel: the data register, and the buffer behind it.
 *
 *	in	ide_load() -> IDE_BUSY -> IDE_IN, an interrupt a block; empty: ide_load() again
 *	out	IDE_OUT, an interrupt a block; full: store() -> IDE_BUSY -> IDE_OUT
 *
 * The buffer holds many blocks, so that a job for the disk brings more than one sector. */
#include "device/storage/ide_internal.h"

#include "base/bits.h"

#include <string.h>

/* The next block is the guest's. Bytes that a packet's data has in it are in mid and high. */
void ide_begin_block(struct ide_channel *channel, enum ide_phase phase, bool interrupt)
{
	struct ide_channel_state *state = &channel->state;
	struct ata_registers *registers = ide_registers(channel);

	state->phase = (uint8_t)phase;
	state->block_end = state->position + MIN(state->at_once, state->end - state->position);
	registers->status = IDE_STATUS_READY | ATA_STATUS_DRQ;
	if (ide_selected(channel)->cdrom) {
		uint32_t bytes = state->block_end - state->position;

		registers->count[0] = IDE_REASON_IN;
		registers->mid[0] = (uint8_t)bytes;
		registers->high[0] = (uint8_t)(bytes >> 8);
	}
	if (interrupt)
		ide_set_irq(channel, true);
}

void ide_begin_buffer(struct ide_channel *channel, uint32_t bytes)
{
	channel->state.position = 0;
	channel->state.end = bytes;
}

/* A job for a block's bytes has come back. False: the command is over. */
static bool moved_on(struct ide_channel *channel, int error)
{
	struct ide_channel_state *state = &channel->state;

	if (ide_is_reset(channel))
		return false;
	if (error) {
		ide_fail(channel);
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
	ide_begin_buffer(channel, (uint32_t)transfer->moved);
	ide_begin_block(channel, IDE_IN, true);
}

void ide_load(struct ide_channel *channel)
{
	struct ide_channel_state *state = &channel->state;

	ide_busy(channel);
	channel->transfer.done = loaded;
	transfer_buffer(&channel->transfer, &ide_selected(channel)->drive, DISK_READ, state->offset,
		state->buffer, MIN(state->left, IDE_BUFFER), false);
}

static void stored(struct transfer *transfer, int error)
{
	struct ide_channel *channel = container_of(transfer, struct ide_channel, transfer);
	struct ide_channel_state *state = &channel->state;

	if (!moved_on(channel, error))
		return;
	if (!state->left) {
		ide_complete(channel, 0);
		return;
	}
	ide_begin_buffer(channel, (uint32_t)MIN(state->left, IDE_BUFFER));
	ide_begin_block(channel, IDE_OUT, true);
}

static void store(struct ide_channel *channel)
{
	struct ide_channel_state *state = &channel->state;

	ide_busy(channel);
	channel->transfer.done = stored;
	transfer_buffer(&channel->transfer, &ide_selected(channel)->drive, DISK_WRITE,
		state->offset, state->buffer, state->end, state->fua);
}

/* The guest has moved a block. */
static void block_moved(struct ide_channel *channel)
{
	struct ide_channel_state *state = &channel->state;

	if (state->position < state->end)
		ide_begin_block(channel, (enum ide_phase)state->phase, true);
	else if (state->phase == IDE_OUT)
		store(channel);
	else if (state->left)
		ide_load(channel);
	else if (ide_selected(channel)->cdrom)
		ide_complete(channel, 0);
	else { /* a disk's last block has no interrupt behind it */
		state->phase = IDE_IDLE;
		ide_registers(channel)->status = IDE_STATUS_READY;
	}
}

/* --- the data register --- */

/* Bytes of the block that the guest reads: how many there were. */
uint32_t ide_take_data(struct ide_channel *channel, void *to, uint32_t most)
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
uint32_t ide_put_data(struct ide_channel *channel, const void *from, uint32_t most)
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
		ide_run_packet(channel);
	else
		block_moved(channel);
	return bytes;
}
