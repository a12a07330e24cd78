#include "debug/packet.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define INTERRUPT 3
#define ESCAPE    '}'

static int digit_of(uint8_t byte)
{
	if (byte >= '0' && byte <= '9')
		return byte - '0';
	byte |= 0x20;
	return byte >= 'a' && byte <= 'f' ? byte - 'a' + 10 : -1;
}

/* --- reading --- */

static enum packet_event outside(struct packet_reader *reader, uint8_t byte)
{
	switch (byte) {
	case '$':
		reader->state = PACKET_DATA;
		reader->size = 0;
		reader->sum = 0;
		reader->too_long = false;
		return PACKET_MORE;
	case '+':
		return PACKET_ACK;
	case '-':
		return PACKET_NAK;
	case INTERRUPT:
		return PACKET_INTERRUPT;
	default:
		return PACKET_MORE;
	}
}

static void append(struct packet_reader *reader, uint8_t byte)
{
	reader->too_long |= reader->size == PACKET_LONGEST;
	if (!reader->too_long)
		reader->data[reader->size++] = byte;
}

static enum packet_event finish(struct packet_reader *reader, uint8_t byte)
{
	int high = digit_of(reader->digit), low = digit_of(byte);

	reader->state = PACKET_OUTSIDE;
	reader->data[reader->size] = 0;
	if (high < 0 || low < 0 || (high << 4 | low) != reader->sum)
		return PACKET_BROKEN;
	return reader->too_long ? PACKET_TOO_LONG : PACKET_COMPLETE;
}

enum packet_event packet_take(struct packet_reader *reader, uint8_t byte)
{
	switch (reader->state) {
	case PACKET_OUTSIDE:
		return outside(reader, byte);
	case PACKET_DATA:
		if (byte == '#') {
			reader->state = PACKET_SUM_1;
			break;
		}
		/* It has given up on the one before. */
		if (byte == '$')
			return outside(reader, byte);
		reader->sum = (uint8_t)(reader->sum + byte);
		if (byte == ESCAPE)
			reader->state = PACKET_ESCAPED;
		else
			append(reader, byte);
		break;
	case PACKET_ESCAPED:
		reader->sum = (uint8_t)(reader->sum + byte);
		append(reader, byte ^ 0x20);
		reader->state = PACKET_DATA;
		break;
	case PACKET_SUM_1:
		reader->digit = byte;
		reader->state = PACKET_SUM_2;
		break;
	case PACKET_SUM_2:
		return finish(reader, byte);
	}
	return PACKET_MORE;
}

/* --- writing --- */

void packet_begin(struct packet *packet)
{
	packet->data[0] = '$';
	packet->size = 1;
	packet->room = PACKET_LONGEST;
	packet->full = packet->complete = false;
}

static void put_byte(struct packet *packet, uint8_t byte)
{
	if (!packet->room) {
		packet->full = true;
		return;
	}
	packet->room--;
	if (byte == '$' || byte == '#' || byte == ESCAPE || byte == '*') {
		packet->data[packet->size++] = ESCAPE;
		byte ^= 0x20;
	}
	packet->data[packet->size++] = byte;
}

void packet_put(struct packet *packet, const void *bytes, size_t size)
{
	for (size_t i = 0; i < size; i++)
		put_byte(packet, ((const uint8_t *)bytes)[i]);
}

void packet_text(struct packet *packet, const char *text)
{
	packet_put(packet, text, strlen(text));
}

void packet_format(struct packet *packet, const char *format, ...)
{
	char text[200];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	packet_text(packet, text);
}

void packet_hex(struct packet *packet, const void *bytes, size_t size)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < size; i++) {
		uint8_t byte = ((const uint8_t *)bytes)[i];

		put_byte(packet, (uint8_t)digits[byte >> 4]);
		put_byte(packet, (uint8_t)digits[byte & 15]);
	}
}

void packet_end(struct packet *packet)
{
	uint8_t sum = 0;
	char end[4];

	for (size_t i = 1; i < packet->size; i++)
		sum = (uint8_t)(sum + packet->data[i]);
	snprintf(end, sizeof(end), "#%02x", sum);
	memcpy(packet->data + packet->size, end, 3);
	packet->size += 3;
	packet->complete = true;
}

/* --- what is in a packet --- */

bool packet_take_char(struct packet_text *text, char expected)
{
	if (text->at == text->end || *text->at != (uint8_t)expected)
		return false;
	text->at++;
	return true;
}

bool packet_take_word(struct packet_text *text, const char *word)
{
	size_t length = strlen(word);

	if (packet_left(text) < length || memcmp(text->at, word, length) != 0)
		return false;
	text->at += length;
	return true;
}

bool packet_take_number(struct packet_text *text, uint64_t *number)
{
	const uint8_t *at = text->at;
	uint64_t value = 0;

	for (; at < text->end && digit_of(*at) >= 0; at++) {
		if (at - text->at == 16)
			return false;
		value = value << 4 | (unsigned)digit_of(*at);
	}
	if (at == text->at)
		return false;
	text->at = at;
	*number = value;
	return true;
}

bool packet_take_bytes(struct packet_text *text, void *bytes, size_t size)
{
	if (packet_left(text) / 2 < size)
		return false;
	for (size_t i = 0; i < 2 * size; i++)
		if (digit_of(text->at[i]) < 0)
			return false;
	for (size_t i = 0; i < size; i++)
		((uint8_t *)bytes)[i] =
			(uint8_t)(digit_of(text->at[2 * i]) << 4 | digit_of(text->at[2 * i + 1]));
	text->at += 2 * size;
	return true;
}
