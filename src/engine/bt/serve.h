/* Serving exits. */
#ifndef VENEER_ENGINE_BT_SERVE_H
#define VENEER_ENGINE_BT_SERVE_H

#include "engine/bt/bt.h"

/* Where translated code goes on, and R10 there: glue_enter()'s arguments. `entry` 0: nowhere, the
 * run loop decides what comes next. */
struct next {
	uintptr_t entry;
	uint64_t r10;
};

/* Enter a unit at cpu->rip. */
static inline struct next enter_unit(struct bt *bt, const struct bt_unit *unit)
{
	bt->run.base = bt->cpu->rip - unit->rip;
	return (struct next){unit->entry, 0};
}

/* Serve exit `id`. `*mode` is the mode at the exit, and on return that of where to go on. */
struct next serve_exit(struct bt *bt, uint32_t id, struct bt_mode *mode);

/* What bt->run.young_left begins with in an address space. */
unsigned bt_young_runs(const struct bt *bt);

#endif
