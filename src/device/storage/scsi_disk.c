/* A disk's commands (SBC-3): one row an operation code. */
#include "base/bits.h"
#include "device/storage/scsi_internal.h"

#include <string.h>

#define BLOCK DISK_SECTOR

static uint64_t blocks_of(const struct scsi_unit *unit)
{
	return unit->disk->size / BLOCK;
}

/* --- where a command's address and count of blocks are, by the code's group (SPC-3 4.3.2) --- */

static uint64_t address_of(const uint8_t *block)
{
	switch (block[0] >> 5) {
	case 0: /* 6 bytes */
		return get32(block) & 0x1fffff;
	case 4: /* 16 bytes */
		return get64(block + 2);
	default: /* 10 and 12 bytes */
		return get32(block + 2);
	}
}

static uint64_t count_of(const uint8_t *block)
{
	switch (block[0] >> 5) {
	case 0:
		return block[4] ? block[4] : 256;
	case 4:
		return get32(block + 10);
	case 5:
		return get32(block + 6);
	default:
		return get16(block + 7);
	}
}

static bool within_disk(const struct scsi_unit *unit, uint64_t first, uint64_t count)
{
	return first <= blocks_of(unit) && count <= blocks_of(unit) - first;
}

/* --- reading and writing --- */

/* The disk is to do that with `count` blocks from `first` on. */
static struct scsi_sense work(const struct scsi_unit *unit, struct scsi_command *command,
	enum disk_operation operation, uint64_t first, uint64_t count)
{
	if (!within_disk(unit, first, count))
		return SENSE(ILLEGAL_REQUEST, OUT_OF_RANGE);
	if (!count)
		return SCSI_GOOD;
	command->action = SCSI_WORK;
	command->operation = operation;
	command->range_count = 1;
	command->ranges[0] = (struct scsi_range){first * BLOCK, count * BLOCK};
	return SCSI_GOOD;
}

/* Protection information (bits 7:5) there is none of. */
static bool is_protected(const uint8_t *block)
{
	return block[0] >> 5 && block[1] >> 5;
}

static struct scsi_sense transfer(
	const struct scsi_unit *unit, struct scsi_command *command, enum disk_operation operation)
{
	const uint8_t *block = command->block;
	uint64_t count = count_of(block);

	if (is_protected(block))
		return SENSE(ILLEGAL_REQUEST, BAD_FIELD);
	command->bytes = count * BLOCK;
	return work(unit, command, operation, address_of(block), count);
}

static struct scsi_sense read_blocks(
	const struct scsi_unit *unit, struct scsi_command *command, uint8_t *out)
{
	return transfer(unit, command, DISK_READ);
}

static struct scsi_sense write_blocks(
	const struct scsi_unit *unit, struct scsi_command *command, uint8_t *out)
{
	command->fua = command->block[0] >> 5 && (command->block[1] & 8);
	return transfer(unit, command, DISK_WRITE);
}

/* WRITE AND VERIFY: what is durable has been verified. */
static struct scsi_sense write_and_verify(
	const struct scsi_unit *unit, struct scsi_command *command, uint8_t *out)
{
	if (command->block[1] & 6) /* compare with what is written */
		return SENSE(ILLEGAL_REQUEST, BAD_FIELD);
	command->fua = true;
	return transfer(unit, command, DISK_WRITE);
}

/* VERIFY without data to compare with: the blocks are there. */
static struct scsi_sense verify(
	const struct scsi_unit *unit, struct scsi_command *command, uint8_t *out)
{
	const uint8_t *block = command->block;

	if (is_protected(block) || (block[1] & 6))
		return SENSE(ILLEGAL_REQUEST, BAD_FIELD);
	return within_disk(unit, address_of(block), count_of(block))
		       ? SCSI_GOOD
		       : SENSE(ILLEGAL_REQUEST, OUT_OF_RANGE);
}

static struct scsi_sense flush(const struct scsi_unit *unit, struct scsi_command *command)
{
	command->action = SCSI_WORK;
	command->operation = DISK_FLUSH;
	command->range_count = 1;
	return SCSI_GOOD;
}

/* All of the cache is written back, whatever part is asked for. */
static struct scsi_sense synchronize_cache(
	const struct scsi_unit *unit, struct scsi_command *command, uint8_t *out)
{
	if (!within_disk(unit, address_of(command->block), count_of(command->block)))
		return SENSE(ILLEGAL_REQUEST, OUT_OF_RANGE);
	return flush(unit, command);
}

/* A unit that is stopped has written its cache back; it is ready all the same. */
static struct scsi_sense start_stop(
	const struct scsi_unit *unit, struct scsi_command *command, uint8_t *out)
{
	if (command->block[4] & 3)
		return SCSI_GOOD;
	return flush(unit, command);
}

/* --- unmapping --- */

/* SBC-3 5.28. */
static struct scsi_sense unmap(
	const struct scsi_unit *unit, struct scsi_command *command, uint8_t *out)
{
	uint16_t bytes = get16(command->block + 7);

	if (!unit->disk->can_discard)
		return SENSE(ILLEGAL_REQUEST, BAD_COMMAND);
	if (command->block[1] & 1) /* anchored blocks */
		return SENSE(ILLEGAL_REQUEST, BAD_FIELD);
	if (!bytes)
		return SCSI_GOOD;
	if (bytes < 8 || bytes > 8 + 16 * SCSI_RANGES)
		return SENSE(ILLEGAL_REQUEST, BAD_LIST_LENGTH);
	command->action = SCSI_TAKE;
	command->bytes = bytes;
	return SCSI_GOOD;
}

/* What is unmapped reads as zeroes, if the disk can see to that. */
static void set_unmapping(const struct scsi_unit *unit, struct scsi_command *command)
{
	command->operation = unit->disk->can_write_zeroes ? DISK_WRITE_ZEROES : DISK_DISCARD;
	command->unmap = true;
}

static struct scsi_sense take_unmap(
	const struct scsi_unit *unit, struct scsi_command *command, const uint8_t *list)
{
	uint16_t bytes = get16(list + 2);

	if (bytes % 16 || bytes > command->bytes - 8)
		return SENSE(ILLEGAL_REQUEST, BAD_LIST_LENGTH);
	command->bytes = 0;
	command->action = SCSI_NOTHING;
	set_unmapping(unit, command);
	for (const uint8_t *at = list + 8; bytes; at += 16, bytes -= 16) {
		uint64_t first = get64(at), count = get32(at + 8);

		if (count > SCSI_RANGE_BLOCKS)
			return SENSE(ILLEGAL_REQUEST, BAD_LIST_FIELD);
		if (!within_disk(unit, first, count))
			return SENSE(ILLEGAL_REQUEST, OUT_OF_RANGE);
		if (!count)
			continue;
		command->ranges[command->range_count++] =
			(struct scsi_range){first * BLOCK, count * BLOCK};
		command->action = SCSI_WORK;
	}
	return SCSI_GOOD;
}

/* SBC-3 5.42, 5.43. */
static struct scsi_sense write_same(
	const struct scsi_unit *unit, struct scsi_command *command, uint8_t *out)
{
	const uint8_t *block = command->block;
	bool no_data = block[0] >> 5 == 4 && (block[1] & 1);
	uint64_t count = count_of(block);
	struct scsi_sense sense;

	if (!unit->disk->can_write_zeroes)
		return SENSE(ILLEGAL_REQUEST, BAD_COMMAND);
	if (is_protected(block) || (block[1] & 0x10) || !count || count > SCSI_RANGE_BLOCKS)
		return SENSE(ILLEGAL_REQUEST, BAD_FIELD);
	sense = work(unit, command, DISK_WRITE_ZEROES, address_of(block), count);
	command->unmap = block[1] & 8;
	if (!sense.key && !no_data) {
		command->action = SCSI_TAKE;
		command->bytes = BLOCK;
	}
	return sense;
}

/* The block to be written is one of zeroes: others nobody asks for. */
static struct scsi_sense take_write_same(
	const struct scsi_unit *unit, struct scsi_command *command, const uint8_t *bytes)
{
	static const uint8_t zeroes[BLOCK];

	if (memcmp(bytes, zeroes, BLOCK) != 0)
		return SENSE(ILLEGAL_REQUEST, BAD_LIST_FIELD);
	command->action = SCSI_WORK;
	command->bytes = 0;
	return SCSI_GOOD;
}

/* --- what it is --- */

static struct scsi_sense nothing(
	const struct scsi_unit *unit, struct scsi_command *command, uint8_t *out)
{
	return SCSI_GOOD;
}

static struct scsi_sense read_capacity_10(
	const struct scsi_unit *unit, struct scsi_command *command, uint8_t *out)
{
	put32(out, (uint32_t)MIN(blocks_of(unit) - 1, UINT32_MAX));
	put32(out + 4, BLOCK);
	return scsi_answer(command, 8, 8);
}

/* SERVICE ACTION IN: READ CAPACITY (16), SBC-3 5.16. */
static struct scsi_sense read_capacity_16(
	const struct scsi_unit *unit, struct scsi_command *command, uint8_t *out)
{
	if ((command->block[1] & 31) != 0x10)
		return SENSE(ILLEGAL_REQUEST, BAD_FIELD);
	put64(out, blocks_of(unit) - 1);
	put32(out + 8, BLOCK);
	out[13] = (uint8_t)__builtin_ctz(unit->disk->block_size / BLOCK);
	if (unit->disk->can_discard)
		out[14] = unit->disk->can_write_zeroes ? 0xc0 : 0x80;
	return scsi_answer(command, 32, get32(command->block + 10));
}

static unsigned error_recovery_page(const void *device, uint8_t *out)
{
	memcpy(out, (const uint8_t[]){0x01, 10}, 2);
	return 12;
}

static unsigned caching_page(const void *device, uint8_t *out)
{
	memcpy(out, (const uint8_t[]){0x08, 18, 4 /* writes are cached */}, 3);
	return 20;
}

static const struct scsi_mode_page pages[] = {{0x01, error_recovery_page}, {0x08, caching_page}};

static struct scsi_sense mode_sense(
	const struct scsi_unit *unit, struct scsi_command *command, uint8_t *out)
{
	const uint8_t *block = command->block;
	unsigned size;
	/* Write-protected; DPO and FUA are known. */
	struct scsi_sense sense = scsi_mode_sense(pages, ARRAY_SIZE(pages), unit, block, 0,
		unit->disk->read_only ? 0x90 : 0x10, out, &size);

	if (sense.key)
		return sense;
	return scsi_answer(command, size, block[0] >> 5 ? get16(block + 7) : block[4]);
}

static const struct {
	uint8_t code;
	bool writes;
	struct scsi_sense (*run)(
		const struct scsi_unit *unit, struct scsi_command *command, uint8_t *out);
} rows[] = {
	{0x00, false, nothing}, /* TEST UNIT READY */
	{0x08, false, read_blocks},
	{0x0a, true, write_blocks},
	{0x1a, false, mode_sense},
	{0x1b, false, start_stop},
	{0x1e, false, nothing}, /* PREVENT ALLOW MEDIUM REMOVAL */
	{0x25, false, read_capacity_10},
	{0x28, false, read_blocks},
	{0x2a, true, write_blocks},
	{0x2e, true, write_and_verify},
	{0x2f, false, verify},
	{0x35, false, synchronize_cache},
	{0x41, true, write_same},
	{0x42, true, unmap},
	{0x5a, false, mode_sense},
	{0x88, false, read_blocks},
	{0x8a, true, write_blocks},
	{0x8e, true, write_and_verify},
	{0x8f, false, verify},
	{0x91, false, synchronize_cache},
	{0x93, true, write_same},
	{0x9e, false, read_capacity_16},
	{0xa8, false, read_blocks},
	{0xaa, true, write_blocks},
	{0xae, true, write_and_verify},
	{0xaf, false, verify},
};

struct scsi_sense scsi_disk_decode(
	const struct scsi_unit *unit, struct scsi_command *command, uint8_t *answer)
{
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		if (rows[i].code != command->block[0])
			continue;
		if (rows[i].writes && unit->disk->read_only)
			return SENSE(DATA_PROTECT, WRITE_PROTECTED);
		return rows[i].run(unit, command, answer);
	}
	return SENSE(ILLEGAL_REQUEST, BAD_COMMAND);
}

struct scsi_sense scsi_take_parameters(
	const struct scsi_unit *unit, struct scsi_command *command, const uint8_t *parameters)
{
	return command->block[0] == 0x42 ? take_unmap(unit, command, parameters)
					 : take_write_same(unit, command, parameters);
}
