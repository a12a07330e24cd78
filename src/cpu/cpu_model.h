/* The CPU model of a machine: which processor the guest sees. Built once, from what the host has,
 * what the engine can serve, and what the user asked for; constant then, and read by everything
 * that acts differently for one processor or another: CPUID, control registers, MSRs, XSAVE,
 * paging, and the choice of what may run natively. Two machines in one process may have two models.
 *
 * A question about the host ("may generated code use BMI2?") is another than one about the guest's
 * processor ("does BMI2 raise #UD?"): cpu_model_host_has(), cpu_model_has(). */
#ifndef VENEER_CPU_CPU_MODEL_H
#define VENEER_CPU_CPU_MODEL_H

#include "base/bits.h"

#include <stdbool.h>
#include <stdint.h>

struct cpuid_result {
	uint32_t eax, ebx, ecx, edx;
};

/* Words of feature bits, and the features as (word, bit). */
enum cpuid_word {
	CPUID_1_ECX,
	CPUID_1_EDX,
	CPUID_6_EAX,
	CPUID_7_EBX,
	CPUID_7_ECX,
	CPUID_7_EDX,
	CPUID_7_1_EAX,
	CPUID_D_1_EAX,
	CPUID_80000001_ECX,
	CPUID_80000001_EDX,
	CPUID_80000008_EBX,
	CPUID_80000021_EAX,
	CPUID_80000021_ECX,
	CPUID_KVM_EAX, /* leaf 0x40000001: the paravirtual interface of KVM */
	CPUID_WORDS
};
#define CPUID_FEATURE(word, bit) ((word)*32 + (bit))
#define CPUID_WORD(feature)      ((feature) / 32)
#define CPUID_BIT(feature)       (UINT32_C(1) << (feature) % 32)

enum cpuid_feature {
	CPUID_SSE3 = CPUID_FEATURE(CPUID_1_ECX, 0),
	CPUID_PCLMULQDQ = CPUID_FEATURE(CPUID_1_ECX, 1),
	CPUID_SSSE3 = CPUID_FEATURE(CPUID_1_ECX, 9),
	CPUID_FMA = CPUID_FEATURE(CPUID_1_ECX, 12),
	CPUID_CX16 = CPUID_FEATURE(CPUID_1_ECX, 13),
	CPUID_PCID = CPUID_FEATURE(CPUID_1_ECX, 17),
	CPUID_SSE41 = CPUID_FEATURE(CPUID_1_ECX, 19),
	CPUID_SSE42 = CPUID_FEATURE(CPUID_1_ECX, 20),
	CPUID_X2APIC = CPUID_FEATURE(CPUID_1_ECX, 21),
	CPUID_MOVBE = CPUID_FEATURE(CPUID_1_ECX, 22),
	CPUID_POPCNT = CPUID_FEATURE(CPUID_1_ECX, 23),
	CPUID_TSC_DEADLINE = CPUID_FEATURE(CPUID_1_ECX, 24),
	CPUID_AES = CPUID_FEATURE(CPUID_1_ECX, 25),
	CPUID_XSAVE = CPUID_FEATURE(CPUID_1_ECX, 26),
	CPUID_OSXSAVE = CPUID_FEATURE(CPUID_1_ECX, 27),
	CPUID_AVX = CPUID_FEATURE(CPUID_1_ECX, 28),
	CPUID_F16C = CPUID_FEATURE(CPUID_1_ECX, 29),
	CPUID_RDRAND = CPUID_FEATURE(CPUID_1_ECX, 30),
	CPUID_HYPERVISOR = CPUID_FEATURE(CPUID_1_ECX, 31),
	CPUID_FPU = CPUID_FEATURE(CPUID_1_EDX, 0),
	CPUID_VME = CPUID_FEATURE(CPUID_1_EDX, 1),
	CPUID_DE = CPUID_FEATURE(CPUID_1_EDX, 2),
	CPUID_PSE = CPUID_FEATURE(CPUID_1_EDX, 3),
	CPUID_TSC = CPUID_FEATURE(CPUID_1_EDX, 4),
	CPUID_MSR = CPUID_FEATURE(CPUID_1_EDX, 5),
	CPUID_PAE = CPUID_FEATURE(CPUID_1_EDX, 6),
	CPUID_MCE = CPUID_FEATURE(CPUID_1_EDX, 7),
	CPUID_CX8 = CPUID_FEATURE(CPUID_1_EDX, 8),
	CPUID_APIC = CPUID_FEATURE(CPUID_1_EDX, 9),
	CPUID_SEP = CPUID_FEATURE(CPUID_1_EDX, 11),
	CPUID_MTRR = CPUID_FEATURE(CPUID_1_EDX, 12),
	CPUID_PGE = CPUID_FEATURE(CPUID_1_EDX, 13),
	CPUID_MCA = CPUID_FEATURE(CPUID_1_EDX, 14),
	CPUID_CMOV = CPUID_FEATURE(CPUID_1_EDX, 15),
	CPUID_PAT = CPUID_FEATURE(CPUID_1_EDX, 16),
	CPUID_PSE36 = CPUID_FEATURE(CPUID_1_EDX, 17),
	CPUID_CLFSH = CPUID_FEATURE(CPUID_1_EDX, 19),
	CPUID_MMX = CPUID_FEATURE(CPUID_1_EDX, 23),
	CPUID_FXSR = CPUID_FEATURE(CPUID_1_EDX, 24),
	CPUID_SSE = CPUID_FEATURE(CPUID_1_EDX, 25),
	CPUID_SSE2 = CPUID_FEATURE(CPUID_1_EDX, 26),
	CPUID_HTT = CPUID_FEATURE(CPUID_1_EDX, 28),
	CPUID_ARAT = CPUID_FEATURE(CPUID_6_EAX, 2),
	CPUID_FSGSBASE = CPUID_FEATURE(CPUID_7_EBX, 0),
	CPUID_TSC_ADJUST = CPUID_FEATURE(CPUID_7_EBX, 1),
	CPUID_BMI1 = CPUID_FEATURE(CPUID_7_EBX, 3),
	CPUID_AVX2 = CPUID_FEATURE(CPUID_7_EBX, 5),
	CPUID_SMEP = CPUID_FEATURE(CPUID_7_EBX, 7),
	CPUID_BMI2 = CPUID_FEATURE(CPUID_7_EBX, 8),
	CPUID_ERMS = CPUID_FEATURE(CPUID_7_EBX, 9),
	CPUID_INVPCID = CPUID_FEATURE(CPUID_7_EBX, 10),
	CPUID_NO_FPU_SELECTORS = CPUID_FEATURE(CPUID_7_EBX, 13),
	CPUID_AVX512F = CPUID_FEATURE(CPUID_7_EBX, 16),
	CPUID_AVX512DQ = CPUID_FEATURE(CPUID_7_EBX, 17),
	CPUID_RDSEED = CPUID_FEATURE(CPUID_7_EBX, 18),
	CPUID_ADX = CPUID_FEATURE(CPUID_7_EBX, 19),
	CPUID_SMAP = CPUID_FEATURE(CPUID_7_EBX, 20),
	CPUID_AVX512_IFMA = CPUID_FEATURE(CPUID_7_EBX, 21),
	CPUID_CLFLUSHOPT = CPUID_FEATURE(CPUID_7_EBX, 23),
	CPUID_CLWB = CPUID_FEATURE(CPUID_7_EBX, 24),
	CPUID_AVX512CD = CPUID_FEATURE(CPUID_7_EBX, 28),
	CPUID_SHA = CPUID_FEATURE(CPUID_7_EBX, 29),
	CPUID_AVX512BW = CPUID_FEATURE(CPUID_7_EBX, 30),
	CPUID_AVX512VL = CPUID_FEATURE(CPUID_7_EBX, 31),
	CPUID_AVX512_VBMI = CPUID_FEATURE(CPUID_7_ECX, 1),
	CPUID_UMIP = CPUID_FEATURE(CPUID_7_ECX, 2),
	CPUID_PKU = CPUID_FEATURE(CPUID_7_ECX, 3),
	CPUID_OSPKE = CPUID_FEATURE(CPUID_7_ECX, 4),
	CPUID_AVX512_VBMI2 = CPUID_FEATURE(CPUID_7_ECX, 6),
	CPUID_GFNI = CPUID_FEATURE(CPUID_7_ECX, 8),
	CPUID_VAES = CPUID_FEATURE(CPUID_7_ECX, 9),
	CPUID_VPCLMULQDQ = CPUID_FEATURE(CPUID_7_ECX, 10),
	CPUID_AVX512_VNNI = CPUID_FEATURE(CPUID_7_ECX, 11),
	CPUID_AVX512_BITALG = CPUID_FEATURE(CPUID_7_ECX, 12),
	CPUID_AVX512_VPOPCNTDQ = CPUID_FEATURE(CPUID_7_ECX, 14),
	CPUID_LA57 = CPUID_FEATURE(CPUID_7_ECX, 16),
	CPUID_RDPID = CPUID_FEATURE(CPUID_7_ECX, 22),
	CPUID_FSRM = CPUID_FEATURE(CPUID_7_EDX, 4),
	CPUID_SPEC_CTRL = CPUID_FEATURE(CPUID_7_EDX, 26),
	CPUID_ARCH_CAPABILITIES = CPUID_FEATURE(CPUID_7_EDX, 29),
	CPUID_AVX_VNNI = CPUID_FEATURE(CPUID_7_1_EAX, 4),
	CPUID_AVX512_BF16 = CPUID_FEATURE(CPUID_7_1_EAX, 5),
	CPUID_XSAVEOPT = CPUID_FEATURE(CPUID_D_1_EAX, 0),
	CPUID_XSAVEC = CPUID_FEATURE(CPUID_D_1_EAX, 1),
	CPUID_XGETBV1 = CPUID_FEATURE(CPUID_D_1_EAX, 2),
	CPUID_XSAVES = CPUID_FEATURE(CPUID_D_1_EAX, 3),
	CPUID_LAHF = CPUID_FEATURE(CPUID_80000001_ECX, 0),
	CPUID_CMP_LEGACY = CPUID_FEATURE(CPUID_80000001_ECX, 1),
	CPUID_LZCNT = CPUID_FEATURE(CPUID_80000001_ECX, 5),
	CPUID_SSE4A = CPUID_FEATURE(CPUID_80000001_ECX, 6),
	CPUID_MISALIGNSSE = CPUID_FEATURE(CPUID_80000001_ECX, 7),
	CPUID_PREFETCHW = CPUID_FEATURE(CPUID_80000001_ECX, 8),
	CPUID_TOPOEXT = CPUID_FEATURE(CPUID_80000001_ECX, 22),
	CPUID_SYSCALL = CPUID_FEATURE(CPUID_80000001_EDX, 11),
	CPUID_NX = CPUID_FEATURE(CPUID_80000001_EDX, 20),
	CPUID_MMXEXT = CPUID_FEATURE(CPUID_80000001_EDX, 22),
	CPUID_FFXSR = CPUID_FEATURE(CPUID_80000001_EDX, 25),
	CPUID_PAGE1GB = CPUID_FEATURE(CPUID_80000001_EDX, 26),
	CPUID_RDTSCP = CPUID_FEATURE(CPUID_80000001_EDX, 27),
	CPUID_LONG_MODE = CPUID_FEATURE(CPUID_80000001_EDX, 29),
	CPUID_XSAVE_ERROR_POINTERS = CPUID_FEATURE(CPUID_80000008_EBX, 2),
	CPUID_AMD_SSB_NO = CPUID_FEATURE(CPUID_80000008_EBX, 26),
	CPUID_BTC_NO = CPUID_FEATURE(CPUID_80000008_EBX, 29),
	CPUID_NO_NESTED_DATA_BP = CPUID_FEATURE(CPUID_80000021_EAX, 0),
	CPUID_LFENCE_SERIALIZING = CPUID_FEATURE(CPUID_80000021_EAX, 2),
	CPUID_NULL_CLEARS_BASE = CPUID_FEATURE(CPUID_80000021_EAX, 6),
	CPUID_AUTO_IBRS = CPUID_FEATURE(CPUID_80000021_EAX, 8),
	CPUID_SRSO_NO = CPUID_FEATURE(CPUID_80000021_EAX, 29),
	CPUID_TSA_SQ_NO = CPUID_FEATURE(CPUID_80000021_ECX, 1),
	CPUID_TSA_L1_NO = CPUID_FEATURE(CPUID_80000021_ECX, 2),
	/* Linux: Documentation/virt/kvm/x86/cpuid.rst */
	CPUID_KVM_OLD_CLOCK = CPUID_FEATURE(CPUID_KVM_EAX, 0),
	CPUID_KVM_NO_IO_DELAY = CPUID_FEATURE(CPUID_KVM_EAX, 1),
	CPUID_KVM_CLOCK = CPUID_FEATURE(CPUID_KVM_EAX, 3),
	CPUID_KVM_STEAL_TIME = CPUID_FEATURE(CPUID_KVM_EAX, 5),
	CPUID_KVM_PV_UNHALT = CPUID_FEATURE(CPUID_KVM_EAX, 7),
	CPUID_KVM_PV_TLB_FLUSH = CPUID_FEATURE(CPUID_KVM_EAX, 9),
	CPUID_KVM_PV_SEND_IPI = CPUID_FEATURE(CPUID_KVM_EAX, 11),
	CPUID_KVM_PV_SCHED_YIELD = CPUID_FEATURE(CPUID_KVM_EAX, 13),
	CPUID_KVM_CLOCK_STABLE = CPUID_FEATURE(CPUID_KVM_EAX, 24),
};

struct cpu_features {
	uint32_t word[CPUID_WORDS];
};

static inline bool cpu_features_have(
	const struct cpu_features *features, enum cpuid_feature feature)
{
	return features->word[CPUID_WORD(feature)] & CPUID_BIT(feature);
}

/* A feature that only one of the two has, or -1. */
static inline int cpu_features_first_difference(
	const struct cpu_features *a, const struct cpu_features *b)
{
	for (int word = 0; word < CPUID_WORDS; word++)
		if (a->word[word] != b->word[word])
			return CPUID_FEATURE(word, __builtin_ctz(a->word[word] ^ b->word[word]));
	return -1;
}

/* State components of XSAVE (SDM vol. 1 13.1). */
enum xstate {
	XSTATE_X87,
	XSTATE_SSE,
	XSTATE_AVX,
	XSTATE_OPMASK = 5,
	XSTATE_ZMM_HI256,
	XSTATE_HI16_ZMM,
	XSTATE_PKRU = 9,
	XSTATE_COUNT
};
#define XCR0_AVX    (BIT(XSTATE_X87) | BIT(XSTATE_SSE) | BIT(XSTATE_AVX))
#define XCR0_AVX512 (BIT(XSTATE_OPMASK) | BIT(XSTATE_ZMM_HI256) | BIT(XSTATE_HI16_ZMM))

#define XSTATE_SIZE_MAX 1024 /* bytes of the largest component */

/* Where a component (2 and up) lies in an XSAVE area in the standard format. */
struct xstate_component {
	uint32_t offset, size;
	bool align; /* in the compacted format: to 64 bytes */
};

/* What a host's CPUID and XCR0 say. The leaves are those that a model is made from. */
struct cpuid_host {
	struct cpuid_host_leaf {
		uint32_t leaf, subleaf;
		struct cpuid_result result;
	} leaves[64];
	unsigned count;
	uint64_t xcr0;
};

/* Ask this host. Slow under another hypervisor, so not more than once for a model. */
void cpuid_host_read(struct cpuid_host *host);
/* A leaf; zeroes for what the host does not have, and for leaves that no model is made from. */
struct cpuid_result cpuid_host_leaf(const struct cpuid_host *host, uint32_t leaf, uint32_t subleaf);

struct cpu_model {
	struct cpuid_host host;
	/* What the guest has, and what the host has of the same. OSXSAVE and OSPKE, which depend on
	 * CR4, and HTT are in neither. */
	struct cpu_features features, host_features;
	char vendor[13];
	bool amd; /* or Hygon: where the vendors differ, act as AMD's processors do; else Intel's */
	uint32_t signature;         /* family, model, stepping: CPUID 1 EAX */
	unsigned physical_bits;     /* MAXPHYADDR */
	unsigned linear_bits;       /* what base addresses may have, whatever CR4.LA57 says now */
	uint64_t cr4, efer, xcr0;   /* the bits that may be set */
	uint64_t arch_capabilities; /* IA32_ARCH_CAPABILITIES */
	struct xstate_component xstate[XSTATE_COUNT];
};

/* Build the model for a host. `withheld`: features that the engine cannot serve; NULL: none.
 * `text`: "MODEL[,+FEATURE][,-FEATURE][,vendor=V][,check]...", as --cpu has it; NULL: "host". With
 * "check", what cannot be had is warned of and left out. 0, or -EINVAL with a message that says
 * what is wrong with the text. */
int cpu_model_build(struct cpu_model *model, const struct cpuid_host *host,
	const struct cpu_features *withheld, const char *text);

/* Could the text be right on some host? 0, or -EINVAL with a message. */
int cpu_model_check(const char *text);

static inline bool cpu_model_has(const struct cpu_model *model, enum cpuid_feature feature)
{
	return cpu_features_have(&model->features, feature);
}

/* May our own code use it? */
static inline bool cpu_model_host_has(const struct cpu_model *model, enum cpuid_feature feature)
{
	return cpu_features_have(&model->host_features, feature);
}

#endif
