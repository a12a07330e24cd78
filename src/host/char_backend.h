/* The far end of a serial line: a console, a file. The near end is a serial port.
 *
 * Neither end ever waits for the other, for both are entered under the machine lock. Each takes
 * what it has room for, says how much that was, and calls the other once it has room again. */
#ifndef VENEER_HOST_CHAR_BACKEND_H
#define VENEER_HOST_CHAR_BACKEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a serial port does for its back end. All NULL: no port is connected. Machine lock held. */
struct char_port {
	/* Bytes for the guest: returns how many it took. If not all, input_ready() comes later. */
	size_t (*receive)(void *opaque, const void *bytes, size_t size);
	/* write() took less than it was offered, and now there is room again. */
	void (*output_ready)(void *opaque);
	/* The terminal's window may have another size. NULL: that is all the same. */
	void (*resized)(void *opaque);
	void *opaque;
};

struct char_backend {
	const struct char_backend_ops *ops;
	struct char_port port;
};

struct char_backend_ops {
	/* Bytes of the guest: returns how many it took. If not all, port.output_ready() comes
	 * later, on the I/O thread. Machine lock held, or from one thread that is the only one
	 * to call it. */
	size_t (*write)(struct char_backend *backend, const void *bytes, size_t size);
	/* The machine stops, and these are the last: at most CHAR_LAST_SIZE bytes, for which there
	 * is always room, once. NULL: as write(). Machine lock held. */
	void (*write_last)(struct char_backend *backend, const void *bytes, size_t size);
	/* The port has room for input again. NULL: there is never input. Machine lock held. */
	void (*input_ready)(struct char_backend *backend);
	/* The size of the terminal's window: columns << 16 | rows; 0: not known. Machine lock held.
	 * NULL: there is none. */
	uint32_t (*window)(struct char_backend *backend);
	/* Wait a moment, 20 ms at most, for room to write. True: there is some. NULL: there always
	 * is. Without the machine lock. */
	bool (*wait_for_room)(struct char_backend *backend);
};

#define CHAR_LAST_SIZE 64

#endif
