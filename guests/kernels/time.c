/*
 * The clocks of the machine agree: PIT, RTC, ACPI PM timer, TSC and APIC timer are read over the
 * same stretch and must tell the same time, within a few percent; and none may stand still or run
 * backwards. The TSC's rate comes from CPUID where it is told.
 */
#include "apic.h"

#define PM_TIMER_HZ 3579545
#define TICK_VECTOR 0x51
#define RTC_VECTOR  0x28 /* PIC input 8 */

static volatile u32 ticks;

static void tick(struct trap_frame *f)
{
	ticks++;
	apic_eoi();
}

/* ACPI tables, as far as it takes to find the PM timer. */
struct acpi_header {
	char signature[4];
	u32 length;
	u8 revision, checksum;
	char oem[6], table[8];
	u32 oem_revision, creator, creator_revision;
} __attribute__((packed));

static u8 sum(const void *bytes, u32 length)
{
	const u8 *p = bytes;
	u8 total = 0;

	while (length--)
		total += *p++;
	return total;
}

static const struct acpi_header *find_table(const char *signature)
{
	const u8 *p;
	const struct acpi_header *rsdt;
	u32 i;

	for (p = (const u8 *)0xe0000; p < (const u8 *)0x100000; p += 16) {
		if (memcmp(p, "RSD PTR ", 8) || sum(p, 20))
			continue;
		rsdt = (const struct acpi_header *)(ulong) * (const u32 *)(p + 16);
		if (!rsdt)
			return NULL;
		for (i = sizeof(*rsdt); i < rsdt->length; i += 4) {
			u32 at = *(const u32 *)((const u8 *)rsdt + i);
			const struct acpi_header *table = (const struct acpi_header *)(ulong)at;

			if (!memcmp(table->signature, signature, 4))
				return table;
		}
	}
	return NULL;
}

static u16 pm_timer_port(void)
{
	const struct acpi_header *fadt = find_table("FACP");

	if (!fadt)
		return 0;
	return *(const u32 *)((const u8 *)fadt + 76);
}

static u32 pm_timer_mask(void)
{
	const struct acpi_header *fadt = find_table("FACP");

	return *(const u32 *)((const u8 *)fadt + 112) & 1 << 8 ? 0xffffffff : 0xffffff;
}

/* Clocks, as functions that count up. */
static u16 pm_port;

static u32 read_pm_timer(void)
{
	return inl(pm_port);
}

static u32 read_pit(void)
{
	u8 low;

	outb(0x43, 0x00); /* latch channel 0 */
	low = inb(0x40);
	return 0x10000 - (low | inb(0x40) << 8);
}

static u32 read_apic_timer(void)
{
	return ~apic_read(APIC_TIMER_COUNT);
}

static u8 cmos(u8 index)
{
	outb(0x70, index);
	return inb(0x71);
}

/* How often the clock counts in a millisecond of the TSC. It wraps at MASK, after more than 50 ms.
 */
static u32 rate_per_ms(u32 (*read)(void), u32 mask)
{
	struct clock_sample start, end;
	u32 us;

	for (;;) {
		start = clock_sample(read);
		delay_ms(30);
		end = clock_sample(read);
		us = (u32)((end.tsc - start.tsc) / (tsc_per_ms() / 1000));
		if (us < 50000)
			return (u64)((end.value - start.value) & mask) * 1000 / us;
	}
}

static void check_near(u32 got, u32 want, const char *name)
{
	u32 off = got > want ? got - want : want - got;

	check((u64)off * 100 <= (u64)want * 3, "%s: %u for %u", name, got, want);
}

/* Lets in what still waits, so that it is not counted. */
static void drain(void)
{
	irq_enable();
	irq_disable();
	ticks = 0;
}

/*
 * Waits for ticks of HZ. They may come late, or several as one, while the host runs something else;
 * but however the host behaves there are never more than the time that has passed holds.
 */
static void check_ticks(volatile u32 *counter, u32 hz, const char *name)
{
	u64 start = rdtsc();
	bool came = wait_for(counter, 20, 5000);
	u32 us = (u32)((rdtsc() - start) / (tsc_per_ms() / 1000));

	check(came && *counter <= (u64)us * hz / 1000000 + 2, "%s: %u in %u us", name, *counter,
		us);
}

#define TICK_HZ 200

static void test_pm_timer(void)
{
	u32 start;

	pm_port = pm_timer_port();
	if (!pm_port) {
		skip("PM timer: no FADT");
		return;
	}
	check_near(
		rate_per_ms(read_pm_timer, pm_timer_mask()), PM_TIMER_HZ / 1000, "PM timer in kHz");
	start = read_pm_timer();
	check(((read_pm_timer() - start) & pm_timer_mask()) < pm_timer_mask() / 2,
		"PM timer does not run backwards");
}

static void test_pit(void)
{
	u64 end;

	pit_set(2, 0x10000);
	check_near(rate_per_ms(read_pit, 0xffff), PIT_HZ / 1000, "PIT in kHz");

	drain();
	ioapic_route(2, apic_id(), TICK_VECTOR);
	pit_set(2, PIT_HZ / TICK_HZ);
	check_ticks(&ticks, TICK_HZ, "periodic interrupts of the PIT");
	ioapic_route(2, 0, IOAPIC_MASKED);

	/* Mode 0 fires once and counts on. Loading it stops the ticks. */
	pit_set(0, 0x10000);
	drain();
	ioapic_route(2, apic_id(), TICK_VECTOR);
	end = rdtsc() + (u64)tsc_per_ms() * 4;
	pit_set(0, PIT_HZ / 1000 * 5);
	irq_enable();
	while (!ticks)
		cpu_relax();
	check(rdtsc() >= end, "PIT one-shot: not early");
	delay_ms(20);
	irq_disable();
	check_eq(ticks, 1, "PIT one-shot: once");
	ioapic_route(2, 0, IOAPIC_MASKED);

	/* Channel 2 through port 0x61. */
	outb(0x61, (inb(0x61) & ~2) | 1);
	outb(0x43, 0xb0);
	outb(0x42, (u8)(PIT_HZ / 1000 * 50));
	outb(0x42, (u8)(PIT_HZ / 1000 * 50 >> 8));
	check(!(inb(0x61) & 0x20), "PIT channel 2: output low while it counts");
	delay_ms(60);
	check(inb(0x61) & 0x20, "PIT channel 2: output high at the end");
	/* Read-back of the status: mode 0, both bytes, output high. */
	outb(0x43, 0xe8);
	check_eq(inb(0x42) & 0xbf, 0xb0, "PIT read-back status");
}

static void test_apic_timer(void)
{
	u32 rate;
	u64 deadline;

	apic_write(APIC_LVT_TIMER, TICK_VECTOR | LVT_MASKED);
	apic_write(APIC_TIMER_DIVIDE, 0xb);
	apic_write(APIC_TIMER_INITIAL, 0xffffffff);
	rate = rate_per_ms(read_apic_timer, 0xffffffff);
	check(rate > 1000, "APIC timer: %u counts in a millisecond", rate);
	apic_write(APIC_TIMER_DIVIDE, 3); /* by 16 */
	apic_write(APIC_TIMER_INITIAL, 0xffffffff);
	check_near(rate_per_ms(read_apic_timer, 0xffffffff), rate / 16, "APIC timer divided by 16");

	drain();
	apic_write(APIC_LVT_TIMER, TICK_VECTOR | LVT_PERIODIC);
	apic_write(APIC_TIMER_DIVIDE, 0xb);
	apic_write(APIC_TIMER_INITIAL, rate * 1000 / TICK_HZ);
	check_ticks(&ticks, TICK_HZ, "periodic interrupts of the APIC timer");
	apic_write(APIC_LVT_TIMER, LVT_MASKED);
	if (!cpu_has(FEATURE_TSC_DEADLINE)) {
		skip("TSC deadline: not in CPUID");
		return;
	}
	drain();
	apic_write(APIC_LVT_TIMER, TICK_VECTOR | LVT_TSC_DEADLINE);
	asm volatile("mfence" : : : "memory");
	deadline = rdtsc() + (u64)tsc_per_ms() * 10;
	wrmsr(MSR_TSC_DEADLINE, deadline);
	irq_enable();
	while (!ticks && rdtsc() < deadline + (u64)tsc_per_ms() * 1000)
		cpu_relax();
	irq_disable();
	check(ticks && rdtsc() >= deadline, "TSC deadline: fires, and not early");
	apic_write(APIC_LVT_TIMER, LVT_MASKED);
}

static volatile u32 rtc_ticks;

static void rtc_tick(struct trap_frame *f)
{
	rtc_ticks++;
	cmos(0x0c);
	outb(0xa0, 0x20);
	outb(0x20, 0x20);
}

static void test_rtc(void)
{
	u8 b = cmos(0x0b), first, second;
	u64 start, limit = (u64)tsc_per_ms() * 2500, edge;

	/* A whole second, from one change of the seconds to the next. */
	first = cmos(0);
	start = rdtsc();
	while (cmos(0) == first && rdtsc() - start < limit)
		cpu_relax();
	edge = rdtsc();
	second = cmos(0);
	check(second != first, "RTC seconds move");
	while (cmos(0) == second && rdtsc() - edge < limit)
		cpu_relax();
	edge = (rdtsc() - edge) / tsc_per_ms();
	check(edge >= 700 && edge <= 1500, "a second of the RTC: %u ms", (u32)edge);
	check((cmos(0x0d) & 0x80) != 0, "RTC: battery good");

	/* Periodic interrupt of 64 Hz through the PICs. */
	trap_set_handler(RTC_VECTOR, rtc_tick);
	apic_write(APIC_LVT_LINT0, LVT_EXTINT);
	pic_mask(~(u16)(1 << 8 | 1 << 2));
	outb(0x70, 0x0a);
	outb(0x71, 0x2a);
	outb(0x70, 0x0b);
	outb(0x71, b | 0x40);
	cmos(0x0c);
	rtc_ticks = 0;
	check_ticks(&rtc_ticks, 64, "periodic interrupts of the RTC");
	outb(0x70, 0x0b);
	outb(0x71, b);
	cmos(0x0c);
	pic_mask(0xffff);
	apic_write(APIC_LVT_LINT0, LVT_MASKED);
}

/* The rates that CPUID tells must be right. */
static void test_told_rates(void)
{
	struct cpuid r;

	if (cpuid(0, 0).a >= 0x15) {
		r = cpuid(0x15, 0);
		if (r.a && r.b && r.c)
			check_near((u32)((u64)r.c / 1000) * r.b / r.a, tsc_per_ms(),
				"CPUID 0x15: TSC rate in kHz");
	}
	if (cpuid(1, 0).c >> 31 && cpuid(0x40000000, 0).a >= 0x40000010) {
		r = cpuid(0x40000010, 0);
		if (r.a)
			check_near(r.a, tsc_per_ms(), "CPUID 0x40000010: TSC rate in kHz");
	}
}

static void test_monotonic(void)
{
	u64 last = rdtsc(), now;
	bool ok = true;
	int i;

	for (i = 0; i < 20000; i++) {
		now = rdtsc();
		ok = ok && now >= last;
		last = now;
	}
	check(ok, "the TSC never runs backwards");
}

void guest_main(void)
{
	trap_set_handler(TICK_VECTOR, tick);
	apic_enable();
	check(tsc_per_ms() > 1000, "TSC: %u cycles in a millisecond of the PIT", tsc_per_ms());
	test_monotonic();
	test_pm_timer();
	test_pit();
	test_apic_timer();
	test_rtc();
	test_told_rates();
}
