#include "device/chipset/i8042.h"

#include "device_fixture.h"

#include <linux/input-event-codes.h>
#include <stdlib.h>
#include <string.h>

#define KEYBOARD_IRQ 1
#define MOUSE_IRQ    12

static struct i8042 i8042;
static struct input input;

static int setup(void **state)
{
	fixture_setup();
	assert_int_equal(i8042_init(&i8042, &f.devices, &f.ports, fixture_irq(KEYBOARD_IRQ),
				 fixture_irq(MOUSE_IRQ), f.loop, &f.clock, fixture_reset, NULL),
		0);
	input = i8042_input(&i8042);
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

static void set_rate(uint8_t rate)
{
	to_mouse(0xf3);
	assert_int_equal(mouse_data(), 0xfa);
	to_mouse(rate);
	assert_int_equal(mouse_data(), 0xfa);
}

/* Write the controller's command byte. */
static void configure(uint8_t value)
{
	command(0x60);
	outb(0x60, value);
}

static void key(unsigned code, bool down)
{
	input_key(&input, code, down);
}

/* What comes from the keyboard, and nothing more, is this. */
#define expect_codes(...)                                                                          \
	expect_bytes((const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}), 0x01)
#define expect_packet(...)                                                                         \
	expect_bytes((const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}), 0x21)

static void expect_bytes(const uint8_t *bytes, size_t count, uint8_t status)
{
	for (size_t i = 0; i < count; i++) {
		advance(1 * MS);
		assert_int_equal(inb(0x64) & 0x21, status);
		assert_int_equal(inb(0x60), bytes[i]);
	}
	advance(1 * MS);
	nothing_more();
}

static void choose_set(uint8_t set)
{
	outb(0x60, 0xf0);
	assert_int_equal(data(), 0xfa);
	outb(0x60, set);
	assert_int_equal(data(), 0xfa);
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
	set_rate(80);
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

/* --- keys --- */

static void keys_of_set_1_by_translation(void **state)
{
	key(KEY_A, true);
	key(KEY_A, true);
	key(KEY_A, false);
	expect_codes(0x1e, 0x1e, 0x9e);
	key(KEY_UP, true);
	key(KEY_UP, false);
	expect_codes(0xe0, 0x48, 0xe0, 0xc8);
	key(KEY_F7, true);
	key(KEY_F7, false);
	expect_codes(0x41, 0xc1);
	key(KEY_102ND, true);
	expect_codes(0x56);
	key(KEY_PAUSE, true);
	key(KEY_PAUSE, true);
	key(KEY_PAUSE, false);
	expect_codes(0xe1, 0x1d, 0x45, 0xe1, 0x9d, 0xc5);
	key(KEY_SYSRQ, true);
	key(KEY_SYSRQ, false);
	expect_codes(0xe0, 0x2a, 0xe0, 0x37, 0xe0, 0xb7, 0xe0, 0xaa);
}

/* Linux numbers the keys of the first PCs as set 1 does. */
static void every_key_of_the_first_keyboards(void **state)
{
	for (unsigned code = KEY_ESC; code <= KEY_F12; code++) {
		if (code == 84 || code == 85) /* there are none */
			continue;
		key(code, true);
		expect_codes((uint8_t)code);
		key(code, false);
		expect_codes((uint8_t)(code | 0x80));
	}
}

static void keys_of_set_2(void **state)
{
	configure(0x03);
	key(KEY_A, true);
	key(KEY_A, false);
	expect_codes(0x1c, 0xf0, 0x1c);
	key(KEY_RIGHTCTRL, true);
	key(KEY_PAUSE, true); /* with Control it is Break */
	expect_codes(0xe0, 0x14, 0xe0, 0x7e, 0xe0, 0xf0, 0x7e);
	key(KEY_RIGHTCTRL, false);
	expect_codes(0xe0, 0xf0, 0x14);
	key(KEY_PAUSE, false);
	key(KEY_PAUSE, true);
	expect_codes(0xe1, 0x14, 0x77, 0xe1, 0xf0, 0x14, 0xf0, 0x77);
	key(KEY_SYSRQ, true);
	key(KEY_SYSRQ, true);
	key(KEY_SYSRQ, false);
	expect_codes(0xe0, 0x12, 0xe0, 0x7c, 0xe0, 0x7c, 0xe0, 0xf0, 0x7c, 0xe0, 0xf0, 0x12);
	key(KEY_LEFTALT, true);
	key(KEY_SYSRQ, true);
	key(KEY_SYSRQ, false);
	expect_codes(0x11, 0x84, 0xf0, 0x84);
}

static void keys_of_set_1_by_the_keyboard(void **state)
{
	configure(0x03);
	choose_set(1);
	key(KEY_Q, true);
	key(KEY_Q, false);
	key(KEY_DELETE, true);
	key(KEY_DELETE, false);
	expect_codes(0x10, 0x90, 0xe0, 0x53, 0xe0, 0xd3);
}

static void keys_of_set_3(void **state)
{
	configure(0x03);
	choose_set(3);
	outb(0x60, 0xf0);
	data();
	outb(0x60, 0x00);
	expect_codes(0xfa, 0x03);
	key(KEY_LEFTCTRL, true);
	key(KEY_LEFTCTRL, false);
	expect_codes(0x11, 0xf0, 0x11);
	outb(0x60, 0xfc); /* make and release only, of this key */
	expect_codes(0xfa);
	outb(0x60, 0x1c);
	expect_codes(0xfa);
	outb(0x60, 0xf4); /* which ends the list of keys */
	expect_codes(0xfa);
	key(KEY_A, true);
	key(KEY_A, true);
	key(KEY_A, false);
	key(KEY_B, true);
	key(KEY_B, true);
	expect_codes(0x1c, 0xf0, 0x1c, 0x32, 0x32);
	outb(0x60, 0xf7); /* all: repeat, no release */
	expect_codes(0xfa);
	key(KEY_B, false);
	key(KEY_A, true);
	key(KEY_A, true);
	expect_codes(0x1c, 0x1c);
}

static void keyboard_that_is_switched_off_sends_nothing(void **state)
{
	outb(0x60, 0xf5);
	expect_codes(0xfa);
	key(KEY_A, true);
	key(KEY_A, false);
	advance(1 * MS);
	nothing_more();
	outb(0x60, 0xf4);
	expect_codes(0xfa);
	key(KEY_A, false); /* is up */
	key(300, true);    /* no such key */
	key(KEY_A, true);
	expect_codes(0x1e);
}

/* A handler that chains to another one reads the port twice. */
static void next_key_comes_later(void **state)
{
	key(KEY_A, true);
	key(KEY_B, true);
	assert_int_equal(f.edges[KEYBOARD_IRQ], 1);
	assert_int_equal(inb(0x60), 0x1e);
	assert_int_equal(inb(0x60), 0x1e);
	nothing_more();
	advance(499 * US);
	nothing_more();
	advance(1 * US);
	assert_int_equal(f.edges[KEYBOARD_IRQ], 2);
	assert_int_equal(data(), 0x30);
}

/* An answer does not wait for the keys before it, and does not cost any. */
static void answers_go_before_keys(void **state)
{
	key(KEY_A, true);
	key(KEY_B, true);
	key(KEY_C, true);
	assert_int_equal(data(), 0x1e);
	outb(0x60, 0xed);
	assert_int_equal(data(), 0xfa);
	outb(0x60, 0x02);
	assert_int_equal(data(), 0xfa);
	expect_codes(0x30, 0x2e);
}

static void keyboard_overrun(void **state)
{
	unsigned codes = 0;
	uint8_t last = 0xff;

	configure(0x03);
	for (unsigned i = 0; i < 100; i++) {
		key(KEY_UP, true);
		key(KEY_UP, false);
	}
	for (advance(1 * MS); inb(0x64) & 1; advance(1 * MS), codes++) {
		assert_int_not_equal(last, 0x00); /* what tells of it is the last */
		last = inb(0x60);
	}
	assert_int_equal(last, 0x00);
	assert_in_range(codes, 32, 65);
	key(KEY_UP, true);
	expect_codes(0xe0, 0x75);
}

/* --- the mouse --- */

static void enable_mouse(void)
{
	to_mouse(0xf4);
	assert_int_equal(mouse_data(), 0xfa);
}

static void movements(void **state)
{
	input_mouse(&input, 5, 5, 0, 0); /* not enabled */
	advance(1 * MS);
	nothing_more();
	enable_mouse();
	input_mouse(&input, 3, -4, 0, INPUT_LEFT);
	expect_packet(0x09, 3, 4);
	input_mouse(&input, -3, 4, 1, INPUT_RIGHT | INPUT_MIDDLE);
	expect_packet(0x3e, 0xfd, 0xfc);
	input_mouse(&input, 0, 0, 0, INPUT_RIGHT | INPUT_MIDDLE);
	advance(1 * MS);
	nothing_more();
	to_mouse(0xe9);
	expect_packet(0xfa, 0x23, 2, 100);
}

static void movements_add_up_while_one_waits(void **state)
{
	enable_mouse();
	for (int i = 0; i < 300; i++)
		input_mouse(&input, 1, 0, 0, 0);
	expect_packet(0x08, 1, 0, 0x08, 255, 0, 0x08, 44, 0);
	input_mouse(&input, INT32_MAX, INT32_MIN, INT32_MIN, 0);
	advance(1 * MS);
	assert_int_equal(mouse_data(), 0x08);
	advance(1 * MS);
	assert_int_equal(mouse_data(), 255);
	advance(1 * MS);
	assert_int_equal(mouse_data(), 255);
}

static void buttons_are_told_in_order(void **state)
{
	unsigned packets = 0;
	uint8_t buttons = 0;

	enable_mouse();
	input_mouse(&input, 1, 0, 0, 0);
	input_mouse(&input, 0, 0, 0, INPUT_LEFT);
	input_mouse(&input, 0, 0, 0, 0);
	input_mouse(&input, 2, 0, 0, INPUT_RIGHT);
	expect_packet(0x08, 1, 0, 0x09, 0, 0, 0x08, 0, 0, 0x0a, 2, 0);
	/* Where there is no room the last state is told. */
	for (unsigned i = 0; i < 101; i++)
		input_mouse(&input, 0, 0, 0, i % 2 ? 0 : INPUT_LEFT);
	for (advance(1 * MS); inb(0x64) & 1; advance(1 * MS), packets++) {
		buttons = inb(0x60);
		advance(1 * MS);
		inb(0x60);
		advance(1 * MS);
		inb(0x60);
	}
	assert_in_range(packets, 10, 25);
	assert_int_equal(buttons, 0x09);
}

static void knock(uint8_t first, uint8_t second, uint8_t third, uint8_t id)
{
	set_rate(first);
	set_rate(second);
	set_rate(third);
	to_mouse(0xf2);
	assert_int_equal(mouse_data(), 0xfa);
	assert_int_equal(mouse_data(), id);
}

static void wheel_and_five_buttons(void **state)
{
	knock(200, 100, 100, 0);
	knock(200, 100, 80, 3);
	enable_mouse();
	input_mouse(&input, 0, 0, -1, INPUT_SIDE);
	expect_packet(0x08, 0, 0, 0xff);
	input_mouse(&input, 0, 0, 9, 0);
	expect_packet(0x08, 0, 0, 7, 0x08, 0, 0, 2);
	knock(200, 200, 80, 4);
	input_mouse(&input, 0, 0, -1, INPUT_SIDE);
	expect_packet(0x08, 0, 0, 0x1f);
	input_mouse(&input, 0, 0, 1, INPUT_EXTRA | INPUT_LEFT);
	expect_packet(0x09, 0, 0, 0x21);
	to_mouse(0xff);
	expect_packet(0xfa, 0xaa, 0x00);
	to_mouse(0xf2);
	expect_packet(0xfa, 0x00);
}

static void remote_mode(void **state)
{
	enable_mouse();
	to_mouse(0xf0);
	expect_packet(0xfa);
	input_mouse(&input, 7, -1, 0, INPUT_LEFT);
	advance(1 * MS);
	nothing_more();
	to_mouse(0xe9);
	expect_packet(0xfa, 0x64, 2, 100);
	to_mouse(0xeb);
	expect_packet(0xfa, 0x09, 7, 1);
	to_mouse(0xeb);
	expect_packet(0xfa, 0x09, 0, 0);
	to_mouse(0xea);
	expect_packet(0xfa);
	input_mouse(&input, 1, 0, 0, INPUT_LEFT);
	expect_packet(0x09, 1, 0);
}

static void scaling(void **state)
{
	static const uint8_t doubled[] = {1, 1, 3, 6, 9, 12, 14};

	to_mouse(0xe7);
	expect_packet(0xfa);
	to_mouse(0xe9);
	expect_packet(0xfa, 0x10, 2, 100);
	enable_mouse();
	for (unsigned i = 0; i < sizeof(doubled); i++) {
		input_mouse(&input, (int)i + 1, 0, 0, 0);
		expect_packet(0x08, doubled[i], 0);
	}
	input_mouse(&input, -200, 0, 0, 0);
	expect_packet(0x18, 0x02, 0, 0x18, 0x6e, 0); /* -254, -146 */
	to_mouse(0xe8);
	expect_packet(0xfa);
	to_mouse(0x03);
	expect_packet(0xfa);
	to_mouse(0xe9);
	expect_packet(0xfa, 0x30, 3, 100);
}

static void wrap_mode(void **state)
{
	to_mouse(0xee);
	expect_packet(0xfa);
	to_mouse(0xf2);
	expect_packet(0xf2);
	to_mouse(0x12);
	expect_packet(0x12);
	to_mouse(0xec);
	expect_packet(0xfa);
	to_mouse(0xf2);
	expect_packet(0xfa, 0x00);
	to_mouse(0xe2); /* no such command */
	expect_packet(0xfe);
}

static void reset_lets_go_of_keys(void **state)
{
	key(KEY_A, true);
	key(KEY_B, true);
	input_mouse(&input, 5, 5, 0, INPUT_LEFT);
	device_list_reset(&f.devices);
	assert_false(f.level[KEYBOARD_IRQ]);
	advance(1 * MS);
	nothing_more();
	key(KEY_A, false);
	key(KEY_A, true);
	expect_codes(0x1e);
}

/* Anything by the guest and by the user, in any order: the queues hold. */
static void anything(void **state)
{
	srand(1);
	for (unsigned i = 0; i < 20000; i++) {
		switch (rand() % 6) {
		case 0:
			key((unsigned)rand() % 300, rand() % 2);
			break;
		case 1:
			input_mouse(&input, rand() - RAND_MAX / 2, rand() % 9, rand() % 9,
				(unsigned)rand());
			break;
		case 2:
			outb(rand() % 2 ? 0x60 : 0x64, (uint8_t)rand());
			break;
		case 3:
			to_mouse((uint8_t)rand());
			break;
		default:
			inb(0x60);
			advance((unsigned)rand() % (1 * MS));
		}
	}
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
		cmocka_unit_test_setup_teardown(keys_of_set_1_by_translation, setup, teardown),
		cmocka_unit_test_setup_teardown(every_key_of_the_first_keyboards, setup, teardown),
		cmocka_unit_test_setup_teardown(keys_of_set_2, setup, teardown),
		cmocka_unit_test_setup_teardown(keys_of_set_1_by_the_keyboard, setup, teardown),
		cmocka_unit_test_setup_teardown(keys_of_set_3, setup, teardown),
		cmocka_unit_test_setup_teardown(
			keyboard_that_is_switched_off_sends_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(next_key_comes_later, setup, teardown),
		cmocka_unit_test_setup_teardown(answers_go_before_keys, setup, teardown),
		cmocka_unit_test_setup_teardown(keyboard_overrun, setup, teardown),
		cmocka_unit_test_setup_teardown(movements, setup, teardown),
		cmocka_unit_test_setup_teardown(movements_add_up_while_one_waits, setup, teardown),
		cmocka_unit_test_setup_teardown(buttons_are_told_in_order, setup, teardown),
		cmocka_unit_test_setup_teardown(wheel_and_five_buttons, setup, teardown),
		cmocka_unit_test_setup_teardown(remote_mode, setup, teardown),
		cmocka_unit_test_setup_teardown(scaling, setup, teardown),
		cmocka_unit_test_setup_teardown(wrap_mode, setup, teardown),
		cmocka_unit_test_setup_teardown(reset_lets_go_of_keys, setup, teardown),
		cmocka_unit_test_setup_teardown(anything, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
