/*
 * The example of Adams and Agesen, "A Comparison of Software and Hardware Techniques for x86
 * Virtualization" (ASPLOS 2006), which docs/binary-translation.md walks through: with --trace-bt it
 * shows a loop, its branches and its return being translated. isPrime() counts 2 as its first
 * divisor and 1 as prime, as theirs does.
 */
#include "kernel.h"

__attribute__((noinline)) int isPrime(int a)
{
	for (int i = 2; i < a; i++)
		if (a % i == 0)
			return 0;
	return 1;
}

void guest_main(void)
{
	int primes = 0;

	for (int n = 1; n <= 5000; n++)
		primes += isPrime(n);
	/* 669, and 1. */
	check(primes == 670, "%d primes up to 5000", primes);
}
