/* CPUID: one table of what we implement, met with what the host has.
 *
 * The guest's processor carries the host's vendor, family, model and name, so that software picks
 * the code it would pick on the host. Its features are of two kinds. Those that only system
 * software sees (paging modes, SMAP, PCID, PKU, LA57...) and cheap hints are emulated, and shown
 * whatever the host is: `ours`. Instructions that run natively in generated stubs need the host to
 * have them: `native`. isa/native.c refuses what is not shown here.
 *
 * Some of the rest is about speed. A guest kernel that believes itself vulnerable to a speculation
 * attack wraps its indirect calls, returns, or system calls in thunks, and each thunk is simulated.
 * Guest code is never run as such under the software engines: its branches train no predictor that
 * other guest code could share, and its loads pass through checked translations. So the bits that
 * say "not affected" are true here and are set. An engine that runs guest code directly must show
 * the host's own answer instead. */
#include "cpu/cpuid.h"
#include "cpu/fpu.h"

#include <pthread.h>
#include <string.h>

/* --- asking the host, once --- */

/* Every leaf that anything here is made from. What the guest asks for never adds to them. */
static const struct {
	uint32_t first, last;
	unsigned subleaves; /* of each leaf from first to last */
} host_ranges[] = {
	{0, 2, 1},
	{4, 4, 16},
	{7, 7, 2},
	{0xd, 0xd, XSTATE_COUNT},
	{0x16, 0x16, 1},
	{0x80000000, 0x80000008, 1},
	{0x80000019, 0x8000001a, 1},
	{0x8000001d, 0x8000001d, 16},
};

static struct host_leaf {
	uint32_t leaf, subleaf;
	struct cpuid_result result;
} host_leaves[64];
static unsigned host_leaf_count;
static pthread_once_t host_leaves_once = PTHREAD_ONCE_INIT;

static struct cpuid_result execute_cpuid(uint32_t leaf, uint32_t subleaf)
{
	struct cpuid_result out;

	__asm__ volatile("cpuid"
			 : "=a"(out.eax), "=b"(out.ebx), "=c"(out.ecx), "=d"(out.edx)
			 : "a"(leaf), "c"(subleaf));
	return out;
}

static void read_host_leaf(uint32_t leaf, unsigned subleaves)
{
	if (leaf > execute_cpuid(leaf & 0x80000000, 0).eax)
		return;
	for (unsigned i = 0; i < subleaves && host_leaf_count < ARRAY_SIZE(host_leaves); i++)
		host_leaves[host_leaf_count++] =
			(struct host_leaf){leaf, i, execute_cpuid(leaf, i)};
}

static void read_host_leaves(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(host_ranges); i++)
		for (uint32_t leaf = host_ranges[i].first; leaf <= host_ranges[i].last; leaf++)
			read_host_leaf(leaf, host_ranges[i].subleaves);
}

const struct cpuid_result *cpuid_host(uint32_t leaf, uint32_t subleaf)
{
	static const struct cpuid_result nothing;

	pthread_once(&host_leaves_once, read_host_leaves);
	for (unsigned i = 0; i < host_leaf_count; i++)
		if (host_leaves[i].leaf == leaf && host_leaves[i].subleaf == subleaf)
			return &host_leaves[i].result;
	return &nothing;
}

bool cpuid_is_intel(void)
{
	return cpuid_host(0, 0)->ecx == 0x6c65746e; /* "ntel" */
}

/* --- features --- */

static const struct word {
	uint32_t leaf, subleaf;
	unsigned reg; /* 0 EAX .. 3 EDX */
	uint32_t ours, native;
} words[CPUID_WORDS] = {
	/* PCID X2APIC TSC_DEADLINE XSAVE HYPERVISOR; SSE3 PCLMULQDQ SSSE3 FMA CX16 SSE4.1 SSE4.2
	 * MOVBE POPCNT AES AVX F16C RDRAND */
	[CPUID_1_ECX] = {1, 0, 2, 0x85220000, 0x72d83203},
	/* All but ACPI, SS, PSN, DS, TM and PBE; HTT by the number of CPUs. */
	[CPUID_1_EDX] = {1, 0, 3, 0x078bfbff, 0},
	/* FSGSBASE TSC_ADJUST SMEP ERMS INVPCID NO_FPU_SELECTORS SMAP CLFLUSHOPT CLWB; BMI1 AVX2
	 * BMI2 AVX512F DQ RDSEED ADX IFMA CD SHA BW VL */
	[CPUID_7_EBX] = {7, 0, 1, 0x01902683, 0xf02f0128},
	/* UMIP PKU LA57 RDPID; VBMI VBMI2 GFNI VAES VPCLMULQDQ VNNI BITALG VPOPCNTDQ */
	[CPUID_7_ECX] = {7, 0, 2, 0x0041000c, 0x00005f42},
	[CPUID_7_EDX] = {7, 0, 3, 0x00000010, 0},     /* FSRM */
	[CPUID_7_1_EAX] = {7, 1, 0, 0, 0x00000030},   /* AVX_VNNI AVX512_BF16 */
	[CPUID_D_1_EAX] = {0xd, 1, 0, 0x0000000f, 0}, /* XSAVEOPT XSAVEC XGETBV1 XSAVES */
	/* LAHF PREFETCHW; LZCNT SSE4A MISALIGNSSE */
	[CPUID_80000001_ECX] = {0x80000001, 0, 2, 0x00000101, 0x000000e0},
	/* SYSCALL NX PAGE1GB RDTSCP LM */
	[CPUID_80000001_EDX] = {0x80000001, 0, 3, 0x2c100800, 0},
};

/* Bits that AMD processors repeat in 0x80000001 EDX from leaf 1. */
#define AMD_REPEATED 0x0183f3ff

static uint32_t features[CPUID_WORDS];
static uint64_t xcr0_allowed;
static pthread_once_t features_once = PTHREAD_ONCE_INIT;

static uint64_t host_xcr0(void)
{
	uint32_t low, high;

	if (!(cpuid_host(1, 0)->ecx & BIT(27)))
		return BIT(XSTATE_X87) | BIT(XSTATE_SSE);
	__asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
	return low | (uint64_t)high << 32;
}

static void drop(enum cpuid_feature feature)
{
	features[feature / 32] &= ~(uint32_t)BIT(feature % 32);
}

static bool has(enum cpuid_feature feature)
{
	return features[feature / 32] & BIT(feature % 32);
}

/* A feature is of no use, and would confuse, without the state it works on. */
static void drop_dependent(void)
{
	static const uint16_t need_avx[] = {
		CPUID_FMA, CPUID_F16C, CPUID_AVX2, CPUID_VAES, CPUID_VPCLMULQDQ, CPUID_AVX_VNNI};
	static const uint16_t avx512[] = {CPUID_AVX512F, CPUID_AVX512DQ, CPUID_AVX512BW,
		CPUID_AVX512VL, CPUID_AVX512CD, CPUID_AVX512_IFMA, CPUID_AVX512_VBMI,
		CPUID_AVX512_VBMI2, CPUID_AVX512_VNNI, CPUID_AVX512_BITALG, CPUID_AVX512_VPOPCNTDQ,
		CPUID_AVX512_BF16};
	uint64_t host = host_xcr0();

	xcr0_allowed = BIT(XSTATE_X87) | BIT(XSTATE_SSE) | BIT(XSTATE_PKRU);
	if (has(CPUID_AVX) && (host & XCR0_AVX) == XCR0_AVX) {
		xcr0_allowed |= XCR0_AVX;
	} else {
		drop(CPUID_AVX);
		for (size_t i = 0; i < ARRAY_SIZE(need_avx); i++)
			drop(need_avx[i]);
	}
	/* Stubs move state with AVX512BW's KMOVQ and VL's short vectors: all of x86-64-v4, or none.
	 */
	if (has(CPUID_AVX) && has(CPUID_AVX512F) && has(CPUID_AVX512DQ) && has(CPUID_AVX512BW) &&
		has(CPUID_AVX512VL) && has(CPUID_AVX512CD) && (host & XCR0_AVX512) == XCR0_AVX512) {
		xcr0_allowed |= XCR0_AVX512;
	} else {
		for (size_t i = 0; i < ARRAY_SIZE(avx512); i++)
			drop(avx512[i]);
	}
}

static void find_features(void)
{
	for (unsigned i = 0; i < CPUID_WORDS; i++) {
		const struct word *word = &words[i];
		struct cpuid_result host = {0};

		if (word->native)
			host = *cpuid_host(word->leaf, word->subleaf);
		features[i] = word->ours | (word->native & (&host.eax)[word->reg]);
	}
	if (cpuid_is_intel()) {
		features[CPUID_7_EDX] |= BIT(26) | BIT(29); /* IBRS and IBPB, ARCH_CAPABILITIES */
	} else {
		features[CPUID_80000001_ECX] |= BIT(22);           /* TOPOEXT */
		features[CPUID_80000001_EDX] |= BIT(22) | BIT(25); /* MMXEXT FFXSR */
		features[CPUID_80000001_EDX] |= features[CPUID_1_EDX] & AMD_REPEATED;
	}
	drop_dependent();
}

static uint32_t feature_word(enum cpuid_word word)
{
	pthread_once(&features_once, find_features);
	return features[word];
}

void cpuid_withhold(enum cpuid_feature feature)
{
	feature_word(0);
	drop(feature);
	drop_dependent();
}

bool cpuid_has(enum cpuid_feature feature)
{
	return feature_word(feature / 32) & BIT(feature % 32);
}

uint64_t cpuid_xcr0_allowed(void)
{
	feature_word(0);
	return xcr0_allowed;
}

uint64_t cpuid_cr4_allowed(void)
{
	return CR4_VME | CR4_PVI | CR4_TSD | CR4_DE | CR4_PSE | CR4_PAE | CR4_MCE | CR4_PGE |
	       CR4_PCE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_UMIP | CR4_FSGSBASE | CR4_PCIDE |
	       CR4_OSXSAVE | CR4_SMEP | CR4_SMAP | CR4_PKE | (cpuid_has(CPUID_LA57) ? CR4_LA57 : 0);
}

uint64_t cpuid_efer_allowed(void)
{
	uint64_t bits = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE;

	return cpuid_is_intel() ? bits : bits | EFER_FFXSR | EFER_AUTOIBRS;
}

unsigned cpuid_physical_bits(void)
{
	unsigned bits = cpuid_host(0x80000008, 0)->eax & 0xff;

	return bits ? MIN(bits, 52) : 36;
}

uint64_t cpuid_arch_capabilities(void)
{
	/* RDCL_NO IBRS_ALL SKIP_L1DFL_VMENTRY SSB_NO MDS_NO PSCHANGE_MC_NO TAA_NO SBDR_SSDP_NO
	 * FBSDP_NO PSDP_NO BHI_NO PBRSB_NO GDS_NO RFDS_NO ITS_NO */
	static const uint8_t bits[] = {0, 1, 3, 4, 5, 6, 8, 13, 14, 15, 20, 24, 26, 27, 62};
	uint64_t value = 0;

	for (size_t i = 0; i < ARRAY_SIZE(bits); i++)
		value |= BIT(bits[i]);
	return cpuid_has(CPUID_ARCH_CAPABILITIES) ? value : 0;
}

/* --- leaves --- */

/* Bits that an APIC ID of one of `count` CPUs needs. */
static unsigned id_bits(unsigned count)
{
	unsigned bits = 0;

	while ((1u << bits) < count)
		bits++;
	return bits;
}

static unsigned cpu_count(const struct cpu *cpu)
{
	return cpu->platform && cpu->platform->cpu_count ? cpu->platform->cpu_count : 1;
}

#define MSR_APIC_BASE     0x1b
#define APIC_BASE_ENABLED BIT(11)

/* The APIC feature bit follows IA32_APIC_BASE (SDM vol. 3A 11.4.3). */
static bool apic_enabled(const struct cpu *cpu)
{
	const struct cpu_platform *platform = cpu->platform;
	uint64_t base = APIC_BASE_ENABLED;

	if (platform && platform->apic_msr_read)
		platform->apic_msr_read(platform->opaque, (struct cpu *)cpu, MSR_APIC_BASE, &base);
	return base & APIC_BASE_ENABLED;
}

static void leaf_1(const struct cpu *cpu, struct cpuid_result *out)
{
	unsigned count = cpu_count(cpu);

	out->eax = cpuid_host(1, 0)->eax;
	out->ebx = cpu->index << 24 | (count > 1 ? MIN(count, 255) << 16 : 0) | 8 << 8;
	out->ecx = feature_word(CPUID_1_ECX);
	if (cpu->cr4 & CR4_OSXSAVE)
		out->ecx |= BIT(27);
	out->edx = feature_word(CPUID_1_EDX);
	if (count > 1)
		out->edx |= BIT(28);
	if (!apic_enabled(cpu))
		out->edx &= ~(uint32_t)BIT(9);
}

/* Caches: the host's, shared by one CPU below the last level and by all at it. The sharing field
 * has the same place in Intel's leaf 4 and in AMD's 0x8000001d. */
static void leaf_cache(
	const struct cpu *cpu, uint32_t leaf, uint32_t subleaf, struct cpuid_result *out)
{
	unsigned count = cpu_count(cpu), level, sharing, cores;

	*out = *cpuid_host(leaf, subleaf);
	if (!(out->eax & 0x1f))
		return;
	level = (out->eax >> 5) & 7;
	cores = (1u << id_bits(count)) - 1;
	sharing = level >= 3 ? cores : 0;
	out->eax = (out->eax & 0x3fff) | MIN(sharing, 0xfff) << 14;
	if (leaf == 4)
		out->eax |= MIN(cores, 0x3f) << 26;
}

static void leaf_7(const struct cpu *cpu, uint32_t subleaf, struct cpuid_result *out)
{
	if (subleaf == 0) {
		out->eax = 1;
		out->ebx = feature_word(CPUID_7_EBX);
		out->ecx = feature_word(CPUID_7_ECX);
		if (cpu->cr4 & CR4_PKE)
			out->ecx |= BIT(4);
		out->edx = feature_word(CPUID_7_EDX);
	} else if (subleaf == 1) {
		out->eax = feature_word(CPUID_7_1_EAX);
	}
}

/* Topology: N cores of one thread in one package. */
static void leaf_b(const struct cpu *cpu, uint32_t subleaf, struct cpuid_result *out)
{
	out->ecx = subleaf & 0xff;
	out->edx = cpu->index;
	if (subleaf == 0) {
		out->ebx = 1;
		out->ecx |= 1 << 8; /* threads */
	} else if (subleaf == 1) {
		out->eax = id_bits(cpu_count(cpu));
		out->ebx = cpu_count(cpu);
		out->ecx |= 2 << 8; /* cores */
	}
}

static void leaf_d(const struct cpu *cpu, uint32_t subleaf, struct cpuid_result *out)
{
	uint64_t allowed = cpuid_xcr0_allowed();

	if (subleaf == 0) {
		out->eax = allowed;
		out->edx = allowed >> 32;
		out->ebx = fpu_xsave_size(cpu->xcr0, false);
		out->ecx = fpu_xsave_size(allowed, false);
	} else if (subleaf == 1) {
		out->eax = feature_word(CPUID_D_1_EAX);
		out->ebx = fpu_xsave_size(cpu->xcr0 | cpu->xss, true);
	} else if (subleaf < XSTATE_COUNT && (allowed & BIT(subleaf))) {
		out->eax = fpu_xsave_component_size(subleaf);
		out->ebx = fpu_xsave_offset(subleaf);
		out->ecx = cpuid_host(0xd, subleaf)->ecx & 2;
	}
}

static void leaf_basic(
	const struct cpu *cpu, uint32_t leaf, uint32_t subleaf, struct cpuid_result *out)
{
	switch (leaf) {
	case 0:
		*out = *cpuid_host(0, 0);
		out->eax = cpuid_is_intel() ? MIN(MAX(out->eax, 0xd), 0x16) : 0xd;
		break;
	case 1:
		leaf_1(cpu, out);
		break;
	case 2:
		if (cpuid_is_intel())
			*out = *cpuid_host(2, 0);
		break;
	case 4:
		if (cpuid_is_intel())
			leaf_cache(cpu, 4, subleaf, out);
		break;
	case 6:
		out->eax = BIT(2); /* the APIC timer always runs */
		break;
	case 7:
		leaf_7(cpu, subleaf, out);
		break;
	case 0xb:
		leaf_b(cpu, subleaf, out);
		break;
	case 0xd:
		leaf_d(cpu, subleaf, out);
		break;
	case 0x15:
		/* TSC frequency = crystal * EBX / EAX: a crystal of 1 MHz. */
		if (cpu->platform && cpu->platform->clock)
			*out = (struct cpuid_result){
				.eax = 1000, .ebx = cpu->platform->clock->tsc_khz, .ecx = 1000000};
		break;
	case 0x16:
		*out = *cpuid_host(0x16, 0);
		break;
	}
}

/* The signature and leaves of KVM, whose paravirtual clock we speak. */
static void leaf_hypervisor(const struct cpu *cpu, uint32_t leaf, struct cpuid_result *out)
{
	switch (leaf) {
	case 0x40000000:
		out->eax = 0x40000010;
		memcpy(&out->ebx, "KVMK", 4);
		memcpy(&out->ecx, "VMKV", 4);
		memcpy(&out->edx, "M\0\0\0", 4);
		break;
	case 0x40000001:
		/* CLOCKSOURCE NOP_IO_DELAY CLOCKSOURCE2 CLOCKSOURCE_STABLE */
		out->eax = BIT(0) | BIT(1) | BIT(3) | BIT(24);
		break;
	case 0x40000010:
		/* TSC and local APIC bus in kHz, so that nobody has to measure them. */
		if (cpu->platform && cpu->platform->clock)
			out->eax = cpu->platform->clock->tsc_khz;
		out->ebx = 1000000;
		break;
	}
}

/* AMD's leaf 0x80000008 also counts cores and lists some speculation features. */
static void leaf_80000008(const struct cpu *cpu, struct cpuid_result *out)
{
	out->eax = cpuid_physical_bits() | (cpuid_has(CPUID_LA57) ? 57 : 48) << 8;
	if (cpuid_is_intel())
		return;
	out->ebx = BIT(2) | BIT(26) | BIT(29); /* error pointers always saved; SSB_NO, BTC_NO */
	out->ecx = (cpu_count(cpu) - 1) | id_bits(cpu_count(cpu)) << 12;
}

static void leaf_extended(
	const struct cpu *cpu, uint32_t leaf, uint32_t subleaf, struct cpuid_result *out)
{
	bool amd = !cpuid_is_intel();

	switch (leaf) {
	case 0x80000000:
		*out = *cpuid_host(leaf, 0);
		out->eax = amd ? 0x80000021 : 0x80000008;
		break;
	case 0x80000001:
		out->eax = amd ? cpuid_host(leaf, 0)->eax : 0;
		out->ebx = amd ? cpuid_host(leaf, 0)->ebx : 0;
		out->ecx = feature_word(CPUID_80000001_ECX);
		if (amd && cpu_count(cpu) > 1)
			out->ecx |= BIT(1); /* CMP_LEGACY: HTT means cores */
		out->edx = feature_word(CPUID_80000001_EDX);
		break;
	case 0x80000002 ... 0x80000006: /* name, caches */
		*out = *cpuid_host(leaf, 0);
		break;
	case 0x80000007:
		/* Not "invariant TSC" (EDX bit 8), although it is: Linux would take the TSC as its
		 * clock then, whose rate a move to another host may change, and not kvm-clock,
		 * which follows. */
		break;
	/* 0x80000007 would say that the TSC is invariant. It is, but Linux would then prefer it to
	 * pvclock, which alone survives a move to a host with another frequency. */
	case 0x80000008:
		leaf_80000008(cpu, out);
		break;
	case 0x80000019: /* TLBs for 1 GiB pages, how wide the SIMD units are */
	case 0x8000001a:
		if (amd)
			*out = *cpuid_host(leaf, 0);
		break;
	case 0x8000001d:
		if (amd)
			leaf_cache(cpu, leaf, subleaf, out);
		break;
	case 0x8000001e:
		if (amd)
			*out = (struct cpuid_result){.eax = cpu->index, .ebx = cpu->index & 0xff};
		break;
	case 0x80000021:
		if (!amd)
			break;
		/* No nested data breakpoints, LFENCE serializes, a null selector clears the base,
		 * Automatic IBRS, SRSO_NO; ECX: TSA_SQ_NO, TSA_L1_NO. */
		out->eax = BIT(0) | BIT(2) | BIT(6) | BIT(8) | BIT(29);
		out->ecx = BIT(1) | BIT(2);
		break;
	}
}

void cpuid_query(const struct cpu *cpu, uint32_t leaf, uint32_t subleaf, struct cpuid_result *out)
{
	struct cpuid_result last;

	memset(out, 0, sizeof(*out));
	if (leaf >= 0x80000000) {
		leaf_extended(cpu, 0x80000000, 0, &last);
		if (leaf <= last.eax)
			leaf_extended(cpu, leaf, subleaf, out);
		else if (cpuid_is_intel())
			leaf_basic(cpu, 0xd, subleaf, out);
		return;
	}
	if (leaf >= 0x40000000 && leaf < 0x40000100) {
		leaf_hypervisor(cpu, leaf, out);
		return;
	}
	leaf_basic(cpu, 0, 0, &last);
	if (leaf <= last.eax)
		leaf_basic(cpu, leaf, subleaf, out);
	/* Intel processors answer a leaf beyond the last as they would the last basic one. */
	else if (cpuid_is_intel())
		leaf_basic(cpu, last.eax, subleaf, out);
}
