#include "cpu/cpu_model_text.h"

#include "base/log.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* The features that a user may name, as QEMU spells them. What every x86-64 processor has is not
 * among them. */
static const struct {
	const char *name;
	uint16_t feature;
} names[] = {
	{"pni", CPUID_SSE3},
	{"pclmulqdq", CPUID_PCLMULQDQ},
	{"ssse3", CPUID_SSSE3},
	{"fma", CPUID_FMA},
	{"cx16", CPUID_CX16},
	{"pcid", CPUID_PCID},
	{"sse4.1", CPUID_SSE41},
	{"sse4.2", CPUID_SSE42},
	{"x2apic", CPUID_X2APIC},
	{"movbe", CPUID_MOVBE},
	{"popcnt", CPUID_POPCNT},
	{"tsc-deadline", CPUID_TSC_DEADLINE},
	{"aes", CPUID_AES},
	{"xsave", CPUID_XSAVE},
	{"avx", CPUID_AVX},
	{"f16c", CPUID_F16C},
	{"rdrand", CPUID_RDRAND},
	{"hypervisor", CPUID_HYPERVISOR},
	{"vme", CPUID_VME},
	{"arat", CPUID_ARAT},
	{"fsgsbase", CPUID_FSGSBASE},
	{"tsc-adjust", CPUID_TSC_ADJUST},
	{"bmi1", CPUID_BMI1},
	{"avx2", CPUID_AVX2},
	{"smep", CPUID_SMEP},
	{"bmi2", CPUID_BMI2},
	{"erms", CPUID_ERMS},
	{"invpcid", CPUID_INVPCID},
	{"avx512f", CPUID_AVX512F},
	{"avx512dq", CPUID_AVX512DQ},
	{"rdseed", CPUID_RDSEED},
	{"adx", CPUID_ADX},
	{"smap", CPUID_SMAP},
	{"avx512ifma", CPUID_AVX512_IFMA},
	{"clflushopt", CPUID_CLFLUSHOPT},
	{"clwb", CPUID_CLWB},
	{"avx512cd", CPUID_AVX512CD},
	{"sha-ni", CPUID_SHA},
	{"avx512bw", CPUID_AVX512BW},
	{"avx512vl", CPUID_AVX512VL},
	{"avx512vbmi", CPUID_AVX512_VBMI},
	{"umip", CPUID_UMIP},
	{"pku", CPUID_PKU},
	{"avx512vbmi2", CPUID_AVX512_VBMI2},
	{"gfni", CPUID_GFNI},
	{"vaes", CPUID_VAES},
	{"vpclmulqdq", CPUID_VPCLMULQDQ},
	{"avx512vnni", CPUID_AVX512_VNNI},
	{"avx512bitalg", CPUID_AVX512_BITALG},
	{"avx512-vpopcntdq", CPUID_AVX512_VPOPCNTDQ},
	{"la57", CPUID_LA57},
	{"rdpid", CPUID_RDPID},
	{"fsrm", CPUID_FSRM},
	{"spec-ctrl", CPUID_SPEC_CTRL},
	{"arch-capabilities", CPUID_ARCH_CAPABILITIES},
	{"avx-vnni", CPUID_AVX_VNNI},
	{"avx512-bf16", CPUID_AVX512_BF16},
	{"xsaveopt", CPUID_XSAVEOPT},
	{"xsavec", CPUID_XSAVEC},
	{"xgetbv1", CPUID_XGETBV1},
	{"xsaves", CPUID_XSAVES},
	{"lahf-lm", CPUID_LAHF},
	{"abm", CPUID_LZCNT},
	{"sse4a", CPUID_SSE4A},
	{"misalignsse", CPUID_MISALIGNSSE},
	{"3dnowprefetch", CPUID_PREFETCHW},
	{"topoext", CPUID_TOPOEXT},
	{"nx", CPUID_NX},
	{"mmxext", CPUID_MMXEXT},
	{"fxsr-opt", CPUID_FFXSR},
	{"pdpe1gb", CPUID_PAGE1GB},
	{"rdtscp", CPUID_RDTSCP},
	{"xsaveerptr", CPUID_XSAVE_ERROR_POINTERS},
	{"amd-no-ssb", CPUID_AMD_SSB_NO},
	{"btc-no", CPUID_BTC_NO},
	{"no-nested-data-bp", CPUID_NO_NESTED_DATA_BP},
	{"lfence-always-serializing", CPUID_LFENCE_SERIALIZING},
	{"null-sel-clr-base", CPUID_NULL_CLEARS_BASE},
	{"auto-ibrs", CPUID_AUTO_IBRS},
	{"srso-no", CPUID_SRSO_NO},
	{"tsa-sq-no", CPUID_TSA_SQ_NO},
	{"tsa-l1-no", CPUID_TSA_L1_NO},
	{"kvm-nopiodelay", CPUID_KVM_NO_IO_DELAY},
	{"kvmclock", CPUID_KVM_CLOCK},
	{"kvm-steal-time", CPUID_KVM_STEAL_TIME},
	{"kvm-pv-unhalt", CPUID_KVM_PV_UNHALT},
	{"kvm-pv-tlb-flush", CPUID_KVM_PV_TLB_FLUSH},
	{"kvm-pv-ipi", CPUID_KVM_PV_SEND_IPI},
	{"kvm-pv-sched-yield", CPUID_KVM_PV_SCHED_YIELD},
	{"kvmclock-stable-bit", CPUID_KVM_CLOCK_STABLE},
};

#define B(feature) CPUID_BIT(CPUID_##feature)

/* The levels of the x86-64 psABI (chapter 3.1.1): each has what the one before it has, and
 * these. */
static const struct {
	const char *name;
	struct cpu_features more;
} levels[] = {
	{"x86-64-v2", {.word = {[CPUID_1_ECX] = B(SSE3) | B(SSSE3) | B(CX16) | B(SSE41) | B(SSE42) |
						B(POPCNT),
			       [CPUID_80000001_ECX] = B(LAHF)}}},
	{"x86-64-v3", {.word = {[CPUID_1_ECX] = B(FMA) | B(MOVBE) | B(XSAVE) | B(AVX) | B(F16C),
			       [CPUID_7_EBX] = B(BMI1) | B(AVX2) | B(BMI2),
			       [CPUID_80000001_ECX] = B(LZCNT)}}},
	{"x86-64-v4", {.word = {[CPUID_7_EBX] = B(AVX512F) | B(AVX512DQ) | B(AVX512CD) |
						B(AVX512BW) | B(AVX512VL)}}},
};

const char *cpu_feature_name(enum cpuid_feature feature)
{
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (names[i].feature == feature)
			return names[i].name;
	return "a feature without a name";
}

/* QEMU takes an underscore for a hyphen. */
static bool same_name(const char *name, const char *word, size_t length)
{
	for (size_t i = 0; i < length; i++)
		if (name[i] != (word[i] == '_' ? '-' : word[i]))
			return false;
	return !name[length];
}

static int find_feature(const char *word, size_t length)
{
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (same_name(names[i].name, word, length))
			return names[i].feature;
	return -1;
}

const char *cpu_feature_listed(unsigned index)
{
	return index < ARRAY_SIZE(names) ? names[index].name : NULL;
}

static void list_features(char *out, size_t size)
{
	size_t used = 0;

	for (size_t i = 0; i < ARRAY_SIZE(names) && used < size; i++)
		used += (size_t)snprintf(out + used, size - used, " %s", names[i].name);
}

static int unknown_feature(const char *text, const char *word, size_t length)
{
	char list[2048];

	list_features(list, sizeof(list));
	log_error("--cpu %s: no feature '%.*s'; there are:%s", text, (int)length, word, list);
	return -EINVAL;
}

/* The first feature of `wanted` that is not in `had`, or -1. */
static int first_missing(const struct cpu_features *wanted, const struct cpu_features *had)
{
	for (unsigned word = 0; word < CPUID_WORDS; word++) {
		uint32_t missing = wanted->word[word] & ~had->word[word];

		if (missing)
			return CPUID_FEATURE((int)word, __builtin_ctz(missing));
	}
	return -1;
}

/* What a model with a name keeps though it is not in its list: the interface of KVM and what goes
 * with it, and the bits that say that the guest need not work around its processor. */
static const struct cpu_features kept = {
	.word = {[CPUID_1_ECX] = B(HYPERVISOR) | B(X2APIC),
		[CPUID_6_EAX] = B(ARAT),
		[CPUID_7_EBX] = B(NO_FPU_SELECTORS),
		[CPUID_7_EDX] = B(SPEC_CTRL) | B(ARCH_CAPABILITIES),
		[CPUID_80000008_EBX] = B(AMD_SSB_NO) | B(BTC_NO),
		[CPUID_80000021_EAX] = UINT32_MAX,
		[CPUID_80000021_ECX] = UINT32_MAX,
		[CPUID_KVM_EAX] = UINT32_MAX}};

void cpu_named_model_features(const struct cpu_named_model *model, struct cpu_features *features)
{
	const char *word = model->features;
	size_t length;

	for (; *word; word += length + (word[length] == ' ')) {
		int feature;

		length = strcspn(word, " ");
		feature = find_feature(word, length);
		features->word[CPUID_WORD(feature)] |= CPUID_BIT(feature);
	}
	if (model->base)
		cpu_named_model_features(
			cpu_model_find(model->base, strlen(model->base)), features);
}

/* What the model has, as far as it can be had. */
static int choose_named(const char *text, const struct cpu_named_model *model, bool lenient,
	const struct cpu_offer *offer, struct cpu_features *chosen)
{
	struct cpu_features listed = {{0}}, nameable = {{0}};
	int missing;

	cpu_named_model_features(model, &listed);
	missing = first_missing(&listed, &offer->possible);
	if (missing >= 0 && !lenient) {
		log_error("--cpu %s: this host has no %s, which %s has; 'host' fits it", text,
			cpu_feature_name((enum cpuid_feature)missing), model->name);
		return -EINVAL;
	}
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		nameable.word[CPUID_WORD(names[i].feature)] |= CPUID_BIT(names[i].feature);
	for (unsigned i = 0; i < CPUID_WORDS; i++)
		chosen->word[i] &= listed.word[i] | kept.word[i] | ~nameable.word[i];
	return 0;
}

/* A level removes the features that need the host's hardware and are not part of the level.
 * Features that we emulate stay with every level, since they are the same on every host. */
static int choose_model(const char *text, size_t length, bool lenient,
	const struct cpu_offer *offer, struct cpu_features *chosen)
{
	const struct cpu_named_model *named = cpu_model_find(text, length);
	struct cpu_features needed = {{0}};
	int missing;

	*chosen = offer->possible;
	if (same_name("host", text, length))
		return 0;
	if (named)
		return choose_named(text, named, lenient, offer, chosen);
	for (size_t level = 0; level < ARRAY_SIZE(levels); level++) {
		for (unsigned i = 0; i < CPUID_WORDS; i++)
			needed.word[i] |= levels[level].more.word[i];
		if (!same_name(levels[level].name, text, length))
			continue;
		missing = first_missing(&needed, &offer->possible);
		if (missing >= 0) {
			log_error("--cpu %s: this host has no %s, which %s has; 'host' fits it",
				text, cpu_feature_name((enum cpuid_feature)missing),
				levels[level].name);
			return -EINVAL;
		}
		for (unsigned i = 0; i < CPUID_WORDS; i++)
			chosen->word[i] &= needed.word[i] | ~offer->native.word[i];
		return 0;
	}
	log_error("--cpu %s: no model '%.*s'; there are: host x86-64-v2 x86-64-v3 x86-64-v4, and "
		  "QEMU's, such as Nehalem and EPYC",
		text, (int)length, text);
	return -EINVAL;
}

/* With `lenient` that is a warning, and the feature is left out. */
static int refuse(const char *text, bool lenient, const struct cpu_offer *offer,
	enum cpuid_feature feature, const char *why)
{
	if (lenient && offer->quiet)
		return 0;
	if (lenient) {
		log_warning("--cpu %s: left out: %s: %s", text, cpu_feature_name(feature), why);
		return 0;
	}
	log_error("--cpu %s: +%s: %s", text, cpu_feature_name(feature), why);
	return -EINVAL;
}

#define LENIENT "check"
#define VENDOR  "vendor="

static bool is_lenient(const char *text)
{
	const char *word = text;

	while ((word = strchr(word, ',')))
		if (strcspn(++word, ",") == strlen(LENIENT) &&
			strncmp(word, LENIENT, strlen(LENIENT)) == 0)
			return true;
	return false;
}

static int apply_word(const char *text, const char *word, size_t length,
	const struct cpu_offer *offer, struct cpu_features *chosen, struct cpu_features *asked)
{
	bool lenient = is_lenient(text);
	int feature;

	if (same_name(LENIENT, word, length) || strncmp(word, VENDOR, strlen(VENDOR)) == 0)
		return 0;
	if (length < 2 || (word[0] != '+' && word[0] != '-')) {
		log_error(
			"--cpu %s: '%.*s' is no +FEATURE and no -FEATURE", text, (int)length, word);
		return -EINVAL;
	}
	feature = find_feature(word + 1, length - 1);
	if (feature < 0)
		return unknown_feature(text, word + 1, length - 1);
	if (word[0] == '-') {
		chosen->word[CPUID_WORD(feature)] &= ~CPUID_BIT(feature);
		asked->word[CPUID_WORD(feature)] &= ~CPUID_BIT(feature);
		return 0;
	}
	if (!cpu_features_have(&offer->possible, (enum cpuid_feature)feature))
		return refuse(text, lenient, offer, (enum cpuid_feature)feature,
			"this host cannot give it");
	if (cpu_features_have(&offer->withheld, (enum cpuid_feature)feature))
		return refuse(text, lenient, offer, (enum cpuid_feature)feature,
			"this engine cannot serve it; another one can");
	chosen->word[CPUID_WORD(feature)] |= CPUID_BIT(feature);
	asked->word[CPUID_WORD(feature)] |= CPUID_BIT(feature);
	return 0;
}

int cpu_model_choose(const char *text, const struct cpu_offer *offer, struct cpu_features *chosen)
{
	struct cpu_features asked = {{0}};
	const char *word = text;
	size_t length = strcspn(word, ",");
	bool lenient = is_lenient(text);
	int error = choose_model(text, length, lenient, offer, chosen), missing;

	for (word += length; !error && *word; word += length) {
		length = strcspn(++word, ",");
		error = apply_word(text, word, length, offer, chosen, &asked);
	}
	if (error)
		return error;
	for (unsigned i = 0; i < CPUID_WORDS; i++)
		chosen->word[i] &= ~offer->withheld.word[i];
	cpu_features_drop_dependent(chosen);
	missing = first_missing(&asked, chosen);
	if (missing >= 0)
		return refuse(text, lenient, offer, (enum cpuid_feature)missing,
			"it is of no use without another feature, which this model has not");
	return 0;
}

int cpu_model_identify(const char *text, char vendor[13], uint32_t *signature)
{
	const struct cpu_named_model *named = cpu_model_find(text, strcspn(text, ","));
	const char *word = strstr(text, "," VENDOR);
	size_t length;

	*vendor = '\0';
	*signature = named ? named->signature : 0;
	if (!word)
		return 0;
	word += 1 + strlen(VENDOR);
	length = strcspn(word, ",");
	if (same_name("GenuineIntel", word, length) || same_name("AuthenticAMD", word, length)) {
		memcpy(vendor, word, length);
		vendor[length] = '\0';
		return 0;
	}
	log_error("--cpu %s: vendor=: expected GenuineIntel or AuthenticAMD", text);
	return -EINVAL;
}

int cpu_model_check(const char *text)
{
	struct cpu_offer offer = {.quiet = true};
	struct cpu_features ignored;
	uint32_t signature;
	char vendor[13];

	memset(&offer.possible, 0xff, sizeof(offer.possible));
	if (cpu_model_identify(text, vendor, &signature) < 0)
		return -EINVAL;
	return cpu_model_choose(text, &offer, &ignored);
}
