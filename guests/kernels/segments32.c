/*
 * Segmentation in 32-bit protected mode: which descriptor may be loaded into what, what a limit and
 * a type allow, and far transfers within a ring and between rings (SDM vol. 3A, chapter 5).
 *
 * The C code lives in DS, ES and SS, so tests of data segments use FS.
 */
#include "kernel.h"

#define SEL_A       SEL_TEST
#define SEL_B       (SEL_TEST + 8)
#define SEL_LDT     (SEL_TEST + 16)
#define SEL_NOWHERE (GDT_ENTRIES * 8)

/* Access bytes. */
#define READ_ONLY               0x90
#define WRITABLE                0x92
#define EXPAND_DOWN             0x96
#define EXECUTE_ONLY            0x98
#define READABLE_CODE           0x9a
#define CONFORMING              0x9e
#define CONFORMING_EXECUTE_ONLY 0x9c
#define NOT_PRESENT(type)       ((type) & ~0x80)
#define BIG                     0x4000 /* D/B */
#define PAGES                   0x8000 /* G */

extern u32 seen_cs, seen_ss, seen_esp, seen_parameters[6], ring3_esp;
extern u8 ring3_call_gate[], ring3_call_gate16[], gate_entry[], gate_entry16[];
extern u8 ring3_segments[], ring3_conforming[];

static u64 ldt[8] __attribute__((aligned(8)));

static u16 read_fs(void)
{
	u16 fs;

	asm volatile("mov %%fs, %0" : "=r"(fs));
	return fs;
}

struct load_case {
	const char *name;
	u16 flags; /* of the descriptor at SEL_A */
	u16 selector;
	int vector;
	u16 error;
};

static const struct load_case data_loads[] = {
	{"null", 0, 0, NO_TRAP, 0},
	{"null with RPL 3", 0, 3, NO_TRAP, 0},
	{"beyond the GDT", 0, SEL_NOWHERE, GP_VECTOR, SEL_NOWHERE},
	{"beyond the GDT, RPL is not in the error code", 0, SEL_NOWHERE + 3, GP_VECTOR,
		SEL_NOWHERE},
	{"in no LDT", 0, 12, GP_VECTOR, 12},
	{"writable data", WRITABLE, SEL_A, NO_TRAP, 0},
	{"read-only data", READ_ONLY, SEL_A, NO_TRAP, 0},
	{"expand-down data", EXPAND_DOWN, SEL_A, NO_TRAP, 0},
	{"readable code", READABLE_CODE, SEL_A, NO_TRAP, 0},
	{"execute-only code", EXECUTE_ONLY, SEL_A, GP_VECTOR, SEL_A},
	{"conforming execute-only code", CONFORMING_EXECUTE_ONLY, SEL_A, GP_VECTOR, SEL_A},
	{"not present", NOT_PRESENT(WRITABLE), SEL_A, NP_VECTOR, SEL_A},
	{"not present, RPL too weak", NOT_PRESENT(WRITABLE), SEL_A + 3, GP_VECTOR, SEL_A},
	{"execute-only and not present", NOT_PRESENT(EXECUTE_ONLY), SEL_A, GP_VECTOR, SEL_A},
	{"TSS", 0x89, SEL_A, GP_VECTOR, SEL_A},
	{"LDT", 0x82, SEL_A, GP_VECTOR, SEL_A},
	{"call gate", 0x8c, SEL_A, GP_VECTOR, SEL_A},
	{"DPL 0 with RPL 3", WRITABLE, SEL_A + 3, GP_VECTOR, SEL_A},
	{"DPL 0 with RPL 1", READABLE_CODE, SEL_A + 1, GP_VECTOR, SEL_A},
	{"DPL 3 with RPL 3", WRITABLE | DESC_DPL(3), SEL_A + 3, NO_TRAP, 0},
	{"DPL 3 with RPL 0", WRITABLE | DESC_DPL(3), SEL_A, NO_TRAP, 0},
	{"DPL 2 with RPL 3", WRITABLE | DESC_DPL(2), SEL_A + 3, GP_VECTOR, SEL_A},
	{"conforming code with RPL 3", CONFORMING, SEL_A + 3, NO_TRAP, 0},
};

static const struct load_case stack_loads[] = {
	{"null", 0, 0, GP_VECTOR, 0},
	{"null with RPL 3", 0, 3, GP_VECTOR, 0},
	{"beyond the GDT", 0, SEL_NOWHERE, GP_VECTOR, SEL_NOWHERE},
	{"writable data", WRITABLE, SEL_A, NO_TRAP, 0},
	{"read-only data", READ_ONLY, SEL_A, GP_VECTOR, SEL_A},
	{"readable code", READABLE_CODE, SEL_A, GP_VECTOR, SEL_A},
	{"not present", NOT_PRESENT(WRITABLE), SEL_A, SS_VECTOR, SEL_A},
	{"TSS", 0x89, SEL_A, GP_VECTOR, SEL_A},
	{"RPL 3", WRITABLE, SEL_A + 3, GP_VECTOR, SEL_A},
	{"DPL 3", WRITABLE | DESC_DPL(3), SEL_A, GP_VECTOR, SEL_A},
	{"DPL 3 and RPL 3", WRITABLE | DESC_DPL(3), SEL_A + 3, GP_VECTOR, SEL_A},
};

SNIPPET(pop_bad_fs, "push $0x98; pop %fs"); /* an empty entry of the GDT */

static void test_loads(void)
{
	size_t i;

	asm volatile("lldt %w0" : : "r"(0)); /* reset leaves an LDT of 64 KiB at 0 */
	for (i = 0; i < sizeof(data_loads) / sizeof(data_loads[0]); i++) {
		const struct load_case *c = &data_loads[i];
		bool marked;

		asm volatile("mov %0, %%fs" : : "r"(SEL_DATA));
		gdt_set(SEL_A, 0, 0xfffff, c->flags | BIG | PAGES);
		try_asm("mov %0, %%fs", : : "r"((u32)c->selector));
		check_trap(c->vector, c->error, "load FS: %s", c->name);
		check_eq(read_fs(), c->vector == NO_TRAP ? c->selector : SEL_DATA,
			"load FS: %s: the selector", c->name);
		/* The accessed bit is set by a load, and only by one that works. */
		marked = gdt[SEL_A / 8] >> 40 & 1;
		if ((c->selector & ~3) == SEL_A && c->flags & 0x10)
			check_eq(
				marked, c->vector == NO_TRAP, "load FS: %s: accessed bit", c->name);
		asm volatile("mov %0, %%fs" : : "r"(0));
	}
	for (i = 0; i < sizeof(stack_loads) / sizeof(stack_loads[0]); i++) {
		const struct load_case *c = &stack_loads[i];

		gdt_set(SEL_A, 0, 0xfffff, c->flags | BIG | PAGES);
		try_asm("mov %0, %%ss", : : "r"((u32)c->selector));
		asm volatile("mov %0, %%ss" : : "r"(SEL_DATA));
		check_trap(c->vector, c->error, "load SS: %s", c->name);
	}
	asm volatile("mov %0, %%fs" : : "r"(SEL_DATA));
	try_code(pop_bad_fs, 5, 0);
	check_trap(GP_VECTOR, 0x98, "pop FS: a bad selector");
	check_eq(trap.sp, try_code_sp - 4, "pop FS: SP is as before");
	asm volatile("mov %0, %%fs" : : "r"(0));
}

/* What a descriptor lets through. OFFSET and SIZE are those of one access through FS. */
struct access_case {
	const char *name;
	u16 flags;
	u32 base, limit;
	u32 offset;
	u8 size;
	bool write;
	bool allowed;
};

#define FAR_BASE 0x300000

static const struct access_case accesses[] = {
	{"last byte", WRITABLE | BIG, FAR_BASE, 0xfff, 0xfff, 1, true, true},
	{"byte beyond the limit", WRITABLE | BIG, FAR_BASE, 0xfff, 0x1000, 1, true, false},
	{"word across the limit", WRITABLE | BIG, FAR_BASE, 0xfff, 0xfff, 2, false, false},
	{"word up to the limit", WRITABLE | BIG, FAR_BASE, 0xfff, 0xffe, 2, false, true},
	{"dword across the limit", WRITABLE | BIG, FAR_BASE, 0xfff, 0xffd, 4, true, false},
	{"dword up to the limit", WRITABLE | BIG, FAR_BASE, 0xfff, 0xffc, 4, true, true},
	{"16 bytes across the limit", WRITABLE | BIG, FAR_BASE, 0xfff, 0xff1, 16, false, false},
	{"16 bytes up to the limit", WRITABLE | BIG, FAR_BASE, 0xfff, 0xff0, 16, true, true},
	{"limit 0", WRITABLE | BIG, FAR_BASE, 0, 0, 1, true, true},
	{"limit 0 and a word", WRITABLE | BIG, FAR_BASE, 0, 0, 2, true, false},
	{"limit in pages", WRITABLE | BIG | PAGES, FAR_BASE, 0, 0xffc, 4, true, true},
	{"beyond a limit in pages", WRITABLE | BIG | PAGES, FAR_BASE, 0, 0x1000, 1, true, false},
	{"across a limit in pages", WRITABLE | BIG | PAGES, FAR_BASE, 0, 0xffe, 4, true, false},
	{"4 GiB: base plus offset wraps", WRITABLE | BIG | PAGES, FAR_BASE + 0x1000, 0xfffff,
		0xfffff000, 4, true, true},
	{"4 GiB: the last dword", WRITABLE | BIG | PAGES, FAR_BASE + 4, 0xfffff, 0xfffffffc, 4,
		true, true},
	{"store to read-only data", READ_ONLY | BIG, FAR_BASE, 0xfff, 0, 4, true, false},
	{"load from read-only data", READ_ONLY | BIG, FAR_BASE, 0xfff, 0, 4, false, true},
	{"store to code", READABLE_CODE | BIG, FAR_BASE, 0xfff, 0, 4, true, false},
	{"load from code", READABLE_CODE | BIG, FAR_BASE, 0xfff, 0, 4, false, true},
	{"16-bit data: the limit counts, not B", WRITABLE | PAGES, FAR_BASE, 0x10, 0x10ffc, 4, true,
		true},
	{"expand-down: at the limit", EXPAND_DOWN | BIG, FAR_BASE, 0xfff, 0xfff, 1, false, false},
	{"expand-down: above the limit", EXPAND_DOWN | BIG, FAR_BASE, 0xfff, 0x1000, 4, true, true},
	{"expand-down: 0", EXPAND_DOWN | BIG, FAR_BASE, 0xfff, 0, 1, false, false},
	{"expand-down: across the limit", EXPAND_DOWN | BIG, FAR_BASE, 0xfff, 0xffe, 4, false,
		false},
	{"expand-down: above 64 KiB", EXPAND_DOWN | BIG, FAR_BASE, 0xfff, 0x10000, 4, true, true},
	{"16-bit expand-down: 0xfffc", EXPAND_DOWN, FAR_BASE, 0xfff, 0xfffc, 4, true, true},
	{"16-bit expand-down: across 64 KiB", EXPAND_DOWN, FAR_BASE, 0xfff, 0xfffe, 4, true, false},
	{"16-bit expand-down: 0x10000", EXPAND_DOWN, FAR_BASE, 0xfff, 0x10000, 1, false, false},
	{"expand-down in pages: page 0", EXPAND_DOWN | BIG | PAGES, FAR_BASE, 0, 0xfff, 1, false,
		false},
	{"expand-down in pages: page 1", EXPAND_DOWN | BIG | PAGES, FAR_BASE, 0, 0x1000, 1, false,
		true},
};

static void access_fs(u32 offset, int size, bool write)
{
	u32 value = 0x11223344;

	if (write && size == 1)
		try_asm("movb %b0, %%fs:(%1)", : : "q"(value), "r"(offset) : "memory");
	else if (write && size == 2)
		try_asm("movw %w0, %%fs:(%1)", : : "r"(value), "r"(offset) : "memory");
	else if (write && size == 4)
		try_asm("movl %0, %%fs:(%1)", : : "r"(value), "r"(offset) : "memory");
	else if (write)
		try_asm("movups %%xmm0, %%fs:(%0)", : : "r"(offset) : "memory");
	else if (size == 1)
		try_asm("movb %%fs:(%1), %b0", : "=q"(value) : "r"(offset) : "memory");
	else if (size == 2)
		try_asm("movw %%fs:(%1), %w0", : "=r"(value) : "r"(offset) : "memory");
	else if (size == 4)
		try_asm("movl %%fs:(%1), %0", : "=r"(value) : "r"(offset) : "memory");
	else
		try_asm("movups %%fs:(%0), %%xmm0", : : "r"(offset) : "memory");
}

static void test_accesses(void)
{
	volatile u32 *plain = (u32 *)FAR_BASE;
	u32 value;
	size_t i;

	for (i = 0; i < sizeof(accesses) / sizeof(accesses[0]); i++) {
		const struct access_case *c = &accesses[i];

		gdt_set(SEL_A, c->base, c->limit, c->flags);
		asm volatile("mov %0, %%fs" : : "r"(SEL_A));
		access_fs(c->offset, c->size, c->write);
		check_trap(c->allowed ? NO_TRAP : GP_VECTOR, 0, "access: %s", c->name);
		asm volatile("mov %0, %%fs" : : "r"(0));
	}
	access_fs(0, 1, false);
	check_trap(GP_VECTOR, 0, "access: through a null segment");

	/* A loaded descriptor stays in force when its table changes, until the next load. */
	gdt_set(SEL_A, FAR_BASE, 0xfff, WRITABLE | BIG);
	asm volatile("mov %0, %%fs" : : "r"(SEL_A));
	gdt_set(SEL_A, 0, 0, READ_ONLY);
	*plain = 1;
	asm volatile("movl $0x77, %%fs:0" : : : "memory");
	check_eq(*plain, 0x77, "a loaded segment does not follow its descriptor");
	asm volatile("mov %0, %%fs" : : "r"(0));

	/* The sum of base and offset wraps around. */
	gdt_set(SEL_A, FAR_BASE, 0xfffff, WRITABLE | BIG | PAGES);
	asm volatile("mov %0, %%fs" : : "r"(SEL_A));
	plain[-2] = 0x5678;
	try_asm("mov %%fs:(%1), %0", : "=r"(value) : "r"(-8) : "memory");
	check_no_trap("access: below the base");
	check_eq(value, 0x5678, "a negative offset wraps");
	asm volatile("mov %0, %%fs" : : "r"(0));

	/* Beyond the limit of SS it is #SS. The stack itself stays within. */
	gdt_set(SEL_A, 0, 0x3ff, WRITABLE | BIG | PAGES);
	asm volatile("mov %0, %%ss" : : "r"(SEL_A));
	try_asm("mov %%ss:0x400000, %0", : "=r"(value) : : "memory");
	check_trap(SS_VECTOR, 0, "access: beyond the limit of SS");
	asm volatile("mov %0, %%ss" : : "r"(SEL_DATA));
}

/* LAR, LSL, VERR and VERW never fault on a bad selector: they clear ZF. */
struct query_case {
	const char *name;
	u16 flags;
	u16 selector;
	bool lar, lsl, verr, verw;
};

static const struct query_case queries[] = {
	{"null", 0, 0, false, false, false, false},
	{"beyond the GDT", 0, SEL_NOWHERE, false, false, false, false},
	{"writable data", WRITABLE, SEL_A, true, true, true, true},
	{"read-only data", READ_ONLY, SEL_A, true, true, true, false},
	{"readable code", READABLE_CODE, SEL_A, true, true, true, false},
	{"execute-only code", EXECUTE_ONLY, SEL_A, true, true, false, false},
	{"not present", NOT_PRESENT(WRITABLE), SEL_A, true, true, true, true},
	{"DPL 0 with RPL 3", WRITABLE, SEL_A + 3, false, false, false, false},
	{"conforming with RPL 3", CONFORMING, SEL_A + 3, true, true, true, false},
	{"DPL 3 with RPL 3", WRITABLE | DESC_DPL(3), SEL_A + 3, true, true, true, true},
	{"reserved type 0", 0x80, SEL_A, false, false, false, false},
	{"TSS16", 0x81, SEL_A, true, true, false, false},
	{"LDT", 0x82, SEL_A, true, true, false, false},
	{"busy TSS16", 0x83, SEL_A, true, true, false, false},
	{"call gate 16", 0x84, SEL_A, true, false, false, false},
	{"task gate", 0x85, SEL_A, true, false, false, false},
	{"interrupt gate 16", 0x86, SEL_A, false, false, false, false},
	{"trap gate 16", 0x87, SEL_A, false, false, false, false},
	{"TSS32", 0x89, SEL_A, true, true, false, false},
	{"busy TSS32", 0x8b, SEL_A, true, true, false, false},
	{"call gate 32", 0x8c, SEL_A, true, false, false, false},
	{"interrupt gate 32", 0x8e, SEL_A, false, false, false, false},
	{"trap gate 32", 0x8f, SEL_A, false, false, false, false},
};

/* A repeated string instruction stores up to its segment's limit, or down to it, and the element
 * beyond that faults. */
static void test_string_limits(void)
{
	static const struct {
		const char *name;
		u16 flags;
		bool down;
		u32 from, last;
	} rows[] = {
		{"upwards", WRITABLE | BIG, false, 0xff0, 0xff7},
		{"downwards, from the limit", WRITABLE | BIG, true, 0xff7, 0},
		{"expand-down, downwards", EXPAND_DOWN | BIG, true, 0x1010, 0xff8},
		{"16-bit expand-down, upwards", EXPAND_DOWN, false, 0xfff0, 0xffff},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		u32 count = 0x2000, to = rows[i].from, step = rows[i].down ? -1u : 1;
		u8 *bytes = (u8 *)FAR_BASE, beyond;
		u32 done = (rows[i].last - rows[i].from) * step + 1;

		bytes[(int)(rows[i].last + step)] = 0x11;
		gdt_set(SEL_A, FAR_BASE, 0xff7, rows[i].flags);
		asm volatile("mov %0, %%es" : : "r"(SEL_A));
		if (rows[i].down)
			asm volatile("std");
		try_asm("rep stosb", : "+c"(count), "+D"(to) : "a"(0x55) : "memory");
		asm volatile("cld; mov %0, %%es" : : "r"(SEL_DATA));
		beyond = bytes[(int)(rows[i].last + step)];
		check_trap(GP_VECTOR, 0, "rep stosb %s", rows[i].name);
		check(to == rows[i].last + step && count == 0x2000 - done &&
				bytes[rows[i].last] == 0x55 && beyond == 0x11,
			"rep stosb %s: what was done", rows[i].name);
	}
}

static void test_queries(void)
{
	size_t i;

	for (i = 0; i < sizeof(queries) / sizeof(queries[0]); i++) {
		const struct query_case *c = &queries[i];
		u32 rights = 0x55, limit = 0x55;
		bool lar, lsl, verr, verw;

		gdt_set(SEL_A, 0, 0x12345, c->flags | PAGES);
		asm volatile("lar %2, %0; setz %1"
			     : "+r"(rights), "=q"(lar)
			     : "r"((u32)c->selector)
			     : "cc");
		asm volatile("lsl %2, %0; setz %1"
			     : "+r"(limit), "=q"(lsl)
			     : "r"((u32)c->selector)
			     : "cc");
		asm volatile("verr %w1; setz %0" : "=q"(verr) : "r"(c->selector) : "cc");
		asm volatile("verw %w1; setz %0" : "=q"(verw) : "r"(c->selector) : "cc");
		check(lar == c->lar && lsl == c->lsl && verr == c->verr && verw == c->verw,
			"query: %s: lar %d lsl %d verr %d verw %d", c->name, lar, lsl, verr, verw);
		if (c->lar)
			check_eq(rights & 0x00f0ff00, (u32)(gdt[SEL_A / 8] >> 32) & 0x00f0ff00,
				"query: %s: LAR", c->name);
		else
			check_eq(rights, 0x55, "query: %s: LAR leaves the register", c->name);
		check_eq(limit, c->lsl ? 0x12345fff : 0x55, "query: %s: LSL", c->name);
	}
}

static void test_arpl(void)
{
	u16 selector = 0x100;
	bool changed;

	asm volatile("arpl %w2, %w0; setz %1" : "+r"(selector), "=q"(changed) : "r"(0x203) : "cc");
	check(selector == 0x103 && changed, "arpl raises RPL");
	asm volatile("arpl %w2, %w0; setz %1" : "+r"(selector), "=q"(changed) : "r"(0x202) : "cc");
	check(selector == 0x103 && !changed, "arpl does not lower RPL");
}

/* Far jumps within ring 0. FLAGS describe the target segment at SEL_A, base 0. */
struct far_pointer {
	u32 offset;
	u16 selector;
} __attribute__((packed));

static const struct load_case jumps[] = {
	{"null", 0, 0, GP_VECTOR, 0},
	{"beyond the GDT", 0, SEL_NOWHERE, GP_VECTOR, SEL_NOWHERE},
	{"data", WRITABLE, SEL_A, GP_VECTOR, SEL_A},
	{"code", READABLE_CODE, SEL_A, NO_TRAP, 0},
	{"execute-only code", EXECUTE_ONLY, SEL_A, NO_TRAP, 0},
	{"not present", NOT_PRESENT(READABLE_CODE), SEL_A, NP_VECTOR, SEL_A},
	{"RPL 3", READABLE_CODE, SEL_A + 3, GP_VECTOR, SEL_A},
	{"DPL 3", READABLE_CODE | DESC_DPL(3), SEL_A, GP_VECTOR, SEL_A},
	{"conforming", CONFORMING, SEL_A, NO_TRAP, 0},
	{"conforming, RPL 3", CONFORMING, SEL_A + 3, NO_TRAP, 0},
	{"conforming, DPL 3", CONFORMING | DESC_DPL(3), SEL_A, GP_VECTOR, SEL_A},
	{"LDT", 0x82, SEL_A, GP_VECTOR, SEL_A},
	{"interrupt gate", 0x8e, SEL_A, GP_VECTOR, SEL_A},
};

static void test_jumps(void)
{
	struct far_pointer to;
	u32 cs, expected;
	size_t i;

	for (i = 0; i < sizeof(jumps) / sizeof(jumps[0]); i++) {
		const struct load_case *c = &jumps[i];

		gdt_set(SEL_A, 0, 0xfffff, c->flags | BIG | PAGES);
		to.selector = c->selector;
		trap.vector = NO_TRAP;
		asm volatile("movl $0f, %1; movl $772f, trap_at; movl $1f, trap_resume\n"
			     "772: ljmp *%1\n"
			     "0: movl $0, trap_resume\n"
			     "1: mov %%cs, %0; ljmp %2, $2f; 2:"
			     : "=&r"(cs), "+m"(to)
			     : "i"(SEL_CODE)
			     : "memory");
		check_trap(c->vector, c->error, "jmp far: %s", c->name);
		/* CPL stays 0, and so does the RPL that CS shows. */
		expected = c->vector == NO_TRAP ? SEL_A : SEL_CODE;
		check_eq(cs, expected, "jmp far: %s: CS", c->name);
	}
	gdt_set(SEL_A, 0, 0xfff, READABLE_CODE | BIG);
	to.selector = SEL_A;
	to.offset = 0x1000;
	try_asm("ljmp *%0", : : "m"(to));
	check_trap(GP_VECTOR, 0, "jmp far: beyond the limit of the target");
	try_asm("lcall *%0", : : "m"(to));
	check_trap(GP_VECTOR, 0, "call far: beyond the limit of the target");
}

static ulong call_ring3(const u8 *code)
{
	return user_call_at(SEL_USER_CODE, (ulong)code, SEL_USER_DATA, (ulong)user_stack_top, 0, 2);
}

/* Runs ring-3 code that is expected to fault at its far call, which has offset CALL. */
static void try_ring3(const u8 *code, int call)
{
	static const u8 leave[] = {0xcd, VECTOR_USER_RETURN};

	trap.vector = NO_TRAP;
	trap_at = (ulong)code + call;
	trap_resume = (ulong)leave;
	call_ring3(code);
	trap_resume = 0;
}

static void test_call_gates(void)
{
	const int call = 12; /* offset of the far call in ring3_call_gate */
	u32 esp0 = main_tss.tss.ring[0].esp;

	gdt_set_gate(SEL_A, SEL_CODE, (ulong)gate_entry, 0x8c | DESC_DPL(3), 3);
	check_eq(call_ring3(ring3_call_gate), 0, "call gate: parameters are popped on both stacks");
	check_eq(seen_cs, SEL_CODE, "call gate: CS");
	check_eq(seen_ss, SEL_DATA, "call gate: SS");
	check_eq(seen_esp, esp0 - 28, "call gate: ESP");
	check(seen_parameters[0] == 0x11 && seen_parameters[1] == 0x22 &&
			seen_parameters[2] == 0x33,
		"call gate: three parameters are copied");
	check_eq(seen_parameters[3], SEL_USER_CODE, "call gate: CS of the caller");
	check_eq(seen_parameters[4], ring3_esp - 12, "call gate: ESP of the caller");
	check_eq(seen_parameters[5], SEL_USER_DATA, "call gate: SS of the caller");

	gdt_set_gate(SEL_A, SEL_CODE, (ulong)gate_entry, 0x8c, 3);
	try_ring3(ring3_call_gate, call);
	check_trap(GP_VECTOR, SEL_A, "call gate: DPL 0 from ring 3");
	gdt_set_gate(SEL_A, SEL_CODE, (ulong)gate_entry, NOT_PRESENT(0x8c) | DESC_DPL(3), 3);
	try_ring3(ring3_call_gate, call);
	check_trap(NP_VECTOR, SEL_A, "call gate: not present");
	gdt_set_gate(SEL_A, 0, (ulong)gate_entry, 0x8c | DESC_DPL(3), 3);
	try_ring3(ring3_call_gate, call);
	check_trap(GP_VECTOR, 0, "call gate: to a null selector");
	gdt_set_gate(SEL_A, SEL_DATA, (ulong)gate_entry, 0x8c | DESC_DPL(3), 3);
	try_ring3(ring3_call_gate, call);
	check_trap(GP_VECTOR, SEL_DATA, "call gate: to a data segment");
	gdt_set(SEL_B, 0, 0xfffff, NOT_PRESENT(READABLE_CODE) | BIG | PAGES);
	gdt_set_gate(SEL_A, SEL_B, (ulong)gate_entry, 0x8c | DESC_DPL(3), 3);
	try_ring3(ring3_call_gate, call);
	check_trap(NP_VECTOR, SEL_B, "call gate: to a segment that is not present");
	gdt_set(SEL_B, 0, 0xfff, READABLE_CODE | BIG);
	gdt_set_gate(SEL_A, SEL_B, 0x1000, 0x8c | DESC_DPL(3), 3);
	try_ring3(ring3_call_gate, call);
	check_trap(GP_VECTOR, 0, "call gate: beyond the limit of its target");

	/* A 16-bit gate: its target is code at offset 0 of a segment of its own. */
	gdt_set(SEL_B, (ulong)gate_entry16, 0xffff, READABLE_CODE | BIG);
	gdt_set_gate(SEL_A, SEL_B, 0, 0x84 | DESC_DPL(3), 2);
	call_ring3(ring3_call_gate16);
	check_eq(seen_esp, esp0 - 12, "16-bit call gate: ESP");
	check(seen_parameters[0] == 0x1111 && seen_parameters[1] == 0x2222,
		"16-bit call gate: two parameters are copied");
	check_eq(seen_parameters[3], SEL_USER_CODE, "16-bit call gate: CS of the caller");
}

/* A gate to ring 1: the stack for it comes from the TSS and is checked (SDM vol. 3A 5.8.5). */
struct stack_case {
	const char *name;
	u16 flags; /* of the descriptor at SEL_C */
	u16 ss;
	u32 limit;
	int vector;
	u16 error;
};

#define SEL_C          (SEL_TEST + 24)
#define STACK_IN_RING1 0x200000

static const struct stack_case inner_stacks[] = {
	{"null", 0, 0, 0, TS_VECTOR, 0},
	{"null with RPL 1", 0, 1, 0, TS_VECTOR, 0},
	{"beyond the GDT", 0, SEL_NOWHERE + 1, 0, TS_VECTOR, SEL_NOWHERE},
	{"RPL 0", WRITABLE | DESC_DPL(1), SEL_C, 0xfffff, TS_VECTOR, SEL_C},
	{"DPL 0", WRITABLE, SEL_C + 1, 0xfffff, TS_VECTOR, SEL_C},
	{"read-only", READ_ONLY | DESC_DPL(1), SEL_C + 1, 0xfffff, TS_VECTOR, SEL_C},
	{"code", READABLE_CODE | DESC_DPL(1), SEL_C + 1, 0xfffff, TS_VECTOR, SEL_C},
	{"not present", NOT_PRESENT(WRITABLE) | DESC_DPL(1), SEL_C + 1, 0xfffff, SS_VECTOR, SEL_C},
	{"limit below ESP", WRITABLE | DESC_DPL(1), SEL_C + 1, 0x1fe, SS_VECTOR, SEL_C},
};

static void test_inner_stacks(void)
{
	const int call = 12;
	size_t i;

	gdt_set(SEL_B, 0, 0xfffff, READABLE_CODE | DESC_DPL(1) | BIG | PAGES);
	gdt_set_gate(SEL_A, SEL_B, (ulong)gate_entry, 0x8c | DESC_DPL(3), 3);
	for (i = 0; i < sizeof(inner_stacks) / sizeof(inner_stacks[0]); i++) {
		const struct stack_case *c = &inner_stacks[i];

		gdt_set(SEL_C, 0, c->limit, c->flags | BIG | PAGES);
		main_tss.tss.ring[1].ss = c->ss;
		main_tss.tss.ring[1].esp = STACK_IN_RING1;
		try_ring3(ring3_call_gate, call);
		check_trap(c->vector, c->error, "stack of ring 1: %s", c->name);
		check_eq(trap.cs, SEL_USER_CODE, "stack of ring 1: %s: still in ring 3", c->name);
	}
	gdt_set(SEL_C, 0, 0xfffff, WRITABLE | DESC_DPL(1) | BIG | PAGES);
	seen_cs = 0;
	call_ring3(ring3_call_gate);
	check_eq(seen_cs, SEL_B + 1, "a call gate into ring 1: CS");
	check_eq(seen_ss, SEL_C + 1, "a call gate into ring 1: SS");
	check_eq(seen_esp, STACK_IN_RING1 - 28, "a call gate into ring 1: ESP");

	/* A conforming target keeps the caller's ring and stack. */
	gdt_set(SEL_A, 0, 0xfffff, CONFORMING | BIG | PAGES);
	check_eq(call_ring3(ring3_conforming), SEL_A + 3, "a conforming segment keeps CPL");
}

/* Going to an outer ring takes away segments that it may not use (SDM vol. 2, IRET). */
static void test_outward(void)
{
	ulong nulls;

	asm volatile("mov %0, %%fs; mov %1, %%gs" : : "r"(SEL_DATA), "r"(SEL_USER_DATA));
	nulls = call_ring3(ring3_segments);
	check_eq(nulls, 0x0001, "iret to ring 3 takes FS with DPL 0 away, leaves GS with DPL 3");
	gdt_set(SEL_A, 0, 0xfffff, CONFORMING | BIG | PAGES);
	asm volatile("mov %0, %%fs; mov %1, %%gs" : : "r"(SEL_A), "r"(SEL_CODE));
	nulls = call_ring3(ring3_segments);
	check_eq(nulls, 0x0100,
		"iret to ring 3 takes GS with code of DPL 0 away, not conforming FS");
	asm volatile("mov %0, %%fs; mov %0, %%gs" : : "r"(0));
}

/* IRET with what is wrong in its frame; ring 0 to ring 3. */
struct iret_case {
	const char *name;
	u16 cs, ss;
	u16 flags; /* of the descriptor at SEL_A */
	int vector;
	u16 error;
};

static const struct iret_case irets[] = {
	{"null CS", 0, SEL_USER_DATA, 0, GP_VECTOR, 0},
	{"CS beyond the GDT", SEL_NOWHERE + 3, SEL_USER_DATA, 0, GP_VECTOR, SEL_NOWHERE},
	{"data in CS", SEL_USER_DATA, SEL_USER_DATA, 0, GP_VECTOR, SEL_USER_DATA & ~3},
	{"CS with DPL 0 and RPL 3", SEL_CODE + 3, SEL_USER_DATA, 0, GP_VECTOR, SEL_CODE},
	{"CS not present", SEL_A + 3, SEL_USER_DATA, NOT_PRESENT(READABLE_CODE) | DESC_DPL(3),
		NP_VECTOR, SEL_A},
	{"conforming CS with DPL 3 and RPL 1", SEL_A + 1, SEL_USER_DATA, CONFORMING | DESC_DPL(3),
		GP_VECTOR, SEL_A},
	{"null SS", SEL_USER_CODE, 0, 0, GP_VECTOR, 0},
	{"SS with RPL 0", SEL_USER_CODE, SEL_DATA, 0, GP_VECTOR, SEL_DATA},
	{"SS with DPL 0", SEL_USER_CODE, SEL_DATA + 3, 0, GP_VECTOR, SEL_DATA},
	{"read-only SS", SEL_USER_CODE, SEL_A + 3, READ_ONLY | DESC_DPL(3), GP_VECTOR, SEL_A},
	{"SS not present", SEL_USER_CODE, SEL_A + 3, NOT_PRESENT(WRITABLE) | DESC_DPL(3), SS_VECTOR,
		SEL_A},
};

#define IRET_STACK 0x210000 /* somewhere free, with room below for the exception's frame */
SNIPPET(iret_there, "mov %ebx, %esp; nop; iret");

static void test_iret(void)
{
	u32 *frame = (u32 *)IRET_STACK;
	size_t i;

	for (i = 0; i < sizeof(irets) / sizeof(irets[0]); i++) {
		const struct iret_case *c = &irets[i];

		gdt_set(SEL_A, 0, 0xfffff, c->flags | BIG | PAGES);
		frame[0] = (ulong)ring3_segments;
		frame[1] = c->cs;
		frame[2] = 2;
		frame[3] = (ulong)user_stack_top;
		frame[4] = c->ss;
		try_code(iret_there, 3, IRET_STACK);
		/* SDM vol. 2 says #SS in one place and #NP in another; CPUs raise either. */
		if (c->vector == SS_VECTOR && trap.vector == NP_VECTOR)
			trap.vector = SS_VECTOR;
		check_trap(c->vector, c->error, "iret: %s", c->name);
		check_eq(trap.sp, IRET_STACK, "iret: %s: ESP is as before", c->name);
	}
	gdt_set(SEL_A, 0, 0xfff, READABLE_CODE | DESC_DPL(3) | BIG);
	frame[0] = 0x1000;
	frame[1] = SEL_A + 3;
	frame[4] = SEL_USER_DATA;
	try_code(iret_there, 3, IRET_STACK);
	check_trap(GP_VECTOR, 0, "iret: EIP beyond the limit of CS");
}

static void test_ldt(void)
{
	const struct load_case *c;
	static const struct load_case lldts[] = {
		{"null", 0, 0, NO_TRAP, 0},
		{"LDT", 0x82, SEL_LDT, NO_TRAP, 0},
		{"data", WRITABLE, SEL_LDT, GP_VECTOR, SEL_LDT},
		{"not present", NOT_PRESENT(0x82), SEL_LDT, NP_VECTOR, SEL_LDT},
		{"from the LDT", 0x82, 4, GP_VECTOR, 4},
		{"beyond the GDT", 0, SEL_NOWHERE, GP_VECTOR, SEL_NOWHERE},
	};
	static const struct load_case ltrs[] = {
		{"null", 0, 0, GP_VECTOR, 0},
		{"busy TSS", 0x8b, SEL_LDT, GP_VECTOR, SEL_LDT},
		{"data", WRITABLE, SEL_LDT, GP_VECTOR, SEL_LDT},
		{"not present", NOT_PRESENT(0x89), SEL_LDT, NP_VECTOR, SEL_LDT},
		{"from the LDT", 0x89, 4, GP_VECTOR, 4},
	};
	u32 value;

	for (c = lldts; c < lldts + sizeof(lldts) / sizeof(lldts[0]); c++) {
		gdt_set(SEL_LDT, (ulong)ldt, sizeof(ldt) - 1, c->flags);
		try_asm("lldt %w0", : : "r"(c->selector));
		check_trap(c->vector, c->error, "lldt: %s", c->name);
	}
	for (c = ltrs; c < ltrs + sizeof(ltrs) / sizeof(ltrs[0]); c++) {
		gdt_set(SEL_LDT, (ulong)ldt, 0xff, c->flags);
		try_asm("ltr %w0", : : "r"(c->selector));
		check_trap(c->vector, c->error, "ltr: %s", c->name);
	}
	asm volatile("str %0" : "=r"(value));
	check_eq(value, SEL_TSS, "str");
	check_eq(gdt[SEL_TSS / 8] >> 40 & 0xff, 0x8b, "ltr marks the TSS busy");

	gdt_set(SEL_LDT, (ulong)ldt, sizeof(ldt) - 1, 0x82);
	asm volatile("lldt %w0" : : "r"(SEL_LDT));
	asm volatile("sldt %0" : "=r"(value));
	check_eq(value, SEL_LDT, "sldt");
	ldt[1] = descriptor(FAR_BASE, 0xfff, WRITABLE | BIG);
	try_asm("mov %0, %%fs", : : "r"(8 + 4));
	check_no_trap("a segment from the LDT");
	*(volatile u32 *)(FAR_BASE + 8) = 0x1234;
	asm volatile("mov %%fs:8, %0" : "=r"(value));
	check_eq(value, 0x1234, "load through a segment from the LDT");
	try_asm("mov %0, %%fs", : : "r"(sizeof(ldt) + 4));
	check_trap(GP_VECTOR, sizeof(ldt) + 4, "beyond the LDT");
	asm volatile("mov %0, %%fs" : : "r"(0));
	asm volatile("lldt %w0" : : "r"(0));
	try_asm("mov %0, %%fs", : : "r"(8 + 4));
	check_trap(GP_VECTOR, 8 + 4, "a segment from a null LDT");
}

static ulong umip_instructions(ulong unused)
{
	struct table_pointer p;
	ulong trapped = 0;
	u16 word;

	try_asm("sgdt %0", : "=m"(p));
	trapped |= trap.vector == GP_VECTOR && trap.error == 0;
	try_asm("sidt %0", : "=m"(p));
	trapped |= (trap.vector == GP_VECTOR) << 1;
	try_asm("sldt %0", : "=m"(word));
	trapped |= (trap.vector == GP_VECTOR) << 2;
	try_asm("str %0", : "=m"(word));
	trapped |= (trap.vector == GP_VECTOR) << 3;
	try_asm("smsw %0", : "=m"(word));
	trapped |= (trap.vector == GP_VECTOR) << 4;
	return trapped;
}

static void test_umip(void)
{
	check_eq(user_call(umip_instructions, 0), 0, "sgdt, sidt, sldt, str, smsw in ring 3");
	if (!cpu_has(FEATURE_UMIP)) {
		skip("UMIP: not in CPUID");
		return;
	}
	write_cr4(read_cr4() | CR4_UMIP);
	check_eq(user_call(umip_instructions, 0), 0x1f, "UMIP: they fault in ring 3");
	check_eq(umip_instructions(0), 0, "UMIP: they work in ring 0");
	write_cr4(read_cr4() & ~(ulong)CR4_UMIP);
}

/* Branches in a code segment that ends with their page, to the page after it: #GP belongs to the
 * branch, and nothing is pushed. */
static const struct limit_case {
	const char *name;
	u8 length, at;
	u8 code[12];
} limit_cases[] = {
	{"jmp", 5, 0, {0xe9, 0xfb, 0x1f, 0, 0}},
	{"call", 5, 0, {0xe8, 0xfb, 0x1f, 0, 0}},
	{"jz", 8, 2, {0x39, 0xc0, 0x0f, 0x84, 0xfb, 0x1f, 0, 0}},
	{"jmp by register", 7, 5, {0xb8, 0, 0, 0, 0x80, 0xff, 0xe0}},
	{"call by register", 7, 5, {0xb8, 0, 0, 0, 0x80, 0xff, 0xd0}},
	{"call below 0", 5, 0, {0xe8, 0, 0, 0, 0x80}},
};

SNIPPET(enter_segment, "ljmp *(%ebx)");

static void test_branch_limits(void)
{
	u8 *page = page_alloc();
	struct {
		u32 offset;
		u16 selector;
	} __attribute__((packed)) entry = {(u32)page, SEL_A};
	size_t i, turn;

	gdt_set(SEL_A, 0, (u32)page >> 12, READABLE_CODE | BIG | PAGES);
	for (i = 0; i < sizeof(limit_cases) / sizeof(limit_cases[0]); i++) {
		const struct limit_case *c = &limit_cases[i];

		memcpy(page, c->code, c->length);
		for (turn = 0; turn < 2; turn++) {
			try_code(enter_segment, 0, (ulong)&entry);
			check_eq(trap.vector, GP_VECTOR, "branch beyond the limit: %s", c->name);
			check_eq(trap.error, 0, "branch beyond the limit: %s: error", c->name);
			check_eq(trap.ip - (ulong)page, c->at, "branch beyond the limit: %s: EIP",
				c->name);
			check_eq(trap.sp, try_code_sp, "branch beyond the limit: %s: ESP", c->name);
		}
	}
}

void guest_main(void)
{
	test_loads();
	test_accesses();
	test_string_limits();
	test_queries();
	test_arpl();
	test_jumps();
	test_call_gates();
	test_inner_stacks();
	test_outward();
	test_iret();
	test_ldt();
	test_umip();
	test_branch_limits();
}
