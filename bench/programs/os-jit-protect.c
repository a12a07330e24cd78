/*
 * Code made at run time where no page may be written and run at once (W^X), as LuaJIT does it:
 * mprotect() before code is written, and again before it runs.
 */
#include "jit.h"

#define CALLS 500

static uint64_t protect(uint64_t count)
{
	uint8_t *page =
		mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t seed = 1;
	uint32_t value = 1;

	if (page == MAP_FAILED)
		bench_die("mmap");
	for (uint64_t n = 0; n < count; n++) {
		uint8_t *at = page + n % FUNCTIONS * STRIDE;
		uint64_t random = bench_random(&seed);

		if (mprotect(page, PAGE, PROT_READ | PROT_WRITE) < 0)
			bench_die("mprotect");
		emit(at, (uint32_t)random | 1, (uint32_t)(random >> 32));
		if (mprotect(page, PAGE, PROT_READ | PROT_EXEC) < 0)
			bench_die("mprotect");
		for (int call = 0; call < CALLS; call++)
			value = ((function *)(void *)at)(value + (uint32_t)call);
	}
	munmap(page, PAGE);
	return value;
}

int main(int argc, char **argv)
{
	return bench_main(argc, argv, "os-jit-protect", 20000, protect);
}
