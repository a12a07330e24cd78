/* Commands of an IDE channel whose data moves by DMA: they wait in IDE_DMA until the bus master is
 * started too, and the disk reads and writes guest memory directly. */
#include "device/storage/ide_internal.h"

#include <errno.h>

static void dma_done(struct transfer *transfer, int error)
{
	struct ide_channel *channel = container_of(transfer, struct ide_channel, transfer);
	struct ide_channel_state *state = &channel->state;

	state->master_status &= (uint8_t)~IDE_MASTER_ACTIVE;
	if (ide_is_reset(channel))
		return;
	if (error == -EFAULT)
		state->master_status |= IDE_MASTER_ERROR;
	if (error)
		ide_fail(channel);
	else
		ide_complete(channel, 0);
}

static void run_trim(struct ide_channel *channel)
{
	struct ata ata = ide_ata(channel, channel->state.selected);
	struct transfer *transfer = &channel->transfer;

	if (sg_list_copy(&transfer->list, channel->state.buffer, ATA_BLOCK, false) < ATA_BLOCK)
		dma_done(transfer, -EFAULT);
	else if (!ata_trim_valid(&ata, channel->state.buffer))
		dma_done(transfer, -EINVAL);
	else
		transfer_discard(transfer, &ide_selected(channel)->drive,
			(const uint64_t *)channel->state.buffer);
}

/* Command and bus master have both been started. */
static void run_dma(struct ide_channel *channel)
{
	struct ide_channel_state *state = &channel->state;
	struct transfer *transfer = &channel->transfer;
	struct drive *drive = &ide_selected(channel)->drive;

	ide_busy(channel);
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

void ide_begin_dma(struct ide_channel *channel)
{
	channel->state.phase = IDE_DMA;
	ide_registers(channel)->status = IDE_STATUS_READY | ATA_STATUS_DRQ;
	if (channel->state.master_status & IDE_MASTER_ACTIVE)
		run_dma(channel);
}
