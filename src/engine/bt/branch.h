/* Control transfers. */
#ifndef VENEER_ENGINE_BT_BRANCH_H
#define VENEER_ENGINE_BT_BRANCH_H

#include "engine/bt/unit.h"

/* Conditions of emit_branch(), besides the processor's, 0 to 15. */
#define ALWAYS            (-1)
#define ALWAYS_IN_5_BYTES (-2) /* a JRCXZ before it relies on the length */

/* Go to `rip`, if `condition` holds. */
void emit_branch(struct translator *t, unsigned i, int condition, uint64_t rip);
/* Instruction i goes on at `rip`: leave for C, which finds the unit there and makes this a direct
 * jump to it. */
void emit_link(struct translator *t, unsigned i, uint64_t rip);
/* Which instruction of the unit begins at `rip`; -1: none. */
int unit_index(const struct translator *t, uint64_t rip);
void translate_jrcxz(struct translator *t, unsigned i);
void translate_loop(struct translator *t, unsigned i);
void translate_call(struct translator *t, unsigned i);
void translate_jmp_indirect(struct translator *t, unsigned i);
void translate_call_indirect(struct translator *t, unsigned i);
void translate_return(struct translator *t, unsigned i);

#endif
