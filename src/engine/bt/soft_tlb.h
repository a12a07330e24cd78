/* The soft TLB. */
#ifndef VENEER_ENGINE_BT_SOFT_TLB_H
#define VENEER_ENGINE_BT_SOFT_TLB_H

#include "engine/bt/bt.h"

/* Empty. */
void soft_tlb_init(struct bt *bt);

/* The page at `linear` is RAM, and the byte at `linear` is at `host`. `global`: the entry survives
 * a change of address space. */
void soft_tlb_fill(struct bt *bt, enum tlb_view view, uint64_t linear, const void *host,
	bool writable, bool global);

/* The guest flushed translations. */
void soft_tlb_flush(struct bt *bt, enum tlb_flush what, uint64_t linear);

#endif
