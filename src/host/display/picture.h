/* A frame as a picture in a file. */
#ifndef VENEER_HOST_DISPLAY_PICTURE_H
#define VENEER_HOST_DISPLAY_PICTURE_H

#include "host/display/display.h"

enum picture_format { PICTURE_PNG, PICTURE_PPM };

/* Write the frame to a new file at `path`, or over what is there: it is complete, or there is an
 * error and no file. 0 or -errno, without a message. */
int picture_write(const char *path, enum picture_format format, const struct display_frame *frame);
/* The same with what is on the screen now; -ENODEV: it has none. */
int picture_write_screen(
	const char *path, enum picture_format format, const struct display *display);

#endif
