#include "device/chipset/parallel.h"

#include "device_fixture.h"

#include <stdlib.h>

static struct parallel parallel;
static char printed[100];
static size_t count;

static size_t print(struct char_backend *backend, const void *bytes, size_t size)
{
	for (size_t i = 0; i < size && count < sizeof(printed); i++)
		printed[count++] = ((const char *)bytes)[i];
	return size;
}

static const struct char_backend_ops printer_ops = {.write = print};
static struct char_backend printer = {.ops = &printer_ops};

static int setup(void **state)
{
	fixture_setup();
	count = 0;
	assert_int_equal(
		parallel_init(&parallel, &f.devices, &f.ports, fixture_irq(PARALLEL_IRQ), &printer),
		0);
	return 0;
}

static int teardown(void **state)
{
	fixture_teardown();
	return 0;
}

static void strobe(uint8_t byte, uint8_t control)
{
	outb(0x378, byte);
	outb(0x37a, control | 1);
	outb(0x37a, control);
}

static void registers(void **state)
{
	assert_int_equal(inb(0x379), 0xdf); /* ready */
	assert_int_equal(inb(0x37a), 0xec);
	outb(0x37a, 0x0e);
	assert_int_equal(inb(0x37a) & 0x1f, 0x0e);
	outb(0x37a, 0xff); /* no second direction */
	assert_int_equal(inb(0x37a), 0xff);
	outb(0x378, 0xa5);
	assert_int_equal(inb(0x378), 0xa5);
	outb(0x379, 0x00);
	assert_int_equal(inb(0x379), 0xdf);
	device_list_reset(&f.devices);
	assert_int_equal(inb(0x37a), 0xec);
	assert_int_equal(count, 0);
}

static void a_byte_is_printed_when_its_strobe_ends(void **state)
{
	strobe('a', 0x0c);
	strobe('b', 0x0c);
	outb(0x378, 'c');
	outb(0x37a, 0x0d);
	assert_int_equal(count, 2);
	outb(0x378, 'd');
	outb(0x37a, 0x0d); /* the strobe is still on */
	assert_int_equal(count, 2);
	outb(0x37a, 0x0c);
	outb(0x37a, 0x0c);
	assert_int_equal(count, 3);
	assert_memory_equal(printed, "abd", 3);
	assert_int_equal(f.edges[PARALLEL_IRQ], 0);
}

static void each_byte_is_an_interrupt(void **state)
{
	strobe('a', 0x1c);
	assert_true(f.level[PARALLEL_IRQ]);
	inb(0x379);
	assert_false(f.level[PARALLEL_IRQ]);
	strobe('b', 0x1c);
	strobe('c', 0x1c); /* a driver that does not read the status */
	assert_int_equal(f.edges[PARALLEL_IRQ], 3);
	outb(0x37a, 0x0c);
	assert_false(f.level[PARALLEL_IRQ]);
}

static void saved_and_loaded(void **state)
{
	struct state_writer saved = {0};
	struct state_reader reader;

	strobe('a', 0x1c);
	device_list_save(&f.devices, &saved);
	device_list_reset(&f.devices);
	assert_false(f.level[PARALLEL_IRQ]);
	reader = (struct state_reader){saved.bytes, saved.size};
	assert_int_equal(device_list_load(&f.devices, &reader), 0);
	assert_true(f.level[PARALLEL_IRQ]);
	assert_int_equal(inb(0x378), 'a');
	assert_int_equal(inb(0x37a), 0xfc);
	assert_int_equal(count, 1);
	free(saved.bytes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(registers, setup, teardown),
		cmocka_unit_test_setup_teardown(
			a_byte_is_printed_when_its_strobe_ends, setup, teardown),
		cmocka_unit_test_setup_teardown(each_byte_is_an_interrupt, setup, teardown),
		cmocka_unit_test_setup_teardown(saved_and_loaded, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
