/* The sleeping state S3, "suspend to RAM" (ACPI 6.4, chapter 16): RAM is kept, everything else but
 * what wakes the machine loses its state.
 *
 * A machine falls asleep as it is reset: all vCPU threads end, devices' threads stop. Nothing runs
 * then but the I/O thread, for alarms and the user. It can be paused, saved, reset, ended. */
#ifndef VENEER_MACHINE_SLEEP_H
#define VENEER_MACHINE_SLEEP_H

#include <stdbool.h>

struct machine;

/* Switch processors and devices off. All their threads have stopped. */
void machine_fall_asleep(struct machine *machine);
/* Switch them on again, and have the boot processor start firmware, which finds the waking vector
 * in the FACS; without firmware it starts there. False: there is no vector to start at, and the
 * machine is to be reset. */
bool machine_wake(struct machine *machine);

#endif
