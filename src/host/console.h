/* The guest's console on two descriptors, most often standard input and output.
 *
 * Output goes through a queue to a thread of its own, so that a vCPU neither waits for a terminal
 * nor pays a system call for a byte. A full queue takes no more until there is room: no byte is
 * lost, and a reader that has stopped reading stops only the guest's own output.
 *
 * Input is read by the event loop, goes through the escape parser (terminal.h) and is offered to
 * the guest. What the guest has no room for waits; a terminal is read on nevertheless, so that
 * Ctrl-a x always works. */
#ifndef VENEER_HOST_CONSOLE_H
#define VENEER_HOST_CONSOLE_H

#include "host/char_backend.h"
#include "host/event_loop.h"

#include <stddef.h>

struct console;

struct console_config {
	int input_fd; /* -1: no input */
	int output_fd;
	bool close_output; /* with the console */
	bool plain;        /* Ctrl-a has no meaning: there is no quit() */
	struct event_loop *loop;
	/* Ctrl-a x was typed. Machine lock held. */
	void (*quit)(void *opaque);
	void *opaque;
};

/* NULL with a message in the log. Puts a terminal on input_fd into raw mode. */
struct console *console_create(const struct console_config *config);
/* Write out what is queued, waiting at most timeout_ms (-1: as long as it takes), restore the
 * terminal and free. Without the machine lock; the event loop no longer runs. */
void console_destroy(struct console *console, int timeout_ms);

/* The serial line's far end, to be connected to a port. */
struct char_backend *console_backend(struct console *console);
/* The terminal's window may have another size (SIGWINCH): the port is told. Machine lock held. */
void console_resized(struct console *console);
/* While the console is held the port is told nothing: neither of input, nor of room for output, and
 * none of its output is taken. When it is let go, the port is told of what has come meanwhile. For
 * a machine that is paused. Machine lock held. */
void console_hold(struct console *console, bool on);

#endif
