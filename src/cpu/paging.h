/* The page-table walk: linear to guest-physical (SDM vol. 3A chapter 4). */
#ifndef VENEER_CPU_PAGING_H
#define VENEER_CPU_PAGING_H

#include "cpu/cpu.h"

/* What an access is; also the bits of a page-fault error code where they agree. */
enum paging_access {
	PAGING_WRITE = 1 << 1, /* PF_W */
	PAGING_USER = 1 << 2,  /* PF_U: made with CPL 3 authority */
	PAGING_FETCH = 1 << 4, /* PF_I */
	PAGING_IMPLICIT =
		1 << 8, /* supervisor access to a system structure: AC does not suspend SMAP */
	PAGING_PROBE = 1 << 9, /* set no A or D bits */
	PAGING_TABLE =
		1 << 10, /* only to a second stage: the walk itself, at an entry of a table */
};

#define PF_PRESENT  BIT(0)
#define PF_WRITE    BIT(1)
#define PF_USER     BIT(2)
#define PF_RESERVED BIT(3)
#define PF_FETCH    BIT(4)
#define PF_PK       BIT(5)

/* How a walk ended. */
enum walk_outcome {
	WALKED,
	PAGE_FAULT,   /* the page tables forbid it: translation.error */
	SECOND_STAGE, /* the second stage forbids it: translation.first_stage_gpa, .second_access */
};

struct translation {
	uint64_t gpa; /* of the address asked for: what memory/ knows it by */
	/* What the page tables say, where a second stage of translation (EPT) goes on from there;
	 * else the same as `gpa`. After SECOND_STAGE: what was refused, be it the page or an entry
	 * of a table. */
	uint64_t first_stage_gpa;
	/* 4 KiB, 2 MiB, 4 MiB or 1 GiB, the smaller one of both stages; 4 KiB where paging is off
	 */
	uint64_t page_size;
	/* What else may be done through this translation under the same view, with no further walk:
	 */
	bool can_read, can_write, can_fetch; /* can_write only if D is set already */
	bool user;                           /* U/S of the whole walk */
	bool global;
	uint8_t key;   /* protection key, of a page of IA-32e paging */
	bool accessed; /* A is set in every entry passed; only after PAGING_PROBE can it be clear */
	uint32_t error;         /* after PAGE_FAULT: its error code */
	unsigned second_access; /* after SECOND_STAGE: what it refused, enum paging_access */
};

/* A second stage of translation below the page tables, as EPT is (SDM vol. 3C 29.3): what they call
 * physical addresses are its input. cpu->second_stage; NULL: there is none. */
struct second_stage {
	/* Translate out->first_stage_gpa for `access` (PAGING_WRITE, PAGING_FETCH, else a read;
	 * with PAGING_TABLE, PAGING_PROBE). True: out->gpa is set; out->page_size, can_read,
	 * can_write and can_fetch, which say what the page tables do, are made smaller where this
	 * stage does less. False: refused, nothing is changed. */
	bool (*translate)(struct cpu *cpu, unsigned access, struct translation *out);
	/* Called when a refusal has to leave the guest (a VM exit). State is as before the
	 * instruction. */
	void (*leave)(struct cpu *cpu, uint64_t linear, const struct translation *refused)
		__attribute__((noreturn));
};

/* Translate. Sets accessed bits, and the dirty bit for a write, atomically. A page table that lies
 * outside RAM reads as all ones does on a real bus: a reserved-bit or not-present fault as its bits
 * fall. Linear must be canonical (else PAGE_FAULT, error without P). */
enum walk_outcome paging_walk(
	struct cpu *cpu, uint64_t linear, unsigned access, struct translation *out);

/* Where the page tables have `linear`, whoever may access it; for debuggers. Sets no bits. False:
 * nowhere. */
bool paging_look(struct cpu *cpu, uint64_t linear, uint64_t *gpa);

/* A table of 4-KiB pages, and what the entries above it and PKRU leave of the rights in its
 * entries, for user code and pages of one protection key.
 * Where many pages are looked up at one moment, the walk to their table is made once. So does a
 * processor with its paging-structure caches (SDM vol. 3A 4.10.3); but what stands here is to be
 * forgotten when the vCPU runs on, for nobody tells of changes. */
struct paging_table {
	const _Atomic uint64_t *entry; /* 512 */
	uint64_t test, good;           /* user code may read where entry & test == good */
	uint64_t writable;             /* bits that must all be set for writing; 0: nowhere */
	uint64_t global;
};
#define PAGING_ENTRY_ADDRESS UINT64_C(0x000ffffffffff000)

struct paging_page {
	uint64_t gpa;
	bool can_write, global; /* as in struct translation */
};

/* Find the table that has the page of `linear`, and sets no bits. False: user code may read no page
 * with this key there, or only paging_walk() can tell. */
bool paging_find_user_table(
	struct cpu *cpu, uint64_t linear, unsigned key, struct paging_table *table);

/* Look the page of `linear` up in that table. True: paging_walk() as PAGING_USER | PAGING_PROBE
 * would end in WALKED, with `accessed`, the table's key and this page of 4 KiB. */
static inline bool paging_look_up(
	const struct paging_table *table, uint64_t linear, struct paging_page *page)
{
	uint64_t entry = atomic_load_explicit(
		&table->entry[linear >> PAGE_SHIFT & 0x1ff], memory_order_relaxed);

	page->gpa = entry & PAGING_ENTRY_ADDRESS;
	page->can_write = table->writable && !(~entry & table->writable);
	page->global = entry & table->global;
	return (entry & table->test) == table->good;
}

#define PAGING_LEVELS 5

/* The pages (of RAM: memory_page_number()) that a walk in IA-32e mode reads entries of, from the
 * root down to the entry that maps `linear` or says that nothing does. Returns how many; 0 where
 * one is not in RAM, or there is a second stage, whose tables would be missing. Sets no bits. */
unsigned paging_tables(struct cpu *cpu, uint64_t linear, uint32_t page[PAGING_LEVELS]);

/* Raise what a walk that ended in `outcome` (not WALKED) calls for. */
_Noreturn void paging_raise(
	struct cpu *cpu, uint64_t linear, enum walk_outcome outcome, const struct translation *out);

/* Load the four PDPTEs for PAE paging from cr3; false where a reserved bit is set (then #GP).
 * Raises what a second stage says of them. */
bool paging_load_pdptes(struct cpu *cpu, uint64_t cr3);
/* Could it have loaded these four? */
bool paging_pdptes_fit(const struct cpu *cpu, const uint64_t *pdpte);

#endif
