/* What every unit answers (SPC-3): INQUIRY and its pages, REPORT LUNS, REQUEST SENSE. */
#include "device/storage/scsi.h"

#include "base/bits.h"
#include "device/storage/scsi_internal.h"

#include <errno.h>
#include <string.h>

#define INQUIRY       0x12
#define REQUEST_SENSE 0x03
#define REPORT_LUNS   0xa0

#define VERSION     5    /* SPC-3 */
#define DATA_FORMAT 2    /* of INQUIRY data */
#define NO_UNIT     0x7f /* peripheral qualifier 3, unknown type */
#define DISK_NAME   "VENEER  DISK            1.0 "
#define CDROM_NAME  "VENEER  DVD-ROM         1.0 "

const struct state_field scsi_unit_state_fields[] = {
	STATE_STRUCT(struct scsi_unit_state, drive, atapi_state_fields),
	STATE_BOOL(struct scsi_unit_state, attention),
	STATE_END,
};

static struct atapi drive_of(const struct scsi_unit *unit)
{
	return (struct atapi){.state = &unit->state->drive,
		.disk = unit->disk,
		.serial = unit->serial,
		.on_scsi = true};
}

void scsi_power_up(const struct scsi_unit *unit)
{
	const struct atapi drive = drive_of(unit);

	*unit->state = (struct scsi_unit_state){.attention = true};
	if (unit->cdrom)
		atapi_power_up(&drive);
}

void scsi_reset(const struct scsi_unit *unit)
{
	const struct atapi drive = drive_of(unit);

	unit->state->attention = true;
	if (unit->cdrom)
		atapi_reset(&drive);
}

/* --- INQUIRY's pages of vital product data (SPC-3 7.6, SBC-3 6.5): their bytes from the fourth on,
 * which is the page's length without the header --- */

static unsigned put_text(uint8_t *out, const char *text)
{
	size_t length = strlen(text);

	memcpy(out, text, length);
	return (unsigned)length;
}

static unsigned serial_page(const struct scsi_unit *unit, uint8_t *out)
{
	return put_text(out, unit->serial);
}

/* One designator: T10's form, of the maker's name and the serial number. */
static unsigned identification_page(const struct scsi_unit *unit, uint8_t *out)
{
	unsigned size = put_text(out + 4, "VENEER  ");

	size += put_text(out + 4 + size, unit->serial);
	out[0] = 2; /* ASCII */
	out[1] = 1; /* of the unit, T10 */
	out[3] = (uint8_t)size;
	return 4 + size;
}

static unsigned limits_page(const struct scsi_unit *unit, uint8_t *out)
{
	uint32_t best = unit->disk->block_size / DISK_SECTOR;

	out[0] = 1; /* WRITE SAME of no blocks is refused */
	put16(out + 2, MIN(best, UINT16_MAX));
	if (unit->disk->can_discard) {
		put32(out + 16, SCSI_RANGE_BLOCKS);
		put32(out + 20, SCSI_RANGES);
		put32(out + 24, best);
	}
	if (unit->disk->can_write_zeroes)
		put64(out + 32, SCSI_RANGE_BLOCKS);
	return 60;
}

static unsigned characteristics_page(const struct scsi_unit *unit, uint8_t *out)
{
	put16(out, 1); /* nothing rotates */
	return 60;
}

static unsigned provisioning_page(const struct scsi_unit *unit, uint8_t *out)
{
	if (unit->disk->can_discard) {
		out[1] = 0x80;                    /* UNMAP, */
		if (unit->disk->can_write_zeroes) /* WRITE SAME of both sizes unmaps, and what */
			out[1] |= 0x40 | 0x20 | 0x04; /* is unmapped reads as zeroes */
		out[2] = 2;                           /* thin */
	}
	return 4;
}

static unsigned page_list(const struct scsi_unit *unit, uint8_t *out);

static const struct {
	uint8_t code;
	bool serial, disk; /* there only with a serial number; only of a disk */
	unsigned (*write)(const struct scsi_unit *unit, uint8_t *out);
} pages[] = {
	{0x00, false, false, page_list},
	{0x80, true, false, serial_page},
	{0x83, true, false, identification_page},
	{0xb0, false, true, limits_page},
	{0xb1, false, true, characteristics_page},
	{0xb2, false, true, provisioning_page},
};

static bool has_page(const struct scsi_unit *unit, unsigned index)
{
	return (!pages[index].serial || *unit->serial) && (!pages[index].disk || !unit->cdrom);
}

static unsigned page_list(const struct scsi_unit *unit, uint8_t *out)
{
	unsigned size = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(pages); i++)
		if (has_page(unit, i))
			out[size++] = pages[i].code;
	return size;
}

static struct scsi_sense inquiry(
	const struct scsi_unit *unit, struct scsi_command *command, uint8_t *out)
{
	const uint8_t *block = command->block;
	enum scsi_type type = unit && unit->cdrom ? SCSI_CDROM : SCSI_DISK;
	unsigned size;

	if (!(block[1] & 1)) {
		if (block[2])
			return SENSE(ILLEGAL_REQUEST, BAD_FIELD);
		size = scsi_put_inquiry(out, type, VERSION, DATA_FORMAT,
			type == SCSI_CDROM ? CDROM_NAME : DISK_NAME);
		out[7] = 2; /* commands are queued */
		if (!unit)
			out[0] = NO_UNIT;
		return scsi_answer(command, size, get16(block + 3));
	}
	for (unsigned i = 0; unit && i < ARRAY_SIZE(pages); i++) {
		if (pages[i].code != block[2] || !has_page(unit, i))
			continue;
		out[0] = (uint8_t)type;
		out[1] = block[2];
		size = pages[i].write(unit, out + 4);
		put16(out + 2, size);
		return scsi_answer(command, 4 + size, get16(block + 3));
	}
	return SENSE(ILLEGAL_REQUEST, BAD_FIELD);
}

/* SPC-3 6.21, and SAM-3 4.9 for how a number is written. */
static struct scsi_sense report_luns(
	const uint16_t *luns, unsigned count, struct scsi_command *command, uint8_t *out)
{
	put32(out, 8 * count);
	for (unsigned i = 0; i < count; i++) {
		uint8_t *entry = out + 8 + 8 * i;

		put16(entry, luns[i] | (luns[i] > UINT8_MAX ? 0x4000u : 0));
	}
	return scsi_answer(command, 8 + 8 * count, get32(command->block + 6));
}

static struct scsi_sense request_sense(
	const struct scsi_unit *unit, struct scsi_command *command, uint8_t *out)
{
	struct scsi_sense sense = SCSI_GOOD;

	if (!unit)
		sense = SENSE(ILLEGAL_REQUEST, NO_SUCH_UNIT);
	else if (unit->state->attention)
		sense = SENSE(UNIT_ATTENTION, WAS_RESET);
	if (unit)
		unit->state->attention = false;
	if (command->block[1] & 1) /* in descriptor format, which is not had */
		return SENSE(ILLEGAL_REQUEST, BAD_FIELD);
	return scsi_answer(command, scsi_put_sense(out, sense), command->block[4]);
}

/* --- CD-ROM drives --- */

static struct scsi_sense cdrom_decode(
	const struct scsi_unit *unit, struct scsi_command *command, uint8_t *out)
{
	const struct atapi drive = drive_of(unit);
	struct atapi_command asked;

	if (atapi_decode(&drive, command->block, &asked, out))
		return atapi_take_sense(&drive);
	command->bytes = asked.bytes;
	switch (asked.action) {
	case ATAPI_NOTHING:
		break;
	case ATAPI_ANSWER:
		command->action = SCSI_ANSWER;
		break;
	case ATAPI_READ:
		command->action = SCSI_WORK;
		command->operation = DISK_READ;
		command->range_count = 1;
		command->ranges[0] = (struct scsi_range){asked.offset, asked.bytes};
		break;
	}
	return SCSI_GOOD;
}

/* --- all --- */

struct scsi_sense scsi_decode(const struct scsi_unit *unit, const uint16_t *luns, unsigned count,
	const uint8_t block[SCSI_CDB], struct scsi_command *command, uint8_t *answer)
{
	*command = (struct scsi_command){.action = SCSI_NOTHING};
	memcpy(command->block, block, SCSI_CDB);
	memset(answer, 0, SCSI_ANSWER_SIZE);
	/* These are answered whatever state the unit is in (SAM-3 5.9.7). */
	switch (block[0]) {
	case INQUIRY:
		return inquiry(unit, command, answer);
	case REPORT_LUNS:
		return report_luns(luns, count, command, answer);
	case REQUEST_SENSE:
		return request_sense(unit, command, answer);
	}
	if (!unit)
		return SENSE(ILLEGAL_REQUEST, NO_SUCH_UNIT);
	if (unit->state->attention) {
		unit->state->attention = false;
		return SENSE(UNIT_ATTENTION, WAS_RESET);
	}
	return unit->cdrom ? cdrom_decode(unit, command, answer)
			   : scsi_disk_decode(unit, command, answer);
}

struct scsi_sense scsi_disk_failed(enum disk_operation operation, int error)
{
	if (error == -EOPNOTSUPP)
		return SENSE(ILLEGAL_REQUEST, BAD_COMMAND);
	if (operation == DISK_READ)
		return SENSE(MEDIUM_ERROR, UNRECOVERED_READ);
	if (error == -ENOSPC)
		return (struct scsi_sense){DATA_PROTECT, WRITE_PROTECTED, 7}; /* no room is left */
	return SENSE(MEDIUM_ERROR, WRITE_ERROR);
}
