/* What the guest's CPUID shows: never more than the host can run, always what we emulate, and the
 * same answer in every leaf that has it. */
#include "cpu_fixture.h"
#include "cpu/cpuid.h"
#include "cpu/fpu.h"

static struct cpuid_result leaf(uint32_t number, uint32_t subleaf)
{
	struct cpuid_result result;

	cpuid_query(cpu, number, subleaf, &result);
	return result;
}

static void with_cpus(unsigned count, unsigned index)
{
	platform.cpu_count = count;
	cpu->index = index;
}

/* A guest asks for any subleaf: what the model knows of the host does not change. */
static void test_many_subleaves(void **state)
{
	struct cpuid_host before = cpu->model->host;

	for (uint32_t subleaf = 0; subleaf < 300; subleaf++) {
		struct cpuid_result cache = leaf(4, subleaf), amd = leaf(0x8000001d, subleaf);

		if (subleaf >= 16)
			assert_int_equal((cache.eax | amd.eax) & 0x1f, 0);
	}
	assert_memory_equal(&cpu->model->host, &before, sizeof(before));
}

static void test_vendor_and_family_are_the_hosts(void **state)
{
	assert_int_equal(leaf(0, 0).ebx, host_leaf(0, 0).ebx);
	assert_int_equal(leaf(0, 0).ecx, host_leaf(0, 0).ecx);
	assert_int_equal(leaf(0, 0).edx, host_leaf(0, 0).edx);
	assert_int_equal(leaf(1, 0).eax, host_leaf(1, 0).eax);
	for (uint32_t i = 0x80000002; i <= 0x80000004; i++) {
		struct cpuid_result name = leaf(i, 0);

		struct cpuid_result host = host_leaf(i, 0);

		assert_memory_equal(&name, &host, sizeof(name));
	}
	assert_true(leaf(0, 0).eax >= 0xd);
}

/* Features whose instructions run natively: the guest's bits are a subset of the host's. */
static void test_native_features_need_the_host(void **state)
{
	uint32_t native_1 = 0x72d83203, native_7b = 0xf02f0128, native_7c = 0x5f42;

	assert_int_equal(leaf(1, 0).ecx & native_1 & ~host_leaf(1, 0).ecx, 0);
	assert_int_equal(leaf(7, 0).ebx & native_7b & ~host_leaf(7, 0).ebx, 0);
	assert_int_equal(leaf(7, 0).ecx & native_7c & ~host_leaf(7, 0).ecx, 0);
	assert_int_equal(leaf(0x80000001, 0).ecx & 0xe0 & ~host_leaf(0x80000001, 0).ecx, 0);
}

static void test_emulated_features_do_not(void **state)
{
	static const uint16_t emulated[] = {CPUID_PCID, CPUID_X2APIC, CPUID_TSC_DEADLINE,
		CPUID_XSAVE, CPUID_HYPERVISOR, CPUID_VME, CPUID_PAE, CPUID_SMEP, CPUID_SMAP,
		CPUID_INVPCID, CPUID_FSGSBASE, CPUID_UMIP, CPUID_PKU, CPUID_LA57, CPUID_RDPID,
		CPUID_NX, CPUID_PAGE1GB, CPUID_RDTSCP, CPUID_LONG_MODE, CPUID_XSAVES};

	for (size_t i = 0; i < ARRAY_SIZE(emulated); i++)
		assert_true(cpu_model_has(cpu->model, emulated[i]));
	/* MONITOR, VMX, RTM, HLE, MPX, SGX, AMX, CET, WAITPKG: not there. */
	assert_int_equal(leaf(1, 0).ecx & (1u << 3 | 1u << 5), 0);
	assert_int_equal(leaf(7, 0).ebx & (1u << 2 | 1u << 4 | 1u << 11 | 1u << 14), 0);
	assert_int_equal(leaf(7, 0).ecx & (1u << 5 | 1u << 7), 0);
	assert_int_equal(leaf(7, 0).edx & (1u << 20 | 1u << 22 | 1u << 24 | 1u << 25), 0);
}

static void test_control_bits_follow_features(void **state)
{
	uint64_t cr4 = cpu->model->cr4, xcr0 = cpu->model->xcr0;

	assert_int_equal(!!(cr4 & CR4_LA57), cpu_model_has(cpu->model, CPUID_LA57));
	assert_int_equal(!!(cr4 & CR4_PCIDE), cpu_model_has(cpu->model, CPUID_PCID));
	assert_int_equal(!!(cr4 & CR4_PKE), cpu_model_has(cpu->model, CPUID_PKU));
	assert_int_equal(!!(cr4 & CR4_SMAP), cpu_model_has(cpu->model, CPUID_SMAP));
	assert_int_equal(!!(cr4 & CR4_OSXSAVE), cpu_model_has(cpu->model, CPUID_XSAVE));
	assert_int_equal((xcr0 & XCR0_AVX) == XCR0_AVX, cpu_model_has(cpu->model, CPUID_AVX));
	assert_int_equal(
		(xcr0 & XCR0_AVX512) == XCR0_AVX512, cpu_model_has(cpu->model, CPUID_AVX512F));
	assert_true(xcr0 & BIT(XSTATE_PKRU));
	assert_true(cpu->model->efer & EFER_NXE);
	assert_int_equal(!!(cpu->model->efer & EFER_FFXSR), cpu_model_has(cpu->model, CPUID_FFXSR));
}

static void test_dynamic_bits(void **state)
{
	assert_int_equal(leaf(1, 0).ecx & 1u << 27, 0);
	assert_int_equal(leaf(7, 0).ecx & 1u << 4, 0);
	cpu->cr4 |= CR4_OSXSAVE | CR4_PKE;
	assert_int_equal(leaf(1, 0).ecx & 1u << 27, 1u << 27);
	assert_int_equal(leaf(7, 0).ecx & 1u << 4, 1u << 4);
}

static void test_topology_of_one(void **state)
{
	with_cpus(1, 0);
	assert_int_equal(leaf(1, 0).edx & 1u << 28, 0);
	assert_int_equal(leaf(1, 0).ebx >> 24, 0);
	assert_int_equal(leaf(0xb, 1).eax, 0);
	assert_int_equal(leaf(0xb, 1).ebx, 1);
}

/* N cores of one thread in one package, in each of the four places that say so. */
static void test_topology_of_six(void **state)
{
	with_cpus(6, 5);
	assert_int_equal(leaf(1, 0).edx & 1u << 28, 1u << 28);
	assert_int_equal((leaf(1, 0).ebx >> 16) & 0xff, 6);
	assert_int_equal(leaf(1, 0).ebx >> 24, 5);
	assert_int_equal(leaf(0xb, 0).eax, 0);
	assert_int_equal(leaf(0xb, 0).ebx, 1);
	assert_int_equal(leaf(0xb, 0).ecx, 1 << 8);
	assert_int_equal(leaf(0xb, 1).eax, 3);
	assert_int_equal(leaf(0xb, 1).ebx, 6);
	assert_int_equal(leaf(0xb, 1).ecx, 2 << 8 | 1);
	assert_int_equal(leaf(0xb, 1).edx, 5);
	assert_int_equal(leaf(0xb, 2).ebx, 0);
	assert_int_equal(leaf(0xb, 2).ecx, 2);
	if (!cpu->model->amd) {
		assert_int_equal(leaf(4, 0).eax >> 26, 7);
	} else {
		assert_int_equal(leaf(0x80000008, 0).ecx & 0xff, 5);
		assert_int_equal(leaf(0x80000008, 0).ecx >> 12, 3);
		assert_int_equal(leaf(0x8000001e, 0).eax, 5);
		assert_int_equal((leaf(0x8000001e, 0).ebx >> 8) & 0xff, 0);
	}
}

/* First-level caches belong to one core, the last level to all. */
static void test_cache_sharing(void **state)
{
	uint32_t number = !cpu->model->amd ? 4 : 0x8000001d;

	with_cpus(4, 0);
	for (unsigned i = 0; i < 8; i++) {
		struct cpuid_result cache = leaf(number, i);
		unsigned level = (cache.eax >> 5) & 7, shared = (cache.eax >> 14) & 0xfff;

		if (!(cache.eax & 0x1f))
			break;
		assert_int_equal(shared, level >= 3 ? 3 : 0);
		assert_int_equal(cache.ebx, host_leaf(number, i).ebx);
		assert_int_equal(cache.ecx, host_leaf(number, i).ecx);
	}
}

static void test_xsave_leaf(void **state)
{
	uint64_t allowed = cpu->model->xcr0;
	unsigned end = 576;

	assert_int_equal(leaf(0xd, 0).eax | (uint64_t)leaf(0xd, 0).edx << 32, allowed);
	for (unsigned i = 2; i < 63; i++) {
		struct cpuid_result component = leaf(0xd, i);

		if (!(allowed & BIT(i))) {
			assert_int_equal(component.eax | component.ebx | component.ecx, 0);
			continue;
		}
		assert_int_not_equal(component.eax, 0);
		end = MAX(end, component.eax + component.ebx);
		/* Where the host has it, the guest finds it in the same place. */
		if (host_leaf(0xd, i).eax) {
			assert_int_equal(component.eax, host_leaf(0xd, i).eax);
			assert_int_equal(component.ebx, host_leaf(0xd, i).ebx);
		}
	}
	assert_int_equal(leaf(0xd, 0).ecx, end);
	cpu->xcr0 = 1;
	assert_int_equal(leaf(0xd, 0).ebx, 576);
	assert_int_equal(leaf(0xd, 1).ebx, 576);
	if (allowed & BIT(XSTATE_AVX)) {
		cpu->xcr0 = XCR0_AVX;
		assert_int_equal(leaf(0xd, 0).ebx, 832);
		assert_int_equal(leaf(0xd, 1).ebx, 832);
	}
	/* In the compacted format PKRU follows at once. */
	cpu->xcr0 = 3 | BIT(XSTATE_PKRU);
	assert_int_equal(leaf(0xd, 1).ebx, 584);
}

static void test_hypervisor_leaves(void **state)
{
	struct cpuid_result signature = leaf(0x40000000, 0);

	assert_memory_equal(&signature.ebx, "KVMKVMKVM\0\0\0", 12);
	assert_int_equal(signature.eax, 0x40000010);
	/* clocks, no I/O delay, steal time, unhalt, TLB flush, IPIs, yield, stable clock */
	assert_int_equal(leaf(0x40000001, 0).eax,
		1 | 2 | 8 | 1 << 5 | 1 << 7 | 1 << 9 | 1 << 11 | 1 << 13 | 1 << 24);
	assert_int_equal(leaf(0x40000010, 0).eax, fixture_clock.tsc_khz);
	assert_int_equal(leaf(0x40000010, 0).ebx, 1000000);
	assert_int_equal(
		leaf(0x40000100, 0).eax, !cpu->model->amd ? leaf(leaf(0, 0).eax, 0).eax : 0);
}

/* Beyond the last leaf: Intel repeats the last basic one, AMD gives zeroes. */
static void test_unknown_leaves(void **state)
{
	struct cpuid_result beyond = leaf(0x20000000, 0), last = leaf(leaf(0, 0).eax, 0);

	if (!cpu->model->amd)
		assert_memory_equal(&beyond, &last, sizeof(last));
	else
		assert_int_equal(beyond.eax | beyond.ebx | beyond.ecx | beyond.edx, 0);
}

static void test_address_sizes(void **state)
{
	uint32_t sizes = leaf(0x80000008, 0).eax;

	assert_int_equal(sizes & 0xff, cpu->model->physical_bits);
	assert_int_equal((sizes >> 8) & 0xff, 57);
	assert_in_range(cpu->model->physical_bits, 36, 52);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cpu_test(test_many_subleaves),
		cpu_test(test_vendor_and_family_are_the_hosts),
		cpu_test(test_native_features_need_the_host),
		cpu_test(test_emulated_features_do_not),
		cpu_test(test_control_bits_follow_features),
		cpu_test(test_dynamic_bits),
		cpu_test(test_topology_of_one),
		cpu_test(test_topology_of_six),
		cpu_test(test_cache_sharing),
		cpu_test(test_xsave_leaf),
		cpu_test(test_hypervisor_leaves),
		cpu_test(test_unknown_leaves),
		cpu_test(test_address_sizes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
