#include "control/framer.h"

static bool is_space(char byte)
{
	return byte == ' ' || byte == '\t' || byte == '\r' || byte == '\n';
}

static enum framing take_in_string(struct framer *framer, char byte)
{
	if (byte == '\n')
		return FRAMING_COMPLETE;
	if (framer->escaped)
		framer->escaped = false;
	else if (byte == '\\')
		framer->escaped = true;
	else if (byte == '"')
		framer->in_string = false;
	return FRAMING_MORE;
}

static enum framing take_outside(struct framer *framer, char byte)
{
	switch (byte) {
	case '"':
		framer->in_string = true;
		return FRAMING_MORE;
	case '{':
	case '[':
		return ++framer->depth > FRAMER_DEEPEST ? FRAMING_TOO_DEEP : FRAMING_MORE;
	case '}':
	case ']':
		if (framer->depth)
			framer->depth--;
		return framer->depth ? FRAMING_MORE : FRAMING_COMPLETE;
	case '\n':
		return framer->depth ? FRAMING_MORE : FRAMING_COMPLETE;
	default:
		return FRAMING_MORE;
	}
}

enum framing framer_take(struct framer *framer, const char *bytes, size_t size, size_t *taken)
{
	enum framing framing = FRAMING_MORE;
	size_t i;

	for (i = 0; i < size && framing == FRAMING_MORE; i++) {
		if (!framer->size && is_space(bytes[i]))
			continue;
		if (framer->size == FRAMER_LONGEST) {
			framing = FRAMING_TOO_LONG;
			break;
		}
		framer->text[framer->size++] = bytes[i];
		framing = framer->in_string ? take_in_string(framer, bytes[i])
					    : take_outside(framer, bytes[i]);
	}
	*taken = i;
	return framing;
}

enum framing framer_take_line(struct framer *framer, const char *bytes, size_t size, size_t *taken)
{
	for (size_t i = 0; i < size; i++) {
		*taken = i + 1;
		if (bytes[i] == '\n')
			return FRAMING_COMPLETE;
		if (framer->size == FRAMER_LONGEST)
			return FRAMING_TOO_LONG;
		if (bytes[i] != '\r')
			framer->text[framer->size++] = bytes[i];
	}
	*taken = size;
	return FRAMING_MORE;
}

void framer_reset(struct framer *framer)
{
	framer->size = 0;
	framer->depth = 0;
	framer->in_string = framer->escaped = false;
}
