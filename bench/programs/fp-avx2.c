/*
 * Eight 32-bit lanes an instruction: an integer hash and a float polynomial over an array. Where
 * the processor has no AVX2 the program says so instead of a checksum.
 */
#include "bench.h"

#define SIZE 512 /* vectors */

typedef uint32_t ints __attribute__((vector_size(32)));
typedef float floats __attribute__((vector_size(32)));

static ints hashes[SIZE];
static floats values[SIZE];

__attribute__((target("avx2"))) static uint64_t lanes(uint64_t count)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < SIZE; i++) {
		for (uint32_t lane = 0; lane < 8; lane++) {
			hashes[i][lane] = i * 8 + lane;
			values[i][lane] = (float)(i * 8 + lane) / (SIZE * 8);
		}
	}
	while (count--) {
		for (int i = 0; i < SIZE; i++) {
			ints hash = hashes[i];
			floats value = values[i];

			hash ^= hash >> 16;
			hash *= 0x7feb352d;
			hash ^= hash >> 15;
			hashes[i] = hash + (uint32_t)count;
			values[i] = (value * 3.5f) * (1.0f - value);
		}
	}
	for (int i = 0; i < SIZE; i++) {
		for (int lane = 0; lane < 8; lane++) {
			sum = bench_mix(sum, hashes[i][lane]);
			sum = bench_mix_double(sum, values[i][lane]);
		}
	}
	return sum;
}

int main(int argc, char **argv)
{
	if (!__builtin_cpu_supports("avx2")) {
		puts("fp-avx2 unsupported 0");
		return 0;
	}
	return bench_main(argc, argv, "fp-avx2", 60000, lanes);
}
