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

#endif
