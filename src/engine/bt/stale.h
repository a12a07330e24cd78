/* Units whose page was written: kept, and taken back where their code has not changed much. */
#ifndef VENEER_ENGINE_BT_STALE_H
#define VENEER_ENGINE_BT_STALE_H

#include "engine/bt/bt.h"

/* Let no way lead into the unit any more. Its first bytes are overwritten, so nothing may be
 * resumed in it. It is dropped then, but can be taken back. False: there is no room for its gate,
 * and the unit is as it was. */
bool stale_make(struct bt *bt, struct bt_unit *unit);

/* Lead a jump of the unit, at `patch`, to `target`. In a stale unit the way to the gate may be in
 * that jump's place. */
void stale_patch(struct bt *bt, struct bt_unit *unit, uintptr_t patch, uintptr_t target);

/* The unit is forgotten for good: who comes by its gate looks for a unit anew. */
void stale_close_gate(struct bt *bt, const struct bt_unit *unit);

/* Its code is wanted: make the unit, and perhaps others of its page, what RAM has now. False: the
 * code of `wanted` differs too much, and it stays stale. */
bool stale_take_back(struct bt *bt, struct bt_unit *wanted);

/* `unit` is made of what is now at the place of `old`, which is stale and forgotten: jumps that led
 * to the one lead to the other. */
void stale_succeed(struct bt *bt, const struct bt_unit *old, struct bt_unit *unit);

#endif
