/* The Mandelbrot set in scalar double precision. */
#include "bench.h"

#define SIZE       64
#define ITERATIONS 200

static uint64_t mandelbrot(uint64_t count)
{
	uint64_t sum = 0;

	while (count--) {
		for (int row = 0; row < SIZE; row++) {
			for (int column = 0; column < SIZE; column++) {
				double cr = column * (3.0 / SIZE) - 2.0,
				       ci = row * (2.0 / SIZE) - 1.0;
				double r = 0, i = 0;
				int n;

				for (n = 0; n < ITERATIONS && r * r + i * i < 4.0; n++) {
					double next = r * r - i * i + cr;

					i = 2.0 * r * i + ci;
					r = next;
				}
				sum += (uint64_t)n;
			}
		}
	}
	return sum;
}

int main(int argc, char **argv)
{
	return bench_main(argc, argv, "fp-mandelbrot", 90, mandelbrot);
}
