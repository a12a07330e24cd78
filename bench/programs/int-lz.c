/*
 * A small Lempel-Ziv compressor and its decompressor (LZ4's idea: hash the next four bytes, look
 * where they were last seen, extend the match): unaligned loads, short loops, byte copies.
 */
#include "bench.h"

#define SIZE      65536
#define HASH_BITS 12
#define MIN_MATCH 4

static uint8_t text[SIZE], packed[SIZE * 2], unpacked[SIZE];

static uint32_t load32(const uint8_t *from)
{
	uint32_t value;

	memcpy(&value, from, sizeof(value));
	return value;
}

/* Text of a sort: words of a small vocabulary, the short ones more often. */
static void make_text(void)
{
	uint64_t seed = 42;

	for (int at = 0; at < SIZE;) {
		uint64_t random = bench_random(&seed);
		uint64_t word = random % (1 << (1 + (random >> 32) % 9));

		for (int i = 0; i < 3 + (int)(word % 5) && at < SIZE; i++)
			text[at++] = (uint8_t)('a' + (word * (uint64_t)(7 + i) + (word >> i)) % 26);
		if (at < SIZE)
			text[at++] = ' ';
	}
}

/* Tokens are: length of the literals (1 byte), the literals, match length (1), distance (2). */
static uint32_t compress(void)
{
	static uint16_t last[1 << HASH_BITS];
	uint32_t at = 0, literals = 0, out = 0;

	memset(last, 0, sizeof(last));
	while (at < SIZE) {
		uint32_t length = 0, from = 0;

		if (at + MIN_MATCH <= SIZE) {
			uint32_t hash = load32(text + at) * 2654435761u >> (32 - HASH_BITS);

			from = last[hash];
			last[hash] = (uint16_t)at;
			while (from < at && length < 255 && at + length < SIZE &&
				text[from + length] == text[at + length])
				length++;
		}
		if (length < MIN_MATCH && literals < 255 && at + 1 < SIZE) {
			literals++;
			at++;
			continue;
		}
		if (length < MIN_MATCH)
			length = 0;
		packed[out++] = (uint8_t)literals;
		memcpy(packed + out, text + at - literals, literals);
		out += literals;
		packed[out++] = (uint8_t)length;
		packed[out++] = (uint8_t)(at - from);
		packed[out++] = (uint8_t)((at - from) >> 8);
		at += length;
		literals = 0;
		if (length == 0) { /* a full run of literals, or the end: this byte starts anew */
			literals = 1;
			at++;
		}
	}
	packed[out++] = (uint8_t)literals;
	memcpy(packed + out, text + at - literals, literals);
	out += literals;
	return out;
}

static uint32_t decompress(uint32_t size)
{
	uint32_t in = 0, out = 0;

	for (;;) {
		uint32_t literals = packed[in++];
		uint32_t length, distance;

		memcpy(unpacked + out, packed + in, literals);
		in += literals;
		out += literals;
		if (in >= size)
			return out;
		length = packed[in++];
		distance = packed[in] | (uint32_t)packed[in + 1] << 8;
		in += 2;
		while (length--) {
			unpacked[out] = unpacked[out - distance];
			out++;
		}
	}
}

static uint64_t lz(uint64_t count)
{
	uint64_t sum = 0;

	make_text();
	while (count--) {
		uint32_t size = compress();

		if (decompress(size) != SIZE || memcmp(text, unpacked, SIZE) != 0)
			return 0;
		sum = bench_mix(sum, size);
		text[count % SIZE] ^= 1;
	}
	return sum;
}

int main(int argc, char **argv)
{
	return bench_main(argc, argv, "int-lz", 250, lz);
}
