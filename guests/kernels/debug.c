/*
 * Debug exceptions: single step over what is awkward to step over, the breakpoint registers in each
 * of their kinds, DR6, DR7 and RF (SDM vol. 3A 6.9.1, vol. 3B chapter 18).
 */
#include "kernel.h"

#define DR6_FIXED              0xffff0ff0
#define DR6_B(n)               (1 << (n))
#define DR6_BD                 (1 << 13)
#define DR6_BS                 (1 << 14)
#define DR7_FIXED              0x400
#define DR7_GD                 (1 << 13)
#define DR7_LOCAL(n)           (1 << 2 * (n))
#define DR7_GLOBAL(n)          (2 << 2 * (n))
#define DR7_KIND(n, kind, len) ((ulong)((kind) | (len) << 2) << (16 + 4 * (n)))
#define EXECUTE                0
#define WRITE                  1
#define PORT                   2
#define READ_WRITE             3
#define LEN1                   0
#define LEN2                   1
#define LEN4                   3
#define LEN8                   2

typedef const u8 label[];
extern label plain, plain1, plain2, plain_end;
extern label jumps, jumps1, jumps2, jumps3, jumps4, jumps5, jumps_sub, jumps_end;
extern label strings, strings1, strings2, strings_rep, strings3, strings_end;
extern label shadow, shadow1, shadow2, shadow_end;
extern label flags, flags1, flags2, flags3, flags4, flags_end;
extern label software, software1, software_end;
extern label emulated, emulated1, emulated2, emulated3, emulated4, emulated5, emulated6, emulated7,
	emulated8, emulated9, emulated10, emulated11, emulated12, emulated13, emulated14,
	emulated_end;
extern label fetched, fetched1, fetched2, fetched3, fetched_shadowed, fetched4, fetched_end;
extern label moved, moved1, moved_end;
extern u8 scratch[64];
void run_stepped(const u8 *code);

#define MAX_HITS 64
static struct hit {
	ulong ip, dr6, flags;
} hits[MAX_HITS];
static volatile int count;
static bool skip_breakpoint;              /* the breakpoint set is one on an instruction */
static const u8 *watch_start, *watch_end; /* only hits here are noted; NULL: everywhere */

static void note(struct trap_frame *f)
{
	ulong dr6 = read_dr6();

	write_dr6(DR6_FIXED);
	/* Go on past an instruction breakpoint, as a debugger does. */
	if (skip_breakpoint && !(dr6 & DR6_BS))
		f->flags |= FLAG_RF;
	if (watch_start && (f->ip < (ulong)watch_start || f->ip > (ulong)watch_end))
		return;
	if (count < MAX_HITS)
		hits[count] = (struct hit){f->ip, dr6, f->flags & ~(ulong)FLAG_RF};
	count++;
	if (count > MAX_HITS)
		f->flags &= ~(ulong)FLAG_TF;
}

static void begin(const u8 *start, const u8 *end)
{
	count = 0;
	watch_start = start;
	watch_end = end;
	write_dr6(DR6_FIXED);
}

static bool check_hits(const char *name, ulong dr6, const u8 *const *want, int n)
{
	bool ok = count == n;
	int i;

	for (i = 0; i < n; i++)
		ok = ok && hits[i].ip == (ulong)want[i] && hits[i].dr6 == (DR6_FIXED | dr6);
	check(ok, "%s: %d hits", name, count);
	for (i = 0; i < (count > n ? count : n) && !ok; i++)
		print("  at %lx dr6 %lx, want %lx\n", i < count ? hits[i].ip : 0,
			i < count ? hits[i].dr6 : 0, i < n ? (ulong)want[i] : 0);
	return ok;
}

#define CHECK_HITS(name, dr6, ...)                                                                 \
	check_hits(name, dr6, (const u8 *const[]){__VA_ARGS__},                                    \
		sizeof((const u8 *const[]){__VA_ARGS__}) / sizeof(u8 *))

static void software_interrupt(struct trap_frame *f)
{
}

static void test_steps(void)
{
#define STEP(name, ...)                                                                            \
	do {                                                                                       \
		begin(name, name##_end);                                                           \
		run_stepped(name);                                                                 \
		CHECK_HITS("single step: " #name, DR6_BS, __VA_ARGS__);                            \
	} while (0)
	trap_set_handler(0x42, software_interrupt);
	/* The call that leads in is a hit too, at the first instruction. */
	STEP(plain, plain, plain1, plain2, plain_end);
	check(hits[0].flags & FLAG_TF, "single step: TF is in the flags pushed");
	check(!(read_flags() & FLAG_TF), "single step: it ends");
	STEP(jumps, jumps, jumps1, jumps2, jumps3, jumps_sub, jumps4, jumps5, jumps_end);
	STEP(strings, strings, strings1, strings2, strings_rep, strings_rep, strings_rep, strings3,
		strings_end);
	STEP(shadow, shadow, shadow1, shadow2, shadow_end);
	STEP(flags, flags, flags1, flags2, flags3, flags4, flags_end);
	STEP(software, software, software1, software_end);
	STEP(emulated, emulated, emulated1, emulated2, emulated3, emulated4, emulated5, emulated6,
		emulated7, emulated8, emulated9, emulated10, emulated11, emulated12, emulated13,
		emulated14, emulated_end);
}

static void set_breakpoint(int n, ulong address, ulong control)
{
	/* Breakpoints that are not enabled may show in DR6 too, so leave none behind. */
	write_dr7(DR7_FIXED);
	write_dr0(0);
	write_dr1(0);
	write_dr2(0);
	write_dr3(0);
	skip_breakpoint = !(control >> (16 + 4 * n) & 3);
	if (n == 0)
		write_dr0(address);
	if (n == 1)
		write_dr1(address);
	if (n == 2)
		write_dr2(address);
	if (n == 3)
		write_dr3(address);
	write_dr7(DR7_FIXED | control);
}

static void test_execute(void)
{
	void (*code)(void) = (void (*)(void))(ulong)fetched;
	int n;

	for (n = 0; n < 4; n++) {
		begin(fetched, fetched_end);
		set_breakpoint(n, (ulong)fetched1, DR7_GLOBAL(n) | DR7_KIND(n, EXECUTE, LEN1));
		trap_resume = (ulong)fetched3; /* where the UD2 goes on */
		code();
		CHECK_HITS("instruction breakpoint", DR6_B(n), fetched1);
	}
	begin(fetched, fetched_end);
	set_breakpoint(0, (ulong)fetched1, DR7_LOCAL(0));
	trap_resume = (ulong)fetched3;
	code();
	CHECK_HITS("instruction breakpoint, local", DR6_B(0), fetched1);
	begin(fetched, fetched_end);
	set_breakpoint(0, (ulong)fetched1 + 1, DR7_GLOBAL(0));
	trap_resume = (ulong)fetched3;
	code();
	check_eq(count, 0, "instruction breakpoint at the second byte");
	set_breakpoint(0, (ulong)fetched1, 0);
	trap_resume = (ulong)fetched3;
	code();
	check_eq(count, 0, "instruction breakpoint not enabled");

	/* It comes before the fault of the instruction itself, whose frame has RF set. */
	begin(fetched, fetched_end);
	set_breakpoint(2, (ulong)fetched2, DR7_GLOBAL(2));
	trap_resume = (ulong)fetched3;
	trap.vector = NO_TRAP;
	code();
	CHECK_HITS("instruction breakpoint before #UD", DR6_B(2), fetched2);
	check_eq(trap.vector, UD_VECTOR, "and then the #UD");
	check(trap.flags & FLAG_RF, "the frame of a fault has RF set");
	begin(fetched, fetched_end);
	set_breakpoint(0, (ulong)fetched_shadowed, DR7_GLOBAL(0));
	trap_resume = (ulong)fetched3;
	code();
	/* Intel holds it back (SDM vol. 3B 18.3.1.1), AMD does not. */
	check_eq(count, cpu_is_amd() ? 1 : 0, "instruction breakpoint in the shadow of MOV SS");
	set_breakpoint(0, 0, 0);
	try_asm("int3");
	check(!(trap.flags & FLAG_RF), "the frame of a trap has RF clear");

	/* Step and breakpoint at one place are one exception, or two with the step first. */
	begin(plain, plain_end);
	set_breakpoint(1, (ulong)plain2, DR7_GLOBAL(1));
	run_stepped(plain);
	set_breakpoint(1, 0, 0);
	/* The step may show the breakpoint as well. */
	check((count == 4 || count == 5) && hits[2].ip == (ulong)plain2 && hits[2].dr6 & DR6_BS &&
			(hits[2].dr6 & DR6_B(1) || count == 5) &&
			(count == 4 || (hits[3].ip == (ulong)plain2 && hits[3].dr6 & DR6_B(1))),
		"single step to an instruction breakpoint: %d hits", count);
}

/* One access at scratch + AT with one breakpoint at scratch + 16. */
struct data_case {
	const char *name;
	u8 kind, len, len_bytes;
	int at;
	u8 size;
	bool write, hit;
};

static const struct data_case data_cases[] = {
	{"store of 1 to 1", WRITE, LEN1, 1, 16, 1, true, true},
	{"store of 1 beside 1", WRITE, LEN1, 1, 17, 1, true, false},
	{"store of 1 before 1", WRITE, LEN1, 1, 15, 1, true, false},
	{"load of 1 from a write breakpoint", WRITE, LEN1, 1, 16, 1, false, false},
	{"load of 1 from 1", READ_WRITE, LEN1, 1, 16, 1, false, true},
	{"store of 1 to a read-write breakpoint", READ_WRITE, LEN1, 1, 16, 1, true, true},
	{"store of 2 across 1", WRITE, LEN1, 1, 15, 2, true, true},
	{"store of 8 around 1", WRITE, LEN1, 1, 12, 8, true, true},
	{"store of 16 around 1", WRITE, LEN1, 1, 8, 16, true, true},
	{"store of 1 into 2", WRITE, LEN2, 2, 17, 1, true, true},
	{"store of 1 behind 2", WRITE, LEN2, 2, 18, 1, true, false},
	{"load of 4 into 4", READ_WRITE, LEN4, 4, 19, 4, false, true},
	{"load of 4 behind 4", READ_WRITE, LEN4, 4, 20, 4, false, false},
	{"store of 4 that ends in 4", WRITE, LEN4, 4, 13, 4, true, true},
	{"store of 4 that ends before 4", WRITE, LEN4, 4, 12, 4, true, false},
	{"store of 1 into 8", WRITE, LEN8, 8, 23, 1, true, true},
	{"store of 1 behind 8", WRITE, LEN8, 8, 24, 1, true, false},
	{"load of 16 across 8", READ_WRITE, LEN8, 8, 1, 16, false, true},
};

static void access(u8 *at, int size, bool write)
{
	u64 value = 0;

	if (size == 16 && write)
		asm volatile("movups %%xmm0, (%0)" : : "r"(at) : "memory");
	else if (size == 16)
		asm volatile("movups (%0), %%xmm0" : : "r"(at) : "memory");
	else if (size == 8 && write)
		asm volatile("movq %1, (%0)" : : "r"(at), "r"(value) : "memory");
	else if (size == 8)
		asm volatile("movq (%1), %0" : "=r"(value) : "r"(at) : "memory");
	else if (size == 4 && write)
		asm volatile("movl %k1, (%0)" : : "r"(at), "r"(value) : "memory");
	else if (size == 4)
		asm volatile("movl (%1), %k0" : "=r"(value) : "r"(at) : "memory");
	else if (size == 2)
		asm volatile("movw %w1, (%0)" : : "r"(at), "r"(value) : "memory");
	else if (write)
		asm volatile("movb %b1, (%0)" : : "r"(at), "q"(value) : "memory");
	else
		asm volatile("movb (%1), %b0" : "=q"(value) : "r"(at) : "memory");
}

static void test_data(void)
{
	ulong control = DR7_GLOBAL(1) | DR7_KIND(1, READ_WRITE, LEN4);
	u32 value;
	size_t i;

	for (i = 0; i < sizeof(data_cases) / sizeof(data_cases[0]); i++) {
		const struct data_case *c = &data_cases[i];

		begin(NULL, NULL);
		set_breakpoint(
			0, (ulong)scratch + 16, DR7_GLOBAL(0) | DR7_KIND(0, c->kind, c->len));
		access(scratch + c->at, c->size, c->write);
		set_breakpoint(0, 0, 0);
		check(c->hit ? count == 1 && hits[0].dr6 == (DR6_FIXED | DR6_B(0)) : count == 0,
			"data breakpoint: %s: %d hits", c->name, count);
	}

	begin(NULL, NULL);
	set_breakpoint(1, (ulong)scratch + 16, control);
	asm volatile("lock incl %0" : "+m"(scratch[16]) : : "cc");
	check_eq(count, 1, "data breakpoint: read and write by one instruction");
	asm volatile("movl %1, %0; data_next: nop"
		     : "=r"(value)
		     : "m"(*(u32 *)(scratch + 16))
		     : "memory");
	extern const u8 data_next[];
	check(count == 2 && hits[1].ip == (ulong)data_next,
		"data breakpoint: a trap behind the access");
	begin(NULL, NULL);
	asm volatile("mov %%rsp, %%rcx; lea %0, %%rsp; push %%rax; mov %%rcx, %%rsp"
		     :
		     : "m"(scratch[24])
		     : "rcx", "memory");
	check_eq(count, 1, "data breakpoint: push");
	begin(NULL, NULL);
	memset(scratch, 0, 32);
	check(count >= 1 && hits[0].dr6 == (DR6_FIXED | DR6_B(1)), "data breakpoint: rep stosb");
	begin(NULL, NULL);
	asm volatile("prefetcht0 %0; lea %0, %%rax" : : "m"(scratch[16]) : "rax");
	check_eq(count, 0, "data breakpoint: neither prefetch nor lea");
	/* Fetching is no data access. */
	set_breakpoint(1, (ulong)plain, control);
	((void (*)(void))(ulong)plain)();
	check_eq(count, 0, "data breakpoint: not for a fetch");
	set_breakpoint(1, 0, 0);
}

static void test_ports(void)
{
	write_cr4(read_cr4() | CR4_DE);
	begin(NULL, NULL);
	set_breakpoint(3, 0x21, DR7_GLOBAL(3) | DR7_KIND(3, PORT, LEN1));
	inb(0x21);
	check(count == 1 && hits[0].dr6 == (DR6_FIXED | DR6_B(3)), "I/O breakpoint: in");
	outb(0x21, 0xff);
	check_eq(count, 2, "I/O breakpoint: out");
	inb(0x20);
	check_eq(count, 2, "I/O breakpoint: another port");
	inw(0x20);
	check_eq(count, 3, "I/O breakpoint: a word that covers the port");
	set_breakpoint(3, 0, 0);
	try_asm("mov %%dr4, %%rax", : : : "rax");
	check_trap(UD_VECTOR, 0, "DR4 with CR4.DE");
	try_asm("mov %%rax, %%dr5", : : : "rax");
	check_trap(UD_VECTOR, 0, "DR5 with CR4.DE");
	write_cr4(read_cr4() & ~(ulong)CR4_DE);
	try_asm("mov %%dr5, %%rax", : : : "rax");
	check_no_trap("DR5 without CR4.DE is DR7");
}

static void test_registers(void)
{
	ulong ignored = 1 << 11 | 1 << 16; /* newer CPUs have meanings for these bits of DR6 */

	begin(NULL, NULL);
	write_dr6(0);
	check_eq(read_dr6() | ignored, DR6_FIXED | ignored, "DR6: bits that are always 1");
	write_dr6(0xffffffff);
	check_eq(read_dr6() | ignored, 0xffffefff, "DR6: bit 12 is always 0");
	write_dr6(DR6_FIXED);
	write_dr7(0);
	check_eq(read_dr7(), DR7_FIXED, "DR7: bit 10 is always 1");
	write_dr7(0xffff0300);
	check_eq(read_dr7(), 0xffff0700, "DR7: kinds and lengths");
	write_dr7(DR7_FIXED);
	write_dr0(0x123456789abcul);
	check_eq(read_dr0(), 0x123456789abcul, "DR0 holds 64 bits");

	/* General detect: any MOV DR faults once, and GD is then clear. */
	begin(moved, moved_end);
	write_dr7(DR7_FIXED | DR7_GD);
	((void (*)(ulong))(ulong)moved)(0x777);
	CHECK_HITS("general detect", DR6_BD, moved);
	check_eq(read_dr7() & DR7_GD, 0, "general detect is cleared");
	check_eq(read_dr3(), 0x777, "general detect: the instruction is run again");

	/* INT1 is a trap that sets no bit of DR6. */
	begin(NULL, NULL);
	asm volatile(".byte 0xf1; int1_next: nop" : : : "memory");
	extern const u8 int1_next[];
	CHECK_HITS("int1", 0, int1_next);
	/* The CPU sets bits of DR6 and clears none: software must. */
	write_dr3(0);
}

void guest_main(void)
{
	trap_set_handler(DB_VECTOR, note);
	test_steps();
	test_execute();
	test_data();
	test_ports();
	test_registers();
}
