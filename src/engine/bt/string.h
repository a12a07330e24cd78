/* REP MOVS and REP STOS, done by the host's. */
#ifndef VENEER_ENGINE_BT_STRING_H
#define VENEER_ENGINE_BT_STRING_H

#include "engine/bt/unit.h"

/* guest_kind_row.recognise, of GUEST_STRING: can it be done so? */
bool string_recognise(const struct translator *t, struct guest_insn *g);
/* Emit it; false: the interpreter has to run it, nothing was emitted. */
bool string_translate(struct translator *t, unsigned i);

#endif
