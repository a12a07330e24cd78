/*
 * The C library's qsort: one comparison is one indirect call of a function that does very little.
 */
#include "bench.h"

enum { ELEMENTS = 4096 };

static int compare(const void *left, const void *right)
{
	uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;

	return (a > b) - (a < b);
}

static uint64_t sort(uint64_t count)
{
	static uint32_t elements[ELEMENTS];
	uint64_t state = 1, sum = 0;

	while (count--) {
		for (unsigned i = 0; i < ELEMENTS; i++)
			elements[i] = (uint32_t)bench_random(&state);
		qsort(elements, ELEMENTS, sizeof(*elements), compare);
		sum = bench_mix(sum, elements[ELEMENTS / 2]);
	}
	return sum;
}

int main(int argc, char **argv)
{
	return bench_main(argc, argv, "call-qsort", 150, sort);
}
