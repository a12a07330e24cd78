/* A linked list in random order over 1 MiB: nothing but dependent loads. */
#include "bench.h"

#define NODES 16384

static struct node {
	struct node *next;
	uint64_t value;
	uint8_t padding[48]; /* one cache line each */
} nodes[NODES];

static uint64_t chase(uint64_t count)
{
	struct node *node = nodes;
	uint32_t order[NODES];
	uint64_t seed = 1, sum = 0;

	for (uint32_t i = 0; i < NODES; i++)
		order[i] = i;
	for (uint32_t i = NODES - 1; i > 0; i--) {
		uint32_t j = (uint32_t)(bench_random(&seed) % i);
		uint32_t swap = order[i];

		order[i] = order[j];
		order[j] = swap;
	}
	for (uint32_t i = 0; i < NODES; i++) {
		nodes[order[i]].next = &nodes[order[(i + 1) % NODES]];
		nodes[order[i]].value = i;
	}

	for (count *= NODES; count; count--) {
		sum += node->value ^ count;
		node = node->next;
	}
	return sum;
}

int main(int argc, char **argv)
{
	return bench_main(argc, argv, "int-chase", 400, chase);
}
