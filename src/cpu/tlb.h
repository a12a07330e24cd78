/* What tlb.c and access.c share about TLB entries. Flushing is declared in access.h. */
#ifndef VENEER_CPU_TLB_H
#define VENEER_CPU_TLB_H

#include "cpu/paging.h"

enum tlb_attributes {
	TLB_GLOBAL = 1,
	TLB_SIZE_SHIFT = 1, /* 0: 4 KiB, 1: 2 MiB, 2: 4 MiB, 3: 1 GiB */
	TLB_SIZE_MASK = 3 << TLB_SIZE_SHIFT,
};

/* Enter a translation of `linear`, whose page is RAM at `host` (page-aligned), for a view. */
void tlb_enter(struct cpu *cpu, enum tlb_view view, uint64_t linear, const struct translation *page,
	uint8_t *host);

/* Register for revoked pages; memory_unlisten() undoes it. */
void tlb_listen(struct cpu *cpu);

static inline enum tlb_view tlb_current_view(const struct cpu *cpu)
{
	return (enum tlb_view)((cpu->tlb - &cpu->tlb_views[0][0]) / TLB_SIZE);
}

/* Is the entry in this address's place, under the current view, of a global page? */
static inline bool tlb_is_global(const struct cpu *cpu, uint64_t linear)
{
	return cpu->tlb_attributes[tlb_current_view(cpu)][(linear >> PAGE_SHIFT) & (TLB_SIZE - 1)] &
	       TLB_GLOBAL;
}

/* Has code at `linear` just been fetched from a global page? */
static inline bool tlb_fetched_globally(const struct cpu *cpu, uint64_t linear)
{
	return cpu->tlb[(linear >> PAGE_SHIFT) & (TLB_SIZE - 1)].fetch == (linear & PAGE_MASK) &&
	       tlb_is_global(cpu, linear);
}

#endif
