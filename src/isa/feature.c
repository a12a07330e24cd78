#include "isa/feature.h"

/* What an instruction set needs: up to two features, each one more than its number, 0 for none.
 * cpu_model.c lets no model have a feature without those that it builds on (AVX2 without AVX), so
 * one is enough for most. */
struct needs {
	uint16_t first, second;
	bool native; /* may run natively; else there is a routine for it, or nothing */
};

#define ALWAYS                                                                                     \
	{                                                                                          \
		0, 0, true                                                                         \
	}
#define NATIVE(a)                                                                                  \
	{                                                                                          \
		CPUID_##a + 1, 0, true                                                             \
	}
#define NATIVE_BOTH(a, b)                                                                          \
	{                                                                                          \
		CPUID_##a + 1, CPUID_##b + 1, true                                                 \
	}
#define EMULATED(a)                                                                                \
	{                                                                                          \
		CPUID_##a + 1, 0, false                                                            \
	}
/* By vector length: the shorter ones are AVX512VL's (SDM vol. 1 15.2.1). */
#define AVX512(set, feature)                                                                       \
	[ZYDIS_ISA_SET_##set##_128] = NATIVE_BOTH(feature, AVX512VL),                              \
	[ZYDIS_ISA_SET_##set##_256] = NATIVE_BOTH(feature, AVX512VL),                              \
	[ZYDIS_ISA_SET_##set##_512] = NATIVE_BOTH(feature, AVX512F)

static const struct needs table[ZYDIS_ISA_SET_MAX_VALUE + 1] = {
	[ZYDIS_ISA_SET_I86] = ALWAYS,
	[ZYDIS_ISA_SET_I186] = ALWAYS,
	[ZYDIS_ISA_SET_I286REAL] = ALWAYS,
	[ZYDIS_ISA_SET_I386] = ALWAYS,
	[ZYDIS_ISA_SET_I486] = ALWAYS,
	[ZYDIS_ISA_SET_I486REAL] = ALWAYS,
	[ZYDIS_ISA_SET_PENTIUMREAL] = ALWAYS,
	[ZYDIS_ISA_SET_PENTIUMMMX] = ALWAYS,
	[ZYDIS_ISA_SET_PPRO] = ALWAYS,
	[ZYDIS_ISA_SET_LONGMODE] = ALWAYS,
	[ZYDIS_ISA_SET_CMOV] = ALWAYS,
	[ZYDIS_ISA_SET_FCMOV] = ALWAYS,
	[ZYDIS_ISA_SET_X87] = ALWAYS,
	[ZYDIS_ISA_SET_FAT_NOP] = ALWAYS,
	[ZYDIS_ISA_SET_PAUSE] = ALWAYS,
	[ZYDIS_ISA_SET_LAHF] = NATIVE(LAHF), /* in 64-bit mode; elsewhere always */
	[ZYDIS_ISA_SET_CMPXCHG16B] = NATIVE(CX16),
	[ZYDIS_ISA_SET_CLFSH] = ALWAYS,
	[ZYDIS_ISA_SET_CLFLUSHOPT] = NATIVE(CLFLUSHOPT),
	[ZYDIS_ISA_SET_CLWB] = NATIVE(CLWB),
	[ZYDIS_ISA_SET_PREFETCH_NOP] = ALWAYS,
	[ZYDIS_ISA_SET_PREFETCHWT1] = ALWAYS, /* a hint where it is not known */
	[ZYDIS_ISA_SET_SSE_PREFETCH] = ALWAYS,
	[ZYDIS_ISA_SET_SSE] = ALWAYS,
	[ZYDIS_ISA_SET_SSEMXCSR] = ALWAYS,
	[ZYDIS_ISA_SET_SSE2] = ALWAYS,
	[ZYDIS_ISA_SET_SSE2MMX] = ALWAYS,
	[ZYDIS_ISA_SET_SSE3] = NATIVE(SSE3),
	[ZYDIS_ISA_SET_SSE3X87] = NATIVE(SSE3),
	[ZYDIS_ISA_SET_SSSE3] = NATIVE(SSSE3),
	[ZYDIS_ISA_SET_SSSE3MMX] = NATIVE(SSSE3),
	[ZYDIS_ISA_SET_SSE4] = NATIVE(SSE41),
	[ZYDIS_ISA_SET_SSE42] = NATIVE(SSE42),
	[ZYDIS_ISA_SET_SSE4A] = NATIVE(SSE4A),
	[ZYDIS_ISA_SET_AES] = NATIVE(AES),
	[ZYDIS_ISA_SET_PCLMULQDQ] = NATIVE(PCLMULQDQ),
	[ZYDIS_ISA_SET_SHA] = NATIVE(SHA),
	[ZYDIS_ISA_SET_GFNI] = NATIVE(GFNI),
	[ZYDIS_ISA_SET_MOVBE] = NATIVE(MOVBE),
	[ZYDIS_ISA_SET_POPCNT] = NATIVE(POPCNT),
	[ZYDIS_ISA_SET_LZCNT] = NATIVE(LZCNT),
	[ZYDIS_ISA_SET_BMI1] = NATIVE(BMI1),
	[ZYDIS_ISA_SET_BMI2] = NATIVE(BMI2),
	[ZYDIS_ISA_SET_ADOX_ADCX] = NATIVE(ADX),
	[ZYDIS_ISA_SET_RDRAND] = NATIVE(RDRAND),
	[ZYDIS_ISA_SET_RDSEED] = NATIVE(RDSEED),
	[ZYDIS_ISA_SET_AVX] = NATIVE(AVX),
	[ZYDIS_ISA_SET_AVX2] = NATIVE(AVX2),
	[ZYDIS_ISA_SET_AVX2GATHER] = NATIVE(AVX2),
	[ZYDIS_ISA_SET_FMA] = NATIVE(FMA),
	[ZYDIS_ISA_SET_F16C] = NATIVE(F16C),
	[ZYDIS_ISA_SET_AVXAES] = NATIVE_BOTH(AES, AVX),
	[ZYDIS_ISA_SET_VAES] = NATIVE_BOTH(VAES, AVX),
	[ZYDIS_ISA_SET_VPCLMULQDQ] = NATIVE_BOTH(VPCLMULQDQ, AVX),
	[ZYDIS_ISA_SET_AVX_GFNI] = NATIVE_BOTH(GFNI, AVX),
	[ZYDIS_ISA_SET_AVX_VNNI] = NATIVE(AVX_VNNI),
	AVX512(AVX512F, AVX512F),
	[ZYDIS_ISA_SET_AVX512F_128N] = NATIVE(AVX512F),
	[ZYDIS_ISA_SET_AVX512F_KOP] = NATIVE(AVX512F),
	[ZYDIS_ISA_SET_AVX512F_SCALAR] = NATIVE(AVX512F),
	AVX512(AVX512BW, AVX512BW),
	[ZYDIS_ISA_SET_AVX512BW_128N] = NATIVE(AVX512BW),
	[ZYDIS_ISA_SET_AVX512BW_KOP] = NATIVE(AVX512BW),
	AVX512(AVX512DQ, AVX512DQ),
	[ZYDIS_ISA_SET_AVX512DQ_128N] = NATIVE(AVX512DQ),
	[ZYDIS_ISA_SET_AVX512DQ_KOP] = NATIVE(AVX512DQ),
	[ZYDIS_ISA_SET_AVX512DQ_SCALAR] = NATIVE(AVX512DQ),
	AVX512(AVX512CD, AVX512CD),
	AVX512(AVX512_IFMA, AVX512_IFMA),
	AVX512(AVX512_VBMI, AVX512_VBMI),
	AVX512(AVX512_VBMI2, AVX512_VBMI2),
	AVX512(AVX512_VNNI, AVX512_VNNI),
	AVX512(AVX512_BITALG, AVX512_BITALG),
	AVX512(AVX512_VPOPCNTDQ, AVX512_VPOPCNTDQ),
	AVX512(AVX512_BF16, AVX512_BF16),
	AVX512(AVX512_GFNI, GFNI),
	AVX512(AVX512_VAES, VAES),
	AVX512(AVX512_VPCLMULQDQ, VPCLMULQDQ),

	[ZYDIS_ISA_SET_INVPCID] = EMULATED(INVPCID),
	[ZYDIS_ISA_SET_PKU] = EMULATED(PKU),
	[ZYDIS_ISA_SET_RDPID] = EMULATED(RDPID),
	[ZYDIS_ISA_SET_RDTSCP] = EMULATED(RDTSCP),
	[ZYDIS_ISA_SET_RDWRFSGS] = EMULATED(FSGSBASE),
	[ZYDIS_ISA_SET_SMAP] = EMULATED(SMAP),
	[ZYDIS_ISA_SET_SVM] = EMULATED(HYPERVISOR), /* VMMCALL, VMCALL */
	[ZYDIS_ISA_SET_VTX] = EMULATED(HYPERVISOR),
	[ZYDIS_ISA_SET_XSAVE] = EMULATED(XSAVE),
	[ZYDIS_ISA_SET_XSAVEC] = EMULATED(XSAVEC),
	[ZYDIS_ISA_SET_XSAVEOPT] = EMULATED(XSAVEOPT),
	[ZYDIS_ISA_SET_XSAVES] = EMULATED(XSAVES),
};

static const struct needs *needs_of(const ZydisDecodedInstruction *in)
{
	static const struct needs vex_128 = NATIVE_BOTH(PCLMULQDQ, AVX);

	/* Zydis has this form of it in AVX, which is not enough (SDM vol. 2, PCLMULQDQ). */
	if (in->mnemonic == ZYDIS_MNEMONIC_VPCLMULQDQ && in->meta.isa_set == ZYDIS_ISA_SET_AVX)
		return &vex_128;
	return &table[in->meta.isa_set];
}

static bool has(const struct cpu_model *model, uint16_t need)
{
	return !need || cpu_model_has(model, need - 1);
}

bool isa_is_offered(const struct cpu_model *model, const ZydisDecodedInstruction *in)
{
	const struct needs *needs = needs_of(in);

	if (in->meta.isa_set == ZYDIS_ISA_SET_LAHF &&
		in->machine_mode != ZYDIS_MACHINE_MODE_LONG_64)
		return true;
	return has(model, needs->first) && has(model, needs->second);
}

bool isa_set_is_native(const ZydisDecodedInstruction *in)
{
	return table[in->meta.isa_set].native;
}
