/* What cpu/debugger.h promises, under each engine, with code that is hot already: through the soft
 * TLB (lower half) and windows (upper half). */
#include "engine_fixture.h"

#include "cpu/debugger.h"

#define CODE   0x200000
#define HELPER 0x201000
#define DATA   0x300000
#define TURNS  200

static const struct engine *engine;
static uint64_t base; /* where the code sees guest-physical 0 */
static struct debugger_points points;

/* Where in `program` what begins. */
enum { LOOP = 5, STORE = 10, LOAD = 13, DECREMENT = 17, HALT = 21 };

static const uint8_t program[] = {
	0xb9, TURNS, 0, 0, 0,         /* mov ecx, TURNS */
	0xe8, 0xf6, 0x0f, 0x00, 0x00, /* 1: call HELPER */
	0x48, 0x01, 0x07,             /* add [rdi], rax */
	0x48, 0x8b, 0x5f, 0x40,       /* mov rbx, [rdi + 64] */
	0xff, 0xc9, 0x75, 0xf0,       /* dec ecx; jnz 1b */
	0xf4,                         /* hlt */
};
static const uint8_t helper[] = {
	0x48, 0xff, 0xc2, /* inc rdx */
	0xc3,             /* ret */
};

static int setup(void **state)
{
	fpu_init();
	options.heat = 1;
	points = (struct debugger_points){0};
	return engine_fixture_setup(state, engine);
}

static int teardown(void **state)
{
	return engine_fixture_teardown(state, engine);
}

static void load(uint64_t gpa, const void *code, unsigned size)
{
	assert_int_equal(memory_write(&memory, gpa, code, size), 0);
}

static enum vcpu_exit start(uint64_t rip)
{
	cpu->gpr[RDI] = base + DATA;
	cpu->gpr[RSP] = base + STACK0;
	cpu->gpr[RAX] = 1;
	debugger_run_on(cpu);
	return engine_fixture_run(engine, rip);
}

static enum vcpu_exit go_on(bool step)
{
	debugger_set_step(cpu, step);
	debugger_run_on(cpu);
	return engine->vcpu_run(cpu);
}

static void enter(void)
{
	enter_long(0);
	load(CODE, program, sizeof(program));
	load(HELPER, helper, sizeof(helper));
	for (unsigned round = 0; round < 3; round++)
		assert_int_equal(start(base + CODE), VCPU_EXIT_HALTED);
	put(DATA, 0, 8);
	cpu->gpr[RDX] = 0;
}

static void assert_stopped(enum vcpu_exit exit, enum debugger_stop why, uint64_t offset)
{
	assert_int_equal(exit, VCPU_EXIT_DEBUG);
	assert_int_equal(cpu->debugger.stop, why);
	assert_int_equal(cpu->rip, base + offset);
}

static void add_breakpoint(uint64_t gpa)
{
	points.breakpoint[points.breakpoint_count++] = base + gpa;
	debugger_set_points(cpu, &points);
}

static void add_watchpoint(uint64_t gpa, uint64_t size, unsigned access)
{
	points.watchpoint[points.watchpoint_count++] =
		(struct debugger_watchpoint){base + gpa, size, access};
	debugger_set_points(cpu, &points);
}

static void a_breakpoint_is_met_each_time(void **state)
{
	enter();
	add_breakpoint(HELPER);
	for (unsigned turn = 0; turn < TURNS; turn++) {
		assert_stopped(
			turn ? go_on(false) : start(base + CODE), DEBUGGER_BREAKPOINT, HELPER);
		assert_int_equal(cpu->gpr[RDX], turn);
		/* It is met again where the vCPU only goes on. */
		assert_stopped(go_on(false), DEBUGGER_BREAKPOINT, HELPER);
		assert_stopped(go_on(true), DEBUGGER_STEPPED, HELPER + 3);
	}
	assert_int_equal(go_on(false), VCPU_EXIT_HALTED);
	assert_int_equal(cpu->gpr[RDX], TURNS);
}

static void a_breakpoint_amid_code_that_is_hot(void **state)
{
	enter();
	add_breakpoint(CODE + DECREMENT);
	assert_stopped(start(base + CODE), DEBUGGER_BREAKPOINT, CODE + DECREMENT);
	assert_int_equal(get(DATA, 8), 1);
	points.breakpoint_count = 0;
	debugger_set_points(cpu, &points);
	assert_int_equal(go_on(false), VCPU_EXIT_HALTED);
	assert_int_equal(get(DATA, 8), TURNS);
}

/* An instruction of the page before, which ends in the page with the breakpoint, makes that page
 * known to a translator. */
static void an_instruction_runs_on_into_the_page(void **state)
{
	static const uint8_t code[] = {
		0xb9, TURNS, 0, 0, 0,         /* mov ecx, TURNS */
		0xe9, 0xf4, 0x0f, 0x00, 0x00, /* 1: jmp HELPER - 2 */
		0xe8, 0x01, 0x10, 0x00, 0x00, /* 2: call HELPER + 16 */
		0xff, 0xc9, 0x75, 0xf2,       /* dec ecx; jnz 1b */
		0xf4,                         /* hlt */
	};
	static const uint8_t across[] = {
		0x48, 0xff, 0xc2,             /* inc rdx */
		0xe9, 0x04, 0xf0, 0xff, 0xff, /* jmp 2b */
	};

	enter();
	load(CODE, code, sizeof(code));
	load(HELPER - 2, across, sizeof(across));
	load(HELPER + 16, helper, sizeof(helper));
	for (unsigned round = 0; round < 3; round++)
		assert_int_equal(start(base + CODE), VCPU_EXIT_HALTED);
	add_breakpoint(HELPER + 16);
	assert_stopped(start(base + CODE), DEBUGGER_BREAKPOINT, HELPER + 16);
	for (unsigned turn = 1; turn < TURNS; turn++) {
		assert_stopped(go_on(true), DEBUGGER_STEPPED, HELPER + 19);
		assert_stopped(go_on(false), DEBUGGER_BREAKPOINT, HELPER + 16);
	}
	go_on(true);
	assert_int_equal(go_on(false), VCPU_EXIT_HALTED);
}

static void a_watchpoint_stops_after_its_instruction(void **state)
{
	enter();
	add_watchpoint(DATA, 8, DEBUGGER_WRITE);
	for (unsigned turn = 0; turn < TURNS; turn++) {
		assert_stopped(
			turn ? go_on(false) : start(base + CODE), DEBUGGER_WATCHPOINT, CODE + LOAD);
		assert_int_equal(cpu->debugger.watch_address, base + DATA);
		assert_int_equal(get(DATA, 8), turn + 1);
	}
	assert_int_equal(go_on(false), VCPU_EXIT_HALTED);
	assert_int_equal(get(DATA, 8), TURNS);
}

static void a_watchpoint_tells_reads_from_writes(void **state)
{
	enter();
	add_watchpoint(DATA + 64, 1, DEBUGGER_WRITE);
	assert_int_equal(start(base + CODE), VCPU_EXIT_HALTED);
	points.watchpoint_count = 0;
	add_watchpoint(DATA + 71, 1, DEBUGGER_READ);
	put(DATA, 0, 8);
	assert_stopped(start(base + CODE), DEBUGGER_WATCHPOINT, CODE + DECREMENT);
	assert_int_equal(get(DATA, 8), 1);
	points.watchpoint_count = 0;
	debugger_set_points(cpu, &points);
	assert_int_equal(go_on(false), VCPU_EXIT_HALTED);
	assert_int_equal(get(DATA, 8), TURNS);
}

/* Page and stack are the same: a call and a return, and what interrupts push, are accesses. */
static void the_stack_can_be_watched(void **state)
{
	enter();
	idt_set64(3, SYS_INTERRUPT_GATE32, CODE0, base + HELPER, 0, 0);
	add_watchpoint(STACK0 - 8, 8, DEBUGGER_WRITE | DEBUGGER_READ);
	assert_stopped(start(base + CODE), DEBUGGER_WATCHPOINT, HELPER);
	assert_int_equal(get(STACK0 - 8, 8), base + CODE + STORE);
	assert_stopped(go_on(false), DEBUGGER_WATCHPOINT, CODE + STORE);
	/* Delivered, and not cut short by it. */
	put(CODE, 0xcc, 1); /* int3 */
	cpu->rip = cpu->next_rip = base + CODE;
	assert_stopped(go_on(false), DEBUGGER_WATCHPOINT, HELPER);
	assert_int_equal(get(STACK0 - 40, 8), base + CODE + 1);
}

static void steps_show_the_guest_nothing(void **state)
{
	static const uint8_t code[] = {
		0xfa, /* cli */
		0x9c, /* pushfq */
		0x5b, /* pop rbx */
		0x48,
		0xff,
		0xc2, /* inc rdx */
		0xcc, /* int3 */
		0xf4,
	};
	static const unsigned places[] = {1, 2, 3, 6};

	enter();
	load(CODE, code, sizeof(code));
	idt_set64(3, SYS_INTERRUPT_GATE32, CODE0, base + HELPER, 0, 0);
	cpu_set_rflags(cpu, RFLAGS_FIXED1 | RFLAGS_IF);
	debugger_set_step(cpu, true);
	assert_stopped(start(base + CODE), DEBUGGER_STEPPED, CODE + places[0]);
	for (unsigned i = 1; i < ARRAY_SIZE(places); i++)
		assert_stopped(go_on(true), DEBUGGER_STEPPED, CODE + places[i]);
	assert_int_equal(cpu->gpr[RBX] & (RFLAGS_TF | RFLAGS_IF), 0);
	assert_int_equal(cpu->gpr[RDX], 1);
	/* An exception is a step to its handler. */
	assert_stopped(go_on(true), DEBUGGER_STEPPED, HELPER);
	assert_int_equal(get(STACK0 - 24, 8) & RFLAGS_TF, 0);
	assert_int_equal(cpu->dr6, UINT64_C(0xffff0ff0));
}

static void interrupts_come_after_a_step(void **state)
{
	enter();
	idt_set64(0x40, SYS_INTERRUPT_GATE32, CODE0, base + HELPER, 0, 0);
	cpu_set_rflags(cpu, RFLAGS_FIXED1 | RFLAGS_IF);
	next_vector = 0x40;
	cpu_set_pending(cpu, PENDING_INTR);
	debugger_set_step(cpu, true);
	assert_stopped(start(base + CODE), DEBUGGER_STEPPED, CODE + LOOP);
	add_breakpoint(HELPER);
	assert_stopped(go_on(false), DEBUGGER_BREAKPOINT, HELPER);
	assert_int_equal(get(STACK0 - 40, 8), base + CODE + LOOP);
}

/* To one that is halted they come, for what else would end the step? */
static void a_halted_vcpu_steps_into_its_interrupt(void **state)
{
	enter();
	idt_set64(0x40, SYS_INTERRUPT_GATE32, CODE0, base + HELPER, 0, 0);
	cpu_set_rflags(cpu, RFLAGS_FIXED1 | RFLAGS_IF);
	debugger_set_step(cpu, true);
	assert_stopped(start(base + CODE + HALT), DEBUGGER_STEPPED, CODE + HALT + 1);
	assert_int_equal(go_on(true), VCPU_EXIT_HALTED);
	next_vector = 0x40;
	cpu_set_pending(cpu, PENDING_INTR);
	assert_stopped(go_on(true), DEBUGGER_STEPPED, HELPER);
}

/* The guest's own debug registers work beside those of the debugger. */
static void the_guest_has_its_own_breakpoints(void **state)
{
	enter();
	idt_set64(1, SYS_INTERRUPT_GATE32, CODE0, base + HELPER, 0, 0);
	cpu->dr[0] = base + CODE + STORE;
	cpu->dr7 |= 2;
	add_breakpoint(CODE + STORE);
	assert_stopped(start(base + CODE), DEBUGGER_BREAKPOINT, CODE + STORE);
	add_breakpoint(HELPER);
	assert_stopped(go_on(true), DEBUGGER_STEPPED, HELPER);
	assert_int_equal(cpu->dr6 & 1, 1);
}

static void outside_64_bit_code_addresses_are_linear(void **state)
{
	static const uint8_t code[] = {0x40, 0x43, 0xf4}; /* inc eax; inc ebx; hlt */
	struct segment code_segment;

	enter_protected(0);
	load(CODE, code, sizeof(code));
	code_segment = cpu->segment[SEG_CS];
	code_segment.base = CODE - 0x100;
	cpu_set_segment(cpu, SEG_CS, &code_segment);
	points.breakpoint[points.breakpoint_count++] = CODE + 1;
	debugger_set_points(cpu, &points);
	assert_int_equal(start(0x100), VCPU_EXIT_DEBUG);
	assert_int_equal(cpu->rip, 0x101);
	assert_int_equal(go_on(true), VCPU_EXIT_DEBUG);
	assert_int_equal(go_on(false), VCPU_EXIT_HALTED);
}

#define test(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

static int run_under(const struct engine *which, uint64_t half, const char *name)
{
	const struct CMUnitTest tests[] = {
		test(a_breakpoint_is_met_each_time),
		test(a_breakpoint_amid_code_that_is_hot),
		test(an_instruction_runs_on_into_the_page),
		test(a_watchpoint_stops_after_its_instruction),
		test(a_watchpoint_tells_reads_from_writes),
		test(the_stack_can_be_watched),
		test(steps_show_the_guest_nothing),
		test(interrupts_come_after_a_step),
		test(a_halted_vcpu_steps_into_its_interrupt),
		test(the_guest_has_its_own_breakpoints),
		test(outside_64_bit_code_addresses_are_linear),
	};

	engine = which;
	base = half;
	return cmocka_run_group_tests_name(name, tests, NULL, NULL);
}

int main(int argc, char **argv)
{
	const char *which = argc > 1 ? argv[1] : "interp";

	if (strcmp(which, "interp") == 0)
		return run_under(&engine_interp, 0, "interp");
	if (strcmp(which, "bt") == 0)
		return run_under(&engine_bt, 0, "bt, soft TLB");
	return run_under(&engine_bt, HIGH_HALF, "bt, windows");
}
