#include "noise.h"

#ifdef __x86_64__
#define NOISE_VECTOR 0xf0
#define NOISE_IST    7

static u8 noise_stack[4096] __attribute__((aligned(16)));
static volatile u32 noise_count;
static u32 noise_cycles;

static void arm(void)
{
	static u32 seed = 521288629;

	seed ^= seed << 13;
	seed ^= seed >> 17;
	seed ^= seed << 5;
	apic_write(APIC_TIMER_INITIAL, 1 + seed % (2 * noise_cycles));
}

static void noise(struct trap_frame *f)
{
	noise_count++;
	apic_eoi();
	arm();
}

void noise_start(u32 cycles)
{
	noise_count = 0;
	noise_cycles = cycles;
	main_tss.tss.ist[NOISE_IST - 1] = (ulong)(noise_stack + sizeof(noise_stack));
	idt_set(NOISE_VECTOR, SEL_CODE, (ulong)trap_stubs + NOISE_VECTOR * 16, 14, 0, NOISE_IST);
	trap_set_handler(NOISE_VECTOR, noise);
	apic_enable();
	apic_write(APIC_TIMER_DIVIDE, 0xb);
	apic_write(APIC_LVT_TIMER, NOISE_VECTOR);
	arm();
	irq_enable();
}

u32 noise_stop(void)
{
	irq_disable();
	apic_write(APIC_LVT_TIMER, LVT_MASKED | NOISE_VECTOR);
	apic_write(APIC_TIMER_INITIAL, 0);
	return noise_count;
}

ulong noise_user_call(ulong (*fn)(ulong), ulong argument)
{
	extern u8 user_thunk[];
	struct {
		ulong (*fn)(ulong);
		ulong argument;
	} call = {fn, argument};
	ulong result = user_call_at(SEL_USER_CODE, (ulong)user_thunk, SEL_USER_DATA,
		(ulong)user_stack_top, (ulong)&call, 2 | FLAG_IF);

	irq_enable();
	return result;
}
#endif
