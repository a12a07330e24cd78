/* Windows: shadow page tables made of the host's own mappings.
 *
 * A window is 512 GiB of the monitor's address space, reserved and empty, that shows one slot (512
 * GiB) of a guest's linear address space: linear address + delta = host address. A guest page is
 * entered by mapping the RAM memfd there (MAP_SHARED | MAP_FIXED); so the host's MMU does the
 * guest's paging, and what the guest may not reach is simply not mapped. Around each window lies a
 * guard (WINDOW_GUARD on both sides, nothing is ever mapped there), so that an address checked once
 * may drift.
 *
 * Per vCPU. The windows hold what a TLB may hold (SDM vol. 3A 4.10): a page goes in after a walk
 * of the guest's page tables that set A (and D, where it goes in writable), and leaves when the
 * guest flushes it. The upper half (slots 256..511 as canonical addresses) is shared by all of a
 * vCPU's address spaces; lower-half windows belong to a `space`, one for each root of page tables
 * seen lately. A space bears the PCID it was last used with, and what another PCID finds in it is
 * in doubt. */
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
 * All slots that bits 39 to 54 of an address can name have such a delta, also those of no canonical
 * address. Bits 55 to 63 stay in the sum as far as they differ from bit 54: it is not canonical
 * then, or names a part of a 57-bit address space that Linux gives only to those that ask for it.
 * A processor that ignores the upper bits for a while (some do, before the fault comes) sees an
 * address in nowhere. Only after windows_create() has succeeded once. */
uint64_t windows_no_delta(uint16_t slot);

/* bt->delta[0] (user view: lower-half slots only) and bt->delta[1] (supervisor view: upper-half
 * slots only) are filled here and kept right by everything below. 0; -ENOSPC where the address
 * space is too small for so many vCPUs' windows (more than 42); or -ENOMEM where the host has no
 * memory or no address space for them, and that is said in a warning, once. */
int windows_create(struct bt *bt);
void windows_destroy(struct bt *bt);

/* Bring the windows in step with CR3 and with what was flushed. Call it each time before translated
 * code runs in window mode; it is cheap where nothing has changed. It may change deltas, so what
 * was computed from them (bt->run.stack_delta) must be computed again after it.
 *
 * What a flush put in doubt is looked up again in the page tables, late: the lower half, when user
 * code is about to run (CPL 3 here, or its first access). Till then its slots have no window. */
void windows_use_space(struct bt *bt);

/* Is the current space worth windows? A space begins young: its user code runs on the soft TLB.
 * The run loop calls windows_mature() when code there has proved hot. */
bool windows_is_mature(struct bt *bt);
void windows_mature(struct bt *bt);

/* The linear address behind a host address in one of this vCPU's windows (not the guards); false:
 * none. */
bool windows_linear(const struct bt *bt, uintptr_t host, uint64_t *linear);

/* A fault at `linear` in a window, by an instruction of the guest. Called from a signal handler, on
 * the vCPU's thread, with no lock held. True: a hidden fault, mapped now, run the instruction
 * again. False: let the interpreter run it (a true fault, MMIO, a store to a page that holds code,
 * a page not worth mapping yet). Never raises. Counts hidden_faults and true_faults.
 *
 * After true, the slot may have got a window: host addresses that were computed before may have no
 * window's delta in them, and must be computed again. Deltas of other slots are as they were: where
 * another window had to be taken away the answer is false, so that translated code is left. */
bool windows_fault(struct bt *bt, uint64_t linear, bool write, bool user);

/* The guest flushed translations (struct cpu_engine_ops's tlb_flushed). windows_use_space()
 * comes after it. */
void windows_flush(struct bt *bt, const struct tlb_request *request);

/* Pages [page, page + count) have got a flag (memory/memory.h): no window of this vCPU may stay
 * writable there. Called on any thread, also with memory->lock held; on return no store through a
 * window can reach the pages unnoticed. */
void windows_protect(struct bt *bt, uint64_t page, uint64_t count);

/* The pages may not be reached through any window. Called as windows_protect() is. */
void windows_revoke(struct bt *bt, uint64_t page, uint64_t count);

#endif
