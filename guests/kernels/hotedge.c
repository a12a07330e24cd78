/*
 * Corners that a translator of hot code may cut: each routine here runs until it is translated, and
 * must then still do what it did when it was cold.
 *
 * - FNSTENV shows the last x87 instruction, its opcode and its operand (SDM vol. 1 8.1.8).
 * - Code for the FPU raises #NM after CR0.TS has been set, however it is reached.
 * - A 32-bit result in ESP, CH in every role, 67h with every kind of address.
 * - A branch to an address that is not canonical changes nothing; nor does code run into one.
 * - Stores to a page that also holds the code that makes them, with interrupts all the time.
 */
#include "apic.h"
#include "paging.h"

#define DATA_VA   TEST_VA
#define DATA_HIGH 0xffff900000000000ul
#define CODE_VA   (TEST_VA + 0x400000)
#define CODE_HIGH 0xffff900000400000ul
#define LAST_PAGE 0x7ffffffff000ul /* of the lower half */
#define TURNS     3000

static const struct world {
	const char *name;
	ulong code, data;
	bool user;
} worlds[] = {
	{"user", CODE_VA, DATA_VA, true},
	{"supervisor, upper half", CODE_HIGH, DATA_HIGH, false},
	{"supervisor, lower half", CODE_VA, DATA_VA, false},
};
static const struct world *world;
static u8 *code_frame, *last_frame, *data_frame;

#define ROUTINE(name, text)                                                                        \
	extern const u8 name[], name##_end[];                                                      \
	asm(".pushsection .text\n" #name ":\n\t" text "\n" #name "_end:\n.popsection")

static ulong in_world(ulong (*fn)(ulong), ulong argument)
{
	return world->user ? user_call(fn, argument) : fn(argument);
}

/* Copies a routine to where the world runs its code. */
static ulong place(const u8 *routine, const u8 *end, ulong offset)
{
	memcpy(code_frame + offset, routine, end - routine);
	cpuid(0, 0);
	return world->code + offset;
}
#define PLACE(name, offset) place(name, name##_end, offset)

static ulong code;

static ulong call_code(ulong bx)
{
	return try_code((void *)code, 0, bx);
}

/* --- x87 pointers --- */

ROUTINE(pointers,
	"fnclex; fld1; fldl 8(%rbx); fld1; lea 64(%rbx), %r10; mov $3, %r11d; fadds (%r10,%r11,8)\n"
	"pointers_last: faddp %st(1); nop; fnstenv 128(%rbx); fstp %st(0); fstp %st(0)\n"
	"pointers_store: fldz; fstpl 16(%rbx); fnstenv 160(%rbx); ret");
extern const u8 pointers_last[], pointers_store[];

struct environment {
	u32 control, status, tag, ip;
	u16 cs, opcode;
	u32 operand, ds;
};

static void test_pointers(void)
{
	const struct environment *env = (void *)(data_frame + 128);
	u32 i, wrong = 0;

	code = PLACE(pointers, 0);
	for (i = 0; i < TURNS; i++) {
		memset(data_frame + 128, 0, 64);
		in_world(call_code, world->data);
		wrong += trap.vector != NO_TRAP ||
			 env[0].ip != (u32)(code + (pointers_last - pointers)) ||
			 (env[0].opcode & 0x7ff) != 0x6c1 ||
			 env[0].operand != (u32)(world->data + 88);
		env = (void *)(data_frame + 160);
		wrong += env[0].ip != (u32)(code + (pointers_store - pointers) + 2) ||
			 (env[0].opcode & 0x7ff) != (5 << 8 | 0x5b) ||
			 env[0].operand != (u32)(world->data + 16);
		env = (void *)(data_frame + 128);
		if (wrong == 1)
			print("turn %u: ip %x opcode %x operand %x\n", i, env->ip, env->opcode,
				env->operand);
	}
	check_eq(wrong, 0, "x87 pointers as %s", world->name);
}

/* --- CR0.TS --- */

ROUTINE(call_often,
	"push %rbx; mov 8(%rbx), %rcx; mov (%rbx), %rbx; 1: push %rcx; call *%rbx; pop %rcx\n"
	"dec %rcx; jnz 1b; pop %rbx; ret");
ROUTINE(use_fpu, "fld1; fstp %st(0); ret");
ROUTINE(use_sse, "paddd %xmm1, %xmm0; ret");
ROUTINE(use_none, "inc %rax; ret");

static void test_task_switched(void)
{
	ulong fpu = PLACE(use_fpu, 256), sse = PLACE(use_sse, 512), none = PLACE(use_none, 768);
	u64 *argument = (u64 *)data_frame;
	ulong targets[] = {fpu, sse};
	u32 i, turn;

	code = PLACE(call_often, 0);
	for (i = 0; i < 2; i++) {
		for (turn = 0; turn < 3; turn++) {
			argument[0] = targets[i];
			argument[1] = TURNS;
			in_world(call_code, world->data);
			check_no_trap("FPU in use as %s, %u", world->name, turn);
			write_cr0(read_cr0() | CR0_TS);
			argument[0] = none;
			in_world(call_code, world->data);
			argument[0] = targets[i];
			argument[1] = 1;
			in_world(call_code, world->data);
			asm volatile("clts");
			check_eq(trap.vector, NM_VECTOR, "CR0.TS as %s, %u", world->name, turn);
		}
	}
}

/* --- forms --- */

ROUTINE(narrow_stack,
	"mov %rsp, %r8; lea 32(%rbx), %esp; mov %rsp, %rdx; mov %r8, %rsp; mov %rdx, %rax; ret");
ROUTINE(high_bytes, "mov $0x12345678, %eax; mov $0x9abcdef0, %ecx; mov $0x3c, %dl; xor %r9d, %r9d; "
		    "mov %rbx, %rdi\n"
		    "movzbl %ch, %esi; add %rsi, %r9; add %ch, %al; mov %ah, %ch; adc %ch, %dl; "
		    "movb $0x77, (%rbx)\n"
		    "add (%rbx), %ch; lahf; add %rax, %r9; mov %ch, 1(%rdi); xchg %ch, (%rdi); sub "
		    "%dl, %ch; rol $1, %ch\n"
		    "mov %ch, %cl; shl %cl, %ch; mov %cl, %ch; add %rcx, %r9; inc %ch; neg %ch; "
		    "cmp %ch, (%rdi); setc %ch\n"
		    "add %rcx, %r9; lock xadd %ch, 1(%rbx); add %rcx, %r9; cmpxchg %ch, (%rbx); "
		    "lahf; add %rax, %r9\n"
		    "movb $0x5a, %ch; mul %ch; add %rax, %r9; movzbl %ah, %ecx; add %rcx, %r9; "
		    "movsbl %ch, %ecx; not %ch\n"
		    "test %ch, %cl; lahf; add %rax, %r9; xor (%rdi), %ch; and %ch, 1(%rbx); add "
		    "(%rbx), %r9w; or %ch, %ah\n"
		    "mov %r9, %rax; add %rcx, %rax; ror $7, %rax; ret");
ROUTINE(narrow_addresses,
	"mov %rbx, %r13; mov $0xdeadbeef00000000, %rax; add %rax, %r13; lea 8(%r13), %r10; mov "
	"%r13, %rcx\n"
	"movl $0x1234, (%ebx); addl $1, (%r13d); addl $2, (%ecx); addl $3, -8(%r10d); mov (%r13d), "
	"%eax\n"
	"xor %r9d, %r9d; add (%r13d,%r9d,4), %rax; lea (%r13d,%r13d), %rdx; add %rdx, %rax; ret");

static void test_same(const char *name, ulong routine)
{
	ulong first = 0, now;
	u32 i, wrong = 0;

	code = routine;
	for (i = 0; i < TURNS; i++) {
		memset(data_frame, 0, 64);
		now = in_world(call_code, world->data);
		if (i == 0)
			first = now;
		wrong += now != first || trap.vector != NO_TRAP;
		if (wrong == 1)
			print("turn %u: %lx, was %lx, vector %d\n", i, now, first, trap.vector);
	}
	check_eq(wrong, 0, "%s as %s", name, world->name);
}

static void test_forms(void)
{
	test_same("32-bit stack pointer", PLACE(narrow_stack, 0));
	check_eq(in_world(call_code, world->data), (u32)(world->data + 32), "which is that as %s",
		world->name);
	test_same("CH", PLACE(high_bytes, 1024));
	if (world->data >> 32 == 0)
		test_same("32-bit addresses", PLACE(narrow_addresses, 2048));
}

/* --- nowhere --- */

/* A call that faults has pushed nothing: what is below the stack pointer is as it was. */
#define BELOW 0x5a5a
ROUTINE(call_register, "movq $0x5a5a, -8(%rsp); mov (%rbx), %rax; call *%rax; inc %ecx; ret");
ROUTINE(call_memory, "movq $0x5a5a, -8(%rsp); call *(%rbx); inc %ecx; ret");
ROUTINE(jump_memory, "jmp *(%rbx)");
ROUTINE(return_to, "push (%rbx); ret");

static void test_indirect(const char *name, ulong routine, ulong offset, bool pushes, bool call)
{
	static const ulong nowhere[] = {
		0x800000000000, 0xffff7fffffffffff, 0x1234567890abcdef, 1ul << 63};
	u64 *data = (u64 *)data_frame;
	ulong none = PLACE(use_none, 768);
	u32 i, wrong = 0;

	code = routine;
	for (i = 0; i < TURNS; i++) {
		bool bad = i >= TURNS - 100 && i % 4 == 0;

		data[0] = bad ? nowhere[i / 4 % 4] : none;
		in_world(call_code, world->data);
		wrong += bad ? (call && *(volatile u64 *)(trap.sp - 8) != BELOW) ||
					 trap.vector != GP_VECTOR || trap.error ||
					 (u32)trap.ip != (u32)(code + offset) ||
					 trap.sp != try_code_sp - (pushes ? 8 : 0)
			     : trap.vector != NO_TRAP;
		if (wrong == 1)
			print("turn %u: vector %d ip %lx sp %lx, was %lx\n", i, trap.vector,
				trap.ip, trap.sp, try_code_sp);
	}
	check_eq(wrong, 0, "%s to nowhere as %s", name, world->name);
}

/* At the end of the lower half: on, or not. Code that runs on faults at the first address that is
 * not canonical, a branch at itself, with nothing pushed. */
ROUTINE(edge_fall, "test %rbx, %rbx; jz 1f; ret; 1: inc %rcx; nop; inc %rcx");
ROUTINE(edge_jump, "test %rbx, %rbx; jz 1f; ret; 1: jmp . + 0x1000");
ROUTINE(edge_jcc, "test %rbx, %rbx; jz . + 0x1000; ret");
ROUTINE(edge_call, "test %rbx, %rbx; jz 1f; ret; 1: call . + 0x1000");
ROUTINE(edge_far_call, "test %rbx, %rbx; jz 1f; ret; 1: call . + 0x7ffffff0");
ROUTINE(edge_loop, "test %rbx, %rbx; jz 1f; ret; 1: mov $2, %ecx; loop . + 0x70");

static void test_edge(const char *name, const u8 *routine, const u8 *end, ulong offset)
{
	u32 i, wrong = 0;

	memset(last_frame, 0xcc, 4096);
	memcpy(last_frame + 4096 - (end - routine), routine, end - routine);
	cpuid(0, 0);
	code = LAST_PAGE + 4096 - (end - routine);
	for (i = 0; i < TURNS; i++) {
		bool on = i >= TURNS - 100 && i % 4 == 0;

		in_world(call_code, !on);
		wrong += on ? trap.vector != GP_VECTOR || trap.error || trap.ip != code + offset ||
					 trap.sp != try_code_sp
			    : trap.vector != NO_TRAP;
		if (wrong == 1)
			print("turn %u: vector %d error %x ip %lx sp %lx, was %lx\n", i,
				trap.vector, trap.error, trap.ip, trap.sp, try_code_sp);
	}
	check_eq(wrong, 0, "%s at the end of the lower half as %s", name, world->name);
}

static void test_nowhere(void)
{
	test_indirect("call by register", PLACE(call_register, 0), 12, false, true);
	test_indirect("call by memory", PLACE(call_memory, 256), 9, false, true);
	test_indirect("jump by memory", PLACE(jump_memory, 512), 0, false, false);
	test_indirect("return", PLACE(return_to, 1024), 2, true, false);
	test_edge("falling through", edge_fall, edge_fall_end, edge_fall_end - edge_fall);
	test_edge("jump", edge_jump, edge_jump_end, edge_jump_end - edge_jump - 5);
	test_edge("conditional branch", edge_jcc, edge_jcc_end, 3);
	test_edge("call", edge_call, edge_call_end, edge_call_end - edge_call - 5);
	test_edge("call far off", edge_far_call, edge_far_call_end,
		edge_far_call_end - edge_far_call - 5);
	test_edge("loop", edge_loop, edge_loop_end, edge_loop_end - edge_loop - 2);
}

/* --- code and stack in one page --- */

ROUTINE(shared_page, "mov %rsp, %r8; lea 4096(%rbx), %rsp; lea 1f(%rip), %rdx; mov $20000, %ecx; "
		     "xor %eax, %eax\n"
		     "2: call *%rdx; push %rcx; call 1f; pop %rcx; dec %ecx; jnz 2b; mov %r8, "
		     "%rsp; ret; 1: inc %eax; ret");

static volatile u32 ticks;

static void tick(struct trap_frame *f)
{
	ticks++;
	apic_eoi();
}

static ulong call_shared(ulong bx)
{
	return try_code((void *)code, 0, bx);
}

static void test_shared_page(void)
{
	u32 i, wrong = 0;

	trap_set_handler(0x40, tick);
	apic_write(APIC_TIMER_DIVIDE, 0xb);
	apic_write(APIC_LVT_TIMER, LVT_PERIODIC | 0x40);
	apic_write(APIC_TIMER_INITIAL, 400000);
	code = PLACE(shared_page, 0);
	irq_enable();
	for (i = 0; i < 10; i++)
		wrong += call_shared(world->code) != 40000 || trap.vector != NO_TRAP;
	irq_disable();
	apic_write(APIC_TIMER_INITIAL, 0);
	check_eq(wrong, 0, "code and stack in one page as %s, %u interrupts", world->name, ticks);
}

/* --- */

static u8 fault_stack[8192] __attribute__((aligned(16)));

static void set_up(void)
{
	code_frame = page_alloc();
	data_frame = page_alloc();
	last_frame = page_alloc();
	map_page(&boot_space, DATA_VA, (ulong)data_frame, PTE_P | PTE_W | PTE_U);
	map_page(&boot_space, DATA_HIGH, (ulong)data_frame, PTE_P | PTE_W);
	map_page(&boot_space, CODE_VA, (ulong)code_frame, PTE_P | PTE_W | PTE_U);
	map_page(&boot_space, CODE_HIGH, (ulong)code_frame, PTE_P | PTE_W);
	map_page(&boot_space, LAST_PAGE, (ulong)last_frame, PTE_P | PTE_U);
	main_tss.tss.ist[0] = (ulong)(fault_stack + sizeof(fault_stack));
	idt_set(GP_VECTOR, SEL_CODE, (ulong)trap_stubs + GP_VECTOR * 16, 14, 0, 1);
	write_cr4(read_cr4() | CR4_OSFXSR | CR4_OSXMMEXCPT);
	write_cr0((read_cr0() & ~(ulong)(CR0_EM | CR0_TS)) | CR0_MP | CR0_NE);
	asm volatile("fninit");
	apic_enable();
}

void guest_main(void)
{
	set_up();
	for (world = worlds; world < worlds + sizeof(worlds) / sizeof(worlds[0]); world++) {
		test_pointers();
		test_task_switched();
		test_forms();
		test_nowhere();
		if (!world->user)
			test_shared_page();
	}
}
