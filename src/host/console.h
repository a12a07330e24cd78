/* The guest's console on two descriptors, most often standard input and output.
 *
 * Output goes through a queue to a thread of its own, so that a vCPU neither waits for a terminal
 * nor pays a system call for a byte. A full queue stops the writer, without the machine lock, until
 * there is room: no byte is lost, and a reader that has stopped reading stops only the guest's own
 * output.
 *
 * Input is read by the event loop, goes through the escape parser (terminal.h) and is offered to
 * the guest. What the guest has no room for waits; a terminal is read on nevertheless, so that
 * Ctrl-a x always works. */
#ifndef VENEER_HOST_CONSOLE_H
#define VENEER_HOST_CONSOLE_H

#include "host/event_loop.h"

#include <stddef.h>

struct console;

struct console_config {
	int input_fd; /* -1: no input */
	int output_fd;
	struct event_loop *loop;
	struct priority_lock *machine_lock;
	/* Give bytes to the guest: returns how many it took. Machine lock held. */
	size_t (*receive)(void *opaque, const void *bytes, size_t size);
	/* Ctrl-a x was typed. Machine lock held. */
	void (*quit)(void *opaque);
	/* Should a write that waits for room give up, because the machine is stopping? */
	bool (*stopping)(void *opaque);
	void *opaque;
};

/* NULL with a message in the log. Puts a terminal on input_fd into raw mode. */
struct console *console_create(const struct console_config *config);
/* Write out what is queued, waiting at most timeout_ms (-1: as long as it takes), restore the
 * terminal and free. Without the machine lock; the event loop no longer runs. */
void console_destroy(struct console *console, int timeout_ms);

/* Queue guest output. Machine lock held; it is released while the queue is full. */
void console_write(struct console *console, const void *bytes, size_t size);
/* The guest has room for input again. Machine lock held. */
void console_input_ready(struct console *console);

#endif
