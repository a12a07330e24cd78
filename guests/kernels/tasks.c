/*
 * Hardware tasks in 32-bit protected mode: JMP and CALL to a TSS and through a task gate, IRET
 * back, tasks for exceptions, 16-bit TSSs, what is saved and loaded, the busy bit, NT, TS and the T
 * flag, #TS for what is wrong with the new task, and the I/O bitmap (SDM vol. 3A, chapter 8).
 */
#include "paging.h"

#define SEL_A       SEL_TEST
#define SEL_GATE    (SEL_TEST + 8)
#define SEL_LDT     (SEL_TEST + 16)
#define SEL_BAD     (SEL_TEST + 24)
#define SEL_RESCUE  (SEL_TEST + 32)
#define SEL_NOWHERE (GDT_ENTRIES * 8)

#define TSS32 0x89
#define TSS16 0x81
#define BUSY  2

struct tss16 {
	u16 link;
	struct {
		u16 sp, ss;
	} ring[3];
	u16 ip, flags, ax, cx, dx, bx, sp, bp, si, di, es, cs, ss, ds, ldt;
} __attribute__((packed));

struct tss task __attribute__((aligned(128)));
static struct tss16 task16 __attribute__((aligned(64)));
static u8 task_stack[4096] __attribute__((aligned(16)));
static u64 ldt[4] __attribute__((aligned(8)));

/* What the other task saw when it ran. */
extern volatile u32 seen_flags, seen_eax, seen_tr, seen_ldt, seen_cr3, seen_cr0, seen_link, runs;
extern const u8 ring3_inb[];
extern const u8 task_iret[], task_iret_back[], task_jmp[], task16_iret[], task_error[];

static bool busy(u16 selector)
{
	return gdt[selector / 8] >> 40 & BUSY;
}

static void task_reset(const u8 *code)
{
	memset(&task, 0, sizeof(task));
	task.eip = (ulong)code;
	task.eflags = 2;
	task.esp = (ulong)(task_stack + sizeof(task_stack));
	task.cs = SEL_CODE;
	task.ss = task.ds = task.es = SEL_DATA;
	task.cr3 = read_cr3();
	task.eax = 0x12345678;
	task.io_bitmap = NO_IO_BITMAP;
	gdt_set(SEL_A, (ulong)&task, sizeof(task) - 1, TSS32);
	main_tss.tss.cr3 = read_cr3();
	runs = 0;
}

/* A far call or jump to SELECTOR; all registers but ESP may come back changed. */
static void call_task(u16 selector)
{
	struct {
		u32 offset;
		u16 selector;
	} __attribute__((packed)) to = {0xdead, selector};

	try_asm("lcall *%0", : : "m"(to) : "memory", "cc");
}

static void jump_task(u16 selector)
{
	struct {
		u32 offset;
		u16 selector;
	} __attribute__((packed)) to = {0xdead, selector};

	try_asm("ljmp *%0", : : "m"(to) : "memory", "cc");
}

static void test_call(void)
{
	task_reset(task_iret);
	task.eflags = 2 | FLAG_CF | FLAG_SF;
	ldt[1] = descriptor(0, 0xfffff, DESC_DATA32);
	gdt_set(SEL_LDT, (ulong)ldt, sizeof(ldt) - 1, 0x82);
	task.ldt = SEL_LDT;
	task.fs = 8 + 4; /* from the task's own LDT */
	call_task(SEL_A);
	check_no_trap("CALL to a TSS, and IRET back");
	check_eq(runs, 1, "the task ran");
	check_eq(seen_tr, SEL_A, "its TR");
	check_eq(seen_ldt, SEL_LDT, "its LDT");
	check_eq(seen_eax, 0x12345678, "its EAX");
	check_eq(seen_flags & (FLAG_CF | FLAG_SF | FLAG_NT | FLAG_ZF), FLAG_CF | FLAG_SF | FLAG_NT,
		"its flags, NT set by CALL");
	check_eq(seen_link, SEL_TSS, "its back link");
	check(seen_cr0 & CR0_TS, "CR0.TS is set by the switch");
	asm volatile("clts");
	check(!busy(SEL_A), "IRET leaves the task not busy");
	check(busy(SEL_TSS), "the first task stays busy");
	check_eq(({
		u16 tr;
		asm volatile("str %0" : "=r"(tr));
		tr;
	}),
		SEL_TSS, "TR is ours again");
	check(!(read_flags() & FLAG_NT), "NT is clear again");
	check_eq(task.eip, (ulong)task_iret_back, "its EIP was saved");

	/* Once more: it goes on behind its IRET. */
	call_task(SEL_A);
	check_eq(runs, 2, "a second CALL goes on behind the IRET");
	asm volatile("clts");

	/* The same through a task gate. */
	gdt_set_gate(SEL_GATE, SEL_A, 0, 0x85, 0);
	call_task(SEL_GATE);
	check_no_trap("CALL through a task gate");
	check_eq(runs, 3, "the task ran");
	asm volatile("clts");
}

static void test_jump(void)
{
	task_reset(task_jmp);
	jump_task(SEL_A);
	check_no_trap("JMP to a TSS, and JMP back");
	check_eq(runs, 1, "the task ran");
	check(!(seen_flags & FLAG_NT), "JMP does not set NT");
	check_eq(seen_link, 0, "JMP writes no back link");
	check(!busy(SEL_A), "JMP away leaves the task not busy");
	check(busy(SEL_TSS), "JMP makes ours busy");
	asm volatile("clts");
	gdt_set_gate(SEL_GATE, SEL_A, 0, 0x85, 0);
	jump_task(SEL_GATE);
	check_eq(runs, 2, "JMP through a task gate");
	asm volatile("clts");
}

/* Registers of the old task: what is saved is what it had. */
static void test_saved_state(void)
{
	ulong sp;

	task_reset(task_iret);
	memset(&main_tss.tss.eip, 0, sizeof(main_tss.tss) - offsetof(struct tss, eip) - 4);
	asm volatile("mov %%esp, %0; push %%ebp; mov $0x77, %%ebp; stc; lcall %2, $0; pop %%ebp"
		     : "=&r"(sp)
		     : "a"(0x11), "i"(SEL_A), "b"(0x22), "c"(0x33), "d"(0x44)
		     : "memory", "cc");
	check(main_tss.tss.eax == 0x11 && main_tss.tss.ebx == 0x22 && main_tss.tss.ecx == 0x33 &&
			main_tss.tss.edx == 0x44 && main_tss.tss.ebp == 0x77,
		"general registers are saved");
	check_eq(main_tss.tss.esp, sp - 4, "ESP is saved");
	check(main_tss.tss.cs == SEL_CODE && main_tss.tss.ss == SEL_DATA &&
			main_tss.tss.ds == SEL_DATA,
		"segment registers are saved");
	check(main_tss.tss.eflags & FLAG_CF && !(main_tss.tss.eflags & FLAG_NT), "flags are saved");
	asm volatile("clts");
}

static void test_tss16(void)
{
	memset(&task16, 0, sizeof(task16));
	/* Its code is reached through a 16-bit offset into a segment of its own. */
	gdt_set(SEL_BAD, (ulong)task16_iret, 0xffff, 0x409b);
	task16.cs = SEL_BAD;
	/* A 16-bit stack: the high half of ESP is not in the TSS, so it may be anything. */
	gdt_set(SEL_GATE, (ulong)task_stack, sizeof(task_stack) - 1, 0x0093);
	task16.ss = SEL_GATE;
	task16.sp = sizeof(task_stack);
	task16.ds = task16.es = SEL_DATA;
	task16.flags = 2 | FLAG_CF;
	task16.ax = 0x1234;
	gdt_set(SEL_A, (ulong)&task16, sizeof(task16) - 1, TSS16);
	main_tss.tss.cr3 = read_cr3();
	runs = 0;
	call_task(SEL_A);
	check_no_trap("CALL to a 16-bit TSS, and IRET back");
	check_eq(runs, 1, "the 16-bit task ran");
	check_eq(seen_eax & 0xffff, 0x1234, "its AX");
	check_eq(task16.link, SEL_TSS, "its back link");
	check_eq(seen_flags & (FLAG_NT | FLAG_CF), FLAG_NT | FLAG_CF, "its flags");
	asm volatile("clts");
}

/* A task for an exception: a clean stack whatever has happened, and the error code on it. */
static void test_exception_task(void)
{
	map_page(&boot_space, TEST_VA, 0, 0);
	task_reset(task_error);
	idt_set(GP_VECTOR, SEL_A, 0, 5, 0, 0);
	asm volatile("movl $1f, task_resume; mov %0, %%fs; 1: clts"
		     :
		     : "r"(SEL_NOWHERE)
		     : "memory");
	idt_reset(GP_VECTOR, 0);
	check_eq(runs, 1, "a task gate for #GP");
	check_eq(seen_eax, SEL_NOWHERE, "the error code is on its stack");
	check_eq(seen_link, SEL_TSS, "its back link");

	/* #DF with a stack that is gone. */
	task_reset(task_error);
	idt_set(DF_VECTOR, SEL_A, 0, 5, 0, 0);
	asm volatile("movl $1f, task_resume; mov %%esp, %%ebx; mov %0, %%esp; push %%eax;"
		     "1: mov %%ebx, %%esp; clts"
		     :
		     : "r"(TEST_VA + 0x800)
		     : "memory", "ebx");
	idt_reset(DF_VECTOR, 0);
	check_eq(runs, 1, "a task gate for #DF, on a stack that is gone");
	check_eq(seen_eax, 0, "the error code of #DF");
}

/* What is wrong with the new task is #TS in that task, or #GP or #NP before the switch. */
struct bad_task {
	const char *name;
	int vector;
	u32 error;
	bool in_new_task;
	void (*spoil)(void);
};

static void spoil_not_present(void)
{
	gdt_set(SEL_A, (ulong)&task, sizeof(task) - 1, TSS32 & ~0x80);
}

static void spoil_busy(void)
{
	gdt_set(SEL_A, (ulong)&task, sizeof(task) - 1, TSS32 | BUSY);
}

static void spoil_limit(void)
{
	gdt_set(SEL_A, (ulong)&task, 0x66, TSS32);
}

static void spoil_ldt(void)
{
	task.ldt = SEL_DATA;
}

static void spoil_ldt_not_present(void)
{
	gdt_set(SEL_LDT, (ulong)ldt, sizeof(ldt) - 1, 0x82 & ~0x80);
	task.ldt = SEL_LDT;
}

static void spoil_cs_null(void)
{
	task.cs = 0;
}

static void spoil_cs_data(void)
{
	task.cs = SEL_DATA;
}

static void spoil_cs_not_present(void)
{
	gdt_set(SEL_BAD, 0, 0xfffff, DESC_CODE32 & ~0x80);
	task.cs = SEL_BAD;
}

static void spoil_cs_rpl(void)
{
	task.cs = SEL_CODE + 3;
	task.ss = task.ds = task.es = SEL_USER_DATA; /* right for that CPL */
}

static void spoil_ss_null(void)
{
	task.ss = 0;
}

static void spoil_ss_code(void)
{
	task.ss = SEL_CODE;
}

static void spoil_ss_not_present(void)
{
	gdt_set(SEL_BAD, 0, 0xfffff, DESC_DATA32 & ~0x80);
	task.ss = SEL_BAD;
}

static void spoil_ss_dpl(void)
{
	task.ss = SEL_USER_DATA;
}

static void spoil_es_beyond(void)
{
	task.es = SEL_NOWHERE;
}

static void spoil_fs_not_present(void)
{
	gdt_set(SEL_BAD, 0, 0xfffff, DESC_DATA32 & ~0x80);
	task.fs = SEL_BAD;
}

static void spoil_gs_execute_only(void)
{
	gdt_set(SEL_BAD, 0, 0xfffff, 0xc099);
	task.gs = SEL_BAD;
}

static void spoil_eip(void)
{
	gdt_set(SEL_BAD, 0, 0xfff, 0x409b);
	task.cs = SEL_BAD;
}

static const struct bad_task bad_tasks[] = {
	{"TSS not present", NP_VECTOR, SEL_A, false, spoil_not_present},
	{"TSS busy", GP_VECTOR, SEL_A, false, spoil_busy},
	{"TSS too short", TS_VECTOR, SEL_A, false, spoil_limit},
	{"LDT is none", TS_VECTOR, SEL_DATA, true, spoil_ldt},
	{"LDT not present", TS_VECTOR, SEL_LDT, true, spoil_ldt_not_present},
	{"CS null", TS_VECTOR, 0, true, spoil_cs_null},
	{"CS is data", TS_VECTOR, SEL_DATA, true, spoil_cs_data},
	{"CS not present", NP_VECTOR, SEL_BAD, true, spoil_cs_not_present},
	{"CS with RPL 3 and DPL 0", TS_VECTOR, SEL_CODE, true, spoil_cs_rpl},
	{"SS null", TS_VECTOR, 0, true, spoil_ss_null},
	{"SS is code", TS_VECTOR, SEL_CODE, true, spoil_ss_code},
	{"SS not present", SS_VECTOR, SEL_BAD, true, spoil_ss_not_present},
	{"SS with DPL 3", TS_VECTOR, SEL_USER_DATA & ~3, true, spoil_ss_dpl},
	{"ES beyond the GDT", TS_VECTOR, SEL_NOWHERE, true, spoil_es_beyond},
	{"FS not present", NP_VECTOR, SEL_BAD, true, spoil_fs_not_present},
	{"GS execute-only", TS_VECTOR, SEL_BAD, true, spoil_gs_execute_only},
	{"EIP beyond CS", GP_VECTOR, 0, true, spoil_eip},
};

/*
 * A fault in the new task is handled by tasks again, one for each vector, so that nothing is needed
 * of the broken one. Such a task has its vector in EAX, and jumps back to the first task.
 */
static const int rescue_vectors[] = {TS_VECTOR, NP_VECTOR, SS_VECTOR, GP_VECTOR};
#define RESCUES 4
static struct tss rescues[RESCUES] __attribute__((aligned(128)));
static u8 rescue_stack[1024] __attribute__((aligned(16)));
extern const u8 rescue_code[];
extern volatile u32 rescue_error, rescue_link, rescue_vector;

static void rescues_reset(void)
{
	int i;

	rescue_error = rescue_link = rescue_vector = ~0u;
	for (i = 0; i < RESCUES; i++) {
		struct tss *t = &rescues[i];

		memset(t, 0, sizeof(*t));
		t->eip = (ulong)rescue_code;
		t->eflags = 2;
		t->esp = (ulong)(rescue_stack + sizeof(rescue_stack));
		t->cs = SEL_CODE;
		t->ss = t->ds = t->es = SEL_DATA;
		t->cr3 = read_cr3();
		t->eax = rescue_vectors[i];
		t->ebx = (ulong)t;
		t->io_bitmap = NO_IO_BITMAP;
		gdt_set(SEL_RESCUE + 8 * i, (ulong)t, sizeof(*t) - 1, TSS32);
		idt_set(rescue_vectors[i], SEL_RESCUE + 8 * i, 0, 5, 0, 0);
	}
}

static void test_bad_tasks(void)
{
	size_t i;
	int j;

	for (i = 0; i < sizeof(bad_tasks) / sizeof(bad_tasks[0]); i++) {
		const struct bad_task *c = &bad_tasks[i];

		task_reset(task_iret);
		c->spoil();
		if (c->in_new_task)
			rescues_reset();
		call_task(SEL_A);
		for (j = 0; j < RESCUES; j++)
			idt_reset(rescue_vectors[j], 0);
		asm volatile("clts");
		if (!c->in_new_task) {
			check_trap(c->vector, c->error, "bad task: %s", c->name);
			continue;
		}
		check_eq(rescue_vector, c->vector, "bad task: %s: vector", c->name);
		check_eq(rescue_error, c->error, "bad task: %s: error code", c->name);
		check_eq(rescue_link, SEL_A, "bad task: %s: in the new task", c->name);
	}
	check_eq(runs, 0, "bad tasks: none ran");
}

SNIPPET(iret_with_nt, "mov %ebx, %ebx; pushf; orl $0x4000, (%esp); popf; iret");
#define IRET_OFFSET 11

static void test_nested_return(void)
{
	main_tss.tss.link = 0;
	try_code(iret_with_nt, IRET_OFFSET, 0);
	write_flags(2);
	check_trap(TS_VECTOR, 0, "IRET with NT and no link");
	task_reset(task_iret);
	main_tss.tss.link = SEL_A;
	try_code(iret_with_nt, IRET_OFFSET, 0);
	write_flags(2);
	check_trap(TS_VECTOR, SEL_A, "IRET with NT to a task that is not busy");
	main_tss.tss.link = SEL_DATA;
	try_code(iret_with_nt, IRET_OFFSET, 0);
	write_flags(2);
	check_trap(TS_VECTOR, SEL_DATA, "IRET with NT to what is no task");
	main_tss.tss.link = 0;
	call_task(SEL_TSS);
	check_trap(GP_VECTOR, SEL_TSS, "CALL to the running task");
	gdt_set_gate(SEL_GATE, SEL_DATA, 0, 0x85, 0);
	call_task(SEL_GATE);
	check_trap(GP_VECTOR, SEL_DATA, "CALL through a task gate to data");
	gdt_set_gate(SEL_GATE, SEL_A, 0, 0x05, 0);
	call_task(SEL_GATE);
	check_trap(NP_VECTOR, SEL_GATE, "CALL through a task gate that is not present");
}

static volatile u32 debug_hits;
static volatile ulong debug_dr6, debug_ip;

static void note_debug(struct trap_frame *f)
{
	debug_hits++;
	debug_dr6 = read_dr6();
	debug_ip = f->ip;
	write_dr6(0xffff0ff0);
}

static void test_debug_flag(void)
{
	trap_set_handler(DB_VECTOR, note_debug);
	task_reset(task_iret);
	task.trap = 1;
	call_task(SEL_A);
	asm volatile("clts");
	check_eq(debug_hits, 1, "the T flag of a TSS raises #DB");
	check_eq(debug_dr6 & 0xf00f, 0x8000, "with DR6.BT");
	check_eq(debug_ip, (ulong)task_iret, "before the first instruction");
	/* Local breakpoints end with the task, global ones stay. */
	write_dr7(0x400 | 3);
	task_reset(task_iret);
	call_task(SEL_A);
	asm volatile("clts");
	check_eq(read_dr7() & 0xff, 2, "a task switch clears the local enable bits of DR7");
	write_dr7(0x400);
	trap_set_handler(DB_VECTOR, NULL);
}

static void test_cr3(void)
{
	struct address_space other;
	volatile u32 *there = (u32 *)TEST_VA;
	u32 *frame = page_alloc();

	space_init(&other, 2, PTE_W | PTE_U);
	pte_set(&other, TEST_VA, 1, (ulong)frame | PTE_P | PTE_W);
	task_reset(task_iret);
	task.cr3 = (ulong)other.root;
	call_task(SEL_A);
	asm volatile("clts");
	check_eq(seen_cr3, (ulong)other.root, "the task's CR3");
	check_eq(read_cr3(), (ulong)boot_space.root, "ours is back");
	(void)there;
}

/* Ring 3 may call a task through a gate of DPL 3, and use ports whose bits are clear. */
static ulong ring3_call(ulong selector)
{
	call_task(selector);
	return trap.vector;
}

static void test_ring3(void)
{
	task_reset(task_iret);
	gdt_set_gate(SEL_GATE, SEL_A, 0, 0x85 | DESC_DPL(3), 0);
	check_eq(user_call(ring3_call, SEL_GATE + 3), NO_TRAP, "ring 3 calls a task");
	asm volatile("clts");
	check_eq(runs, 1, "it ran");
	task_reset(task_iret);
	user_call(ring3_call, SEL_A + 3);
	check_trap(GP_VECTOR, SEL_A, "ring 3 may not call a TSS of DPL 0");
	gdt_set_gate(SEL_GATE, SEL_A, 0, 0x85, 0);
	user_call(ring3_call, SEL_GATE + 3);
	check_trap(GP_VECTOR, SEL_GATE, "ring 3 may not use a task gate of DPL 0");
}

static ulong try_inb(ulong port)
{
	try_asm("inb %%dx, %%al", : : "d"(port) : "eax");
	return trap.vector;
}

static ulong try_inw(ulong port)
{
	try_asm("inw %%dx, %%ax", : : "d"(port) : "eax");
	return trap.vector;
}

static ulong try_inl(ulong port)
{
	try_asm("inl %%dx, %%eax", : : "d"(port) : "eax");
	return trap.vector;
}

static void test_io_bitmap(void)
{
	u16 offset = offsetof(struct main_tss, bitmap);

	memset(main_tss.bitmap, 0xff, sizeof(main_tss.bitmap));
	main_tss.tss.io_bitmap = offset;
	check_eq(user_call(try_inb, 0x80), GP_VECTOR, "port with its bit set");
	main_tss.bitmap[0x80 / 8] &= ~1;
	check_eq(user_call(try_inb, 0x80), NO_TRAP, "port with its bit clear");
	check_eq(user_call(try_inb, 0x81), GP_VECTOR, "the port beside it");
	check_eq(user_call(try_inw, 0x80), GP_VECTOR, "a word needs two bits");
	main_tss.bitmap[0x80 / 8] &= ~2;
	check_eq(user_call(try_inw, 0x80), NO_TRAP, "and has them");
	check_eq(user_call(try_inl, 0x80), GP_VECTOR, "a dword needs four");
	main_tss.bitmap[0x87 / 8] &= ~0x80;
	main_tss.bitmap[0x88 / 8] &= ~1;
	check_eq(user_call(try_inw, 0x87), NO_TRAP, "a word over two bytes of the bitmap");
	/* The byte behind the one looked at must lie within the limit, too. */
	gdt_set(SEL_TSS, (ulong)&main_tss, offset + 0x80 / 8, 0x89);
	asm volatile("ltr %w0" : : "r"(SEL_TSS));
	check_eq(user_call(try_inb, 0x80), GP_VECTOR, "the limit of the TSS ends the bitmap");
	gdt_set(SEL_TSS, (ulong)&main_tss, offset + 0x80 / 8 + 1, 0x89);
	asm volatile("ltr %w0" : : "r"(SEL_TSS));
	check_eq(user_call(try_inb, 0x80), NO_TRAP, "one byte more lets it through");
	main_tss.tss.io_bitmap = NO_IO_BITMAP;
	check_eq(user_call(try_inb, 0x80), GP_VECTOR, "no bitmap, no port");
	gdt_set(SEL_TSS, (ulong)&main_tss, sizeof(main_tss) - 1, 0x89);
	asm volatile("ltr %w0" : : "r"(SEL_TSS));
	/* IOPL 3 makes the bitmap moot. */
	check_eq(user_call_at(SEL_USER_CODE, (ulong)ring3_inb, SEL_USER_DATA, (ulong)user_stack_top,
			 0, 2 | FLAG_IOPL),
		0x600d, "IOPL 3 opens all ports");
}

void guest_main(void)
{
	asm volatile("lldt %w0" : : "r"(0));
	test_call();
	test_jump();
	test_saved_state();
	test_tss16();
	test_exception_task();
	test_bad_tasks();
	test_nested_return();
	test_debug_flag();
	test_cr3();
	test_ring3();
	test_io_bitmap();
}
