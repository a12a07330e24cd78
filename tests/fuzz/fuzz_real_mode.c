/* A kernel of an old protocol, and an initrd of any size. What the option ROM then loads lies in
 * RAM, below what firmware keeps, and nothing of it over something else. */
#include "../unit/real_mode_fixture.h"

#define MEMORY_SIZE    (8 * MIB)
#define FIRMWARE_KEEPS (4 * MIB)
#define MOST_REQUESTS  4

static uint8_t initrd[2 * MIB];

static void require(bool condition)
{
	if (!condition)
		abort();
}

static void check_requests(void)
{
	struct rom_request request[MOST_REQUESTS] = {0};
	uint8_t rom[ROM_BYTES];

	read_rom(rom);
	for (unsigned i = 0; i < MOST_REQUESTS; i++) {
		request[i] = rom_request(rom, i);
		require(request[i].place + request[i].size <= MEMORY_SIZE - FIRMWARE_KEEPS);
		for (unsigned k = 0; k < i; k++)
			require(!request[i].size ||
				request[i].place >= request[k].place + request[k].size ||
				request[k].place >= request[i].place + request[i].size);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint32_t initrd_size;

	if (size < sizeof(initrd_size))
		return 0;
	memcpy(&initrd_size, data, sizeof(initrd_size));
	data += sizeof(initrd_size);
	size -= sizeof(initrd_size);
	require(real_mode_setup(MEMORY_SIZE));
	image_from_bytes(&machine.kernel, "--kernel", data, size);
	image_from_bytes(&machine.initrd, "--initrd", initrd, initrd_size % sizeof(initrd));
	if (real_mode_is_needed(&machine.kernel) && real_mode_add(&machine) == 0)
		check_requests();
	real_mode_teardown();
	return 0;
}
