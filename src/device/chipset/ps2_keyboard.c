/* IBM's "Personal System/2 Hardware Interface Technical Reference", keyboards. */
#include "device/chipset/ps2_keyboard.h"

#include <linux/input-event-codes.h>
#include <string.h>

#define LEDS          0xed
#define ECHO          0xee
#define CODE_SET      0xf0
#define ALL_REPEAT    0xf7 /* types of all keys, in set 3 */
#define ALL_RELEASE   0xf8
#define ALL_MAKE      0xf9
#define ALL_BOTH      0xfa
#define KEYS_REPEAT   0xfb /* of the keys whose codes follow */
#define KEYS_RELEASE  0xfc
#define KEYS_MAKE     0xfd
#define FIRST_COMMAND 0xed

#define TYPEMATIC_DEFAULT 0x2b /* 10.9 a second after half a second */

static bool test_bit(const uint8_t *bits, unsigned number)
{
	return bits[number / 8] >> number % 8 & 1;
}

static void set_bit(uint8_t *bits, unsigned number, bool value)
{
	uint8_t mask = (uint8_t)(1 << number % 8);

	bits[number / 8] = (uint8_t)((bits[number / 8] & ~mask) | (value ? mask : 0));
}

static void set_defaults(struct ps2_keyboard *keyboard)
{
	keyboard->scanning = true;
	keyboard->set = 2;
	keyboard->typematic = TYPEMATIC_DEFAULT;
	keyboard->key_types = 0;
	memset(keyboard->no_release, 0, sizeof(keyboard->no_release));
	memset(keyboard->no_repeat, 0, sizeof(keyboard->no_repeat));
	ps2_queue_clear(&keyboard->link.events);
}

void ps2_keyboard_init(struct ps2_keyboard *keyboard)
{
	*keyboard = (struct ps2_keyboard){0};
	set_defaults(keyboard);
}

static void parameter(struct ps2_keyboard *keyboard, uint8_t command, uint8_t value)
{
	ps2_answer(&keyboard->link, PS2_ACK);
	switch (command) {
	case LEDS:
		keyboard->leds = value & 7;
		break;
	case CODE_SET:
		if (!value)
			ps2_answer(&keyboard->link, keyboard->set);
		else if (value <= 3)
			keyboard->set = value;
		break;
	case PS2_RATE:
		keyboard->typematic = value;
		break;
	}
}

/* What a type says: does a key's release send something, do its repetitions? */
static bool type_releases(uint8_t command)
{
	return command == ALL_RELEASE || command == KEYS_RELEASE || command == ALL_BOTH;
}

static bool type_repeats(uint8_t command)
{
	return command == ALL_REPEAT || command == KEYS_REPEAT || command == ALL_BOTH;
}

static void type_of_key(struct ps2_keyboard *keyboard, uint8_t command, uint8_t code)
{
	set_bit(keyboard->no_release, code, !type_releases(command));
	set_bit(keyboard->no_repeat, code, !type_repeats(command));
	ps2_answer(&keyboard->link, PS2_ACK);
}

static void identify(struct ps2_keyboard *keyboard)
{
	ps2_answer(&keyboard->link, 0xab); /* an MF2 keyboard */
	ps2_answer(&keyboard->link, 0x83);
}

static void execute(struct ps2_keyboard *keyboard, uint8_t command)
{
	switch (command) {
	case LEDS:
	case PS2_RATE:
		keyboard->link.expecting = command;
		break;
	case CODE_SET:
		keyboard->link.expecting = command;
		ps2_queue_clear(&keyboard->link.events);
		break;
	case PS2_IDENTIFY:
		identify(keyboard);
		break;
	case PS2_ENABLE:
		keyboard->scanning = true;
		ps2_queue_clear(&keyboard->link.events);
		break;
	case PS2_DISABLE: /* with the defaults, too */
	case PS2_DEFAULTS:
		set_defaults(keyboard);
		keyboard->scanning = command == PS2_DEFAULTS;
		break;
	case ALL_REPEAT ... ALL_BOTH:
		memset(keyboard->no_release, type_releases(command) ? 0 : 0xff,
			sizeof(keyboard->no_release));
		memset(keyboard->no_repeat, type_repeats(command) ? 0 : 0xff,
			sizeof(keyboard->no_repeat));
		break;
	case KEYS_REPEAT ... KEYS_MAKE:
		keyboard->key_types = command;
		break;
	case PS2_RESET:
		keyboard->leds = 0;
		set_defaults(keyboard);
		ps2_answer(&keyboard->link, PS2_TEST_GOOD);
		break;
	}
}

static void take_command(struct ps2_keyboard *keyboard, uint8_t command)
{
	if (command == ECHO) {
		ps2_answer(&keyboard->link, ECHO);
	} else if (command == PS2_SEND_AGAIN) {
		ps2_answer(&keyboard->link, keyboard->link.last_sent);
	} else if (command < FIRST_COMMAND || command == 0xef || command == 0xf1) {
		ps2_answer(&keyboard->link, PS2_RESEND);
	} else {
		ps2_answer(&keyboard->link, PS2_ACK);
		execute(keyboard, command);
	}
}

/* An answer that is still queued is dropped, as the host does not wait for it any more. A command
 * in the place of a parameter is a command. */
void ps2_keyboard_receive(struct ps2_keyboard *keyboard, uint8_t byte)
{
	uint8_t command = keyboard->link.expecting, types = keyboard->key_types;

	ps2_queue_clear(&keyboard->link.answers);
	keyboard->link.expecting = keyboard->key_types = 0;
	if (command && byte < FIRST_COMMAND) {
		parameter(keyboard, command, byte);
	} else if (types && byte < FIRST_COMMAND) {
		keyboard->key_types = types;
		type_of_key(keyboard, types, byte);
	} else {
		take_command(keyboard, byte);
	}
}

/* Is the key's event one that its type lets through? Only set 3 has types. */
static bool sends(const struct ps2_keyboard *keyboard, unsigned key, enum ps2_key_event event)
{
	uint8_t code = ps2_scan_code_3(key);

	if (keyboard->set != 3)
		return true;
	if (event == PS2_KEY_UP)
		return !test_bit(keyboard->no_release, code);
	return event != PS2_KEY_REPEATS || !test_bit(keyboard->no_repeat, code);
}

/* A code that does not fit as a whole is dropped, and one byte tells the host so. */
static void add_code(struct ps2_keyboard *keyboard, const uint8_t *bytes, unsigned size)
{
	struct ps2_queue *queue = &keyboard->link.events;
	uint8_t overrun = keyboard->set == 1 ? 0xff : 0x00;
	unsigned last = (queue->head + queue->count + PS2_QUEUE_SIZE - 1u) % PS2_QUEUE_SIZE;

	if (queue->count + size < PS2_QUEUE_SIZE) {
		for (unsigned i = 0; i < size; i++)
			ps2_queue_add(queue, bytes[i]);
	} else if (queue->bytes[last] != overrun) {
		ps2_queue_add(queue, overrun);
	}
}

void ps2_keyboard_key(struct ps2_keyboard *keyboard, unsigned key, bool down)
{
	const uint8_t *keys = keyboard->down;
	uint8_t bytes[PS2_LONGEST_CODE];
	enum ps2_key_event event = PS2_KEY_UP;
	struct ps2_modifiers modifiers;

	if (key >= PS2_KEYS)
		return;
	if (down)
		event = test_bit(keys, key) ? PS2_KEY_REPEATS : PS2_KEY_DOWN;
	else if (!test_bit(keys, key))
		return;
	set_bit(keyboard->down, key, down);
	if (!keyboard->scanning || !sends(keyboard, key, event))
		return;
	modifiers = (struct ps2_modifiers){
		.shift = test_bit(keys, KEY_LEFTSHIFT) || test_bit(keys, KEY_RIGHTSHIFT),
		.control = test_bit(keys, KEY_LEFTCTRL) || test_bit(keys, KEY_RIGHTCTRL),
		.alt = test_bit(keys, KEY_LEFTALT) || test_bit(keys, KEY_RIGHTALT),
	};
	add_code(keyboard, bytes, ps2_scan_code(keyboard->set, key, event, &modifiers, bytes));
}

const struct state_field ps2_keyboard_fields[] = {
	STATE_STRUCT(struct ps2_keyboard, link, ps2_link_fields),
	STATE_BOOL(struct ps2_keyboard, scanning),
	STATE_FIELD(struct ps2_keyboard, set, 1, 3),
	STATE_FIELD(struct ps2_keyboard, leds, 0, 7),
	STATE_ANY(struct ps2_keyboard, typematic),
	STATE_ANY(struct ps2_keyboard, key_types),
	STATE_ARRAY_ANY(struct ps2_keyboard, down),
	STATE_ARRAY_ANY(struct ps2_keyboard, no_release),
	STATE_ARRAY_ANY(struct ps2_keyboard, no_repeat),
	STATE_END,
};
