/* Ackermann's function: recursion thousands of calls deep, so a return stack overflows. */
#include "bench.h"

__attribute__((noinline)) static uint32_t ackermann(uint32_t m, uint32_t n)
{
	uint32_t result;

	if (m == 0)
		return n + 1;
	result = ackermann(m - 1, n == 0 ? 1 : ackermann(m, n - 1));
	__asm__("" : "+r"(result)); /* keep the compiler from making a loop of the tail call */
	return result;
}

static uint64_t deep_calls(uint64_t count)
{
	uint64_t sum = 0;

	while (count--)
		sum = bench_mix(sum, ackermann(2, 300 + (uint32_t)(count & 7)));
	return sum;
}

int main(int argc, char **argv)
{
	return bench_main(argc, argv, "int-ackermann", 300, deep_calls);
}
