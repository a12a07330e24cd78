/* y += a * x over vectors in the cache, two doubles an instruction (SSE2). */
#include "bench.h"

#define SIZE 1024 /* vectors */

typedef double vector __attribute__((vector_size(16)));

static vector x[SIZE], y[SIZE];

static uint64_t daxpy(uint64_t count)
{
	uint64_t sum = 0;

	for (int i = 0; i < SIZE; i++) {
		x[i] = (vector){i, -i};
		y[i] = (vector){1, i};
	}
	while (count--) {
		double a = 1.0 / (double)(count + 2);
		vector scale = {a, -a};

		for (int i = 0; i < SIZE; i++)
			y[i] += scale * x[i];
	}
	for (int i = 0; i < SIZE; i++)
		sum = bench_mix_double(bench_mix_double(sum, y[i][0]), y[i][1]);
	return sum;
}

int main(int argc, char **argv)
{
	return bench_main(argc, argv, "fp-daxpy", 60000, daxpy);
}
