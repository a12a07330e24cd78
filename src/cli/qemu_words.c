#include "cli/qemu_words.h"

#include "base/bits.h"
#include "base/log.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define MAX_DEPTH 8
#define MAX_KEY   128

static int no_memory(const char *option)
{
	log_error("%s: out of memory", option);
	return -ENOMEM;
}

/* QEMU takes an underscore for a hyphen in most names. */
static void use_hyphens(char *key)
{
	for (; *key; key++)
		if (*key == '_')
			*key = '-';
}

/* Takes both strings. */
static int add_word(struct qemu_words *words, char *key, char *value, bool bare)
{
	int error = 0;

	if (!key || !value) {
		error = no_memory(words->option);
	} else if (words->count == QEMU_MAX_WORDS) {
		log_error("%s: expected at most %d words", words->option, QEMU_MAX_WORDS);
		error = -EINVAL;
	}
	if (error) {
		free(key);
		free(value);
		return error;
	}
	use_hyphens(key);
	words->word[words->count].key = key;
	words->word[words->count].value = value;
	words->word[words->count++].bare = bare;
	return 0;
}

/* --- KEY=VALUE,... --- */

/* Up to a comma that is not doubled; `*text` is then behind it, or NULL at the end. */
static char *take_value(const char **text)
{
	const char *from = *text;
	char *value = malloc(strlen(from) + 1), *to = value;

	if (!value)
		return NULL;
	for (; *from; *to++ = *from++) {
		if (*from == ',' && from[1] != ',')
			break;
		if (*from == ',')
			from++;
	}
	*to = '\0';
	*text = *from ? from + 1 : NULL;
	return value;
}

/* "wait" is wait=on; what is not known by its full name and begins with "no", as in "nowait", is
 * told apart by qemu_words_translate()'s table, which knows the names. */
static int take_word(struct qemu_words *words, const char **text, const char *implied)
{
	size_t length = strcspn(*text, "=,");
	char *key, *value;

	if ((*text)[length] == '=') {
		key = strndup(*text, length);
		*text += length + 1;
		return add_word(words, key, take_value(text), false);
	}
	value = take_value(text);
	if (implied)
		return add_word(words, strdup(implied), value, false);
	return add_word(words, value, strdup("on"), true);
}

static int parse_list(struct qemu_words *words, const char *text, const char *implied)
{
	int error = 0;

	while (!error && text) {
		if (!*text)
			break;
		error = take_word(words, &text, implied);
		implied = NULL;
	}
	return error;
}

/* --- JSON --- */

static char *scalar_text(const json_t *value)
{
	char *text = NULL;

	switch (json_typeof(value)) {
	case JSON_STRING:
		return strlen(json_string_value(value)) == json_string_length(value)
			       ? strdup(json_string_value(value))
			       : NULL;
	case JSON_INTEGER:
		return asprintf(&text, "%lld", (long long)json_integer_value(value)) < 0 ? NULL
											 : text;
	case JSON_TRUE:
		return strdup("on");
	case JSON_FALSE:
		return strdup("off");
	default:
		return NULL;
	}
}

static int flatten(
	struct qemu_words *words, const char *prefix, const json_t *value, unsigned depth)
{
	const char *name;
	char key[MAX_KEY];
	json_t *member;
	size_t index;
	char *text;
	int error = 0;

	if (depth == MAX_DEPTH) {
		log_error("%s: objects of JSON in one another more than %d deep", words->option,
			MAX_DEPTH);
		return -EINVAL;
	}
	if (json_is_object(value)) {
		json_object_foreach((json_t *)value, name, member)
		{
			snprintf(key, sizeof(key), "%s%s%s", prefix, *prefix ? "." : "", name);
			error = error ? error : flatten(words, key, member, depth + 1);
		}
		return error;
	}
	if (json_is_array(value)) {
		json_array_foreach(value, index, member)
		{
			snprintf(key, sizeof(key), "%s.%zu", prefix, index);
			error = error ? error : flatten(words, key, member, depth + 1);
		}
		return error;
	}
	/* It is said where the absence of a node is meant. */
	text = json_is_null(value) && strcmp(prefix, "backing") == 0 ? strdup("")
								     : scalar_text(value);
	if (text)
		return add_word(words, strdup(prefix), text, false);
	log_error("%s %s: expected a string, a whole number, true or false", words->option, prefix);
	return -EINVAL;
}

static int parse_json(struct qemu_words *words, const char *text)
{
	json_error_t wrong;
	json_t *root = json_loads(text, JSON_REJECT_DUPLICATES, &wrong);
	int error;

	if (!root) {
		log_error("%s: not JSON at character %d: %s", words->option, wrong.position,
			wrong.text);
		return -EINVAL;
	}
	error = flatten(words, "", root, 0);
	json_decref(root);
	return error;
}

int qemu_words_parse(
	struct qemu_words *words, const char *option, const char *text, const char *implied)
{
	int error;

	*words = (struct qemu_words){.option = option};
	error = *text == '{' ? parse_json(words, text) : parse_list(words, text, implied);
	if (error)
		qemu_words_free(words);
	return error;
}

void qemu_words_free(struct qemu_words *words)
{
	for (unsigned i = 0; i < words->count; i++) {
		free(words->word[i].key);
		free(words->word[i].value);
	}
	words->count = 0;
}

const char *qemu_words_get(const struct qemu_words *words, const char *key)
{
	for (unsigned i = words->count; i-- > 0;) {
		const char *has = words->word[i].key;

		if (strcmp(has, key) == 0)
			return words->word[i].value;
		if (words->word[i].bare && strncmp(has, "no", 2) == 0 && strcmp(has + 2, key) == 0)
			return "off";
	}
	return NULL;
}

bool qemu_words_drop(struct qemu_words *words, const char *key)
{
	unsigned kept = 0, before = words->count;

	for (unsigned i = 0; i < before; i++) {
		if (strcmp(words->word[i].key, key) != 0) {
			words->word[kept++] = words->word[i];
			continue;
		}
		free(words->word[i].key);
		free(words->word[i].value);
	}
	words->count = kept;
	return kept < before;
}

/* --- what they become --- */

static bool same_key(const char *row, const char *key)
{
	for (; *row && *row != '*'; row++, key++)
		if (*row != *key)
			return false;
	return *row == '*' || !*key;
}

static const struct qemu_key *find_key(const struct qemu_key *table, const char *key)
{
	for (; table && table->kind != QEMU_END; table++)
		if (same_key(table->key, key))
			return table;
	return NULL;
}

void qemu_words_put(FILE *out, const char *value)
{
	for (; *value; value++) {
		if (*value == ',')
			fputc(',', out);
		fputc(*value, out);
	}
}

int qemu_words_bool(const char *option, const char *key, const char *value, bool *on)
{
	static const char *const names[][2] = {
		{"off", "on"}, {"no", "yes"}, {"false", "true"}, {"n", "y"}};

	for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
		*on = strcmp(value, names[i][1]) == 0;
		if (*on || strcmp(value, names[i][0]) == 0)
			return 0;
	}
	log_error("%s %s=%s: expected on or off", option, key, value);
	return -EINVAL;
}

/* In "on:readonly|off" the part of this value: up to "|"; NULL: it is not there. */
static const char *find_choice(const char *choices, const char *value, size_t *length)
{
	size_t wanted = strlen(value);

	for (;;) {
		*length = strcspn(choices, "|");
		if (strncmp(choices, value, wanted) == 0 &&
			(wanted == *length || choices[wanted] == ':'))
			return choices;
		if (!choices[*length])
			return NULL;
		choices += *length + 1;
	}
}

static int translate_choice(const struct qemu_words *words, const struct qemu_key *row,
	const char *key, const char *value, FILE *out)
{
	size_t length, skip = strlen(value) + 1;
	const char *choice = find_choice(row->word, value, &length);

	if (!choice) {
		char list[256] = "";
		size_t used = 0;

		/* The values alone: each up to its colon. */
		for (const char *at = row->word; *at && used < sizeof(list) - 1;) {
			size_t name = strcspn(at, ":|");

			used += (size_t)snprintf(list + used, sizeof(list) - used, "%s%.*s",
				used ? ", " : "", (int)name, at);
			at += strcspn(at, "|");
			at += *at == '|';
		}
		log_error("%s %s=%s: expected one of: %s", words->option, key, value, list);
		return -EINVAL;
	}
	if (length > skip)
		fprintf(out, ",%.*s", (int)(length - skip), choice + skip);
	return 0;
}

static int translate_word(const struct qemu_words *words, const struct qemu_key *row,
	const char *key, const char *value, FILE *out)
{
	bool on;

	switch (row->kind) {
	case QEMU_COPY:
		fprintf(out, ",%s=", row->word);
		qemu_words_put(out, value);
		return 0;
	case QEMU_FLAG:
		if (qemu_words_bool(words->option, key, value, &on) < 0)
			return -EINVAL;
		if (on)
			fprintf(out, ",%s", row->word);
		return 0;
	case QEMU_CHOICE:
		return translate_choice(words, row, key, value, out);
	case QEMU_END:
	case QEMU_OWN:
	case QEMU_IGNORED:
		break;
	}
	return 0;
}

static void list_keys(const struct qemu_key *table, char *list, size_t size)
{
	size_t used = strlen(list);

	for (; table && table->kind != QEMU_END && used < size; table++)
		used += (size_t)snprintf(
			list + used, size - used, "%s%s", used ? ", " : "", table->key);
}

static int unknown_word(const struct qemu_words *words, const char *key,
	const struct qemu_key *table, const struct qemu_key *more)
{
	char list[700] = "";

	list_keys(table, list, sizeof(list));
	list_keys(more, list, sizeof(list));
	log_error("%s: there is no '%s' here; there are: %s", words->option, key, list);
	return -EINVAL;
}

int qemu_words_translate(const struct qemu_words *words, const struct qemu_key *table,
	const struct qemu_key *more, FILE *out)
{
	for (unsigned i = 0; i < words->count; i++) {
		const char *key = words->word[i].key, *value = words->word[i].value;
		const struct qemu_key *row = find_key(table, key);

		if (!row)
			row = find_key(more, key);
		if (!row && words->word[i].bare && strncmp(key, "no", 2) == 0) {
			row = find_key(table, key + 2);
			value = "off";
		}
		if (!row)
			return unknown_word(words, key, table, more);
		if (translate_word(words, row, key, value, out) < 0)
			return -EINVAL;
	}
	return 0;
}
