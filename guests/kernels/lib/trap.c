/* Exceptions and interrupts: the IDT, what try_asm() catches, and calls into ring 3. */
#include "kernel.h"

struct trap trap;
/* try_asm() fills these: the tried instruction, and where to go on if it faults. */
u32 trap_at, trap_resume, trap_resume_cs;

#ifdef __x86_64__
struct gate {
	u16 offset_low, selector;
	u8 ist, access;
	u16 offset_middle;
	u32 offset_high, reserved;
};
#else
struct gate {
	u16 offset_low, selector;
	u8 ist, access;
	u16 offset_middle;
};
#endif

extern u8 trap_stubs[];
static struct gate idt[256] __attribute__((aligned(16)));
static trap_handler handlers[256];
void trap_init(void);
void trap_dispatch(struct trap_frame *frame);

void idt_set(int vector, u16 selector, ulong offset, int type, int dpl, int ist)
{
	struct gate *gate = &idt[vector];

	memset(gate, 0, sizeof(*gate));
	gate->offset_low = offset;
	gate->selector = selector;
	gate->ist = ist;
	gate->access = 0x80 | dpl << 5 | type;
	gate->offset_middle = offset >> 16;
#ifdef __x86_64__
	gate->offset_high = offset >> 32;
#endif
}

void idt_reset(int vector, int dpl)
{
	idt_set(vector, SEL_CODE, (ulong)trap_stubs + vector * 16, 14, dpl, 0);
}

void idt_set_present(int vector, bool present)
{
	idt[vector].access = (idt[vector].access & 0x7f) | present << 7;
}

void *idt_base(void)
{
	return idt;
}

void trap_init(void)
{
	int i;

	for (i = 0; i < 256; i++)
		idt_reset(i, i == BP_VECTOR || i == OF_VECTOR || i == VECTOR_USER_RETURN ? 3 : 0);
	lidt(sizeof(idt) - 1, (ulong)idt);
}

void trap_set_handler(int vector, trap_handler handler)
{
	handlers[vector] = handler;
}

static ulong frame_sp(struct trap_frame *f)
{
#ifdef __x86_64__
	return f->sp;
#else
	if ((f->cs & 3) || (f->flags & FLAG_VM))
		return f->sp;
	return (ulong)&f->sp;
#endif
}

static void die(struct trap_frame *f)
{
	print("FAIL unexpected vector %d error %lx at %lx:%lx sp %lx flags %lx cr2 %lx cr3 %lx\n",
		(u8)f->vector, f->error, f->cs, f->ip, frame_sp(f), f->flags, read_cr2(),
		read_cr3());
	guest_exit(2);
}

/* Called by the stubs for every vector. */
void trap_dispatch(struct trap_frame *f)
{
	int vector = (u8)f->vector;

	if (handlers[vector]) {
		handlers[vector](f);
		return;
	}
	if (!trap_resume)
		die(f);
	trap.vector = vector;
	trap.error = f->error;
	trap.ip = f->ip;
	trap.offset = f->ip - trap_at;
	trap.cs = f->cs;
	trap.flags = f->flags;
	trap.sp = frame_sp(f);
	trap.ax = f->ax;
	trap.cx = f->cx;
	trap.si = f->si;
	trap.di = f->di;
#ifdef __x86_64__
	trap.ss = f->ss;
#endif
	trap.cr2 = read_cr2();
	f->ip = trap_resume;
	if (trap_resume_cs)
		f->cs = trap_resume_cs;
	f->flags &= ~(ulong)(FLAG_RF | FLAG_TF);
	trap_resume = 0;
}

ulong try_code_asm(const void *code, ulong bx);
ulong try_code(const void *code, ulong offset, ulong bx)
{
	trap.vector = NO_TRAP;
	trap_at = (ulong)code + offset;
	return try_code_asm(code, bx);
}

struct user_call {
	ulong (*fn)(ulong);
	ulong arg;
};
extern u8 user_thunk[];

ulong user_call(ulong (*fn)(ulong), ulong arg)
{
	struct user_call call = {fn, arg};

	return user_call_at(SEL_USER_CODE, (ulong)user_thunk, SEL_USER_DATA, (ulong)user_stack_top,
		(ulong)&call, 2);
}
