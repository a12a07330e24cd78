/*
 * Hot code that changes. smc.c asks the same of code that runs a few times; here every piece runs
 * often enough to be translated before it is changed, and again after: patched in place, generated
 * anew, changed through another address and by another CPU, with data and stack in its page, from
 * each half of the address space and in ring 3.
 *
 * A CPU sees its own stores at once where they were made by the address it runs at; those by
 * another address, and another CPU's, after a serializing instruction (SDM vol. 3A 9.1.3).
 *
 * On the command line: heat=N executions that make code hot; two=0 where there is one CPU only.
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
static bool two_cpus;

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

/* Functions that differ in a constant only, of every size and in many instructions. */
static const struct {
	u8 code[24];
	u8 size;     /* of the code */
	u8 constant; /* where it is */
	u8 bytes;    /* of the constant */
} forms[] = {
	{{0xb8, [5] = 0xc3}, 6, 1, 4},                          /* mov $c, %eax */
	{{0x48, 0xb8, [10] = 0xc3}, 11, 2, 8},                  /* mov $c, %rax */
	{{0x48, 0xc7, 0xc0, [7] = 0xc3}, 8, 3, 4},              /* the same, short */
	{{0xb9, [5] = 0x89, 0xc8, 0xc3}, 8, 1, 4},              /* mov $c, %ecx */
	{{0x41, 0xba, [6] = 0x44, 0x89, 0xd0, 0xc3}, 10, 2, 4}, /* mov $c, %r10d */
	{{0x69, 0xc7, [6] = 0xc3}, 7, 2, 4},                    /* imul $c, %edi, %eax */
	{{0x6b, 0xc7, [3] = 0xc3}, 4, 2, 1},                    /* the same, short */
	{{0x89, 0xf8, 0x25, [7] = 0xc3}, 8, 3, 4},              /* and $c, %eax */
	{{0x89, 0xf8, 0x0d, [7] = 0xc3}, 8, 3, 4},              /* or $c, %eax */
	{{0x89, 0xf8, 0x35, [7] = 0xc3}, 8, 3, 4},              /* xor $c, %eax */
	{{0x89, 0xf8, 0x66, 0x35, [6] = 0xc3}, 7, 4, 2},        /* xor $c, %ax */
	{{0x89, 0xf8, 0x34, [4] = 0xc3}, 5, 3, 1},              /* xor $c, %al */
	{{0x89, 0xf8, 0x05, [7] = 0xc3}, 8, 3, 4},              /* add $c, %eax */
	{{0x31, 0xc0, 0x81, 0xff, [8] = 0x0f, 0x94, 0xc0, 0xc3}, 12, 4, 4}, /* cmp, sete */
	{{0x31, 0xc0, 0xf7, 0xc7, [8] = 0x0f, 0x95, 0xc0, 0xc3}, 12, 4, 4}, /* test, setne */
	/* movl $c, 0f(%rip); mov 0f(%rip), %eax; ret; 0: */
	{{0xc7, 0x05, 7, [10] = 0x8b, 0x05, 1, 0, 0, 0, 0xc3}, 17, 6, 4},
	/* 1: mov $c, %eax; dec %edi; jns 1b; ret */
	{{0xb8, [5] = 0xff, 0xcf, 0x79, 0xf7, 0xc3}, 10, 1, 4},
};

static ulong form_result(size_t form, u32 edi, ulong c)
{
	switch (form) {
	case 1:
		return c;
	case 2:
		return (ulong)(long)(int)c;
	case 5:
		return edi * (u32)c;
	case 6:
		return edi * (u32)(signed char)c;
	case 7:
		return edi & (u32)c;
	case 8:
		return edi | (u32)c;
	case 9:
		return edi ^ (u32)c;
	case 10:
		return edi ^ (c & 0xffff);
	case 11:
		return edi ^ (c & 0xff);
	case 12:
		return edi + (u32)c;
	case 13:
		return edi == (u32)c;
	case 14:
		return (edi & (u32)c) != 0;
	default:
		return (u32)c;
	}
}

static ulong constants(ulong base)
{
	const u32 argument = 7;
	ulong bad = 0, c = 0x0123456789abcdeful;
	size_t form;
	u32 i, j;

	for (form = 0; form < sizeof(forms) / sizeof(forms[0]); form++) {
		ulong at = base + 0x900 + form * 32;

		copy(at, forms[form].code, forms[form].size);
		call_hot(at, argument, 0);
	}
	for (i = 0; i < 60; i++)
		for (form = 0; form < sizeof(forms) / sizeof(forms[0]); form++) {
			ulong at = base + 0x900 + form * 32;

			c = i % 5 == 4 ? argument : c * 0x5851f42d4c957f2d + form;
			copy(at + forms[form].constant, &c, forms[form].bytes);
			for (j = 0; j < 3; j++)
				bad += call(at, argument) != form_result(form, argument, c);
		}
	return bad;
}

/* Functions of a page that call each other, one of which becomes another: longer, shorter, as it
 * was. The others stay, and must find the new one. */
static ulong callers_stay(ulong base)
{
	/* xor eax, eax; mov edi, r8d; 1: call 40(start); call 60(start); dec r8d; jnz 1b; ret */
	static const u8 caller[] = {0x31, 0xc0, 0x41, 0x89, 0xf8, 0xe8, 0x36, 0, 0, 0, 0xe8, 0x51,
		0, 0, 0, 0x41, 0xff, 0xc8, 0x75, 0xf1, 0xc3};
	static const u8 bodies[][8] = {
		{0x83, 0xc0, 1, 0xc3},                /* add $1, %eax; ret */
		{0xff, 0xc0, 0xff, 0xc0, 0xc3},       /* inc %eax; inc %eax; ret */
		{0x90, 0x8d, 0x40, 3, 0xc3},          /* nop; lea 3(%rax), %eax; ret */
		{0xeb, 2, 0, 0, 0x83, 0xc0, 4, 0xc3}, /* jmp 1f; 1: add $4, %eax; ret */
	};
	static const u8 constant[] = {0x05, 0, 1, 0, 0, 0xc3}; /* add $256, %eax; ret */
	ulong at = base + 0xc00, bad = 0, rounds;
	u32 i;

	copy(at, caller, sizeof(caller));
	copy(at + 0x60, constant, sizeof(constant));
	for (i = 0; i < 300; i++) {
		/* Each is there for a while, and the same bytes are written again. */
		u32 body = i / 3 % 4;

		copy(at + 0x40, bodies[body], sizeof(bodies[0]));
		rounds = i % 50 ? 5 : heat;
		bad += call(at, rounds) != rounds * (256 + body + 1);
	}
	return bad;
}

/* Hot code that another takes the place of for long, in the same page, and that then comes back. */
static ulong comes_back(ulong base)
{
	ulong at = base + 0xd00, bad = 0;
	u32 i;

	emit_return(at, 1);
	bad += call_hot(at, 0, 1);
	for (i = 0; i < 600; i++) {
		emit_return(at + 16 + i % 7 * 8, i);
		bad += call(at + 16 + i % 7 * 8, 0) != i;
	}
	bad += call_hot(at, 0, 1);
	emit_return(at, 2);
	bad += call_hot(at, 0, 2);
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
	{"constants of many instructions", constants},
	{"a function changes, its callers stay", callers_stay},
	{"hot code whose page changes for long", comes_back},
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

/* The other CPU stores to the code that runs here, but the bytes it has already: the code is in
 * doubt again and again, in the middle of its accesses to memory, and stays the same. */
static void store_same_bytes(u32 cpu)
{
	volatile u8 *code = (u8 *)shared_code;
	u32 i;

	for (i = 0; !stop; i++) {
		code[i % 16] = code[i % 16];
		if (i % 8 == 0)
			cpu_relax();
	}
}

static void test_stores_of_same_bytes(void)
{
	/* xor eax, eax; mov $64, ecx; 1: add (rdi), eax; add $0x1040, rdi; dec ecx; jnz 1b; ret */
	static const u8 code[] = {0x31, 0xc0, 0xb9, 64, 0, 0, 0, 0x03, 0x07, 0x48, 0x81, 0xc7, 0x40,
		0x10, 0, 0, 0xff, 0xc9, 0x75, 0xf3, 0xc3};
	static u8 *numbers;
	ulong bad = 0, i;

	if (!numbers) {
		numbers = pages_alloc(66);
		for (i = 0; i < 64; i++)
			*(u32 *)(numbers + i * 0x1040) = i;
	}
	copy(shared_code, code, sizeof(code));
	stop = 0;
	smp_run(1, store_same_bytes);
	for (i = 0; i < 2000; i++) {
		if (i % 4 == 0)
			write_cr3(read_cr3());
		bad += call(shared_code, (ulong)numbers) != 63 * 64 / 2;
	}
	stop = 1;
	check(smp_wait(1, 10000), "%s: the storing CPU comes to an end", world->name);
	check_eq(bad, 0, "%s: another CPU stores the same bytes to running code", world->name);
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
	two_cpus = boot_option("two", 1);
	if (two_cpus)
		check(smp_start(2), "another CPU");
	noise_start(boot_option("noise", 50000));
	for (world = worlds; world < worlds + sizeof(worlds) / sizeof(worlds[0]); world++) {
		for (i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
			check_eq(world->user ? noise_user_call(tests[i].fn, world->base)
					     : tests[i].fn(world->base),
				0, "%s: %s", world->name, tests[i].name);
		shared_code = world->base + 0xf0;
		if (world->user || !two_cpus)
			continue;
		test_handshake();
		test_without_handshake();
		test_stores_of_same_bytes();
	}
	check(noise_stop() > 10, "interrupts came meanwhile");
}
