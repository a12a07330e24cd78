/*
 * Page tables stored to in every way there is, while a program runs on them: what it sees after
 * each way to invalidate is what they say, and before that what they say or have said (SDM vol. 3A
 * 4.10). For engines that watch page tables rather than walk them again.
 *
 * Each pair of a store and an invalidation has a block of 2 MiB of its own. First nothing changes
 * from flush to flush, so that an engine comes to rely on that; then each round changes one thing.
 *
 * On the command line: cpus=N, of which each runs the program in turn while another one stores;
 * turns=N of the program's loop at the beginning, to make it hot.
 */
#include "paging.h"
#include "smp.h"

#define PAGES      24
#define ROUNDS     12
#define QUIET      6
#define BLOCK      0x200000ul
#define FRAMES     32
#define ALIAS_VA   0x10000000000ul /* page tables, for the kernel */
#define USER_ALIAS 0x20000000000ul /* page tables, for the program */
#define RECURSIVE  300ul           /* the root's entry that leads to the root */
#define SCRATCH    500             /* an entry that maps nothing of the program */
#define FLAGS      ((u64)(PTE_P | PTE_W | PTE_U))

static u8 *frames[FRAMES];
static u32 expected[PAGES]; /* frame numbers */
static ulong base;          /* of the block */
static u32 cpus, turns;

static ulong block(ulong n)
{
	return 0x30000000000ul + n * BLOCK;
}

static u64 *table(int level)
{
	return (u64 *)((ulong)pte_slot(&boot_space, base, level) & ~0xffful);
}

static u64 entry(int frame)
{
	return (ulong)frames[frame] | FLAGS;
}

/* --- the program --- */

static u32 seen[PAGES];

static ulong look(ulong loops)
{
	ulong sum = 0;
	u32 i;

	while (loops--)
		for (i = 0; i < PAGES; i++) {
			seen[i] = *(volatile u32 *)(base + i * 4096ul);
			sum += seen[i];
		}
	return sum;
}

static ulong copy_scratch(ulong page)
{
	((volatile u64 *)USER_ALIAS)[page] = ((volatile u64 *)USER_ALIAS)[SCRATCH];
	return 0;
}

/* --- stores to page tables; each makes `page` lead to `frame` --- */

static void by_store(u32 page, int frame)
{
	((volatile u64 *)table(1))[page] = entry(frame);
}

static void by_byte(u32 page, int frame)
{
	u64 value = entry(frame);
	int i;

	for (i = 7; i >= 0; i--)
		((volatile u8 *)(table(1) + page))[i] = value >> (8 * i);
}

static void by_exchange(u32 page, int frame)
{
	u64 value = entry(frame);

	asm volatile("xchg %0, %1" : "+r"(value), "+m"(table(1)[page]) : : "memory");
}

static void by_compare_exchange(u32 page, int frame)
{
	u64 old = table(1)[page];

	asm volatile("lock cmpxchg %2, %1"
		     : "+a"(old), "+m"(table(1)[page])
		     : "r"(entry(frame))
		     : "memory", "cc");
}

static void by_locked_bits(u32 page, int frame)
{
	u64 *slot = &table(1)[page];

	asm volatile("lock andq $0xfff, %0" : "+m"(*slot) : : "memory", "cc");
	asm volatile("lock orq %1, %0" : "+m"(*slot) : "r"(entry(frame)) : "memory", "cc");
}

static void by_stos(u32 page, int frame)
{
	void *to = table(1) + page;
	ulong count = 1;

	asm volatile("rep stosq" : "+D"(to), "+c"(count) : "a"(entry(frame)) : "memory");
}

static void by_movs(u32 page, int frame)
{
	static u64 copy[512] __attribute__((aligned(4096)));
	void *from = copy, *to = table(1);
	ulong count = 512;

	memcpy(copy, to, 4096);
	copy[page] = entry(frame);
	asm volatile("rep movsq" : "+S"(from), "+D"(to), "+c"(count) : : "memory");
}

static void by_push(u32 page, int frame)
{
	asm volatile("mov %%rsp, %%rbx; mov %0, %%rsp; push %1; mov %%rbx, %%rsp"
		     :
		     : "r"(table(1) + page + 1), "r"(entry(frame))
		     : "rbx", "memory");
}

/* The interpreter does this one, to entries that the program does not use. */
static void by_fxsave(u32 page, int frame)
{
	u64 *unused = table(1) + 448;

	by_store(page, frame);
	asm volatile("fxsave %0" : "=m"(*(u8(*)[512])unused));
	memset(unused, 0, 512);
}

static void by_alias(u32 page, int frame)
{
	map_page(&boot_space, ALIAS_VA, (ulong)table(1), PTE_P | PTE_W);
	((volatile u64 *)ALIAS_VA)[page] = entry(frame);
}

static void by_recursion(u32 page, int frame)
{
	ulong at = 0xffff000000000000ul | RECURSIVE << 39 | (base >> 9 & 0x7ffffffff8ul);

	((volatile u64 *)at)[page] = entry(frame);
}

static void by_user(u32 page, int frame)
{
	map_page(&boot_space, USER_ALIAS, (ulong)table(1), FLAGS);
	table(1)[SCRATCH] = entry(frame);
	user_call(copy_scratch, page);
}

static void by_table(u32 page, int frame)
{
	u64 *new = page_alloc();

	memcpy(new, table(1), 4096);
	new[page] = entry(frame);
	pte_set(&boot_space, base, 2, (ulong) new | FLAGS);
}

static void by_directory(u32 page, int frame)
{
	u64 *new = page_alloc(), *leaf = page_alloc();

	memcpy(leaf, table(1), 4096);
	leaf[page] = entry(frame);
	memcpy(new, table(2), 4096);
	new[base >> 21 & 511] = (ulong)leaf | FLAGS;
	pte_set(&boot_space, base, 3, (ulong) new | FLAGS);
}

static void by_root(u32 page, int frame)
{
	u64 *new = page_alloc(), *directory = page_alloc(), *leaf = page_alloc();

	memcpy(leaf, table(1), 4096);
	leaf[page] = entry(frame);
	memcpy(directory, table(2), 4096);
	directory[base >> 21 & 511] = (ulong)leaf | FLAGS;
	memcpy(new, table(3), 4096);
	new[base >> 30 & 511] = (ulong)directory | FLAGS;
	pte_set(&boot_space, base, 4, (ulong) new | FLAGS);
}

/* The table's page has code, too, which has run before and after. */
static void by_store_beside_code(u32 page, int frame)
{
	static const u8 code[] = {0xb8, 0x78, 0x56, 0x34, 0x12, 0xc3};
	u8 *at = (u8 *)table(1) + 0xf00;
	u32 i;

	memcpy(at, code, sizeof(code));
	for (i = 0; i < 300; i++)
		if (((u32(*)(void))at)() != 0x12345678)
			check(false, "code in a page table");
	by_store(page, frame);
	if (((u32(*)(void))at)() != 0x12345678)
		check(false, "code in a page table");
}

static struct {
	u32 page;
	int frame;
} remote;

static void store_there(u32 cpu)
{
	by_store(remote.page, remote.frame);
}

static void by_other_cpu(u32 page, int frame)
{
	u32 other = (smp_cpu() + 1) % cpus;

	remote.page = page;
	remote.frame = frame;
	if (cpus == 1 || !other) {
		by_store(page, frame);
		return;
	}
	smp_run(other, store_there);
	if (!smp_wait(other, 20000))
		check(false, "CPU %u stores", other);
}

static const struct {
	const char *name;
	void (*fn)(u32 page, int frame);
} stores[] = {
	{"a store", by_store},
	{"stores of bytes", by_byte},
	{"XCHG", by_exchange},
	{"CMPXCHG", by_compare_exchange},
	{"locked AND and OR", by_locked_bits},
	{"STOS", by_stos},
	{"MOVS", by_movs},
	{"PUSH", by_push},
	{"FXSAVE", by_fxsave},
	{"an alias", by_alias},
	{"a recursive mapping", by_recursion},
	{"the program", by_user},
	{"another page table", by_table},
	{"another directory", by_directory},
	{"another entry of the root", by_root},
	{"a store beside code", by_store_beside_code},
	{"another CPU", by_other_cpu},
};
#define STORES (sizeof(stores) / sizeof(stores[0]))

/* --- ways to invalidate --- */

static void invpcid(ulong type)
{
	u64 descriptor[2] = {0, 0};

	asm volatile("invpcid %0, %1" : : "m"(descriptor), "r"(type) : "memory");
}

static void flush_page(u32 page)
{
	invlpg(base + page * 4096ul);
}

static void flush_cr3(u32 page)
{
	write_cr3(read_cr3());
}

static void flush_pge(u32 page)
{
	write_cr4(read_cr4() ^ CR4_PGE);
	write_cr4(read_cr4() ^ CR4_PGE);
}

static void flush_context(u32 page)
{
	invpcid(1);
}

static void flush_all(u32 page)
{
	invpcid(2);
}

static void flush_other_space(u32 page)
{
	static u64 *other;

	if (!other)
		other = page_alloc();
	memcpy(other, boot_space.root, 4096);
	write_cr3((ulong)other);
	write_cr3((ulong)boot_space.root);
}

static const struct {
	const char *name;
	void (*fn)(u32 page);
	bool invpcid;
} flushes[] = {
	{"INVLPG", flush_page, false},
	{"MOV to CR3", flush_cr3, false},
	{"CR4.PGE", flush_pge, false},
	{"INVPCID 1", flush_context, true},
	{"INVPCID 2", flush_all, true},
	{"another CR3", flush_other_space, false},
};
#define FLUSHES (sizeof(flushes) / sizeof(flushes[0]))

/* --- the test --- */

/* How many pages does the program see that are neither `expected` nor, where that is asked for, the
 * frame that was `before` in one of them? */
static ulong wrong(ulong loops, u32 page, int before)
{
	ulong bad = 0;
	u32 i;

	user_call(look, loops);
	for (i = 0; i < PAGES; i++)
		bad += seen[i] != 100 + expected[i] &&
		       (i != page || before < 0 || seen[i] != 100u + (u32)before);
	return bad;
}

static ulong run(size_t how, size_t flush)
{
	ulong bad = 0;
	u32 i, round;

	for (i = 0; i < PAGES; i++) {
		expected[i] = i;
		by_store(i, (int)i);
	}
	for (i = 0; i < QUIET; i++) {
		bad += wrong(2, 0, -1);
		flush_cr3(0);
	}
	for (round = 0; round < ROUNDS; round++) {
		u32 page = (round * 7 + 1) % PAGES, before = expected[page];

		expected[page] = (before + round + 1) % FRAMES;
		stores[how].fn(page, (int)expected[page]);
		bad += wrong(1, page, (int)before);
		stores[how].fn(page, (int)expected[page]);
		flushes[flush].fn(page);
		bad += wrong(2, 0, -1);
		/* What is not present is not cached: to enter it needs no flush. */
		by_store(page, 0);
		table(1)[page] = 0;
		flush_page(page);
		stores[how].fn(page, (int)expected[page]);
		bad += wrong(1, 0, -1);
		/* In sync again. */
		flush_cr3(0);
		bad += wrong(1, 0, -1);
	}
	return bad;
}

static ulong bad[STORES][FLUSHES];

/* The runtime has a stack for traps out of ring 3 for CPU 0 only. */
static void load_tss(u32 cpu)
{
	u16 selector = SEL_TSS + 16 * cpu;
	struct tss *tss = page_alloc();

	tss->rsp[0] = (ulong)page_alloc() + 4096;
	gdt_set(selector, (ulong)tss, sizeof(*tss) - 1, 0x89);
	gdt[selector / 8 + 1] = 0;
	asm volatile("ltr %w0" : : "r"(selector));
}

static void run_all(u32 cpu)
{
	static ulong blocks;
	size_t i, k;

	if (cpu)
		load_tss(cpu);
	write_cr4(read_cr4() | CR4_PGE);
	base = block(blocks++);
	for (i = 0; i < PAGES; i++)
		by_store((u32)i, 0);
	user_call(look, turns / PAGES);
	for (i = 0; i < STORES; i++)
		for (k = 0; k < FLUSHES; k++) {
			bad[i][k] = 0;
			if (flushes[k].invpcid && !cpu_has(FEATURE_INVPCID))
				continue;
			base = block(blocks++);
			bad[i][k] = run(i, k);
		}
}

static void report(u32 cpu)
{
	size_t i, k;

	for (i = 0; i < STORES; i++) {
		ulong sum = 0;

		for (k = 0; k < FLUSHES; k++) {
			sum += bad[i][k];
			if (bad[i][k])
				check(false, "CPU %u: %s, then %s: %lu pages are wrong", cpu,
					stores[i].name, flushes[k].name, bad[i][k]);
		}
		check(!sum, "CPU %u: page tables changed by %s", cpu, stores[i].name);
	}
}

void guest_main(void)
{
	u32 i, cpu;

	cpus = boot_option("cpus", 1);
	turns = boot_option("turns", 200000);
	for (i = 0; i < FRAMES; i++) {
		frames[i] = page_alloc();
		*(u32 *)frames[i] = 100 + i;
	}
	((u64 *)boot_space.root)[RECURSIVE] = (ulong)boot_space.root | PTE_P | PTE_W;
	if (cpus > 1)
		check(smp_start(cpus), "%u CPUs", cpus);
	run_all(0);
	report(0);
	for (cpu = 1; cpu < cpus; cpu++) {
		smp_run(cpu, run_all);
		check(smp_wait(cpu, 60000), "CPU %u comes to an end", cpu);
		report(cpu);
	}
}
