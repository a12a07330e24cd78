#include "control/schema.h"

#include "base/bits.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define WORD 96 /* more than the longest word has characters */

struct member {
	char name[WORD], type[WORD]; /* the type of a list's elements, where `list` */
	bool optional, list;
};

static bool is_string(const json_t *value)
{
	return json_is_string(value);
}

static bool is_integer(const json_t *value)
{
	return json_is_integer(value);
}

static bool is_number(const json_t *value)
{
	return json_is_number(value);
}

static bool is_boolean(const json_t *value)
{
	return json_is_boolean(value);
}

static bool is_null(const json_t *value)
{
	return json_is_null(value);
}

static bool is_anything(const json_t *value)
{
	return true;
}

static const struct builtin {
	const char *name, *json;
	bool (*is)(const json_t *value);
	const char *expected;
} builtins[] = {
	{"str", "string", is_string, "string"},
	{"int", "int", is_integer, "integer"},
	{"number", "number", is_number, "number"},
	{"bool", "boolean", is_boolean, "boolean"},
	{"null", "null", is_null, "null"},
	{"any", "value", is_anything, "value"},
};

const char *schema_word(const char *text, char *word, size_t size)
{
	size_t length;

	text += strspn(text, " ");
	length = strcspn(text, " ");
	if (!length)
		return NULL;
	snprintf(word, size, "%.*s", (int)length, text);
	return text + length;
}

static void parse_type(const char *text, struct member *member)
{
	size_t length = strlen(text);

	member->list = text[0] == '[';
	snprintf(member->type, sizeof(member->type), "%.*s",
		(int)(member->list ? length - 2 : length), text + member->list);
}

static const char *next_member(const char *text, struct member *member)
{
	char word[WORD], *colon;

	while ((text = schema_word(text, word, sizeof(word)))) {
		colon = strchr(word, ':');
		if (!colon) /* "..." */
			continue;
		*colon = '\0';
		member->optional = word[0] == '*';
		strcpy(member->name, word + member->optional);
		parse_type(colon + 1, member);
		return text;
	}
	return NULL;
}

static const struct schema_type *find_type(const char *name)
{
	for (const struct schema_type *type = schema_types; type->name; type++)
		if (strcmp(type->name, name) == 0)
			return type;
	return NULL;
}

static const struct builtin *find_builtin(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(builtins); i++)
		if (strcmp(builtins[i].name, name) == 0)
			return &builtins[i];
	return NULL;
}

/* --- checking --- */

__attribute__((format(printf, 2, 3))) static bool refuse(
	struct schema_fault *fault, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(fault->text, sizeof(fault->text), format, arguments);
	va_end(arguments);
	return false;
}

static bool check_type(
	const char *type, const json_t *value, const char *name, struct schema_fault *fault);

static bool check_enum(const struct schema_type *type, const json_t *value, const char *name,
	struct schema_fault *fault)
{
	const char *text = type->members;
	char word[WORD];

	if (!json_is_string(value))
		return refuse(fault, "Invalid parameter type for '%.60s', expected: string", name);
	while ((text = schema_word(text, word, sizeof(word))))
		if (strcmp(word, json_string_value(value)) == 0)
			return true;
	return refuse(fault, "Parameter '%.40s' does not accept value '%.40s'", name,
		json_string_value(value));
}

static bool check_alternate(const struct schema_type *type, const json_t *value, const char *name,
	struct schema_fault *fault)
{
	const char *text = type->members;
	char word[WORD];

	while ((text = schema_word(text, word, sizeof(word)))) {
		const struct builtin *builtin = find_builtin(word);

		if (builtin ? builtin->is(value) : json_is_object(value))
			return check_type(word, value, name, fault);
	}
	return refuse(fault, "Invalid parameter type for '%.60s'", name);
}

/* The object type that the tag's value adds; NULL: none. */
static const struct schema_type *variant_of(const struct schema_type *type, const json_t *object)
{
	const char *text = type->variants, *tag;
	char word[WORD], *equals;

	if (!type->tag)
		return NULL;
	tag = json_string_value(json_object_get(object, type->tag));
	while (tag && (text = schema_word(text, word, sizeof(word)))) {
		equals = strchr(word, '=');
		*equals = '\0';
		if (strcmp(word, tag) == 0)
			return find_type(equals + 1);
	}
	return NULL;
}

static bool has_member(const char *members, const char *name)
{
	struct member member;

	while ((members = next_member(members, &member)))
		if (strcmp(member.name, name) == 0)
			return true;
	return false;
}

static bool is_open(const char *members)
{
	return strstr(members, "...");
}

static bool check_members(const char *members, const json_t *object, struct schema_fault *fault)
{
	struct member member;

	while ((members = next_member(members, &member))) {
		const json_t *value = json_object_get(object, member.name), *element;
		size_t i;

		if (!value && member.optional)
			continue;
		if (!value)
			return refuse(fault, "Parameter '%s' is missing", member.name);
		if (!member.list) {
			if (!check_type(member.type, value, member.name, fault))
				return false;
			continue;
		}
		if (!json_is_array(value))
			return refuse(fault, "Invalid parameter type for '%s', expected: array",
				member.name);
		json_array_foreach(value, i, element)
		{
			if (!check_type(member.type, element, member.name, fault))
				return false;
		}
	}
	return true;
}

/* `more`: what else it may have; NULL: nothing. */
static bool check_object(const char *members, const struct schema_type *more, const json_t *object,
	struct schema_fault *fault)
{
	const char *name;
	json_t *value;

	json_object_foreach((json_t *)object, name, value)
	{
		if (!is_open(members) && !has_member(members, name) &&
			!(more && (is_open(more->members) || has_member(more->members, name))))
			return refuse(fault, "Parameter '%.60s' is unexpected", name);
	}
	return check_members(members, object, fault) &&
	       (!more || check_members(more->members, object, fault));
}

static bool check_type(
	const char *type, const json_t *value, const char *name, struct schema_fault *fault)
{
	const struct builtin *builtin = find_builtin(type);
	const struct schema_type *found;

	if (builtin)
		return builtin->is(value) ||
		       refuse(fault, "Invalid parameter type for '%.60s', expected: %s", name,
			       builtin->expected);
	found = find_type(type);
	if (found->kind == SCHEMA_ENUM)
		return check_enum(found, value, name, fault);
	if (found->kind == SCHEMA_ALTERNATE)
		return check_alternate(found, value, name, fault);
	if (!json_is_object(value))
		return refuse(fault, "Invalid parameter type for '%.60s', expected: object", name);
	return check_object(found->members, variant_of(found, value), value, fault);
}

bool schema_check(const char *members, const json_t *object, struct schema_fault *fault)
{
	return check_object(members, NULL, object, fault);
}

bool schema_check_type(const char *type, const json_t *object, struct schema_fault *fault)
{
	return check_type(type, object, "arguments", fault);
}

/* --- describing --- */

static json_t *describe_members(const char *text)
{
	json_t *list = json_array();
	struct member member;
	char type[WORD + 2];

	while ((text = next_member(text, &member))) {
		snprintf(type, sizeof(type), member.list ? "[%s]" : "%s", member.type);
		json_array_append_new(
			list, json_pack("{s:s, s:s}", "name", member.name, "type", type));
		if (member.optional)
			json_object_set_new(json_array_get(list, json_array_size(list) - 1),
				"default", json_null());
	}
	return list;
}

static void add_object(json_t *list, const char *name, const char *members)
{
	json_array_append_new(list, json_pack("{s:s, s:s, s:o}", "name", name, "meta-type",
					    "object", "members", describe_members(members)));
}

/* An object for what a command takes or an event carries. */
static void add_arguments(json_t *list, const char *of, const char *members, char name[WORD])
{
	snprintf(name, WORD, "q_obj_%s-arg", of);
	add_object(list, name, members);
}

void schema_add_command(
	json_t *list, const char *name, const char *members, const char *return_type)
{
	char arguments[WORD] = "q_empty";

	if (*members)
		add_arguments(list, name, members, arguments);
	json_array_append_new(
		list, json_pack("{s:s, s:s, s:s, s:s, s:b}", "name", name, "meta-type", "command",
			      "arg-type", arguments, "ret-type",
			      *return_type ? return_type : "q_empty", "allow-oob", 0));
}

static void add_event(json_t *list, const struct schema_event *event)
{
	char arguments[WORD] = "q_empty";

	if (*event->members)
		add_arguments(list, event->name, event->members, arguments);
	json_array_append_new(list, json_pack("{s:s, s:s, s:s}", "name", event->name, "meta-type",
					    "event", "arg-type", arguments));
}

static void add_variants(json_t *object, const struct schema_type *type)
{
	json_t *variants = json_array();
	const char *text = type->variants;
	char word[WORD], *equals;

	while ((text = schema_word(text, word, sizeof(word)))) {
		equals = strchr(word, '=');
		*equals = '\0';
		json_array_append_new(
			variants, json_pack("{s:s, s:s}", "case", word, "type", equals + 1));
	}
	json_object_set_new(object, "tag", json_string(type->tag));
	json_object_set_new(object, "variants", variants);
}

static void add_enum(json_t *list, const struct schema_type *type)
{
	json_t *members = json_array(), *values = json_array();
	const char *text = type->members;
	char word[WORD];

	while ((text = schema_word(text, word, sizeof(word)))) {
		json_array_append_new(members, json_pack("{s:s}", "name", word));
		json_array_append_new(values, json_string(word));
	}
	json_array_append_new(
		list, json_pack("{s:s, s:s, s:o, s:o}", "name", type->name, "meta-type", "enum",
			      "members", members, "values", values));
}

static void add_alternate(json_t *list, const struct schema_type *type)
{
	json_t *members = json_array();
	const char *text = type->members;
	char word[WORD];

	while ((text = schema_word(text, word, sizeof(word))))
		json_array_append_new(members, json_pack("{s:s}", "type", word));
	json_array_append_new(list, json_pack("{s:s, s:s, s:o}", "name", type->name, "meta-type",
					    "alternate", "members", members));
}

static void add_type(json_t *list, const struct schema_type *type)
{
	switch (type->kind) {
	case SCHEMA_OBJECT:
		add_object(list, type->name, type->members);
		if (type->tag)
			add_variants(json_array_get(list, json_array_size(list) - 1), type);
		break;
	case SCHEMA_ENUM:
		add_enum(list, type);
		break;
	case SCHEMA_ALTERNATE:
		add_alternate(list, type);
		break;
	}
}

/* Each list type that some member or command mentions, once. */
static void add_arrays(json_t *list)
{
	json_t *known = json_object(), *entity, *member;
	size_t count = json_array_size(list), j;

	for (size_t i = 0; i < count; i++) {
		json_t *members;

		entity = json_array_get(list, i);
		members = json_object_get(entity, "members");
		json_object_set_new(known,
			json_is_string(json_object_get(entity, "ret-type"))
				? json_string_value(json_object_get(entity, "ret-type"))
				: "",
			json_true());
		json_array_foreach(members, j, member)
		{
			const char *type = json_string_value(json_object_get(member, "type"));

			json_object_set_new(known, type ? type : "", json_true());
		}
	}
	for (void *at = json_object_iter(known); at; at = json_object_iter_next(known, at)) {
		const char *name = json_object_iter_key(at);
		char element[WORD];

		if (name[0] != '[')
			continue;
		snprintf(element, sizeof(element), "%.*s", (int)strlen(name) - 2, name + 1);
		json_array_append_new(list, json_pack("{s:s, s:s, s:s}", "name", name, "meta-type",
						    "array", "element-type", element));
	}
	json_decref(known);
}

void schema_add_types(json_t *list)
{
	for (const struct schema_event *event = schema_events; event->name; event++)
		add_event(list, event);
	for (const struct schema_type *type = schema_types; type->name; type++)
		add_type(list, type);
	add_object(list, "q_empty", "");
	for (size_t i = 0; i < ARRAY_SIZE(builtins); i++)
		json_array_append_new(
			list, json_pack("{s:s, s:s, s:s}", "name", builtins[i].name, "meta-type",
				      "builtin", "json-type", builtins[i].json));
	add_arrays(list);
}
