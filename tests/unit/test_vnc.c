/* The monitor's side of a VNC server, with a shell script in place of veneer-vnc. */
#include "device_fixture.h"

#include "host/display/config.h"
#include "host/display/vnc.h"
#include "host/input.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char directory[] = "/tmp/test-vnc-XXXXXX";
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

/* A server that has been taken over would have the monitor draw into memory that is not there. */
static void pixels_cannot_be_taken_away(void **state)
{
	const struct vnc_config config = {.display = &words,
		.screen = &screen,
		.input = &input,
		.clock = &f.clock,
		.loop = f.loop};
	struct vnc *vnc;

	write_server("#!/bin/sh\n"
		     "if (: >/proc/self/fd/4) 2>/dev/null; then exit 1; fi\n"
		     "printf %020d 0 >&3\n"
		     "exec sleep 60\n");
	vnc = vnc_create(&config);
	assert_non_null(vnc);
	vnc_destroy(vnc);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(pixels_cannot_be_taken_away, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
