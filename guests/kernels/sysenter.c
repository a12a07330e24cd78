/*
 * SYSENTER and SYSEXIT in 32-bit protected mode, where both vendors have them (SDM vol. 3A 5.8.7):
 * they load selectors from IA32_SYSENTER_CS without looking at descriptors.
 */
#include "kernel.h"

#define MSR_SYSENTER_CS  0x174
#define MSR_SYSENTER_ESP 0x175
#define MSR_SYSENTER_EIP 0x176

typedef const u8 label[];
extern label user_sysenter, user_sysexit, sysenter_entry;
extern u8 sysenter_stack[];
extern volatile u32 seen_cs, seen_ss, seen_esp, seen_flags;

static ulong run(const u8 *code, ulong flags)
{
	static const u8 leave[] = {0xcd, VECTOR_USER_RETURN};
	ulong r;

	trap.vector = NO_TRAP;
	trap_at = (ulong)code;
	trap_resume = (ulong)leave;
	r = user_call_at(
		SEL_USER_CODE32, (ulong)code, SEL_USER_DATA, (ulong)user_stack_top, 0, flags);
	trap_resume = 0;
	return r;
}

void guest_main(void)
{
	ulong r;

	if (!cpu_has(FEATURE_SEP)) {
		skip("SYSENTER: not in CPUID");
		return;
	}
	wrmsr(MSR_SYSENTER_CS, 0);
	wrmsr(MSR_SYSENTER_EIP, (ulong)sysenter_entry);
	wrmsr(MSR_SYSENTER_ESP, (ulong)sysenter_stack);
	run(user_sysenter, 2);
	check_trap(GP_VECTOR, 0, "SYSENTER without a selector");
	try_asm("sysexit", : : "c"(0), "d"(0));
	check_trap(GP_VECTOR, 0, "SYSEXIT without a selector");

	/* RPL and the null test ignore the low bits. */
	wrmsr(MSR_SYSENTER_CS, SEL_CODE | 3);
	r = run(user_sysenter, 2 | FLAG_IF | FLAG_CF | FLAG_DF);
	check_no_trap("SYSENTER and SYSEXIT");
	check_eq(seen_cs, SEL_CODE, "SYSENTER: CS");
	check_eq(seen_ss, SEL_CODE + 8, "SYSENTER: SS");
	check_eq(seen_esp, (ulong)sysenter_stack, "SYSENTER: ESP");
	check_eq(seen_flags & (FLAG_IF | FLAG_CF | FLAG_DF), FLAG_CF | FLAG_DF,
		"SYSENTER clears IF, not the rest");
	check_eq(r, SEL_USER_CODE32 << 16 | SEL_USER_DATA, "SYSEXIT: CS and SS");
	run(user_sysexit, 2);
	check_trap(GP_VECTOR, 0, "SYSEXIT in ring 3");

	/* The descriptors are not read: these say nothing of the kind. */
	gdt_set(SEL_TEST, 0x1234000, 1, 0x0010);
	gdt_set(SEL_TEST + 8, 0x1234000, 1, 0x0010);
	wrmsr(MSR_SYSENTER_CS, SEL_TEST);
	seen_cs = 0;
	trap.vector = NO_TRAP;
	trap_resume = 0;
	user_call_at(
		SEL_USER_CODE32, (ulong)user_sysenter, SEL_USER_DATA, (ulong)user_stack_top, 1, 2);
	check_eq(seen_cs, SEL_TEST, "SYSENTER looks at no descriptor");
}
