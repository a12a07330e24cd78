/*
 * Several CPUs: what INIT-SIPI makes of a CPU, interrupts between them, TLB shootdown, code that
 * one CPU changes for another, and the orders of memory that x86 promises (SDM vol. 3A, chapter 9).
 */
#include "paging.h"
#include "smp.h"

#define IPI_VECTOR       0x40
#define SHOOTDOWN_VECTOR 0x41
#define WAKE_VECTOR      0x42
#define PAGE_VA          TEST_VA
#define CODE_VA          (TEST_VA + 0x1000)

static u32 cpus;
static volatile u32 ready, mistakes;
static volatile u32 received[MAX_CPUS], received_total, nmis;

static void count(volatile u32 *counter)
{
	asm volatile("lock incl %0" : "+m"(*counter) : : "cc", "memory");
}

static void meet(void)
{
	count(&ready);
	while (ready < cpus)
		cpu_relax();
}

static bool run_on_all(void (*fn)(u32 cpu))
{
	ready = 0;
	mistakes = 0;
	return smp_run_all(cpus, fn, 30000);
}

static void test_reset_state(void)
{
	u32 i, j;
	bool distinct = true;

	check_eq(smp_reset_state.cs, AP_START >> 4, "CS after SIPI");
	check_eq(smp_reset_state.cr0 & ~(CR0_CD | CR0_NW), CR0_ET, "CR0 after INIT");
	for (i = 0; i < cpus; i++)
		for (j = 0; j < i; j++)
			distinct = distinct && smp_apic_ids[i] != smp_apic_ids[j];
	check(distinct, "every CPU has an APIC ID of its own");
	check_eq(smp_online, cpus, "no CPU started twice");
	/* A CPU that runs does not listen to SIPI. */
	apic_icr(0, ICR_OTHERS | ICR_ASSERT | ICR_STARTUP | AP_START >> 12);
	delay_ms(20);
	check_eq(smp_online, cpus, "SIPI to CPUs that run does nothing");
}

static volatile u32 cpuid_ids[MAX_CPUS];
static volatile u64 apic_bases[MAX_CPUS];

static void note_identity(u32 cpu)
{
	cpuid_ids[cpu] = cpuid(1, 0).b >> 24;
	apic_bases[cpu] = rdmsr(MSR_APIC_BASE);
}

static void test_identity(void)
{
	u32 i;

	run_on_all(note_identity);
	for (i = 0; i < cpus; i++) {
		check_eq(cpuid_ids[i], smp_apic_ids[i], "CPU %u: APIC ID in CPUID", i);
		check_eq(apic_bases[i] & (APIC_BASE_BSP | APIC_BASE_ENABLE),
			(i == 0 ? APIC_BASE_BSP : 0) | APIC_BASE_ENABLE, "CPU %u: IA32_APIC_BASE",
			i);
	}
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

static volatile u32 stop_listening;

/* Interrupts on until told to stop; HLT in between. */
static void listen(u32 cpu)
{
	count(&ready);
	while (!stop_listening)
		irq_wait();
	irq_disable();
}

static void listen_all(void)
{
	u32 cpu;

	ready = 1;
	stop_listening = 0;
	for (cpu = 1; cpu < cpus; cpu++)
		smp_run(cpu, listen);
	while (ready < cpus)
		cpu_relax();
}

static bool listen_end(void)
{
	bool ok = true;
	u32 cpu;

	stop_listening = 1;
	apic_icr(0, ICR_OTHERS | ICR_ASSERT | WAKE_VECTOR);
	for (cpu = 1; cpu < cpus; cpu++)
		ok = smp_wait(cpu, 2000) && ok;
	return ok;
}

static void wake(struct trap_frame *f)
{
	apic_eoi();
}

static void expect_received(u32 total, const char *what)
{
	check(wait_for(&received_total, total, 2000), "%s: %u arrived", what, received_total);
	delay_ms(2);
	check_eq(received_total, total, "%s: no more than that", what);
}

static void test_ipis(void)
{
	u32 i, cpu;

	trap_set_handler(IPI_VECTOR, receive);
	trap_set_handler(WAKE_VECTOR, wake);
	trap_set_handler(NMI_VECTOR, receive_nmi);
	listen_all();
	for (cpu = 0; cpu < cpus; cpu++) {
		received_total = received[cpu] = 0;
		for (i = 0; i < 50; i++) {
			apic_icr(smp_apic_ids[cpu], ICR_ASSERT | IPI_VECTOR);
			wait_for(&received_total, i + 1, 2000);
		}
		check_eq(received[cpu], 50, "IPIs to CPU %u", cpu);
	}
	received_total = 0;
	apic_icr(0, ICR_OTHERS | ICR_ASSERT | IPI_VECTOR);
	expect_received(cpus - 1, "IPI to all others");
	received_total = 0;
	apic_icr(0, ICR_ALL | ICR_ASSERT | IPI_VECTOR);
	expect_received(cpus, "IPI to all");
	received_total = 0;
	apic_icr(0, ICR_SELF | ICR_ASSERT | IPI_VECTOR);
	expect_received(1, "IPI to self");
	received_total = 0;
	if (!x2apic_mode()) {
		apic_icr(0xff, ICR_ASSERT | IPI_VECTOR);
		expect_received(cpus, "IPI to destination 0xff");
	}
	/* No CPU has this ID. */
	received_total = 0;
	apic_icr(0xe0, ICR_ASSERT | IPI_VECTOR);
	delay_ms(5);
	check_eq(received_total, 0, "IPI to an ID that nobody has");
	nmis = 0;
	apic_icr(smp_apic_ids[1], ICR_ASSERT | ICR_NMI);
	check(wait_for(&nmis, 1, 2000), "NMI to a CPU");
	check(listen_end(), "every CPU wakes from HLT");

	/* NMI does not ask for IF. */
	nmis = 0;
	apic_icr(0, ICR_OTHERS | ICR_ASSERT | ICR_NMI);
	check(wait_for(&nmis, cpus - 1, 2000), "NMI to all others with interrupts off: %u", nmis);
}

/* Two CPUs play ball by IPI: each waits in HLT for the other. */
#define VOLLEYS 500
static volatile u32 ball;

static void play(u32 cpu)
{
	u32 other = smp_apic_ids[cpu ^ 1], i;

	meet();
	if (cpu > 1)
		return;
	for (i = cpu; i < VOLLEYS; i += 2) {
		irq_disable();
		while (ball != i)
			irq_wait();
		ball = i + 1;
		apic_icr(other, ICR_ASSERT | WAKE_VECTOR);
	}
}

/* Shootdown: after the answer no CPU may use the old translation. */
static u8 *frames[2];
static volatile u32 answers, round_done;

static void shoot(struct trap_frame *f)
{
	invlpg(PAGE_VA);
	count(&answers);
	apic_eoi();
}

static void use_page(u32 cpu)
{
	count(&ready);
	irq_enable();
	while (!stop_listening) {
		u32 before = round_done;
		u32 seen = *(volatile u32 *)PAGE_VA;

		/* The page is that of the round, or of one that was not over when we looked. */
		if (seen < before)
			mistakes++;
	}
	irq_disable();
}

static void test_shootdown(void)
{
	u32 cpu, i;

	trap_set_handler(SHOOTDOWN_VECTOR, shoot);
	for (i = 0; i < 2; i++) {
		frames[i] = page_alloc();
		*(volatile u32 *)frames[i] = 0;
	}
	map_page(&boot_space, PAGE_VA, (ulong)frames[0], PTE_P | PTE_W);
	ready = 1;
	mistakes = stop_listening = round_done = 0;
	for (cpu = 1; cpu < cpus; cpu++)
		smp_run(cpu, use_page);
	while (ready < cpus)
		cpu_relax();
	for (i = 1; i <= 60; i++) {
		u8 *frame = frames[i & 1];

		*(volatile u32 *)frame = i;
		answers = 0;
		map_page(&boot_space, PAGE_VA, (ulong)frame, PTE_P | PTE_W);
		apic_icr(0, ICR_OTHERS | ICR_ASSERT | SHOOTDOWN_VECTOR);
		if (!wait_for(&answers, cpus - 1, 20000))
			break;
		round_done = i;
	}
	check_eq(i, 61, "TLB shootdown: all CPUs answer");
	stop_listening = 1;
	for (cpu = 1; cpu < cpus; cpu++)
		smp_wait(cpu, 20000);
	check_eq(mistakes, 0, "TLB shootdown: nobody sees the old page");
}

/*
 * The CPU sets A and D by a locked operation. A page table entry that another CPU has exchanged for
 * 0 must stay 0, and what the exchange returns must tell the write that went through.
 */
static volatile u32 walks;

static void walker_fault(struct trap_frame *f)
{
	f->ip = f->ax; /* walk_page keeps the address to go on at there */
}

static void walk_page(u32 cpu)
{
	while (!stop_listening) {
		asm volatile("invlpg (%0); mov $1f, %%rax; movl $1, (%0); 1:"
			     :
			     : "r"(PAGE_VA)
			     : "rax", "memory");
		walks++;
	}
}

/* Waits until CPU 1 is not in the middle of a walk that it began before. */
static void walker_settle(void)
{
	u32 start = walks;

	while (walks - start < 2)
		cpu_relax();
}

static void test_accessed_dirty(void)
{
	volatile u64 *pte = pte_slot(&boot_space, PAGE_VA, 1);
	u64 valid = (ulong)frames[0] | PTE_P | PTE_W, old;
	u32 i, j, resurrected = 0, lost = 0;

	trap_set_handler(PF_VECTOR, walker_fault);
	stop_listening = 0;
	*pte = 0;
	smp_run(1, walk_page);
	walker_settle();
	for (i = 0; i < 300; i++) {
		*(volatile u32 *)frames[0] = 0;
		*pte = valid;
		for (j = 0; j < i % 64; j++)
			cpu_relax();
		old = 0;
		asm volatile("xchg %0, %1" : "+r"(old), "+m"(*pte) : : "memory");
		/* A store that still goes through had set D before the exchange. */
		for (j = 0; j < 100; j++)
			resurrected += *pte != 0;
		walker_settle();
		resurrected += *pte != 0;
		if (*(volatile u32 *)frames[0] && !(old & PTE_D))
			lost++;
	}
	stop_listening = 1;
	smp_wait(1, 20000);
	trap_set_handler(PF_VECTOR, NULL);
	check_eq(resurrected, 0, "a walk does not bring a cleared entry back");
	check_eq(lost, 0, "no write without the dirty flag");
}

/* Code that CPU 0 changes while the others wait, then run (SDM vol. 3A 9.1.3). */
static volatile u32 code_version, code_acks;

static void run_changing_code(u32 cpu)
{
	ulong (*code)(void) = (ulong(*)(void))CODE_VA;
	u32 version = 0;

	if (cpu == 0)
		return;
	while (version < 60) {
		while (code_version == version)
			cpu_relax();
		version = code_version;
		cpuid(0, 0);
		if (code() != version)
			mistakes++;
		count(&code_acks);
	}
}

static void test_cross_modifying(void)
{
	u32 *immediate = (u32 *)(CODE_VA + 1);
	u32 cpu, i;

	map_page(&boot_space, CODE_VA, (ulong)page_alloc(), PTE_P | PTE_W);
	*(u8 *)CODE_VA = 0xb8; /* mov $..., %eax; ret */
	*(u8 *)(CODE_VA + 5) = 0xc3;
	mistakes = 0;
	for (cpu = 1; cpu < cpus; cpu++)
		smp_run(cpu, run_changing_code);
	for (i = 1; i <= 60; i++) {
		*immediate = i;
		code_acks = 0;
		code_version = i;
		if (!wait_for(&code_acks, cpus - 1, 20000))
			break;
	}
	check_eq(i, 61, "cross-modifying code: all CPUs answer");
	check_eq(mistakes, 0, "cross-modifying code: all run the new code");
}

/*
 * A loop that another CPU changes without asking: it must in the end see the change. The loop jumps
 * to itself until its first byte, the opcode of a jump, becomes that of a return.
 */
static volatile u32 spinning;

static void spin_in_code(u32 cpu)
{
	if (cpu != 1)
		return;
	spinning = 1;
	((void (*)(void))CODE_VA)();
	spinning = 2;
}

static void test_loop_ended_by_store(void)
{
	u32 i, ended = 0;

	for (i = 0; i < 20; i++) {
		*(volatile u16 *)CODE_VA = 0xfeeb; /* jmp . */
		spinning = 0;
		smp_run(1, spin_in_code);
		while (!spinning)
			cpu_relax();
		delay_ms(1);
		*(volatile u8 *)CODE_VA = 0xc3;
		ended += wait_for(&spinning, 2, 2000);
		if (ended != i + 1)
			break;
		smp_wait(1, 20000);
	}
	check_eq(ended, 20, "a loop that another CPU's store ends");
}

/*
 * Litmus tests, CPUs 0 and 1. Each round both do one store or load after the other, as close in
 * time as a spinning start can make it.
 */
#define LITMUS_ROUNDS 3000
static volatile u32 x __attribute__((aligned(64))), y __attribute__((aligned(64)));
static volatile u32 litmus_round[2] __attribute__((aligned(64)));
static u32 seen[2][LITMUS_ROUNDS];

static void litmus_start(u32 cpu, u32 round)
{
	litmus_round[cpu] = round;
	asm volatile("mfence" : : : "memory");
	while (litmus_round[cpu ^ 1] < round)
		;
}

/* Store buffering with a fence: not both CPUs may miss the other's store. */
static void store_buffering(u32 cpu)
{
	u32 round;

	if (cpu > 1)
		return;
	for (round = 1; round < LITMUS_ROUNDS; round++) {
		volatile u32 *mine = cpu ? &y : &x, *other = cpu ? &x : &y;

		litmus_start(cpu, round);
		*mine = round;
		if (round & 1)
			asm volatile("mfence" : : : "memory");
		else
			asm volatile("lock addl $0, (%%rsp)" : : : "cc", "memory");
		seen[cpu][round] = *other;
	}
}

/* Message passing: a CPU that sees the flag sees the data. No fence is needed. */
static void message_passing(u32 cpu)
{
	u32 i, flag, data;

	if (cpu > 1)
		return;
	meet();
	for (i = 1; i < LITMUS_ROUNDS * 5; i++) {
		if (cpu == 0) {
			x = i;
			asm volatile("" : : : "memory");
			y = i;
		} else {
			flag = y;
			asm volatile("" : : : "memory");
			data = x;
			if (data < flag)
				mistakes++;
		}
	}
}

static void test_ordering(void)
{
	u32 round, both_missed = 0;

	x = y = litmus_round[0] = litmus_round[1] = 0;
	run_on_all(store_buffering);
	for (round = 1; round < LITMUS_ROUNDS; round++)
		both_missed += seen[0][round] < round && seen[1][round] < round;
	check_eq(both_missed, 0, "store buffering with a fence");
	x = y = 0;
	ready = cpus - 2; /* only two meet */
	mistakes = 0;
	smp_run_all(cpus, message_passing, 30000);
	check_eq(mistakes, 0, "message passing");
}

/* A sequence lock: readers never take a torn pair. */
static volatile u32 sequence, first, second;

static void sequence_lock(u32 cpu)
{
	u32 i, start, a, b;

	meet();
	for (i = 0; i < LITMUS_ROUNDS * 3; i++) {
		if (cpu == 0) {
			sequence++;
			first = i;
			second = i;
			sequence++;
			continue;
		}
		start = sequence;
		a = first;
		b = second;
		if (!(start & 1) && sequence == start && a != b)
			count(&mistakes);
	}
}

/* The TSC of a CPU is not behind what another read before (it is invariant and synchronous). */
static volatile u64 latest_tsc;

static void compare_tsc(u32 cpu)
{
	u32 i;

	meet();
	for (i = 0; i < LITMUS_ROUNDS; i++) {
		u64 before = latest_tsc, now;

		asm volatile("lfence" : : : "memory");
		now = rdtsc();
		if (now < before)
			count(&mistakes);
		asm volatile("lock cmpxchg %1, %0"
			     : "+m"(latest_tsc), "+r"(now)
			     : "a"(before)
			     : "cc", "memory");
	}
}

/* INIT takes a CPU out of whatever it does; SIPI starts it again. */
static void hang(u32 cpu)
{
	count(&ready);
	for (;;)
		asm volatile("cli; hlt");
}

static void test_restart(void)
{
	u32 id = smp_apic_ids[1], online = smp_online;

	ready = 0;
	smp_run(1, hang);
	while (!ready)
		cpu_relax();
	apic_icr(id, ICR_ASSERT | ICR_INIT);
	delay_ms(10);
	check_eq(smp_online, online, "a CPU waits after INIT");
	apic_icr(id, ICR_ASSERT | ICR_STARTUP | AP_START >> 12);
	check(wait_for(&smp_online, online + 1, 2000), "INIT and SIPI bring a hung CPU back");
	check_eq(smp_apic_ids[online], id, "it has its APIC ID again");
	check_eq(smp_reset_state.cr0 & ~(CR0_CD | CR0_NW), CR0_ET, "its CR0 after INIT");
}

void guest_main(void)
{
	cpus = boot_option("cpus", 2);
	if (!check(cpus > 1 && smp_start(cpus), "%u CPUs run", cpus))
		return;
	test_reset_state();
	test_identity();
	test_ipis();
	ball = 0;
	check(run_on_all(play) && ball == VOLLEYS, "two CPUs wake each other: %u times", ball);
	test_shootdown();
	test_accessed_dirty();
	test_cross_modifying();
	test_loop_ended_by_store();
	test_ordering();
	run_on_all(sequence_lock);
	check_eq(mistakes, 0, "a sequence lock");
	run_on_all(compare_tsc);
	check_eq(mistakes, 0, "TSC of all CPUs together");
	test_restart();
}
