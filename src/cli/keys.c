/* veneer sendkey and veneer type: keys for a running machine, by QMP's send-key. */
#include "base/log.h"
#include "base/bits.h"
#include "cli/cli.h"
#include "control/client.h"

#include <stdio.h>
#include <string.h>

#define TYPE_HOLD_MS 20

/* The keys of a US keyboard that have another name than the character they type: QMP's name, what
 * they type alone, and with Shift. */
static const struct {
	const char *name;
	char alone, shifted;
} named_keys[] = {
	{"spc", ' ', 0},
	{"ret", '\n', 0},
	{"tab", '\t', 0},
	{"1", '1', '!'},
	{"2", '2', '@'},
	{"3", '3', '#'},
	{"4", '4', '$'},
	{"5", '5', '%'},
	{"6", '6', '^'},
	{"7", '7', '&'},
	{"8", '8', '*'},
	{"9", '9', '('},
	{"0", '0', ')'},
	{"minus", '-', '_'},
	{"equal", '=', '+'},
	{"bracket_left", '[', '{'},
	{"bracket_right", ']', '}'},
	{"semicolon", ';', ':'},
	{"apostrophe", '\'', '"'},
	{"grave_accent", '`', '~'},
	{"backslash", '\\', '|'},
	{"comma", ',', '<'},
	{"dot", '.', '>'},
	{"slash", '/', '?'},
};

static json_t *key_named(const char *name, size_t size)
{
	return json_pack("{s:s, s:s%}", "type", "qcode", "data", name, size);
}

/* The keys that type a character; NULL: there are none. */
static json_t *keys_of_character(char character)
{
	json_t *keys = json_array();
	bool upper = character >= 'A' && character <= 'Z',
	     lower = character >= 'a' && character <= 'z';
	char letter = (char)(upper ? character - 'A' + 'a' : character);
	const char *name = upper || lower ? &letter : NULL;
	size_t size = 1;
	bool shift = upper;

	for (size_t i = 0; !name && i < ARRAY_SIZE(named_keys); i++) {
		shift = character == named_keys[i].shifted;
		if (!shift && character != named_keys[i].alone)
			continue;
		name = named_keys[i].name;
		size = strlen(name);
	}
	if (shift && name)
		json_array_append_new(keys, key_named("shift", 5));
	if (name) {
		json_array_append_new(keys, key_named(name, size));
		return keys;
	}
	json_decref(keys);
	return NULL;
}

/* The keys whose names are joined by '-'. */
static json_t *keys_of_names(const char *names)
{
	json_t *keys = json_array();

	for (;;) {
		size_t size = strcspn(names, "-");

		json_array_append_new(keys, key_named(names, size));
		if (!names[size])
			return keys;
		names += size + 1;
	}
}

static int send_keys(struct control_connection *connection, json_t *keys, int hold_ms)
{
	json_t *result, *arguments = json_pack("{s:o}", "keys", keys);
	int error;

	if (hold_ms)
		json_object_set_new(arguments, "hold-time", json_integer(hold_ms));
	error = control_execute(connection, "send-key", arguments, &result);
	json_decref(result);
	return error;
}

static int send_names(struct control_connection *connection, char **names, int count)
{
	int error = 0;

	for (int i = 0; !error && i < count; i++)
		error = send_keys(connection, keys_of_names(names[i]), 0);
	return error;
}

static int send_text(struct control_connection *connection, const char *text)
{
	int error = 0;

	for (; !error && *text; text++)
		error = send_keys(connection, keys_of_character(*text), TYPE_HOLD_MS);
	return error;
}

static bool can_type(const char *text)
{
	for (; *text; text++) {
		json_t *keys = keys_of_character(*text);

		if (!keys)
			return false;
		json_decref(keys);
	}
	return true;
}

static bool wants_help(int argc, char **argv)
{
	return argc >= 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0);
}

static int sendkey_main(int argc, char **argv)
{
	struct control_connection *connection;
	int error;

	if (wants_help(argc, argv)) {
		puts("usage: veneer sendkey SOCKET KEYS...\n\n"
		     "Press keys of a machine's keyboard. KEYS are names that QMP has for keys, "
		     "joined by "
		     "'-' where\nthey are pressed together: veneer sendkey SOCKET ctrl-alt-delete "
		     "f10 "
		     "ret\n\n"
		     "SOCKET is what the machine was started with --control for.\n\n"
		     "Exit status: 0 done; 2 wrong usage; 4 it could not be done.");
		return STATUS_OK;
	}
	if (argc < 3 || argv[1][0] == '-') {
		log_error("sendkey: expected SOCKET and KEYS; try 'veneer sendkey --help'");
		return STATUS_USAGE;
	}
	connection = control_connect(argv[1]);
	if (!connection)
		return STATUS_FAILED;
	error = send_names(connection, argv + 2, argc - 2);
	control_disconnect(connection);
	return error ? STATUS_FAILED : STATUS_OK;
}

static int type_main(int argc, char **argv)
{
	struct control_connection *connection;
	int error;

	if (wants_help(argc, argv)) {
		puts("usage: veneer type SOCKET TEXT\n\n"
		     "Type TEXT on a machine's keyboard, as on a US one: printable ASCII, tabs and "
		     "line "
		     "ends.\n\n"
		     "SOCKET is what the machine was started with --control for.\n\n"
		     "Exit status: 0 done; 2 wrong usage; 4 it could not be done.");
		return STATUS_OK;
	}
	if (argc != 3 || argv[1][0] == '-' || !can_type(argv[2])) {
		log_error("type: expected SOCKET and TEXT of printable ASCII; try 'veneer type "
			  "--help'");
		return STATUS_USAGE;
	}
	connection = control_connect(argv[1]);
	if (!connection)
		return STATUS_FAILED;
	error = send_text(connection, argv[2]);
	control_disconnect(connection);
	return error ? STATUS_FAILED : STATUS_OK;
}

const struct subcommand subcommand_sendkey = {
	"sendkey", "press keys of a machine's keyboard", sendkey_main};
const struct subcommand subcommand_type = {
	"type", "type a text on a machine's keyboard", type_main};
