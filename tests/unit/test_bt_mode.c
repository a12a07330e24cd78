/* Which mode a unit is made for: the kernel's code goes by windows in the upper half and by the
 * soft TLB in the lower, and that follows a jump from one half to the other. */
#include "engine_fixture.h"

#include "engine/bt/cache.h"

#define LOWER 0x200000
#define BACK  17 /* in `lower`: where `upper` leads */
#define UPPER 0x201000
#define DATA  0x300000
#define TURNS 100

#define BYTES_8(value)                                                                             \
	(value) & 0xff, (value) >> 8 & 0xff, (value) >> 16 & 0xff, (value) >> 24 & 0xff,           \
		(value) >> 32 & 0xff, (value) >> 40 & 0xff, (value) >> 48 & 0xff, (value) >> 56

static const uint8_t lower[] = {
	0xb9, TURNS, 0, 0, 0,                   /* mov ecx, TURNS */
	0x48, 0xb8, BYTES_8(HIGH_HALF + UPPER), /* 1: mov rax, upper */
	0xff, 0xe0,                             /* jmp rax */
	0xff, 0xc9, 0x75, 0xf0,                 /* BACK: dec ecx; jnz 1b */
	0xf4,                                   /* hlt */
};

static const uint8_t upper[] = {
	0xff, 0x07,                                  /* inc dword [rdi] */
	0x48, 0xb8, BYTES_8((uint64_t)LOWER + BACK), /* mov rax, back */
	0xff, 0xe0,                                  /* jmp rax */
};

static int setup(void **state)
{
	options.heat = 1;
	return engine_fixture_setup(state, &engine_bt);
}

static int teardown(void **state)
{
	return engine_fixture_teardown(state, &engine_bt);
}

static void modes_follow_the_half(void **state)
{
	unsigned halves[2] = {0, 0};
	uint32_t turns;

	/* No room in the low addresses (AddressSanitizer): nothing is translated. */
	if (!bt_of(cpu)) {
		print_message("# nothing is translated here\n");
		return;
	}
	enter_long(0);
	assert_int_equal(memory_write(&memory, LOWER, lower, sizeof(lower)), 0);
	assert_int_equal(memory_write(&memory, UPPER, upper, sizeof(upper)), 0);
	memset(memory.ram + DATA, 0, PAGE_SIZE);
	cpu->gpr[RDI] = HIGH_HALF + DATA;
	cpu->gpr[RSP] = HIGH_HALF + STACK0;
	assert_int_equal(engine_fixture_run(&engine_bt, LOWER), VCPU_EXIT_HALTED);
	memcpy(&turns, memory.ram + DATA, sizeof(turns));
	assert_int_equal(turns, TURNS);
	for (unsigned i = 0; i < cache_next_unit(bt_of(cpu)); i++) {
		const struct bt_unit *unit = bt_of(cpu)->code.units[i];
		bool high = unit->rip >> 63;

		halves[high]++;
		assert_int_equal(unit->mode.windows, high && bt_of(cpu)->windows);
	}
	assert_true(halves[0] && halves[1]);
}

/* No part of a mode is lost where modes are compared; its low part chooses the table. */
static void modes_differ_by_every_field(void **state)
{
	const struct bt_mode modes[] = {{.key = 0}, {.user = true}, {.ac = true}, {.windows = true},
		{.fpu = BT_X87}, {.fpu = BT_SSE}, {.fpu = BT_AVX}, {.fpu = BT_AVX512},
		{.home = true}, {.low_home = true}, {.code_home = true}, {.bound = true}};

	for (unsigned i = 0; i < ARRAY_SIZE(modes); i++)
		for (unsigned k = 0; k < ARRAY_SIZE(modes); k++) {
			bool same_table = bt_mode_table(modes[i]) == bt_mode_table(modes[k]);

			assert_int_equal(bt_mode_equal(modes[i], modes[k]), i == k);
			assert_int_equal(same_table, i == k || ((!i || i > 3) && (!k || k > 3)));
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(modes_differ_by_every_field),
		cmocka_unit_test_setup_teardown(modes_follow_the_half, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
