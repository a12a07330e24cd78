/*
 * Mappings that change under hot code: data and code pages exchanged, protected and taken away by
 * every way to invalidate there is, address spaces switched, large pages split; and the accessed
 * and dirty flags, exactly. tlb.c asks the same of code that runs a few times.
 *
 * Each test runs in ring 3 and in ring 0, there with code and data in the lower and in the upper
 * half. What a user may not do it asks of ring 0 by privileged().
 *
 * On the command line: heat=N executions that make code hot.
 */
#include "noise.h"
#include "paging.h"

#define LOW_BASE   TEST_VA
#define HIGH_BASE  0xffffffffc0000000ul
#define HIGH_IMAGE 0xffffffff80000000ul /* this kernel, mapped again */
#define CODE_AT    0x100000ul
#define LARGE_AT   0x200000ul
#define FRAMES     16

static const struct world {
	const char *name;
	ulong base, image;
	u64 flags; /* of its pages */
	bool user;
} worlds[] = {
	{"user", LOW_BASE, 0, PTE_P | PTE_W | PTE_U, true},
	{"supervisor, lower half", LOW_BASE, 0, PTE_P | PTE_W, false},
	{"supervisor, upper half", HIGH_BASE, HIGH_IMAGE, PTE_P | PTE_W, false},
};
static const struct world *world;
static u32 heat;
static u8 *frames[FRAMES];
static bool nx;

/* Each frame begins with its number plus 100, and has a function that returns its number plus 200.
 */
static void fill_frame(int n)
{
	u8 *code = frames[n] + 0x100;
	u32 value = 200 + n;

	*(volatile u32 *)frames[n] = 100 + n;
	code[0] = 0xb8; /* mov $value, %eax; ret */
	memcpy(code + 1, &value, 4);
	code[5] = 0xc3;
}

/* --- ring 0 for ring 3 --- */

#define VECTOR_PRIVILEGED 0x81

static struct {
	void (*fn)(ulong, u64);
	ulong a;
	u64 b;
} request;

static void serve(struct trap_frame *f)
{
	request.fn(request.a, request.b);
}

static void privileged(void (*fn)(ulong, u64), ulong a, u64 b)
{
	if (!world->user) {
		fn(a, b);
		return;
	}
	request.fn = fn;
	request.a = a;
	request.b = b;
	asm volatile("int $0x81" : : : "memory");
}

static void set_pte(ulong address, u64 value)
{
	pte_set(&boot_space, address, 1, value);
}

static void set_pte_and_invalidate(ulong address, u64 value)
{
	pte_set(&boot_space, address, 1, value);
	invlpg(address);
}

static void remap(ulong address, int frame, u64 clear)
{
	privileged(set_pte_and_invalidate, address, (ulong)frames[frame] | (world->flags & ~clear));
}

/* --- hot code: one routine each, so that all of its executions heat the same instructions --- */

static __attribute__((noinline)) u32 load(ulong address)
{
	u32 value;

	asm volatile("mov (%1), %0" : "=r"(value) : "r"(address) : "memory");
	return value;
}

static __attribute__((noinline)) void store(ulong address, u32 value)
{
	asm volatile("mov %0, (%1)" : : "r"(value), "r"(address) : "memory");
}

static __attribute__((noinline)) ulong call(ulong address)
{
	ulong result;

	asm volatile("call *%1" : "=a"(result) : "r"(address) : "memory", "cc");
	return result;
}

static __attribute__((noinline)) void try_load(ulong address)
{
	try_asm("mov (%0), %%eax", : : "r"(address) : "eax", "memory");
}

static __attribute__((noinline)) void try_store(ulong address)
{
	try_asm("mov %%ecx, 8(%0)", : : "r"(address) : "memory");
}

static void warm(ulong base)
{
	u32 i;

	remap(base, 0, 0);
	for (i = 0; i < heat; i++) {
		load(base);
		store(base + 12, i);
		try_load(base);
		try_store(base);
	}
}

/* --- ways to invalidate --- */

static void invpcid(ulong type, u64 pcid, u64 address)
{
	u64 descriptor[2] = {pcid, address};

	asm volatile("invpcid %0, %1" : : "m"(descriptor), "r"(type) : "memory");
}

static void by_invlpg(ulong address, u64 unused)
{
	invlpg(address);
}

static void by_invlpg_inside(ulong address, u64 unused)
{
	invlpg(address + 0xabc);
}

static void by_cr3(ulong address, u64 unused)
{
	write_cr3(read_cr3());
}

static void by_pge(ulong address, u64 unused)
{
	write_cr4(read_cr4() ^ CR4_PGE);
	write_cr4(read_cr4() ^ CR4_PGE);
}

static void by_invpcid(ulong address, u64 type)
{
	invpcid(type, 0, type ? 0 : address);
}

static const struct way {
	const char *name;
	void (*fn)(ulong, u64);
	u64 argument;
	bool global_too;
} ways[] = {
	{"INVLPG", by_invlpg, 0, true},
	{"INVLPG of another byte", by_invlpg_inside, 0, true},
	{"MOV to CR3", by_cr3, 0, false},
	{"a change of CR4.PGE", by_pge, 0, true},
	{"INVPCID type 0", by_invpcid, 0, false},
	{"INVPCID type 1", by_invpcid, 1, false},
	{"INVPCID type 2", by_invpcid, 2, true},
	{"INVPCID type 3", by_invpcid, 3, false},
};

static ulong exchange_data(ulong index)
{
	const struct way *way = &ways[index];
	ulong base = world->base, bad = 0;
	u64 global;
	u32 i;

	warm(base);
	for (global = 0; global <= (way->global_too ? PTE_G : 0); global += PTE_G) {
		for (i = 0; i < heat; i++) {
			int n = i % 3;

			privileged(set_pte, base, (ulong)frames[n] | world->flags | global);
			privileged(way->fn, base, way->argument);
			bad += load(base) != 100u + n;
			store(base + 4, i);
			bad += *(volatile u32 *)(frames[n] + 4) != i;
			*(volatile u32 *)(frames[n] + 4) = 0;
		}
	}
	return bad;
}

/* --- permissions --- */

static bool faulted(u32 error, ulong address)
{
	return trap.vector == PF_VECTOR && trap.error == (error | (world->user ? PF_U : 0)) &&
	       trap.cr2 == address;
}

static ulong protect_data(ulong unused)
{
	ulong base = world->base, bad = 0;
	u32 i;

	warm(base);
	for (i = 0; i < heat; i++) {
		/* read-only */
		remap(base, i % FRAMES, PTE_W);
		try_load(base);
		bad += trap.vector != NO_TRAP;
		try_store(base);
		bad += !faulted(PF_P | PF_W, base + 8);
		/* writable, and the fault just now was enough of an invalidation */
		privileged(set_pte, base, (ulong)frames[i % FRAMES] | world->flags);
		try_store(base);
		bad += trap.vector != NO_TRAP;
		/* not there */
		remap(base, i % FRAMES, PTE_P);
		try_load(base);
		bad += !faulted(0, base);
		try_store(base);
		bad += !faulted(PF_W, base + 8);
		/* there; that needs no invalidation */
		privileged(set_pte, base, (ulong)frames[i % FRAMES] | world->flags);
		try_store(base);
		bad += trap.vector != NO_TRAP;
		try_load(base);
		bad += trap.vector != NO_TRAP;
		if (world->user) {
			remap(base, i % FRAMES, PTE_U);
			try_load(base);
			bad += !faulted(PF_P, base);
			try_store(base);
			bad += !faulted(PF_P | PF_W, base + 8);
		}
	}
	return bad;
}

/* A copy-on-write: in the fault handler a page is exchanged for a writable copy. */
static u32 copies;

static void copy_on_write(struct trap_frame *f)
{
	ulong address = read_cr2() & -4096ul;
	int n = 1 + copies % 8;

	if (!(f->error & PF_W)) {
		print("FAIL unexpected page fault at %lx for %lx\n", f->ip, read_cr2());
		guest_exit(2);
	}
	memcpy(frames[n], frames[0], 4096);
	copies++;
	set_pte_and_invalidate(address, (ulong)frames[n] | world->flags);
}

static void set_handler(ulong on, u64 unused)
{
	trap_set_handler(PF_VECTOR, on ? copy_on_write : NULL);
}

static ulong copy_on_writes(ulong unused)
{
	ulong base = world->base, bad = 0;
	u32 i, keep = *(u32 *)(frames[0] + 12);

	warm(base);
	*(u32 *)(frames[0] + 12) = 0;
	copies = 0;
	privileged(set_handler, 1, 0);
	for (i = 0; i < heat; i++) {
		remap(base, 0, PTE_W);
		bad += load(base) != 100;
		bad += load(base + 12) != 0;
		store(base + 12, i + 1);
		bad += load(base + 12) != i + 1;
		store(base + 12, i + 2);
		bad += load(base) != 100;
		bad += *(volatile u32 *)(frames[0] + 12) != 0;
	}
	privileged(set_handler, 0, 0);
	for (i = 1; i < 9; i++)
		fill_frame(i);
	*(u32 *)(frames[0] + 12) = keep;
	return bad + (copies != heat);
}

/* --- accessed and dirty --- */

static void flags_of(ulong address, u64 result)
{
	*(u64 *)(ulong)result = pte_get(&boot_space, address, 1) & (PTE_A | PTE_D);
}

/* Of several neighbours exactly those touched are accessed, exactly those stored to are dirty. */
static ulong accessed_dirty(ulong unused)
{
	ulong base = world->base, bad = 0;
	u64 flags;
	u32 i, j;

	warm(base);
	for (i = 0; i < heat; i++) {
		u32 read = i % 8, written = i / 8 % 8;

		for (j = 0; j < 8; j++)
			remap(base + j * 4096, j, 0);
		load(base + read * 4096);
		privileged(flags_of, base + read * 4096, (ulong)&flags);
		bad += flags != PTE_A;
		store(base + written * 4096 + 12, i);
		for (j = 0; j < 8; j++) {
			privileged(flags_of, base + j * 4096, (ulong)&flags);
			if (j == written)
				bad += flags != (PTE_A | PTE_D);
			else
				bad += flags != (j == read ? PTE_A : 0);
		}
	}
	return bad;
}

/* --- code --- */

static ulong exchange_code(ulong unused)
{
	ulong at = world->base + CODE_AT, bad = 0;
	u32 i, j;

	for (i = 0; i < 30; i++) {
		remap(at, i % 5, i & 1 ? PTE_W : 0);
		for (j = 0; j < (i < 10 ? heat : 10); j++)
			bad += call(at + 0x100) != 200 + i % 5;
	}
	for (i = 0; i < heat; i++) {
		remap(at, i % 5, 0);
		bad += call(at + 0x100) != 200 + i % 5;
	}
	return bad;
}

/* The page of hot code becomes another, not present, or not executable while code in it calls us.
 */
static ulong take_code(ulong unused)
{
	ulong at = world->base + CODE_AT, bad = 0;
	u32 i;

	for (i = 0; i < heat; i++) {
		remap(at, i % 5, 0);
		bad += call(at + 0x100) != 200 + i % 5;
	}
	for (i = 0; i < heat; i++) {
		bool no_execute = nx && i & 1;

		remap(at, i % 5, no_execute ? 0 : PTE_P);
		if (no_execute)
			privileged(set_pte_and_invalidate, at,
				(ulong)frames[i % 5] | world->flags | PTE_NX);
		try_code((void *)(at + 0x100), 0, 0);
		/* Without NX or SMEP the I bit of the error code is clear (SDM vol. 3A 4.7). */
		bad += !faulted((no_execute ? PF_P : 0) | (nx ? PF_I : 0), at + 0x100);
		remap(at, i % 5, 0);
		bad += call(at + 0x100) != 200 + i % 5;
	}
	return bad;
}

/* Hot code runs on into another page in the middle of an instruction: MOV of the word that the
 * second page begins with to EAX, then RET. Either page becomes another, or the second one is taken
 * away. */
static ulong straddle_pages(ulong unused)
{
	ulong at = world->base + CODE_AT, second = at + 0x1000, bad = 0;
	u32 i;

	for (i = 0; i < 5; i++) {
		frames[i][0xfff] = 0xb8;
		frames[i][4] = 0xc3;
	}
	remap(at, 0, 0);
	remap(second, 1, 0);
	for (i = 0; i < heat; i++)
		bad += call(at + 0xfff) != 101;
	for (i = 0; i < heat; i++) {
		remap(second, i / 2 % 5, 0);
		bad += call(at + 0xfff) != 100 + i / 2 % 5;
		remap(at, i % 5, 0);
		bad += call(at + 0xfff) != 100 + i / 2 % 5;
	}
	remap(at, 0, 0);
	for (i = 0; i < heat; i++) {
		remap(second, 1, PTE_P);
		try_code((void *)(at + 0xfff), 0, 0);
		bad += !faulted(nx ? PF_I : 0, second) || trap.ip != at + 0xfff;
		remap(second, 1, 0);
		bad += call(at + 0xfff) != 101;
	}
	for (i = 0; i < 5; i++)
		frames[i][4] = 0;
	return bad;
}

/* --- address spaces --- */

static struct address_space spaces[24];

static void make_spaces(ulong count, u64 unused)
{
	ulong i;

	for (i = 0; i < count; i++) {
		struct address_space *space = &spaces[i];

		if (!space->root)
			space_init(space, 4, PTE_W | PTE_U);
		/* The image's second place, and our pages: some private, some not. */
		((u64 *)space->root)[511] = ((u64 *)boot_space.root)[511];
		pte_set(space, LOW_BASE, 1, (ulong)frames[i % FRAMES] | world->flags);
		pte_set(space, LOW_BASE + 0x1000, 1,
			(ulong)frames[(i + 1) % FRAMES] | world->flags);
		pte_set(space, LOW_BASE + CODE_AT, 1, (ulong)frames[i % 5] | world->flags);
	}
}

static void switch_to(ulong root, u64 more)
{
	write_cr3(root | more);
}

static void set_pcide(ulong on, u64 unused)
{
	write_cr4(on ? read_cr4() | CR4_PCIDE : read_cr4() & ~(ulong)CR4_PCIDE);
}

/* Many processes, one after the other, each with data and code of its own at the same addresses. */
static ulong switch_spaces(ulong pcids)
{
	ulong home = (ulong)boot_space.root, bad = 0, count = pcids ? 6 : 24;
	u32 i;

	for (i = 0; i < 4 * heat; i++) {
		ulong n = i % count;
		bool keep = pcids && i >= count;

		privileged(switch_to, (ulong)spaces[n].root | (pcids ? n + 1 : 0),
			keep ? 1ull << 63 : 0);
		bad += load(LOW_BASE) != 100 + n % FRAMES;
		bad += load(LOW_BASE + 0x1000) != 100 + (n + 1) % FRAMES;
		store(LOW_BASE + 12, i);
		bad += *(volatile u32 *)(frames[n % FRAMES] + 12) != i;
		bad += call(LOW_BASE + CODE_AT + 0x100) != 200 + n % 5;
	}
	privileged(switch_to, home, 0);
	return bad;
}

static void change_in_space(ulong n, u64 frame)
{
	pte_set(&spaces[n], LOW_BASE, 1, (ulong)frames[frame] | world->flags);
}

/* A monitor may keep little of a program that has not run for long, and so forget it in time
 * whatever a flush does. */
static void run_long(ulong space)
{
	ulong n;

	privileged(switch_to, (ulong)spaces[space].root | (space + 1), 0);
	for (n = 0; n < 60000; n++)
		load(LOW_BASE);
}

/* What a load of CR3 without bit 63 flushes, with it does not have to, and what INVPCID reaches
 * elsewhere. */
static ulong pcid_flushes(ulong unused)
{
	ulong home = (ulong)boot_space.root, bad = 0;
	u32 i;

	for (i = 0; i < 3; i++)
		run_long(i);
	for (i = 0; i < heat; i++) {
		ulong n = i % 3;

		privileged(switch_to, (ulong)spaces[n].root | (n + 1), 0);
		load(LOW_BASE);
		privileged(switch_to, home, 1ull << 63);
		privileged(change_in_space, n, i % FRAMES);
		if (i & 1)
			privileged(by_invpcid, LOW_BASE, 3);
		privileged(switch_to, (ulong)spaces[n].root | (n + 1), i & 1 ? 1ull << 63 : 0);
		bad += load(LOW_BASE) != 100 + i % FRAMES;
	}
	privileged(switch_to, home, 0);
	return bad;
}

#define GLOBAL_AT (LOW_BASE + 0x2000)

static void change_global(ulong frame, u64 unused)
{
	int n;

	for (n = 0; n < 2; n++)
		pte_set(&spaces[n], GLOBAL_AT, 1, (ulong)frames[frame] | world->flags | PTE_G);
	invlpg(GLOBAL_AT);
}

/* INVLPG under one PCID reaches a global page under the others, too (SDM vol. 3A 4.10.4.1). */
static ulong pcid_global(ulong unused)
{
	ulong home = (ulong)boot_space.root, bad = 0;
	u32 i;

	run_long(1);
	run_long(0);
	privileged(change_global, 0, 0);
	for (i = 0; i < heat; i++) {
		privileged(switch_to, (ulong)spaces[0].root | 1, 1ull << 63);
		bad += load(GLOBAL_AT) != 100 + i % FRAMES;
		store(GLOBAL_AT + 12, i);
		privileged(switch_to, (ulong)spaces[1].root | 2, 1ull << 63);
		privileged(change_global, (i + 1) % FRAMES, 0);
		if (i & 1)
			bad += load(GLOBAL_AT) != 100 + (i + 1) % FRAMES;
	}
	privileged(switch_to, home, 0);
	return bad;
}

/* --- large pages --- */

/* Each of the small pages that were there may still be known. */
static void set_large(ulong address, u64 value)
{
	pte_set(&boot_space, address, 2, value);
	write_cr3(read_cr3());
}

/* Splits the large page into the same small ones. */
static void split(ulong address, u64 physical)
{
	static u64 *table;
	int i;

	if (!table)
		table = page_alloc();
	for (i = 0; i < 512; i++)
		table[i] = (physical + i * 4096) | world->flags;
	pte_set(&boot_space, address, 2, (ulong)table | PTE_P | PTE_W | PTE_U);
	invlpg(address);
}

static ulong large_pages(ulong unused)
{
	ulong at = world->base + LARGE_AT, bad = 0, offset;
	const ulong first = 0x2000000, second = 0x2200000;
	u32 i;

	for (offset = 0; offset < 0x200000; offset += 0x1000) {
		*(volatile u32 *)(first + offset) = offset + 1;
		*(volatile u32 *)(second + offset) = offset + 2;
	}
	for (i = 0; i < 40; i++) {
		privileged(set_large, at, (i & 1 ? second : first) | world->flags | PTE_PS);
		for (offset = 0; offset < 0x200000; offset += i < 4 ? 0x1000 : 0x13000)
			bad += load(at + offset) != offset + 1 + (i & 1);
		privileged(split, at, i & 1 ? second : first);
		bad += load(at + 0x5000) != 0x5001 + (i & 1);
		/* One of them changes. */
		remap(at + 0x5000, i % FRAMES, 0);
		bad += load(at + 0x5000) != 100 + i % FRAMES;
		bad += load(at + 0x4000) != 0x4001 + (i & 1);
		bad += load(at + 0x6000) != 0x6001 + (i & 1);
		store(at + 0x500c, i);
		bad += *(volatile u32 *)(frames[i % FRAMES] + 12) != i;
		/* Large again; the table stays as it was. */
		privileged(set_large, at, (i & 1 ? second : first) | world->flags | PTE_PS);
		bad += load(at + 0x5000) != 0x5001 + (i & 1);
	}
	privileged(set_large, at, 0);
	try_load(at + 0x7000);
	return bad + !faulted(0, at + 0x7000);
}

static void set_large_global(ulong address, u64 value)
{
	pte_set(&boot_space, address, 2, value);
	invlpg(address + 0x123456);
}

/* Hot code in a global large page that becomes another one. */
static ulong large_code(ulong unused)
{
	static u8 *const pages[] = {(u8 *)0x2000000, (u8 *)0x2200000};
	ulong at = world->base + LARGE_AT, bad = 0;
	u32 i, j;

	for (i = 0; i < 2; i++)
		memcpy(pages[i] + 0x5100, frames[i] + 0x100, 6);
	for (i = 0; i < heat; i++) {
		privileged(
			set_large_global, at, (ulong)pages[i & 1] | world->flags | PTE_PS | PTE_G);
		for (j = 0; j < (i < 4 ? heat : 3); j++)
			bad += call(at + 0x5100) != 200 + (i & 1);
	}
	privileged(set_large_global, at, 0);
	return bad;
}

/* Many pages far apart, more than a monitor may want to map one by one. */
static ulong many_pages(ulong unused)
{
	ulong at = world->base + 0x1000000, bad = 0;
	u32 i, round;

	for (i = 0; i < 2048; i++)
		remap(at + i * 0x2000ul, i * 7 % FRAMES, 0);
	for (round = 0; round < 3; round++) {
		for (i = 0; i < 2048; i++) {
			store(at + i * 0x2000ul + 12, i);
			bad += *(volatile u32 *)(frames[i * 7 % FRAMES] + 12) != i;
			bad += load(at + i * 0x2000ul) != 100 + i * 7 % FRAMES;
		}
	}
	return bad;
}

/* --- running them --- */

static const struct test {
	const char *name;
	ulong (*fn)(ulong);
	ulong argument;
} tests[] = {
	{"read-only, writable, not present", protect_data, 0},
	{"copy on write", copy_on_writes, 0},
	{"accessed and dirty flags of eight neighbours", accessed_dirty, 0},
	{"code pages exchanged", exchange_code, 0},
	{"code pages taken away", take_code, 0},
	{"an instruction on two pages", straddle_pages, 0},
	{"large pages split and joined", large_pages, 0},
	{"code in large pages exchanged", large_code, 0},
	{"many pages", many_pages, 0},
};

static ulong run(ulong (*fn)(ulong), ulong argument)
{
	if (world->user)
		return noise_user_call(fn, argument);
	return ((ulong(*)(ulong))((ulong)fn + world->image))(argument);
}

static void test_world(void)
{
	size_t i;

	for (i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		if (ways[i].fn == by_invpcid && !cpu_has(FEATURE_INVPCID))
			skip("%s: not in CPUID", ways[i].name);
		else
			check_eq(run(exchange_data, i), 0, "%s: data exchanged, %s", world->name,
				ways[i].name);
	}
	for (i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
		check_eq(run(tests[i].fn, tests[i].argument), 0, "%s: %s", world->name,
			tests[i].name);
}

/* These spaces have the low half for themselves, and the kernel's memory as the user's. */
static void test_spaces(void)
{
	make_spaces(24, 0);
	check_eq(run(switch_spaces, 0), 0, "%s: address spaces switched", world->name);
	if (!cpu_has(FEATURE_PCID)) {
		skip("PCID: not in CPUID");
		return;
	}
	set_pcide(1, 0);
	check_eq(run(switch_spaces, 1), 0, "%s: address spaces switched, with PCIDs", world->name);
	if (cpu_has(FEATURE_INVPCID))
		check_eq(run(pcid_flushes, 0), 0, "%s: what flushes a PCID", world->name);
	check_eq(run(pcid_global, 0), 0, "%s: a global page under several PCIDs", world->name);
	write_cr3(read_cr3() & ~0xffful);
	set_pcide(0, 0);
}

static void map_image(void)
{
	ulong at;

	for (at = 0; at < 0x1000000; at += 0x200000)
		pte_set(&boot_space, HIGH_IMAGE + at, 2, at | PTE_P | PTE_W | PTE_PS);
}

void guest_main(void)
{
	u32 i;

	heat = boot_option("heat", 600);
	nx = cpu_has(FEATURE_NX);
	if (nx)
		wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_NXE);
	for (i = 0; i < FRAMES; i++) {
		frames[i] = page_alloc();
		fill_frame(i);
	}
	map_image();
	write_cr4(read_cr4() | CR4_PGE);
	idt_reset(VECTOR_PRIVILEGED, 3);
	trap_set_handler(VECTOR_PRIVILEGED, serve);
	noise_start(boot_option("noise", 50000));
	for (world = worlds; world < worlds + sizeof(worlds) / sizeof(worlds[0]); world++) {
		test_world();
		test_spaces();
	}
	check(noise_stop() > 10, "interrupts came meanwhile");
}
