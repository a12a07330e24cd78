/* The soft TLB: exits fill it (serve.c), translated code reads it (operand.c), and the guest's
 * flushes empty what they name. The entries that are not global are listed, so that a change of
 * address space empties only those. */
#include "engine/bt/soft_tlb.h"
#include "engine/options.h"

static void empty_view(struct bt *bt, enum tlb_view view)
{
	struct soft_tlb *tlb = &bt->soft_tlb[view];

	for (unsigned i = 0; i < SOFT_TLB_SIZE; i++)
		tlb->minus_read[i] = tlb->minus_write[i] = SOFT_TLB_EMPTY(i);
	tlb->local_count = 0;
}

void soft_tlb_init(struct bt *bt)
{
	for (unsigned view = 0; view < TLB_VIEWS; view++)
		empty_view(bt, view);
}

void soft_tlb_fill(struct bt *bt, enum tlb_view view, uint64_t linear, const void *host,
	bool writable, bool global)
{
	struct soft_tlb *tlb = &bt->soft_tlb[view];
	unsigned index = (linear >> PAGE_SHIFT) & (SOFT_TLB_SIZE - 1);

	tlb->minus_read[index] = -(linear & PAGE_MASK);
	tlb->minus_write[index] = writable ? -(linear & PAGE_MASK) : SOFT_TLB_EMPTY(index);
	tlb->addend[index] =
		(uintptr_t)host - (bt->options.hardened ? linear & ~PAGE_MASK : linear);
	if (global)
		return;
	if (tlb->local_count < SOFT_TLB_SIZE)
		tlb->local[tlb->local_count] = (uint16_t)index;
	tlb->local_count += tlb->local_count <= SOFT_TLB_SIZE;
}

static void empty_entry(struct soft_tlb *tlb, unsigned index)
{
	tlb->minus_read[index] = tlb->minus_write[index] = SOFT_TLB_EMPTY(index);
}

void soft_tlb_flush(struct bt *bt, enum tlb_flush what, uint64_t linear)
{
	bool all = what == TLB_FLUSH_ALL || what == TLB_FLUSH_LARGE_PAGE || what == TLB_FLUSH_KEYS;

	if (what == TLB_FLUSH_PCID)
		return;
	for (unsigned view = 0; view < TLB_VIEWS; view++) {
		struct soft_tlb *tlb = &bt->soft_tlb[view];

		if (what == TLB_FLUSH_PAGE) {
			empty_entry(tlb, (linear >> PAGE_SHIFT) & (SOFT_TLB_SIZE - 1));
		} else if (all || tlb->local_count > SOFT_TLB_SIZE) {
			empty_view(bt, view);
		} else {
			for (unsigned i = 0; i < tlb->local_count; i++)
				empty_entry(tlb, tlb->local[i]);
			tlb->local_count = 0;
		}
	}
}
