/*
 * S3 and back, without firmware: what is kept, what a processor and the devices are afterwards, and
 * that the boot processor starts at the waking vector in the FACS (ACPI 6.4, chapter 16). The
 * clock's alarm wakes us. The vector is where other processors start, too, so it arrives as one of
 * them: processor 1, whose job is waiting.
 */
#include "smp.h"

#define PM1_STATUS  0x600
#define PM1_ENABLE  0x602
#define PM1_CONTROL 0x604
#define ELCR        0x4d0

#define RTC_BIT  (1 << 10)
#define WAKE_BIT (1 << 15)
#define SCI_EN   1
#define SLP_S3   (1 << 10)
#define SLP_EN   (1 << 13)

#define MSR_APIC_BASE   0x1b
#define MSR_SYSENTER_CS 0x174

#define SECONDS       0
#define REGISTER_B    11
#define REGISTER_C    12
#define SHUTDOWN_BYTE 0x0f
#define ALARM_ENABLE  0x20

static u8 pattern[65536];
static u8 elcr_of_firmware;
static u32 sleeps;

static u8 cmos(u8 index)
{
	outb(0x70, index);
	return inb(0x71);
}

static void set_cmos(u8 index, u8 value)
{
	outb(0x70, index);
	outb(0x71, value);
}

static u8 *find_facs(void)
{
	u8 *at;

	for (at = (u8 *)0xe0000; at < (u8 *)0x100000; at += 64)
		if (!memcmp(at, "FACS", 4))
			return at;
	return NULL;
}

/* Each minute has one such second. */
static void set_alarm(u32 seconds)
{
	u8 now = cmos(SECONDS);
	u32 at = ((now >> 4) * 10 + (now & 15) + seconds) % 60;

	set_cmos(1, at / 10 << 4 | at % 10);
	set_cmos(3, 0xff);
	set_cmos(5, 0xff);
	set_cmos(REGISTER_B, 0x02 | ALARM_ENABLE);
	cmos(REGISTER_C);
}

static void woken(u32 cpu);

static void sleep(void)
{
	u32 i;

	for (i = 0; i < sizeof(pattern); i++)
		pattern[i] = i * 7 + sleeps;
	sleeps++;
	set_alarm(2);
	outw(PM1_STATUS, 0xffff);
	outw(PM1_ENABLE, RTC_BIT);
	set_cmos(SHUTDOWN_BYTE, 0x0a);
	outb(ELCR, elcr_of_firmware | 0x20);
	wrmsr(MSR_SYSENTER_CS, 0x1234);
	smp_run(sleeps, woken);
	irq_disable();
	outw(PM1_CONTROL, SLP_S3 | SLP_EN | SCI_EN);
	delay_ms(2000);
	check(false, "sleep %u", sleeps);
	guest_finish();
}

static void woken(u32 cpu)
{
	bool kept = true;
	u32 i;

	irq_disable();
	for (i = 0; i < sizeof(pattern); i++)
		kept = kept && pattern[i] == (u8)(i * 7 + sleeps - 1);
	check(kept, "RAM is kept");
	check_eq(cpu, sleeps, "one processor is woken");
	check_eq(smp_reset_state.cs, AP_START >> 4, "CS at the waking vector");
	check_eq(smp_reset_state.cr0, CR0_CD | CR0_NW | CR0_ET, "CR0 at the waking vector");
	check_eq(rdmsr(MSR_APIC_BASE) & 0x900, 0x900, "it is the boot processor");
	check_eq(rdmsr(MSR_SYSENTER_CS), 0, "its registers are as after a reset");
	check_eq(inw(PM1_STATUS), WAKE_BIT | RTC_BIT, "who woke it");
	check_eq(inw(PM1_ENABLE), RTC_BIT, "PM1 enable is kept");
	check_eq(inw(PM1_CONTROL), SLP_S3 | SCI_EN, "PM1 control: ACPI mode, and the sleep's type");
	check_eq(cmos(SHUTDOWN_BYTE), 0x0a, "CMOS memory is kept");
	check_eq(cmos(REGISTER_C) & 0xa0, 0xa0, "the alarm has gone off");
	check_eq(inb(ELCR), elcr_of_firmware, "devices are as firmware sets them up");
	if (sleeps < 2)
		sleep();
	guest_finish();
}

void guest_main(void)
{
	u8 *facs = find_facs();
	u32 vector = AP_START;

	if (!check(facs != NULL, "there is a FACS"))
		return;
	smp_start(1);
	elcr_of_firmware = inb(ELCR);
	memcpy(facs + 12, &vector, sizeof(vector));
	sleep();
}
