/* The soft TLB. */
#ifndef VENEER_ENGINE_BT_SOFT_TLB_H
#define VENEER_ENGINE_BT_SOFT_TLB_H

#include "engine/bt/bt.h"

/* Empty all entries. */
void soft_tlb_init(struct bt *bt);

/* Enter the page of `linear`. It is RAM, and the byte at `linear` is at `host`. `global`: the entry
 * survives a change of address space. */
void soft_tlb_fill(struct bt *bt, enum tlb_view view, uint64_t linear, const void *host,
	bool writable, bool global);

/* The guest has flushed translations: empty the entries that the flush names. `linear` counts for
 * TLB_FLUSH_PAGE only. */
void soft_tlb_flush(struct bt *bt, enum tlb_flush what, uint64_t linear);

#endif
