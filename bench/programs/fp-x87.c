/*
 * 80-bit arithmetic on the x87: Simpson's rule and Newton's square roots. Only operations that
 * IEEE 754 defines to the last bit: what fsin returns differs from one maker to the next.
 */
#include "bench.h"

static long double f(long double x)
{
	return (1.0L + x * (0.5L - x * 0.25L)) / (1.0L + x * x);
}

static long double newton(long double value)
{
	long double root = value;

	for (int i = 0; i < 8; i++)
		root = 0.5L * (root + value / root);
	return root;
}

static uint64_t x87(uint64_t count)
{
	uint64_t sum = 0;

	for (uint64_t n = 1; n <= count; n++) {
		long double step = 1.0L / 64, integral = 0;

		for (int i = 0; i < 64; i += 2)
			integral += f(i * step) + 4 * f((i + 1) * step) + f((i + 2) * step);
		sum = bench_mix_double(sum, (double)newton(integral * (long double)n));
	}
	return sum;
}

int main(int argc, char **argv)
{
	return bench_main(argc, argv, "fp-x87", 200000, x87);
}
