#include "fuzz_chipset.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	create();
	run_steps(data, size);
	destroy();
	return 0;
}
