/*
 * Hot code that is patched, as inline caches and switched call sites are: functions in one page run
 * hot, and now and then a constant in one of them changes.
 */
#include "jit.h"

#define CALLS 200

static uint64_t patch(uint64_t count)
{
	uint8_t *page = mmap(
		NULL, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t seed = 1;
	uint32_t value = 1;

	if (page == MAP_FAILED)
		bench_die("mmap");
	for (int i = 0; i < FUNCTIONS; i++)
		emit(page + i * STRIDE, 0x10001, 0);
	while (count--) {
		uint64_t random = bench_random(&seed);
		uint32_t mask = (uint32_t)(random >> 32);

		memcpy(page + random % FUNCTIONS * STRIDE + 7, &mask, sizeof(mask));
		for (int call = 0; call < CALLS; call++) {
			uint32_t i = value >> 5 & (FUNCTIONS - 1);

			value = ((function *)(void *)(page + i * STRIDE))(value + (uint32_t)call);
		}
	}
	munmap(page, PAGE);
	return value;
}

int main(int argc, char **argv)
{
	return bench_main(argc, argv, "os-jit-patch", 60000, patch);
}
