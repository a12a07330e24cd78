/* The CPU model: from the host's CPUID, what an engine withholds, and what the user asks for, to
 * one processor that everything agrees on. The hosts here are made up, so that each machine tests
 * all. */
#include "cpu/cpuid.h"
#include "cpu/instruction.h"
#include "cpu_fixture.h"

#include <errno.h>

static struct cpuid_host host;
static struct cpu_model model;

static struct cpuid_result *host_add(uint32_t leaf, uint32_t subleaf)
{
	struct cpuid_host_leaf *at = &host.leaves[host.count++];

	*at = (struct cpuid_host_leaf){leaf, subleaf, {0}};
	return &at->result;
}

/* An Intel processor of the fourth level with 39 physical address bits, or an AMD one. */
static void make_host(bool amd)
{
	static const struct {
		uint8_t component;
		uint16_t size, offset;
	} xsave[] = {{2, 256, 576}, {5, 64, 1088}, {6, 512, 1152}, {7, 1024, 1664}, {9, 8, 2688}};

	memset(&host, 0, sizeof(host));
	*host_add(0, 0) = (struct cpuid_result){.eax = 0x16, .ecx = amd ? 0x444d4163 : 0x6c65746e};
	*host_add(1, 0) = (struct cpuid_result){.eax = 0x50657, .ecx = ~0u, .edx = ~0u};
	*host_add(7, 0) = (struct cpuid_result){.ebx = ~0u, .ecx = ~0u, .edx = ~0u};
	*host_add(7, 1) = (struct cpuid_result){.eax = ~0u};
	for (unsigned i = 0; i < ARRAY_SIZE(xsave); i++)
		*host_add(0xd, xsave[i].component) =
			(struct cpuid_result){xsave[i].size, xsave[i].offset, 0, 0};
	*host_add(0x80000001, 0) = (struct cpuid_result){.ecx = ~0u, .edx = ~0u};
	*host_add(0x80000008, 0) = (struct cpuid_result){.eax = 0x3027};
	host.xcr0 = XCR0_AVX | XCR0_AVX512;
}

static struct cpuid_result *host_find(uint32_t leaf, uint32_t subleaf)
{
	for (unsigned i = 0; i < host.count; i++)
		if (host.leaves[i].leaf == leaf && host.leaves[i].subleaf == subleaf)
			return &host.leaves[i].result;
	fail();
	return NULL;
}

static void take_away(enum cpuid_feature feature)
{
	switch (CPUID_WORD(feature)) {
	case CPUID_1_ECX:
		host_find(1, 0)->ecx &= ~CPUID_BIT(feature);
		break;
	case CPUID_7_EBX:
		host_find(7, 0)->ebx &= ~CPUID_BIT(feature);
		break;
	default:
		fail();
	}
}

static bool has(enum cpuid_feature feature)
{
	return cpu_model_has(&model, feature);
}

static int build(const char *text)
{
	return cpu_model_build(&model, &host, NULL, text);
}

static int host_setup(void **state)
{
	make_host(false);
	return 0;
}

#define host_test(function) cmocka_unit_test_setup(function, host_setup)

/* --- the host --- */

static void test_all_of_the_host(void **state)
{
	assert_int_equal(build(NULL), 0);
	assert_false(model.amd);
	assert_int_equal(model.signature, 0x50657);
	assert_int_equal(model.physical_bits, 39);
	assert_int_equal(model.linear_bits, 57);
	assert_int_equal(model.xcr0, XCR0_AVX | XCR0_AVX512 | BIT(XSTATE_PKRU));
	assert_true(has(CPUID_AVX512_VNNI) && has(CPUID_SHA) && has(CPUID_SPEC_CTRL));
	assert_false(has(CPUID_OSXSAVE) || has(CPUID_OSPKE) || has(CPUID_MMXEXT));
	assert_int_equal(model.xstate[XSTATE_HI16_ZMM].offset, 1664);
	make_host(true);
	assert_int_equal(build("host"), 0);
	assert_true(model.amd);
	assert_true(has(CPUID_MMXEXT) && has(CPUID_FFXSR) && !has(CPUID_SPEC_CTRL));
	assert_true(model.efer & EFER_FFXSR);
}

static void test_without_state_no_feature(void **state)
{
	host.xcr0 = 3;
	assert_int_equal(build(NULL), 0);
	assert_false(has(CPUID_AVX) || has(CPUID_AVX2) || has(CPUID_FMA) || has(CPUID_VAES) ||
		     has(CPUID_AVX512F) || has(CPUID_AVX512_BF16) || has(CPUID_AVX_VNNI));
	assert_int_equal(model.xcr0, 3 | BIT(XSTATE_PKRU));
	/* PKRU, where the host has it. */
	assert_int_equal(model.xstate[XSTATE_PKRU].offset, 2688);
	host.xcr0 = XCR0_AVX | BIT(XSTATE_OPMASK);
	assert_int_equal(build(NULL), 0);
	assert_true(has(CPUID_AVX2));
	assert_false(has(CPUID_AVX512F) || has(CPUID_AVX512BW));
}

/* We cannot handle a component of another size, or one outside the area: its size is how much
 * XRSTOR would copy. */
static void test_strange_components(void **state)
{
	host_find(0xd, XSTATE_HI16_ZMM)->eax = 1u << 20;
	assert_int_equal(build(NULL), 0);
	assert_false(has(CPUID_AVX512F));
	assert_int_equal(model.xstate[XSTATE_HI16_ZMM].size, 0);
	host_find(0xd, XSTATE_AVX)->ebx = 0xffffff00;
	assert_int_equal(build(NULL), 0);
	assert_false(has(CPUID_AVX));
	/* Nor is PKRU where the host says, but behind the rest. */
	host_find(0xd, XSTATE_PKRU)->eax = 0;
	assert_int_equal(build(NULL), 0);
	assert_int_equal(model.xstate[XSTATE_PKRU].offset, 576);
	assert_int_equal(model.xstate[XSTATE_PKRU].size, 8);
}

/* Features that are ours, but that only AMD's processors have. */
static void test_vendors_features(void **state)
{
	assert_int_equal(build("host,-arat"), 0);
	assert_false(has(CPUID_ARAT) || has(CPUID_AUTO_IBRS) || has(CPUID_BTC_NO));
	assert_false(model.efer & EFER_AUTOIBRS);
	assert_int_equal(build("host,+auto-ibrs"), -EINVAL);
	make_host(true);
	assert_int_equal(build("x86-64-v2"), 0);
	assert_true(has(CPUID_ARAT) && has(CPUID_AUTO_IBRS) && has(CPUID_BTC_NO));
	assert_true(model.efer & EFER_AUTOIBRS);
	assert_int_equal(build("host,-auto-ibrs"), 0);
	assert_false(has(CPUID_AUTO_IBRS) || (model.efer & EFER_AUTOIBRS));
}

/* --- what is asked for --- */

static void test_levels(void **state)
{
	assert_int_equal(build("x86-64-v2"), 0);
	assert_true(has(CPUID_SSE42) && has(CPUID_POPCNT) && has(CPUID_CX16) && has(CPUID_LAHF));
	assert_false(has(CPUID_AVX) || has(CPUID_BMI1) || has(CPUID_LZCNT) || has(CPUID_MOVBE) ||
		     has(CPUID_AES) || has(CPUID_RDRAND) || has(CPUID_SHA));
	assert_true(has(CPUID_SMAP) && has(CPUID_PCID) && has(CPUID_LA57)); /* ours anywhere */
	assert_int_equal(model.xcr0, 3 | BIT(XSTATE_PKRU));
	assert_true(cpu_model_host_has(&model, CPUID_BMI2)); /* still a host with BMI2 */
	assert_int_equal(build("x86-64-v3"), 0);
	assert_true(has(CPUID_AVX2) && has(CPUID_BMI2) && has(CPUID_FMA) && has(CPUID_LZCNT));
	assert_false(has(CPUID_AVX512F) || has(CPUID_GFNI) || has(CPUID_ADX));
	assert_int_equal(build("x86-64-v4"), 0);
	assert_true(has(CPUID_AVX512VL));
	assert_false(has(CPUID_AVX512_VNNI));
	take_away(CPUID_BMI2);
	assert_int_equal(build("x86-64-v3"), -EINVAL);
	assert_int_equal(build("x86-64-v2"), 0);
}

static void test_words(void **state)
{
	assert_int_equal(build("host,-avx512f,-la57"), 0);
	assert_false(has(CPUID_AVX512F) || has(CPUID_AVX512_VNNI) || has(CPUID_LA57));
	assert_int_equal(model.linear_bits, 48);
	assert_false(model.cr4 & CR4_LA57);
	assert_int_equal(build("x86-64-v2,+aes,+sha_ni,+rdrand,-rdrand"), 0);
	assert_true(has(CPUID_AES) && has(CPUID_SHA) && !has(CPUID_RDRAND));
	assert_int_equal(build("host,-smap,-pcid,-nx"), 0);
	assert_false(model.cr4 & (CR4_SMAP | CR4_PCIDE));
	assert_false(model.efer & EFER_NXE);
	assert_false(has(CPUID_INVPCID)); /* without PCID it would confuse */
}

/* A model with a name has what is in its list; of what a host cannot give there is an error, or,
 * with "check", a warning. */
static void test_named_models(void **state)
{
	make_host(false);
	assert_int_equal(cpu_model_build(&model, &host, NULL, "Haswell-v4,-bmi2"), 0);
	assert_true(cpu_model_has(&model, CPUID_AVX2) && cpu_model_has(&model, CPUID_SSE41));
	assert_false(cpu_model_has(&model, CPUID_AVX512F) || cpu_model_has(&model, CPUID_SMAP));
	assert_false(cpu_model_has(&model, CPUID_BMI2));
	assert_int_equal(model.signature, 0x306c4);
	assert_false(model.amd);
	assert_int_equal(cpu_model_build(&model, &host, NULL, "qemu64"), 0);
	assert_int_equal(model.signature, 0x60fb1);
	assert_true(!model.amd && cpu_model_has(&model, CPUID_KVM_CLOCK));
	assert_false(cpu_model_has(&model, CPUID_PCID) || cpu_model_has(&model, CPUID_SSSE3));
	assert_int_equal(cpu_model_build(&model, &host, NULL, "qemu64,vendor=AuthenticAMD"), 0);
	assert_true(model.amd);
	assert_string_equal(model.vendor, "AuthenticAMD");
	take_away(CPUID_AVX2);
	assert_int_equal(cpu_model_build(&model, &host, NULL, "Haswell"), -EINVAL);
	assert_int_equal(cpu_model_build(&model, &host, NULL, "Haswell,+avx512f,check"), 0);
	assert_true(cpu_model_has(&model, CPUID_AVX));
	assert_false(cpu_model_has(&model, CPUID_AVX2) || cpu_model_has(&model, CPUID_AVX512F));
	assert_int_equal(cpu_model_build(&model, &host, NULL, "host,vendor=Acme"), -EINVAL);
	assert_int_equal(cpu_model_build(&model, &host, NULL, "Haswell-v"), -EINVAL);
}

static void test_wrong_words(void **state)
{
	static const char *const wrong[] = {"", "Pentium9", "hos", "hosts", "host,", "host,avx2",
		"host,+", "host,+avx3", "host,-sse2", "host,+cmov", "host,,-avx", "host;-avx",
		"host,-avx ", "x86-64-v2,+avx2", "host,-avx,+avx2"};

	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
		if (build(wrong[i]) != -EINVAL)
			fail_msg("'%s' is taken", wrong[i]);
	take_away(CPUID_AVX2);
	assert_int_equal(build("host,+avx2"), -EINVAL);
	assert_int_equal(cpu_model_check("host,+avx2"), 0); /* on some host */
	assert_int_equal(cpu_model_check("x86-64-v4"), 0);
	assert_int_equal(cpu_model_check("x86-64-v5"), -EINVAL);
	assert_int_equal(cpu_model_check("host,+avx3"), -EINVAL);
}

static void test_engine_withholds(void **state)
{
	static const struct cpu_features none_of_57 = {
		.word = {[CPUID_7_ECX] = CPUID_BIT(CPUID_LA57)}};

	assert_int_equal(cpu_model_build(&model, &host, &none_of_57, NULL), 0);
	assert_false(has(CPUID_LA57));
	assert_int_equal(model.linear_bits, 48);
	assert_int_equal(cpu_model_build(&model, &host, &none_of_57, "host,-la57"), 0);
	assert_int_equal(cpu_model_build(&model, &host, &none_of_57, "host,+la57"), -EINVAL);
}

/* --- who reads it --- */

#define BASE_57 UINT64_C(0x00ffaaaaaaaaaaaa) /* canonical in 57 bits, not in 48 */

static void withhold(const char *text)
{
	assert_int_equal(cpu_model_build(&fixture_model, &fixture_model.host, NULL, text), 0);
	fixture_model.physical_bits = 40;
}

static void test_bases_are_as_wide_as_the_model(void **state)
{
	static const uint32_t msrs[] = {0xc0000100, 0xc0000101, 0xc0000102, 0xc0000082, 0xc0000083};

	for (unsigned wide = 0; wide < 2; wide++) {
		withhold(wide ? "host" : "host,-la57");
		enter_long(0);
		for (unsigned i = 0; i < ARRAY_SIZE(msrs); i++)
			assert_int_equal(msr_write(cpu, msrs[i], BASE_57), wide);
		put(0x300000, 0xffff, 2);
		put(0x300002, BASE_57, 8);
		assert_int_equal(RAISED(insn_load_table(cpu, &cpu->gdtr, 0x300000, 8)), !wide);
		enter_long(0);
		assert_int_equal(RAISED(insn_load_table(cpu, &cpu->idtr, 0x300000, 8)), !wide);
	}
}

static struct cpuid_result cpuid_leaf(uint32_t leaf)
{
	struct cpuid_result result;

	cpuid_query(cpu, leaf, 0, &result);
	return result;
}

static void test_leaves_follow(void **state)
{
	struct cpuid_result leaf;

	withhold("x86-64-v2,-smep");
	cpuid_query(cpu, 7, 0, &leaf);
	assert_int_equal(leaf.ebx & (CPUID_BIT(CPUID_BMI1) | CPUID_BIT(CPUID_SMEP)), 0);
	cpuid_query(cpu, 0xd, 0, &leaf);
	assert_int_equal(leaf.eax, fixture_model.xcr0);
	assert_int_equal(cpuid_leaf(0x40000000).ebx, 0x4b4d564b); /* KVMK */
	withhold("host,-hypervisor,-xsave,-topoext");
	assert_int_not_equal(cpuid_leaf(0x40000000).ebx, 0x4b4d564b);
	assert_int_equal(cpuid_leaf(0xd).eax, 0);
	assert_int_equal(cpuid_leaf(0xd).ebx, 0);
	assert_int_equal(cpuid_leaf(0x8000001d).eax, 0);
	assert_int_equal(cpuid_leaf(6).eax, BIT(2)); /* ARAT */
	withhold("host,-arat,-srso-no,-tsa-l1-no,-btc-no,-la57");
	assert_int_equal(cpuid_leaf(6).eax, 0);
	assert_int_equal(cpuid_leaf(0x80000008).ebx, fixture_model.amd ? BIT(2) | BIT(26) : 0);
	if (fixture_model.amd) {
		leaf = cpuid_leaf(0x80000021);
		assert_int_equal(leaf.eax, BIT(0) | BIT(2) | BIT(6) | BIT(8));
		assert_int_equal(leaf.ecx, BIT(1));
	}
	cpuid_query(cpu, 0x80000008, 0, &leaf);
	assert_int_equal(leaf.eax, 40 | 48 << 8);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		host_test(test_all_of_the_host),
		host_test(test_without_state_no_feature),
		host_test(test_strange_components),
		host_test(test_vendors_features),
		host_test(test_levels),
		host_test(test_words),
		host_test(test_named_models),
		host_test(test_wrong_words),
		host_test(test_engine_withholds),
		cpu_test(test_bases_are_as_wide_as_the_model),
		cpu_test(test_leaves_follow),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
