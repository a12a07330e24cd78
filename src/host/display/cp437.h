/* Code page 437, which a PC's text screen has, as UTF-8. */
#ifndef VENEER_HOST_DISPLAY_CP437_H
#define VENEER_HOST_DISPLAY_CP437_H

#include <stdint.h>

/* The character, at most 3 bytes and the zero; those below 0x20 are pictures, too. */
const char *cp437_utf8(uint8_t character);

#endif
