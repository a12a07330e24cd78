/* Packets of GDB's remote serial protocol (GDB manual, appendix E "Overview"):
 *
 *	$data#xx	xx is the sum of the data's bytes
 *	+  -		acknowledgements, until QStartNoAckMode
 *	byte 3		Ctrl-C
 *
 * In data '}' and a byte that follows it, XOR 0x20, stand for one that must not be there. What the
 * client sends may be anything; all that comes out of this is bounded. */
#ifndef VENEER_DEBUG_PACKET_H
#define VENEER_DEBUG_PACKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PACKET_LONGEST ((size_t)0x4000) /* bytes of data, in both directions */

enum packet_event {
	PACKET_MORE,     /* go on */
	PACKET_COMPLETE, /* data[0..size), followed by a 0 byte */
	PACKET_BROKEN,   /* the sum is wrong */
	PACKET_TOO_LONG,
	PACKET_ACK,
	PACKET_NAK,
	PACKET_INTERRUPT,
};

/* All zero: at the start. */
struct packet_reader {
	uint8_t data[PACKET_LONGEST + 1];
	size_t size;
	enum { PACKET_OUTSIDE, PACKET_DATA, PACKET_ESCAPED, PACKET_SUM_1, PACKET_SUM_2 } state;
	uint8_t sum, digit;
	bool too_long;
};

enum packet_event packet_take(struct packet_reader *reader, uint8_t byte);

/* A packet in the making. What does not fit is left out, and `full` says so. */
struct packet {
	uint8_t data[2 * PACKET_LONGEST + 8];
	size_t size; /* with frame; after packet_end() it can be sent */
	size_t room; /* of data that may still be put in, before it is escaped */
	bool full;
	bool complete; /* packet_end() has been called */
};

void packet_begin(struct packet *packet);
/* Any bytes: they are escaped where they must be. */
void packet_put(struct packet *packet, const void *bytes, size_t size);
void packet_text(struct packet *packet, const char *text);
__attribute__((format(printf, 2, 3))) void packet_format(
	struct packet *packet, const char *format, ...);
/* Two digits a byte. */
void packet_hex(struct packet *packet, const void *bytes, size_t size);
void packet_end(struct packet *packet);

/* --- what is in a packet --- */

/* What is left to be looked at. */
struct packet_text {
	const uint8_t *at, *end;
};

static inline size_t packet_left(const struct packet_text *text)
{
	return (size_t)(text->end - text->at);
}
/* Each takes what it finds; false: it is not there, and nothing is taken. */
bool packet_take_char(struct packet_text *text, char expected);
bool packet_take_word(struct packet_text *text, const char *word);
/* A number, 1 to 16 hexadecimal digits. */
bool packet_take_number(struct packet_text *text, uint64_t *number);
/* `size` bytes, two digits each. */
bool packet_take_bytes(struct packet_text *text, void *bytes, size_t size);

#endif
