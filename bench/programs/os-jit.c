/*
 * Code made at run time: fill a page with small functions, call each a few times, write others
 * over them. What a just-in-time compiler in the guest does, and what hurts a monitor that keeps
 * decoded or translated copies of the guest's code.
 */
#include "jit.h"

#define CALLS 20

static uint64_t jit(uint64_t count)
{
	uint8_t *page = mmap(
		NULL, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t seed = 1, sum = 0;

	if (page == MAP_FAILED)
		bench_die("mmap");
	while (count--) {
		for (int i = 0; i < FUNCTIONS; i++) {
			uint64_t random = bench_random(&seed);

			emit(page + i * STRIDE, (uint32_t)random, (uint32_t)(random >> 32));
		}
		for (int i = 0; i < FUNCTIONS; i++) {
			function *made = (function *)(void *)(page + i * STRIDE);
			uint32_t value = (uint32_t)count;

			for (int call = 0; call < CALLS; call++)
				value = made(value);
			sum = bench_mix(sum, value);
		}
	}
	munmap(page, PAGE);
	return sum;
}

int main(int argc, char **argv)
{
	return bench_main(argc, argv, "os-jit", 6000, jit);
}
