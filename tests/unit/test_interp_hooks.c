/* What the interpreter offers to a translator: heat, and single instructions. The translator here
 * is a counter that refuses, or one that moves RIP. */
#include "engine_fixture.h"

#include "engine/interp/interp.h"

#define CODE    0x200000
#define DATA    0x300000
#define NOWHERE UINT64_C(0x40000000) /* not mapped: the fixture maps 16 MiB */

static unsigned asked, asked_hot;
static uint64_t hot_rip;
static unsigned heat_after;     /* interp_set_heat() when refusing; 0: do not */
static uint64_t take_at, go_to; /* "translated" code: from here to there */

static bool translated(struct cpu *c)
{
	struct block *hot = interp_hot(c);

	asked++;
	if (take_at && c->rip == take_at) {
		c->rip = c->next_rip = go_to;
		return true;
	}
	if (!hot)
		return false;
	asked_hot++;
	hot_rip = c->rip;
	if (heat_after)
		interp_set_heat(hot, heat_after);
	return false;
}

static int setup(void **state)
{
	fpu_init();
	if (engine_fixture_setup(state, &engine_interp))
		return -1;
	asked = asked_hot = heat_after = 0;
	take_at = go_to = hot_rip = 0;
	interp_of(cpu)->translated = translated;
	enter_long(0);
	cpu->idtr.limit = 0;
	return 0;
}

static int teardown(void **state)
{
	return engine_fixture_teardown(state, &engine_interp);
}

#define hooks_test(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

#define LOAD_CODE(address, ...)                                                                    \
	do {                                                                                       \
		const uint8_t code_[] = {__VA_ARGS__};                                             \
		assert_int_equal(memory_write(&memory, address, code_, sizeof(code_)), 0);         \
	} while (0)

static enum vcpu_exit run_at(uint64_t rip)
{
	cpu->activity = ACTIVITY_RUNNING;
	cpu->rip = cpu->next_rip = rip;
	return interp_vcpu_run(cpu);
}

/* --- heat --- */

#define LOOP_COUNT 1000
#define LOOP_BODY  (CODE + 5)

/* A loop whose body is a block of its own, which runs LOOP_COUNT - 1 times. */
static void load_loop(void)
{
	LOAD_CODE(CODE, 0xb9, LOOP_COUNT & 0xff, LOOP_COUNT >> 8, 0, 0, /* mov ecx, LOOP_COUNT */
		0x48, 0xff, 0xc0,                                       /* 1: inc rax */
		0x48, 0x8b, 0x1e,                                       /* mov rbx, [rsi] */
		0xff, 0xc9,                                             /* dec ecx */
		0x75, 0xf6,                                             /* jnz 1b */
		0xf4);
	cpu->gpr[RAX] = 0;
	cpu->gpr[RSI] = DATA;
}

/* The translator refuses each time: the loop is interpreted on, and every pass is counted once. */
static void a_refused_block_runs_on(void **state)
{
	load_loop();
	assert_int_equal(run_at(CODE), VCPU_EXIT_HALTED);
	assert_int_equal(cpu->gpr[RAX], LOOP_COUNT);
	assert_int_equal(asked_hot, LOOP_COUNT - 1 - HEAT_THRESHOLD);
	assert_int_equal(hot_rip, LOOP_BODY);
	assert_int_equal(cpu->stats.instructions, 1 + 4 * LOOP_COUNT + 1);
	assert_int_equal(cpu->stats.accesses, LOOP_COUNT);
	/* The first pass belongs to the block of the MOV. */
	assert_int_equal(cpu->stats.blocks, LOOP_COUNT);
}

static void set_heat_delays_the_next_question(void **state)
{
	load_loop();
	heat_after = 300;
	assert_int_equal(run_at(CODE), VCPU_EXIT_HALTED);
	assert_int_equal(cpu->gpr[RAX], LOOP_COUNT);
	/* The pass that asked runs past the counter; after 300 more the block asks again. */
	assert_int_equal(asked_hot, 1 + (LOOP_COUNT - 2 - HEAT_THRESHOLD) / 301);
	assert_int_equal(cpu->stats.instructions, 1 + 4 * LOOP_COUNT + 1);
}

/* A block that is only ever entered from the run loop is asked about all the same. */
static void heat_through_the_run_loop(void **state)
{
	LOAD_CODE(CODE, 0x90, 0xf4);
	for (unsigned i = 0; i < HEAT_THRESHOLD; i++)
		assert_int_equal(run_at(CODE), VCPU_EXIT_HALTED);
	assert_int_equal(asked_hot, 0);
	for (unsigned i = 1; i <= 3; i++) {
		assert_int_equal(run_at(CODE), VCPU_EXIT_HALTED);
		assert_int_equal(asked_hot, i);
	}
	assert_int_equal(cpu->stats.instructions, 2 * (HEAT_THRESHOLD + 3));
}

/* The code that is taken over is left: hot or not, from the middle of a loop too. */
static void translated_code_goes_on_where_it_says(void **state)
{
	load_loop();
	LOAD_CODE(CODE + 0x100, 0xbb, 0x55, 0, 0, 0, 0xf4); /* mov ebx, 0x55 */
	take_at = LOOP_BODY;
	go_to = CODE + 0x100;
	assert_int_equal(run_at(CODE), VCPU_EXIT_HALTED);
	assert_int_equal(cpu->gpr[RAX], 1 + HEAT_THRESHOLD);
	assert_int_equal(cpu->gpr[RBX], 0x55);
	assert_int_equal(cpu->stats.instructions, 1 + 4 * (1 + HEAT_THRESHOLD) + 2);
}

/* Faults in a block with heat: as many instructions counted as happened, RIP exact. */
static void a_fault_in_a_heated_block(void **state)
{
	load_loop();
	LOAD_CODE(CODE + 8, 0x48, 0x8b, 0x1c, 0xce, /* mov rbx, [rsi + rcx * 8] */
		0x90, 0x81, 0xf9, 0x00, 0x01, 0, 0, /* nop; cmp ecx, 256 */
		0x75, 0x05,                         /* jne 2f */
		0xbe, 0x00, 0x00, 0x00, 0x40,       /* mov esi, NOWHERE */
		0xff, 0xc9,                         /* 2: dec ecx */
		0xeb, 0xe7);                        /* jmp 1b */
	assert_int_equal(run_at(CODE), VCPU_EXIT_SHUTDOWN);
	assert_int_equal(cpu->gpr[RCX], 255);
	assert_int_equal(cpu->rip, CODE + 8);
	assert_int_equal(cpu->cr2, NOWHERE + 255 * 8);
	/* mov; passes of 7 instructions, one of them 8; the last only INC. */
	assert_int_equal(cpu->stats.instructions, 1 + (LOOP_COUNT - 255) * 7 + 1 + 1);
}

/* Data written into the code's page makes blocks stale; what is the same when looked at again keeps
 * its heat. */
static void heat_outlives_revalidation(void **state)
{
	LOAD_CODE(CODE, 0x90, 0xf4);
	for (unsigned i = 0; i < HEAT_THRESHOLD + 1; i++) {
		run_at(CODE);
		put(CODE + 16, i, 4);
	}
	assert_int_equal(asked_hot, 1);
}

static void no_heat_without_a_translator(void **state)
{
	interp_of(cpu)->translated = NULL;
	load_loop();
	assert_int_equal(run_at(CODE), VCPU_EXIT_HALTED);
	assert_int_equal(cpu->gpr[RAX], LOOP_COUNT);
	assert_int_equal(asked, 0);
}

static void heat_in_32_bit_code(void **state)
{
	enter_protected(0);
	cpu->idtr.limit = 0;
	LOAD_CODE(0x3000, 0xb9, LOOP_COUNT & 0xff, LOOP_COUNT >> 8, 0, 0, 0x49, 0x75, 0xfd, 0xf4);
	assert_int_equal(run_at(0x3000), VCPU_EXIT_HALTED);
	assert_int_not_equal(asked_hot, 0);
	assert_int_equal(cpu->gpr[RCX], 0);
}

/* 16-bit code has none: it is not translated. */
static void no_heat_in_16_bit_code(void **state)
{
	cpu_reset(cpu);
	segment_load_real(cpu, SEG_CS, 0);
	LOAD_CODE(0x3000, 0xb9, LOOP_COUNT & 0xff, LOOP_COUNT >> 8, 0x49, 0x75, 0xfd, 0xf4);
	assert_int_equal(run_at(0x3000), VCPU_EXIT_HALTED);
	assert_int_equal(asked_hot, 0);
	assert_int_equal(cpu->gpr[RCX], 0);
}

/* --- one instruction --- */

static struct insn insns[2];

/* Decode what is at CODE and run it there. */
static bool run_one(void)
{
	const uint8_t *bytes = memory_ram_pointer(&memory, CODE);

	assert_int_not_equal(interp_decode_one(cpu, bytes, 15, CODE & 0xfff, insns), 0);
	cpu->rip = cpu->next_rip = CODE;
	return interp_run_one(cpu, insns);
}

static void one_goes_on_behind_itself(void **state)
{
	LOAD_CODE(CODE, 0x48, 0x03, 0x06); /* add rax, [rsi] */
	put(DATA, 5, 8);
	cpu->gpr[RSI] = DATA;
	cpu->gpr[RAX] = 7;
	assert_true(run_one());
	assert_int_equal(cpu->gpr[RAX], 12);
	assert_int_equal(cpu->rip, CODE + 3);
	assert_int_equal(cpu->stats.instructions, 1);
	assert_int_equal(cpu->stats.accesses, 1);
	assert_null(interp_of(cpu)->current);
}

/* Transfers of every kind end in cpu->rip, though their targets' blocks are known by now. */
static void one_branches(void **state)
{
	LOAD_CODE(CODE + 0x20, 0xf4);
	assert_int_equal(run_at(CODE + 0x20), VCPU_EXIT_HALTED);
	cpu->stats.instructions = 0;
	cpu_clear_pending(cpu, ~0u);
	cpu->attention = 0;

	LOAD_CODE(CODE, 0xeb, 0x1e); /* jmp */
	assert_false(run_one());
	assert_int_equal(cpu->rip, CODE + 0x20);
	LOAD_CODE(CODE, 0x74, 0x1e); /* jz */
	cpu_set_arithmetic_flags(cpu, RFLAGS_ZF);
	assert_false(run_one());
	assert_int_equal(cpu->rip, CODE + 0x20);
	cpu_set_arithmetic_flags(cpu, 0);
	assert_true(run_one());
	assert_int_equal(cpu->rip, CODE + 2);
	LOAD_CODE(CODE, 0xff, 0xe0); /* jmp rax */
	cpu->gpr[RAX] = CODE + 0x20;
	assert_false(run_one());
	assert_int_equal(cpu->rip, CODE + 0x20);
	LOAD_CODE(CODE, 0xff, 0xd0); /* call rax */
	assert_false(run_one());
	assert_int_equal(cpu->rip, CODE + 0x20);
	assert_int_equal(get(cpu->gpr[RSP], 8), CODE + 2);
	LOAD_CODE(CODE, 0xc3); /* ret */
	assert_false(run_one());
	assert_int_equal(cpu->rip, CODE + 2);
	assert_int_equal(cpu->stats.instructions, 6);
}

static void one_string_instruction_runs_to_its_end(void **state)
{
	LOAD_CODE(CODE, 0xf3, 0xaa); /* rep stosb */
	cpu->gpr[RDI] = DATA;
	cpu->gpr[RCX] = 10000;
	cpu->gpr[RAX] = 0x33;
	assert_true(run_one());
	assert_int_equal(cpu->gpr[RCX], 0);
	assert_int_equal(get(DATA + 9999, 2), 0x33);
	/* With an event waiting it stops early, and is to be run again. */
	cpu->gpr[RCX] = 10000;
	cpu->attention = 1;
	assert_false(run_one());
	assert_int_equal(cpu->rip, CODE);
	assert_true(cpu->gpr[RCX] > 0);
}

static void one_raises(void **state)
{
	LOAD_CODE(CODE, 0x48, 0x03, 0x06); /* add rax, [rsi] */
	cpu->gpr[RSI] = NOWHERE;
	assert_raises(VECTOR_PF, 0, run_one());
	assert_int_equal(cpu->rip, CODE);
	assert_int_equal(cpu->cr2, NOWHERE);
	LOAD_CODE(CODE, 0x0f, 0x0b); /* ud2 */
	assert_raises(VECTOR_UD, 0, run_one());
}

/* An instruction that needs a stub works on after all stubs were forgotten, and others made. */
static void one_survives_its_stub(void **state)
{
	static const uint8_t tzcnt[15] = {0xf3, 0x48, 0x0f, 0xbc, 0xc3};
	const uint8_t *bytes = memory_ram_pointer(&memory, CODE);
	struct insn other[2];

	fpu_enter(cpu);
	LOAD_CODE(CODE, 0xf3, 0x48, 0x0f, 0xb8, 0xc3); /* popcnt rax, rbx */
	assert_int_equal(interp_decode_one(cpu, bytes, 15, 0, insns), 5);
	stub_cache_reset(interp_of(cpu)->stubs);
	interp_of(cpu)->stub_resets++;
	assert_int_equal(interp_decode_one(cpu, tzcnt, 15, 0, other), 5);
	for (unsigned i = 1; i <= 2; i++) {
		cpu->gpr[RBX] = BIT(i) - 1;
		cpu->rip = cpu->next_rip = CODE;
		assert_true(interp_run_one(cpu, insns));
		assert_int_equal(cpu->gpr[RAX], i);
	}
	fpu_leave(cpu);
}

static void decoding_needs_all_bytes(void **state)
{
	static const uint8_t mov[] = {0x48, 0xb8, 1, 2, 3, 4, 5, 6, 7, 8};

	assert_int_equal(interp_decode_one(cpu, mov, 9, 0xff7, insns), 0);
	assert_int_equal(interp_decode_one(cpu, mov, 10, 0xff7, insns), 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		hooks_test(a_refused_block_runs_on),
		hooks_test(set_heat_delays_the_next_question),
		hooks_test(heat_through_the_run_loop),
		hooks_test(translated_code_goes_on_where_it_says),
		hooks_test(a_fault_in_a_heated_block),
		hooks_test(heat_outlives_revalidation),
		hooks_test(no_heat_without_a_translator),
		hooks_test(heat_in_32_bit_code),
		hooks_test(no_heat_in_16_bit_code),
		hooks_test(one_goes_on_behind_itself),
		hooks_test(one_branches),
		hooks_test(one_string_instruction_runs_to_its_end),
		hooks_test(one_raises),
		hooks_test(one_survives_its_stub),
		hooks_test(decoding_needs_all_bytes),
	};

	return cmocka_run_group_tests_name("interp_hooks", tests, NULL, NULL);
}
