/* The codes are those of IBM's "Personal System/2 Hardware Interface Technical Reference",
 * keyboards (101- and 102-key), and of Microsoft's "Keyboard Scan Code Specification" for the keys
 * that came later. Set 1 is what the 8042 makes of set 2, so the keyboard has no table of it. */
#include "device/chipset/ps2_scancode.h"

#include "base/bits.h"

#include <linux/input-event-codes.h>
#include <string.h>

#define EXTENDED 0xe0

struct scan_codes {
	uint8_t set2;
	bool extended; /* set 2 has EXTENDED before the code */
	uint8_t set3;
};

#define PLAIN(set2, set3)                                                                          \
	{                                                                                          \
		set2, false, set3                                                                  \
	}
#define EXT(set2, set3)                                                                            \
	{                                                                                          \
		set2, true, set3                                                                   \
	}
#define SAME(code)                                                                                 \
	{                                                                                          \
		code, false, code                                                                  \
	}

static const struct scan_codes codes[PS2_KEYS] = {
	[KEY_ESC] = PLAIN(0x76, 0x08),
	[KEY_1] = SAME(0x16),
	[KEY_2] = SAME(0x1e),
	[KEY_3] = SAME(0x26),
	[KEY_4] = SAME(0x25),
	[KEY_5] = SAME(0x2e),
	[KEY_6] = SAME(0x36),
	[KEY_7] = SAME(0x3d),
	[KEY_8] = SAME(0x3e),
	[KEY_9] = SAME(0x46),
	[KEY_0] = SAME(0x45),
	[KEY_MINUS] = SAME(0x4e),
	[KEY_EQUAL] = SAME(0x55),
	[KEY_BACKSPACE] = SAME(0x66),
	[KEY_TAB] = SAME(0x0d),
	[KEY_Q] = SAME(0x15),
	[KEY_W] = SAME(0x1d),
	[KEY_E] = SAME(0x24),
	[KEY_R] = SAME(0x2d),
	[KEY_T] = SAME(0x2c),
	[KEY_Y] = SAME(0x35),
	[KEY_U] = SAME(0x3c),
	[KEY_I] = SAME(0x43),
	[KEY_O] = SAME(0x44),
	[KEY_P] = SAME(0x4d),
	[KEY_LEFTBRACE] = SAME(0x54),
	[KEY_RIGHTBRACE] = SAME(0x5b),
	[KEY_ENTER] = SAME(0x5a),
	[KEY_LEFTCTRL] = PLAIN(0x14, 0x11),
	[KEY_A] = SAME(0x1c),
	[KEY_S] = SAME(0x1b),
	[KEY_D] = SAME(0x23),
	[KEY_F] = SAME(0x2b),
	[KEY_G] = SAME(0x34),
	[KEY_H] = SAME(0x33),
	[KEY_J] = SAME(0x3b),
	[KEY_K] = SAME(0x42),
	[KEY_L] = SAME(0x4b),
	[KEY_SEMICOLON] = SAME(0x4c),
	[KEY_APOSTROPHE] = SAME(0x52),
	[KEY_GRAVE] = SAME(0x0e),
	[KEY_LEFTSHIFT] = SAME(0x12),
	[KEY_BACKSLASH] = PLAIN(0x5d, 0x5c),
	[KEY_Z] = SAME(0x1a),
	[KEY_X] = SAME(0x22),
	[KEY_C] = SAME(0x21),
	[KEY_V] = SAME(0x2a),
	[KEY_B] = SAME(0x32),
	[KEY_N] = SAME(0x31),
	[KEY_M] = SAME(0x3a),
	[KEY_COMMA] = SAME(0x41),
	[KEY_DOT] = SAME(0x49),
	[KEY_SLASH] = SAME(0x4a),
	[KEY_RIGHTSHIFT] = SAME(0x59),
	[KEY_KPASTERISK] = PLAIN(0x7c, 0x7e),
	[KEY_LEFTALT] = PLAIN(0x11, 0x19),
	[KEY_SPACE] = SAME(0x29),
	[KEY_CAPSLOCK] = PLAIN(0x58, 0x14),
	[KEY_F1] = PLAIN(0x05, 0x07),
	[KEY_F2] = PLAIN(0x06, 0x0f),
	[KEY_F3] = PLAIN(0x04, 0x17),
	[KEY_F4] = PLAIN(0x0c, 0x1f),
	[KEY_F5] = PLAIN(0x03, 0x27),
	[KEY_F6] = PLAIN(0x0b, 0x2f),
	[KEY_F7] = PLAIN(0x83, 0x37),
	[KEY_F8] = PLAIN(0x0a, 0x3f),
	[KEY_F9] = PLAIN(0x01, 0x47),
	[KEY_F10] = PLAIN(0x09, 0x4f),
	[KEY_F11] = PLAIN(0x78, 0x56),
	[KEY_F12] = PLAIN(0x07, 0x5e),
	[KEY_NUMLOCK] = PLAIN(0x77, 0x76),
	[KEY_SCROLLLOCK] = PLAIN(0x7e, 0x5f),
	[KEY_KP7] = SAME(0x6c),
	[KEY_KP8] = SAME(0x75),
	[KEY_KP9] = SAME(0x7d),
	[KEY_KPMINUS] = PLAIN(0x7b, 0x84),
	[KEY_KP4] = SAME(0x6b),
	[KEY_KP5] = SAME(0x73),
	[KEY_KP6] = SAME(0x74),
	[KEY_KPPLUS] = PLAIN(0x79, 0x7c),
	[KEY_KP1] = SAME(0x69),
	[KEY_KP2] = SAME(0x72),
	[KEY_KP3] = SAME(0x7a),
	[KEY_KP0] = SAME(0x70),
	[KEY_KPDOT] = SAME(0x71),
	[KEY_102ND] = PLAIN(0x61, 0x13),
	[KEY_RO] = SAME(0x51),
	[KEY_HENKAN] = PLAIN(0x64, 0x86),
	[KEY_KATAKANAHIRAGANA] = PLAIN(0x13, 0x87),
	[KEY_MUHENKAN] = PLAIN(0x67, 0x85),
	[KEY_YEN] = PLAIN(0x6a, 0x5d),
	[KEY_KPEQUAL] = PLAIN(0x0f, 0),
	[KEY_KPCOMMA] = PLAIN(0x6d, 0x7b),
	[KEY_KPENTER] = EXT(0x5a, 0x79),
	[KEY_RIGHTCTRL] = EXT(0x14, 0x58),
	[KEY_KPSLASH] = EXT(0x4a, 0x77),
	[KEY_SYSRQ] = EXT(0x7c, 0x57),
	[KEY_RIGHTALT] = EXT(0x11, 0x39),
	[KEY_HOME] = EXT(0x6c, 0x6e),
	[KEY_UP] = EXT(0x75, 0x63),
	[KEY_PAGEUP] = EXT(0x7d, 0x6f),
	[KEY_LEFT] = EXT(0x6b, 0x61),
	[KEY_RIGHT] = EXT(0x74, 0x6a),
	[KEY_END] = EXT(0x69, 0x65),
	[KEY_DOWN] = EXT(0x72, 0x60),
	[KEY_PAGEDOWN] = EXT(0x7a, 0x6d),
	[KEY_INSERT] = EXT(0x70, 0x67),
	[KEY_DELETE] = EXT(0x71, 0x64),
	[KEY_PAUSE] = PLAIN(0, 0x62),
	[KEY_LEFTMETA] = EXT(0x1f, 0x8b),
	[KEY_RIGHTMETA] = EXT(0x27, 0x8c),
	[KEY_COMPOSE] = EXT(0x2f, 0x8d),
	[KEY_MUTE] = EXT(0x23, 0),
	[KEY_VOLUMEDOWN] = EXT(0x21, 0),
	[KEY_VOLUMEUP] = EXT(0x32, 0),
	[KEY_POWER] = EXT(0x37, 0),
	[KEY_SLEEP] = EXT(0x3f, 0),
	[KEY_WAKEUP] = EXT(0x5e, 0),
	[KEY_STOP] = EXT(0x28, 0),
	[KEY_CALC] = EXT(0x2b, 0),
	[KEY_MAIL] = EXT(0x48, 0),
	[KEY_BOOKMARKS] = EXT(0x18, 0),
	[KEY_COMPUTER] = EXT(0x40, 0),
	[KEY_BACK] = EXT(0x38, 0),
	[KEY_FORWARD] = EXT(0x30, 0),
	[KEY_NEXTSONG] = EXT(0x4d, 0),
	[KEY_PLAYPAUSE] = EXT(0x34, 0),
	[KEY_PREVIOUSSONG] = EXT(0x15, 0),
	[KEY_STOPCD] = EXT(0x3b, 0),
	[KEY_HOMEPAGE] = EXT(0x3a, 0),
	[KEY_REFRESH] = EXT(0x20, 0),
	[KEY_SEARCH] = EXT(0x10, 0),
	[KEY_MEDIA] = EXT(0x50, 0),
};

/* What the 8042 makes of the codes of set 2 up to 0x84; it lets the others pass. */
static const uint8_t translation[] = {
	0xff,
	0x43,
	0x41,
	0x3f,
	0x3d,
	0x3b,
	0x3c,
	0x58,
	0x64,
	0x44,
	0x42,
	0x40,
	0x3e,
	0x0f,
	0x29,
	0x59,
	0x65,
	0x38,
	0x2a,
	0x70,
	0x1d,
	0x10,
	0x02,
	0x5a,
	0x66,
	0x71,
	0x2c,
	0x1f,
	0x1e,
	0x11,
	0x03,
	0x5b,
	0x67,
	0x2e,
	0x2d,
	0x20,
	0x12,
	0x05,
	0x04,
	0x5c,
	0x68,
	0x39,
	0x2f,
	0x21,
	0x14,
	0x13,
	0x06,
	0x5d,
	0x69,
	0x31,
	0x30,
	0x23,
	0x22,
	0x15,
	0x07,
	0x5e,
	0x6a,
	0x72,
	0x32,
	0x24,
	0x16,
	0x08,
	0x09,
	0x5f,
	0x6b,
	0x33,
	0x25,
	0x17,
	0x18,
	0x0b,
	0x0a,
	0x60,
	0x6c,
	0x34,
	0x35,
	0x26,
	0x27,
	0x19,
	0x0c,
	0x61,
	0x6d,
	0x73,
	0x28,
	0x74,
	0x1a,
	0x0d,
	0x62,
	0x6e,
	0x3a,
	0x36,
	0x1c,
	0x1b,
	0x75,
	0x2b,
	0x63,
	0x76,
	0x55,
	0x56,
	0x77,
	0x78,
	0x79,
	0x7a,
	0x0e,
	0x7b,
	0x7c,
	0x4f,
	0x7d,
	0x4b,
	0x47,
	0x7e,
	0x7f,
	0x6f,
	0x52,
	0x53,
	0x50,
	0x4c,
	0x4d,
	0x48,
	0x01,
	0x45,
	0x57,
	0x4e,
	0x51,
	0x4a,
	0x37,
	0x49,
	0x46,
	0x54,
	0x80,
	0x81,
	0x82,
	0x41,
	0x54,
};

uint8_t ps2_translate(uint8_t byte, bool released)
{
	if (byte < ARRAY_SIZE(translation))
		byte = translation[byte];
	return (uint8_t)(byte | (released ? PS2_RELEASED_IN_SET1 : 0));
}

uint8_t ps2_scan_code_3(unsigned key)
{
	return key < PS2_KEYS ? codes[key].set3 : 0;
}

/* A sequence of set 2 that no rule makes. */
struct sequence {
	uint8_t size, bytes[PS2_LONGEST_CODE];
};

static unsigned copy_sequence(const struct sequence *sequence, uint8_t *bytes)
{
	memcpy(bytes, sequence->bytes, sequence->size);
	return sequence->size;
}

/* Pause sends all when it goes down; with Control it is Break. It never repeats. */
static unsigned pause_code(
	enum ps2_key_event event, const struct ps2_modifiers *modifiers, uint8_t *bytes)
{
	static const struct sequence pause = {8, {0xe1, 0x14, 0x77, 0xe1, 0xf0, 0x14, 0xf0, 0x77}};
	static const struct sequence brk = {5, {0xe0, 0x7e, 0xe0, 0xf0, 0x7e}};

	if (event != PS2_KEY_DOWN)
		return 0;
	return copy_sequence(modifiers->control ? &brk : &pause, bytes);
}

/* Print Screen pretends that Shift was pressed, so that an old BIOS prints the screen; with Alt it
 * is the System Request key. */
static unsigned print_screen_code(
	enum ps2_key_event event, const struct ps2_modifiers *modifiers, uint8_t *bytes)
{
	static const struct sequence shifted[] = {
		[PS2_KEY_UP] = {6, {0xe0, 0xf0, 0x7c, 0xe0, 0xf0, 0x12}},
		[PS2_KEY_DOWN] = {4, {0xe0, 0x12, 0xe0, 0x7c}},
		[PS2_KEY_REPEATS] = {2, {0xe0, 0x7c}},
	};
	static const struct sequence alone[] = {
		[PS2_KEY_UP] = {3, {0xe0, 0xf0, 0x7c}},
		[PS2_KEY_DOWN] = {2, {0xe0, 0x7c}},
		[PS2_KEY_REPEATS] = {2, {0xe0, 0x7c}},
	};
	static const struct sequence system_request[] = {
		[PS2_KEY_UP] = {2, {0xf0, 0x84}},
		[PS2_KEY_DOWN] = {1, {0x84}},
		[PS2_KEY_REPEATS] = {1, {0x84}},
	};

	if (modifiers->alt)
		return copy_sequence(&system_request[event], bytes);
	if (modifiers->shift || modifiers->control)
		return copy_sequence(&alone[event], bytes);
	return copy_sequence(&shifted[event], bytes);
}

static unsigned code_of_set_2(unsigned key, enum ps2_key_event event,
	const struct ps2_modifiers *modifiers, uint8_t *bytes)
{
	const struct scan_codes *code = &codes[key];
	unsigned size = 0;

	if (key == KEY_PAUSE)
		return pause_code(event, modifiers, bytes);
	if (key == KEY_SYSRQ)
		return print_screen_code(event, modifiers, bytes);
	if (!code->set2)
		return 0;
	if (code->extended)
		bytes[size++] = EXTENDED;
	if (event == PS2_KEY_UP)
		bytes[size++] = PS2_RELEASED;
	bytes[size++] = code->set2;
	return size;
}

static unsigned translate_in_place(uint8_t *bytes, unsigned size)
{
	bool released = false;
	unsigned kept = 0;

	for (unsigned i = 0; i < size; i++) {
		if (bytes[i] != PS2_RELEASED)
			bytes[kept++] = ps2_translate(bytes[i], released);
		released = bytes[i] == PS2_RELEASED;
	}
	return kept;
}

static unsigned code_of_set_3(unsigned key, enum ps2_key_event event, uint8_t *bytes)
{
	unsigned size = 0;

	if (!codes[key].set3)
		return 0;
	if (event == PS2_KEY_UP)
		bytes[size++] = PS2_RELEASED;
	bytes[size++] = codes[key].set3;
	return size;
}

unsigned ps2_scan_code(unsigned set, unsigned key, enum ps2_key_event event,
	const struct ps2_modifiers *modifiers, uint8_t bytes[PS2_LONGEST_CODE])
{
	unsigned size;

	if (key >= PS2_KEYS)
		return 0;
	if (set == 3)
		return code_of_set_3(key, event, bytes);
	size = code_of_set_2(key, event, modifiers, bytes);
	return set == 1 ? translate_in_place(bytes, size) : size;
}
