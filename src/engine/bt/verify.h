/* --verify: every unit in lockstep with the interpreter.
 *
 * Before a unit runs, the interpreter runs the same instructions, with every register and every
 * byte of memory that it changes written down, and all of it is undone. When the unit has come
 * back, to wherever, the state must be the one that the interpreter had there. */
#ifndef VENEER_ENGINE_BT_VERIFY_H
#define VENEER_ENGINE_BT_VERIFY_H

#include "engine/bt/bt.h"

struct rewrite;

/* All of these do nothing without bt->options.verify. */

/* Of the code at `at`, `size` bytes have just been made by rewrite_emit(), and are not yet run: is
 * that the instruction that was to be copied? Where not, this is reported, and the vCPU is told to
 * stop. */
void verify_rewritten(struct bt *bt, const struct rewrite *rewrite, uintptr_t at, unsigned size);
/* Constants in the code of `unit` have been replaced: its plan is out of date. */
void verify_changed(struct bt_unit *unit);
/* `unit` will be entered at its entry, in the state that the CPU has now. */
void verify_begin(struct bt *bt, struct bt_unit *unit);
/* Translated code came back by exit `id`, which has not been served yet. False: it has done
 * something else than the interpreter. That has been reported, and the vCPU is told to stop. */
bool verify_exit(struct bt *bt, uint32_t id);
/* Has there been a difference? */
bool verify_failed(const struct bt *bt);
void verify_destroy(struct bt *bt);

/* For --stats. */
struct verify_counts {
	uint64_t runs;       /* units entered */
	uint64_t compared;   /* exits at which all state was compared */
	uint64_t incomplete; /* exits behind something that cannot be run twice */
	uint64_t raced; /* something the unit read was changed from outside, and so the outcome */
};
struct verify_counts verify_counts(const struct bt *bt);

#endif
