#include "base/words.h"

#include "base/bits.h"
#include "base/log.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Digits at the start of `text`: strtoull(3) alone would take " 5", "+5" and "-5", too. */
static bool parse_digits(const char *text, int base, uint64_t *value, const char **end)
{
	char *stop;

	if (base == 16 ? !strchr("0123456789abcdefABCDEF", *text) : *text < '0' || *text > '9')
		return false;
	if (!*text)
		return false;
	errno = 0;
	*value = strtoull(text, &stop, base);
	*end = stop;
	return errno == 0;
}

static const struct {
	char letter;
	unsigned shift;
} units[] = {{'K', 10}, {'M', 20}, {'G', 30}, {'T', 40}};

/* The shift of a unit's letter, which must be the rest of the text; 0 for no letter; -1. */
static int parse_unit(const char *text)
{
	unsigned i;

	if (!*text)
		return 0;
	for (i = 0; i < ARRAY_SIZE(units); i++)
		if ((*text & ~0x20) == units[i].letter && !text[1])
			return (int)units[i].shift;
	return -1;
}

/* The largest unit that leaves a whole number: "512M". */
static const char *format_size(uint64_t size, char *buffer, size_t length)
{
	int i;

	for (i = (int)ARRAY_SIZE(units) - 1; i >= 0; i--)
		if (size && size % BIT(units[i].shift) == 0)
			break;
	if (i < 0)
		snprintf(buffer, length, "%llu", (unsigned long long)size);
	else
		snprintf(buffer, length, "%llu%c", (unsigned long long)(size >> units[i].shift),
			units[i].letter);
	return buffer;
}

int words_size(const char *option, const char *value, uint64_t min, uint64_t max, uint64_t multiple,
	uint64_t *out)
{
	char low[32], high[32];
	const char *end = "";
	uint64_t number = 0;
	int shift = -1;

	if (parse_digits(value, 10, &number, &end))
		shift = parse_unit(end);
	if (shift < 0 || number > UINT64_MAX >> shift) {
		log_error("%s %s: expected a size such as 512M or 2G", option, value);
		return -EINVAL;
	}
	number <<= shift;
	if (number < min || number > max) {
		log_error("%s %s: expected a size from %s to %s%s", option, value,
			format_size(min, low, sizeof(low)), format_size(max, high, sizeof(high)),
			shift ? "" : "; a number without K, M or G is in bytes");
		return -EINVAL;
	}
	if (number % multiple) {
		log_error("%s %s: expected a multiple of %s", option, value,
			format_size(multiple, low, sizeof(low)));
		return -EINVAL;
	}
	*out = number;
	return 0;
}

int words_number(const char *option, const char *value, const char *what, uint64_t min,
	uint64_t max, uint64_t *out)
{
	bool hex = value[0] == '0' && (value[1] == 'x' || value[1] == 'X');
	const char *end = "";
	uint64_t number = 0;

	if (parse_digits(hex ? value + 2 : value, hex ? 16 : 10, &number, &end) && !*end &&
		number >= min && number <= max) {
		*out = number;
		return 0;
	}
	log_error(hex || max > 0xff ? "%s %s: expected %s from %#llx to %#llx"
				    : "%s %s: expected %s from %llu to %llu",
		option, value, what, (unsigned long long)min, (unsigned long long)max);
	return -EINVAL;
}

char *words_take(char **list)
{
	char *word = *list, *from = word, *to = word;

	if (!word)
		return NULL;
	for (; *from; *to++ = *from++) {
		if (*from == ',' && from[1] != ',')
			break;
		if (*from == ',')
			from++;
	}
	*list = *from ? from + 1 : NULL;
	*to = '\0';
	return word;
}

/* "readonly, serial=S, size=N" */
static void complain(const char *option, const char *word, const struct words_row *table)
{
	char list[512] = "";
	size_t length = 0;

	for (; table->word && length < sizeof(list); table++)
		length += (size_t)snprintf(list + length, sizeof(list) - length, "%s%s",
			length ? ", " : "", table->word);
	log_error("%s: unknown word '%s'; there are: %s", option, word, list);
}

static int parse_word(
	const char *option, const struct words_row *row, const char *word, void *settings)
{
	const char *equals = strchr(word, '='), *takes = strchr(row->word, '=');
	char name[64];

	if (!takes != !equals || (equals && !equals[1])) {
		log_error("%s: '%s': expected %s", option, word, row->word);
		return -EINVAL;
	}
	snprintf(name, sizeof(name), "%s %.*s", option,
		(int)(takes ? takes + 1 - row->word : (ptrdiff_t)strlen(row->word)), row->word);
	return row->parse(settings, name, equals ? equals + 1 : NULL);
}

static bool repeats(const struct words_row *row)
{
	size_t length = strlen(row->word);

	return length > 3 && strcmp(row->word + length - 3, "...") == 0;
}

int words_parse(const char *option, char **list, const struct words_row *table, void *settings)
{
	const struct words_row *row;
	uint64_t taken = 0;
	char *word;
	int error;

	while ((word = words_take(list))) {
		size_t length = strcspn(word, "=");

		for (row = table; row->word; row++)
			if (strcspn(row->word, "=") == length &&
				strncmp(row->word, word, length) == 0)
				break;
		if (!row->word) {
			complain(option, word, table);
			return -EINVAL;
		}
		if ((taken & BIT(row - table)) && !repeats(row)) {
			log_error("%s: '%s': given twice", option, word);
			return -EINVAL;
		}
		taken |= BIT(row - table);
		error = parse_word(option, row, word, settings);
		if (error)
			return error;
	}
	return 0;
}
