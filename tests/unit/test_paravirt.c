/* The paravirtual interface of KVM: hypercalls, kicks, steal time and what hangs on its record. */
#include "cpu/steal_time.h"
#include "cpu_fixture.h"
#include "host/run_delay.h"

#include <pthread.h>
#include <sched.h>
#include <unistd.h>

#define MSR_STEAL_TIME 0x4b564d03
#define RECORD         UINT64_C(0x300040)
#define STEAL          RECORD
#define VERSION        (RECORD + 8)
#define PREEMPTED      (RECORD + 16)

#define KICK_CPU    5
#define SEND_IPI    10
#define SCHED_YIELD 11
#define EPERM_      (-1)
#define EINVAL_     (-22)
#define ENOSYS_     (-1000)

static struct {
	unsigned count;
	uint32_t id[8];
	uint8_t delivery, vector;
} sent;

/* APIC ID 2 takes nothing. */
static bool note_sent(void *opaque, uint32_t id, uint8_t delivery, uint8_t vector)
{
	if (id == 2)
		return false;
	sent.id[sent.count++ & 7] = id;
	sent.delivery = delivery;
	sent.vector = vector;
	return true;
}

static int64_t call(uint64_t number, uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
	sent.count = 0;
	cpu->gpr[RAX] = number;
	cpu->gpr[RBX] = a;
	cpu->gpr[RCX] = b;
	cpu->gpr[RDX] = c;
	cpu->gpr[RSI] = d;
	insn_hypercall(cpu);
	return (int64_t)cpu->gpr[RAX];
}

static void connect_many(unsigned count)
{
	static struct cpu *cpus[128];

	for (unsigned i = 0; i < ARRAY_SIZE(cpus); i++)
		cpus[i] = cpu;
	platform.cpus = cpus;
	platform.cpu_count = count;
	platform.apic_send = note_sent;
}

static void ipis_to_sets(void **state)
{
	connect_many(100);
	enter_long(0);
	assert_int_equal(call(SEND_IPI, 0xb, 0, 0, 0x4041), 3);
	assert_int_equal(sent.id[0], 0);
	assert_int_equal(sent.id[2], 3);
	assert_int_equal(sent.vector, 0x41);
	assert_int_equal(sent.delivery, 0);
	/* The second word goes on where the first ends; beyond the last vCPU is nobody. */
	assert_int_equal(call(SEND_IPI, UINT64_C(1) << 63, UINT64_C(1) << 63 | 1, 10, 0x400), 2);
	assert_int_equal(sent.id[0], 73);
	assert_int_equal(sent.id[1], 74);
	assert_int_equal(sent.delivery, 4);
	/* What is not taken is not counted. */
	assert_int_equal(call(SEND_IPI, 0xc, 0, 0, 0x41), 1);
	/* Neither all, nor round to the first. */
	assert_int_equal(call(SEND_IPI, ~UINT64_C(0), ~UINT64_C(0), UINT32_MAX, 0x41), 0);
	assert_int_equal(sent.count, 0);
	/* Shorthands and logical destinations. */
	assert_int_equal(call(SEND_IPI, 1, 0, 0, 0x40041), EINVAL_);
	assert_int_equal(call(SEND_IPI, 1, 0, 0, 0x80041), EINVAL_);
	assert_int_equal(call(SEND_IPI, 1, 0, 0, 0x841), EINVAL_);
	assert_int_equal(sent.count, 0);
}

/* In 32-bit code registers have 32 bits, so the second word begins 32 further. */
static void ipis_from_32_bits(void **state)
{
	connect_many(100);
	enter_protected(0);
	assert_int_equal(call(SEND_IPI | UINT64_C(1) << 40, UINT64_C(1) << 32 | 1, 1, 1, 0x41), 2);
	assert_int_equal(sent.id[0], 1);
	assert_int_equal(sent.id[1], 33);
}

static void refused_calls(void **state)
{
	connect_many(4);
	enter_long(3);
	assert_int_equal(call(SEND_IPI, 1, 0, 0, 0x41), EPERM_);
	enter_long(0);
	assert_int_equal(call(77, 0, 0, 0, 0), ENOSYS_);
	fixture_model.features.word[CPUID_KVM_EAX] = 0;
	assert_int_equal(call(SEND_IPI, 1, 0, 0, 0x41), ENOSYS_);
	assert_int_equal(call(KICK_CPU, 0, 0, 0, 0), ENOSYS_);
	assert_int_equal(call(SCHED_YIELD, 0, 0, 0, 0), ENOSYS_);
	assert_int_equal(sent.count, 0);
}

/* --- kicks --- */

static void halt_without_interrupts(void)
{
	enter_long(0);
	assert_completes(insn_hlt(cpu));
}

static void kick_ends_a_halt(void **state)
{
	halt_without_interrupts();
	assert_false(cpu_has_wakeup(cpu));
	cpu_unhalt(cpu);
	assert_true(cpu_has_wakeup(cpu));
	assert_true(cpu_service_pending(cpu));
	assert_int_equal(cpu->activity, ACTIVITY_RUNNING);
	assert_int_equal(cpu->rip, 0x1234); /* nothing was delivered */
	assert_completes(insn_hlt(cpu));
	assert_false(cpu_has_wakeup(cpu)); /* once */
}

/* A kick before the halt ends that halt, and does not trouble code that runs. */
static void kick_comes_early(void **state)
{
	struct cpu_state saved;

	enter_long(0);
	assert_int_equal(call(KICK_CPU, 0, 7, 0, 0), 0); /* nobody */
	assert_false(atomic_load(&cpu->unhalt));
	assert_int_equal(call(KICK_CPU, 0, 0, 0, 0), 0);
	assert_int_equal(atomic_load(&cpu->pending), 0);
	cpu_get_state(cpu, &saved);
	atomic_store(&cpu->unhalt, false);
	assert_int_equal(cpu_set_state(cpu, &saved), 0);
	assert_completes(insn_hlt(cpu));
	assert_true(cpu_has_wakeup(cpu));
	cpu_init_reset(cpu);
	cpu->activity = ACTIVITY_HALTED;
	assert_false(cpu_has_wakeup(cpu));
}

static void *sleep_until_kicked(void *opaque)
{
	for (int i = 0; i < 2000; i++) {
		while (!cpu_has_wakeup(cpu))
			cpu_wait_pending(cpu);
		cpu_service_pending(cpu);
		insn_hlt(cpu);
		__atomic_fetch_add((unsigned *)opaque, 1, __ATOMIC_SEQ_CST);
	}
	return NULL;
}

/* A kick is never lost, at whatever moment of falling asleep it comes; else this waits for ever. */
static void kicks_wake_a_sleeper(void **state)
{
	unsigned woken = 0;
	pthread_t thread;

	halt_without_interrupts();
	assert_int_equal(pthread_create(&thread, NULL, sleep_until_kicked, &woken), 0);
	for (unsigned i = 0; i < 2000; i++) {
		cpu_unhalt(cpu);
		while (__atomic_load_n(&woken, __ATOMIC_SEQ_CST) <= i)
			sched_yield();
	}
	pthread_join(thread, NULL);
}

/* --- the record --- */

static void record_is_checked(void **state)
{
	assert_false(msr_write(cpu, MSR_STEAL_TIME, RECORD | 3)); /* not aligned to 64 bytes */
	assert_false(msr_write(cpu, MSR_STEAL_TIME, 0x20));
	assert_false(msr_write(cpu, MSR_STEAL_TIME, RAM_SIZE | 1));
	assert_false(msr_write(cpu, MSR_STEAL_TIME, MEMORY_VGA_START | 1));
	assert_false(msr_write(cpu, MSR_STEAL_TIME, ~UINT64_C(0x3e)));
	assert_int_equal(cpu->steal_msr, 0);
	assert_true(msr_write(cpu, MSR_STEAL_TIME, RAM_SIZE)); /* disabled: any address */
	fixture_model.features.word[CPUID_KVM_EAX] &= ~CPUID_BIT(CPUID_KVM_STEAL_TIME);
	assert_false(msr_write(cpu, MSR_STEAL_TIME, RECORD | 1));
}

/* What was RAM when the MSR was written may be a ROM later: then nothing is stored. */
static void record_becomes_rom(void **state)
{
	static const uint8_t rom[PAGE_SIZE];

	assert_true(msr_write(cpu, MSR_STEAL_TIME, RECORD | 1));
	assert_int_equal(memory_rom_add(&memory, RECORD & PAGE_MASK, PAGE_SIZE, rom, "rom"), 0);
	steal_time_suspend(cpu);
	assert_int_equal(get(PREEMPTED, 1), 0);
	steal_time_resume(cpu);
}

static void preempted_and_flushed(void **state)
{
	struct tlb_entry *entry = &cpu->tlb_views[0][3];
	uint64_t log[64] = {0};

	put(PREEMPTED, 0xff, 1);
	assert_true(msr_write(cpu, MSR_STEAL_TIME, RECORD | 1));
	assert_int_equal(get(PREEMPTED, 1), 0);
	entry->read = 3 << PAGE_SHIFT;
	steal_time_suspend(cpu);
	assert_int_equal(get(PREEMPTED, 1), 1);
	steal_time_resume(cpu);
	assert_int_equal(get(PREEMPTED, 1), 0);
	assert_int_equal(entry->read, 3 << PAGE_SHIFT);

	assert_int_equal(memory_log_start(&memory), 0);
	steal_time_suspend(cpu);
	put(PREEMPTED, 3, 1);
	memory_log_take(&memory, 0, 4096, log);
	steal_time_resume(cpu);
	assert_int_equal(get(PREEMPTED, 1), 0);
	assert_int_equal(entry->read, TLB_INVALID);
	memset(log, 0, sizeof(log));
	assert_int_equal(memory_log_take(&memory, 0, 4096, log), 1);
	assert_true(log[(RECORD >> PAGE_SHIFT) / 64] >> (RECORD >> PAGE_SHIFT) % 64 & 1);
	memory_log_stop(&memory);
}

/* --- time --- */

static void spin_ms(uint64_t ms)
{
	uint64_t end = clock_ns(&fixture_clock) + ms * 1000000;

	while (clock_ns(&fixture_clock) < end)
		;
}

static void *spin(void *stop)
{
	while (!__atomic_load_n((bool *)stop, __ATOMIC_RELAXED))
		;
	return NULL;
}

static void *spin_and_count(void *opaque)
{
	uint64_t *version = opaque;

	steal_time_thread_begins(cpu);
	assert_true(msr_write(cpu, MSR_STEAL_TIME, RECORD | 1));
	*version = get(VERSION, 4);
	steal_time_update(cpu);
	assert_int_equal(get(VERSION, 4), *version); /* not a millisecond old */
	spin_ms(100);
	steal_time_update(cpu);
	steal_time_thread_ends(cpu);
	return NULL;
}

/* Two threads on one processor: each waits for it about half of the time. */
static void steal_grows_when_crowded(void **state)
{
	pthread_t other, vcpu;
	pthread_attr_t attributes;
	cpu_set_t allowed, one;
	uint64_t version = 0;
	bool stop = false;
	int file = run_delay_open();

	if (file < 0)
		skip();
	close(file);
	assert_int_equal(sched_getaffinity(0, sizeof(allowed), &allowed), 0);
	CPU_ZERO(&one);
	for (int i = 0; i < CPU_SETSIZE && !CPU_COUNT(&one); i++)
		if (CPU_ISSET(i, &allowed))
			CPU_SET(i, &one);
	pthread_attr_init(&attributes);
	pthread_attr_setaffinity_np(&attributes, sizeof(one), &one);
	put(VERSION, 7, 4);
	assert_int_equal(pthread_create(&other, &attributes, spin, &stop), 0);
	assert_int_equal(pthread_create(&vcpu, &attributes, spin_and_count, &version), 0);
	pthread_join(vcpu, NULL);
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	pthread_join(other, NULL);
	pthread_attr_destroy(&attributes);
	assert_int_equal(version, 8);
	assert_int_equal(get(VERSION, 4), 10);
	assert_in_range(get(STEAL, 8), 5000000, UINT64_C(20000000000));
	assert_int_equal(get(STEAL, 8), cpu->steal_ns);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cpu_test(ipis_to_sets),
		cpu_test(ipis_from_32_bits),
		cpu_test(refused_calls),
		cpu_test(kick_ends_a_halt),
		cpu_test(kick_comes_early),
		cpu_test(kicks_wake_a_sleeper),
		cpu_test(record_is_checked),
		cpu_test(record_becomes_rom),
		cpu_test(preempted_and_flushed),
		cpu_test(steal_grows_when_crowded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
