/*
 * Code made at run time where no address may be written and run at once (W^X), as .NET, QEMU and
 * others do it: one piece of memory mapped twice, to be written here and to be run there.
 */
#define _GNU_SOURCE
#include "jit.h"

#include <unistd.h>

#define CALLS 500

static uint64_t alias(uint64_t count)
{
	int file = memfd_create("code", 0);
	uint8_t *page, *writable;
	uint64_t seed = 1;
	uint32_t value = 1;

	if (file < 0 || ftruncate(file, PAGE) < 0)
		bench_die("memfd_create");
	page = mmap(NULL, PAGE, PROT_READ | PROT_EXEC, MAP_SHARED, file, 0);
	writable = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	if (page == MAP_FAILED || writable == MAP_FAILED)
		bench_die("mmap");
	for (uint64_t n = 0; n < count; n++) {
		uint8_t *at = page + n % FUNCTIONS * STRIDE;
		uint64_t random = bench_random(&seed);

		emit(writable + (at - page), (uint32_t)random | 1, (uint32_t)(random >> 32));
		for (int call = 0; call < CALLS; call++)
			value = ((function *)(void *)at)(value + (uint32_t)call);
	}
	munmap(page, PAGE);
	munmap(writable, PAGE);
	close(file);
	return value;
}

int main(int argc, char **argv)
{
	return bench_main(argc, argv, "os-jit-alias", 40000, alias);
}
