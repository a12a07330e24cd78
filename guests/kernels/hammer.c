/*
 * Several CPUs on the same memory, page tables and code, all hot. Each counts with every kind of
 * locked instruction; all but the first use a page and a function that the first exchanges
 * meanwhile: it points the page elsewhere, lets the others know by an interrupt, and spoils the old
 * frame when all have answered (TLB shootdown, SDM vol. 3A 4.10.5); it writes a function anew and
 * hands it over. Half of the CPUs run at addresses in the upper half.
 *
 * On the command line: rounds=N.
 */
#include "paging.h"
#include "smp.h"

#define LOW_BASE         TEST_VA
#define HIGH_BASE        0xffffffffc0000000ul
#define HIGH_IMAGE       0xffffffff80000000ul
#define COUNTERS_AT      0x0
#define CODE_AT          0x1000
#define POOL_AT          0x10000
#define POOL             8 /* pages that get exchanged */
#define SHOOTDOWN_VECTOR 0x42
#define SPOILED          0xdeadbeefdeadbeeful

/* On a line each, and the last over the border of two. */
enum { ADD, INC, XADD, CMPXCHG, XCHG_LOCK, UNDER_LOCK, BITS, CMPXCHG16B, SPLIT, COUNTERS };

static u32 cpus, rounds;
static volatile u32 ready, running, acknowledged;
static volatile u32 mistakes[8];
static volatile ulong shot; /* the address to forget, without its base */
static ulong *frames[2 * POOL];

enum { LOST_LOCK, BAD_PAGE, BAD_STORE, BAD_CODE, OLD_CODE };

static void count(volatile u32 *counter)
{
	asm volatile("lock incl %0" : "+m"(*counter) : : "cc", "memory");
}

static void meet(void)
{
	count(&ready);
	while (ready < cpus)
		cpu_relax();
}

static ulong base_of(u32 cpu)
{
	return cpu & 1 ? HIGH_BASE : LOW_BASE;
}

static volatile ulong *counter(u32 cpu, int which)
{
	ulong at = base_of(cpu) + COUNTERS_AT + which * 64;

	return (volatile ulong *)(which == SPLIT ? at + 60 : at);
}

/* One round of every kind of locked instruction. */
static void count_all(u32 cpu)
{
	volatile ulong *lock = counter(cpu, XCHG_LOCK);
	ulong one = 1, old, low, high;
	u32 bit = cpu * 4 + 1;

	asm volatile("lock addq $3, %0" : "+m"(*counter(cpu, ADD)) : : "cc");
	asm volatile("lock incq %0" : "+m"(*counter(cpu, INC)) : : "cc");
	asm volatile("lock xadd %0, %1" : "+r"(one), "+m"(*counter(cpu, XADD)) : : "cc");
	asm volatile("lock addq $1, %0" : "+m"(*counter(cpu, SPLIT)) : : "cc");
	old = *counter(cpu, CMPXCHG);
	asm volatile("1: lea 5(%%rax), %%rdx; lock cmpxchg %%rdx, %1; jnz 1b"
		     : "+a"(old), "+m"(*counter(cpu, CMPXCHG))
		     :
		     : "rdx", "cc");
	asm volatile("lock btcl %1, %0"
		     : "+m"(*(volatile u32 *)counter(cpu, BITS))
		     : "r"(bit)
		     : "cc", "memory");
	low = counter(cpu, CMPXCHG16B)[0];
	high = counter(cpu, CMPXCHG16B)[1];
	asm volatile("1: mov %%rax, %%rbx; mov %%rdx, %%rcx; add $1, %%rbx; sub $1, %%rcx; lock "
		     "cmpxchg16b %2; jnz 1b"
		     : "+a"(low), "+d"(high), "+m"(*counter(cpu, CMPXCHG16B))
		     :
		     : "rbx", "rcx", "cc", "memory");
	do {
		one = 1;
		asm volatile("xchg %0, %1" : "+r"(one), "+m"(*lock) : : "memory");
		if (one)
			cpu_relax();
	} while (one);
	/* Needs no LOCK prefix: only one CPU at a time is here. */
	old = *counter(cpu, UNDER_LOCK);
	*counter(cpu, UNDER_LOCK) = old + 1;
	if (*counter(cpu, UNDER_LOCK) != old + 1)
		count(&mistakes[LOST_LOCK]);
	asm volatile("" : : : "memory");
	*lock = 0;
}

static void count_many(u32 cpu)
{
	u32 i;

	meet();
	for (i = 0; i < rounds; i++)
		count_all(cpu);
}

static void at_high_alias(u32 cpu, void (*fn)(u32))
{
	if (cpu & 1)
		fn = (void (*)(u32))((ulong)fn + HIGH_IMAGE);
	fn(cpu);
}

static void count_entry(u32 cpu)
{
	at_high_alias(cpu, count_many);
}

static void check_counters(ulong times)
{
	check_eq(*counter(0, ADD), 3 * times, "lock add");
	check_eq(*counter(0, INC), times, "lock inc");
	check_eq(*counter(0, XADD), times, "lock xadd");
	check_eq(*counter(0, SPLIT), times, "lock add over a line's border");
	check_eq(*counter(0, CMPXCHG), 5 * times, "lock cmpxchg");
	check_eq(counter(0, CMPXCHG16B)[0], times, "lock cmpxchg16b, low half");
	check_eq(counter(0, CMPXCHG16B)[1], 0 - times, "and high half");
	check_eq(*counter(0, UNDER_LOCK), times, "a lock made by xchg");
	check_eq(mistakes[LOST_LOCK], 0, "nobody else had the lock");
}

/* --- pages and code that are exchanged --- */

static void shoot(struct trap_frame *f)
{
	invlpg(LOW_BASE + shot);
	invlpg(HIGH_BASE + shot);
	apic_eoi();
	count(&acknowledged);
}

/* A function returns its own number; `current` is the offset of the one that is good. */
static volatile u32 current, generation;

static void use_all(u32 cpu)
{
	ulong base = base_of(cpu), got;
	u32 i, number, known = ~0u;

	meet();
	irq_enable();
	for (i = 0; running; i++) {
		ulong page = base + POOL_AT + i % POOL * 4096;

		/* The word of this CPU in the frame that is there just now. */
		got = *(volatile ulong *)page;
		if (got != (i % POOL))
			count(&mistakes[BAD_PAGE]);
		*(volatile ulong *)(page + 64 * (cpu + 1)) = i;
		asm volatile("lock incq 8(%0)" : : "r"(page + 64 * (cpu + 1)) : "memory", "cc");
		number = generation;
		if (number != known) {
			asm volatile("cpuid" : : "a"(0), "c"(0) : "rbx", "rdx", "memory");
			known = number;
		}
		asm volatile("call *%1" : "=a"(got) : "r"(base + CODE_AT + current) : "memory");
		if (got < number)
			count(&mistakes[OLD_CODE]);
		if (got > generation)
			count(&mistakes[BAD_CODE]);
		if (i % 16 == 0)
			count_all(cpu);
	}
	irq_disable();
	counter(cpu, COUNTERS)[cpu * 8] = (i + 15) / 16;
}

static void use_entry(u32 cpu)
{
	at_high_alias(cpu, use_all);
}

static void map_pool(int page, ulong *frame)
{
	frame[0] = page;
	pte_set(&boot_space, LOW_BASE + POOL_AT + page * 4096, 1, (ulong)frame | PTE_P | PTE_W);
	pte_set(&boot_space, HIGH_BASE + POOL_AT + page * 4096, 1, (ulong)frame | PTE_P | PTE_W);
}

/* Points PAGE to a fresh frame and spoils the old one, which no CPU may use any more. */
static void exchange_page(int page, int *frame_of, u32 round)
{
	int old = frame_of[page], fresh = old < POOL ? old + POOL : old - POOL, i;

	/* The frame that we spoiled last time must not have changed since: a change is a store
	 * through a stale translation. */
	for (i = 0; i < 512 && round >= POOL; i++)
		if (frames[fresh][i] != SPOILED)
			count(&mistakes[BAD_STORE]);
	memset(frames[fresh], 0, 4096);
	map_pool(page, frames[fresh]);
	frame_of[page] = fresh;
	acknowledged = 0;
	shot = POOL_AT + page * 4096;
	apic_icr(0, ICR_OTHERS | ICR_ASSERT | SHOOTDOWN_VECTOR);
	while (acknowledged < cpus - 1)
		cpu_relax();
	for (i = 0; i < 512; i++)
		frames[old][i] = SPOILED;
}

/* Writes the function of the next generation beside the current one, which others may be in. */
static void exchange_code(void)
{
	u32 next = generation + 1, offset = next % 16 * 64 + 0x20;
	volatile u8 *code = (u8 *)(LOW_BASE + CODE_AT + offset);

	/* mov $next, %eax; ret */
	code[0] = 0xb8;
	*(volatile u32 *)(code + 1) = next;
	code[5] = 0xc3;
	asm volatile("" : : : "memory");
	current = offset;
	asm volatile("" : : : "memory");
	generation = next;
	asm volatile("cpuid" : : "a"(0), "c"(0) : "rbx", "rdx", "memory");
}

static void test_exchange(void)
{
	int frame_of[POOL], page;
	ulong times = 0;
	u32 i, cpu;

	for (page = 0; page < POOL; page++) {
		frame_of[page] = page;
		map_pool(page, frames[page]);
	}
	for (i = 0; i < 16; i++)
		exchange_code();
	trap_set_handler(SHOOTDOWN_VECTOR, shoot);
	memset((void *)counter(0, ADD), 0, 64 * COUNTERS);
	running = 1;
	ready = 0;
	for (cpu = 1; cpu < cpus; cpu++)
		smp_run(cpu, use_entry);
	meet();
	for (i = 0; i < rounds / 20; i++) {
		exchange_page(i % POOL, frame_of, i);
		/* Slowly enough that no CPU is still in a function when it is written again. */
		if (i % 4 == 0)
			exchange_code();
		count_all(0);
	}
	running = 0;
	for (cpu = 1; cpu < cpus; cpu++)
		check(smp_wait(cpu, 200000), "CPU %u comes to an end", cpu);
	for (cpu = 1; cpu < cpus; cpu++)
		times += counter(0, COUNTERS)[cpu * 8];
	times += rounds / 20;
	check_counters(times);
	check_eq(mistakes[BAD_PAGE], 0, "a page is always the one that is mapped");
	check_eq(mistakes[BAD_STORE], 0, "no store comes to a frame that was taken away");
	check_eq(mistakes[OLD_CODE], 0, "no code is run that was exchanged");
	check_eq(mistakes[BAD_CODE], 0, "no code is run that was not made");
	print("%u pages and %u functions were exchanged while others made %u rounds\n", rounds / 20,
		generation, (u32)times * 16);
}

static void map_areas(void)
{
	u8 *counters = page_alloc(), *code = page_alloc();
	ulong at;
	int i;

	for (i = 0; i < 2 * POOL; i++)
		frames[i] = page_alloc();
	map_page(&boot_space, LOW_BASE + COUNTERS_AT, (ulong)counters, PTE_P | PTE_W);
	map_page(&boot_space, HIGH_BASE + COUNTERS_AT, (ulong)counters, PTE_P | PTE_W);
	map_page(&boot_space, LOW_BASE + CODE_AT, (ulong)code, PTE_P | PTE_W);
	map_page(&boot_space, HIGH_BASE + CODE_AT, (ulong)code, PTE_P | PTE_W);
	for (at = 0; at < 0x1000000; at += 0x200000)
		pte_set(&boot_space, HIGH_IMAGE + at, 2, at | PTE_P | PTE_W | PTE_PS);
}

void guest_main(void)
{
	cpus = boot_option("cpus", 4);
	rounds = boot_option("rounds", 20000);
	map_areas();
	check(smp_start(cpus), "%u CPUs", cpus);
	check(smp_run_all(cpus, count_entry, 200000), "all count");
	check_counters((ulong)rounds * cpus);
	check_eq(*(volatile u32 *)counter(0, BITS), rounds & 1 ? 0x22222222u >> (32 - 4 * cpus) : 0,
		"lock btc");
	test_exchange();
}
