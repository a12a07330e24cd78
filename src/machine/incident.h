/* What becomes of the machine where its guest has switched it off, has reset it, has panicked or
 * hangs: QEMU's -action. Devices tell; the configuration says what is done. All with the machine
 * lock held, from any thread. */
#ifndef VENEER_MACHINE_INCIDENT_H
#define VENEER_MACHINE_INCIDENT_H

#include "machine/machine.h"

/* The guest has ended or reset itself: end the run, or reset the machine, where nothing else is
 * configured. */
void machine_guest_ended(struct machine *machine, enum machine_end end, int value);
/* Its kernel has panicked; where `goes_on` is set it goes on with another one that saves its
 * memory, which is only told to the listeners. */
void machine_guest_panicked(struct machine *machine, bool goes_on);
void machine_watchdog_expired(struct machine *machine);

#endif
