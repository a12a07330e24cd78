/* IBM's "Personal System/2 Hardware Interface Technical Reference", keyboard and auxiliary device
 * controller; Intel's 8042. The bytes of the keyboard (ps2_keyboard.c) and of the mouse
 * (ps2_mouse.c) wait in the devices until the controller's one-byte output buffer is free.
 *
 * Answers follow each other at once, so that a driver's probing takes no time. What the user does
 * comes a byte every 500 us, about as fast as on the wire: an interrupt handler that chains to
 * another reads the data port twice, and must find the same byte, not the next one.
 *
 * The A20 gate can be programmed and read back, but has no effect: address line 20 is always on. */
#include "device/chipset/i8042.h"

#include "base/bits.h"

#include <string.h>

#define STATUS_OUTPUT_FULL BIT(0)
#define STATUS_SYSTEM      BIT(2) /* self test passed */
#define STATUS_COMMAND     BIT(3) /* the last write was to the command port */
#define STATUS_UNLOCKED    BIT(4)
#define STATUS_AUX         BIT(5) /* the byte comes from the mouse */

#define CONFIG_KEYBOARD_IRQ BIT(0)
#define CONFIG_MOUSE_IRQ    BIT(1)
#define CONFIG_SYSTEM       BIT(2)
#define CONFIG_KEYBOARD_OFF BIT(4)
#define CONFIG_MOUSE_OFF    BIT(5)
#define CONFIG_TRANSLATE    BIT(6)

#define OUTPUT_PORT_NO_RESET     BIT(0)
#define OUTPUT_PORT_A20          BIT(1)
#define OUTPUT_PORT_KEYBOARD_IRQ BIT(4)
#define OUTPUT_PORT_MOUSE_IRQ    BIT(5)

/* The controller's commands, written to port 0x64. */
#define COMMAND_READ_CONFIG        0x20
#define COMMAND_READ_RAM           0x21 /* to 0x3f: the address is in the command */
#define COMMAND_READ_RAM_LAST      0x3f
#define COMMAND_WRITE_CONFIG       0x60
#define COMMAND_WRITE_RAM          0x61 /* to 0x7f */
#define COMMAND_WRITE_RAM_LAST     0x7f
#define COMMAND_MOUSE_OFF          0xa7
#define COMMAND_MOUSE_ON           0xa8
#define COMMAND_TEST_MOUSE         0xa9
#define COMMAND_SELF_TEST          0xaa
#define COMMAND_TEST_KEYBOARD      0xab
#define COMMAND_KEYBOARD_OFF       0xad
#define COMMAND_KEYBOARD_ON        0xae
#define COMMAND_READ_INPUT_PORT    0xc0
#define COMMAND_READ_OUTPUT_PORT   0xd0
#define COMMAND_WRITE_OUTPUT_PORT  0xd1
#define COMMAND_WRITE_KEYBOARD_OUT 0xd2 /* as if the keyboard had sent it */
#define COMMAND_WRITE_MOUSE_OUT    0xd3 /* as if the mouse had sent it */
#define COMMAND_WRITE_MOUSE        0xd4
#define COMMAND_A20_OFF            0xdd
#define COMMAND_A20_ON             0xdf
#define COMMAND_READ_TEST_INPUTS   0xe0
#define COMMAND_PULSE              0xf0 /* to 0xff: output lines low; line 0 resets the processor */
#define COMMAND_PULSE_LAST         0xff

#define RAM_ADDRESS(command) ((command)&0x1f)

#define SELF_TEST_GOOD      0x55
#define INTERFACE_TEST_GOOD 0x00
#define INPUT_PORT_UNLOCKED 0x80 /* the keyboard's lock is open */
#define TEST_INPUTS_IDLE    0x00 /* both clocks */

#define EVENT_INTERVAL_NS 500000

#define PORT92_RESET BIT(0)
#define PORT92_A20   BIT(1)

static void update_irqs(struct i8042 *i8042)
{
	bool full = i8042->state.status & STATUS_OUTPUT_FULL,
	     aux = i8042->state.status & STATUS_AUX;

	irq_set(&i8042->keyboard_irq, full && !aux && (i8042->state.config & CONFIG_KEYBOARD_IRQ));
	irq_set(&i8042->mouse_irq, full && aux && (i8042->state.config & CONFIG_MOUSE_IRQ));
}

static void put_output(struct i8042 *i8042, uint8_t byte, bool aux)
{
	i8042->state.output = byte;
	i8042->state.status |= STATUS_OUTPUT_FULL;
	i8042->state.status =
		(uint8_t)((i8042->state.status & ~STATUS_AUX) | (aux ? STATUS_AUX : 0));
	update_irqs(i8042);
}

/* One byte from the keyboard. A prefix that the translation removes takes the next one with it. */
static void fetch_from_keyboard(struct i8042 *i8042)
{
	struct ps2_link *link = &i8042->state.keyboard.link;
	uint8_t byte = ps2_take(link);

	if (!(i8042->state.config & CONFIG_TRANSLATE)) {
		put_output(i8042, byte, false);
	} else if (byte == PS2_RELEASED) {
		i8042->state.released = true;
	} else {
		byte = ps2_translate(byte, i8042->state.released);
		i8042->state.released = false;
		put_output(i8042, byte, false);
	}
}

/* May a byte of this device come into the output buffer now? Where it is only too early the timer
 * says when. */
static bool has_byte(struct i8042 *i8042, const struct ps2_link *link, uint8_t off)
{
	if (i8042->state.config & off)
		return false;
	if (link->answers.count)
		return true;
	if (!link->events.count)
		return false;
	if (clock_ns(i8042->clock) >= i8042->state.next_event_ns)
		return true;
	timer_arm(&i8042->event_timer, i8042->state.next_event_ns);
	return false;
}

/* Let the next byte of an enabled device into the output buffer, if that is free. */
static void fetch_from_devices(struct i8042 *i8042)
{
	while (!(i8042->state.status & STATUS_OUTPUT_FULL)) {
		if (has_byte(i8042, &i8042->state.keyboard.link, CONFIG_KEYBOARD_OFF)) {
			fetch_from_keyboard(i8042);
		} else if (has_byte(i8042, &i8042->state.mouse.link, CONFIG_MOUSE_OFF)) {
			put_output(i8042, ps2_take(&i8042->state.mouse.link), true);
			ps2_mouse_continue(&i8042->state.mouse);
		} else {
			return;
		}
	}
}

static void fetch_event(void *opaque)
{
	fetch_from_devices(opaque);
}

static void on_key(void *opaque, unsigned code, bool down)
{
	struct i8042 *i8042 = opaque;

	ps2_keyboard_key(&i8042->state.keyboard, code, down);
	fetch_from_devices(i8042);
}

static void on_mouse(void *opaque, int dx, int dy, int dz, unsigned buttons)
{
	struct i8042 *i8042 = opaque;

	ps2_mouse_move(&i8042->state.mouse, dx, dy, dz, buttons);
	fetch_from_devices(i8042);
}

struct input i8042_input(struct i8042 *i8042)
{
	static const struct input_ops ops = {.key = on_key, .mouse = on_mouse};

	return (struct input){&ops, i8042};
}

static void reset_machine(struct i8042 *i8042)
{
	if (i8042->reset)
		i8042->reset(i8042->opaque);
}

static void set_a20(struct i8042 *i8042, bool on)
{
	i8042->state.output_port &= (uint8_t)~OUTPUT_PORT_A20;
	i8042->state.port92 &= (uint8_t)~PORT92_A20;
	if (on) {
		i8042->state.output_port |= OUTPUT_PORT_A20;
		i8042->state.port92 |= PORT92_A20;
	}
}

static void write_output_port(struct i8042 *i8042, uint8_t value)
{
	i8042->state.output_port = value;
	set_a20(i8042, value & OUTPUT_PORT_A20);
	if (!(value & OUTPUT_PORT_NO_RESET))
		reset_machine(i8042);
}

static void set_config(struct i8042 *i8042, uint8_t value)
{
	i8042->state.config = value;
	i8042->state.status = (uint8_t)((i8042->state.status & ~STATUS_SYSTEM) |
					(value & CONFIG_SYSTEM ? STATUS_SYSTEM : 0));
	update_irqs(i8042);
}

static uint8_t read_output_port(const struct i8042 *i8042)
{
	uint8_t value = i8042->state.output_port & (OUTPUT_PORT_NO_RESET | OUTPUT_PORT_A20);

	if (i8042->state.status & STATUS_OUTPUT_FULL)
		value |= i8042->state.status & STATUS_AUX ? OUTPUT_PORT_MOUSE_IRQ
							  : OUTPUT_PORT_KEYBOARD_IRQ;
	return value;
}

static void read_config(struct i8042 *i8042, uint8_t command)
{
	put_output(i8042, i8042->state.config, false);
}

static void read_ram(struct i8042 *i8042, uint8_t command)
{
	put_output(i8042, i8042->state.ram[RAM_ADDRESS(command)], false);
}

static void expect_data(struct i8042 *i8042, uint8_t command)
{
	i8042->state.command = command;
}

static void switch_device(struct i8042 *i8042, uint8_t command)
{
	bool mouse = command == COMMAND_MOUSE_OFF || command == COMMAND_MOUSE_ON;
	bool off = command == COMMAND_MOUSE_OFF || command == COMMAND_KEYBOARD_OFF;
	uint8_t bit = mouse ? CONFIG_MOUSE_OFF : CONFIG_KEYBOARD_OFF;

	set_config(i8042, (uint8_t)((i8042->state.config & ~bit) | (off ? bit : 0)));
}

static void test_interface(struct i8042 *i8042, uint8_t command)
{
	put_output(i8042, INTERFACE_TEST_GOOD, false);
}

static void self_test(struct i8042 *i8042, uint8_t command)
{
	set_config(i8042, i8042->state.config | CONFIG_SYSTEM);
	put_output(i8042, SELF_TEST_GOOD, false);
}

static void read_input_port(struct i8042 *i8042, uint8_t command)
{
	put_output(i8042, INPUT_PORT_UNLOCKED, false);
}

static void show_output_port(struct i8042 *i8042, uint8_t command)
{
	put_output(i8042, read_output_port(i8042), false);
}

static void switch_a20(struct i8042 *i8042, uint8_t command)
{
	set_a20(i8042, command == COMMAND_A20_ON);
}

static void read_test_inputs(struct i8042 *i8042, uint8_t command)
{
	put_output(i8042, TEST_INPUTS_IDLE, false);
}

static void pulse_lines(struct i8042 *i8042, uint8_t command)
{
	if (!(command & OUTPUT_PORT_NO_RESET))
		reset_machine(i8042);
}

/* Other commands are ignored. */
static void (*const commands[256])(struct i8042 *i8042, uint8_t command) = {
	[COMMAND_READ_CONFIG] = read_config,
	[COMMAND_READ_RAM... COMMAND_READ_RAM_LAST] = read_ram,
	[COMMAND_WRITE_CONFIG] = expect_data,
	[COMMAND_WRITE_RAM... COMMAND_WRITE_RAM_LAST] = expect_data,
	[COMMAND_MOUSE_OFF] = switch_device,
	[COMMAND_MOUSE_ON] = switch_device,
	[COMMAND_TEST_MOUSE] = test_interface,
	[COMMAND_SELF_TEST] = self_test,
	[COMMAND_TEST_KEYBOARD] = test_interface,
	[COMMAND_KEYBOARD_OFF] = switch_device,
	[COMMAND_KEYBOARD_ON] = switch_device,
	[COMMAND_READ_INPUT_PORT] = read_input_port,
	[COMMAND_READ_OUTPUT_PORT] = show_output_port,
	[COMMAND_WRITE_OUTPUT_PORT] = expect_data,
	[COMMAND_WRITE_KEYBOARD_OUT] = expect_data,
	[COMMAND_WRITE_MOUSE_OUT] = expect_data,
	[COMMAND_WRITE_MOUSE] = expect_data,
	[COMMAND_A20_OFF] = switch_a20,
	[COMMAND_A20_ON] = switch_a20,
	[COMMAND_READ_TEST_INPUTS] = read_test_inputs,
	[COMMAND_PULSE... COMMAND_PULSE_LAST] = pulse_lines,
};

static void write_command(struct i8042 *i8042, uint8_t command)
{
	i8042->state.command = 0;
	if (commands[command])
		commands[command](i8042, command);
	fetch_from_devices(i8042);
}

/* The byte that a command waited for; without one it is for the keyboard. */
static void write_data(struct i8042 *i8042, uint8_t value)
{
	uint8_t command = i8042->state.command;

	i8042->state.command = 0;
	switch (command) {
	case COMMAND_WRITE_CONFIG:
		set_config(i8042, value);
		break;
	case COMMAND_WRITE_RAM ... COMMAND_WRITE_RAM_LAST:
		i8042->state.ram[RAM_ADDRESS(command)] = value;
		break;
	case COMMAND_WRITE_OUTPUT_PORT:
		write_output_port(i8042, value);
		break;
	case COMMAND_WRITE_KEYBOARD_OUT:
		put_output(i8042, value, false);
		break;
	case COMMAND_WRITE_MOUSE_OUT:
		put_output(i8042, value, true);
		break;
	case COMMAND_WRITE_MOUSE:
		switch_device(i8042, COMMAND_MOUSE_ON);
		ps2_mouse_receive(&i8042->state.mouse, value);
		break;
	default:
		switch_device(i8042, COMMAND_KEYBOARD_ON);
		ps2_keyboard_receive(&i8042->state.keyboard, value);
	}
	fetch_from_devices(i8042);
}

static uint64_t data_read(void *opaque, uint64_t offset, unsigned size)
{
	struct i8042 *i8042 = opaque;
	uint8_t value = i8042->state.output;

	if (i8042->state.status & STATUS_OUTPUT_FULL)
		i8042->state.next_event_ns = clock_ns(i8042->clock) + EVENT_INTERVAL_NS;
	/* The line falls before the next byte raises it: each byte is an edge. */
	i8042->state.status &= (uint8_t) ~(STATUS_OUTPUT_FULL | STATUS_AUX);
	update_irqs(i8042);
	fetch_from_devices(i8042);
	return value;
}

static void data_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct i8042 *i8042 = opaque;

	i8042->state.status &= (uint8_t)~STATUS_COMMAND;
	write_data(i8042, (uint8_t)value);
}

static uint64_t status_read(void *opaque, uint64_t offset, unsigned size)
{
	struct i8042 *i8042 = opaque;

	return i8042->state.status;
}

static void command_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct i8042 *i8042 = opaque;

	i8042->state.status |= STATUS_COMMAND;
	write_command(i8042, (uint8_t)value);
}

static uint64_t port92_read(void *opaque, uint64_t offset, unsigned size)
{
	struct i8042 *i8042 = opaque;

	return i8042->state.port92;
}

static void port92_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct i8042 *i8042 = opaque;
	bool reset = value & ~(uint64_t)i8042->state.port92 & PORT92_RESET;

	i8042->state.port92 = (uint8_t)value;
	set_a20(i8042, value & PORT92_A20);
	if (reset)
		reset_machine(i8042);
}

static void i8042_reset(void *device)
{
	struct i8042 *i8042 = device;

	timer_cancel(&i8042->event_timer);
	ps2_keyboard_init(&i8042->state.keyboard);
	ps2_mouse_init(&i8042->state.mouse);
	i8042->state.status = STATUS_UNLOCKED | STATUS_SYSTEM;
	i8042->state.config =
		CONFIG_KEYBOARD_IRQ | CONFIG_MOUSE_IRQ | CONFIG_SYSTEM | CONFIG_TRANSLATE;
	i8042->state.command = i8042->state.output = 0;
	i8042->state.released = false;
	i8042->state.next_event_ns = 0;
	i8042->state.output_port = OUTPUT_PORT_NO_RESET;
	i8042->state.port92 = 0;
	memset(i8042->state.ram, 0, sizeof(i8042->state.ram));
	set_a20(i8042, true);
	update_irqs(i8042);
}

static bool i8042_valid(const void *device, const void *loaded)
{
	const struct i8042 *i8042 = device;
	const struct i8042_state *state = loaded;

	return ps2_mouse_valid(&state->mouse) &&
	       state->next_event_ns <= clock_ns(i8042->clock) + EVENT_INTERVAL_NS;
}

/* What waits to be fetched is fetched by the timer, so that loading changes nothing. */
static void i8042_loaded(void *device)
{
	struct i8042 *i8042 = device;

	timer_arm(&i8042->event_timer, i8042->state.next_event_ns);
	update_irqs(i8042);
}

static void i8042_destroy(void *device)
{
	struct i8042 *i8042 = device;

	timer_cancel(&i8042->event_timer);
}

static const struct state_field i8042_fields[] = {
	STATE_ANY(struct i8042_state, status),
	STATE_ANY(struct i8042_state, config),
	STATE_ANY(struct i8042_state, output_port),
	STATE_ANY(struct i8042_state, command),
	STATE_ANY(struct i8042_state, output),
	STATE_ANY(struct i8042_state, port92),
	STATE_ARRAY_ANY(struct i8042_state, ram),
	STATE_BOOL(struct i8042_state, released),
	STATE_ANY(struct i8042_state, next_event_ns),
	STATE_STRUCT(struct i8042_state, keyboard, ps2_keyboard_fields),
	STATE_STRUCT(struct i8042_state, mouse, ps2_mouse_fields),
	STATE_END,
};

static const struct device_ops i8042_device = {
	.name = "i8042",
	.version = 2,
	DEVICE_STATE(struct i8042, i8042_fields),
	.reset = i8042_reset,
	.valid = i8042_valid,
	.loaded = i8042_loaded,
	.destroy = i8042_destroy,
};

int i8042_init(struct i8042 *i8042, struct device_list *devices, struct io_space *ports,
	struct irq_line keyboard_irq, struct irq_line mouse_irq, struct event_loop *loop,
	const struct clock *clock, void (*reset)(void *opaque), void *opaque)
{
	static const struct io_ops data = {.read = data_read, .write = data_write, .width = 1};
	static const struct io_ops command = {
		.read = status_read, .write = command_write, .width = 1};
	static const struct io_ops port92 = {
		.read = port92_read, .write = port92_write, .width = 1};
	int error;

	*i8042 = (struct i8042){.keyboard_irq = keyboard_irq,
		.mouse_irq = mouse_irq,
		.clock = clock,
		.reset = reset,
		.opaque = opaque};
	timer_init(&i8042->event_timer, loop, fetch_event, i8042);
	device_list_add(devices, &i8042->device, &i8042_device, 0);
	i8042_reset(i8042);
	error = io_space_add(ports, 0x60, 1, "keyboard controller", &data, i8042);
	if (!error)
		error = io_space_add(ports, 0x64, 1, "keyboard controller", &command, i8042);
	if (!error)
		error = io_space_add(ports, 0x92, 1, "system control port A", &port92, i8042);
	return error;
}
