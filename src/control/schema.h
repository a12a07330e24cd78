/* What QMP's commands take and answer, and what its events carry, as text in tables: by it requests
 * are checked before a command sees them, and query-qmp-schema tells clients the same.
 *
 * The members of an object are words, each NAME:TYPE. *NAME:TYPE may be missing. A type is one that
 * the tables name, or str, int, number, bool, any; [TYPE] is a list of those. The word "..." says
 * that there may be other members, of any type. */
#ifndef VENEER_CONTROL_SCHEMA_H
#define VENEER_CONTROL_SCHEMA_H

#include <jansson.h>
#include <stdbool.h>

enum schema_kind {
	SCHEMA_OBJECT,    /* members as above */
	SCHEMA_ENUM,      /* words: its values */
	SCHEMA_ALTERNATE, /* words: types; a value is of that which has its kind of JSON */
};

struct schema_type {
	const char *name;
	enum schema_kind kind;
	const char *members;
	/* An object whose member `tag` says what other members it has. Words CASE=TYPE, TYPE being
	 * an object; a value with no such word adds none. NULL: it is none such. */
	const char *tag, *variants;
};
extern const struct schema_type schema_types[]; /* ended by one without a name */

struct schema_event {
	const char *name, *members;
};
extern const struct schema_event schema_events[]; /* likewise */

/* What a check has found wrong: the reply's description. */
struct schema_fault {
	char text[160];
};

/* Does the object (NULL: an empty one) have these members? */
bool schema_check(const char *members, const json_t *object, struct schema_fault *fault);
/* Is it an object of that type? */
bool schema_check_type(const char *type, const json_t *object, struct schema_fault *fault);

/* The description of all. Begin with an array, add each command, and end. New references;
 * NULL where there is no memory. */
void schema_add_command(
	json_t *list, const char *name, const char *members, const char *return_type);
void schema_add_types(json_t *list);
/* Words of a text, for other tables of that kind: copies the next one, of less than `size`
 * characters, to `word`, and returns what follows it; NULL: there is none. */
const char *schema_word(const char *text, char *word, size_t size);

#endif
