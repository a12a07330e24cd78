/*
 * Two ways to one instruction that know different things of an address. An engine that checks an
 * address once and then lets it be has to keep, where ways meet, only what all of them know: which
 * slot of 512 GiB the address is in, that an index is below 4 GiB, how far constants have moved it.
 *
 * Each form runs often with addresses in one slot, then once with an address in another slot along
 * the way that knows less. What it loads there says where it has really been: slots side by side
 * are mapped from end to end, their lower and upper halves differently, so that an address made
 * with what is right for another slot reads something else instead of faulting.
 *
 * Each begins with an instruction that an engine will leave to an interpreter, so that the way it
 * comes here, from the lower half of the address space, says nothing about how it is translated.
 */
#include "paging.h"

#define CODE       0xffff900000400000ul
#define CODE_PAGES 64
#define CODE_STEP  512
#define SLOT(n)    (0xffffa00000000000ul + ((ulong)(n) << 39))
#define SLOTS      6
#define FRAMES     0x1000000ul /* 2 MiB for each half of each slot */
#define GIB        (1ul << 30)
#define TIMES      600

/* Called with the registers below; what it has in RAX at its end is looked at. */
struct form {
	const char *name;
	const u8 *code, *end;
	/* In training, and then: RBX and RSI are offsets in a slot (0: home; 1: the next). */
	struct registers {
		u8 rbx_slot, rsi_slot;
		ulong rbx, rsi, rcx, rdx;
	} train, test;
	/* The load that counts: in which slot, and in its upper half? */
	u8 slot;
	bool upper;
};

#define FORM(name, text)                                                                           \
	extern const u8 name[], name##_end[];                                                      \
	asm(".pushsection .text\n" #name ":\n\tmov %ds, %edi; jmp 9f\n9:\t" text                   \
	    "\n\tmovabs $joins_back, %rdi\n\t"                                                     \
	    "jmp *%rdi\n" #name "_end:\n.popsection")

/* One way knows RBX in RSI's slot, the other in its own. */
FORM(slots_fall, "mov (%rbx), %rax; test %edx, %edx; jz 2f; mov (%rsi), %rcx; mov %rsi, %rbx; "
		 "2: mov 8(%rbx), %rax");
/* RCX is narrow on one way only. */
FORM(narrow_fall, "mov (%rbx), %rax; test %edx, %edx; jz 2f; mov %ecx, %ecx; "
		  "2: mov (%rbx,%rcx), %rax");
FORM(narrow_jump, "mov %rcx, %rdi; mov (%rbx), %rax; mov %ecx, %ecx; test %edx, %edx; jz 2f; "
		  "mov %rdi, %rcx; 2: mov (%rbx,%rcx), %rax");
/* The same at the end of a loop's turn: the first turn is narrow. */
FORM(narrow_loop, "mov %rcx, %rdi; mov %ecx, %ecx; mov (%rbx), %rax; "
		  "1: mov (%rbx,%rcx), %rax; mov %rdi, %rcx; sub $1, %edx; ja 1b");
/* Two ways back to one head; that of the second has a new RBX. */
FORM(two_backs, "1: mov (%rbx), %rax; sub $1, %ecx; ja 1b; mov %rsi, %rbx; sub $1, %edx; ja 1b");
/* The second back edge has RBX in the slot of RSI, and knows that. */
FORM(two_slots, "mov (%rsi), %rax; 1: mov (%rbx), %rax; sub $1, %ecx; ja 1b; mov (%rsi), %rax; "
		"mov %rsi, %rbx; sub $1, %edx; ja 1b");
/* A turn may leave RBX alone or change it. */
FORM(loop_skip,
	"1: mov (%rbx), %rax; cmp $1, %edx; jnz 2f; mov %rsi, %rbx; 2: sub $1, %edx; jae 1b");
/* 30 times 16 GiB, with nothing on the way that would notice. */
FORM(far_index, "mov (%rbx,%rsi,8), %rax; .rept 30; add $0x7fffffff, %rsi; .endr; "
		"mov (%rbx,%rsi,8), %rax");
#define AT(gib) ((gib)*GIB)
#define ROW(name, ...)                                                                             \
	{                                                                                          \
#name, name, name##_end, __VA_ARGS__                                               \
	}

static const struct form forms[] = {
	/* clang-format off */
	ROW(slots_fall, {1, 0, AT(300), AT(10), 0, 1}, {1, 0, AT(300), AT(10), 0, 0}, 1, true),
	ROW(narrow_fall, {0, 0, AT(10), 0, 8, 1}, {0, 0, AT(10), 0, AT(512 + 290), 0}, 1, true),
	ROW(narrow_jump, {0, 0, AT(10), 0, 8, 0}, {0, 0, AT(10), 0, AT(512 + 290), 1}, 1, true),
	ROW(narrow_loop, {0, 0, AT(10), 0, 8, 3}, {0, 0, AT(10), 0, AT(512 + 290), 3}, 1, true),
	ROW(two_backs, {0, 0, AT(10), AT(20), 3, 2}, {0, 1, AT(10), AT(300), 3, 2}, 1, true),
	ROW(two_slots, {0, 0, AT(10), AT(20), 3, 2}, {0, 1, AT(10), AT(300), 3, 2}, 1, true),
	ROW(two_slots, {0, 1, AT(10), AT(300), 3, 2}, {0, 1, AT(10), AT(300), 3, 2}, 1, true),
	ROW(loop_skip, {0, 0, AT(10), AT(20), 0, 3}, {0, 1, AT(10), AT(300), 0, 3}, 1, true),
	ROW(far_index, {0, 0, AT(10), 0, 0, 0}, {0, 0, AT(300), 0, 0, 0}, 1, true),
	/* clang-format on */
};
#define FORMS (sizeof(forms) / sizeof(forms[0]))

static u8 *code_frames;
static u32 copies;

static u64 mark_of(int slot, bool upper)
{
	return 0x5107000000000000 | (u64)slot << 8 | upper;
}

/* All of a slot's lower half shows one large page, and all of its upper half another. */
static void fill_slot(int slot)
{
	u64 *middle = pages_alloc(1);
	int half, i;

	for (half = 0; half < 2; half++) {
		ulong frame = FRAMES + (ulong)(slot * 2 + half) * 0x200000;
		u64 *large = pages_alloc(1);

		for (i = 0; i < 0x200000 / 8; i++)
			((u64 *)frame)[i] = mark_of(slot, half);
		for (i = 0; i < 512; i++)
			large[i] = frame | PTE_P | PTE_W | PTE_PS;
		for (i = 0; i < 256; i++)
			middle[half * 256 + i] = (ulong)large | PTE_P | PTE_W;
	}
	pte_set(&boot_space, SLOT(slot), 4, (ulong)middle | PTE_P | PTE_W);
}

/* A fresh copy of a form, so that an engine has nothing learned of it. */
static ulong new_copy(const struct form *form)
{
	ulong offset = copies++ * CODE_STEP % (CODE_PAGES * 4096);

	memcpy(code_frames + offset, form->code, form->end - form->code);
	cpuid(0, 0); /* written at another address than it runs at */
	return CODE + offset;
}

static __attribute__((noinline)) u64 run(ulong code, const struct registers *r, int home, int other)
{
	u64 rax = 0;
	ulong rbx = r->rbx, rsi = r->rsi, rcx = r->rcx, rdx = r->rdx;

	rbx += SLOT(r->rbx_slot ? other : home);
	if (rsi || r->rsi_slot)
		rsi += SLOT(r->rsi_slot ? other : home);
	asm volatile("jmp *%[code]\n\t.globl joins_back\njoins_back:"
		     : "+a"(rax), "+b"(rbx), "+S"(rsi), "+c"(rcx), "+d"(rdx)
		     : [code] "r"(code)
		     : "rdi", "r8", "r9", "r10", "r11", "cc", "memory");
	return rax;
}

static bool try_form(const struct form *form, int home, int other)
{
	ulong code = new_copy(form);
	u64 got, want = mark_of(form->slot ? other : home, form->upper);
	u32 i, bad = 0;

	for (i = 0; i < TIMES; i++)
		bad += run(code, &form->train, home, other) >> 48 != 0x5107;
	got = run(code, &form->test, home, other);
	if (got == want && !bad)
		return true;
	print("%s, slots %d and %d: loaded %lx, not %lx; %u bad\n", form->name, home, other,
		(ulong)got, (ulong)want, bad);
	return false;
}

static void test_form(const struct form *form)
{
	u32 wrong = 0;
	int home;

	for (home = 0; home + 1 < SLOTS; home++)
		wrong += !try_form(form, home, home + 1);
	check_eq(wrong, 0, "%s", form->name);
}

/* An engine may make something for each slot that is used: have it made for these, one after the
 * other. */
FORM(visit, "mov (%rbx), %rax");

static void visit_slots(void)
{
	static const struct form form = ROW(visit, {0}, {0}, 0, false);
	struct registers r = {0};
	ulong code = new_copy(&form);
	int slot;
	u32 i;

	for (slot = 0; slot < SLOTS; slot++)
		for (r.rbx = 0; r.rbx < 512 * GIB; r.rbx += 32 * GIB)
			for (i = 0; i < 500; i++)
				if (run(code, &r, slot, slot) >> 48 != 0x5107)
					check(false, "slot %d is mapped", slot);
}

void guest_main(void)
{
	const struct form *form;
	ulong at;
	int slot;

	code_frames = pages_alloc(CODE_PAGES);
	for (at = 0; at < CODE_PAGES * 4096; at += 0x1000)
		map_page(&boot_space, CODE + at, (ulong)code_frames + at, PTE_P);
	for (slot = 0; slot < SLOTS; slot++)
		fill_slot(slot);
	write_cr3(read_cr3());
	visit_slots();
	for (form = forms; form < forms + FORMS; form++)
		test_form(form);
}
