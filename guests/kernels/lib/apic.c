#include "apic.h"

bool x2apic_mode(void)
{
	return rdmsr(MSR_APIC_BASE) & APIC_BASE_X2APIC;
}

u32 apic_read(u32 reg)
{
	if (x2apic_mode())
		return rdmsr(0x800 + reg / 16);
	return *(volatile u32 *)(APIC_ADDRESS + reg);
}

void apic_write(u32 reg, u32 value)
{
	if (x2apic_mode())
		wrmsr(0x800 + reg / 16, value);
	else
		*(volatile u32 *)(APIC_ADDRESS + reg) = value;
}

void apic_icr(u32 dest, u32 low)
{
	if (x2apic_mode()) {
		/* WRMSR to an x2APIC does not wait for earlier stores. */
		asm volatile("mfence" : : : "memory");
		wrmsr(0x800 + APIC_ICR / 16, (u64)dest << 32 | low);
		return;
	}
	apic_write(APIC_ICR_HIGH, dest << 24);
	apic_write(APIC_ICR, low);
	while (apic_read(APIC_ICR) & ICR_PENDING)
		cpu_relax();
}

u32 apic_id(void)
{
	return x2apic_mode() ? apic_read(APIC_ID) : apic_read(APIC_ID) >> 24;
}

void apic_eoi(void)
{
	apic_write(APIC_EOI, 0);
}

void apic_enable(void)
{
	wrmsr(MSR_APIC_BASE, rdmsr(MSR_APIC_BASE) | APIC_BASE_ENABLE);
	apic_write(APIC_SPIV, 0x100 | SPURIOUS_VECTOR);
	apic_write(APIC_TPR, 0);
}

void x2apic_enable(void)
{
	wrmsr(MSR_APIC_BASE, rdmsr(MSR_APIC_BASE) | APIC_BASE_ENABLE | APIC_BASE_X2APIC);
	apic_enable();
}

bool apic_bit(u32 bank, int vector)
{
	return apic_read(bank + vector / 32 * 16) >> (vector & 31) & 1;
}

u32 ioapic_read(u32 index)
{
	*(volatile u32 *)IOAPIC_ADDRESS = index;
	return *(volatile u32 *)(IOAPIC_ADDRESS + 0x10);
}

void ioapic_write(u32 index, u32 value)
{
	*(volatile u32 *)IOAPIC_ADDRESS = index;
	*(volatile u32 *)(IOAPIC_ADDRESS + 0x10) = value;
}

void ioapic_route(int pin, u32 dest, u32 low)
{
	ioapic_write(0x10 + 2 * pin, IOAPIC_MASKED);
	ioapic_write(0x11 + 2 * pin, dest << 24);
	ioapic_write(0x10 + 2 * pin, low);
}

void pic_init(u8 first)
{
	outb(0x20, 0x11);
	outb(0xa0, 0x11);
	outb(0x21, first);
	outb(0xa1, first + 8);
	outb(0x21, 4);
	outb(0xa1, 2);
	outb(0x21, 1);
	outb(0xa1, 1);
	pic_mask(0xffff);
}

void pic_mask(u16 mask)
{
	outb(0x21, mask);
	outb(0xa1, mask >> 8);
}

void pit_set(int mode, u32 count)
{
	outb(0x43, 0x30 | mode << 1);
	outb(0x40, count);
	outb(0x40, count >> 8);
}

/*
 * The host may run something else at any time, also between two reads that belong together.
 * So a clock is read several times, and the reading counts that took the fewest cycles.
 */
struct clock_sample clock_sample(u32 (*read)(void))
{
	struct clock_sample best = {0, 0};
	u64 shortest = ~0ull;
	int i;

	for (i = 0; i < 16; i++) {
		u64 before = rdtsc();
		u32 value = read();
		u64 after = rdtsc();

		if (after - before < shortest) {
			shortest = after - before;
			best.tsc = before + (after - before) / 2;
			best.value = value;
		}
	}
	return best;
}

static u32 pit_read_channel_2(void)
{
	u8 low;

	outb(0x43, 0x80);
	low = inb(0x42);
	return low | inb(0x42) << 8;
}

u32 tsc_per_ms(void)
{
	static u32 result;
	struct clock_sample start, end;
	u64 cycles;

	while (!result) {
		/* Mode 0 counts once from 0xffff to 0, 55 ms. Its output, bit 5 of port 0x61, then
		 * rises. */
		outb(0x61, (inb(0x61) & ~2) | 1);
		outb(0x43, 0xb0);
		outb(0x42, 0xff);
		outb(0x42, 0xff);
		start = clock_sample(pit_read_channel_2);
		while (pit_read_channel_2() > 0x4000 && !(inb(0x61) & 0x20))
			cpu_relax();
		end = clock_sample(pit_read_channel_2);
		cycles = end.tsc - start.tsc;
		/* If we were away too long the count has gone round. 32 bits do for the division.
		 */
		if (!(inb(0x61) & 0x20) && start.value > end.value)
			result = (u32)(cycles >> 10) * (PIT_HZ / 1000) / (start.value - end.value)
				 << 10;
	}
	return result;
}

void delay_ms(u32 ms)
{
	u64 end = rdtsc() + (u64)tsc_per_ms() * ms;

	while (rdtsc() < end)
		cpu_relax();
}

bool wait_for(volatile u32 *counter, u32 want, u32 ms)
{
	u64 end = rdtsc() + (u64)tsc_per_ms() * ms;

	irq_enable();
	while (*counter < want && rdtsc() < end)
		cpu_relax();
	irq_disable();
	return *counter >= want;
}
