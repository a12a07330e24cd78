/* What the monitor and its VNC server, veneer-vnc, say to each other: messages of fixed size over a
 * SOCK_SEQPACKET socket, and a frame's pixels in shared memory, which only the monitor can write.
 *
 * The server asks for a frame when it can show one, as often as it likes; the monitor draws it and
 * answers. So it never draws while the server reads, and draws nothing while nobody watches. */
#ifndef VENEER_HOST_DISPLAY_VNC_LINK_H
#define VENEER_HOST_DISPLAY_VNC_LINK_H

#include "host/display/display.h"

#define VNC_LINK_SOCKET 3 /* the server's descriptors */
#define VNC_LINK_MEMORY 4
#define VNC_LINK_BYTES  (DISPLAY_MAX_PIXELS * sizeof(uint32_t))

enum vnc_request_kind {
	VNC_READY,   /* it listens: the first message */
	VNC_FRAME,   /* there is to be an answer, one at a time */
	VNC_KEY,     /* value[0]: KEY_* code; value[1]: down */
	VNC_POINTER, /* value[0..2]: moved right, down, wheel towards the user; [3]: input_button */
};

struct vnc_request {
	uint32_t kind;
	int32_t value[4];
};

/* The screen's size, and the rows [first, end) that have changed; first == end: none has. */
struct vnc_answer {
	uint32_t width, height, first, end;
};

#endif
