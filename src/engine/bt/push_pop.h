/* The stack: PUSH, POP, LEAVE, and arithmetic with RSP. */
#ifndef VENEER_ENGINE_BT_PUSH_POP_H
#define VENEER_ENGINE_BT_PUSH_POP_H

#include "engine/bt/unit.h"

void translate_push(struct translator *t, unsigned i);
void translate_pop(struct translator *t, unsigned i);
void translate_leave(struct translator *t, unsigned i);
void translate_stack_alu(struct translator *t, unsigned i);
void translate_stack_set(struct translator *t, unsigned i);
void push_constant(struct translator *t, unsigned i, uint64_t value);
/* The address of the instruction after call i. */
void push_return_address(struct translator *t, unsigned i);
/* Loads a word to R10. */
access_op op_to_address;
/* RSP changes by so many bytes. */
void move_stack(struct translator *t, int32_t by);

/* Push bt->run.scratch[0]: the commit. */
void push_scratch(struct translator *t, unsigned i);

#endif
