/*
 * Hot code that is patched, as inline caches and switched call sites are: functions in one page run
 * hot, and now and then a constant in one of them changes.
 */
#include "bench.h"

#include <sys/mman.h>

#define PAGE      4096
#define FUNCTIONS 64
#define STRIDE    (PAGE / FUNCTIONS)
#define CALLS     200

typedef uint32_t function(uint32_t value);

static void emit(uint8_t *at)
{
	static const uint8_t code[] = {
		0x69, 0xc7, 1, 0, 1, 0, /* imul $factor, %edi, %eax */
		0x35, 0, 0, 0, 0,       /* xor $mask, %eax */
		0xc3,                   /* ret */
	};

	memcpy(at, code, sizeof(code));
}

static uint64_t patch(uint64_t count)
{
	uint8_t *page = mmap(
		NULL, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t seed = 1;
	uint32_t value = 1;

	if (page == MAP_FAILED)
		bench_die("mmap");
	for (int i = 0; i < FUNCTIONS; i++)
		emit(page + i * STRIDE);
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
