/* The words of the command line: which are accepted, and which are refused. */
#include "base/bits.h"
#include "base/log.h"
#include "cli/options.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void check_size(const char *text, uint64_t expected)
{
	uint64_t size = 0;

	assert_int_equal(options_size("--memory", text, 2 * MIB, 64 * GIB, &size), 0);
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
			options_size("--memory", wrong[i], 2 * MIB, 64 * GIB, &size), 0);
	assert_int_equal(size, 77);
}

static void test_numbers(void **state)
{
	uint64_t number = 0;

	assert_int_equal(options_number("--cpus", "4", "a number", 1, 64, &number), 0);
	assert_int_equal(number, 4);
	assert_int_equal(options_number("--port", "0xF4", "a port", 1, 0xffff, &number), 0);
	assert_int_equal(number, 0xf4);
	assert_int_equal(options_number("--port", "244", "a port", 1, 0xffff, &number), 0);
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
			options_number("--cpus", wrong[i], "a number", 1, 64, &number), 0);
	assert_int_equal(number, 77);
}

struct settings {
	const char *file;
	bool flag, help;
};

static int set_file(void *opaque, const char *value)
{
	((struct settings *)opaque)->file = value;
	return 0;
}

static int set_flag(void *opaque, const char *value)
{
	assert_null(value);
	((struct settings *)opaque)->flag = true;
	return 0;
}

static int set_help(void *opaque, const char *value)
{
	((struct settings *)opaque)->help = true;
	return 0;
}

static const struct option_row table[] = {
	{"file", "FILE", "a file", set_file},
	{"flag", NULL, "a flag", set_flag},
	{"help", NULL, "help", set_help},
	{0},
};

/* Up to five words after the subcommand's name. */
static int parse(struct settings *settings, const char *a, const char *b, const char *c)
{
	char *argv[] = {"run", (char *)a, (char *)b, (char *)c, NULL};
	int argc = 1 + !!a + !!b + !!c;

	memset(settings, 0, sizeof(*settings));
	return options_parse(argc, argv, table, settings);
}

static void test_table(void **state)
{
	struct settings s;

	assert_int_equal(parse(&s, "--file", "x", "--flag"), 0);
	assert_string_equal(s.file, "x");
	assert_true(s.flag);
	assert_int_equal(parse(&s, "--file=a=b", "-h", NULL), 0);
	assert_string_equal(s.file, "a=b");
	assert_true(s.help && !s.flag);
	assert_int_equal(parse(&s, "--file", "--flag", NULL), 0);
	assert_string_equal(s.file, "--flag");
	assert_int_equal(parse(&s, NULL, NULL, NULL), 0);
}

static void test_wrong_words(void **state)
{
	struct settings s;

	assert_int_not_equal(parse(&s, "--file", NULL, NULL), 0);
	assert_int_not_equal(parse(&s, "--flag=yes", NULL, NULL), 0);
	assert_int_not_equal(parse(&s, "--nonsense", NULL, NULL), 0);
	assert_int_not_equal(parse(&s, "--f", NULL, NULL), 0);
	assert_int_not_equal(parse(&s, "-x", NULL, NULL), 0);
	assert_int_not_equal(parse(&s, "word", NULL, NULL), 0);
	assert_int_not_equal(parse(&s, "--flag", "--", "word"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_wrong_sizes),
		cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_wrong_numbers),
		cmocka_unit_test(test_table),
		cmocka_unit_test(test_wrong_words),
	};

	return cmocka_run_group_tests_name("options", tests, NULL, NULL);
}
