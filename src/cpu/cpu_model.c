/* Which processor the guest sees: what we implement, met with what the host has, what the engine
 * can serve, and what the user asked for.
 *
 * The guest's processor carries the host's vendor, family, model and name, so that software picks
 * the code it would pick on the host. Its features are of two kinds. Those that only system
 * software sees (paging modes, SMAP, PCID, PKU, LA57...) and cheap hints are emulated, and shown
 * whatever the host is: `ours`. Instructions that run natively in generated code need the host to
 * have them: `native`. isa/native.c refuses what is not shown here.
 *
 * Some of the other bits are there for speed. A guest kernel that believes itself vulnerable to a
 * speculation attack wraps its indirect calls, returns, or system calls in thunks, and each thunk
 * is simulated. Guest code is never run as such under the software engines: its branches train no
 * predictor that other guest code could share, and its loads pass through checked translations. So
 * the bits that say "not affected" are true here and are set. An engine that runs guest code
 * directly must show the host's own answer instead. */
#include "cpu/cpu_model.h"

#include "cpu/cpu_model_text.h"
#include "cpu/cpu_state.h"

#include <string.h>

/* --- the host --- */

/* Every leaf that a model is made from. What the guest asks for never adds to them. */
static const struct {
	uint32_t first, last;
	unsigned subleaves; /* of each leaf from first to last */
} host_ranges[] = {
	{0, 2, 1},
	{4, 4, 16},
	{6, 6, 1},
	{7, 7, 2},
	{0xd, 0xd, XSTATE_COUNT},
	{0x16, 0x16, 1},
	{0x80000000, 0x80000008, 1},
	{0x80000019, 0x8000001a, 1},
	{0x8000001d, 0x8000001d, 16},
	{0x80000021, 0x80000021, 1},
};

static struct cpuid_result execute_cpuid(uint32_t leaf, uint32_t subleaf)
{
	struct cpuid_result out;

	__asm__ volatile("cpuid"
			 : "=a"(out.eax), "=b"(out.ebx), "=c"(out.ecx), "=d"(out.edx)
			 : "a"(leaf), "c"(subleaf));
	return out;
}

static void read_leaf(struct cpuid_host *host, uint32_t leaf, unsigned subleaves)
{
	if (leaf > execute_cpuid(leaf & 0x80000000, 0).eax)
		return;
	for (unsigned i = 0; i < subleaves && host->count < ARRAY_SIZE(host->leaves); i++) {
		struct cpuid_result result = execute_cpuid(leaf, i);

		host->leaves[host->count++] = (struct cpuid_host_leaf){leaf, i, result};
		/* The list of caches ends with one of no type. */
		if ((leaf == 4 || leaf == 0x8000001d) && !(result.eax & 0x1f))
			break;
	}
}

static uint64_t read_xcr0(const struct cpuid_host *host)
{
	uint32_t low, high;

	if (!(cpuid_host_leaf(host, 1, 0).ecx & CPUID_BIT(CPUID_OSXSAVE)))
		return BIT(XSTATE_X87) | BIT(XSTATE_SSE);
	__asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
	return low | (uint64_t)high << 32;
}

void cpuid_host_read(struct cpuid_host *host)
{
	*host = (struct cpuid_host){0};
	for (size_t i = 0; i < ARRAY_SIZE(host_ranges); i++)
		for (uint32_t leaf = host_ranges[i].first; leaf <= host_ranges[i].last; leaf++)
			read_leaf(host, leaf, host_ranges[i].subleaves);
	host->xcr0 = read_xcr0(host);
}

struct cpuid_result cpuid_host_leaf(const struct cpuid_host *host, uint32_t leaf, uint32_t subleaf)
{
	for (unsigned i = 0; i < host->count; i++)
		if (host->leaves[i].leaf == leaf && host->leaves[i].subleaf == subleaf)
			return host->leaves[i].result;
	return (struct cpuid_result){0};
}

/* --- what we implement --- */

#define B(feature) CPUID_BIT(CPUID_##feature)

static const struct word {
	uint32_t leaf, subleaf;
	unsigned reg; /* 0 EAX .. 3 EDX */
	uint32_t ours, native;
} words[CPUID_WORDS] = {
	[CPUID_1_ECX] = {1, 0, 2, B(PCID) | B(X2APIC) | B(TSC_DEADLINE) | B(XSAVE) | B(HYPERVISOR),
		B(SSE3) | B(PCLMULQDQ) | B(SSSE3) | B(FMA) | B(CX16) | B(SSE41) | B(SSE42) |
			B(MOVBE) | B(POPCNT) | B(AES) | B(AVX) | B(F16C) | B(RDRAND)},
	[CPUID_1_EDX] = {1, 0, 3,
		B(FPU) | B(VME) | B(DE) | B(PSE) | B(TSC) | B(MSR) | B(PAE) | B(MCE) | B(CX8) |
			B(APIC) | B(SEP) | B(MTRR) | B(PGE) | B(MCA) | B(CMOV) | B(PAT) | B(PSE36) |
			B(CLFSH) | B(MMX) | B(FXSR) | B(SSE) | B(SSE2),
		0},
	[CPUID_6_EAX] = {6, 0, 0, B(ARAT), 0},
	[CPUID_7_EBX] = {7, 0, 1,
		B(FSGSBASE) | B(TSC_ADJUST) | B(SMEP) | B(ERMS) | B(INVPCID) | B(NO_FPU_SELECTORS) |
			B(SMAP) | B(CLFLUSHOPT) | B(CLWB),
		B(BMI1) | B(AVX2) | B(BMI2) | B(AVX512F) | B(AVX512DQ) | B(RDSEED) | B(ADX) |
			B(AVX512_IFMA) | B(AVX512CD) | B(SHA) | B(AVX512BW) | B(AVX512VL)},
	[CPUID_7_ECX] = {7, 0, 2, B(UMIP) | B(PKU) | B(LA57) | B(RDPID),
		B(AVX512_VBMI) | B(AVX512_VBMI2) | B(GFNI) | B(VAES) | B(VPCLMULQDQ) |
			B(AVX512_VNNI) | B(AVX512_BITALG) | B(AVX512_VPOPCNTDQ)},
	[CPUID_7_EDX] = {7, 0, 3, B(FSRM), 0},
	[CPUID_7_1_EAX] = {7, 1, 0, 0, B(AVX_VNNI) | B(AVX512_BF16)},
	[CPUID_D_1_EAX] = {0xd, 1, 0, B(XSAVEOPT) | B(XSAVEC) | B(XGETBV1) | B(XSAVES), 0},
	[CPUID_80000001_ECX] = {0x80000001, 0, 2, B(LAHF) | B(PREFETCHW),
		B(LZCNT) | B(SSE4A) | B(MISALIGNSSE)},
	[CPUID_80000001_EDX] = {0x80000001, 0, 3,
		B(SYSCALL) | B(NX) | B(PAGE1GB) | B(RDTSCP) | B(LONG_MODE), 0},
	[CPUID_80000008_EBX] = {0x80000008, 0, 1, 0, 0},
	[CPUID_80000021_EAX] = {0x80000021, 0, 0, 0, 0},
	[CPUID_80000021_ECX] = {0x80000021, 0, 2, 0, 0},
	[CPUID_KVM_EAX] = {0x40000001, 0, 0,
		B(KVM_OLD_CLOCK) | B(KVM_NO_IO_DELAY) | B(KVM_CLOCK) | B(KVM_STEAL_TIME) |
			B(KVM_PV_UNHALT) | B(KVM_PV_TLB_FLUSH) | B(KVM_PV_SEND_IPI) |
			B(KVM_PV_SCHED_YIELD) | B(KVM_CLOCK_STABLE),
		0},
};

/* Features that a vendor's processors have, where the other's do not. */
static const struct cpu_features intel_only = {
	.word = {[CPUID_7_EDX] = B(SPEC_CTRL) | B(ARCH_CAPABILITIES)}};
static const struct cpu_features amd_only = {
	.word = {[CPUID_80000001_ECX] = B(TOPOEXT),
		[CPUID_80000001_EDX] = B(MMXEXT) | B(FFXSR),
		[CPUID_80000008_EBX] = B(XSAVE_ERROR_POINTERS) | B(AMD_SSB_NO) | B(BTC_NO),
		[CPUID_80000021_EAX] = B(NO_NESTED_DATA_BP) | B(LFENCE_SERIALIZING) |
				       B(NULL_CLEARS_BASE) | B(AUTO_IBRS) | B(SRSO_NO),
		[CPUID_80000021_ECX] = B(TSA_SQ_NO) | B(TSA_L1_NO)}};

/* Bits that AMD processors repeat in 0x80000001 EDX from leaf 1. */
#define AMD_REPEATED                                                                               \
	(B(FPU) | B(VME) | B(DE) | B(PSE) | B(TSC) | B(MSR) | B(PAE) | B(MCE) | B(CX8) | B(APIC) | \
		B(MTRR) | B(PGE) | B(MCA) | B(CMOV) | B(PAT) | B(PSE36) | B(MMX) | B(FXSR))

/* A feature is of no use, and would confuse, without another. The order counts: a feature that is
 * dropped must come before those that depend on it. */
static const struct {
	uint16_t feature, needs;
} dependencies[] = {
	{CPUID_XSAVEOPT, CPUID_XSAVE},
	{CPUID_XSAVEC, CPUID_XSAVE},
	{CPUID_XGETBV1, CPUID_XSAVE},
	{CPUID_XSAVES, CPUID_XSAVEC},
	{CPUID_PKU, CPUID_XSAVE},
	{CPUID_AVX, CPUID_XSAVE},
	{CPUID_INVPCID, CPUID_PCID},
	{CPUID_FMA, CPUID_AVX},
	{CPUID_F16C, CPUID_AVX},
	{CPUID_AVX2, CPUID_AVX},
	{CPUID_VAES, CPUID_AVX},
	{CPUID_VAES, CPUID_AES},
	{CPUID_VPCLMULQDQ, CPUID_AVX},
	{CPUID_VPCLMULQDQ, CPUID_PCLMULQDQ},
	{CPUID_AVX_VNNI, CPUID_AVX2},
	{CPUID_AVX512F, CPUID_AVX2},
	/* Stubs move state with AVX512BW's KMOVQ and VL's short vectors: all of x86-64-v4's part of
	 * AVX-512, or none. */
	{CPUID_AVX512F, CPUID_AVX512DQ},
	{CPUID_AVX512F, CPUID_AVX512BW},
	{CPUID_AVX512F, CPUID_AVX512VL},
	{CPUID_AVX512F, CPUID_AVX512CD},
	{CPUID_AVX512DQ, CPUID_AVX512F},
	{CPUID_AVX512BW, CPUID_AVX512F},
	{CPUID_AVX512VL, CPUID_AVX512F},
	{CPUID_AVX512CD, CPUID_AVX512F},
	{CPUID_AVX512_IFMA, CPUID_AVX512F},
	{CPUID_AVX512_VBMI, CPUID_AVX512F},
	{CPUID_AVX512_VBMI2, CPUID_AVX512F},
	{CPUID_AVX512_VNNI, CPUID_AVX512F},
	{CPUID_AVX512_BITALG, CPUID_AVX512F},
	{CPUID_AVX512_VPOPCNTDQ, CPUID_AVX512F},
	{CPUID_AVX512_BF16, CPUID_AVX512F},
	{CPUID_KVM_NO_IO_DELAY, CPUID_HYPERVISOR},
	{CPUID_KVM_CLOCK, CPUID_HYPERVISOR},
	{CPUID_KVM_OLD_CLOCK, CPUID_KVM_CLOCK},
	{CPUID_KVM_CLOCK_STABLE, CPUID_KVM_CLOCK},
	{CPUID_KVM_STEAL_TIME, CPUID_HYPERVISOR},
	{CPUID_KVM_PV_TLB_FLUSH, CPUID_KVM_STEAL_TIME},
	{CPUID_KVM_PV_UNHALT, CPUID_HYPERVISOR},
	{CPUID_KVM_PV_SEND_IPI, CPUID_HYPERVISOR},
	{CPUID_KVM_PV_SCHED_YIELD, CPUID_HYPERVISOR},
};

static void drop(struct cpu_features *features, enum cpuid_feature feature)
{
	features->word[CPUID_WORD(feature)] &= ~CPUID_BIT(feature);
}

void cpu_features_drop_dependent(struct cpu_features *features)
{
	for (size_t i = 0; i < ARRAY_SIZE(dependencies); i++)
		if (!cpu_features_have(features, dependencies[i].needs))
			drop(features, dependencies[i].feature);
}

static void add(struct cpu_features *to, const struct cpu_features *more)
{
	for (unsigned i = 0; i < CPUID_WORDS; i++)
		to->word[i] |= more->word[i];
}

/* --- XSAVE's layout --- */

/* The architecture's sizes. A host with another one would have another component, which we cannot
 * carry. */
static const uint16_t xstate_sizes[XSTATE_COUNT] = {
	[XSTATE_AVX] = 256,
	[XSTATE_OPMASK] = 64,
	[XSTATE_ZMM_HI256] = 512,
	[XSTATE_HI16_ZMM] = 1024,
	[XSTATE_PKRU] = 8,
};
_Static_assert(XSTATE_SIZE_MAX >= 1024, "the largest component");

#define XSAVE_LEGACY_END 576 /* legacy region and header */
#define XSAVE_AREA_MAX   4096

static struct cpuid_result component_leaf(const struct cpuid_host *host, unsigned i)
{
	return cpuid_host_leaf(host, 0xd, i);
}

/* Of the components in `set`, those that the host keeps where we can find them. */
static uint64_t usable_components(const struct cpuid_host *host, uint64_t set)
{
	for (unsigned i = XSTATE_AVX; i < XSTATE_COUNT; i++) {
		struct cpuid_result at = component_leaf(host, i);

		if (i != XSTATE_PKRU && (at.eax != xstate_sizes[i] || at.ebx < XSAVE_LEGACY_END ||
						at.ebx > XSAVE_AREA_MAX - at.eax))
			set &= ~BIT(i);
	}
	return set;
}

/* As the host has it, for what it has; PKRU, which is ours even where the host has none, then goes
 * behind the rest. */
static void lay_out_xsave(struct cpu_model *model)
{
	unsigned end = XSAVE_LEGACY_END;

	for (unsigned i = XSTATE_AVX; i < XSTATE_COUNT; i++) {
		struct cpuid_result at = component_leaf(&model->host, i);
		bool known = at.eax == xstate_sizes[i] && at.ebx >= XSAVE_LEGACY_END &&
			     at.ebx <= XSAVE_AREA_MAX - at.eax;

		if (!(model->xcr0 & BIT(i)))
			continue;
		model->xstate[i] = (struct xstate_component){
			known ? at.ebx : end, xstate_sizes[i], known && (at.ecx & 2)};
		end = MAX(end, model->xstate[i].offset + model->xstate[i].size);
	}
}

/* --- building --- */

static void read_vendor(const struct cpuid_host *host, char vendor[13])
{
	struct cpuid_result leaf = cpuid_host_leaf(host, 0, 0);

	memcpy(vendor, &leaf.ebx, 4);
	memcpy(vendor + 4, &leaf.edx, 4);
	memcpy(vendor + 8, &leaf.ecx, 4);
	vendor[12] = '\0';
}

/* The model's own, or the host's. */
static int identify(struct cpu_model *model, const char *text)
{
	int error = cpu_model_identify(text, model->vendor, &model->signature);

	if (error)
		return error;
	if (!*model->vendor)
		read_vendor(&model->host, model->vendor);
	if (!model->signature)
		model->signature = cpuid_host_leaf(&model->host, 1, 0).eax;
	model->amd = memcmp(model->vendor + 8, "ntel", 4) != 0;
	return 0;
}

static void find_host_features(struct cpu_model *model)
{
	uint64_t xcr0 = usable_components(&model->host, model->host.xcr0);

	for (unsigned i = 0; i < CPUID_WORDS; i++) {
		struct cpuid_result leaf =
			cpuid_host_leaf(&model->host, words[i].leaf, words[i].subleaf);

		model->host_features.word[i] = (&leaf.eax)[words[i].reg];
	}
	drop(&model->host_features, CPUID_OSXSAVE);
	drop(&model->host_features, CPUID_OSPKE);
	/* Without the state there is no feature, whatever CPUID says. */
	if ((xcr0 & XCR0_AVX) != XCR0_AVX)
		drop(&model->host_features, CPUID_AVX);
	if ((xcr0 & XCR0_AVX512) != XCR0_AVX512)
		drop(&model->host_features, CPUID_AVX512F);
}

/* All that can be had here. */
static void make_offer(const struct cpu_model *model, struct cpu_offer *offer)
{
	for (unsigned i = 0; i < CPUID_WORDS; i++) {
		offer->native.word[i] = words[i].native;
		offer->possible.word[i] =
			words[i].ours | (words[i].native & model->host_features.word[i]);
	}
	add(&offer->possible, model->amd ? &amd_only : &intel_only);
	cpu_features_drop_dependent(&offer->possible);
}

static void set_control_bits(struct cpu_model *model)
{
	static const struct {
		uint16_t feature;
		uint32_t cr4;
	} bits[] = {
		{CPUID_VME, CR4_VME | CR4_PVI},
		{CPUID_DE, CR4_DE},
		{CPUID_PSE, CR4_PSE},
		{CPUID_PAE, CR4_PAE},
		{CPUID_MCE, CR4_MCE},
		{CPUID_PGE, CR4_PGE},
		{CPUID_UMIP, CR4_UMIP},
		{CPUID_LA57, CR4_LA57},
		{CPUID_FSGSBASE, CR4_FSGSBASE},
		{CPUID_PCID, CR4_PCIDE},
		{CPUID_XSAVE, CR4_OSXSAVE},
		{CPUID_SMEP, CR4_SMEP},
		{CPUID_SMAP, CR4_SMAP},
		{CPUID_PKU, CR4_PKE},
	};

	model->cr4 = CR4_TSD | CR4_PCE | CR4_OSFXSR | CR4_OSXMMEXCPT;
	for (size_t i = 0; i < ARRAY_SIZE(bits); i++)
		if (cpu_model_has(model, bits[i].feature))
			model->cr4 |= bits[i].cr4;
	model->efer = EFER_SCE | EFER_LME | EFER_LMA;
	if (cpu_model_has(model, CPUID_NX))
		model->efer |= EFER_NXE;
	if (cpu_model_has(model, CPUID_FFXSR))
		model->efer |= EFER_FFXSR;
	if (cpu_model_has(model, CPUID_AUTO_IBRS))
		model->efer |= EFER_AUTOIBRS;
	model->xcr0 = BIT(XSTATE_X87) | BIT(XSTATE_SSE);
	if (cpu_model_has(model, CPUID_AVX))
		model->xcr0 |= XCR0_AVX;
	if (cpu_model_has(model, CPUID_AVX512F))
		model->xcr0 |= XCR0_AVX512;
	if (cpu_model_has(model, CPUID_PKU))
		model->xcr0 |= BIT(XSTATE_PKRU);
}

static unsigned physical_bits(const struct cpuid_host *host)
{
	unsigned bits = cpuid_host_leaf(host, 0x80000008, 0).eax & 0xff;

	return MAX(MIN(bits, 52u), 36u);
}

/* RDCL_NO IBRS_ALL SKIP_L1DFL_VMENTRY SSB_NO MDS_NO PSCHANGE_MC_NO TAA_NO SBDR_SSDP_NO FBSDP_NO
 * PSDP_NO BHI_NO PBRSB_NO GDS_NO RFDS_NO ITS_NO */
#define NOT_AFFECTED                                                                               \
	(BIT(0) | BIT(1) | BIT(3) | BIT(4) | BIT(5) | BIT(6) | BIT(8) | BIT(13) | BIT(14) |        \
		BIT(15) | BIT(20) | BIT(24) | BIT(26) | BIT(27) | BIT(62))

int cpu_model_build(struct cpu_model *model, const struct cpuid_host *host,
	const struct cpu_features *withheld, const char *text)
{
	struct cpu_offer offer = {.withheld = withheld ? *withheld : (struct cpu_features){{0}}};
	int error;

	text = text ? text : "host";
	*model = (struct cpu_model){.host = *host};
	error = identify(model, text);
	if (error)
		return error;
	find_host_features(model);
	make_offer(model, &offer);
	error = cpu_model_choose(text, &offer, &model->features);
	if (error)
		return error;
	if (model->amd)
		model->features.word[CPUID_80000001_EDX] |=
			model->features.word[CPUID_1_EDX] & AMD_REPEATED;
	model->physical_bits = physical_bits(host);
	model->linear_bits = cpu_model_has(model, CPUID_LA57) ? 57 : 48;
	set_control_bits(model);
	if (cpu_model_has(model, CPUID_ARCH_CAPABILITIES))
		model->arch_capabilities = NOT_AFFECTED;
	lay_out_xsave(model);
	return 0;
}
