/*
 * String instructions against a model in C: every operation, element size, direction, repeat prefix
 * and address size, over a page border and with source and destination that overlap.
 * Built for 64-bit and for 32-bit mode.
 */
#include "paging.h"

enum op { MOVS, STOS, LODS, CMPS, SCAS, OPS };
enum repeat { NONE, REP, REPNE };

static const char *const op_names[] = {"movs", "stos", "lods", "cmps", "scas"};
static const u8 opcodes[] = {0xa4, 0xaa, 0xac, 0xa6, 0xae};

struct regs {
	ulong ax, cx, si, di, flags;
};

#define MAX_SIZE ((int)sizeof(ulong))

/* The tested memory is low enough for 16-bit addresses, and has a page border in its middle. */
#define REGION      0x5e00ul
#define REGION_SIZE 0x400ul
#define MIDDLE      (REGION + REGION_SIZE / 2)
static u8 expected[REGION_SIZE], initial[REGION_SIZE];

#define STATUS_FLAGS (FLAG_CF | FLAG_PF | 0x10 | FLAG_ZF | FLAG_SF | FLAG_OF)

struct variant {
	enum op op;
	enum repeat repeat;
	int size;
	bool down, short_addresses;
};

/* The bits of a register that addresses and counts use. */
static ulong address_mask(const struct variant *v)
{
#ifdef __x86_64__
	return v->short_addresses ? 0xffffffff : ~0ul;
#else
	return v->short_addresses ? 0xffff : ~0ul;
#endif
}

static ulong size_mask(int size)
{
	return size == (int)sizeof(ulong) ? ~0ul : (1ul << size * 8) - 1;
}

static ulong load(const struct variant *v, ulong address)
{
	ulong value = 0;

	memcpy(&value, expected + ((address & address_mask(v)) - REGION), v->size);
	return value;
}

/* Flags of A - B. */
static ulong compare_flags(ulong a, ulong b, int size)
{
	ulong r = (a - b) & size_mask(size);
	ulong sign = 1ul << (size * 8 - 1);
	ulong flags = 0;
	u8 parity = r;

	parity ^= parity >> 4;
	parity ^= parity >> 2;
	parity ^= parity >> 1;
	flags |= a < b ? FLAG_CF : 0;
	flags |= parity & 1 ? 0 : FLAG_PF;
	flags |= (a ^ b ^ r) & 0x10;
	flags |= r ? 0 : FLAG_ZF;
	flags |= r & sign ? FLAG_SF : 0;
	flags |= (a ^ b) & (a ^ r) & sign ? FLAG_OF : 0;
	return flags;
}

static ulong advance(const struct variant *v, ulong value, long by)
{
	ulong mask = address_mask(v);

#ifdef __x86_64__
	/* A 32-bit result clears the high half. */
	return (value + by) & mask;
#else
	return (value & ~mask) | ((value + by) & mask);
#endif
}

static void model(const struct variant *v, struct regs *r)
{
	long step = v->down ? -v->size : v->size;
	ulong a, b;

	while (v->repeat == NONE || (r->cx & address_mask(v))) {
		switch (v->op) {
		case MOVS:
			a = load(v, r->si);
			memcpy(expected + ((r->di & address_mask(v)) - REGION), &a, v->size);
			break;
		case STOS:
			memcpy(expected + ((r->di & address_mask(v)) - REGION), &r->ax, v->size);
			break;
		case LODS:
			a = load(v, r->si);
			if (v->size == 4)
				r->ax = a;
			else
				r->ax = (r->ax & ~size_mask(v->size)) | a;
			break;
		case CMPS:
			a = load(v, r->si);
			b = load(v, r->di);
			r->flags = compare_flags(a, b, v->size);
			break;
		default:
			a = r->ax & size_mask(v->size);
			b = load(v, r->di);
			r->flags = compare_flags(a, b, v->size);
		}
		if (v->op == MOVS || v->op == LODS || v->op == CMPS)
			r->si = advance(v, r->si, step);
		if (v->op != LODS)
			r->di = advance(v, r->di, step);
		if (v->repeat == NONE)
			break;
		r->cx = advance(v, r->cx, -1);
		if ((v->op == CMPS || v->op == SCAS) &&
			!!(r->flags & FLAG_ZF) != (v->repeat == REP))
			break;
	}
}

static u8 code[16] __attribute__((aligned(16)));

static void emit(const struct variant *v)
{
	u8 *p = code;

	*p++ = 0xfc | v->down; /* cld or std */
	if (v->short_addresses)
		*p++ = 0x67;
	if (v->repeat)
		*p++ = v->repeat == REP ? 0xf3 : 0xf2;
	if (v->size == 2)
		*p++ = 0x66;
	if (v->size == 8)
		*p++ = 0x48;
	*p++ = opcodes[v->op] | (v->size > 1);
	*p++ = 0xfc;
	*p++ = 0xc3;
}

static void run(struct regs *r)
{
	asm volatile("push %4; popf; call *%5; pushf; pop %4"
		     : "+a"(r->ax), "+c"(r->cx), "+S"(r->si), "+D"(r->di), "+b"(r->flags)
		     : "d"(code)
		     : "memory", "cc");
}

static u32 wrong, tried;

static void try_one(const struct variant *v, ulong count, ulong si, ulong di)
{
	struct regs want = {.ax = 0x8877665544332211ull & ~0ul, .cx = count, .si = si, .di = di};
	struct regs got;
	bool same;

	memcpy((void *)REGION, initial, REGION_SIZE);
	memcpy(expected, initial, REGION_SIZE);
	/* Let comparisons end early here and there: AX is a byte that occurs. */
	if (v->op == SCAS)
		memset(&want.ax, 0x41, sizeof(want.ax));
	want.flags = FLAG_CF | FLAG_ZF;
	got = want;
	model(v, &want);
	run(&got);
	got.flags &= STATUS_FLAGS;
	tried++;
	same = !memcmp((void *)REGION, expected, REGION_SIZE);
	if (same && got.ax == want.ax && got.cx == want.cx && got.si == want.si &&
		got.di == want.di && got.flags == want.flags)
		return;
	if (wrong++ < 3)
		print("FAIL %s size %d repeat %d down %d short %d count %lx: memory %s, got ax %lx "
		      "cx "
		      "%lx si %lx di %lx flags %lx want %lx %lx %lx %lx %lx\n",
			op_names[v->op], v->size, v->repeat, v->down, v->short_addresses, count,
			same ? "right" : "wrong", got.ax, got.cx, got.si, got.di, got.flags,
			want.ax, want.cx, want.si, want.di, want.flags);
}

static void try_variant(const struct variant *v)
{
	static const u8 counts[] = {0, 1, 2, 7, 33};
	static const short places[][2] = {
		{-64, 64}, {-3, 40}, {64, -5}, {1, 2}, {2, 1}, {-17, -16}, {5, -3}};
	size_t i, j;

	emit(v);
	for (i = 0; i < sizeof(counts); i++)
		for (j = 0; j < sizeof(places) / sizeof(places[0]); j++)
			try_one(v, counts[i], MIDDLE + places[j][0], MIDDLE + places[j][1]);
}

static void test_all(void)
{
	struct variant v;
	int repeat, op;
	ulong i;

	/* Runs of equal bytes, so that REPE and REPNE both have some way to go. */
	for (i = 0; i < REGION_SIZE; i++)
		initial[i] = i % 29 == 0 ? 0x41 : i / 64 % 2 ? 0x42 : i * 7;
	for (op = 0; op < OPS; op++) {
		for (v.size = 1; v.size <= MAX_SIZE; v.size *= 2) {
			wrong = tried = 0;
			v.op = op;
			for (repeat = NONE; repeat <= REPNE; repeat++) {
				v.repeat = repeat;
				for (i = 0; i < 4; i++) {
					v.down = i & 1;
					v.short_addresses = i & 2;
					try_variant(&v);
				}
			}
			check(wrong == 0, "%s of %d: %u runs", op_names[op], v.size, tried);
		}
	}
}

static void run_bytes(const u8 *bytes, int length, struct regs *r)
{
	memcpy(code, bytes, length);
	code[length] = 0xfc;
	code[length + 1] = 0xc3;
	run(r);
}

static void test_prefixes(void)
{
	struct regs r;
	u8 *low = (u8 *)REGION;

	/* Of F2 and F3 the last one counts: repne scasb stops at a match. */
	memset(low, 1, 16);
	low[5] = 2;
	r = (struct regs){.ax = 2, .cx = 10, .di = REGION};
	run_bytes((const u8[]){0xf3, 0xf2, 0xae}, 3, &r);
	check_eq(r.cx, 4, "F3 F2 scasb is repne");
	r = (struct regs){.ax = 2, .cx = 10, .di = REGION};
	run_bytes((const u8[]){0xf2, 0xf3, 0xae}, 3, &r);
	check_eq(r.cx, 9, "F2 F3 scasb is repe");
	r = (struct regs){.ax = 7, .cx = 10, .di = REGION};
	run_bytes((const u8[]){0xf2, 0xaa}, 2, &r);
	check(r.cx == 0 && low[9] == 7 && low[10] == 1, "F2 stosb repeats");
	/* On other instructions they do nothing. */
	r = (struct regs){.ax = 7, .cx = 10};
	run_bytes((const u8[]){0xf3, 0x01, 0xc8}, 3, &r);
	check(r.cx == 10 && r.ax == 17, "F3 add");
	/* A segment override moves the source only. */
	low[0] = 0x11;
	low[0x20] = 0x22;
#ifdef __x86_64__
	wrmsr(0xc0000100, 0x20);
#else
	gdt_set(SEL_TEST, 0x20, 0xfffff, 0xc093);
	asm volatile("mov %0, %%fs" : : "r"(SEL_TEST));
#endif
	r = (struct regs){.cx = 1, .si = REGION, .di = REGION + 0x100};
	run_bytes((const u8[]){0x64, 0xa4}, 2, &r);
	check(low[0x100] == 0x22, "fs: movsb");
	r = (struct regs){.cx = 1, .si = REGION};
	run_bytes((const u8[]){0x64, 0xac}, 2, &r);
	check_eq(r.ax & 0xff, 0x22, "fs: lodsb");
	low[0x100] = low[0x120] = 0;
	r = (struct regs){.ax = 0x33, .di = REGION + 0x100};
	run_bytes((const u8[]){0x64, 0xaa}, 2, &r);
	check(low[0x100] == 0x33 && low[0x120] == 0, "fs: stosb ignores the override");
#ifndef __x86_64__
	asm volatile("mov %0, %%fs" : : "r"(0));
	/* 16-bit addresses wrap. */
	memset((void *)0xfff0, 0, 16);
	memset((void *)0x10000, 0, 16);
	r = (struct regs){.ax = 0x55, .cx = 0x70004, .di = 0x5fffe};
	run_bytes((const u8[]){0x67, 0xf3, 0xaa}, 3, &r);
	check(*(u8 *)0xffff == 0x55 && *(u8 *)0x10000 == 0, "16-bit addresses wrap: memory");
	check(r.cx == 0x70000 && r.di == 0x50002, "16-bit addresses wrap: registers");
#else
	wrmsr(0xc0000100, 0);
	r = (struct regs){.ax = 0x55, .cx = 0x700000004, .di = 0x500000000 + REGION};
	run_bytes((const u8[]){0x67, 0xf3, 0xaa}, 3, &r);
	check(r.cx == 0 && r.di == REGION + 4 && low[3] == 0x55 && low[4] != 0x55,
		"32-bit addresses in 64-bit mode");
#endif
}

/* INS and OUTS through port 0x80, and a read of the PIC's mask that can be foreseen. */
static void test_ports(void)
{
	struct regs r;
	u8 *low = (u8 *)REGION;

	outb(0x21, 0xa5);
	memset(low, 0, 32);
	r = (struct regs){.cx = 5, .di = REGION};
	asm volatile("rep insb" : "+c"(r.cx), "+D"(r.di) : "d"(0x21) : "memory");
	check(r.cx == 0 && r.di == REGION + 5 && low[0] == 0xa5 && low[4] == 0xa5 && low[5] == 0,
		"rep insb");
	low[0] = 0x5a;
	low[1] = 0x3c;
	r = (struct regs){.cx = 2, .si = REGION};
	asm volatile("rep outsb" : "+c"(r.cx), "+S"(r.si) : "d"(0x21) : "memory");
	check(r.cx == 0 && r.si == REGION + 2 && inb(0x21) == 0x3c, "rep outsb");
	r = (struct regs){.cx = 2, .si = REGION + 1};
	asm volatile("std; rep outsb; cld" : "+c"(r.cx), "+S"(r.si) : "d"(0x21) : "memory");
	check(r.si == REGION - 1 && inb(0x21) == 0x5a, "rep outsb downwards");
	r = (struct regs){.cx = 3, .di = TEST_VA - 2};
	map_page(&boot_space, TEST_VA, 0, 0);
	map_page(&boot_space, TEST_VA - 0x1000, (ulong)page_alloc(), PTE_P | PTE_W);
	try_asm("rep insb", : "+c"(r.cx), "+D"(r.di) : "d"(0x21) : "memory");
	check_pf(PF_W, TEST_VA, "rep insb into a hole");
	check(r.cx == 1 && r.di == TEST_VA, "rep insb into a hole: registers");
	outb(0x21, 0xff);
}

/* Downwards into a page that is not there: what lies above it is done, and the element that faults
 * is the one in the registers, wherever in the page a run of them would end. */
static void test_holes_below(void)
{
	u32 *top = (u32 *)TEST_VA, source[5] = {1, 2, 3, 4, 5};
	struct regs r;

	map_page(&boot_space, TEST_VA - 0x1000, 0, 0);
	map_page(&boot_space, TEST_VA, (ulong)page_alloc(), PTE_P | PTE_W);
	r = (struct regs){.ax = 7, .cx = 5, .di = TEST_VA + 8};
	asm volatile("std");
	try_asm("rep stosl", : "+c"(r.cx), "+D"(r.di) : "a"(r.ax) : "memory");
	asm volatile("cld");
	check_pf(PF_W, TEST_VA - 4, "rep stosl downwards into a hole");
	check(r.cx == 2 && r.di == TEST_VA - 4 && top[0] == 7 && top[2] == 7,
		"rep stosl downwards into a hole: what was done");
	r = (struct regs){.cx = 5, .si = (ulong)(source + 4), .di = TEST_VA + 8};
	asm volatile("std");
	try_asm("rep movsl", : "+c"(r.cx), "+S"(r.si), "+D"(r.di) : : "memory");
	asm volatile("cld");
	check_pf(PF_W, TEST_VA - 4, "rep movsl downwards into a hole");
	check(r.cx == 2 && r.si == (ulong)(source + 1) && top[0] == 3 && top[2] == 5,
		"rep movsl downwards into a hole: what was done");
	r = (struct regs){.cx = 5, .si = TEST_VA, .di = (ulong)(source + 4)};
	asm volatile("std");
	try_asm("rep movsl", : "+c"(r.cx), "+S"(r.si), "+D"(r.di) : : "memory");
	asm volatile("cld");
	check_pf(0, TEST_VA - 4, "rep movsl downwards from a hole");
	check(r.cx == 4 && r.di == (ulong)(source + 3) && source[4] == 3 && source[3] == 4,
		"rep movsl downwards from a hole: what was done");
}

/* Copies that are run often, as a kernel's memcpy() and memset() are: within a page, over its end,
 * of whole pages, of nothing; and between pages that a cache of translations may keep in one
 * place. */
#define FAR  (TEST_VA + 0x400000)
#define HOT  400
#define TURN 7

static void test_hot(void)
{
	static const struct {
		ulong from, to, count;
	} rows[] = {
		{TEST_VA, FAR, 0x1000},
		{TEST_VA + 1, FAR + 1, 100},
		{FAR + 0xff0, TEST_VA, 16},
		{TEST_VA + 0xff0, FAR + 0x10, 32},
		{FAR, TEST_VA + 0xff8, 9},
		{TEST_VA, FAR, 0},
		{FAR + 8, FAR + 9, 200}, /* each byte is the one before: a fill */
		{FAR + 9, FAR + 8, 200},
		{TEST_VA, FAR, 0x2000},
	};
	u8 *near = (u8 *)TEST_VA, *far = (u8 *)FAR;

	for (int page = 0; page < 2; page++) {
		map_page(&boot_space, TEST_VA + page * 0x1000, (ulong)page_alloc(), PTE_P | PTE_W);
		map_page(&boot_space, FAR + page * 0x1000, (ulong)page_alloc(), PTE_P | PTE_W);
	}
	for (unsigned row = 0; row < sizeof(rows) / sizeof(rows[0]); row++) {
		ulong wrong = 0;

		for (int turn = 0; turn < HOT; turn++) {
			struct regs r = {
				.cx = rows[row].count, .si = rows[row].from, .di = rows[row].to};
			u8 *from = (u8 *)r.si, *to = (u8 *)r.di;
			bool fill = to == from + 1;

			for (int i = 0; i < 0x2000; i += TURN)
				near[i] = (u8)(i * 3 + turn), far[i] = (u8)(i * 5 - turn);
			asm volatile("rep movsb" : "+c"(r.cx), "+S"(r.si), "+D"(r.di) : : "memory");
			wrong += r.cx != 0 || r.si != rows[row].from + rows[row].count ||
				 r.di != rows[row].to + rows[row].count;
			for (ulong i = 0; i < rows[row].count && from + i < to + 0x1000; i += TURN)
				wrong += to[i] != (fill                    ? from[0]
							  : to == from - 1 ? to[i]
									   : from[i]);
			r = (struct regs){
				.ax = (ulong)turn, .cx = rows[row].count / 4, .di = rows[row].to};
			asm volatile("rep stosl" : "+c"(r.cx), "+D"(r.di) : "a"(r.ax) : "memory");
			wrong += r.cx != 0;
			for (ulong i = 0; i < rows[row].count / 4; i += TURN)
				wrong += ((u32 *)rows[row].to)[i] != (u32)turn;
		}
		check(wrong == 0, "hot rep movsb, stosl %x: %u wrong", (unsigned)rows[row].count,
			(unsigned)wrong);
	}
}

/* With this count the operand's end, computed without care, lies before its beginning. */
static void test_hot_wrap(void)
{
	map_page(&boot_space, TEST_VA + 0x2000, 0, 0);
	for (int turn = 0; turn < HOT; turn++) {
		struct regs r = {.ax = (ulong)turn, .cx = -8ul, .di = TEST_VA + 0x1010};

		try_asm("rep stosb", : "+c"(r.cx), "+D"(r.di) : "a"(r.ax) : "memory");
		if (turn + 1 < HOT)
			continue;
		check_pf(PF_W, TEST_VA + 0x2000, "hot rep stosb of nearly all addresses");
		check(r.di == TEST_VA + 0x2000 && r.cx == -8ul - 0xff0 &&
				((u8 *)TEST_VA)[0x1fff] == (u8)turn,
			"hot rep stosb of nearly all addresses: what was done");
	}
}

/* A bit's number moves the address, also downwards and over the end of a page. */
static void test_bit_strings(void)
{
	ulong bits = sizeof(ulong) * 8, wrong = 0;
	u8 *middle = (u8 *)TEST_VA + 0x1000;

	memset((void *)TEST_VA, 0, 0x2000);
	for (int turn = 0; turn < 4; turn++) {
		for (long bit = -2000; bit < 2000; bit += 3) {
			u8 *byte = middle + (bit >> 3), mask = (u8)(1 << (bit & 7));
			bool was, had = *byte & mask;

			asm volatile("lock bts %2, (%1); setc %0"
				     : "=q"(was)
				     : "r"(middle), "r"(bit)
				     : "memory", "cc");
			wrong += was != had || !(*byte & mask);
			asm volatile("btc %2, 8(%1); setc %0"
				     : "=q"(was)
				     : "r"(middle - 8), "r"(bit)
				     : "memory", "cc");
			wrong += !was || (*byte & mask);
			asm volatile("btr %2, 4(%1, %3, 4); setc %0"
				     : "=q"(was)
				     : "r"(middle), "r"(bit), "r"(-1l)
				     : "memory", "cc");
			wrong += was || (*byte & mask);
			asm volatile("bt %2, (%1); setc %0"
				     : "=q"(was)
				     : "r"(middle), "r"(bit)
				     : "memory", "cc");
			wrong += was;
		}
	}
	check(wrong == 0, "bit strings of %u: %u wrong", (unsigned)bits, (unsigned)wrong);
}

void guest_main(void)
{
	test_hot();
	test_hot_wrap();
	test_bit_strings();
	test_all();
	test_prefixes();
	test_ports();
	test_holes_below();
}
