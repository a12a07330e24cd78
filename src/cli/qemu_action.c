/* What is done where the guest ends, resets, panics or hangs: -action, -watchdog-action. */
#include "cli/qemu.h"

#include "base/log.h"
#include "machine/action.h"

#include <errno.h>
#include <string.h>

int qemu_set_watchdog_action(struct qemu *qemu, const char *option, const char *value)
{
	int action = machine_action_find(machine_watchdog_actions, value);

	if (action < 0) {
		log_error("%s %s: expected reset, shutdown, poweroff, pause, debug, none or "
			  "inject-nmi",
			option, value);
		return -EINVAL;
	}
	qemu->machine.actions.watchdog = (enum watchdog_action)action;
	return 0;
}

static int set_panic(struct qemu *qemu, const char *value)
{
	int action = machine_action_find(machine_panic_actions, value);

	if (action < 0) {
		log_error(
			"-action panic=%s: expected shutdown, pause, exit-failure or none", value);
		return -EINVAL;
	}
	qemu->machine.actions.panic = (enum panic_action)action;
	return 0;
}

static int use_actions(struct qemu *qemu, const struct qemu_words *words)
{
	static const struct qemu_key keys[] = {{"reboot", QEMU_CHOICE, "reset|shutdown"},
		{"shutdown", QEMU_CHOICE, "poweroff|pause"}, {"panic", QEMU_OWN, NULL},
		{"watchdog", QEMU_OWN, NULL}, {NULL, QEMU_END, NULL}};
	const char *reboot = qemu_words_get(words, "reboot");
	const char *shutdown = qemu_words_get(words, "shutdown");
	const char *panic = qemu_words_get(words, "panic");
	const char *watchdog = qemu_words_get(words, "watchdog");
	int error = qemu_words_translate(words, keys, NULL, NULL);

	if (!error && panic)
		error = set_panic(qemu, panic);
	if (!error && watchdog)
		error = qemu_set_watchdog_action(qemu, "-action watchdog:", watchdog);
	if (error)
		return error;
	if (reboot)
		qemu->machine.reboot = strcmp(reboot, "reset") == 0;
	if (shutdown)
		qemu->machine.actions.stays = strcmp(shutdown, "pause") == 0;
	return 0;
}

int qemu_set_actions(struct qemu *qemu, const char *value)
{
	struct qemu_words words;
	int error = qemu_words_parse(&words, "-action", value, NULL);

	if (error)
		return error;
	error = use_actions(qemu, &words);
	qemu_words_free(&words);
	return error;
}
