/* Matrix product in single precision, four floats an instruction (SSE). */
#include "bench.h"

#define SIZE  128
#define LANES 4

typedef float vector __attribute__((vector_size(16)));

static float a[SIZE][SIZE];
static vector b[SIZE][SIZE / LANES], product[SIZE][SIZE / LANES];

static uint64_t matmul(uint64_t count)
{
	uint64_t seed = 1, sum = 0;

	for (int i = 0; i < SIZE; i++) {
		for (int j = 0; j < SIZE; j++) {
			a[i][j] = (float)(bench_random(&seed) % 1000) / 64.0f;
			b[i][j / LANES][j % LANES] = (float)(bench_random(&seed) % 1000) / 64.0f;
		}
	}
	while (count--) {
		memset(product, 0, sizeof(product));
		for (int i = 0; i < SIZE; i++) {
			for (int k = 0; k < SIZE; k++) {
				float s = a[i][k];
				vector scale = {s, s, s, s};

				for (int j = 0; j < SIZE / LANES; j++)
					product[i][j] += scale * b[k][j];
			}
		}
		a[0][count % SIZE] += 0.5f;
		sum = bench_mix_double(sum, product[0][count % (SIZE / LANES)][count % LANES]);
	}
	return sum;
}

int main(int argc, char **argv)
{
	return bench_main(argc, argv, "fp-matmul", 150, matmul);
}
