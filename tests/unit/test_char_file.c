/* The file behind a serial port, the printer, the firmware's log: what the guest sends, and what
 * becomes of it where the far end does not take it. */
#include "host/char_file.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char path[64];

static int setup(void **state)
{
	snprintf(path, sizeof(path), "/tmp/veneer-char-file-%d", (int)getpid());
	unlink(path);
	return 0;
}

static int teardown(void **state)
{
	return unlink(path);
}

static void put(struct char_backend *file, const char *text)
{
	assert_int_equal(file->ops->write(file, text, strlen(text)), strlen(text));
}

static size_t take(int fd, char *bytes, size_t size)
{
	ssize_t some = read(fd, bytes, size);

	return some > 0 ? (size_t)some : 0;
}

static void lines_arrive_as_they_are_done(void **state)
{
	struct char_backend *file = char_file_create("--serial2", path, 0);
	char bytes[16] = "";
	int fd;

	assert_non_null(file);
	fd = open(path, O_RDONLY);
	put(file, "one\ntw");
	assert_int_equal(take(fd, bytes, sizeof(bytes)), 4);
	assert_memory_equal(bytes, "one\n", 4);
	put(file, "o");
	char_file_destroy(file);
	assert_int_equal(take(fd, bytes, sizeof(bytes)), 3);
	assert_memory_equal(bytes, "two", 3);
	close(fd);
}

/* The machine's lock is held when a guest writes: nothing may wait for a reader. */
static void a_reader_that_does_not_read_stops_nobody(void **state)
{
	static char bytes[1 << 20];
	struct char_backend *file;
	int fd;

	assert_int_equal(mkfifo(path, 0600), 0);
	fd = open(path, O_RDONLY | O_NONBLOCK);
	file = char_file_create("--serial2", path, 0);
	assert_non_null(file);
	alarm(20);
	memset(bytes, 'a', sizeof(bytes));
	assert_int_equal(file->ops->write(file, bytes, sizeof(bytes)), sizeof(bytes));
	alarm(0);
	/* What there was room for is there, and what comes when there is room again. */
	assert_true(take(fd, bytes, sizeof(bytes)) >= 4096);
	while (take(fd, bytes, sizeof(bytes)))
		;
	put(file, "\nlater\n");
	bytes[take(fd, bytes, sizeof(bytes) - 1)] = '\0';
	assert_non_null(strstr(bytes, "later\n"));
	char_file_destroy(file);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(lines_arrive_as_they_are_done, setup, teardown),
		cmocka_unit_test_setup_teardown(
			a_reader_that_does_not_read_stops_nobody, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
