/*
 * What a faulting instruction leaves behind: it can be run again, so nothing it would have changed
 * may have changed, save the progress a repeated string instruction tells in its registers
 * (SDM vol. 3A 6.6). Built for 64-bit and for 32-bit mode.
 */
#include "paging.h"

#define GOOD_PAGE      TEST_VA
#define READ_ONLY_PAGE (TEST_VA + 0x1000)
#define HOLE           (TEST_VA + 0x2000)
#define STACK_PAGE     (TEST_VA + 0x3000)
#define STACK_HOLE     (TEST_VA + 0x4000)

#define WORD ((s32)sizeof(ulong))

static u8 *good, *read_only, *stack; /* the frames of the pages, where they can be written */

/*
 * Stack instructions run in ring 3, so that the fault is delivered on another stack. Each snippet
 * first takes three bytes to point the stack at RBX.
 */
#ifdef __x86_64__
#define ON_STACK(name, insn) SNIPPET(name, "mov %rbx, %rsp; " insn)
#else
#define ON_STACK(name, insn) SNIPPET(name, "mov %ebx, %esp; nop; " insn)
#endif

ON_STACK(push_register, ".byte 0x50");
ON_STACK(push_immediate, ".byte 0x6a, 1");
ON_STACK(push_memory, ".byte 0xff, 0x33");
ON_STACK(push_flags, "pushf");
ON_STACK(push_segment, "push %fs");
ON_STACK(push_16, "pushw $1");
ON_STACK(call_near, "call 0f; 0:");
ON_STACK(call_memory, "call *stack_target");
ON_STACK(enter_0, "enter $0, $0");
ON_STACK(enter_64, "enter $64, $0");
ON_STACK(pop_register, ".byte 0x58");
ON_STACK(pop_memory, ".byte 0x8f, 0x05; .long 0f - . - 4; 0:");
ON_STACK(pop_flags, "popf");
ON_STACK(return_near, "ret");
ON_STACK(return_pop, "ret $16");
ON_STACK(return_far, ".byte 0xcb");
#ifndef __x86_64__
ON_STACK(push_all, "pusha");
ON_STACK(pop_all, "popa");
#endif

struct stack_case {
	const char *name;
	const u8 *code;
	u32 error;
	ulong sp;
	ulong fault; /* if 0, anywhere in the hole */
};

ulong stack_target;

static const struct stack_case stack_cases[] = {
	{"push register", push_register, PF_W, STACK_PAGE, STACK_PAGE - WORD},
	{"push immediate", push_immediate, PF_W, STACK_PAGE, STACK_PAGE - WORD},
	{"push memory", push_memory, PF_W, STACK_PAGE, STACK_PAGE - WORD},
	{"push from a hole", push_memory, 0, STACK_HOLE, STACK_HOLE},
	{"push flags", push_flags, PF_W, STACK_PAGE, STACK_PAGE - WORD},
	{"push segment register", push_segment, PF_W, STACK_PAGE, STACK_PAGE - WORD},
	{"push 16 bits", push_16, PF_W, STACK_PAGE, STACK_PAGE - 2},
	{"push across the page", push_register, PF_W, STACK_PAGE + 2, STACK_PAGE + 2 - WORD},
	{"call", call_near, PF_W, STACK_PAGE, STACK_PAGE - WORD},
	{"call through memory", call_memory, PF_W, STACK_PAGE, STACK_PAGE - WORD},
	{"enter", enter_0, PF_W, STACK_PAGE, STACK_PAGE - WORD},
	{"enter whose locals do not fit", enter_64, PF_W, STACK_PAGE + WORD, 0},
	{"pop register", pop_register, 0, STACK_HOLE, STACK_HOLE},
	{"pop across the page", pop_register, 0, STACK_HOLE - 2, STACK_HOLE},
	{"pop flags", pop_flags, 0, STACK_HOLE, STACK_HOLE},
	{"ret", return_near, 0, STACK_HOLE, STACK_HOLE},
	{"ret that pops", return_pop, 0, STACK_HOLE, STACK_HOLE},
	{"far ret", return_far, 0, STACK_HOLE, 0},
#ifndef __x86_64__
	{"pusha", push_all, PF_W, STACK_PAGE + 12, 0},
	{"popa", pop_all, 0, STACK_HOLE - 12, 0},
#endif
};

static ulong run_stack_case(ulong index)
{
	return try_code(stack_cases[index].code, 3, stack_cases[index].sp);
}

static void test_stack(void)
{
	size_t i;

	stack_target = (ulong)push_register;
	for (i = 0; i < sizeof(stack_cases) / sizeof(stack_cases[0]); i++) {
		const struct stack_case *c = &stack_cases[i];
		/* Which word of the hole a CPU touches first is its own affair. */
		ulong hole = c->error & PF_W ? HOLE : STACK_HOLE;
		ulong fault;

		user_call(run_stack_case, i);
		fault = c->fault ? c->fault : trap.cr2;
		check_pf(c->error | PF_U, fault, "%s: fault", c->name);
		check(trap.cr2 >> 12 == hole >> 12 || c->fault, "%s: CR2 is in the hole", c->name);
		check_eq(trap.sp, c->sp, "%s: SP is as before", c->name);
	}
}

/* Instructions that write memory, with RBX at a read-only page; RAX = 5, CF set before. */
struct write_case {
	const char *name;
	u8 length;
	u8 bytes[8];
};

static const struct write_case write_cases[] = {
	{"mov", 2, {0x89, 0x03}},
	{"add", 2, {0x01, 0x03}},
	{"adc immediate", 3, {0x83, 0x13, 0x01}},
	{"lock add", 3, {0xf0, 0x01, 0x03}},
	{"inc", 2, {0xff, 0x03}},
	{"neg", 2, {0xf7, 0x1b}},
	{"not", 2, {0xf7, 0x13}},
	{"shl", 3, {0xc1, 0x23, 0x03}},
	{"rcl", 2, {0xd1, 0x13}},
	{"shld", 4, {0x0f, 0xa4, 0x03, 0x04}},
	{"bts", 4, {0x0f, 0xba, 0x2b, 0x03}},
	{"btr register", 3, {0x0f, 0xb3, 0x03}},
	{"xchg", 2, {0x87, 0x03}},
	{"xadd", 3, {0x0f, 0xc1, 0x03}},
	{"cmpxchg that does not match", 3, {0x0f, 0xb1, 0x0b}},
	{"lock cmpxchg that does not match", 4, {0xf0, 0x0f, 0xb1, 0x0b}},
	{"cmpxchg8b that does not match", 3, {0x0f, 0xc7, 0x0b}},
	{"setc", 3, {0x0f, 0x92, 0x03}},
	{"add of a byte", 2, {0x00, 0x03}},
	{"sgdt", 3, {0x0f, 0x01, 0x03}},
	{"fnstcw", 2, {0xd9, 0x3b}},
	{"movups", 3, {0x0f, 0x11, 0x03}},
};

static u8 code_buffer[32];

static void run_write_case(const struct write_case *c, ulong address, ulong fault)
{
	/* mov $5, %eax; stc; the instruction; ret */
	static const u8 prologue[] = {0xb8, 5, 0, 0, 0, 0xf9};
	u32 before[8], flags = FLAG_CF;

	memcpy(before, read_only, sizeof(before));
	memcpy(code_buffer, prologue, sizeof(prologue));
	memcpy(code_buffer + 6, c->bytes, c->length);
	code_buffer[6 + c->length] = 0xc3;
	try_code(code_buffer, 6, address);
	check_pf(PF_P | PF_W, fault, "%s to a read-only page", c->name);
	check(trap.ax == 5 && !memcmp(before, read_only, sizeof(before)) &&
			(trap.flags & FLAG_CF) == flags,
		"%s: register, memory and flags are as before", c->name);
}

static void test_writes(void)
{
	size_t i;

	memset(read_only, 0x11, 64);
	for (i = 0; i < sizeof(write_cases) / sizeof(write_cases[0]); i++)
		run_write_case(&write_cases[i], READ_ONLY_PAGE, READ_ONLY_PAGE);
	/* Across the page, the part that could be written must not be. */
	memset(good + 0xff0, 0x22, 16);
	for (i = 0; i < sizeof(write_cases) / sizeof(write_cases[0]); i++) {
		const struct write_case *c = &write_cases[i];
		bool is_byte = c->bytes[1] == 0x92 || c->bytes[0] == 0x00;
		bool untouched = true;
		int j;

		/* The parts of SGDT are stores of their own; split locks are for smp.c. */
		if (is_byte || c->bytes[1] == 0x01 || c->bytes[0] == 0xf0)
			continue;
		run_write_case(c, READ_ONLY_PAGE - 1, READ_ONLY_PAGE);
		for (j = 0; j < 16; j++)
			untouched = untouched && good[0xff0 + j] == 0x22;
		check(untouched, "%s: nothing is written before the page border", c->name);
		memset(good + 0xff0, 0x22, 16);
	}
}

static void test_reads(void)
{
	u32 a = 1, d = 2;

	try_asm("mov (%1), %0", : "+r"(a) : "r"(HOLE));
	check_pf(0, HOLE, "load from a hole");
	check_eq(a, 1, "load from a hole: register is as before");
	try_asm("mov (%1), %0", : "+r"(a) : "r"(HOLE - 3));
	check_pf(0, HOLE, "load across a page: the second page faults");
	check_eq(a, 1, "load across a page: register is as before");
	try_asm("divl (%2)", : "+a"(a), "+d"(d) : "r"(HOLE) : "cc");
	check_pf(0, HOLE, "div by memory in a hole");
	check(a == 1 && d == 2, "div: registers are as before");
	try_asm("movups (%0), %%xmm0", : : "r"(HOLE - 8));
	check_pf(0, HOLE, "16-byte load across a page");
	try_asm("mov (%0), %%ds", : : "r"(HOLE));
	check_pf(0, HOLE, "load of DS from a hole");
	try_asm("lgdt (%0)", : : "r"(HOLE));
	check_trap(PF_VECTOR, 0, "lgdt from a hole");
}

/* Repeated string instructions stop at the element that faults. */
static void test_strings(void)
{
	ulong si, di, cx;
	int i;

	for (i = 0; i < 4096; i++)
		good[i] = i;
	memset(read_only, 0, 4096);

#define STRING(insn, source, destination, count)                                                   \
	do {                                                                                       \
		si = (source);                                                                     \
		di = (destination);                                                                \
		cx = (count);                                                                      \
		try_asm(insn, : "+S"(si), "+D"(di), "+c"(cx) : "a"(0x33333333) : "memory", "cc");  \
		asm volatile("cld");                                                               \
	} while (0)
#define CHECK_STRING(want_si, want_di, want_cx, name)                                              \
	check(si == (want_si) && di == (want_di) && cx == (want_cx),                               \
		name ": registers: %lx %lx %lx", (si), (di), (cx))

	STRING("rep movsb", GOOD_PAGE, READ_ONLY_PAGE - 40, 100);
	check_pf(PF_P | PF_W, READ_ONLY_PAGE, "rep movsb into a read-only page");
	CHECK_STRING(GOOD_PAGE + 40, READ_ONLY_PAGE, 60, "rep movsb");
	check(!memcmp(good, good + 4096 - 40, 40), "rep movsb: the data before the fault");

	STRING("rep movsl", HOLE - 10, GOOD_PAGE, 100);
	check_pf(0, HOLE, "rep movsl from a hole, across its border");
	CHECK_STRING(HOLE - 2, GOOD_PAGE + 8, 98, "rep movsl");

	STRING("std; rep movsb", READ_ONLY_PAGE + 9, STACK_PAGE + 4, 100);
	check(trap.vector == PF_VECTOR && trap.cr2 == STACK_PAGE - 1, "rep movsb downwards");
	CHECK_STRING(READ_ONLY_PAGE + 4, STACK_PAGE - 1, 95, "rep movsb downwards");

	memset(good + 0xff0, 0x22, 16);
	STRING("rep stosl", 0, READ_ONLY_PAGE - 10, 100);
	check_pf(PF_P | PF_W, READ_ONLY_PAGE, "rep stosl across a border");
	CHECK_STRING(0, READ_ONLY_PAGE - 2, 98, "rep stosl");
	check(good[0xffe] == 0x22 && good[0xffd] == 0x33, "rep stosl: the element that faults");

	STRING("rep lodsl", HOLE - 12, 0, 100);
	check_pf(0, HOLE, "rep lodsl from a hole");
	CHECK_STRING(HOLE, 0, 97, "rep lodsl");

	STRING("repne scasb", 0, HOLE - 5, 100);
	check_pf(0, HOLE, "repne scasb in a hole");
	CHECK_STRING(0, HOLE, 95, "repne scasb");

	STRING("repe cmpsw", HOLE - 6, HOLE - 6, 100);
	check_pf(0, HOLE, "repe cmpsw in a hole");
	CHECK_STRING(HOLE, HOLE, 97, "repe cmpsw");

	STRING("movsb", HOLE, STACK_HOLE, 0);
	check_pf(0, HOLE, "movsb: the source faults first");
	STRING("movsb", GOOD_PAGE, STACK_HOLE, 0);
	check_pf(PF_W, STACK_HOLE, "movsb: the destination faults");
	CHECK_STRING(GOOD_PAGE, STACK_HOLE, 0, "movsb");
	STRING("rep movsb", HOLE, HOLE, 0);
	check_no_trap("rep movsb of nothing touches nothing");
	STRING("rep stosb", HOLE, HOLE, 0);
	check_no_trap("rep stosb of nothing touches nothing");
}

/* Instruction fetch across a page, and a fault that is mended and goes on. */
static void mend(struct trap_frame *f)
{
	trap.vector = PF_VECTOR;
	trap.ip = f->ip;
	trap.cr2 = read_cr2();
	map_page(&boot_space, trap.cr2 & ~0xffful, (ulong)read_only, PTE_P);
}

static void test_fetch(void)
{
	static const u8 code[] = {0xb8, 0x44, 0x33, 0x22, 0x11, 0xc3}; /* mov $..., %eax; ret */

	memcpy(stack + 4096 - 3, code, 3);
	memcpy(read_only, code + 3, 3);
	try_code((u8 *)STACK_HOLE - 3, 0, 0);
	check_pf(0, STACK_HOLE, "fetch across a page");
	trap_set_handler(PF_VECTOR, mend);
	check_eq(try_code((u8 *)STACK_HOLE - 3, 0, 0), 0x11223344, "fetch across a page, mended");
	check_eq(trap.ip, STACK_HOLE - 3, "fetch across a page: IP");
	trap_set_handler(PF_VECTOR, NULL);
	map_page(&boot_space, STACK_HOLE, 0, 0);

	memcpy(stack + 4096 - 1, "\x90", 1);
	try_code((u8 *)STACK_HOLE - 1, 1, 0);
	check_pf(0, STACK_HOLE, "running off a page");
	memcpy(stack + 4096 - 1, "\xc3", 1);
	try_code((u8 *)STACK_HOLE - 1, 0, 0);
	check_no_trap("an instruction that ends at the border");
	memcpy(stack + 4096 - 2, "\x0f\x0b", 2);
	try_code((u8 *)STACK_HOLE - 2, 0, 0);
	check_trap(UD_VECTOR, 0, "#UD at the border");

	/* A data fault mended by the handler: the instruction is run once, as a whole. */
	memset(read_only, 0, 4096);
	trap_set_handler(PF_VECTOR, mend);
	{
		u32 value = 7;

		asm volatile("lock xadd %0, (%1)" : "+r"(value) : "r"(STACK_PAGE + 16) : "memory");
		check_eq(value, *(u32 *)(stack + 16) - 7, "xadd before a mended fault");
		value = 7;
		map_page(&boot_space, STACK_HOLE, 0, 0);
		asm volatile("addl (%1), %0" : "+r"(value) : "r"(STACK_HOLE) : "cc");
		check_eq(value, 7, "add from a page that the handler maps");
	}
	trap_set_handler(PF_VECTOR, NULL);
}

void guest_main(void)
{
	good = page_alloc();
	read_only = page_alloc();
	stack = page_alloc();
	map_page(&boot_space, GOOD_PAGE, (ulong)good, PTE_P | PTE_W | PTE_U);
	map_page(&boot_space, READ_ONLY_PAGE, (ulong)read_only, PTE_P | PTE_U);
	map_page(&boot_space, HOLE, 0, 0);
	map_page(&boot_space, STACK_PAGE, (ulong)stack, PTE_P | PTE_W | PTE_U);
	map_page(&boot_space, STACK_HOLE, 0, 0);
	test_stack();
	test_writes();
	test_reads();
	test_strings();
	test_fetch();
}
