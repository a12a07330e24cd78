/* Keys by what they are called elsewhere: X11's keysyms, which VNC's clients send, and characters,
 * which a terminal sends. The keyboard is a US one: Linux's codes say where a key is. */
#ifndef VENEER_HOST_DISPLAY_KEYSYM_H
#define VENEER_HOST_DISPLAY_KEYSYM_H

#include <stdbool.h>
#include <stdint.h>

/* The key (KEY_*) of a keysym; 0: there is none. */
unsigned keysym_code(uint32_t keysym);

/* The key that types an ASCII character, and what is to be held down besides; 0: none does. */
struct keysym_stroke {
	unsigned code;
	bool shift, control;
};
struct keysym_stroke keysym_stroke(char character);

#endif
