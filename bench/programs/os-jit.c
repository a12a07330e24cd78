/*
 * Code made at run time: fill a page with small functions, call each a few times, write others
 * over them. What a just-in-time compiler in the guest does, and what hurts a monitor that keeps
 * decoded or translated copies of the guest's code.
 */
#include "bench.h"

#include <sys/mman.h>

#define PAGE      4096
#define FUNCTIONS 64
#define CALLS     20

typedef uint32_t function(uint32_t value);

/* function(value) = value * factor ^ mask */
static void emit(uint8_t *at, uint32_t factor, uint32_t mask)
{
	static const uint8_t code[] = {
		0x69, 0xc7, 0, 0, 0, 0, /* imul $factor, %edi, %eax */
		0x35, 0, 0, 0, 0,       /* xor $mask, %eax */
		0xc3,                   /* ret */
	};

	memcpy(at, code, sizeof(code));
	memcpy(at + 2, &factor, sizeof(factor));
	memcpy(at + 7, &mask, sizeof(mask));
}

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

			emit(page + i * (PAGE / FUNCTIONS), (uint32_t)random,
				(uint32_t)(random >> 32));
		}
		for (int i = 0; i < FUNCTIONS; i++) {
			function *made = (function *)(void *)(page + i * (PAGE / FUNCTIONS));
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
