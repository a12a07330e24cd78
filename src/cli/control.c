/* veneer status, pause and so on: each sends one command to the control socket of a running
 * machine. What differs between them is a row in a table. */
#include "base/log.h"
#include "cli/cli.h"
#include "control/client.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

struct verb {
	const struct subcommand *subcommand;
	const char *command; /* what QMP calls it */
	bool prints;         /* its answer is the machine's status */
	bool until_closed;   /* done when the machine has gone */
	const char *help;
};

static const struct verb verbs[] = {
	{&subcommand_status, "query-status", true, false,
		"Print whether a machine is \"running\", \"paused\", or \"suspended\": asleep.\n"},
	{&subcommand_pause, "stop", false, false,
		"Pause a machine: its processors and its clock stand still. Returns when they "
		"do.\n"},
	{&subcommand_resume, "cont", false, false, "Let a machine that is paused go on.\n"},
	{&subcommand_reset, "system_reset", false, false,
		"Reset a machine, as its reset button does.\n"},
	{&subcommand_powerdown, "system_powerdown", false, false,
		"Press a machine's power button, which asks its system to shut down.\n"},
	{&subcommand_wakeup, "system_wakeup", false, false,
		"Wake a machine whose system has gone to sleep (ACPI S3, \"suspend to RAM\").\n"},
	{&subcommand_quit, "quit", false, true,
		"End a machine at once, as switching it off does. Returns when it has ended.\n"},
};

static const struct verb *find_verb(const char *name)
{
	const struct verb *verb = verbs;

	while (strcmp(verb->subcommand->name, name) != 0)
		verb++;
	return verb;
}

static void print_help(const struct verb *verb)
{
	printf("usage: veneer %s SOCKET\n\n%s\nSOCKET is what the machine was started with "
	       "--control for.\n\nExit status: 0 done; 2 wrong usage; 4 it could not be done.\n",
		verb->subcommand->name, verb->help);
}

static int call(const struct verb *verb, const char *path)
{
	struct control_connection *connection = control_connect(path);
	json_t *result, *status;
	int error;

	if (!connection)
		return STATUS_FAILED;
	error = control_execute(connection, verb->command, NULL, &result);
	status = json_object_get(result, "status");
	if (!error && verb->prints)
		puts(json_is_string(status) ? json_string_value(status) : "unknown");
	if (!error && verb->until_closed)
		error = control_wait_until_closed(connection);
	json_decref(result);
	control_disconnect(connection);
	return error ? STATUS_FAILED : STATUS_OK;
}

static int control_main(int argc, char **argv)
{
	const struct verb *verb = find_verb(argv[0]);

	if (argc >= 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
		print_help(verb);
		return STATUS_OK;
	}
	if (argc != 2 || argv[1][0] == '-') {
		log_error("%s: expected SOCKET and nothing else; try 'veneer %s --help'", argv[0],
			argv[0]);
		return STATUS_USAGE;
	}
	return call(verb, argv[1]);
}

const struct subcommand subcommand_status = {
	"status", "tell whether a machine is running or paused", control_main};
const struct subcommand subcommand_pause = {"pause", "pause a machine", control_main};
const struct subcommand subcommand_resume = {
	"resume", "let a machine that is paused go on", control_main};
const struct subcommand subcommand_reset = {"reset", "reset a machine", control_main};
const struct subcommand subcommand_powerdown = {
	"powerdown", "press a machine's power button", control_main};
const struct subcommand subcommand_wakeup = {"wakeup", "wake a machine that sleeps", control_main};
const struct subcommand subcommand_quit = {"quit", "end a machine at once", control_main};
