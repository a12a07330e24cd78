/* The monitor's side of a VNC server, with a shell script in place of veneer-vnc. */
#include "device_fixture.h"

#include "host/display/config.h"
#include "host/display/vnc.h"
#include "host/input.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char directory[24];
static struct display_config words;
static struct display screen;
static struct input input;

static void write_server(const char *text)
{
	char path[64];
	FILE *file;

	snprintf(path, sizeof(path), "%s/veneer-vnc", directory);
	file = fopen(path, "we");
	assert_non_null(file);
	fputs(text, file);
	assert_int_equal(fclose(file), 0);
	assert_int_equal(chmod(path, 0700), 0);
}

static int setup(void **state)
{
	fixture_setup();
	strcpy(directory, "/tmp/test-vnc-XXXXXX");
	assert_non_null(mkdtemp(directory));
	setenv("VENEER_HELPERS", directory, 1);
	return display_config_parse(&words, "--display", "vnc=:1");
}

static int teardown(void **state)
{
	char path[64];

	snprintf(path, sizeof(path), "%s/veneer-vnc", directory);
	unlink(path);
	rmdir(directory);
	fixture_teardown();
	return 0;
}

static struct vnc *create(void)
{
	const struct vnc_config config = {
		.display = &words, .screen = &screen, .input = &input, .loop = f.loop};
	struct vnc *vnc = vnc_create(&config);

	assert_non_null(vnc);
	return vnc;
}

/* A server that has been taken over would have the monitor draw into memory that is not there. */
static void pixels_cannot_be_taken_away(void **state)
{
	write_server("#!/bin/sh\n"
		     "if (: >/proc/self/fd/4) 2>/dev/null; then exit 1; fi\n"
		     "printf %020d 0 >&3\n"
		     "exec sleep 60\n");
	vnc_destroy(create());
}

static off_t starts(void)
{
	char path[64];
	struct stat file;

	snprintf(path, sizeof(path), "%s/starts", directory);
	return stat(path, &file) < 0 ? 0 : file.st_size;
}

/* The machine's clock stands still here, as it does in a pause. */
static void a_server_that_ends_is_started_again_in_a_pause(void **state)
{
	struct vnc *vnc;
	char path[64];

	write_server("#!/bin/sh\n"
		     "printf x >>${0%/*}/starts\n"
		     "printf %020d 0 >&3\n");
	vnc = create();
	for (unsigned turns = 0; starts() < 2 && turns < 2000; turns++) {
		event_loop_stop(f.loop);
		assert_int_equal(event_loop_run(f.loop), 0);
		usleep(10000);
	}
	assert_true(starts() >= 2);
	vnc_destroy(vnc);
	snprintf(path, sizeof(path), "%s/starts", directory);
	unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(pixels_cannot_be_taken_away, setup, teardown),
		cmocka_unit_test_setup_teardown(
			a_server_that_ends_is_started_again_in_a_pause, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
