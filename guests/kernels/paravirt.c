/*
 * The paravirtual interface of KVM, for CPUs that outnumber the host's (Linux:
 * Documentation/virt/kvm/x86): kicks, interrupts to sets of CPUs, steal time, and flushes of the
 * TLB of a CPU that sleeps. tests/guest/run-kernels.sh runs it on one host processor.
 */
#include "paging.h"
#include "smp.h"

#define KVM_FEATURES 0x40000001
#define STEAL_TIME   (1 << 5)
#define PV_UNHALT    (1 << 7)
#define PV_TLB_FLUSH (1 << 9)
#define PV_SEND_IPI  (1 << 11)

#define MSR_STEAL_TIME 0x4b564d03
#define KICK_CPU       5
#define SEND_IPI       10
#define SCHED_YIELD    11

#define IPI_VECTOR  0x40
#define TICK_VECTOR 0x41
#define PAGE_VA     TEST_VA
#define ROUNDS      50

struct steal_record {
	volatile u64 steal;
	volatile u32 version;
	u32 flags;
	volatile u8 preempted;
	u8 unused[47];
};

static u32 cpus;
static volatile u32 received[MAX_CPUS], received_total, nmis, woken, ready, stop;
static struct steal_record records[MAX_CPUS] __attribute__((aligned(64)));

static long hypercall(ulong number, ulong a, ulong b, ulong c, ulong d)
{
	long result;

	if (cpu_is_amd())
		asm volatile("vmmcall"
			     : "=a"(result)
			     : "a"(number), "b"(a), "c"(b), "d"(c), "S"(d)
			     : "memory");
	else
		asm volatile("vmcall"
			     : "=a"(result)
			     : "a"(number), "b"(a), "c"(b), "d"(c), "S"(d)
			     : "memory");
	return result;
}

static void count(volatile u32 *counter)
{
	asm volatile("lock incl %0" : "+m"(*counter) : : "cc", "memory");
}

static void receive(struct trap_frame *f)
{
	count(&received[smp_cpu()]);
	count(&received_total);
	apic_eoi();
}

static void receive_nmi(struct trap_frame *f)
{
	count(&nmis);
}

static void tick(struct trap_frame *f)
{
	apic_eoi();
}

static ulong id_of(u32 cpu)
{
	return smp_apic_ids[cpu];
}

/* The set of all CPUs but this one, counted from APIC ID `first`. */
static ulong others(ulong first)
{
	ulong set = 0;
	u32 cpu;

	for (cpu = 1; cpu < cpus; cpu++)
		if (id_of(cpu) >= first)
			set |= 1ul << (id_of(cpu) - first);
	return set;
}

/* --- interrupts to sets --- */

static void listen(u32 cpu)
{
	count(&ready);
	while (!stop)
		irq_wait();
}

static void expect(volatile u32 *counter, u32 want, const char *what)
{
	check(wait_for(counter, want, 10000), "%s: %u arrived", what, *counter);
	delay_ms(2);
	check_eq(*counter, want, "%s: no more than that", what);
}

static void test_ipis(void)
{
	u32 cpu;

	trap_set_handler(IPI_VECTOR, receive);
	trap_set_handler(NMI_VECTOR, receive_nmi);
	stop = ready = 0;
	for (cpu = 1; cpu < cpus; cpu++)
		smp_run(cpu, listen);
	while (ready < cpus - 1)
		cpu_relax();
	check_eq(hypercall(SEND_IPI, others(0), 0, 0, ICR_ASSERT | IPI_VECTOR), cpus - 1,
		"IPI to a set: how many took it");
	expect(&received_total, cpus - 1, "IPI to a set");
	for (cpu = 0; cpu < cpus; cpu++)
		check_eq(received[cpu], cpu != 0, "IPI to a set: CPU %u", cpu);

	received_total = 0;
	hypercall(SEND_IPI, others(0), 0, 0, 0x100 | IPI_VECTOR);
	expect(&received_total, cpus - 1, "lowest priority goes to each of the set");

	/* The second word begins 64 IDs after the first. */
	received_total = 0;
	check_eq(hypercall(SEND_IPI, others(1), others(0), 1, IPI_VECTOR), cpus - 1,
		"an ID beyond the last CPU takes nothing");
	expect(&received_total, cpus - 1, "IPI to a set that does not begin at 0");

	check_eq(hypercall(SEND_IPI, others(0), 0, 0, ICR_NMI), cpus - 1, "NMI to a set");
	expect(&nmis, cpus - 1, "NMI to a set");
	check_eq(hypercall(SEND_IPI, 1, 0, 0, ICR_ALL | IPI_VECTOR), -22, "no shorthands");
	check_eq(hypercall(SCHED_YIELD, id_of(1), 0, 0, 0), 0, "yield");
	check_eq(hypercall(1000, 0, 0, 0, 0), -1000, "a call that there is not");
	stop = 1;
	hypercall(SEND_IPI, others(0), 0, 0, IPI_VECTOR);
	for (cpu = 1; cpu < cpus; cpu++)
		check(smp_wait(cpu, 10000), "CPU %u has woken up", cpu);
}

/* --- kicks --- */

static void halt_often(u32 cpu)
{
	u32 i;

	for (i = 0; i < ROUNDS; i++) {
		asm volatile("cli; hlt" : : : "memory");
		count(&woken);
	}
}

/* The CPU halts with interrupts off, so nothing but a kick wakes it. Every second kick comes at
 * once, perhaps before the halt. */
static void test_kicks(void)
{
	u32 i;

	woken = 0;
	smp_run(1, halt_often);
	for (i = 1; i <= ROUNDS; i++) {
		if (i & 1)
			delay_ms(1);
		check_eq(woken, i - 1, "kick %u: asleep before", i);
		hypercall(KICK_CPU, 0, id_of(1), 0, 0);
		if (!wait_for(&woken, i, 10000))
			break;
	}
	check_eq(woken, ROUNDS, "kicks end HLT");
	check(smp_wait(1, 10000), "the CPU that was kicked is done");
}

/* --- flushes --- */

static volatile u32 seen, rounds;

static u32 read_page(void)
{
	u32 i, value = 0;

	for (i = 0; i < 3000; i++)
		value = *(volatile u32 *)PAGE_VA;
	return value;
}

static void read_between_halts(u32 cpu)
{
	u32 i;

	wrmsr(MSR_STEAL_TIME, (ulong)&records[cpu] | 1);
	for (i = 0; i < ROUNDS; i++) {
		read_page();
		count(&rounds);
		asm volatile("cli; hlt" : : : "memory");
		seen = *(volatile u32 *)PAGE_VA;
		count(&woken);
	}
	wrmsr(MSR_STEAL_TIME, 0);
}

static bool exchange(volatile u8 *byte, u8 expected, u8 value)
{
	bool done;

	asm volatile("lock cmpxchgb %3, %1"
		     : "=@ccz"(done), "+m"(*byte), "+a"(expected)
		     : "q"(value)
		     : "memory");
	return done;
}

static void test_flushes(void)
{
	volatile u8 *preempted = &records[1].preempted;
	u8 *frames[2] = {page_alloc(), page_alloc()};
	u32 i, wrong = 0, asked = 0;

	map_page(&boot_space, PAGE_VA, (ulong)frames[0], PTE_P | PTE_W);
	woken = 0;
	smp_run(1, read_between_halts);
	for (i = 1; i <= ROUNDS; i++) {
		u8 *frame = frames[i & 1];

		*(volatile u32 *)frame = i;
		if (!wait_for(&rounds, i, 10000))
			break;
		while (!*preempted)
			cpu_relax();
		pte_set(&boot_space, PAGE_VA, 1, (ulong)frame | PTE_P | PTE_W);
		asked += exchange(preempted, 1, 3);
		hypercall(KICK_CPU, 0, id_of(1), 0, 0);
		if (!wait_for(&woken, i, 10000))
			break;
		wrong += seen != i;
	}
	check_eq(woken, ROUNDS, "a CPU that sleeps has `preempted` set");
	check_eq(asked, ROUNDS, "and keeps it");
	check_eq(wrong, 0, "its TLB is flushed before it runs");
	check(smp_wait(1, 10000), "the CPU that was flushed is done");
	check_eq(*preempted, 0, "a CPU that runs has `preempted` clear");
}

/* --- steal time --- */

/* The record is brought up to date when an interrupt is taken. */
static void spin(u32 cpu)
{
	u32 i;

	wrmsr(MSR_STEAL_TIME, (ulong)&records[cpu] | 1);
	irq_enable();
	for (i = 0; i < 40; i++) {
		u64 end = rdtsc() + 5ull * tsc_per_ms();

		while (rdtsc() < end)
			;
		apic_icr(0, ICR_SELF | ICR_ASSERT | TICK_VECTOR);
	}
	irq_disable();
}

static void test_steal(void)
{
	bool even = true;
	u64 sum = 0;
	u32 cpu;

	trap_set_handler(TICK_VECTOR, tick);
	tsc_per_ms();
	check(smp_run_all(cpus, spin, 30000), "all CPUs compute");
	for (cpu = 0; cpu < cpus; cpu++) {
		even = even && !(records[cpu].version & 1) && records[cpu].version;
		sum += records[cpu].steal;
	}
	check(even, "versions are even and have moved on");
	/* CPUs run for 200 ms each, on one host processor. */
	check(sum > 100000000, "time was stolen: %u ms", (u32)(sum / 1000000));
}

void guest_main(void)
{
	u32 want = STEAL_TIME | PV_UNHALT | PV_TLB_FLUSH | PV_SEND_IPI;

	cpus = boot_option("cpus", 2);
	if (!check(cpus > 1 && smp_start(cpus), "%u CPUs run", cpus))
		return;
	if (!check_eq(cpuid(KVM_FEATURES, 0).a & want, want, "features"))
		return;
	test_ipis();
	test_kicks();
	test_flushes();
	test_steal();
}
