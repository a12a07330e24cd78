/* The architected state of one virtual CPU, and what every engine and device may do with it.
 *
 * All engines share this struct: what a guest can see of its processor is here and nowhere else,
 * in the names of the manuals. What an engine needs besides (decoded code, translations) hangs off
 * `engine_state`. The first cache lines are what an interpreter touches for every instruction.
 *
 * Who may touch it: the vCPU's own thread, except for `pending`, `attention` (atomic, any thread),
 * and everything while the vCPU is stopped. */
#ifndef VENEER_CPU_CPU_H
#define VENEER_CPU_CPU_H

#include "base/bits.h"
#include "cpu/address_space.h"
#include "host/clock.h"
#include "host/low_memory.h"
#include "memory/memory.h"

#include <setjmp.h>
#include <stdatomic.h>

enum gpr { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8, R9, R10, R11, R12, R13, R14, R15 };

/* Segment registers in their encoding order, then the two system segments. SEG_NONE has base 0 and
 * is what address arithmetic uses where 64-bit mode ignores the segment. */
enum seg { SEG_ES, SEG_CS, SEG_SS, SEG_DS, SEG_FS, SEG_GS, SEG_LDTR, SEG_TR, SEG_NONE, SEG_COUNT };

/* Access rights as VMX lays them out (SDM vol. 3C 25.4.1). */
enum {
	AR_TYPE_MASK = 0xf,
	AR_ACCESSED = 1,
	AR_WRITABLE = 2,    /* data */
	AR_READABLE = 2,    /* code */
	AR_EXPAND_DOWN = 4, /* data */
	AR_CONFORMING = 4,  /* code */
	AR_CODE = 8,
	AR_S = 1 << 4, /* code or data; clear: system */
	AR_DPL_SHIFT = 5,
	AR_DPL_MASK = 3 << 5,
	AR_P = 1 << 7,
	AR_AVL = 1 << 12,
	AR_L = 1 << 13,
	AR_DB = 1 << 14,
	AR_G = 1 << 15,
	AR_UNUSABLE = 1 << 16, /* a null selector was loaded */
};

struct segment {
	uint64_t base;
	uint32_t limit;  /* in bytes, granularity applied */
	uint32_t access; /* AR_* */
	uint16_t selector;
};

struct descriptor_table {
	uint64_t base;
	uint16_t limit;
};

#define RFLAGS_CF         BIT(0)
#define RFLAGS_FIXED1     BIT(1)
#define RFLAGS_PF         BIT(2)
#define RFLAGS_AF         BIT(4)
#define RFLAGS_ZF         BIT(6)
#define RFLAGS_SF         BIT(7)
#define RFLAGS_TF         BIT(8)
#define RFLAGS_IF         BIT(9)
#define RFLAGS_DF         BIT(10)
#define RFLAGS_OF         BIT(11)
#define RFLAGS_IOPL       (BIT(12) | BIT(13))
#define RFLAGS_IOPL_SHIFT 12
#define RFLAGS_NT         BIT(14)
#define RFLAGS_RF         BIT(16)
#define RFLAGS_VM         BIT(17)
#define RFLAGS_AC         BIT(18)
#define RFLAGS_VIF        BIT(19)
#define RFLAGS_VIP        BIT(20)
#define RFLAGS_ID         BIT(21)
#define RFLAGS_ARITHMETIC (RFLAGS_CF | RFLAGS_PF | RFLAGS_AF | RFLAGS_ZF | RFLAGS_SF | RFLAGS_OF)

#define CR0_PE BIT(0)
#define CR0_MP BIT(1)
#define CR0_EM BIT(2)
#define CR0_TS BIT(3)
#define CR0_ET BIT(4)
#define CR0_NE BIT(5)
#define CR0_WP BIT(16)
#define CR0_AM BIT(18)
#define CR0_NW BIT(29)
#define CR0_CD BIT(30)
#define CR0_PG BIT(31)

#define CR4_VME        BIT(0)
#define CR4_PVI        BIT(1)
#define CR4_TSD        BIT(2)
#define CR4_DE         BIT(3)
#define CR4_PSE        BIT(4)
#define CR4_PAE        BIT(5)
#define CR4_MCE        BIT(6)
#define CR4_PGE        BIT(7)
#define CR4_PCE        BIT(8)
#define CR4_OSFXSR     BIT(9)
#define CR4_OSXMMEXCPT BIT(10)
#define CR4_UMIP       BIT(11)
#define CR4_LA57       BIT(12)
#define CR4_FSGSBASE   BIT(16)
#define CR4_PCIDE      BIT(17)
#define CR4_OSXSAVE    BIT(18)
#define CR4_SMEP       BIT(20)
#define CR4_SMAP       BIT(21)
#define CR4_PKE        BIT(22)

#define EFER_SCE   BIT(0)
#define EFER_LME   BIT(8)
#define EFER_LMA   BIT(10)
#define EFER_NXE   BIT(11)
#define EFER_FFXSR BIT(14)

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

/* What cpu->tlb_flushed() tells. The soft TLB's entries carry no PCID, so it drops more than the
 * guest asked for; an engine whose own cache does tell address spaces apart may do just what was
 * asked. */
enum tlb_flush {
	TLB_FLUSH_ALL,
	TLB_FLUSH_NON_GLOBAL, /* of `space` */
	TLB_FLUSH_SPACE_KEPT, /* CR3 was written, and all that is cached may stay: for the soft TLB
				 the same as NON_GLOBAL */
	TLB_FLUSH_PAGE,       /* `linear`, in `space`, and global */
	TLB_FLUSH_LARGE_PAGE, /* the same, but large pages lie around: who cannot tell where these
				 begin and end, take it as ALL */
	TLB_FLUSH_PCID,       /* what is not global of `space`, which is not the current one; its
				 PCID may be TLB_EVERY_PCID; the soft TLB keeps what it has */
};
#define TLB_EVERY_PCID 0x1000

struct tlb_request {
	enum tlb_flush what;
	struct address_space space; /* the current one, but for TLB_FLUSH_PCID: of that, the tag */
	uint64_t linear;            /* of a page */
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

/* What others may ask of a vCPU, in `pending`. */
enum pending {
	PENDING_INTR =
		1 << 0, /* interrupt controller has an interrupt; level, cleared by its owner */
	PENDING_NMI = 1 << 1,
	PENDING_INIT = 1 << 2,
	PENDING_SIPI = 1 << 3,     /* vector in sipi_vector */
	PENDING_STOP = 1 << 4,     /* leave engine_run() with VCPU_EXIT_STOPPED */
	PENDING_DEBUG = 1 << 5,    /* single-step or breakpoint trap waits in pending_debug */
	PENDING_RECHECK = 1 << 6,  /* own thread: something changed that delivery depends on */
	PENDING_WAITING = 1 << 30, /* cpu.c's own: the vCPU's thread sleeps in cpu_wait_pending() */
};

/* What the last instruction holds back until the next one is done (SDM vol. 3A 6.8.3): after STI,
 * interrupts; after MOV SS and POP SS, debug traps and NMIs too. The engine that runs an
 * instruction under a shadow runs that one only, clears the shadow, and then calls
 * cpu_service_pending() if `attention` is set. */
enum interrupt_shadow { SHADOW_NONE, SHADOW_STI, SHADOW_MOV_SS };

/* What the architecture calls the activity state (SDM vol. 3C 25.4.2). */
enum activity { ACTIVITY_RUNNING, ACTIVITY_HALTED, ACTIVITY_WAIT_FOR_SIPI, ACTIVITY_SHUTDOWN };

struct cpu;
struct bt;

/* What the CPU reaches outside itself. Given by the machine, shared by all its vCPUs. */
struct cpu_platform {
	struct memory *memory;
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
	/* cpu->tsc_offset changed: a TSC deadline lies elsewhere now. */
	void (*tsc_changed)(void *opaque, struct cpu *cpu);
	/* The FERR# pin: an unmasked x87 error with CR0.NE clear (IRQ 13). */
	void (*ferr)(void *opaque, bool level);
	unsigned cpu_count;
	struct cpu **cpus;
};

/* XSAVE-managed state, unpacked. While the vCPU runs under `interp` or `bt` the x87 unit and MXCSR
 * are live in the host's own; see cpu/fpu.h for who has them when. */
struct fpu {
	uint8_t zmm[32][64] __attribute__((aligned(64)));
	uint64_t opmask[8];
	uint32_t mxcsr;
	uint32_t pkru;
	/* x87 in FXSAVE64 layout (SDM vol. 1 10.5.1), valid while not live; 16-byte aligned. */
	uint8_t x87[160] __attribute__((aligned(64)));
	bool live; /* x87 and MXCSR are in the host's registers */
	/* Last x87 instruction and operand, kept by us: host FIP/FDP would show host addresses. */
	uint64_t fip, fdp;
	uint16_t fop, fcs, fds;
	/* Where the engine's generated code for this vCPU lies: a host fault in there is the
	 * guest's, and becomes its exception. 0, 0: nowhere. */
	uintptr_t native_start, native_end;
};

struct exception {
	uint8_t vector;
	bool has_error;
	bool software;   /* INT n, INT3, INTO: DPL check, next_rip pushed */
	bool privileged; /* with software: INT1, which checks no DPL */
	bool external;   /* interrupt or NMI: EXT bit in error codes that come of delivering it */
	uint32_t error;
};

struct cpu {
	/* --- touched by every instruction --- */
	/* General registers; [16] is the interpreter's code base, [17] is always zero, so that an
	 * effective address is one formula. */
	uint64_t gpr[18];
	/* The arithmetic flags as LAHF and SETO give them: bits 15..8 = SF ZF 0 AF 0 PF 1 CF, bit 0
	 * = OF. Use cpu_rflags() and cpu_set_rflags(). */
	uint16_t arithmetic_flags;
	uint8_t cpl;
	uint8_t interrupt_shadow; /* enum interrupt_shadow: what the last instruction was */
	_Atomic uint32_t
		attention;     /* engines test this at every block: non-zero, look at `pending` */
	struct tlb_entry *tlb; /* the current view: tlb_views[...] */
	uintptr_t page_flags_biased; /* page_flags - (ram >> 12): add a host pointer >> 12, to have
					the address of its page's flags */
	void *engine_state;          /* owned by the engine that runs this CPU */
	struct bt *bt;               /* the binary translator's, where that is the engine */
	uint64_t segment_base[SEG_COUNT]; /* copy of segment[].base; [SEG_NONE] is 0 */

	/* --- architected --- */
	uint64_t rip;          /* of the instruction being executed: what a fault pushes */
	uint64_t next_rip;     /* of the one after it; control transfers set it */
	uint64_t system_flags; /* RFLAGS less the arithmetic ones; bit 1 set */
	struct segment segment[SEG_COUNT];
	struct descriptor_table gdtr, idtr;
	uint64_t cr0, cr2, cr3, cr4;
	uint64_t pdpte[4]; /* loaded by MOV CR3 in PAE paging (SDM vol. 3A 4.4.1) */
	uint64_t dr[4], dr6, dr7;
	uint64_t efer, star, lstar, cstar, sfmask, kernel_gs_base;
	uint64_t sysenter_cs, sysenter_esp, sysenter_eip;
	uint64_t xcr0, xss;
	uint64_t tsc_offset; /* guest TSC = clock_cycles() + tsc_offset */
	uint64_t tsc_adjust, tsc_aux, pat, misc_enable, debug_control, spec_ctrl;
	uint64_t mcg_status;
	uint64_t amd_hwcr, amd_syscfg, amd_de_cfg; /* MSRs of AMD processors only */
	uint64_t mtrr_def_type, mtrr_fixed[11], mtrr_variable[16];
	uint64_t pvclock_msr, pvclock_wall_msr; /* KVM's MSR_KVM_SYSTEM_TIME_NEW, WALL_CLOCK_NEW */
	uint32_t pvclock_version;
	uint64_t monitor_address; /* MONITOR's line, 0: none armed */
	_Atomic bool nmi_blocked; /* until IRET; other threads look when they queue one */
	enum activity activity;
	uint8_t sipi_vector;
	bool no_step_trap; /* the instruction decided about its single-step trap itself (SYSCALL,
			      SYSRET) */
	uint64_t pending_debug; /* DR6 bits of a debug trap due after this instruction */
	uint64_t apic_page;     /* guest-physical page of the enabled xAPIC; ~0 where none */
	struct fpu fpu;

	/* --- the mechanism --- */
	unsigned index; /* 0..count-1; also the initial APIC ID */
	struct cpu_platform *platform;
	struct memory *memory;                   /* platform->memory */
	const struct second_stage *second_stage; /* cpu/paging.h; NULL: none */
	bool amd; /* CPUID says so (or Hygon): where the vendors differ, act as AMD's processors do
		   */
	_Atomic uint32_t pending;    /* enum pending */
	_Atomic unsigned nmi_queued; /* at most 2 */
	struct exception exception;  /* what cpu_raise() threw */
	struct exception delivering; /* what exception_deliver() is at; it must survive a longjmp */
	jmp_buf unwind;              /* where cpu_raise() lands; set by the engine's run loop */
	struct tlb_entry tlb_views[TLB_VIEWS][TLB_SIZE];
	/* What the flushes need to know of the entries; see cpu/tlb.c. */
	uint8_t tlb_attributes[TLB_VIEWS][TLB_SIZE];
	uint16_t tlb_recent[TLB_RECENT]; /* local entries filled since the last flush, as view *
					    TLB_SIZE + index */
	unsigned tlb_recent_count;       /* more than TLB_RECENT: not all are listed */
	struct {
		uint64_t low, high;
	} tlb_large[2]; /* linear range that large pages were entered for; [1]: upper half */
	/* Called after anything that changes what code runs next and how: CS, SS size, CR0, CR4,
	 * EFER, CPL. May be NULL. */
	void (*code_context_changed)(struct cpu *cpu);
	/* Called on every TLB flush, so that look-ups of code by linear address are dropped too.
	 * May be NULL. */
	void (*tlb_flushed)(struct cpu *cpu, const struct tlb_request *request);
	/* Called by cpu_set_pending(), on any thread, after `attention` is set: for an engine whose
	 * running code does not look at `attention`. May be NULL; changed only while no other
	 * thread can reach this vCPU. */
	void (*kick)(struct cpu *cpu);
	/* Counters for --stats. */
	struct cpu_stats {
		uint64_t instructions, blocks, blocks_decoded, accesses, tlb_misses, page_faults,
			interrupts, exceptions, mmio, port_io, halts, code_invalidations,
			tlb_flushes, stubs;
	} stats;
};

/* The vCPU whose thread this is; NULL elsewhere. Devices use it to know who is accessing them. */
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

/* Ask something of a vCPU from any thread: sets the bits, makes it notice soon, wakes it if it is
 * halted. */
void cpu_set_pending(struct cpu *cpu, uint32_t bits);
/* An NMI. While one is being handled one more can wait, before that two can; further ones are lost,
 * as on the processor. */
void cpu_queue_nmi(struct cpu *cpu);
void cpu_clear_pending(struct cpu *cpu, uint32_t bits);
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
 * have linear ones, whatever CR4.LA57 says now: 57, as CPUID shows LA57. */
static inline bool cpu_canonical_base(uint64_t linear)
{
	return (uint64_t)((int64_t)(linear << (64 - 57)) >> (64 - 57)) == linear;
}
/* Put a loaded segment in force: keeps segment_base in step, tells the engine where CS or SS
 * changed. */
void cpu_set_segment(struct cpu *cpu, enum seg seg, const struct segment *value);
/* Change CPL, TLB view in step. */
void cpu_set_cpl(struct cpu *cpu, unsigned cpl);
/* Choose the TLB view that fits CPL, AC, SMAP. */
void cpu_update_view(struct cpu *cpu);

#endif
