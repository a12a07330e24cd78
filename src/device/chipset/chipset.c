#include "device/chipset/chipset.h"

#include "base/log.h"
#include "device/chipset/acpi_pm.h"
#include "device/chipset/debug_exit.h"
#include "device/chipset/dma8237.h"
#include "device/chipset/fpu_error.h"
#include "device/chipset/hpet.h"
#include "device/chipset/i8042.h"
#include "device/chipset/ioapic.h"
#include "device/chipset/lapic.h"
#include "device/chipset/parallel.h"
#include "device/chipset/pic.h"
#include "device/chipset/pit.h"
#include "device/chipset/rtc.h"
#include "device/chipset/uart16550.h"

#include <stdlib.h>
#include <string.h>

#define PIT_GSI 2

#define MSI_WINDOW_MASK      UINT64_C(0xfffff) /* of the address that is not fixed */
#define MSI_LOGICAL          BIT(2)
#define MSI_REDIRECTION_HINT BIT(3)
#define MSI_LEVEL            BIT(15)

/* The CMOS shutdown byte by which SeaBIOS and OVMF know a wake from a start. */
#define SHUTDOWN_SLEPT 0xfe

#define DEBUG_CONSOLE_VALUE 0xe9 /* what a read of Bochs' debug port gives */

/* The interrupt of a timer that the HPET can take the place of. */
struct legacy_timer {
	struct chipset *chipset;
	struct irq_line line;
	bool level;
};

struct chipset {
	struct chipset_config config;
	struct device_list devices;
	struct uart16550 com1, more_serial[CHIPSET_SERIAL_PORTS - 1];
	struct parallel parallel;
	struct pic pic;
	struct pit pit;
	struct rtc rtc;
	struct hpet hpet;
	struct legacy_timer pit_line, rtc_line;
	struct i8042 i8042;
	struct lapic_bus apics;
	struct ioapic ioapic;
	struct acpi_pm acpi_pm;
	struct dma8237 dma;
	struct fpu_error fpu_error;
	struct debug_exit debug_exit;
	/* How many of the lines that end at a GSI are asserted: they are wired together. */
	unsigned asserted[CHIPSET_GSI_COUNT];
};

/* --- interrupt routing --- */

static void drive_gsi(struct chipset *chipset, unsigned gsi)
{
	const unsigned *asserted = chipset->asserted;

	if (gsi < 16)
		pic_set_irq(&chipset->pic, gsi, asserted[gsi]);
	/* Two lines meet at the timer's pin; the PIC's input 2 is its own cascade. */
	if (gsi == 0 || gsi == PIT_GSI)
		ioapic_set_irq(&chipset->ioapic, PIT_GSI, asserted[0] || asserted[PIT_GSI]);
	else
		ioapic_set_irq(&chipset->ioapic, gsi, asserted[gsi]);
}

/* Called when a line has changed its level, and only then. */
static void line_changed(void *opaque, unsigned gsi, bool level)
{
	struct chipset *chipset = opaque;

	if (level)
		chipset->asserted[gsi]++;
	else
		chipset->asserted[gsi]--;
	drive_gsi(chipset, gsi);
}

struct irq_line chipset_irq_line(struct chipset *chipset, unsigned gsi)
{
	if (gsi >= CHIPSET_GSI_COUNT)
		return (struct irq_line){0};
	return (struct irq_line){.set = line_changed, .opaque = chipset, .number = gsi};
}

static void drive_legacy_timer(struct legacy_timer *timer)
{
	irq_set(&timer->line, timer->level && !hpet_replaces_legacy(&timer->chipset->hpet));
}

static void legacy_timer_changed(void *opaque, unsigned number, bool level)
{
	struct legacy_timer *timer = opaque;

	timer->level = level;
	drive_legacy_timer(timer);
}

static void hpet_legacy_changed(void *opaque)
{
	struct chipset *chipset = opaque;

	drive_legacy_timer(&chipset->pit_line);
	drive_legacy_timer(&chipset->rtc_line);
}

/* The line that the PIT or the RTC drives. */
static struct irq_line legacy_timer_line(
	struct chipset *chipset, struct legacy_timer *timer, unsigned irq)
{
	*timer = (struct legacy_timer){chipset, chipset_irq_line(chipset, irq), false};
	return (struct irq_line){.set = legacy_timer_changed, .opaque = timer};
}

/* SDM vol. 3A 11.11: what a message-signalled interrupt's address and data say. */
bool chipset_msi(struct chipset *chipset, uint64_t address, uint32_t data)
{
	uint32_t destination = (uint32_t)bits_get(address, 19, 12);
	struct apic_message message = {
		.destination = destination == 0xff ? APIC_BROADCAST : destination,
		.logical = address & MSI_LOGICAL,
		.level = data & MSI_LEVEL,
		.delivery = (uint8_t)bits_get(data, 10, 8),
		.vector = (uint8_t)data,
	};

	if ((address & ~MSI_WINDOW_MASK) != LAPIC_DEFAULT_BASE || message.delivery == APIC_STARTUP)
		return false;
	/* The redirection hint asks for one of those addressed, the least busy. */
	if ((address & MSI_REDIRECTION_HINT) && message.logical && message.delivery == APIC_FIXED)
		message.delivery = APIC_LOWEST_PRIORITY;
	return lapic_bus_deliver(&chipset->apics, &message);
}

/* INTR goes to LINT0 of the boot processor, and to the IOAPIC's pin 0: a kernel may use either. */
static void set_intr(void *opaque, unsigned number, bool level)
{
	struct chipset *chipset = opaque;

	lapic_set_lint0(&chipset->apics.lapics[0], level);
	ioapic_set_irq(&chipset->ioapic, 0, level);
}

static void lock(struct chipset *chipset)
{
	priority_lock_take(chipset->config.machine_lock);
}

static void unlock(struct chipset *chipset)
{
	priority_lock_release(chipset->config.machine_lock);
}

static void broadcast_eoi(void *opaque, uint8_t vector)
{
	struct chipset *chipset = opaque;

	lock(chipset);
	ioapic_eoi(&chipset->ioapic, vector);
	unlock(chipset);
}

/* --- what the CPUs reach us through: all on the CPU's own thread --- */

static struct lapic *lapic_of(struct chipset *chipset, const struct cpu *cpu)
{
	return &chipset->apics.lapics[cpu->index];
}

/* The PIC is asked only where the local APIC has nothing more urgent, and needs the lock. */
static int acknowledge_interrupt(void *opaque, struct cpu *cpu)
{
	struct chipset *chipset = opaque;
	struct lapic *lapic = lapic_of(chipset, cpu);
	int vector = lapic_acknowledge(lapic);

	if (vector >= 0 || !lapic_extint_pending(lapic))
		return vector;
	lock(chipset);
	if (lapic_extint_pending(lapic)) {
		vector = pic_acknowledge(&chipset->pic);
		lapic_extint_acknowledged(lapic);
	}
	unlock(chipset);
	return vector;
}

static bool apic_msr_read(void *opaque, struct cpu *cpu, uint32_t msr, uint64_t *value)
{
	bool locked = lapic_msr_needs_lock(msr, false), good;

	if (locked)
		lock(opaque);
	good = lapic_msr_read(lapic_of(opaque, cpu), msr, value);
	if (locked)
		unlock(opaque);
	return good;
}

static bool apic_msr_write(void *opaque, struct cpu *cpu, uint32_t msr, uint64_t value)
{
	bool locked = lapic_msr_needs_lock(msr, true), good;

	if (locked)
		lock(opaque);
	good = lapic_msr_write(lapic_of(opaque, cpu), msr, value);
	if (locked)
		unlock(opaque);
	return good;
}

static uint64_t apic_mmio_read(void *opaque, struct cpu *cpu, uint64_t offset, unsigned size)
{
	bool locked = lapic_mmio_needs_lock(offset, false);
	uint64_t value;

	if (locked)
		lock(opaque);
	value = lapic_mmio_read(lapic_of(opaque, cpu), offset, size);
	if (locked)
		unlock(opaque);
	return value;
}

static void apic_mmio_write(
	void *opaque, struct cpu *cpu, uint64_t offset, uint64_t value, unsigned size)
{
	bool locked = lapic_mmio_needs_lock(offset, true);

	if (locked)
		lock(opaque);
	lapic_mmio_write(lapic_of(opaque, cpu), offset, value, size);
	if (locked)
		unlock(opaque);
}

/* CR8 is the task priority's class (SDM vol. 3A 11.8.6). */
static uint64_t apic_tpr_read(void *opaque, struct cpu *cpu)
{
	return lapic_tpr(lapic_of(opaque, cpu)) >> 4;
}

static void apic_tpr_write(void *opaque, struct cpu *cpu, uint64_t value)
{
	lapic_set_tpr(lapic_of(opaque, cpu), (uint8_t)(value << 4));
}

static void apic_init(void *opaque, struct cpu *cpu)
{
	lock(opaque);
	lapic_init_reset(lapic_of(opaque, cpu));
	unlock(opaque);
}

static bool apic_send(void *opaque, uint32_t id, uint8_t delivery, uint8_t vector)
{
	struct chipset *chipset = opaque;

	return lapic_bus_deliver_to(&chipset->apics, id,
		&(struct apic_message){.delivery = delivery, .vector = vector});
}

static void tsc_changed(void *opaque, struct cpu *cpu)
{
	lock(opaque);
	lapic_tsc_changed(lapic_of(opaque, cpu));
	unlock(opaque);
}

static void ferr(void *opaque, bool level)
{
	struct chipset *chipset = opaque;

	lock(chipset);
	fpu_error_set(&chipset->fpu_error, level);
	unlock(chipset);
}

static void connect_cpus(struct chipset *chipset)
{
	struct cpu_platform *platform = chipset->config.platform;

	platform->opaque = chipset;
	platform->acknowledge_interrupt = acknowledge_interrupt;
	platform->apic_msr_read = apic_msr_read;
	platform->apic_msr_write = apic_msr_write;
	platform->apic_mmio_read = apic_mmio_read;
	platform->apic_mmio_write = apic_mmio_write;
	platform->apic_tpr_read = apic_tpr_read;
	platform->apic_tpr_write = apic_tpr_write;
	platform->apic_init = apic_init;
	platform->apic_send = apic_send;
	platform->tsc_changed = tsc_changed;
	platform->ferr = ferr;
}

/* --- ports of no device's own --- */

static uint64_t debug_console_read(void *opaque, uint64_t offset, unsigned size)
{
	return DEBUG_CONSOLE_VALUE;
}

static void debug_console_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct chipset *chipset = opaque;
	uint8_t byte = (uint8_t)value;

	struct char_backend *console = chipset->com1.backend;

	/* The debug port cannot tell the guest that there is no room, so what does not fit is
	 * lost. */
	if (console)
		console->ops->write(console, &byte, 1);
}

/* --- assembly --- */

static int add_apics(struct chipset *chipset)
{
	const struct cpu_platform *platform = chipset->config.platform;
	int error = lapic_bus_init(&chipset->apics, &chipset->devices, platform->cpus,
		platform->cpu_count, chipset->config.loop, platform->clock);

	chipset->apics.eoi = broadcast_eoi;
	chipset->apics.opaque = chipset;
	return error;
}

static int add_ioapic(struct chipset *chipset)
{
	return ioapic_init(&chipset->ioapic, &chipset->devices,
		&chipset->config.platform->memory->mmio, &chipset->apics);
}

static int add_pic(struct chipset *chipset)
{
	const struct irq_line intr = {.set = set_intr, .opaque = chipset};

	return pic_init(&chipset->pic, &chipset->devices, chipset->config.platform->ports, intr,
		BIT(ACPI_SCI_IRQ));
}

static int add_pit(struct chipset *chipset)
{
	return pit_init(&chipset->pit, &chipset->devices, chipset->config.platform->ports,
		legacy_timer_line(chipset, &chipset->pit_line, 0), chipset->config.loop,
		chipset->config.platform->clock);
}

static void rtc_interrupts(void *opaque)
{
	struct chipset *chipset = opaque;

	acpi_pm_rtc_alarm(&chipset->acpi_pm);
}

static int add_rtc(struct chipset *chipset)
{
	const struct cpu_platform *platform = chipset->config.platform;
	int error = rtc_init(&chipset->rtc, &chipset->devices, platform->ports,
		legacy_timer_line(chipset, &chipset->rtc_line, RTC_IRQ), chipset->config.loop,
		platform->clock, platform->memory->low_size, platform->memory->high_size,
		platform->cpu_count);

	rtc_shift(&chipset->rtc, chipset->config.rtc_offset_s);
	chipset->rtc.interrupts = rtc_interrupts;
	chipset->rtc.opaque = chipset;
	return error;
}

static int add_hpet(struct chipset *chipset)
{
	const struct cpu_platform *platform = chipset->config.platform;
	const struct irq_line legacy[] = {
		chipset_irq_line(chipset, 0), chipset_irq_line(chipset, RTC_IRQ)};
	struct irq_line gsis[HPET_GSIS];

	for (unsigned i = 0; i < HPET_GSIS; i++)
		gsis[i] = chipset_irq_line(chipset, HPET_FIRST_GSI + i);
	return hpet_init(&chipset->hpet, &chipset->devices, &platform->memory->mmio, gsis, legacy,
		chipset->config.loop, platform->clock, hpet_legacy_changed, chipset);
}

static int add_i8042(struct chipset *chipset)
{
	const struct chipset_config *config = &chipset->config;

	return i8042_init(&chipset->i8042, &chipset->devices, config->platform->ports,
		chipset_irq_line(chipset, 1), chipset_irq_line(chipset, 12), config->loop,
		config->platform->clock, config->reset, config->opaque);
}

static int add_acpi_pm(struct chipset *chipset)
{
	const struct chipset_config *config = &chipset->config;
	const struct acpi_pm_calls calls = {.power_off = config->power_off,
		.sleep = config->sleep,
		.wake = config->wake,
		.reset = config->reset,
		.opaque = config->opaque};

	return acpi_pm_init(&chipset->acpi_pm, &chipset->devices, config->platform->ports,
		chipset_irq_line(chipset, ACPI_SCI_IRQ), config->loop, config->platform->clock,
		&calls);
}

static int add_com1(struct chipset *chipset)
{
	return uart_init(&chipset->com1, &chipset->devices, 0, chipset->config.platform->ports,
		UART_COM1_PORT, chipset_irq_line(chipset, UART_COM1_IRQ));
}

static int add_more_serial(struct chipset *chipset)
{
	static const struct {
		uint16_t port;
		unsigned irq;
	} rows[CHIPSET_SERIAL_PORTS - 1] = {
		{UART_COM2_PORT, UART_COM2_IRQ},
		{UART_COM3_PORT, UART_COM1_IRQ},
		{UART_COM4_PORT, UART_COM2_IRQ},
	};
	int error = 0;

	for (unsigned i = 0; !error && i < ARRAY_SIZE(rows); i++) {
		struct char_backend *backend = chipset->config.more_serial[i];

		if (!backend)
			continue;
		error = uart_init(&chipset->more_serial[i], &chipset->devices, i + 1,
			chipset->config.platform->ports, rows[i].port,
			chipset_irq_line(chipset, rows[i].irq));
		if (!error)
			uart_connect(&chipset->more_serial[i], backend);
	}
	return error;
}

static int add_parallel(struct chipset *chipset)
{
	if (!chipset->config.printer)
		return 0;
	return parallel_init(&chipset->parallel, &chipset->devices, chipset->config.platform->ports,
		chipset_irq_line(chipset, PARALLEL_IRQ), chipset->config.printer);
}

static int add_dma(struct chipset *chipset)
{
	const struct cpu_platform *platform = chipset->config.platform;

	return dma8237_init(&chipset->dma, &chipset->devices, platform->ports, platform->memory);
}

static int add_fpu_error(struct chipset *chipset)
{
	return fpu_error_init(&chipset->fpu_error, &chipset->devices,
		chipset->config.platform->ports, chipset_irq_line(chipset, FPU_ERROR_IRQ));
}

static int add_debug_exit(struct chipset *chipset)
{
	const struct chipset_config *config = &chipset->config;

	if (!config->debug_exit_port)
		return 0;
	return debug_exit_init(&chipset->debug_exit, config->platform->ports,
		config->debug_exit_port, config->debug_exit, config->opaque);
}

static int add_debug_console(struct chipset *chipset)
{
	static const struct io_ops ops = {
		.read = debug_console_read, .write = debug_console_write, .width = 1};

	if (!chipset->config.debug_console_port)
		return 0;
	return io_space_add(chipset->config.platform->ports, chipset->config.debug_console_port, 1,
		"debug console", &ops, chipset);
}

/* Everything that is on the board. Interrupt controllers come first: they are reset before the
 * devices that then lower their lines, and destroyed after them. */
static int (*const rows[])(struct chipset *chipset) = {
	add_apics,
	add_ioapic,
	add_pic,
	add_pit,
	add_rtc,
	add_hpet,
	add_i8042,
	add_acpi_pm,
	add_com1,
	add_more_serial,
	add_parallel,
	add_dma,
	add_fpu_error,
	add_debug_exit,
	add_debug_console,
};

struct chipset *chipset_create(const struct chipset_config *config)
{
	struct chipset *chipset = calloc(1, sizeof(*chipset));
	int error = 0;

	if (!chipset) {
		log_error("out of memory for the chipset");
		return NULL;
	}
	chipset->config = *config;
	for (unsigned i = 0; !error && i < ARRAY_SIZE(rows); i++)
		error = rows[i](chipset);
	if (error) {
		log_error("cannot assemble the chipset: %s", strerror(-error));
		chipset_destroy(chipset);
		return NULL;
	}
	connect_cpus(chipset);
	return chipset;
}

/* What they hold is sent. */
static void disconnect_serial(struct chipset *chipset)
{
	uart_connect(&chipset->com1, NULL);
	for (unsigned i = 0; i < ARRAY_SIZE(chipset->more_serial); i++)
		if (chipset->config.more_serial[i])
			uart_connect(&chipset->more_serial[i], NULL);
}

void chipset_destroy(struct chipset *chipset)
{
	disconnect_serial(chipset);
	/* The port and MMIO spaces go with the machine; the event loop must not find our timers. */
	device_list_destroy(&chipset->devices);
	free(chipset);
}

struct dma8237 *chipset_dma(struct chipset *chipset)
{
	return &chipset->dma;
}

struct device_list *chipset_devices(struct chipset *chipset)
{
	return &chipset->devices;
}

void chipset_reset(struct chipset *chipset)
{
	device_list_reset(&chipset->devices);
}

void chipset_sleep(struct chipset *chipset)
{
	device_list_sleep(&chipset->devices);
}

bool chipset_is_asleep(const struct chipset *chipset)
{
	return chipset->acpi_pm.state.asleep;
}

void chipset_wake(struct chipset *chipset, bool firmware)
{
	if (firmware)
		rtc_set_cmos(&chipset->rtc, RTC_CMOS_SHUTDOWN, SHUTDOWN_SLEPT);
	acpi_pm_wake(&chipset->acpi_pm, !firmware);
}

void chipset_firmware_setup(struct chipset *chipset)
{
	device_list_firmware_setup(&chipset->devices);
}

void chipset_save(struct chipset *chipset, struct state_writer *writer)
{
	device_list_save(&chipset->devices, writer);
}

int chipset_load(struct chipset *chipset, struct state_reader *reader)
{
	int error = device_list_load(&chipset->devices, reader);

	/* The devices have driven their lines as their states say. The controllers' states contain
	 * the levels, too; the two can differ only in bytes that no machine has saved. */
	for (unsigned gsi = 0; !error && gsi < CHIPSET_GSI_COUNT; gsi++)
		drive_gsi(chipset, gsi);
	return error;
}

void chipset_connect_console(struct chipset *chipset, struct char_backend *console)
{
	uart_connect(&chipset->com1, console);
}

struct input chipset_input(struct chipset *chipset)
{
	return i8042_input(&chipset->i8042);
}

void chipset_set_cmos(struct chipset *chipset, unsigned index, uint8_t value)
{
	rtc_set_cmos(&chipset->rtc, index, value);
}

void chipset_power_button(struct chipset *chipset)
{
	acpi_pm_power_button(&chipset->acpi_pm);
}

void chipset_nmi(struct chipset *chipset)
{
	for (unsigned i = 0; i < chipset->config.platform->cpu_count; i++)
		lapic_pulse_lint1(&chipset->apics.lapics[i]);
}
