/* Models by name: the processors that QEMU knows, with what they have. Features that each x86-64
 * processor has are not named. The vendor is the host's, as with KVM, since what differs between
 * the vendors in the instructions that run natively is as on the host. */
#include "cpu/cpu_model_text.h"

#include <string.h>

/* CPUID 1 EAX: a family beyond 15 is in two fields, and so is a model (SDM vol. 2A, CPUID). */
#define SIGNATURE(family, model, stepping)                                                         \
	(((family) > 15 ? ((family)-15u) << 20 | 15u << 8 : (family) << 8) |                       \
		((model) >> 4) << 16 | ((model)&15u) << 4 | (stepping))

static const struct cpu_named_model models[] = {
	{"qemu64", NULL, SIGNATURE(15, 107, 1), "cx16 lahf-lm nx pni"},
	{"kvm64", NULL, SIGNATURE(15, 6, 1), "cx16 nx pni"},
	{"Opteron_G1", NULL, SIGNATURE(15, 6, 1), "nx pni"},
	{"Opteron_G2", "Opteron_G1", SIGNATURE(15, 6, 1), "cx16 lahf-lm"},
	{"Opteron_G3", "Opteron_G2", SIGNATURE(16, 2, 3), "abm misalignsse popcnt rdtscp sse4a"},
	{"Opteron_G4", "Opteron_G2", SIGNATURE(21, 1, 2),
		"3dnowprefetch abm aes avx misalignsse pclmulqdq pdpe1gb popcnt rdtscp "
		"sse4.1 sse4.2 sse4a ssse3 xsave"},
	{"Opteron_G5", "Opteron_G4", SIGNATURE(21, 2, 0), "f16c fma"},
	{"Conroe", NULL, SIGNATURE(6, 15, 3), "lahf-lm nx pni ssse3"},
	{"Penryn", "Conroe", SIGNATURE(6, 23, 3), "cx16 sse4.1"},
	{"Nehalem", "Penryn", SIGNATURE(6, 26, 3), "popcnt sse4.2"},
	{"Westmere", "Nehalem", SIGNATURE(6, 44, 1), "aes pclmulqdq"},
	{"SandyBridge", "Westmere", SIGNATURE(6, 42, 1), "avx rdtscp tsc-deadline xsave xsaveopt"},
	{"IvyBridge", "SandyBridge", SIGNATURE(6, 58, 9), "erms f16c fsgsbase rdrand smep"},
	{"Haswell", "SandyBridge", SIGNATURE(6, 60, 4),
		"abm avx2 bmi1 bmi2 erms f16c fma fsgsbase invpcid movbe pcid rdrand "
		"smep"},
	{"Broadwell", "Haswell", SIGNATURE(6, 61, 2), "3dnowprefetch adx rdseed smap"},
	{"Skylake-Client", "Broadwell", SIGNATURE(6, 94, 3), "xgetbv1 xsavec"},
	{"Skylake-Server", "Skylake-Client", SIGNATURE(6, 85, 4),
		"avx512bw avx512cd avx512dq avx512f avx512vl clflushopt clwb pdpe1gb "
		"pku"},
	{"Cascadelake-Server", "Skylake-Server", SIGNATURE(6, 85, 6), "avx512vnni spec-ctrl"},
	{"Icelake-Server", "Skylake-Server", SIGNATURE(6, 134, 0),
		"avx512-vpopcntdq avx512bitalg avx512vbmi avx512vbmi2 avx512vnni gfni "
		"la57 spec-ctrl umip vaes vpclmulqdq"},
	{"EPYC", NULL, SIGNATURE(23, 1, 2),
		"3dnowprefetch abm adx aes avx avx2 bmi1 bmi2 clflushopt cx16 f16c fma "
		"fsgsbase fxsr-opt lahf-lm misalignsse mmxext movbe nx pclmulqdq "
		"pdpe1gb pni popcnt rdrand rdseed rdtscp sha-ni smap smep sse4.1 sse4.2 "
		"sse4a ssse3 topoext xgetbv1 xsave xsavec xsaveopt"},
	{"EPYC-Rome", "EPYC", SIGNATURE(23, 49, 0), "clwb rdpid umip xsaveerptr xsaves"},
	{"EPYC-Milan", "EPYC-Rome", SIGNATURE(25, 1, 1), "erms fsrm invpcid pcid pku"},
};

/* A version of a model, or one with a workaround: the same here. */
static bool is_version(const char *rest, size_t length)
{
	static const char *const known[] = {"", "-IBRS", "-IBPB", "-noTSX", "-noTSX-IBRS"};

	for (unsigned i = 0; i < ARRAY_SIZE(known); i++)
		if (strlen(known[i]) == length && strncmp(known[i], rest, length) == 0)
			return true;
	return length == 3 && rest[0] == '-' && rest[1] == 'v' && rest[2] >= '1' && rest[2] <= '9';
}

const struct cpu_named_model *cpu_model_find(const char *name, size_t length)
{
	for (unsigned i = 0; i < ARRAY_SIZE(models); i++) {
		size_t own = strlen(models[i].name);

		if (own <= length && strncmp(models[i].name, name, own) == 0 &&
			is_version(name + own, length - own))
			return &models[i];
	}
	return NULL;
}

const char *cpu_model_name(unsigned index)
{
	return index < ARRAY_SIZE(models) ? models[index].name : NULL;
}
