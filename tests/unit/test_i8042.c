#include "device/chipset/i8042.h"

#include "device_fixture.h"

#define KEYBOARD_IRQ 1
#define MOUSE_IRQ    12

static struct i8042 i8042;

static int setup(void **state)
{
	fixture_setup();
	assert_int_equal(i8042_init(&i8042, &f.devices, &f.ports, fixture_irq(KEYBOARD_IRQ),
				 fixture_irq(MOUSE_IRQ), fixture_reset, NULL),
		0);
	return 0;
}

static int teardown(void **state)
{
	fixture_teardown();
	return 0;
}

static void command(uint8_t value)
{
	outb(0x64, value);
}

/* The next byte, which must be there, from the keyboard or the controller. */
static uint8_t data(void)
{
	assert_int_equal(inb(0x64) & 0x21, 0x01);
	return inb(0x60);
}

static uint8_t mouse_data(void)
{
	assert_int_equal(inb(0x64) & 0x21, 0x21);
	return inb(0x60);
}

static void nothing_more(void)
{
	assert_int_equal(inb(0x64) & 0x01, 0);
}

static void to_mouse(uint8_t value)
{
	command(0xd4);
	outb(0x60, value);
}

static void controller_self_tests(void **state)
{
	assert_int_equal(inb(0x64), 0x14);
	command(0xaa);
	assert_int_equal(data(), 0x55);
	command(0xab);
	assert_int_equal(data(), 0x00);
	command(0xa9);
	assert_int_equal(data(), 0x00);
	nothing_more();
}

static void command_byte(void **state)
{
	command(0x20);
	assert_int_equal(data(), 0x47);
	command(0x60);
	assert_int_equal(inb(0x64) & 0x08, 0x08); /* the last write was a command */
	outb(0x60, 0x34);
	assert_int_equal(inb(0x64) & 0x08, 0);
	command(0x20);
	assert_int_equal(data(), 0x34);
	command(0xa7);
	command(0xae);
	command(0x20);
	assert_int_equal(data(), 0x24);
	command(0x6b); /* RAM */
	outb(0x60, 0x99);
	command(0x2b);
	assert_int_equal(data(), 0x99);
}

static void keyboard(void **state)
{
	outb(0x60, 0xff);
	assert_int_equal(data(), 0xfa);
	assert_int_equal(data(), 0xaa);
	outb(0x60, 0xf2);
	assert_int_equal(data(), 0xfa);
	assert_int_equal(data(), 0xab);
	assert_int_equal(data(), 0x41); /* translated */
	command(0x60);
	outb(0x60, 0x00);
	outb(0x60, 0xf2);
	data();
	data();
	assert_int_equal(data(), 0x83);
	outb(0x60, 0xed);
	assert_int_equal(data(), 0xfa);
	outb(0x60, 0x07);
	assert_int_equal(data(), 0xfa);
	assert_int_equal(i8042.state.keyboard.leds, 7);
	outb(0x60, 0xf0);
	data();
	outb(0x60, 0x00);
	assert_int_equal(data(), 0xfa);
	assert_int_equal(data(), 0x02);
	outb(0x60, 0xee);
	assert_int_equal(data(), 0xee);
	outb(0x60, 0xfe);
	assert_int_equal(data(), 0xee);
	outb(0x60, 0x12); /* no such command */
	assert_int_equal(data(), 0xfe);
	nothing_more();
}

static void mouse(void **state)
{
	to_mouse(0xff);
	assert_int_equal(mouse_data(), 0xfa);
	assert_int_equal(mouse_data(), 0xaa);
	assert_int_equal(mouse_data(), 0x00);
	to_mouse(0xf2);
	assert_int_equal(mouse_data(), 0xfa);
	assert_int_equal(mouse_data(), 0x00);
	/* Linux's IntelliMouse knock gets the answer of a plain mouse. */
	for (int rate = 0; rate < 3; rate++) {
		to_mouse(0xf3);
		assert_int_equal(mouse_data(), 0xfa);
		to_mouse((uint8_t)(rate == 0 ? 200 : rate == 1 ? 100 : 80));
		assert_int_equal(mouse_data(), 0xfa);
	}
	to_mouse(0xf4);
	mouse_data();
	to_mouse(0xe9);
	assert_int_equal(mouse_data(), 0xfa);
	assert_int_equal(mouse_data(), 0x20);
	assert_int_equal(mouse_data(), 2);
	assert_int_equal(mouse_data(), 80);
	nothing_more();
}

static void each_byte_is_an_edge(void **state)
{
	outb(0x60, 0xf2);
	assert_int_equal(f.edges[KEYBOARD_IRQ], 1);
	inb(0x60);
	assert_int_equal(f.edges[KEYBOARD_IRQ], 2);
	inb(0x60);
	inb(0x60);
	assert_int_equal(f.edges[KEYBOARD_IRQ], 3);
	assert_false(f.level[KEYBOARD_IRQ]);
	to_mouse(0xf4);
	assert_int_equal(f.edges[MOUSE_IRQ], 1);
	assert_int_equal(f.edges[KEYBOARD_IRQ], 3);
	/* Disabled in the command byte. */
	command(0x60);
	outb(0x60, 0x44);
	assert_false(f.level[MOUSE_IRQ]);
	inb(0x60);
	outb(0x60, 0xee);
	assert_int_equal(f.edges[KEYBOARD_IRQ], 3);
}

/* The test of the auxiliary port that Linux makes: what goes in by 0xd3 comes out as from the
 * mouse. */
static void aux_loop(void **state)
{
	command(0xd3);
	outb(0x60, 0x5a);
	assert_int_equal(mouse_data(), 0x5a);
	command(0xd2);
	outb(0x60, 0xa5);
	assert_int_equal(data(), 0xa5);
}

static void disabled_interface_holds_its_bytes(void **state)
{
	to_mouse(0xf2);
	assert_int_equal(mouse_data(), 0xfa);
	command(0xa7); /* while the ID byte is in the buffer already */
	assert_int_equal(mouse_data(), 0x00);
	to_mouse(0xf2); /* sending enables it again */
	assert_int_equal(mouse_data(), 0xfa);
	command(0xad);
	outb(0x60, 0xee);
	mouse_data();
	assert_int_equal(data(), 0xee);
}

/* What is in the output buffer stays there, what waits behind it goes. */
static void a_new_command_drops_an_old_answer(void **state)
{
	outb(0x60, 0xf2);
	outb(0x60, 0xee);
	assert_int_equal(data(), 0xfa);
	assert_int_equal(data(), 0xee);
	nothing_more();
}

static void queue_never_overflows(void **state)
{
	command(0xad);
	for (int i = 0; i < 1000; i++) {
		outb(0x60, 0xf2);
		to_mouse(0xe9);
	}
	while (inb(0x64) & 1)
		inb(0x60);
	controller_self_tests(state);
}

static void a20_gate(void **state)
{
	command(0xd0);
	assert_int_equal(data() & 0x02, 0x02);
	command(0xdd);
	assert_int_equal(inb(0x92) & 0x02, 0);
	command(0xd1);
	outb(0x60, 0xdf);
	assert_int_equal(inb(0x92) & 0x02, 0x02);
	outb(0x92, 0x00);
	command(0xd0);
	assert_int_equal(data() & 0x02, 0);
	outb(0x92, 0x02);
	assert_int_equal(f.resets, 0);
}

static void ways_to_reset(void **state)
{
	command(0xfe);
	assert_int_equal(f.resets, 1);
	command(0xff); /* pulses nothing */
	assert_int_equal(f.resets, 1);
	outb(0x92, 0x03);
	assert_int_equal(f.resets, 2);
	outb(0x92, 0x03); /* no edge */
	assert_int_equal(f.resets, 2);
	command(0xd1);
	outb(0x60, 0xde);
	assert_int_equal(f.resets, 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(controller_self_tests, setup, teardown),
		cmocka_unit_test_setup_teardown(command_byte, setup, teardown),
		cmocka_unit_test_setup_teardown(keyboard, setup, teardown),
		cmocka_unit_test_setup_teardown(mouse, setup, teardown),
		cmocka_unit_test_setup_teardown(each_byte_is_an_edge, setup, teardown),
		cmocka_unit_test_setup_teardown(aux_loop, setup, teardown),
		cmocka_unit_test_setup_teardown(
			disabled_interface_holds_its_bytes, setup, teardown),
		cmocka_unit_test_setup_teardown(a_new_command_drops_an_old_answer, setup, teardown),
		cmocka_unit_test_setup_teardown(queue_never_overflows, setup, teardown),
		cmocka_unit_test_setup_teardown(a20_gate, setup, teardown),
		cmocka_unit_test_setup_teardown(ways_to_reset, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
