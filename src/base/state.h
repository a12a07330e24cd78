/* Saved state: how plain structs become bytes and come back.
 *
 * A table of rows says where the fields of a struct are and which values they may have. Saving
 * writes the fields one after another, little-endian and without padding; loading reads them back
 * and refuses what no row allows, so that bytes from anywhere can be loaded: once an index has been
 * checked against its row, the code can use it.
 *
 * Each struct becomes a section of its own, with a name, an instance and a version:
 *
 *	name[16] instance:4 version:4 size:4 bytes[size]
 *
 * The version belongs to the table: change one, change the other. */
#ifndef VENEER_BASE_STATE_H
#define VENEER_BASE_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct state_field {
	uint32_t offset;
	uint32_t size;                    /* of one element; a table ends with a row of size 0 */
	uint32_t count;                   /* elements, one after another */
	const struct state_field *fields; /* of a struct; NULL: an unsigned integer */
	uint64_t low, high;               /* what the integer may be, both included */
};

#define STATE_FIELD(type, member, low, high)                                                       \
	{                                                                                          \
		offsetof(type, member), sizeof(((type *)0)->member), 1, NULL, low, high            \
	}
#define STATE_ARRAY(type, member, low, high)                                                       \
	{                                                                                          \
		offsetof(type, member), sizeof(((type *)0)->member[0]),                            \
			sizeof(((type *)0)->member) / sizeof(((type *)0)->member[0]), NULL, low,   \
			high                                                                       \
	}
/* Any value of its size will do; signed integers are best described so, and checked by code. */
#define STATE_ANY(type, member)       STATE_FIELD(type, member, 0, UINT64_MAX)
#define STATE_ARRAY_ANY(type, member) STATE_ARRAY(type, member, 0, UINT64_MAX)
#define STATE_BOOL(type, member)      STATE_FIELD(type, member, 0, 1)
/* A struct, or an array of structs, with a table of its own. */
#define STATE_STRUCT(type, member, table)                                                          \
	{                                                                                          \
		offsetof(type, member), sizeof(((type *)0)->member), 1, table, 0, 0                \
	}
#define STATE_STRUCTS(type, member, table)                                                         \
	{                                                                                          \
		offsetof(type, member), sizeof(((type *)0)->member[0]),                            \
			sizeof(((type *)0)->member) / sizeof(((type *)0)->member[0]), table, 0, 0  \
	}
#define STATE_END                                                                                  \
	{                                                                                          \
		0                                                                                  \
	}

/* Bytes that grow. Zero-initialise; free() the bytes. */
struct state_writer {
	uint8_t *bytes;
	size_t size, capacity;
	bool failed; /* out of memory: what was written since is missing */
};

/* Bytes to read from; owned by the caller. */
struct state_reader {
	const uint8_t *bytes;
	size_t size; /* what is left */
};

#define STATE_NAME_SIZE 16

struct state_section {
	char name[STATE_NAME_SIZE];
	uint32_t instance, version;
	const uint8_t *bytes;
	uint32_t size;
};

/* Append a section with the struct at `from` in it. A name has at most 15 characters. */
void state_write(struct state_writer *writer, const char *name, uint32_t instance, uint32_t version,
	const struct state_field *fields, const void *from);

/* The next section. 0, -ENOENT at the end, -EINVAL where the bytes are no section. */
int state_next(struct state_reader *reader, struct state_section *section);
/* Fill the struct at `to` from a section, what no row names apart. 0; -EINVAL where a value is not
 * allowed or the size is another: then `to` is half filled, and not to be used. */
int state_read(const struct state_section *section, const struct state_field *fields, void *to);

#endif
