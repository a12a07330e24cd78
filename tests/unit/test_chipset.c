/* The devices together: how interrupts are routed, and what a vCPU reaches through struct
 * cpu_platform. */
#include "apic_fixture.h"

#include "device/chipset/acpi_pm.h"
#include "device/chipset/chipset.h"
#include "device/chipset/ioapic.h"

#include <string.h>

static struct chipset *chipset;
static struct irq_line lines[CHIPSET_GSI_COUNT];
static char said[64];
static size_t said_count;
static int exit_status;
static unsigned input_asked;

static void on_debug_exit(void *opaque, int status)
{
	exit_status = status;
}

static size_t on_output(struct char_backend *backend, const void *bytes, size_t size)
{
	memcpy(said + said_count, bytes, size);
	said_count += size;
	return size;
}

static void on_input_ready(struct char_backend *backend)
{
	input_asked++;
}

static const struct char_backend_ops console_ops = {
	.write = on_output, .input_ready = on_input_ready};
static struct char_backend console = {.ops = &console_ops};

static size_t type(const void *bytes, size_t size)
{
	return console.port.receive(console.port.opaque, bytes, size);
}

static int setup(void **state)
{
	struct chipset_config config = {
		.platform = &platform,
		.machine_lock = &f.lock,
		.debug_exit_port = 0xf4,
		.debug_console_port = 0xe9,
		.power_off = fixture_power_off,
		.sleep = fixture_sleep,
		.wake = fixture_wake,
		.reset = fixture_reset,
		.debug_exit = on_debug_exit,
	};

	fixture_setup();
	create_cpus();
	config.loop = f.loop;
	said_count = input_asked = 0;
	exit_status = -1;
	chipset = chipset_create(&config);
	assert_non_null(chipset);
	chipset_connect_console(chipset, &console);
	for (unsigned i = 0; i < CHIPSET_GSI_COUNT; i++)
		lines[i] = chipset_irq_line(chipset, i);
	chipset_firmware_setup(chipset);
	return 0;
}

static int teardown(void **state)
{
	chipset_destroy(chipset);
	destroy_cpus();
	fixture_teardown();
	return 0;
}

static void set_irq(unsigned gsi, bool level)
{
	struct irq_line nowhere = chipset_irq_line(chipset, gsi);

	irq_set(gsi < CHIPSET_GSI_COUNT ? &lines[gsi] : &nowhere, level);
}

static void write_apic(unsigned cpu, unsigned offset, uint32_t value)
{
	platform.apic_mmio_write(platform.opaque, cpus[cpu], offset, value, 4);
}

static uint32_t read_apic(unsigned cpu, unsigned offset)
{
	return (uint32_t)platform.apic_mmio_read(platform.opaque, cpus[cpu], offset, 4);
}

static void program_ioapic(unsigned pin, uint32_t low)
{
	io_space_write(&f.memory.mmio, IOAPIC_BASE, 0x10 + 2 * pin, 4);
	io_space_write(&f.memory.mmio, IOAPIC_BASE + 0x10, low, 4);
}

static int acknowledge(unsigned cpu)
{
	return platform.acknowledge_interrupt(platform.opaque, cpus[cpu]);
}

static void legacy_interrupt_through_virtual_wire(void **state)
{
	outb(0x21, 0xfe); /* IRQ 0 */
	outb(0x43, 0x34);
	outb(0x40, 0xe8);
	outb(0x40, 0x03);
	while (pending(0) & PENDING_INTR) { /* what programming it raised */
		acknowledge(0);
		outb(0x20, 0x20);
	}
	advance(1 * MS);
	assert_true(pending(0) & PENDING_INTR);
	assert_false(pending(1) & PENDING_INTR);
	assert_int_equal(acknowledge(0), 0x08);
	assert_false(pending(0) & PENDING_INTR);
	assert_int_equal(acknowledge(0), -1);
	outb(0x20, 0x20);
}

static void local_apic_comes_before_the_pic(void **state)
{
	outb(0x21, 0xfd);
	set_irq(1, true);
	write_apic(0, ICR, 0x44055);
	assert_int_equal(acknowledge(0), 0x55);
	assert_true(pending(0) & PENDING_INTR);
	assert_int_equal(acknowledge(0), 0x09);
}

static void isa_interrupts_reach_both_controllers(void **state)
{
	program_ioapic(4, 0x34);
	outb(0x21, 0xef);
	outb(0x3f9, 2); /* COM1: THR empty */
	assert_int_equal(acknowledge(0), 0x34);
	write_apic(0, EOI, 0);
	assert_int_equal(acknowledge(0), 0x0c);
}

static void timer_is_on_pin_2(void **state)
{
	program_ioapic(2, 0x40);
	program_ioapic(0, 0x10041);
	outb(0x43, 0x34);
	outb(0x40, 0xe8);
	outb(0x40, 0x03);
	for (int i = 0; i < 5; i++) {
		advance(1 * MS);
		assert_int_equal(acknowledge(0), 0x40);
		write_apic(0, EOI, 0);
	}
}

static void pic_output_is_on_pin_0(void **state)
{
	write_apic(0, LVT_LINT0_REGISTER, 0x10700);
	program_ioapic(0, APIC_EXTINT << 8);
	outb(0x21, 0xfd);
	set_irq(1, true);
	assert_int_equal(acknowledge(0), 0x09);
}

static void sci_is_level_triggered(void **state)
{
	assert_int_equal(inb(0x4d1), 0x02);
	program_ioapic(9, 0x8049);
	outb(ACPI_SMI_COMMAND_PORT, ACPI_ENABLE_VALUE);
	io_space_write(&f.ports, ACPI_PM1_EVENT_PORT + 2, 0x100, 2);
	chipset_power_button(chipset);
	assert_int_equal(acknowledge(0), 0x49);
	write_apic(0, EOI, 0);
	assert_int_equal(acknowledge(0), 0x49); /* nobody has answered it */
	io_space_write(&f.ports, ACPI_PM1_EVENT_PORT, 0x100, 2);
	write_apic(0, EOI, 0);
	assert_int_equal(acknowledge(0), -1);
}

static void further_devices_lines(void **state)
{
	program_ioapic(20, 0x8052);
	set_irq(20, true);
	assert_int_equal(acknowledge(0), 0x52);
	set_irq(20, false);
	write_apic(0, EOI, 0);
	assert_int_equal(acknowledge(0), -1);
	set_irq(24, true);
	set_irq(1000, true);
}

/* Two devices on one line: the line falls when the last of them lets go. */
static void shared_lines_are_wired_together(void **state)
{
	struct irq_line other = chipset_irq_line(chipset, 20);

	program_ioapic(20, 0x8052);
	set_irq(20, true);
	irq_set(&other, true);
	irq_set(&other, true); /* once more does not count */
	assert_int_equal(acknowledge(0), 0x52);
	set_irq(20, false);
	write_apic(0, EOI, 0);
	assert_int_equal(acknowledge(0), 0x52); /* the other one still asks */
	irq_set(&other, false);
	irq_set(&other, false);
	write_apic(0, EOI, 0);
	assert_int_equal(acknowledge(0), -1);
	/* At an edge-triggered input of the PIC a second device makes no second edge. */
	other = chipset_irq_line(chipset, 5);
	outb(0x20, 0x0a);
	set_irq(5, true);
	assert_int_equal(inb(0x20) & 0x20, 0x20);
	irq_set(&other, true);
	set_irq(5, false);
	irq_set(&other, false);
	set_irq(5, true);
	assert_int_equal(inb(0x20) & 0x20, 0x20);
}

/* SDM vol. 3A 11.11. */
static void message_signalled_interrupts(void **state)
{
	for (unsigned i = 0; i < CPUS; i++)
		write_apic(i, SVR, 0x1ff);
	assert_true(chipset_msi(chipset, 0xfee02000, 0x0041)); /* physical, CPU 2 */
	assert_int_equal(acknowledge(2), 0x41);
	assert_true(chipset_msi(chipset, 0xfeeff000, 0x0042)); /* all */
	for (unsigned i = 0; i < CPUS; i++)
		assert_int_equal(acknowledge(i), i == 2 ? -1 : 0x42); /* CPU 2 is at 0x41 */
	write_apic(2, EOI, 0);
	assert_int_equal(acknowledge(2), 0x42);
	for (unsigned i = 0; i < CPUS; i++)
		write_apic(i, EOI, 0);
	/* Logical; with the redirection hint one of those addressed. */
	write_apic(1, LDR, 0x02000000);
	write_apic(3, LDR, 0x08000000);
	assert_true(chipset_msi(chipset, 0xfee0a004, 0x0043));
	assert_int_equal(acknowledge(1), 0x43);
	assert_int_equal(acknowledge(3), 0x43);
	assert_true(chipset_msi(chipset, 0xfee0a00c, 0x0054));
	assert_int_equal((acknowledge(1) == 0x54) + (acknowledge(3) == 0x54), 1);
	/* NMI; a vector that is none; nobody there; not a message's address; start-up. */
	assert_true(chipset_msi(chipset, 0xfee01000, 0x0400));
	assert_int_equal(take_pending(PENDING_NMI), 2);
	chipset_msi(chipset, 0xfee00000, 0x0005);
	assert_int_equal(acknowledge(0), -1);
	assert_false(chipset_msi(chipset, 0xfee07000, 0x0041));
	assert_false(chipset_msi(chipset, 0xfed02000, 0x0041));
	assert_false(chipset_msi(chipset, 0x1fee02000, 0x0041));
	assert_false(chipset_msi(chipset, 0xfee02000, 0x0641));
	assert_int_equal(take_pending(PENDING_SIPI), 0);
	/* Level-triggered: the EOI is told to the IOAPIC, which has nobody waiting. */
	assert_true(chipset_msi(chipset, 0xfee00000, 0xc044));
	assert_int_equal(acknowledge(0), 0x44);
	assert_int_equal(read_apic(0, TMR + 0x20) & 0x10, 0x10);
	write_apic(0, EOI, 0);
}

static void task_priority_by_cr8(void **state)
{
	platform.apic_tpr_write(platform.opaque, cpus[0], 5);
	assert_int_equal(read_apic(0, TPR), 0x50);
	write_apic(0, TPR, 0x7f);
	assert_int_equal(platform.apic_tpr_read(platform.opaque, cpus[0]), 7);
}

static void moving_the_apic_page_flushes_the_tlb(void **state)
{
	struct tlb_entry *entry = &cpus[0]->tlb_views[0][3];

	entry->read = 3 << PAGE_SHIFT;
	assert_true(platform.apic_msr_write(platform.opaque, cpus[0], 0x1b, 0x900));
	assert_int_equal(cpus[0]->apic_page, 0);
	assert_int_equal(entry->read, TLB_INVALID);
	assert_false(platform.apic_msr_write(platform.opaque, cpus[0], 0x1b, 0x400));
}

static void start_up_of_another_cpu(void **state)
{
	write_apic(0, ICR_HIGH, 2 << 24);
	write_apic(0, ICR, 0x4500);
	assert_true(pending(2) & PENDING_INIT);
	write_apic(2, SVR, 0x1ff);
	platform.apic_init(platform.opaque, cpus[2]);
	assert_int_equal(read_apic(2, SVR), 0xff);
	write_apic(0, ICR, 0x4698);
	assert_true(pending(2) & PENDING_SIPI);
	assert_int_equal(cpus[2]->sipi_vector, 0x98);
}

static void fpu_errors(void **state)
{
	outb(0x21, 0xfb);
	outb(0xa1, 0xdf);
	platform.ferr(platform.opaque, true);
	assert_int_equal(acknowledge(0), 0x75);
	outb(0xf0, 0);
	outb(0xa0, 0x20);
	outb(0x20, 0x20);
	platform.ferr(platform.opaque, true); /* a new edge */
	assert_int_equal(acknowledge(0), 0x75);
}

static void consoles_and_exits(void **state)
{
	outb(0x3f8, 'A');
	outb(0xe9, 'B');
	assert_memory_equal(said, "AB", 2);
	assert_int_equal(inb(0xe9), 0xe9);
	outb(0x3f9, 1);
	assert_int_equal(type("xy", 2), 1); /* no FIFO yet */
	assert_int_equal(inb(0x3f8), 'x');
	assert_int_equal(input_asked, 1);

	outb(0xf4, 0x10);
	assert_int_equal(exit_status, 0x21);
	io_space_write(&f.ports, 0xf4, 0x1234, 4);
	assert_int_equal(exit_status, 0x2469);
	outb(0x64, 0xfe);
	outb(ACPI_RESET_PORT, ACPI_RESET_VALUE);
	assert_int_equal(f.resets, 2);
	io_space_write(&f.ports, ACPI_PM1_CONTROL_PORT, ACPI_SLEEP_TYPE_S5 << 10 | 1 << 13, 2);
	assert_int_equal(f.power_offs, 1);
	/* What is written where nobody is goes nowhere. */
	outb(0x2e0, 0x55);
	assert_int_equal(inb(0x2e0), 0xff);
}

static uint8_t cmos(uint8_t index)
{
	outb(0x70, index);
	return inb(0x71);
}

static void set_cmos(uint8_t index, uint8_t value)
{
	outb(0x70, index);
	outb(0x71, value);
}

/* The clock goes on while the machine sleeps, and all else is as after a reset. */
static void an_alarm_ends_s3(void **state)
{
	unsigned second = (cmos(0) >> 4) * 10u + (cmos(0) & 15);

	set_cmos(0x40, 0x5a);
	second = (second + 3) % 60;
	set_cmos(1, (uint8_t)(second / 10 << 4 | second % 10));
	set_cmos(3, 0xff);
	set_cmos(5, 0xff);
	set_cmos(11, 0x22); /* alarms interrupt */
	cmos(12);
	io_space_write(&f.ports, ACPI_PM1_EVENT_PORT + 2, 0x0400, 2); /* RTC_EN */
	outb(0x43, 0x34);
	outb(0x40, 0xe8);
	outb(0x40, 0x03);
	program_ioapic(8, 0x34);
	io_space_write(&f.ports, ACPI_PM1_CONTROL_PORT, ACPI_SLEEP_TYPE_S3 << 10 | 1 << 13, 2);
	assert_int_equal(f.sleeps, 1);
	assert_false(chipset_is_asleep(chipset));
	chipset_sleep(chipset);
	assert_true(chipset_is_asleep(chipset));
	/* No timer keeps the host awake but the alarm's. */
	assert_true(event_loop_next_deadline(f.loop) > clock_ns(&f.clock) + 1000 * MS);
	advance(1000 * MS);
	assert_int_equal(f.wakes, 0);
	advance(2500 * MS);
	assert_int_equal(f.wakes, 1);
	chipset_wake(chipset, true);
	assert_false(chipset_is_asleep(chipset));
	assert_int_equal(io_space_read(&f.ports, ACPI_PM1_EVENT_PORT, 2), 0x8400);
	assert_int_equal(io_space_read(&f.ports, ACPI_PM1_CONTROL_PORT, 2), 1 << 10);
	assert_int_equal(cmos(0x0f), 0xfe); /* for firmware */
	assert_int_equal(cmos(0x40), 0x5a);
	assert_int_equal(cmos(12) & 0xa0, 0xa0); /* the alarm */
	assert_int_equal(acknowledge(0), -1);
}

static void without_firmware_a_wake_is_in_acpi_mode(void **state)
{
	set_cmos(0x0f, 0x0a);
	chipset_sleep(chipset);
	chipset_power_button(chipset);
	assert_int_equal(f.wakes, 1);
	chipset_wake(chipset, false);
	assert_int_equal(io_space_read(&f.ports, ACPI_PM1_CONTROL_PORT, 2) & 1, 1);
	assert_int_equal(cmos(0x0f), 0x0a);
}

static void machine_reset(void **state)
{
	outb(0x70, 0x0f);
	outb(0x71, 0x0a);
	write_apic(0, LVT_TIMER_REGISTER, 0x20040);
	write_apic(0, INITIAL_COUNT, 1000);
	outb(0x43, 0x34);
	outb(0x40, 0xe8);
	outb(0x40, 0x03);
	program_ioapic(4, 0x34);
	outb(0x3f9, 2);
	chipset_reset(chipset);
	advance(100 * MS);
	for (unsigned i = 0; i < CPUS; i++)
		assert_false(pending(i) & PENDING_INTR);
	assert_int_equal(read_apic(0, SVR), 0xff);
	assert_int_equal(cpus[0]->apic_page, LAPIC_DEFAULT_BASE);
	assert_int_equal(inb(0x3f9), 0);
	outb(0x70, 0x0f);
	assert_int_equal(inb(0x71), 0x0a);
	/* After that a chipset can be set up again. */
	chipset_firmware_setup(chipset);
	legacy_interrupt_through_virtual_wire(state);
}

static void taken_port_is_refused(void **state)
{
	struct chipset_config config = {.platform = &platform,
		.loop = f.loop,
		.machine_lock = &f.lock,
		.debug_exit_port = 0x3f8,
		.debug_exit = on_debug_exit};
	struct io_space ports, *saved = platform.ports;
	struct io_space mmio = f.memory.mmio;

	/* Address spaces of its own, so that the debug exit's port is the only one that
	 * collides. */
	io_space_init(&ports, &f.lock);
	io_space_init(&f.memory.mmio, &f.lock);
	platform.ports = &ports;
	assert_null(chipset_create(&config));
	io_space_destroy(&f.memory.mmio);
	f.memory.mmio = mmio;
	platform.ports = saved;
	io_space_destroy(&ports);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			legacy_interrupt_through_virtual_wire, setup, teardown),
		cmocka_unit_test_setup_teardown(local_apic_comes_before_the_pic, setup, teardown),
		cmocka_unit_test_setup_teardown(
			isa_interrupts_reach_both_controllers, setup, teardown),
		cmocka_unit_test_setup_teardown(timer_is_on_pin_2, setup, teardown),
		cmocka_unit_test_setup_teardown(pic_output_is_on_pin_0, setup, teardown),
		cmocka_unit_test_setup_teardown(sci_is_level_triggered, setup, teardown),
		cmocka_unit_test_setup_teardown(further_devices_lines, setup, teardown),
		cmocka_unit_test_setup_teardown(shared_lines_are_wired_together, setup, teardown),
		cmocka_unit_test_setup_teardown(message_signalled_interrupts, setup, teardown),
		cmocka_unit_test_setup_teardown(task_priority_by_cr8, setup, teardown),
		cmocka_unit_test_setup_teardown(
			moving_the_apic_page_flushes_the_tlb, setup, teardown),
		cmocka_unit_test_setup_teardown(start_up_of_another_cpu, setup, teardown),
		cmocka_unit_test_setup_teardown(fpu_errors, setup, teardown),
		cmocka_unit_test_setup_teardown(consoles_and_exits, setup, teardown),
		cmocka_unit_test_setup_teardown(an_alarm_ends_s3, setup, teardown),
		cmocka_unit_test_setup_teardown(
			without_firmware_a_wake_is_in_acpi_mode, setup, teardown),
		cmocka_unit_test_setup_teardown(machine_reset, setup, teardown),
		cmocka_unit_test_setup_teardown(taken_port_is_refused, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
