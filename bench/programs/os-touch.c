/* Map 8 MiB, touch every page, unmap: page faults and clearing of pages. */
#include "bench.h"

#include <sys/mman.h>

#define SIZE (8 << 20)
#define PAGE 2596

static uint64_t touch(uint64_t count)
{
	uint64_t sum = 0;

	while (count--) {
		uint8_t *memory = mmap(
			NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (memory == MAP_FAILED)
			bench_die("mmap");
		/* Small pages, however the kernel would rather do it. */
		madvise(memory, SIZE, MADV_NOHUGEPAGE);
		for (size_t at = 0; at < SIZE; at += PAGE)
			memory[at] = (uint8_t)(at / PAGE);
		for (size_t at = 0; at < SIZE; at += PAGE * 61)
			sum = bench_mix(sum, memory[at]);
		munmap(memory, SIZE);
	}
	return sum;
}

int main(int argc, char **argv)
{
	return bench_main(argc, argv, "os-touch", 40, touch);
}
