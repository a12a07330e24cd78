/*
 * Model-specific registers and CPUID: what exists can be read, what does not raises #GP, reserved
 * bits are refused, and CPUID tells no more than there is (SDM vol. 4; vol. 2, CPUID).
 */
#include "kernel.h"

#define MSR_TSC           0x10
#define MSR_APIC_BASE     0x1b
#define MSR_TSC_ADJUST    0x3b
#define MSR_PAT           0x277
#define MSR_MTRR_CAP      0xfe
#define MSR_MTRR_DEF_TYPE 0x2ff
#define MSR_STAR          0xc0000081
#define MSR_LSTAR         0xc0000082
#define MSR_FMASK         0xc0000084
#define MSR_TSC_AUX       0xc0000103

static u64 try_rdmsr(u32 msr)
{
	u32 low = 0, high = 0;

	try_asm("rdmsr", : "+a"(low), "+d"(high) : "c"(msr));
	return (u64)high << 32 | low;
}

static void try_wrmsr(u32 msr, u64 value)
{
	try_asm("wrmsr", : : "c"(msr), "a"((u32)value), "d"((u32)(value >> 32)) : "memory");
}

static void test_unknown(void)
{
	static const u32 unknown[] = {0x5, 0x4567, 0x40100000, 0x80000000, 0xc0000000, 0xc0000085,
		0xc0000110, 0xdeadbeef, 0xffffffff, 0x0c000080};
	size_t i;
	u32 low = 0x11, high = 0x22;

	for (i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++) {
		try_rdmsr(unknown[i]);
		check_trap(GP_VECTOR, 0, "read of MSR %x", unknown[i]);
		try_wrmsr(unknown[i], 0);
		check_trap(GP_VECTOR, 0, "write of MSR %x", unknown[i]);
	}
	try_asm("rdmsr", : "+a"(low), "+d"(high) : "c"(0xdeadbeef));
	check(low == 0x11 && high == 0x22, "a failed read leaves EAX and EDX");
}

static void test_tsc(void)
{
	u64 now, aux;
	u32 low, high, id;

	now = rdtsc();
	check(rdmsr(MSR_TSC) >= now, "IA32_TSC is the TSC");
	check(rdtsc() > now, "the TSC moves");
	wrmsr(MSR_TSC, 1ull << 50);
	now = rdtsc();
	check(now >= 1ull << 50 && now < (1ull << 50) + (1ull << 40), "IA32_TSC can be written");
	if (cpu_has(FEATURE_TSC_ADJUST)) {
		u64 adjust = rdmsr(MSR_TSC_ADJUST);

		check(adjust != 0, "a write of IA32_TSC shows in IA32_TSC_ADJUST");
		wrmsr(MSR_TSC_ADJUST, adjust + (1ull << 48));
		now = rdtsc();
		check(now >= 5ull << 48, "IA32_TSC_ADJUST moves the TSC: %llx", now);
		wrmsr(MSR_TSC_ADJUST, 0);
		check(rdtsc() < 1ull << 50, "IA32_TSC_ADJUST of 0 restores it");
	} else {
		skip("IA32_TSC_ADJUST: not in CPUID");
	}
	if (cpu_has(FEATURE_RDTSCP)) {
		wrmsr(MSR_TSC_AUX, 0x1234);
		asm volatile("rdtscp" : "=a"(low), "=d"(high), "=c"(id));
		check_eq(id, 0x1234, "RDTSCP returns IA32_TSC_AUX");
		aux = rdmsr(MSR_TSC_AUX);
		check_eq(aux, 0x1234, "IA32_TSC_AUX");
	}
	/* CR4.TSD keeps ring 3 from it. */
	write_cr4(read_cr4() | CR4_TSD);
	try_asm("rdtsc", : : : "eax", "edx");
	check_no_trap("CR4.TSD: ring 0 may read the TSC");
}

static ulong ring3_rdtsc(ulong unused)
{
	try_asm("rdtsc", : : : "eax", "edx");
	return trap.vector;
}

static ulong ring3_rdmsr(ulong msr)
{
	try_asm("rdmsr", : : "c"(msr) : "eax", "edx");
	return trap.vector;
}

static ulong ring3_rdpmc(ulong unused)
{
	try_asm("rdpmc", : : "c"(0) : "eax", "edx");
	return trap.vector;
}

static void test_ring3(void)
{
	check_eq(user_call(ring3_rdtsc, 0), GP_VECTOR, "CR4.TSD: ring 3 may not");
	write_cr4(read_cr4() & ~(ulong)CR4_TSD);
	check_eq(user_call(ring3_rdtsc, 0), NO_TRAP, "without TSD it may");
	check_eq(user_call(ring3_rdmsr, MSR_TSC), GP_VECTOR, "RDMSR in ring 3");
	check_eq(user_call(ring3_rdpmc, 0), GP_VECTOR, "RDPMC in ring 3 without CR4.PCE");
}

static void test_efer(void)
{
	u64 efer = rdmsr(MSR_EFER);

	check_eq(efer & (EFER_LME | EFER_LMA), EFER_LME | EFER_LMA, "EFER in long mode");
	if (cpu_has(FEATURE_NX)) {
		wrmsr(MSR_EFER, efer | EFER_NXE);
		check(rdmsr(MSR_EFER) & EFER_NXE, "EFER.NXE");
		wrmsr(MSR_EFER, efer);
	}
	try_wrmsr(MSR_EFER, efer | 1ull << 60);
	check_trap(GP_VECTOR, 0, "a reserved bit of EFER");
	wrmsr(MSR_EFER, efer | EFER_SCE);
	check_eq(rdmsr(MSR_EFER), efer | EFER_SCE, "EFER.SCE");
	wrmsr(MSR_EFER, efer);
}

static void test_memory_types(void)
{
	u64 pat = rdmsr(MSR_PAT);

	check_eq(pat, 0x0007040600070406ull, "IA32_PAT after reset");
	wrmsr(MSR_PAT, 0x0106040506070001ull);
	check_eq(rdmsr(MSR_PAT), 0x0106040506070001ull, "IA32_PAT can be written");
	try_wrmsr(MSR_PAT, 2);
	check_trap(GP_VECTOR, 0, "memory type 2 in IA32_PAT");
	try_wrmsr(MSR_PAT, 8ull << 32);
	check_trap(GP_VECTOR, 0, "memory type 8 in IA32_PAT");
	wrmsr(MSR_PAT, pat);
	if (cpuid(1, 0).d & 1 << 12) {
		u32 count = rdmsr(MSR_MTRR_CAP) & 0xff;

		try_wrmsr(MSR_MTRR_CAP, 0);
		check_trap(GP_VECTOR, 0, "IA32_MTRRCAP is read-only");
		if (count) {
			wrmsr(0x200, 0x10000006);
			check_eq(rdmsr(0x200), 0x10000006, "a variable MTRR");
			try_wrmsr(0x200, 0x10000002);
			check_trap(GP_VECTOR, 0, "memory type 2 in an MTRR");
			wrmsr(0x200, 0);
		}
		try_wrmsr(MSR_MTRR_DEF_TYPE, 7);
		check_trap(GP_VECTOR, 0, "memory type 7 as default");
	} else {
		skip("MTRR: not in CPUID");
	}
}

static void test_syscall_registers(void)
{
	wrmsr(MSR_STAR, 0x0023001000000000ull);
	check_eq(rdmsr(MSR_STAR), 0x0023001000000000ull, "STAR");
	wrmsr(MSR_LSTAR, 0xffff800012345678ull);
	check_eq(rdmsr(MSR_LSTAR), 0xffff800012345678ull, "LSTAR");
	wrmsr(MSR_FMASK, 0x47700);
	check_eq(rdmsr(MSR_FMASK), 0x47700, "FMASK");
}

/* CPUID against what the machine lets us do. */
static void test_cpuid(void)
{
	struct cpuid r = cpuid(0, 0), beyond, top;
	ulong cr4 = read_cr4();
	u32 bits;
	size_t i;
	static const struct {
		const char *name;
		u64 feature;
		ulong cr4;
	} features[] = {
		{"SMEP", FEATURE_SMEP, CR4_SMEP},
		{"SMAP", FEATURE_SMAP, CR4_SMAP},
		{"FSGSBASE", FEATURE_FSGSBASE, CR4_FSGSBASE},
		{"UMIP", FEATURE_UMIP, CR4_UMIP},
		{"PKU", FEATURE_PKU, CR4_PKE},
		{"XSAVE", FEATURE_XSAVE, CR4_OSXSAVE},
		{"PCID", FEATURE_PCID, CR4_PCIDE},
		{"VME", FEATURE_VME, CR4_VME},
	};

	check(r.a >= 7, "basic leaves up to %x", r.a);
	check(cpuid(0x80000000, 0).a >= 0x80000008, "extended leaves");
	bits = cpuid(0x80000008, 0).a;
	check((bits & 0xff) >= 36 && (bits & 0xff) <= 52, "physical address bits: %u", bits & 0xff);
	check((bits >> 8 & 0xff) == (cpu_has(FEATURE_LA57) ? 57 : 48), "linear address bits");
	if (cpuid(1, 0).c >> 31) {
		r = cpuid(0x40000000, 0);
		check(r.a >= 0x40000000 && r.b, "a hypervisor signature");
	}
	/* Beyond the last leaf: Intel repeats the last basic leaf, AMD returns 0. */
	beyond = cpuid(cpuid(0, 0).a + 0x100, 0);
	top = cpuid(cpuid(0, 0).a, 0);
	check(!(beyond.a | beyond.b | beyond.c | beyond.d) || beyond.a == top.a, "a leaf too far");
	/* The upper halves are cleared. */
	{
		u64 a = ~0ull, b = ~0ull, c = ~0ull << 32, d = ~0ull;

		a = 0xffffffff00000000ull;
		asm volatile("cpuid" : "+a"(a), "+b"(b), "+c"(c), "+d"(d));
		check(!((a | b | c | d) >> 32), "CPUID clears the high halves");
	}
	check_eq(cpuid(1, 0).c >> 27 & 1, 0, "OSXSAVE is clear before it is set in CR4");
	for (i = 0; i < sizeof(features) / sizeof(features[0]); i++) {
		bool has = cpu_has(features[i].feature);

		/* The kernel's own pages are open to ring 3, so these it cannot turn on. */
		if (has && (features[i].cr4 & (CR4_SMEP | CR4_SMAP)))
			continue;
		try_asm("mov %0, %%cr4", : : "r"(cr4 | features[i].cr4));
		if (features[i].feature == FEATURE_XSAVE && has)
			check_eq(cpuid(1, 0).c >> 27 & 1, 1, "OSXSAVE follows CR4");
		write_cr4(cr4);
		check((trap.vector == NO_TRAP) == has, "%s: CR4 and CPUID agree", features[i].name);
	}
}

void guest_main(void)
{
	test_cpuid();
	test_unknown();
	test_efer();
	test_memory_types();
	test_syscall_registers();
	test_tsc();
	test_ring3();
}
