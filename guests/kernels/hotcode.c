/* Random programs give the same results cold and hot.
 *
 * An engine that translates does so once code has run often. Each program therefore exists twice,
 * in two frames that are mapped in turn at the same address: it runs a few times in one, with
 * different registers and memory; some hundred times in the other; and then in that one from the
 * same starts as in the first. Every register, flag and byte must come out the same. What both
 * copies do wrong alike is for other tests.
 *
 * This is done in several worlds: as a user and as a supervisor, with code, stack and data in the
 * lower or the upper half of the address space.
 *
 * On the command line: seed=N first seed, programs=N of them for each world, length=N, world=N only
 * this. A failure is reduced to the shortest program that fails, and its last instructions are
 * shown. */
#include "hotcode.h"
#include "noise.h"

static const struct world worlds[] = {
	{"supervisor, lower half", LOW_BASE, LOW_BASE, LOW_BASE, false},
	{"supervisor, upper half", HIGH_BASE, HIGH_BASE, HIGH_BASE, false},
	{"user", LOW_BASE, LOW_BASE, LOW_BASE, true},
	{"supervisor in the upper half, data in the lower", HIGH_BASE, LOW_BASE, HIGH_BASE, false},
};

#define STARTS 12 /* different starts for each program */
#define WARM   500

/* What is compared after a run. */
struct outcome {
	struct run_state state;
	u64 window[WINDOW_SIZE / 8], stack[(STACK_BELOW + STACK_ABOVE) / 8];
};

static struct outcome cold[STARTS], hot;
static struct run_state state;
static struct program program;
static u8 *cold_code, *hot_code;
static ulong code_offset; /* in the code pages */

static u64 random_u64(u32 *seed)
{
	u64 high = random_u32(seed);

	return high << 32 | random_u32(seed);
}

static u64 *window_words(void)
{
	return (u64 *)(program.world->data + DATA_AT + WINDOW);
}

static u64 *stack_words(void)
{
	return (u64 *)(program.world->stack + STACK_AT + STACK_START - STACK_BELOW);
}

/* Values that make an instruction do something: small, large, any. */
static u64 interesting(u32 *seed)
{
	static const u64 values[] = {0, 1, 0xff, 0x80, 0x7fff, 0x80000000, ~0ull, 1ull << 63};

	switch (random_u32(seed) >> 8 & 3) {
	case 0:
		return values[random_u32(seed) >> 8 & 7];
	case 1:
		return random_u32(seed) & 0x3f;
	default:
		return random_u64(seed);
	}
}

static void set_registers(u32 *seed)
{
	int i;

	for (i = 0; i < GPRS; i++)
		state.gpr[i] = interesting(seed);
	for (i = 0; i < 16; i++)
		((u64 *)state.ymm)[i] = random_u64(seed);
	state.gpr[RSP] = program.world->stack + STACK_AT + STACK_START;
	state.gpr[program.base] = program.world->data + DATA_AT + WINDOW + program.bias;
	state.gpr[program.index] = random_u32(seed) >> 8 & 7;
	state.flags = (random_u32(seed) & STATUS_FLAGS) | FLAG_IF | 2;
	state.code = program.world->code + CODE_AT + code_offset;
}

static void run_from(u32 start, struct outcome *end)
{
	u32 seed = start * 2654435761u + 1;
	u64 *words;
	size_t i;

	for (words = window_words(), i = 0; i < WINDOW_SIZE / 8; i++)
		words[i] = random_u64(&seed);
	for (words = stack_words(), i = 0; i < sizeof(end->stack) / 8; i++)
		words[i] = i;
	set_registers(&seed);
	run_program(&state);
	state.flags &= program.defined | ~(u64)STATUS_FLAGS;
	memcpy(&end->state, &state, sizeof(state));
	memcpy(end->window, window_words(), sizeof(end->window));
	memcpy(end->stack, stack_words(), sizeof(end->stack));
}

static ulong run_cold(ulong unused)
{
	u32 start;

	for (start = 0; start < STARTS; start++)
		run_from(start, &cold[start]);
	return 0;
}

static bool equal(const void *a, const void *b, size_t size)
{
	const u64 *x = a, *y = b;

	for (; size; size -= 8, x++, y++)
		if (*x != *y)
			return false;
	return true;
}

/* Returns the first start from which the hot copy ended differently, or STARTS. */
static ulong run_hot(ulong unused)
{
	u32 start, i, seed = 7;

	for (i = 0; i < WARM; i++) {
		if (i % 64 == 0)
			set_registers(&seed);
		state.gpr[RSP] = program.world->stack + STACK_AT + STACK_START;
		state.flags = (random_u32(&seed) & STATUS_FLAGS) | FLAG_IF | 2;
		run_program(&state);
	}
	for (start = 0; start < STARTS; start++) {
		run_from(start, &hot);
		if (!equal(&hot, &cold[start], sizeof(hot)))
			break;
	}
	return start;
}

static ulong in_world(ulong (*fn)(ulong))
{
	return program.world->user ? noise_user_call(fn, 0) : fn(0);
}

/* Both copies of the code have two pages. */
static void map_code(const u8 *pages)
{
	u64 user = program.world->user ? PTE_U : 0;
	ulong at;

	for (at = 0; at < 0x2000; at += 0x1000)
		map_page(&boot_space, program.world->code + CODE_AT + at, (ulong)pages + at,
			PTE_P | PTE_W | user);
}

static void make(const struct world *world, u32 seed, int length)
{
	/* One in four lies over the border of two pages. */
	code_offset = seed % 4 ? 0x10 + seed % 61 : 0x1000 - 100 - seed % 61;
	generate(&program, hot_code + code_offset, world->code + CODE_AT + code_offset, world, seed,
		length);
	memcpy(cold_code + code_offset, hot_code + code_offset, program.p - program.start);
}

static u32 try_program(const struct world *world, u32 seed, int length)
{
	make(world, seed, length);
	map_code(cold_code);
	in_world(run_cold);
	map_code(hot_code);
	return in_world(run_hot);
}

static void show_difference(const struct outcome *want, const struct outcome *got)
{
	size_t i;

	for (i = 0; i < GPRS; i++)
		if (want->state.gpr[i] != got->state.gpr[i])
			print("  register %d: %lx, cold %lx\n", (int)i, (ulong)got->state.gpr[i],
				(ulong)want->state.gpr[i]);
	if (want->state.flags != got->state.flags)
		print("  flags: %lx, cold %lx\n", (ulong)got->state.flags,
			(ulong)want->state.flags);
	for (i = 0; i < 16; i++)
		if (((u64 *)want->state.ymm)[i] != ((u64 *)got->state.ymm)[i])
			print("  ymm%d+%d: %lx, cold %lx\n", (int)i / 4, (int)i % 4 * 8,
				(ulong)((u64 *)got->state.ymm)[i],
				(ulong)((u64 *)want->state.ymm)[i]);
	for (i = 0; i < WINDOW_SIZE / 8; i++)
		if (want->window[i] != got->window[i])
			print("  data at %x: %lx, cold %lx\n", (u32)(WINDOW + i * 8),
				(ulong)got->window[i], (ulong)want->window[i]);
	for (i = 0; i < sizeof(want->stack) / 8; i++)
		if (want->stack[i] != got->stack[i])
			print("  stack at %d: %lx, cold %lx\n", (int)(i * 8) - STACK_BELOW,
				(ulong)got->stack[i], (ulong)want->stack[i]);
}

static void report(const struct world *world, u32 seed, int length)
{
	u32 start = STARTS;
	u8 *p;

	for (length = 1; length < 64 && start == STARTS; length++)
		start = try_program(world, seed, length);
	if (start == STARTS) {
		print("  but no shorter program fails\n");
		return;
	}
	print("  seed %u fails first with length %d, from start %u; at %lx, base register %d, "
	      "index %d\n  code:",
		seed, program.count, start, program.address, program.base, program.index);
	for (p = program.start + program.starts[program.count - 1]; p < program.p - 1; p++)
		print(" %x", *p);
	print(" at +%x; whole:", program.starts[program.count - 1]);
	for (p = program.start; p < program.p; p++)
		print(" %x", *p);
	print("\n");
	show_difference(&cold[start], &hot);
}

static void test_world(const struct world *world)
{
	u32 first = boot_option("seed", 1), count = boot_option("programs", 250), i, failures = 0;
	int length = boot_option("length", 24);

	asm volatile("fninit");
	for (i = 0; i < count; i++) {
		u32 seed = (first + i) * 2654435761u | 1;

		if (try_program(world, seed, length) == STARTS)
			continue;
		if (failures++ < 3) {
			print("program %u of %s:\n", first + i, world->name);
			report(world, seed, length);
		}
	}
	check_eq(failures, 0, "%u programs as %s", count, world->name);
}

static void map_areas(void)
{
	static const struct {
		ulong at;
		int pages;
	} areas[] = {{DATA_AT, DATA_PAGES}, {STACK_AT, 2}};
	size_t i;
	int page;

	for (i = 0; i < 2; i++) {
		u8 *frames = pages_alloc(areas[i].pages);

		for (page = 0; page < areas[i].pages; page++) {
			ulong at = areas[i].at + page * 4096;

			map_page(&boot_space, LOW_BASE + at, (ulong)frames + page * 4096,
				PTE_P | PTE_W | PTE_U);
			map_page(&boot_space, HIGH_BASE + at, (ulong)frames + page * 4096,
				PTE_P | PTE_W);
		}
	}
	cold_code = pages_alloc(2);
	hot_code = pages_alloc(2);
}

static void enable_avx(void)
{
	if (!cpu_has(FEATURE_XSAVE) || !cpu_has(FEATURE_AVX))
		return;
	write_cr4(read_cr4() | CR4_OSXSAVE);
	asm volatile("xsetbv" : : "a"(7), "d"(0), "c"(0));
	run_with_avx = 1;
}

void guest_main(void)
{
	u32 only = boot_option("world", ~0u), i;

	map_areas();
	enable_avx();
	wrmsr(0xc0000100, FS_BASE);
	wrmsr(0xc0000101, GS_BASE);
	noise_start(boot_option("noise", 100000));
	for (i = 0; i < sizeof(worlds) / sizeof(worlds[0]); i++)
		if (only == ~0u || only == i)
			test_world(&worlds[i]);
	check(noise_stop() > 10, "interrupts came meanwhile");
}
