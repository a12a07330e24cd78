#include "device/chipset/chipset.h"

#include "base/log.h"
#include "cpu/access.h"
#include "device/chipset/acpi_pm.h"
#include "device/chipset/debug_exit.h"
#include "device/chipset/i8042.h"
#include "device/chipset/ioapic.h"
#include "device/chipset/lapic.h"
#include "device/chipset/pic.h"
#include "device/chipset/pit.h"
#include "device/chipset/rtc.h"
#include "device/chipset/uart16550.h"

#include <stdlib.h>
#include <string.h>

#define FPU_PORT            0xf0 /* and 0xf1: writing clears the FPU's error latch */
#define FPU_IRQ             13
#define PIT_GSI             2
#define DEBUG_CONSOLE_VALUE 0xe9 /* what a read of Bochs' debug port gives */

struct chipset {
	struct chipset_config config;
	struct uart16550 com1;
	struct pic pic;
	struct pit pit;
	struct rtc rtc;
	struct i8042 i8042;
	struct lapic_bus apics;
	struct ioapic ioapic;
	struct acpi_pm acpi_pm;
	struct debug_exit debug_exit;
};

/* --- interrupt routing --- */

static void set_gsi(void *opaque, unsigned gsi, bool level)
{
	struct chipset *chipset = opaque;

	if (gsi < 16)
		pic_set_irq(&chipset->pic, gsi, level);
	ioapic_set_irq(&chipset->ioapic, gsi == 0 ? PIT_GSI : gsi, level);
}

struct irq_line chipset_irq_line(struct chipset *chipset, unsigned gsi)
{
	return (struct irq_line){.set = set_gsi, .opaque = chipset, .number = gsi};
}

/* INTR goes to LINT0 of the boot processor, and to the IOAPIC's pin 0 for those who prefer it
 * there. */
static void set_intr(void *opaque, unsigned number, bool level)
{
	struct chipset *chipset = opaque;

	lapic_set_lint0(&chipset->apics.lapics[0], level);
	ioapic_set_irq(&chipset->ioapic, 0, level);
}

static void broadcast_eoi(void *opaque, uint8_t vector)
{
	struct chipset *chipset = opaque;

	ioapic_eoi(&chipset->ioapic, vector);
}

/* --- what the CPUs reach us through --- */

/* Enter the chipset from a vCPU, and find that vCPU's local APIC. */
static struct lapic *lock_lapic(struct chipset *chipset, const struct cpu *cpu)
{
	priority_lock_take(chipset->config.machine_lock);
	return &chipset->apics.lapics[cpu->index];
}

static void unlock(struct chipset *chipset)
{
	priority_lock_release(chipset->config.machine_lock);
}

static int acknowledge_interrupt(void *opaque, struct cpu *cpu)
{
	struct chipset *chipset = opaque;
	struct lapic *lapic = lock_lapic(chipset, cpu);
	int vector = lapic_acknowledge(lapic);

	if (vector < 0 && lapic_extint_pending(lapic)) {
		vector = pic_acknowledge(&chipset->pic);
		lapic_extint_acknowledged(lapic);
	}
	unlock(chipset);
	return vector;
}

static bool apic_msr_read(void *opaque, struct cpu *cpu, uint32_t msr, uint64_t *value)
{
	struct lapic *lapic = lock_lapic(opaque, cpu);
	bool good = lapic_msr_read(lapic, msr, value);

	unlock(opaque);
	return good;
}

static bool apic_msr_write(void *opaque, struct cpu *cpu, uint32_t msr, uint64_t value)
{
	struct lapic *lapic = lock_lapic(opaque, cpu);
	uint64_t page = cpu->apic_page;
	bool good = lapic_msr_write(lapic, msr, value);

	unlock(opaque);
	/* The TLB must not know RAM where the registers are now. */
	if (cpu->apic_page != page)
		tlb_flush_all(cpu);
	return good;
}

static uint64_t apic_mmio_read(void *opaque, struct cpu *cpu, uint64_t offset, unsigned size)
{
	struct lapic *lapic = lock_lapic(opaque, cpu);
	uint64_t value = lapic_mmio_read(lapic, offset, size);

	unlock(opaque);
	return value;
}

static void apic_mmio_write(
	void *opaque, struct cpu *cpu, uint64_t offset, uint64_t value, unsigned size)
{
	struct lapic *lapic = lock_lapic(opaque, cpu);

	lapic_mmio_write(lapic, offset, value, size);
	unlock(opaque);
}

/* CR8 is the task priority's class (SDM vol. 3A 11.8.6). */
static uint64_t apic_tpr_read(void *opaque, struct cpu *cpu)
{
	struct lapic *lapic = lock_lapic(opaque, cpu);
	uint64_t value = lapic->tpr >> 4;

	unlock(opaque);
	return value;
}

static void apic_tpr_write(void *opaque, struct cpu *cpu, uint64_t value)
{
	struct lapic *lapic = lock_lapic(opaque, cpu);

	lapic_set_tpr(lapic, (uint8_t)(value << 4));
	unlock(opaque);
}

static void apic_init(void *opaque, struct cpu *cpu)
{
	struct lapic *lapic = lock_lapic(opaque, cpu);

	lapic_init_reset(lapic);
	unlock(opaque);
}

static void tsc_changed(void *opaque, struct cpu *cpu)
{
	struct lapic *lapic = lock_lapic(opaque, cpu);

	lapic_tsc_changed(lapic);
	unlock(opaque);
}

static void ferr(void *opaque, bool level)
{
	struct chipset *chipset = opaque;

	priority_lock_take(chipset->config.machine_lock);
	set_gsi(chipset, FPU_IRQ, level);
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
	platform->tsc_changed = tsc_changed;
	platform->ferr = ferr;
}

/* --- ports of no device's own --- */

static void fpu_port_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	set_gsi(opaque, FPU_IRQ, false);
}

static uint64_t debug_console_read(void *opaque, uint64_t offset, unsigned size)
{
	return DEBUG_CONSOLE_VALUE;
}

static void debug_console_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct chipset *chipset = opaque;
	uint8_t byte = (uint8_t)value;

	if (chipset->config.console_output)
		chipset->config.console_output(chipset->config.opaque, &byte, 1);
}

/* --- assembly --- */

static int add_devices(struct chipset *chipset)
{
	static const struct io_ops fpu_ops = {.write = fpu_port_write, .width = 1};
	static const struct io_ops debug_console_ops = {
		.read = debug_console_read, .write = debug_console_write, .width = 1};
	const struct chipset_config *config = &chipset->config;
	const struct cpu_platform *platform = config->platform;
	struct memory *memory = platform->memory;
	struct io_space *ports = platform->ports;
	struct clock *clock = platform->clock;
	const struct uart16550_backend console = {.transmit = config->console_output,
		.receive_ready = config->console_input_ready,
		.opaque = config->opaque};
	const struct irq_line intr = {.set = set_intr, .opaque = chipset};
	int error;

	chipset->apics.eoi = broadcast_eoi;
	chipset->apics.opaque = chipset;
	if ((error = ioapic_init(&chipset->ioapic, &memory->mmio, &chipset->apics)) ||
		(error = pic_init(&chipset->pic, ports, intr)) ||
		(error = pit_init(&chipset->pit, ports, chipset_irq_line(chipset, 0), config->loop,
			 clock)) ||
		(error = rtc_init(&chipset->rtc, ports, chipset_irq_line(chipset, 8), config->loop,
			 clock, memory->low_size, memory->high_size, platform->cpu_count)) ||
		(error = i8042_init(&chipset->i8042, ports, chipset_irq_line(chipset, 1),
			 chipset_irq_line(chipset, 12), config->reset, config->opaque)) ||
		(error = acpi_pm_init(&chipset->acpi_pm, ports,
			 chipset_irq_line(chipset, ACPI_SCI_IRQ), config->loop, clock,
			 config->power_off, config->reset, config->opaque)) ||
		(error = uart_init(&chipset->com1, ports, UART_COM1_PORT,
			 chipset_irq_line(chipset, UART_COM1_IRQ), &console)) ||
		(error = io_space_add(ports, FPU_PORT, 2, "FPU error latch", &fpu_ops, chipset)))
		return error;
	if (config->debug_exit_port)
		error = debug_exit_init(&chipset->debug_exit, ports, config->debug_exit_port,
			config->debug_exit, config->opaque);
	if (!error && config->debug_console_port)
		error = io_space_add(ports, config->debug_console_port, 1, "debug console",
			&debug_console_ops, chipset);
	return error;
}

struct chipset *chipset_create(const struct chipset_config *config)
{
	struct chipset *chipset = calloc(1, sizeof(*chipset));
	int error;

	if (!chipset) {
		log_error("out of memory for the chipset");
		return NULL;
	}
	chipset->config = *config;
	error = lapic_bus_init(&chipset->apics, config->platform->cpus, config->platform->cpu_count,
		config->loop, config->platform->clock);
	if (!error)
		error = add_devices(chipset);
	if (error) {
		log_error("cannot assemble the chipset: %s", strerror(-error));
		chipset_destroy(chipset);
		return NULL;
	}
	connect_cpus(chipset);
	return chipset;
}

void chipset_destroy(struct chipset *chipset)
{
	/* The port and MMIO spaces go with the machine; the event loop must not find our timers. */
	struct timer *timers[] = {&chipset->pit.timer, &chipset->rtc.periodic_timer,
		&chipset->rtc.second_timer, &chipset->acpi_pm.overflow_timer};

	for (unsigned i = 0; i < ARRAY_SIZE(timers); i++)
		if (timers[i]->loop)
			timer_cancel(timers[i]);
	lapic_bus_destroy(&chipset->apics);
	free(chipset);
}

void chipset_reset(struct chipset *chipset)
{
	for (unsigned i = 0; i < chipset->apics.count; i++)
		lapic_reset(&chipset->apics.lapics[i]);
	ioapic_reset(&chipset->ioapic);
	pic_reset(&chipset->pic);
	pit_reset(&chipset->pit);
	rtc_reset(&chipset->rtc);
	i8042_reset(&chipset->i8042);
	acpi_pm_reset(&chipset->acpi_pm);
	uart_reset(&chipset->com1);
	set_gsi(chipset, FPU_IRQ, false);
}

void chipset_firmware_setup(struct chipset *chipset)
{
	pic_firmware_setup(&chipset->pic);
	chipset->pic.chip[1].elcr = 1 << (ACPI_SCI_IRQ - 8);
	lapic_firmware_setup(&chipset->apics.lapics[0]);
}

size_t chipset_console_input(struct chipset *chipset, const void *bytes, size_t size)
{
	return uart_receive(&chipset->com1, bytes, size);
}

void chipset_power_button(struct chipset *chipset)
{
	acpi_pm_power_button(&chipset->acpi_pm);
}

void chipset_tsc_changed(struct chipset *chipset, struct cpu *cpu)
{
	lapic_tsc_changed(&chipset->apics.lapics[cpu->index]);
}
