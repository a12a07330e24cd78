/*
 * Every combination of page-table bits, control bits and kind of access, against a model of the
 * rules of SDM vol. 3A 4.6 to 4.8: does it fault, with which error code, and what becomes of the
 * accessed and dirty flags. In a 64-bit kernel with four and, if CPUID has it, five levels; in a
 * 32-bit one with two levels and PAE.
 */
#include "paging.h"

/* The page under test, and where ring 3 finds its code and stack. */
#ifdef __x86_64__
#define PAGE_VA 0x8042000000ul /* under a top-level entry of its own */
#else
#define PAGE_VA 0x42000000ul
#endif
#define USER_TEXT_VA  0x50000000ul
#define USER_STACK_VA 0x50001000ul
/* Where it lies in RAM, aligned for every page size. It holds an INT that ends a fetch. */
#define PAGE_PA 0x2000000ul

enum access_kind { READ, WRITE, FETCH };
extern u8 access_text[], access_read[], access_write[], access_fetch[], access_end[];
extern u8 access_load_fs[];
void paging_switch(ulong cr3, ulong cr4);

/* Control bits, one combination at a time. PKRU has the two bits of key 1, if PKE. */
struct controls {
	bool wp, nxe, smep, smap, pke;
	int pkru;
};

struct access {
	enum access_kind kind;
	bool user, ac;
};

struct outcome {
	bool fault;
	u32 error;
};

static struct address_space space;
static struct controls controls;
static int leaf_level;
static u64 reserved_bit; /* of the leaf; 0 if it has none */
static bool has_parent;
static void *leaf_slot, *parent_slot;
static u64 parent_address, leaf_address;
static u32 tried, wrong;

static bool wide(void)
{
	return space.levels != 2;
}

/* The model. PARENT and LEAF are the two entries that vary; those above them allow everything. */
static struct outcome model(u64 parent, u64 leaf, struct access a)
{
	struct outcome o = {.fault = true};
	u64 entries[2] = {parent, leaf};
	bool w = true, u = true, x = true, key_denies = false;
	int i;

	o.error = a.kind == WRITE ? PF_W : 0;
	o.error |= a.user ? PF_U : 0;
	if (a.kind == FETCH && (controls.smep || (wide() && controls.nxe)))
		o.error |= PF_I;
	for (i = 0; i < 2; i++) {
		if (!(entries[i] & PTE_P))
			return o;
		if ((i == 1 && (leaf & reserved_bit)) ||
			(wide() && !controls.nxe && (entries[i] & PTE_NX))) {
			o.error |= PF_P | PF_RSVD;
			return o;
		}
		w = w && (entries[i] & PTE_W);
		u = u && (entries[i] & PTE_U);
		x = x && !(wide() && (entries[i] & PTE_NX));
	}
	o.error |= PF_P;
	if (controls.pke && u && a.kind != FETCH)
		key_denies = (controls.pkru & 1) ||
			     ((controls.pkru & 2) && a.kind == WRITE && (a.user || controls.wp));
	if (key_denies)
		o.error |= PF_PK;
	if (a.user)
		o.fault = !u || (a.kind == WRITE && !w) || (a.kind == FETCH && !x);
	else if (a.kind == FETCH)
		o.fault = !x || (u && controls.smep);
	else
		o.fault = (u && controls.smap && !a.ac) || (a.kind == WRITE && !w && controls.wp);
	o.fault = o.fault || key_denies;
	return o;
}

static void access_page(struct access a)
{
	u8 *code = a.kind == READ ? access_read : a.kind == WRITE ? access_write : access_fetch;
	ulong shift = a.user ? USER_TEXT_VA - (ulong)access_text : 0;

	trap.vector = NO_TRAP;
	trap_resume = (ulong)access_end + shift;
	if (a.user)
		user_call_at(SEL_USER_CODE, (ulong)code + shift, SEL_USER_DATA,
			USER_STACK_VA + 4096, PAGE_VA, 2);
	else
		user_call_at(SEL_CODE, (ulong)code, SEL_DATA, (ulong)user_stack_top, PAGE_VA,
			a.ac ? 2 | FLAG_AC : 2);
	trap_resume = 0;
}

static void expect(const char *what, u64 got, u64 want, u64 parent, u64 leaf, struct access a)
{
	static const char *const kinds[] = {"read", "write", "fetch"};

	if (got == want || wrong++ >= 3)
		return;
	print("FAIL %s: got %llx want %llx: %s %s%s, parent %llx leaf %llx, wp %d nxe %d smep %d "
	      "smap %d pke %d pkru %x\n",
		what, got, want, a.user ? "user" : "supervisor", kinds[a.kind],
		a.ac ? " with AC" : "", parent, leaf, controls.wp, controls.nxe, controls.smep,
		controls.smap, controls.pke, controls.pkru);
}

static u64 slot_read(void *slot)
{
	return wide() ? *(volatile u64 *)slot : *(volatile u32 *)slot;
}

static void slot_write(void *slot, u64 value)
{
	if (wide())
		*(volatile u64 *)slot = value;
	else
		*(volatile u32 *)slot = value;
}

static void try_access(u64 parent, u64 leaf, struct access a)
{
	struct outcome o = model(parent, leaf, a);
	u64 want_leaf = leaf, got_parent;

	if (has_parent)
		slot_write(parent_slot, parent_address | parent);
	slot_write(leaf_slot, leaf_address | leaf);
	invlpg(PAGE_VA);
	access_page(a);
	tried++;

	if (!o.fault)
		want_leaf |= PTE_A | (a.kind == WRITE ? PTE_D : 0);
	expect("vector", trap.vector, o.fault ? PF_VECTOR : NO_TRAP, parent, leaf, a);
	expect("leaf entry", slot_read(leaf_slot), leaf_address | want_leaf, parent, leaf, a);
	if (has_parent) {
		/* A faulting walk may or may not have marked the entries on its way. */
		got_parent = slot_read(parent_slot) & ~(o.fault ? PTE_A : 0);
		expect("parent entry", got_parent, parent_address | parent | (o.fault ? 0 : PTE_A),
			parent, leaf, a);
	}
	if (o.fault && trap.vector == PF_VECTOR) {
		expect("error code", trap.error, o.error, parent, leaf, a);
		expect("cr2", trap.cr2, PAGE_VA, parent, leaf, a);
		if (a.kind == FETCH)
			expect("ip", trap.ip, PAGE_VA, parent, leaf, a);
		expect("cs", trap.cs, a.user ? SEL_USER_CODE : SEL_CODE, parent, leaf, a);
	}
}

static void try_entries(u64 parent, u64 leaf)
{
	struct access a;
	int i;

	if (!wide() && ((parent | leaf) & PTE_NX))
		return;
	for (i = 0; i < 9; i++) {
		a.kind = i % 3;
		a.user = i / 3 == 0;
		a.ac = i / 3 == 2;
		/* AC changes nothing without SMAP, and nothing for a fetch. */
		if (a.ac && (!controls.smap || a.kind == FETCH))
			continue;
		try_access(parent, leaf, a);
	}
}

/* All bits of a leaf under all bits of its parent. */
static void try_all_entries(void)
{
	static const u64 bits[] = {PTE_P, PTE_W, PTE_U, PTE_NX};
	u64 base = leaf_level > 1 ? PTE_PS : 0;
	int i, j, k;

	if (controls.pke)
		base |= PTE_PKEY(1);
	for (i = 0; i < 16; i++) {
		u64 parent = 0;

		for (k = 0; k < 4; k++)
			parent |= i >> k & 1 ? bits[k] : 0;
		if (!has_parent && i != 7)
			continue;
		/* An entry that is not present has no other bits worth trying. */
		if (!(i & 1) && i != 0 && i != 14)
			continue;
		for (j = 0; j < 64; j++) {
			u64 leaf = base;

			for (k = 0; k < 4; k++)
				leaf |= j >> k & 1 ? bits[k] : 0;
			if (j & 16) {
				if (!reserved_bit)
					continue;
				leaf |= reserved_bit;
			}
			if (j & 32)
				leaf |= PTE_A;
			if (!(j & 1) && (j & 15) != 0 && (j & 15) != 14)
				continue;
			try_entries(parent, leaf);
		}
	}
}

static void controls_load(void)
{
	ulong cr0 = read_cr0(), cr4 = read_cr4();

	write_cr0(controls.wp ? cr0 | CR0_WP : cr0 & ~(ulong)CR0_WP);
	if (cpu_has(FEATURE_NX)) {
		u64 efer = rdmsr(MSR_EFER) & ~(u64)EFER_NXE;

		wrmsr(MSR_EFER, efer | (controls.nxe ? EFER_NXE : 0));
	}
	cr4 &= ~(ulong)(CR4_SMEP | CR4_SMAP | CR4_PKE);
	cr4 |= controls.smep ? CR4_SMEP : 0;
	cr4 |= controls.smap ? CR4_SMAP : 0;
	cr4 |= controls.pke ? CR4_PKE : 0;
	write_cr4(cr4);
	if (controls.pke)
		asm volatile("wrpkru" : : "a"(controls.pkru << 2), "c"(0), "d"(0));
}

static void run_controls(const char *size)
{
	tried = wrong = 0;
	controls_load();
	try_all_entries();
	check(wrong == 0, "%d levels, %s: wp %d nxe %d smep %d smap %d pke %d pkru %d: %u accesses",
		space.levels, size, controls.wp, controls.nxe, controls.smep, controls.smap,
		controls.pke, controls.pkru, tried);
}

static void run_leaf(const char *size, int level, u64 reserved)
{
	int i;

	leaf_level = level;
	reserved_bit = reserved;
	/* The pointer-table entries of PAE have no such bits, and CR3 caches them. */
	has_parent = level < space.levels && !(space.levels == 3 && level == 2);
	leaf_slot = pte_slot(&space, PAGE_VA, level);
	leaf_address = level == 3 ? 0 : PAGE_PA;
	if (has_parent) {
		parent_slot = pte_slot(&space, PAGE_VA, level + 1);
		parent_address = slot_read(parent_slot) & 0xfffff000;
	}
	for (i = 0; i < 16; i++) {
		controls =
			(struct controls){.wp = i & 1, .nxe = i & 2, .smep = i & 4, .smap = i & 8};
		if ((controls.nxe && !(wide() && cpu_has(FEATURE_NX))) ||
			(controls.smep && !cpu_has(FEATURE_SMEP)) ||
			(controls.smap && !cpu_has(FEATURE_SMAP)))
			continue;
		run_controls(size);
	}
	for (i = 0; i < 16 && space.levels >= 4 && cpu_has(FEATURE_PKU); i++) {
		controls = (struct controls){
			.wp = i & 1, .nxe = true, .smap = i & 2, .pke = true, .pkru = i >> 2};
		run_controls(size);
	}
	controls = (struct controls){.wp = true};
	controls_load();
	slot_write(leaf_slot, 0);
	if (has_parent)
		slot_write(parent_slot, parent_address | PTE_P | PTE_W | PTE_U);
	invlpg(PAGE_VA);
}

/* Address bits the CPU does not have are reserved (SDM vol. 3A 4.4.2 and 4.5.4). */
static u64 beyond_physical(void)
{
	return cpu_physical_bits() < 52 ? 1ull << 51 : 0;
}

/*
 * Reading a descriptor is an access of the CPU's own, a supervisor's whatever CPL is. It may not
 * touch a page of ring 3 under SMAP, and AC does not help it. The LDT serves, since exceptions need
 * the GDT.
 */
#define LDT_VA 0x50002000ul

static void test_implicit_access(void)
{
	u64 *ldt = page_alloc();

	ldt[1] = descriptor(0, 0xfffff, DESC_DATA32 | DESC_DPL(3));
	gdt_set(SEL_TEST, LDT_VA, 0xfff, 0x82);
	gdt[SEL_TEST / 8 + 1] = 0;
	pte_set(&space, LDT_VA, 1, (ulong)ldt | PTE_P | PTE_W | PTE_U);
	invlpg(LDT_VA);
	asm volatile("lldt %w0" : : "r"(SEL_TEST));
	try_asm("mov %0, %%fs", : : "r"(8 + 7));
	check_no_trap("%d levels: LDT in a page of ring 3", space.levels);
	asm volatile("mov %0, %%fs" : : "r"(0));
	if (cpu_has(FEATURE_SMAP)) {
		write_cr4(read_cr4() | CR4_SMAP);
		write_flags(2 | FLAG_AC);
		try_asm("mov %0, %%fs", : : "r"(8 + 7));
		write_flags(2);
		write_cr4(read_cr4() & ~(ulong)CR4_SMAP);
		check_pf(PF_P, LDT_VA + 8, "%d levels: the same under SMAP, with AC", space.levels);
	}
	/* Ring 3 loads a segment though it could not read the table. */
	pte_set(&space, LDT_VA, 1, (ulong)ldt | PTE_P | PTE_W);
	invlpg(LDT_VA);
	trap.vector = NO_TRAP;
	trap_resume = USER_TEXT_VA + (access_end - access_text);
	user_call_at(SEL_USER_CODE, USER_TEXT_VA + (access_load_fs - access_text), SEL_USER_DATA,
		USER_STACK_VA + 4096, 8 + 7, 2);
	trap_resume = 0;
	check_no_trap("%d levels: ring 3 with an LDT in a supervisor page", space.levels);
	asm volatile("mov %0, %%fs" : : "r"(0));
	asm volatile("lldt %w0" : : "r"(0));
}

static void run_levels(int levels)
{
	ulong cr4 = read_cr4() & ~(ulong)(CR4_LA57 | CR4_PAE);

	space_init(&space, levels, PTE_W);
	pte_set(&space, USER_TEXT_VA, 1, (ulong)access_text | PTE_P | PTE_U);
	pte_set(&space, USER_STACK_VA, 1, (ulong)page_alloc() | PTE_P | PTE_W | PTE_U);
	cr4 |= levels == 5 ? CR4_LA57 | CR4_PAE : levels == 2 ? 0 : CR4_PAE;
	if (levels == boot_space.levels)
		write_cr3((ulong)space.root);
	else
		paging_switch((ulong)space.root, cr4);
	if (wide()) {
		if (levels >= 4 && cpu_has(FEATURE_1G_PAGES))
			run_leaf("1G pages", 3, 1 << 13);
		run_leaf("2M pages", 2, 1 << 13);
		run_leaf("4K pages", 1, beyond_physical());
	} else {
		run_leaf("4M pages", 2, 1 << 21);
		run_leaf("4K pages", 1, 0);
	}
	test_implicit_access();
}

void guest_main(void)
{
	*(volatile u16 *)PAGE_PA = 0xcd | VECTOR_USER_RETURN << 8;
#ifdef __x86_64__
	run_levels(4);
	if (cpu_has(FEATURE_LA57))
		run_levels(5);
	else
		skip("five levels: not in CPUID");
#else
	run_levels(2);
	run_levels(3);
#endif
}
