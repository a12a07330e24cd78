/* The guest's instruction as it is, with registers renamed. */
#ifndef VENEER_ENGINE_BT_IDENTICAL_H
#define VENEER_ENGINE_BT_IDENTICAL_H

#include "engine/bt/unit.h"

/* Is it an x87 instruction that leaves no record of itself? */
bool x87_unrecorded(const struct translator *t, unsigned i);

/* A guest register's value in some host register; `temporary` is used where it has none. */
unsigned value_of(struct translator *t, unsigned guest, unsigned temporary);
void set_register(struct translator *t, unsigned guest, unsigned from);
/* The identical instruction on a host memory operand (or none: base and index unset and `memory` of
 * the instruction NULL), with what renamed and spilled registers need around it. */
access_op emit_identical;

#endif
