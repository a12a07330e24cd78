/* Generated stubs, one mechanism at a time: which instructions get one, where operands go, what
 * happens at page ends, and how the host's faults become the guest's. tests/oracle runs all forms
 * against the host; here is what it cannot see. */
#include "cpu_fixture.h"

#include "isa/decode.h"
#include "cpu/cpuid.h"
#include "engine/interp/stub.h"

#define DATA UINT64_C(0x300000)

static struct stub_cache *cache;

static int stub_setup(void **state)
{
	if (fixture_setup(state) < 0)
		return -1;
	cpu_current = cpu;
	cache = stub_cache_create(cpu, 64 * KIB);
	enter_long(3);
	cpu->cr0 |= CR0_NE | CR0_MP;
	cpu->cr4 |= CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE;
	cpu->xcr0 = cpu->model->xcr0;
	fpu_reset(cpu);
	cpu->fpu.x87[4] = 0;
	cpu->fpu.x87[0] = 0x7f;
	cpu->fpu.x87[1] = 0x03;
	return cache ? 0 : -1;
}

static int stub_teardown(void **state)
{
	stub_cache_destroy(cache);
	cpu_current = NULL;
	return fixture_teardown(state);
}

#define stub_test(function) cmocka_unit_test_setup_teardown(function, stub_setup, stub_teardown)

/* NULL also where the decoder knows the instruction to be undefined. */
static const struct stub *get_stub(enum isa_mode mode, const void *bytes, size_t size)
{
	ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
	ZydisDecodedInstruction instruction;

	if (isa_decode(mode, cpu->model, bytes, size, &instruction, operands) != ISA_DECODED)
		return NULL;
	return stub_get(cache, &instruction, operands, bytes);
}

#define STUB(string)   get_stub(ISA_64, string, sizeof(string) - 1)
#define STUB32(string) get_stub(ISA_32, string, sizeof(string) - 1)
#define STUB16(string) get_stub(ISA_16, string, sizeof(string) - 1)

/* Run as the engine does: with the FPU live. An exception leaves it live, as in a run loop. */
static bool run(const struct stub *stub, uint64_t linear)
{
	bool stale;

	assert_non_null(stub);
	fpu_init(); /* cmocka has put its own handlers in place for the test */
	if (!cpu->fpu_live)
		fpu_enter(cpu);
	stale = stub_run(cpu, stub, linear);
	fpu_leave(cpu);
	return stale;
}

#define assert_stub_raises(vector_, error_, stub, linear)                                          \
	do {                                                                                       \
		assert_raises(vector_, error_, run(stub, linear));                                 \
		if (cpu->fpu_live)                                                                 \
			fpu_leave(cpu);                                                            \
	} while (0)

static double as_double(uint64_t bits)
{
	double value;

	memcpy(&value, &bits, 8);
	return value;
}

/* --- which instructions --- */

static void test_refused(void **state)
{
	assert_null(STUB("\xf4"));             /* hlt */
	assert_null(STUB("\x0f\x05"));         /* syscall */
	assert_null(STUB("\x50"));             /* push rax */
	assert_null(STUB("\xc3"));             /* ret */
	assert_null(STUB("\xe8\0\0\0\0"));     /* call */
	assert_null(STUB("\x74\0"));           /* jz */
	assert_null(STUB("\xf3\xa4"));         /* rep movsb */
	assert_null(STUB("\x48\x8d\x04\x08")); /* lea */
	assert_null(STUB("\x0f\xa3\x08"));     /* bt [rax], ecx: a bit string */
	assert_null(STUB("\x0f\xa2"));         /* cpuid */
	assert_null(STUB("\x0f\x31"));         /* rdtsc */
	assert_null(STUB("\x0f\xae\x00"));     /* fxsave */
	assert_null(STUB("\x0f\xae\x20"));     /* xsave */
	assert_null(STUB("\x0f\x01\xd0"));     /* xgetbv */
	assert_null(STUB("\xdd\x30"));         /* fnsave */
	assert_null(STUB("\x0f\x0b"));         /* ud2 */
	assert_null(STUB("\x8e\xd8"));         /* mov ds, eax */
	assert_null(STUB("\x8c\xd8"));         /* mov eax, ds */
	assert_null(STUB("\x0f\x20\xc0"));     /* mov rax, cr0 */
	assert_null(STUB("\xe4\x60"));         /* in al, 0x60 */
	assert_null(STUB("\xfa"));             /* cli */
	assert_null(STUB("\xfc"));             /* cld */
	assert_null(STUB("\xc9"));             /* leave */
	assert_null(STUB("\xcc"));             /* int3 */
	assert_null(STUB("\xf3\x0f\xc7\xf8")); /* rdpid: TSC_AUX is ours */
	assert_null(STUB32("\x27"));           /* daa */
	assert_null(STUB("\x0f\x0f\xc1\x9e")); /* 3DNow! */
}

/* A shadowed instruction set is refused though the host may have it. */
static void test_not_shown(void **state)
{
	assert_null(STUB("\x0f\x01\xfc"));         /* clzero */
	assert_null(STUB("\xc4\xe2\x78\x49\xc0")); /* tilerelease */
	assert_null(STUB("\xc7\xf8\0\0\0\0"));     /* xbegin */
}

static void test_shared(void **state)
{
	const struct stub *stub = STUB("\xf2\x0f\x58\x40\x08"); /* addsd xmm0, [rax+8] */

	assert_non_null(stub);
	assert_ptr_equal(stub, STUB("\xf2\x0f\x58\x00"));
	assert_ptr_equal(stub, STUB("\x65\xf2\x0f\x58\x04\x9d\x10\0\0\0")); /* gs:[rbx*4+16] */
	assert_ptr_equal(stub, STUB("\x67\xf2\x41\x0f\x58\x07"));           /* [r15d] */
	assert_ptr_equal(stub, STUB("\xf2\x0f\x58\x05\0\0\0\0"));           /* [rip] */
	assert_ptr_not_equal(stub, STUB("\xf2\x0f\x58\x48\x08"));           /* xmm1 */
	assert_ptr_not_equal(stub, STUB("\xf3\x0f\x58\x40\x08"));           /* addss */
	assert_ptr_not_equal(stub, STUB("\xf2\x0f\x58\xc0"));               /* xmm0, xmm0 */
}

/* --- registers and flags --- */

static void test_high_bytes(void **state)
{
	cpu->gpr[RBX] = 0x1122334455667788;
	cpu->gpr[RCX] = 0x10;
	run(STUB("\x00\xcf"), 0); /* add bh, cl */
	assert_int_equal(cpu->gpr[RBX], 0x1122334455668788);
	run(STUB("\x86\xfc"), 0); /* xchg ah, bh */
	assert_int_equal(cpu->gpr[RAX], 0x8700);
	assert_int_equal(cpu->gpr[RBX], 0x1122334455660088);
}

/* Registers that the stub itself, or C, needs. */
static void test_renamed_registers(void **state)
{
	cpu->gpr[RSP] = 0x1000;
	cpu->gpr[RDI] = 0x20;
	cpu->gpr[RSI] = 0x3;
	cpu->gpr[RBP] = 0x7fffffffffffffff;
	cpu->gpr[R12] = 5;
	run(STUB("\x48\x01\xfc"), 0); /* add rsp, rdi */
	assert_int_equal(cpu->gpr[RSP], 0x1020);
	run(STUB("\x4c\x11\xe5"), 0); /* adc rbp, r12 */
	assert_int_equal(cpu->gpr[RBP], 0x8000000000000004);
	assert_true(cpu_rflags(cpu) & RFLAGS_OF);
	run(STUB("\x40\x00\xf7"), 0); /* add dil, sil */
	assert_int_equal(cpu->gpr[RDI], 0x23);
	run(STUB("\x89\xec"), 0); /* mov esp, ebp: clears the upper half */
	assert_int_equal(cpu->gpr[RSP], 4);
}

static void test_flags_survive(void **state)
{
	cpu_set_arithmetic_flags(cpu, RFLAGS_CF | RFLAGS_OF | RFLAGS_PF);
	cpu->gpr[RAX] = 0xff;
	run(STUB("\xfe\xc0"), 0); /* inc al: CF stays */
	assert_int_equal(
		cpu_rflags(cpu) & RFLAGS_ARITHMETIC, RFLAGS_CF | RFLAGS_ZF | RFLAGS_PF | RFLAGS_AF);
	cpu->gpr[RCX] = 0;
	run(STUB("\xd3\xe8"), 0); /* shr eax, cl by zero: all stay */
	assert_int_equal(
		cpu_rflags(cpu) & RFLAGS_ARITHMETIC, RFLAGS_CF | RFLAGS_ZF | RFLAGS_PF | RFLAGS_AF);
	run(STUB("\xf5"), 0); /* cmc */
	assert_int_equal(cpu_rflags(cpu) & RFLAGS_CF, 0);
}

static void test_legacy_sse_keeps_upper_half(void **state)
{
	memset(cpu->fpu.zmm[3], 0x5a, 64);
	memset(cpu->fpu.zmm[4], 0x01, 64);
	run(STUB("\x66\x0f\xfc\xdc"), 0); /* paddb xmm3, xmm4 */
	assert_int_equal(cpu->fpu.zmm[3][15], 0x5b);
	assert_int_equal(cpu->fpu.zmm[3][16], 0x5a);
	assert_int_equal(cpu->fpu.zmm[3][63], 0x5a);
	if (!cpu_model_has(cpu->model, CPUID_AVX))
		skip();
	run(STUB("\xc5\xe1\xfc\xdc"), 0); /* vpaddb xmm3, xmm3, xmm4 */
	assert_int_equal(cpu->fpu.zmm[3][15], 0x5c);
	assert_int_equal(cpu->fpu.zmm[3][16], 0);
	assert_int_equal(cpu->fpu.zmm[3][31], 0);
	run(STUB("\xc5\xf8\x77"), 0); /* vzeroupper */
	assert_int_equal(cpu->fpu.zmm[4][15], 1);
	assert_int_equal(cpu->fpu.zmm[4][16], 0);
	run(STUB("\xc5\xfc\x77"), 0); /* vzeroall */
	assert_int_equal(cpu->fpu.zmm[4][15], 0);
}

/* --- 16- and 32-bit code --- */

static void test_short_modes(void **state)
{
	cpu->gpr[RAX] = 0xffffffff;
	run(STUB32("\x40"), 0); /* inc eax */
	assert_int_equal(cpu->gpr[RAX], 0);
	cpu->gpr[RSP] = 0x10000;
	run(STUB16("\x4c"), 0); /* dec sp */
	assert_int_equal(cpu->gpr[RSP], 0x1ffff);
	cpu->gpr[RCX] = 0x12345678;
	run(STUB16("\x01\xc9"), 0); /* add cx, cx */
	assert_int_equal(cpu->gpr[RCX], 0x1234acf0);
	run(STUB16("\x66\x01\xc9"), 0); /* add ecx, ecx */
	assert_int_equal(cpu->gpr[RCX], 0x246959e0);
	put(DATA, 0x8899aabb, 4);
	run(STUB32("\xa1\0\0\x30\0"), DATA); /* mov eax, [0x300000] */
	assert_int_equal(cpu->gpr[RAX], 0x8899aabb);
	run(STUB16("\xa3\0\0"), DATA + 8); /* mov [0], ax */
	assert_int_equal(get(DATA + 8, 4), 0xaabb);
	/* The prefix that sizes an integer is part of an SSE opcode. */
	memset(cpu->fpu.zmm[0], 1, 16);
	run(STUB16("\x66\x0f\xfc\xc0"), 0); /* paddb xmm0, xmm0 */
	assert_int_equal(cpu->fpu.zmm[0][5], 2);
	assert_non_null(STUB16("\x0f\x28\xc1")); /* movaps: no prefix may be added */
}

/* --- memory --- */

static void unmap_from(uint64_t linear)
{
	put(TABLES + 0x2000 + (linear >> 21) * 8, 0, 8);
	tlb_flush_all(cpu);
}

static void test_crossing_pages(void **state)
{
	uint64_t at = DATA + 4096 - 6;

	put(at, 0x3ff0000000000000, 8);
	memset(cpu->fpu.zmm[0], 0, 64);
	run(STUB("\xf2\x0f\x58\x00"), at); /* addsd xmm0, [rax] */
	run(STUB("\xf2\x0f\x58\x00"), at);
	assert_true(as_double(*(uint64_t *)cpu->fpu.zmm[0]) == 2.0);
	run(STUB("\xf2\x0f\x11\x00"), at); /* movsd [rax], xmm0 */
	assert_int_equal(get(at, 8), 0x4000000000000000);
	cpu->gpr[RAX] = 5;
	put(at, 0xffffffff, 8);
	run(STUB("\xf0\x48\x0f\xc1\x00"), at); /* lock xadd [rax], rax */
	assert_int_equal(get(at, 8), 0x100000004);
	assert_int_equal(cpu->gpr[RAX], 0xffffffff);
}

static void test_faults_store_nothing(void **state)
{
	uint64_t at = 4 * MIB - 4;

	unmap_from(4 * MIB);
	put(at, 0x11111111, 4);
	assert_stub_raises(VECTOR_PF, PF_USER | PF_WRITE, STUB("\xf2\x0f\x11\x00"), at);
	assert_int_equal(cpu->cr2, 4 * MIB);
	assert_int_equal(get(at, 4), 0x11111111);
	cpu->gpr[RAX] = 1;
	assert_stub_raises(VECTOR_PF, PF_USER | PF_WRITE, STUB("\xf0\x48\x0f\xc1\x00"), at);
	assert_int_equal(cpu->gpr[RAX], 1);
	/* The lock of split accesses was not left held. */
	run(STUB("\xf0\x48\x0f\xc1\x00"), DATA + 4096 - 1);
}

static void test_alignment(void **state)
{
	const struct stub *paddb = STUB("\x66\x0f\xfc\x00");

	assert_stub_raises(VECTOR_GP, 0, STUB("\x0f\x28\x00"), DATA + 8); /* movaps */
	assert_stub_raises(VECTOR_GP, 0, paddb, DATA + 8);
	run(STUB("\x0f\x10\x00"), DATA + 8);           /* movups */
	run(STUB("\x66\x0f\x3a\x63\x00\0"), DATA + 8); /* pcmpistri */
	if (cpu_model_has(cpu->model, CPUID_MISALIGNSSE)) {
		cpu->fpu.mxcsr |= MXCSR_MM;
		run(paddb, DATA + 8);
		assert_stub_raises(VECTOR_GP, 0, STUB("\x0f\x28\x00"), DATA + 8);
	}
}

/* Inactive elements neither fault nor are written. */
static void test_masked_store(void **state)
{
	uint64_t at = 4 * MIB - 8;

	if (!cpu_model_has(cpu->model, CPUID_AVX512F))
		skip();
	unmap_from(4 * MIB);
	memset(cpu->fpu.zmm[0], 0x77, 64);
	put(at, 0, 8);
	cpu->fpu.opmask[1] = 2;
	run(STUB("\x62\xf1\x7e\x49\x7f\x00"), at); /* vmovdqu32 [rax]{k1}, zmm0 */
	assert_int_equal(get(at, 8), 0x7777777700000000);
	cpu->fpu.opmask[1] = 4;
	assert_stub_raises(VECTOR_PF, PF_USER | PF_WRITE, STUB("\x62\xf1\x7e\x49\x7f\x00"), at);
	/* vpcompressd: two elements, wherever they come from. */
	cpu->fpu.opmask[1] = 0x8001;
	put(at, 0, 8);
	run(STUB("\x62\xf2\x7d\x49\x8b\x00"), at);
	assert_int_equal(get(at, 8), 0x7777777777777777);
}

static void test_masked_load(void **state)
{
	uint64_t at = 4 * MIB - 8;

	if (!cpu_model_has(cpu->model, CPUID_AVX2))
		skip();
	unmap_from(4 * MIB);
	put(at, 0x1234567811111111, 8);
	memset(cpu->fpu.zmm[1], 0, 64);
	cpu->fpu.zmm[1][7] = 0x80;             /* element 1 of 8 */
	run(STUB("\xc4\xe2\x75\x8c\x00"), at); /* vpmaskmovd ymm0, ymm1, [rax] */
	assert_int_equal(*(uint64_t *)cpu->fpu.zmm[0], 0x1234567800000000);
	cpu->fpu.zmm[1][11] = 0x80;
	assert_stub_raises(VECTOR_PF, PF_USER, STUB("\xc4\xe2\x75\x8c\x00"), at);
	/* Not canonical, but nothing is accessed there. */
	memset(cpu->fpu.zmm[1], 0, 64);
	run(STUB("\xc4\xe2\x75\x8c\x00"), BIT(62));
}

/* A gather that faults keeps what it has, and goes on from there. */
static void test_gather_progress(void **state)
{
	const struct stub *gather =
		STUB("\xc4\xe2\x69\x90\x04\x88"); /* vpgatherdd xmm0, [rax+xmm1*4], xmm2 */
	int32_t index[4] = {0, 0x40000, 1, -1};   /* element 1: one MiB up */
	uint32_t *result = (uint32_t *)cpu->fpu.zmm[0];

	if (!cpu_model_has(cpu->model, CPUID_AVX2))
		skip();
	assert_non_null(gather);
	put(DATA, 0x22222222aaaaaaaa, 8);
	put(DATA - 4, 0x33333333, 4);
	memset(cpu->fpu.zmm[0], 0x55, 64);
	memcpy(cpu->fpu.zmm[1], index, sizeof(index));
	memset(cpu->fpu.zmm[2], 0, 64);
	memset(cpu->fpu.zmm[2], 0xff, 16);
	unmap_from(4 * MIB);
	assert_stub_raises(VECTOR_PF, PF_USER, gather, DATA);
	assert_int_equal(cpu->cr2, DATA + MIB);
	assert_int_equal(result[0], 0xaaaaaaaa);
	assert_int_equal(result[1], 0x55555555);
	assert_int_equal(*(uint32_t *)cpu->fpu.zmm[2], 0);
	assert_int_equal(*(uint32_t *)(cpu->fpu.zmm[2] + 4), 0xffffffff);

	put(TABLES + 0x2000 + 2 * 8, 4 * MIB | 0xe7, 8);
	put(DATA, 0x22222222bbbbbbbb, 8); /* element 0 is done: must not be read again */
	put(DATA + MIB, 0x44444444, 4);
	run(gather, DATA);
	assert_int_equal(result[0], 0xaaaaaaaa);
	assert_int_equal(result[1], 0x44444444);
	assert_int_equal(result[2], 0x22222222);
	assert_int_equal(result[3], 0x33333333);
	assert_int_equal(*(uint64_t *)(cpu->fpu.zmm[2] + 8), 0);
}

static void test_store_to_code_is_told(void **state)
{
	const struct stub *store = STUB("\x0f\x11\x00"); /* movups [rax], xmm0 */

	assert_false(run(store, DATA));
	memory_code_track(&memory, memory_page_number(&memory, memory.ram + DATA), 0, 16);
	assert_true(run(store, DATA));
	/* That started a new generation; nothing is tracked until the next decoder comes. */
	memory_code_track(&memory, memory_page_number(&memory, memory.ram + DATA), 0, 16);
	assert_false(run(store, DATA + 2048));
}

/* --- faults --- */

static void test_divide_error(void **state)
{
	cpu->gpr[RAX] = 7;
	cpu->gpr[RDX] = 0;
	cpu->gpr[RCX] = 0;
	assert_stub_raises(VECTOR_DE, 0, STUB("\x48\xf7\xf1"), 0); /* div rcx */
	assert_int_equal(cpu->gpr[RAX], 7);
	cpu->gpr[RCX] = 2;
	run(STUB("\x48\xf7\xf1"), 0);
	assert_int_equal(cpu->gpr[RAX], 3);
	assert_int_equal(cpu->gpr[RDX], 1);
}

static void test_simd_exception(void **state)
{
	const struct stub *divide = STUB("\xf2\x0f\x5e\x00"); /* divsd xmm0, [rax] */
	double one = 1.0;

	memcpy(cpu->fpu.zmm[0], &one, 8);
	put(DATA, 0, 8);
	cpu->fpu.mxcsr = 0x1d80; /* divide by zero unmasked */
	assert_stub_raises(VECTOR_XM, 0, divide, DATA);
	assert_int_equal(cpu->fpu.mxcsr, 0x1d84);
	assert_memory_equal(cpu->fpu.zmm[0], &one, 8);
	cpu->cr4 &= ~CR4_OSXMMEXCPT;
	assert_stub_raises(VECTOR_UD, 0, divide, DATA);
	cpu->fpu.mxcsr = 0x1f80;
	run(divide, DATA);
	assert_int_equal(*(uint64_t *)cpu->fpu.zmm[0], 0x7ff0000000000000);
}

static unsigned ferr_calls;

static void count_ferr(void *opaque, bool level)
{
	ferr_calls += level;
}

/* The error is pending until the guest clears it; the x87 stack is as the failing instruction left
 * it. */
static void test_x87_exception(void **state)
{
	cpu->fpu.x87[0] = 0x7b;   /* divide by zero unmasked */
	run(STUB("\xd9\xe8"), 0); /* fld1 */
	run(STUB("\xd9\xee"), 0); /* fldz */
	run(STUB("\xde\xf9"), 0); /* fdivp: pends */
	assert_int_equal(cpu->fpu.x87[2] & 0x84, 0x84);
	assert_stub_raises(VECTOR_MF, 0, STUB("\xd9\xe8"), 0);
	assert_stub_raises(VECTOR_MF, 0, STUB("\x9b"), 0);         /* fwait */
	assert_stub_raises(VECTOR_MF, 0, STUB("\x0f\x6e\xc0"), 0); /* movd mm0, eax */
	run(STUB("\xdf\xe0"), 0);                                  /* fnstsw ax */
	assert_int_equal(cpu->gpr[RAX] & 0x84, 0x84);
	run(STUB("\xdb\xe2"), 0); /* fnclex */
	run(STUB("\x9b"), 0);
	run(STUB("\xd9\xe8"), 0);
}

/* CR0.NE clear: the FERR# pin, and the instruction waits. */
static void test_x87_exception_by_interrupt(void **state)
{
	volatile int thrown;

	platform.ferr = count_ferr;
	ferr_calls = 0;
	cpu->cr0 &= ~CR0_NE;
	cpu->fpu.x87[0] = 0x7b;
	run(STUB("\xd9\xe8"), 0);
	run(STUB("\xd9\xee"), 0);
	run(STUB("\xde\xf9"), 0);
	thrown = _setjmp(cpu->unwind);
	if (!thrown) {
		run(STUB("\x9b"), 0);
		fail();
	}
	fpu_leave(cpu);
	assert_int_equal(thrown, CPU_UNWIND_RESTART);
	assert_int_equal(ferr_calls, 1);
}

/* A pending x87 error comes before a page fault of the operand. */
static void test_x87_exception_first(void **state)
{
	unmap_from(4 * MIB);
	cpu->fpu.x87[0] = 0x7b;
	run(STUB("\xd9\xe8"), 0);
	run(STUB("\xd9\xee"), 0);
	run(STUB("\xde\xf9"), 0);
	assert_stub_raises(VECTOR_MF, 0, STUB("\xd9\x00"), 4 * MIB); /* fld [rax] */
	assert_stub_raises(
		VECTOR_PF, PF_USER | PF_WRITE, STUB("\xd9\x38"), 4 * MIB); /* fnstcw [rax] */
}

/* An invalid operation, unmasked: nothing is stored, not even across pages. */
static void test_x87_store_that_fails(void **state)
{
	uint64_t at = DATA + 4096 - 3;

	cpu->fpu.x87[0] = 0x7e;
	put(at, 0x1122334455667788, 8);
	run(STUB("\xdd\x18"), at); /* fstp qword [rax], of an empty stack */
	assert_int_equal(cpu->fpu.x87[2] & 0x81, 0x81);
	assert_int_equal(get(at, 8), 0x1122334455667788);
}

static void test_pointers_are_recorded(void **state)
{
	cpu->rip = 0x401234;
	run(STUB("\xd9\x40\x10"), DATA); /* fld dword [rax+16] */
	assert_int_equal(cpu->fpu.fip, 0x401234);
	assert_int_equal(cpu->fpu.fdp, DATA);
	assert_int_equal(cpu->fpu.fop, 0x140);
	cpu->rip = 0x401237;
	run(STUB("\xd9\x28"), DATA); /* fldcw: a control instruction */
	assert_int_equal(cpu->fpu.fip, 0x401234);
	run(STUB("\xdb\xe3"), 0); /* fninit */
	assert_int_equal(cpu->fpu.fip | cpu->fpu.fdp | cpu->fpu.fop, 0);
}

static void test_disabled(void **state)
{
	cpu->cr0 |= CR0_TS;
	assert_stub_raises(VECTOR_NM, 0, STUB("\x0f\x28\xc1"), 0);
	assert_stub_raises(VECTOR_NM, 0, STUB("\xd9\xe8"), 0);
	cpu->cr0 &= ~CR0_TS;
	cpu->cr4 &= ~CR4_OSFXSR;
	assert_stub_raises(VECTOR_UD, 0, STUB("\x0f\x28\xc1"), 0);
	cpu->cr0 |= CR0_EM;
	assert_stub_raises(VECTOR_NM, 0, STUB("\xdb\x08"), DATA); /* fisttp is x87, not SSE3 */
	cpu->cr0 &= ~CR0_EM;
	run(STUB("\x0f\xfc\xc0"), 0);         /* paddb mm0, mm0 */
	run(STUB("\xf3\x48\x0f\xb8\xc0"), 0); /* popcnt: no SSE state */
}

/* --- the cache --- */

static void test_full_cache(void **state)
{
	char add[] = "\x48\x05\0\0\0\0"; /* add rax, imm: each its own stub */
	const struct stub *stub;
	uint32_t count = 0;

	do {
		memcpy(add + 2, &count, 4);
		stub = STUB(add);
		assert_non_null(stub);
	} while (stub != STUB_FULL && ++count < 100000);
	assert_ptr_equal(stub, STUB_FULL);
	assert_in_range(count, 100, 64 * KIB / 16);
	stub_cache_reset(cache);
	cpu->gpr[RAX] = 1;
	memcpy(add + 2, &(uint32_t){41}, 4);
	run(STUB(add), 0);
	assert_int_equal(cpu->gpr[RAX], 42);
}

/* What the model withholds is undefined, whatever the host could do; and the older instruction
 * where there was one. */
static void test_withheld(void **state)
{
	assert_int_equal(
		cpu_model_build(&fixture_model, &fixture_model.host, NULL, "x86-64-v2"), 0);
	assert_null(STUB("\xc4\xe2\x70\xf2\xc1"));     /* andn eax, ecx, ecx */
	assert_null(STUB("\x66\x0f\x38\xf6\xc1"));     /* adcx eax, ecx */
	assert_null(STUB("\x0f\x38\xc8\xc1"));         /* sha1nexte xmm0, xmm1 */
	assert_null(STUB("\x66\x0f\x38\xdc\xc1"));     /* aesenc xmm0, xmm1 */
	assert_null(STUB("\xc5\xf8\x58\xc1"));         /* vaddps xmm0, xmm0, xmm1 */
	assert_null(STUB("\xc5\xfc\x77"));             /* vzeroall */
	assert_null(STUB("\x0f\xc7\xf0"));             /* rdrand eax */
	assert_null(STUB("\x0f\x38\xf0\x06"));         /* movbe eax, [rsi] */
	assert_non_null(STUB("\x66\x0f\x38\x17\xc1")); /* ptest xmm0, xmm1 */
	cpu->gpr[RAX] = 77;
	cpu->gpr[RCX] = 0;
	run(STUB("\xf3\x0f\xbc\xc1"), 0); /* tzcnt eax, ecx: BSF leaves EAX alone */
	assert_int_equal((uint32_t)cpu->gpr[RAX], 77);
	cpu->gpr[RCX] = 0x10;
	run(STUB("\xf3\x0f\xbd\xc1"), 0); /* lzcnt eax, ecx: BSR */
	assert_int_equal(cpu->gpr[RAX], 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		stub_test(test_refused),
		stub_test(test_not_shown),
		stub_test(test_shared),
		stub_test(test_high_bytes),
		stub_test(test_renamed_registers),
		stub_test(test_flags_survive),
		stub_test(test_legacy_sse_keeps_upper_half),
		stub_test(test_short_modes),
		stub_test(test_crossing_pages),
		stub_test(test_faults_store_nothing),
		stub_test(test_alignment),
		stub_test(test_masked_store),
		stub_test(test_masked_load),
		stub_test(test_gather_progress),
		stub_test(test_store_to_code_is_told),
		stub_test(test_divide_error),
		stub_test(test_simd_exception),
		stub_test(test_x87_exception),
		stub_test(test_x87_exception_by_interrupt),
		stub_test(test_x87_exception_first),
		stub_test(test_x87_store_that_fails),
		stub_test(test_pointers_are_recorded),
		stub_test(test_disabled),
		stub_test(test_withheld),
		stub_test(test_full_cache),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
