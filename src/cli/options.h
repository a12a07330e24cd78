/* The options of a subcommand. What their arguments say is for base/words.h. */
#ifndef VENEER_CLI_OPTIONS_H
#define VENEER_CLI_OPTIONS_H

#include <stdint.h>
#include <stdio.h>

/* One option of a subcommand: what getopt_long(3) and --help know of it. */
struct option_row {
	const char *name;     /* without the dashes */
	const char *argument; /* what --help calls its argument; NULL: it takes none */
	const char *help;     /* lines after the first are indented by options_print() */
	int (*parse)(void *settings, const char *value); /* value: NULL without an argument */
};

/* Parse all of argv by the table; -h is --help. The table is ended by a row without a name. Where
 * that row has a parse(), it gets each word that is not an option; else there may be none. 0, or
 * -EINVAL with a message. */
int options_parse(int argc, char **argv, const struct option_row *table, void *settings);
/* The table as the part of a --help text that lists the options. */
void options_print(FILE *file, const struct option_row *table);

#endif
