/* Keys and the mouse: what those who show a screen (VNC, the terminal, `sendkey`) give to whatever
 * device the guest takes its input from. All called on any thread with the machine lock held; none
 * waits: what a device has no room for is dropped, as a keyboard drops it.
 *
 * A key is named by Linux's code for it (KEY_* of linux/input-event-codes.h), which says where the
 * key is and not what is printed on it. */
#ifndef VENEER_HOST_INPUT_H
#define VENEER_HOST_INPUT_H

#include <stdbool.h>

enum input_button {
	INPUT_LEFT = 1,
	INPUT_RIGHT = 2,
	INPUT_MIDDLE = 4,
	INPUT_SIDE = 8,
	INPUT_EXTRA = 16
};

/* A device that takes input. */
struct input_ops {
	/* The key went down, or up. Down again without up: it repeats. */
	void (*key)(void *opaque, unsigned code, bool down);
	/* The mouse moved by (dx, dy), to the right and down, and its wheel by dz steps, towards
	 * the user; `buttons`: those that are down now. */
	void (*mouse)(void *opaque, int dx, int dy, int dz, unsigned buttons);
};

/* Zero-initialise: nobody listens. */
struct input {
	const struct input_ops *ops; /* NULL: what comes is dropped */
	void *opaque;
};

static inline void input_key(const struct input *input, unsigned code, bool down)
{
	if (input->ops)
		input->ops->key(input->opaque, code, down);
}

static inline void input_mouse(const struct input *input, int dx, int dy, int dz, unsigned buttons)
{
	if (input->ops)
		input->ops->mouse(input->opaque, dx, dy, dz, buttons);
}

#endif
