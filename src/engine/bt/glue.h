/* The generated code between C and units. */
#ifndef VENEER_ENGINE_BT_GLUE_H
#define VENEER_ENGINE_BT_GLUE_H

#include "engine/bt/bt.h"

/* Generate it at the start of the code area; sets bt->glue and bt->code.units_start. */
void glue_generate(struct bt *bt);

/* Run translated code from `entry` on, guest state taken from and left in struct cpu; returns the
 * ID of the exit that it came back by. GLUE_NOT_ENTERED: cpu->attention was set, nothing has
 * happened. */
#define GLUE_NOT_ENTERED UINT32_MAX
uint32_t glue_enter(struct bt *bt, uintptr_t entry, uint64_t r10);

#endif
