/* Words of the command line: sizes, numbers, and lists of words ("disk.img,readonly,size=4G").
 * Each parser returns 0, or -EINVAL with a message that names the option, what it was given and
 * what would be right. */
#ifndef VENEER_BASE_WORDS_H
#define VENEER_BASE_WORDS_H

#include <stdint.h>

/* A size in bytes: digits and K, M, G or T. Within [min, max], a multiple of `multiple`. */
int words_size(const char *option, const char *value, uint64_t min, uint64_t max, uint64_t multiple,
	uint64_t *out);
/* A number, decimal or with 0x, within [min, max]; `what` names it: "a number of processors". */
int words_number(const char *option, const char *value, const char *what, uint64_t min,
	uint64_t max, uint64_t *out);

/* A word that a list may have. */
struct words_row {
	/* As the message about wrong words shows it: "readonly", "serial=S"; "hostfwd=FORWARD..."
	 * may be given more than once. */
	const char *word;
	/* `option`: for messages: "--disk size=". `value`: what follows "=", which a row without
	 * one does not take (NULL). */
	int (*parse)(void *settings, const char *option, const char *value);
};

/* Take a list's first word, in place: up to a comma, where ",," is a comma of the word itself. The
 * word; NULL where the list is at its end. */
char *words_take(char **list);
/* Take all words of the list by the table (ended by a row without a word). */
int words_parse(const char *option, char **list, const struct words_row *table, void *settings);

#endif
