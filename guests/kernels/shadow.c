/*
 * The shadow of STI and of MOV SS: no interrupt is taken between them and the end of the
 * instruction after them (SDM vol. 2B "STI", vol. 3A 6.8.3), whatever that instruction is, wherever
 * it lies, and however an engine comes to run it: with its page or its window not there yet, long,
 * first of a page, first of a translated unit.
 *
 * Each form runs with a timer that fires at ever different moments, until some hundred interrupts
 * have found it. None may find RIP at the shadowed instruction.
 *
 * On the command line: interrupts=N for each form.
 */
#include "apic.h"
#include "paging.h"

#define LOW_BASE     TEST_VA
#define HIGH_BASE    0xffffffffc0000000ul
#define CODE_AT      0x10000
#define DATA_AT      0x20000
#define STACK_AT     0x30000
#define SLOT_BASE    0xffff900000000000ul
#define SLOTS        20
#define TIMER_VECTOR 0x41
#define TURN_MS      8000

/* Called with data in RDI and a stack to POP from in RSI. `shadowed` is where no interrupt may be
 * taken. */
struct form {
	const char *name;
	const u8 *code, *shadowed, *end;
	u32 at; /* the offset in its page of the shadowed instruction; 0xffff: anywhere */
};

#define FORM(name, before, insn, after)                                                            \
	extern const u8 name[], name##_shadowed[], name##_end[];                                   \
	asm(".pushsection .text\n" #name ":\n\t" before "\n" #name "_shadowed:\n\t" insn           \
	    "\n\t" after "\n\tnop; nop; nop; nop\n\tcli\n\tret\n" #name "_end:\n.popsection")

#define FORGET "invlpg (%rdi);"

FORM(plain, "sti", "add $1, %rax", "");
FORM(load, "sti", "mov (%rdi), %rax", "");
FORM(miss_load, FORGET "sti", "mov (%rdi), %rax", "");
FORM(miss_store, FORGET "sti", "mov %rax, (%rdi)", "");
FORM(miss_push, "invlpg -8(%rsp); sti", "push %rax", "pop %rax");
FORM(miss_pop, "push %rax; invlpg (%rsp); sti", "pop %rax", "");
FORM(miss_call, "invlpg -8(%rsp); sti", "call 1f", "jmp 2f; 1: ret; 2:");
FORM(miss_jump, FORGET "lea 3f(%rip), %rax; mov %rax, (%rdi); " FORGET "sti", "jmp *(%rdi)", "3:");
/* A kick of the thread finds these at the computation of the address, or at the division. */
FORM(divide, "xor %edx, %edx; mov $99, %eax; sti", "divl (%rdi)", "");
FORM(push_memory, "sti", "pushq (%rdi)", "pop %rax");
FORM(push_flags, "sti", "pushf", "pop %rax");
FORM(x87, "fldpi; sti", "fbstp 16(%rdi)", "");
FORM(branch, "xor %eax, %eax; sti", "jz 1f", "nop; 1:");
FORM(stac_like, "sti", "cld", "");
/* Interrupts are on already for MOV SS: it alone holds them back. */
FORM(mov_ss, "mov %ss, %eax; sti; nop; mov %eax, %ss", "add $1, %rax", "");
FORM(mov_ss_miss, FORGET "mov %ss, %eax; sti; nop; mov %eax, %ss", "mov (%rdi), %rax", "");
FORM(mov_ss_memory, "mov %ss, 8(%rdi); sti; nop; mov 8(%rdi), %ss", "mov (%rdi), %rax", "");
/* STI is the 64th instruction. */
FORM(long_unit, ".rept 63; add $1, %rax; .endr; sti", "mov (%rdi), %rax", "");
FORM(slot, "sti", "mov (%rdi), %rax", "");

#define ROW(name, at)                                                                              \
	{                                                                                          \
#name, name, name##_shadowed, name##_end, at                                       \
	}
#define ANYWHERE 0xffff

static const struct form forms[] = {
	ROW(plain, ANYWHERE),
	ROW(load, ANYWHERE),
	ROW(miss_load, ANYWHERE),
	ROW(miss_store, ANYWHERE),
	ROW(miss_push, ANYWHERE),
	ROW(miss_pop, ANYWHERE),
	ROW(miss_call, ANYWHERE),
	ROW(miss_jump, ANYWHERE),
	ROW(divide, ANYWHERE),
	ROW(push_memory, ANYWHERE),
	ROW(push_flags, ANYWHERE),
	ROW(x87, ANYWHERE),
	ROW(branch, ANYWHERE),
	ROW(stac_like, ANYWHERE),
	ROW(mov_ss, ANYWHERE),
	ROW(mov_ss_miss, ANYWHERE),
	ROW(mov_ss_memory, ANYWHERE),
	ROW(long_unit, ANYWHERE),
	/* First in the next page, and over its border. */
	ROW(plain, 0),
	ROW(load, 0),
	ROW(miss_load, 0),
	ROW(load, 4095),
	ROW(push_memory, 4095),
};
#define FORMS (sizeof(forms) / sizeof(forms[0]))

static u8 *code_frames;
static ulong shadowed;
static volatile u32 total, in_shadow;

/* The next interrupt in some ten thousand cycles, never after the same number. */
static void set_timer(void)
{
	static u32 seed = 88172645;

	seed ^= seed << 13;
	seed ^= seed >> 17;
	seed ^= seed << 5;
	apic_write(APIC_TIMER_INITIAL, 500 + seed % 30000);
}

static void timer(struct trap_frame *f)
{
	total++;
	in_shadow += f->ip == shadowed;
	apic_eoi();
	set_timer();
}

static void stop_timer(void)
{
	apic_write(APIC_TIMER_INITIAL, 0);
	irq_enable();
	delay_ms(1);
	irq_disable();
}

/* A fresh copy of the form's code in two pages; returns where it begins. */
static ulong place(const struct form *form, ulong base)
{
	ulong offset = 0x100;

	if (form->at != ANYWHERE)
		offset = (form->at ? form->at : 4096) - (ulong)(form->shadowed - form->code);
	memset(code_frames, 0x90, 8192);
	memcpy(code_frames + offset, form->code, form->end - form->code);
	cpuid(0, 0); /* written at another address than it runs at */
	shadowed = base + CODE_AT + offset + (ulong)(form->shadowed - form->code);
	return base + CODE_AT + offset;
}

static void call_on(ulong code, ulong data, ulong stack)
{
	asm volatile("mov %%rsp, %%r12; mov %2, %%rsp; call *%0; mov %%r12, %%rsp"
		     : "+r"(code), "+D"(data)
		     : "r"(stack)
		     : "rax", "rcx", "rdx", "rsi", "r8", "r9", "r10", "r11", "r12", "cc", "memory");
}

static void test_form(const struct form *form, const char *where, ulong base)
{
	ulong code = place(form, base), want = boot_option("interrupts", 400);
	u64 end = rdtsc() + (u64)tsc_per_ms() * TURN_MS;
	u32 i;

	*(volatile ulong *)(base + DATA_AT) = 7;
	total = in_shadow = 0;
	for (i = 0; i < 500; i++)
		call_on(code, base + DATA_AT, base + STACK_AT + 0x800);
	set_timer();
	while (total < want && rdtsc() < end) {
		call_on(code, base + DATA_AT, base + STACK_AT + 0x800);
		*(volatile ulong *)(base + DATA_AT) = 7;
	}
	stop_timer();
	check(total > 0 && !in_shadow, "%s%s, %s: %u of %u interrupts in the shadow", form->name,
		form->at == ANYWHERE ? ""
		: form->at           ? " over two pages"
				     : " in the next page",
		where, in_shadow, total);
}

/* The shadowed instruction is the first to reach each of many slots of 512 GiB. */
static void test_slots(void)
{
	static const struct form form = ROW(slot, ANYWHERE);
	ulong code = place(&form, HIGH_BASE), i;

	for (i = 0; i < SLOTS; i++)
		map_page(&boot_space, SLOT_BASE + (i << 39), (ulong)page_alloc(), PTE_P | PTE_W);
	total = in_shadow = 0;
	for (i = 0; i < 500; i++)
		call_on(code, HIGH_BASE + DATA_AT, HIGH_BASE + STACK_AT + 0x800);
	for (i = 0; i < SLOTS; i++) {
		set_timer();
		call_on(code, SLOT_BASE + (i << 39), HIGH_BASE + STACK_AT + 0x800);
	}
	stop_timer();
	check_eq(in_shadow, 0, "in a new slot: %u interrupts", total);
}

static void map_areas(void)
{
	static const ulong pages[] = {
		CODE_AT, CODE_AT + 0x1000, DATA_AT, STACK_AT, STACK_AT + 0x1000};
	size_t i;

	code_frames = pages_alloc(2);
	for (i = 0; i < sizeof(pages) / sizeof(pages[0]); i++) {
		u8 *frame = i < 2 ? code_frames + i * 4096 : page_alloc();

		map_page(&boot_space, LOW_BASE + pages[i], (ulong)frame, PTE_P | PTE_W);
		map_page(&boot_space, HIGH_BASE + pages[i], (ulong)frame, PTE_P | PTE_W);
	}
}

void guest_main(void)
{
	size_t i;

	map_areas();
	asm volatile("fninit");
	x2apic_enable();
	apic_write(APIC_TIMER_DIVIDE, 0xb);
	apic_write(APIC_LVT_TIMER, TIMER_VECTOR);
	trap_set_handler(TIMER_VECTOR, timer);
	for (i = 0; i < FORMS; i++) {
		test_form(&forms[i], "lower half", LOW_BASE);
		test_form(&forms[i], "upper half", HIGH_BASE);
	}
	test_slots();
}
