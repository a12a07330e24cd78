#include "cli/options.h"

#include "base/log.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#define MAX_OPTIONS 48
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
	/* `i`: the row that ends the table. */
	for (error = 0; optind < argc && !error; optind++) {
		if (table[i].parse) {
			error = table[i].parse(settings, argv[optind]);
			continue;
		}
		log_error(
			"unexpected argument '%s'; try 'veneer %s --help'", argv[optind], argv[0]);
		error = -EINVAL;
	}
	return error;
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
