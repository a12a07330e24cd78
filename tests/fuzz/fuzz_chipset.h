/* The chipset at the hands of a hostile guest: any port, any register, any MSR, from any vCPU, with
 * time passing in between. The input is a list of steps of eight bytes. What must hold, besides the
 * sanitizers: the host is not kept busy (timers fire at a bounded rate), an interrupt is announced
 * where one can be acknowledged, and no vector below 16 is delivered by a local APIC. */
#ifndef VENEER_TESTS_FUZZ_FUZZ_CHIPSET_H
#define VENEER_TESTS_FUZZ_FUZZ_CHIPSET_H

#include "device/chipset/chipset.h"
#include "device/chipset/hpet.h"
#include "device/chipset/ioapic.h"
#include "device/chipset/lapic.h"

#include <stdlib.h>
#include <string.h>

#define CPUS         2
#define LONGEST_STEP UINT64_C(2000000000) /* ns */

struct step {
	uint8_t action; /* enum action, modulo */
	uint8_t choice; /* vCPU in bit 0, access size in bits 1 and 2 */
	uint16_t address;
	uint32_t value;
};

enum action {
	PORT_READ,
	PORT_WRITE,
	IOAPIC_READ,
	IOAPIC_WRITE,
	APIC_READ,
	APIC_WRITE,
	MSR_READ,
	MSR_WRITE,
	ACKNOWLEDGE,
	TIME,
	IRQ_LINE,
	CONSOLE_INPUT,
	TASK_PRIORITY,
	CPU_INIT,
	TSC,
	RESET,
	KEY,
	MOUSE,
	HPET_READ,
	HPET_WRITE,
	ACTIONS
};

static struct priority_lock lock = PRIORITY_LOCK_INITIALIZER;
static struct clock machine_clock;
static struct event_loop *loop;
static struct memory memory;
static struct io_space ports;
static struct cpu *cpus[CPUS];
static struct cpuid_host host;
static struct cpu_model model;
static struct cpu_platform platform;
static struct chipset *chipset;
static struct irq_line lines[32]; /* one to each GSI, and some that lead nowhere */

static void require(bool condition)
{
	if (!condition)
		abort();
}

static void ignore(void *opaque)
{
}

static void ignore_exit(void *opaque, int status)
{
}

static size_t take_output(struct char_backend *backend, const void *bytes, size_t size)
{
	static unsigned count;

	return ++count % 8 ? size : 0; /* now and then there is no room */
}

/* More input comes when there is room, as from a pipe. */
static void send_more(struct char_backend *backend)
{
	backend->port.receive(backend->port.opaque, "0123456789", 10);
}

static const struct char_backend_ops console_ops = {.write = take_output, .input_ready = send_more};
static struct char_backend printer = {.ops = &console_ops};
static struct char_backend console = {.ops = &console_ops};

static void create(void)
{
	struct chipset_config config = {
		.platform = &platform,
		.loop = loop,
		.machine_lock = &lock,
		.debug_exit_port = 0xf4,
		.printer = &printer,
		.debug_console_port = 0xe9,
		.power_off = ignore,
		.reset = ignore,
		.debug_exit = ignore_exit,
	};

	for (unsigned i = 0; i < CPUS; i++) {
		cpu_clear_pending(cpus[i], UINT32_MAX);
		cpus[i]->tsc_offset = 0;
	}
	machine_clock.paused_tsc = 0;
	io_space_init(&ports, &lock);
	chipset = chipset_create(&config);
	require(chipset);
	chipset_connect_console(chipset, &console);
	for (unsigned i = 0; i < ARRAY_SIZE(lines); i++)
		lines[i] = chipset_irq_line(chipset, i);
	chipset_firmware_setup(chipset);
}

static void destroy(void)
{
	chipset_destroy(chipset);
	chipset = NULL;
	io_space_destroy(&ports);
	require(io_space_remove(&memory.mmio, IOAPIC_BASE) == 0);
	require(io_space_remove(&memory.mmio, HPET_BASE) == 0);
}

static void set_time(uint64_t ns)
{
	machine_clock.paused_tsc = clock_ns_to_cycles(&machine_clock, ns);
}

static void let_time_pass(uint64_t ns)
{
	uint64_t now = clock_ns(&machine_clock), end = now + ns, next;
	/* Each timer fires at most every 50 us, but for the RTC's, at 8192 Hz; and some at once. */
	uint64_t bound = (ns / 50000 + 1) * (CPUS + 2 + HPET_TIMERS) + 100;

	priority_lock_take(&lock);
	while ((next = event_loop_next_deadline(loop)) <= end) {
		require(bound--);
		if (next > clock_ns(&machine_clock))
			set_time(next);
		event_loop_run_timers(loop);
	}
	priority_lock_release(&lock);
	set_time(end);
}

/* Most ports of a PC are idle: choose among those that are not, or take the number as it is. */
static uint16_t port_of(const struct step *step)
{
	if (step->choice & 8)
		return step->address;
	return (uint16_t)(ports.regions[step->address % ports.count].start +
			  (step->address >> 8) % ports.regions[step->address % ports.count].size);
}

static uint32_t msr_of(const struct step *step)
{
	switch (step->choice >> 6) {
	case 0:
		return 0x1b;
	case 1:
		return 0x6e0;
	default:
		return 0x800 + (step->address & 0x7f);
	}
}

static void acknowledge(struct cpu *cpu)
{
	bool announced = atomic_load(&cpu->pending) & PENDING_INTR;
	int vector = platform.acknowledge_interrupt(chipset, cpu);

	require(vector <= 255);
	if (vector >= 0)
		require(announced);
	/* Nothing is lost: a request that was announced and not taken back is there. */
	if (announced)
		require(vector >= 0);
}

static void set_line(unsigned gsi, bool level)
{

	priority_lock_take(&lock);
	irq_set(&lines[gsi], level);
	priority_lock_release(&lock);
}

static void user_acts(const struct step *step)
{
	struct input input = chipset_input(chipset);

	priority_lock_take(&lock);
	if (step->action % ACTIONS == KEY)
		input_key(&input, step->address % 300, step->value & 1);
	else
		input_mouse(&input, (int16_t)step->address, (int16_t)step->value,
			(int8_t)(step->value >> 16), step->value >> 24);
	priority_lock_release(&lock);
}

static void run_step(const struct step *step)
{
	struct cpu *cpu = cpus[step->choice % CPUS];
	unsigned size = 1u << (step->choice >> 1 & 3);
	uint64_t value = step->value, wide = value << 32 | value;

	switch (step->action % ACTIONS) {
	case PORT_READ:
		io_space_read(&ports, port_of(step), MIN(size, 4u));
		break;
	case PORT_WRITE:
		io_space_write(&ports, port_of(step), value, MIN(size, 4u));
		break;
	case IOAPIC_READ:
		io_space_read(&memory.mmio, IOAPIC_BASE + (step->address & 0xfff), size);
		break;
	case IOAPIC_WRITE:
		io_space_write(&memory.mmio, IOAPIC_BASE + (step->address & 0xff0), wide, size);
		break;
	case APIC_READ:
		platform.apic_mmio_read(chipset, cpu, step->address & 0xfff, size);
		break;
	case APIC_WRITE:
		platform.apic_mmio_write(chipset, cpu, step->address & 0xff0, value, size);
		break;
	case MSR_READ:
		platform.apic_msr_read(chipset, cpu, msr_of(step), &wide);
		break;
	case MSR_WRITE:
		if (step->choice & 16)
			wide = value;
		platform.apic_msr_write(chipset, cpu, msr_of(step), wide);
		break;
	case ACKNOWLEDGE:
		acknowledge(cpu);
		break;
	case TIME:
		let_time_pass((uint64_t)step->address * (1 + value % (LONGEST_STEP / 65536)));
		break;
	case IRQ_LINE:
		set_line(step->address % 32, value & 1);
		break;
	case CONSOLE_INPUT:
		priority_lock_take(&lock);
		console.port.receive(console.port.opaque, "abcdefghijklmnopqrstuvwxyz", value % 26);
		console.port.output_ready(console.port.opaque);
		priority_lock_release(&lock);
		break;
	case TASK_PRIORITY:
		platform.apic_tpr_write(chipset, cpu, value & 15);
		require(platform.apic_tpr_read(chipset, cpu) == (value & 15));
		break;
	case CPU_INIT:
		platform.apic_init(chipset, cpu);
		break;
	case TSC:
		cpu->tsc_offset = wide;
		platform.tsc_changed(chipset, cpu);
		break;
	case HPET_READ:
		io_space_read(&memory.mmio, HPET_BASE + (step->address & 0x1ff), size);
		break;
	case HPET_WRITE:
		if (step->choice & 16)
			wide = value;
		io_space_write(&memory.mmio, HPET_BASE + (step->address & 0x1f8), wide, size);
		break;
	case KEY:
	case MOUSE:
		user_acts(step);
		break;
	case RESET:
		priority_lock_take(&lock);
		if (value % 16 == 0)
			chipset_reset(chipset);
		else
			chipset_power_button(chipset);
		priority_lock_release(&lock);
		break;
	}
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	clock_init(&machine_clock);
	machine_clock.paused = true;
	loop = event_loop_create(&machine_clock, &lock);
	require(loop && memory_create(&memory, 16 * MIB, 40, &lock) == 0);
	cpuid_host_read(&host);
	require(cpu_model_build(&model, &host, NULL, NULL) == 0);
	platform = (struct cpu_platform){.memory = &memory,
		.model = &model,
		.ports = &ports,
		.clock = &machine_clock,
		.cpu_count = CPUS,
		.cpus = cpus};
	for (unsigned i = 0; i < CPUS; i++) {
		cpus[i] = cpu_create(&platform, i);
		require(cpus[i]);
	}
	return 0;
}

static void run_steps(const uint8_t *data, size_t size)
{
	struct step step;

	for (; size >= sizeof(step); data += sizeof(step), size -= sizeof(step)) {
		memcpy(&step, data, sizeof(step));
		run_step(&step);
	}
}

#endif
