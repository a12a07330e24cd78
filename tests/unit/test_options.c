/* A subcommand's options: which are accepted, and which are refused. */
#include "base/bits.h"
#include "base/log.h"
#include "cli/options.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct settings {
	const char *file;
	bool flag, help;
	unsigned words;
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

static int take_word(void *opaque, const char *value)
{
	struct settings *settings = opaque;

	settings->words++;
	settings->file = value;
	return strcmp(value, "wrong") == 0 ? -EINVAL : 0;
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

/* The row that ends the table takes the words that are not options, wherever they stand. */
static void test_words(void **state)
{
	static const struct option_row takes_words[] = {
		{"flag", NULL, "a flag", set_flag},
		{.parse = take_word},
	};
	char *argv[] = {"run", "x", "--flag", "--", "--y", NULL}, *wrong[] = {"run", "wrong", "x"};
	struct settings s = {0};

	assert_int_equal(options_parse(5, argv, takes_words, &s), 0);
	assert_true(s.flag);
	assert_int_equal(s.words, 2);
	assert_string_equal(s.file, "--y");
	s.words = 0;
	assert_int_equal(options_parse(3, wrong, takes_words, &s), -EINVAL);
	assert_int_equal(s.words, 1);
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
		cmocka_unit_test(test_table),
		cmocka_unit_test(test_words),
		cmocka_unit_test(test_wrong_words),
	};

	return cmocka_run_group_tests_name("options", tests, NULL, NULL);
}
