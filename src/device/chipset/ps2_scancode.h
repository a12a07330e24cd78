/* What a PS/2 keyboard sends for a key, in its three sets of scan codes. */
#ifndef VENEER_DEVICE_CHIPSET_PS2_SCANCODE_H
#define VENEER_DEVICE_CHIPSET_PS2_SCANCODE_H

#include <stdbool.h>
#include <stdint.h>

#define PS2_KEYS             256  /* Linux's key codes below this may have a scan code */
#define PS2_LONGEST_CODE     8    /* bytes; Pause's */
#define PS2_RELEASED         0xf0 /* before the code of a key that went up, in sets 2 and 3 */
#define PS2_RELEASED_IN_SET1 0x80 /* or'ed into the code */

enum ps2_key_event { PS2_KEY_UP, PS2_KEY_DOWN, PS2_KEY_REPEATS };

/* The keys that change what others send. */
struct ps2_modifiers {
	bool shift, control, alt;
};

/* Fill in what the keyboard sends in a set (1, 2, 3) when the key with Linux's code `key` goes down
 * or up or repeats. How many bytes; 0: it sends nothing. */
unsigned ps2_scan_code(unsigned set, unsigned key, enum ps2_key_event event,
	const struct ps2_modifiers *modifiers, uint8_t bytes[PS2_LONGEST_CODE]);
/* Set 3's code for a key, 0 if it has none. */
uint8_t ps2_scan_code_3(unsigned key);
/* The 8042's translation of one byte from set 2 to set 1. PS2_RELEASED is not passed on; it
 * changes the byte after it, for which `released` is true. */
uint8_t ps2_translate(uint8_t byte, bool released);

#endif
