/* The page-table walk (SDM vol. 3A chapter 4, APM vol. 2 chapter 5).
 *
 * One loop, walk_wide(), serves PAE, 4-level and 5-level paging, whose entries differ only in how
 * many levels there are and which bits are reserved; walk_legacy() serves the 32-bit entries of
 * 2-level paging. Both end in permit(), which is where the rules of access rights stand, once.
 *
 * Accessed and dirty bits are set as hardware sets them: by a locked compare-and-exchange on the
 * entry, which fails when another vCPU has changed the entry since it was read; then the walk
 * starts over, so that no right is ever granted on the word of an entry that is no longer there.
 * Tables above the page get their accessed bit as they are passed, whether or not the access is
 * permitted in the end; the entry that maps the page gets it, and the dirty bit, only if it is.
 *
 * The guest owns these tables and may write anything at all into them. An entry is never used
 * before its reserved bits, which include all address bits above MAXPHYADDR, have been tested, and
 * a table is only ever reached through memory_ram_pointer().
 *
 * entry_reach() and page_reach() are the only places that go from an address in an entry to memory:
 * where there is a second stage of translation, it stands there. */
#include "cpu/paging.h"
#include "cpu/access.h"

enum {
	ENTRY_P = 1 << 0,
	ENTRY_W = 1 << 1,
	ENTRY_U = 1 << 2,
	ENTRY_A = 1 << 5,
	ENTRY_D = 1 << 6,
	ENTRY_PS = 1 << 7,
	ENTRY_G = 1 << 8,
};
#define ENTRY_NX         BIT(63)
#define ENTRY_ADDRESS    PAGING_ENTRY_ADDRESS
#define ENTRY_KEYS       (UINT64_C(0xf) << 59)
#define ENTRY_KEY(entry) bits_get(entry, 62, 59)

/* An entry that is not in RAM reads as an undriven bus does. */
#define OPEN_BUS (~UINT64_C(0))

/* Everything a walk found out, before the question whether the access is allowed. */
struct walk {
	uint64_t rights; /* AND of all entries, with NX inverted: set means fetch is allowed; A too
			  */
	uint64_t leaf;
	void *leaf_pointer; /* NULL where the entry is not in RAM */
	uint64_t leaf_gpa;  /* where the page tables have the entry */
	uint64_t frame;     /* guest-physical address of the page's first byte */
	uint64_t page_size;
	/* After WALK_REFUSED: which entry, and whether it was to be written. */
	uint64_t refused_gpa;
	unsigned refused_access;
};

enum walk_result { WALK_DONE, WALK_NOT_PRESENT, WALK_RESERVED, WALK_AGAIN, WALK_REFUSED };

/* --- the second stage --- */

/* May the walk access an entry? */
static bool entry_translate(struct cpu *cpu, uint64_t *gpa, unsigned access, struct walk *walk)
{
	struct translation entry = {
		.first_stage_gpa = *gpa,
		.page_size = PAGE_SIZE,
		.can_read = true,
		.can_write = true,
		.can_fetch = true,
	};

	access |= PAGING_TABLE;
	if (cpu->second_stage->translate(cpu, access, &entry)) {
		*gpa = entry.gpa;
		return true;
	}
	walk->refused_gpa = *gpa;
	walk->refused_access = access;
	return false;
}

/* The walks are compiled twice, with a second stage (`second`) and without: a question at each
 * entry would cost a fifth of a walk. */
#define FOR_BOTH static inline __attribute__((always_inline))

/* Find the host address of an entry: NULL where it is not in RAM. False: WALK_REFUSED. */
FOR_BOTH bool entry_reach(struct cpu *cpu, bool second, uint64_t gpa, unsigned access,
	struct walk *walk, void **pointer)
{
	if (second && !entry_translate(cpu, &gpa, access & PAGING_PROBE, walk))
		return false;
	*pointer = memory_ram_pointer(cpu->memory, gpa);
	return true;
}

/* Bits are about to be set in an entry that could be read. */
static inline bool entry_may_be_set(struct cpu *cpu, uint64_t gpa, struct walk *walk)
{
	return likely(cpu->second_stage == NULL) || entry_translate(cpu, &gpa, PAGING_WRITE, walk);
}

/* The page that the page tables lead to. */
static inline enum walk_outcome page_reach(
	struct cpu *cpu, unsigned access, struct translation *out)
{
	out->gpa = out->first_stage_gpa;
	if (likely(cpu->second_stage == NULL) || cpu->second_stage->translate(cpu, access, out))
		return WALKED;
	out->second_access = access;
	return SECOND_STAGE;
}

/* --- entries in guest RAM --- */

/* Page tables may lie in pages that also hold translated code. Those that are traced need not be
 * told of A and D bits (memory/memory.h). */
static void entry_written(struct cpu *cpu, void *pointer, unsigned size)
{
	if (unlikely(access_flagged(cpu, pointer)) &&
		memory_page_flags(cpu->memory, pointer) != PAGE_TABLE)
		access_written_slow(cpu, pointer, size);
}

/* In a ROM, and where nothing is, bits are not set, and the walk goes on. */
static bool entry_is_fixed(const struct cpu *cpu, const void *pointer)
{
	return !pointer ||
	       !memory_page_writable(cpu->memory, memory_page_number(cpu->memory, pointer));
}

static bool entry_set_wide(struct cpu *cpu, void *pointer, uint64_t entry, uint64_t bits)
{
	if (entry_is_fixed(cpu, pointer))
		return true;
	if (!atomic_compare_exchange_strong((_Atomic uint64_t *)pointer, &entry, entry | bits))
		return false;
	entry_written(cpu, pointer, 8);
	return true;
}

static bool entry_set_legacy(struct cpu *cpu, void *pointer, uint32_t entry, uint32_t bits)
{
	if (entry_is_fixed(cpu, pointer))
		return true;
	if (!atomic_compare_exchange_strong((_Atomic uint32_t *)pointer, &entry, entry | bits))
		return false;
	entry_written(cpu, pointer, 4);
	return true;
}

/* --- access rights --- */

/* Protection keys qualify data accesses to user pages (SDM vol. 3A 4.6.2). Bits 0 and 1: reading,
 * writing is denied. */
static unsigned key_denies(const struct cpu *cpu, const struct walk *walk, bool user_access)
{
	unsigned rights;

	if (!(cpu->cr4 & CR4_PKE) || !cpu_long_mode(cpu) || !(walk->rights & ENTRY_U))
		return 0;
	rights = (cpu->fpu.pkru >> (2 * ENTRY_KEY(walk->leaf))) & 3;
	if (rights & 1)
		return 3;
	return (rights & 2) && (user_access || (cpu->cr0 & CR0_WP)) ? 2 : 0;
}

/* What an access of this authority may do with the page (SDM vol. 3A 4.6.1). */
static void allowed(const struct cpu *cpu, const struct walk *walk, unsigned access,
	struct translation *out, unsigned *key)
{
	bool writable = walk->rights & ENTRY_W;
	bool user_page = walk->rights & ENTRY_U;

	*key = 0;
	if (access & PAGING_USER) {
		out->can_read = user_page;
		out->can_write = user_page && writable;
		out->can_fetch = user_page && (walk->rights & ENTRY_NX);
	} else {
		bool smap = user_page && (cpu->cr4 & CR4_SMAP) &&
			    ((access & PAGING_IMPLICIT) || !(cpu->system_flags & RFLAGS_AC));

		out->can_read = !smap;
		out->can_write = !smap && (writable || !(cpu->cr0 & CR0_WP));
		out->can_fetch = (walk->rights & ENTRY_NX) && !(user_page && (cpu->cr4 & CR4_SMEP));
	}
	if (unlikely(cpu->cr4 & CR4_PKE)) {
		*key = key_denies(cpu, walk, access & PAGING_USER);
		out->can_read &= !(*key & 1);
		out->can_write &= !(*key & 2);
	}
}

/* Error code bits that describe the access itself. The fetch bit exists only where fetches can be
 * told from reads (SDM vol. 3A 4.7). */
static uint32_t access_error(const struct cpu *cpu, unsigned access)
{
	uint32_t error = access & (PAGING_WRITE | PAGING_USER);

	if ((access & PAGING_FETCH) &&
		((cpu->cr4 & CR4_SMEP) || ((cpu->cr4 & CR4_PAE) && (cpu->efer & EFER_NXE))))
		error |= PF_FETCH;
	return error;
}

static enum walk_outcome fault(
	const struct cpu *cpu, struct translation *out, unsigned access, uint32_t error)
{
	out->error = access_error(cpu, access) | error;
	return PAGE_FAULT;
}

/* Decide, and fill in the answer. The caller then sets the leaf's A and D bits in *set. */
static enum walk_outcome permit(const struct cpu *cpu, const struct walk *walk, uint64_t linear,
	unsigned access, struct translation *out, unsigned *set)
{
	unsigned key;
	bool ok;

	allowed(cpu, walk, access, out, &key);
	ok = access & PAGING_FETCH   ? out->can_fetch
	     : access & PAGING_WRITE ? out->can_write
				     : out->can_read;
	if (unlikely(!ok)) {
		bool key_fault =
			!(access & PAGING_FETCH) && (key & (access & PAGING_WRITE ? 2 : 1));

		return fault(cpu, out, access, PF_PRESENT | (key_fault ? PF_PK : 0));
	}
	*set = access & PAGING_PROBE ? 0 : ENTRY_A | (access & PAGING_WRITE ? ENTRY_D : 0);
	out->first_stage_gpa = walk->frame | (linear & (walk->page_size - 1));
	out->page_size = walk->page_size;
	out->user = walk->rights & ENTRY_U;
	out->key = ENTRY_KEY(walk->leaf);
	out->global = (walk->leaf & ENTRY_G) && (cpu->cr4 & CR4_PGE);
	out->accessed = *set || (walk->rights & ENTRY_A);
	out->can_write &= ((walk->leaf | *set) & ENTRY_D) != 0;
	return WALKED;
}

/* --- PAE, 4-level, 5-level --- */

/* Bits reserved in every 64-bit entry: addresses above MAXPHYADDR; NX where it is off; outside
 * IA-32e paging all the rest of the upper half too. */
static uint64_t reserved_wide(const struct cpu *cpu)
{
	uint64_t reserved = ENTRY_ADDRESS & ~(BIT(cpu->model->physical_bits) - 1);

	if (!(cpu->efer & EFER_NXE))
		reserved |= ENTRY_NX;
	if (!cpu_long_mode(cpu))
		reserved |= UINT64_C(0x7ff0000000000000);
	return reserved;
}

/* From `level` (5 to 2) down; the table is at `table`. Entries of level `last` are the last
 * ones read: 1, or 2 where walk->frame shall be the table of 4-KiB pages, and page_size 0. */
FOR_BOTH enum walk_result walk_wide(struct cpu *cpu, bool second, uint64_t linear, unsigned access,
	uint64_t table, unsigned level, unsigned last, struct walk *walk)
{
	uint64_t reserved = reserved_wide(cpu);
	uint64_t rights = ENTRY_W | ENTRY_U | ENTRY_NX | ENTRY_A;

	for (;; level--) {
		unsigned shift = 3 + 9 * level;
		uint64_t gpa = table + ((linear >> shift) & 0x1ff) * 8, entry = OPEN_BUS;
		void *pointer;

		if (unlikely(!entry_reach(cpu, second, gpa, access, walk, &pointer)))
			return WALK_REFUSED;
		if (likely(pointer != NULL))
			entry = atomic_load_explicit(
				(_Atomic uint64_t *)pointer, memory_order_relaxed);
		if (unlikely(!(entry & ENTRY_P)))
			return WALK_NOT_PRESENT;
		if (unlikely(entry & reserved))
			return WALK_RESERVED;
		rights &= entry ^ ENTRY_NX;
		/* Level 4 and 5 entries map no pages; AMD reserves the global bit there too. */
		if (level > 3 && unlikely(entry & (cpu->amd ? ENTRY_PS | ENTRY_G : ENTRY_PS)))
			return WALK_RESERVED;
		if (level == 1 || (entry & ENTRY_PS)) {
			uint64_t size = BIT(shift);

			if (level == 3 && unlikely(!cpu_model_has(cpu->model, CPUID_PAGE1GB)))
				return WALK_RESERVED;
			/* The address of a large page is aligned to it; bit 12 is PAT. */
			if (unlikely(entry & (size - 1) & ~UINT64_C(0x1fff)))
				return WALK_RESERVED;
			walk->rights = rights;
			walk->leaf = entry;
			walk->leaf_pointer = pointer;
			walk->leaf_gpa = gpa;
			walk->frame = entry & ENTRY_ADDRESS & ~(size - 1);
			walk->page_size = size;
			return WALK_DONE;
		}
		if (unlikely(!(entry & ENTRY_A)) && !(access & PAGING_PROBE)) {
			if (!entry_may_be_set(cpu, gpa, walk))
				return WALK_REFUSED;
			if (!entry_set_wide(cpu, pointer, entry, ENTRY_A))
				return WALK_AGAIN;
		}
		table = entry & ENTRY_ADDRESS;
		if (level == last) {
			walk->rights = rights;
			walk->frame = table;
			walk->page_size = 0;
			return WALK_DONE;
		}
	}
}

FOR_BOTH enum walk_result walk_long(struct cpu *cpu, bool second, uint64_t linear, unsigned access,
	unsigned last, struct walk *walk)
{
	return walk_wide(cpu, second, linear, access, cpu->cr3 & ENTRY_ADDRESS,
		cpu->cr4 & CR4_LA57 ? 5 : 4, last, walk);
}

/* The four registers that stand in for PAE's top level carry no rights, and were checked when
 * they were loaded. */
FOR_BOTH enum walk_result walk_pae(
	struct cpu *cpu, bool second, uint64_t linear, unsigned access, struct walk *walk)
{
	uint64_t pdpte = cpu->pdpte[(linear >> 30) & 3];

	if (!(pdpte & ENTRY_P))
		return WALK_NOT_PRESENT;
	return walk_wide(cpu, second, linear, access, pdpte & ENTRY_ADDRESS, 2, 1, walk);
}

static enum walk_outcome refused(const struct walk *walk, struct translation *out)
{
	out->first_stage_gpa = walk->refused_gpa;
	out->second_access = walk->refused_access;
	return SECOND_STAGE;
}

bool paging_pdptes_fit(const struct cpu *cpu, const uint64_t *pdpte)
{
	uint64_t reserved = UINT64_C(0x1e6) | ~(BIT(cpu->model->physical_bits) - 1);

	for (unsigned i = 0; i < 4; i++)
		if ((pdpte[i] & ENTRY_P) && (pdpte[i] & reserved))
			return false;
	return true;
}

bool paging_load_pdptes(struct cpu *cpu, uint64_t cr3)
{
	uint64_t pdpte[4];
	struct translation out = {0};
	struct walk walk;
	void *pointer;

	for (unsigned i = 0; i < 4; i++) {
		if (!entry_reach(
			    cpu, cpu->second_stage, (cr3 & 0xffffffe0) + i * 8, 0, &walk, &pointer))
			paging_raise(cpu, 0, refused(&walk, &out), &out);
		pdpte[i] = pointer ? atomic_load_explicit(
					     (_Atomic uint64_t *)pointer, memory_order_relaxed)
				   : OPEN_BUS;
	}
	if (!paging_pdptes_fit(cpu, pdpte))
		return false;
	for (unsigned i = 0; i < 4; i++)
		cpu->pdpte[i] = pdpte[i];
	return true;
}

unsigned paging_tables(struct cpu *cpu, uint64_t linear, uint32_t page[PAGING_LEVELS])
{
	uint64_t entry = cpu->cr3;
	unsigned count = 0;

	if (cpu->second_stage)
		return 0;
	for (unsigned level = cpu->cr4 & CR4_LA57 ? 5 : 4; level; level--) {
		uint64_t index = (linear >> (3 + 9 * level)) & 0x1ff;
		uint64_t gpa = (entry & ENTRY_ADDRESS) + index * 8;
		uint8_t *pointer = memory_ram_pointer(cpu->memory, gpa);

		if (!pointer)
			return 0;
		page[count++] = (uint32_t)memory_page_number(cpu->memory, pointer);
		entry = atomic_load_explicit(
			(_Atomic uint64_t *)(void *)pointer, memory_order_relaxed);
		if (!(entry & ENTRY_P) || (level <= 3 && (entry & ENTRY_PS)))
			break;
	}
	return count;
}

/* --- 2-level --- */

static uint32_t legacy_load(void *pointer)
{
	return pointer ? atomic_load_explicit((_Atomic uint32_t *)pointer, memory_order_relaxed)
		       : (uint32_t)OPEN_BUS;
}

/* A 4-MiB page's address: bits 31..22 in place, and by PSE-36 bits 39..32 in the entry's bits
 * 20..13. Bit 21, and those above MAXPHYADDR, are reserved (SDM vol. 3A table 4-4). */
static enum walk_result walk_4mib(const struct cpu *cpu, uint32_t entry, struct walk *walk)
{
	unsigned bits = MIN(cpu->model->physical_bits, 40u);
	uint64_t high = (uint64_t)bits_get(entry, 20, 13) << 32;

	if ((entry & BIT(21)) || (high >> bits))
		return WALK_RESERVED;
	walk->frame = high | (entry & 0xffc00000);
	walk->page_size = 4 * MIB;
	return WALK_DONE;
}

FOR_BOTH enum walk_result walk_legacy(
	struct cpu *cpu, bool second, uint64_t linear, unsigned access, struct walk *walk)
{
	uint64_t gpa = (cpu->cr3 & 0xfffff000) + bits_get(linear, 31, 22) * 4;
	uint32_t directory, entry;
	void *pointer;

	if (!entry_reach(cpu, second, gpa, access, walk, &pointer))
		return WALK_REFUSED;
	directory = entry = legacy_load(pointer);
	if (!(directory & ENTRY_P))
		return WALK_NOT_PRESENT;
	walk->rights = ENTRY_NX | (directory & (ENTRY_W | ENTRY_U | ENTRY_A));
	if (!(directory & ENTRY_PS) || !(cpu->cr4 & CR4_PSE)) {
		if (!(directory & ENTRY_A) && !(access & PAGING_PROBE)) {
			if (!entry_may_be_set(cpu, gpa, walk))
				return WALK_REFUSED;
			if (!entry_set_legacy(cpu, pointer, directory, ENTRY_A))
				return WALK_AGAIN;
		}
		gpa = (directory & 0xfffff000) + bits_get(linear, 21, 12) * 4;
		if (!entry_reach(cpu, second, gpa, access, walk, &pointer))
			return WALK_REFUSED;
		entry = legacy_load(pointer);
		if (!(entry & ENTRY_P))
			return WALK_NOT_PRESENT;
		walk->rights &= entry | ENTRY_NX;
		walk->frame = entry & 0xfffff000;
		walk->page_size = 4 * KIB;
	} else if (walk_4mib(cpu, entry, walk) == WALK_RESERVED) {
		return WALK_RESERVED;
	}
	walk->leaf = entry;
	walk->leaf_pointer = pointer;
	walk->leaf_gpa = gpa;
	return WALK_DONE;
}

/* --- the walk --- */

FOR_BOTH enum walk_result walk_mode(
	struct cpu *cpu, bool second, uint64_t linear, unsigned access, struct walk *walk)
{
	if (likely(cpu->efer & EFER_LMA))
		return walk_long(cpu, second, linear, access, 1, walk);
	if (cpu->cr4 & CR4_PAE)
		return walk_pae(cpu, second, linear, access, walk);
	return walk_legacy(cpu, second, linear, access, walk);
}

static __attribute__((noinline)) enum walk_result walk_second(
	struct cpu *cpu, uint64_t linear, unsigned access, struct walk *walk)
{
	return walk_mode(cpu, true, linear, access, walk);
}

static bool set_leaf(struct cpu *cpu, const struct walk *walk, unsigned bits)
{
	if (cpu_long_mode(cpu) || (cpu->cr4 & CR4_PAE))
		return entry_set_wide(cpu, walk->leaf_pointer, walk->leaf, bits);
	return entry_set_legacy(cpu, walk->leaf_pointer, (uint32_t)walk->leaf, bits);
}

static enum walk_outcome identity(
	struct cpu *cpu, uint64_t linear, unsigned access, struct translation *out)
{
	*out = (struct translation){
		.first_stage_gpa = linear,
		.page_size = PAGE_SIZE,
		.can_read = true,
		.can_write = true,
		.can_fetch = true,
		.user = true,
		.accessed = true,
	};
	return page_reach(cpu, access, out);
}

enum walk_outcome paging_walk(
	struct cpu *cpu, uint64_t linear, unsigned access, struct translation *out)
{
	enum walk_outcome outcome;
	struct walk walk;
	unsigned set;

	if (!(cpu->cr0 & CR0_PG))
		return identity(cpu, (uint32_t)linear, access, out);
	if (unlikely(cpu_long_mode(cpu) && !cpu_canonical(cpu, linear)))
		return fault(cpu, out, access, 0);
	for (;;) {
		enum walk_result result = likely(cpu->second_stage == NULL)
						  ? walk_mode(cpu, false, linear, access, &walk)
						  : walk_second(cpu, linear, access, &walk);

		if (unlikely(result == WALK_AGAIN))
			continue;
		if (unlikely(result == WALK_NOT_PRESENT))
			return fault(cpu, out, access, 0);
		if (unlikely(result == WALK_RESERVED))
			return fault(cpu, out, access, PF_PRESENT | PF_RESERVED);
		if (unlikely(result == WALK_REFUSED))
			return refused(&walk, out);
		outcome = permit(cpu, &walk, linear, access, out, &set);
		if (unlikely(outcome != WALKED))
			return outcome;
		/* Before the bits are set: D only where the write can be done. */
		outcome = page_reach(cpu, access, out);
		if (unlikely(outcome != WALKED) || likely((walk.leaf & set) == set))
			return outcome;
		if (!entry_may_be_set(cpu, walk.leaf_gpa, &walk))
			return refused(&walk, out);
		if (set_leaf(cpu, &walk, set))
			return WALKED;
	}
}

bool paging_look(struct cpu *cpu, uint64_t linear, uint64_t *gpa)
{
	struct translation out;
	enum walk_result result;
	struct walk walk;

	if (!cpu_long_mode(cpu))
		linear = (uint32_t)linear;
	else if (!cpu_canonical(cpu, linear))
		return false;
	if (!(cpu->cr0 & CR0_PG)) {
		walk.frame = linear & PAGE_MASK;
		walk.page_size = PAGE_SIZE;
	} else {
		result = cpu->second_stage ? walk_second(cpu, linear, PAGING_PROBE, &walk)
					   : walk_mode(cpu, false, linear, PAGING_PROBE, &walk);
		if (result != WALK_DONE)
			return false;
	}
	out = (struct translation){.page_size = walk.page_size, .can_read = true};
	out.first_stage_gpa = walk.frame | (linear & (walk.page_size - 1));
	if (page_reach(cpu, PAGING_PROBE, &out) != WALKED)
		return false;
	*gpa = out.gpa;
	return true;
}

/* --- many pages at one moment --- */

bool paging_find_user_table(
	struct cpu *cpu, uint64_t linear, unsigned key, struct paging_table *table)
{
	const uint64_t every = ENTRY_P | ENTRY_U | ENTRY_A | (uint64_t)key << 59;
	struct translation best;
	struct walk walk;
	unsigned set;

	if (!(cpu->cr0 & CR0_PG) || !cpu_long_mode(cpu) || cpu->second_stage ||
		!cpu_canonical(cpu, linear) ||
		walk_long(cpu, false, linear, PAGING_PROBE, 2, &walk) != WALK_DONE ||
		walk.page_size != 0)
		return false;
	table->entry = (const void *)memory_ram_pointer(cpu->memory, walk.frame);
	if (!table->entry)
		return false;
	/* What the entries above leave of an entry that allows all. */
	walk.leaf = every | ENTRY_W | ENTRY_D;
	walk.page_size = PAGE_SIZE;
	if (permit(cpu, &walk, linear, PAGING_USER | PAGING_PROBE, &best, &set) != WALKED ||
		!best.accessed)
		return false;
	table->test = every | ENTRY_KEYS | reserved_wide(cpu);
	table->good = every;
	table->writable = best.can_write ? ENTRY_W | ENTRY_D : 0;
	table->global = cpu->cr4 & CR4_PGE ? ENTRY_G : 0;
	return true;
}

_Noreturn void paging_raise(
	struct cpu *cpu, uint64_t linear, enum walk_outcome outcome, const struct translation *out)
{
	if (outcome == SECOND_STAGE)
		cpu->second_stage->leave(cpu, linear, out);
	cpu_raise_page_fault(cpu, linear, out->error);
}
