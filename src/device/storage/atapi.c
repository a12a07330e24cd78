#include "device/storage/atapi.h"

#include "base/bits.h"
#include "device/storage/scsi_data.h"

#include <string.h>

#define ATAPI_FORMAT 0x21 /* of INQUIRY data: 2, in format 1 */

#define CD_SECTORS 450000 /* 100 minutes; what is longer is a DVD */

#define PROFILE_CD_ROM  0x08
#define PROFILE_DVD_ROM 0x10

const struct state_field atapi_state_fields[] = {
	STATE_FIELD(struct atapi_state, sense_key, 0, 15),
	STATE_ANY(struct atapi_state, sense_code),
	STATE_ANY(struct atapi_state, sense_qualifier),
	STATE_BOOL(struct atapi_state, attention),
	STATE_BOOL(struct atapi_state, open),
	STATE_BOOL(struct atapi_state, locked),
	STATE_BOOL(struct atapi_state, event_pending),
	STATE_END,
};

void atapi_power_up(const struct atapi *atapi)
{
	*atapi->state = (struct atapi_state){.attention = true, .event_pending = true};
}

void atapi_reset(const struct atapi *atapi)
{
	bool open = atapi->state->open;

	atapi_power_up(atapi);
	atapi->state->open = open;
}

/* --- ends of a command --- */

static uint8_t fail(const struct atapi *atapi, uint8_t key, uint8_t code, uint8_t qualifier)
{
	atapi->state->sense_key = key;
	atapi->state->sense_code = code;
	atapi->state->sense_qualifier = qualifier;
	return (uint8_t)(key << 4 | ATA_ERROR_ABRT);
}

struct scsi_sense atapi_take_sense(const struct atapi *atapi)
{
	struct atapi_state *state = atapi->state;
	struct scsi_sense sense = {state->sense_key, state->sense_code, state->sense_qualifier};

	state->sense_key = state->sense_code = state->sense_qualifier = 0;
	return sense;
}

uint8_t atapi_read_failed(const struct atapi *atapi)
{
	return fail(atapi, MEDIUM_ERROR, UNRECOVERED_READ, 0);
}

/* An answer of `size` bytes, of which the guest has asked for `wanted`. */
static uint8_t answer(struct atapi_command *command, uint64_t size, uint64_t wanted)
{
	command->bytes = MIN(size, wanted);
	command->action = command->bytes ? ATAPI_ANSWER : ATAPI_NOTHING;
	return 0;
}

static uint32_t sectors(const struct atapi *atapi)
{
	return (uint32_t)MIN(atapi->disk->size / ATAPI_SECTOR, UINT32_MAX);
}

/* --- the commands: each gets the packet and an answer of zeroes --- */

static uint8_t nothing(const struct atapi *atapi, const uint8_t *packet,
	struct atapi_command *command, uint8_t *out)
{
	return 0;
}

/* SPC-3 6.27: fixed format. */
static uint8_t request_sense(const struct atapi *atapi, const uint8_t *packet,
	struct atapi_command *command, uint8_t *out)
{
	struct atapi_state *state = atapi->state;

	if (state->attention) {
		state->attention = false;
		fail(atapi, UNIT_ATTENTION, MEDIUM_CHANGED, 0);
	}
	return answer(command, scsi_put_sense(out, atapi_take_sense(atapi)), packet[4]);
}

static uint8_t inquiry(const struct atapi *atapi, const uint8_t *packet,
	struct atapi_command *command, uint8_t *out)
{
	if (packet[1] & 1) /* vital product data: there are no pages */
		return fail(atapi, ILLEGAL_REQUEST, BAD_FIELD, 0);
	return answer(command,
		scsi_put_inquiry(out, SCSI_CDROM, 0, ATAPI_FORMAT, "VENEER  DVD-ROM         1.0 "),
		get16(packet + 3));
}

/* START STOP UNIT, MMC-5 6.44. */
static uint8_t start_stop(const struct atapi *atapi, const uint8_t *packet,
	struct atapi_command *command, uint8_t *out)
{
	struct atapi_state *state = atapi->state;
	bool load_eject = packet[4] & 2, open = !(packet[4] & 1);

	if (!load_eject || state->open == open)
		return 0;
	if (state->locked)
		return fail(atapi, ILLEGAL_REQUEST, REMOVAL_REFUSED, 2);
	state->open = open;
	state->event_pending = true;
	state->attention = !open;
	return 0;
}

static uint8_t prevent_removal(const struct atapi *atapi, const uint8_t *packet,
	struct atapi_command *command, uint8_t *out)
{
	atapi->state->locked = packet[4] & 1;
	return 0;
}

static uint8_t read_capacity(const struct atapi *atapi, const uint8_t *packet,
	struct atapi_command *command, uint8_t *out)
{
	put32(out, sectors(atapi) - 1);
	put32(out + 4, ATAPI_SECTOR);
	return answer(command, 8, 8);
}

static uint8_t read_sectors(
	const struct atapi *atapi, uint32_t first, uint32_t count, struct atapi_command *command)
{
	if (first > sectors(atapi) || count > sectors(atapi) - first)
		return fail(atapi, ILLEGAL_REQUEST, OUT_OF_RANGE, 0);
	command->action = count ? ATAPI_READ : ATAPI_NOTHING;
	command->offset = (uint64_t)first * ATAPI_SECTOR;
	command->bytes = (uint64_t)count * ATAPI_SECTOR;
	return 0;
}

static uint8_t read_10(const struct atapi *atapi, const uint8_t *packet,
	struct atapi_command *command, uint8_t *out)
{
	return read_sectors(atapi, get32(packet + 2), get16(packet + 7), command);
}

static uint8_t read_12(const struct atapi *atapi, const uint8_t *packet,
	struct atapi_command *command, uint8_t *out)
{
	return read_sectors(atapi, get32(packet + 2), get32(packet + 6), command);
}

/* READ CD, MMC-5 6.20: the data of sectors in mode 1 alone. */
static uint8_t read_cd(const struct atapi *atapi, const uint8_t *packet,
	struct atapi_command *command, uint8_t *out)
{
	uint32_t count = (uint32_t)packet[6] << 16 | get16(packet + 7);

	if ((packet[9] & 0xf8) == 0)
		return 0;
	if ((packet[9] & 0xf8) != 0x10)
		return fail(atapi, ILLEGAL_REQUEST, BAD_FIELD, 0);
	return read_sectors(atapi, get32(packet + 2), count, command);
}

static uint8_t seek(const struct atapi *atapi, const uint8_t *packet, struct atapi_command *command,
	uint8_t *out)
{
	return get32(packet + 2) < sectors(atapi) ? 0
						  : fail(atapi, ILLEGAL_REQUEST, OUT_OF_RANGE, 0);
}

/* A sector's address as it is asked for: its number; or minute, second and frame, from 2 s on. */
static void put_address(uint8_t *at, uint32_t sector, bool msf)
{
	uint32_t frames = sector + 150;

	if (!msf) {
		put32(at, sector);
		return;
	}
	at[1] = (uint8_t)MIN(frames / (75 * 60), 255);
	at[2] = (uint8_t)(frames / 75 % 60);
	at[3] = (uint8_t)(frames % 75);
}

/* READ TOC/PMA/ATIP, MMC-5 6.26: one session with one track of data. */
static uint8_t read_toc(const struct atapi *atapi, const uint8_t *packet,
	struct atapi_command *command, uint8_t *out)
{
	bool msf = packet[1] & 2;
	uint8_t format = packet[2] & 15 ? packet[2] & 15 : packet[9] >> 6;
	uint8_t from = packet[6];
	unsigned size = 4;

	if (format > 1 || (!format && from > 1 && from != 0xaa))
		return fail(atapi, ILLEGAL_REQUEST, BAD_FIELD, 0);
	out[2] = out[3] = 1; /* first and last track, or session */
	if (format || from <= 1) {
		out[5] = 0x14; /* data */
		out[6] = 1;
		put_address(out + 8, 0, msf);
		size += 8;
	}
	if (!format) {
		out[size + 1] = 0x14;
		out[size + 2] = 0xaa; /* where the disc ends */
		put_address(out + size + 4, sectors(atapi), msf);
		size += 8;
	}
	put16(out, size - 2);
	return answer(command, size, get16(packet + 7));
}

/* --- mode pages (MMC-5 7) --- */

static unsigned error_recovery_page(const void *device, uint8_t *out)
{
	memcpy(out, (const uint8_t[]){0x01, 6, 0, 5}, 4);
	return 8;
}

static unsigned capabilities_page(const void *device, uint8_t *out)
{
	const struct atapi *atapi = device;

	memcpy(out, (const uint8_t[]){0x2a, 18, 0x3b, 0, 0x70, 0, 0x29}, 7);
	out[6] |= atapi->state->locked ? 2 : 0;
	put16(out + 8, 706); /* kB/s, four times a CD's */
	put16(out + 12, 512);
	put16(out + 14, 706);
	return 20;
}

static const struct scsi_mode_page pages[] = {
	{0x01, error_recovery_page}, {0x2a, capabilities_page}};

static uint8_t mode_sense(const struct atapi *atapi, const uint8_t *packet,
	struct atapi_command *command, uint8_t *out, unsigned wanted)
{
	unsigned size;
	struct scsi_sense sense = scsi_mode_sense(pages, ARRAY_SIZE(pages), atapi, packet,
		atapi->state->open ? 0x71 : 1, 0, out, &size);

	if (sense.key)
		return fail(atapi, sense.key, sense.code, sense.qualifier);
	return answer(command, size, wanted);
}

static uint8_t mode_sense_6(const struct atapi *atapi, const uint8_t *packet,
	struct atapi_command *command, uint8_t *out)
{
	return mode_sense(atapi, packet, command, out, packet[4]);
}

static uint8_t mode_sense_10(const struct atapi *atapi, const uint8_t *packet,
	struct atapi_command *command, uint8_t *out)
{
	return mode_sense(atapi, packet, command, out, get16(packet + 7));
}

/* --- features and events --- */

static uint16_t profile(const struct atapi *atapi)
{
	if (atapi->state->open)
		return 0;
	return sectors(atapi) > CD_SECTORS ? PROFILE_DVD_ROM : PROFILE_CD_ROM;
}

static unsigned put_feature(uint8_t *out, unsigned code, uint8_t flags, uint8_t size)
{
	put16(out, code);
	out[2] = flags;
	out[3] = size;
	return 4u + size;
}

static unsigned profile_list(const struct atapi *atapi, uint8_t *out)
{
	put16(out + 4, PROFILE_DVD_ROM);
	out[6] = profile(atapi) == PROFILE_DVD_ROM;
	put16(out + 8, PROFILE_CD_ROM);
	out[10] = profile(atapi) == PROFILE_CD_ROM;
	return put_feature(out, 0, 3, 8);
}

static unsigned core_feature(const struct atapi *atapi, uint8_t *out)
{
	out[7] = atapi->on_scsi ? 1 : 2; /* physical interface: SCSI, ATAPI */
	out[8] = 1;
	return put_feature(out, 1, 0x0b, 8);
}

static unsigned removable_feature(const struct atapi *atapi, uint8_t *out)
{
	out[4] = 0x29; /* a tray, which can be locked and ejects */
	return put_feature(out, 3, 3, 4);
}

static unsigned random_read_feature(const struct atapi *atapi, uint8_t *out)
{
	put32(out + 4, ATAPI_SECTOR);
	put16(out + 8, 1);
	return put_feature(out, 0x10, atapi->state->open ? 0 : 1, 8);
}

static const struct {
	uint16_t code;
	unsigned (*write)(const struct atapi *atapi, uint8_t *out);
} features[] = {
	{0, profile_list}, {1, core_feature}, {3, removable_feature}, {0x10, random_read_feature}};

/* MMC-5 6.6. */
static uint8_t get_configuration(const struct atapi *atapi, const uint8_t *packet,
	struct atapi_command *command, uint8_t *out)
{
	uint8_t kind = packet[1] & 3;
	uint16_t from = get16(packet + 2);
	unsigned size = 8;

	if (kind == 3)
		return fail(atapi, ILLEGAL_REQUEST, BAD_FIELD, 0);
	for (unsigned i = 0; i < ARRAY_SIZE(features); i++)
		if (kind == 2 ? features[i].code == from : features[i].code >= from)
			size += features[i].write(atapi, out + size);
	put32(out, size - 4);
	put16(out + 6, profile(atapi));
	return answer(command, size, get16(packet + 7));
}

/* MMC-5 6.7: events of the medium, polled. */
static uint8_t get_event(const struct atapi *atapi, const uint8_t *packet,
	struct atapi_command *command, uint8_t *out)
{
	struct atapi_state *state = atapi->state;
	unsigned wanted = get16(packet + 7);

	if (!(packet[1] & 1)) /* to be told later needs queueing */
		return fail(atapi, ILLEGAL_REQUEST, BAD_FIELD, 0);
	out[3] = 0x10; /* the classes that there are: media */
	if (!(packet[4] & 0x10)) {
		put16(out, 2);
		out[2] = 0x80;
		return answer(command, 4, wanted);
	}
	put16(out, 6);
	out[2] = 4;
	if (state->event_pending && wanted > 4) {
		out[4] = state->open ? 3 : 2; /* removed; new */
		state->event_pending = false;
	}
	out[5] = state->open ? 1 : 2; /* the tray is open; a medium is there */
	return answer(command, 8, wanted);
}

static uint8_t mechanism_status(const struct atapi *atapi, const uint8_t *packet,
	struct atapi_command *command, uint8_t *out)
{
	out[1] = atapi->state->open ? 0x10 : 0;
	out[5] = 1;
	return answer(command, 8, get16(packet + 8));
}

/* READ DISC INFORMATION, MMC-5 6.22: complete, one session, one track. */
static uint8_t disc_information(const struct atapi *atapi, const uint8_t *packet,
	struct atapi_command *command, uint8_t *out)
{
	if (packet[1] & 7)
		return fail(atapi, ILLEGAL_REQUEST, BAD_FIELD, 0);
	put16(out, 32);
	out[2] = 0x0e;
	out[3] = out[4] = out[5] = out[6] = 1;
	out[7] = 0x20;
	memset(out + 16, 0xff, 8);
	return answer(command, 34, get16(packet + 7));
}

enum { NEEDS_DISC = 1, ALWAYS = 2 /* also while there is a unit attention */ };

static const struct {
	uint8_t code, flags;
	uint8_t (*run)(const struct atapi *atapi, const uint8_t *packet,
		struct atapi_command *command, uint8_t *out);
} rows[] = {
	{0x00, NEEDS_DISC, nothing}, /* TEST UNIT READY */
	{0x03, ALWAYS, request_sense},
	{0x12, ALWAYS, inquiry},
	{0x1a, 0, mode_sense_6},
	{0x1b, 0, start_stop},
	{0x1e, 0, prevent_removal},
	{0x25, NEEDS_DISC, read_capacity},
	{0x28, NEEDS_DISC, read_10},
	{0x2b, NEEDS_DISC, seek},
	{0x35, NEEDS_DISC, nothing}, /* SYNCHRONIZE CACHE */
	{0x43, NEEDS_DISC, read_toc},
	{0x46, ALWAYS, get_configuration},
	{0x4a, ALWAYS, get_event},
	{0x51, NEEDS_DISC, disc_information},
	{0x5a, 0, mode_sense_10},
	{0xa8, NEEDS_DISC, read_12},
	{0xbb, 0, nothing}, /* SET CD SPEED */
	{0xbd, 0, mechanism_status},
	{0xbe, NEEDS_DISC, read_cd},
};

uint8_t atapi_decode(const struct atapi *atapi, const uint8_t packet[ATAPI_PACKET],
	struct atapi_command *command, void *out)
{
	struct atapi_state *state = atapi->state;

	*command = (struct atapi_command){.action = ATAPI_NOTHING};
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		if (rows[i].code != packet[0])
			continue;
		if (state->attention && !(rows[i].flags & ALWAYS)) {
			state->attention = false;
			return fail(atapi, UNIT_ATTENTION, MEDIUM_CHANGED, 0);
		}
		if (state->open && (rows[i].flags & NEEDS_DISC))
			return fail(atapi, NOT_READY, NO_MEDIUM, 2);
		memset(out, 0, ATAPI_ANSWER_SIZE);
		return rows[i].run(atapi, packet, command, out);
	}
	return fail(atapi, ILLEGAL_REQUEST, BAD_COMMAND, 0);
}

/* ATA8-ACS 7.17. */
void atapi_identify(const struct atapi *atapi, bool sata, void *buffer)
{
	uint16_t words[ATA_BLOCK / 2] = {0x8580}; /* ATAPI, CD-ROM, removable, 12-byte packets */

	ata_text(&words[10], atapi->serial, 20);
	ata_text(&words[23], "1.0", 8);
	ata_text(&words[27], "VENEER DVD-ROM", 40);
	words[49] = 0x0b00; /* IORDY, LBA, DMA */
	words[53] = 6;
	words[63] = 7;
	words[64] = 3;
	for (unsigned i = 65; i <= 68; i++)
		words[i] = 120;
	words[80] = 0x01f0;
	words[82] = 0x4210; /* NOP, DEVICE RESET, PACKET */
	words[83] = 0x4000;
	words[84] = 0x4000;
	words[85] = 0x4210;
	words[87] = 0x4000;
	words[88] = 0x3f;
	words[93] = sata ? 0 : 0x6001;
	if (sata)
		words[76] = 0x0e;
	memcpy(buffer, words, ATA_BLOCK);
}
