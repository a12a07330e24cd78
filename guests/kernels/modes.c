/*
 * Every mode a 64-bit CPU has, and the ways between them: 64-bit, compatibility with 32- and
 * 16-bit segments, protected mode with paging off, 16-bit protected mode, real mode, and real
 * mode with a segment limit left over from protected mode.
 */
#include "kernel.h"

extern u8 low_start[], low_end[], low_count[], low_results[], real_trap_stubs[];
extern u8 real_tests[], unreal_tests[];
extern u32 real_seen_efer, compat16_push;
void real_call(u32 function);
void compat_load(void);
void compat_store(void);
void compat_code_write(void);
void compat_push(void);
void compat_inc(void);
void compat_daa(void);
void compat_wrap(void);
void compat_int(void);
void compat_into(void);
void compat_gate(void);
void compat_16(void);
void compat_ring3(void);
void gate_target(void);

/* Results that the 16-bit code records, in order. TRAP(13, 0) is #GP at its instruction. */
struct real_result {
	const char *name;
	u32 want;
};
#define TRAP(vector, offset) ((vector) << 16 | (offset))
#define NONE                 0xffff0000

static const struct real_result real_results[] = {
	{"CR0.PE", 0},
	{"segment times 16", 0x11223344},
	{"the 64 KiB above 1 MiB", MULTIBOOT_HEADER_MAGIC & 0xffff},
	{"div by zero", TRAP(0, 0)},
	{"ud2", TRAP(6, 0)},
	{"int3", TRAP(3, 1)},
	{"int 3 of two bytes", TRAP(3, 2)},
	{"int 0x11", TRAP(0x11, 2)},
	{"into", TRAP(4, 1)},
	{"bound outside", TRAP(5, 0)},
	{"bound inside", NONE},
	{"word at offset 0xffff", TRAP(13, 0)},
	{"word at offset 0xfffe", NONE},
	{"byte at offset 0xffff", NONE},
	{"dword at offset 0xfffd", TRAP(13, 0)},
	{"word at offset 0xffff of the stack", TRAP(12, 0)},
	{"32-bit address beyond the limit", TRAP(13, 0)},
	{"32-bit address beyond the limit of CS", TRAP(13, 0)},
	{"store to CS", NONE},
	{"lock nop", TRAP(6, 0)},
	{"sldt", TRAP(6, 0)},
	{"str", TRAP(6, 0)},
	{"lldt", TRAP(6, 0)},
	{"ltr", TRAP(6, 0)},
	{"lar", TRAP(6, 0)},
	{"lsl", TRAP(6, 0)},
	{"verr", TRAP(6, 0)},
	{"arpl", TRAP(6, 0)},
	{"store at offset 0xffff of CS", TRAP(13, 0)},
	{"FLAGS an interrupt pushes", 0x601},
	{"FLAGS in an interrupt handler: IF is clear, DF is not", 0x401},
	{"size of an interrupt frame", 6},
	{"single step", TRAP(1, 1)},
	{"INT beyond the limit of the IDT", TRAP(13, 0)},
	{"LIDT with 16-bit operand", 0x00345678},
	{"LIDT with 32-bit operand", 0x12345678},
	{"SP wraps", 0x5555fffe},
	{"DI wraps", 0x77770000},
	{"LOOP counts with CX", 3},
	{"LOOP leaves the high half of ECX", 0x12340000},
	{"JCXZ", 1},
	{"32-bit push", 0x1234},
	{"32-bit address with index", 0x89ab},
	{"16-bit address wraps", 0xcd},
	{"far call", 1},
	{"far call through memory", 1},
	{"iret and far return", 7},
	{"enter and leave", 0},
	{"IOPL and NT after reset", 0},
};

static const struct real_result unreal_results[] = {
	{"no fault beyond 64 KiB", NONE},
	{"load beyond 64 KiB", MULTIBOOT_HEADER_MAGIC & 0xffff},
	{"a load of GS changes base, not limit", MULTIBOOT_HEADER_MAGIC & 0xffff},
	{"DS has its 64-KiB limit", TRAP(13, 0)},
};

static void *low(const u8 *symbol)
{
	return (void *)(LOW_CODE + (symbol - low_start));
}

static void run_real(
	const char *mode, const u8 *function, const struct real_result *want, u32 count)
{
	volatile u32 *got_count = low(low_count);
	u32 *results = low(low_results);
	u32 i;

	*got_count = 0;
	real_call(function - low_start);
	check_eq(*got_count, count, "%s: all of it ran", mode);
	for (i = 0; i < count; i++)
		check_eq(results[i], want[i].want, "%s: %s", mode, want[i].name);
}

static void test_real_mode(void)
{
	volatile u16 *ivt = (u16 *)0;
	u64 efer = rdmsr(MSR_EFER);
	ulong cr4 = read_cr4();
	int i;

	/* GCC must not reason about writes through a null pointer. */
	asm volatile("" : "+r"(ivt));
	memcpy((void *)LOW_CODE, low_start, low_end - low_start);
	for (i = 0; i < 32; i++) {
		ivt[2 * i] = real_trap_stubs - low_start + 8 * i;
		ivt[2 * i + 1] = LOW_CODE >> 4;
	}
	run_real("real mode", real_tests, real_results,
		sizeof(real_results) / sizeof(real_results[0]));
	run_real("unreal mode", unreal_tests, unreal_results,
		sizeof(unreal_results) / sizeof(unreal_results[0]));
	check_eq(real_seen_efer & (EFER_LME | EFER_LMA), EFER_LME, "LMA falls with CR0.PG");
	check_eq(rdmsr(MSR_EFER), efer, "EFER after the way back");
	check_eq(read_cr4(), cr4, "CR4 after the way back");
}

static void test_compatibility_mode(void)
{
	volatile u32 *low_word = (u32 *)0x1020;
	ulong r;

	*low_word = 0x600df00d;
	check_eq(compat_call(compat_push, SEL_DATA), 4, "compatibility mode: push is of 4 bytes");
	check_eq(compat_call(compat_inc, SEL_DATA), 6,
		"compatibility mode: inc and dec of one byte");
	check_eq(compat_call(compat_daa, SEL_DATA), 0x38, "compatibility mode: daa");
	check_eq(compat_call(compat_wrap, SEL_DATA), 0x600df00d,
		"compatibility mode: addresses wrap at 4 GiB");

	trap.vector = NO_TRAP;
	compat_call(compat_int, SEL_DATA);
	check(trap.vector == 0x42 && trap.offset == 2 && trap.cs == SEL_CODE32,
		"compatibility mode: int");
	compat_call(compat_into, SEL_DATA);
	check(trap.vector == OF_VECTOR && trap.offset == 1, "compatibility mode: into");

	/* Limits and types of data segments count, which in 64-bit mode they do not. */
	gdt_set(SEL_TEST, 0, 0xfff, 0x4093);
	trap.vector = NO_TRAP;
	compat_call(compat_load, SEL_TEST);
	check_trap(GP_VECTOR, 0, "compatibility mode: load beyond the limit");
	gdt_set(SEL_TEST, 0, 0x1003, 0x4091);
	trap.vector = NO_TRAP;
	compat_call(compat_load, SEL_TEST);
	check_no_trap("compatibility mode: load up to the limit");
	trap.vector = NO_TRAP;
	compat_call(compat_store, SEL_TEST);
	check_trap(GP_VECTOR, 0, "compatibility mode: store to a read-only segment");
	trap.vector = NO_TRAP;
	compat_call(compat_code_write, SEL_DATA);
	check_trap(GP_VECTOR, 0, "compatibility mode: store to CS");
	trap.vector = NO_TRAP;
	compat_call(compat_load, 0);
	check_trap(GP_VECTOR, 0, "compatibility mode: load through a null segment");
	gdt_set(SEL_TEST, 0, 0xfff, 0x4091);
	asm volatile("mov %0, %%ds" : : "r"(SEL_TEST));
	try_asm("mov %%ds:0x1000, %%eax; movl %%eax, %%ds:0x1000", : : : "eax", "memory");
	asm volatile("mov %0, %%ds" : : "r"(0));
	check_no_trap("64-bit mode: neither limit nor type of DS counts");
	try_asm("mov %%ds:0x1000, %%eax", : : : "eax", "memory");
	asm volatile("mov %0, %%ds" : : "r"(SEL_DATA));
	check_no_trap("64-bit mode: a null DS can be used");

	/* A call gate leads from compatibility into 64-bit mode, and the far return back. */
	gdt_set_gate(SEL_TEST, SEL_CODE, (ulong)gate_target, 0x8c, 0);
	check_eq(compat_call(compat_gate, SEL_DATA), 0x1230, "call gate into 64-bit mode");

	trap.vector = NO_TRAP;
	compat_call(compat_16, SEL_DATA);
	check(trap.vector == 0x42 && trap.offset == 2 && trap.cs == SEL_CODE16,
		"compatibility mode with a 16-bit segment: int");
	check_eq(compat16_push, 2, "compatibility mode with a 16-bit segment: push of 2 bytes");

	r = user_call_at(
		SEL_USER_CODE32, (ulong)compat_ring3, SEL_USER_DATA, (ulong)user_stack_top, 0, 2);
	check_eq(r, SEL_USER_CODE32 << 16 | SEL_USER_DATA, "ring 3 in compatibility mode");
}

/* What EFER and the segments refuse while in long mode (SDM vol. 3A 9.8.5). */
static void test_long_mode_rules(void)
{
	u64 efer = rdmsr(MSR_EFER);

	try_asm("wrmsr", : : "c"(MSR_EFER), "a"((u32)efer & ~EFER_LME), "d"(0));
	check_trap(GP_VECTOR, 0, "clear EFER.LME with paging on");
	try_asm("wrmsr", : : "c"(MSR_EFER), "a"((u32)efer | 1 << 1), "d"(0));
	check_trap(GP_VECTOR, 0, "a reserved bit of EFER");
	check_eq(rdmsr(MSR_EFER), efer, "EFER is as before");
	gdt_set(SEL_TEST, 0, 0xfffff, 0xe09b);
	try_asm("ljmpl *%0",
		:
		: "m"((struct {
			u32 ip;
			u16 cs;
		}){0x1000, SEL_TEST}));
	check_trap(GP_VECTOR, SEL_TEST, "code segment with both L and D");
}

void guest_main(void)
{
	test_real_mode();
	test_compatibility_mode();
	test_long_mode_rules();
	/* Once more: the first trip may have worked by luck. */
	test_real_mode();
}
