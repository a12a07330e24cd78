/* Matrix product over 64-bit integers, column by column: strided loads and multiplications. */
#include "bench.h"

#define SIZE 96

static uint64_t a[SIZE][SIZE], b[SIZE][SIZE], product[SIZE][SIZE];

static uint64_t matrix(uint64_t count)
{
	uint64_t seed = 1, sum = 0;

	for (int i = 0; i < SIZE; i++) {
		for (int j = 0; j < SIZE; j++) {
			a[i][j] = bench_random(&seed);
			b[i][j] = bench_random(&seed);
		}
	}
	while (count--) {
		for (int i = 0; i < SIZE; i++) {
			for (int j = 0; j < SIZE; j++) {
				uint64_t dot = 0;

				for (int k = 0; k < SIZE; k++)
					dot += a[i][k] * b[k][j];
				product[i][j] = dot;
			}
		}
		a[count % SIZE][count % SIZE] ^= product[0][0];
		sum = bench_mix(sum, product[count % SIZE][SIZE - 1]);
	}
	return sum;
}

int main(int argc, char **argv)
{
	return bench_main(argc, argv, "int-matrix", 100, matrix);
}
