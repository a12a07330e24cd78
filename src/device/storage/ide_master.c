/* The bus master's registers, a group for each channel, and its table of memory regions. */
#include "device/storage/ide_internal.h"

#include "base/bits.h"

#include <string.h>

enum { COMMAND = 0, STATUS = 2, TABLE = 4 };

#define COMMAND_READ  0x08 /* memory is written */
#define STATUS_DRIVES 0x60 /* drive 0 and 1 can do DMA: whatever software has written */

/* An entry: the address, the number of bytes (0: 64 KiB), and in the last one's top bit an end. */
#define ENTRY_SIZE 8
#define ENTRY_LAST BIT(31)

static bool next_entry(struct sg_list *list)
{
	uint32_t entry[2];

	if (!list->entries || dma_read(list->dma, list->table, entry, sizeof(entry)) < 0)
		return false;
	list->table += ENTRY_SIZE;
	list->entries = entry[1] & ENTRY_LAST ? 0 : list->entries - 1;
	list->address = entry[0] & ~UINT32_C(1);
	list->bytes = entry[1] & 0xfffe;
	if (!list->bytes)
		list->bytes = 0x10000;
	return true;
}

struct sg_list ide_master_list(const struct ide_channel *channel)
{
	return (struct sg_list){
		.dma = channel->dma,
		.next = next_entry,
		.table = channel->state.master_table,
		.entries = 0x10000 / ENTRY_SIZE, /* the table is within 64 KiB */
	};
}

static uint64_t read_register(void *opaque, uint64_t offset, unsigned size)
{
	const struct ide_channel *channel = opaque;
	uint8_t bytes[8] = {0};
	uint32_t value = 0;

	bytes[COMMAND] = channel->state.master_command;
	bytes[STATUS] = channel->state.master_status;
	memcpy(bytes + TABLE, &channel->state.master_table, 4);
	memcpy(&value, bytes + offset, MIN(size, 8 - offset));
	return value;
}

/* A stop while the disk has a job does not take the job back: the command ends as ever. */
static void write_command(struct ide_channel *channel, uint8_t value)
{
	struct ide_channel_state *state = &channel->state;
	bool starts = value & ~state->master_command & IDE_MASTER_START;

	state->master_command = value & (COMMAND_READ | IDE_MASTER_START);
	if (starts) {
		state->master_status |= IDE_MASTER_ACTIVE;
		ide_channel_dma_started(channel);
	} else if (!(value & IDE_MASTER_START)) {
		state->master_status &= (uint8_t)~IDE_MASTER_ACTIVE;
	}
}

static void write_byte(struct ide_channel *channel, unsigned offset, uint8_t value)
{
	struct ide_channel_state *state = &channel->state;
	unsigned shift = 8 * (offset & 3);

	if (offset == COMMAND)
		write_command(channel, value);
	else if (offset == STATUS)
		state->master_status =
			(uint8_t)((state->master_status & IDE_MASTER_ACTIVE) |
				  (value & STATUS_DRIVES) |
				  (state->master_status & ~value &
					  (IDE_MASTER_ERROR | IDE_MASTER_INTERRUPT)));
	else if (offset >= TABLE)
		state->master_table = (state->master_table & ~(0xffu << shift)) |
				      (uint32_t)(offset == TABLE ? value & 0xfc : value) << shift;
}

static void write_register(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	for (unsigned i = 0; i < size && offset + i < 8; i++)
		write_byte(opaque, (unsigned)offset + i, (uint8_t)(value >> (8 * i)));
}

const struct io_ops ide_master_ops = {.read = read_register, .write = write_register, .width = 4};
