#include "device/storage/ata.h"

#include "base/bits.h"

#include <string.h>

#define MAX_MULTIPLE  16
#define DEFAULT_HEADS 16
#define DEFAULT_TRACK 63 /* sectors */
#define MAX_CYLINDERS 16383
#define LBA28_SECTORS UINT64_C(0x0fffffff)

#define FEATURE_TRIM 1 /* of DATA SET MANAGEMENT */

/* --- registers --- */

const struct state_field ata_registers_fields[] = {
	STATE_ARRAY_ANY(struct ata_registers, feature),
	STATE_ARRAY_ANY(struct ata_registers, count),
	STATE_ARRAY_ANY(struct ata_registers, low),
	STATE_ARRAY_ANY(struct ata_registers, mid),
	STATE_ARRAY_ANY(struct ata_registers, high),
	STATE_ANY(struct ata_registers, device),
	STATE_ANY(struct ata_registers, status),
	STATE_ANY(struct ata_registers, error),
	STATE_END,
};

const struct state_field ata_state_fields[] = {
	STATE_FIELD(struct ata_state, cylinders, 1, UINT16_MAX),
	STATE_FIELD(struct ata_state, heads, 1, 16),
	STATE_FIELD(struct ata_state, sectors, 1, 255),
	STATE_FIELD(struct ata_state, multiple, 0, MAX_MULTIPLE),
	STATE_ANY(struct ata_state, transfer_mode),
	STATE_BOOL(struct ata_state, write_cache),
	STATE_BOOL(struct ata_state, failed),
	STATE_FIELD(struct ata_state, failed_tag, 0, 31),
	STATE_ANY(struct ata_state, failed_status),
	STATE_ANY(struct ata_state, failed_error),
	STATE_END,
};

void ata_signature(struct ata_registers *registers, bool atapi)
{
	*registers = (struct ata_registers){
		.count = {1},
		.low = {1},
		.mid = {atapi ? 0x14 : 0},
		.high = {atapi ? 0xeb : 0},
		.device = registers->device & 0x10,
		.status = atapi ? 0 : ATA_STATUS_DRDY | ATA_STATUS_DSC,
		.error = 1, /* the diagnostic's result: no fault */
	};
}

static uint64_t disk_sectors(const struct ata *ata)
{
	return ata->disk->size / DISK_SECTOR;
}

static uint16_t cylinders_of(const struct ata *ata, unsigned heads, unsigned sectors)
{
	uint64_t cylinders = disk_sectors(ata) / (heads * sectors);

	return (uint16_t)MAX(1, MIN(cylinders, MAX_CYLINDERS));
}

void ata_reset(const struct ata *ata)
{
	*ata->state = (struct ata_state){
		.cylinders = cylinders_of(ata, DEFAULT_HEADS, DEFAULT_TRACK),
		.heads = DEFAULT_HEADS,
		.sectors = DEFAULT_TRACK,
		.multiple = MAX_MULTIPLE,
		.write_cache = true,
	};
}

bool ata_valid(const struct ata_state *state)
{
	return !(state->multiple & (state->multiple - 1));
}

/* --- where and how much --- */

static uint64_t lba28(const struct ata_registers *registers)
{
	return (uint64_t)(registers->device & 15) << 24 | (uint64_t)registers->high[0] << 16 |
	       (uint64_t)registers->mid[0] << 8 | registers->low[0];
}

static uint64_t lba48(const struct ata_registers *registers)
{
	return (uint64_t)registers->high[1] << 40 | (uint64_t)registers->mid[1] << 32 |
	       (uint64_t)registers->low[1] << 24 | (uint64_t)registers->high[0] << 16 |
	       (uint64_t)registers->mid[0] << 8 | registers->low[0];
}

/* False: there is no such sector in the geometry. Sectors are counted from 1. */
static bool from_chs(
	const struct ata_state *state, const struct ata_registers *registers, uint64_t *lba)
{
	unsigned cylinder = registers->high[0] << 8 | registers->mid[0];
	unsigned head = registers->device & 15, sector = registers->low[0];

	if (cylinder >= state->cylinders || head >= state->heads || !sector ||
		sector > state->sectors)
		return false;
	*lba = ((uint64_t)cylinder * state->heads + head) * state->sectors + sector - 1;
	return true;
}

/* What a row of the table says of its command. */
enum {
	EXT = 1,      /* 48-bit addresses */
	DMA = 2,      /* the data moves by DMA */
	MULTIPLE = 4, /* an interrupt for several sectors */
	FUA = 8,
	QUEUED = 16,
	SATA = 32, /* for SATA devices only */
};

static uint8_t locate(const struct ata *ata, unsigned flags, const struct ata_registers *registers,
	struct ata_command *command)
{
	const uint8_t *count = flags & QUEUED ? registers->feature : registers->count;
	uint32_t sectors = count[0];
	uint64_t lba;

	if (flags & EXT) {
		sectors |= (uint32_t)count[1] << 8;
		sectors = sectors ? sectors : 65536;
		lba = lba48(registers);
	} else {
		sectors = sectors ? sectors : 256;
		lba = lba28(registers);
		if (!(registers->device & ATA_DEVICE_LBA) && !from_chs(ata->state, registers, &lba))
			return ATA_ERROR_IDNF | ATA_ERROR_ABRT;
	}
	if (lba > disk_sectors(ata) || sectors > disk_sectors(ata) - lba)
		return ATA_ERROR_IDNF | ATA_ERROR_ABRT;
	command->offset = lba * DISK_SECTOR;
	command->bytes = (uint64_t)sectors * DISK_SECTOR;
	return 0;
}

static uint8_t begin_transfer(const struct ata *ata, unsigned flags,
	const struct ata_registers *registers, struct ata_command *command)
{
	if ((flags & MULTIPLE) && !ata->state->multiple)
		return ATA_ERROR_ABRT;
	command->dma = flags & DMA;
	command->queued = flags & QUEUED;
	command->tag = registers->count[0] >> 3;
	command->at_once = (flags & MULTIPLE ? ata->state->multiple : 1u) * DISK_SECTOR;
	return locate(ata, flags, registers, command);
}

static uint8_t begin_read(const struct ata *ata, unsigned flags, struct ata_registers *registers,
	struct ata_command *command, void *buffer)
{
	command->action = ATA_READ;
	return begin_transfer(ata, flags, registers, command);
}

static uint8_t begin_write(const struct ata *ata, unsigned flags, struct ata_registers *registers,
	struct ata_command *command, void *buffer)
{
	bool fua = flags & QUEUED ? registers->device & 0x80 : flags & FUA;

	command->action = ATA_WRITE;
	command->fua = fua || !ata->state->write_cache;
	return ata->disk->read_only ? ATA_ERROR_ABRT
				    : begin_transfer(ata, flags, registers, command);
}

static uint8_t verify(const struct ata *ata, unsigned flags, struct ata_registers *registers,
	struct ata_command *command, void *buffer)
{
	return locate(ata, flags, registers, command);
}

static uint8_t begin_flush(const struct ata *ata, unsigned flags, struct ata_registers *registers,
	struct ata_command *command, void *buffer)
{
	command->action = ATA_FLUSH;
	return 0;
}

/* --- DATA SET MANAGEMENT --- */

static uint8_t begin_trim(const struct ata *ata, unsigned flags, struct ata_registers *registers,
	struct ata_command *command, void *buffer)
{
	if (!ata->disk->can_discard || ata->disk->read_only ||
		registers->feature[0] != FEATURE_TRIM || registers->count[0] != 1 ||
		registers->count[1])
		return ATA_ERROR_ABRT;
	command->action = ATA_TRIM;
	command->dma = true;
	command->bytes = ATA_BLOCK;
	return 0;
}

bool ata_trim_valid(const struct ata *ata, const void *buffer)
{
	uint64_t ranges[TRANSFER_RANGES], sectors = disk_sectors(ata);

	memcpy(ranges, buffer, sizeof(ranges));
	for (unsigned i = 0; i < TRANSFER_RANGES; i++) {
		uint64_t lba = bits_get(ranges[i], 47, 0), count = ranges[i] >> 48;

		if (count && (lba > sectors || count > sectors - lba))
			return false;
	}
	return true;
}

/* --- what it is --- */

void ata_text(uint16_t *words, const char *text, unsigned size)
{
	uint8_t *bytes = (uint8_t *)words;
	size_t length = strnlen(text, size);

	for (unsigned i = 0; i < size; i++)
		bytes[i ^ 1] = (uint8_t)(i < length ? text[i] : ' ');
}

/* Words 49 to 59 and 63 to 68: how it transfers. */
static void describe_transfers(const struct ata_state *state, uint16_t *words)
{
	unsigned mode = state->transfer_mode & 7, kind = state->transfer_mode >> 3;

	words[47] = 0x8000 | MAX_MULTIPLE;
	words[49] = 0x0f00; /* IORDY, LBA, DMA */
	words[50] = 0x4000;
	words[51] = 0x0200;
	words[53] = 7; /* words 54 to 58, 64 to 70 and 88 are valid */
	words[59] = state->multiple ? 0x100 | state->multiple : 0;
	words[63] = (uint16_t)(7 | (kind == 4 && mode <= 2 ? 0x100u << mode : 0));
	words[64] = 3; /* PIO modes 3 and 4 */
	for (unsigned i = 65; i <= 68; i++)
		words[i] = 120; /* ns a cycle */
	words[88] = (uint16_t)(0x3f | (kind == 8 && mode <= 5 ? 0x100u << mode : 0));
	words[93] = 0x6001; /* an 80-conductor cable */
}

/* Words 80 to 87: command sets, those that are supported and those that are enabled. */
static void describe_sets(const struct ata_state *state, uint16_t *words)
{
	words[80] = 0x01f0;                               /* ATA/ATAPI-4 to ATA8-ACS */
	words[82] = 0x4000 | BIT(5);                      /* NOP, write cache */
	words[83] = 0x4000 | BIT(13) | BIT(12) | BIT(10); /* FLUSH CACHE (EXT), 48-bit */
	words[84] = 0x4000 | BIT(6) | BIT(5);             /* WRITE DMA FUA EXT, logs */
	words[85] = (uint16_t)(0x4000 | (state->write_cache ? BIT(5) : 0));
	words[86] = words[83] & 0x3fff;
	words[87] = words[84];
}

static void describe_size(const struct ata *ata, uint16_t *words)
{
	const struct ata_state *state = ata->state;
	uint64_t sectors = disk_sectors(ata), chs, small = MIN(sectors, LBA28_SECTORS);
	uint32_t physical = ata->disk->block_size / DISK_SECTOR;

	words[1] = cylinders_of(ata, DEFAULT_HEADS, DEFAULT_TRACK);
	words[3] = DEFAULT_HEADS;
	words[6] = DEFAULT_TRACK;
	chs = (uint64_t)state->cylinders * state->heads * state->sectors;
	words[54] = state->cylinders;
	words[55] = state->heads;
	words[56] = state->sectors;
	memcpy(&words[57], &chs, 4);
	memcpy(&words[60], &small, 4);
	memcpy(&words[100], &sectors, 8);
	if (physical > 1)
		words[106] = (uint16_t)(0x6000 | __builtin_ctz(physical));
	if (ata->disk->can_discard && !ata->disk->read_only) {
		words[105] = 1; /* blocks of ranges in one command */
		words[169] = 1;
	}
	words[217] = 1; /* it does not rotate */
}

/* ATA8-ACS 7.16.7. */
static uint8_t identify(const struct ata *ata, unsigned flags, struct ata_registers *registers,
	struct ata_command *command, void *buffer)
{
	uint16_t words[ATA_BLOCK / 2] = {0x0040};
	uint8_t sum = 0;

	ata_text(&words[10], ata->serial, 20);
	ata_text(&words[23], "1.0", 8);
	ata_text(&words[27], "VENEER HARDDISK", 40);
	describe_transfers(ata->state, words);
	describe_sets(ata->state, words);
	describe_size(ata, words);
	if (ata->sata) {
		words[75] = 31;            /* queued commands, less one */
		words[76] = 0x0e | BIT(8); /* 1.5 to 6 Gb/s, queueing */
		words[93] = 0;
		words[222] = 0x1000 | BIT(5); /* serial transport, SATA 3.0 */
	}
	words[255] = 0xa5;
	for (unsigned i = 0; i < 511; i++)
		sum = (uint8_t)(sum + ((uint8_t *)words)[i]);
	words[255] |= (uint16_t)((uint8_t)-sum << 8);
	memcpy(buffer, words, ATA_BLOCK);
	command->action = ATA_BLOCK_IN;
	command->bytes = command->at_once = ATA_BLOCK;
	return 0;
}

/* READ LOG EXT: the directory, and the queued command that failed (page 10h, ATA8-ACS A.16). */
static uint8_t read_log(const struct ata *ata, unsigned flags, struct ata_registers *registers,
	struct ata_command *command, void *buffer)
{
	struct ata_state *state = ata->state;
	uint8_t page[ATA_BLOCK] = {0}, sum = 0;

	if (registers->count[0] != 1 || registers->count[1] || registers->mid[0] ||
		(registers->low[0] && (registers->low[0] != 0x10 || !ata->sata)))
		return ATA_ERROR_ABRT;
	if (registers->low[0]) {
		page[0] = state->failed ? state->failed_tag : 0x80;
		page[2] = state->failed_status;
		page[3] = state->failed_error;
		for (unsigned i = 0; i < ATA_BLOCK - 1; i++)
			sum = (uint8_t)(sum + page[i]);
		page[ATA_BLOCK - 1] = (uint8_t)-sum;
	} else {
		page[0] = 1; /* version */
		page[0x10 * 2] = ata->sata;
	}
	memcpy(buffer, page, ATA_BLOCK);
	command->action = ATA_BLOCK_IN;
	command->dma = flags & DMA;
	command->bytes = command->at_once = ATA_BLOCK;
	return 0;
}

/* --- settings --- */

static uint8_t set_features(const struct ata *ata, unsigned flags, struct ata_registers *registers,
	struct ata_command *command, void *buffer)
{
	switch (registers->feature[0]) {
	case 0x02:
	case 0x82: {
		bool off = registers->feature[0] == 0x82;

		ata->state->write_cache = !off;
		command->action = off ? ATA_FLUSH : ATA_NOTHING;
		return 0;
	}
	case 0x03: /* PIO, multiword DMA, ultra DMA */
		ata->state->transfer_mode = registers->count[0];
		return 0;
	case 0x55: /* read look-ahead, and whether a soft reset keeps the settings */
	case 0xaa:
	case 0x66:
	case 0xcc:
		return 0;
	default:
		return ATA_ERROR_ABRT;
	}
}

static uint8_t set_multiple(const struct ata *ata, unsigned flags, struct ata_registers *registers,
	struct ata_command *command, void *buffer)
{
	uint8_t count = registers->count[0];

	if (count > MAX_MULTIPLE || (count & (count - 1)))
		return ATA_ERROR_ABRT;
	ata->state->multiple = count;
	return 0;
}

/* INITIALIZE DEVICE PARAMETERS (ATA/ATAPI-5 8.16). */
static uint8_t set_geometry(const struct ata *ata, unsigned flags, struct ata_registers *registers,
	struct ata_command *command, void *buffer)
{
	if (!registers->count[0])
		return ATA_ERROR_ABRT;
	ata->state->heads = (uint8_t)((registers->device & 15) + 1);
	ata->state->sectors = registers->count[0];
	ata->state->cylinders = cylinders_of(ata, ata->state->heads, ata->state->sectors);
	return 0;
}

static uint8_t native_max(const struct ata *ata, unsigned flags, struct ata_registers *registers,
	struct ata_command *command, void *buffer)
{
	uint64_t last = disk_sectors(ata) - 1;

	if (!(flags & EXT)) {
		last = MIN(last, LBA28_SECTORS);
		registers->device = (uint8_t)((registers->device & 0xf0) | bits_get(last, 27, 24));
	}
	registers->low[0] = (uint8_t)last;
	registers->mid[0] = (uint8_t)(last >> 8);
	registers->high[0] = (uint8_t)(last >> 16);
	registers->low[1] = (uint8_t)(last >> 24);
	registers->mid[1] = (uint8_t)(last >> 32);
	registers->high[1] = (uint8_t)(last >> 40);
	return 0;
}

static uint8_t power_mode(const struct ata *ata, unsigned flags, struct ata_registers *registers,
	struct ata_command *command, void *buffer)
{
	registers->count[0] = 0xff; /* active */
	return 0;
}

static uint8_t nothing(const struct ata *ata, unsigned flags, struct ata_registers *registers,
	struct ata_command *command, void *buffer)
{
	return 0;
}

/* Commands that are not here are aborted, NOP as well. */
static const struct {
	uint8_t code, last; /* codes from the one to the other; last 0: only the one */
	uint8_t flags;
	uint8_t (*begin)(const struct ata *ata, unsigned flags, struct ata_registers *registers,
		struct ata_command *command, void *buffer);
} rows[] = {
	{0x06, 0, 0, begin_trim},
	{0x10, 0x1f, 0, nothing}, /* RECALIBRATE */
	{0x20, 0x21, 0, begin_read},
	{0x24, 0, EXT, begin_read},
	{0x25, 0, EXT | DMA, begin_read},
	{0x27, 0, EXT, native_max},
	{0x29, 0, EXT | MULTIPLE, begin_read},
	{0x2f, 0, 0, read_log},
	{0x30, 0x31, 0, begin_write},
	{0x34, 0, EXT, begin_write},
	{0x35, 0, EXT | DMA, begin_write},
	{0x39, 0, EXT | MULTIPLE, begin_write},
	{0x3d, 0, EXT | DMA | FUA, begin_write},
	{0x40, 0x41, 0, verify},
	{0x42, 0, EXT, verify},
	{0x47, 0, DMA, read_log},
	{0x60, 0, EXT | DMA | QUEUED | SATA, begin_read},
	{0x61, 0, EXT | DMA | QUEUED | SATA, begin_write},
	{0x70, 0x7f, 0, nothing}, /* SEEK */
	{0x91, 0, 0, set_geometry},
	{0xc4, 0, MULTIPLE, begin_read},
	{0xc5, 0, MULTIPLE, begin_write},
	{0xc6, 0, 0, set_multiple},
	{0xc8, 0xc9, DMA, begin_read},
	{0xca, 0xcb, DMA, begin_write},
	{0xce, 0, EXT | MULTIPLE | FUA, begin_write},
	{0xe0, 0xe3, 0, nothing}, /* STANDBY and IDLE (IMMEDIATE) */
	{0xe5, 0, 0, power_mode},
	{0xe6, 0, 0, nothing}, /* SLEEP: it wakes up by itself */
	{0xe7, 0, 0, begin_flush},
	{0xea, 0, 0, begin_flush},
	{ATA_IDENTIFY, 0, 0, identify},
	{0xef, 0, 0, set_features},
	{0xf8, 0, 0, native_max},
};

uint8_t ata_decode(const struct ata *ata, uint8_t code, struct ata_registers *registers,
	struct ata_command *command, void *buffer)
{
	*command = (struct ata_command){.action = ATA_NOTHING};
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++)
		if (code >= rows[i].code && code <= MAX(rows[i].code, rows[i].last) &&
			(ata->sata || !(rows[i].flags & SATA)))
			return rows[i].begin(ata, rows[i].flags, registers, command, buffer);
	return ATA_ERROR_ABRT;
}
