/*
 * Instructions on the stack pointer, and others whose form decides whether the translator or the
 * interpreter runs them, once cold and hundreds of times more: as a supervisor and as a user, in
 * the lower and in the upper half of the address space. An engine that translates may treat each of
 * these five in its own way.
 *
 *	- An address-size prefix changes the explicit operand of PUSH, CALL and JMP, and nothing of
 *	  the stack itself: in 64-bit mode that is always addressed by RSP, and LEAVE pops from RBP
 *	  (SDM vol. 1 6.2.3). An operand-size prefix moves RSP by 2.
 *	- LEA from ESP and EIP: 32 bits of the sum, whatever is in the upper half of RSP and RIP.
 *	- ADD and SUB of RSP and a register, for each register.
 *	- RDTSC and RDTSCP in ring 3 under CR4.TSD.
 *	- REP MOVS with an FS or GS base that is not 0.
 */
#include "paging.h"

#define CR4_TSD (1 << 2)

/* The data also lies below 4 GiB, at NEAR_BASE; what is left of the other addresses without their
 * upper 32 bits is RAM, too. */
#define NEAR_BASE TEST_VA
#define LOW_BASE  0x555500200000ul
#define HIGH_BASE 0xffff900000200000ul
#define CODE_AT   0x10000
#define DATA_AT   0x20000
#define STACK_AT  0x30000
#define STACK_TOP (STACK_AT + 0x800)
#define FS_OFFSET 0x200
#define TIMES     700

/* What a snippet begins and ends with. */
struct state {
	u64 rax, rbx, rcx, rdx, rsi, rdi, rbp, rsp, r8, r9;
};
struct state hotstack_in, hotstack_out;
u64 hotstack_sp, hotstack_code;

/* Loads the registers and goes to hotstack_code, which comes back to hotstack_end. */
ulong hotstack_run(ulong unused);
asm(".pushsection .text\n"
    "hotstack_run:\n\t"
    "push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n\t"
    "mov %rsp, hotstack_sp\n\t"
    "mov hotstack_in, %rax; mov hotstack_in+8, %rbx; mov hotstack_in+16, %rcx\n\t"
    "mov hotstack_in+24, %rdx; mov hotstack_in+32, %rsi; mov hotstack_in+40, %rdi\n\t"
    "mov hotstack_in+48, %rbp; mov hotstack_in+56, %rsp; mov hotstack_in+64, %r8\n\t"
    "mov hotstack_in+72, %r9\n\t"
    "jmp *hotstack_code\n"
    "hotstack_end:\n\t"
    "mov %rax, hotstack_out; mov %rbx, hotstack_out+8; mov %rcx, hotstack_out+16\n\t"
    "mov %rsi, hotstack_out+32; mov %rdi, hotstack_out+40; mov %rbp, hotstack_out+48\n\t"
    "mov %rsp, hotstack_out+56\n\t"
    "mov hotstack_sp, %rsp\n\t"
    "pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n\t"
    "ret\n.popsection");

struct form {
	const char *name;
	const u8 *code, *end;
	long sp; /* what becomes of RSP; from RBP if `frame` */
	bool frame;
	u64 rax, rax_mask; /* what must be in RAX */
	u64 bp; /* what must be in RBP, or 0: as it was; with `frame` and 16 bits in BP */
};

#define FORM(name, text)                                                                           \
	extern const u8 name[], name##_end[];                                                      \
	asm(".pushsection .text\n" #name ":\n\t" text "\n\tmovabs $hotstack_end, %rdx\n\t"         \
	    "jmp *%rdx\n" #name "_end:\n.popsection")

/* RDI is the data's address; R8 the same in the lower half; R9 that with rubbish in bits 32 to 63.
 * RBP is RDI + 0x40, where FRAME stands. */
#define FRAME 0x1122334455667788ull
#define DATUM 0x99aabbccddeeff00ull
#define ALL   (~0ull)

FORM(leave, "leave; mov %rbp, %rax");
FORM(leave_67, ".byte 0x67; leave; mov %rbp, %rax");
FORM(leave_66, ".byte 0x66, 0xc9; mov %rbp, %rax");
FORM(leave_67_66, ".byte 0x67, 0x66, 0xc9; mov %rbp, %rax");
FORM(push_67, "mov $7, %eax; .byte 0x67; push %rax; xor %eax, %eax; mov (%rsp), %rax");
FORM(push_66, "mov $7, %eax; pushw %ax; xor %eax, %eax; movzwl (%rsp), %eax");
FORM(push_67_66, "mov $7, %eax; .byte 0x67; pushw %ax; xor %eax, %eax; movzwl (%rsp), %eax");
FORM(push_imm_67, ".byte 0x67, 0x6a, 0x85; mov (%rsp), %rax");
FORM(push_imm_66, ".byte 0x66, 0x6a, 0x85; movzwl (%rsp), %eax");
FORM(push_memory_67, "push (%r9d); mov (%rsp), %rax");
FORM(push_memory_67_66, "pushw (%r9d); movzwl (%rsp), %eax");
FORM(pop_67, "mov $9, %ebx; push %rbx; .byte 0x67; pop %rax");
FORM(pop_66, "mov $9, %ebx; push %rbx; xor %eax, %eax; popw %ax");
FORM(pop_memory_67, "mov $9, %ebx; push %rbx; pop 8(%r9d); mov 8(%r8), %rax");
FORM(pop_memory_66, "mov $9, %ebx; push %rbx; popw 8(%rdi); movzwl 8(%rdi), %eax");
FORM(enter, "mov %rsp, %rbx; enter $16, $0; mov %rbx, %rax; sub %rbp, %rax");
FORM(enter_67, "mov %rsp, %rbx; .byte 0x67; enter $16, $0; mov %rbx, %rax; sub %rbp, %rax");
FORM(enter_67_nested, "mov %rsp, %rbx; .byte 0x67; enter $16, $1; mov %rbx, %rax; sub %rbp, %rax");
FORM(call_67, "lea 1f(%rip), %rbx; .byte 0x67; call 1f; 1: pop %rax; sub %rbx, %rax");
FORM(call_memory_67, "lea 1f(%rip), %rbx; mov %rbx, 16(%r8); call *16(%r9d); 1: pop %rax; "
		     "sub %rbx, %rax");
FORM(call_register_67, "lea 1f(%rip), %rbx; .byte 0x67; call *%rbx; 1: pop %rax; sub %rbx, %rax");
FORM(ret_67, "lea 1f(%rip), %rbx; push %rbx; .byte 0x67, 0xc3; 1: mov $5, %eax");
FORM(ret_imm_67, "lea 1f(%rip), %rbx; push %rbx; .byte 0x67, 0xc2, 16, 0; 1: mov $5, %eax");
FORM(jmp_memory_67, "lea 1f(%rip), %rbx; mov %rbx, 16(%r8); jmp *16(%r9d); 1: mov $5, %eax");
FORM(pushf_67, "xor %eax, %eax; .byte 0x67; pushf; pop %rax");
FORM(pushf_66, "xor %eax, %eax; pushfw; mov (%rsp), %ax");

FORM(lea_67, "lea 8(%rsp), %rbx; mov %ebx, %ebx; lea 8(%esp), %eax; sub %rbx, %rax");
FORM(lea_67_wide, "lea 8(%rsp), %rbx; mov %ebx, %ebx; lea 8(%esp), %rax; sub %rbx, %rax");
FORM(lea_67_index, "mov $16, %ecx; lea 8(%rsp,%rcx,2), %rbx; mov %ebx, %ebx; "
		   "lea 8(%esp,%ecx,2), %eax; sub %rbx, %rax");
FORM(lea_67_eip, "lea 1f(%rip), %rbx; mov %ebx, %ebx; lea 1f(%eip), %eax; 1: sub %rbx, %rax");
FORM(lea_67_eip_wide, "lea 1f(%rip), %rbx; mov %ebx, %ebx; lea 1f(%eip), %rax; 1: sub %rbx, %rax");

#define FROM_REGISTER(name, reg)                                                                   \
	FORM(add_##name, "mov $0x40, %" reg "; add %" reg ", %rsp; mov %rsp, %rax; push %rcx; "    \
			 "pop %rcx; sub %" reg ", %rsp; sub %rsp, %rax")
FORM(add_rax, "mov $0x40, %rax; add %rax, %rsp; mov %rsp, %rbx; push %rcx; pop %rcx; "
	      "sub %rax, %rsp; mov %rbx, %rax; sub %rsp, %rax");
FORM(add_rsp,
	"mov %rsp, %rax; add %rsp, %rsp; sub %rax, %rsp; push %rcx; pop %rcx; mov $0x40, %eax");
FORM(add_rbp, "mov %rbp, %rbx; mov $0x40, %rbp; add %rbp, %rsp; mov %rsp, %rax; push %rcx; "
	      "pop %rcx; sub %rbp, %rsp; sub %rsp, %rax; mov %rbx, %rbp");
FROM_REGISTER(rbx, "rbx");
FROM_REGISTER(rcx, "rcx");
FROM_REGISTER(rdx, "rdx");
FROM_REGISTER(rsi, "rsi");
FROM_REGISTER(rdi, "rdi");
FROM_REGISTER(r8, "r8");
FROM_REGISTER(r9, "r9");
FROM_REGISTER(r10, "r10");
FROM_REGISTER(r11, "r11");
FROM_REGISTER(r12, "r12");
FROM_REGISTER(r13, "r13");
FROM_REGISTER(r14, "r14");
FROM_REGISTER(r15, "r15");

/* From DATA + FS_OFFSET, or - FS_OFFSET, to DATA + 0x80. */
#define MOVE(name, segment, insn, count)                                                           \
	FORM(name, "movq $0, 0x80(%rdi); mov %rdi, %rsi; lea 0x80(%rdi), %rdi; mov $" count        \
		   ", %ecx; " segment insn "; mov -8(%rdi), %rax")
MOVE(movs_plain, "", "rep movsb", "8");
MOVE(movs_fs, ".byte 0x64; ", "rep movsb", "8");
MOVE(movs_gs, ".byte 0x65; ", "rep movsb", "8");
MOVE(movs_fs_quad, ".byte 0x64; ", "movsq", "1");

#define ROW(name, sp, frame, rax, mask, bp)                                                        \
	{                                                                                          \
#name, name, name##_end, sp, frame, rax, mask, bp                                  \
	}
#define ADD(name) ROW(add_##name, 0, false, 0x40, ALL, 0)

static const struct form forms[] = {
	ROW(leave, 8, true, FRAME, ALL, FRAME),
	ROW(leave_67, 8, true, FRAME, ALL, FRAME),
	ROW(leave_66, 2, true, (u16)FRAME, 0xffff, 1),
	ROW(leave_67_66, 2, true, (u16)FRAME, 0xffff, 1),
	ROW(push_67, -8, false, 7, ALL, 0),
	ROW(push_66, -2, false, 7, ALL, 0),
	ROW(push_67_66, -2, false, 7, ALL, 0),
	ROW(push_imm_67, -8, false, ~0x7aull, ALL, 0),
	ROW(push_imm_66, -2, false, 0xff85, ALL, 0),
	ROW(push_memory_67, -8, false, DATUM, ALL, 0),
	ROW(push_memory_67_66, -2, false, (u16)DATUM, ALL, 0),
	ROW(pop_67, 0, false, 9, ALL, 0),
	ROW(pop_66, -6, false, 9, ALL, 0),
	ROW(pop_memory_67, 0, false, 9, ALL, 0),
	ROW(pop_memory_66, -6, false, 9, ALL, 0),
	ROW(enter, -24, false, 8, ALL, 1),
	ROW(enter_67, -24, false, 8, ALL, 1),
	ROW(enter_67_nested, -32, false, 8, ALL, 1),
	ROW(call_67, 0, false, 0, ALL, 0),
	ROW(call_memory_67, 0, false, 0, ALL, 0),
	ROW(call_register_67, 0, false, 0, ALL, 0),
	ROW(ret_67, 0, false, 5, ALL, 0),
	ROW(ret_imm_67, 16, false, 5, ALL, 0),
	ROW(jmp_memory_67, 0, false, 5, ALL, 0),
	ROW(pushf_67, 0, false, FLAG_ZF | FLAG_PF | 2, ~(u64)FLAG_IF, 0),
	ROW(pushf_66, -2, false, FLAG_ZF | FLAG_PF | 2, ~(u64)FLAG_IF, 0),
	ROW(lea_67, 0, false, 0, ALL, 0),
	ROW(lea_67_wide, 0, false, 0, ALL, 0),
	ROW(lea_67_index, 0, false, 0, ALL, 0),
	ROW(lea_67_eip, 0, false, 0, ALL, 0),
	ROW(lea_67_eip_wide, 0, false, 0, ALL, 0),
	ADD(rax),
	ADD(rbx),
	ADD(rcx),
	ADD(rdx),
	ADD(rsp),
	ADD(rbp),
	ADD(rsi),
	ADD(rdi),
	ADD(r8),
	ADD(r9),
	ADD(r10),
	ADD(r11),
	ADD(r12),
	ADD(r13),
	ADD(r14),
	ADD(r15),
	ROW(movs_plain, 0, false, DATUM, ALL, 0),
	ROW(movs_fs, 0, false, DATUM + 1, ALL, 0),
	ROW(movs_gs, 0, false, DATUM + 2, ALL, 0),
	ROW(movs_fs_quad, 0, false, DATUM + 1, ALL, 0),
};
#define FORMS (sizeof(forms) / sizeof(forms[0]))

static u8 *code_frame;
static bool user;

static void prepare(ulong base)
{
	volatile u64 *data = (volatile u64 *)(base + DATA_AT);

	data[0] = DATUM;
	data[1] = 0;
	data[8] = FRAME; /* at 0x40, and what ENTER copies is below */
	data[7] = 0x77;
	*(volatile u64 *)(base + DATA_AT + FS_OFFSET) = DATUM + 1;
	*(volatile u64 *)(base + DATA_AT - FS_OFFSET) = DATUM + 2;
	hotstack_in = (struct state){.rdi = base + DATA_AT,
		.rbp = base + DATA_AT + 0x40,
		.rsp = base + STACK_TOP,
		.r8 = NEAR_BASE + DATA_AT,
		.r9 = (NEAR_BASE + DATA_AT) | 0x1234567800000000};
}

static bool right(const struct form *form)
{
	u64 sp = (form->frame ? hotstack_in.rbp : hotstack_in.rsp) + (u64)form->sp;

	return hotstack_out.rsp == sp && (hotstack_out.rax & form->rax_mask) == form->rax &&
	       (form->bp == 1 || hotstack_out.rbp == (form->bp ? form->bp : hotstack_in.rbp));
}

static void test_form(const struct form *form, const char *where, ulong base)
{
	/* mov %ds, %ecx, which an engine leaves to an interpreter, and a jump to what follows: so
	 * the way it comes here says nothing about how it is translated. */
	static const u8 start[] = {0x8c, 0xd9, 0xeb, 0x00};
	u32 i, wrong = 0, first = 0;

	memcpy(code_frame, start, sizeof(start));
	memcpy(code_frame + sizeof(start), form->code, form->end - form->code);
	cpuid(0, 0); /* written at another address than it runs at */
	hotstack_code = base + CODE_AT;
	for (i = 0; i < TIMES; i++) {
		prepare(base);
		user ? user_call(hotstack_run, 0) : hotstack_run(0);
		if (!right(form) && !wrong++)
			first = i;
	}
	check(!wrong, "%s, %s: %u wrong, first run %u; RSP %lx of %lx, RBP %lx, RAX %lx",
		form->name, where, wrong, first, (ulong)hotstack_out.rsp, (ulong)hotstack_in.rsp,
		(ulong)hotstack_out.rbp, (ulong)hotstack_out.rax);
}

static void test_world(const char *where, ulong base)
{
	size_t i;

	for (i = 0; i < FORMS; i++)
		test_form(&forms[i], where, base);
}

/* --- CR4.TSD --- */

static ulong try_rdtsc(ulong unused)
{
	try_asm("rdtsc", : : : "eax", "edx");
	return trap.vector;
}

static ulong try_rdtscp(ulong unused)
{
	try_asm("rdtscp", : : : "eax", "ecx", "edx");
	return trap.vector;
}

static void test_tsd(const char *name, ulong (*fn)(ulong))
{
	u32 round, i;

	for (round = 0; round < 4; round++) {
		u32 wrong = 0, want = round & 1 ? GP_VECTOR : NO_TRAP;

		write_cr4((read_cr4() & ~(ulong)CR4_TSD) | (round & 1 ? CR4_TSD : 0));
		for (i = 0; i < TIMES; i++)
			wrong += user_call(fn, 0) != want;
		check_eq(wrong, 0, "%s in ring 3, CR4.TSD %u", name, round & 1);
		for (i = wrong = 0; i < TIMES; i++)
			wrong += fn(0) != NO_TRAP;
		check_eq(wrong, 0, "%s in ring 0, CR4.TSD %u", name, round & 1);
	}
	write_cr4(read_cr4() & ~(ulong)CR4_TSD);
}

/* An engine may wait with the better ways until a program has shown that it is worth them. */
static ulong grow_old(ulong turns)
{
	while (turns--)
		asm volatile("" : : : "memory");
	return 0;
}

static void map_areas(void)
{
	static const ulong pages[] = {CODE_AT, DATA_AT - 0x1000, DATA_AT, STACK_AT};
	size_t i;

	for (i = 0; i < sizeof(pages) / sizeof(pages[0]); i++) {
		u8 *frame = page_alloc();

		if (!i)
			code_frame = frame;
		map_page(&boot_space, NEAR_BASE + pages[i], (ulong)frame, PTE_P | PTE_W | PTE_U);
		map_page(&boot_space, LOW_BASE + pages[i], (ulong)frame, PTE_P | PTE_W | PTE_U);
		map_page(&boot_space, HIGH_BASE + pages[i], (ulong)frame, PTE_P | PTE_W);
	}
}

void guest_main(void)
{
	map_areas();
	wrmsr(0xc0000100, FS_OFFSET);
	wrmsr(0xc0000101, -(u64)FS_OFFSET);
	test_world("lower half", LOW_BASE);
	test_world("upper half", HIGH_BASE);
	user = true;
	test_world("young user", LOW_BASE);
	user_call(grow_old, 200000);
	test_world("user", LOW_BASE);
	test_tsd("rdtsc", try_rdtsc);
	if (cpu_has(FEATURE_RDTSCP))
		test_tsd("rdtscp", try_rdtscp);
}
