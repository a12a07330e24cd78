/*
 * SYSCALL, SYSRET, SYSENTER and SYSEXIT in a 64-bit kernel: what they load, what they mask, and
 * when they refuse. Intel and AMD differ, and so do the checks (SDM vol. 2 and vol. 3A 5.8.7 and
 * 5.8.8, AMD APM vol. 3).
 */
#include "kernel.h"

#define MSR_SYSENTER_CS  0x174
#define MSR_SYSENTER_ESP 0x175
#define MSR_SYSENTER_EIP 0x176
#define MSR_STAR         0xc0000081
#define MSR_LSTAR        0xc0000082
#define MSR_CSTAR        0xc0000083
#define MSR_FMASK        0xc0000084

typedef const u8 label[];
extern label syscall_entry, user_syscall, user_syscall_back, user_sysret, sysret_here;
extern label syscall_entry_compat, user_syscall_compat, user_syscall_compat_back, user_back_32;
extern label sysenter_entry, user_sysenter, user_sysenter_back;
extern u8 sysenter_stack[];
extern volatile u64 seen_flags, seen_rsp, seen_rcx, seen_r11, seen_cs, seen_ss, user_flags;
extern volatile u64 return_rip, return_flags, return_32;

static const u8 leave[] = {0xcd, VECTOR_USER_RETURN};

/* Runs ring-3 code; if it faults, it is left, and `trap` tells why. */
static ulong run(const u8 *code, u16 cs, ulong flags)
{
	trap.vector = NO_TRAP;
	trap_at = (ulong)code;
	trap_resume = (ulong)leave;
	ulong r = user_call_at(cs, (ulong)code, SEL_USER_DATA, (ulong)user_stack_top, 0, flags);
	trap_resume = 0;
	trap_resume_cs = 0;
	return r;
}

static void test_enable(void)
{
	wrmsr(MSR_EFER, rdmsr(MSR_EFER) & ~(u64)EFER_SCE);
	run(user_syscall, SEL_USER_CODE, 2);
	check_trap(UD_VECTOR, 0, "SYSCALL without EFER.SCE");
	try_asm("sysretq", : : "c"(0x1000) : "r11");
	check_trap(UD_VECTOR, 0, "SYSRET without EFER.SCE");
	wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_SCE);
	run(user_sysret, SEL_USER_CODE, 2);
	check_trap(GP_VECTOR, 0, "SYSRET in ring 3");
	try_asm("wrmsr", : : "c"(MSR_LSTAR), "a"(0), "d"(0x80000000));
	check_trap(GP_VECTOR, 0, "a non-canonical LSTAR");
	/* AMD has no 64-bit SYSENTER, and keeps 32 bits. */
	try_asm("wrmsr", : : "c"(MSR_SYSENTER_EIP), "a"(0), "d"(0x80000000));
	if (!cpu_is_amd())
		check_trap(GP_VECTOR, 0, "a non-canonical SYSENTER_EIP");
}

static void test_syscall(void)
{
	static const u32 masks[] = {0, FLAG_IF | FLAG_DF | FLAG_TF, 0x47fd5, 0xffffffff, FLAG_CF};
	const ulong flags = 2 | FLAG_CF | FLAG_ZF | FLAG_DF | FLAG_AC | FLAG_OF | 1 << 21;
	size_t i;
	ulong r;

	wrmsr(MSR_STAR, (u64)(SEL_USER_CODE32) << 48 | (u64)SEL_CODE << 32);
	wrmsr(MSR_LSTAR, (ulong)syscall_entry);
	for (i = 0; i < sizeof(masks) / sizeof(masks[0]); i++) {
		u32 mask = masks[i];

		wrmsr(MSR_FMASK, mask);
		r = run(user_syscall, SEL_USER_CODE, flags);
		check_no_trap("SYSCALL with mask %x", mask);
		check_eq(seen_flags, (flags & ~(ulong)mask) | 2, "mask %x: flags in the kernel",
			mask);
		check_eq(seen_r11, flags, "mask %x: R11", mask);
		check_eq(seen_rcx, (ulong)user_syscall_back, "mask %x: RCX", mask);
		check_eq(seen_rsp, (ulong)user_stack_top, "mask %x: RSP", mask);
		check_eq(seen_cs << 16 | seen_ss, SEL_CODE << 16 | (SEL_CODE + 8),
			"mask %x: CS and SS", mask);
		check_eq(r, SEL_USER_CODE << 16 | SEL_USER_DATA, "mask %x: CS and SS after SYSRET",
			mask);
		check_eq(user_flags, flags, "mask %x: flags after SYSRET", mask);
	}
	wrmsr(MSR_FMASK, FLAG_IF | FLAG_DF | FLAG_TF | FLAG_AC | FLAG_NT);

	/* SYSRET takes of R11 what may be in RFLAGS, but neither RF nor VM. */
	return_flags = 0x3c7fd7 & ~(ulong)(FLAG_TF | FLAG_IOPL | FLAG_IF | FLAG_NT);
	return_flags |= FLAG_RF | FLAG_VM | 1ul << 40;
	run(user_syscall, SEL_USER_CODE, 2);
	check_eq(user_flags, 0x3c7fd7 & ~(ulong)(FLAG_TF | FLAG_IOPL | FLAG_IF | FLAG_NT),
		"flags that SYSRET takes from R11");
	return_flags = 0;

	/* A return to nowhere: Intel faults before it leaves ring 0, AMD after. */
	return_rip = 1ul << 63;
	run(user_syscall, SEL_USER_CODE, 2);
	return_rip = 0;
	if (cpu_is_amd())
		check(trap.vector == GP_VECTOR && trap.cs == SEL_USER_CODE && trap.ip == 1ul << 63,
			"SYSRET to a non-canonical address: vector %d cs %x", trap.vector, trap.cs);
	else
		check(trap.vector == GP_VECTOR && trap.cs == SEL_CODE &&
				trap.ip == (ulong)sysret_here,
			"SYSRET to a non-canonical address: vector %d cs %x", trap.vector, trap.cs);
	write_flags(2);

	return_32 = 1;
	return_rip = (ulong)user_back_32;
	r = run(user_syscall, SEL_USER_CODE, 2);
	check_eq(r, SEL_USER_CODE32 << 16 | SEL_USER_DATA, "SYSRET to compatibility mode");
	return_32 = 0;
	return_rip = 0;

	wrmsr(MSR_CSTAR, (ulong)syscall_entry_compat);
	seen_rcx = 0;
	r = run(user_syscall_compat, SEL_USER_CODE32, 2);
	if (cpu_is_amd()) {
		check_eq(seen_rcx, (ulong)user_syscall_compat_back,
			"SYSCALL from compatibility mode: RCX");
		check_eq(r, SEL_USER_CODE32 << 16 | SEL_USER_DATA, "and back");
	} else {
		check_trap(UD_VECTOR, 0, "SYSCALL from compatibility mode");
	}
}

static void test_sysenter(void)
{
	ulong r;

	if (!cpu_has(FEATURE_SEP)) {
		skip("SYSENTER: not in CPUID");
		return;
	}
	wrmsr(MSR_SYSENTER_CS, 0);
	wrmsr(MSR_SYSENTER_EIP, (ulong)sysenter_entry);
	wrmsr(MSR_SYSENTER_ESP, (ulong)sysenter_stack);
	if (cpu_is_amd()) {
		run(user_sysenter, SEL_USER_CODE, 2);
		check_trap(UD_VECTOR, 0, "SYSENTER in long mode");
		try_asm("sysexitq", : : "c"(0), "d"(0));
		check_trap(UD_VECTOR, 0, "SYSEXIT in long mode");
		return;
	}
	run(user_sysenter, SEL_USER_CODE, 2);
	check_trap(GP_VECTOR, 0, "SYSENTER without a selector");
	wrmsr(MSR_SYSENTER_CS, SEL_CODE);
	r = run(user_sysenter, SEL_USER_CODE, 2 | FLAG_IF | FLAG_CF);
	check_eq(seen_cs << 16 | seen_ss, SEL_CODE << 16 | (SEL_CODE + 8), "SYSENTER: CS and SS");
	check_eq(seen_rsp, (ulong)sysenter_stack, "SYSENTER: RSP");
	check_eq(seen_flags & (FLAG_IF | FLAG_CF), FLAG_CF, "SYSENTER clears IF");
	check_eq(r, (SEL_USER_CODE) << 16 | (SEL_USER_CODE + 8),
		"SYSEXIT to 64-bit mode: CS and SS");
	try_asm("sysexitq", : : "c"(0), "d"(1ul << 63));
	check_trap(GP_VECTOR, 0, "SYSEXIT to a non-canonical address");
}

void guest_main(void)
{
	test_enable();
	test_syscall();
	test_sysenter();
}
