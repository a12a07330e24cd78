/* Cuts a stream of bytes into JSON texts, without understanding more of JSON than where a text
 * ends: at the bracket that closes its first one, whether or not a line ends there. So a client may
 * send several in one packet, one in several packets, or one over several lines.
 *
 * What comes out need not be JSON. A line end inside a string, which JSON does not allow, and one
 * outside of all brackets end a text, too: after nonsense the next line has a fresh start. */
#ifndef VENEER_CONTROL_FRAMER_H
#define VENEER_CONTROL_FRAMER_H

#include <stdbool.h>
#include <stddef.h>

#define FRAMER_LONGEST ((size_t)16 * 1024)
#define FRAMER_DEEPEST 32

/* All zero: at the start. */
struct framer {
	char text[FRAMER_LONGEST];
	size_t size;
	unsigned depth;
	bool in_string, escaped;
};

enum framing {
	FRAMING_MORE,     /* all bytes are taken, and the text goes on */
	FRAMING_COMPLETE, /* text[0..size) is one; framer_reset() before the next */
	FRAMING_TOO_LONG, /* more than FRAMER_LONGEST bytes */
	FRAMING_TOO_DEEP, /* more than FRAMER_DEEPEST brackets inside each other */
};

/* Take bytes up to the end of a text at most; *taken is how many. */
enum framing framer_take(struct framer *framer, const char *bytes, size_t size, size_t *taken);
/* The same for lines: a text is what stands before a line's end, which does not belong to it. */
enum framing framer_take_line(struct framer *framer, const char *bytes, size_t size, size_t *taken);
void framer_reset(struct framer *framer);

#endif
