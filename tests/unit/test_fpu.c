/* When the guest's x87 state is in the host's unit, what must be enabled to use it, and the
 * environment images of FNSTENV and FNSAVE, compared with what the host's own instructions
 * store. */
#include "cpu_fixture.h"
#include "cpu/cpuid.h"

#define IMAGE UINT64_C(0x300000)

struct fxsave {
	uint8_t bytes[512];
} __attribute__((aligned(16)));

static uint16_t word_at(const uint8_t *from)
{
	return (uint16_t)(from[0] | from[1] << 8);
}

static uint16_t host_control_word(void)
{
	uint16_t fcw;

	__asm__ volatile("fnstcw %0" : "=m"(fcw));
	return fcw;
}

static uint32_t host_mxcsr(void)
{
	uint32_t mxcsr;

	__asm__ volatile("stmxcsr %0" : "=m"(mxcsr));
	return mxcsr;
}

/* --- enter and leave --- */

static void test_power_up_state(void **state)
{
	fpu_reset(cpu);
	assert_int_equal(word_at(cpu->fpu.x87), 0x0040);
	assert_int_equal(cpu->fpu.x87[4], 0xff);
	assert_int_equal(cpu->fpu.mxcsr, 0x1f80);
}

static void test_enter_and_leave_carry_the_state(void **state)
{
	uint16_t fcw = 0x0f7f;
	uint8_t before[160];

	memset(cpu->fpu.x87, 0, 160);
	memcpy(cpu->fpu.x87, &fcw, 2);
	cpu->fpu.x87[3] = 0x28; /* TOP 5 */
	cpu->fpu.x87[4] = 0xe0;
	for (unsigned i = 0; i < 8; i++)
		memset(cpu->fpu.x87 + 32 + 16 * i, 0x40 + (int)i, 10);
	cpu->fpu.mxcsr = 0x7fa1;
	memcpy(before, cpu->fpu.x87, 160);

	fpu_enter(cpu);
	assert_true(cpu->fpu_live);
	assert_int_equal(host_control_word(), 0x0f7f);
	assert_int_equal(host_mxcsr(), 0x7fa1);
	memset(cpu->fpu.x87, 0xee, 160);
	cpu->fpu.mxcsr = 0;
	fpu_leave(cpu);

	assert_false(cpu->fpu_live);
	assert_memory_equal(cpu->fpu.x87, before, 8);
	assert_memory_equal(cpu->fpu.x87 + 32, before + 32, 128);
	assert_int_equal(cpu->fpu.mxcsr, 0x7fa1);
	assert_int_equal(host_control_word(), 0x037f);
	assert_int_equal(host_mxcsr(), 0x1f80);
}

static void test_mxcsr_reserved_bits(void **state)
{
	uint32_t mask = fpu_mxcsr_mask(cpu->model);

	cpu->fpu.mxcsr = 0x1f80;
	assert_raises(VECTOR_GP, 0, fpu_ldmxcsr(cpu, 0x1f80 | 1u << 31));
	assert_raises(VECTOR_GP, 0, fpu_ldmxcsr(cpu, ~mask));
	assert_int_equal(cpu->fpu.mxcsr, 0x1f80);
	assert_completes(fpu_ldmxcsr(cpu, mask));
	assert_int_equal(fpu_stmxcsr(cpu), mask);
}

/* --- may it run? --- */

struct enable {
	bool em, ts, mp, osfxsr, osxsave, real;
	uint64_t xcr0;
};

/* SDM vol. 3A 2.5 and vol. 2A 2.4, 2.8: -1 where the instruction runs. */
static int expected_vector(enum fpu_class kind, const struct enable *e)
{
	bool no_avx = e->real || !e->osxsave || (e->xcr0 & XCR0_AVX) != XCR0_AVX;

	switch (kind) {
	case FPU_CLASS_X87:
		return e->em || e->ts ? VECTOR_NM : -1;
	case FPU_CLASS_WAIT:
		return e->mp && e->ts ? VECTOR_NM : -1;
	case FPU_CLASS_MMX:
		return e->em ? VECTOR_UD : e->ts ? VECTOR_NM : -1;
	case FPU_CLASS_SSE:
		return e->em || !e->osfxsr ? VECTOR_UD : e->ts ? VECTOR_NM : -1;
	case FPU_CLASS_AVX:
		return no_avx ? VECTOR_UD : e->ts ? VECTOR_NM : -1;
	case FPU_CLASS_AVX512:
		return no_avx || (e->xcr0 & XCR0_AVX512) != XCR0_AVX512 ? VECTOR_UD
		       : e->ts                                          ? VECTOR_NM
									: -1;
	case FPU_CLASS_VEX:
		return e->real ? VECTOR_UD : -1;
	case FPU_CLASS_FXSAVE:
		return e->em ? VECTOR_UD : e->ts ? VECTOR_NM : -1;
	case FPU_CLASS_XSAVE:
		return !e->osxsave ? VECTOR_UD : e->ts ? VECTOR_NM : -1;
	default:
		return -1;
	}
}

static void test_enabling_bits(void **state)
{
	static const uint64_t xcr0[] = {1, 3, XCR0_AVX, XCR0_AVX | XCR0_AVX512};

	for (volatile unsigned bits = 0; bits < 64 * ARRAY_SIZE(xcr0); bits++) {
		struct enable e = {.em = bits & 1,
			.ts = bits & 2,
			.mp = bits & 4,
			.osfxsr = bits & 8,
			.osxsave = bits & 16,
			.real = bits & 32,
			.xcr0 = xcr0[bits / 64]};

		cpu->cr0 = (e.em ? CR0_EM : 0) | (e.ts ? CR0_TS : 0) | (e.mp ? CR0_MP : 0) |
			   (e.real ? 0 : CR0_PE);
		cpu->cr4 = (e.osfxsr ? CR4_OSFXSR : 0) | (e.osxsave ? CR4_OSXSAVE : 0);
		cpu->xcr0 = e.xcr0;
		for (volatile enum fpu_class kind = 0; kind < FPU_CLASS_COUNT; kind++) {
			int vector = RAISED(fpu_check(cpu, kind)) ? cpu->exception.vector : -1;

			if (vector != expected_vector(kind, &e))
				fail_msg("class %d, case %u: vector %d, should be %d", kind, bits,
					vector, expected_vector(kind, &e));
		}
	}
	/* Virtual-8086 mode counts as real. */
	cpu->cr0 = CR0_PE;
	cpu->cr4 = CR4_OSXSAVE;
	cpu->xcr0 = XCR0_AVX;
	cpu->system_flags |= RFLAGS_VM;
	assert_raises(VECTOR_UD, 0, fpu_check(cpu, FPU_CLASS_AVX));
}

/* --- environment images --- */

/* A stack with one register of each kind of tag. */
static void sample_state(uint16_t fsw, uint8_t tags)
{
	static const uint8_t values[8][10] = {
		{0, 0, 0, 0, 0, 0, 0, 0x80, 0xff, 0x3f}, /* 1 */
		{0},                                     /* zero */
		{1},                                     /* denormal */
		{0, 0, 0, 0, 0, 0, 0, 0x80, 0xff, 0x7f}, /* infinity */
		{0, 0, 0, 0, 0, 0, 0, 0x40, 0xff, 0x3f}, /* unnormal */
		{5, 4, 3, 2, 1, 0, 0, 0xc0, 0xff, 0xff}, /* NaN */
		{0, 0, 0, 0, 0, 0, 0, 0x80, 0x00, 0x00}, /* pseudo-denormal */
		{9, 8, 7, 6, 5, 4, 3, 0x82, 0x01, 0x40},
	};
	uint16_t fcw = 0x0340;

	memset(cpu->fpu.x87, 0, 160);
	memcpy(cpu->fpu.x87, &fcw, 2);
	memcpy(cpu->fpu.x87 + 2, &fsw, 2);
	cpu->fpu.x87[4] = tags;
	for (unsigned i = 0; i < 8; i++)
		memcpy(cpu->fpu.x87 + 32 + 16 * i, values[i], 10);
	cpu->fpu.mxcsr = 0x1f80;
}

/* What the host stores for the same state, and what is left of it. */
static void host_fnsave(uint8_t image[108], struct fxsave *after)
{
	struct fxsave before = {{0}};

	memcpy(before.bytes, cpu->fpu.x87, 160);
	memcpy(before.bytes + 24, &cpu->fpu.mxcsr, 4);
	__asm__ volatile("fxrstor64 %2\n\tfnsave %0\n\tfxsave64 %1\n\tfninit"
			 : "=m"(*(uint8_t(*)[108])image), "=m"(*after)
			 : "m"(before)
			 : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8",
			 "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15", "st");
}

static void test_fnsave_is_the_hosts(void **state)
{
	static const uint16_t tops[] = {0x0000, 0x2800, 0x7f00, 0x1f00};

	enter_long(3);
	for (unsigned i = 0; i < ARRAY_SIZE(tops) * 3; i++) {
		uint8_t tags = i % 3 == 0 ? 0xff : i % 3 == 1 ? 0x00 : 0x5a;
		uint8_t want[108], got[108];
		struct fxsave after;

		sample_state(tops[i / 3], tags);
		host_fnsave(want, &after);
		assert_completes(fpu_fnsave(cpu, IMAGE, 4));
		memory_read(&memory, IMAGE, got, sizeof(got));
		assert_memory_equal(got, want, 12); /* control, status, tags */
		assert_memory_equal(got + 28, want + 28, 80);
		/* As after FNINIT: the stack is renumbered from top 0. */
		assert_memory_equal(cpu->fpu.x87, after.bytes, 5);
		for (unsigned r = 0; r < 8; r++)
			assert_memory_equal(
				cpu->fpu.x87 + 32 + 16 * r, after.bytes + 32 + 16 * r, 10);
	}
}

static void test_frstor_undoes_fnsave(void **state)
{
	uint8_t before[160];

	enter_long(3);
	for (unsigned size = 2; size <= 4; size += 2) {
		sample_state(0x6941, 0x96);
		/* Flags without their masks are pending: the image says so too. */
		cpu->fpu.x87[2] |= 0x80;
		cpu->fpu.x87[3] |= 0x80;
		memcpy(before, cpu->fpu.x87, 160);
		assert_completes(fpu_fnsave(cpu, IMAGE, size));
		assert_memory_not_equal(cpu->fpu.x87, before, 160);
		assert_completes(fpu_frstor(cpu, IMAGE, size));
		assert_memory_equal(cpu->fpu.x87, before, 160);
		assert_raises(VECTOR_MF, 0, (cpu->cr0 |= CR0_NE, fpu_frstor(cpu, IMAGE, size)));
	}
}

static void test_fnstenv_masks(void **state)
{
	enter_long(3);
	sample_state(0xb881, 0xff);
	assert_completes(fpu_fnstenv(cpu, IMAGE, 4));
	assert_int_equal(get(IMAGE, 4), 0xffff0340);
	assert_int_equal(get(IMAGE + 4, 4), 0xffffb881);
	assert_int_equal(word_at(cpu->fpu.x87), 0x037f);
	assert_int_equal(word_at(cpu->fpu.x87 + 2), 0x3801);
}

static void test_images_need_the_fpu(void **state)
{
	enter_long(3);
	sample_state(0, 0);
	for (unsigned i = 0; i < 2; i++) {
		cpu->cr0 = (cpu->cr0 & ~(CR0_EM | CR0_TS)) | (i ? CR0_EM : CR0_TS);
		assert_raises(VECTOR_NM, 0, fpu_fnsave(cpu, IMAGE, 4));
		assert_raises(VECTOR_NM, 0, fpu_frstor(cpu, IMAGE, 4));
		assert_raises(VECTOR_NM, 0, fpu_fnstenv(cpu, IMAGE, 4));
		assert_raises(VECTOR_NM, 0, fpu_fldenv(cpu, IMAGE, 4));
	}
}

/* The four layouts (SDM vol. 1 figures 8-9 to 8-12). */
static void set_pointers(void)
{
	sample_state(0x0000, 0xff);
	cpu->fpu.fip = 0x12345678;
	cpu->fpu.fdp = 0x0009abcd;
	cpu->fpu.fop = 0x5a3;
	cpu->fpu.fcs = 0;
}

static void test_protected_layouts(void **state)
{
	enter_protected(3);
	set_pointers();
	assert_completes(fpu_fnstenv(cpu, IMAGE, 4));
	assert_int_equal(get(IMAGE + 12, 4), 0x12345678);
	assert_int_equal(get(IMAGE + 16, 4), 0x5a30000);
	assert_int_equal(get(IMAGE + 20, 4), 0x0009abcd);
	assert_int_equal(get(IMAGE + 24, 4), 0xffff0000);
	put(IMAGE + 14, 0x7777, 2);
	set_pointers();
	assert_completes(fpu_fnstenv(cpu, IMAGE, 2));
	assert_int_equal(get(IMAGE + 6, 2), 0x5678);
	assert_int_equal(get(IMAGE + 8, 2), 0);
	assert_int_equal(get(IMAGE + 10, 2), 0xabcd);
	assert_int_equal(get(IMAGE + 14, 2), 0x7777);
}

static void test_real_layouts(void **state)
{
	/* IMAGE is beyond real mode's reach, but this is a linear address. */
	cpu_reset(cpu);
	set_pointers();
	cpu->fpu.fip = 0x5678;
	cpu->fpu.fcs = 0x1000;
	assert_completes(fpu_fnstenv(cpu, IMAGE, 4));
	assert_int_equal(get(IMAGE + 12, 4), 0xffff5678);
	assert_int_equal(get(IMAGE + 16, 4), 0x1 << 12 | 0x5a3);
	assert_int_equal(get(IMAGE + 20, 4), 0xffffabcd);
	assert_int_equal(get(IMAGE + 24, 4), 0x9 << 12);
	assert_completes(fpu_fnstenv(cpu, IMAGE, 2));
	assert_int_equal(get(IMAGE + 6, 2), 0x5678);
	assert_int_equal(get(IMAGE + 8, 2), 0x15a3);
	assert_int_equal(get(IMAGE + 10, 2), 0xabcd);
	assert_int_equal(get(IMAGE + 12, 2), 0x9000);
	assert_completes(fpu_fldenv(cpu, IMAGE, 2));
	assert_int_equal(cpu->fpu.fip, 0x15678);
	assert_int_equal(cpu->fpu.fdp, 0x9abcd);
	assert_int_equal(cpu->fpu.fop, 0x5a3);
}

/* A faulting store leaves the FPU as it was. */
static void test_fnsave_faults_whole(void **state)
{
	uint8_t before[160];

	enter_long(3);
	put(TABLES + 0x2000 + 2 * 8, 0, 8); /* 4 MiB up: not there */
	tlb_flush_all(cpu);
	sample_state(0x2800, 0x5a);
	memcpy(before, cpu->fpu.x87, 160);
	put(4 * MIB - 50, 0x1122334455667788, 8);
	assert_true(RAISED(fpu_fnsave(cpu, 4 * MIB - 50, 4)));
	assert_int_equal(cpu->exception.vector, VECTOR_PF);
	assert_int_equal(cpu->cr2, 4 * MIB);
	assert_memory_equal(cpu->fpu.x87, before, 160);
	assert_int_equal(get(4 * MIB - 50, 8), 0x1122334455667788);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cpu_test(test_power_up_state),
		cpu_test(test_enter_and_leave_carry_the_state),
		cpu_test(test_mxcsr_reserved_bits),
		cpu_test(test_enabling_bits),
		cpu_test(test_fnsave_is_the_hosts),
		cpu_test(test_frstor_undoes_fnsave),
		cpu_test(test_fnstenv_masks),
		cpu_test(test_images_need_the_fpu),
		cpu_test(test_protected_layouts),
		cpu_test(test_real_layouts),
		cpu_test(test_fnsave_faults_whole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
