/* Map one page, write to it, protect it, unmap it: the kernel's memory maps and the TLB. */
#include "bench.h"

#include <sys/mman.h>

#define PAGE 4096

static uint64_t map_and_unmap(uint64_t count)
{
	uint64_t sum = 0;

	while (count--) {
		volatile uint64_t *page = mmap(
			NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (page == MAP_FAILED)
			bench_die("mmap");
		*page = count;
		if (mprotect((void *)page, PAGE, PROT_READ) != 0)
			bench_die("mprotect");
		sum = bench_mix(sum, *page + page[1]);
		munmap((void *)page, PAGE);
	}
	return sum;
}

int main(int argc, char **argv)
{
	return bench_main(argc, argv, "os-mmap", 10000, map_and_unmap);
}
