/* Text modes: the character is in plane 0, its attribute in plane 1, and the dots of the characters
 * in plane 2, 32 bytes for each. */
#include "device/display/internal.h"

#include <string.h>

#define BLINK      0x08 /* ATTRIBUTE_MODE: an attribute's bit 7 is no colour */
#define NINTH_DOT  0x04 /* ATTRIBUTE_MODE: box drawing characters reach their neighbours */
#define FONT_PLANE 2

/* Where a font is in its plane, by its number (Intel's PRM vol. 5, SR03). */
static unsigned font_place(unsigned high, unsigned low)
{
	return (low & 3) * 0x4000 + (high & 1) * 0x2000;
}

struct style {
	uint32_t palette[16];
	unsigned font[2]; /* by bit 3 of the attribute */
	bool blinks, ninth_dot;
	unsigned cursor; /* the counter's value where it is; ~0: nowhere */
	unsigned cursor_first, cursor_last, underline;
};

static bool has_cursor(const struct vga_state *state)
{
	const uint8_t *crtc = state->crtc;

	return !(crtc[CRTC_CURSOR_START] & 0x20) &&
	       (crtc[CRTC_CURSOR_START] & 0x1f) <= (crtc[CRTC_CURSOR_END] & 0x1f);
}

static unsigned cursor_place(const struct vga_state *state)
{
	return (unsigned)state->crtc[CRTC_CURSOR_HIGH] << 8 | state->crtc[CRTC_CURSOR_LOW];
}

static struct style style_of(const struct vga *vga)
{
	const struct vga_state *state = &vga->state;
	uint8_t select = state->sequencer[SEQUENCER_FONT], mode = state->attribute[ATTRIBUTE_MODE];
	struct style style = {
		.font = {font_place(select >> 4, select), font_place(select >> 5, select >> 2)},
		.blinks = mode & BLINK,
		.ninth_dot = mode & NINTH_DOT,
		.cursor = ~0u,
		.cursor_first = state->crtc[CRTC_CURSOR_START] & 0x1f,
		.cursor_last = state->crtc[CRTC_CURSOR_END] & 0x1f,
		.underline = state->crtc[CRTC_UNDERLINE] & 0x1f,
	};

	vga_attribute_palette(state, style.palette);
	if (has_cursor(state) && vga_cursor_on(vga))
		style.cursor = cursor_place(state);
	return style;
}

/* Foreground in bits 3..0, background in bits 7..4, at this moment. */
static uint8_t colours(const struct vga *vga, bool blinks, uint8_t attribute)
{
	uint8_t background = attribute >> 4;

	if (!blinks)
		return attribute;
	background &= 7;
	if ((attribute & 0x80) && !vga_blink_on(vga))
		return (uint8_t)(background << 4 | background);
	return (uint8_t)(background << 4 | (attribute & 15));
}

/* The dots of a character's line, the leftmost in bit 8. */
static unsigned dots_of(const struct vga *vga, const struct style *style, uint8_t character,
	uint8_t attribute, unsigned row)
{
	unsigned at = style->font[attribute >> 3 & 1] + 32u * character + row;
	unsigned dots = (unsigned)vga->video[4 * at + FONT_PLANE] << 1;

	if (style->ninth_dot && character >= 0xc0 && character <= 0xdf)
		dots |= dots >> 1 & 1;
	/* In the monochrome text mode's attributes blue is an underline. */
	if ((attribute & 0x77) == 1 && row == style->underline)
		dots = 0x1ff;
	return dots;
}

static void draw_line(const struct vga *vga, const struct vga_scan *scan, const struct style *style,
	const struct vga_line *line, uint32_t *to)
{
	for (unsigned column = 0; column <= scan->columns; column++) {
		unsigned counter = line->counter + column;
		const uint8_t *cell = &vga->video[4 * vga_address(&vga->state, counter, line->row)];
		uint8_t both = colours(vga, style->blinks, cell[1]);
		unsigned dots = dots_of(vga, style, cell[0], cell[1], line->row);

		if ((counter & 0xffff) == style->cursor && line->row >= style->cursor_first &&
			line->row <= style->cursor_last)
			dots = 0x1ff;
		for (unsigned i = 0; i < scan->dots; i++) {
			uint32_t colour =
				style->palette[dots >> (8 - i) & 1 ? both & 15 : both >> 4];

			for (unsigned twice = 0; twice < scan->dot_width; twice++)
				*to++ = colour;
		}
	}
}

void vga_draw_text(const struct vga *vga, const struct vga_scan *scan, struct display_frame *frame)
{
	struct style style = style_of(vga);
	struct vga_line line = vga_first_line(scan);
	uint32_t dots[DISPLAY_MAX_WIDTH + 2 * 9];

	for (unsigned y = 0; y < frame->height; y++) {
		draw_line(vga, scan, &style, &line, dots);
		memcpy(frame->pixels + (size_t)y * frame->width, dots + line.pan * scan->dot_width,
			frame->width * sizeof(*dots));
		vga_next_line(scan, y, &line);
	}
}

void vga_read_text(const struct vga *vga, const struct vga_scan *scan, struct display_text *text)
{
	const struct vga_state *state = &vga->state;
	bool blinks = state->attribute[ATTRIBUTE_MODE] & BLINK;
	unsigned lines = scan->row_lines * scan->repeats, from;

	text->columns = scan->columns;
	text->rows = MIN((scan->lines + lines - 1) / lines, (unsigned)DISPLAY_MAX_ROWS);
	vga_attribute_palette(state, text->palette);
	for (unsigned row = 0; row < text->rows; row++) {
		for (unsigned column = 0; column < text->columns; column++) {
			unsigned counter = scan->start + row * scan->pitch + column;
			const uint8_t *cell = &vga->video[4 * vga_address(state, counter, 0)];

			text->cell[row * text->columns + column] =
				(uint16_t)(cell[0] | colours(vga, blinks, cell[1]) << 8);
		}
	}
	from = (cursor_place(state) - scan->start) & 0xffff;
	text->cursor_row = scan->pitch ? from / scan->pitch : 0;
	text->cursor_column = scan->pitch ? from % scan->pitch : from;
	text->cursor = has_cursor(state) && text->cursor_row < text->rows &&
		       text->cursor_column < text->columns;
}
