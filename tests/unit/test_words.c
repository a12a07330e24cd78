/* Sizes, numbers and lists of words: which are accepted, and which are refused. */
#include "base/words.h"

#include "base/bits.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void check_size(const char *text, uint64_t expected)
{
	uint64_t size = 0;

	assert_int_equal(words_size("--memory", text, 2 * MIB, 64 * GIB, 4 * KIB, &size), 0);
	assert_int_equal(size, expected);
}

static void test_sizes(void **state)
{
	check_size("512M", 512 * MIB);
	check_size("512m", 512 * MIB);
	check_size("2G", 2 * GIB);
	check_size("2048K", 2 * MIB);
	check_size("0004M", 4 * MIB);
	check_size("4194304", 4 * MIB);
	check_size("64G", 64 * GIB);
}

static void test_wrong_sizes(void **state)
{
	static const char *const wrong[] = {"", "M", "512", "0", "-1", "-512M", "+512M", " 512M",
		"512 M", "512MB", "512MiB", "1.5G", "0x20M", "512Q", "65G", "1M", "2049K",
		"4194305", "18446744073709551616", "18446744073709551615M", "17179869184G",
		"16777216T", "1e9", "512M ", "K512", "five"};
	uint64_t size = 77;
	unsigned i;

	for (i = 0; i < ARRAY_SIZE(wrong); i++)
		assert_int_not_equal(
			words_size("--memory", wrong[i], 2 * MIB, 64 * GIB, 4 * KIB, &size), 0);
	assert_int_equal(size, 77);
}

static void test_numbers(void **state)
{
	uint64_t number = 0;

	assert_int_equal(words_number("--cpus", "4", "a number", 1, 64, &number), 0);
	assert_int_equal(number, 4);
	assert_int_equal(words_number("--port", "0xF4", "a port", 1, 0xffff, &number), 0);
	assert_int_equal(number, 0xf4);
	assert_int_equal(words_number("--port", "244", "a port", 1, 0xffff, &number), 0);
	assert_int_equal(number, 244);
}

static void test_wrong_numbers(void **state)
{
	static const char *const wrong[] = {"", "0", "65", "-1", "4294967297", "1.0", "0x", "x4",
		"f4", " 1", "1 ", "four", "18446744073709551617", "0x10000000000000001"};
	uint64_t number = 77;
	unsigned i;

	for (i = 0; i < ARRAY_SIZE(wrong); i++)
		assert_int_not_equal(
			words_number("--cpus", wrong[i], "a number", 1, 64, &number), 0);
	assert_int_equal(number, 77);
}

static void words_are_taken_in_place(void **state)
{
	char text[] = "a,,b=c,,,readonly,,x,";
	char *list = text;

	assert_string_equal(words_take(&list), "a,b=c,");
	assert_string_equal(words_take(&list), "readonly,x");
	assert_string_equal(words_take(&list), "");
	assert_null(words_take(&list));
	assert_null(words_take(&list));
}

struct list {
	bool read_only;
	char serial[8];
	uint64_t size;
};

static int set_read_only(void *settings, const char *option, const char *value)
{
	assert_string_equal(option, "--disk readonly");
	assert_null(value);
	((struct list *)settings)->read_only = true;
	return 0;
}

static int set_serial(void *settings, const char *option, const char *value)
{
	strncpy(((struct list *)settings)->serial, value, 7);
	return 0;
}

static int set_size(void *settings, const char *option, const char *value)
{
	assert_string_equal(option, "--disk size=");
	return words_size(option, value, 512, GIB, 512, &((struct list *)settings)->size);
}

static const struct words_row table[] = {
	{"readonly", set_read_only},
	{"serial=S", set_serial},
	{"size=N", set_size},
	{0},
};

static int parse(const char *text, struct list *settings)
{
	char copy[128], *list = copy;

	strcpy(copy, text);
	memset(settings, 0, sizeof(*settings));
	return words_parse("--disk", &list, table, settings);
}

static void a_list_is_parsed_by_its_table(void **state)
{
	struct list list;

	assert_int_equal(parse("size=1M,serial=a=b,readonly", &list), 0);
	assert_true(list.read_only);
	assert_string_equal(list.serial, "a=b");
	assert_int_equal(list.size, MIB);
}

static void wrong_words_are_refused(void **state)
{
	static const char *const wrong[] = {"", "readonly,", "readonly=", "readonly=on", "serial",
		"serial=", "size=513", "size=2G", "siz=1M", "sizes=1M", "READONLY",
		"readonly,readonly", "size=1M,readonly,size=1M", "=", "=x"};
	struct list list;

	for (unsigned i = 0; i < ARRAY_SIZE(wrong); i++)
		assert_int_equal(parse(wrong[i], &list), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_wrong_sizes),
		cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_wrong_numbers),
		cmocka_unit_test(words_are_taken_in_place),
		cmocka_unit_test(a_list_is_parsed_by_its_table),
		cmocka_unit_test(wrong_words_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
