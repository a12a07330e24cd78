/* Model-specific registers: which exist, what they take, what faults; and pvclock, read as Linux
 * reads it. */
#include "cpu/cpuid.h"
#include "cpu/pvclock.h"
#include "cpu_fixture.h"

#define APIC_BASE    0x1b
#define EFER         0xc0000080
#define LSTAR        0xc0000082
#define SYSENTER_ESP 0x175
#define TSC          0x10
#define TSC_ADJUST   0x3b
#define PAT          0x277

static uint64_t read_msr(uint32_t msr)
{
	uint64_t value = 0;

	assert_true(msr_read(cpu, msr, &value));
	return value;
}

static void instructions(void **state)
{
	enter_long(0);
	cpu->gpr[RCX] = UINT64_C(0xffffffff00000000) | LSTAR; /* ECX counts */
	cpu->gpr[RAX] = UINT64_C(0x1234567890001000);
	cpu->gpr[RDX] = UINT64_C(0x12345678ffff8000);
	assert_completes(insn_wrmsr(cpu));
	assert_int_equal(cpu->lstar, UINT64_C(0xffff800090001000));
	cpu->gpr[RAX] = cpu->gpr[RDX] = ~UINT64_C(0);
	assert_completes(insn_rdmsr(cpu));
	assert_int_equal(cpu->gpr[RAX], 0x90001000);
	assert_int_equal(cpu->gpr[RDX], 0xffff8000);
	cpu->gpr[RCX] = 0x12345;
	assert_raises(VECTOR_GP, 0, insn_rdmsr(cpu));
	assert_raises(VECTOR_GP, 0, insn_wrmsr(cpu));
}

static void canonical_addresses(void **state)
{
	static const uint32_t msr[] = {LSTAR, 0xc0000083, 0xc0000100, 0xc0000101, 0xc0000102};

	for (unsigned i = 0; i < ARRAY_SIZE(msr); i++) {
		assert_false(msr_write(cpu, msr[i], BIT(56)));
		assert_true(msr_write(cpu, msr[i], HIGH_HALF + i));
		assert_int_equal(read_msr(msr[i]), HIGH_HALF + i);
	}
	assert_int_equal(cpu->segment_base[SEG_FS], HIGH_HALF + 2);
	assert_int_equal(cpu->segment_base[SEG_GS], HIGH_HALF + 3);
	cpu->amd = false;
	assert_false(msr_write(cpu, SYSENTER_ESP, BIT(56)));
	cpu->amd = true;
	assert_true(msr_write(cpu, SYSENTER_ESP, BIT(56)));
}

static void efer(void **state)
{
	enter_long(0);
	assert_false(msr_write(cpu, EFER, cpu->efer | BIT(1)));
	assert_false(msr_write(cpu, EFER, cpu->efer & ~EFER_LME)); /* paging is on */
	assert_true(msr_write(cpu, EFER, cpu->efer & ~(EFER_LMA | EFER_SCE)));
	assert_true(cpu->efer & EFER_LMA); /* cannot be written */
	assert_false(cpu->efer & EFER_SCE);
}

static void vendor_registers(void **state)
{
	uint64_t value;

	for (unsigned amd = 0; amd < 2; amd++) {
		cpu->amd = amd;
		assert_int_equal(msr_read(cpu, 0xc0010015, &value), amd); /* HWCR */
		assert_int_equal(msr_read(cpu, 0xc0010010, &value), amd); /* SYSCFG */
		assert_int_equal(msr_read(cpu, 0x17, &value), !amd);      /* PLATFORM_ID */
		assert_int_equal(msr_read(cpu, 0xce, &value), !amd);
		assert_true(msr_read(cpu, 0x8b, &value)); /* both have it, with different meaning */
		assert_int_equal(value, amd ? 0x01000065 : UINT64_C(0x100000000));
	}
	cpu->amd = true;
	assert_int_equal(read_msr(0xc001001a), memory.low_size);
}

/* PAT and MTRR entries are memory types; 2 and 3 are none, 7 (UC-) is only a PAT's. */
static void memory_types(void **state)
{
	for (unsigned type = 0; type < 256; type++) {
		bool mtrr = type == 0 || type == 1 || (type >= 4 && type <= 6);

		for (unsigned byte = 0; byte < 8; byte++) {
			uint64_t value = (uint64_t)type << (8 * byte);

			assert_int_equal(msr_write(cpu, PAT, value), mtrr || type == 7);
			assert_int_equal(msr_write(cpu, 0x250, value), mtrr);
			assert_int_equal(msr_write(cpu, 0x26f, value), mtrr);
		}
		assert_int_equal(msr_write(cpu, 0x200, 0x100000 | type), mtrr);
		assert_int_equal(msr_write(cpu, 0x2ff, 0xc00 | type), mtrr);
	}
}

static void mtrrs(void **state)
{
	uint64_t value;
	unsigned count = read_msr(0xfe) & 0xff;

	for (unsigned i = 0; i < count; i++) {
		assert_true(msr_write(cpu, 0x200 + 2 * i, 0x100000 * i | 6));
		assert_true(msr_write(cpu, 0x201 + 2 * i, UINT64_C(0xffff000800) + (i << 12)));
		assert_int_equal(read_msr(0x200 + 2 * i), 0x100000 * i | 6);
		assert_int_equal(read_msr(0x201 + 2 * i), UINT64_C(0xffff000800) + (i << 12));
	}
	assert_false(msr_read(cpu, 0x200 + 2 * count, &value));
	assert_false(msr_write(cpu, 0x200, BIT(40) | 6)); /* beyond MAXPHYADDR */
	assert_false(msr_write(cpu, 0x200, 0x100 | 6));
	assert_false(msr_write(cpu, 0x201, 0x400));
	assert_false(msr_write(cpu, 0x2ff, 0x1000));
	assert_false(msr_read(cpu, 0x251, &value)); /* a hole among the fixed ones */
	assert_false(msr_write(cpu, 0xfe, 0));
}

static void without_a_local_apic(void **state)
{
	uint64_t value;

	assert_false(msr_read(cpu, APIC_BASE, &value));
	assert_false(msr_write(cpu, 0x802, 0));
}

/* Registers that belong to a CPUID bit exist exactly where it is shown. */
static void gated_by_cpuid(void **state)
{
	struct cpuid_result leaf;
	uint64_t value;

	cpuid_query(cpu, 0x40000001, 0, &leaf);
	assert_int_equal(msr_read(cpu, 0x4b564d01, &value), (leaf.eax >> 3) & 1);
	assert_int_equal(msr_read(cpu, 0x12, &value), leaf.eax & 1);
	cpuid_query(cpu, 0x80000001, 0, &leaf);
	assert_int_equal(msr_read(cpu, 0xc0000103, &value), (leaf.edx >> 27) & 1);
	cpuid_query(cpu, 0xd, 1, &leaf);
	assert_int_equal(msr_read(cpu, 0xda0, &value), (leaf.eax >> 3) & 1);
	cpuid_query(cpu, 7, 0, &leaf);
	assert_int_equal(msr_read(cpu, 0x10a, &value), (leaf.edx >> 29) & 1);
}

/* --- time --- */

static bool near(uint64_t value, uint64_t expected)
{
	return value - expected < 100 * MIB; /* cycles: far less than a second */
}

static void tsc_and_adjust(void **state)
{
	assert_true(near(read_msr(TSC), clock_cycles(&fixture_clock) - 10000));
	assert_true(msr_write(cpu, TSC, UINT64_C(1) << 60));
	assert_true(near(read_msr(TSC), UINT64_C(1) << 60));
	assert_int_equal(read_msr(TSC_ADJUST), cpu->tsc_offset);
	assert_true(msr_write(cpu, TSC_ADJUST, 0));
	assert_int_equal(cpu->tsc_offset, 0);
	assert_true(msr_write(cpu, TSC_ADJUST, 12345));
	assert_int_equal(cpu->tsc_offset, 12345);
	cpu_reset(cpu);
	assert_int_equal(cpu->tsc_offset, 0);
}

/* arch/x86/include/asm/pvclock.h, __pvclock_read_cycles(). */
static uint64_t guest_clock(uint64_t gpa, uint64_t tsc)
{
	uint64_t delta = tsc - get(gpa + 8, 8);
	int8_t shift = (int8_t)get(gpa + 28, 1);

	assert_int_equal(get(gpa, 4) & 1, 0);
	delta = shift < 0 ? delta >> -shift : delta << shift;
	return get(gpa + 16, 8) + (uint64_t)(((unsigned __int128)delta * get(gpa + 24, 4)) >> 32);
}

static void time_page(void **state)
{
	static const uint64_t khz[] = {100000, 999999, 1000000, 1000001, 2596135, 5000000};
	uint64_t page = 0x300000;

	for (unsigned i = 0; i < ARRAY_SIZE(khz); i++) {
		fixture_clock.tsc_khz = khz[i];
		assert_true(msr_write(cpu, 0x4b564d01, page | 1));
		assert_int_equal(get(page + 29, 1), 1); /* TSC stable */
		/* A second, and a day, to a part in 2^31. */
		assert_int_equal((guest_clock(page, khz[i] * 1000) + 1) / 2, 500000000);
		assert_in_range(guest_clock(page, khz[i] * 1000 * 86400), UINT64_C(86399999950000),
			UINT64_C(86400000050000));
	}
}

static void time_page_follows_the_tsc(void **state)
{
	uint64_t page = 0x300000, before, now;
	uint32_t version;

	assert_true(msr_write(cpu, 0x12, page | 1)); /* the old number */
	version = (uint32_t)get(page, 4);
	before = guest_clock(page, cpu_tsc(cpu));
	assert_true(msr_write(cpu, TSC, UINT64_C(1) << 62));
	assert_true((uint32_t)get(page, 4) > version);
	now = guest_clock(page, cpu_tsc(cpu));
	assert_in_range(now - before, 0, 100000000);
	assert_in_range(clock_ns(&fixture_clock) - now, 0, 100000000);
}

static void time_page_outside_ram(void **state)
{
	assert_false(msr_write(cpu, 0x4b564d01, UINT64_C(0xe0000000) | 1));
	assert_false(msr_write(cpu, 0x4b564d01, ~UINT64_C(0)));
	assert_int_equal(cpu->pvclock_msr, 0);
	assert_true(msr_write(cpu, 0x4b564d01, UINT64_C(0xe0000000))); /* disabled: any address */
	assert_false(msr_write(cpu, 0x4b564d00, UINT64_C(0xe0000000)));
}

static void wall_clock(void **state)
{
	uint64_t ns, expected = clock_wall_base_ns(&fixture_clock);

	put(0x300000, 7, 4);
	assert_true(msr_write(cpu, 0x4b564d00, 0x300000));
	assert_int_equal(get(0x300000, 4) & 1, 0);
	assert_true(get(0x300000, 4) > 7);
	ns = get(0x300004, 4) * 1000000000 + get(0x300008, 4);
	assert_in_range(ns, expected - 100000000, expected + 100000000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cpu_test(instructions),
		cpu_test(canonical_addresses),
		cpu_test(efer),
		cpu_test(vendor_registers),
		cpu_test(memory_types),
		cpu_test(mtrrs),
		cpu_test(without_a_local_apic),
		cpu_test(gated_by_cpuid),
		cpu_test(tsc_and_adjust),
		cpu_test(time_page),
		cpu_test(time_page_follows_the_tsc),
		cpu_test(time_page_outside_ram),
		cpu_test(wall_clock),
	};

	return cmocka_run_group_tests_name("msr", tests, NULL, NULL);
}
