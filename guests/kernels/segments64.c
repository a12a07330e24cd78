/*
 * What is left of segmentation in 64-bit mode: null selectors, FS and GS bases, SWAPGS, 16-byte
 * descriptors, call gates without parameters, and IRETQ (SDM vol. 3A 5.8.3 and 6.14).
 */
#include "kernel.h"

#define MSR_FS_BASE        0xc0000100
#define MSR_GS_BASE        0xc0000101
#define MSR_KERNEL_GS_BASE 0xc0000102

#define SEL_A         SEL_TEST
#define SEL_A2        (SEL_TEST + 8)
#define SEL_B         (SEL_TEST + 16)
#define SEL_NOWHERE   (GDT_ENTRIES * 8)
#define NON_CANONICAL (1ul << 63)

extern const u8 ring3_gate_call[], gate64_entry[], ring3_stack_selector[];
extern volatile u64 seen_cs, seen_ss, seen_rsp, seen_frame[4];

static u16 read_selector(int which)
{
	u16 value = 0;

	if (which == 0)
		asm volatile("mov %%ss, %0" : "=r"(value));
	if (which == 1)
		asm volatile("mov %%fs, %0" : "=r"(value));
	return value;
}

static void test_null(void)
{
	try_asm("mov %0, %%ss", : : "r"(0));
	check_no_trap("a null SS in ring 0");
	check_eq(read_selector(0), 0, "SS is null");
	asm volatile("push $1; pop %%rax" : : : "rax", "memory");
	try_asm("mov %0, %%ss", : : "r"(3));
	check_trap(GP_VECTOR, 0, "a null SS with RPL 3 in ring 0");
	asm volatile("mov %0, %%ss" : : "r"(SEL_DATA));
	try_asm("mov %0, %%ds; mov %0, %%es; mov %0, %%fs; mov %0, %%gs", : : "r"(0));
	check_no_trap("null data segments");
	try_asm("mov trap_at, %%eax", : : : "eax");
	check_no_trap("access with a null DS");
	try_asm("mov %%gs:trap_at, %%eax", : : : "eax");
	check_no_trap("access with a null GS");
	asm volatile("mov %0, %%ds; mov %0, %%es" : : "r"(SEL_DATA));
}

static ulong ring3_load_ss(ulong selector)
{
	try_asm("mov %0, %%ss", : : "r"(selector));
	return trap.vector;
}

/* Hot, and each side of both ends of what is canonical. Where there are addresses of 57 bits, that
 * is what bases may have, whatever CR4.LA57 (SDM vol. 3A 4.5.2). */
static void test_bases_often(void)
{
	const ulong end = 1ul << (cpu_has(FEATURE_LA57) ? 56 : 47);
	const struct {
		ulong base;
		bool bad;
	} rows[] = {
		{end - 1, false},
		{-end, false},
		{end, true},
		{-end - 1, true},
		{end / 2, false},
		{-(end / 2) - 1, false},
		{1ul << 62, true},
	};
	const u32 count = sizeof(rows) / sizeof(rows[0]);
	ulong got;
	u32 i, wrong = 0;

	for (i = 0; i < 3000 * count; i++) {
		ulong base = rows[i % count].base, before = i;

		asm volatile("wrfsbase %0; wrgsbase %0" : : "r"(before));
		try_asm("wrfsbase %0", : : "r"(base));
		wrong += trap.vector != (rows[i % count].bad ? GP_VECTOR : NO_TRAP);
		asm volatile("rdfsbase %0" : "=r"(got));
		wrong += got != (rows[i % count].bad ? before : base);
		try_asm("wrgsbase %0", : : "r"(base));
		wrong += trap.vector != (rows[i % count].bad ? GP_VECTOR : NO_TRAP);
		asm volatile("rdgsbase %0" : "=r"(got));
		wrong += got != (rows[i % count].bad ? before : base);
	}
	check_eq(wrong, 0, "WRFSBASE and WRGSBASE at the ends of what is canonical");
}

static void test_bases(void)
{
	static const u32 words[4] = {11, 22, 33, 44};
	ulong base = (ulong)words;
	u32 value;

	wrmsr(MSR_FS_BASE, base + 4);
	asm volatile("mov %%fs:0, %0" : "=r"(value));
	check_eq(value, 22, "FS base by MSR");
	wrmsr(MSR_GS_BASE, base + 8);
	wrmsr(MSR_KERNEL_GS_BASE, base + 12);
	asm volatile("swapgs; mov %%gs:0, %0; swapgs" : "=r"(value));
	check_eq(value, 44, "SWAPGS");
	asm volatile("mov %%gs:0, %0" : "=r"(value));
	check_eq(value, 33, "SWAPGS back");
	/* The address is base plus offset, and wraps at 64 bits. */
	wrmsr(MSR_FS_BASE, ~0ul - 3);
	asm volatile("mov %%fs:(%1), %0" : "=r"(value) : "r"(base + 4));
	check_eq(value, 11, "FS base near the top: the sum wraps");
	/* With a 32-bit address size the offset is cut, the base is not. */
	wrmsr(MSR_FS_BASE, base);
	asm volatile("addr32 mov %%fs:4(%k1), %0" : "=r"(value) : "r"(0xffffffff00000000ul));
	check_eq(value, 22, "32-bit offset with an FS base");
	try_asm("mov %%fs:(%1), %0", : "=r"(value) : "r"(NON_CANONICAL));
	check_trap(GP_VECTOR, 0, "a non-canonical sum");
	try_asm("wrmsr", : : "c"(MSR_FS_BASE), "a"(0), "d"(0x80000000));
	check_trap(GP_VECTOR, 0, "a non-canonical FS base");
	try_asm("wrmsr", : : "c"(MSR_KERNEL_GS_BASE), "a"(0), "d"(0x80000000));
	check_trap(GP_VECTOR, 0, "a non-canonical kernel GS base");

	/* Loading a selector loads the base of its descriptor, 32 bits of it. */
	wrmsr(MSR_FS_BASE, 0x123400000000ul);
	gdt_set(SEL_A, 0x12345678, 0xfffff, DESC_DATA32);
	asm volatile("mov %0, %%fs" : : "r"(SEL_A));
	check_eq(rdmsr(MSR_FS_BASE), 0x12345678, "load of FS loads the base");
	wrmsr(MSR_FS_BASE, 0x1000);
	asm volatile("mov %0, %%fs" : : "r"(0));
	/* A null selector clears the base on Intel, and leaves it on older AMDs. */
	if (!cpu_is_amd())
		check_eq(rdmsr(MSR_FS_BASE), 0, "a null FS clears the base");
	wrmsr(MSR_FS_BASE, 0x5000);
	asm volatile("mov %0, %%ds; mov %0, %%es" : : "r"(SEL_DATA));
	check_eq(rdmsr(MSR_FS_BASE), 0x5000, "loads of other segments leave FS alone");

	if (!cpu_has(FEATURE_FSGSBASE)) {
		skip("FSGSBASE: not in CPUID");
		return;
	}
	try_asm("rdfsbase %%rax", : : : "rax");
	check_trap(UD_VECTOR, 0, "RDFSBASE without CR4.FSGSBASE");
	write_cr4(read_cr4() | CR4_FSGSBASE);
	{
		ulong got;

		asm volatile("wrfsbase %1; rdfsbase %0" : "=r"(got) : "r"(0x7fff12345678ul));
		check_eq(got, 0x7fff12345678ul, "WRFSBASE and RDFSBASE");
		asm volatile("wrfsbase %k1; rdfsbase %0" : "=r"(got) : "r"(0x7fff12345678ul));
		check_eq(got, 0x12345678, "WRFSBASE of 32 bits");
		asm volatile("wrgsbase %1; rdgsbase %0" : "=r"(got) : "r"(~0xffful));
		check_eq(got, ~0xffful, "WRGSBASE and RDGSBASE");
	}
	try_asm("wrfsbase %0", : : "r"(NON_CANONICAL));
	check_trap(GP_VECTOR, 0, "WRFSBASE of a non-canonical base");
	test_bases_often();
	write_cr4(read_cr4() & ~(ulong)CR4_FSGSBASE);
	wrmsr(MSR_FS_BASE, 0);
	wrmsr(MSR_GS_BASE, 0);
}

/* Descriptors of the LDT and the TSS have 16 bytes, and a 64-bit base. */
static void test_system_descriptors(void)
{
	static u64 ldt[4];
	u32 value;
	bool found;

	gdt_set(SEL_A, (ulong)ldt, sizeof(ldt) - 1, 0x82);
	gdt[SEL_A2 / 8] = 0;
	try_asm("lldt %w0", : : "r"(SEL_A));
	check_no_trap("lldt");
	gdt[SEL_A2 / 8] = 0x80000000; /* the base is not canonical */
	try_asm("lldt %w0", : : "r"(SEL_A));
	check_trap(GP_VECTOR, SEL_A, "lldt with a non-canonical base");
	gdt[SEL_A2 / 8] = 0;
	try_asm("lldt %w0", : : "r"(SEL_NOWHERE - 8));
	check_trap(GP_VECTOR, SEL_NOWHERE - 8, "lldt of a descriptor that the GDT cuts in two");
	gdt_set(SEL_A, (ulong)&main_tss, 0x67, 0x81);
	try_asm("ltr %w0", : : "r"(SEL_A));
	check_trap(GP_VECTOR, SEL_A, "ltr of a 16-bit TSS");
	try_asm("ltr %w0", : : "r"(SEL_TSS));
	check_trap(GP_VECTOR, SEL_TSS, "ltr of a busy TSS");
	asm volatile("lldt %w0" : : "r"(0));

	/* Types that 64-bit mode does not have. */
	gdt_set(SEL_A, 0, 0xfffff, 0x81);
	asm volatile("lar %2, %0; setz %1" : "=r"(value), "=q"(found) : "r"(SEL_A) : "cc");
	check(!found, "lar of a 16-bit TSS");
	gdt_set(SEL_A, 0, 0xfffff, 0x85);
	asm volatile("lar %2, %0; setz %1" : "=r"(value), "=q"(found) : "r"(SEL_A) : "cc");
	check(!found, "lar of a task gate");
	gdt_set(SEL_A, 0, 0xfffff, 0x89);
	asm volatile("lar %2, %0; setz %1" : "=r"(value), "=q"(found) : "r"(SEL_A) : "cc");
	check(found && (value & 0xff00) == 0x8900, "lar of a TSS");
}

static const u8 leave[] = {0xcd, VECTOR_USER_RETURN};

static ulong run_ring3(const u8 *code)
{
	ulong r;

	trap.vector = NO_TRAP;
	trap_at = (ulong)code;
	trap_resume = (ulong)leave;
	r = user_call_at(SEL_USER_CODE, (ulong)code, SEL_USER_DATA, (ulong)user_stack_top, 0, 2);
	trap_resume = 0;
	return r;
}

static void test_call_gate(void)
{
	gdt_set_gate(SEL_A, SEL_CODE, (ulong)gate64_entry, 0x8c | DESC_DPL(3), 5);
	check_eq(run_ring3(ring3_gate_call), 0x600d, "call gate to 64-bit code, and back");
	check_no_trap("call gate: nothing raised");
	check_eq(seen_cs, SEL_CODE, "call gate: CS");
	check_eq(seen_ss, 0, "call gate: SS is null");
	check_eq(seen_rsp, main_tss.tss.rsp[0] - 32, "call gate: four words and no parameters");
	check_eq(seen_frame[1], SEL_USER_CODE, "call gate: CS of the caller");
	check_eq(seen_frame[2], (ulong)user_stack_top, "call gate: RSP of the caller");
	check_eq(seen_frame[3], SEL_USER_DATA, "call gate: SS of the caller");
	gdt_set_gate(SEL_A, SEL_CODE, (ulong)gate64_entry, 0x8c, 0);
	run_ring3(ring3_gate_call);
	check_trap(GP_VECTOR, SEL_A, "call gate: DPL 0 from ring 3");
	gdt_set_gate(SEL_A, SEL_CODE32, (ulong)gate64_entry, 0x8c | DESC_DPL(3), 0);
	run_ring3(ring3_gate_call);
	check_trap(GP_VECTOR, SEL_CODE32, "call gate: to a 32-bit segment");
	gdt_set_gate(SEL_A, SEL_CODE, (ulong)gate64_entry, 0x8c | DESC_DPL(3), 0);
	gdt[SEL_A2 / 8] |= 0x1full << 40; /* the second half must have type 0 */
	run_ring3(ring3_gate_call);
	check_trap(GP_VECTOR, SEL_A, "call gate: the second half has a type");
	gdt_set_gate(SEL_A, SEL_CODE, NON_CANONICAL, 0x8c | DESC_DPL(3), 0);
	run_ring3(ring3_gate_call);
	check_trap(GP_VECTOR, 0, "call gate: to a non-canonical address");
	gdt_set_gate(SEL_A, SEL_CODE, (ulong)gate64_entry, 0x84 | DESC_DPL(3), 0);
	run_ring3(ring3_gate_call);
	check_trap(GP_VECTOR, SEL_A, "16-bit call gate");
}

/* IRETQ with what is wrong in its frame. */
struct iret_case {
	const char *name;
	u64 ip;
	u16 cs, ss;
	u16 flags; /* of the descriptor at SEL_B */
	int vector;
	u32 error;
};

static const struct iret_case irets[] = {
	{"null CS", 0x1000, 0, SEL_USER_DATA, 0, GP_VECTOR, 0},
	{"CS with DPL 0 and RPL 3", 0x1000, SEL_CODE + 3, SEL_USER_DATA, 0, GP_VECTOR, SEL_CODE},
	{"CS not present", 0x1000, SEL_B + 3, SEL_USER_DATA, 0xa07b, NP_VECTOR, SEL_B},
	{"CS with L and D", 0x1000, SEL_B + 3, SEL_USER_DATA, 0xe0fb, GP_VECTOR, SEL_B},
	{"null SS to ring 3", 0x1000, SEL_USER_CODE, 0, 0, GP_VECTOR, 0},
	{"null SS with RPL 3 to ring 3", 0x1000, SEL_USER_CODE, 3, 0, GP_VECTOR, 0},
	{"SS with RPL 0", 0x1000, SEL_USER_CODE, SEL_DATA, 0, GP_VECTOR, SEL_DATA},
	{"SS read-only", 0x1000, SEL_USER_CODE, SEL_B + 3, 0xc0f1, GP_VECTOR, SEL_B},
	{"non-canonical RIP", NON_CANONICAL, SEL_USER_CODE, SEL_USER_DATA, 0, GP_VECTOR, 0},
	{"SS of ring 3 to ring 0", 0x1000, SEL_CODE, SEL_USER_DATA, 0, GP_VECTOR,
		SEL_USER_DATA & ~3},
};

SNIPPET(iret_there, "mov %rbx, %rsp; iretq");
SNIPPET(iret_with_nt, "mov %rbx, %rsp; pushfq; orl $0x4000, (%rsp); popfq; iretq");

static void test_iret(void)
{
	static u64 stack[512] __attribute__((aligned(16)));
	u64 *frame = stack + 400;
	size_t i;

	for (i = 0; i < sizeof(irets) / sizeof(irets[0]); i++) {
		const struct iret_case *c = &irets[i];

		gdt_set(SEL_B, 0, 0xfffff, c->flags);
		frame[0] = c->ip;
		frame[1] = c->cs;
		frame[2] = 2;
		frame[3] = (ulong)user_stack_top;
		frame[4] = c->ss;
		try_code(iret_there, 3, (ulong)frame);
		/* To a RIP that is none: Intel faults at the IRETQ, AMD in ring 3. */
		if (c->ip == NON_CANONICAL && trap.cs == SEL_USER_CODE &&
			trap.ip == NON_CANONICAL) {
			check_eq(trap.vector, GP_VECTOR, "iretq: %s", c->name);
			continue;
		}
		check_trap(c->vector, c->error, "iretq: %s", c->name);
		check_eq(trap.sp, (ulong)frame, "iretq: %s: RSP is as before", c->name);
	}
	frame[0] = 0x1000;
	frame[1] = SEL_CODE;
	frame[4] = SEL_DATA;
	try_code(iret_with_nt, 12, (ulong)frame);
	write_flags(2);
	check_trap(GP_VECTOR, 0, "iretq with NT");
	/* Within ring 0 the stack pointer is loaded too, and SS may be null. */
	{
		ulong sp_before, sp_after;

		asm volatile("mov %%rsp, %0; xor %%eax, %%eax; push %%rax; lea -64(%0), %%rcx; "
			     "push %%rcx;"
			     "pushfq; push %2; push $1f; iretq; 1: mov %%rsp, %1; mov %0, %%rsp;"
			     "mov %3, %%eax; mov %%eax, %%ss"
			     : "=&r"(sp_before), "=&r"(sp_after)
			     : "i"(SEL_CODE), "i"(SEL_DATA)
			     : "rax", "rcx", "memory", "cc");
		check_eq(sp_after, sp_before - 64, "iretq within ring 0 loads RSP");
	}
}

/* An exception aligns the stack to 16 bytes and stores SS and RSP always. */
SNIPPET(odd_stack, "sub $5, %rsp; ud2");
SNIPPET(null_stack_selector, "xor %eax, %eax; mov %eax, %ss; ud2");

static void test_exception_frame(void)
{
	try_code(odd_stack, 4, 0);
	check_trap(UD_VECTOR, 0, "an exception on a stack that is not aligned");
	check_eq(trap.sp, try_code_sp - 5, "RSP as it was is in the frame");
	try_code(null_stack_selector, 4, 0);
	asm volatile("mov %0, %%ss" : : "r"(SEL_DATA));
	check(trap.vector == UD_VECTOR && trap.ss == 0, "a null SS is in the frame");
	check_eq(user_call(ring3_load_ss, 3), GP_VECTOR, "a null SS in ring 3");
	check_eq(user_call(ring3_load_ss, SEL_USER_DATA), NO_TRAP, "SS in ring 3");
	check_eq(run_ring3(ring3_stack_selector), 0x600d, "INT from ring 3");
}

void guest_main(void)
{
	test_null();
	test_bases();
	test_system_descriptors();
	test_call_gate();
	test_iret();
	test_exception_frame();
}
