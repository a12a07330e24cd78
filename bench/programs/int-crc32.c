/* CRC-32 by table: each byte's load depends on the one before. */
#include "bench.h"

#define SIZE 65536

static uint32_t table[256];
static uint8_t data[SIZE];

static uint64_t crc32(uint64_t count)
{
	uint32_t crc = 0xffffffff;
	uint64_t seed = 1;

	for (uint32_t i = 0; i < 256; i++) {
		uint32_t value = i;

		for (int bit = 0; bit < 8; bit++)
			value = value & 1 ? value >> 1 ^ 0xedb88320 : value >> 1;
		table[i] = value;
	}
	for (int i = 0; i < SIZE; i++)
		data[i] = (uint8_t)bench_random(&seed);

	while (count--) {
		for (int i = 0; i < SIZE; i++)
			crc = crc >> 8 ^ table[(uint8_t)crc ^ data[i]];
	}
	return ~crc;
}

int main(int argc, char **argv)
{
	return bench_main(argc, argv, "int-crc32", 400, crc32);
}
