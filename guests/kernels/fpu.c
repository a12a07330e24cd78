/*
 * The floating-point units as an operating system meets them: #NM, #MF and the old way of IRQ 13,
 * #XM, the formats of FXSAVE and XSAVE, XCR0, and #UD where an extension is not turned on
 * (SDM vol. 1 chapters 8 and 13; vol. 3A 2.5). Values are left to the tests against the host CPU.
 */
#include "apic.h"

#define FPU_IRQ_VECTOR 0x2d /* input 13 of the PICs */

static u8 area[4096] __attribute__((aligned(64)));
static u8 area2[4096] __attribute__((aligned(64)));

static void set_cr0(ulong clear, ulong set)
{
	write_cr0((read_cr0() & ~clear) | set);
}

/* Which instructions CR0.EM, TS and MP stop. */
struct nm_case {
	const char *name;
	void (*run)(void);
	/* expected vector with EM, with TS, with TS and MP */
	int em, ts, ts_mp;
};

static void run_fld(void)
{
	try_asm("fld1; fstp %%st(0)", : :);
}

static void run_fwait(void)
{
	try_asm("fwait", : :);
}

static void run_movaps(void)
{
	try_asm("movaps %%xmm0, %%xmm1", : :);
}

static void run_fxsave(void)
{
	try_asm("fxsave %0", : "=m"(area));
}

static void run_paddw(void)
{
	try_asm("paddw %%mm0, %%mm1; emms", : :);
}

static void run_sfence(void)
{
	try_asm("sfence; prefetcht0 %0; movnti %%eax, %0", : "=m"(area[0]));
}

static void run_ldmxcsr(void)
{
	u32 mxcsr = 0x1f80;

	try_asm("ldmxcsr %0", : : "m"(mxcsr));
}

static const struct nm_case nm_cases[] = {
	{"x87", run_fld, NM_VECTOR, NM_VECTOR, NM_VECTOR},
	{"fwait", run_fwait, NO_TRAP, NO_TRAP, NM_VECTOR},
	{"MMX", run_paddw, UD_VECTOR, NM_VECTOR, NM_VECTOR},
	{"SSE", run_movaps, UD_VECTOR, NM_VECTOR, NM_VECTOR},
	{"ldmxcsr", run_ldmxcsr, UD_VECTOR, NM_VECTOR, NM_VECTOR},
	{"fxsave", run_fxsave, UD_VECTOR, NM_VECTOR, NM_VECTOR},
	{"sfence, prefetch, movnti", run_sfence, NO_TRAP, NO_TRAP, NO_TRAP},
};

static void test_device_not_available(void)
{
	size_t i;

	for (i = 0; i < sizeof(nm_cases) / sizeof(nm_cases[0]); i++) {
		const struct nm_case *c = &nm_cases[i];

		set_cr0(CR0_TS | CR0_MP, CR0_EM);
		c->run();
		set_cr0(CR0_EM, 0);
		/* SDM vol. 2A says #UD for FXSAVE; older CPUs, and Bochs, raise #NM. */
		if (c->run == run_fxsave && trap.vector == NM_VECTOR)
			trap.vector = UD_VECTOR;
		check_trap(c->em, 0, "CR0.EM: %s", c->name);
		set_cr0(CR0_MP, CR0_TS);
		c->run();
		asm volatile("clts");
		check_trap(c->ts, 0, "CR0.TS: %s", c->name);
		set_cr0(0, CR0_TS | CR0_MP);
		c->run();
		asm volatile("clts");
		check_trap(c->ts_mp, 0, "CR0.TS and MP: %s", c->name);
		c->run();
		check_no_trap("CR0.TS clear: %s", c->name);
	}
	write_cr4(read_cr4() & ~(ulong)CR4_OSFXSR);
	run_movaps();
	write_cr4(read_cr4() | CR4_OSFXSR);
	check_trap(UD_VECTOR, 0, "SSE without CR4.OSFXSR");
}

/* #UD and #NM are found before the operand's address is looked at (SDM vol. 3A table 6-2). */
#define NOWHERE (1ul << 63 | 1) /* neither canonical nor aligned */

static const struct encoding {
	const char *name;
	u8 bytes[8]; /* the operand is at RBX */
	int em;      /* the expected vector with CR0.EM */
} on_memory[] = {
	{"fxsave64", {0x48, 0x0f, 0xae, 0x03, 0xc3}, UD_VECTOR},
	{"fxrstor64", {0x48, 0x0f, 0xae, 0x0b, 0xc3}, UD_VECTOR},
	{"fnsave", {0xdd, 0x33, 0xc3}, NM_VECTOR},
	{"frstor", {0xdd, 0x23, 0xc3}, NM_VECTOR},
	{"fnstenv", {0xd9, 0x33, 0xc3}, NM_VECTOR},
	{"fldenv", {0xd9, 0x23, 0xc3}, NM_VECTOR},
	{"fld", {0xd9, 0x03, 0xc3}, NM_VECTOR},
	{"paddw", {0x0f, 0xfd, 0x03, 0xc3}, UD_VECTOR},
	{"addps", {0x0f, 0x58, 0x03, 0xc3}, UD_VECTOR},
	{"stmxcsr", {0x0f, 0xae, 0x1b, 0xc3}, UD_VECTOR},
};

static const struct encoding on_xsave_areas[] = {
	{"xsave", {0x0f, 0xae, 0x23, 0xc3}, 0},
	{"xrstor", {0x0f, 0xae, 0x2b, 0xc3}, 0},
	{"xsaveopt", {0x0f, 0xae, 0x33, 0xc3}, 0},
	{"xsavec", {0x0f, 0xc7, 0x23, 0xc3}, 0},
	{"xsaves", {0x0f, 0xc7, 0x2b, 0xc3}, 0},
	{"xrstors", {0x0f, 0xc7, 0x1b, 0xc3}, 0},
	{"vaddps", {0xc5, 0xf8, 0x58, 0x03, 0xc3}, 0},
};

static void test_unit_before_address(void)
{
	size_t i;

	for (i = 0; i < sizeof(on_memory) / sizeof(on_memory[0]); i++) {
		const struct encoding *e = &on_memory[i];

		set_cr0(0, CR0_TS | CR0_MP);
		try_code(e->bytes, 0, NOWHERE);
		check_trap(NM_VECTOR, 0, "CR0.TS before a bad address: %s", e->name);
		set_cr0(CR0_TS, CR0_EM);
		try_code(e->bytes, 0, NOWHERE);
		check_trap(e->em, 0, "CR0.EM before a bad address: %s", e->name);
		set_cr0(CR0_EM, 0);
		try_code(e->bytes, 0, NOWHERE);
		check(trap.vector == GP_VECTOR || trap.vector == PF_VECTOR, "a bad address: %s: %d",
			e->name, trap.vector);
	}
}

static void test_xsave_before_address(void)
{
	size_t i;

	for (i = 0; i < sizeof(on_xsave_areas) / sizeof(on_xsave_areas[0]); i++) {
		const struct encoding *e = &on_xsave_areas[i];

		try_code(e->bytes, 0, NOWHERE);
		if (trap.vector == UD_VECTOR)
			continue; /* not in CPUID */
		check_trap(GP_VECTOR, 0, "a bad address: %s", e->name);
		set_cr0(0, CR0_TS | CR0_MP);
		try_code(e->bytes, 0, NOWHERE);
		check_trap(NM_VECTOR, 0, "CR0.TS before a bad address: %s", e->name);
		write_cr4(read_cr4() & ~(ulong)CR4_OSXSAVE);
		try_code(e->bytes, 0, NOWHERE);
		check_trap(UD_VECTOR, 0, "#UD before #NM and a bad address: %s", e->name);
		write_cr4(read_cr4() | CR4_OSXSAVE);
		set_cr0(CR0_TS, 0);
	}
	/* Nor are registers looked at. */
	write_cr4(read_cr4() & ~(ulong)CR4_PKE);
	try_asm("wrpkru", : : "a"(0), "c"(1), "d"(0));
	check_trap(UD_VECTOR, 0, "wrpkru without CR4.PKE and with a bad ECX");
}

static volatile u32 fpu_irqs;

static void take_fpu_irq(struct trap_frame *f)
{
	fpu_irqs++;
	/* Takes the request away. A PC would ignore the error from here on (IGNNE#); handlers do
	 * not rely on that and clear it. */
	outb(0xf0, 0);
	asm volatile("fnclex");
	outb(0xa0, 0x20);
	outb(0x20, 0x20);
}

/* An unmasked x87 exception waits for the next waiting x87 instruction. */
static void test_x87_errors(void)
{
	u16 control = 0x37f & ~4; /* division by zero is unmasked */
	u16 status = 0;
	u8 bytes[32];

	asm volatile("fninit; fldcw %0; fldz; fld1" : : "m"(control));
	try_asm("fdiv %%st(1), %%st", : :);
	check_no_trap("the division itself does not fault");
	try_asm("fnstsw %0", : "=m"(status));
	check_no_trap("fnstsw does not wait");
	check((status & 0x8084) == 0x8084, "status: ZE, ES and B: %x", status);
	try_asm("fnstenv %0", : "=m"(bytes));
	check_no_trap("fnstenv does not wait");
	/* FNSTENV masks everything; put the mask back. */
	asm volatile("fldcw %0" : : "m"(control));
	try_asm("nop; mov $1, %%eax", : : : "eax");
	check_no_trap("integer instructions do not wait");
	try_asm("fld1", : :);
	check_trap(MF_VECTOR, 0, "the next x87 instruction raises #MF");
	try_asm("fwait", : :);
	check_trap(MF_VECTOR, 0, "fwait raises #MF");
	try_asm("emms", : :);
	check_trap(MF_VECTOR, 0, "MMX raises #MF");
	try_asm("movaps %%xmm0, %%xmm1", : :);
	check_no_trap("SSE does not");
	asm volatile("fnclex");
	try_asm("fwait", : :);
	check_no_trap("fnclex ends it");
	asm volatile("fninit");
	try_asm("fldz; fld1; fdiv %%st(1), %%st; fwait", : :);
	check_no_trap("a masked exception does not fault");

	/* CR0.NE clear: the error goes by way of IRQ 13, as on a PC/AT. */
	trap_set_handler(FPU_IRQ_VECTOR, take_fpu_irq);
	apic_enable();
	apic_write(APIC_LVT_LINT0, LVT_EXTINT);
	pic_mask(~(u16)(1 << 13 | 1 << 2));
	set_cr0(CR0_NE, 0);
	fpu_irqs = 0;
	asm volatile("fninit; fldcw %0; fldz; fld1; fdiv %%st(1), %%st" : : "m"(control));
	irq_enable();
	/* Without IGNNE# the CPU stops here until the interrupt comes. */
	asm volatile("fwait");
	irq_disable();
	asm volatile("fnclex");
	set_cr0(0, CR0_NE);
	check(fpu_irqs >= 1, "with CR0.NE clear the error is IRQ 13: %u", fpu_irqs);
	pic_mask(0xffff);
	apic_write(APIC_LVT_LINT0, LVT_MASKED);
	asm volatile("fninit");
}

static void test_simd_errors(void)
{
	u32 mxcsr = 0x1f80 & ~(1 << 9); /* division by zero is unmasked */
	u32 got;

	asm volatile("ldmxcsr %0; xorps %%xmm0, %%xmm0; pcmpeqd %%xmm1, %%xmm1; pslld $25, %%xmm1;"
		     "psrld $2, %%xmm1; movaps %%xmm1, %%xmm2"
		     :
		     : "m"(mxcsr));
	try_asm("divss %%xmm0, %%xmm1", : :);
	check_trap(XM_VECTOR, 0, "SSE division by zero");
	asm volatile("stmxcsr %0" : "=m"(got));
	check_eq(got, mxcsr | 4, "MXCSR tells which");
	asm volatile("movd %%xmm1, %0" : "=r"(got));
	check_eq(got, 0x3f800000, "the destination is as before");
	write_cr4(read_cr4() & ~(ulong)CR4_OSXMMEXCPT);
	asm volatile("ldmxcsr %0" : : "m"(mxcsr));
	try_asm("divss %%xmm0, %%xmm1", : :);
	write_cr4(read_cr4() | CR4_OSXMMEXCPT);
	check_trap(UD_VECTOR, 0, "without CR4.OSXMMEXCPT it is #UD");
	mxcsr = 0x1f80;
	asm volatile("ldmxcsr %0" : : "m"(mxcsr));
	try_asm("divss %%xmm0, %%xmm2", : :);
	check_no_trap("a masked exception does not fault");
	mxcsr = 0x80000000;
	try_asm("ldmxcsr %0", : : "m"(mxcsr));
	check_trap(GP_VECTOR, 0, "a reserved bit of MXCSR");
	mxcsr = 0x1f80;
	asm volatile("ldmxcsr %0" : : "m"(mxcsr));
}

static void fill_registers(void)
{
	static const u64 patterns[2] = {0x1122334455667788ull, 0x99aabbccddeeff00ull};

	asm volatile("fninit; fld1; fldpi; fldz;"
		     "movups %0, %%xmm0; movaps %%xmm0, %%xmm7; movaps %%xmm0, %%xmm8;"
		     "pslldq $1, %%xmm7; movaps %%xmm7, %%xmm15"
		     :
		     : "m"(patterns));
}

static void test_fxsave(void)
{
	u16 *words = (u16 *)area;
	u32 mask;

	memset(area, 0xcc, 512);
	fill_registers();
	asm volatile("fxsave64 %0" : "=m"(area));
	check_eq(words[0], 0x37f, "fxsave: control word");
	check_eq(words[1] >> 11 & 7, 5, "fxsave: top of stack");
	check_eq(area[4], 0xe0, "fxsave: abridged tag word");
	check_eq(*(u32 *)(area + 24), 0x1f80, "fxsave: MXCSR");
	mask = *(u32 *)(area + 28);
	check(mask == 0 || (mask & 0xffbf) == 0xffbf, "fxsave: MXCSR mask %x", mask);
	/* ST0 is 0, ST1 is pi, ST2 is 1. */
	check(!*(u64 *)(area + 32) && *(u16 *)(area + 56) == 0x4000 &&
			*(u16 *)(area + 72) == 0x3fff,
		"fxsave: registers from the top");
	check_eq(*(u64 *)(area + 160), 0x1122334455667788ull, "fxsave: XMM0");
	check_eq(*(u64 *)(area + 160 + 15 * 16), 0x2233445566778800ull, "fxsave: XMM15");
	check_eq(area[464], 0xcc, "fxsave: the last bytes are software's");
	memcpy(area2, area, 512);
	asm volatile("fninit; pxor %%xmm0, %%xmm0; pxor %%xmm15, %%xmm15; fxrstor64 %1; fxsave64 %0"
		     : "=m"(area2)
		     : "m"(area));
	check(!memcmp(area, area2, 416), "fxrstor brings it back");
	*(u32 *)(area + 24) = 0x80000000;
	try_asm("fxrstor64 %0", : : "m"(area));
	check_trap(GP_VECTOR, 0, "fxrstor with a reserved bit of MXCSR");
	asm volatile("fninit");
}

static u64 xgetbv(u32 index)
{
	u32 low, high;

	asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(index));
	return (u64)high << 32 | low;
}

static void try_xsetbv(u32 index, u64 value)
{
	try_asm("xsetbv", : : "c"(index), "a"((u32)value), "d"((u32)(value >> 32)));
}

static u64 supported;

static void test_xcr0(void)
{
	struct cpuid r = cpuid(0xd, 0);

	supported = (u64)r.d << 32 | r.a;
	try_asm("xgetbv", : : "c"(0) : "eax", "edx");
	check_trap(UD_VECTOR, 0, "xgetbv without CR4.OSXSAVE");
	try_xsetbv(0, 1);
	check_trap(UD_VECTOR, 0, "xsetbv without CR4.OSXSAVE");
	try_asm("xsave %0", : "=m"(area) : "a"(7), "d"(0));
	check_trap(UD_VECTOR, 0, "xsave without CR4.OSXSAVE");
	if (cpu_has(FEATURE_AVX)) {
		try_asm("vpxor %%xmm0, %%xmm0, %%xmm0", : :);
		check_trap(UD_VECTOR, 0, "AVX without CR4.OSXSAVE");
	}
	write_cr4(read_cr4() | CR4_OSXSAVE);
	check_eq(xgetbv(0), 1, "XCR0 after reset");
	if (cpu_has(FEATURE_AVX)) {
		try_asm("vpxor %%xmm0, %%xmm0, %%xmm0", : :);
		check_trap(UD_VECTOR, 0, "AVX without XCR0.AVX");
	}
	check((supported & 3) == 3, "CPUID: x87 and SSE state");
	try_xsetbv(0, 0);
	check_trap(GP_VECTOR, 0, "XCR0 without x87");
	try_xsetbv(0, supported & ~1ull);
	check_trap(GP_VECTOR, 0, "XCR0 without x87, all else");
	try_xsetbv(0, 5);
	check_trap(GP_VECTOR, 0, "XCR0 with AVX but not SSE");
	try_xsetbv(0, supported | 1ull << 62);
	check_trap(GP_VECTOR, 0, "XCR0 with a bit nobody has");
	try_xsetbv(1, 3);
	check_trap(GP_VECTOR, 0, "XCR1");
	if (supported & 0xe0) {
		try_xsetbv(0, 0x67);
		check_trap(GP_VECTOR, 0, "XCR0 with part of AVX-512");
	}
	try_xsetbv(0, supported);
	check_no_trap("XCR0 with all that CPUID has");
	check_eq(xgetbv(0), supported, "XCR0 can be read back");
	check_eq(cpuid(0xd, 0).b <= cpuid(0xd, 0).c, true, "CPUID: size for XCR0, and in all");
}

static ulong ring3_xsetbv(ulong unused)
{
	try_xsetbv(0, 3);
	return trap.vector;
}

static ulong ring3_xgetbv(ulong unused)
{
	return xgetbv(0);
}

static void test_xsave(void)
{
	u64 *header = (u64 *)(area + 512);
	u32 avx_offset = cpuid(0xd, 2).b;
	u32 low = supported, high = supported >> 32;
	u64 ymm[4] = {1, 2, 3, 4}, got[4];

	check_eq(user_call(ring3_xsetbv, 0), GP_VECTOR, "xsetbv in ring 3");
	check_eq(user_call(ring3_xgetbv, 0), supported, "xgetbv in ring 3");
	memset(area, 0, sizeof(area));
	fill_registers();
	asm volatile("xsave64 %0" : "+m"(area) : "a"(low), "d"(high) : "memory");
	check((header[0] & 3) == 3, "xsave: header has x87 and SSE: %llx", header[0]);
	check_eq(header[1], 0, "xsave: standard format");
	check_eq(*(u64 *)(area + 160), 0x1122334455667788ull, "xsave: XMM0");
	/* Only what is asked for is written. */
	memset(area2, 0xcc, sizeof(area2));
	memset(area2 + 512, 0, 64);
	asm volatile("xsave64 %0" : "+m"(area2) : "a"(2), "d"(0) : "memory");
	check(area2[0] == 0xcc && area2[32] == 0xcc &&
			*(u64 *)(area2 + 160) == 0x1122334455667788ull,
		"xsave: only what is asked for");
	check(*(u32 *)(area2 + 24) == 0x1f80, "xsave: MXCSR goes with SSE");
	check_eq(*(u64 *)(area2 + 512) & 3, 2, "xsave: header of a part");
	/* XRSTOR takes the initial value of what the header does not have. */
	header[0] &= ~2ull;
	asm volatile("xrstor64 %0" : : "m"(area), "a"(3), "d"(0));
	asm volatile("movups %%xmm0, %0" : "=m"(got));
	check(got[0] == 0 && got[1] == 0, "xrstor: what the header lacks is initial");
	header[0] |= 1ull << 62;
	try_asm("xrstor64 %0", : : "m"(area), "a"(3), "d"(0));
	check_trap(GP_VECTOR, 0, "xrstor: a bit nobody has in the header");
	header[0] = 3;
	header[1] = 1;
	try_asm("xrstor64 %0", : : "m"(area), "a"(3), "d"(0));
	check_trap(GP_VECTOR, 0, "xrstor: a reserved header word");
	header[1] = 0;
	try_asm("xrstor64 %0", : : "m"(area[32]), "a"(3), "d"(0));
	check_trap(GP_VECTOR, 0, "xrstor: area not aligned to 64");
	try_asm("xsave64 %0", : "+m"(area[32]) : "a"(3), "d"(0));
	check_trap(GP_VECTOR, 0, "xsave: area not aligned to 64");
	set_cr0(0, CR0_TS);
	try_asm("xsave64 %0", : "+m"(area) : "a"(3), "d"(0));
	asm volatile("clts");
	check_trap(NM_VECTOR, 0, "xsave with CR0.TS");
	if (!cpu_has(FEATURE_AVX))
		return;
	memset(area, 0, sizeof(area));
	asm volatile("vmovups %1, %%ymm3; xsave64 %0"
		     : "+m"(area)
		     : "m"(ymm), "a"(7), "d"(0)
		     : "memory");
	check(!memcmp(area + 160 + 48, ymm, 16) && !memcmp(area + avx_offset + 48, ymm + 2, 16),
		"xsave: both halves of YMM3");
	asm volatile("vzeroall; xrstor64 %1; vmovups %%ymm3, %0"
		     : "=m"(got)
		     : "m"(area), "a"(7), "d"(0));
	check(!memcmp(got, ymm, 32), "xrstor: both halves of YMM3");
	/* An SSE instruction keeps the upper half, a VEX one clears it. */
	asm volatile("vmovups %1, %%ymm3; movaps %%xmm0, %%xmm3; vmovups %%ymm3, %0"
		     : "=m"(got)
		     : "m"(ymm));
	check(got[2] == 3 && got[3] == 4, "SSE keeps the upper half");
	asm volatile("vmovups %1, %%ymm3; vmovaps %%xmm0, %%xmm3; vmovups %%ymm3, %0"
		     : "=m"(got)
		     : "m"(ymm));
	check(got[2] == 0 && got[3] == 0, "VEX clears the upper half");
	asm volatile("vzeroupper");
}

static void test_compact(void)
{
	u64 *header = (u64 *)(area + 512);
	u64 in_use;

	if (cpu_has(FEATURE_XSAVEOPT)) {
		memset(area, 0, sizeof(area));
		fill_registers();
		asm volatile("xsaveopt64 %0" : "+m"(area) : "a"(3), "d"(0) : "memory");
		check((header[0] & 3) == 3 && *(u64 *)(area + 160) == 0x1122334455667788ull,
			"xsaveopt");
	} else {
		skip("xsaveopt: not in CPUID");
	}
	if (!cpu_has(FEATURE_XSAVEC)) {
		skip("xsavec: not in CPUID");
		return;
	}
	memset(area, 0xcc, sizeof(area));
	memset(area + 512, 0, 64); /* XSAVEC writes 16 bytes of it, XRSTOR looks at all */
	fill_registers();
	asm volatile("xsavec64 %0" : "+m"(area) : "a"(7), "d"(0) : "memory");
	check_eq(header[1], 1ull << 63 | (supported & 7), "xsavec: compacted format");
	check((header[0] & 3) == 3 && *(u64 *)(area + 160) == 0x1122334455667788ull,
		"xsavec: XMM0");
	asm volatile("pxor %%xmm0, %%xmm0; xrstor64 %0" : : "m"(area), "a"(7), "d"(0));
	asm volatile("movq %%xmm0, %0" : "=r"(in_use));
	check_eq(in_use, 0x1122334455667788ull, "xrstor of the compacted format");
	if (cpuid(0xd, 1).a & 1 << 2) {
		asm volatile("fninit");
		if (cpu_has(FEATURE_AVX))
			asm volatile("vzeroall");
		in_use = xgetbv(1);
		check(!(in_use & ~supported), "xgetbv of index 1: %llx", in_use);
	}
	if (!cpu_has(FEATURE_XSAVES)) {
		skip("xsaves: not in CPUID");
		return;
	}
	memset(area, 0, sizeof(area));
	fill_registers();
	asm volatile("xsaves64 %0" : "+m"(area) : "a"(7), "d"(0) : "memory");
	check(header[1] >> 63 && *(u64 *)(area + 160) == 0x1122334455667788ull, "xsaves");
	asm volatile("pxor %%xmm0, %%xmm0; xrstors64 %0" : : "m"(area), "a"(7), "d"(0));
	asm volatile("movq %%xmm0, %0" : "=r"(in_use));
	check_eq(in_use, 0x1122334455667788ull, "xrstors");
	try_asm("wrmsr", : : "c"(0xda0), "a"(0), "d"(0x80000000));
	check_trap(GP_VECTOR, 0, "a bit nobody has in IA32_XSS");
}

void guest_main(void)
{
	asm volatile("fninit"); /* after reset all exceptions are unmasked */
	test_device_not_available();
	test_unit_before_address();
	test_x87_errors();
	test_simd_errors();
	test_fxsave();
	if (!cpu_has(FEATURE_XSAVE)) {
		skip("XSAVE: not in CPUID");
		return;
	}
	test_xcr0();
	test_xsave();
	test_compact();
	test_xsave_before_address();
	/* Without CR4.OSXSAVE the old world again. */
	write_cr4(read_cr4() & ~(ulong)CR4_OSXSAVE);
	run_movaps();
	check_no_trap("SSE without CR4.OSXSAVE");
}
