/* From guest instructions to a unit of host code. */
#ifndef VENEER_ENGINE_BT_TRANSLATE_H
#define VENEER_ENGINE_BT_TRANSLATE_H

#include "engine/bt/bt.h"

/* Make a unit for RAM offset `key` at `rip`. `adapted` has the faults seen so far, one number for
 * each instruction that the unit could have (UNIT_MAX_INSNS). NULL where no unit can be made (now
 * or ever). The code and the bookkeeping are in place, the unit cannot be found yet. */
struct bt_unit *translate_unit(
	struct bt *bt, uint64_t rip, uint64_t key, struct bt_mode mode, const uint8_t *adapted);

/* Instruction i by the interpreter, then on in the unit. */
void translate_interpret(struct translator *t, unsigned i);

#endif
