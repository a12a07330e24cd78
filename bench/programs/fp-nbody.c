/* Five bodies under gravity: scalar doubles with square roots and divisions. */
#include "bench.h"

#define BODIES 5

struct body {
	double position[3], velocity[3], mass;
};

static struct body bodies[BODIES] = {
	{{0, 0, 0}, {0, 0, 0}, 39.478},
	{{4.841, -1.160, -0.104}, {0.606, 2.812, -0.025}, 0.0377},
	{{8.343, 4.125, -0.403}, {-1.011, 1.826, 0.008}, 0.0113},
	{{12.894, -15.111, -0.223}, {1.083, 0.869, -0.011}, 0.0017},
	{{15.380, -25.919, 0.179}, {0.979, 0.594, -0.035}, 0.0020},
};

static double square_root(double value)
{
	__asm__("sqrtsd %0, %0" : "+x"(value));
	return value;
}

static void attract(struct body *a, struct body *b, double step)
{
	double d[3], distance2 = 0, magnitude;

	for (int i = 0; i < 3; i++) {
		d[i] = a->position[i] - b->position[i];
		distance2 += d[i] * d[i];
	}
	magnitude = step / (distance2 * square_root(distance2));
	for (int i = 0; i < 3; i++) {
		a->velocity[i] -= d[i] * b->mass * magnitude;
		b->velocity[i] += d[i] * a->mass * magnitude;
	}
}

static uint64_t nbody(uint64_t count)
{
	uint64_t sum = 0;

	while (count--) {
		for (int i = 0; i < BODIES; i++) {
			for (int j = i + 1; j < BODIES; j++)
				attract(&bodies[i], &bodies[j], 0.001);
		}
		for (int i = 0; i < BODIES; i++) {
			for (int j = 0; j < 3; j++)
				bodies[i].position[j] += 0.001 * bodies[i].velocity[j];
		}
	}
	for (int i = 0; i < BODIES; i++)
		sum = bench_mix_double(sum, bodies[i].position[0]);
	return sum;
}

int main(int argc, char **argv)
{
	return bench_main(argc, argv, "fp-nbody", 900000, nbody);
}
