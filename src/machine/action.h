/* QEMU's names of what is done where a guest panics or hangs (struct machine_actions). */
#ifndef VENEER_MACHINE_ACTION_H
#define VENEER_MACHINE_ACTION_H

/* By enum panic_action and enum watchdog_action; NULL ends them. */
extern const char *const machine_panic_actions[];
extern const char *const machine_watchdog_actions[];

/* The number of the name among `names`. -EINVAL: it is none of them. */
int machine_action_find(const char *const *names, const char *name);

#endif
