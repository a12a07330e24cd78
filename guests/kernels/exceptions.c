/*
 * Exceptions: which vector an instruction raises, with which error code, in which order of
 * priority. Built for 64-bit and for 32-bit mode. restart.c has the state that faults leave.
 */
#include "paging.h"

/* Test pages: one present and writable, one read-only, then a hole. */
#define GOOD_PAGE TEST_VA
#define HOLE      (TEST_VA + 0x2000)

/* An instruction given as bytes. It is run with RBX at a writable page. */
struct encoding {
	const char *name;
	u8 length;
	u8 bytes[16];
};

static const struct encoding undefined[] = {
	{"ud2", 2, {0x0f, 0x0b}},
	{"ud1", 3, {0x0f, 0xb9, 0xc0}},
	{"lock nop", 2, {0xf0, 0x90}},
	{"lock add to register", 3, {0xf0, 0x01, 0xc0}},
	{"lock mov to memory", 3, {0xf0, 0x89, 0x03}},
	{"lock cmp", 3, {0xf0, 0x39, 0x03}},
	{"lock add from memory", 3, {0xf0, 0x03, 0x03}},
	{"lock bt", 4, {0xf0, 0x0f, 0xa3, 0x03}},
	{"lock test", 3, {0xf0, 0x85, 0x03}},
	{"lock inc register", 3, {0xf0, 0xff, 0xc0}},
	{"lock shl", 3, {0xf0, 0xd1, 0x23}},
	{"lock push memory", 3, {0xf0, 0xff, 0x33}},
	{"lock cmpxchg8b register", 4, {0xf0, 0x0f, 0xc7, 0xc8}},
	{"lock movs", 2, {0xf0, 0xa4}},
	{"lock ret", 2, {0xf0, 0xc3}},
	{"cmpxchg8b register", 3, {0x0f, 0xc7, 0xc8}},
	{"lea of a register", 2, {0x8d, 0xc0}},
	{"mov to cs", 2, {0x8e, 0xc8}},
	{"mov to segment register 6", 2, {0x8e, 0xf0}},
	{"mov from segment register 7", 2, {0x8c, 0xf8}},
	{"mov from cr1", 3, {0x0f, 0x20, 0xc8}},
	{"mov to cr5", 3, {0x0f, 0x22, 0xe8}},
	{"mov to cr7", 3, {0x0f, 0x22, 0xf8}},
	{"fe /2", 2, {0xfe, 0xd0}},
	{"ff /7", 2, {0xff, 0xf8}},
	{"c7 /1", 6, {0xc7, 0xc8, 0, 0, 0, 0}},
	{"call far register", 2, {0xff, 0xd8}},
	{"jmp far register", 2, {0xff, 0xe8}},
	{"0f ba /0", 4, {0x0f, 0xba, 0xc0, 0x00}},
	{"0f ba /3", 4, {0x0f, 0xba, 0xd8, 0x00}},
	{"0f 00 /6", 3, {0x0f, 0x00, 0xf0}},
	{"0f 00 /7", 3, {0x0f, 0x00, 0xf8}},
	{"rsm outside SMM", 2, {0x0f, 0xaa}},
	{"fxsave register", 3, {0x0f, 0xae, 0xc0}},
	{"movnti register", 3, {0x0f, 0xc3, 0xc0}},
	{"0f 04", 2, {0x0f, 0x04}},
	{"0f 0a", 2, {0x0f, 0x0a}},
	{"0f 24", 3, {0x0f, 0x24, 0xc0}},
	{"0f 36", 2, {0x0f, 0x36}},
	{"0f a6", 3, {0x0f, 0xa6, 0xc0}},
#ifdef __x86_64__
	{"push es", 1, {0x06}},
	{"pop ds", 1, {0x1f}},
	{"daa", 1, {0x27}},
	{"aaa", 1, {0x37}},
	{"pusha", 1, {0x60}},
	{"popa", 1, {0x61}},
	{"82", 3, {0x82, 0xc0, 0x00}},
	{"call far immediate", 7, {0x9a, 0, 0, 0, 0, 0, 0}},
	{"into", 1, {0xce}},
	{"aam", 2, {0xd4, 0x0a}},
	{"salc", 1, {0xd6}},
	{"jmp far immediate", 7, {0xea, 0, 0, 0, 0, 0, 0}},
	{"mov to cr9", 4, {0x44, 0x0f, 0x22, 0xc8}},
	{"mov from dr8", 4, {0x44, 0x0f, 0x21, 0xc0}},
	{"vzeroupper with 66", 4, {0x66, 0xc5, 0xf8, 0x77}},
	{"vzeroupper with REX", 4, {0x40, 0xc5, 0xf8, 0x77}},
	{"vzeroupper with lock", 4, {0xf0, 0xc5, 0xf8, 0x77}},
#else
	{"bound of a register", 2, {0x62, 0x00 | 0xc0}},
	{"lds of a register", 3, {0x67, 0xc5, 0x00 | 0xc0}},
#endif
};

static u8 code_buffer[64] __attribute__((aligned(64)));

static ulong run_bytes(const u8 *bytes, int length, ulong bx)
{
	memcpy(code_buffer, bytes, length);
	code_buffer[length] = 0xc3;
	return try_code(code_buffer, 0, bx);
}

static void test_undefined(void)
{
	size_t i;

	for (i = 0; i < sizeof(undefined) / sizeof(undefined[0]); i++) {
		const struct encoding *e = &undefined[i];

#ifndef __x86_64__
		/* The EVEX and VEX prefixes took these encodings over. */
		if (e->bytes[0] == 0x62 || e->bytes[1] == 0xc5)
			continue;
#endif
		run_bytes(e->bytes, e->length, GOOD_PAGE);
		check_trap(UD_VECTOR, 0, "#UD: %s", e->name);
	}
	/* An invalid opcode is found before its operands are looked at (SDM vol. 3A 6.9). */
	run_bytes((const u8[]){0xf0, 0x89, 0x03}, 3, HOLE);
	check_trap(UD_VECTOR, 0, "#UD before #PF: lock mov to a hole");
}

static void test_length(void)
{
	u8 bytes[20];

	memset(bytes, 0x66, sizeof(bytes));
	bytes[14] = 0x90;
	run_bytes(bytes, 15, 0);
	check_no_trap("an instruction of 15 bytes");
	bytes[14] = 0x66;
	bytes[15] = 0x90;
	run_bytes(bytes, 16, 0);
	check_trap(GP_VECTOR, 0, "an instruction of 16 bytes");
	/* mov $imm32, (%rbx): 9 prefixes and 6 bytes fit, 10 and 6 do not. */
	memset(bytes, 0x3e, sizeof(bytes));
	memcpy(bytes + 9, (const u8[]){0xc7, 0x03, 1, 2, 3, 4}, 6);
	run_bytes(bytes, 15, GOOD_PAGE);
	check_no_trap("prefixes and an immediate in 15 bytes");
	memset(bytes, 0x3e, sizeof(bytes));
	memcpy(bytes + 10, (const u8[]){0xc7, 0x03, 1, 2, 3, 4}, 6);
	run_bytes(bytes, 16, GOOD_PAGE);
	check_trap(GP_VECTOR, 0, "prefixes and an immediate in 16 bytes");
}

static void test_divide(void)
{
	u32 low = 7, high = 3;

	try_asm("divl %2", : "+a"(low), "+d"(high) : "r"(0) : "cc");
	check_trap(DE_VECTOR, 0, "div by zero");
	check(low == 7 && high == 3, "div by zero leaves its operands");
	try_asm("divl %2", : "+a"(low), "+d"(high) : "r"(2) : "cc");
	check_trap(DE_VECTOR, 0, "div overflow");
	low = 0x80000000;
	high = 0xffffffff;
	try_asm("idivl %2", : "+a"(low), "+d"(high) : "r"(-1) : "cc");
	check_trap(DE_VECTOR, 0, "idiv of the smallest number by -1");
	low = 0x100;
	try_asm("divb %b1", : "+a"(low) : "q"(1) : "cc");
	check_trap(DE_VECTOR, 0, "8-bit div overflow");
	low = 0xff7f;
	try_asm("idivb %b1", : "+a"(low) : "q"(1) : "cc");
	check_trap(DE_VECTOR, 0, "8-bit idiv overflow");
	low = 0xff80;
	try_asm("idivb %b1", : "+a"(low) : "q"(1) : "cc");
	check_no_trap("8-bit idiv of -128 by 1");
	check_eq(low, 0x80, "8-bit idiv result");
#ifdef __x86_64__
	{
		ulong a = 0, d = 1ul << 63;

		try_asm("idivq %2", : "+a"(a), "+d"(d) : "r"(-1l) : "cc");
		check_trap(DE_VECTOR, 0, "64-bit idiv overflow");
	}
#else
	try_asm("aam $0", : "+a"(low) : : "cc");
	check_trap(DE_VECTOR, 0, "aam 0");
#endif
}

static void test_software_interrupts(void)
{
	try_asm("int3", : : : "memory");
	check_trap(BP_VECTOR, 0, "int3");
	check_eq(trap.offset, 1, "int3 saves the next IP");
	try_asm(".byte 0xcd, 3", : : : "memory"); /* assemblers shorten "int $3" */
	check_eq(trap.offset, 2, "int 3 of two bytes saves the next IP");
	try_asm("int $0x42", : : : "memory");
	check(trap.vector == 0x42 && trap.offset == 2, "int 0x42");
	try_asm(".byte 0xf1", : : : "memory");
	check(trap.vector == DB_VECTOR && trap.offset == 1, "int1 is a trap");
	/* INT n pushes no error code, even through the vector of an exception that has one. */
	try_asm("int $0x20", : : : "memory");
	check_eq(trap.vector, 0x20, "int 0x20");
#ifndef __x86_64__
	try_asm("add $0x7fffffff, %0; into", : : "r"(1) : "memory", "cc");
	check_eq(trap.vector, OF_VECTOR, "into with OF");
	try_asm("test %0, %0; into", : : "r"(1) : "memory", "cc");
	check_no_trap("into without OF");
	{
		s32 bounds[2] = {-5, 10};

		try_asm("bound %0, %1", : : "r"(11), "m"(bounds[0]) : "memory");
		check_trap(BR_VECTOR, 0, "bound above");
		try_asm("bound %0, %1", : : "r"(-6), "m"(bounds[0]) : "memory");
		check_trap(BR_VECTOR, 0, "bound below");
		try_asm("bound %0, %1", : : "r"(10), "m"(bounds[0]) : "memory");
		check_no_trap("bound at the upper bound");
		try_asm("bound %0, %1", : : "r"(-5), "m"(bounds[0]) : "memory");
		check_no_trap("bound at the lower bound");
	}
#endif
}

/* Control registers refuse what would make no sense (SDM vol. 2, MOV to control registers). */
static void test_control_registers(void)
{
	ulong cr0 = read_cr0(), cr4 = read_cr4();

#define TRY_CR(cr, value) try_asm("mov %0, %%" cr, : : "r"((ulong)(value)) : "memory")
	TRY_CR("cr0", cr0 & ~(ulong)CR0_PE);
	check_trap(GP_VECTOR, 0, "PG without PE");
	TRY_CR("cr0", (cr0 | CR0_NW) & ~(ulong)CR0_CD);
	check_trap(GP_VECTOR, 0, "NW without CD");
	TRY_CR("cr4", cr4 | 1ul << 31);
	check_trap(GP_VECTOR, 0, "a reserved bit of CR4");
	check_eq(read_cr0(), cr0, "CR0 is as before");
	check_eq(read_cr4(), cr4, "CR4 is as before");
	TRY_CR("cr0", cr0 & ~(ulong)CR0_ET);
	check_no_trap("clear CR0.ET");
	check_eq(read_cr0(), cr0, "CR0.ET stays set");
#ifdef __x86_64__
	TRY_CR("cr0", cr0 | 1ul << 32);
	check_trap(GP_VECTOR, 0, "the high half of CR0");
	TRY_CR("cr0", cr0 & ~(ulong)(u32)CR0_PG);
	check_trap(GP_VECTOR, 0, "clear PG in 64-bit mode");
	TRY_CR("cr4", cr4 & ~(ulong)CR4_PAE);
	check_trap(GP_VECTOR, 0, "clear PAE in 64-bit mode");
	TRY_CR("cr4", cr4 ^ CR4_LA57);
	check_trap(GP_VECTOR, 0, "flip LA57 in 64-bit mode");
	TRY_CR("cr3", read_cr3() | 1ul << 52);
	check_trap(GP_VECTOR, 0, "a reserved bit of CR3");
	TRY_CR("cr8", 16);
	check_trap(GP_VECTOR, 0, "CR8 above 15");
	if (!cpu_has(FEATURE_PCID)) {
		TRY_CR("cr4", cr4 | CR4_PCIDE);
		check_trap(GP_VECTOR, 0, "PCIDE that CPUID does not have");
	}
	try_asm("mov %0, %%dr7", : : "r"(1ul << 32));
	check_trap(GP_VECTOR, 0, "the high half of DR7");
	try_asm("mov %0, %%dr6", : : "r"(1ul << 32));
	check_trap(GP_VECTOR, 0, "the high half of DR6");
#endif
	/* LMSW can set PE but not clear it. */
	asm volatile("lmsw %w0" : : "r"(cr0 & ~1ul));
	check_eq(read_cr0(), cr0, "lmsw cannot clear PE");
	asm volatile("lmsw %w0" : : "r"(cr0 | CR0_TS));
	check_eq(read_cr0(), cr0 | CR0_TS, "lmsw sets TS");
	asm volatile("clts");
	check_eq(read_cr0(), cr0, "clts");
}

#ifdef __x86_64__
SNIPPET(load_through_rbp, "mov %rbx, %rbp; mov (%rbp), %rax");
SNIPPET(load_through_rbp_ds, "mov %rbx, %rbp; mov %ds:(%rbp), %rax");

static void test_canonical(void)
{
	ulong value;

	try_asm("mov (%1), %0", : "=r"(value) : "r"(1ul << 63));
	check_trap(GP_VECTOR, 0, "load from a non-canonical address");
	try_asm("mov %0, (%1)", : : "r"(0ul), "r"(1ul << 47));
	check_trap(GP_VECTOR, 0, "store to the first non-canonical address");
	try_asm("mov (%1), %0", : "=r"(value) : "r"(~0ul << 47));
	check_pf(0, ~0ul << 47, "load from the first canonical address above the hole");
	try_code(load_through_rbp, 3, 1ul << 63);
	check_trap(SS_VECTOR, 0, "#SS for a non-canonical RBP address");
	try_asm("jmp *%0", : : "r"(1ul << 63));
	check_trap(GP_VECTOR, 0, "jmp to a non-canonical address");
	try_asm("invlpg (%0)", : : "r"(1ul << 63));
	check_no_trap("invlpg of a non-canonical address");
	try_asm("lea (%1), %0", : "=r"(value) : "r"(1ul << 63));
	check_no_trap("lea of a non-canonical address");
	try_asm("prefetcht0 (%0)", : : "r"(1ul << 63));
	check_no_trap("prefetch of a non-canonical address");
	try_asm("clflush (%0)", : : "r"(1ul << 63));
	check_trap(GP_VECTOR, 0, "clflush of a non-canonical address");
}
#endif

/*
 * Exceptions during the delivery of an exception: contributory pairs make #DF, other pairs are
 * handled one after the other (SDM vol. 3A, table 6-5).
 */
#define IDT_ERROR(vector, external) ((vector) << 3 | 2 | (external))

static void test_double_fault(void)
{
	idt_set_present(GP_VECTOR, false);
	try_asm("mov %0, %%ds", : : "r"(0xfff8));
	check_trap(DF_VECTOR, 0, "#NP while #GP is delivered");
	idt_reset(GP_VECTOR, 0);

	idt_set(GP_VECTOR, 0, 0, 14, 0, 0);
	try_asm("mov %0, %%ds", : : "r"(0xfff8));
	check_trap(DF_VECTOR, 0, "#GP while #GP is delivered");
	idt_reset(GP_VECTOR, 0);

	idt_set_present(PF_VECTOR, false);
	try_asm("mov %0, (%1)", : : "r"(0), "r"(HOLE) : "memory");
	check_trap(DF_VECTOR, 0, "#NP while #PF is delivered");
	check_eq(trap.cr2, HOLE, "CR2 after #PF became #DF");
	idt_reset(PF_VECTOR, 0);

	idt_set_present(DE_VECTOR, false);
	try_asm("divl %0", : : "r"(0), "a"(0), "d"(0) : "cc");
	check_trap(DF_VECTOR, 0, "#NP while #DE is delivered");
	idt_reset(DE_VECTOR, 0);

	idt_set_present(UD_VECTOR, false);
	try_asm("ud2", : : : "memory");
	check_trap(NP_VECTOR, IDT_ERROR(UD_VECTOR, 1), "#NP while #UD is delivered");
	idt_reset(UD_VECTOR, 0);
#ifdef __x86_64__
	/* The interrupt stack of #GP, then of #PF, lies in the hole. */
	main_tss.tss.ist[0] = HOLE + 0x800;
	idt_set(GP_VECTOR, SEL_CODE, (ulong)trap_stubs + GP_VECTOR * 16, 14, 0, 1);
	try_asm("mov %0, %%ds", : : "r"(0xfff8));
	check_pf(PF_W, HOLE + 0x7f8, "#PF while #GP is delivered");
	idt_reset(GP_VECTOR, 0);
	idt_set(PF_VECTOR, SEL_CODE, (ulong)trap_stubs + PF_VECTOR * 16, 14, 0, 1);
	try_asm("mov %0, (%1)", : : "r"(0), "r"(HOLE) : "memory");
	check_trap(DF_VECTOR, 0, "#PF while #PF is delivered");
	idt_reset(PF_VECTOR, 0);
#endif
}

/* What is wrong with the gate decides vector and error code (SDM vol. 2, INT n). */
static void test_gates(void)
{
	const int vector = 0x42;
	struct table_pointer idtr;

	idt_set_present(vector, false);
	try_asm("int $0x42", : : : "memory");
	check_trap(NP_VECTOR, IDT_ERROR(vector, 0), "INT through a gate that is not present");
	idt_set(vector, SEL_CODE, 0, 2, 0, 0);
	try_asm("int $0x42", : : : "memory");
	check_trap(GP_VECTOR, IDT_ERROR(vector, 0), "INT through a gate of no such type");
	idt_set(vector, SEL_CODE, 0, 12, 0, 0);
	try_asm("int $0x42", : : : "memory");
	check_trap(GP_VECTOR, IDT_ERROR(vector, 0), "INT through a call gate");
	idt_set(vector, 0, 0, 14, 0, 0);
	try_asm("int $0x42", : : : "memory");
	check_trap(GP_VECTOR, 0, "INT through a gate with a null selector");
	idt_set(vector, SEL_DATA, 0, 14, 0, 0);
	try_asm("int $0x42", : : : "memory");
	check_trap(GP_VECTOR, SEL_DATA, "INT through a gate to a data segment");
	idt_set(vector, GDT_ENTRIES * 8, 0, 14, 0, 0);
	try_asm("int $0x42", : : : "memory");
	check_trap(GP_VECTOR, GDT_ENTRIES * 8, "INT through a gate beyond the GDT");
	gdt_set(SEL_TEST, 0, 0xfffff, (gdt[SEL_CODE / 8] >> 40 & 0xf0ff) & ~0x80);
	idt_set(vector, SEL_TEST, 0, 14, 0, 0);
	try_asm("int $0x42", : : : "memory");
	check_trap(NP_VECTOR, SEL_TEST, "INT to a code segment that is not present");
	idt_set(vector, SEL_USER_CODE & ~3, 0, 14, 0, 0);
	try_asm("int $0x42", : : : "memory");
	check_trap(GP_VECTOR, SEL_USER_CODE & ~3, "INT to an outer ring");
#ifdef __x86_64__
	idt_set(vector, SEL_CODE32, 0, 14, 0, 0);
	try_asm("int $0x42", : : : "memory");
	check_trap(GP_VECTOR, SEL_CODE32, "INT to a 32-bit segment in long mode");
#endif
	idt_reset(vector, 0);

	asm volatile("sidt %0" : "=m"(idtr));
	lidt(0x42 * sizeof(ulong) * 2 - 2, idtr.base);
	try_asm("int $0x42", : : : "memory");
	lidt(idtr.limit, idtr.base);
	check_trap(GP_VECTOR, IDT_ERROR(vector, 0), "INT beyond the limit of the IDT");
	lidt(0x43 * sizeof(ulong) * 2 - 2, idtr.base);
	try_asm("int $0x42", : : : "memory");
	lidt(idtr.limit, idtr.base);
	check_trap(GP_VECTOR, IDT_ERROR(vector, 0), "INT to an entry the limit cuts");
}

/* In ring 3 a gate's DPL guards INT, and privileged instructions fault before their operands do. */
struct privileged {
	const char *name;
	u8 length;
	u8 bytes[8];
	int vector;
};

static const struct privileged privileged[] = {
	{"hlt", 1, {0xf4}, GP_VECTOR},
	{"clts", 2, {0x0f, 0x06}, GP_VECTOR},
	{"invd", 2, {0x0f, 0x08}, GP_VECTOR},
	{"wbinvd", 2, {0x0f, 0x09}, GP_VECTOR},
	{"wrmsr", 2, {0x0f, 0x30}, GP_VECTOR},
	{"rdmsr", 2, {0x0f, 0x32}, GP_VECTOR},
	{"mov from cr0", 3, {0x0f, 0x20, 0xc0}, GP_VECTOR},
	{"mov from cr5", 3, {0x0f, 0x20, 0xe8}, UD_VECTOR},
	{"mov to cr3", 3, {0x0f, 0x22, 0xd8}, GP_VECTOR},
	{"mov from dr7", 3, {0x0f, 0x21, 0xf8}, GP_VECTOR},
	{"mov to dr0", 3, {0x0f, 0x23, 0xc0}, GP_VECTOR},
	{"lmsw", 3, {0x0f, 0x01, 0xf0}, GP_VECTOR},
	{"lgdt", 3, {0x0f, 0x01, 0x13}, GP_VECTOR},
	{"lidt", 3, {0x0f, 0x01, 0x1b}, GP_VECTOR},
	{"lldt", 3, {0x0f, 0x00, 0xd0}, GP_VECTOR},
	{"ltr", 3, {0x0f, 0x00, 0xd8}, GP_VECTOR},
	{"invlpg", 3, {0x0f, 0x01, 0x3b}, GP_VECTOR},
	{"cli", 1, {0xfa}, GP_VECTOR},
	{"sti", 1, {0xfb}, GP_VECTOR},
	{"in immediate", 2, {0xe4, 0x80}, GP_VECTOR},
	{"out dx", 1, {0xee}, GP_VECTOR},
	{"insb", 1, {0x6c}, GP_VECTOR},
	{"outsb", 1, {0x6e}, GP_VECTOR},
	{"int 0x42 with DPL 0", 2, {0xcd, 0x42}, GP_VECTOR},
	{"ud2", 2, {0x0f, 0x0b}, UD_VECTOR},
};

static ulong run_in_ring3(ulong index)
{
	const struct privileged *p = &privileged[index];

	/* RBX points into the hole: #GP has priority over #PF. */
	return run_bytes(p->bytes, p->length, HOLE);
}

static void test_ring3(void)
{
	size_t i;

	for (i = 0; i < sizeof(privileged) / sizeof(privileged[0]); i++) {
		const struct privileged *p = &privileged[i];
		bool is_int = p->bytes[0] == 0xcd;

		user_call(run_in_ring3, i);
		check_trap(
			p->vector, is_int ? IDT_ERROR(p->bytes[1], 0) : 0, "ring 3: %s", p->name);
		check_eq(trap.cs, SEL_USER_CODE, "ring 3: %s: CS", p->name);
	}
}

/* Runs in ring 3 with EFLAGS.AC. What it returns has a bit for each step that trapped. */
static ulong unaligned_accesses(ulong address)
{
	ulong trapped = 0;
	u16 word;
	u32 dword;
	u8 byte;

#define STEP(bit, insn, ...)                                                                       \
	do {                                                                                       \
		try_asm(insn, __VA_ARGS__);                                                        \
		if (trap.vector == AC_VECTOR && trap.error == 0 && trap.offset == 0)               \
			trapped |= 1ul << (bit);                                                   \
	} while (0)
	write_flags(read_flags() | FLAG_AC);
	STEP(0, "movw 1(%1), %0", : "=r"(word) : "r"(address));
	STEP(1, "movl 2(%1), %0", : "=r"(dword) : "r"(address));
	STEP(2, "movl %0, 1(%1)", : : "r"(0), "r"(address) : "memory");
	STEP(3, "addl %0, 3(%1)", : : "r"(0), "r"(address) : "memory");
	STEP(4, "movl 4(%1), %0", : "=r"(dword) : "r"(address));
	STEP(5, "movb 3(%1), %0", : "=q"(byte) : "r"(address));
	STEP(6, "movw 2(%1), %0", : "=r"(word) : "r"(address));
	STEP(7, "lea 1(%1), %%esi; lodsl", : "=a"(dword) : "r"((u32)address) : "esi");
	write_flags(read_flags() & ~(ulong)FLAG_AC);
	STEP(8, "movl 1(%1), %0", : "=r"(dword) : "r"(address));
	return trapped;
}

static ulong call_unaligned(ulong address)
{
	return unaligned_accesses(address);
}

static void test_alignment(void)
{
	ulong cr0 = read_cr0();

	check_eq(user_call(call_unaligned, GOOD_PAGE), 0, "no #AC without CR0.AM");
	write_cr0(cr0 | CR0_AM);
	check_eq(user_call(call_unaligned, GOOD_PAGE), 0xf, "#AC in ring 3");
	check_eq(unaligned_accesses(GOOD_PAGE), 0, "no #AC in ring 0");
	write_cr0(cr0);
	try_asm("movaps (%0), %%xmm0", : : "r"(GOOD_PAGE + 8));
	check_trap(GP_VECTOR, 0, "movaps of an unaligned operand");
	try_asm("movups (%0), %%xmm0", : : "r"(GOOD_PAGE + 8));
	check_no_trap("movups of an unaligned operand");
	try_asm("addps (%0), %%xmm0", : : "r"(GOOD_PAGE + 4));
	check_trap(GP_VECTOR, 0, "addps of an unaligned operand");
	try_asm("fxsave (%0)", : : "r"(GOOD_PAGE + 8) : "memory");
	check_trap(GP_VECTOR, 0, "fxsave to an unaligned operand");
	try_asm("ldmxcsr (%0)", : : "r"(GOOD_PAGE + 1));
	check(trap.vector != AC_VECTOR, "ldmxcsr of an unaligned operand");
#ifdef __x86_64__
	if (cpu_has(FEATURE_CX16)) {
		try_asm("lock cmpxchg16b (%0)",
			:
			: "r"(GOOD_PAGE + 8), "a"(0), "b"(0), "c"(0), "d"(0)
			: "memory", "cc");
		check_trap(GP_VECTOR, 0, "cmpxchg16b of an unaligned operand");
	}
#endif
}

void guest_main(void)
{
	ulong page = (ulong)page_alloc();

	map_page(&boot_space, GOOD_PAGE, page, PTE_P | PTE_W | PTE_U);
	map_page(&boot_space, HOLE, 0, 0);
	test_undefined();
	test_length();
	test_divide();
	test_software_interrupts();
	test_control_registers();
#ifdef __x86_64__
	test_canonical();
#endif
	test_double_fault();
	test_gates();
	test_ring3();
	test_alignment();
}
