/*
 * Translations that change. After each way of invalidating that the architecture has, the old one
 * must be gone; and what needs no invalidation must work without (SDM vol. 3A 4.10). Then what
 * spans two pages, and the odd rules of paging. Built for 64-bit and for 32-bit mode.
 */
#include "paging.h"

#define PAGE_VA  TEST_VA
#define LARGE_VA (TEST_VA + 0x10000000)

static u8 *frames[2];

static u32 load(void)
{
	return *(volatile u32 *)PAGE_VA;
}

static void point_to(int n, u64 flags)
{
	pte_set(&boot_space, PAGE_VA, 1, (ulong)frames[n] | PTE_P | PTE_W | flags);
}

static void reload_cr3(void)
{
	write_cr3(read_cr3());
}

static void toggle_pge(void)
{
	write_cr4(read_cr4() ^ CR4_PGE);
	write_cr4(read_cr4() ^ CR4_PGE);
}

static void toggle_paging(void)
{
#ifndef __x86_64__
	write_cr0(read_cr0() & ~(ulong)CR0_PG);
	write_cr0(read_cr0() | (ulong)(u32)CR0_PG);
#else
	reload_cr3();
#endif
}

static void invlpg_page(void)
{
	invlpg(PAGE_VA);
}

static void invlpg_inside(void)
{
	invlpg(PAGE_VA + 0xabc);
}

#ifdef __x86_64__
static void invpcid(ulong type, u64 pcid, u64 address)
{
	u64 descriptor[2] = {pcid, address};

	asm volatile("invpcid %0, %1" : : "m"(descriptor), "r"(type) : "memory");
}

static void invpcid_address(void)
{
	invpcid(0, 0, PAGE_VA);
}

static void invpcid_context(void)
{
	invpcid(1, 0, 0);
}

static void invpcid_all_global(void)
{
	invpcid(2, 0, 0);
}

static void invpcid_all(void)
{
	invpcid(3, 0, 0);
}
#endif

struct way {
	const char *name;
	void (*invalidate)(void);
	bool global_too;
};

static const struct way ways[] = {
	{"INVLPG", invlpg_page, true},
	{"INVLPG of another byte", invlpg_inside, true},
	{"MOV to CR3", reload_cr3, false},
	{"a change of CR4.PGE", toggle_pge, true},
	{"paging off and on", toggle_paging, false},
#ifdef __x86_64__
	{"INVPCID type 0", invpcid_address, false},
	{"INVPCID type 1", invpcid_context, false},
	{"INVPCID type 2", invpcid_all_global, true},
	{"INVPCID type 3", invpcid_all, false},
#endif
};

/* Ways that invalidate must also do so for what lies in the caches of upper levels. */
static void test_ways(void)
{
	size_t i;
	int round;

	for (i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		bool ok = true, global_ok = true, upper_ok = true;

		if (ways[i].name[3] == 'P' && ways[i].name[4] == 'C' && !cpu_has(FEATURE_INVPCID)) {
			skip("%s: not in CPUID", ways[i].name);
			continue;
		}
		for (round = 0; round < 20; round++) {
			point_to(round & 1, 0);
			ways[i].invalidate();
			ok = ok && load() == 100u + (round & 1);
			*(volatile u32 *)(PAGE_VA + 4) = round;
			ok = ok && *(volatile u32 *)(frames[round & 1] + 4) == (u32)round;
		}
		check(ok, "%s: the new page is seen", ways[i].name);
		write_cr4(read_cr4() | CR4_PGE);
		for (round = 0; round < 20 && ways[i].global_too; round++) {
			point_to(round & 1, PTE_G);
			ways[i].invalidate();
			global_ok = global_ok && load() == 100u + (round & 1);
		}
		write_cr4(read_cr4() & ~(ulong)CR4_PGE);
		if (ways[i].global_too)
			check(global_ok, "%s: global pages too", ways[i].name);
		/* Exchange the page table, not the page. */
		for (round = 0; round < 20; round++) {
			u64 entry = pte_get(&boot_space, PAGE_VA, 2);
			u64 *table = page_alloc();

			memcpy(table, (void *)(ulong)(entry & 0xfffff000), 4096);
			pte_set(&boot_space, PAGE_VA, 2, (ulong)table | (entry & 0xfff));
			point_to(round & 1, 0);
			ways[i].invalidate();
			upper_ok = upper_ok && load() == 100u + (round & 1);
		}
		check(upper_ok, "%s: a new page table is seen", ways[i].name);
	}
}

/* Translations that a CPU may not cache. */
static void test_not_cached(void)
{
	bool ok = true;
	u32 value;
	int i;

	for (i = 0; i < 20; i++) {
		pte_set(&boot_space, PAGE_VA, 1, 0);
		invlpg(PAGE_VA);
		try_asm("mov (%1), %0", : "=r"(value) : "r"(PAGE_VA));
		ok = ok && trap.vector == PF_VECTOR;
		point_to(i & 1, 0);
		ok = ok && load() == 100u + (i & 1);
	}
	check(ok, "an entry that becomes present needs no invalidation");

	/* After the fault at the latest, a permission that was added counts. */
	pte_set(&boot_space, PAGE_VA, 1, (ulong)frames[0] | PTE_P);
	invlpg(PAGE_VA);
	load();
	try_asm("movl $1, 8(%0)", : : "r"(PAGE_VA) : "memory");
	check_pf(PF_P | PF_W, PAGE_VA + 8, "a store to a read-only page");
	point_to(0, 0);
	try_asm("movl $1, 8(%0)", : : "r"(PAGE_VA) : "memory");
	check_no_trap("the same store when the page is writable, without invalidation");

	/* The flags of the entry are set again after software cleared them and invalidated. */
	for (i = 0; i < 20; i++) {
		point_to(0, 0);
		invlpg(PAGE_VA);
		load();
		ok = ok && (pte_get(&boot_space, PAGE_VA, 1) & (PTE_A | PTE_D)) == PTE_A;
		*(volatile u32 *)(PAGE_VA + 8) = i;
		ok = ok && (pte_get(&boot_space, PAGE_VA, 1) & (PTE_A | PTE_D)) == (PTE_A | PTE_D);
	}
	check(ok, "accessed and dirty flags, again and again");
	point_to(0, 0);
	invlpg(PAGE_VA);
	asm volatile("invlpg (%0); prefetcht0 (%0); lea (%0), %%eax" : : "r"(PAGE_VA) : "eax");
	check(!(pte_get(&boot_space, PAGE_VA, 1) & PTE_D), "LEA and INVLPG make nothing dirty");
	point_to(0, 0);
	invlpg(PAGE_VA);
	value = load() + 1;
	asm volatile("lock cmpxchgl %1, (%0)"
		     :
		     : "r"(PAGE_VA), "r"(0), "a"(value)
		     : "memory", "cc");
	check(pte_get(&boot_space, PAGE_VA, 1) & PTE_D,
		"a cmpxchg that fails makes the page dirty");
}

/* Two pages that are neighbours only in the linear address space. */
static void test_crossing(void)
{
	u8 *first = page_alloc(), *gap = page_alloc(), *second = page_alloc();
	bool ok = true;
	int at, i;

	memset(gap, 0xee, 4096);
	map_page(&boot_space, PAGE_VA + 0x4000, (ulong)first, PTE_P | PTE_W);
	map_page(&boot_space, PAGE_VA + 0x5000, (ulong)second, PTE_P | PTE_W);
	for (at = 0xff1; at < 0x1000; at++) {
		u8 *p = (u8 *)PAGE_VA + 0x4000 + at;
		u8 bytes[16];

		for (i = 0; i < 16; i++)
			bytes[i] = at + i * 3;
		asm volatile("movups (%1), %%xmm0; movups %%xmm0, (%0)"
			     :
			     : "r"(p), "r"(bytes)
			     : "memory");
		for (i = 0; i < 16; i++)
			ok = ok &&
			     (at + i < 4096 ? first[at + i] : second[at + i - 4096]) == bytes[i];
		ok = ok && *(volatile u16 *)p == (bytes[0] | bytes[1] << 8);
		ok = ok && !memcmp(p, bytes, 16);
		asm volatile("addl $0x01010101, (%0)" : : "r"(p + 12) : "memory", "cc");
		for (i = 12; i < 16; i++)
			ok = ok && (at + i < 4096 ? first[at + i] : second[at + i - 4096]) >= 1;
	}
	check(ok, "loads and stores over a page border");
	check(gap[0] == 0xee && gap[4095] == 0xee, "the frame between them is untouched");
	first[4095] = 0xff;
	memset(second, 0xff, 3);
	asm volatile("lock addl $1, (%0)" : : "r"(PAGE_VA + 0x4fff) : "memory", "cc");
	check(!first[4095] && !second[0] && !second[1] && !second[2], "a carry over a page border");
}

static void test_large(void)
{
	bool two_level = boot_space.levels == 2;
	ulong size = two_level ? 4 << 20 : 2 << 20;
	volatile u32 *ram = (u32 *)0x2000000;
	bool ok = true;
	ulong at;

	pte_set(&boot_space, LARGE_VA, 2, 0x2000000 | PTE_P | PTE_W | PTE_PS);
	invlpg(LARGE_VA);
	for (at = 0; at < size; at += 0x1000 + 4) {
		ram[at / 4] = at;
		ok = ok && *(volatile u32 *)(LARGE_VA + at) == at;
	}
	check(ok, "a large page is mapped throughout");
	/* INVLPG of any address in it drops all of it. */
	pte_set(&boot_space, LARGE_VA, 2, (0x2000000 + size) | PTE_P | PTE_W | PTE_PS);
	ram[size / 4] = 0x77;
	invlpg(LARGE_VA + size - 1);
	check_eq(*(volatile u32 *)LARGE_VA, 0x77,
		"INVLPG at the end of a large page drops its start");
	check((pte_get(&boot_space, LARGE_VA, 2) & (PTE_A | PTE_D)) == PTE_A, "A of a large page");
	*(volatile u32 *)(LARGE_VA + size - 4) = 1;
	check(pte_get(&boot_space, LARGE_VA, 2) & PTE_D, "D of a large page");
	pte_set(&boot_space, LARGE_VA, 2, 0);
	invlpg(LARGE_VA);
}

#ifdef __x86_64__
static void test_pcid(void)
{
	struct address_space other;
	ulong boot_root = read_cr3();
	bool ok = true;
	int i;

	if (!cpu_has(FEATURE_PCID)) {
		skip("PCID: not in CPUID");
		return;
	}
	space_init(&other, 4, PTE_W);
	pte_set(&other, PAGE_VA, 1, (ulong)frames[1] | PTE_P | PTE_W);
	point_to(0, 0);
	invlpg(PAGE_VA);
	try_asm("mov %0, %%cr4", : : "r"(read_cr4() | CR4_PCIDE));
	check_no_trap("CR4.PCIDE");
	check(read_cr4() & CR4_PCIDE, "CR4.PCIDE stays");
	for (i = 0; i < 20; i++) {
		write_cr3((ulong)other.root | 1 | (i ? 1ul << 63 : 0));
		ok = ok && load() == 101;
		write_cr3(boot_root | (i ? 1ul << 63 : 0));
		ok = ok && load() == 100;
	}
	check(ok, "two PCIDs keep their translations apart");
	check_eq(read_cr3(), boot_root, "bit 63 is not kept in CR3");
	/* Without bit 63 the loaded PCID is flushed. */
	write_cr3((ulong)other.root | 1);
	load();
	pte_set(&other, PAGE_VA, 1, (ulong)frames[0] | PTE_P | PTE_W);
	write_cr3(boot_root);
	write_cr3((ulong)other.root | 1);
	check_eq(load(), 100, "a load of CR3 flushes its PCID");
	/* INVPCID reaches a PCID that is not current. */
	if (cpu_has(FEATURE_INVPCID)) {
		write_cr3(boot_root | 1ul << 63);
		pte_set(&other, PAGE_VA, 1, (ulong)frames[1] | PTE_P | PTE_W);
		invpcid(0, 1, PAGE_VA);
		write_cr3((ulong)other.root | 1 | 1ul << 63);
		check_eq(load(), 101, "INVPCID type 0 for another PCID");
		write_cr3(boot_root | 1ul << 63);
		pte_set(&other, PAGE_VA, 1, (ulong)frames[0] | PTE_P | PTE_W);
		invpcid(1, 1, 0);
		write_cr3((ulong)other.root | 1 | 1ul << 63);
		check_eq(load(), 100, "INVPCID type 1 for another PCID");
		write_cr3(boot_root | 1ul << 63);
		try_asm("invpcid %0, %1", : : "m"(((u64[2]){0, 0})), "r"(4ul));
		check_trap(GP_VECTOR, 0, "INVPCID type 4");
		try_asm("invpcid %0, %1", : : "m"(((u64[2]){0x1000, 0})), "r"(1ul));
		check_trap(GP_VECTOR, 0, "INVPCID with a reserved bit");
		try_asm("invpcid %0, %1", : : "m"(((u64[2]){0, 1ull << 63})), "r"(0ul));
		check_trap(GP_VECTOR, 0, "INVPCID of a non-canonical address");
	}
	/* PCIDE needs PCID 0 to be set. */
	write_cr4(read_cr4() & ~(ulong)CR4_PCIDE);
	write_cr3(boot_root | 8);
	try_asm("mov %0, %%cr4", : : "r"(read_cr4() | CR4_PCIDE));
	check_trap(GP_VECTOR, 0, "CR4.PCIDE while CR3 has low bits set");
	write_cr3(boot_root);
	try_asm("mov %0, %%cr3", : : "r"(boot_root | 1ul << 63));
	check_trap(GP_VECTOR, 0, "bit 63 of CR3 without PCIDE");
}

/* The CPU reads and marks descriptors as a supervisor, whatever CPL is (SDM vol. 3A 4.6). */
static ulong ring3_load_es(ulong selector)
{
	asm volatile("mov %0, %%es" : : "r"(selector));
	return 0;
}

static void test_implicit(void)
{
	u64 *copy = page_alloc();
	struct table_pointer gdtr;
	ulong gdt_va = PAGE_VA + 0x8000;
	ulong offset = (ulong)gdt & 0xfff;

	asm volatile("sgdt %0" : "=m"(gdtr));
	memcpy((u8 *)copy, (void *)((ulong)gdt & ~0xffful), 4096);
	if (offset + sizeof(u64) * GDT_ENTRIES > 4096) {
		memcpy((u8 *)copy, gdt, sizeof(u64) * GDT_ENTRIES);
		offset = 0;
	}
	/* A supervisor page: ring 3 loads a segment all the same. */
	map_page(&boot_space, gdt_va, (ulong)copy, PTE_P | PTE_W);
	lgdt(gdtr.limit, gdt_va + offset);
	user_call(ring3_load_es, SEL_USER_DATA);
	check(true, "ring 3 loads a segment from a GDT in a supervisor page");
	/* A read-only page: the accessed bit need not be written if it is set. */
	copy[(offset + SEL_TEST) / 8] = descriptor(0, 0xfffff, DESC_DATA32);
	map_page(&boot_space, gdt_va, (ulong)copy, PTE_P);
	try_asm("mov %0, %%fs", : : "r"(SEL_TEST));
	check_no_trap("a GDT in a read-only page, accessed bit set");
	copy[(offset + SEL_TEST) / 8] = descriptor(0, 0xfffff, DESC_DATA32 & ~1);
	try_asm("mov %0, %%fs", : : "r"(SEL_TEST));
	check_pf(PF_P | PF_W, gdt_va + offset + SEL_TEST + (trap.cr2 & 7), "and clear");
	asm volatile("mov %0, %%fs" : : "r"(0));
	lgdt(gdtr.limit, gdtr.base);
}
#else
/* PAE: the four top entries are registers of the CPU, loaded with CR3 (SDM vol. 3A 4.4.1). */
static void test_pae_pointers(void)
{
	struct address_space pae;
	u64 *pdpt;

	space_init(&pae, 3, PTE_W);
	pte_set(&pae, PAGE_VA, 1, (ulong)frames[0] | PTE_P | PTE_W);
	write_cr0(read_cr0() & ~(ulong)CR0_PG);
	write_cr4(read_cr4() | CR4_PAE);
	write_cr3((ulong)pae.root);
	write_cr0(read_cr0() | (ulong)(u32)CR0_PG);
	check_eq(load(), 100, "PAE");
	pdpt = pae.root;
	try_asm("mov %0, %%cr3", : : "r"(read_cr3() | 0x18));
	check_no_trap("PWT and PCD of CR3");
	if (!cpu_is_amd()) {
		u64 old = pdpt[1];

		pdpt[1] = 0;
		invlpg(PAGE_VA);
		try_asm("mov (%0), %%eax", : : "r"(PAGE_VA) : "eax");
		check_no_trap("a pointer entry cleared in memory still stands in the CPU");
		write_cr3((ulong)pae.root);
		try_asm("mov (%0), %%eax", : : "r"(PAGE_VA) : "eax");
		check_pf(0, PAGE_VA, "until CR3 is loaded");
		pdpt[1] = old;
		write_cr3((ulong)pae.root);
	}
	pdpt[1] |= PTE_W;
	try_asm("mov %0, %%cr3", : : "r"(read_cr3()));
	check_trap(GP_VECTOR, 0, "a reserved bit of a pointer entry");
	pdpt[1] &= ~PTE_W;
	pdpt[1] |= 1ull << 63;
	try_asm("mov %0, %%cr3", : : "r"(read_cr3()));
	check_trap(GP_VECTOR, 0, "NX of a pointer entry");
	pdpt[1] &= ~(1ull << 63);
	pdpt[2] &= ~PTE_P;
	pdpt[2] |= PTE_W;
	try_asm("mov %0, %%cr3", : : "r"(read_cr3()));
	check_no_trap("a reserved bit of a pointer entry that is not present");
	/* A page table entry reaches beyond 4 GiB; nothing is there, but nothing must break. */
	pte_set(&pae, PAGE_VA + 0x1000, 1, 0x900000000ull | PTE_P | PTE_W);
	if (cpu_physical_bits() >= 36) {
		try_asm("mov (%0), %%eax", : : "r"(PAGE_VA + 0x1000) : "eax");
		check_no_trap("a load from physical memory that is not there");
	}
	write_cr0(read_cr0() & ~(ulong)CR0_PG);
	write_cr4(read_cr4() & ~(ulong)CR4_PAE);
	write_cr3((ulong)boot_space.root);
	write_cr0(read_cr0() | (ulong)(u32)CR0_PG);
}
#endif

void guest_main(void)
{
	int i;

	for (i = 0; i < 2; i++) {
		frames[i] = page_alloc();
		*(volatile u32 *)frames[i] = 100 + i;
	}
	point_to(0, 0);
	test_ways();
	test_not_cached();
	test_crossing();
	test_large();
#ifdef __x86_64__
	test_pcid();
	test_implicit();
#else
	test_pae_pointers();
#endif
}
