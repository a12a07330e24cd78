/* engine/bt/fault.c by itself: the "translated code" is the assembly below, bt_locate() looks at
 * its labels, and windows are one page. Each test enters that code with random registers, and
 * checks what comes back against what a roll-back to an instruction's start must give. */
#include "engine/bt/fault.h"
#include "host/fault.h"

#include "cpu/fpu.h"
#include "engine/bt/window.h"
#include "host/terminal.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

/* What the assembly reads and writes; host registers by their numbers. */
uint64_t test_registers[16], test_entry, test_host_rsp, test_saved;
float test_one = 1, test_zero;
uint16_t test_flags; /* as in cpu->arithmetic_flags */
_Atomic uint32_t *test_attention;

/* --- the code --- */

extern const char test_code_start[], test_units_start[], test_code_end[], test_rolled_back[],
	test_pass[];
extern const char test_counting[], test_load[], test_store[], test_divide[], test_push[],
	test_undefined[], test_simd[], test_x87[], test_movs[], test_bad[], test_bad_glue[],
	test_long[], test_idle[], test_sti[];
extern const struct {
	uint64_t host, insn, state;
} test_marks[], test_marks_end[];

uint64_t test_enter(void);

#define MARK(insn, state)                                                                          \
	"777: .pushsection .data.rel.ro,\"aw\"\n .quad 777b, " #insn ", " state "\n .popsection\n"
#define BEFORE  "0"
#define AFTER   "1"
#define STRINGS "2"

_Static_assert(MARK_BEFORE == 0 && MARK_AFTER == 1 && MARK_STRINGS == 2, "as in the assembly");

/* clang-format off */
__asm__(
	".pushsection .data.rel.ro,\"aw\"\n"
	".balign 8\n"
	".globl test_marks\n"
	"test_marks:\n"
	".popsection\n"
	".text\n .balign 64\n"
	".globl test_code_start\n test_code_start:\n"
	/* uint64_t test_enter(void): returns the exit ID. */
	".globl test_enter\n test_enter:\n"
	"push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"
	"mov test_attention(%rip), %rax\n mov (%rax), %eax\n"
	"mov %rsp, test_host_rsp(%rip)\n"
	"test %eax, %eax\n mov $99, %eax\n jnz 9f\n"
	"movzwl test_flags(%rip), %eax\n add $127, %al\n sahf\n"
	"mov test_registers+0x00(%rip), %rax\n mov test_registers+0x08(%rip), %rcx\n"
	"mov test_registers+0x10(%rip), %rdx\n mov test_registers+0x18(%rip), %rbx\n"
	"mov test_registers+0x20(%rip), %rsp\n mov test_registers+0x28(%rip), %rbp\n"
	"mov test_registers+0x30(%rip), %rsi\n mov test_registers+0x38(%rip), %rdi\n"
	"mov test_registers+0x40(%rip), %r8\n mov test_registers+0x48(%rip), %r9\n"
	"mov test_registers+0x50(%rip), %r10\n mov test_registers+0x58(%rip), %r11\n"
	"mov test_registers+0x60(%rip), %r12\n mov test_registers+0x68(%rip), %r13\n"
	"mov test_registers+0x70(%rip), %r14\n mov test_registers+0x78(%rip), %r15\n"
	"jmp *test_entry(%rip)\n"
	".globl test_rolled_back\n test_rolled_back:\n"
	"mov %rax, test_registers+0x00(%rip)\n"
	"lahf\n seto %al\n mov %ax, test_flags(%rip)\n"
	"mov %rcx, test_registers+0x08(%rip)\n"
	"mov %rdx, test_registers+0x10(%rip)\n mov %rbx, test_registers+0x18(%rip)\n"
	"mov %rsp, test_registers+0x20(%rip)\n mov %rbp, test_registers+0x28(%rip)\n"
	"mov %rsi, test_registers+0x30(%rip)\n mov %rdi, test_registers+0x38(%rip)\n"
	"mov %r8, test_registers+0x40(%rip)\n mov %r9, test_registers+0x48(%rip)\n"
	"mov %r10, test_registers+0x50(%rip)\n mov %r11, test_registers+0x58(%rip)\n"
	"mov %r12, test_registers+0x60(%rip)\n mov %r13, test_registers+0x68(%rip)\n"
	"mov %r14, test_registers+0x70(%rip)\n mov %r15, test_registers+0x78(%rip)\n"
	"mov %rcx, %rax\n"
	"9: mov test_host_rsp(%rip), %rsp\n"
	"pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n ret\n"
	/* Glue that a unit passes through. */
	".globl test_pass\n test_pass: lea 1(%r10), %r10\n lea -1(%r10), %r10\n jmp pass_resume\n"
	".globl test_bad_glue\n test_bad_glue: mov (%rbx), %rax\n"

	".globl test_units_start\n test_units_start:\n"
	/* RAX, RBX, RDX, RSI go up one after the other, for ever; RDX's with tidying that goes
	 * through the glue, and through memory. */
	".globl test_counting\n test_counting:\n"
	MARK(0, BEFORE) "lea 1(%rax), %rax\n"
	MARK(1, BEFORE) "lea 5(%rax), %rcx\n mov %rcx, %r10\n lea 1(%rbx), %rbx\n"
	MARK(2, BEFORE) "lea 1(%rdx), %rcx\n mov %rcx, %rdx\n"
	MARK(2, AFTER) "mov %rdx, %r10\n jmp test_pass\n pass_resume: mov %r10, test_saved(%rip)\n"
	MARK(3, BEFORE) "lea 1(%rsi), %rsi\n"
	MARK(3, AFTER) "jmp test_counting\n"

	".globl test_load\n test_load:\n"
	MARK(4, BEFORE) "mov $-1, %rcx\n mov (%rbx), %rax\n"
	MARK(4, AFTER) "mov $42, %ecx\n jmp test_rolled_back\n"
	".globl test_store\n test_store:\n"
	MARK(5, BEFORE) "mov $-1, %rcx\n mov %rax, (%rbx)\n"
	MARK(5, AFTER) "mov $42, %ecx\n jmp test_rolled_back\n"
	".globl test_divide\n test_divide:\n" MARK(6, BEFORE) "div %rbx\n"
	".globl test_push\n test_push:\n" MARK(7, BEFORE) "push %rax\n"
	".globl test_undefined\n test_undefined:\n" MARK(8, BEFORE) "ud2\n"
	".globl test_simd\n"
	"test_simd:\n" MARK(9, BEFORE) "movss test_one(%rip), %xmm0\n"
	"divss test_zero(%rip), %xmm0\n"
	"ud2\n"
	".globl test_x87\n test_x87:\n" MARK(10, BEFORE) "fwait\n ud2\n"
	".globl test_movs\n test_movs:\n"
	MARK(11, BEFORE) "mov %r11, %rcx\n"
	MARK(11, AFTER) "add %r8, %rsi\n add %r9, %rdi\n"
	MARK(11, STRINGS) "rep movsb\n"
	MARK(11, AFTER) "ud2\n"
	".globl test_bad\n test_bad:\n" MARK(12, AFTER) "mov (%rbx), %rax\n"
	/* A commit, tidying that takes a while, and an end. */
	".globl test_long\n test_long:\n"
	MARK(13, AFTER) "mov $20000, %ecx\n 1: loop 1b\n mov %rax, %r10\n"
	MARK(14, BEFORE) "jmp test_long\n"
	".globl test_idle\n test_idle:\n" MARK(14, BEFORE) "jmp test_idle\n"
	/* RAX goes up; an STI, for which RBX goes up; the instruction in its shadow, RDX; RSI. The
	 * INT3 is the test's: single steps begin there. */
	".globl test_sti\n test_sti: int3\n"
	MARK(15, BEFORE) "lea 1(%rax), %rax\n"
	MARK(16, BEFORE) "lea 1(%rbx), %rcx\n mov %rcx, %rbx\n"
	MARK(16, AFTER) "mov %rbx, %r10\n"
	MARK(17, BEFORE) "lea 1(%rdx), %rcx\n mov %rcx, %rdx\n"
	MARK(17, AFTER) "mov %rdx, %r10\n"
	MARK(18, BEFORE) "lea 1(%rsi), %rsi\n"
	MARK(18, AFTER) "mov $42, %ecx\n jmp test_rolled_back\n"
	".globl test_code_end\n test_code_end:\n"
	".pushsection .data.rel.ro,\"aw\"\n"
	".globl test_marks_end\n"
	"test_marks_end:\n"
	".popsection\n");
/* clang-format on */

#define INSNS    19
#define RIP_BASE UINT64_C(0x400000)

/* --- what fault.c calls --- */

static struct cpu *cpu;
static struct bt *bt;
static struct interp interp;
static struct bt_insn insns[INSNS];
static struct bt_unit unit = {.insns = insns};

static uint8_t *window; /* one page, then one that is never mapped */
static struct {
	bool hidden; /* windows_fault() maps */
	unsigned calls;
	uint64_t linear;
	bool write, user;
} fault;
#define WINDOW_LINEAR UINT64_C(0x7000)

bool bt_locate(const struct bt *bt_, uintptr_t pc, struct bt_where *where)
{
	ptrdiff_t last = test_marks_end - test_marks - 1;

	if (pc < (uintptr_t)test_units_start)
		return false;
	while (last > 0 && test_marks[last].host > pc)
		last--;
	*where = (struct bt_where){.unit = &unit,
		.insn = (unsigned)test_marks[last].insn,
		.rip = RIP_BASE + test_marks[last].insn,
		.state = (enum bt_mark_state)test_marks[last].state};
	return true;
}

bool windows_linear(const struct bt *bt_, uintptr_t host, uint64_t *linear)
{
	*linear = host - (uintptr_t)window + WINDOW_LINEAR;
	return host - (uintptr_t)window < 2 * PAGE_SIZE;
}

bool windows_fault(struct bt *bt_, uint64_t linear, bool write, bool user)
{
	fault.calls++;
	fault.linear = linear;
	fault.write = write;
	fault.user = user;
	if (fault.hidden)
		mprotect(window, PAGE_SIZE, PROT_READ | PROT_WRITE);
	return fault.hidden;
}

/* --- running it --- */

static uint64_t random_word(void)
{
	static uint64_t state = 88172645463325252u;

	state ^= state << 13;
	state ^= state >> 7;
	return state ^= state << 17;
}

static void install_handlers(void)
{
	fpu_init();
	bt_signals_init();
}

static int setup(void **state)
{
	if (!window)
		window = mmap(NULL, 2 * PAGE_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	mprotect(window, PAGE_SIZE, PROT_READ | PROT_WRITE);
	memset(window, 0, PAGE_SIZE);
	mprotect(window, PAGE_SIZE, PROT_NONE);
	memset(&fault, 0, sizeof(fault));
	memset(insns, 0, sizeof(insns));
	unit.mode.user = true;
	cpu = calloc(1, (sizeof(*cpu) + 63) & ~63ul);
	bt = calloc(1, sizeof(*bt));
	bt->cpu = cpu;
	cpu->engine_state = &interp;
	interp.translator = bt;
	bt->code.start = (uintptr_t)test_code_start;
	bt->code.end = (uintptr_t)test_code_end;
	bt->glue.exit = bt->glue.exit_rolled_back = (uintptr_t)test_rolled_back;
	bt->glue.load_vectors = (uintptr_t)test_pass;
	test_attention = &cpu->attention;
	cpu_current = cpu;
	return bt_thread_enter(bt);
}

static int teardown(void **state)
{
	cpu_current = NULL;
	free(bt);
	free(cpu);
	return 0;
}

static uint64_t before[16];
static uint16_t flags_before;

/* Bits of SAHF's byte that it does change, and OF. */
#define FLAGS 0xd501

static void randomize(void)
{
	for (unsigned i = 0; i < 16; i++)
		test_registers[i] = random_word();
	test_flags = (uint16_t)((random_word() & FLAGS) | 0x200);
}

static uint64_t run(const char *entry)
{
	uint64_t exit;

	test_entry = (uintptr_t)entry;
	memcpy(before, test_registers, sizeof(before));
	flags_before = test_flags;
	atomic_store(&bt->running, 1);
	exit = test_enter();
	atomic_store(&bt->running, 0);
	return exit;
}

/* Nothing but scratch registers has changed, and those in `mask`. */
static void assert_as_before(unsigned mask)
{
	mask |= BIT(RCX) | BIT(R10);
	for (unsigned i = 0; i < 16; i++)
		if (!(mask & BIT(i)) && test_registers[i] != before[i])
			fail_msg("register %u is %#lx, was %#lx", i, test_registers[i], before[i]);
	assert_int_equal(test_flags & FLAGS, flags_before & FLAGS);
}

static void assert_rolled_back(const char *entry, unsigned insn)
{
	assert_int_equal(run(entry), BT_EXIT_ID_FAULT);
	assert_int_equal(cpu->rip, RIP_BASE + insn);
	assert_as_before(0);
}

/* --- faults --- */

static void test_true_fault(void **state)
{
	for (unsigned i = 1; i <= 300; i++) {
		bool write = i & 1;
		unsigned insn = write ? 5 : 4;

		randomize();
		test_registers[RBX] = (uintptr_t)window + i;
		unit.mode.user = i & 2;
		assert_rolled_back(write ? test_store : test_load, insn);
		assert_int_equal(fault.calls, i);
		assert_int_equal(fault.linear, WINDOW_LINEAR + i);
		assert_int_equal(fault.write, write);
		assert_int_equal(fault.user, !!(i & 2));
		assert_int_equal(insns[insn].adapted, (i + 1) / 2 - (write ? 0 : i & 1));
	}
	assert_int_equal(bt->stats.other_faults, 0);
	insns[4].adapted = UINT8_MAX;
	test_registers[RBX] = (uintptr_t)window;
	assert_rolled_back(test_load, 4);
	assert_int_equal(insns[4].adapted, UINT8_MAX);
	/* A page of the stack's window may come yet; a slot without a window stays so. */
	insns[4].adapted = 0;
	insns[4].stack = true;
	assert_rolled_back(test_load, 4);
	assert_int_equal(insns[4].adapted, 0);
	test_registers[RBX] = 0x1000;
	assert_rolled_back(test_load, 4);
	assert_int_equal(insns[4].adapted, 1);
	insns[4].stack = false;
}

static void test_hidden_fault(void **state)
{
	fault.hidden = true;
	randomize();
	test_registers[RBX] = (uintptr_t)window + 8;
	assert_int_equal(run(test_store), 42);
	assert_as_before(0);
	assert_int_equal(fault.calls, 1);
	assert_int_equal(*(uint64_t *)(window + 8), test_registers[RAX]);
}

static void test_outside_windows(void **state)
{
	static const uint64_t addresses[] = {0, 0x1000, UINT64_C(0x7fffffffffff),
		UINT64_C(0x800000000000), UINT64_C(0xffff7fffffffffff),
		UINT64_C(0xffff800000000000), UINT64_C(0xffffffffff600000),
		UINT64_C(0xfffffffffffffff8)};

	for (unsigned i = 0; i < ARRAY_SIZE(addresses); i++) {
		randomize();
		test_registers[RBX] = addresses[i];
		assert_rolled_back(test_load, 4);
		assert_int_equal(bt->stats.other_faults, i + 1);
	}
	assert_int_equal(fault.calls, 0);
}

static void test_exceptions(void **state)
{
	uint32_t mxcsr, unmasked = 0x1f80 & ~0x200u;
	uint16_t fcw = 0x37f & ~0x4;

	for (unsigned i = 0; i < 100; i++) {
		randomize();
		test_registers[RBX] = 0;
		assert_rolled_back(test_divide, 6);
		assert_rolled_back(test_undefined, 8);
	}
	assert_int_equal(insns[6].adapted, 0);
	assert_int_equal(bt->stats.other_faults, 200);

	__asm__ volatile("ldmxcsr %0" : : "m"(unmasked));
	assert_int_equal(run(test_simd), BT_EXIT_ID_FAULT);
	__asm__ volatile("stmxcsr %0; ldmxcsr %1" : "=m"(mxcsr) : "m"((uint32_t){0x1f80}));
	assert_int_equal(cpu->rip, RIP_BASE + 9);
	assert_as_before(0);
	assert_int_equal(mxcsr, unmasked | 4); /* the guest's own unit: ZE is there to be seen */

	__asm__ volatile("fninit; fldcw %0; fldz; fld1; fdivp" : : "m"(fcw));
	assert_int_equal(run(test_x87), BT_EXIT_ID_FAULT);
	__asm__ volatile("fninit");
	assert_int_equal(cpu->rip, RIP_BASE + 10);
	assert_as_before(0);
}

static void test_strings(void **state)
{
	uint8_t source[64];

	fault.hidden = false;
	for (unsigned i = 0; i < sizeof(source); i++)
		source[i] = (uint8_t)(i + 1);
	mprotect(window, PAGE_SIZE, PROT_READ | PROT_WRITE);
	randomize();
	/* 24 bytes fit into the page, the rest would go to the next one. */
	bt->run.string_delta[0] = test_registers[R8];
	bt->run.string_delta[1] = test_registers[R9];
	test_registers[RSI] = (uintptr_t)source - test_registers[R8];
	test_registers[RDI] = (uintptr_t)window + PAGE_SIZE - 24 - test_registers[R9];
	test_registers[R11] = 64;
	/* The test's own ADD changes flags. */
	assert_int_equal(run(test_movs), BT_EXIT_ID_FAULT);
	test_flags = flags_before;
	assert_as_before(BIT(RSI) | BIT(RDI) | BIT(R11));
	assert_int_equal(cpu->rip, RIP_BASE + 11);
	assert_int_equal(test_registers[RSI], before[RSI] + 24);
	assert_int_equal(test_registers[RDI], before[RDI] + 24);
	assert_int_equal(test_registers[R11], 40);
	assert_memory_equal(window + PAGE_SIZE - 24, source, 24);
	assert_int_equal(fault.linear, WINDOW_LINEAR + PAGE_SIZE);
	assert_true(fault.write);
}

/* --- a wild RSP --- */

/* No RSP makes a handler touch anything but the signal stack. */
static void test_hostile_stack(void **state)
{
	size_t size = (size_t)256 * KIB;
	uint8_t *monitor = malloc(size), *copy = malloc(size);
	stack_t stack;

	for (size_t i = 0; i < size; i++)
		monitor[i] = copy[i] = (uint8_t)random_word();
	sigaltstack(NULL, &stack);
	assert_int_equal(stack.ss_flags & (int)SS_DISABLE, 0);
	for (unsigned i = 0; i < 2000; i++) {
		const uint64_t pointers[] = {0, 8, UINT64_C(0x800000000000),
			UINT64_C(0xffff7ffffffffff8), ~UINT64_C(7), UINT64_C(0xffffffff80000000),
			(uintptr_t)stack.ss_sp, (uintptr_t)stack.ss_sp + stack.ss_size,
			(uintptr_t)stack.ss_sp + random_word() % stack.ss_size,
			(uintptr_t)monitor + random_word() % size, (uintptr_t)monitor + size / 2,
			random_word()};

		randomize();
		test_registers[RSP] = pointers[i % ARRAY_SIZE(pointers)];
		test_registers[RBX] = 0;
		assert_rolled_back(i & 64    ? test_divide
				   : i & 128 ? test_undefined
					     : test_load,
			i & 64    ? 6
			: i & 128 ? 8
				  : 4);
	}
	assert_memory_equal(monitor, copy, size);
	for (unsigned i = 0; i < 4; i++) {
		static const uint64_t unmapped[] = {
			8, 0x1008, UINT64_C(0x900000000000), UINT64_C(0xffff7ffffffffff8)};

		randomize();
		test_registers[RSP] = unmapped[i];
		assert_rolled_back(test_push, 7);
	}
	free(monitor);
	free(copy);
}

/* --- kicks --- */

struct kicker {
	pthread_t thread;
	unsigned count, spin;
	int signal; /* this one instead of a kick */
	_Atomic bool done;
};

static void spin(unsigned count)
{
	while (count--)
		__asm__ volatile("pause");
}

static void *kicker_main(void *opaque)
{
	struct kicker *kicker = opaque;

	for (unsigned i = 0; i < kicker->count; i++) {
		uint32_t delay = (i * UINT32_C(2654435761)) >> 16;

		/* Most come when a unit runs, some at any time. */
		while (!atomic_load(&bt->running) || (i % 8 && atomic_load(&cpu->attention)))
			sched_yield();
		spin(delay % kicker->spin);
		if (kicker->signal) {
			syscall(SYS_tgkill, getpid(), bt->tid, kicker->signal);
			usleep(200);
			continue;
		}
		atomic_store(&cpu->attention, 1);
		bt_kick(cpu);
	}
	atomic_store(&kicker->done, true);
	atomic_store(&cpu->attention, 1);
	bt_kick(cpu);
	return NULL;
}

static void start(struct kicker *kicker)
{
	assert_int_equal(pthread_create(&kicker->thread, NULL, kicker_main, kicker), 0);
}

/* After a kick in test_counting: everything before the instruction at cpu->rip has happened once
 * more than what follows, and no register else was touched. */
static void assert_counting(void)
{
	static const unsigned order[] = {RAX, RBX, RDX, RSI};
	unsigned insn = (unsigned)(cpu->rip - RIP_BASE);
	uint64_t rounds = test_registers[RSI] - before[RSI];

	assert_true(insn < 4);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(test_registers[order[i]] - before[order[i]], rounds + (i < insn));
	if (rounds || insn > 2)
		assert_int_equal(test_saved, test_registers[RDX]);
	assert_as_before(BIT(RAX) | BIT(RBX) | BIT(RDX) | BIT(RSI));
}

/* Kicked at random moments; each entry goes on where the last one was taken out. */
static void kick_storm(unsigned count, uint64_t rsp)
{
	struct kicker kicker = {.count = count, .spin = 400};
	unsigned insns_seen = 0, taken = 0;

	start(&kicker);
	while (!atomic_load(&kicker.done)) {
		uint64_t exit;

		randomize();
		if (rsp != 1)
			test_registers[RSP] = rsp;
		atomic_store(&cpu->attention, 0);
		exit = run(test_counting);
		if (exit == 99)
			continue;
		assert_int_equal(exit, BT_EXIT_ID_KICK);
		assert_counting();
		insns_seen |= BIT(cpu->rip - RIP_BASE);
		taken++;
	}
	pthread_join(kicker.thread, NULL);
	print_message("# %u kicks, %u taken in a unit, %lu handled, %lu steps\n", count, taken,
		bt->stats.kicks, bt->stats.steps);
	/* How many arrive in a unit, and where, is the processor's choice, and the scheduler's. */
	assert_true(taken > 0);
	assert_true(insns_seen != 0);
}

static void test_kick_storm(void **state)
{
	kick_storm(10000, 1);
}

static void test_kick_storm_hostile_stack(void **state)
{
	stack_t stack;

	sigaltstack(NULL, &stack);
	kick_storm(1000, 0);
	kick_storm(1000, (uintptr_t)stack.ss_sp + stack.ss_size / 2);
	kick_storm(1000, UINT64_C(0x8000000000000000));
}

/* A kick within tidying: single steps through it, then out. */
static void test_kick_after_commit(void **state)
{
	struct kicker kicker = {.count = 0, .spin = 1};

	randomize();
	atomic_store(&cpu->attention, 0);
	start(&kicker);
	pthread_join(kicker.thread, NULL);
	assert_int_equal(run(test_long), 99); /* attention was set before the entry */
	for (unsigned i = 0; i < 5; i++) {
		uint64_t steps = bt->stats.steps;

		atomic_store(&cpu->attention, 0);
		kicker = (struct kicker){.count = 1, .spin = 1};
		start(&kicker);
		assert_int_equal(run(test_long), BT_EXIT_ID_KICK);
		pthread_join(kicker.thread, NULL);
		assert_int_equal(cpu->rip, RIP_BASE + 14);
		assert_as_before(0);
		assert_true(bt->stats.steps - steps <= 20000 + 60);
	}
	assert_true(bt->stats.steps > 100);
}

static unsigned steps_until_kick;

/* Single steps through test_sti, and a kick after so many. */
static bool on_step(int signal, siginfo_t *info, void *context)
{
	greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;

	if (signal != SIGTRAP || (uintptr_t)registers[REG_RIP] <= (uintptr_t)test_sti)
		return false;
	if (steps_until_kick--) {
		registers[REG_EFL] |= RFLAGS_TF;
	} else {
		registers[REG_EFL] &= ~(greg_t)RFLAGS_TF;
		/* It is blocked in here, so it comes at once when the step is over. */
		syscall(SYS_tgkill, getpid(), bt->tid, BT_KICK_SIGNAL);
	}
	return true;
}

/* A kick at each host instruction around an STI. The vCPU is told of the shadow where the next
 * instruction is the one that the unit says is in it, and nowhere else: a unit that was made anew
 * and begins after the STI does not say so. */
static void test_kick_in_shadow(void **state)
{
	static const unsigned stopped_at[] = {15, 16, 16, 17, 17, 17, 18, 18};
	static const unsigned order[] = {RAX, RBX, RDX, RSI};

	fault_handle(FAULT_NATIVE_STUB, on_step);
	for (unsigned i = 0; i < 2 * ARRAY_SIZE(stopped_at); i++) {
		unsigned insn = stopped_at[i / 2];
		bool shadowed = i % 2;

		randomize();
		cpu->interrupt_shadow = SHADOW_NONE;
		insns[17].shadowed = shadowed;
		steps_until_kick = i / 2;
		assert_int_equal(run(test_sti), BT_EXIT_ID_KICK);
		assert_int_equal(cpu->rip, RIP_BASE + insn);
		assert_int_equal(
			cpu->interrupt_shadow, shadowed && insn == 17 ? SHADOW_STI : SHADOW_NONE);
		for (unsigned k = 0; k < 4; k++)
			assert_int_equal(
				test_registers[order[k]] - before[order[k]], 15 + k < insn);
		assert_as_before(BIT(RAX) | BIT(RBX) | BIT(RDX) | BIT(RSI));
	}
	install_handlers();
}

static void test_kick_of_idle(void **state)
{
	bt_kick(cpu); /* own thread */
	atomic_store(&bt->running, 1);
	bt_kick(cpu);
	atomic_store(&bt->running, 0);
	cpu_current = NULL;
	bt_kick(cpu);          /* not running */
	raise(BT_KICK_SIGNAL); /* not a vCPU's thread */
	cpu_current = cpu;
	raise(BT_KICK_SIGNAL); /* in C */
	assert_int_equal(bt->stats.kicks, 0);
}

/* --- what is not ours --- */

static void exit_77(int number)
{
	_exit(77);
}

/* Runs body in a child that has a handler of its own, installed before ours. The exit status as
 * wait(2) gives it. */
static int in_child(void (*body)(void), int signal)
{
	pid_t child;
	int status;

	fflush(NULL);
	child = fork();
	if (!child) {
		struct sigaction action = {.sa_handler = exit_77, .sa_flags = SA_ONSTACK};

		alarm(20);
		if (signal)
			sigaction(signal, &action, NULL);
		install_handlers();
		if (freopen("/dev/null", "w", stderr))
			body();
		_exit(1);
	}
	assert_true(child > 0);
	assert_int_equal(waitpid(child, &status, 0), child);
	return status;
}

static void kill_in_c(void)
{
	kill(getpid(), SIGSEGV);
}

static void kill_in_unit(void)
{
	struct kicker kicker = {.count = 1, .spin = 1000, .signal = SIGSEGV};

	bt->tid = (pid_t)syscall(SYS_gettid);
	test_registers[RBX] = 0;
	run(test_divide); /* what REG_TRAPNO will still say */
	start(&kicker);
	run(test_idle);
}

static void fault_in_tidying(void)
{
	test_registers[RBX] = 0;
	run(test_bad);
}

static void fault_in_glue(void)
{
	test_registers[RBX] = 0;
	run(test_bad_glue);
}

static void bus_error_in_unit(void)
{
	int fd = memfd_create("empty", 0);

	test_registers[RBX] = (uintptr_t)mmap(NULL, PAGE_SIZE, PROT_READ, MAP_SHARED, fd, 0);
	run(test_load);
}

static void trap_in_c(void)
{
	raise(SIGTRAP);
}

static void test_chaining(void **state)
{
	int status;

	assert_int_equal(WEXITSTATUS(in_child(kill_in_c, SIGSEGV)), 77);
	assert_int_equal(WEXITSTATUS(in_child(kill_in_unit, SIGSEGV)), 77);
	assert_int_equal(WEXITSTATUS(in_child(fault_in_tidying, SIGSEGV)), 77);
	assert_int_equal(WEXITSTATUS(in_child(fault_in_glue, SIGSEGV)), 77);
	assert_int_equal(WEXITSTATUS(in_child(bus_error_in_unit, SIGBUS)), 77);
	assert_int_equal(WEXITSTATUS(in_child(trap_in_c, SIGTRAP)), 77);
	signal(SIGTRAP, SIG_DFL);
	status = in_child(trap_in_c, 0);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGTRAP);
	install_handlers();
}

/* --- other signals, as the monitor has them: on a terminal, with handlers for those --- */

static _Atomic bool vcpu_is_up;

static void *vcpu_main(void *opaque)
{
	cpu_current = cpu;
	if (bt_thread_enter(bt) < 0)
		_exit(2);
	test_registers[RSP] = UINT64_C(0xffff000000000123);
	atomic_store(&vcpu_is_up, true);
	run(test_counting);
	return NULL;
}

/* Start a vCPU that counts, its signals blocked as vcpu_thread.c does (or not), on a pty. */
static pthread_t start_monitor(bool block)
{
	int master = posix_openpt(O_RDWR | O_NOCTTY), slave;
	sigset_t mask, saved;
	pthread_t thread;

	if (master < 0 || grantpt(master) < 0 || unlockpt(master) < 0)
		_exit(3);
	slave = open(ptsname(master), O_RDWR | O_NOCTTY);
	for (int i = 1; i < 32; i++)
		if (i != SIGALRM)
			signal(i, SIG_DFL);
	if (slave < 0 || terminal_raw(slave) < 0)
		_exit(4);
	install_handlers();
	cpu_current = NULL;
	fault_other_signals(&mask);
	pthread_sigmask(block ? SIG_BLOCK : SIG_UNBLOCK, &mask, &saved);
	if (pthread_create(&thread, NULL, vcpu_main, NULL))
		_exit(5);
	pthread_sigmask(SIG_SETMASK, &saved, NULL);
	while (!atomic_load(&vcpu_is_up))
		sched_yield();
	usleep(20000);
	return thread;
}

static void terminated(void)
{
	start_monitor(true);
	kill(getpid(), SIGTERM);
	pause();
}

static void interrupted(void)
{
	start_monitor(true);
	kill(getpid(), SIGINT);
	pause();
}

/* A signal to the vCPU's thread itself, which did not block it: the handler has its own stack even
 * there. */
static void terminated_on_vcpu(void)
{
	start_monitor(false);
	syscall(SYS_tgkill, getpid(), bt->tid, SIGTERM);
	pause();
}

static void goes_on_after_sigcont(void)
{
	pthread_t thread = start_monitor(false);

	for (unsigned i = 0; i < 100; i++) {
		kill(getpid(), SIGCONT);
		syscall(SYS_tgkill, getpid(), bt->tid, SIGCONT);
	}
	atomic_store(&cpu->attention, 1);
	bt_kick(cpu);
	pthread_join(thread, NULL);
	assert_counting();
	_exit(77);
}

static void test_terminal_signals(void **state)
{
	int status;

	randomize();
	status = in_child(terminated, 0);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
	status = in_child(interrupted, 0);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGINT);
	status = in_child(terminated_on_vcpu, 0);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
	assert_int_equal(in_child(goes_on_after_sigcont, 0), 77 << 8);
}

/* --- threads --- */

static void *thread_main(void *opaque)
{
	stack_t *stack = opaque;

	for (unsigned i = 0; i < 3; i++) {
		if (bt_thread_enter(bt) < 0)
			return NULL;
	}
	sigaltstack(NULL, stack);
	return stack;
}

/* Each thread has one signal stack, which is freed with the thread. */
static void test_threads(void **state)
{
	uint8_t *first = NULL;

	for (unsigned i = 0; i < 50; i++) {
		stack_t stack = {0};
		unsigned char resident;
		pthread_t thread;

		assert_int_equal(pthread_create(&thread, NULL, thread_main, &stack), 0);
		pthread_join(thread, NULL);
		assert_int_equal(stack.ss_flags & (int)SS_DISABLE, 0);
		assert_true(stack.ss_size >= 64 * KIB);
		first = stack.ss_sp;
		assert_int_equal(mincore(first, PAGE_SIZE, &resident), -1);
		assert_int_equal(errno, ENOMEM);
	}
	assert_int_equal(bt_thread_enter(bt), 0);
	assert_int_equal(bt->tid, (pid_t)syscall(SYS_gettid));
}

/* --- costs, for docs/: VENEER_BENCH=1 --- */

static double now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

/* Kick to C, on another processor. */
static _Atomic double kicked_at;

static void *late_kicker(void *opaque)
{
	for (unsigned i = 0; i < *(unsigned *)opaque; i++) {
		while (!atomic_load(&bt->running) || atomic_load(&cpu->attention))
			;
		spin(200);
		atomic_store(&kicked_at, now_us());
		atomic_store(&cpu->attention, 1);
		bt_kick(cpu);
	}
	return NULL;
}

static int compare(const void *a, const void *b)
{
	return *(const double *)a < *(const double *)b ? -1 : 1;
}

static void kick_costs(unsigned count)
{
	double *took = calloc(count, sizeof(*took)), begin;
	pthread_t thread;
	uint64_t steps;

	assert_int_equal(pthread_create(&thread, NULL, late_kicker, &count), 0);
	for (unsigned i = 0; i < count; i++) {
		atomic_store(&cpu->attention, 0);
		while (run(test_counting) != BT_EXIT_ID_KICK)
			;
		took[i] = now_us() - atomic_load(&kicked_at);
	}
	pthread_join(thread, NULL);
	qsort(took, count, sizeof(*took), compare);
	print_message("# kick to C: median %.2f us, 90%% within %.2f us\n", took[count / 2],
		took[count * 9 / 10]);
	free(took);

	steps = bt->stats.steps;
	atomic_store(&cpu->attention, 0);
	count = 1;
	assert_int_equal(pthread_create(&thread, NULL, late_kicker, &count), 0);
	while (run(test_long) != BT_EXIT_ID_KICK)
		;
	begin = atomic_load(&kicked_at);
	print_message("# %lu steps, %.2f us each\n", bt->stats.steps - steps,
		(now_us() - begin) / (double)(bt->stats.steps - steps));
	pthread_join(thread, NULL);
}

static void test_costs(void **state)
{
	double begin;
	unsigned count = 20000;

	if (!getenv("VENEER_BENCH"))
		return;
	test_registers[RBX] = 0;
	begin = now_us();
	for (unsigned i = 0; i < count; i++)
		run(test_divide);
	print_message("# fault and roll-back: %.2f us\n", (now_us() - begin) / count);
	test_registers[RBX] = (uintptr_t)window;
	begin = now_us();
	for (unsigned i = 0; i < count; i++)
		run(test_load);
	print_message("# page fault and roll-back: %.2f us\n", (now_us() - begin) / count);
	begin = now_us();
	for (unsigned i = 0; i < count; i++)
		bt_thread_enter(bt);
	print_message("# enter: %.4f us\n", (now_us() - begin) / count);
	atomic_store(&cpu->attention, 0);
	kick_costs(2000);
}

struct body {
	void (*run)(void **state);
};

/* cmocka puts handlers of its own in place before each test: ours go on top. */
static void with_signals(void **state)
{
	install_handlers();
	((const struct body *)*state)->run(state);
}

#define T(name_)                                                                                   \
	{                                                                                          \
		.name = #name_, .test_func = with_signals, .setup_func = setup,                    \
		.teardown_func = teardown, .initial_state = &(struct body){name_},                 \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_true_fault),
		T(test_hidden_fault),
		T(test_outside_windows),
		T(test_exceptions),
		T(test_strings),
		T(test_hostile_stack),
		T(test_kick_of_idle),
		T(test_kick_after_commit),
		T(test_kick_in_shadow),
		T(test_kick_storm),
		T(test_kick_storm_hostile_stack),
		T(test_chaining),
		T(test_terminal_signals),
		T(test_threads),
		T(test_costs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
