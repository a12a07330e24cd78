/* One virtual CPU: its architected state (cpu_state.h), what is needed to run it, and what every
 * engine and device may do with it.
 *
 * All engines share this struct. What an engine needs besides (decoded code, translations) hangs
 * off `engine_state`. The first cache lines are what an interpreter touches for every instruction.
 *
 * Only the vCPU's own thread may touch it, with two exceptions: any thread may change `pending` and
 * `attention`, which are atomic; and while the vCPU is stopped, another thread may touch all of
 * it. */
#ifndef VENEER_CPU_CPU_H
#define VENEER_CPU_CPU_H

#include "base/bits.h"
#include "cpu/address_space.h"
#include "cpu/cpu_model.h"
#include "cpu/cpu_state.h"
#include "host/clock.h"
#include "host/low_memory.h"
#include "memory/memory.h"

#include <setjmp.h>
#include <stdatomic.h>

enum vector {
	VECTOR_DE = 0,
	VECTOR_DB = 1,
	VECTOR_NMI = 2,
	VECTOR_BP = 3,
	VECTOR_OF = 4,
	VECTOR_BR = 5,
	VECTOR_UD = 6,
	VECTOR_NM = 7,
	VECTOR_DF = 8,
	VECTOR_TS = 10,
	VECTOR_NP = 11,
	VECTOR_SS = 12,
	VECTOR_GP = 13,
	VECTOR_PF = 14,
	VECTOR_MF = 16,
	VECTOR_AC = 17,
	VECTOR_MC = 18,
	VECTOR_XM = 19,
};

/* The software TLB: virtual page to host address, direct mapped, one array per way of looking at
 * the page tables (a "view"). A tag is the page's linear address, or TLB_INVALID; a write tag is
 * only set once the page's dirty bit is. Pages that are MMIO, or hold a data breakpoint, are never
 * entered, so every access to them takes the slow path. */
#define TLB_BITS    10
#define TLB_SIZE    (1u << TLB_BITS)
#define TLB_INVALID UINT64_C(1)

#define TLB_RECENT 512

/* What an engine is told by tlb_flushed(). The soft TLB's entries carry no PCID, so it drops
 * more than the guest asked for; an engine whose own cache does tell address spaces apart may do
 * just what was asked. */
enum tlb_flush {
	TLB_FLUSH_ALL,
	TLB_FLUSH_NON_GLOBAL, /* of `space` */
	TLB_FLUSH_SPACE_KEPT, /* CR3 was written, and all that is cached may stay: for the soft TLB
				 the same as NON_GLOBAL */
	TLB_FLUSH_PAGE,       /* `linear`, in `space`, and global */
	TLB_FLUSH_LARGE_PAGE, /* the same, but there are large pages near: a cache that does not
				 record page sizes must treat it as ALL */
	TLB_FLUSH_KEYS, /* in every space, what the protection keys in `keys` qualify: PKRU was
				 written. A cache that does not record keys must treat it as ALL,
				 except for fetches, which keys do not qualify */
	TLB_FLUSH_PCID, /* what is not global of `space`, which is not the current one; its
				 PCID may be TLB_EVERY_PCID; the soft TLB keeps what it has */
};
#define TLB_EVERY_PCID 0x1000

struct tlb_request {
	enum tlb_flush what;
	struct address_space space; /* the current one, but for TLB_FLUSH_PCID: of that, the tag */
	uint64_t linear;            /* of a page */
	uint16_t keys;              /* TLB_FLUSH_KEYS: a bit each */
};

enum tlb_view {
	TLB_SUPERVISOR,    /* SMAP in force; also what implicit system accesses use */
	TLB_SUPERVISOR_AC, /* EFLAGS.AC set: SMAP suspended */
	TLB_USER,
	TLB_USER_ALIGNED, /* CR0.AM and EFLAGS.AC at CPL 3: never filled, so that every access is
			     checked for #AC */
	TLB_VIEWS
};

struct tlb_entry {
	uint64_t read, write, fetch; /* tags */
	uintptr_t addend;            /* host address = linear address + addend */
};

/* What other threads may ask of a vCPU, in `pending`. */
enum pending {
	PENDING_INTR =
		1 << 0, /* interrupt controller has an interrupt; level, cleared by its owner */
	PENDING_NMI = 1 << 1,
	PENDING_INIT = 1 << 2,
	PENDING_SIPI = 1 << 3,     /* vector in sipi_vector */
	PENDING_STOP = 1 << 4,     /* leave vcpu_run() with VCPU_EXIT_STOPPED */
	PENDING_DEBUG = 1 << 5,    /* single-step or breakpoint trap waits in pending_debug */
	PENDING_RECHECK = 1 << 6,  /* own thread: something changed that delivery depends on */
	PENDING_UNHALT = 1 << 7,   /* `unhalt` was set while the vCPU's thread slept */
	PENDING_WAITING = 1 << 30, /* cpu.c's own: the vCPU's thread sleeps in cpu_wait_pending() */
};

/* NMIs that can wait; while one is being handled, one. */
#define NMI_QUEUED_MAX 2

struct cpu;

/* What the CPU reaches outside itself. Given by the machine, shared by all its vCPUs. */
struct cpu_platform {
	struct memory *memory;
	const struct cpu_model *model;
	struct io_space *ports;
	struct clock *clock;
	void *opaque;
	/* Interrupt acknowledge: the vector to deliver now, or -1 where the request has gone away.
	 * Takes the machine lock. */
	int (*acknowledge_interrupt)(void *opaque, struct cpu *cpu);
	/* Local APIC: IA32_APIC_BASE, the x2APIC MSRs, IA32_TSC_DEADLINE. False: the access faults.
	 */
	bool (*apic_msr_read)(void *opaque, struct cpu *cpu, uint32_t msr, uint64_t *value);
	bool (*apic_msr_write)(void *opaque, struct cpu *cpu, uint32_t msr, uint64_t value);
	/* xAPIC registers at cpu->apic_page. */
	uint64_t (*apic_mmio_read)(void *opaque, struct cpu *cpu, uint64_t offset, unsigned size);
	void (*apic_mmio_write)(
		void *opaque, struct cpu *cpu, uint64_t offset, uint64_t value, unsigned size);
	/* CR8, the task priority class (0..15). */
	uint64_t (*apic_tpr_read)(void *opaque, struct cpu *cpu);
	void (*apic_tpr_write)(void *opaque, struct cpu *cpu, uint64_t value);
	/* INIT reached this CPU: reset its local APIC (not its ID). */
	void (*apic_init)(void *opaque, struct cpu *cpu);
	/* Send a message to the local APIC with this ID only: `delivery` as the ICR has it,
	 * edge-triggered. False: nothing took it. On any thread, lock or no lock. */
	bool (*apic_send)(void *opaque, uint32_t id, uint8_t delivery, uint8_t vector);
	/* cpu->tsc_offset changed: a TSC deadline lies elsewhere now. */
	void (*tsc_changed)(void *opaque, struct cpu *cpu);
	/* The FERR# pin: an unmasked x87 error with CR0.NE clear (IRQ 13). */
	void (*ferr)(void *opaque, bool level);
	unsigned cpu_count;
	struct cpu **cpus;
};

struct exception {
	uint8_t vector;
	bool has_error;
	bool software;   /* INT n, INT3, INTO: DPL check, next_rip pushed */
	bool privileged; /* with software: INT1, which checks no DPL */
	bool external;   /* interrupt or NMI: EXT bit in error codes that come of delivering it */
	uint32_t error;
};

/* Why a debugger outside of the guest has stopped the vCPU; see cpu/debugger.h. */
enum debugger_stop {
	DEBUGGER_RUNS_ON, /* it has not */
	DEBUGGER_STEPPED,
	DEBUGGER_BREAKPOINT, /* at cpu->rip */
	DEBUGGER_WATCHPOINT, /* debugger.watch_address, debugger.watch_access */
};

/* Parts of struct cpu_state, as an engine that has them elsewhere moves them. */
enum state_group {
	STATE_GPRS = 1 << 0, /* and RIP, RFLAGS */
	STATE_SEGMENTS = 1 << 1,
	STATE_CONTROL = 1 << 2, /* CR0 to CR4, PDPTEs, EFER, XCR0 */
	STATE_DEBUG = 1 << 3,   /* DR0 to DR7 */
	STATE_MSRS = 1 << 4,
	STATE_EVENTS = 1 << 5, /* activity, shadow, NMIs, pending debug traps */
	STATE_FPU = 1 << 6,
	STATE_ALL = (1 << 7) - 1,
};

/* What the engine that runs a vCPU is asked and told. No member is NULL. */
struct cpu_engine_ops {
	/* CS, the size of SS, CR0, CR4, EFER or CPL changed, which decide how the next code is
	 * decoded and run. */
	void (*code_context_changed)(struct cpu *cpu);
	/* The TLB was flushed, so look-ups of code by linear address are to be dropped too. */
	void (*tlb_flushed)(struct cpu *cpu, const struct tlb_request *request);
	/* Called by cpu_set_pending(), on any thread, after `attention` is set: for an engine whose
	 * running code does not look at `attention`. */
	void (*kick)(struct cpu *cpu);
	/* For cpu_pull() and cpu_push(): copy groups from where the engine has them to cpu->state,
	 * and back. */
	void (*pull)(struct cpu *cpu, unsigned groups);
	void (*push)(struct cpu *cpu, unsigned groups);
};
/* Of a vCPU without an engine: it hears of nothing, and has all state in struct cpu. */
extern const struct cpu_engine_ops cpu_engine_ops_none;
/* For an engine that works on struct cpu: only the x87 unit and MXCSR may be the host's. */
void cpu_pull_live(struct cpu *cpu, unsigned groups);
void cpu_push_live(struct cpu *cpu, unsigned groups);
/* For an engine that needs no kick. */
void cpu_no_kick(struct cpu *cpu);

struct cpu {
	/* --- touched by every instruction --- */
	struct tlb_entry *tlb;       /* the current view: tlb_views[...] */
	uintptr_t page_flags_biased; /* page_flags - (ram >> 12): add a host pointer >> 12, to have
					the address of its page's flags */
	void *engine_state;          /* owned by the engine that runs this CPU */
	/* The interpreter's: RIP of the current page's first byte, and zero. They stand beside the
	 * general registers so that an effective address is one formula. */
	uint64_t code_base, zero;
	uint64_t next_rip; /* of the instruction after `rip`; control transfers set it */
	_Atomic uint32_t
		attention; /* engines test this at every block: non-zero, look at `pending` */
	/* The instruction decided about its single-step trap itself (SYSCALL, SYSRET). */
	bool no_step_trap;
	bool fpu_live; /* x87 and MXCSR are in the host's registers */

	/* --- architected: cpu->state as a whole, cpu->rip and the like by itself --- */
	union {
		struct cpu_state state;
		struct cpu_state;
	};

	/* --- the mechanism --- */
	uint64_t segment_base[SEG_COUNT]; /* copy of segment[].base; [SEG_NONE] is 0 */
	/* Changed only while no other thread can reach this vCPU. */
	const struct cpu_engine_ops *engine_ops;
	uint64_t apic_page; /* of the enabled xAPIC; ~0: none. See cpu_set_apic_page() */
	/* Where the engine's generated code for this vCPU lies: a host fault in there is the
	 * guest's, and becomes its exception. 0, 0: nowhere. */
	uintptr_t native_start, native_end;
	/* A debugger outside of the guest: cpu/debugger.h. */
	struct {
		const struct debugger_points *points; /* NULL: there are none */
		bool active;                          /* there are points, or a step is wanted */
		bool step;                            /* stop after one instruction */
		bool replay;  /* the next instruction accesses a page with a watchpoint */
		bool alone;   /* an instruction is run by itself, or an event is delivered */
		uint8_t stop; /* enum debugger_stop */
		uint8_t watch_access;
		uint64_t watch_address;
	} debugger;
	unsigned index; /* 0..count-1; also the initial APIC ID */
	struct cpu_platform *platform;
	struct memory *memory;                   /* platform->memory */
	const struct second_stage *second_stage; /* cpu/paging.h; NULL: none */
	struct memory_listener memory_listener;
	_Atomic uint32_t revokes_asked, revokes_done; /* see cpu_revoked() */
	const struct cpu_model *model;                /* platform->model */
	bool amd;                                     /* model->amd */
	_Atomic uint32_t pending;                     /* enum pending */
	/* The vCPU's thread: where the host tells how long it had to wait for a processor; how long
	 * it was and what the clock showed when that was last asked. See cpu/steal_time.h. */
	struct {
		int file;
		uint64_t seen_ns, seen_at;
	} run_delay;
	atomic_bool unhalt;          /* see cpu_unhalt() */
	_Atomic unsigned nmi_queued; /* at most NMI_QUEUED_MAX */
	struct exception exception;  /* what cpu_raise() threw */
	struct exception delivering; /* what exception_deliver() is at; it must survive a longjmp */
	jmp_buf unwind;              /* where cpu_raise() lands; set by the engine's run loop */
	/* Locked accesses that cross a page; see cpu/locked_access.c. */
	struct split_access {
		struct memory_pair pair;
		uint8_t *written[2]; /* the pages of the access under way */
	} split;
	struct tlb_entry tlb_views[TLB_VIEWS][TLB_SIZE];
	/* What the flushes need to know of the entries; see cpu/tlb.c. */
	uint8_t tlb_attributes[TLB_VIEWS][TLB_SIZE];
	uint16_t tlb_recent[TLB_RECENT]; /* local entries filled since the last flush, as view *
					    TLB_SIZE + index */
	unsigned tlb_recent_count;       /* more than TLB_RECENT: not all are listed */
	struct {
		uint64_t low, high;
	} tlb_large[2]; /* linear range that large pages were entered for; [1]: upper half */
	/* Counters for --stats. */
	struct cpu_stats {
		uint64_t instructions, blocks, blocks_decoded, accesses, tlb_misses, page_faults,
			interrupts, exceptions, mmio, port_io, halts, code_invalidations,
			tlb_flushes, stubs;
	} stats;
};

/* The vCPU whose thread this is; NULL elsewhere. Devices use it to know which vCPU accesses
 * them. */
extern _Thread_local struct cpu *cpu_current;

/* Allocate a vCPU in its power-up state (SDM vol. 3A 10.1.1; CPU 0 runs, the others wait for SIPI).
 * NULL with a message where memory is short. It lies in the low 2 GiB of the host's addresses if
 * there is room. */
struct cpu *cpu_create(struct cpu_platform *platform, unsigned index);
/* Can generated code name every field of it by an absolute 32-bit address? */
static inline bool cpu_reachable_32(const struct cpu *cpu)
{
	return low_memory_holds(cpu, sizeof(*cpu));
}
void cpu_destroy(struct cpu *cpu);
/* Back to the power-up state (RESET), or what INIT does (keeps FPU state, some MSRs, TSC). */
void cpu_reset(struct cpu *cpu);
void cpu_init_reset(struct cpu *cpu);

/* Before code outside the engine reads groups (enum state_group) of cpu->state, and after it has
 * changed them. On the vCPU's own thread, or while it is stopped, between instructions. */
static inline void cpu_pull(struct cpu *cpu, unsigned groups)
{
	cpu->engine_ops->pull(cpu, groups);
}
static inline void cpu_push(struct cpu *cpu, unsigned groups)
{
	cpu->engine_ops->push(cpu, groups);
}

/* Copy all of the architected state out, pulled from the engine, and in again, and push it there.
 * For the vCPU's own thread, or while it is stopped, between instructions. Setting it makes
 * everything that follows from it agree: segment bases, TLB, what the engine looked up. 0, or
 * -EINVAL where `state` could not have come from cpu_get_state(): then nothing has changed. */
void cpu_get_state(struct cpu *cpu, struct cpu_state *state);
int cpu_set_state(struct cpu *cpu, const struct cpu_state *state);

/* Ask something of a vCPU, from any thread: sets the bits, has the engine look at them soon, and
 * wakes the vCPU if it is halted. */
void cpu_set_pending(struct cpu *cpu, uint32_t bits);
/* End the vCPU's HLT, whatever RFLAGS.IF says, or the next one where it is not halted: a kick that
 * comes before the HLT which it is meant for is not lost. Any thread. */
void cpu_unhalt(struct cpu *cpu);
/* An NMI, from any thread. While one is being handled one more can wait, before that two can;
 * further ones are lost, as on the processor. */
void cpu_queue_nmi(struct cpu *cpu);
/* IRET lets NMIs in again; for the vCPU's thread. Of those that came while one was handled one
 * stays. It is here that the others are lost: a thread that queues an NMI could not tell, because
 * the vCPU begins to handle one and returns at any time. */
void cpu_unblock_nmi(struct cpu *cpu);
void cpu_clear_pending(struct cpu *cpu, uint32_t bits);
/* Has the vCPU dropped everything that memory_revoke() asked it to drop before this call? It does
 * so on its own thread, at the latest before it executes another instruction. So a caller that
 * needs this done waits for each vCPU that runs, and need not wait for one that sleeps or is
 * stopped. Any thread. */
static inline bool cpu_revoked(const struct cpu *cpu)
{
	return atomic_load(&cpu->revokes_asked) == atomic_load(&cpu->revokes_done) ||
	       (atomic_load(&cpu->pending) & PENDING_WAITING);
}
/* Block the vCPU's thread until `pending` has a bit. May return early. */
void cpu_wait_pending(struct cpu *cpu);

/* Throw an exception: never returns, lands in the engine's run loop, which delivers it with the
 * saved RIP being cpu->rip. No lock may be held. State must be as before the instruction. */
_Noreturn void cpu_raise(struct cpu *cpu, enum vector vector);
_Noreturn void cpu_raise_error(struct cpu *cpu, enum vector vector, uint32_t error);
_Noreturn void cpu_raise_page_fault(struct cpu *cpu, uint64_t linear, uint32_t error);

/* RFLAGS as the guest would see it. */
static inline uint64_t cpu_rflags(const struct cpu *cpu)
{
	return cpu->system_flags | ((cpu->arithmetic_flags >> 8) & 0xd5) |
	       ((uint64_t)(cpu->arithmetic_flags & 1) << 11);
}

/* Set all of RFLAGS, with no checks; keeps TLB view (AC) and pending interrupts (IF) in step. */
void cpu_set_rflags(struct cpu *cpu, uint64_t value);
static inline void cpu_set_arithmetic_flags(struct cpu *cpu, uint64_t rflags)
{
	cpu->arithmetic_flags = (uint16_t)(((rflags & 0xd5) | 2) << 8 | ((rflags >> 11) & 1));
}

#define CR3_PCID UINT64_C(0xfff)

/* IA32_APIC_BASE (SDM vol. 3A 11.4.4). */
#define MSR_APIC_BASE    0x1b
#define APIC_BASE_BSP    BIT(8)
#define APIC_BASE_X2APIC BIT(10)
#define APIC_BASE_ENABLE BIT(11)

/* The address space that the vCPU is in. Nothing sets EPTP and VPID yet. */
static inline struct address_space cpu_address_space(const struct cpu *cpu)
{
	return (struct address_space){
		.root = cpu->cr3 & UINT64_C(0x000ffffffffff000),
		.pcid = cpu->cr4 & CR4_PCIDE ? (uint16_t)(cpu->cr3 & CR3_PCID) : 0,
	};
}

static inline bool cpu_protected(const struct cpu *cpu)
{
	return cpu->cr0 & CR0_PE;
}
static inline bool cpu_v86(const struct cpu *cpu)
{
	return cpu->system_flags & RFLAGS_VM;
}
/* Real or virtual-8086 mode: selectors are paragraphs. */
static inline bool cpu_real_segments(const struct cpu *cpu)
{
	return !cpu_protected(cpu) || cpu_v86(cpu);
}
static inline bool cpu_long_mode(const struct cpu *cpu)
{
	return cpu->efer & EFER_LMA;
}
static inline bool cpu_code64(const struct cpu *cpu)
{
	return cpu_long_mode(cpu) && (cpu->segment[SEG_CS].access & AR_L);
}
/* Current code size in bits: 16, 32, 64. */
static inline unsigned cpu_code_bits(const struct cpu *cpu)
{
	if (cpu_code64(cpu))
		return 64;
	return cpu->segment[SEG_CS].access & AR_DB ? 32 : 16;
}
/* Stack pointer size in bits. */
static inline unsigned cpu_stack_bits(const struct cpu *cpu)
{
	if (cpu_code64(cpu))
		return 64;
	return cpu->segment[SEG_SS].access & AR_DB ? 32 : 16;
}
/* Linear addresses are 57 bits wide with CR4.LA57, else 48. */
static inline bool cpu_canonical(const struct cpu *cpu, uint64_t linear)
{
	unsigned shift = cpu->cr4 & CR4_LA57 ? 64 - 57 : 64 - 48;

	return (uint64_t)((int64_t)(linear << shift) >> shift) == linear;
}
/* A base address for later use (GDTR, FS, LSTAR...) may have as many bits as the processor can ever
 * have linear ones, whatever CR4.LA57 says now. */
static inline bool cpu_canonical_base(const struct cpu *cpu, uint64_t linear)
{
	unsigned shift = 64 - cpu->model->linear_bits;

	return (uint64_t)((int64_t)(linear << shift) >> shift) == linear;
}
/* Put a loaded segment in force: keeps segment_base in step, tells the engine where CS or SS
 * changed. */
void cpu_set_segment(struct cpu *cpu, enum seg seg, const struct segment *value);
/* Change CPL, TLB view in step. */
void cpu_set_cpl(struct cpu *cpu, unsigned cpl);
/* Choose the TLB view that fits CPL, AC, SMAP. */
void cpu_update_view(struct cpu *cpu);

#endif
