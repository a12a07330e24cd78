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
};

#define PF_PRESENT  BIT(0)
#define PF_WRITE    BIT(1)
#define PF_USER     BIT(2)
#define PF_RESERVED BIT(3)
#define PF_FETCH    BIT(4)
#define PF_PK       BIT(5)

struct translation {
	uint64_t gpa;       /* of the address asked for */
	uint64_t page_size; /* 4 KiB, 2 MiB, 4 MiB or 1 GiB; 4 KiB where paging is off */
	/* What else may be done through this translation under the same view, with no further walk:
	 */
	bool can_read, can_write, can_fetch; /* can_write only if D is set already */
	bool user;                           /* U/S of the whole walk */
	bool global;
	bool accessed; /* A is set in every entry passed; only after PAGING_PROBE can it be clear */
	uint32_t error; /* page-fault error code where the walk failed */
};

/* Translate. Sets accessed bits, and the dirty bit for a write, atomically. 0, or -1 with
 * out->error. A page table that lies outside RAM reads as all ones does on a real bus: a
 * reserved-bit or not-present fault as its bits fall. Linear must be canonical (else -1, error
 * without P). */
int paging_walk(struct cpu *cpu, uint64_t linear, unsigned access, struct translation *out);

/* Load the four PDPTEs for PAE paging from cr3; false where a reserved bit is set (then #GP). */
bool paging_load_pdptes(struct cpu *cpu, uint64_t cr3);

#endif
