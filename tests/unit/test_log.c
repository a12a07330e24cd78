#include "base/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static int saved_stderr, pipe_fds[2];
static char text[4096];

static int setup(void **state)
{
	saved_stderr = dup(STDERR_FILENO);
	return pipe(pipe_fds) || dup2(pipe_fds[1], STDERR_FILENO) < 0;
}

/* Returns what was logged, and restores standard error. */
static const char *logged(void)
{
	ssize_t size;

	dup2(saved_stderr, STDERR_FILENO);
	close(saved_stderr);
	close(pipe_fds[1]);
	size = read(pipe_fds[0], text, sizeof(text) - 1);
	text[size < 0 ? 0 : size] = '\0';
	close(pipe_fds[0]);
	return text;
}

static void one_line_with_our_name(void **state)
{
	log_error("--memory %s: %d is too much", "12T", 12);
	assert_string_equal(logged(), "veneer: --memory 12T: 12 is too much\n");
}

static void below_the_threshold_is_dropped(void **state)
{
	log_info("hidden");
	log_warning("shown");
	assert_string_equal(logged(), "veneer: warning: shown\n");
}

static void raw_terminal_needs_a_carriage_return(void **state)
{
	log_carriage_return = 1;
	log_error("x");
	log_carriage_return = 0;
	assert_string_equal(logged(), "veneer: x\r\n");
}

static void captured_error_is_not_printed(void **state)
{
	char why[8];

	log_capture_begin(why, sizeof(why));
	log_warning("a warning is");
	log_error("the first");
	log_error("and no other");
	log_capture_end();
	log_error("later");
	assert_string_equal(why, "the fir");
	assert_string_equal(logged(), "veneer: warning: a warning is\nveneer: later\n");
}

static void long_message_is_cut(void **state)
{
	char long_text[3000];

	memset(long_text, 'a', sizeof(long_text) - 1);
	long_text[sizeof(long_text) - 1] = '\0';
	log_error("%s", long_text);
	logged();
	assert_in_range(strlen(text), 900, 1024);
	assert_int_equal(text[strlen(text) - 1], '\n');
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(one_line_with_our_name, setup),
		cmocka_unit_test_setup(below_the_threshold_is_dropped, setup),
		cmocka_unit_test_setup(raw_terminal_needs_a_carriage_return, setup),
		cmocka_unit_test_setup(captured_error_is_not_printed, setup),
		cmocka_unit_test_setup(long_message_is_cut, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
