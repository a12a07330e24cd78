#include "device/chipset/pic.h"

#include "device_fixture.h"

#define INTR 0 /* the fixture's line that the output drives */

static struct pic pic;

static void pulse(unsigned irq)
{
	pic_set_irq(&pic, irq, true);
	pic_set_irq(&pic, irq, false);
}

/* Both chips as a PC has them: vectors 0x20 and 0x28. */
static void program(uint8_t icw4)
{
	outb(0x20, 0x11);
	outb(0x21, 0x20);
	outb(0x21, 0x04);
	outb(0x21, icw4);
	outb(0xa0, 0x11);
	outb(0xa1, 0x28);
	outb(0xa1, 0x02);
	outb(0xa1, icw4);
	outb(0x21, 0);
	outb(0xa1, 0);
}

static int setup(void **state)
{
	fixture_setup();
	assert_int_equal(pic_init(&pic, &f.devices, &f.ports, fixture_irq(INTR), 1 << 9), 0);
	program(0x01);
	return 0;
}

static int teardown(void **state)
{
	fixture_teardown();
	return 0;
}

static uint8_t isr(uint16_t port)
{
	outb(port, 0x0b);
	return inb(port);
}

static uint8_t irr(uint16_t port)
{
	outb(port, 0x0a);
	return inb(port);
}

static void edge_is_latched_and_acknowledged(void **state)
{
	pulse(0);
	assert_true(f.level[INTR]);
	assert_int_equal(irr(0x20), 0x01);
	assert_int_equal(pic_acknowledge(&pic), 0x20);
	assert_false(f.level[INTR]);
	assert_int_equal(irr(0x20), 0);
	assert_int_equal(isr(0x20), 0x01);
	/* The same again waits for the EOI. */
	pulse(0);
	assert_false(f.level[INTR]);
	outb(0x20, 0x20);
	assert_true(f.level[INTR]);
}

static void edge_needs_the_line_to_fall(void **state)
{
	pic_set_irq(&pic, 3, true);
	assert_int_equal(pic_acknowledge(&pic), 0x23);
	outb(0x20, 0x20);
	pic_set_irq(&pic, 3, true);
	assert_false(f.level[INTR]);
	pic_set_irq(&pic, 3, false);
	pic_set_irq(&pic, 3, true);
	assert_true(f.level[INTR]);
}

static void level_asks_until_it_falls(void **state)
{
	outb(0x4d0, 0xff);
	outb(0x4d1, 0xff);
	/* Timer, keyboard, cascade, RTC and FPU stay edge-triggered. */
	assert_int_equal(inb(0x4d0), 0xf8);
	assert_int_equal(inb(0x4d1), 0xde);
	pic_set_irq(&pic, 5, true);
	assert_int_equal(pic_acknowledge(&pic), 0x25);
	assert_int_equal(irr(0x20), 0x20);
	outb(0x20, 0x20);
	assert_true(f.level[INTR]);
	pic_set_irq(&pic, 5, false);
	assert_false(f.level[INTR]);
}

static void mask(void **state)
{
	outb(0x21, 0x02);
	pulse(1);
	assert_false(f.level[INTR]);
	assert_int_equal(inb(0x21), 0x02);
	outb(0x21, 0);
	assert_true(f.level[INTR]); /* it was latched meanwhile */
}

static void fixed_priority_nests(void **state)
{
	pulse(4);
	assert_int_equal(pic_acknowledge(&pic), 0x24);
	pulse(6);
	assert_false(f.level[INTR]);
	pulse(1);
	assert_true(f.level[INTR]);
	assert_int_equal(pic_acknowledge(&pic), 0x21);
	assert_int_equal(isr(0x20), 0x12);
	outb(0x20, 0x20); /* ends the more urgent one */
	assert_int_equal(isr(0x20), 0x10);
	outb(0x20, 0x64); /* specific: IRQ 4 */
	assert_int_equal(isr(0x20), 0);
	assert_int_equal(pic_acknowledge(&pic), 0x26);
}

static void cascade(void **state)
{
	pulse(12);
	assert_true(f.level[INTR]);
	assert_int_equal(pic_acknowledge(&pic), 0x2c);
	assert_int_equal(isr(0x20), 0x04);
	assert_int_equal(isr(0xa0), 0x10);
	/* Less urgent master inputs wait, IRQ 1 does not. */
	pulse(3);
	assert_false(f.level[INTR]);
	pulse(1);
	assert_int_equal(pic_acknowledge(&pic), 0x21);
	outb(0x20, 0x20);
	/* Another of the slave's came while one was in service: it must not be lost. */
	pulse(14);
	pulse(8);
	outb(0xa0, 0x20);
	outb(0x20, 0x20);
	assert_true(f.level[INTR]);
	assert_int_equal(pic_acknowledge(&pic), 0x28);
	outb(0xa0, 0x20);
	outb(0x20, 0x20);
	assert_int_equal(pic_acknowledge(&pic), 0x2e);
}

static void special_fully_nested(void **state)
{
	program(0x11);
	pulse(12);
	assert_int_equal(pic_acknowledge(&pic), 0x2c);
	/* A more urgent one of the slave's gets through, a less urgent one does not. */
	pulse(13);
	assert_false(f.level[INTR]);
	pulse(9);
	assert_true(f.level[INTR]);
	assert_int_equal(pic_acknowledge(&pic), 0x29);
}

static void spurious(void **state)
{
	outb(0x4d0, 0x20);
	outb(0x4d1, 0x04);
	pic_set_irq(&pic, 5, true);
	pic_set_irq(&pic, 5, false);
	assert_int_equal(pic_acknowledge(&pic), 0x27);
	assert_int_equal(isr(0x20), 0); /* not in service: no EOI for it */
}

static void automatic_eoi(void **state)
{
	program(0x03);
	pulse(4);
	assert_int_equal(pic_acknowledge(&pic), 0x24);
	assert_int_equal(isr(0x20), 0);
	/* With rotation, what was served goes to the end of the queue. */
	outb(0x20, 0x80);
	pulse(0);
	assert_int_equal(pic_acknowledge(&pic), 0x20);
	pulse(0);
	pulse(7);
	assert_int_equal(pic_acknowledge(&pic), 0x27);
}

static void rotation(void **state)
{
	pulse(2 + 1);
	pic_acknowledge(&pic);
	outb(0x20, 0xa0); /* rotate on non-specific EOI: 4 is first now */
	pulse(0);
	pulse(5);
	assert_int_equal(pic_acknowledge(&pic), 0x25);
	outb(0x20, 0x20);
	assert_int_equal(pic_acknowledge(&pic), 0x20);
	outb(0x20, 0x20);
	pulse(3); /* which is last now */
	pulse(1);
	assert_int_equal(pic_acknowledge(&pic), 0x21);
	outb(0x20, 0x20);
	assert_int_equal(pic_acknowledge(&pic), 0x23);
	outb(0x20, 0x20);
	outb(0x20, 0xc0 | 7); /* set priority: 7 is last, as after reset */
	pulse(0);
	pulse(5);
	assert_int_equal(pic_acknowledge(&pic), 0x20);
}

static void special_mask_mode(void **state)
{
	pulse(1);
	pic_acknowledge(&pic);
	outb(0x21, 0x02);
	pulse(6);
	assert_false(f.level[INTR]);
	outb(0x20, 0x68);
	assert_true(f.level[INTR]); /* the masked one in service no longer blocks */
	outb(0x20, 0x48);
	assert_false(f.level[INTR]);
}

static void polling(void **state)
{
	pulse(6);
	outb(0x20, 0x0c);
	assert_int_equal(inb(0x20), 0x86);
	assert_int_equal(isr(0x20), 0x40);
	outb(0x20, 0x0c);
	assert_int_equal(inb(0x20), 0);
}

static void icw1_clears(void **state)
{
	pulse(6);
	pulse(1);
	pic_acknowledge(&pic);
	outb(0x21, 0xff);
	program(0x01);
	assert_int_equal(isr(0x20), 0);
	assert_int_equal(irr(0x20), 0);
	assert_int_equal(inb(0x21), 0);
	assert_false(f.level[INTR]);
}

static void single_mode_skips_icw3(void **state)
{
	outb(0x20, 0x12); /* single, no ICW4 */
	outb(0x21, 0x40);
	outb(0x21, 0xfe); /* the mask already */
	assert_int_equal(inb(0x21), 0xfe);
	pulse(0);
	assert_int_equal(pic_acknowledge(&pic), 0x40);
}

static void as_firmware_leaves_it(void **state)
{
	device_list_firmware_setup(&f.devices);
	pulse(0);
	assert_false(f.level[INTR]);
	outb(0x21, 0xfa);
	outb(0xa1, 0xfe);
	assert_int_equal(pic_acknowledge(&pic), 0x08);
	outb(0x20, 0x20);
	pulse(8);
	assert_int_equal(pic_acknowledge(&pic), 0x70);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(edge_is_latched_and_acknowledged, setup, teardown),
		cmocka_unit_test_setup_teardown(edge_needs_the_line_to_fall, setup, teardown),
		cmocka_unit_test_setup_teardown(level_asks_until_it_falls, setup, teardown),
		cmocka_unit_test_setup_teardown(mask, setup, teardown),
		cmocka_unit_test_setup_teardown(fixed_priority_nests, setup, teardown),
		cmocka_unit_test_setup_teardown(cascade, setup, teardown),
		cmocka_unit_test_setup_teardown(special_fully_nested, setup, teardown),
		cmocka_unit_test_setup_teardown(spurious, setup, teardown),
		cmocka_unit_test_setup_teardown(automatic_eoi, setup, teardown),
		cmocka_unit_test_setup_teardown(rotation, setup, teardown),
		cmocka_unit_test_setup_teardown(special_mask_mode, setup, teardown),
		cmocka_unit_test_setup_teardown(polling, setup, teardown),
		cmocka_unit_test_setup_teardown(icw1_clears, setup, teardown),
		cmocka_unit_test_setup_teardown(single_mode_skips_icw3, setup, teardown),
		cmocka_unit_test_setup_teardown(as_firmware_leaves_it, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
