#include "host/display/keysym.h"

#include "base/bits.h"

#include <linux/input-event-codes.h>

/* The characters of a US keyboard, whose keysyms are their codes: alone and with Shift. */
static const struct {
	char alone, shifted;
	uint8_t code;
} characters[] = {
	{'`', '~', KEY_GRAVE},
	{'1', '!', KEY_1},
	{'2', '@', KEY_2},
	{'3', '#', KEY_3},
	{'4', '$', KEY_4},
	{'5', '%', KEY_5},
	{'6', '^', KEY_6},
	{'7', '&', KEY_7},
	{'8', '*', KEY_8},
	{'9', '(', KEY_9},
	{'0', ')', KEY_0},
	{'-', '_', KEY_MINUS},
	{'=', '+', KEY_EQUAL},
	{'q', 'Q', KEY_Q},
	{'w', 'W', KEY_W},
	{'e', 'E', KEY_E},
	{'r', 'R', KEY_R},
	{'t', 'T', KEY_T},
	{'y', 'Y', KEY_Y},
	{'u', 'U', KEY_U},
	{'i', 'I', KEY_I},
	{'o', 'O', KEY_O},
	{'p', 'P', KEY_P},
	{'[', '{', KEY_LEFTBRACE},
	{']', '}', KEY_RIGHTBRACE},
	{'\\', '|', KEY_BACKSLASH},
	{'a', 'A', KEY_A},
	{'s', 'S', KEY_S},
	{'d', 'D', KEY_D},
	{'f', 'F', KEY_F},
	{'g', 'G', KEY_G},
	{'h', 'H', KEY_H},
	{'j', 'J', KEY_J},
	{'k', 'K', KEY_K},
	{'l', 'L', KEY_L},
	{';', ':', KEY_SEMICOLON},
	{'\'', '"', KEY_APOSTROPHE},
	{'z', 'Z', KEY_Z},
	{'x', 'X', KEY_X},
	{'c', 'C', KEY_C},
	{'v', 'V', KEY_V},
	{'b', 'B', KEY_B},
	{'n', 'N', KEY_N},
	{'m', 'M', KEY_M},
	{',', '<', KEY_COMMA},
	{'.', '>', KEY_DOT},
	{'/', '?', KEY_SLASH},
	{' ', ' ', KEY_SPACE},
};

/* X11's keysymdef.h. */
static const struct {
	uint16_t keysym;
	uint8_t code;
} others[] = {
	{0xff08, KEY_BACKSPACE},
	{0xff09, KEY_TAB},
	{0xfe20, KEY_TAB}, /* with Shift */
	{0xff0d, KEY_ENTER},
	{0xff13, KEY_PAUSE},
	{0xff14, KEY_SCROLLLOCK},
	{0xff15, KEY_SYSRQ},
	{0xff1b, KEY_ESC},
	{0xff50, KEY_HOME},
	{0xff51, KEY_LEFT},
	{0xff52, KEY_UP},
	{0xff53, KEY_RIGHT},
	{0xff54, KEY_DOWN},
	{0xff55, KEY_PAGEUP},
	{0xff56, KEY_PAGEDOWN},
	{0xff57, KEY_END},
	{0xff61, KEY_SYSRQ},
	{0xff63, KEY_INSERT},
	{0xff67, KEY_COMPOSE},
	{0xff7f, KEY_NUMLOCK},
	{0xff8d, KEY_KPENTER},
	{0xff95, KEY_KP7},
	{0xff96, KEY_KP4},
	{0xff97, KEY_KP8},
	{0xff98, KEY_KP6},
	{0xff99, KEY_KP2},
	{0xff9a, KEY_KP9},
	{0xff9b, KEY_KP3},
	{0xff9c, KEY_KP1},
	{0xff9d, KEY_KP5},
	{0xff9e, KEY_KP0},
	{0xff9f, KEY_KPDOT},
	{0xffaa, KEY_KPASTERISK},
	{0xffab, KEY_KPPLUS},
	{0xffad, KEY_KPMINUS},
	{0xffae, KEY_KPDOT},
	{0xffaf, KEY_KPSLASH},
	{0xffb0, KEY_KP0},
	{0xffb1, KEY_KP1},
	{0xffb2, KEY_KP2},
	{0xffb3, KEY_KP3},
	{0xffb4, KEY_KP4},
	{0xffb5, KEY_KP5},
	{0xffb6, KEY_KP6},
	{0xffb7, KEY_KP7},
	{0xffb8, KEY_KP8},
	{0xffb9, KEY_KP9},
	{0xffbe, KEY_F1},
	{0xffbf, KEY_F2},
	{0xffc0, KEY_F3},
	{0xffc1, KEY_F4},
	{0xffc2, KEY_F5},
	{0xffc3, KEY_F6},
	{0xffc4, KEY_F7},
	{0xffc5, KEY_F8},
	{0xffc6, KEY_F9},
	{0xffc7, KEY_F10},
	{0xffc8, KEY_F11},
	{0xffc9, KEY_F12},
	{0xffe1, KEY_LEFTSHIFT},
	{0xffe2, KEY_RIGHTSHIFT},
	{0xffe3, KEY_LEFTCTRL},
	{0xffe4, KEY_RIGHTCTRL},
	{0xffe5, KEY_CAPSLOCK},
	{0xffe7, KEY_LEFTMETA},
	{0xffe8, KEY_RIGHTMETA},
	{0xffe9, KEY_LEFTALT},
	{0xffea, KEY_RIGHTALT},
	{0xfe03, KEY_RIGHTALT}, /* AltGr */
	{0xffeb, KEY_LEFTMETA},
	{0xffec, KEY_RIGHTMETA},
	{0xffff, KEY_DELETE},
};

unsigned keysym_code(uint32_t keysym)
{
	for (unsigned i = 0; i < ARRAY_SIZE(characters); i++)
		if (keysym == (uint8_t)characters[i].alone ||
			keysym == (uint8_t)characters[i].shifted)
			return characters[i].code;
	for (unsigned i = 0; i < ARRAY_SIZE(others); i++)
		if (keysym == others[i].keysym)
			return others[i].code;
	return 0;
}

struct keysym_stroke keysym_stroke(char character)
{
	switch (character) {
	case '\r':
	case '\n':
		return (struct keysym_stroke){.code = KEY_ENTER};
	case '\t':
		return (struct keysym_stroke){.code = KEY_TAB};
	case '\b':
	case 0x7f:
		return (struct keysym_stroke){.code = KEY_BACKSPACE};
	case 0x1b:
		return (struct keysym_stroke){.code = KEY_ESC};
	default:
		break;
	}
	for (unsigned i = 0; i < ARRAY_SIZE(characters); i++) {
		char alone = characters[i].alone, shifted = characters[i].shifted;

		if (character == alone || character == shifted)
			return (struct keysym_stroke){
				.code = characters[i].code, .shift = character != alone};
		if (character >= 0 && character < 0x20 && (shifted & ~0x1f) == 0x40 &&
			character == (shifted & 0x1f))
			return (struct keysym_stroke){.code = characters[i].code, .control = true};
	}
	/* Ctrl with [ \ ] is among those that have no letter. */
	return (struct keysym_stroke){.code = character == 0x1c   ? KEY_BACKSLASH
					      : character == 0x1d ? KEY_RIGHTBRACE
								  : 0,
		.control = true};
}
