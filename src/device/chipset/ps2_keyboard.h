/* A PS/2 keyboard (IBM's 101/102-key one): keys become scan codes of the set that the host chose,
 * commands are answered. It is a part of the keyboard controller's state. */
#ifndef VENEER_DEVICE_CHIPSET_PS2_KEYBOARD_H
#define VENEER_DEVICE_CHIPSET_PS2_KEYBOARD_H

#include "device/chipset/ps2.h"
#include "device/chipset/ps2_scancode.h"

struct ps2_keyboard {
	struct ps2_link link;
	bool scanning;              /* sends key codes */
	uint8_t set;                /* of scan codes: 1, 2, 3 */
	uint8_t leds;               /* Scroll Lock, Num Lock, Caps Lock from bit 0 */
	uint8_t typematic;          /* stored only: the front end repeats keys as its user's do */
	uint8_t key_types;          /* command 0xfb to 0xfd whose list of keys comes; 0: none */
	uint8_t down[PS2_KEYS / 8]; /* keys that are down, by Linux's code */
	uint8_t no_release[PS2_KEYS / 8], no_repeat[PS2_KEYS / 8]; /* by set 3's code, in set 3 */
};

extern const struct state_field ps2_keyboard_fields[];

/* As at power-up; no key is down. */
void ps2_keyboard_init(struct ps2_keyboard *keyboard);
/* A byte from the host. */
void ps2_keyboard_receive(struct ps2_keyboard *keyboard, uint8_t byte);
/* See struct input_ops. */
void ps2_keyboard_key(struct ps2_keyboard *keyboard, unsigned key, bool down);

#endif
