/* What a terminal sends when keys are pressed, as strokes of keys. */
#ifndef VENEER_HOST_DISPLAY_TEXT_KEYS_H
#define VENEER_HOST_DISPLAY_TEXT_KEYS_H

#include <stddef.h>
#include <stdint.h>

/* Keys that are pressed together, in this order: KEY_* codes. */
struct text_keys {
	unsigned code[4], count;
};

/* Take the first stroke from what was typed, `size` > 0 bytes: how many bytes it is. A count of 0
 * keys: there are none for it. An escape at the end is the Escape key. */
size_t text_keys_take(const uint8_t *bytes, size_t size, struct text_keys *keys);

#endif
