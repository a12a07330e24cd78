/* Windows: shadow page tables made of the host's own mappings.
 *
 * A window is 512 GiB of the monitor's address space, reserved and empty, that shows one slot (512
 * GiB) of a guest's linear address space: linear address + delta = host address. A guest page is
 * entered by mapping the RAM memfd there (MAP_SHARED | MAP_FIXED). So the host's MMU does the
 * guest's paging, and what the guest may not reach is not mapped. On both sides of each window lies
 * a guard of WINDOW_GUARD bytes, where nothing is ever mapped, so that an address that was checked
 * once may change by less than that and needs no second check. Windows of neighbouring slots at one
 * delta (window_home.c) touch, with guards around all of them: what leaves one has the other's
 * addresses, as in the guest.
 *
 * Each vCPU has its own windows. They hold what a TLB may hold (SDM vol. 3A 4.10): a page goes in
 * after a walk of the guest's page tables that set A (and D, where it goes in writable), and leaves
 * when the guest flushes it. All address spaces of a vCPU share the windows of the upper half
 * (slots 256..511 as canonical addresses). A window of the lower half belongs to a `space`; there
 * is one for each root of page tables seen lately. A space has the PCID that it was last used with,
 * and under another PCID its pages are in doubt. */
#ifndef VENEER_ENGINE_BT_WINDOW_H
#define VENEER_ENGINE_BT_WINDOW_H

#include "engine/bt/bt.h"

/* Limits, for tests; 0 is the default. Read by windows_create(), host_mappings always. */
extern struct windows_limits {
	unsigned windows, spaces;
	uint32_t records;       /* of mappings, a vCPU */
	uint32_t host_mappings; /* in the whole process; default: what vm.max_map_count leaves */
	uint32_t blocks;        /* of 2 MiB that may have page tables, in the whole process */
} windows_limits;

#define WINDOW_SIZE  (UINT64_C(1) << SLOT_SHIFT)
#define WINDOW_GUARD (UINT64_C(64) << 30)

/* What a slot without a window adds to an address: the sum lies in "nowhere", a window with its
 * guards that is reserved for that and in which nothing is ever mapped, so that any access faults.
 * Every slot that bits 39 to 54 of an address can name has such a delta, also a slot of no
 * canonical address. Bits 55 to 63 stay in the sum as far as they differ from bit 54: it is not
 * canonical then, or names a part of a 57-bit address space that Linux gives only to those that ask
 * for it. A processor that ignores the upper bits for a while (some do, before the fault comes)
 * sees an address in nowhere. Call it only after windows_create() has succeeded once. */
uint64_t windows_no_delta(uint16_t slot);

/* bt->delta[0] (user view: lower-half slots only) and bt->delta[1] (supervisor view: upper-half
 * slots only) are filled here and kept right by everything below. Returns 0; -ENOSPC where the
 * address space is too small for so many vCPUs' windows (more than 42); or -ENOMEM where the host
 * has no memory or no address space for them, which a warning says once. */
int windows_create(struct bt *bt);
void windows_destroy(struct bt *bt);

/* Bring the windows in step with the vCPU's address space and with what was flushed. Call it each
 * time before translated code runs in window mode; it is cheap where nothing has changed. It may
 * change deltas, so what was computed from them (bt->run.stack_delta) must be computed again after
 * it.
 *
 * Pages that a flush has put in doubt are looked up again in the page tables as late as possible:
 * those of the lower half when user code is about to run (CPL is 3 here, or user code makes its
 * first access). Until then the slots of the lower half have no window. */
void windows_use_space(struct bt *bt);

/* Has the current space windows? A space begins young: its user code runs on the soft TLB. The run
 * loop calls windows_mature() when much code has run there. */
bool windows_is_mature(struct bt *bt);
void windows_mature(struct bt *bt);

/* Has the current space a home zone, whose delta is bt->zone_delta[ZONE_HOME]? */
bool windows_have_home(const struct bt *bt);
/* Is there a place for this slot in it? Where a slot has a window, bt->zone tells. */
bool windows_home_has(const struct bt *bt, uint16_t slot);

/* Find the linear address that a host address in one of this vCPU's windows stands for. False: the
 * address is in no window (a guard is none). */
bool windows_linear(const struct bt *bt, uintptr_t host, uint64_t *linear);

/* An instruction of the guest has faulted at `linear` in a window. Called from a signal handler, on
 * the vCPU's thread, with no lock held. True: it was a hidden fault, the page is mapped now, and
 * the instruction can run again. False: let the interpreter run it (a true fault, MMIO, a store to
 * a page that holds code, a page not worth mapping yet). Raises nothing. Counts hidden_faults and
 * true_faults.
 *
 * After true the slot may have a window that it had not before. Host addresses in it that were
 * computed from the old delta must be computed again. Deltas of other slots have not changed: where
 * another window had to be taken away the answer is false, so that translated code is left. */
bool windows_fault(struct bt *bt, uint64_t linear, bool write, bool user);

/* The guest flushed translations (struct cpu_engine_ops's tlb_flushed). windows_use_space()
 * comes after it. */
void windows_flush(struct bt *bt, const struct tlb_request *request);

/* Pages [page, page + count) have got a flag (memory/memory.h), so make them read-only in all
 * windows of this vCPU. Called on any thread, also with memory->lock held. When it returns no store
 * through a window can reach the pages unnoticed. */
void windows_protect(struct bt *bt, uint64_t page, uint64_t count);

/* Unmap the pages in all windows of this vCPU. Called as windows_protect() is. */
void windows_revoke(struct bt *bt, uint64_t page, uint64_t count);

#endif
