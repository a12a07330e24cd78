/*
 * Fibonacci numbers by double recursion, as the compiler makes them when nothing hinders it: it
 * puts several levels of calls into one, with large frames and many registers pushed and popped.
 */
#include "bench.h"

static uint64_t fib(uint64_t n)
{
	return n < 2 ? n : fib(n - 1) + fib(n - 2);
}

static uint64_t fibonacci(uint64_t count)
{
	uint64_t sum = 0;

	while (count--)
		sum = bench_mix(sum, fib(20 + (count & 3)));
	return sum;
}

int main(int argc, char **argv)
{
	return bench_main(argc, argv, "call-fib", 1200, fibonacci);
}
