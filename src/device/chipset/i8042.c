/* No keys are ever pressed, but guests probe the devices: self tests, identification, and the
 * commands that their drivers send must be answered. Each of the two devices has a queue, in which
 * its bytes wait until the controller's one-byte output buffer is free.
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

#define PORT92_RESET BIT(0)
#define PORT92_A20   BIT(1)

/* What the host sends to a keyboard or a mouse. */
#define PS2_MOUSE_SCALE_1_1   0xe6
#define PS2_MOUSE_SCALE_2_1   0xe7
#define PS2_MOUSE_RESOLUTION  0xe8
#define PS2_MOUSE_STATUS      0xe9
#define PS2_MOUSE_READ        0xeb
#define PS2_KEYBOARD_LEDS     0xed
#define PS2_KEYBOARD_ECHO     0xee
#define PS2_KEYBOARD_CODE_SET 0xf0
#define PS2_IDENTIFY          0xf2
#define PS2_RATE              0xf3 /* typematic rate or sample rate */
#define PS2_ENABLE            0xf4
#define PS2_DISABLE           0xf5
#define PS2_DEFAULTS          0xf6
#define PS2_KEY_TYPES_FIRST   0xf7 /* of scan code set 3 */
#define PS2_KEY_TYPES_LAST    0xfd
#define PS2_SEND_AGAIN        0xfe
#define PS2_RESET             0xff
#define PS2_FIRST_COMMAND     0xe6 /* parameters are below */

#define PS2_ACK       0xfa
#define PS2_RESEND    0xfe
#define PS2_TEST_GOOD 0xaa

/* --- the devices --- */

static void ps2_send(struct ps2_device *device, uint8_t byte)
{
	if (device->count < PS2_QUEUE_SIZE)
		device->queue[(device->head + device->count++) % PS2_QUEUE_SIZE] = byte;
}

static void ps2_defaults(struct ps2_device *device)
{
	device->scanning = !device->mouse;
	device->scancode_set = 2;
	device->leds = 0;
	device->typematic = 0x2b;
	device->resolution = 2;
	device->sample_rate = 100;
	device->status = 0;
}

static void ps2_reset(struct ps2_device *device, bool mouse)
{
	*device = (struct ps2_device){.mouse = mouse};
	ps2_defaults(device);
}

static void keyboard_parameter(struct ps2_device *keyboard, uint8_t command, uint8_t value)
{
	ps2_send(keyboard, PS2_ACK);
	switch (command) {
	case PS2_KEYBOARD_LEDS:
		keyboard->leds = value & 7;
		break;
	case PS2_KEYBOARD_CODE_SET:
		if (!value)
			ps2_send(keyboard, keyboard->scancode_set);
		else if (value <= 3)
			keyboard->scancode_set = value;
		break;
	case PS2_RATE:
		keyboard->typematic = value;
		break;
	}
}

static void keyboard_command(struct ps2_device *keyboard, uint8_t command)
{
	switch (command) {
	case PS2_KEYBOARD_LEDS:
	case PS2_KEYBOARD_CODE_SET:
	case PS2_RATE:
		keyboard->expecting = command;
		ps2_send(keyboard, PS2_ACK);
		break;
	case PS2_KEYBOARD_ECHO:
		ps2_send(keyboard, PS2_KEYBOARD_ECHO);
		break;
	case PS2_IDENTIFY: /* MF2 keyboard */
		ps2_send(keyboard, PS2_ACK);
		ps2_send(keyboard, 0xab);
		ps2_send(keyboard, 0x83);
		break;
	case PS2_ENABLE:
		keyboard->scanning = true;
		ps2_send(keyboard, PS2_ACK);
		break;
	case PS2_DISABLE: /* with the defaults, too */
	case PS2_DEFAULTS:
		ps2_defaults(keyboard);
		keyboard->scanning = command == PS2_DEFAULTS;
		ps2_send(keyboard, PS2_ACK);
		break;
	case PS2_KEY_TYPES_FIRST ... PS2_KEY_TYPES_LAST:
		ps2_send(keyboard, PS2_ACK);
		break;
	case PS2_SEND_AGAIN:
		ps2_send(keyboard, keyboard->last_sent);
		break;
	case PS2_RESET:
		ps2_defaults(keyboard);
		ps2_send(keyboard, PS2_ACK);
		ps2_send(keyboard, PS2_TEST_GOOD);
		break;
	default:
		ps2_send(keyboard, PS2_RESEND);
	}
}

static void mouse_parameter(struct ps2_device *mouse, uint8_t command, uint8_t value)
{
	if (command == PS2_MOUSE_RESOLUTION)
		mouse->resolution = value & 3;
	else
		mouse->sample_rate = value;
	ps2_send(mouse, PS2_ACK);
}

static void mouse_command(struct ps2_device *mouse, uint8_t command)
{
	if (command == PS2_SEND_AGAIN) {
		ps2_send(mouse, mouse->last_sent);
		return;
	}
	if (command < PS2_FIRST_COMMAND) {
		ps2_send(mouse, PS2_RESEND);
		return;
	}
	ps2_send(mouse, PS2_ACK);
	switch (command) {
	case PS2_MOUSE_SCALE_1_1:
	case PS2_MOUSE_SCALE_2_1:
		mouse->status = (uint8_t)((mouse->status & ~0x10) | (command & 1) << 4);
		break;
	case PS2_MOUSE_RESOLUTION:
	case PS2_RATE: /* sample rate */
		mouse->expecting = command;
		break;
	case PS2_MOUSE_STATUS:
		ps2_send(mouse, mouse->status | (mouse->scanning ? 0x20 : 0));
		ps2_send(mouse, mouse->resolution);
		ps2_send(mouse, mouse->sample_rate);
		break;
	case PS2_MOUSE_READ: /* it has not moved */
		ps2_send(mouse, 0x08);
		ps2_send(mouse, 0);
		ps2_send(mouse, 0);
		break;
	case PS2_IDENTIFY: /* standard mouse */
		ps2_send(mouse, 0);
		break;
	case PS2_ENABLE:
		mouse->scanning = true;
		break;
	case PS2_DISABLE:
		mouse->scanning = false;
		break;
	case PS2_DEFAULTS:
		ps2_defaults(mouse);
		break;
	case PS2_RESET:
		ps2_defaults(mouse);
		ps2_send(mouse, PS2_TEST_GOOD);
		ps2_send(mouse, 0);
		break;
	}
}

/* The host sends a byte to a device: an answer that is still queued is dropped, as the host does
 * not wait for it any more. */
static void ps2_receive(struct ps2_device *device, uint8_t byte)
{
	uint8_t command = device->expecting;

	device->head = device->count = 0;
	device->expecting = 0;
	/* A command in the place of a parameter is a command. */
	if (command && byte < PS2_FIRST_COMMAND)
		(device->mouse ? mouse_parameter : keyboard_parameter)(device, command, byte);
	else
		(device->mouse ? mouse_command : keyboard_command)(device, byte);
}

/* --- the controller --- */

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

static uint8_t take_byte(struct ps2_device *device)
{
	device->last_sent = device->queue[device->head];
	device->head = (device->head + 1) % PS2_QUEUE_SIZE;
	device->count--;
	return device->last_sent;
}

/* Let the next byte of an enabled device into the output buffer, if that is free. */
static void fetch_from_devices(struct i8042 *i8042)
{
	uint8_t byte;

	if (i8042->state.status & STATUS_OUTPUT_FULL)
		return;
	if (i8042->state.keyboard.count && !(i8042->state.config & CONFIG_KEYBOARD_OFF)) {
		byte = take_byte(&i8042->state.keyboard);
		/* Translate scan code set 2 to set 1. The only byte that is ever sent and changes
		 * is the second byte of the keyboard's ID. */
		if ((i8042->state.config & CONFIG_TRANSLATE) && byte == 0x83)
			byte = 0x41;
		put_output(i8042, byte, false);
	} else if (i8042->state.mouse.count && !(i8042->state.config & CONFIG_MOUSE_OFF)) {
		put_output(i8042, take_byte(&i8042->state.mouse), true);
	}
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
		ps2_receive(&i8042->state.mouse, value);
		break;
	default:
		switch_device(i8042, COMMAND_KEYBOARD_ON);
		ps2_receive(&i8042->state.keyboard, value);
	}
	fetch_from_devices(i8042);
}

static uint64_t data_read(void *opaque, uint64_t offset, unsigned size)
{
	struct i8042 *i8042 = opaque;
	uint8_t value = i8042->state.output;

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

	ps2_reset(&i8042->state.keyboard, false);
	ps2_reset(&i8042->state.mouse, true);
	i8042->state.status = STATUS_UNLOCKED | STATUS_SYSTEM;
	i8042->state.config =
		CONFIG_KEYBOARD_IRQ | CONFIG_MOUSE_IRQ | CONFIG_SYSTEM | CONFIG_TRANSLATE;
	i8042->state.command = i8042->state.output = 0;
	i8042->state.output_port = OUTPUT_PORT_NO_RESET;
	i8042->state.port92 = 0;
	memset(i8042->state.ram, 0, sizeof(i8042->state.ram));
	set_a20(i8042, true);
	update_irqs(i8042);
}

static bool i8042_valid(const void *device, const void *loaded)
{
	const struct i8042_state *state = loaded;

	return !state->keyboard.mouse && state->mouse.mouse;
}

static void i8042_loaded(void *device)
{
	update_irqs(device);
}

static const struct state_field ps2_fields[] = {
	STATE_BOOL(struct ps2_device, mouse),
	STATE_ANY(struct ps2_device, expecting),
	STATE_BOOL(struct ps2_device, scanning),
	STATE_ANY(struct ps2_device, last_sent),
	STATE_ANY(struct ps2_device, scancode_set),
	STATE_ANY(struct ps2_device, leds),
	STATE_ANY(struct ps2_device, typematic),
	STATE_ANY(struct ps2_device, resolution),
	STATE_ANY(struct ps2_device, sample_rate),
	STATE_ANY(struct ps2_device, status),
	STATE_ARRAY_ANY(struct ps2_device, queue),
	STATE_FIELD(struct ps2_device, head, 0, PS2_QUEUE_SIZE - 1),
	STATE_FIELD(struct ps2_device, count, 0, PS2_QUEUE_SIZE),
	STATE_END,
};

static const struct state_field i8042_fields[] = {
	STATE_ANY(struct i8042_state, status),
	STATE_ANY(struct i8042_state, config),
	STATE_ANY(struct i8042_state, output_port),
	STATE_ANY(struct i8042_state, command),
	STATE_ANY(struct i8042_state, output),
	STATE_ANY(struct i8042_state, port92),
	STATE_ARRAY_ANY(struct i8042_state, ram),
	STATE_STRUCT(struct i8042_state, keyboard, ps2_fields),
	STATE_STRUCT(struct i8042_state, mouse, ps2_fields),
	STATE_END,
};

static const struct device_ops i8042_device = {
	.name = "i8042",
	.version = 1,
	DEVICE_STATE(struct i8042, i8042_fields),
	.reset = i8042_reset,
	.valid = i8042_valid,
	.loaded = i8042_loaded,
};

int i8042_init(struct i8042 *i8042, struct device_list *devices, struct io_space *ports,
	struct irq_line keyboard_irq, struct irq_line mouse_irq, void (*reset)(void *opaque),
	void *opaque)
{
	static const struct io_ops data = {.read = data_read, .write = data_write, .width = 1};
	static const struct io_ops command = {
		.read = status_read, .write = command_write, .width = 1};
	static const struct io_ops port92 = {
		.read = port92_read, .write = port92_write, .width = 1};
	int error;

	*i8042 = (struct i8042){.keyboard_irq = keyboard_irq,
		.mouse_irq = mouse_irq,
		.reset = reset,
		.opaque = opaque};
	device_list_add(devices, &i8042->device, &i8042_device, 0);
	i8042_reset(i8042);
	error = io_space_add(ports, 0x60, 1, "keyboard controller", &data, i8042);
	if (!error)
		error = io_space_add(ports, 0x64, 1, "keyboard controller", &command, i8042);
	if (!error)
		error = io_space_add(ports, 0x92, 1, "system control port A", &port92, i8042);
	return error;
}
