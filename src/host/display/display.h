/* The screen: the joint between a graphics device and those who show what is on it (a VNC server,
 * the terminal, a picture in a file).
 *
 * The device is the source. It keeps no picture: whoever shows one asks for it, as often as he can
 * show it and only while somebody looks, and the device draws then, into the asker's memory. Both
 * calls are made with the machine lock held, and take a few milliseconds at most. */
#ifndef VENEER_HOST_DISPLAY_DISPLAY_H
#define VENEER_HOST_DISPLAY_DISPLAY_H

#include <stdbool.h>
#include <stdint.h>

#define DISPLAY_MAX_WIDTH   2560
#define DISPLAY_MAX_HEIGHT  1600
#define DISPLAY_MAX_PIXELS  (DISPLAY_MAX_WIDTH * DISPLAY_MAX_HEIGHT)
#define DISPLAY_MAX_COLUMNS 256
#define DISPLAY_MAX_ROWS    128

/* A picture, and what its owner has seen of the screen. Zero-initialise, and give it pixels. */
struct display_frame {
	uint32_t *pixels; /* 0x00rrggbb, row by row without gaps; room for DISPLAY_MAX_PIXELS */
	unsigned width, height; /* of the screen; at most DISPLAY_MAX_WIDTH and _HEIGHT */
	/* Rows [first, end) were drawn by the last call, the others are as they were. */
	unsigned first, end;
	uint64_t seen; /* the source's own: which changes are in the picture; 0: none */
};

/* A text screen. */
struct display_text {
	unsigned columns, rows;
	unsigned cursor_column, cursor_row;
	bool cursor;          /* it is on the screen, and to be shown */
	uint32_t palette[16]; /* 0x00rrggbb */
	/* Row by row without gaps: the character (most often of code page 437) in the low byte, its
	 * attribute in the high one: foreground in bits 3..0, background in bits 7..4. */
	uint16_t cell[DISPLAY_MAX_COLUMNS * DISPLAY_MAX_ROWS];
};

struct display_ops {
	/* Bring the frame up to date. True: it has changed, in size or in rows [first, end). */
	bool (*draw)(void *opaque, struct display_frame *frame);
	/* What is on the text screen. False: the device shows pixels (or nothing); then only the
	 * size of the picture is filled in, in pixels, as columns and rows. */
	bool (*read_text)(void *opaque, struct display_text *text);
};

/* A machine's screen. Zero-initialise: it has none. */
struct display {
	const struct display_ops *ops; /* NULL: there is no graphics device */
	void *opaque;
};

static inline bool display_exists(const struct display *display)
{
	return display->ops;
}

static inline bool display_draw(const struct display *display, struct display_frame *frame)
{
	return display->ops->draw(display->opaque, frame);
}

static inline bool display_read_text(const struct display *display, struct display_text *text)
{
	return display->ops->read_text(display->opaque, text);
}

#endif
