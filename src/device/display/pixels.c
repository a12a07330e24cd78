/* Graphics modes: of four planes, of pixels of two bits (CGA), of bytes, and Bochs' linear ones. */
#include "device/display/internal.h"

#include <string.h>

#define SHIFT_PAIRS 0x20 /* GRAPHICS_MODE: pixels of two bits, CGA's */
#define SHIFT_256   0x40 /* GRAPHICS_MODE: bytes, each of them two dots wide */

/* --- planes --- */

static void planar_dots(uint32_t word, uint8_t dots[8])
{
	for (unsigned i = 0; i < 8; i++) {
		uint32_t bits = word >> (7 - i);

		dots[i] = (uint8_t)((bits & 1) | (bits >> 7 & 2) | (bits >> 14 & 4) |
				    (bits >> 21 & 8));
	}
}

/* The first four from planes 0 and 2, the others from 1 and 3. */
static void pair_dots(uint32_t word, uint8_t dots[8])
{
	for (unsigned i = 0; i < 8; i++) {
		uint32_t bits = word >> (i < 4 ? 0 : 8) >> (6 - 2 * (i & 3));

		dots[i] = (uint8_t)((bits & 3) | (bits >> 14 & 12));
	}
}

static void byte_dots(uint32_t word, uint8_t dots[8])
{
	for (unsigned i = 0; i < 8; i++)
		dots[i] = (uint8_t)(word >> 8 * (i / 2));
}

struct colours {
	void (*dots)(uint32_t word, uint8_t dots[8]);
	uint8_t mask;
	uint32_t palette[256];
};

static void colours_of(const struct vga_state *state, struct colours *colours)
{
	uint8_t mode = state->graphics[GRAPHICS_MODE];

	if ((mode & SHIFT_256) && !vbe_enabled(state)) {
		colours->dots = byte_dots;
		colours->mask = 0xff;
		vga_palette(state, colours->palette);
		return;
	}
	colours->dots = (mode & SHIFT_PAIRS) && !vbe_enabled(state) ? pair_dots : planar_dots;
	colours->mask = state->attribute[ATTRIBUTE_PLANES] & 15;
	vga_attribute_palette(state, colours->palette);
}

static void draw_line(const struct vga *vga, const struct vga_scan *scan,
	const struct colours *colours, const struct vga_line *line, uint32_t *to)
{
	for (unsigned column = 0; column <= scan->columns; column++) {
		unsigned address = vga_address(&vga->state, line->counter + column, line->row);
		uint8_t dots[8];
		uint32_t word;

		memcpy(&word, vga->video + 4 * (address & (MEMORY_VIDEO / 4 - 1)), 4);
		colours->dots(word, dots);
		for (unsigned i = 0; i < 8; i++)
			for (unsigned twice = 0; twice < scan->dot_width; twice++)
				*to++ = colours->palette[dots[i] & colours->mask];
	}
}

void vga_draw_planes(
	const struct vga *vga, const struct vga_scan *scan, struct display_frame *frame)
{
	struct vga_line line = vga_first_line(scan);
	uint32_t dots[DISPLAY_MAX_WIDTH + 2 * 8];
	struct colours colours;
	bool same = false;

	colours_of(&vga->state, &colours);
	for (unsigned y = 0; y < frame->height; y++) {
		if (!same)
			draw_line(vga, scan, &colours, &line, dots);
		memcpy(frame->pixels + (size_t)y * frame->width, dots + line.pan * scan->dot_width,
			frame->width * sizeof(*dots));
		same = vga_next_line(scan, y, &line);
	}
}

/* --- linear --- */

/* A part of `bits` bits, as eight. */
static uint32_t widen(uint32_t value, unsigned bits)
{
	return value << (8 - bits) | value >> (2 * bits - 8);
}

static uint32_t from_555(uint32_t pixel)
{
	return widen(pixel >> 10 & 31, 5) << 16 | widen(pixel >> 5 & 31, 5) << 8 |
	       widen(pixel & 31, 5);
}

static uint32_t from_565(uint32_t pixel)
{
	return widen(pixel >> 11, 5) << 16 | widen(pixel >> 5 & 63, 6) << 8 | widen(pixel & 31, 5);
}

static void linear_row(unsigned depth, const uint8_t *from, unsigned width,
	const uint32_t palette[256], uint32_t *to)
{
	unsigned bytes = (depth + 7) / 8;

	for (unsigned x = 0; x < width; x++, from += bytes) {
		uint32_t pixel = 0;

		memcpy(&pixel, from, bytes);
		to[x] = depth == 8    ? palette[pixel]
			: depth == 15 ? from_555(pixel)
			: depth == 16 ? from_565(pixel)
				      : pixel & 0xffffff;
	}
}

void vga_draw_linear(const struct vga *vga, struct display_frame *frame)
{
	const struct vga_state *state = &vga->state;
	unsigned depth = state->vbe[VBE_DEPTH], pitch = vbe_pitch(state);
	const uint8_t *from = vga->video + (size_t)state->vbe[VBE_Y_OFFSET] * pitch +
			      (size_t)state->vbe[VBE_X_OFFSET] * ((depth + 7) / 8);
	uint32_t palette[256];

	vga_palette(state, palette);
	for (unsigned y = frame->first; y < frame->end; y++)
		linear_row(depth, from + (size_t)y * pitch, frame->width, palette,
			frame->pixels + (size_t)y * frame->width);
}
