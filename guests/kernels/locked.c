/*
 * Locked instructions with all CPUs at once on the same bytes: nothing may be lost. In every
 * operand size, aligned, and unaligned over a cache line and over a page border (SDM vol.
 * 3A 9.1.2).
 *
 * Over a page border also with every other CPU's code and operand in the upper half of the address
 * space, where an engine may do it by other means than in the lower.
 */
#include "apic.h"
#include "paging.h"
#include "smp.h"

#define ROUNDS 2000

static u32 cpus;
static volatile u32 ready, mistakes;
/* By whether the CPU's number is odd. */
static volatile void *targets[2];

#define HIGH_CODE  0xffffffff80000000ul /* where the kernel's image is seen, too */
#define HIGH_DATA  0xffffffffc0000000ul /* and TEST_VA */
#define IMAGE_SIZE 0x400000ul

/* All CPUs go on together. */
static void meet(void)
{
	asm volatile("lock incl %0" : "+m"(ready) : : "cc", "memory");
	while (ready < cpus)
		cpu_relax();
}

static void mistake(void)
{
	asm volatile("lock incl %0" : "+m"(mistakes) : : "cc", "memory");
}

/*
 * FOR_SIZE defines, for one operand size, what each CPU does ROUNDS times. P is the shared
 * operand, CPU the number of the CPU, and BIT a bit of the operand that only this CPU changes.
 */
#define LOCKED(name, size, type, body)                                                             \
	static void name##_##size(u32 cpu)                                                         \
	{                                                                                          \
		volatile type *p = targets[cpu & 1];                                               \
		type bit = (type)1 << (cpu % (size));                                              \
		type old = 0, one = 1;                                                             \
		bool set = false;                                                                  \
		u32 i;                                                                             \
                                                                                                   \
		(void)bit, (void)old, (void)one, (void)set;                                        \
		meet();                                                                            \
		for (i = 0; i < ROUNDS; i++) {                                                     \
			body;                                                                      \
		}                                                                                  \
	}
#define INSN(text, ...) asm volatile("lock " text __VA_ARGS__)

/* clang-format off */
#define FOR_SIZE(size, type, s)                                                                    \
	LOCKED(inc, size, type, INSN("inc" s " %0", : "+m"(*p) : : "cc", "memory"))                \
	LOCKED(dec, size, type, INSN("dec" s " %0", : "+m"(*p) : : "cc", "memory"))                \
	LOCKED(add, size, type, INSN("add %1, %0", : "+m"(*p) : "q"(one) : "cc", "memory"))        \
	LOCKED(sub, size, type, INSN("sub" s " $-1, %0", : "+m"(*p) : : "cc", "memory"))           \
	LOCKED(adc, size, type,                                                                    \
	       asm volatile("clc; lock adc" s " $1, %0" : "+m"(*p) : : "cc", "memory"))            \
	LOCKED(sbb, size, type,                                                                    \
	       asm volatile("stc; lock sbb" s " $0, %0" : "+m"(*p) : : "cc", "memory"))            \
	LOCKED(not, size, type, INSN("not" s " %0", : "+m"(*p) : : "cc", "memory"))                \
	LOCKED(neg, size, type, INSN("neg" s " %0", : "+m"(*p) : : "cc", "memory"))                \
	LOCKED(xadd, size, type, one = 1;                                                          \
	       INSN("xadd %0, %1", : "+q"(one), "+m"(*p) : : "cc", "memory"))                      \
	LOCKED(cmpxchg, size, type, do {                                                           \
		one = old = *p;                                                                    \
		INSN("cmpxchg %2, %1", : "+a"(one), "+m"(*p) : "q"((type)(old + 1))                \
		     : "cc", "memory");                                                            \
	} while (one != old))                                                                      \
	LOCKED(or_and, size, type,                                                                 \
	       INSN("or %1, %0", : "+m"(*p) : "q"(bit) : "cc", "memory");                          \
	       if (!(*p & bit)) mistake();                                                         \
	       INSN("and %1, %0", : "+m"(*p) : "q"((type)~bit) : "cc", "memory");                  \
	       if (*p & bit) mistake())                                                            \
	LOCKED(xor, size, type,                                                                    \
	       INSN("xor %1, %0", : "+m"(*p) : "q"(bit) : "cc", "memory");                         \
	       if (!(*p & bit) == !(i & 1)) mistake())

#define FOR_WORD_SIZE(size, type, s)                                                               \
	LOCKED(bts_btr, size, type,                                                                \
	       INSN("bts %2, %1; setc %0", : "=q"(set), "+m"(*p) : "r"((type)(cpu % size))         \
		    : "cc", "memory");                                                             \
	       if (set || !(*p & bit)) mistake();                                                  \
	       INSN("btr %2, %1; setc %0", : "=q"(set), "+m"(*p) : "r"((type)(cpu % size))         \
		    : "cc", "memory");                                                             \
	       if (!set || (*p & bit)) mistake())                                                  \
	LOCKED(btc, size, type,                                                                    \
	       INSN("btc" s " $0, %0", : "+m"(*p) : : "cc", "memory"))
/* clang-format on */

FOR_SIZE(8, u8, "b")
FOR_SIZE(16, u16, "w")
FOR_SIZE(32, u32, "l")
FOR_SIZE(64, u64, "q")
FOR_WORD_SIZE(16, u16, "w")
FOR_WORD_SIZE(32, u32, "l")
FOR_WORD_SIZE(64, u64, "q")

struct locked_case {
	const char *name;
	void (*fn)(u32 cpu);
	int size;
	int per_round; /* what each round of each CPU adds to the operand */
};

#define ROW(name, size, per_round)                                                                 \
	{                                                                                          \
#name " of " #size " bits", name##_##size, size, per_round                         \
	}
#define ROWS(size)                                                                                 \
	ROW(inc, size, 1), ROW(dec, size, -1), ROW(add, size, 1), ROW(sub, size, 1),               \
		ROW(adc, size, 1), ROW(sbb, size, -1), ROW(not, size, 0), ROW(neg, size, 0),       \
		ROW(xadd, size, 1), ROW(cmpxchg, size, 1), ROW(or_and, size, 0), ROW(xor, size, 0)
#define WORD_ROWS(size) ROW(bts_btr, size, 0), ROW(btc, size, 0)

static const struct locked_case cases[] = {
	ROWS(8),
	ROWS(16),
	ROWS(32),
	ROWS(64),
	WORD_ROWS(16),
	WORD_ROWS(32),
	WORD_ROWS(64),
};

static void (*work)(u32 cpu);

/* To the second argument, after an instruction that an engine leaves to an interpreter: so the way
 * it comes here says nothing about how it is translated. */
void high_gate(u32 cpu, ulong to);
asm(".pushsection .text\nhigh_gate: mov %ds, %eax; jmp 1f; 1: jmp *%rsi\n.popsection");

/* Where HIGH_CODE shows what is at `low`. Compilers must not see the sum: as a constant it is
 * beyond what code for the lower 2 GiB may name. */
static ulong in_upper_half(const void *low)
{
	ulong address = (ulong)low;

	asm("" : "+r"(address));
	return address + HIGH_CODE;
}

/* As seen from the upper half; its absolute addresses lead to the lower one. */
static void work_in_place(u32 cpu)
{
	void (*gate)(u32, ulong) = (void (*)(u32, ulong))in_upper_half(high_gate);

	if ((ulong)targets[cpu & 1] < HIGH_DATA)
		work(cpu);
	else
		gate(cpu, in_upper_half(work));
}

static bool run_on_all(void (*fn)(u32 cpu))
{
	work = fn;
	ready = 0;
	mistakes = 0;
	return smp_run_all(cpus, work_in_place, 30000);
}

static void test_locked(const char *place, ulong address, const struct locked_case *c, bool mixed)
{
	u64 start = 0x40, got = 0, mask = c->size == 64 ? ~0ull : (1ull << c->size) - 1;
	u64 want = start + (u64)(long)c->per_round * ROUNDS * cpus;

	targets[0] = targets[1] = (volatile void *)address;
	if (mixed)
		targets[1] = (volatile void *)(address - TEST_VA + HIGH_DATA);
	memcpy((void *)address, &start, c->size / 8);
	if (!run_on_all(c->fn))
		check(false, "%s, %s: all CPUs came back", c->name, place);
	memcpy(&got, (void *)address, c->size / 8);
	check((got & mask) == (want & mask) && !mistakes, "%s, %s: %llx, %u mistakes", c->name,
		place, got & mask, mistakes);
}

/* XCHG needs no LOCK to be locked: the oldest spin lock. */
static volatile u32 spin_word, plain_counter;

static void spin_lock_user(u32 cpu)
{
	u32 i, taken;

	meet();
	for (i = 0; i < ROUNDS / 4; i++) {
		do {
			taken = 1;
			asm volatile("xchg %0, %1" : "+r"(taken), "+m"(spin_word) : : "memory");
			if (taken)
				cpu_relax();
		} while (taken);
		plain_counter++;
		asm volatile("movl $0, %0" : "=m"(spin_word) : : "memory");
	}
}

static struct {
	u64 low, high;
} pair __attribute__((aligned(16)));

/* Both halves go up together, and no CPU may ever see them differ. */
static void cmpxchg16b_user(u32 cpu)
{
	u32 i;

	meet();
	for (i = 0; i < ROUNDS; i++) {
		u64 low = 0, high = 0;
		bool done;

		do {
			if (low != high)
				mistake();
			asm volatile("lock cmpxchg16b %0; setz %1"
				     : "+m"(pair), "=q"(done), "+a"(low), "+d"(high)
				     : "b"(low + 1), "c"(high + 1)
				     : "cc", "memory");
		} while (!done);
	}
}

static void cmpxchg8b_user(u32 cpu)
{
	volatile u64 *p = targets[cpu & 1];
	u32 i;

	meet();
	for (i = 0; i < ROUNDS; i++) {
		u32 low = 0, high = 0;
		bool done;

		do {
			if (low != high)
				mistake();
			asm volatile("lock cmpxchg8b %0; setz %1"
				     : "+m"(*p), "=q"(done), "+a"(low), "+d"(high)
				     : "b"(low + 1), "c"(high + 1)
				     : "cc", "memory");
		} while (!done);
	}
}

static void test_cmpxchg8b(const char *name, ulong address, bool mixed)
{
	targets[0] = targets[1] = (volatile void *)address;
	if (mixed)
		targets[1] = (volatile void *)(address - TEST_VA + HIGH_DATA);
	memset((void *)address, 0, 8);
	run_on_all(cmpxchg8b_user);
	check(*(volatile u64 *)address == (u64)(ROUNDS * cpus) * 0x100000001 && !mistakes,
		"%s: %llx", name, *(volatile u64 *)address);
}

/* One CPU changes the operand's first byte alone, the other all but that. */
static void part_user(u32 cpu)
{
	volatile u64 *p = targets[cpu & 1];
	u32 i;

	meet();
	for (i = 0; i < ROUNDS; i++) {
		if (cpu == 0)
			asm volatile("lock addq $0x100, %0" : "+m"(*p) : : "cc", "memory");
		else if (cpu == 1)
			asm volatile("lock incb %0" : "+m"(*(volatile u8 *)p) : : "cc", "memory");
	}
}

static void test_parts(void)
{
	int before, high;

	for (before = 1; before < 8; before++)
		for (high = 0; high < 2; high++) {
			ulong address = TEST_VA + 0x1000 - before;

			targets[high] = (volatile void *)address;
			targets[!high] = (volatile void *)(address - TEST_VA + HIGH_DATA);
			memset((void *)address, 0, 8);
			run_on_all(part_user);
			check_eq(*(volatile u64 *)address, ROUNDS * 0x100 + (u8)ROUNDS,
				"a byte and all others, %d of 8 in the first page", before);
		}
}

/* --- memory that an engine reaches by other means --- */

/* A device's register, here the IOAPIC's that selects one, whose low byte can be written. */
static void test_device(void)
{
	static void (*const fns[])(u32 cpu) = {or_and_32, xor_32, bts_btr_32};
	volatile u32 *select = (volatile u32 *)IOAPIC_ADDRESS;
	size_t i;

	targets[0] = targets[1] = select;
	for (i = 0; i < sizeof(fns) / sizeof(fns[0]); i++) {
		*select = 0x80;
		if (!run_on_all(fns[i]))
			check(false, "a device's register, %u: all CPUs came back", (u32)i);
		check(*select == 0x80 && !mistakes, "a device's register, %u: %x, %u mistakes",
			(u32)i, *select, mistakes);
	}
}

/* With a data breakpoint on one CPU, elsewhere in the page. */
static void (*watched_fn)(u32 cpu);

static void watched(u32 cpu)
{
	if (cpu & 1) {
		asm volatile("mov %0, %%dr0" : : "r"(TEST_VA + 0x800));
		write_dr7(0x10402); /* G0, stores */
	}
	watched_fn(cpu);
	write_dr7(0x400);
}

static void test_watched(void)
{
	static void (*const fns[])(u32 cpu) = {add_32, bts_btr_32, xadd_64};
	size_t i;

	targets[0] = targets[1] = (volatile void *)(TEST_VA + 0x40);
	for (i = 0; i < sizeof(fns) / sizeof(fns[0]); i++) {
		u64 want = fns[i] == bts_btr_32 ? 0x40 : 0x40 + ROUNDS * cpus;

		*(volatile u64 *)(TEST_VA + 0x40) = 0x40;
		watched_fn = fns[i];
		if (!run_on_all(watched))
			check(false, "a watched page, %u: all CPUs came back", (u32)i);
		check(*(volatile u64 *)(TEST_VA + 0x40) == want && !mistakes,
			"a watched page, %u: %llx, %u mistakes", (u32)i,
			*(volatile u64 *)(TEST_VA + 0x40), mistakes);
	}
}

/* A plain aligned store of 8 bytes is never seen half (SDM vol. 3A 9.1.1). */
static volatile u64 toggled;

static void toggle_or_watch(u32 cpu)
{
	u32 i;

	meet();
	for (i = 0; i < ROUNDS * 4; i++) {
		u64 seen;

		if (cpu == 0) {
			toggled = i & 1 ? ~0ull : 0;
			continue;
		}
		seen = toggled;
		if (seen != 0 && seen != ~0ull)
			mistake();
	}
}

void guest_main(void)
{
	u8 *page1 = page_alloc(), *between = page_alloc(), *page2 = page_alloc();
	int before;
	ulong at;
	size_t i;

	(void)between;
	cpus = boot_option("cpus", 2);
	map_page(&boot_space, TEST_VA, (ulong)page1, PTE_P | PTE_W);
	map_page(&boot_space, TEST_VA + 0x1000, (ulong)page2, PTE_P | PTE_W);
	map_page(&boot_space, HIGH_DATA, (ulong)page1, PTE_P | PTE_W);
	map_page(&boot_space, HIGH_DATA + 0x1000, (ulong)page2, PTE_P | PTE_W);
	for (at = 0; at < IMAGE_SIZE; at += 0x1000)
		map_page(&boot_space, HIGH_CODE + at, at, PTE_P | PTE_W);
	if (!check(cpus > 1 && smp_start(cpus), "%u CPUs run", cpus))
		return;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct locked_case *c = &cases[i];

		test_locked("aligned", TEST_VA + 0x40, c, false);
		if (c->size == 8)
			continue;
		test_locked("over a cache line", TEST_VA + 0x80 - 1, c, false);
		test_locked("over a page", TEST_VA + 0x1000 - c->size / 16, c, false);
		for (before = 1; before < c->size / 8; before += c->size / 16)
			test_locked("over a page, mixed", TEST_VA + 0x1000 - before, c, true);
	}
	test_parts();
	run_on_all(spin_lock_user);
	check_eq(plain_counter, ROUNDS / 4 * cpus, "a spin lock made of xchg");

	test_cmpxchg8b("cmpxchg8b", TEST_VA + 0x40, false);
	test_cmpxchg8b("cmpxchg8b over a page", TEST_VA + 0x1000 - 4, false);
	for (before = 1; before < 8; before++)
		test_cmpxchg8b("cmpxchg8b over a page, mixed", TEST_VA + 0x1000 - before, true);
	if (cpu_has(FEATURE_CX16)) {
		run_on_all(cmpxchg16b_user);
		check(pair.low == ROUNDS * cpus && pair.high == ROUNDS * cpus && !mistakes,
			"cmpxchg16b: %llx %llx", pair.low, pair.high);
	} else {
		skip("cmpxchg16b: not in CPUID");
	}
	test_device();
	test_watched();
	run_on_all(toggle_or_watch);
	check_eq(mistakes, 0, "an aligned 8-byte store is seen whole");
}
