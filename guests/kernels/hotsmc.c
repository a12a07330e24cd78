/*
 * Hot code that changes. smc.c asks the same of code that runs a few times; here every piece runs
 * often enough to be translated before it is changed, and again after: patched in place, generated
 * anew, changed through another address and by another CPU, with data and stack in its page, from
 * each half of the address space and in ring 3.
 *
 * A CPU sees its own stores at once where they were made by the address it runs at; those by
 * another address, and another CPU's, after a serializing instruction (SDM vol. 3A 9.1.3).
 *
 * On the command line: heat=N executions that make code hot.
 */
#include "noise.h"
#include "paging.h"
#include "smp.h"

#define LOW_BASE  TEST_VA
#define HIGH_BASE 0xffffffffc0000000ul
#define ALIAS     0x100000ul /* the same frames again */
#define PAGES     2

static const struct world {
	const char *name;
	ulong base;
	bool user;
} worlds[] = {
	{"user", LOW_BASE, true},
	{"supervisor, lower half", LOW_BASE, false},
	{"supervisor, upper half", HIGH_BASE, false},
};
static const struct world *world;
static u32 heat;

/* Runs in the world; the number of wrong results. */
typedef ulong test_fn(ulong base);

static void serialize(void)
{
	asm volatile("cpuid" : : "a"(0), "c"(0) : "rbx", "rdx", "memory");
}

static ulong call(ulong address, ulong argument)
{
	ulong result;

	asm volatile("call *%1"
		     : "=a"(result)
		     : "r"(address), "D"(argument)
		     : "rcx", "rdx", "rsi", "r8", "r9", "r10", "r11", "memory", "cc");
	return result;
}

/* Times, out of heat, that the code at ADDRESS does not return WANT. */
static ulong call_hot(ulong address, ulong argument, ulong want)
{
	ulong bad = 0;
	u32 i;

	for (i = 0; i < heat; i++)
		bad += call(address, argument) != want;
	return bad;
}

/* mov $value, %eax; ret */
static void emit_return(ulong at, u32 value)
{
	*(volatile u8 *)at = 0xb8;
	*(volatile u32 *)(at + 1) = value;
	*(volatile u8 *)(at + 5) = 0xc3;
}

static void copy(ulong to, const void *from, size_t size)
{
	memcpy((void *)to, from, size);
}

/* --- one CPU --- */

/* A constant in a function that is called, patched in every way a store can be made. */
static ulong patch_constant(ulong base)
{
	ulong at = base + 0x40, bad = 0;
	u32 i, value;

	emit_return(at, 1);
	bad += call_hot(at, 0, 1);
	for (i = 0; i < 40; i++) {
		volatile u32 *constant = (u32 *)(at + 1);

		value = 1000 + i;
		switch (i % 8) {
		case 0:
			*constant = value;
			break;
		case 1:
			*(volatile u16 *)constant = value;
			((volatile u16 *)constant)[1] = value >> 16;
			break;
		case 2:
			asm volatile("xchg %0, (%1)" : "+r"(value) : "r"(constant) : "memory");
			value = 1000 + i;
			break;
		case 3:
			asm volatile("movd %0, %%xmm2; movss %%xmm2, (%1)"
				     :
				     : "r"(value), "r"(constant)
				     : "memory");
			break;
		case 4:
			copy((ulong)constant, &value, 4);
			break;
		case 5:
			asm volatile("push %0; pop (%1)"
				     :
				     : "r"((ulong)value | 0xc3ul << 32), "r"(constant)
				     : "memory");
			break;
		case 6:
			value = *constant + 3;
			asm volatile("lock addl $3, (%0)" : : "r"(constant) : "memory", "cc");
			break;
		default:
			asm volatile("std; rep stosb; cld"
				     :
				     : "D"((u8 *)constant + 3), "c"(4), "a"(i)
				     : "memory");
			value = i * 0x01010101;
		}
		bad += call_hot(at, 0, value);
	}
	return bad;
}

/* A loop that changes itself in each round: incl of its own constant. */
static ulong patch_own_loop(ulong base)
{
	/* xor eax, eax; mov ecx, edi; 1: incl 2f+1(rip); 2: mov $0, edx; add edx, eax; dec ecx; jnz
	 * 1b; ret */
	static const u8 code[] = {0x31, 0xc0, 0x89, 0xf9, 0xff, 0x05, 1, 0, 0, 0, 0xba, 0, 0, 0, 0,
		0x01, 0xd0, 0xff, 0xc9, 0x75, 0xef, 0xc3};
	ulong at = base + 0x100, bad = 0, rounds = 2 * heat;
	int i;

	for (i = 0; i < 3; i++) {
		copy(at, code, sizeof(code));
		bad += call(at, rounds) != rounds * (rounds + 1) / 2;
	}
	return bad;
}

/* The loop runs unchanged for long and then its next round does something else. */
static ulong patch_late(ulong base)
{
	/* xor eax, eax; mov edi, ecx; 1: add $1, eax; nop x3; cmp %esi.. : patched by a store that
	 * is made only when ecx reaches heat/2: cmp r8d, ecx; jne 2f; movb $5, 1b+2(rip); 2: dec
	 * ecx; jnz 1b; ret */
	static const u8 code[] = {0x31, 0xc0, 0x89, 0xf9, 0x83, 0xc0, 0x01, 0x44, 0x39, 0xc1, 0x75,
		0x07, 0xc6, 0x05, 0xf3, 0xff, 0xff, 0xff, 0x05, 0xff, 0xc9, 0x75, 0xed, 0xc3};
	ulong at = base + 0x200, bad = 0, result;
	int i;

	for (i = 0; i < 8; i++) {
		ulong half = heat + i;

		copy(at, code, sizeof(code));
		asm volatile("mov %3, %%r8; call *%1"
			     : "=a"(result)
			     : "r"(at), "D"(2 * half), "r"(half)
			     : "rcx", "r8", "memory", "cc");
		/* From 2 half down to half inclusive by 1, the rest by 5. */
		bad += result != (half + 1) + (half - 1) * 5;
	}
	return bad;
}

/* Data, and the stack, in the page of code: the stores are not to it, but beside it. */
static ulong data_beside(ulong base)
{
	/* mov 0f(rip), eax; inc eax; mov eax, 0f(rip); push rax; pop rdx; mov edx, eax; ret; 0:
	 * .long 0 */
	static const u8 code[] = {0x8b, 0x05, 12, 0, 0, 0, 0xff, 0xc0, 0x89, 0x05, 4, 0, 0, 0, 0x50,
		0x5a, 0x89, 0xd0, 0xc3, 0, 0, 0, 0};
	/* mov rsp, r8; lea 0x..(rip), rsp; push rdi; pop rax; inc eax; mov r8, rsp; ret: a stack
	 * right behind it */
	static const u8 stack[] = {0x49, 0x89, 0xe0, 0x48, 0x8d, 0x25, 0x40, 0, 0, 0, 0x57, 0x58,
		0xff, 0xc0, 0x4c, 0x89, 0xc4, 0xc3};
	ulong at = base + 0x300, bad = 0;
	u32 i, start;

	copy(at, code, sizeof(code));
	/* mov disp: the data are behind the RET, at 19. */
	*(volatile u32 *)(at + 2) = 19 - 6;
	*(volatile u32 *)(at + 10) = 19 - 14;
	start = *(volatile u32 *)(at + 19);
	for (i = 1; i <= 3 * heat; i++)
		bad += call(at, 0) != start + i;
	copy(at + 0x80, stack, sizeof(stack));
	for (i = 0; i < 3 * heat; i++)
		bad += call(at + 0x80, i) != i + 1;
	return bad;
}

/* As a just-in-time compiler does it: functions of growing length, one written over the other, each
 * hot before the next comes. */
static ulong generate(ulong base)
{
	ulong bad = 0;
	u32 i, j;

	for (i = 0; i < 60; i++) {
		u8 *p = (u8 *)(base + 0x400 + i % 3);

		*p++ = 0x89; /* mov %edi, %eax */
		*p++ = 0xf8;
		for (j = 0; j < i; j++) {
			*p++ = 0xff; /* inc %eax, dec %eax */
			*p++ = i & 1 ? 0xc8 : 0xc0;
		}
		*p++ = 0xc3;
		bad += call_hot(base + 0x400 + i % 3, 1000, i & 1 ? 1000 - i : 1000 + i);
	}
	return bad;
}

/* The same frame at two addresses: code that asks where it is, and a function patched by the
 * other's address. */
static ulong aliases(ulong base)
{
	static const u8 where[] = {
		0x48, 0x8d, 0x05, 0xf9, 0xff, 0xff, 0xff, 0xc3}; /* lea 0b(%rip), %rax; ret */
	ulong at = base + 0x600, bad = 0;
	u32 i;

	copy(at, where, sizeof(where));
	for (i = 0; i < 4; i++) {
		bad += call_hot(at, 0, at);
		bad += call_hot(at + ALIAS, 0, at + ALIAS);
	}
	for (i = 0; i < heat; i++)
		bad += call(at, 0) != at || call(at + ALIAS, 0) != at + ALIAS;
	for (i = 0; i < 12; i++) {
		emit_return(at + (i & 1 ? ALIAS : 0), 500 + i);
		serialize();
		bad += call_hot(at, 0, 500 + i);
		bad += call_hot(at + ALIAS, 0, 500 + i);
	}
	return bad;
}

/* An instruction on two pages, hot, then patched in either. */
static ulong two_pages(ulong base)
{
	ulong at = base + 0x1000 - 3, bad = 0;
	u32 i, value;

	emit_return(at, 0x01020304);
	for (i = 0; i < 10; i++) {
		*(volatile u8 *)(at + (i & 1 ? 4 : 1)) = i * 7;
		memcpy(&value, (void *)(at + 1), 4);
		bad += call_hot(at, 0, value);
	}
	return bad;
}

/* REP MOVSB over the code that follows it in the same page, and REP STOSB over the function that is
 * hot. */
static ulong string_over_code(ulong base)
{
	/* lea 0f(rip), rdi; mov $8, ecx; rep movsb; 0: 8 bytes; ret */
	static const u8 code[] = {0x48, 0x8d, 0x3d, 7, 0, 0, 0, 0xb9, 8, 0, 0, 0, 0xf3, 0xa4, 0x90,
		0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0xc3};
	static const u8 bodies[2][8] = {
		{0xb8, 7, 0, 0, 0, 0xff, 0xc0, 0x90}, {0xb8, 3, 0, 0, 0, 0xff, 0xc8, 0x90}};
	ulong at = base + 0x700, bad = 0, result;
	u32 i;

	copy(at, code, sizeof(code));
	for (i = 0; i < 2 * heat; i++) {
		/* The same body for long, then the other. */
		bool other = i / 100 & 1;

		asm volatile("call *%1"
			     : "=a"(result)
			     : "r"(at), "S"(bodies[other])
			     : "rcx", "rdi", "memory", "cc");
		bad += result != (other ? 2 : 8);
	}
	return bad;
}

static ulong branch_target(ulong base)
{
	/* jmp rel32 to one of two functions; the displacement is patched. */
	ulong at = base + 0x800, bad = 0;
	u32 i;

	emit_return(at + 0x40, 11);
	emit_return(at + 0x80, 22);
	*(volatile u8 *)at = 0xe9;
	for (i = 0; i < 20; i++) {
		*(volatile u32 *)(at + 1) = (i & 1 ? 0x80 : 0x40) - 5;
		bad += call_hot(at, 0, i & 1 ? 22 : 11);
	}
	/* and to another page */
	emit_return(base + 0x1100, 33);
	*(volatile u32 *)(at + 1) = 0x1100 - 0x800 - 5;
	bad += call_hot(at, 0, 33);
	emit_return(base + 0x1100, 44);
	bad += call_hot(at, 0, 44);
	return bad;
}

static const struct {
	const char *name;
	test_fn *fn;
} tests[] = {
	{"a constant patched by every kind of store", patch_constant},
	{"a loop that changes itself in each round", patch_own_loop},
	{"a loop that changes itself when it is hot", patch_late},
	{"data and stack beside hot code", data_beside},
	{"functions generated one over the other", generate},
	{"one frame at two addresses", aliases},
	{"an instruction on two pages", two_pages},
	{"strings over code", string_over_code},
	{"the displacement of a jump", branch_target},
};

/* --- two CPUs --- */

static ulong shared_code;
static volatile u32 turn, patches, stop;
static volatile ulong cross_bad;

/* The writer changes the constant and says so; the runner serializes and must see the new one. */
static void patch_for_other(u32 cpu)
{
	u32 i;

	for (i = 1; i <= patches; i++) {
		while (turn != 2 * i - 1)
			cpu_relax();
		if (i & 1)
			*(volatile u32 *)(shared_code + 1) = i;
		else
			*(volatile u32 *)(shared_code + ALIAS + 1) = i;
		asm volatile("" : : : "memory");
		turn = 2 * i;
	}
}

static void test_handshake(void)
{
	u32 i;
	ulong bad = 0;

	emit_return(shared_code, 0);
	turn = 0;
	patches = 300;
	smp_run(1, patch_for_other);
	for (i = 1; i <= patches; i++) {
		bad += i % 10 ? call(shared_code, 0) != i - 1 : call_hot(shared_code, 0, i - 1);
		turn = 2 * i - 1;
		while (turn != 2 * i)
			cpu_relax();
		serialize();
	}
	bad += call_hot(shared_code, 0, patches);
	smp_wait(1, 10000);
	check_eq(bad, 0, "%s: code changed by another CPU, with a handshake", world->name);
}

/* Without one: the constant counts up, by aligned stores, while the other CPU runs it. */
static void run_until_stop(u32 cpu)
{
	ulong last = 0, now;

	while (!stop) {
		now = call(shared_code + 3, 0);
		if (now < last)
			cross_bad++;
		last = now;
		if (last >= patches)
			break;
	}
	/* The last one is seen in the end. */
	serialize();
	if (call(shared_code + 3, 0) != patches)
		cross_bad += 1000;
}

static void test_without_handshake(void)
{
	u32 i;

	emit_return(shared_code + 3, 0);
	stop = cross_bad = 0;
	patches = 3000;
	smp_run(1, run_until_stop);
	for (i = 1; i <= patches; i++) {
		*(volatile u32 *)(shared_code + 4) = i;
		if (i % 100 == 0)
			delay_ms(1);
	}
	delay_ms(50);
	stop = 1;
	check(smp_wait(1, 10000), "%s: the other CPU comes to an end", world->name);
	check_eq(cross_bad, 0, "%s: a constant counted up under a running CPU", world->name);
}

static void map_areas(void)
{
	u8 *frames = pages_alloc(PAGES);
	ulong at;

	for (at = 0; at < PAGES * 4096; at += 4096) {
		map_page(&boot_space, LOW_BASE + at, (ulong)frames + at, PTE_P | PTE_W | PTE_U);
		map_page(&boot_space, LOW_BASE + ALIAS + at, (ulong)frames + at,
			PTE_P | PTE_W | PTE_U);
		map_page(&boot_space, HIGH_BASE + at, (ulong)frames + at, PTE_P | PTE_W);
		map_page(&boot_space, HIGH_BASE + ALIAS + at, (ulong)frames + at, PTE_P | PTE_W);
	}
}

void guest_main(void)
{
	size_t i;

	heat = boot_option("heat", 600);
	map_areas();
	check(smp_start(2), "another CPU");
	noise_start(boot_option("noise", 50000));
	for (world = worlds; world < worlds + sizeof(worlds) / sizeof(worlds[0]); world++) {
		for (i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
			check_eq(world->user ? noise_user_call(tests[i].fn, world->base)
					     : tests[i].fn(world->base),
				0, "%s: %s", world->name, tests[i].name);
		shared_code = world->base + 0xf0;
		if (world->user)
			continue;
		test_handshake();
		test_without_handshake();
	}
	check(noise_stop() > 10, "interrupts came meanwhile");
}
