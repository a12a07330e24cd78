/* A run of guest instructions, decoded and classified. */
#ifndef VENEER_ENGINE_BT_ANALYZE_H
#define VENEER_ENGINE_BT_ANALYZE_H

#include "engine/bt/unit.h"

/* Decode and classify from `bytes` (of one page, `available` of them) on, at `rip`. Returns the
 * number of instructions; 0: nothing worth a unit. t->count is the number of those decoded. */
unsigned analyze(struct translator *t, const uint8_t *bytes, unsigned available, uint64_t rip);
/* The same for one instruction, whose bytes may be of two pages. */
unsigned analyze_one(struct translator *t, const uint8_t *bytes, unsigned available, uint64_t rip);

/* guest_kind_row.recognise */
bool recognise_lea(const struct translator *t, struct guest_insn *g);
bool recognise_hint(const struct translator *t, struct guest_insn *g);
bool recognise_push_pop(const struct translator *t, struct guest_insn *g);
bool recognise_leave(const struct translator *t, struct guest_insn *g);
bool recognise_stack_write(const struct translator *t, struct guest_insn *g);
bool recognise_mov(const struct translator *t, struct guest_insn *g);
bool recognise_jcc(const struct translator *t, struct guest_insn *g);
bool recognise_branch(const struct translator *t, struct guest_insn *g);
bool recognise_ret(const struct translator *t, struct guest_insn *g);

#endif
