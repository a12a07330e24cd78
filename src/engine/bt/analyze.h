/* A run of guest instructions, decoded and classified. */
#ifndef VENEER_ENGINE_BT_ANALYZE_H
#define VENEER_ENGINE_BT_ANALYZE_H

#include "engine/bt/unit.h"

/* Decode and classify from `bytes` (of one page, `available` of them) on, at `rip`. Returns the
 * number of instructions; 0: nothing worth a unit. */
unsigned analyze(struct translator *t, const uint8_t *bytes, unsigned available, uint64_t rip);

#endif
