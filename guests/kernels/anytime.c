/*
 * An interrupt may come before any instruction, and finds the state that the instructions before it
 * have made: all of it, and nothing else (SDM vol. 3A 6.6, 6.7).
 *
 * A routine of a hundred mixed instructions is first single-stepped, and what each step finds is
 * written down. Then it runs some hundred thousand times while a timer interrupts it at ever
 * different moments. Each interrupt must find one of the states that are written down.
 * Single-stepping must find them all again, too, once an engine that translates has done so.
 *
 * On the command line: interrupts=N for each world.
 */
#include "apic.h"
#include "paging.h"

#define LOW_BASE  TEST_VA
#define HIGH_BASE 0xffffffffc0000000ul
#define DATA_AT   0xf80 /* over the border of two pages */
#define DATA_SIZE 256
#define CODE_AT   0x10000
#define STACK_AT  0x20000
#define STACK_TOP (STACK_AT + 0x1800)
#define FS_AT     0x100

#define FLAG_AF      (1 << 4)
#define MASKED_FLAGS (FLAG_AF | FLAG_RF | FLAG_TF | FLAG_IF)
#define TIMER_VECTOR 0x41

extern u8 anytime_routine[], anytime_end[];
extern u8 masked_routine[], masked_start[], masked_stop[], masked_end[];

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

/* The state that an interrupt finds. */
struct moment {
	ulong ip, gpr[15], sp, flags, xmm0, memory;
};
#define MOMENTS 1024
static struct moment moments[MOMENTS];
static u32 moment_count, step_index;
static u8 seen[MOMENTS];
static volatile u32 wrong, inside, total;
static struct moment odd; /* the first that is not written down */
static enum { RECORD, COMPARE } stepping;

static ulong routine(void)
{
	return world->base + CODE_AT;
}

static bool in_routine(ulong ip)
{
	return ip >= routine() && ip < routine() + (anytime_end - anytime_routine);
}

/* Data and what is on the stack. */
static ulong memory_sum(ulong sp)
{
	const ulong *data = (const ulong *)(world->base + DATA_AT);
	const ulong *stack = (const ulong *)sp;
	ulong sum = 0;
	int i;

	for (i = 0; i < DATA_SIZE / 8; i++)
		sum = (sum << 7 | sum >> 57) ^ data[i];
	for (; stack < (const ulong *)(world->base + STACK_TOP - 16); stack++)
		sum = (sum << 7 | sum >> 57) ^ *stack;
	return sum;
}

static void take_moment(struct trap_frame *f, struct moment *m)
{
	m->ip = f->ip;
	memcpy(m->gpr, f, sizeof(m->gpr));
	m->sp = f->sp;
	m->flags = f->flags & ~(ulong)MASKED_FLAGS;
	asm volatile("movq %%xmm0, %0" : "=r"(m->xmm0));
	m->memory = memory_sum(m->sp);
}

static bool same_moment(const struct moment *a, const struct moment *b)
{
	const ulong *x = (const ulong *)a, *y = (const ulong *)b;
	size_t i;

	for (i = 0; i < sizeof(*a) / 8; i++)
		if (x[i] != y[i])
			return false;
	return true;
}

static void note_wrong(const struct moment *m)
{
	if (!wrong++)
		memcpy(&odd, m, sizeof(odd));
}

static void single_step(struct trap_frame *f)
{
	struct moment m;

	write_cr2(0);
	asm volatile("mov %0, %%dr6" : : "r"(0ul));
	if (!in_routine(f->ip))
		return;
	take_moment(f, &m);
	if (stepping == RECORD) {
		if (moment_count < MOMENTS)
			memcpy(&moments[moment_count++], &m, sizeof(m));
	} else {
		if (step_index >= moment_count || !same_moment(&moments[step_index], &m))
			note_wrong(&m);
		step_index++;
	}
}

/* The next interrupt in some ten thousand cycles, never after the same number. */
static void set_timer(void)
{
	static u32 seed = 88172645;

	seed ^= seed << 13;
	seed ^= seed >> 17;
	seed ^= seed << 5;
	apic_write(APIC_TIMER_INITIAL, 1000 + seed % 60000);
}

static void timer(struct trap_frame *f)
{
	struct moment m;
	u32 i;

	total++;
	if (in_routine(f->ip)) {
		inside++;
		take_moment(f, &m);
		for (i = 0; i < moment_count; i++)
			if (moments[i].ip == m.ip && same_moment(&moments[i], &m))
				break;
		if (i < moment_count)
			seen[i] = 1;
		else
			note_wrong(&m);
	}
	apic_eoi();
	set_timer();
}

/* Calls ROUTINE(DATA) on another stack with FLAGS set, and the same in all other registers. */
void anytime_call(ulong routine, ulong data, ulong stack, ulong flags);

static void call_routine(ulong flags)
{
	anytime_call(routine(), world->base + DATA_AT, world->base + STACK_TOP, flags);
}

static ulong step_through(ulong unused)
{
	call_routine(FLAG_TF);
	return 0;
}

static ulong final_sum;

static ulong run_often(ulong want)
{
	ulong bad = 0;

	while (total < want) {
		call_routine(0);
		bad += memory_sum(world->base + STACK_TOP - 16) != final_sum;
	}
	return bad;
}

static ulong in_world(ulong (*fn)(ulong), ulong argument, ulong flags)
{
	struct {
		ulong (*fn)(ulong);
		ulong argument;
	} call = {fn, argument};
	extern u8 user_thunk[];

	if (world->user)
		return user_call_at(SEL_USER_CODE, (ulong)user_thunk, SEL_USER_DATA,
			(ulong)user_stack_top, (ulong)&call, 2 | flags);
	return fn(argument);
}

static void show_odd(void)
{
	static const char *const names[] = {"r15", "r14", "r13", "r12", "r11", "r10", "r9", "r8",
		"rdi", "rsi", "rbp", "rdx", "rcx", "rbx", "rax", "rsp", "flags", "xmm0", "memory"};
	const ulong *got = (const ulong *)&odd, *want;
	u32 i, j;

	print("at +%lx:", odd.ip - routine());
	for (i = 0; i < moment_count && moments[i].ip != odd.ip; i++)
		;
	if (i == moment_count) {
		print(" not an instruction's start\n");
		return;
	}
	want = (const ulong *)&moments[i];
	for (j = 0; j < sizeof(names) / sizeof(names[0]); j++)
		if (got[j + 1] != want[j + 1])
			print(" %s %lx for %lx", names[j], got[j + 1], want[j + 1]);
	print("\n");
}

static bool nothing_wrong(const char *what)
{
	bool ok = check_eq(wrong, 0, "%s: %s", world->name, what);

	if (!ok)
		show_odd();
	wrong = 0;
	return ok;
}

static void map_areas(void)
{
	static const ulong pages[] = {0, 0x1000, CODE_AT, STACK_AT, STACK_AT + 0x1000};
	size_t i;

	for (i = 0; i < sizeof(pages) / sizeof(pages[0]); i++) {
		u8 *frame = page_alloc();

		map_page(&boot_space, LOW_BASE + pages[i], (ulong)frame, PTE_P | PTE_W | PTE_U);
		map_page(&boot_space, HIGH_BASE + pages[i], (ulong)frame, PTE_P | PTE_W);
	}
	memcpy((u8 *)LOW_BASE + CODE_AT, anytime_routine, anytime_end - anytime_routine);
	memcpy((u8 *)LOW_BASE + CODE_AT + 0x800, masked_routine, masked_end - masked_routine);
	*(ulong *)(LOW_BASE + FS_AT) = 0x1122334455667788;
	*(ulong *)(LOW_BASE + FS_AT + 8) = 0x8877665544332211;
}

static void count_seen(void)
{
	u32 i, count = 0, places = 0;
	ulong last = 0;

	for (i = 0; i < moment_count; i++) {
		count += seen[i];
		if (seen[i] && moments[i].ip != last) {
			places++;
			last = moments[i].ip;
		}
		seen[i] = 0;
	}
	print("%u of %u interrupts found the routine, in %u of %u states, at %u instructions\n",
		inside, total, count, moment_count, places);
}

static void test_world(void)
{
	ulong want = boot_option("interrupts", 3000);

	asm volatile("fninit");
	wrmsr(0xc0000100, world->base + FS_AT);
	wrmsr(0xc0000101, world->base + FS_AT);
	moment_count = total = inside = wrong = 0;
	stepping = RECORD;
	call_routine(0);
	in_world(step_through, 0, 0);
	check(moment_count > 100 && moment_count < MOMENTS, "%s: the routine has %u steps",
		world->name, moment_count);
	final_sum = memory_sum(world->base + STACK_TOP - 16);
	irq_enable();
	set_timer();
	check_eq(in_world(run_often, want, FLAG_IF), 0, "%s: always the same results", world->name);
	irq_disable();
	apic_write(APIC_TIMER_INITIAL, 0);
	count_seen();
	check(inside >= want / 20, "%s: interrupts found the routine", world->name);
	nothing_wrong("every interrupt found a state that single-stepping knows");
	stepping = COMPARE;
	for (want = 0; want < 3; want++) {
		step_index = 0;
		in_world(step_through, 0, 0);
		if (step_index != moment_count)
			note_wrong(&moments[0]);
	}
	nothing_wrong("single-stepping a hot routine");
}

/* --- CLI, STI and its shadow, POPF --- */

static volatile u32 masked_hits;

static void masked_timer(struct trap_frame *f)
{
	ulong start = routine() + 0x800;

	total++;
	if (f->ip >= start && f->ip < start + (masked_end - masked_routine)) {
		inside++;
		/* STI takes effect after the instruction that follows it. */
		if (f->ip >= start + (masked_start - masked_routine) &&
			f->ip <= start + (masked_stop - masked_routine))
			masked_hits++;
		if (!(f->flags & FLAG_IF))
			masked_hits++;
	}
	apic_eoi();
	set_timer();
}

static void test_masked(void)
{
	ulong want = boot_option("interrupts", 3000) / 2, data = world->base + DATA_AT, bad = 0;
	ulong (*fn)(ulong) = (ulong(*)(ulong))(routine() + 0x800);

	total = inside = masked_hits = 0;
	trap_set_handler(TIMER_VECTOR, masked_timer);
	*(ulong *)data = 0;
	set_timer();
	while (total < want)
		bad += fn(data) != 1;
	apic_write(APIC_TIMER_INITIAL, 0);
	irq_enable();
	delay_ms(2);
	irq_disable();
	trap_set_handler(TIMER_VECTOR, timer);
	print("%u of %u interrupts found the routine\n", inside, total);
	check(inside > 0, "%s: interrupts come after STI and POPF", world->name);
	check_eq(masked_hits, 0, "%s: none between CLI and STI, and not right after it",
		world->name);
	check_eq(bad, 0, "%s: always the same results with CLI and STI", world->name);
}

void guest_main(void)
{
	map_areas();
	x2apic_enable();
	apic_write(APIC_TIMER_DIVIDE, 0xb);
	apic_write(APIC_LVT_TIMER, TIMER_VECTOR);
	trap_set_handler(DB_VECTOR, single_step);
	trap_set_handler(TIMER_VECTOR, timer);
	for (world = worlds; world < worlds + sizeof(worlds) / sizeof(worlds[0]); world++) {
		test_world();
		if (!world->user)
			test_masked();
	}
}
