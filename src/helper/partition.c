#include "helper/partition.h"

#include <stdbool.h>
#include <string.h>

#define SECTOR         512
#define GPT_MAX_ENTRY  4096
#define GPT_MAX_BYTES  (256 * 1024) /* of all entries; 16 KiB are usual */
#define MBR_MAX_LINKS  128          /* of the chain of extended boot records */
#define MBR_TABLE      446
#define MBR_PROTECTIVE 0xee

struct list {
	const struct disk_source *disk;
	struct partition *partitions;
	unsigned count;
};

static uint32_t get32(const uint8_t *bytes)
{
	uint32_t value;

	memcpy(&value, bytes, sizeof(value));
	return value;
}

static uint64_t get64(const uint8_t *bytes)
{
	uint64_t value;

	memcpy(&value, bytes, sizeof(value));
	return value;
}

/* In sectors. */
static void add(struct list *list, uint64_t first, uint64_t count)
{
	uint64_t sectors = list->disk->size / SECTOR;

	if (!count || first >= sectors || count > sectors - first || list->count == PARTITION_MAX)
		return;
	list->partitions[list->count++] = (struct partition){first * SECTOR, count * SECTOR};
}

/* --- GPT --- */

/* CRC-32 as of Ethernet; `sum`: 0, or what came before. */
static uint32_t crc32(uint32_t sum, const uint8_t *bytes, size_t size)
{
	sum = ~sum;
	for (; size; size--, bytes++) {
		sum ^= *bytes;
		for (unsigned bit = 0; bit < 8; bit++)
			sum = sum >> 1 ^ (sum & 1 ? 0xedb88320 : 0);
	}
	return ~sum;
}

struct gpt {
	uint64_t entries; /* its sector */
	uint32_t count, entry_size, entries_crc;
};

/* The header in that sector (table 5.5). */
static bool read_header(const struct disk_source *disk, uint64_t sector, struct gpt *gpt)
{
	uint8_t header[SECTOR];
	uint32_t size, crc;

	if (disk_source_read(disk, sector * SECTOR, header, SECTOR) < 0 ||
		memcmp(header, "EFI PART", 8) != 0)
		return false;
	size = get32(header + 12);
	crc = get32(header + 16);
	if (size < 92 || size > SECTOR || get64(header + 24) != sector)
		return false;
	memset(header + 16, 0, 4); /* the sum is made without itself */
	*gpt = (struct gpt){.entries = get64(header + 72),
		.count = get32(header + 80),
		.entry_size = get32(header + 84),
		.entries_crc = get32(header + 88)};
	return crc32(0, header, size) == crc && gpt->entries <= disk->size / SECTOR &&
	       gpt->entry_size >= 128 && gpt->entry_size <= GPT_MAX_ENTRY && gpt->count &&
	       gpt->count <= GPT_MAX_BYTES / gpt->entry_size;
}

/* Each entry: type, identity, first and last sector (table 5.6). */
static bool read_entries(struct list *list, const struct gpt *gpt)
{
	static const uint8_t unused[16];
	uint8_t entry[GPT_MAX_ENTRY];
	uint64_t at = gpt->entries * SECTOR, first, last;
	uint32_t crc = 0;

	for (uint32_t i = 0; i < gpt->count; i++, at += gpt->entry_size) {
		if (disk_source_read(list->disk, at, entry, gpt->entry_size) < 0)
			break;
		crc = crc32(crc, entry, gpt->entry_size);
		first = get64(entry + 32);
		last = get64(entry + 40);
		if (memcmp(entry, unused, 16) != 0 && last >= first && last != UINT64_MAX)
			add(list, first, last - first + 1);
	}
	if (crc == gpt->entries_crc)
		return true;
	list->count = 0;
	return false;
}

/* The first table, or the other one at the disk's end. */
static void read_gpt(struct list *list)
{
	const uint64_t places[] = {1, list->disk->size / SECTOR - 1};
	struct gpt gpt;

	for (unsigned i = 0; i < 2; i++)
		if (read_header(list->disk, places[i], &gpt) && read_entries(list, &gpt))
			return;
}

/* --- MBR --- */

static bool is_extended(uint8_t type)
{
	return type == 0x05 || type == 0x0f || type == 0x85;
}

static bool read_record(const struct disk_source *disk, uint64_t sector, uint8_t record[SECTOR])
{
	return sector < disk->size / SECTOR &&
	       disk_source_read(disk, sector * SECTOR, record, SECTOR) == 0 &&
	       record[510] == 0x55 && record[511] == 0xaa;
}

/* Each record has a partition, relative to itself, and the next record, relative to the first. */
static void read_chain(struct list *list, uint32_t base)
{
	uint8_t record[SECTOR], *entry = record + MBR_TABLE;
	uint64_t at = base;

	for (unsigned links = 0; links < MBR_MAX_LINKS; links++) {
		if (!read_record(list->disk, at, record))
			return;
		if (entry[4])
			add(list, at + get32(entry + 8), get32(entry + 12));
		if (!is_extended(entry[16 + 4]))
			return;
		at = (uint64_t)base + get32(entry + 16 + 8);
	}
}

static void read_mbr(struct list *list, const uint8_t record[SECTOR])
{
	const uint8_t *entry = record + MBR_TABLE;

	for (unsigned i = 0; i < 4; i++, entry += 16)
		if (is_extended(entry[4]))
			read_chain(list, get32(entry + 8));
		else if (entry[4])
			add(list, get32(entry + 8), get32(entry + 12));
}

static bool is_protective(const uint8_t record[SECTOR])
{
	for (unsigned i = 0; i < 4; i++)
		if (record[MBR_TABLE + i * 16 + 4] == MBR_PROTECTIVE)
			return true;
	return false;
}

unsigned partition_list(const struct disk_source *disk, struct partition list[PARTITION_MAX])
{
	struct list found = {.disk = disk, .partitions = list};
	uint8_t record[SECTOR];

	if (!read_record(disk, 0, record))
		return 0;
	if (is_protective(record))
		read_gpt(&found);
	else
		read_mbr(&found, record);
	return found.count;
}
