/* The page-table walk: every combination of rights against an oracle written from the manual's
 * tables, then sizes, reserved bits, accessed and dirty bits, and each paging mode. */
#include "cpu_fixture.h"

#define PML5  TABLES
#define PML4  (TABLES + 0x1000)
#define PDPT  (TABLES + 0x2000)
#define PD    (TABLES + 0x3000)
#define PT    (TABLES + 0x4000)
#define FRAME UINT64_C(0x200000)

enum { P = 1, W = 2, U = 4, A = 0x20, D = 0x40, PS = 0x80, G = 0x100 };
#define NX BIT(63)

/* All addresses below use index 1 at each level. */
#define LINEAR (BIT(39) | BIT(30) | BIT(21) | BIT(12) | 0x123)

static struct translation walked;

static enum walk_outcome walk(uint64_t linear, unsigned access)
{
	memset(&walked, 0, sizeof(walked));
	return paging_walk(cpu, linear, access, &walked);
}

static void assert_fault(uint64_t linear, unsigned access, uint32_t error)
{
	assert_int_equal(walk(linear, access), PAGE_FAULT);
	assert_int_equal(walked.error, error);
}

static void four_level(void)
{
	put(PML4 + 8, PDPT | P | W | U, 8);
	put(PDPT + 8, PD | P | W | U, 8);
	put(PD + 8, PT | P | W | U, 8);
	put(PT + 8, FRAME | P | W | U, 8);
	cpu->cr0 |= CR0_PE | CR0_PG | CR0_WP;
	cpu->cr4 |= CR4_PAE;
	cpu->cr3 = PML4;
	cpu->efer |= EFER_LME | EFER_LMA | EFER_NXE;
}

/* --- rights --- */

struct situation {
	bool w_upper, w_leaf, u_upper, u_leaf, nx_upper, nx_leaf;
	bool wp, smep, smap, ac;
	unsigned access;
};

/* SDM vol. 3A 4.6.1, word by word. */
static bool oracle(const struct situation *s)
{
	bool user_page = s->u_upper && s->u_leaf, writable = s->w_upper && s->w_leaf;
	bool execute_disabled = s->nx_upper || s->nx_leaf;

	if (s->access & PAGING_USER) {
		if (!user_page)
			return false;
		if (s->access & PAGING_FETCH)
			return !execute_disabled;
		return !(s->access & PAGING_WRITE) || writable;
	}
	if (s->access & PAGING_FETCH)
		return !execute_disabled && !(user_page && s->smep);
	if (user_page && s->smap && !(s->ac && !(s->access & PAGING_IMPLICIT)))
		return false;
	return !(s->access & PAGING_WRITE) || writable || !s->wp;
}

static void check_situation(const struct situation *s)
{
	uint64_t leaf =
		FRAME | P | (s->w_leaf ? W : 0) | (s->u_leaf ? U : 0) | (s->nx_leaf ? NX : 0);
	uint64_t entry = 0;

	put(PD + 8, PT | P | (s->w_upper ? W : 0) | (s->u_upper ? U : 0) | (s->nx_upper ? NX : 0),
		8);
	put(PT + 8, leaf, 8);
	cpu->cr0 = (cpu->cr0 & ~CR0_WP) | (s->wp ? CR0_WP : 0);
	cpu->cr4 = CR4_PAE | (s->smep ? CR4_SMEP : 0) | (s->smap ? CR4_SMAP : 0);
	cpu_set_rflags(cpu, s->ac ? RFLAGS_AC : 0);
	if (oracle(s)) {
		assert_int_equal(walk(LINEAR, s->access), WALKED);
		assert_int_equal(walked.gpa, FRAME | 0x123);
		entry = leaf | A | (s->access & PAGING_WRITE ? D : 0);
	} else {
		assert_fault(LINEAR, s->access,
			PF_PRESENT | (s->access & (PF_WRITE | PF_USER | PF_FETCH)));
		entry = leaf;
	}
	assert_int_equal(get(PT + 8, 8), entry);
}

static void rights_in_every_combination(void **state)
{
	static const unsigned accesses[] = {
		0,
		PAGING_WRITE,
		PAGING_FETCH,
		PAGING_USER,
		PAGING_USER | PAGING_WRITE,
		PAGING_USER | PAGING_FETCH,
		PAGING_IMPLICIT,
		PAGING_IMPLICIT | PAGING_WRITE,
	};

	four_level();
	for (unsigned i = 0; i < ARRAY_SIZE(accesses); i++)
		for (unsigned n = 0; n < 1024; n++) {
			struct situation s = {n & 1, n & 2, n & 4, n & 8, n & 16, n & 32, n & 64,
				n & 128, n & 256, n & 512, accesses[i]};

			check_situation(&s);
		}
}

/* What else a translation permits must agree with what a walk for that access would say. */
static void other_rights_agree(void **state)
{
	four_level();
	for (unsigned n = 0; n < 16; n++) {
		unsigned authority = n & 8 ? PAGING_USER : 0;
		struct translation first;

		put(PT + 8, FRAME | P | D | (n & 1 ? W : 0) | (n & 2 ? U : 0) | (n & 4 ? NX : 0),
			8);
		if (walk(LINEAR, authority) != WALKED)
			continue;
		first = walked;
		assert_int_equal(first.can_read, true);
		assert_int_equal(first.can_write, walk(LINEAR, authority | PAGING_WRITE) == WALKED);
		assert_int_equal(first.can_fetch, walk(LINEAR, authority | PAGING_FETCH) == WALKED);
		assert_int_equal(first.user, (n & 2) != 0);
	}
}

static void clean_page_is_not_writable_yet(void **state)
{
	four_level();
	assert_int_equal(walk(LINEAR, 0), WALKED);
	assert_false(walked.can_write);
	assert_int_equal(walk(LINEAR, PAGING_WRITE), WALKED);
	assert_true(walked.can_write);
	assert_int_equal(walk(LINEAR, 0), WALKED);
	assert_true(walked.can_write);
}

static void fetch_bit_needs_nxe_or_smep(void **state)
{
	four_level();
	put(PT + 8, 0, 8);
	assert_fault(LINEAR, PAGING_FETCH, PF_FETCH);
	cpu->efer &= ~EFER_NXE;
	assert_fault(LINEAR, PAGING_FETCH, 0);
	cpu->cr4 |= CR4_SMEP;
	assert_fault(LINEAR, PAGING_FETCH, PF_FETCH);
}

static void protection_keys(void **state)
{
	uint64_t key5 = UINT64_C(5) << 59;

	four_level();
	cpu->cr4 |= CR4_PKE;
	put(PT + 8, FRAME | key5 | P | W | U, 8);
	cpu->fpu.pkru = 2u << 10; /* key 5: no writes */
	assert_int_equal(walk(LINEAR, PAGING_USER), WALKED);
	assert_fault(LINEAR, PAGING_USER | PAGING_WRITE, PF_PRESENT | PF_WRITE | PF_USER | PF_PK);
	assert_fault(LINEAR, PAGING_WRITE, PF_PRESENT | PF_WRITE | PF_PK);
	cpu->cr0 &= ~CR0_WP; /* then the supervisor may */
	assert_int_equal(walk(LINEAR, PAGING_WRITE), WALKED);
	cpu->fpu.pkru = 1u << 10; /* no access; fetches are not data */
	assert_fault(LINEAR, PAGING_USER, PF_PRESENT | PF_USER | PF_PK);
	assert_fault(LINEAR, 0, PF_PRESENT | PF_PK);
	assert_int_equal(walk(LINEAR, PAGING_USER | PAGING_FETCH), WALKED);
	/* Supervisor pages have no keys. */
	put(PT + 8, FRAME | key5 | P | W, 8);
	assert_int_equal(walk(LINEAR, 0), WALKED);
}

static unsigned random_below(unsigned limit)
{
	static unsigned random = 1;

	random = random * 1664525 + 1013904223;
	return (random >> 16) % limit;
}

/* What paging_look_up() answers is exactly what a walk does, whatever the entries are. */
static void look_ups_in_a_table_agree(void **state)
{
	static const uint64_t bits[] = {
		P, W, U, A, D, PS, G, NX, BIT(51), BIT(9), BIT(59), BIT(62)};
	static const uint64_t upper[] = {P, W, U, A, PS, NX, BIT(51)};
	unsigned agreed = 0;

	four_level();
	for (unsigned n = 0; n < 20000; n++) {
		const uint64_t tables[] = {PML4 + 8, PDPT + 8, PD + 8};
		const uint64_t below[] = {PDPT, PD, PT};
		uint64_t leaf = FRAME | P | U | A;
		struct paging_table table = {0};
		struct paging_page page = {0};
		bool found, expected;
		unsigned key;

		for (unsigned i = random_below(4); i > 0; i--)
			leaf ^= bits[random_below(ARRAY_SIZE(bits))];
		for (unsigned i = 0; i < 3; i++)
			put(tables[i],
				(below[i] | P | W | U | A) ^
					(random_below(6) ? 0
							 : upper[random_below(ARRAY_SIZE(upper))]),
				8);
		put(PT + 8, leaf, 8);
		cpu->cr4 =
			CR4_PAE | (random_below(2) ? CR4_PGE : 0) | (random_below(2) ? CR4_PKE : 0);
		cpu->efer = (cpu->efer & ~EFER_NXE) | (random_below(4) ? EFER_NXE : 0);
		cpu->fpu.pkru = random_below(4) ? 0 : random_below(1 << 16);
		key = random_below(4) ? (unsigned)bits_get(leaf, 62, 59) : random_below(16);
		found = paging_find_user_table(cpu, LINEAR, key, &table) &&
			paging_look_up(&table, LINEAR, &page);
		expected = walk(LINEAR, PAGING_USER | PAGING_PROBE) == WALKED && walked.accessed &&
			   walked.page_size == PAGE_SIZE && walked.key == key;
		assert_int_equal(found, expected);
		if (!found)
			continue;
		agreed++;
		assert_int_equal(page.gpa, walked.gpa & PAGE_MASK);
		assert_int_equal(page.can_write, walked.can_write);
		assert_int_equal(page.global, walked.global);
	}
	assert_in_range(agreed, 1000, 19000);
}

/* --- accessed and dirty bits --- */

static void accessed_bits_along_the_path(void **state)
{
	four_level();
	assert_int_equal(walk(LINEAR, 0), WALKED);
	assert_int_equal(get(PML4 + 8, 8) & (A | D), A);
	assert_int_equal(get(PDPT + 8, 8) & (A | D), A);
	assert_int_equal(get(PD + 8, 8) & (A | D), A);
	assert_int_equal(get(PT + 8, 8) & (A | D), A);
	assert_int_equal(walk(LINEAR, PAGING_WRITE), WALKED);
	assert_int_equal(get(PD + 8, 8) & (A | D), A);
	assert_int_equal(get(PT + 8, 8) & (A | D), A | D);
}

static void probe_leaves_no_trace(void **state)
{
	four_level();
	assert_int_equal(walk(LINEAR, PAGING_WRITE | PAGING_PROBE), WALKED);
	assert_int_equal(get(PML4 + 8, 8) & A, 0);
	assert_int_equal(get(PT + 8, 8) & (A | D), 0);
}

/* A page table in a page that code was decoded from. */
static void table_write_drops_code(void **state)
{
	uint32_t generation;

	four_level();
	generation = memory_code_track(&memory, PT >> PAGE_SHIFT, 0, 64);
	assert_int_equal(walk(LINEAR, PAGING_WRITE), WALKED);
	assert_int_not_equal(atomic_load(&memory.code_generation[PT >> PAGE_SHIFT]), generation);
}

/* --- faults before the rights --- */

static void not_present_at_each_level(void **state)
{
	static const uint64_t entry[] = {PML4 + 8, PDPT + 8, PD + 8, PT + 8};

	for (unsigned i = 0; i < ARRAY_SIZE(entry); i++) {
		four_level();
		put(entry[i], ~UINT64_C(1), 8); /* all other bits do not matter */
		assert_fault(LINEAR, PAGING_USER | PAGING_WRITE, PF_USER | PF_WRITE);
	}
}

static void reserved_address_bits(void **state)
{
	static const uint64_t entry[] = {PML4 + 8, PDPT + 8, PD + 8, PT + 8};

	for (unsigned i = 0; i < ARRAY_SIZE(entry); i++)
		for (unsigned bit = 12; bit < 63; bit++) {
			four_level();
			put(entry[i], get(entry[i], 8) | BIT(bit), 8);
			if (bit >= 40 && bit < 52) {
				assert_fault(LINEAR, 0, PF_PRESENT | PF_RESERVED);
				assert_int_equal(get(PT + 8, 8) & A, 0);
			} else if (i == 3) {
				assert_int_equal(walk(LINEAR, 0), WALKED);
			}
		}
}

static void nx_is_reserved_without_nxe(void **state)
{
	four_level();
	put(PT + 8, FRAME | P | W | U | NX, 8);
	assert_int_equal(walk(LINEAR, 0), WALKED);
	cpu->efer &= ~EFER_NXE;
	assert_fault(LINEAR, 0, PF_PRESENT | PF_RESERVED);
	assert_fault(
		LINEAR, PAGING_USER | PAGING_WRITE, PF_PRESENT | PF_RESERVED | PF_USER | PF_WRITE);
}

static void top_levels_map_no_pages(void **state)
{
	four_level();
	put(PML4 + 8, PDPT | P | W | U | PS, 8);
	assert_fault(LINEAR, 0, PF_PRESENT | PF_RESERVED);
	put(PML4 + 8, PDPT | P | W | U | G, 8);
	cpu->amd = true;
	assert_fault(LINEAR, 0, PF_PRESENT | PF_RESERVED);
	cpu->amd = false;
	assert_int_equal(walk(LINEAR, 0), WALKED);
}

static void non_canonical(void **state)
{
	four_level();
	assert_fault(BIT(47), PAGING_WRITE, PF_WRITE);
}

/* Tables where no RAM is read as ones: reserved bits set. */
static void table_outside_ram(void **state)
{
	four_level();
	put(PD + 8, UINT64_C(0xe0000000) | P | W | U, 8);
	assert_fault(LINEAR, 0, PF_PRESENT | PF_RESERVED);
	cpu->cr3 = UINT64_C(0xff00000000);
	assert_fault(LINEAR, 0, PF_PRESENT | PF_RESERVED);
}

/* --- sizes and modes --- */

static void large_pages(void **state)
{
	four_level();
	put(PD + 8, UINT64_C(0x40000000) | P | W | U | PS | G, 8);
	cpu->cr4 |= CR4_PGE;
	assert_int_equal(walk(LINEAR, PAGING_WRITE), WALKED);
	assert_int_equal(walked.gpa, 0x40000000 | (LINEAR & 0x1fffff));
	assert_int_equal(walked.page_size, 2 * MIB);
	assert_true(walked.global);
	assert_int_equal(get(PD + 8, 8) & (A | D), A | D);
	for (unsigned bit = 12; bit < 21; bit++) {
		put(PD + 8, UINT64_C(0x40000000) | BIT(bit) | P | W | U | PS, 8);
		if (bit == 12) /* PAT */
			assert_int_equal(walk(LINEAR, 0), WALKED);
		else
			assert_fault(LINEAR, 0, PF_PRESENT | PF_RESERVED);
	}
	put(PDPT + 8, UINT64_C(0x80000000) | P | W | U | PS, 8);
	assert_int_equal(walk(LINEAR, 0), WALKED);
	assert_int_equal(walked.gpa, 0x80000000 | (LINEAR & 0x3fffffff));
	assert_int_equal(walked.page_size, GIB);
	put(PDPT + 8, UINT64_C(0x80000000) | BIT(21) | P | W | U | PS, 8);
	assert_fault(LINEAR, 0, PF_PRESENT | PF_RESERVED);
}

static void five_levels(void **state)
{
	uint64_t linear = LINEAR | BIT(49);

	four_level();
	put(PML5 + 16, PML4 | P | W | U, 8);
	cpu->cr3 = PML5;
	cpu->cr4 |= CR4_LA57;
	assert_int_equal(walk(linear, 0), WALKED);
	assert_int_equal(walked.gpa, FRAME | 0x123);
	assert_int_equal(get(PML5 + 16, 8) & A, A);
	assert_fault(BIT(56), 0, 0); /* not canonical in 57 bits */
	put(PML5 + 16, PML4 | P | W | U | PS, 8);
	assert_fault(linear, 0, PF_PRESENT | PF_RESERVED);
}

static void pae(void **state)
{
	uint64_t linear = BIT(30) | BIT(21) | BIT(12) | 0x123;
	uint64_t top = PDPT + 0xfe0; /* 32-byte aligned is enough */

	four_level();
	cpu->efer = EFER_NXE;
	put(top + 8, PD | P, 8);
	assert_true(paging_load_pdptes(cpu, top));
	cpu->cr3 = top;
	assert_int_equal(walk(linear, PAGING_USER | PAGING_WRITE), WALKED);
	assert_int_equal(walked.gpa, FRAME | 0x123);
	assert_fault(0, 0, 0);
	/* Bits 62..52 are reserved outside IA-32e paging. */
	put(PT + 8, FRAME | P | W | U | BIT(55), 8);
	assert_fault(linear, 0, PF_PRESENT | PF_RESERVED);
	/* The registers are used, not memory. */
	put(PT + 8, FRAME | P | W | U, 8);
	put(top + 8, 0, 8);
	assert_int_equal(walk(linear, 0), WALKED);
}

static void pdpte_reserved_bits(void **state)
{
	for (unsigned bit = 0; bit < 64; bit++) {
		bool reserved = bit == 1 || bit == 2 || (bit >= 5 && bit <= 8) || bit >= 40;

		put(PDPT, PD | P | BIT(bit), 8);
		assert_int_equal(paging_load_pdptes(cpu, PDPT), !reserved);
		put(PDPT, BIT(bit) & ~(uint64_t)P, 8); /* not present: anything goes */
		assert_true(paging_load_pdptes(cpu, PDPT));
	}
}

static void two_level(void **state)
{
	uint32_t linear = 1u << 22 | 1u << 12 | 0x123;

	put(PD + 4, PT | P | W | U, 4);
	put(PT + 4, FRAME | P | U, 4);
	cpu->cr0 |= CR0_PE | CR0_PG | CR0_WP;
	cpu->cr3 = PD | 0xfff; /* low bits are ignored */
	assert_int_equal(walk(linear, PAGING_USER), WALKED);
	assert_int_equal(walked.gpa, FRAME | 0x123);
	assert_int_equal(get(PD + 4, 4) & (A | D), A);
	assert_int_equal(get(PT + 4, 4) & (A | D), A);
	assert_int_equal(get(PT + 8, 4), 0); /* entries are 4 bytes: the neighbour is untouched */
	assert_fault(linear, PAGING_WRITE, PF_PRESENT | PF_WRITE);
	assert_fault(linear, PAGING_USER | PAGING_WRITE, PF_PRESENT | PF_WRITE | PF_USER);
	put(PT + 4, FRAME | P | W | U, 4);
	assert_int_equal(walk(linear, PAGING_WRITE), WALKED);
	assert_int_equal(get(PT + 4, 4) & (A | D), A | D);
	/* Without CR4.PSE bit 7 of a PDE means nothing. */
	put(PD + 4, PT | P | W | U | PS, 4);
	assert_int_equal(walk(linear, 0), WALKED);
	assert_int_equal(walked.page_size, 4 * KIB);
}

static void pse36(void **state)
{
	uint32_t linear = 1u << 22 | 0x123456;

	cpu->cr0 |= CR0_PE | CR0_PG;
	cpu->cr4 |= CR4_PSE;
	cpu->cr3 = PD;
	put(PD + 4, 0x00800000 | 0xab << 13 | P | W | U | PS, 4);
	assert_int_equal(walk(linear, PAGING_WRITE), WALKED);
	assert_int_equal(walked.gpa, UINT64_C(0xab00800000) | 0x123456);
	assert_int_equal(walked.page_size, 4 * MIB);
	put(PD + 4, 0x00800000 | 1 << 21 | P | W | U | PS, 4);
	assert_fault(linear, 0, PF_PRESENT | PF_RESERVED);
	fixture_model.physical_bits = 36;
	put(PD + 4, 0x00800000 | 0x0f << 13 | P | W | U | PS, 4);
	assert_int_equal(walk(linear, 0), WALKED);
	put(PD + 4, 0x00800000 | 0x10 << 13 | P | W | U | PS, 4);
	assert_fault(linear, 0, PF_PRESENT | PF_RESERVED);
}

static void paging_off(void **state)
{
	assert_int_equal(walk(0x12345678, PAGING_WRITE | PAGING_USER), WALKED);
	assert_int_equal(walked.gpa, 0x12345678);
	assert_true(walked.can_write && walked.can_fetch);
}

/* A user access made through the TLB faults with CR2 set, and sees a changed entry after INVLPG. */
static void through_the_tlb(void **state)
{
	four_level();
	put(FRAME + 0x120, 0x1122334455667788, 8);
	assert_int_equal(access_load(cpu, LINEAR - 3, 8, ACCESS_SUPERVISOR), 0x1122334455667788);
	put(PT + 8, 0, 8);
	tlb_flush_page(cpu, LINEAR);
	assert_raises(VECTOR_PF, PF_USER | PF_WRITE, access_store(cpu, LINEAR, 1, 8, ACCESS_USER));
	assert_int_equal(cpu->cr2, LINEAR);
}

/* --- a second stage --- */

/* What the page tables call physical lies SHIFT lower in the machine, in pages of 4 KiB. The one at
 * `hidden` is refused; the one at `fixed` may only be read. */
#define SHIFT UINT64_C(0x800000)
static uint64_t hidden, fixed;
static unsigned left;

static bool shifted(struct cpu *c, unsigned access, struct translation *out)
{
	uint64_t page = out->first_stage_gpa & PAGE_MASK;

	if (page == hidden || (page == fixed && (access & PAGING_WRITE)))
		return false;
	out->gpa = out->first_stage_gpa - SHIFT;
	out->page_size = MIN(out->page_size, PAGE_SIZE);
	out->can_write &= page != fixed;
	return true;
}

static __attribute__((noreturn)) void leave(
	struct cpu *c, uint64_t linear, const struct translation *out)
{
	left++;
	cpu_raise(c, VECTOR_MC);
}

static const struct second_stage stage = {shifted, leave};

static void with_second_stage(void)
{
	four_level();
	put(PML4 + 8, (PDPT + SHIFT) | P | W | U, 8);
	put(PDPT + 8, (PD + SHIFT) | P | W | U, 8);
	put(PD + 8, (PT + SHIFT) | P | W | U, 8);
	put(PT + 8, (FRAME + SHIFT) | P | W | U, 8);
	cpu->cr3 += SHIFT;
	cpu->second_stage = &stage;
	hidden = fixed = 0;
	left = 0;
}

static void second_stage_translates_tables_and_page(void **state)
{
	with_second_stage();
	assert_int_equal(walk(LINEAR, PAGING_WRITE), WALKED);
	assert_int_equal(walked.first_stage_gpa, FRAME + SHIFT + 0x123);
	assert_int_equal(walked.gpa, FRAME + 0x123);
	assert_int_equal(get(PML4 + 8, 8), (PDPT + SHIFT) | P | W | U | A);
	assert_int_equal(get(PT + 8, 8), (FRAME + SHIFT) | P | W | U | A | D);
	/* A large page is as large as both stages have it. */
	put(PD + 8, (FRAME + SHIFT) | P | W | U | PS, 8);
	assert_int_equal(walk(LINEAR, 0), WALKED);
	assert_int_equal(walked.gpa, FRAME + 0x1123);
	assert_int_equal(walked.page_size, PAGE_SIZE);
	cpu->second_stage = NULL;
}

static void second_stage_refuses_any_table_and_the_page(void **state)
{
	static const uint64_t pages[] = {PML4, PDPT, PD, PT, FRAME};

	for (unsigned i = 0; i < ARRAY_SIZE(pages); i++) {
		bool table = pages[i] != FRAME;

		with_second_stage();
		hidden = pages[i] + SHIFT;
		assert_int_equal(walk(LINEAR, PAGING_USER), SECOND_STAGE);
		assert_int_equal(walked.first_stage_gpa, hidden + (table ? 8 : 0x123));
		assert_int_equal(walked.second_access, table ? PAGING_TABLE : PAGING_USER);
		/* The page's own bits are not set for an access that is not made. */
		assert_int_equal(get(PT + 8, 8), (FRAME + SHIFT) | P | W | U);
	}
	cpu->second_stage = NULL;
}

/* Tables that may only be read: a walk that has no bit to set passes. */
static void second_stage_refuses_setting_bits(void **state)
{
	static const uint64_t tables[] = {PML4, PDPT, PD, PT};

	for (unsigned i = 0; i < ARRAY_SIZE(tables); i++) {
		with_second_stage();
		fixed = tables[i] + SHIFT;
		assert_int_equal(walk(LINEAR, 0), SECOND_STAGE);
		assert_int_equal(walked.first_stage_gpa, fixed + 8);
		assert_int_equal(walked.second_access, PAGING_TABLE | PAGING_WRITE);
		assert_int_equal(get(tables[i] + 8, 8) & A, 0);
		assert_int_equal(walk(LINEAR, PAGING_PROBE), WALKED);
		put(tables[i] + 8, get(tables[i] + 8, 8) | A, 8);
		assert_int_equal(walk(LINEAR, 0), WALKED);
	}
	cpu->second_stage = NULL;
}

/* Rights that only the page tables give are not entered in the TLB. */
static void second_stage_narrows_what_the_tlb_holds(void **state)
{
	with_second_stage();
	fixed = FRAME + SHIFT;
	put(FRAME + 0x123, 0x55, 1);
	put(PT + 8, (FRAME + SHIFT) | P | W | U | A | D, 8);
	assert_int_equal(access_load(cpu, LINEAR, 1, ACCESS_SUPERVISOR), 0x55);
	assert_true(RAISED(access_store(cpu, LINEAR, 1, 1, ACCESS_SUPERVISOR)));
	assert_int_equal(left, 1);
	assert_int_equal(get(FRAME + 0x123, 1), 0x55);
	/* Without paging it is asked, too. */
	cpu->efer = 0;
	cpu->cr0 &= ~CR0_PG;
	assert_int_equal(walk(FRAME + SHIFT + 0x123, 0), WALKED);
	assert_int_equal(walked.gpa, FRAME + 0x123);
	assert_int_equal(walk(FRAME + SHIFT, PAGING_WRITE), SECOND_STAGE);
	cpu->second_stage = NULL;
}

static void second_stage_holds_for_32_bit_tables(void **state)
{
	with_second_stage();
	cpu->efer = 0;
	cpu->cr4 &= ~CR4_PAE;
	put(PML4 + 4, (PT + SHIFT) | P | W, 4);
	put(PT + 4, (FRAME + SHIFT) | P | W, 4);
	assert_int_equal(walk(BIT(22) | BIT(12) | 4, 0), WALKED);
	assert_int_equal(walked.gpa, FRAME + 4);
	hidden = PT + SHIFT;
	assert_int_equal(walk(BIT(22) | BIT(12), 0), SECOND_STAGE);
	assert_int_equal(walked.first_stage_gpa, hidden + 4);
	/* PAE's four registers are loaded through it. */
	hidden = PML4 + SHIFT;
	assert_true(RAISED(paging_load_pdptes(cpu, PML4 + SHIFT)));
	assert_int_equal(left, 1);
	cpu->second_stage = NULL;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cpu_test(rights_in_every_combination),
		cpu_test(other_rights_agree),
		cpu_test(clean_page_is_not_writable_yet),
		cpu_test(fetch_bit_needs_nxe_or_smep),
		cpu_test(protection_keys),
		cpu_test(look_ups_in_a_table_agree),
		cpu_test(accessed_bits_along_the_path),
		cpu_test(probe_leaves_no_trace),
		cpu_test(table_write_drops_code),
		cpu_test(not_present_at_each_level),
		cpu_test(reserved_address_bits),
		cpu_test(nx_is_reserved_without_nxe),
		cpu_test(top_levels_map_no_pages),
		cpu_test(non_canonical),
		cpu_test(table_outside_ram),
		cpu_test(large_pages),
		cpu_test(five_levels),
		cpu_test(pae),
		cpu_test(pdpte_reserved_bits),
		cpu_test(two_level),
		cpu_test(pse36),
		cpu_test(paging_off),
		cpu_test(through_the_tlb),
		cpu_test(second_stage_translates_tables_and_page),
		cpu_test(second_stage_refuses_any_table_and_the_page),
		cpu_test(second_stage_refuses_setting_bits),
		cpu_test(second_stage_narrows_what_the_tlb_holds),
		cpu_test(second_stage_holds_for_32_bit_tables),
	};

	return cmocka_run_group_tests_name("paging", tests, NULL, NULL);
}
