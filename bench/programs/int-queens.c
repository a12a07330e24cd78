/* Solutions of the eight-queens problem on a larger board: recursion and bit masks. */
#include "bench.h"

#define SIZE 10

static uint32_t solve(uint32_t columns, uint32_t left, uint32_t right)
{
	uint32_t open = ~(columns | left | right) & ((1 << SIZE) - 1);
	uint32_t solutions = 0;

	if (columns == (1 << SIZE) - 1)
		return 1;
	while (open) {
		uint32_t queen = open & -open;

		open ^= queen;
		solutions += solve(columns | queen, (left | queen) << 1, (right | queen) >> 1);
	}
	return solutions;
}

static uint64_t queens(uint64_t count)
{
	uint64_t sum = 0;

	while (count--)
		sum = bench_mix(sum, solve(0, 0, 0));
	return sum;
}

int main(int argc, char **argv)
{
	return bench_main(argc, argv, "int-queens", 1000, queens);
}
