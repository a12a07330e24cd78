/* Quicksort of random words: compares and branches nobody can predict. */
#include "bench.h"

#define SIZE 50000

static uint32_t data[SIZE];

static void quicksort(uint32_t *first, uint32_t *last)
{
	uint32_t pivot = first[(last - first) / 2];
	uint32_t *low = first, *high = last;

	while (low <= high) {
		while (*low < pivot)
			low++;
		while (*high > pivot)
			high--;
		if (low <= high) {
			uint32_t swap = *low;

			*low++ = *high;
			*high-- = swap;
		}
	}
	if (first < high)
		quicksort(first, high);
	if (low < last)
		quicksort(low, last);
}

static uint64_t sort(uint64_t count)
{
	uint64_t seed = 1, sum = 0;

	while (count--) {
		for (int i = 0; i < SIZE; i++)
			data[i] = (uint32_t)bench_random(&seed);
		quicksort(data, data + SIZE - 1);
		for (int i = 0; i < SIZE; i += 997)
			sum = bench_mix(sum, data[i]);
	}
	return sum;
}

int main(int argc, char **argv)
{
	return bench_main(argc, argv, "int-sort", 20, sort);
}
