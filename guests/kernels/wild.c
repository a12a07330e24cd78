/*
 * Wild addresses from hot code. Each form of access is trained with a good address until an engine
 * that translates has done so and is sure of itself; then it gets an address that leads nowhere:
 * not canonical, at the edge of a 512-GiB slot, at the end of the address space, where the monitor
 * itself may live. It must fault exactly as the manuals say (SDM vol. 3A 6.15, vol. 1 3.3.7.1),
 * change nothing, and be good for good addresses again.
 *
 * With host=1 on the command line, further addresses are read from the serial port: a line
 * of up to 16 hexadecimal digits each, an empty line at the end. tests/guest/monitor-memory.py
 * sends those at which the monitor has its memory.
 */
#include "apic.h"
#include "paging.h"

/* Everything the guest maps besides: the low 64 MiB, the APIC, and these. */
#define DATA_VA   TEST_VA
#define DATA_HIGH 0xffff900000000000ul
#define CODE_VA   (TEST_VA + 0x400000)
#define CODE_HIGH 0xffff900000400000ul
#define RAM_END   0x4000000ul

#define CODE_PAGES 64
#define CODE_STEP  96 /* bytes for each copy of a form */
#define FRESH      12 /* addresses after which a form gets a new copy */
#define POISON     0xdeadbeefcafef00dul

/*
 * A form gets its address in RBX and RAX = POISON; `at` is the access that may fault. It may change
 * all registers but RSP must survive a good access.
 */
struct form {
	const char *name;
	const u8 *code, *at, *end;
	int size;
	bool write;
	bool stack; /* what is not canonical raises #SS, not #GP */
};

#define FORM(name, before, access, after)                                                          \
	extern const u8 name[], name##_at[], name##_end[];                                         \
	asm(".pushsection .text\n" #name ":\n\t" before "\n" #name "_at:\n\t" access "\n\t" after  \
	    "\n\tret\n" #name "_end:\n.popsection")

FORM(load_base, "", "mov (%rbx), %rax", "");
FORM(load_disp8, "lea -0x70(%rbx), %rsi", "mov 0x70(%rsi), %eax", "");
FORM(load_disp32, "lea -0x12345678(%rbx), %rcx", "mov 0x12345678(%rcx), %rax", "");
FORM(load_far, "mov $0x7fffffff, %ecx; mov %rbx, %rdx; sub %rcx, %rdx",
	"movzbl 0x7fffffff(%rdx), %eax", "");
FORM(load_index, "mov $5, %r10d; lea -40(%rbx), %r11", "mov (%r11,%r10,8), %rax", "");
FORM(load_index_r10, "mov $0x1000, %r11d; lea -0x1000(%rbx), %r10", "movzwl (%r10,%r11), %eax", "");
FORM(load_scaled, "mov %rbx, %rcx; sar $3, %rcx; mov %rbx, %rdx; and $7, %edx",
	"mov (%rdx,%rcx,8), %rax", "");
FORM(load_wrapping, "mov $-0x10000, %r9; lea 0x10000(%rbx), %rcx", "mov (%rcx,%r9), %al", "");
FORM(load_no_base, "lea -0x1000(%rbx), %rcx", "mov 0x1000(,%rcx,1), %rax", "");
FORM(load_fs, "mov $0x7f1234560000, %rdx; mov %rbx, %rcx; sub %rdx, %rcx", "mov %fs:(%rcx), %rax",
	"");
FORM(load_gs, "mov $-0x7f0000000000, %rdx; mov %rbx, %r10; sub %rdx, %r10", "mov %gs:(%r10), %rax",
	"");
FORM(load_address_32, "mov %rbx, %rcx", "mov (%ecx), %rax", "");
FORM(load_rbp, "mov %rbx, %rbp", "mov (%rbp), %rax", "");
FORM(load_rsp, "mov %rsp, %r8; mov %rbx, %rsp", "mov (%rsp), %rax", "mov %r8, %rsp");
FORM(load_flags, "cmp %rax, %rax", "mov (%rbx), %rdx", "je 1f; ud2; 1:");
FORM(load_high_byte, "mov %rbx, %rsi", "mov (%rsi), %ah", "");
FORM(load_sse, "", "movups (%rbx), %xmm0", "");
FORM(load_x87, "", "fldl (%rbx)", "fstp %st(0)");
FORM(load_xlat, "xor %eax, %eax", "xlat", "");
FORM(load_compare, "", "cmpb $0, (%rbx)", "");
FORM(store_base, "", "mov %rax, (%rbx)", "");
FORM(store_disp32, "lea 0x7654321(%rbx), %r11", "mov %rax, -0x7654321(%r11)", "");
FORM(store_index, "mov %rbx, %r10; mov $1, %ecx; dec %r10", "mov %eax, (%r10,%rcx)", "");
FORM(store_imm, "", "movq $-1, (%rbx)", "");
FORM(store_byte, "mov %rbx, %rcx", "mov %ah, (%rcx)", "");
FORM(store_fs, "mov $0x7f1234560000, %rdx; mov %rbx, %rcx; sub %rdx, %rcx", "mov %rax, %fs:(%rcx)",
	"");
FORM(store_sse, "", "movups %xmm0, (%rbx)", "");
FORM(store_x87, "fldz", "fstpl (%rbx)", "");
FORM(store_setcc, "", "sete (%rbx)", "");
FORM(update_add, "", "add %rax, (%rbx)", "");
FORM(update_inc, "mov %rbx, %r11", "incb (%r11)", "");
FORM(update_lock, "mov $1, %ecx", "lock xadd %rcx, (%rbx)", "");
FORM(update_xchg, "mov %rbx, %rcx", "xchg %rax, (%rcx)", "");
FORM(update_cmpxchg, "xor %edx, %edx", "lock cmpxchg %rdx, (%rbx)", "");
FORM(update_shift, "mov $3, %cl", "shll %cl, (%rbx)", "");
FORM(update_bits, "mov $-512, %rcx; lea 64(%rbx), %rdx", "bts %rcx, (%rdx)", "");
FORM(stack_push, "mov %rsp, %r8; lea 8(%rbx), %rsp", "push %rax", "mov %r8, %rsp");
FORM(stack_push_imm, "mov %rsp, %r8; lea 8(%rbx), %rsp", "push $1", "mov %r8, %rsp");
FORM(stack_push_mem, "mov %rbx, %rdx", "push (%rdx)", "pop %rax");
FORM(stack_pop, "mov %rsp, %r8; mov %rbx, %rsp", "pop %rax", "mov %r8, %rsp");
FORM(stack_pop_mem, "push $1; mov %rbx, %rdx", "pop (%rdx)", "");
FORM(stack_call, "mov %rsp, %r8; lea 8(%rbx), %rsp", "call 1f; 1:", "mov %r8, %rsp");
FORM(stack_call_register, "mov %rsp, %r8; lea 8(%rbx), %rsp; lea 1f(%rip), %rcx",
	"call *%rcx; 1:", "mov %r8, %rsp");
FORM(stack_leave, "mov %rsp, %r8; mov %rbx, %rbp", "leave", "mov %r8, %rsp");
FORM(stack_pushf, "mov %rsp, %r8; lea 8(%rbx), %rsp", "pushf", "mov %r8, %rsp");
FORM(string_lods, "mov %rbx, %rsi", "lodsq", "");
FORM(string_stos, "mov %rbx, %rdi; mov $1, %ecx", "rep stosq", "");
FORM(string_from, "mov %rbx, %rsi; lea -64(%rsp), %rdi; mov $1, %ecx", "rep movsq", "");
FORM(string_to, "mov %rbx, %rdi; lea -64(%rsp), %rsi", "movsb", "");
FORM(string_scas, "mov %rbx, %rdi; mov $1, %ecx", "repne scasb", "");

#define ROW(name, ...)                                                                             \
	{                                                                                          \
#name, name, name##_at, name##_end, __VA_ARGS__                                    \
	}
/* Copies begin with a load of RAX, so that code and test agree on what a fault must preserve. */
#define PREFIX 10

static const struct form forms[] = {
	ROW(load_base, 8, false, false),
	ROW(load_disp8, 4, false, false),
	ROW(load_disp32, 8, false, false),
	ROW(load_far, 1, false, false),
	ROW(load_index, 8, false, false),
	ROW(load_index_r10, 2, false, false),
	ROW(load_scaled, 8, false, false),
	ROW(load_wrapping, 1, false, false),
	ROW(load_no_base, 8, false, false),
	ROW(load_fs, 8, false, false),
	ROW(load_gs, 8, false, false),
	ROW(load_address_32, 8, false, false),
	ROW(load_rbp, 8, false, true),
	ROW(load_rsp, 8, false, true),
	ROW(load_flags, 8, false, false),
	ROW(load_high_byte, 1, false, false),
	ROW(load_sse, 16, false, false),
	ROW(load_x87, 8, false, false),
	ROW(load_xlat, 1, false, false),
	ROW(load_compare, 1, false, false),
	ROW(store_base, 8, true, false),
	ROW(store_disp32, 8, true, false),
	ROW(store_index, 4, true, false),
	ROW(store_imm, 8, true, false),
	ROW(store_byte, 1, true, false),
	ROW(store_fs, 8, true, false),
	ROW(store_sse, 16, true, false),
	ROW(store_x87, 8, true, false),
	ROW(store_setcc, 1, true, false),
	ROW(update_add, 8, true, false),
	ROW(update_inc, 1, true, false),
	ROW(update_lock, 8, true, false),
	ROW(update_xchg, 8, true, false),
	ROW(update_cmpxchg, 8, true, false),
	ROW(update_shift, 4, true, false),
	ROW(update_bits, 8, true, false),
	ROW(stack_push, 8, true, true),
	ROW(stack_push_imm, 8, true, true),
	ROW(stack_push_mem, 8, false, false),
	ROW(stack_pop, 8, false, true),
	ROW(stack_pop_mem, 8, true, false),
	ROW(stack_call, 8, true, true),
	ROW(stack_call_register, 8, true, true),
	ROW(stack_leave, 8, false, true),
	ROW(stack_pushf, 8, true, true),
	ROW(string_lods, 8, false, false),
	ROW(string_stos, 8, true, false),
	ROW(string_from, 8, false, false),
	ROW(string_to, 1, true, false),
	ROW(string_scas, 1, false, false),
};
#define FORMS (sizeof(forms) / sizeof(forms[0]))

static const struct world {
	const char *name;
	ulong code, data;
	bool user;
} worlds[] = {
	{"user", CODE_VA, DATA_VA, true},
	{"supervisor, upper half", CODE_HIGH, DATA_HIGH, false},
	{"supervisor, data in the lower half", CODE_HIGH, DATA_VA, false},
	{"supervisor, lower half", CODE_VA, DATA_VA, false},
};

static u8 *code_frames;
static u32 copies, train;
static const struct world *world;
static const struct form *form;
static ulong code; /* of the current copy */
static u32 seed = 2463534242u;

static u32 noise(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 17;
	seed ^= seed << 5;
	return seed;
}

static u64 noise64(void)
{
	u64 high = noise();

	return high << 32 | noise();
}

/* --- what must happen --- */

static bool canonical(ulong address)
{
	return (ulong)((long)(address << 16) >> 16) == address;
}

/* Mapped at all; a user may reach it only where that says so, too. */
static bool mapped(ulong address)
{
	return address < RAM_END || (address >= DATA_VA && address < DATA_VA + 0x2000) ||
	       (address >= DATA_HIGH && address < DATA_HIGH + 0x2000) ||
	       (address >= CODE_VA && address < CODE_VA + CODE_PAGES * 4096) ||
	       (address >= CODE_HIGH && address < CODE_HIGH + CODE_PAGES * 4096) ||
	       (address >= APIC_ADDRESS && address < APIC_ADDRESS + 0x200000);
}

static bool reachable(ulong address)
{
	bool code_page =
		address - CODE_HIGH < CODE_PAGES * 4096 || address - CODE_VA < CODE_PAGES * 4096;

	return mapped(address) && (!world->user || address < 1ul << 47) &&
	       !(form->write && code_page);
}

/* Did what TRAP says have to happen for an access to ADDRESS? */
static bool trap_is_right(ulong address)
{
	ulong last = address + form->size - 1;
	u32 error = (form->write ? PF_W : 0) | (world->user ? PF_U : 0);
	bool wrong = !canonical(address), wrong_end = !canonical(last);

	if (trap.vector != NO_TRAP &&
		((u32)trap.offset || trap.ax != (form->code == load_xlat ? 0 : POISON)))
		return false;
	if ((wrong || wrong_end) && trap.vector == (form->stack ? SS_VECTOR : GP_VECTOR))
		return trap.error == 0;
	if (wrong)
		return false;
	if (!reachable(address))
		return trap.vector == PF_VECTOR && trap.cr2 == address &&
		       trap.error == (error | (mapped(address) ? PF_P : 0));
	if (!reachable(last))
		return trap.vector == PF_VECTOR && trap.cr2 == (last & -4096ul) &&
		       trap.error == (error | (mapped(last) ? PF_P : 0));
	return trap.vector == NO_TRAP;
}

/* --- doing it --- */

static ulong train_form(ulong unused)
{
	u32 i;

	for (i = 0; i < train; i++)
		try_code((void *)code, PREFIX + (form->at - form->code),
			world->data + 0x800 + (i & 7) * 8);
	return trap.vector == NO_TRAP;
}

static ulong access(ulong address)
{
	asm volatile("fninit");
	try_code((void *)code, PREFIX + (form->at - form->code), address);
	return 0;
}

static ulong in_world(ulong (*fn)(ulong), ulong argument)
{
	return world->user ? user_call(fn, argument) : fn(argument);
}

static void new_copy(void)
{
	static const u8 prefix[] = {0x48, 0xb8};
	ulong offset = copies++ * CODE_STEP % (CODE_PAGES * 4096 - CODE_STEP), poison = POISON;
	u8 *to = code_frames + offset;

	memcpy(to, prefix, 2);
	memcpy(to + 2, &poison, 8);
	memcpy(to + PREFIX, form->code, form->end - form->code);
	code = world->code + offset;
	cpuid(0, 0); /* written at another address than it runs at */
}

static u32 failures;

static void complain(const char *what, ulong address)
{
	if (failures++ >= 10)
		return;
	print("%s: %s %lx: vector %d error %x offset %lx cr2 %lx ax %lx\n", form->name, what,
		address, trap.vector, trap.error, trap.offset, trap.cr2, trap.ax);
}

static void try_address(ulong address)
{
	ulong effective = form->code == load_address_32 ? (u32)address : address;

	/* Accesses to devices have effects, and pushes onto our own code and data too. */
	if (effective - APIC_ADDRESS < 0x200000 || effective < RAM_END)
		return;
	in_world(access, address);
	if (!trap_is_right(effective))
		complain("wild address", address);
	in_world(access, world->data + 0x808);
	if (trap.vector != NO_TRAP)
		complain("good address", world->data + 0x808);
}

static ulong addresses[1024];
static u32 address_count;

static void add_address(ulong address)
{
	if (address_count < sizeof(addresses) / sizeof(addresses[0]))
		addresses[address_count++] = address;
}

static void add_around(ulong address)
{
	static const int steps[] = {0, -1, -7, -8, -64, 8, 64, 0x1000, -0x1000};
	size_t i;

	for (i = 0; i < sizeof(steps) / sizeof(steps[0]); i++)
		add_address(address + steps[i]);
}

static void make_addresses(void)
{
	static const ulong fixed[] = {0x7fffffffffff, 0xffff7fffffffffff, 0xffffffffffffffff,
		0x555555554000, 0x7ffff7fff000, 0x7ffffffde000, 0x10000000000, 0x70000000,
		0x7fffffff, 0x80000000, 0xffffffff, 0x100000000, 0x8000000000000000,
		0xfffffffffffff000, 0x4141414141414141, 1ul << 54, 1ul << 55, DATA_VA | 1ul << 47,
		DATA_VA | 1ul << 48, DATA_VA | 1ul << 54, DATA_VA | 1ul << 63,
		DATA_HIGH & ~(1ul << 63), DATA_HIGH & ~(1ul << 54), DATA_HIGH & ~(1ul << 48),
		DATA_VA + (1ul << 39), DATA_HIGH + (1ul << 39), DATA_HIGH - (1ul << 39),
		DATA_VA + (64ul << 30), DATA_HIGH + (64ul << 30), DATA_HIGH - (64ul << 30),
		DATA_HIGH - (65ul << 30), DATA_VA - 8, DATA_VA + 0x1fff, DATA_VA + 0x1ffc,
		DATA_VA + 0x2000, DATA_HIGH - 8, DATA_HIGH + 0x1ffd, DATA_HIGH + 0x2000, DATA_HIGH,
		CODE_HIGH};
	static const u16 slots[] = {1, 2, 127, 128, 255, 256, 257, 288, 289, 400, 511};
	size_t i;

	for (i = 0; i < sizeof(fixed) / sizeof(fixed[0]); i++)
		add_address(fixed[i]);
	for (i = 0; i < sizeof(slots) / sizeof(slots[0]); i++) {
		ulong edge = (ulong)slots[i] << 39;

		add_around(edge);
		add_around((ulong)((long)(edge << 16) >> 16));
	}
	add_around(0);
	for (i = 0; i < 64; i++) {
		add_address(noise64());
		add_address(0x550000000000 | (noise64() & 0xffffffffff));
		add_address(0x7f0000000000 | (noise64() & 0xffffffffff));
		add_address(RAM_END + noise() % (0x40000000 - RAM_END));
	}
}

/* Each form with one in STEP of the addresses. */
static void test_world(u32 step)
{
	u32 before = failures, count, i;

	for (form = forms; form < forms + FORMS; form++) {
		for (i = noise() % step, count = 0; i < address_count; i += step, count++) {
			if (count % FRESH == 0) {
				new_copy();
				if (!in_world(train_form, 0))
					complain("training", world->data);
			}
			try_address(addresses[i]);
		}
	}
	check_eq(failures - before, 0, "wild addresses as %s", world->name);
}

/* --- string instructions that run into a page that is not there --- */

/* Expects RSI, RDI, RCX and flags as they are after N of the elements. */
static bool stopped_after(u32 n, ulong si, ulong di, ulong cx, bool from, bool to)
{
	return trap.vector == PF_VECTOR && trap.cx == cx - n &&
	       trap.si == si + (from ? n * 8 : 0) && trap.di == di + (to ? n * 8 : 0);
}

static ulong strings_into_nothing(ulong data)
{
	ulong end = data + 0x2000, good = data + 0x800;
	ulong si, di, cx, i, wrong = 0;

	/* A good one, then a bad one, at the same instructions. */
	for (i = 0; i < 2 * train; i++) {
		bool bad = i >= train && i % 8 == 0;
		u32 n = i % 5;

		si = good;
		di = bad ? end - n * 8 : good + 256;
		cx = n + 3;
		try_asm("rep movsq", : "+S"(si), "+D"(di), "+c"(cx) : : "memory");
		wrong += bad ? !stopped_after(n, good, end - n * 8, n + 3, true, true) ||
					 trap.cr2 != end
			     : trap.vector != NO_TRAP || cx;
		si = bad ? end - n * 8 : good;
		di = good + 256;
		cx = n + 3;
		try_asm("rep movsq", : "+S"(si), "+D"(di), "+c"(cx) : : "memory");
		wrong += bad ? !stopped_after(n, end - n * 8, good + 256, n + 3, true, true)
			     : trap.vector != NO_TRAP;
		di = bad ? end - n * 8 : good + 256;
		cx = n + 3;
		try_asm("rep stosq", : "+D"(di), "+c"(cx) : "a"(POISON) : "memory");
		wrong += bad ? !stopped_after(n, trap.si, end - n * 8, n + 3, false, true) ||
					 trap.ax != POISON
			     : trap.vector != NO_TRAP || di != good + 256 + (n + 3) * 8;
	}
	return wrong;
}

/* --- interrupts while RSP is wild --- */

extern u8 wild_loop[], wild_loop_end[], wild_entry[];
asm(".pushsection .text\n"
    "wild_entry:\n\tmov %rdi, %rsp\n\tmov $20000, %ecx\n"
    "wild_loop:\n\tlea 8(%rsp), %rsp\n\tadd %rcx, %rdx\n\tlea -8(%rsp), %rsp\n\tloop wild_loop\n"
    "wild_loop_end:\n\tint $0x80\n.popsection");

static volatile u32 ticks;
static ulong wild_sp;
static u32 wrong_sp;

static void tick(struct trap_frame *f)
{
	ticks++;
	if (f->ip >= (ulong)wild_loop && f->ip < (ulong)wild_loop_end && f->sp != wild_sp &&
		f->sp != wild_sp + 8)
		wrong_sp++;
	apic_eoi();
}

static void test_interrupts(void)
{
	u32 i, before = ticks;

	trap_set_handler(0x40, tick);
	apic_write(APIC_TIMER_DIVIDE, 0xb);
	apic_write(APIC_LVT_TIMER, LVT_PERIODIC | 0x40);
	apic_write(APIC_TIMER_INITIAL, 200000);
	for (i = 0; i < 300 && (i < 64 || ticks - before < 50); i++) {
		wild_sp = addresses[i % address_count];
		user_call_at(SEL_USER_CODE, (ulong)wild_entry, SEL_USER_DATA, (ulong)user_stack_top,
			wild_sp, 2 | FLAG_IF);
	}
	apic_write(APIC_TIMER_INITIAL, 0);
	irq_disable();
	check(ticks - before >= 20, "interrupts came while RSP was wild: %u", ticks - before);
	check_eq(wrong_sp, 0, "and found it so");
}

/* --- addresses from outside --- */

static char serial_char(void)
{
	while (!(inb(SERIAL_PORT + 5) & 1))
		cpu_relax();
	return inb(SERIAL_PORT);
}

/* Reads a line; false where it was empty. */
static bool read_address(ulong *address)
{
	bool any = false;
	char c;

	*address = 0;
	while ((c = serial_char()) != '\n') {
		if (c >= '0' && c <= '9')
			*address = *address << 4 | (c - '0');
		else if (c >= 'a' && c <= 'f')
			*address = *address << 4 | (c - 'a' + 10);
		else
			continue;
		any = true;
	}
	return any;
}

static void take_addresses(void)
{
	ulong address;

	address_count = 0;
	print("READY\n");
	while (read_address(&address))
		add_address(address);
	print("got %u addresses\n", address_count);
}

/* --- set up --- */

static u8 fault_stack[8192] __attribute__((aligned(16)));

static void map_areas(void)
{
	u8 *data = pages_alloc(2);
	ulong at;

	code_frames = pages_alloc(CODE_PAGES);
	for (at = RAM_END; at < 1ul << 32; at += 0x200000)
		if (at != (APIC_ADDRESS & ~0x1ffffful))
			pte_set(&boot_space, at, 2, 0);
	write_cr3(read_cr3());
	for (at = 0; at < 0x2000; at += 0x1000) {
		map_page(&boot_space, DATA_VA + at, (ulong)data + at, PTE_P | PTE_W | PTE_U);
		map_page(&boot_space, DATA_HIGH + at, (ulong)data + at, PTE_P | PTE_W);
	}
	for (at = 0; at < CODE_PAGES * 4096; at += 0x1000) {
		map_page(&boot_space, CODE_VA + at, (ulong)code_frames + at, PTE_P | PTE_U);
		map_page(&boot_space, CODE_HIGH + at, (ulong)code_frames + at, PTE_P);
	}
}

/* Faults with a wild RSP need a stack of their own in ring 0. */
static void set_fault_stack(void)
{
	static const u8 vectors[] = {DF_VECTOR, SS_VECTOR, GP_VECTOR, PF_VECTOR};
	size_t i;

	main_tss.tss.ist[0] = (ulong)(fault_stack + sizeof(fault_stack));
	for (i = 0; i < sizeof(vectors); i++)
		idt_set(vectors[i], SEL_CODE, (ulong)trap_stubs + vectors[i] * 16, 14, 0, 1);
}

/* Memory that no access may reach: it is mapped, and no test touches it. */
#define CANARY     0x3000000ul
#define CANARY_END 0x3200000ul

static bool canary_lives(void)
{
	const ulong *p;

	for (p = (ulong *)CANARY; p < (ulong *)CANARY_END; p++)
		if (*p != (ulong)p * 0x9e3779b97f4a7c15)
			return false;
	return true;
}

static void sing(void)
{
	ulong *p;

	for (p = (ulong *)CANARY; p < (ulong *)CANARY_END; p++)
		*p = (ulong)p * 0x9e3779b97f4a7c15;
}

void guest_main(void)
{
	bool host = boot_option("host", 0);
	u32 step = host ? 1 : boot_option("step", 3);

	seed += boot_option("seed", 0) * 2654435761u;
	train = boot_option("train", 600);
	set_fault_stack();
	map_areas();
	sing();
	apic_enable();
	wrmsr(0xc0000100, 0x7f1234560000);
	wrmsr(0xc0000101, -0x7f0000000000);
	make_addresses();
	for (world = worlds; world < worlds + (host ? 3 : 4); world++) {
		if (host)
			take_addresses();
		test_world(step);
		if (!world->user)
			check_eq(strings_into_nothing(world->data), 0,
				"strings that run into nothing as %s", world->name);
	}
	world = worlds;
	check_eq(in_world(strings_into_nothing, DATA_VA), 0,
		"strings that run into nothing as user");
	test_interrupts();
	check(canary_lives(), "memory that nobody touches is as it was");
}
