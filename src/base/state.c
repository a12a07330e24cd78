#include "base/state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define HEADER_SIZE (STATE_NAME_SIZE + 3 * 4)

static void put_bytes(struct state_writer *writer, const void *bytes, size_t size)
{
	if (writer->capacity - writer->size < size) {
		size_t capacity = 2 * writer->capacity + size + 256;
		uint8_t *grown = writer->failed ? NULL : realloc(writer->bytes, capacity);

		if (!grown) {
			writer->failed = true;
			return;
		}
		writer->bytes = grown;
		writer->capacity = capacity;
	}
	memcpy(writer->bytes + writer->size, bytes, size);
	writer->size += size;
}

/* The hosts are little-endian: an integer's bytes are what the format wants. */
static void put_fields(
	struct state_writer *writer, const struct state_field *field, const uint8_t *from)
{
	for (; field->size; field++) {
		const uint8_t *next = from + field->offset;

		if (!field->fields) {
			put_bytes(writer, next, (size_t)field->size * field->count);
			continue;
		}
		for (uint32_t i = 0; i < field->count; i++, next += field->size)
			put_fields(writer, field->fields, next);
	}
}

static uint32_t fields_size(const struct state_field *field)
{
	uint32_t size = 0;

	for (; field->size; field++)
		size += field->count * (field->fields ? fields_size(field->fields) : field->size);
	return size;
}

/* A section's name as it is saved: the rest is zeros. */
static void pad_name(char padded[STATE_NAME_SIZE], const char *name)
{
	memset(padded, 0, STATE_NAME_SIZE);
	memcpy(padded, name, strnlen(name, STATE_NAME_SIZE - 1));
}

void state_write(struct state_writer *writer, const char *name, uint32_t instance, uint32_t version,
	const struct state_field *fields, const void *from)
{
	char padded[STATE_NAME_SIZE];
	const uint32_t numbers[3] = {instance, version, fields_size(fields)};

	pad_name(padded, name);
	put_bytes(writer, padded, sizeof(padded));
	put_bytes(writer, numbers, sizeof(numbers));
	put_fields(writer, fields, from);
}

int state_next(struct state_reader *reader, struct state_section *section)
{
	char padded[STATE_NAME_SIZE];
	uint32_t numbers[3];

	if (!reader->size)
		return -ENOENT;
	if (reader->size < HEADER_SIZE)
		return -EINVAL;
	memcpy(section->name, reader->bytes, STATE_NAME_SIZE);
	memcpy(numbers, reader->bytes + STATE_NAME_SIZE, sizeof(numbers));
	/* As state_write() makes it: so what is loaded is saved as the same bytes. */
	pad_name(padded, section->name);
	if (memcmp(padded, section->name, STATE_NAME_SIZE) != 0 ||
		numbers[2] > reader->size - HEADER_SIZE)
		return -EINVAL;
	section->instance = numbers[0];
	section->version = numbers[1];
	section->size = numbers[2];
	section->bytes = reader->bytes + HEADER_SIZE;
	reader->bytes += HEADER_SIZE + section->size;
	reader->size -= HEADER_SIZE + section->size;
	return 0;
}

/* One integer. False: not allowed. */
static bool get_integer(const struct state_field *field, const uint8_t *from, uint8_t *to)
{
	uint64_t value = 0;

	memcpy(&value, from, field->size);
	if (value < field->low || value > field->high)
		return false;
	memcpy(to, from, field->size);
	return true;
}

/* Where the bytes end that were read; NULL: a value is not allowed. The size was checked. */
static const uint8_t *get_fields(const uint8_t *from, const struct state_field *field, uint8_t *to)
{
	for (; field->size; field++) {
		uint8_t *next = to + field->offset;

		for (uint32_t i = 0; i < field->count; i++, next += field->size) {
			if (field->fields)
				from = get_fields(from, field->fields, next);
			else if (get_integer(field, from, next))
				from += field->size;
			else
				return NULL;
			if (!from)
				return NULL;
		}
	}
	return from;
}

int state_read(const struct state_section *section, const struct state_field *fields, void *to)
{
	if (section->size != fields_size(fields))
		return -EINVAL;
	return get_fields(section->bytes, fields, to) ? 0 : -EINVAL;
}
