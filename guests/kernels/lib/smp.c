#include "smp.h"

extern u8 ap_start[], ap_end[];
void ap_main(u32 cpu);

volatile u32 smp_online = 1;
volatile u32 smp_apic_ids[MAX_CPUS];
volatile u32 smp_next_cpu = 1;
volatile struct smp_reset_state smp_reset_state;
u8 smp_stacks[MAX_CPUS][8192] __attribute__((aligned(4096)));
static void (*volatile jobs[MAX_CPUS])(u32 cpu);

#define JOB_VECTOR 0xfe

static void job_arrived(struct trap_frame *f)
{
	apic_eoi();
}

/* Sleeps rather than spins: a host may have fewer CPUs than we have. */
static void wait_for_job(u32 cpu)
{
	int i;

	for (i = 0; i < 1000 && !jobs[cpu]; i++)
		cpu_relax();
	irq_disable();
	while (!jobs[cpu])
		irq_wait();
}

/* The other CPUs arrive here, from ap_entry in smp_entry.S. */
void ap_main(u32 cpu)
{
	if (cpu >= MAX_CPUS)
		for (;;)
			asm volatile("cli; hlt");
	lidt(256 * 2 * sizeof(ulong) - 1, (ulong)idt_base());
	apic_enable();
	smp_apic_ids[cpu] = apic_id();
	asm volatile("lock incl %0" : "+m"(smp_online) : : "cc", "memory");
	for (;;) {
		wait_for_job(cpu);
		jobs[cpu](cpu);
		jobs[cpu] = NULL;
	}
}

bool smp_start(u32 count)
{
	u64 end;

	trap_set_handler(JOB_VECTOR, job_arrived);
	memcpy((void *)AP_START, ap_start, ap_end - ap_start);
	apic_enable();
	smp_apic_ids[0] = apic_id();
	apic_icr(0, ICR_OTHERS | ICR_ASSERT | ICR_INIT);
	delay_ms(10);
	apic_icr(0, ICR_OTHERS | ICR_ASSERT | ICR_STARTUP | AP_START >> 12);
	end = rdtsc() + (u64)tsc_per_ms() * 5000;
	while (smp_online < count && rdtsc() < end)
		cpu_relax();
	return smp_online >= count;
}

void smp_run(u32 cpu, void (*fn)(u32 cpu))
{
	asm volatile("" : : : "memory");
	jobs[cpu] = fn;
	apic_icr(smp_apic_ids[cpu], ICR_ASSERT | JOB_VECTOR);
}

bool smp_wait(u32 cpu, u32 ms)
{
	u64 end = rdtsc() + (u64)tsc_per_ms() * ms;

	while (jobs[cpu] && rdtsc() < end)
		cpu_relax();
	asm volatile("" : : : "memory");
	return !jobs[cpu];
}

bool smp_run_all(u32 count, void (*fn)(u32 cpu), u32 ms)
{
	bool ok = true;
	u32 cpu;

	for (cpu = 1; cpu < count; cpu++)
		smp_run(cpu, fn);
	fn(0);
	for (cpu = 1; cpu < count; cpu++)
		ok = smp_wait(cpu, ms) && ok;
	return ok;
}

u32 smp_cpu(void)
{
	u32 id = apic_id(), cpu;

	for (cpu = 0; cpu < MAX_CPUS; cpu++)
		if (cpu < smp_online && smp_apic_ids[cpu] == id)
			return cpu;
	return 0;
}
