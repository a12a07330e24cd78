/* veneer screenshot: a picture of a running machine's screen, by QMP's screendump. */
#include "base/log.h"
#include "cli/cli.h"
#include "control/client.h"

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void print_help(void)
{
	fputs("usage: veneer screenshot SOCKET FILE\n"
	      "\n"
	      "Write a picture of a machine's screen to FILE: as PNG, or as PPM where its name "
	      "ends in\n.ppm.\n"
	      "\n"
	      "SOCKET is what the machine was started with --control for; it must have a screen\n"
	      "(--display).\n"
	      "\n"
	      "Exit status: 0 done; 2 wrong usage; 4 it could not be done.\n",
		stdout);
}

/* The machine's current directory may be another. False with a message. */
static bool make_absolute(const char *file, char path[PATH_MAX])
{
	char here[PATH_MAX];

	if (file[0] == '/') {
		if (snprintf(path, PATH_MAX, "%s", file) < PATH_MAX)
			return true;
	} else if (getcwd(here, sizeof(here)) &&
		   snprintf(path, PATH_MAX, "%s/%s", here, file) < PATH_MAX) {
		return true;
	}
	log_error("screenshot: cannot tell where %s is", file);
	return false;
}

static int screenshot_main(int argc, char **argv)
{
	struct control_connection *connection;
	const char *dot = argc == 3 ? strrchr(argv[2], '.') : NULL;
	bool ppm = dot && strcmp(dot, ".ppm") == 0;
	char path[PATH_MAX];
	json_t *result;
	int error;

	if (argc >= 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
		print_help();
		return STATUS_OK;
	}
	if (argc != 3 || argv[1][0] == '-' || argv[2][0] == '-') {
		log_error("screenshot: expected SOCKET and FILE; try 'veneer screenshot --help'");
		return STATUS_USAGE;
	}
	if (!make_absolute(argv[2], path))
		return STATUS_FAILED;
	connection = control_connect(argv[1]);
	if (!connection)
		return STATUS_FAILED;
	error = control_execute(connection, "screendump",
		json_pack("{s:s, s:s}", "filename", path, "format", ppm ? "ppm" : "png"), &result);
	if (!error)
		json_decref(result);
	control_disconnect(connection);
	return error ? STATUS_FAILED : STATUS_OK;
}

const struct subcommand subcommand_screenshot = {
	"screenshot", "write a picture of a machine's screen to a file", screenshot_main};
