/*
 * Addresses that wander off. An engine that checks an address once and then lets it be, as long as
 * it changes by constants only, must know how far it can have gone. Here loops add a constant to a
 * register, many times, with nothing on the way that would notice: no access, or one that a mask
 * suppresses, or one that is jumped over. The access at the end must fault as the manuals say.
 *
 * Around the good data lie whole slots of 512 GiB in which everything is mapped: an engine
 * that adds an offset that is right for one slot to an address that is in none reads or writes
 * there.
 */
#include "kernel.h"
#include "paging.h"

#define CODE_HIGH 0xffff900000400000ul
#define DATA_HIGH                                                                                  \
	0xffff907000000000ul /* in the middle of its slot, as far as wandering back goes */
#define CODE_PAGES 64
#define CODE_STEP  128
#define GIB        (1l << 30)

static const ulong full_slots[] = {
	0xffffa00000000000, 0xffffb00000000000, 0xffffc00000000000, 0xffffd00000000000};
#define FULL_SLOTS (sizeof(full_slots) / sizeof(full_slots[0]))

/* Gets the start in RBX and takes the number of turns from drift_turns. */
struct form {
	const char *name;
	const u8 *code, *at, *end;
	long step; /* what each turn adds */
	bool avx2, stack;
};

u32 drift_turns;

#define FORM(name, before, turn, access, after)                                                    \
	extern const u8 name[], name##_at[], name##_end[];                                         \
	asm(".pushsection .text\n" #name ":\n\trdtsc\n\tmov drift_turns, %ecx\n\t" before          \
	    "\n1:\t" turn "\n\tadd $-1, %ecx\n\tjnz 1b\n" #name "_at:\n\t" access "\n\t" after     \
	    "\n\tret\n" #name "_end:\n.popsection")

#define TOUCH "mov (%rbx), %rax"

FORM(up, TOUCH, "add $0x40000000, %rbx", TOUCH, "");
FORM(down, TOUCH, "sub $0x40000000, %rbx", TOUCH, "");
FORM(lea_up, TOUCH, "lea 0x40000000(%rbx), %rbx", TOUCH, "");
FORM(index_up, "mov %rbx, %rsi; xor %ebx, %ebx; mov (%rsi,%rbx,8), %rax", "add $0x8000000, %rbx",
	"mov (%rsi,%rbx,8), %rax", "");
FORM(copy_up, TOUCH, "mov %rbx, %rsi; add $0x40000000, %rsi; mov %rsi, %rbx", TOUCH, "");
FORM(skipped_up, "xor %edx, %edx; " TOUCH,
	"test %edx, %edx; jz 2f; mov (%rbx), %rax; 2: add $0x40000000, %rbx", TOUCH, "");
FORM(masked_up, "vpxor %xmm1, %xmm1, %xmm1",
	"vpmaskmovd (%rbx), %xmm1, %xmm0; add $0x40000000, %rbx", TOUCH, "");
FORM(masked_down, "vpxor %xmm1, %xmm1, %xmm1",
	"vpmaskmovd (%rbx), %xmm1, %xmm0; sub $0x40000000, %rbx", TOUCH, "");
FORM(masked_store, "vpxor %xmm1, %xmm1, %xmm1",
	"vpmaskmovd %xmm0, %xmm1, (%rbx); add $0x40000000, %rbx", TOUCH, "");
FORM(masked_float, "vpxor %xmm1, %xmm1, %xmm1",
	"vmaskmovps (%rbx), %xmm1, %xmm0; add $0x40000000, %rbx", TOUCH, "");
FORM(masked_index,
	"vpxor %xmm1, %xmm1, %xmm1; mov $0xfffffff0, %esi; add %rsi, %rsi; sub %rsi, %rbx",
	"vpmaskmovd (%rbx,%rsi), %xmm1, %xmm0; add $0x40000000, %rsi", "mov (%rbx,%rsi), %rax", "");
#define ON_STACK "mov %rsp, %r8; mov %rbx, %rsp; mov (%rsp), %rax"
FORM(stack_up, ON_STACK, "add $0x8000, %rsp", "mov (%rsp), %rax", "mov %r8, %rsp");
FORM(stack_down, ON_STACK, "sub $0x8000, %rsp", "mov (%rsp), %rax", "mov %r8, %rsp");
FORM(stack_lea, ON_STACK, "lea -0x8000(%rsp), %rsp", "pop %rax", "mov %r8, %rsp");
FORM(stack_element, ON_STACK, "xor %esi, %esi; add $0x8000, %rsp", "mov (%rsp,%rsi,8), %rax",
	"mov %r8, %rsp");
FORM(stack_wide_element, ON_STACK "; xor %esi, %esi", "add $0x8000000, %rsi",
	"mov (%rsp,%rsi,8), %rax", "mov %r8, %rsp");
/* The stack is 32 GiB below. */
FORM(stack_far_element,
	"mov %rsp, %r8; mov $0xfffffff8, %esi; shl $3, %rsi; sub %rsi, %rbx; mov %rbx, %rsp",
	"mov $0xfffffff8, %esi; add $0x8000, %rsp", "mov (%rsp,%rsi,8), %rax", "mov %r8, %rsp");

FORM(visit, "", TOUCH, "nop", "");

#define ROW(name, ...)                                                                             \
	{                                                                                          \
#name, name, name##_at, name##_end, __VA_ARGS__                                    \
	}

static const struct form forms[] = {
	ROW(up, GIB, false, false),
	ROW(down, -GIB, false, false),
	ROW(lea_up, GIB, false, false),
	ROW(index_up, GIB, false, false),
	ROW(copy_up, GIB, false, false),
	ROW(skipped_up, GIB, false, false),
	ROW(masked_up, GIB, true, false),
	ROW(masked_down, -GIB, true, false),
	ROW(masked_store, GIB, true, false),
	ROW(masked_float, GIB, true, false),
	ROW(masked_index, GIB, true, false),
	ROW(stack_up, 0x8000, false, true),
	ROW(stack_down, -0x8000, false, true),
	ROW(stack_lea, -0x8000, false, true),
	ROW(stack_element, 0x8000, false, true),
	ROW(stack_wide_element, GIB, false, false),
	ROW(stack_far_element, 0x8000, false, true),
};
#define FORMS (sizeof(forms) / sizeof(forms[0]))

static u8 *code_frames;
static u32 copies;
static u8 fault_stack[4096] __attribute__((aligned(16)));

/* All of a slot shows one large page. */
static void fill_slot(ulong slot, ulong frame)
{
	u64 *middle = pages_alloc(1), *large = pages_alloc(1);
	int i;

	for (i = 0; i < 512; i++) {
		large[i] = frame | PTE_P | PTE_W | PTE_PS;
		middle[i] = (ulong)large | PTE_P | PTE_W;
	}
	pte_set(&boot_space, slot, 4, (ulong)middle | PTE_P | PTE_W);
}

static void map_areas(void)
{
	static const u8 vectors[] = {DF_VECTOR, SS_VECTOR, GP_VECTOR, PF_VECTOR};
	static const long good[] = {0, GIB, -GIB, 0x8000, -0x8000};
	ulong at;
	size_t i;

	code_frames = pages_alloc(CODE_PAGES);
	for (at = 0; at < CODE_PAGES * 4096; at += 0x1000)
		map_page(&boot_space, CODE_HIGH + at, (ulong)code_frames + at, PTE_P);
	for (i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		map_page(&boot_space, DATA_HIGH + (ulong)good[i], (ulong)pages_alloc(1),
			PTE_P | PTE_W);
	for (i = 0; i < FULL_SLOTS; i++)
		fill_slot(full_slots[i], 0x3000000);
	write_cr3(read_cr3());
	/* Faults with a wild RSP need a stack of their own. */
	main_tss.tss.ist[0] = (ulong)(fault_stack + sizeof(fault_stack));
	for (i = 0; i < sizeof(vectors); i++)
		idt_set(vectors[i], SEL_CODE, (ulong)trap_stubs + vectors[i] * 16, 14, 0, 1);
}

/* A fresh copy of a form, run often enough that an engine has it translated, near good data. */
static ulong new_copy(const struct form *form)
{
	ulong offset = copies++ * CODE_STEP % (CODE_PAGES * 4096), code = CODE_HIGH + offset;

	memcpy(code_frames + offset, form->code, form->end - form->code);
	cpuid(0, 0); /* written at another address than it runs at */
	return code;
}

static void go(const struct form *form, ulong code, ulong start, u32 turns)
{
	drift_turns = turns;
	try_code((void *)code, form->at - form->code, start);
}

/* One turn ends at good data. */
static bool train(const struct form *form, ulong code)
{
	bool good = true;
	int i;

	for (i = 0; i < 600; i++) {
		go(form, code, DATA_HIGH - form->step, 1);
		good &= trap.vector == NO_TRAP;
	}
	return good;
}

static void visit_slot(ulong address)
{
	static const struct form form = ROW(visit, 0, false, false);

	go(&form, new_copy(&form), address, 10000);
	check(trap.vector == NO_TRAP, "%lx is mapped", address);
}

/* To an address this many GiB away, where nothing is. */
static bool wander(const struct form *form, u32 distance)
{
	ulong code = new_copy(form), far = distance * GIB;
	u32 turns = form->stack ? distance << 15 : distance;

	far = form->step < 0 ? DATA_HIGH - far : DATA_HIGH + far;
	if (!train(form, code)) {
		print("%s: training: vector %d cr2 %lx\n", form->name, trap.vector, trap.cr2);
		return false;
	}
	go(form, code, DATA_HIGH, turns);
	if (trap.vector == PF_VECTOR && trap.cr2 == far && !trap.error && !(u32)trap.offset)
		return true;
	print("%s: %u GiB away: vector %d error %x offset %lx cr2 %lx\n", form->name, distance,
		trap.vector, trap.error, trap.offset, trap.cr2);
	return false;
}

static void test_form(const struct form *form)
{
	u32 distance, wrong = 0;

	if (form->stack) {
		wrong += !wander(form, 700);
	} else {
		for (distance = 3; distance < 1400; distance += 61)
			wrong += !wander(form, distance);
	}
	check_eq(wrong, 0, "%s", form->name);
}

static bool enable_avx2(void)
{
	if (!(cpuid(1, 0).c & 1u << 28) || !(cpuid(7, 0).b & 1u << 5))
		return false;
	write_cr4(read_cr4() | CR4_OSFXSR | CR4_OSXSAVE);
	asm volatile("xsetbv" : : "c"(0), "a"(7), "d"(0));
	return true;
}

void guest_main(void)
{
	bool avx2 = enable_avx2();
	const struct form *form;
	size_t i;

	map_areas();
	/* Whatever an engine makes for a slot: the good data's among the others'. */
	for (i = 0; i < FULL_SLOTS; i++) {
		if (i == FULL_SLOTS / 2)
			visit_slot(DATA_HIGH);
		visit_slot(full_slots[i]);
	}
	for (form = forms; form < forms + FORMS; form++)
		if (avx2 || !form->avx2)
			test_form(form);
}
