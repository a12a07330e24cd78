/* Fuzzes the loader of multiboot kernels. */
#include "fuzz_boot.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct boot_request request = {0};
	struct boot_start start;

	fuzz_load(&boot_multiboot, &request, data, size, &start);
	return 0;
}
