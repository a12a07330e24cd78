/* Devices saved and loaded: a machine is stopped in the midst of its work, its devices become
 * bytes, another machine is made and takes the bytes, and from there on a guest cannot tell the two
 * apart. Also bytes that no device has saved: they are refused, or do no harm. */
#include "apic_fixture.h"
#include "pci_devices.h"

#include "device/chipset/acpi_pm.h"
#include "device/chipset/chipset.h"
#include "device/chipset/hpet.h"
#include "device/chipset/ioapic.h"
#include "device/chipset/pic.h"
#include "device/chipset/rtc.h"
#include "device/pc_testdev.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct chipset *chipset;
static unsigned waits; /* saves that had to wait for requests in flight */
static struct irq_line lines[CHIPSET_GSI_COUNT];
static uint64_t trail; /* a digest of all that the guest has seen */

static void see(uint64_t value)
{
	trail = (trail ^ value) * UINT64_C(0x100000001b3);
}

static size_t on_output(struct char_backend *backend, const void *bytes, size_t size)
{
	/* Now and then there is no room. */
	if (rand() % 4 == 0)
		return 0;
	for (size_t i = 0; i < size; i++)
		see(((const uint8_t *)bytes)[i]);
	return size;
}

static const struct char_backend_ops console_ops = {.write = on_output};
static struct char_backend console = {.ops = &console_ops};

static bool send_message(void *opaque, uint64_t address, uint32_t data)
{
	return chipset_msi(opaque, address, data);
}

static void create_bus(void)
{
	struct pci_config config = {
		.memory = &f.memory,
		.ports = &f.ports,
		.devices = chipset_devices(chipset),
		.loop = f.loop,
		.msi = send_message,
		.opaque = chipset,
	};
	struct pci_bus *bus;

	for (unsigned i = 0; i < PCI_INTX_GSIS; i++)
		config.intx[i] = chipset_irq_line(chipset, PCI_INTX_GSI + i);
	bus = pci_create(&config);
	assert_non_null(bus);
	create_pci_devices(bus, chipset_devices(chipset));
	disk_guest.ready = false;
}

static void create(void)
{
	struct chipset_config config = {
		.platform = &platform,
		.machine_lock = &f.lock,
		.loop = f.loop,
		.power_off = fixture_power_off,
		.reset = fixture_reset,
	};

	create_cpus();
	chipset = chipset_create(&config);
	assert_non_null(chipset);
	chipset_connect_console(chipset, &console);
	for (unsigned i = 0; i < CHIPSET_GSI_COUNT; i++)
		lines[i] = chipset_irq_line(chipset, i);
	assert_int_equal(
		pc_testdev_create(chipset_devices(chipset), &f.ports, &f.memory.mmio, lines), 0);
	create_bus();
	chipset_firmware_setup(chipset);
}

static void destroy(void)
{
	quiesce(chipset_devices(chipset));
	chipset_destroy(chipset);
	atomic_store(&f.memory.mmio.doorbell_count, 0);
	while (f.ports.count)
		io_space_remove(&f.ports, f.ports.regions[0].start);
	while (f.memory.mmio.count)
		io_space_remove(&f.memory.mmio, f.memory.mmio.regions[0].start);
	destroy_cpus();
}

static int setup(void **state)
{
	fixture_setup();
	create();
	return 0;
}

static int teardown(void **state)
{
	destroy();
	fixture_teardown();
	return 0;
}

static struct state_writer save(void)
{
	struct state_writer writer = {0};

	chipset_save(chipset, &writer);
	assert_false(writer.failed);
	return writer;
}

static int load(const void *bytes, size_t size)
{
	struct state_reader reader = {bytes, size};

	return chipset_load(chipset, &reader);
}

static void *device_named(const char *name)
{
	for (struct device *device = chipset_devices(chipset)->first; device; device = device->next)
		if (!strcmp(device->ops->name, name) && device->instance == 0)
			return device;
	fail_msg("there is no %s", name);
	return NULL;
}

/* --- a guest that does anything with the devices it is given --- */

struct guest {
	const char *name;
	uint16_t ports[12]; /* 0: no more */
	bool apics, console;
	uint64_t (*touch)(void); /* what else it touches; returns what it has seen there */
};

static unsigned below(unsigned limit)
{
	return (unsigned)rand() % limit;
}

static void acknowledge(unsigned cpu)
{
	bool announced = pending(cpu) & PENDING_INTR;
	int vector = platform.acknowledge_interrupt(platform.opaque, cpus[cpu]);

	assert_int_equal(announced, vector >= 0);
	see((uint64_t)vector);
}

static void touch_apics(void)
{
	unsigned cpu = below(CPUS), offset = below(0x40) << 4;
	uint32_t value = (uint32_t)rand();

	switch (below(10)) {
	case 0:
		see(io_space_read(&f.memory.mmio, IOAPIC_BASE + 0x10, 4));
		break;
	case 1:
		io_space_write(&f.memory.mmio, IOAPIC_BASE, 0x10 + below(48), 4);
		io_space_write(&f.memory.mmio, IOAPIC_BASE + 0x10, value & 0xff01f8ff, 4);
		break;
	case 2:
		platform.apic_mmio_write(platform.opaque, cpus[cpu], SVR, 0x1ff, 4);
		platform.apic_mmio_write(
			platform.opaque, cpus[cpu], LVT_TIMER_REGISTER, 0x20040 | (value & 31), 4);
		platform.apic_mmio_write(
			platform.opaque, cpus[cpu], INITIAL_COUNT, value & 0xffffff, 4);
		break;
	case 3:
		platform.apic_mmio_write(platform.opaque, cpus[cpu], EOI, 0, 4);
		break;
	case 4:
		acknowledge(cpu);
		break;
	case 5:
		if (offset != ICR) /* no INIT, which this guest's CPUs do not act upon */
			platform.apic_mmio_write(platform.opaque, cpus[cpu], offset, value, 4);
		break;
	case 8:
		see(io_space_read(&f.memory.mmio, HPET_BASE + below(64) * 8, 8));
		break;
	case 9:
		io_space_write(&f.memory.mmio, HPET_BASE + below(48) * 8,
			below(4) ? value & 0x3fff : 3, 8);
		break;
	case 6:
		platform.apic_mmio_write(
			platform.opaque, cpus[cpu], ICR, (value & 0xc00ff) | 0x10, 4);
		break;
	default:
		see(platform.apic_mmio_read(platform.opaque, cpus[cpu], offset, 4));
	}
}

static void step(const struct guest *guest)
{
	unsigned count = 0;
	uint16_t port;

	while (count < ARRAY_SIZE(guest->ports) && guest->ports[count])
		count++;
	switch (below(8)) {
	case 0:
		advance(below(4) ? below(100) * US : below(3000) * MS);
		break;
	case 1:
		if (guest->console)
			see(console.port.receive(
				console.port.opaque, "0123456789abcdef", below(17)));
		break;
	case 2:
		if (guest->apics)
			irq_set(&lines[below(CHIPSET_GSI_COUNT)], below(2));
		break;
	case 3 ... 4:
		if (guest->touch) {
			see(guest->touch());
			break;
		}
		if (guest->apics) {
			touch_apics();
			break;
		}
		/* fall through */
	default:
		if (!count)
			break;
		port = guest->ports[below(count)];
		if (below(2))
			see(inb(port));
		else
			outb(port, (uint8_t)rand());
	}
	for (unsigned i = 0; i < CPUS; i++)
		see(pending(i) & PENDING_INTR);
}

static void run(const struct guest *guest, unsigned seed, unsigned steps)
{
	srand(seed);
	for (unsigned i = 0; i < steps; i++)
		step(guest);
}

/* The lines that the test drives itself are outside of the machine: as they were. */
static void drive_lines_again(const struct irq_line *before)
{
	for (unsigned i = 0; i < CHIPSET_GSI_COUNT; i++)
		irq_set(&lines[i], before[i].level);
}

static void go_on(void)
{
	device_list_resume(chipset_devices(chipset));
	settle_disk();
}

static void saved_and_loaded(const struct guest *guest, unsigned seed)
{
	static struct outside outside;
	struct state_writer saved, again;
	struct irq_line before[CHIPSET_GSI_COUNT];
	uint64_t now, end;

	run(guest, seed, 300);
	waits += quiesce(chipset_devices(chipset));
	saved = save();
	keep_outside(&outside);
	now = clock_ns(&f.clock);
	memcpy(before, lines, sizeof(before));
	go_on();
	trail = 0;
	run(guest, seed + 1000, 300);
	end = trail;

	destroy();
	set_time_ns(now);
	create();
	drive_lines_again(before);
	assert_int_equal(load(saved.bytes, saved.size), 0);
	again = save();
	assert_int_equal(again.size, saved.size);
	assert_memory_equal(again.bytes, saved.bytes, saved.size);
	bring_outside(&outside);
	go_on();
	trail = 0;
	run(guest, seed + 1000, 300);
	assert_true(trail == end);
	free(saved.bytes);
	free(again.bytes);
}

static const struct guest guests[] = {
	{.name = "pit", .ports = {0x40, 0x41, 0x42, 0x43, 0x43, 0x61}},
	{.name = "pic", .ports = {0x20, 0x21, 0xa0, 0xa1, 0x4d0, 0x4d1, 0x40, 0x43}},
	{.name = "rtc", .ports = {0x70, 0x71, 0x71, 0x71}},
	{.name = "acpi-pm",
		.ports = {0x600, 0x601, 0x602, 0x603, 0x604, 0x605, 0x608, 0x620, 0x622, 0xb2, 0xb3,
			0xcf9}},
	{.name = "i8042", .ports = {0x60, 0x64, 0x92}},
	{.name = "uart",
		.ports = {0x3f8, 0x3f9, 0x3fa, 0x3fb, 0x3fc, 0x3fd, 0x3fe, 0x3ff},
		.console = true},
	{.name = "apics", .apics = true},
	{.name = "fpu-error", .ports = {0xf0, 0xf1, 0x20, 0xa0}},
	{.name = "pc-testdev", .ports = {0xe0, 0xe3, 0xe8, 0x2003, 0x2009, 0x2014, 0x20, 0xa0}},
	{.name = "pci", .ports = {0xcf8, 0xcfc}, .apics = true, .touch = touch_pci},
	{.name = "disk", .apics = true, .touch = touch_disk},
	{.name = "all",
		.ports = {0x43, 0x40, 0x71, 0x70, 0x60, 0x64, 0x20, 0x21, 0xa1, 0x3f8, 0x3f9,
			0x3fd},
		.apics = true,
		.console = true},
};

static void round_trip(void **state)
{
	const struct guest *guest = *state;

	waits = 0;
	for (unsigned seed = 1; seed <= 10; seed++) {
		saved_and_loaded(guest, seed);
		destroy();
		create();
	}
	assert_true(!waits == (guest->touch != touch_disk));
}

/* The guest's clock has just been set to its earliest time, and the second that it shows is made up
 * of the wall clock's fraction and the machine time's. */
static void first_second_of_the_clock(void **state)
{
	struct rtc *rtc = device_named("rtc");
	struct state_writer saved;

	set_time_ns(5900 * MS);
	rtc->state.wall_base_ns -= rtc->state.wall_base_ns % NS_PER_SECOND;
	rtc->state.wall_base_ns += 900 * MS;
	outb(0x70, RTC_CMOS_CENTURY);
	outb(0x71, 0);
	saved = save();
	assert_int_equal(load(saved.bytes, saved.size), 0);
	free(saved.bytes);
}

/* A host whose clock shows the year 2100. */
static void late_wall_clock(void **state)
{
	struct rtc *rtc = device_named("rtc");
	struct state_writer saved;

	rtc->state.offset_s -= 4102444800 - (int64_t)(rtc->state.wall_base_ns / NS_PER_SECOND);
	rtc->state.wall_base_ns = 4102444800 * NS_PER_SECOND;
	saved = save();
	assert_int_equal(load(saved.bytes, saved.size), 0);
	free(saved.bytes);
}

/* --- bytes that nobody has saved --- */

static void refused(const void *bytes, size_t size)
{
	struct state_writer before = save(), after;

	assert_int_equal(load(bytes, size), -EINVAL);
	after = save();
	assert_memory_equal(before.bytes, after.bytes, before.size);
	free(before.bytes);
	free(after.bytes);
}

/* A section is name, instance, version, size (as in base/state.c), and so many bytes. */
#define SECTION_HEADER 28

#define SECTION_SIZE_AT (SECTION_HEADER - sizeof(uint32_t))

static uint32_t size_of_section(const uint8_t *section)
{
	uint32_t size;

	memcpy(&size, section + SECTION_SIZE_AT, sizeof(size));
	return size;
}

static uint8_t *last_section(const struct state_writer *saved)
{
	uint8_t *section = saved->bytes, *next = section;

	while (next < saved->bytes + saved->size) {
		section = next;
		next += SECTION_HEADER + size_of_section(section);
	}
	assert_ptr_equal(next, saved->bytes + saved->size);
	return section;
}

static void missing_or_short_section(void **state)
{
	struct state_writer saved = save();
	uint8_t *last = last_section(&saved);
	uint32_t size;

	refused(saved.bytes, (size_t)(last - saved.bytes));
	size = size_of_section(last);
	assert_true(size > 0);
	size--;
	memcpy(last + SECTION_SIZE_AT, &size, sizeof(size));
	refused(saved.bytes, saved.size - 1);
	free(saved.bytes);
}

static void incomplete_state(void **state)
{
	struct state_writer saved = save();
	uint8_t *twice = malloc(2 * saved.size);

	run(&guests[ARRAY_SIZE(guests) - 1], 1, 100);
	refused(NULL, 0);
	refused(saved.bytes, saved.size - 1);
	refused(saved.bytes, 40);
	memcpy(twice, saved.bytes, saved.size);
	memcpy(twice + saved.size, saved.bytes, saved.size);
	refused(twice, 2 * saved.size); /* each device once */
	twice[16]++;                    /* the first section's instance */
	refused(twice, saved.size);
	twice[16]--;
	twice[20]++; /* its version */
	refused(twice, saved.size);
	twice[20]--;
	twice[0]++; /* its name */
	refused(twice, saved.size);
	twice[0]--;
	twice[14]++; /* what pads the name */
	refused(twice, saved.size);
	free(twice);
	free(saved.bytes);
}

static const struct guest *guest_named(const char *name)
{
	unsigned i = 0;

	while (strcmp(guests[i].name, name) != 0)
		i++;
	return &guests[i];
}

/* Any byte of [start, end) may be replaced by any other: where the state is still loaded, the
 * devices can go on with it, and `after` does anything with them. */
static void load_mutated(
	const struct state_writer *saved, size_t start, size_t end, const struct guest *after)
{
	unsigned loaded = 0, refusals = 0;
	int null = open("/dev/null", O_WRONLY), messages = dup(STDERR_FILENO);

	/* The log would have a message for each. */
	dup2(null, STDERR_FILENO);
	for (unsigned i = 0; i < 1500; i++) {
		uint8_t *bytes = malloc(saved->size);

		memcpy(bytes, saved->bytes, saved->size);
		srand(i);
		for (unsigned change = below(6) + 1; change; change--)
			bytes[start + below((unsigned)(end - start))] = (uint8_t)rand();
		quiesce(chipset_devices(chipset));
		if (load(bytes, saved->size) == 0) {
			loaded++;
			go_on();
			run(after, i, 30);
		} else {
			refusals++;
		}
		free(bytes);
	}
	dup2(messages, STDERR_FILENO);
	close(null);
	close(messages);
	assert_true(loaded > 50 && refusals > 50);
}

static size_t pci_sections(const struct state_writer *saved)
{
	uint8_t *found = memmem(saved->bytes, saved->size, "pci-bus", 8);

	assert_non_null(found);
	return (size_t)(found - saved->bytes);
}

static void mutated_state(void **state)
{
	const struct guest *guest = guest_named("all");
	struct state_writer saved;

	run(guest, 7, 300);
	saved = save();
	load_mutated(&saved, 0, MIN(pci_sections(&saved), 4000), guest);
	free(saved.bytes);
}

/* With requests in the ring that the disk has not yet taken. */
static void mutated_pci_state(void **state)
{
	struct state_writer saved;

	run(guest_named("pci"), 7, 300);
	run(guest_named("disk"), 7, 100);
	quiesce(chipset_devices(chipset));
	for (unsigned i = 0; i < 3; i++)
		add_disk_request();
	saved = save();
	load_mutated(&saved, pci_sections(&saved), saved.size, guest_named("pci"));
	free(saved.bytes);
}

/* A state in which a field has a value that no device has. */
#define refused_with(field, value)                                                                 \
	do {                                                                                       \
		__auto_type good_ = (field);                                                       \
		struct state_writer saved_;                                                        \
                                                                                                   \
		(field) = (value);                                                                 \
		saved_ = save();                                                                   \
		(field) = good_;                                                                   \
		refused(saved_.bytes, saved_.size);                                                \
		free(saved_.bytes);                                                                \
	} while (0)

/* Vectors below 16 are the processor's exceptions; no state may contain a request for one. */
static void no_exception_by_interrupt(void **state)
{
	struct lapic *lapic = device_named("lapic");

	refused_with(lapic->state.irr[0], BIT(14));
	refused_with(lapic->state.isr[0], BIT(3));
}

static void values_that_no_device_has(void **state)
{
	struct pic *pic = device_named("pic");
	struct ioapic *ioapic = device_named("ioapic");
	struct acpi_pm *acpi_pm = device_named("acpi-pm");
	struct lapic *lapic = device_named("lapic");
	struct lapic_bus *bus = device_named("lapic-bus");

	refused_with(pic->state.chip[0].priority_add, 8);
	refused_with(pic->state.chip[1].init_step, 5);
	refused_with(ioapic->state.redirection[0], BIT(30));
	refused_with(ioapic->state.redirection[IOAPIC_PINS - 1], BIT(30));
	refused_with(ioapic->state.lines, BIT(IOAPIC_PINS));
	refused_with(acpi_pm->state.pm1_enable, BIT(15));
	refused_with(acpi_pm->state.pm1_control, BIT(13)); /* SLP_EN is write-only */
	refused_with(lapic->state.timer_divide, 0xc);
	refused_with(bus->state.next, bus->count);
}

/* A timer that can never catch up with its deadline would keep the I/O thread busy for ever. */
static void no_timer_beyond_the_end_of_time(void **state)
{
	struct lapic *lapic = device_named("lapic");
	struct state_writer saved;

	lapic->state.lvt[LVT_TIMER] = BIT(17) | 0x40; /* periodic, each 10 ns */
	lapic->state.timer_initial = 10;
	lapic->state.timer_zero_ns = UINT64_MAX - 1000;
	saved = save();
	lapic->state.timer_zero_ns = 0;
	refused(saved.bytes, saved.size);
	free(saved.bytes);
}

/* --- the tables --- */

static size_t covered(const struct state_field *field, uint8_t *bytes)
{
	for (; field->size; field++)
		for (uint32_t i = 0; i < field->count; i++) {
			uint8_t *at = bytes + field->offset + i * field->size;

			if (field->fields) {
				covered(field->fields, at);
				continue;
			}
			assert_true(field->size <= 8 && field->low <= field->high);
			for (uint32_t j = 0; j < field->size; j++)
				assert_int_equal(at[j]++, 0); /* no field twice */
		}
	return 0;
}

/* No field is forgotten: bytes that no row names are padding at a struct's end. */
static void tables_cover_the_state(void **state)
{
	for (struct device *device = chipset_devices(chipset)->first; device;
		device = device->next) {
		const struct device_ops *ops = device->ops;
		uint8_t *bytes = ops->fields ? calloc(1, ops->state_size) : NULL;
		size_t padding = 0;

		for (size_t i = 0; bytes && i < ops->state_size; i++) {
			if (!i)
				covered(ops->fields, bytes);
			padding = bytes[i] ? 0 : padding + 1;
			if (padding >= 8)
				fail_msg("%s: nothing says how byte %zu is saved", ops->name, i);
		}
		free(bytes);
	}
}

int main(void)
{
	struct CMUnitTest tests[ARRAY_SIZE(guests) + 10] = {
		cmocka_unit_test_setup_teardown(first_second_of_the_clock, setup, teardown),
		cmocka_unit_test_setup_teardown(late_wall_clock, setup, teardown),
		cmocka_unit_test_setup_teardown(missing_or_short_section, setup, teardown),
		cmocka_unit_test_setup_teardown(values_that_no_device_has, setup, teardown),
		cmocka_unit_test_setup_teardown(incomplete_state, setup, teardown),
		cmocka_unit_test_setup_teardown(mutated_state, setup, teardown),
		cmocka_unit_test_setup_teardown(mutated_pci_state, setup, teardown),
		cmocka_unit_test_setup_teardown(no_exception_by_interrupt, setup, teardown),
		cmocka_unit_test_setup_teardown(no_timer_beyond_the_end_of_time, setup, teardown),
		cmocka_unit_test_setup_teardown(tables_cover_the_state, setup, teardown),
	};

	for (unsigned i = 0; i < ARRAY_SIZE(guests); i++)
		tests[10 + i] = (struct CMUnitTest){
			guests[i].name, round_trip, setup, teardown, (void *)&guests[i]};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
