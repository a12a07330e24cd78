/* Fibonacci numbers by double recursion: calls, returns and the stack. */
#include "bench.h"

__attribute__((noinline)) static uint64_t fib(uint64_t n)
{
	uint64_t sum;

	if (n < 2)
		return n;
	sum = fib(n - 1) + fib(n - 2);
	__asm__("" : "+r"(sum)); /* keep the compiler from making a loop of the second call */
	return sum;
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
	return bench_main(argc, argv, "int-fib", 1000, fibonacci);
}
