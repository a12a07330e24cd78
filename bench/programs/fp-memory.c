/* memcpy, memmove, memset and memchr of the C library, short and long, at odd addresses. */
#include "bench.h"

#define SIZE (1 << 20)

static uint8_t from[SIZE + 64], to[SIZE + 64];

static uint64_t memory(uint64_t count)
{
	static const uint32_t sizes[] = {7, 24, 64, 200, 1500, 4096, 40000};
	uint64_t seed = 1, sum = 0;

	for (int i = 0; i < SIZE; i++)
		from[i] = (uint8_t)bench_random(&seed);
	while (count--) {
		for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
			uint32_t at = (uint32_t)bench_random(&seed) % (SIZE / 2);

			for (int again = 0; again < 16; again++) {
				memcpy(to + at, from + at + again, sizes[i]);
				memmove(to + at + 3, to + at, sizes[i]);
				memset(to + at + sizes[i] - 3, again, 3);
				sum += memchr(to + at, again, sizes[i] + 3) != NULL;
			}
			sum = bench_mix(sum, to[at + 3]);
		}
		memcpy(to, from, SIZE);
	}
	return sum;
}

int main(int argc, char **argv)
{
	return bench_main(argc, argv, "fp-memory", 500, memory);
}
