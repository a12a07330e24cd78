/*
 * The local APIC, alone and with the IOAPIC, the PIC and the PIT: timers, priorities, the registers
 * that show what is requested and in service, level and edge interrupts, and what must not
 * arrive (SDM vol. 3A, chapter 11). Runs as xAPIC first, then as x2APIC.
 */
#include "apic.h"

#define VECTOR     0x51
#define HIGHER     0x71
#define PIT_VECTOR 0x20 /* PIC input 0 */

static volatile u32 taken[256], order[64], orders;
static volatile bool isr_seen, irr_seen, no_eoi;

static void take(struct trap_frame *f)
{
	int vector = (u8)f->vector;

	taken[vector]++;
	if (orders < 64)
		order[orders++] = vector;
	isr_seen = apic_bit(APIC_ISR, vector);
	irr_seen = apic_bit(APIC_IRR, vector);
	if (!no_eoi)
		apic_eoi();
}

static void clear(void)
{
	memset((void *)taken, 0, sizeof(taken));
	orders = 0;
}

static void self_ipi(int vector)
{
	apic_icr(0, ICR_SELF | ICR_ASSERT | vector);
}

/* The APIC may find, when the CPU answers, that nothing is left to deliver. No EOI then. */
static void take_spurious(struct trap_frame *f)
{
}

/* A moment with interrupts on. */
static void window(void)
{
	asm volatile("sti; nop; nop; nop; nop; cli" : : : "memory");
}

static void test_registers(const char *mode)
{
	check_eq(apic_read(APIC_VERSION) & 0xf0, 0x10, "%s: version", mode);
	check(apic_read(APIC_VERSION) >> 16 >= 3, "%s: number of LVT entries", mode);
	check_eq(apic_id(), cpuid(1, 0).b >> 24, "%s: ID is that of CPUID", mode);
	check(apic_read(APIC_SPIV) & 0x100, "%s: enabled", mode);
	check_eq(apic_read(APIC_PPR), 0, "%s: processor priority", mode);
	apic_write(APIC_TPR, 0x43);
	check_eq(apic_read(APIC_TPR), 0x43, "%s: TPR", mode);
	check_eq(apic_read(APIC_PPR), 0x43, "%s: PPR follows TPR", mode);
	check_eq(({
		ulong cr8;
		asm volatile("mov %%cr8, %0" : "=r"(cr8));
		cr8;
	}),
		4, "%s: CR8 is TPR", mode);
	asm volatile("mov %0, %%cr8" : : "r"(7ul));
	check_eq(apic_read(APIC_TPR), 0x70, "%s: TPR is CR8", mode);
	asm volatile("mov %0, %%cr8" : : "r"(0ul));
	apic_write(APIC_LVT_ERROR, 0xfe | LVT_MASKED);
	check_eq(apic_read(APIC_LVT_ERROR) & 0x100ff, 0xfe | LVT_MASKED, "%s: LVT", mode);
}

static void test_priorities(const char *mode)
{
	clear();
	self_ipi(VECTOR);
	check(apic_bit(APIC_IRR, VECTOR), "%s: IRR while interrupts are off", mode);
	check(!apic_bit(APIC_ISR, VECTOR), "%s: not in service yet", mode);
	self_ipi(VECTOR);
	window();
	check_eq(taken[VECTOR], 1, "%s: two requests of a vector are one", mode);
	check(isr_seen && !irr_seen, "%s: ISR in the handler, IRR no more", mode);
	check(!apic_bit(APIC_ISR, VECTOR), "%s: EOI clears ISR", mode);

	clear();
	self_ipi(VECTOR);
	self_ipi(HIGHER);
	self_ipi(VECTOR + 1);
	window();
	window();
	check(orders == 3 && order[0] == HIGHER && order[1] == VECTOR + 1 && order[2] == VECTOR,
		"%s: the highest vector comes first", mode);

	/* TPR holds back its class and what is below. */
	clear();
	apic_write(APIC_TPR, VECTOR & 0xf0);
	self_ipi(VECTOR);
	self_ipi(HIGHER);
	window();
	check(taken[HIGHER] == 1 && taken[VECTOR] == 0, "%s: TPR holds back its own class", mode);
	apic_write(APIC_TPR, 0);
	window();
	check_eq(taken[VECTOR], 1, "%s: lowering TPR lets it through", mode);
	clear();
	asm volatile("mov %0, %%cr8" : : "r"((ulong)VECTOR >> 4));
	self_ipi(VECTOR);
	window();
	check_eq(taken[VECTOR], 0, "%s: CR8 holds back", mode);
	irq_enable();
	asm volatile("mov %0, %%cr8; nop" : : "r"(0ul));
	irq_disable();
	check_eq(taken[VECTOR], 1, "%s: lowering CR8 lets it through", mode);

	/* What is in service holds back its class until EOI. */
	clear();
	no_eoi = true;
	self_ipi(VECTOR);
	window();
	check_eq(apic_read(APIC_PPR), VECTOR & 0xf0, "%s: PPR without EOI", mode);
	self_ipi(VECTOR + 1);
	window();
	check_eq(taken[VECTOR + 1], 0, "%s: same class waits for EOI", mode);
	self_ipi(HIGHER);
	window();
	check_eq(taken[HIGHER], 1, "%s: a higher class does not", mode);
	check_eq(apic_read(APIC_PPR), HIGHER & 0xf0, "%s: PPR with two in service", mode);
	no_eoi = false;
	apic_eoi();
	check(!apic_bit(APIC_ISR, HIGHER) && apic_bit(APIC_ISR, VECTOR), "%s: EOI ends the highest",
		mode);
	check(apic_bit(APIC_IRR, VECTOR + 1), "%s: the other still waits", mode);
	apic_eoi();
	window();
	check_eq(taken[VECTOR + 1], 1, "%s: it comes after the second EOI", mode);
	check_eq(apic_read(APIC_PPR), 0, "%s: nothing in service", mode);
}

static void test_disabled(const char *mode)
{
	clear();
	apic_write(APIC_SPIV, SPURIOUS_VECTOR);
	check(apic_read(APIC_LVT_TIMER) & LVT_MASKED, "%s: disabling masks the LVT", mode);
	apic_write(APIC_LVT_TIMER, VECTOR);
	check(apic_read(APIC_LVT_TIMER) & LVT_MASKED, "%s: and keeps it masked", mode);
	apic_enable();
}

static void test_errors(const char *mode)
{
	clear();
	apic_write(APIC_LVT_ERROR, VECTOR);
	if (x2apic_mode()) {
		try_asm("wrmsr", : : "c"(0x800 + APIC_SELF_IPI / 16), "a"(3), "d"(0));
	} else {
		apic_write(APIC_ESR, 0);
		self_ipi(3);
	}
	window();
	apic_write(APIC_ESR, 0);
	check_eq(apic_read(APIC_ESR) & 0x20, 0x20, "%s: ESR: sending an illegal vector", mode);
	check_eq(taken[VECTOR], 1, "%s: error interrupt", mode);
	apic_write(APIC_ESR, 0);
	check_eq(apic_read(APIC_ESR), 0, "%s: ESR is read once", mode);
	apic_write(APIC_LVT_ERROR, LVT_MASKED);
}

/* The timer in its three modes. How fast it counts is for time.c. */
static void test_timer(const char *mode)
{
	u32 count, later;

	apic_write(APIC_TIMER_DIVIDE, 0xb); /* by 1 */
	clear();
	apic_write(APIC_LVT_TIMER, VECTOR);
	apic_write(APIC_TIMER_INITIAL, 0xfffffff0);
	count = apic_read(APIC_TIMER_COUNT);
	check(count > 0 && count <= 0xfffffff0, "%s: timer counts", mode);
	apic_write(APIC_TIMER_INITIAL, 100000);
	check(wait_for(&taken[VECTOR], 1, 1000), "%s: one-shot timer", mode);
	delay_ms(5);
	window();
	check_eq(taken[VECTOR], 1, "%s: one-shot timer fires once", mode);
	check_eq(apic_read(APIC_TIMER_COUNT), 0, "%s: and stops at 0", mode);

	clear();
	apic_write(APIC_LVT_TIMER, VECTOR | LVT_PERIODIC);
	apic_write(APIC_TIMER_INITIAL, 1000000);
	check(wait_for(&taken[VECTOR], 5, 2000), "%s: periodic timer: %u", mode, taken[VECTOR]);
	check(apic_read(APIC_TIMER_COUNT) > 0, "%s: periodic timer starts anew", mode);
	apic_write(APIC_TIMER_INITIAL, 0);
	window();
	later = taken[VECTOR];
	delay_ms(5);
	window();
	check_eq(taken[VECTOR], later, "%s: initial count 0 stops the timer", mode);

	clear();
	apic_write(APIC_LVT_TIMER, VECTOR | LVT_MASKED);
	apic_write(APIC_TIMER_INITIAL, 1000);
	delay_ms(5);
	window();
	check_eq(taken[VECTOR], 0, "%s: masked timer", mode);
	check_eq(apic_read(APIC_TIMER_COUNT), 0, "%s: masked timer counts nevertheless", mode);

	if (!cpu_has(FEATURE_TSC_DEADLINE)) {
		skip("%s: TSC deadline: not in CPUID", mode);
		return;
	}
	clear();
	apic_write(APIC_LVT_TIMER, VECTOR | LVT_TSC_DEADLINE);
	asm volatile("mfence" : : : "memory");
	wrmsr(MSR_TSC_DEADLINE, rdtsc() + tsc_per_ms() * 10000ull);
	check(rdmsr(MSR_TSC_DEADLINE) != 0, "%s: deadline is armed", mode);
	wrmsr(MSR_TSC_DEADLINE, rdtsc() + 1000000);
	check(wait_for(&taken[VECTOR], 1, 1000), "%s: TSC deadline", mode);
	check_eq(rdmsr(MSR_TSC_DEADLINE), 0, "%s: a deadline that has passed reads 0", mode);
	wrmsr(MSR_TSC_DEADLINE, 1);
	check(wait_for(&taken[VECTOR], 2, 1000), "%s: a deadline in the past fires at once", mode);
	wrmsr(MSR_TSC_DEADLINE, rdtsc() + tsc_per_ms() * 50ull);
	wrmsr(MSR_TSC_DEADLINE, 0);
	delay_ms(60);
	window();
	check_eq(taken[VECTOR], 2, "%s: writing 0 disarms", mode);
	check_eq(apic_read(APIC_TIMER_COUNT), 0, "%s: the count reads 0 in deadline mode", mode);
	apic_write(APIC_TIMER_INITIAL, 1000);
	delay_ms(2);
	window();
	check_eq(taken[VECTOR], 2, "%s: the initial count is ignored in deadline mode", mode);
	wrmsr(MSR_TSC_DEADLINE, rdtsc() + tsc_per_ms() * 50ull);
	apic_write(APIC_LVT_TIMER, VECTOR);
	check_eq(rdmsr(MSR_TSC_DEADLINE), 0, "%s: leaving deadline mode disarms", mode);
	delay_ms(60);
	window();
	check_eq(taken[VECTOR], 2, "%s: nothing fires then", mode);
	apic_write(APIC_LVT_TIMER, LVT_MASKED);
}

/* HLT wakes, STI shields one instruction, and a long string instruction is interrupted half-way. */
static volatile ulong interrupted_cx;
static volatile bool seen_in_string;
extern u8 long_string[];

static void note_string(struct trap_frame *f)
{
	taken[(u8)f->vector]++;
	if (f->ip == (ulong)long_string) {
		seen_in_string = true;
		interrupted_cx = f->cx;
	}
	apic_eoi();
}

static void test_interrupt_points(void)
{
	ulong di = 0x1000000, cx = 16 << 20;
	u32 shielded;

	clear();
	apic_write(APIC_LVT_TIMER, VECTOR);
	apic_write(APIC_TIMER_INITIAL, 100000);
	irq_wait();
	check_eq(taken[VECTOR], 1, "HLT wakes for the timer");

	clear();
	self_ipi(VECTOR);
	asm volatile("sti; mov %1, %0; cli" : "=r"(shielded) : "m"(taken[VECTOR]) : "memory");
	check(shielded == 0, "no interrupt between STI and the next instruction");
	clear();
	self_ipi(VECTOR);
	asm volatile("sti; cli" : : : "memory");
	check_eq(taken[VECTOR], 0, "STI, CLI lets none through");
	window();
	check_eq(taken[VECTOR], 1, "it waits");

	trap_set_handler(VECTOR, note_string);
	clear();
	*(volatile u8 *)(di + cx - 1) = 0;
	apic_write(APIC_LVT_TIMER, VECTOR | LVT_PERIODIC);
	apic_write(APIC_TIMER_INITIAL, 100000);
	asm volatile("sti; nop; long_string: rep stosb; cli"
		     : "+D"(di), "+c"(cx)
		     : "a"(0x5a)
		     : "memory");
	apic_write(APIC_TIMER_INITIAL, 0);
	apic_write(APIC_LVT_TIMER, LVT_MASKED);
	window();
	trap_set_handler(VECTOR, take);
	check(seen_in_string && interrupted_cx > 0 && interrupted_cx <= 16 << 20,
		"rep stosb is interrupted with %lx to go", interrupted_cx);
	check(cx == 0 && di == 0x2000000 && *(u8 *)0x1000000 == 0x5a && *(u8 *)0x1ffffff == 0x5a,
		"and goes on to its end");
}

static volatile u32 nmi_count, nmi_nested;
static volatile bool nmi_send_again;

static void take_nmi(struct trap_frame *f)
{
	nmi_count++;
	if (nmi_send_again) {
		u32 before = nmi_count;

		nmi_send_again = false;
		apic_icr(apic_id(), ICR_NMI | ICR_ASSERT);
		delay_ms(1);
		if (nmi_count != before)
			nmi_nested++;
	}
}

static void test_nmi(void)
{
	trap_set_handler(NMI_VECTOR, take_nmi);
	apic_icr(apic_id(), ICR_NMI | ICR_ASSERT);
	check(wait_for(&nmi_count, 1, 1000), "NMI to self");
	nmi_send_again = true;
	apic_icr(apic_id(), ICR_NMI | ICR_ASSERT);
	check(wait_for(&nmi_count, 3, 1000), "NMI in an NMI handler comes after it: %u", nmi_count);
	check_eq(nmi_nested, 0, "not before its IRET");
	trap_set_handler(NMI_VECTOR, NULL);
}

/* The PIT by way of the PIC and LINT0, and by way of the IOAPIC. */
static void take_pic(struct trap_frame *f)
{
	taken[(u8)f->vector]++;
	outb(0x20, 0x20);
}

static void test_pic(void)
{
	clear();
	trap_set_handler(PIT_VECTOR, take_pic);
	trap_set_handler(PIT_VECTOR + 7, take_pic);
	apic_write(APIC_LVT_LINT0, LVT_EXTINT);
	pit_set(2, PIT_HZ / 1000);
	pic_mask(0xfffe);
	check(wait_for(&taken[PIT_VECTOR], 5, 1000), "PIT through PIC and LINT0: %u",
		taken[PIT_VECTOR]);
	check(!apic_bit(APIC_ISR, PIT_VECTOR), "an ExtINT is not in the ISR of the APIC");
	apic_write(APIC_LVT_LINT0, LVT_EXTINT | LVT_MASKED);
	window();
	clear();
	delay_ms(5);
	window();
	check_eq(taken[PIT_VECTOR], 0, "LINT0 masked");
	pic_mask(0xffff);
	pit_set(0, 0);
}

static void test_ioapic(void)
{
	u32 pins = (ioapic_read(1) >> 16 & 0xff) + 1;

	check(pins >= 24, "the IOAPIC has %u inputs", pins);
	check_eq(ioapic_read(0x10) & IOAPIC_MASKED, IOAPIC_MASKED, "entries are masked at first");
	clear();
	/* The PIT is at input 2: ISA interrupt 0, overridden in the MADT. */
	ioapic_route(2, apic_id(), VECTOR);
	pit_set(2, PIT_HZ / 1000);
	check(wait_for(&taken[VECTOR], 5, 1000), "PIT through the IOAPIC: %u", taken[VECTOR]);
	check(!apic_bit(APIC_TMR, VECTOR), "TMR of an edge interrupt");
	ioapic_route(2, apic_id(), VECTOR | IOAPIC_MASKED);
	window();
	clear();
	delay_ms(5);
	window();
	check_eq(taken[VECTOR], 0, "a masked input");
	ioapic_route(2, 0xe, VECTOR);
	delay_ms(3);
	window();
	check_eq(taken[VECTOR], 0, "an input routed to nobody");
	ioapic_route(2, 0, VECTOR | IOAPIC_MASKED);
	pit_set(0, 0);
	ioapic_write(0x10 + 2 * 5, 0x1ffff & ~0x5000);
	check_eq(ioapic_read(0x10 + 2 * 5) & ~0x5000u, 0x1ffff & ~0x5000,
		"an entry can be read back");
	ioapic_route(5, 0, IOAPIC_MASKED);
}

/*
 * A level: the UART asks for an interrupt as long as its transmitter is empty and the interrupt
 * is enabled. Its input is an ISA one, but its entry may call it level-triggered.
 */
#define UART_PIN 4
static volatile u32 remote_irr_seen;

static void take_level(struct trap_frame *f)
{
	taken[VECTOR]++;
	remote_irr_seen += !!(ioapic_read(0x10 + 2 * UART_PIN) & IOAPIC_REMOTE_IRR);
	isr_seen = apic_bit(APIC_TMR, VECTOR);
	if (taken[VECTOR] == 3)
		outb(SERIAL_PORT + 1, 0);
	apic_eoi();
}

static void test_level(void)
{
	clear();
	trap_set_handler(VECTOR, take_level);
	outb(SERIAL_PORT + 4, 0x0b); /* OUT2 lets the interrupt out */
	ioapic_route(UART_PIN, apic_id(), VECTOR | IOAPIC_LEVEL);
	outb(SERIAL_PORT + 1, 2);
	wait_for(&taken[VECTOR], 3, 1000);
	delay_ms(2);
	window();
	outb(SERIAL_PORT + 1, 0);
	check_eq(taken[VECTOR], 3, "a level interrupt comes again after EOI until it is served");
	check_eq(remote_irr_seen, 3, "remote IRR is set in the handler");
	check(isr_seen, "TMR of a level interrupt");
	check(!(ioapic_read(0x10 + 2 * UART_PIN) & IOAPIC_REMOTE_IRR), "EOI clears remote IRR");

	/* Masked while it is asserted: it comes with the unmasking. */
	clear();
	taken[VECTOR] = 2;
	ioapic_route(UART_PIN, apic_id(), VECTOR | IOAPIC_LEVEL | IOAPIC_MASKED);
	outb(SERIAL_PORT + 1, 2);
	window();
	check_eq(taken[VECTOR], 2, "a masked level interrupt");
	ioapic_route(UART_PIN, apic_id(), VECTOR | IOAPIC_LEVEL);
	window();
	check_eq(taken[VECTOR], 3, "it is not lost");
	ioapic_route(UART_PIN, 0, IOAPIC_MASKED);
	trap_set_handler(VECTOR, take);
}

static void test_x2apic_rules(void)
{
	u64 base = rdmsr(MSR_APIC_BASE);

#define TRY_MSR(msr, low, high) try_asm("wrmsr", : : "c"(msr), "a"(low), "d"(high))
	TRY_MSR(MSR_APIC_BASE, (u32)base & ~APIC_BASE_X2APIC, 0);
	check_trap(GP_VECTOR, 0, "x2APIC back to xAPIC");
	TRY_MSR(MSR_APIC_BASE, (u32)base & ~APIC_BASE_ENABLE, 0);
	check_trap(GP_VECTOR, 0, "x2APIC without the enable bit");
	TRY_MSR(0x802, 0, 0);
	check_trap(GP_VECTOR, 0, "write the ID");
	TRY_MSR(0x80b, 1, 0);
	check_trap(GP_VECTOR, 0, "write EOI other than 0");
	TRY_MSR(0x808, 0x100, 0);
	check_trap(GP_VECTOR, 0, "a reserved bit of TPR");
	TRY_MSR(0x808, 0, 1);
	check_trap(GP_VECTOR, 0, "the high half of TPR");
	TRY_MSR(0x828, 1, 0);
	check_trap(GP_VECTOR, 0, "write ESR other than 0");
	TRY_MSR(0x810, 0, 0);
	check_trap(GP_VECTOR, 0, "write ISR");
	try_asm("rdmsr", : : "c"(0x80b) : "eax", "edx");
	check_trap(GP_VECTOR, 0, "read EOI");
	try_asm("rdmsr", : : "c"(0x80e) : "eax", "edx");
	check_trap(GP_VECTOR, 0, "read DFR");
	try_asm("rdmsr", : : "c"(0x831) : "eax", "edx");
	check_trap(GP_VECTOR, 0, "read the high half of ICR by itself");
	try_asm("rdmsr", : : "c"(0x83f) : "eax", "edx");
	check_trap(GP_VECTOR, 0, "read SELF IPI");
	check_eq(rdmsr(0x80d), (u64)(apic_id() >> 4) << 16 | 1u << (apic_id() & 15),
		"LDR is derived from the ID");
	clear();
	wrmsr(0x83f, VECTOR);
	window();
	check_eq(taken[VECTOR], 1, "SELF IPI");
	/* No memory behind the old address: reads are all ones, or nothing happens at all. */
	clear();
	*(volatile u32 *)(APIC_ADDRESS + APIC_ICR) = ICR_SELF | ICR_ASSERT | VECTOR;
	window();
	check_eq(taken[VECTOR], 0, "the xAPIC page is dead in x2APIC mode");
}

static void test_global_disable(void)
{
	u64 base = rdmsr(MSR_APIC_BASE);

	TRY_MSR(MSR_APIC_BASE, (u32)base, 1 << 30);
	check_trap(GP_VECTOR, 0, "a reserved bit of IA32_APIC_BASE");
	wrmsr(MSR_APIC_BASE, base & ~(u64)(APIC_BASE_ENABLE | APIC_BASE_X2APIC));
	check(!(cpuid(1, 0).d & 1 << 9), "CPUID has no APIC while it is disabled");
	if (cpu_has(FEATURE_X2APIC)) {
		TRY_MSR(MSR_APIC_BASE, (u32)base | APIC_BASE_ENABLE | APIC_BASE_X2APIC, 0);
		check_trap(GP_VECTOR, 0, "disabled to x2APIC in one step");
	}
	wrmsr(MSR_APIC_BASE, (base & ~(u64)APIC_BASE_X2APIC) | APIC_BASE_ENABLE);
	check(cpuid(1, 0).d & 1 << 9, "CPUID has it again");
	check_eq(apic_read(APIC_SPIV), 0xff, "SVR after it was disabled");
	check_eq(apic_read(APIC_LVT_TIMER), LVT_MASKED, "LVT after it was disabled");
	check_eq(apic_read(APIC_TPR), 0, "TPR after it was disabled");
}

static void run_mode(const char *mode)
{
	test_registers(mode);
	test_priorities(mode);
	test_disabled(mode);
	test_errors(mode);
	test_timer(mode);
}

void guest_main(void)
{
	trap_set_handler(VECTOR, take);
	trap_set_handler(VECTOR + 1, take);
	trap_set_handler(HIGHER, take);
	trap_set_handler(SPURIOUS_VECTOR, take_spurious);
	apic_enable();
	run_mode("xAPIC");
	test_interrupt_points();
	test_nmi();
	test_pic();
	test_ioapic();
	test_level();
	if (cpu_has(FEATURE_X2APIC)) {
		x2apic_enable();
		run_mode("x2APIC");
		test_x2apic_rules();
		test_pic();
	} else {
		skip("x2APIC: not in CPUID");
	}
	test_global_disable();
}
