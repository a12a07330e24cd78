/* QMP's schema: what a check lets through and what it refuses, and that each type that the tables
 * mention is one. */
#include "control/qmp_internal.h"
#include "control/schema.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

static bool fits(const char *members, const char *text)
{
	json_t *object = json_loads(text, 0, NULL);
	struct schema_fault fault;
	bool result;

	assert_non_null(object);
	result = schema_check(members, object, &fault);
	json_decref(object);
	return result;
}

static void members_are_checked(void **state)
{
	assert_true(fits("", "{}"));
	assert_false(fits("", "{\"a\": 1}"));
	assert_true(fits("a:int *b:str", "{\"a\": 1}"));
	assert_true(fits("a:int *b:str", "{\"a\": 1, \"b\": \"\"}"));
	assert_false(fits("a:int *b:str", "{\"b\": \"\"}"));
	assert_false(fits("a:int", "{\"a\": 1.5}"));
	assert_false(fits("a:int *b:str", "{\"a\": 1, \"b\": 1}"));
	assert_true(fits("a:number", "{\"a\": 1.5}"));
	assert_true(fits("a:bool b:any", "{\"a\": false, \"b\": [{}]}"));
	assert_false(fits("a:bool", "{\"a\": 0}"));
	assert_true(fits("a:int ...", "{\"a\": 1, \"b\": 1}"));
}

static void lists_and_types_are_checked(void **state)
{
	assert_true(fits("a:[int]", "{\"a\": []}"));
	assert_true(fits("a:[int]", "{\"a\": [1, 2]}"));
	assert_false(fits("a:[int]", "{\"a\": [1, \"\"]}"));
	assert_false(fits("a:[int]", "{\"a\": 1}"));
	assert_true(fits("a:RunState", "{\"a\": \"paused\"}"));
	assert_false(fits("a:RunState", "{\"a\": \"fly\"}"));
	assert_false(fits("a:RunState", "{\"a\": 1}"));
	assert_true(fits("a:NameInfo", "{\"a\": {\"name\": \"x\"}}"));
	assert_false(fits("a:NameInfo", "{\"a\": {\"names\": \"x\"}}"));
	assert_false(fits("a:NameInfo", "{\"a\": []}"));
}

static void a_tag_says_what_else_there_may_be(void **state)
{
	assert_true(fits("a:ObjectOptions", "{\"a\": {\"qom-type\": \"secret\", \"id\": \"s\", "
					    "\"data\": \"x\"}}"));
	assert_false(fits("a:ObjectOptions", "{\"a\": {\"qom-type\": \"iothread\", \"id\": \"s\", "
					     "\"data\": \"x\"}}"));
	assert_false(fits("a:ObjectOptions", "{\"a\": {\"qom-type\": \"memory-backend-ram\", "
					     "\"id\": \"s\"}}"));
	assert_false(fits("a:ObjectOptions", "{\"a\": {\"qom-type\": 1, \"id\": \"s\"}}"));
}

static bool is_described(const json_t *schema, const char *name)
{
	json_t *entity;
	size_t i;

	json_array_foreach(schema, i, entity)
	{
		if (strcmp(json_string_value(json_object_get(entity, "name")), name) == 0)
			return true;
	}
	return false;
}

static void require_described(const json_t *schema, const json_t *name)
{
	if (!is_described(schema, json_string_value(name)))
		fail_msg("type %s is mentioned, and described nowhere", json_string_value(name));
}

static void all_types_are_described(void **state)
{
	static const char *const references[] = {"arg-type", "ret-type", "element-type"};
	json_t *schema = json_array(), *entity, *part;
	size_t i, j;

	for (const struct qmp_command *command = qmp_commands; command->name; command++)
		schema_add_command(schema, command->name, command->arguments, command->return_type);
	schema_add_types(schema);
	json_array_foreach(schema, i, entity)
	{
		for (j = 0; j < ARRAY_SIZE(references); j++)
			if (json_object_get(entity, references[j]))
				require_described(schema, json_object_get(entity, references[j]));
		json_array_foreach(json_object_get(entity, "members"), j, part)
		{
			if (json_object_get(part, "type"))
				require_described(schema, json_object_get(part, "type"));
		}
		json_array_foreach(json_object_get(entity, "variants"), j, part)
		{
			require_described(schema, json_object_get(part, "type"));
		}
	}
	json_decref(schema);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(members_are_checked),
		cmocka_unit_test(lists_and_types_are_checked),
		cmocka_unit_test(a_tag_says_what_else_there_may_be),
		cmocka_unit_test(all_types_are_described),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
