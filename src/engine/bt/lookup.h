/* Finding a unit, and making it where there is none.
 *
 * All of these but unit_here() look for code at `rip`, which cpu->rip must be, too: where the page
 * tables do not let the code be fetched, they raise the page fault as the processor does. */
#ifndef VENEER_ENGINE_BT_LOOKUP_H
#define VENEER_ENGINE_BT_LOOKUP_H

#include "engine/bt/bt.h"

/* RAM offset of the code at `rip`: a unit's key. ~0: it is not in RAM. */
uint64_t unit_key(struct bt *bt, uint64_t rip);

/* The unit for that code. One whose code has changed is replaced. NULL: there is none. May make
 * room in the cache (bt->code.forgettings). */
struct bt_unit *unit_find(struct bt *bt, uint64_t rip, struct bt_mode mode);

/* Translate once more what `unit` was made of, or what is there now. `adapted`: see
 * translate_unit(). NULL where that is not possible: there is no unit then. May make room. */
struct bt_unit *unit_replace(
	struct bt *bt, struct bt_unit *unit, uint64_t rip, const uint8_t *adapted);

/* unit_find(); where there is none and the code is hot, one is made, if that is possible. */
struct bt_unit *unit_find_or_make(struct bt *bt, uint64_t rip, struct bt_mode mode, bool hot);

/* The unit for cpu->rip in the mode that the CPU is in, which becomes *mode; NULL where there is
 * none (now). Also brings in step what translated code relies on: the jump tables with the mode,
 * the units with CR4, the TSC's offset. False: code is not translated in the state that the CPU is
 * in; *mode is as it was. */
bool unit_here(struct bt *bt, bool hot, struct bt_mode *mode, struct bt_unit **unit);

#endif
