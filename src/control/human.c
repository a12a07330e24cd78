#include "control/human.h"

#include "control/qcode.h"
#include "control/qmp_internal.h"
#include "control/schema.h"
#include "machine/action.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* An answer is cut there: it fits into a client's queue, also with each of its bytes quoted. */
#define MOST_OUTPUT ((size_t)100 * KIB)

#define SENDKEY_MOST    16
#define SENDKEY_HOLD_MS 100

struct command {
	const char *name, *arguments, *help;
	bool stop; /* the processors must be stopped */
	void (*run)(struct human *human, const char *words);
};

static void info(struct human *human, const char *words);
static void help(struct human *human, const char *words);

static void stop(struct human *human, const char *words)
{
	human->shared->stay_paused = human->shared->inspecting;
	machine_pause(human->machine);
}

static void cont(struct human *human, const char *words)
{
	human->shared->stay_paused = false;
	if (human->machine->stopped == MACHINE_STOP_SHUT_DOWN)
		fprintf(human->out, "Error: Resetting the Virtual Machine is required\n");
	machine_resume(human->machine);
}

static void quit(struct human *human, const char *words)
{
	machine_request_end(human->machine, MACHINE_QUIT, true);
}

static void system_reset(struct human *human, const char *words)
{
	machine_request_end(human->machine, MACHINE_RESET, true);
}

static void system_wakeup(struct human *human, const char *words)
{
	if (!machine_wake_up(human->machine))
		fprintf(human->out, "Unable to wake up: guest is not in suspended state\n");
}

static void system_powerdown(struct human *human, const char *words)
{
	machine_press_power_button(human->machine);
}

/* KEY-KEY-... [MILLISECONDS] */
static void sendkey(struct human *human, const char *words)
{
	char keys[128], word[32], *key, *rest = keys;
	uint16_t codes[SENDKEY_MOST];
	unsigned count = 0;
	unsigned long hold_ms = SENDKEY_HOLD_MS;

	words = schema_word(words, keys, sizeof(keys));
	if (!words) {
		fprintf(human->out, "sendkey: expected keys\n");
		return;
	}
	if (schema_word(words, word, sizeof(word)))
		hold_ms = strtoul(word, NULL, 0);
	while ((key = strsep(&rest, "-"))) {
		int code = qcode_find(key);

		if (code < 0 || count == SENDKEY_MOST) {
			fprintf(human->out, "invalid parameter: %s\n", key);
			return;
		}
		codes[count++] = (uint16_t)code;
	}
	if (hold_ms < 1 || hold_ms > 10000 ||
		!key_sender_add(&human->shared->keys, codes, count, hold_ms * 1000000))
		fprintf(human->out, "sendkey: too many keys wait, or the time is too long\n");
}

static void nmi(struct human *human, const char *words)
{
	machine_inject_nmi(human->machine);
}

static void watchdog_action(struct human *human, const char *words)
{
	char word[16];
	int action = schema_word(words, word, sizeof(word))
			     ? machine_action_find(machine_watchdog_actions, word)
			     : -EINVAL;

	if (action < 0)
		fprintf(human->out, "watchdog_action: expected reset, shutdown, poweroff, pause, "
				    "debug, none or inject-nmi\n");
	else
		human->machine->config.actions.watchdog = (enum watchdog_action)action;
}

static void info_status(struct human *human, const char *words)
{
	const char *state = qmp_run_state(human->machine);

	if (strcmp(state, "running") == 0 || strcmp(state, "paused") == 0)
		fprintf(human->out, "VM status: %s\n", state);
	else
		fprintf(human->out, "VM status: paused (%s)\n", state);
}

static void info_version(struct human *human, const char *words)
{
	fprintf(human->out, "%d.%d.%d (veneer " VENEER_VERSION ")\n", QMP_MAJOR, QMP_MINOR,
		QMP_MICRO);
}

static void info_name(struct human *human, const char *words)
{
	if (human->shared->name)
		fprintf(human->out, "%s\n", human->shared->name);
}

static void info_kvm(struct human *human, const char *words)
{
	fprintf(human->out, "kvm support: %s\n", human->shared->kvm ? "enabled" : "disabled");
}

static const struct command commands[] = {
	{"cont|c", "", "let the machine go on", false, cont},
	{"device_add", "DRIVER[,PROPERTY=VALUE]...", "plug a device in", false, human_device_add},
	{"device_del", "ID", "ask the guest to let go of a device", false, human_device_del},
	{"drive_add", "[-n] ADDRESS FILE[,if=none]...", "add a drive for a device", false,
		human_drive_add},
	{"help|?", "[NAME]", "list the commands", false, help},
	{"info", "NAME", "tell of the machine; 'info' alone lists what there is", false, info},
	{"netdev_add", "TYPE,id=ID[,PROPERTY=VALUE]...", "add a network for a card", false,
		human_netdev_add},
	{"netdev_del", "ID", "remove a network", false, human_netdev_del},
	{"nmi", "", "press the button for NMIs", false, nmi},
	{"quit|q", "", "end the machine", false, quit},
	{"sendkey", "KEYS [MS]", "press keys such as ctrl-alt-delete", false, sendkey},
	{"stop|s", "", "pause the machine", false, stop},
	{"system_powerdown", "", "press the power button", false, system_powerdown},
	{"system_reset", "", "reset the machine", false, system_reset},
	{"system_wakeup", "", "wake a machine that sleeps", false, system_wakeup},
	{"watchdog_action", "ACTION", "what to do where the guest's watchdog expires", false,
		watchdog_action},
	{"x", "/FMT ADDRESS", "show memory at a linear address", true, human_x},
	{"xp", "/FMT ADDRESS", "show memory at a physical address", false, human_xp},
	{.name = NULL},
};

static const struct command infos[] = {
	{"block", "", "disks", false, human_block},
	{"chardev", "", "character devices", false, human_chardev},
	{"cpus", "", "processors", false, human_cpus},
	{"kvm", "", "whether KVM is used", false, info_kvm},
	{"mem", "", "ranges of linear addresses that are mapped", true, human_mem},
	{"mtree", "", "memory, registers and ports by address", false, human_mtree},
	{"name", "", "the machine's name", false, info_name},
	{"network", "", "network cards", false, human_network},
	{"pci", "", "functions on the PCI bus", false, human_pci},
	{"qtree", "", "devices", false, human_qtree},
	{"registers", "[-a]", "registers of the processor, or of all", true, human_registers},
	{"status", "", "whether the machine runs", false, info_status},
	{"tlb", "", "pages that are mapped", true, human_tlb},
	{"version", "", "versions", false, info_version},
	{.name = NULL},
};

/* NAME|NAME... */
static bool has_name(const struct command *command, const char *name)
{
	size_t length = strlen(name);

	for (const char *at = command->name;; at = strchr(at, '|') + 1) {
		if (strncmp(at, name, length) == 0 && (at[length] == '|' || !at[length]))
			return true;
		if (!strchr(at, '|'))
			return false;
	}
}

static const struct command *find(const struct command *table, const char *name)
{
	for (; table->name; table++)
		if (has_name(table, name))
			return table;
	return NULL;
}

static void list(struct human *human, const char *prefix, const struct command *table)
{
	for (; table->name; table++)
		fprintf(human->out, "%s%s%s%s -- %s\n", prefix, table->name,
			*table->arguments ? " " : "", table->arguments, table->help);
}

static void help(struct human *human, const char *words)
{
	char name[32];

	if (schema_word(words, name, sizeof(name)) && strcmp(name, "info") == 0)
		list(human, "info ", infos);
	else
		list(human, "", commands);
}

static void info(struct human *human, const char *words)
{
	const struct command *command;
	char name[32];
	const char *rest = schema_word(words, name, sizeof(name));

	if (!rest) {
		list(human, "info ", infos);
		return;
	}
	command = find(infos, name);
	if (command)
		command->run(human, rest);
	else
		fprintf(human->out, "unknown command: 'info %s'\n", name);
}

/* The name ends at a slash, too: x/4xb ADDRESS. */
static const char *split(const char *line, char *name, size_t size)
{
	const char *rest = schema_word(line, name, size);
	char *slash = rest ? strchr(name, '/') : NULL;

	if (!slash)
		return rest;
	*slash = '\0';
	return strchr(line, '/');
}

/* The command that the line is for; NULL: none. */
static const struct command *command_of(const char *line)
{
	const struct command *command;
	char name[32];
	const char *rest = split(line, name, sizeof(name));

	command = rest ? find(commands, name) : NULL;
	if (command && command->run == info) {
		rest = schema_word(rest, name, sizeof(name));
		command = rest ? find(infos, name) : NULL;
	}
	return command;
}

bool human_needs_stop(const char *line)
{
	const struct command *command = command_of(line);

	return command && command->stop;
}

bool human_pauses(const char *line)
{
	const struct command *command = command_of(line);

	return command && command->run == stop;
}

static void run(struct human *human, const char *line)
{
	const struct command *command;
	char name[32];
	const char *rest = split(line, name, sizeof(name));

	if (!rest)
		return;
	command = find(commands, name);
	if (command)
		command->run(human, rest);
	else
		fprintf(human->out, "unknown command: '%s'\n", name);
}

/* Ends each line by CR LF, and the whole where it is too long. */
static char *finish(const char *text)
{
	size_t length = strlen(text);
	size_t lines = 0, used = 0, taken = MIN(length, MOST_OUTPUT);
	char *answer;

	for (size_t i = 0; i < taken; i++)
		lines += text[i] == '\n';
	answer = malloc(taken + lines + 16);
	if (!answer)
		return NULL;
	for (size_t i = 0; i < taken; i++) {
		if (text[i] == '\n')
			answer[used++] = '\r';
		answer[used++] = text[i];
	}
	strcpy(answer + used, taken < length ? "\r\n...\r\n" : "");
	return answer;
}

char *human_run(struct qmp_shared *shared, const char *line, unsigned cpu)
{
	struct machine *machine = shared->machine;
	struct human human = {.shared = shared,
		.machine = machine,
		.cpu = cpu < machine->config.cpu_count ? machine->cpus[cpu] : NULL};
	char *text = NULL, *answer;
	size_t size;

	human.out = open_memstream(&text, &size);
	if (!human.out)
		return NULL;
	run(&human, line);
	if (fclose(human.out) != 0 || !text) {
		free(text);
		return NULL;
	}
	answer = finish(text);
	free(text);
	return answer;
}
