/* Kernels that are entered in real mode: what the option ROM loads, and where. */
#include "real_mode_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define KERNEL_SIZE 0x3f00
#define SETUP_SIZE  0x600
#define PLACE       0x100000

static uint8_t kernel[KERNEL_SIZE];

/* A bzImage of protocol 2.6 with two sectors of setup code. */
static void make_kernel(void)
{
	for (unsigned i = 0; i < sizeof(kernel); i++)
		kernel[i] = (uint8_t)(i / 512);
	kernel[0x1f1] = 2;
	kernel[0x1fe] = 0x55;
	kernel[0x1ff] = 0xaa;
	memcpy(kernel + 0x202, "HdrS\x06\x02", 6);
	kernel[0x211] = 1; /* loaded to 1 MiB */
	memset(kernel + 0x22c, 0, 4);
	image_from_bytes(&machine.kernel, "--kernel", kernel, sizeof(kernel));
}

static int setup(void **state)
{
	if (!real_mode_setup(16 * MIB))
		return -1;
	make_kernel();
	return 0;
}

static int teardown(void **state)
{
	real_mode_teardown();
	return 0;
}

static void which_kernels_need_it(void **state)
{
	assert_true(real_mode_is_needed(&machine.kernel));
	kernel[0x206] = 0x0a; /* 2.10: there is a 32-bit entry */
	assert_false(real_mode_is_needed(&machine.kernel));
	kernel[0x206] = 0x09;
	assert_true(real_mode_is_needed(&machine.kernel));
	machine.kernel.size = 0x25f;
	assert_false(real_mode_is_needed(&machine.kernel));
	machine.kernel.size = sizeof(kernel);
	kernel[0x202] = 'h';
	assert_false(real_mode_is_needed(&machine.kernel));
	kernel[0x202] = 'H';
	kernel[0x1fe] = 0;
	assert_false(real_mode_is_needed(&machine.kernel));
}

static void assert_request(
	const uint8_t *rom, unsigned i, uint32_t key, uint32_t size, uint64_t place)
{
	struct rom_request request = rom_request(rom, i);

	assert_int_equal(request.key, key);
	assert_int_equal(request.size, size);
	assert_int_equal(request.place, place);
}

static void the_rom_loads_kernel_and_command_line(void **state)
{
	uint8_t rom[ROM_BYTES], got[KERNEL_SIZE], sum = 0;

	machine.cmdline = (char *)"one two";
	assert_int_equal(real_mode_add(&machine), 0);
	read_rom(rom);
	assert_int_equal(rom[0] | rom[1] << 8 | rom[2] << 16, 0x01aa55);
	for (unsigned i = 0; i < ROM_BYTES; i++)
		sum += rom[i];
	assert_int_equal(sum, 0);
	assert_memory_equal(rom + rom[0x1a], "$PnP", 4);
	assert_int_equal(rom[0x40 + 19], 3); /* requests: the code's count */
	assert_request(rom, 0, FW_CFG_KERNEL_DATA, KERNEL_SIZE - SETUP_SIZE, PLACE);
	assert_request(rom, 1, FW_CFG_CMDLINE_DATA, 8, 0x1e000);
	assert_request(rom, 2, FW_CFG_SETUP_DATA, SETUP_SIZE, 0x10000);
	read_item(FW_CFG_KERNEL_DATA, got, KERNEL_SIZE - SETUP_SIZE);
	assert_memory_equal(got, kernel + SETUP_SIZE, KERNEL_SIZE - SETUP_SIZE);
	read_item(FW_CFG_CMDLINE_DATA, got, 8);
	assert_string_equal((char *)got, "one two");
	read_item(FW_CFG_SETUP_DATA, got, SETUP_SIZE);
	assert_int_equal(got[0x210], 0xff);                      /* an unknown loader */
	assert_int_equal(got[0x211], 0x81);                      /* there is a heap */
	assert_memory_equal(got + 0x224, "\x00\xdc", 2);         /* its end */
	assert_memory_equal(got + 0x228, "\x00\xe0\x01\x00", 4); /* the command line */
	assert_memory_equal(got, kernel, 0x1f1);
}

/* Of all sizes, in memory that is just large enough, or just not. */
static void an_initrd_is_not_put_over_the_kernel(void **state)
{
	static uint8_t bytes[12 * MIB];
	uint64_t kernel_end = PLACE + KERNEL_SIZE - SETUP_SIZE, most = 0;
	uint8_t rom[ROM_BYTES];

	for (uint64_t i = 0; i < 40; i++) {
		uint64_t size = 16 * MIB - 4 * MIB - PLACE - KERNEL_SIZE + 0x800 - i * 0x100;
		struct rom_request request;

		image_from_bytes(&machine.initrd, "--initrd", bytes, size);
		if (real_mode_add(&machine) == 0) {
			most = MAX(most, size);
			read_rom(rom);
			request = rom_request(rom, 2);
			assert_int_equal(request.key, FW_CFG_INITRD_DATA);
			assert_int_equal(request.size, size);
			assert_true(request.place >= kernel_end);
			assert_true(request.place + size <= 12 * MIB);
			assert_int_equal(request.place % 4096, 0);
		}
		teardown(state);
		setup(state);
	}
	assert_true(most);
}

static void what_is_refused(void **state)
{
	char *longest = calloc(1, 2049);

	kernel[0x211] = 0; /* a zImage */
	assert_int_equal(real_mode_add(&machine), -EINVAL);
	teardown(state);
	setup(state);
	kernel[0x1f1] = 0x1f; /* nothing is left for the kernel */
	assert_int_equal(real_mode_add(&machine), -EINVAL);
	teardown(state);
	setup(state);
	memset(longest, 'x', 2048);
	machine.cmdline = longest;
	assert_int_equal(real_mode_add(&machine), -E2BIG);
	teardown(state);
	setup(state);
	longest[2047] = 0;
	machine.cmdline = longest;
	assert_int_equal(real_mode_add(&machine), 0);
	teardown(state);
	assert_true(real_mode_setup(5 * MIB)); /* of which firmware has four */
	make_kernel();
	assert_int_equal(real_mode_add(&machine), -EINVAL);
	free(longest);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(which_kernels_need_it, setup, teardown),
		cmocka_unit_test_setup_teardown(
			the_rom_loads_kernel_and_command_line, setup, teardown),
		cmocka_unit_test_setup_teardown(
			an_initrd_is_not_put_over_the_kernel, setup, teardown),
		cmocka_unit_test_setup_teardown(what_is_refused, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
