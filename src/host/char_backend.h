/* The far end of a serial line: a console, a file, a socket. The near end is a port: a serial port,
 * a virtio one, a monitor.
 *
 * Neither end ever waits for the other, for both are entered under the machine lock. Each takes
 * what it has room for, says how much that was, and calls the other once it has room again. */
#ifndef VENEER_HOST_CHAR_BACKEND_H
#define VENEER_HOST_CHAR_BACKEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a port does for its back end. All NULL: no port is connected. Machine lock held. */
struct char_port {
	/* Bytes for the guest: returns how many it took. If not all, input_ready() comes later. */
	size_t (*receive)(void *opaque, const void *bytes, size_t size);
	/* write() took less than it was offered, and now there is room again. */
	void (*output_ready)(void *opaque);
	/* The terminal's window may have another size. NULL: that is all the same. */
	void (*resized)(void *opaque);
	/* Somebody has come to the far end, or has gone. NULL: that is all the same. */
	void (*opened)(void *opaque, bool open);
	/* Does the guest read? Then what somebody who has gone had sent is kept for it, and else
	 * forgotten. NULL: it does. */
	bool (*reads)(void *opaque);
	void *opaque;
};

struct char_backend {
	const struct char_backend_ops *ops;
	struct char_port port;
	/* Somebody is at the far end; else bytes of the guest are taken, and lost. Machine lock. */
	bool open;
};

struct char_backend_ops {
	/* Bytes of the guest: returns how many it took. If not all, port.output_ready() comes
	 * later, on the I/O thread. Machine lock held, or from one thread that is the only one
	 * to call it. */
	size_t (*write)(struct char_backend *backend, const void *bytes, size_t size);
	/* The machine stops, and these are the last: at most CHAR_LAST_SIZE bytes, for which there
	 * is always room, once. NULL: as write(). Machine lock held. */
	void (*write_last)(struct char_backend *backend, const void *bytes, size_t size);
	/* The port has room for input again, or reads no more. NULL: there is never input. Machine
	 * lock held. */
	void (*input_ready)(struct char_backend *backend);
	/* The size of the terminal's window: columns << 16 | rows; 0: not known. Machine lock held.
	 * NULL: there is none. */
	uint32_t (*window)(struct char_backend *backend);
	/* Wait a moment, 20 ms at most, for room to write. True: there is some. NULL: there always
	 * is. Without the machine lock. */
	bool (*wait_for_room)(struct char_backend *backend);
	/* What it is, in QEMU's words: "unix:/tmp/s,server=on". NULL: its kind says all. Machine
	 * lock held. */
	void (*describe)(const struct char_backend *backend, char *text, size_t size);
	/* Write out what is queued, waiting at most timeout_ms (-1: as long as it takes), and free
	 * it. No port is connected any more. With the machine lock held where the event loop runs.
	 * NULL: its maker frees it. */
	void (*destroy)(struct char_backend *backend, int timeout_ms);
};

#define CHAR_LAST_SIZE 64

#endif
