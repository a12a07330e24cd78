/*
 * The C library's malloc and free: short functions that call each other, and thread-local data.
 */
#include "bench.h"

static uint64_t allocate(uint64_t count)
{
	static uint64_t *held[256];
	uint64_t state = 1, sum = 0;

	while (count--) {
		uint64_t random = bench_random(&state);
		uint64_t **slot = &held[random & 255];

		if (*slot)
			sum = bench_mix(sum, **slot);
		free(*slot);
		*slot = malloc(16 + (random >> 8 & 511));
		if (!*slot)
			bench_die("malloc");
		**slot = random;
	}
	return sum;
}

int main(int argc, char **argv)
{
	return bench_main(argc, argv, "call-malloc", 5000000, allocate);
}
