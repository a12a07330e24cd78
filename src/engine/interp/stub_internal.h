/* Inside the stubs: the steps from an instruction that may run natively (isa/native.h) to one that
 * does.
 *
 *	stub.c		the cache of stubs
 *	stub_emit.c	machine code for one
 *	stub_routine.c	those that are C code
 *	stub_run.c	memory operands that are not simply RAM; gathers and scatters */
#ifndef VENEER_ENGINE_INTERP_STUB_INTERNAL_H
#define VENEER_ENGINE_INTERP_STUB_INTERNAL_H

#include "engine/interp/stub.h"

/* The routine for an instruction that stubs do not copy: see struct native. */
stub_code *stub_routine(const ZydisDecodedInstruction *instruction);

/* Generate at most STUB_CODE_MAX bytes; returns how many, or 0 where the instruction cannot be
 * expressed in 64-bit mode. */
#define STUB_CODE_MAX 256
unsigned stub_emit(const struct native *native, uint8_t *code);

#endif
