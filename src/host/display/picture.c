#include "host/display/picture.h"

#include <errno.h>
#include <fcntl.h>
#include <png.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

/* --- colours: a picture of few of them is small --- */

#define COLOURS 256
#define SLOTS   1024

struct colours {
	uint32_t colour[COLOURS];
	unsigned count;
	uint16_t slot[SLOTS]; /* an index into `colour` plus 1; 0: free */
};

/* The colour's index; COLOURS: it is one too many. */
static unsigned index_of(struct colours *colours, uint32_t colour)
{
	unsigned at = (colour * 2654435761u) >> 22;

	while (colours->slot[at]) {
		if (colours->colour[colours->slot[at] - 1] == colour)
			return colours->slot[at] - 1;
		at = (at + 1) % SLOTS;
	}
	if (colours->count == COLOURS)
		return COLOURS;
	colours->colour[colours->count++] = colour;
	colours->slot[at] = (uint16_t)colours->count;
	return colours->count - 1;
}

static bool few_colours(const struct display_frame *frame, struct colours *colours)
{
	size_t pixels = (size_t)frame->width * frame->height;

	*colours = (struct colours){0};
	for (size_t i = 0; i < pixels; i++)
		if ((!i || frame->pixels[i] != frame->pixels[i - 1]) &&
			index_of(colours, frame->pixels[i]) == COLOURS)
			return false;
	return true;
}

/* --- PNG --- */

static void set_palette(png_structp png, png_infop info, const struct colours *colours)
{
	png_color palette[COLOURS];

	for (unsigned i = 0; i < colours->count; i++)
		palette[i] = (png_color){(png_byte)(colours->colour[i] >> 16),
			(png_byte)(colours->colour[i] >> 8), (png_byte)colours->colour[i]};
	png_set_PLTE(png, info, palette, (int)colours->count);
}

static void put_row(
	const uint32_t *pixels, unsigned width, struct colours *colours, bool few, png_byte *row)
{
	for (unsigned x = 0; x < width; x++) {
		if (few) {
			row[x] = (png_byte)index_of(colours, pixels[x]);
			continue;
		}
		*row++ = (png_byte)(pixels[x] >> 16);
		*row++ = (png_byte)(pixels[x] >> 8);
		*row++ = (png_byte)pixels[x];
	}
}

static void write_png(png_structp png, png_infop info, FILE *file,
	const struct display_frame *frame, png_byte *row)
{
	struct colours colours;
	bool few = few_colours(frame, &colours);

	png_init_io(png, file);
	/* The machine waits meanwhile. */
	png_set_compression_level(png, few ? 6 : Z_BEST_SPEED);
	png_set_IHDR(png, info, frame->width, frame->height, few && colours.count <= 16 ? 4 : 8,
		few ? PNG_COLOR_TYPE_PALETTE : PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE,
		PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
	if (few)
		set_palette(png, info, &colours);
	png_write_info(png, info);
	png_set_packing(png);
	for (unsigned y = 0; y < frame->height; y++) {
		put_row(frame->pixels + (size_t)y * frame->width, frame->width, &colours, few, row);
		png_write_row(png, row);
	}
	png_write_end(png, NULL);
}

static int save_png(FILE *file, const struct display_frame *frame)
{
	png_byte *row = malloc((size_t)frame->width * 3);
	png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
	png_infop info = png ? png_create_info_struct(png) : NULL;
	int error = 0;

	if (!row || !info)
		error = -ENOMEM;
	else if (setjmp(png_jmpbuf(png)))
		error = -EIO;
	else
		write_png(png, info, file, frame, row);
	png_destroy_write_struct(&png, &info);
	free(row);
	return error;
}

static int save_ppm(FILE *file, const struct display_frame *frame)
{
	size_t pixels = (size_t)frame->width * frame->height;

	fprintf(file, "P6\n%u %u\n255\n", frame->width, frame->height);
	for (size_t i = 0; i < pixels; i++) {
		putc_unlocked((int)(frame->pixels[i] >> 16), file);
		putc_unlocked((int)(frame->pixels[i] >> 8), file);
		putc_unlocked((int)frame->pixels[i], file);
	}
	return 0;
}

int picture_write(const char *path, enum picture_format format, const struct display_frame *frame)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NONBLOCK, 0666), error;
	FILE *file = fd < 0 ? NULL : fdopen(fd, "wb");

	if (!file) {
		error = -errno;
		if (fd >= 0)
			close(fd);
		return error;
	}
	error = format == PICTURE_PNG ? save_png(file, frame) : save_ppm(file, frame);
	if (ferror(file) && !error)
		error = -EIO;
	if (fclose(file) != 0 && !error)
		error = -errno;
	if (error)
		unlink(path);
	return error;
}

int picture_write_screen(
	const char *path, enum picture_format format, const struct display *display)
{
	struct display_frame frame = {0};
	int error;

	if (!display_exists(display))
		return -ENODEV;
	frame.pixels = malloc(DISPLAY_MAX_PIXELS * sizeof(*frame.pixels));
	if (!frame.pixels)
		return -ENOMEM;
	display_draw(display, &frame);
	error = picture_write(path, format, &frame);
	free(frame.pixels);
	return error;
}
