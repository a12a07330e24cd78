#include "machine/action.h"

#include "machine/machine.h"

#include <errno.h>
#include <string.h>

const char *const machine_panic_actions[] = {[PANIC_POWEROFF] = "shutdown",
	[PANIC_FAILS] = "exit-failure",
	[PANIC_PAUSES] = "pause",
	[PANIC_RUNS_ON] = "none",
	NULL};

const char *const machine_watchdog_actions[] = {[WATCHDOG_RESETS] = "reset",
	[WATCHDOG_SHUTS_DOWN] = "shutdown",
	[WATCHDOG_POWERS_OFF] = "poweroff",
	[WATCHDOG_PAUSES] = "pause",
	[WATCHDOG_REPORTS] = "debug",
	[WATCHDOG_IS_TOLD] = "none",
	[WATCHDOG_INTERRUPTS] = "inject-nmi",
	NULL};

int machine_action_find(const char *const *names, const char *name)
{
	for (int i = 0; names[i]; i++)
		if (strcmp(names[i], name) == 0)
			return i;
	return -EINVAL;
}
