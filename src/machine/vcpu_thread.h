/* A vCPU's thread: runs guest code through the engine, and waits where there is none to run. */
#ifndef VENEER_MACHINE_VCPU_THREAD_H
#define VENEER_MACHINE_VCPU_THREAD_H

#include "machine/machine.h"

/* Start a thread for each vCPU, which waits at once where the machine is paused. 0, or -errno with
 * a message and none running. */
int vcpu_threads_start(struct machine *machine);
/* Tell all vCPUs to stop. From any thread, lock or no lock; returns at once. */
void vcpu_threads_kick(struct machine *machine);
/* Tell them and wait until all threads have ended. Without the machine lock. */
void vcpu_threads_stop(struct machine *machine);

/* For those threads: one more of them is parked; the last makes the event loop return, so that the
 * devices are stopped (pause.c). Machine lock held. */
void machine_vcpu_parked(struct machine *machine);
/* They have stopped, which completes the pause; or not `all` have, and it was called off. Machine
 * lock held. */
void machine_devices_stopped(struct machine *machine, bool all);
/* Tell the machine's listeners. Machine lock held. */
void machine_tell(
	struct machine *machine, enum machine_event_kind kind, struct machine_result cause);
void machine_tell_event(struct machine *machine, const struct machine_event *event);

#endif
