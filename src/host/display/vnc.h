/* A VNC server for the machine's screen: a helper process, veneer-vnc, where libvncserver is, which
 * parses what its clients send. Where they break it another one is started. */
#ifndef VENEER_HOST_DISPLAY_VNC_H
#define VENEER_HOST_DISPLAY_VNC_H

#include "host/display/config.h"
#include "host/display/display.h"
#include "host/event_loop.h"
#include "host/input.h"

struct vnc;

struct vnc_config {
	const struct display_config *display;
	const struct display *screen;
	const struct input *input;
	struct event_loop *loop;
};

/* Start the server; it listens when this returns. NULL with a message. On the thread that will run
 * the loop. */
struct vnc *vnc_create(const struct vnc_config *config);
void vnc_destroy(struct vnc *vnc);

#endif
