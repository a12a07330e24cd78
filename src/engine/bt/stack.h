/* Rare ways to change RSP that kernels have on hot paths: POP RSP, and ADD or SUB of a register. */
#ifndef VENEER_ENGINE_BT_STACK_H
#define VENEER_ENGINE_BT_STACK_H

#include "engine/bt/unit.h"

/* In window mode: make it GUEST_STACK_SET, if it is one of them. */
bool stack_recognise(struct guest_insn *g);
/* Emit it; false: it is another GUEST_STACK_SET. */
bool stack_translate(struct translator *t, unsigned i);

#endif
