/* The translator's part of the run loop. */
#ifndef VENEER_ENGINE_BT_RUN_H
#define VENEER_ENGINE_BT_RUN_H

#include "cpu/cpu.h"

/* For struct interp's `translated`: run what is translated at cpu->rip, and all that it leads to.
 * False: the block at cpu->rip, which may be where that has led to, is to be interpreted. */
bool bt_translated(struct cpu *cpu);

#endif
