#include "cli/options.h"

#include "base/bits.h"
#include "base/log.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#define MAX_OPTIONS 32
#define HELP_COLUMN 26

static const struct option_row *find_row(const struct option_row *table, const char *name)
{
	while (table->name && strcmp(table->name, name) != 0)
		table++;
	return table;
}

/* getopt_long() has found something wrong with the word before argv[optind]: `letter` tells what.
 */
static void complain(char **argv, int letter)
{
	const char *word = argv[optind - 1];

	if (letter == ':')
		log_error("%s needs an argument", word);
	else if (optopt > 1)
		log_error("unknown option -%c; try 'veneer %s --help'", optopt, argv[0]);
	else if (optopt == 1)
		log_error("%s takes no argument", word);
	else
		log_error("unknown or ambiguous option %s; try 'veneer %s --help'", word, argv[0]);
}

int options_parse(int argc, char **argv, const struct option_row *table, void *settings)
{
	/* With `val` 1, getopt_long() returns 1 for every long option, and sets `index`. */
	struct option options[MAX_OPTIONS + 1] = {0};
	const struct option_row *row;
	int letter, index, error, i;

	for (i = 0; table[i].name && i < MAX_OPTIONS; i++)
		options[i] = (struct option){table[i].name,
			table[i].argument ? required_argument : no_argument, NULL, 1};
	opterr = 0;
	optind = 0; /* glibc: start anew */
	while ((letter = getopt_long(argc, argv, ":h", options, &index)) != -1) {
		if (letter == '?' || letter == ':') {
			complain(argv, letter);
			return -EINVAL;
		}
		row = letter == 'h' ? find_row(table, "help") : &table[index];
		error = row->parse(settings, optarg);
		if (error)
			return error;
	}
	if (optind < argc) {
		log_error(
			"unexpected argument '%s'; try 'veneer %s --help'", argv[optind], argv[0]);
		return -EINVAL;
	}
	return 0;
}

static void print_help_text(FILE *file, const char *text)
{
	for (; *text; text++) {
		fputc(*text, file);
		if (*text == '\n')
			fprintf(file, "%*s", HELP_COLUMN, "");
	}
	fputc('\n', file);
}

void options_print(FILE *file, const struct option_row *table)
{
	int width;

	for (; table->name; table++) {
		width = fprintf(file, "  --%s%s%s", table->name, table->argument ? " " : "",
			table->argument ? table->argument : "");
		if (width >= HELP_COLUMN) {
			fputc('\n', file);
			width = 0;
		}
		fprintf(file, "%*s", HELP_COLUMN - width, "");
		print_help_text(file, table->help);
	}
}

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

int options_size(const char *option, const char *value, uint64_t min, uint64_t max, uint64_t *out)
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
	if (number % (4 * KIB)) {
		log_error("%s %s: expected a multiple of 4K", option, value);
		return -EINVAL;
	}
	*out = number;
	return 0;
}

int options_number(const char *option, const char *value, const char *what, uint64_t min,
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
