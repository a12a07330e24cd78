/* Reading and writing guest memory by linear address, as the processor does it: through the TLB
 * and the page tables, raising #PF where they say so, across pages, to RAM or to device registers.
 *
 * The inline functions are the fast path that the interpreter's instructions contain; everything
 * else goes through access_load() and access_store(). */
#ifndef VENEER_CPU_ACCESS_H
#define VENEER_CPU_ACCESS_H

#include "cpu/cpu.h"

/* On whose authority an access is made. Implicit accesses to descriptor tables and TSSs are
 * supervisor accesses whatever CPL is (SDM vol. 3A 4.6.1). */
enum access_mode {
	ACCESS_SUPERVISOR, /* implicit: SMAP holds even with EFLAGS.AC set */
	ACCESS_USER,
	ACCESS_PROGRAM, /* the program's own, as CPL and EFLAGS.AC are now */
};

/* Load or store 1..8 bytes, any alignment. Raises #PF (nothing stored then). A store returns true
 * where it hit code that an engine has decoded; see access_written(). */
uint64_t access_load(struct cpu *cpu, uint64_t linear, unsigned size, enum access_mode mode);
bool access_store(
	struct cpu *cpu, uint64_t linear, uint64_t value, unsigned size, enum access_mode mode);
/* Copy any number of bytes; for descriptors, FXSAVE images and the like. Raises #PF; for writes
 * all pages are checked first, so that either all or nothing is stored. */
void access_read(
	struct cpu *cpu, uint64_t linear, void *buffer, unsigned size, enum access_mode mode);
bool access_write(
	struct cpu *cpu, uint64_t linear, const void *buffer, unsigned size, enum access_mode mode);
/* Raise #PF now if a later store of these bytes would. */
void access_probe_write(struct cpu *cpu, uint64_t linear, unsigned size, enum access_mode mode);

/* Host pointer for a data access by the program at CPL (view as now), or NULL where it crosses a
 * page, is MMIO, or has a data breakpoint. `size` up to 64. Raises #PF. After a write through it,
 * call access_written(). */
void *access_pointer(struct cpu *cpu, uint64_t linear, unsigned size, bool write);
/* The same for one byte that will be written, but not NULL for a data breakpoint: the caller calls
 * debug_check_access(), too. */
void *access_watched_pointer(struct cpu *cpu, uint64_t linear);

/* For a locked instruction of the program: a host pointer at which the operand lies in one piece,
 * also where it crosses from one page into the next, or has a data breakpoint, for the host's
 * locked instruction to work on. Raises #PF. NULL: a device's page, a ROM, or the host refuses
 * (which is logged once). After the write through it, access_locked_written() takes the place of
 * access_written(). */
void *access_locked_pointer(struct cpu *cpu, uint64_t linear, unsigned size);
bool access_locked_written(struct cpu *cpu, uint64_t linear, unsigned size);
/* What is left, where there is no pointer: call `work`, which loads and stores, while no other vCPU
 * of the machine does such work. `work` may raise. */
void access_locked_work(
	struct cpu *cpu, void (*work)(struct cpu *cpu, const void *opaque), const void *opaque);

/* First half of the program's read-modify-write that has no host pointer: raises what the write
 * would, then loads. */
uint64_t access_load_for_update(struct cpu *cpu, uint64_t linear, unsigned size);

/* TLB hit for [linear, linear+size) under the current view? A crossing access misses, because the
 * page of its last byte has another index. */
static inline struct tlb_entry *access_tlb(struct cpu *cpu, uint64_t linear)
{
	return &cpu->tlb[(linear >> PAGE_SHIFT) & (TLB_SIZE - 1)];
}

/* After a store through a host pointer to RAM: has its page flags, such as PAGE_CODE? */
static inline bool access_flagged(const struct cpu *cpu, const void *pointer)
{
	atomic_signal_fence(memory_order_seq_cst);
	return atomic_load_explicit(
		(_Atomic uint8_t *)(cpu->page_flags_biased + ((uintptr_t)pointer >> PAGE_SHIFT)),
		memory_order_relaxed);
}

/* A page with flags was just stored to through a host pointer: see memory_written(). True: code in
 * it was dropped, and the running block may be stale. */
bool access_written_slow(struct cpu *cpu, void *pointer, unsigned size);
static inline bool access_written(struct cpu *cpu, void *pointer, unsigned size)
{
	if (likely(!access_flagged(cpu, pointer)))
		return false;
	return access_written_slow(cpu, pointer, size);
}

/* Flush what memory_revoke() asked the vCPU to forget. On its thread, between two instructions. */
void tlb_catch_up(struct cpu *cpu);

/* TLB maintenance. They promise what the architecture's instructions do, or more. */
void tlb_flush_all(struct cpu *cpu); /* global pages too */
void tlb_flush_non_global(struct cpu *cpu);
void tlb_flush_keys(struct cpu *cpu, uint32_t changed); /* these bits of PKRU */
void tlb_flush_page(struct cpu *cpu, uint64_t linear);
void tlb_switch_space(struct cpu *cpu); /* a CR3 write that flushes nothing */
/* The PCID is not the current one, or TLB_EVERY_PCID. */
void tlb_flush_pcid(struct cpu *cpu, struct address_space space);

/* Host pointer to the code byte at `linear` for fetching, valid to the page's end; raises #PF.
 * NULL: not RAM or ROM. */
const uint8_t *access_fetch(struct cpu *cpu, uint64_t linear);

/* Data breakpoints armed in DR7 (cpu/debug.c): pages that hold one stay out of the TLB. */
bool debug_page_watched(const struct cpu *cpu, uint64_t page);
void debug_check_access(struct cpu *cpu, uint64_t linear, unsigned size, bool write);

#endif
