#include "host/display/text_keys.h"

#include "base/bits.h"
#include "host/display/keysym.h"

#include <linux/input-event-codes.h>
#include <string.h>

#define ESCAPE        0x1b
#define LONGEST_INPUT 16 /* of a sequence that is none of ours */

/* What xterm and those like it send (ECMA-48, and DEC's keys). */
static const struct {
	const char *text; /* after the escape */
	uint8_t code;
} sequences[] = {
	{"[A", KEY_UP},
	{"[B", KEY_DOWN},
	{"[C", KEY_RIGHT},
	{"[D", KEY_LEFT},
	{"[F", KEY_END},
	{"[H", KEY_HOME},
	{"OA", KEY_UP},
	{"OB", KEY_DOWN},
	{"OC", KEY_RIGHT},
	{"OD", KEY_LEFT},
	{"OF", KEY_END},
	{"OH", KEY_HOME},
	{"OP", KEY_F1},
	{"OQ", KEY_F2},
	{"OR", KEY_F3},
	{"OS", KEY_F4},
	{"[[A", KEY_F1}, /* the Linux console's */
	{"[[B", KEY_F2},
	{"[[C", KEY_F3},
	{"[[D", KEY_F4},
	{"[[E", KEY_F5},
	{"[1~", KEY_HOME},
	{"[2~", KEY_INSERT},
	{"[3~", KEY_DELETE},
	{"[4~", KEY_END},
	{"[5~", KEY_PAGEUP},
	{"[6~", KEY_PAGEDOWN},
	{"[11~", KEY_F1},
	{"[12~", KEY_F2},
	{"[13~", KEY_F3},
	{"[14~", KEY_F4},
	{"[15~", KEY_F5},
	{"[17~", KEY_F6},
	{"[18~", KEY_F7},
	{"[19~", KEY_F8},
	{"[20~", KEY_F9},
	{"[21~", KEY_F10},
	{"[23~", KEY_F11},
	{"[24~", KEY_F12},
};

static void add(struct text_keys *keys, unsigned code)
{
	if (code)
		keys->code[keys->count++] = code;
}

static void add_character(struct text_keys *keys, char character)
{
	struct keysym_stroke stroke = keysym_stroke(character);

	if (!stroke.code)
		return;
	add(keys, stroke.control ? KEY_LEFTCTRL : 0);
	add(keys, stroke.shift ? KEY_LEFTSHIFT : 0);
	add(keys, stroke.code);
}

/* The length of a sequence that begins with "[": up to its final byte. */
static size_t unknown_sequence(const uint8_t *bytes, size_t size)
{
	size_t length = 2;

	while (length < MIN(size, (size_t)LONGEST_INPUT) &&
		!(bytes[length] >= 0x40 && bytes[length] <= 0x7e))
		length++;
	return MIN(length + 1, size);
}

size_t text_keys_take(const uint8_t *bytes, size_t size, struct text_keys *keys)
{
	keys->count = 0;
	if (bytes[0] != ESCAPE || size == 1) {
		add_character(keys, (char)bytes[0]);
		return 1;
	}
	for (unsigned i = 0; i < ARRAY_SIZE(sequences); i++) {
		size_t length = strlen(sequences[i].text);

		if (size > length && memcmp(bytes + 1, sequences[i].text, length) == 0) {
			add(keys, sequences[i].code);
			return 1 + length;
		}
	}
	if (bytes[1] == '[' && size > 2)
		return unknown_sequence(bytes, size);
	if (bytes[1] == ESCAPE) {
		add(keys, KEY_ESC);
		return 1;
	}
	add(keys, KEY_LEFTALT);
	add_character(keys, (char)bytes[1]);
	return 2;
}
