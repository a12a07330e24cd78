/* --verify finds wrong translations: a loop is translated, its host code is then changed where a
 * byte of it means something, and it is run again. Each way of being wrong must be found and named;
 * and with nothing changed, nothing may be found. */
#include "engine_fixture.h"

#include "engine/bt/cache.h"
#include "engine/bt/rewrite.h"
#include "engine/bt/verify.h"
#include "isa/decode.h"

#include <fcntl.h>
#include <unistd.h>

#define CODE  0x200000
#define DATA  0x300000
#define LOOPS 50

/* Constants to find again in host code. */
#define ADDED    0x11223344u
#define COMPARED 0x22334455
#define STORED   0x33445566
#define DISTANCE 0x1230

#define BYTES_4(value)                                                                             \
	(value) & 0xff, (value) >> 8 & 0xff, (value) >> 16 & 0xff, (value) >> 24 & 0xff

static const uint8_t loop[] = {
	0xb9, LOOPS, 0, 0, 0,                /* mov ecx, LOOPS */
	0x90,                                /* nop */
	0x05, BYTES_4(ADDED),                /* 1: add eax, ADDED */
	0xc7, 0x07, BYTES_4(STORED),         /* mov dword [rdi], STORED */
	0x48, 0x89, 0x87, BYTES_4(DISTANCE), /* mov [rdi + DISTANCE], rax */
	0x50, 0x41, 0x5a,                    /* push rax; pop r10 */
	0x66, 0x0f, 0xfe, 0xc1,              /* paddd xmm0, xmm1 */
	0xd9, 0xe8, 0xd8, 0xc0, 0xdd, 0xd8,  /* fld1; fadd st, st(0); fstp st(0) */
	0x31, 0xdb, 0x74, 0x02, 0x0f, 0x0b,  /* xor ebx, ebx; jz 2f; ud2 */
	0x81, 0xfa, BYTES_4(COMPARED),       /* 2: cmp edx, COMPARED */
	0xff, 0xc9, 0x75, 0xd1,              /* dec ecx; jnz 1b: CF stays */
	0xf4,                                /* hlt */
};

/* OF is undefined after a rotation by more than one. */
static const uint8_t rotation[] = {
	0xb9, LOOPS, 0, 0, 0,   /* mov ecx, LOOPS */
	0x90,                   /* nop */
	0x85, 0xc0,             /* 1: test eax, eax */
	0x41, 0xc1, 0xc0, 0x04, /* rol r8d, 4 */
	0xe2, 0xf8,             /* loop 1b */
	0xf4,                   /* hlt */
};

static uint64_t base;  /* where the code sees guest-physical 0: 0, or HIGH_HALF, in windows */
static bool keep_loop; /* the unit may loop without leaving: verify.c lets every second one do so */

static int setup(void **state)
{
	options.verify = true;
	options.heat = 1;
	return engine_fixture_setup(state, &engine_bt);
}

static int teardown(void **state)
{
	return engine_fixture_teardown(state, &engine_bt);
}

#define verify_test(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

static enum vcpu_exit run_loop(void)
{
	cpu->gpr[RAX] = 1;
	cpu->gpr[RDX] = 5;
	cpu->gpr[R8] = 0x44444444;
	memset(memory.ram + DATA, 0, 2 * PAGE_SIZE);
	cpu->gpr[RDI] = base + DATA;
	cpu->gpr[RSP] = base + STACK0;
	memset(cpu->fpu.zmm, 0, sizeof(cpu->fpu.zmm));
	cpu->fpu.zmm[1][0] = 3;
	memset(cpu->fpu.x87, 0, sizeof(cpu->fpu.x87));
	memcpy(cpu->fpu.x87, &(uint16_t){0x37f}, 2); /* as FNINIT leaves it */
	return engine_fixture_run(&engine_bt, base + CODE);
}

/* Run through once, and so translated. */
static void translate(void)
{
	enter_long(0);
	cpu->cr0 |= CR0_NE | CR0_MP;
	cpu->cr4 |= CR4_OSFXSR | CR4_OSXMMEXCPT;
	assert_int_equal(memory_write(&memory, CODE, loop, sizeof(loop)), 0);
	bt_of(cpu)->stats.units = keep_loop;
	assert_int_equal(run_loop(), VCPU_EXIT_HALTED);
}

/* Overwrite `size` bytes of host code that are `from`, wherever they are. */
static void corrupt(const void *from, const void *to, size_t size)
{
	const struct bt *bt = bt_of(cpu);
	unsigned found = 0;

	for (unsigned i = 0; i < cache_next_unit(bt); i++)
		for (uintptr_t at = bt->code.units[i]->code;
			at + size <= bt->code.units[i]->code + bt->code.units[i]->size; at++)
			if (memcmp((const void *)at, from, size) == 0) {
				memcpy(cache_writable(bt, at), to, size);
				found++;
			}
	assert_int_not_equal(found, 0);
}

static void corrupt_constant(uint32_t from, uint32_t to)
{
	corrupt(&from, &to, 4);
}

/* Run the loop, with standard error in `report`. */
static void expect_difference(char *report, size_t size)
{
	int before = dup(STDERR_FILENO), pipes[2];
	enum vcpu_exit exit;
	ssize_t got;

	assert_int_equal(pipe2(pipes, O_NONBLOCK), 0);
	dup2(pipes[1], STDERR_FILENO);
	exit = run_loop();
	dup2(before, STDERR_FILENO);
	got = read(pipes[0], report, size - 1);
	report[got > 0 ? got : 0] = 0;
	close(before);
	close(pipes[0]);
	close(pipes[1]);
	assert_int_equal(exit, VCPU_EXIT_FAILED);
	assert_true(verify_failed(bt_of(cpu)));
}

static void expect_report(const char *line)
{
	static char report[16384];

	expect_difference(report, sizeof(report));
	if (!strstr(report, line) || !strstr(report, "  dec ecx\n") || !strstr(report, "unit 0x"))
		fail_msg("the report has no '%s':\n%s", line, report + strlen(report) - 600);
}

/* --- the ways of being wrong --- */

static void register_wrong(void)
{
	corrupt_constant(ADDED, ADDED + 1);
	expect_report("\nveneer: RAX        0000000");
}

static void flags_wrong(void)
{
	corrupt_constant(COMPARED, 0);
	expect_report("\nveneer:   CF         ");
}

static void value_stored_wrong(void)
{
	corrupt_constant(STORED, STORED ^ 0x80);
	expect_report(
		base ? "\nveneer: 0xffff800000300000 00000000          66554433          e6554433"
		     : "\nveneer: 0x300000   00000000          66554433          e6554433");
}

static void address_of_store_wrong(void)
{
	corrupt_constant(DISTANCE, DISTANCE + 16);
	expect_report(base ? "\nveneer: 0xffff800000301230 " : "\nveneer: 0x301230   ");
}

static void vector_wrong(void)
{
	corrupt((uint8_t[]){0x66, 0x0f, 0xfe, 0xc1}, (uint8_t[]){0x66, 0x0f, 0xfa, 0xc1}, 4);
	expect_report("\nveneer: ZMM0       ");
}

static void x87_wrong(void)
{
	corrupt((uint8_t[]){0xdd, 0xd8}, (uint8_t[]){0xd9, 0xc0}, 2); /* fld st(0) */
	expect_report("\nveneer: FSW        ");
}

static void branch_wrong(void)
{
	corrupt((uint8_t[]){0x31, 0xdb, 0x0f, 0x84}, (uint8_t[]){0x31, 0xdb, 0x0f, 0x85}, 4);
	expect_report("\nveneer: where the interpreter has not been: it is at 0x");
}

/* --- tests --- */

/* And with loops and without. */
static void with_and_without_windows(void (*wrong)(void))
{
	for (unsigned way = 0; way < 4; way++) {
		/* No room in the low addresses (AddressSanitizer): nothing is translated. cmocka's
		 * readers of TAP take skip() for a failure. */
		if (!bt_of(cpu)) {
			print_message("# nothing is translated here\n");
			return;
		}
		base = way & 1 ? HIGH_HALF : 0;
		keep_loop = way & 2;
		translate();
		assert_int_equal(
			bt_of(cpu)->code.units[0]->mode.windows, base && bt_of(cpu)->windows);
		assert_int_equal(bt_of(cpu)->code.units[0]->straight, !keep_loop);
		wrong();
		assert_int_equal(teardown(NULL) || setup(NULL), 0);
	}
}

#define WRONG(name)                                                                                \
	static void finds_##name(void **state)                                                     \
	{                                                                                          \
		with_and_without_windows(name);                                                    \
	}
WRONG(register_wrong)
WRONG(value_stored_wrong)
WRONG(address_of_store_wrong)
WRONG(vector_wrong)
WRONG(x87_wrong)
WRONG(branch_wrong)

static void finds_flags_wrong(void **state)
{
	with_and_without_windows(flags_wrong);
}

static void nothing_wrong(void)
{
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(run_loop(), VCPU_EXIT_HALTED);
		assert_int_equal(cpu->gpr[RAX], 1 + LOOPS * ADDED);
		assert_int_equal(cpu->gpr[R10], cpu->gpr[RAX]);
		assert_int_equal(get(DATA + DISTANCE, 8), cpu->gpr[RAX]);
		assert_int_equal(cpu->fpu.zmm[0][0], LOOPS * 3);
	}
	assert_false(verify_failed(bt_of(cpu)));
	assert_true(verify_counts(bt_of(cpu)).compared >= (keep_loop ? 3 : 3 * LOOPS));
	assert_int_equal(verify_counts(bt_of(cpu)).incomplete, 0);
	assert_int_equal(verify_counts(bt_of(cpu)).raced, 0);
}

static void finds_nothing_where_nothing_is_wrong(void **state)
{
	with_and_without_windows(nothing_wrong);
}

static void rotated(void)
{
	assert_int_equal(memory_write(&memory, CODE, rotation, sizeof(rotation)), 0);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(run_loop(), VCPU_EXIT_HALTED);
	assert_int_equal(verify_counts(bt_of(cpu)).incomplete, 0);
}

static void ignores_undefined_flags(void **state)
{
	with_and_without_windows(rotated);
}

/* --- copies --- */

/* "add [rbx + 8], cl", to be copied as "add [r10 + 4 * rcx + 0x40], r11b". */
static void finds_wrong_copies(void **state)
{
	static const uint8_t add[] = {0x00, 0x4b, 0x08};
	static const struct host_memory memory = {
		.base = R10, .index = RCX, .scale = 2, .disp = 0x40};
	static const struct {
		const char *difference;
		uint8_t size, made[8];
	} copies[] = {
		{NULL, 5, {0x45, 0x00, 0x5c, 0x8a, 0x40}},
		{"it is not an instruction", 4, {0x45, 0x00, 0x5c, 0x8a}},
		{"it is shorter than what was emitted", 6, {0x45, 0x00, 0x5c, 0x8a, 0x40, 0x90}},
		{"it is another operation", 5, {0x45, 0x08, 0x5c, 0x8a, 0x40}}, /* or */
		{"it is another operation", 6, {0xf0, 0x45, 0x00, 0x5c, 0x8a, 0x40}},
		{"it is another operation", 5, {0x45, 0x01, 0x5c, 0x8a, 0x40}},     /* r11d */
		{"an operand is another", 5, {0x45, 0x02, 0x5c, 0x8a, 0x40}},       /* other way */
		{"an operand is another", 5, {0x41, 0x00, 0x5c, 0x8a, 0x40}},       /* bl */
		{"an operand is another", 5, {0x45, 0x00, 0x54, 0x8a, 0x40}},       /* r10b */
		{"an operand is another", 5, {0x44, 0x00, 0x5c, 0x8a, 0x40}},       /* rdx */
		{"an operand is another", 5, {0x47, 0x00, 0x5c, 0x8a, 0x40}},       /* r9 * 4 */
		{"an operand is another", 5, {0x45, 0x00, 0x5c, 0x4a, 0x40}},       /* rcx * 2 */
		{"an operand is another", 5, {0x45, 0x00, 0x5c, 0x8a, 0xc0}},       /* -0x40 */
		{"an operand is another", 6, {0x65, 0x45, 0x00, 0x5c, 0x8a, 0x40}}, /* gs: */
		{"an operand is another", 6, {0x67, 0x45, 0x00, 0x5c, 0x8a, 0x40}}, /* r10d */
		{"an operand is another", 3, {0x45, 0x00, 0xda}}, /* in a register */
	};
	ZydisDecodedInstruction in;
	ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
	struct rewrite r = {.in = &in, .operands = operands, .bytes = add, .memory = &memory};

	for (unsigned reg = 0; reg < 16; reg++)
		r.host[reg] = (uint8_t)(reg == RCX ? HOST_RCX : reg);
	assert_int_equal(isa_decode(ISA_64, NULL, add, sizeof(add), &in, operands), ISA_DECODED);
	for (unsigned i = 0; i < ARRAY_SIZE(copies); i++) {
		const char *difference = rewrite_difference(&r, copies[i].made, copies[i].size);

		if (!copies[i].difference)
			assert_null(difference);
		else if (!difference || strcmp(difference, copies[i].difference))
			fail_msg("copy %u: %s", i, difference ? difference : "nothing");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		verify_test(finds_nothing_where_nothing_is_wrong),
		verify_test(ignores_undefined_flags),
		verify_test(finds_register_wrong),
		verify_test(finds_flags_wrong),
		verify_test(finds_value_stored_wrong),
		verify_test(finds_address_of_store_wrong),
		verify_test(finds_vector_wrong),
		verify_test(finds_x87_wrong),
		verify_test(finds_branch_wrong),
		cmocka_unit_test(finds_wrong_copies),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
