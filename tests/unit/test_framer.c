#include "control/framer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct framer framer;

static int setup(void **state)
{
	framer_reset(&framer);
	return 0;
}

/* Feed `input` in pieces, and expect these texts. */
static void expect_texts(const char *input, size_t piece, const char *const *texts)
{
	size_t size = strlen(input), at = 0;

	framer_reset(&framer);
	while (at < size) {
		size_t taken, left = size - at;
		enum framing framing =
			framer_take(&framer, input + at, piece < left ? piece : left, &taken);

		at += taken;
		if (framing == FRAMING_MORE)
			continue;
		assert_int_equal(framing, FRAMING_COMPLETE);
		assert_non_null(*texts);
		assert_int_equal(framer.size, strlen(*texts));
		assert_memory_equal(framer.text, *texts, framer.size);
		texts++;
		framer_reset(&framer);
	}
	assert_null(*texts);
}

static void texts_end_where_their_first_bracket_closes(void **state)
{
	static const struct {
		const char *input;
		const char *texts[5];
	} cases[] = {
		{"{}", {"{}"}},
		{" \r\n\t{ }\n\n {\"a\": [1,\n 2]}  ", {"{ }", "{\"a\": [1,\n 2]}"}},
		{"{}{}[][{}]", {"{}", "{}", "[]", "[{}]"}},
		{"{\"}\": \"\\\"}{\"}{\"\\\\\"}", {"{\"}\": \"\\\"}{\"}", "{\"\\\\\"}"}},
		{"fly\n{}", {"fly\n", "{}"}},
		{"}{}", {"}", "{}"}},
		{"{\"open\n{}", {"{\"open\n", "{}"}},
		{"12 {}", {"12 {}"}},
		{"{", {NULL}},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		for (size_t piece = 1; piece < 30; piece++)
			expect_texts(cases[i].input, piece, cases[i].texts);
}

static void the_limits_are_exact(void **state)
{
	static char text[FRAMER_LONGEST + 1];
	size_t taken;

	memset(text, '[', sizeof(text));
	assert_int_equal(framer_take(&framer, text, FRAMER_DEEPEST, &taken), FRAMING_MORE);
	assert_int_equal(framer_take(&framer, text, 1, &taken), FRAMING_TOO_DEEP);

	framer_reset(&framer);
	memset(text, 'x', sizeof(text));
	assert_int_equal(framer_take(&framer, text, FRAMER_LONGEST, &taken), FRAMING_MORE);
	assert_int_equal(taken, FRAMER_LONGEST);
	assert_int_equal(framer_take(&framer, text, 1, &taken), FRAMING_TOO_LONG);
	assert_int_equal(framer.size, FRAMER_LONGEST);

	framer_reset(&framer);
	text[FRAMER_LONGEST - 1] = '\n';
	assert_int_equal(framer_take(&framer, text, sizeof(text), &taken), FRAMING_COMPLETE);
	assert_int_equal(taken, FRAMER_LONGEST);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(texts_end_where_their_first_bracket_closes, setup),
		cmocka_unit_test_setup(the_limits_are_exact, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
