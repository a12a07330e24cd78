/* Signals on a vCPU's thread: faults in translated code, and kicks that make it come back.
 *
 * While a unit runs, the host's registers are the guest's, RSP included, and RSP may point
 * anywhere: nowhere, into the monitor's memory, even into the signal stack. So every signal that
 * such a thread can get is handled on an alternate stack. The stack is disarmed while it is in use
 * (SS_AUTODISARM), since the kernel would otherwise look at RSP to tell whether the thread is on
 * that stack already. All other signals are blocked on vCPU threads (machine/vcpu_thread.c).
 *
 * What the code here expects of glue and units:
 *	- FS is the host's: handlers use thread-local variables.
 *	- No POPF within bt's code area: it would end single-stepping. (SAHF and ADD AL,
 *	  127 set the flags as well.) Code that uses PUSHF must clear TF in what it pushed.
 *	- glue.enter looks at cpu->attention first, and bt->running is 1 before that.
 *	- All glue from glue.exit up to glue.load_vectors leads to C, never back to a unit.
 *	- In MARK_STRINGS, if the host instruction has a REP prefix, the guest's RCX is in RCX;
 *	  after a roll-back it is in HOST_RCX again, as always. */
#ifndef VENEER_ENGINE_BT_FAULT_H
#define VENEER_ENGINE_BT_FAULT_H

#include "engine/bt/bt.h"

#include <signal.h>

/* An ordinary signal, not a real-time one: those queue up, and one pending kick is enough. This one
 * is ignored where it has no handler. */
#define BT_KICK_SIGNAL SIGURG

/* Install the handlers; a second call does no harm. Faults that are not a unit's go to their owners
 * (host/fault.h). */
void bt_signals_init(void);

/* Call this first in vcpu_run, on the vCPU's thread. It is cheap, except for the first time on a
 * thread: then it makes the thread's signal stack, which is freed when the thread ends. 0, or
 * -errno after a message. */
int bt_thread_enter(struct bt *bt);

/* struct cpu_engine_ops's kick: make a vCPU come out of translated code. Any thread may call it,
 * after it has set `attention`. */
void bt_kick(struct cpu *cpu);

#endif
