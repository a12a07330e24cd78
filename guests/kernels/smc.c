/*
 * Code that changes: written by the CPU that runs it, through another address, by every kind of
 * store, or exchanged under it by the page tables. A CPU sees its own stores to code at once, if
 * it made them by the address it runs at; by another address, after a serializing instruction
 * (SDM vol. 3A 9.1.3 and 12.6).
 */
#include "paging.h"

#define CODE_VA  TEST_VA
#define ALIAS_VA (TEST_VA + 0x100000)
#define OTHER_VA (TEST_VA + 0x200000)

static u8 *frame, *frame2, *frame3;

static void serialize(void)
{
	cpuid(0, 0);
}

static ulong call(ulong address)
{
	return ((ulong(*)(void))address)();
}

/* mov $value, %eax; ret */
static int emit_return(u8 *to, u32 value)
{
	to[0] = 0xb8;
	memcpy(to + 1, &value, 4);
	to[5] = 0xc3;
	return 6;
}

/* The next instruction, and one a few bytes on, changed by a store just before. */
static void test_next_instruction(void)
{
	/* mov %edi, 0f+1(%rip); 0: mov $1, %eax; ret */
	static const u8 next[] = {0x89, 0x3d, 1, 0, 0, 0, 0xb8, 1, 0, 0, 0, 0xc3};
	/* The same with a jump in between. */
	static const u8 jump[] = {0x89, 0x3d, 3, 0, 0, 0, 0xeb, 0, 0xb8, 1, 0, 0, 0, 0xc3};
	/* The opcode changes: movb %dil, 0f(%rip); 0: nop; inc %eax; ... */
	static const u8 opcode[] = {
		0xb8, 5, 0, 0, 0, 0x40, 0x88, 0x3d, 1, 0, 0, 0, 0x90, 0x90, 0xff, 0xc0, 0xc3};
	ulong (*code)(ulong) = (ulong(*)(ulong))CODE_VA;
	bool ok = true;
	ulong i;

	memcpy((void *)CODE_VA, next, sizeof(next));
	for (i = 100; i < 300; i++)
		ok = ok && code(i) == i;
	check(ok, "a store to the next instruction");
	memcpy((void *)CODE_VA, jump, sizeof(jump));
	for (i = 100; i < 300; i++)
		ok = ok && code(i) == i;
	check(ok, "a store to code behind a jump");
	/* The second nop becomes a ret, and then a nop again. */
	memcpy((void *)CODE_VA, opcode, sizeof(opcode));
	for (i = 0; i < 100; i++) {
		ok = ok && code(0xc3) == 5;
		ok = ok && code(0x90) == 6;
	}
	check(ok, "a store that turns nop into ret and back");
}

/* REP STOS and REP MOVS run over the code that follows them. */
static void test_string_over_code(void)
{
	/* mov $0x90, %al; mov $8, %ecx; lea 0f(%rip), %rdi; rep stosb; 0: 4 times inc %edx; mov
	 * %edx, %eax; ret */
	static const u8 stos[] = {0x31, 0xd2, 0xb0, 0x90, 0xb9, 8, 0, 0, 0, 0x48, 0x8d, 0x3d, 2, 0,
		0, 0, 0xf3, 0xaa, 0xff, 0xc2, 0xff, 0xc2, 0xff, 0xc2, 0xff, 0xc2, 0x89, 0xd0, 0xc3};
	bool ok = true;
	int i;

	for (i = 0; i < 50; i++) {
		memcpy((void *)CODE_VA, stos, sizeof(stos));
		ok = ok && call(CODE_VA) == 0;
	}
	check(ok, "rep stosb over the instructions behind it");
}

/* An instruction on two pages, each half changed in turn. */
static void test_page_crossing(void)
{
	u8 *start = (u8 *)CODE_VA + 4096 - 3;
	u32 value;
	bool ok = true;
	int i;

	emit_return(start, 0x11223344);
	ok = call((ulong)start) == 0x11223344;
	for (i = 0; i < 100; i++) {
		start[4] = i; /* in the second page */
		memcpy(&value, start + 1, 4);
		ok = ok && call((ulong)start) == value;
		start[1] = i + 7; /* in the first */
		memcpy(&value, start + 1, 4);
		ok = ok && call((ulong)start) == value;
	}
	check(ok, "an instruction on two pages");
	*(u32 *)(start + 1) = 0xaabbccdd;
	check_eq(call((ulong)start), 0xaabbccdd, "a store across the pages of an instruction");
	/* Only the second page is exchanged, by the page table. */
	memcpy(frame3, frame2, 4096);
	frame3[1] ^= 0xff;
	map_page(&boot_space, CODE_VA + 0x1000, (ulong)frame3, PTE_P | PTE_W);
	check_eq(call((ulong)start), 0x55bbccdd, "the second page of an instruction remapped");
	map_page(&boot_space, CODE_VA + 0x1000, (ulong)frame2, PTE_P | PTE_W);
	check_eq(call((ulong)start), 0xaabbccdd, "the second page of an instruction mapped back");
}

/*
 * Every kind of store must drop what was known of the code. Each changes some of the 4 bytes at P,
 * which is aligned to 16, and may change what is around them.
 */
#define STORE(name, ...)                                                                           \
	static void store_##name(u8 *p, ulong v)                                                   \
	{                                                                                          \
		asm volatile(__VA_ARGS__);                                                         \
	}
#define P_V : : "r"(p), "r"(v) : "memory", "cc"

STORE(mov1, "movb %b1, (%0)" P_V)
STORE(mov2, "movw %w1, (%0)" P_V)
STORE(mov4, "movl %k1, (%0)" P_V)
STORE(mov8, "movq (%0), %%rax; shr $32, %%rax; shl $32, %%rax; or %1, %%rax; movq %%rax, (%0)"
	:
	: "r"(p), "r"(v)
	: "rax", "memory", "cc")
STORE(unaligned, "movl 1(%0), %%eax; inc %%eax; movl %%eax, 1(%0)"
	:
	: "r"(p), "r"(v)
	: "rax", "memory", "cc")
STORE(add, "addl %k1, (%0)" P_V)
STORE(inc, "incb 1(%0)" P_V)
STORE(not, "notl (%0)" P_V)
STORE(shl, "shll $3, (%0)" P_V)
STORE(setcc, "test %0, %0; setnz 2(%0)" P_V)
STORE(btc, "btcl $5, (%0)" P_V)
STORE(xchg, "xchg %k1, (%0)" : "+r"(p), "+r"(v) : : "memory", "cc")
STORE(xadd, "lock xadd %k1, (%0)" : "+r"(p), "+r"(v) : : "memory", "cc")
STORE(lock_or, "lock orl %k1, 1(%0)" P_V)
STORE(cmpxchg, "movl (%0), %%eax; lock cmpxchg %k1, (%0)"
	:
	: "r"(p), "r"(v)
	: "rax", "memory", "cc")
STORE(cmpxchg8b,
	"mov %1, %%rbx; movl (%0), %%eax; movl 4(%0), %%edx; movl %%edx, %%ecx; cmpxchg8b (%0)"
	:
	: "D"(p), "S"(v)
	: "rax", "rbx", "rcx", "rdx", "memory", "cc")
STORE(cmpxchg16b, "movq (%0), %%rax; movq 8(%0), %%rdx; movq %%rax, %%rbx; movq %%rdx, %%rcx; "
		  "xor %1, %%rbx; lock cmpxchg16b (%0)"
	:
	: "D"(p), "S"(v)
	: "rax", "rbx", "rcx", "rdx", "memory", "cc")
STORE(movnti, "movnti %k1, (%0); sfence" P_V)
STORE(movd, "movd %k1, %%xmm0; movd %%xmm0, (%0)" P_V)
STORE(movups,
	"movups (%0), %%xmm0; movd %k1, %%xmm1; movss %%xmm1, %%xmm0; movups %%xmm0, (%0)" P_V)
STORE(movaps_before, "movaps -16(%0), %%xmm0; movaps %%xmm0, -16(%0); movb %b1, 3(%0)" P_V)
STORE(push, "mov %%rsp, %%rcx; lea 4(%0), %%rsp; mov -4(%0), %%eax; shl $32, %1; or %%rax, %1; "
	    "push %1; mov %%rcx, %%rsp"
	: "+r"(p), "+r"(v)
	:
	: "rax", "rcx", "memory", "cc")
STORE(stos, "stosl" : "+D"(p), "+a"(v) : : "memory")
STORE(rep_stos, "mov $4, %%ecx; rep stosb" : "+D"(p), "+a"(v) : : "rcx", "memory")
STORE(rep_movs, "push %1; mov %%rsp, %%rsi; mov $4, %%ecx; rep movsb; pop %1"
	: "+D"(p), "+a"(v)
	:
	: "rcx", "rsi", "memory")
STORE(fnstcw, "fninit; fnstcw 1(%0)" P_V)
STORE(fstps, "fninit; fld1; fstps (%0)" P_V)
STORE(stmxcsr, "stmxcsr (%0)" P_V)
STORE(fxsave, "fninit; movd %k1, %%xmm0; fxsave -160(%0)" P_V)
STORE(sidt, "sidt -2(%0); movb $0xc3, 5(%0)" P_V)
STORE(pop, "push %1; movq 4(%0), %%rax; popq (%0); movl %%eax, 4(%0)"
	:
	: "r"(p), "r"(v)
	: "rax", "memory", "cc")
STORE(maskmov, "pcmpeqd %%xmm1, %%xmm1; psrldq $12, %%xmm1; movd %k1, %%xmm0; mov %0, %%rdi; "
	       "maskmovdqu %%xmm1, %%xmm0; sfence"
	:
	: "r"(p), "r"(v)
	: "rdi", "memory", "cc")

static const struct {
	const char *name;
	void (*store)(u8 *p, ulong v);
} stores[] = {
#define ROW(name)                                                                                  \
	{                                                                                          \
#name, store_##name                                                                \
	}
	ROW(mov1),
	ROW(mov2),
	ROW(mov4),
	ROW(mov8),
	ROW(unaligned),
	ROW(add),
	ROW(inc),
	ROW(not ),
	ROW(shl),
	ROW(setcc),
	ROW(btc),
	ROW(xchg),
	ROW(xadd),
	ROW(lock_or),
	ROW(cmpxchg),
	ROW(cmpxchg8b),
	ROW(cmpxchg16b),
	ROW(movnti),
	ROW(movd),
	ROW(movups),
	ROW(movaps_before),
	ROW(push),
	ROW(stos),
	ROW(rep_stos),
	ROW(rep_movs),
	ROW(fnstcw),
	ROW(fstps),
	ROW(stmxcsr),
	ROW(fxsave),
	ROW(sidt),
	ROW(pop),
	ROW(maskmov),
};

static void test_stores(void)
{
	/* The immediate is at a multiple of 16, with room for FXSAVE before it. */
	u8 *const code = (u8 *)CODE_VA + 0x400 - 1;
	u8 *const p = code + 1;
	size_t i;
	int round;

	for (i = 0; i < sizeof(stores) / sizeof(stores[0]); i++) {
		bool ok = true;

		for (round = 0; round < 20; round++) {
			u32 old = 0x01020304 + round * 0x11111111u;
			u32 want;

			emit_return(code, old);
			ok = ok && call((ulong)code) == old;
			stores[i].store(p, 0x6a5b4c3d + round);
			memcpy(&want, p, 4);
			ok = ok && want != old;
			code[0] = 0xb8; /* FXSAVE writes all around */
			code[5] = 0xc3;
			ok = ok && call((ulong)code) == want;
		}
		check(ok, "store to code by %s", stores[i].name);
	}
}

/*
 * What was no instruction becomes one, though the bytes it begins with stay the same: a CPU that
 * remembers the #UD has to remember all the bytes that made it one.
 */
static void test_undefined(void)
{
	u8 *code = (u8 *)CODE_VA + 0x200;
	bool ok = true;
	int i;

	for (i = 0; i < 20; i++) {
		memcpy(code, "\x0f\x20\xe8\xc3", 4); /* mov from cr5 */
		try_code(code, 0, 0);
		ok = ok && trap.vector == UD_VECTOR;
		code[2] = 0xd8; /* mov from cr3 */
		try_code(code, 0, 0);
		ok = ok && trap.vector == NO_TRAP;
		memcpy(code, "\x66\xf0\x89\xc0\xc3", 5); /* lock mov */
		try_code(code, 0, 0);
		ok = ok && trap.vector == UD_VECTOR;
		code[1] = 0x66;
		try_code(code, 0, 0);
		ok = ok && trap.vector == NO_TRAP;
	}
	check(ok, "undefined instructions become defined");
	/* The byte that decides is on the next page. */
	ok = true;
	code = (u8 *)CODE_VA + 4096 - 2;
	for (i = 0; i < 20; i++) {
		memcpy(code, "\x0f\x20\xe8\xc3", 4);
		try_code(code, 0, 0);
		ok = ok && trap.vector == UD_VECTOR;
		code[2] = 0xd8;
		try_code(code, 0, 0);
		ok = ok && trap.vector == NO_TRAP;
	}
	check(ok, "the same over a page border");
	/* Too long an instruction loses a prefix. */
	ok = true;
	code = (u8 *)CODE_VA + 0x200;
	for (i = 0; i < 20; i++) {
		memset(code, 0x66, 15);
		code[15] = 0x90;
		code[16] = 0xc3;
		try_code(code, 0, 0);
		ok = ok && trap.vector == GP_VECTOR;
		code[14] = 0x90;
		try_code(code, 0, 0);
		ok = ok && trap.vector == NO_TRAP;
	}
	check(ok, "an instruction too long gets shorter");
}

/* Two addresses of one page. */
static void test_aliases(void)
{
	/* lea 0(%rip), %rax; ret */
	static const u8 where[] = {0x48, 0x8d, 0x05, 0, 0, 0, 0, 0xc3};
	bool ok = true;
	int i;

	map_page(&boot_space, ALIAS_VA, (ulong)frame, PTE_P | PTE_W);
	for (i = 0; i < 100; i++) {
		emit_return((u8 *)ALIAS_VA, i);
		serialize();
		ok = ok && call(CODE_VA) == (ulong)i;
		emit_return((u8 *)CODE_VA, i + 1000);
		serialize();
		ok = ok && call(ALIAS_VA) == (ulong)i + 1000;
		emit_return(frame, i + 2000);
		serialize();
		ok = ok && call(ALIAS_VA) == (ulong)i + 2000 && call(CODE_VA) == (ulong)i + 2000;
	}
	check(ok, "code written by another address");
	memcpy(frame, where, sizeof(where));
	serialize();
	ok = call(CODE_VA) == CODE_VA + 7 && call(ALIAS_VA) == ALIAS_VA + 7 &&
	     call(CODE_VA) == CODE_VA + 7 && call((ulong)frame) == (ulong)frame + 7;
	check(ok, "code at two addresses knows where it runs");
	map_page(&boot_space, ALIAS_VA, 0, 0);
}

/* One address, and the page tables give it one frame after the other. */
static void test_remapping(void)
{
	struct address_space other;
	ulong boot_root = read_cr3();
	bool ok = true;
	int i;

	emit_return(frame + 64, 1);
	emit_return(frame3 + 64, 2);
	for (i = 0; i < 50; i++) {
		map_page(&boot_space, OTHER_VA, (ulong)frame, PTE_P | PTE_W);
		ok = ok && call(OTHER_VA + 64) == 1;
		map_page(&boot_space, OTHER_VA, (ulong)frame3, PTE_P | PTE_W);
		ok = ok && call(OTHER_VA + 64) == 2;
	}
	check(ok, "one address, two frames, INVLPG");

	space_init(&other, 4, PTE_W);
	pte_set(&other, OTHER_VA, 1, (ulong)frame | PTE_P | PTE_W);
	for (i = 0; i < 50; i++) {
		write_cr3((ulong)other.root);
		ok = ok && call(OTHER_VA + 64) == 1;
		write_cr3(boot_root);
		ok = ok && call(OTHER_VA + 64) == 2;
	}
	check(ok, "one address, two frames, two address spaces");

	/* A direct jump into a page that is exchanged: jmp rel32 to OTHER_VA + 64. */
	frame[128] = 0xe9;
	*(u32 *)(frame + 129) = OTHER_VA + 64 - (CODE_VA + 128 + 5);
	for (i = 0; i < 50; i++) {
		map_page(&boot_space, OTHER_VA, (ulong)frame, PTE_P | PTE_W);
		ok = ok && call(CODE_VA + 128) == 1;
		map_page(&boot_space, OTHER_VA, (ulong)frame3, PTE_P | PTE_W);
		ok = ok && call(CODE_VA + 128) == 2;
	}
	check(ok, "a direct jump into a page that is exchanged");

	map_page(&boot_space, OTHER_VA, 0, 0);
	trap_at = OTHER_VA + 64;
	try_code((void *)(OTHER_VA + 64), 0, 0);
	check_pf(0, OTHER_VA + 64, "code whose page is gone");
	try_code((void *)(CODE_VA + 128), OTHER_VA + 64 - (CODE_VA + 128), 0);
	check_pf(0, OTHER_VA + 64, "a direct jump to code whose page is gone");
	if (cpu_has(FEATURE_NX)) {
		wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_NXE);
		map_page(&boot_space, OTHER_VA, (ulong)frame, PTE_P | PTE_W);
		check_eq(call(OTHER_VA + 64), 1, "code whose page is back");
		map_page(&boot_space, OTHER_VA, (ulong)frame, PTE_P | PTE_W | PTE_NX);
		try_code((void *)(OTHER_VA + 64), 0, 0);
		check_pf(PF_P | PF_I, OTHER_VA + 64, "code whose page became NX");
		wrmsr(MSR_EFER, rdmsr(MSR_EFER) & ~(u64)EFER_NXE);
	}
}

/* The same bytes at the same address in two modes. */
static void test_two_modes(void)
{
	/* 64-bit: mov $5, %eax; dec %rax; ret. 32-bit: mov $5, %eax; dec %eax; dec %eax; ret. */
	static const u8 code[] = {0xb8, 5, 0, 0, 0, 0x48, 0xff, 0xc8, 0xc3};
	bool ok = true;
	int i;

	memcpy(frame, code, sizeof(code));
	for (i = 0; i < 20; i++) {
		ok = ok && call((ulong)frame) == 4;
		ok = ok && compat_call((void (*)(void))frame, SEL_DATA) == 3;
	}
	check(ok, "the same bytes in 64-bit and in compatibility mode");
}

/* A page that is data and code at once, as in a just-in-time compiler. */
static void test_code_beside_data(void)
{
	volatile u64 *data = (u64 *)(CODE_VA + 0x800);
	u64 sum = 0;
	ulong i;

	emit_return((u8 *)CODE_VA, 3);
	for (i = 0; i < 5000; i++) {
		data[i % 16] = i;
		sum += call(CODE_VA) + data[i % 16];
	}
	check_eq(sum, 5000 * 3 + 5000ull * 4999 / 2, "stores to the page of the code that runs");

	/* Functions of growing length, all at one place. */
	sum = 0;
	for (i = 0; i < 300; i++) {
		u8 *p = (u8 *)CODE_VA;
		ulong j;

		*p++ = 0x31; /* xor %eax, %eax */
		*p++ = 0xc0;
		for (j = 0; j < i; j++) {
			*p++ = 0xff; /* inc %eax */
			*p++ = 0xc0;
		}
		*p++ = 0xc3;
		sum += call(CODE_VA);
	}
	check_eq(sum, 300 * 299 / 2, "functions generated one over the other");
}

void guest_main(void)
{
	frame = page_alloc();
	frame2 = page_alloc();
	frame3 = page_alloc();
	map_page(&boot_space, CODE_VA, (ulong)frame, PTE_P | PTE_W);
	map_page(&boot_space, CODE_VA + 0x1000, (ulong)frame2, PTE_P | PTE_W);
	test_next_instruction();
	test_string_over_code();
	test_page_crossing();
	test_stores();
	test_undefined();
	test_aliases();
	test_remapping();
	test_two_modes();
	test_code_beside_data();
}
