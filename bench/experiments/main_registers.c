/* What it costs to keep two guest registers in memory and a third in another's place. */
#include "experiment.h"

uint64_t spill_r10, spill_r11;

typedef long kernel(const uint32_t *p, long n);
kernel kernel_chacha_native, kernel_chacha_spilled, kernel_rounds_native, kernel_rounds_spilled;

static const struct {
	const char *name;
	kernel *run[2];
	long n;
} rows[] = {
	{"ChaCha quarter rounds", {kernel_chacha_native, kernel_chacha_spilled}, 10000},
	{"SHA-256 rounds", {kernel_rounds_native, kernel_rounds_spilled}, 20000},
};

int main(void)
{
	static uint32_t data[64];
	for (unsigned i = 0; i < 64; i++)
		data[i] = i * 2654435761u;
	printf("| loop | time against native |\n|---|---|\n");
	for (size_t row = 0; row < sizeof(rows) / sizeof(*rows); row++) {
		static double sample[2][ROUNDS];
		for (int round = 0; round < ROUNDS; round++) {
			long result[2];
			for (int v = 0; v < 2; v++) {
				double start = experiment_now();
				result[v] = rows[row].run[v](data, rows[row].n);
				sample[v][round] = experiment_now() - start;
			}
			if (result[0] != result[1]) {
				fprintf(stderr, "registers: %s computed something else\n",
					rows[row].name);
				return 1;
			}
		}
		double native = experiment_median(sample[0], ROUNDS);
		printf("| %s | %.2f |\n", rows[row].name,
			experiment_median(sample[1], ROUNDS) / native);
	}
	return 0;
}
