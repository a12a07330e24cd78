/* A machine's state as bytes: its clock, its processors, its devices. Two things are left to the
 * caller: guest memory (all of the file: RAM, ROM, video memory), which may be large and is better
 * moved page by page, and struct machine_config. The
 * machine that loads must have been created with as much memory, as many processors of the same
 * CPU model, and the same devices. It may have another engine; where the two engines withhold
 * different features, --cpu makes the models alike. */
#ifndef VENEER_MACHINE_SAVED_STATE_H
#define VENEER_MACHINE_SAVED_STATE_H

#include "base/state.h"
#include "machine/machine.h"

/* Append the state of a machine that is paused. 0 or -ENOMEM. Machine lock held. */
int machine_save(struct machine *machine, struct state_writer *writer);

/* Load what machine_save() wrote into a machine that was created and has not run. RAM must be what
 * it was. The machine is paused then: machine_run() waits for machine_resume(), and the guest's
 * time goes on where it was saved. 0; -EINVAL with a message where the bytes are no such state, or
 * that of a machine of another shape: then destroy the machine. Without the machine lock. */
int machine_load(struct machine *machine, struct state_reader *reader);

#endif
