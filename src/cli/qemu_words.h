/* The arguments of QEMU's options: words "KEY=VALUE" separated by commas, where ",," is a comma of
 * a value, or a JSON object that says the same. What a word means is a row of a table: most become
 * a word of an option of 'veneer run', which has the parser. */
#ifndef VENEER_CLI_QEMU_WORDS_H
#define VENEER_CLI_QEMU_WORDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define QEMU_MAX_WORDS 64

struct qemu_words {
	const char *option; /* as messages name it: "-drive" */
	struct {
		/* Hyphens for underscores; "wait" alone is wait=on, and "nowait" wait=off. */
		char *key, *value;
		bool bare; /* it was without a value */
	} word[QEMU_MAX_WORDS];
	unsigned count;
};

/* Parse `text`. `implied`: the key of a first word that is without one; NULL: it is as the others.
 * A JSON object's members have their names, joined by dots where it has objects or arrays in it
 * ("file.filename", "hostfwd.0.str"); "backing":null is an empty value. 0, or
 * -EINVAL or -ENOMEM with a message, and nothing is left to free. */
int qemu_words_parse(
	struct qemu_words *words, const char *option, const char *text, const char *implied);
void qemu_words_free(struct qemu_words *words);
/* The value of the last word with this key; NULL: there is none. It lives as long as `words`. */
const char *qemu_words_get(const struct qemu_words *words, const char *key);
/* Remove all words with this key. False: there were none. */
bool qemu_words_drop(struct qemu_words *words, const char *key);

enum qemu_key_kind {
	QEMU_END,     /* of the table */
	QEMU_OWN,     /* the caller looks it up */
	QEMU_COPY,    /* becomes ",WORD=VALUE" */
	QEMU_FLAG,    /* "on" becomes ",WORD", "off" nothing */
	QEMU_CHOICE,  /* becomes what the row has for its value */
	QEMU_IGNORED, /* changes nothing here */
};

struct qemu_key {
	const char *key; /* one that ends with "*" stands for all that begin so */
	enum qemu_key_kind kind;
	/* QEMU_CHOICE: "writeback|none:cache=none": the values, and after a colon the word that
	 * each becomes. */
	const char *word;
};

/* Add what the words become to `out`, a list of words for another parser. A word without a row in
 * either table (`more` may be NULL) is an error. `out` may be NULL where no row becomes a word. 0,
 * or -EINVAL with a message. */
int qemu_words_translate(const struct qemu_words *words, const struct qemu_key *table,
	const struct qemu_key *more, FILE *out);

/* Write a value so that a comma in it is one of the value. */
void qemu_words_put(FILE *out, const char *value);

/* "on", "yes", "true", "y"; or their opposites. 0, or -EINVAL with a message. */
int qemu_words_bool(const char *option, const char *key, const char *value, bool *on);

#endif
