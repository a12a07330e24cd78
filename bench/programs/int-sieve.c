/* Sieve of Eratosthenes: byte stores with a growing stride, then a scan. */
#include "bench.h"

#define LIMIT 400000

static uint8_t composite[LIMIT];

static uint64_t sieve(uint64_t count)
{
	uint64_t primes = 0;

	while (count--) {
		memset(composite, 0, sizeof(composite));
		for (uint32_t i = 2; i < LIMIT; i++) {
			if (composite[i])
				continue;
			primes++;
			for (uint32_t j = i * 2; j < LIMIT; j += i)
				composite[j] = 1;
		}
	}
	return primes;
}

int main(int argc, char **argv)
{
	return bench_main(argc, argv, "int-sieve", 60, sieve);
}
