/* Fuzzes the reader of partition tables: what it lists lies on the disk. */
#include "helper/partition.h"

#include <stdlib.h>
#include <string.h>

static uint32_t crc32(const uint8_t *bytes, size_t size)
{
	uint32_t sum = ~0U;

	for (; size; size--, bytes++) {
		sum ^= *bytes;
		for (unsigned bit = 0; bit < 8; bit++)
			sum = sum >> 1 ^ (sum & 1 ? 0xedb88320 : 0);
	}
	return ~sum;
}

/* Sums that are right, which no mutation finds. Entries begin in sector 2. */
static void mend_gpt(uint8_t *bytes, size_t size)
{
	uint32_t length, count, entry_size, sum;
	uint8_t *header = bytes + 512;

	if (size < 1024)
		return;
	memcpy(&length, header + 12, 4);
	memcpy(&count, header + 80, 4);
	memcpy(&entry_size, header + 84, 4);
	if (count <= 256 && entry_size <= 4096 && count * entry_size <= size - 1024) {
		sum = crc32(bytes + 1024, count * entry_size);
		memcpy(header + 88, &sum, 4);
	}
	if (length > 512)
		return;
	memset(header + 16, 0, 4);
	sum = crc32(header, length);
	memcpy(header + 16, &sum, 4);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct partition list[PARTITION_MAX];
	struct disk_source disk;
	uint8_t *bytes = malloc(size + 1);
	unsigned count;

	memcpy(bytes, data, size);
	mend_gpt(bytes, size);
	disk_source_bytes(&disk, bytes, size);
	count = partition_list(&disk, list);
	for (unsigned i = 0; i < count; i++)
		if (!list[i].size || list[i].offset > size || list[i].size > size - list[i].offset)
			abort();
	free(bytes);
	return 0;
}
