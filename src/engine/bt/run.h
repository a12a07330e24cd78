/* The translator's part of the run loop. */
#ifndef VENEER_ENGINE_BT_RUN_H
#define VENEER_ENGINE_BT_RUN_H

#include "cpu/cpu.h"

/* For struct interp's `translated`: run what is translated at cpu->rip, and all that it leads to.
 * False: nothing was run, the block is to be interpreted. */
bool bt_translated(struct cpu *cpu);

#endif
