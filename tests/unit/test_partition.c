/* Partition tables: MBR with a chain, GPT with its copy, and what is wrong with them. */
#include "helper/partition.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define SECTORS 4096

static uint8_t bytes[SECTORS * 512];
static struct partition list[PARTITION_MAX];

static unsigned find(void)
{
	struct disk_source disk;

	disk_source_bytes(&disk, bytes, sizeof(bytes));
	memset(list, 0xff, sizeof(list));
	return partition_list(&disk, list);
}

static void put32(unsigned sector, unsigned offset, uint32_t value)
{
	memcpy(bytes + sector * 512 + offset, &value, 4);
}

static void put64(unsigned sector, unsigned offset, uint64_t value)
{
	memcpy(bytes + sector * 512 + offset, &value, 8);
}

static void put_mbr(unsigned sector, unsigned index, uint8_t type, uint32_t first, uint32_t count)
{
	unsigned offset = 446 + index * 16;

	bytes[sector * 512 + offset + 4] = type;
	put32(sector, offset + 8, first);
	put32(sector, offset + 12, count);
	bytes[sector * 512 + 510] = 0x55;
	bytes[sector * 512 + 511] = 0xaa;
}

/* CRC-32, of UEFI and of Ethernet. */
static uint32_t sum(const uint8_t *at, size_t size)
{
	uint32_t crc = 0xffffffff;

	for (size_t i = 0; i < size * 8; i++) {
		bool bit = (at[i / 8] >> i % 8 ^ crc) & 1;

		crc = crc >> 1 ^ (bit ? 0xedb88320 : 0);
	}
	return ~crc;
}

static void put_header(unsigned sector, unsigned entries)
{
	memcpy(bytes + sector * 512, "EFI PART", 8);
	put32(sector, 12, 92);
	put32(sector, 16, 0);
	put64(sector, 24, sector);
	put64(sector, 72, entries);
	put32(sector, 80, 128);
	put32(sector, 84, 128);
	put32(sector, 88, sum(bytes + entries * 512, 128 * 128));
	put32(sector, 16, sum(bytes + sector * 512, 92));
}

static void put_entry(unsigned entries, unsigned index, uint64_t first, uint64_t last)
{
	unsigned sector = entries + index / 4, offset = index % 4 * 128;

	bytes[sector * 512 + offset] = 1; /* a type */
	put64(sector, offset + 32, first);
	put64(sector, offset + 40, last);
}

static void make_gpt(void)
{
	memset(bytes, 0, sizeof(bytes));
	put_mbr(0, 0, 0xee, 1, SECTORS - 1);
	for (unsigned entries = 2; entries; entries = entries == 2 ? SECTORS - 33 : 0) {
		put_entry(entries, 0, 2048, 3000);
		put_entry(entries, 3, 64, 64);
		put_entry(entries, 127, 100, 199);
		put_entry(entries, 5, 4000, SECTORS); /* past the end */
		put_entry(entries, 6, 300, 299);      /* nothing */
		put_entry(entries, 7, 0, UINT64_MAX); /* a count that is zero */
	}
	put_header(1, 2);
	put_header(SECTORS - 1, SECTORS - 33);
}

static void check_gpt(void)
{
	assert_int_equal(find(), 3);
	assert_int_equal(list[0].offset, 2048 * 512);
	assert_int_equal(list[0].size, 953 * 512);
	assert_int_equal(list[1].offset, 64 * 512);
	assert_int_equal(list[1].size, 512);
	assert_int_equal(list[2].offset, 100 * 512);
	assert_int_equal(list[2].size, 100 * 512);
}

static void test_gpt(void **state)
{
	assert_int_equal(sum((const uint8_t *)"123456789", 9), 0xcbf43926);
	make_gpt();
	check_gpt();
	/* A damaged header, or entries: the copy at the disk's end. */
	bytes[512 + 40] ^= 1;
	check_gpt();
	make_gpt();
	bytes[2 * 512 + 32] ^= 1;
	check_gpt();
	bytes[(SECTORS - 1) * 512 + 16] ^= 1;
	assert_int_equal(find(), 0);
}

static void test_gpt_bounds(void **state)
{
	static const struct {
		unsigned offset;
		uint32_t value;
	} wrong[] = {{12, 91}, {12, 513}, {12, UINT32_MAX}, {72, UINT32_MAX}, {80, 0},
		{80, UINT32_MAX}, {84, 127}, {84, 0}, {84, UINT32_MAX}, {84, 8192}};

	for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		make_gpt();
		memset(bytes + (SECTORS - 1) * 512, 0, 512);
		put32(1, wrong[i].offset, wrong[i].value);
		put32(1, 16, 0);
		put32(1, 16, sum(bytes + 512, 92));
		assert_int_equal(find(), 0);
	}
}

static void test_mbr(void **state)
{
	memset(bytes, 0, sizeof(bytes));
	assert_int_equal(find(), 0);
	put_mbr(0, 0, 0x83, 2048, 100);
	put_mbr(0, 1, 0x83, SECTORS - 1, 2); /* past the end */
	put_mbr(0, 2, 0x05, 1000, 1000);
	put_mbr(1000, 0, 0x83, 8, 50);
	put_mbr(1000, 1, 0x05, 100, 100);
	put_mbr(1100, 0, 0x83, 8, 60);
	put_mbr(0, 3, 0x82, 3000, 10);
	assert_int_equal(find(), 4);
	assert_int_equal(list[0].offset, 2048 * 512);
	assert_int_equal(list[0].size, 100 * 512);
	assert_int_equal(list[1].offset, 1008 * 512);
	assert_int_equal(list[2].offset, 1108 * 512);
	assert_int_equal(list[2].size, 60 * 512);
	assert_int_equal(list[3].offset, 3000 * 512);
	/* A chain that comes back to itself ends. */
	put_mbr(1100, 1, 0x05, 0, 100);
	assert_in_range(find(), 4, PARTITION_MAX);
	bytes[510] = 0;
	assert_int_equal(find(), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_gpt),
		cmocka_unit_test(test_gpt_bounds),
		cmocka_unit_test(test_mbr),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
