/* BT, BTS, BTR and BTC of a bit string in memory. */
#ifndef VENEER_ENGINE_BT_BIT_STRING_H
#define VENEER_ENGINE_BT_BIT_STRING_H

#include "engine/bt/unit.h"

/* guest_kind_row.recognise, of GUEST_BIT_STRING. */
bool bit_string_recognise(const struct translator *t, struct guest_insn *g);
void translate_bit_string(struct translator *t, unsigned i);

#endif
