/* The text screen on the user's terminal: colours, the cursor, and only what has changed is sent.
 * What is typed becomes strokes of keys. The terminal is a console's (console.h), in the place of a
 * serial port: so raw mode, the Ctrl-a keys and a terminal that reads slowly are dealt with
 * there. */
#ifndef VENEER_HOST_DISPLAY_TEXT_SCREEN_H
#define VENEER_HOST_DISPLAY_TEXT_SCREEN_H

#include "host/char_backend.h"
#include "host/display/display.h"
#include "host/event_loop.h"
#include "host/input.h"

struct text_screen;

struct text_screen_config {
	struct char_backend *console; /* its far end is the terminal */
	int terminal_fd;              /* whose size is asked for */
	const struct display *screen;
	const struct input *input;
	const struct clock *clock;
	struct event_loop *loop;
};

/* NULL with a message. Machine lock held, or before the machine runs; so for destroy, after which
 * the terminal shows what it did before. */
struct text_screen *text_screen_create(const struct text_screen_config *config);
void text_screen_destroy(struct text_screen *text_screen);

#endif
