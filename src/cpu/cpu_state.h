/* The architected state of one virtual CPU as plain data: what a guest can see of its processor, in
 * the names of the manuals, and nothing else. It can be copied, compared, written to a file, and
 * handed from one engine to another; struct cpu (cpu.h) holds one, and what is needed to run it.
 *
 * There is no padding: bytes that belong to no field could differ where two states are the same,
 * and would carry whatever lay in the monitor's memory. */
#ifndef VENEER_CPU_CPU_STATE_H
#define VENEER_CPU_CPU_STATE_H

#include "base/bits.h"

enum gpr { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8, R9, R10, R11, R12, R13, R14, R15 };

/* Segment registers in their encoding order, then the two system segments. SEG_NONE has base 0 and
 * is what address arithmetic uses where 64-bit mode ignores the segment. */
enum seg { SEG_ES, SEG_CS, SEG_SS, SEG_DS, SEG_FS, SEG_GS, SEG_LDTR, SEG_TR, SEG_NONE, SEG_COUNT };
#define SEG_STATE SEG_NONE /* those that are state */

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

#pragma GCC diagnostic push
#pragma GCC diagnostic error "-Wpadded"
struct segment {
	uint64_t base;
	uint32_t limit;  /* in bytes, granularity applied */
	uint32_t access; /* AR_* */
	uint16_t selector;
	uint16_t unused[3];
};

struct descriptor_table {
	uint64_t base;
	uint16_t limit;
	uint16_t unused[3];
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

#define EFER_SCE      BIT(0)
#define EFER_LME      BIT(8)
#define EFER_LMA      BIT(10)
#define EFER_NXE      BIT(11)
#define EFER_FFXSR    BIT(14)
#define EFER_AUTOIBRS BIT(21) /* AMD Automatic IBRS (CPUID 0x80000021 EAX bit 8); no effect here */

/* What the last instruction holds back until the next one is done (SDM vol. 3A 6.8.3): after STI,
 * interrupts; after MOV SS and POP SS, debug traps and NMIs too. The engine that runs an
 * instruction under a shadow runs that one only, clears the shadow, and then calls
 * cpu_service_pending() if `attention` is set. */
enum interrupt_shadow { SHADOW_NONE, SHADOW_STI, SHADOW_MOV_SS };

/* What the architecture calls the activity state (SDM vol. 3C 25.4.2). */
enum activity { ACTIVITY_RUNNING, ACTIVITY_HALTED, ACTIVITY_WAIT_FOR_SIPI, ACTIVITY_SHUTDOWN };

/* XSAVE-managed state, unpacked. While the vCPU runs under `interp` or `bt` the x87 unit, MXCSR and
 * maybe the vector registers are in the host's own; cpu/fpu.h says when. */
struct fpu {
	uint8_t zmm[32][64] __attribute__((aligned(64)));
	uint64_t opmask[8];
	/* x87 in FXSAVE64 layout (SDM vol. 1 10.5.1) without MXCSR and the pointers, which
	 * follow. */
	uint8_t x87[160] __attribute__((aligned(16)));
	/* Last x87 instruction and operand, kept by us: host FIP/FDP would show host addresses. */
	uint64_t fip, fdp;
	uint32_t mxcsr;
	uint32_t pkru;
	uint16_t fop, fcs, fds;
	uint16_t unused;
};

/* Increase it with every change of struct cpu_state or of the meaning of a field. */
#define CPU_STATE_VERSION 3
#define CPU_STATE_SIZE    3264

struct cpu_state {
	uint64_t gpr[16];
	/* The arithmetic flags as LAHF and SETO give them: bits 15..8 = SF ZF 0 AF 0 PF 1 CF, bit 0
	 * = OF. Use cpu_rflags() and cpu_set_rflags(). */
	uint16_t arithmetic_flags;
	uint8_t cpl;
	uint8_t interrupt_shadow; /* enum interrupt_shadow: what the last instruction was */
	uint32_t activity;        /* enum activity */
	uint64_t rip;             /* of the instruction being executed: what a fault pushes */
	uint64_t system_flags;    /* RFLAGS less the arithmetic ones; bit 1 set */
	struct segment segment[SEG_STATE];
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
	uint64_t steal_msr, steal_ns;           /* MSR_KVM_STEAL_TIME, and what it has counted */
	uint64_t pending_debug; /* DR6 bits of a debug trap due after this instruction */
	uint32_t pvclock_version;
	/* NMI, INIT, SIPI, debug trap and kick that wait, as enum pending; and how many NMIs.
	 * While the vCPU can run they are in struct cpu's `pending`, `unhalt` and `nmi_queued`,
	 * where other threads reach them: cpu_get_state() and cpu_set_state() copy. */
	uint32_t events;
	uint8_t events_nmi;
	uint8_t sipi_vector; /* of the SIPI that waits */
	uint8_t nmi_blocked; /* until IRET; see cpu_unblock_nmi() */
	uint8_t unused[21];  /* up to the alignment of what follows */
	struct fpu fpu;
};
#pragma GCC diagnostic pop
_Static_assert(sizeof(struct cpu_state) == CPU_STATE_SIZE,
	"struct cpu_state has changed: so must its version");

#endif
