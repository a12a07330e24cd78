/* FXSAVE and the XSAVE family against the host's own instructions: the host must be able to load
 * what we store, and stores the same bytes again. Then the faults of wrong formats. */
#include "cpu_fixture.h"
#include "cpu/cpuid.h"

#define AREA      UINT64_C(0x300000)
#define AREA_SIZE 4096
#define HEADER    (AREA + 512)

struct area {
	uint8_t bytes[AREA_SIZE];
} __attribute__((aligned(64)));

#define VECTORS                                                                                    \
	"xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",   \
		"xmm11", "xmm12", "xmm13", "xmm14", "xmm15", "st"

static void fill(void *to, size_t size, uint64_t seed)
{
	uint8_t *bytes = to;

	for (size_t i = 0; i < size; i++) {
		seed = seed * UINT64_C(6364136223846793005) + 1;
		bytes[i] = (uint8_t)(seed >> 56);
	}
}

static void random_fpu(uint64_t seed)
{
	uint16_t fcw = 0x037f, fsw = 0x2801;

	fill(cpu->fpu.zmm, sizeof(cpu->fpu.zmm), seed);
	fill(cpu->fpu.opmask, sizeof(cpu->fpu.opmask), seed + 1);
	memset(cpu->fpu.x87, 0, 160);
	memcpy(cpu->fpu.x87, &fcw, 2);
	memcpy(cpu->fpu.x87 + 2, &fsw, 2);
	cpu->fpu.x87[4] = 0xf0;
	for (unsigned i = 0; i < 8; i++)
		fill(cpu->fpu.x87 + 32 + 16 * i, 10, seed + 2 + i);
	cpu->fpu.mxcsr = 0x5fa2;
	cpu->fpu.pkru = 0x55555554;
	cpu->fpu.fip = cpu->fpu.fdp = 0;
	cpu->fpu.fop = 0;
}

static void initial_fpu(void)
{
	uint16_t fcw = 0x037f;

	memset(cpu->fpu.zmm, 0, sizeof(cpu->fpu.zmm));
	memset(cpu->fpu.opmask, 0, sizeof(cpu->fpu.opmask));
	memset(cpu->fpu.x87, 0, 160);
	memcpy(cpu->fpu.x87, &fcw, 2);
	cpu->fpu.mxcsr = 0x1f80;
	cpu->fpu.pkru = 0;
	cpu->fpu.fip = cpu->fpu.fdp = 0;
	cpu->fpu.fop = 0;
}

static void enter_with_xsave(unsigned cpl)
{
	enter_long(cpl);
	cpu->cr4 |= CR4_OSFXSR | CR4_OSXSAVE;
	cpu->xcr0 = cpu->model->xcr0;
}

static void clear_area(uint8_t value)
{
	memset(memory.ram + AREA, value, AREA_SIZE);
	memset(memory.ram + HEADER, 0, 64);
}

/* Components that both the host and we have: all but PKRU, which some hosts do not have. */
static uint64_t common(void)
{
	return cpu->model->xcr0 & ~BIT(XSTATE_PKRU);
}

/* The host loads our area and stores its own of the same kind; both must hold the same bytes. */
static void compare_with_host(bool compact)
{
	struct area theirs, ours;
	uint32_t low = (uint32_t)common();

	memcpy(ours.bytes, memory.ram + AREA, AREA_SIZE);
	memcpy(theirs.bytes, ours.bytes, AREA_SIZE);
	if (compact)
		__asm__ volatile("xrstor64 %0\n\txsavec64 %0"
				 : "+m"(theirs)
				 : "a"(low), "d"(0)
				 : VECTORS);
	else
		__asm__ volatile("xrstor64 %0\n\txsave64 %0"
				 : "+m"(theirs)
				 : "a"(low), "d"(0)
				 : VECTORS);
	__asm__ volatile("fninit\n\tldmxcsr %0" : : "m"((uint32_t){0x1f80}));
	/* AMD's processors drop the pointers unless an exception is pending: ours are 0 here. */
	assert_memory_equal(ours.bytes, theirs.bytes, 416);
	assert_memory_equal(ours.bytes + 512, theirs.bytes + 512, AREA_SIZE - 512);
}

static bool host_has_xsavec(void)
{
	return host_leaf(0xd, 1).eax & 2;
}

static void test_xsave_is_the_hosts(void **state)
{
	if (!(host_leaf(1, 0).ecx & (1u << 27)))
		skip();
	enter_with_xsave(3);
	for (uint64_t seed = 1; seed < 20; seed++) {
		random_fpu(seed);
		if (seed % 3 == 0) /* some components in their initial state */
			memset(cpu->fpu.opmask, 0, sizeof(cpu->fpu.opmask));
		if (seed % 4 == 0)
			memset(cpu->fpu.zmm[16], 0, 1024);
		clear_area(0);
		assert_completes(fpu_xsave(cpu, AREA, common(), XSAVE_STANDARD, 8));
		compare_with_host(false);
		clear_area(0);
		assert_completes(fpu_xsave(cpu, AREA, common(), XSAVE_COMPACT, 8));
		if (host_has_xsavec())
			compare_with_host(true);
	}
}

static void test_xrstor_undoes_xsave(void **state)
{
	static const enum xsave_form forms[] = {
		XSAVE_STANDARD, XSAVE_OPT, XSAVE_COMPACT, XSAVE_SUPERVISOR};

	for (unsigned i = 0; i < ARRAY_SIZE(forms); i++) {
		struct fpu before;

		enter_with_xsave(0);
		random_fpu(77 + i);
		before = cpu->fpu;
		clear_area(0xaa);
		assert_completes(fpu_xsave(cpu, AREA, ~UINT64_C(0), forms[i], 8));
		initial_fpu();
		assert_completes(
			fpu_xrstor(cpu, AREA, ~UINT64_C(0), forms[i] == XSAVE_SUPERVISOR, 8));
		assert_memory_equal(cpu->fpu.zmm, before.zmm, sizeof(before.zmm));
		assert_memory_equal(cpu->fpu.opmask, before.opmask, sizeof(before.opmask));
		assert_memory_equal(cpu->fpu.x87 + 32, before.x87 + 32, 128);
		assert_memory_equal(cpu->fpu.x87, before.x87, 6);
		assert_int_equal(cpu->fpu.mxcsr, before.mxcsr);
		assert_int_equal(cpu->fpu.pkru, before.pkru);
	}
}

/* What is not in use is not written by XSAVEOPT and XSAVEC, and its bit is clear. */
static void test_initial_state_is_left_out(void **state)
{
	enter_with_xsave(3);
	initial_fpu();
	cpu->fpu.zmm[3][20] = 1; /* AVX only */
	clear_area(0xaa);
	assert_completes(fpu_xsave(cpu, AREA, ~UINT64_C(0), XSAVE_OPT, 8));
	assert_int_equal(get(HEADER, 8), BIT(XSTATE_AVX));
	assert_int_equal(get(HEADER + 8, 8), 0);
	assert_int_equal(get(AREA, 2), 0xaaaa);      /* x87 */
	assert_int_equal(get(AREA + 24, 4), 0x1f80); /* but MXCSR */
	assert_int_equal(get(AREA + 160, 8), 0xaaaaaaaaaaaaaaaa);
	assert_int_equal(get(AREA + cpu->model->xstate[XSTATE_AVX].offset + 3 * 16 + 4, 1), 1);

	clear_area(0xaa);
	assert_completes(fpu_xsave(cpu, AREA, XCR0_AVX, XSAVE_COMPACT, 8));
	assert_int_equal(get(HEADER, 8), BIT(XSTATE_AVX));
	assert_int_equal(get(HEADER + 8, 8), BIT(63) | XCR0_AVX);
	assert_int_equal(get(AREA + 24, 4), 0xaaaaaaaa); /* MXCSR is SSE's here, and initial */

	/* MXCSR alone puts SSE in use for the compacted format, not for the standard one. */
	cpu->fpu.mxcsr = 0x1fa0;
	assert_completes(fpu_xsave(cpu, AREA, XCR0_AVX, XSAVE_COMPACT, 8));
	assert_int_equal(get(HEADER, 8), BIT(XSTATE_AVX) | BIT(XSTATE_SSE));
	clear_area(0);
	assert_completes(fpu_xsave(cpu, AREA, XCR0_AVX, XSAVE_STANDARD, 8));
	assert_int_equal(get(HEADER, 8), BIT(XSTATE_AVX));
	assert_int_equal(fpu_xinuse(cpu) & 7, BIT(XSTATE_AVX));
}

/* XSAVE keeps the header's bits for components it was not asked for. */
static void test_xstate_bv_is_merged(void **state)
{
	enter_with_xsave(3);
	random_fpu(5);
	clear_area(0);
	put(HEADER, 0x204, 8);
	assert_completes(fpu_xsave(cpu, AREA, 2, XSAVE_STANDARD, 8));
	assert_int_equal(get(HEADER, 8), 0x206);
}

static void test_compacted_offsets(void **state)
{
	if (!cpu_model_has(cpu->model, CPUID_AVX512F))
		skip();
	enter_with_xsave(3);
	random_fpu(6);
	clear_area(0);
	assert_completes(
		fpu_xsave(cpu, AREA, BIT(XSTATE_OPMASK) | BIT(XSTATE_PKRU), XSAVE_COMPACT, 8));
	assert_memory_equal(memory.ram + AREA + 576, cpu->fpu.opmask, 64);
	assert_int_equal(get(AREA + 640, 4), cpu->fpu.pkru);
}

static void test_xrstor_initialises(void **state)
{
	enter_with_xsave(3);
	random_fpu(8);
	clear_area(0);
	put(AREA + 24, 0x1fbf, 4);
	assert_completes(fpu_xrstor(cpu, AREA, XCR0_AVX, false, 8));
	assert_int_equal(cpu->fpu.x87[0] | cpu->fpu.x87[1] << 8, 0x037f);
	assert_int_equal(cpu->fpu.x87[4], 0);
	for (unsigned i = 0; i < 16; i++)
		assert_memory_equal(cpu->fpu.zmm[i], (uint8_t[32]){0}, 32);
	assert_int_not_equal(cpu->fpu.pkru, 0);   /* was not asked for */
	assert_int_equal(cpu->fpu.mxcsr, 0x1fbf); /* standard format: from memory all the same */

	/* Compacted: MXCSR is initialised with SSE. */
	put(HEADER + 8, BIT(63) | XCR0_AVX, 8);
	assert_completes(fpu_xrstor(cpu, AREA, 2, false, 8));
	assert_int_equal(cpu->fpu.mxcsr, 0x1f80);
}

static void test_bad_headers(void **state)
{
	static const struct {
		uint64_t offset, value;
		bool supervisor;
	} bad[] = {
		{0, BIT(62), false},           /* XSTATE_BV: no such component */
		{8, 1, false},                 /* XCOMP_BV without its top bit */
		{16, 1, false},                /* reserved */
		{8, BIT(63) | BIT(40), false}, /* compacted: no such component */
		{8, 0, true},                  /* XRSTORS wants the compacted format */
	};

	enter_with_xsave(0);
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		random_fpu(i);
		clear_area(0);
		put(AREA + 24, 0x1f80, 4);
		put(HEADER + bad[i].offset, bad[i].value, 8);
		assert_raises(VECTOR_GP, 0, fpu_xrstor(cpu, AREA, 7, bad[i].supervisor, 8));
		assert_int_equal(cpu->fpu.mxcsr, 0x5fa2);
	}
	/* XSTATE_BV beyond XCOMP_BV; bytes 16 to 63 in the compacted format. */
	clear_area(0);
	put(HEADER, 3, 8);
	put(HEADER + 8, BIT(63) | 1, 8);
	assert_raises(VECTOR_GP, 0, fpu_xrstor(cpu, AREA, 7, false, 8));
	clear_area(0);
	put(HEADER + 8, BIT(63) | 7, 8);
	put(HEADER + 56, 1, 8);
	assert_raises(VECTOR_GP, 0, fpu_xrstor(cpu, AREA, 7, false, 8));
	/* MXCSR's reserved bits. */
	clear_area(0);
	put(AREA + 24, 0x80001f80, 4);
	assert_raises(VECTOR_GP, 0, fpu_xrstor(cpu, AREA, 2, false, 8));
	assert_completes(fpu_xrstor(cpu, AREA, 1, false, 8));
}

static void test_alignment_and_privilege(void **state)
{
	enter_with_xsave(3);
	initial_fpu();
	clear_area(0);
	assert_raises(VECTOR_GP, 0, fpu_xsave(cpu, AREA + 32, 7, XSAVE_STANDARD, 8));
	assert_raises(VECTOR_GP, 0, fpu_xrstor(cpu, AREA + 32, 7, false, 8));
	assert_raises(VECTOR_GP, 0, fpu_xsave(cpu, AREA, 7, XSAVE_SUPERVISOR, 8));
	assert_raises(VECTOR_GP, 0, fpu_xrstor(cpu, AREA, 7, true, 8));
	assert_raises(VECTOR_GP, 0, fpu_fxsave(cpu, AREA + 8, 8));
	assert_raises(VECTOR_GP, 0, fpu_fxrstor(cpu, AREA + 8, 8));
}

static void test_enabling(void **state)
{
	enter_with_xsave(0);
	initial_fpu();
	clear_area(0);
	cpu->cr0 |= CR0_TS;
	assert_raises(VECTOR_NM, 0, fpu_xsave(cpu, AREA, 7, XSAVE_STANDARD, 8));
	assert_raises(VECTOR_NM, 0, fpu_xrstor(cpu, AREA, 7, false, 8));
	assert_raises(VECTOR_NM, 0, fpu_fxsave(cpu, AREA, 8));
	assert_raises(VECTOR_NM, 0, fpu_fxrstor(cpu, AREA, 8));
	cpu->cr0 |= CR0_EM;
	assert_raises(VECTOR_UD, 0, fpu_fxsave(cpu, AREA, 8));
	assert_raises(VECTOR_UD, 0, fpu_fxrstor(cpu, AREA, 8));
	cpu->cr4 &= ~CR4_OSXSAVE;
	assert_raises(VECTOR_UD, 0, fpu_xsave(cpu, AREA, 7, XSAVE_STANDARD, 8));
	assert_raises(VECTOR_UD, 0, fpu_xrstor(cpu, AREA, 7, false, 8));
}

/* 32-bit code has eight registers: the others' bytes and contents stay. */
static void test_short_modes(void **state)
{
	enter_with_xsave(0);
	random_fpu(9);
	load_segment(SEG_CS, CODE0_32);
	clear_area(0xaa);
	assert_completes(fpu_xsave(cpu, AREA, ~UINT64_C(0), XSAVE_STANDARD, 4));
	assert_memory_equal(memory.ram + AREA + 160, cpu->fpu.zmm[0], 16);
	assert_memory_equal(memory.ram + AREA + 160 + 7 * 16, cpu->fpu.zmm[7], 16);
	assert_int_equal(get(AREA + 160 + 8 * 16, 8), 0xaaaaaaaaaaaaaaaa);
	if (cpu_model_has(cpu->model, CPUID_AVX))
		assert_int_equal(get(AREA + cpu->model->xstate[XSTATE_AVX].offset + 128, 8),
			0xaaaaaaaaaaaaaaaa);

	clear_area(0);
	put(AREA + 24, 0x1f80, 4);
	assert_completes(fpu_xrstor(cpu, AREA, XCR0_AVX, false, 4));
	assert_int_equal(cpu->fpu.zmm[7][0], 0);
	random_fpu(9);
	struct fpu before = cpu->fpu;
	assert_completes(fpu_xrstor(cpu, AREA, XCR0_AVX, false, 4));
	assert_memory_equal(cpu->fpu.zmm[8], before.zmm[8], 64);
}

/* --- FXSAVE --- */

static void test_fxsave_is_the_hosts(void **state)
{
	struct area theirs;

	enter_with_xsave(3);
	random_fpu(11);
	memset(memory.ram + AREA, 0x5a, 512);
	assert_completes(fpu_fxsave(cpu, AREA, 8));
	memcpy(theirs.bytes, memory.ram + AREA, 512);
	__asm__ volatile("fxrstor64 %0\n\tfxsave64 %0\n\tfninit\n\tldmxcsr %1"
			 : "+m"(theirs)
			 : "m"((uint32_t){0x1f80})
			 : VECTORS);
	assert_memory_equal(memory.ram + AREA, theirs.bytes, 512);
	assert_int_equal(get(AREA + 28, 4), fpu_mxcsr_mask(cpu->model));
}

static void test_fxsave_pointers(void **state)
{
	enter_with_xsave(3);
	random_fpu(12);
	cpu->amd = false;
	cpu->fpu.fip = 0x123456789abc;
	cpu->fpu.fdp = 0xfedcba987654;
	cpu->fpu.fop = 0x3c1;
	assert_completes(fpu_fxsave(cpu, AREA, 8));
	assert_int_equal(get(AREA + 6, 2), 0x3c1);
	assert_int_equal(get(AREA + 8, 8), 0x123456789abc);
	assert_int_equal(get(AREA + 16, 8), 0xfedcba987654);
	assert_completes(fpu_fxsave(cpu, AREA, 4));
	assert_int_equal(get(AREA + 8, 8), 0x56789abc); /* and no selector */
	assert_int_equal(get(AREA + 16, 8), 0xba987654);
	cpu->fpu.fip = 0;
	assert_completes(fpu_fxrstor(cpu, AREA, 4));
	assert_int_equal(cpu->fpu.fip, 0x56789abc);

	/* AMD's processors save them for the handler of an exception only. */
	cpu->amd = true;
	assert_completes(fpu_fxsave(cpu, AREA, 8));
	assert_int_equal(get(AREA + 6, 2) | get(AREA + 8, 8) | get(AREA + 16, 8), 0);
	cpu->fpu.x87[2] |= 0x80;
	assert_completes(fpu_fxsave(cpu, AREA, 8));
	assert_int_equal(get(AREA + 6, 2), 0x3c1);
	assert_int_equal(get(AREA + 8, 8), 0x56789abc);
	assert_int_equal(get(AREA + 16, 8), 0xba987654);
}

/* EFER.FFXSR leaves the XMM registers out, at CPL 0 in 64-bit mode only. */
static void test_fast_fxsave(void **state)
{
	for (unsigned cpl = 0; cpl <= 3; cpl += 3) {
		enter_with_xsave(cpl);
		random_fpu(13);
		cpu->efer |= EFER_FFXSR;
		memset(memory.ram + AREA, 0x5a, 512);
		assert_completes(fpu_fxsave(cpu, AREA, 8));
		assert_int_equal(get(AREA + 160, 4) == 0x5a5a5a5a, cpl == 0);
		assert_int_equal(get(AREA + 24, 4), 0x5fa2);
	}
}

static void test_fxrstor_reserved_mxcsr(void **state)
{
	enter_with_xsave(3);
	random_fpu(14);
	assert_completes(fpu_fxsave(cpu, AREA, 8));
	put(AREA + 24, 0xffff0000 & ~fpu_mxcsr_mask(cpu->model), 4);
	initial_fpu();
	assert_raises(VECTOR_GP, 0, fpu_fxrstor(cpu, AREA, 8));
	assert_int_equal(cpu->fpu.zmm[0][0] | cpu->fpu.zmm[5][3], 0);
}

/* A fault anywhere in the area: nothing is stored, nothing is loaded. */
static void test_faults_are_whole(void **state)
{
	uint64_t at = 4 * MIB - 576 - 64;

	enter_with_xsave(0);
	put(TABLES + 0x2000 + 2 * 8, 0, 8); /* 4 MiB up: not there */
	tlb_flush_all(cpu);
	random_fpu(15);
	memset(memory.ram + at, 0, 640);
	assert_true(RAISED(fpu_xsave(cpu, at, ~UINT64_C(0), XSAVE_STANDARD, 8)));
	assert_int_equal(cpu->exception.vector, VECTOR_PF);
	assert_int_equal(cpu->cr2, 4 * MIB);
	assert_int_equal(get(at, 8) | get(at + 160, 8) | get(at + 512, 8), 0);

	put(at + 24, 0x1f80, 4);
	put(at + 512, XCR0_AVX, 8); /* says that AVX state is there: it is behind the page's end */
	assert_true(RAISED(fpu_xrstor(cpu, at, XCR0_AVX, false, 8)));
	assert_int_equal(cpu->exception.vector, VECTOR_PF);
	assert_int_equal(cpu->fpu.mxcsr, 0x5fa2);
	/* Without AVX it does not reach that far. */
	put(at + 512, 3, 8);
	assert_completes(fpu_xrstor(cpu, at, 3, false, 8));
	assert_int_equal(cpu->fpu.mxcsr, 0x1f80);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cpu_test(test_xsave_is_the_hosts),
		cpu_test(test_xrstor_undoes_xsave),
		cpu_test(test_initial_state_is_left_out),
		cpu_test(test_xstate_bv_is_merged),
		cpu_test(test_compacted_offsets),
		cpu_test(test_xrstor_initialises),
		cpu_test(test_bad_headers),
		cpu_test(test_alignment_and_privilege),
		cpu_test(test_enabling),
		cpu_test(test_short_modes),
		cpu_test(test_fxsave_is_the_hosts),
		cpu_test(test_fxsave_pointers),
		cpu_test(test_fast_fxsave),
		cpu_test(test_fxrstor_reserved_mxcsr),
		cpu_test(test_faults_are_whole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
