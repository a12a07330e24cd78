/* System instructions done in place: STI, SWAPGS, PUSHFQ, RDTSC and the like. */
#ifndef VENEER_ENGINE_BT_SPECIAL_H
#define VENEER_ENGINE_BT_SPECIAL_H

#include "engine/bt/unit.h"

/* The bits of CR4 that decide whether these instructions exist. The units made under other bits
 * must be dropped when they change. */
#define CR4_ASSUMED (CR4_TSD | CR4_FSGSBASE | CR4_SMAP | CR4_PKE)

/* Make it GUEST_SPECIAL, if it can be done in place. */
bool special_classify(const struct translator *t, struct guest_insn *g);
/* Emit it; false: the interpreter has to run it, nothing was emitted. */
bool special_translate(struct translator *t, unsigned i);

/* A transfer between user and kernel that is the interpreter's, but quicker called straight; else
 * NULL. */
void (*special_routine(const struct guest_insn *g))(struct cpu *cpu);

#endif
