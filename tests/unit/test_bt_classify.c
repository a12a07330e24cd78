/* engine/bt/analyze.c: which instructions translated code runs itself, by the mode that it is made
 * for. What the mode forbids is left to the interpreter, which raises the exception. */
#include "cpu_fixture.h"

#include "engine/bt/analyze.h"
#include "engine/bt/unit.h"

static struct translator *t;
static uint8_t adapted[UNIT_MAX_INSNS];

static int setup(void **state)
{
	if (fixture_setup(state))
		return -1;
	t = calloc(1, sizeof(*t));
	t->cpu = cpu;
	t->adapted = adapted;
	return 0;
}

static int teardown(void **state)
{
	free(t);
	return fixture_teardown(state);
}

#define classify_test(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

static const struct bt_mode kernel = {.windows = true}, user = {.windows = true, .user = true};

/* Does code made for this mode run the instruction itself? */
static bool runs(const char *bytes, size_t size, struct bt_mode mode, uint64_t cr4)
{
	uint8_t code[32];

	memset(code, 0x90, sizeof(code)); /* a unit must do something itself */
	memcpy(code, bytes, size);
	t->mode = mode;
	cpu->cr4 = CR4_PAE | cr4;
	/* Units that would run nothing themselves are not made. */
	if (!analyze(t, code, sizeof(code), 0x1000))
		return false;
	assert_int_equal(t->insn[0].in.length, size);
	return t->insn[0].kind != GUEST_INTERPRET && t->insn[0].kind != GUEST_END;
}

/* Those that ring 0 alone may execute, and those that a bit of CR4 makes what they are. */
static void privilege_and_cr4_decide(void **state)
{
	static const struct {
		const char *bytes, *name;
		size_t size;
		/* CR4's bit, and where it runs with that bit clear and set. */
		uint64_t cr4;
		bool kernel_clear, kernel_set, user_clear, user_set;
	} rows[] = {
		{"\xfa", "cli", 1, 0, true, true, false, false},
		{"\xfb", "sti", 1, 0, true, true, false, false},
		{"\x0f\x01\xf8", "swapgs", 3, 0, true, true, false, false},
		{"\x0f\x20\xd0", "mov rax, cr2", 3, 0, true, true, false, false},
		{"\x0f\x20\xd8", "mov rax, cr3", 3, 0, false, false, false, false},
		{"\x0f\x01\xcb", "stac", 3, CR4_SMAP, false, true, false, false},
		{"\x0f\x01\xca", "clac", 3, CR4_SMAP, false, true, false, false},
		{"\x0f\x31", "rdtsc", 2, CR4_TSD, true, true, true, false},
		{"\x0f\x01\xee", "rdpkru", 3, CR4_PKE, false, true, false, true},
		{"\xf3\x48\x0f\xae\xc0", "rdfsbase rax", 5, CR4_FSGSBASE, false, true, false, true},
		{"\xf3\x48\x0f\xae\xd8", "wrgsbase rax", 5, CR4_FSGSBASE, false, true, false, true},
		{"\x9c", "pushfq", 1, 0, true, true, true, true},
		{"\x66\x9c", "pushfw", 2, 0, false, false, false, false},
		{"\x9d", "popfq", 1, 0, false, false, false, false},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		const char *bytes = rows[i].bytes;
		size_t size = rows[i].size;
		unsigned seen = runs(bytes, size, kernel, 0) << 3 |
				runs(bytes, size, kernel, rows[i].cr4) << 2 |
				runs(bytes, size, user, 0) << 1 |
				runs(bytes, size, user, rows[i].cr4);
		unsigned want = rows[i].kernel_clear << 3 | rows[i].kernel_set << 2 |
				rows[i].user_clear << 1 | rows[i].user_set;

		if (seen != want)
			fail_msg("%s: %x, not %x", rows[i].name, seen, want);
	}
}

#define RUNS(bytes, mode) runs(bytes, sizeof(bytes) - 1, mode, 0)

static void strings_have_no_other_segment(void **state)
{
	assert_true(RUNS("\xf3\xa4", user));
	assert_true(RUNS("\xf3\x48\xab", kernel));
	assert_false(RUNS("\x64\xf3\xa4", user));   /* fs: rep movsb */
	assert_false(RUNS("\x65\x48\xa5", kernel)); /* gs: movsq */
	assert_false(RUNS("\x67\xf3\xa4", user));   /* by ESI and EDI */
	assert_true(RUNS("\xf3\xa4", ((struct bt_mode){.user = true})));
	assert_true(RUNS("\xf3\xa4",
		((struct bt_mode){.windows = true, .ac = true}))); /* may reach the user's pages */
	assert_false(RUNS("\xf3\xac", user));                      /* lods */
}

static enum guest_kind kind_of(const char *bytes, size_t size)
{
	return runs(bytes, size, kernel, 0) ? t->insn[0].kind : GUEST_END;
}

#define KIND_OF(bytes) kind_of(bytes, sizeof(bytes) - 1)

/* A bit's number in a register moves the address: the operand is not where it seems to be. */
static void bit_strings_are_not_copied(void **state)
{
	assert_int_equal(KIND_OF("\x48\x0f\xa3\x03"), GUEST_BIT_STRING);     /* bt [rbx], rax */
	assert_int_equal(KIND_OF("\xf0\x48\x0f\xab\x03"), GUEST_BIT_STRING); /* lock bts */
	assert_int_equal(KIND_OF("\x0f\xb3\x03"), GUEST_BIT_STRING);         /* btr [rbx], eax */
	assert_int_equal(KIND_OF("\x48\x0f\xbb\x03"), GUEST_BIT_STRING);     /* btc */
	assert_int_equal(KIND_OF("\x48\x0f\xbb\xc3"), GUEST_IDENTICAL);      /* btc rbx, rax */
	assert_int_equal(KIND_OF("\x48\x0f\xba\x3b\x07"), GUEST_IDENTICAL);  /* btc [rbx], 7 */
	assert_false(RUNS("\x66\x0f\xbb\x03", kernel));                      /* of 16 bits */
	assert_false(RUNS("\x67\x48\x0f\xbb\x03", kernel));                  /* by EBX */
	assert_false(RUNS("\x48\x0f\xa3\x23", kernel));                      /* bt [rbx], rsp */
}

static void the_stack_moves_by_what_is_in_its_register(void **state)
{
	for (unsigned reg = 0; reg < 16; reg++) {
		bool tracked = reg != RSP && reg != R10 && reg != R11;
		const char add[] = {
			(char)(0x48 | (reg >> 3) << 2), 0x01, (char)(0xc4 | (reg & 7) << 3)};

		assert_int_equal(runs(add, sizeof(add), kernel, 0), tracked);
	}
	assert_true(RUNS("\x48\x83\xec\x40", kernel)); /* sub rsp, 64 */
}

static bool branches(const char *bytes, size_t size, uint64_t rip)
{
	t->mode = kernel;
	return analyze(t, (const uint8_t *)bytes, (unsigned)size, rip) &&
	       t->insn[0].kind != GUEST_END;
}

/* A branch to such an address faults itself. */
static void targets_are_canonical(void **state)
{
	static const struct {
		const char *bytes;
		size_t size;
	} rows[] = {
		{"\xe9\x00\x10\x00\x00", 5},     /* jmp */
		{"\xe8\x00\x10\x00\x00", 5},     /* call */
		{"\x0f\x84\x00\x10\x00\x00", 6}, /* jz */
		{"\xeb\x70", 2},                 /* jmp short */
		{"\xe2\x70", 2},                 /* loop */
		{"\xe3\x70", 2},                 /* jrcxz */
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		assert_true(branches(rows[i].bytes, rows[i].size, 0x1000));
		assert_false(branches(rows[i].bytes, rows[i].size, BIT(47) - 16));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		classify_test(privilege_and_cr4_decide),
		classify_test(strings_have_no_other_segment),
		classify_test(bit_strings_are_not_copied),
		classify_test(the_stack_moves_by_what_is_in_its_register),
		classify_test(targets_are_canonical),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
