/* The bytes of a 9P message: little-endian integers, and strings that follow their length (16
 * bits). The server has its own copy of what it reads, so a field cannot change once it was read;
 * of what it writes, too, for the guest may change its memory at any time. */
#ifndef VENEER_HELPER_SHARE_MESSAGE_H
#define VENEER_HELPER_SHARE_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define P9_HEADER 7 /* size[4] type[1] tag[2] */

/* What is left of a request. A field that is not there reads as 0, and `bad` is set. */
struct p9_reader {
	const uint8_t *at;
	size_t left;
	bool bad;
};

/* The reply so far. What does not fit is not written, and `full` is set. */
struct p9_writer {
	uint8_t *bytes;
	size_t size, limit;
	bool full;
};

static inline uint64_t p9_get(struct p9_reader *reader, size_t size)
{
	uint64_t value = 0;

	if (reader->left < size) {
		reader->bad = true;
		reader->left = 0;
		return 0;
	}
	memcpy(&value, reader->at, size);
	reader->at += size;
	reader->left -= size;
	return value;
}

static inline uint8_t p9_get8(struct p9_reader *reader)
{
	return (uint8_t)p9_get(reader, 1);
}

static inline uint16_t p9_get16(struct p9_reader *reader)
{
	return (uint16_t)p9_get(reader, 2);
}

static inline uint32_t p9_get32(struct p9_reader *reader)
{
	return (uint32_t)p9_get(reader, 4);
}

static inline uint64_t p9_get64(struct p9_reader *reader)
{
	return p9_get(reader, 8);
}

/* A string of less than `size` bytes, with a NUL behind it. One that is longer or has a NUL in it
 * is bad: `to` is "" then. */
static inline void p9_get_string(struct p9_reader *reader, char *to, size_t size)
{
	size_t length = p9_get16(reader);

	to[0] = 0;
	if (length >= size || length > reader->left || memchr(reader->at, 0, length)) {
		reader->bad = true;
		return;
	}
	memcpy(to, reader->at, length);
	to[length] = 0;
	reader->at += length;
	reader->left -= length;
}

static inline void p9_put_bytes(struct p9_writer *writer, const void *bytes, size_t size)
{
	if (writer->limit - writer->size < size) {
		writer->full = true;
		return;
	}
	memcpy(writer->bytes + writer->size, bytes, size);
	writer->size += size;
}

static inline void p9_put8(struct p9_writer *writer, uint8_t value)
{
	p9_put_bytes(writer, &value, sizeof(value));
}

static inline void p9_put16(struct p9_writer *writer, uint16_t value)
{
	p9_put_bytes(writer, &value, sizeof(value));
}

static inline void p9_put32(struct p9_writer *writer, uint32_t value)
{
	p9_put_bytes(writer, &value, sizeof(value));
}

static inline void p9_put64(struct p9_writer *writer, uint64_t value)
{
	p9_put_bytes(writer, &value, sizeof(value));
}

/* At most 65535 bytes. */
static inline void p9_put_string(struct p9_writer *writer, const char *text, size_t length)
{
	p9_put16(writer, (uint16_t)length);
	p9_put_bytes(writer, text, length);
}

#endif
