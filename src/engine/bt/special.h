/* System instructions done in place: STI, SWAPGS, PUSHFQ, RDTSC and the like. */
#ifndef VENEER_ENGINE_BT_SPECIAL_H
#define VENEER_ENGINE_BT_SPECIAL_H

#include "engine/bt/unit.h"

/* The bits of CR4 that decide whether these instructions exist. The units made under other bits
 * must be dropped when they change. */
#define CR4_ASSUMED (CR4_TSD | CR4_FSGSBASE | CR4_SMAP | CR4_PKE)

/* guest_kind_row.recognise: can it be done in place? */
bool special_for_kernel(const struct translator *t, struct guest_insn *g);
bool special_smap(const struct translator *t, struct guest_insn *g);
bool special_cld(const struct translator *t, struct guest_insn *g);
bool special_pause(const struct translator *t, struct guest_insn *g);
bool special_pushfq(const struct translator *t, struct guest_insn *g);
bool special_rdtsc(const struct translator *t, struct guest_insn *g);
bool special_rdpkru(const struct translator *t, struct guest_insn *g);
bool special_base(const struct translator *t, struct guest_insn *g);
bool special_mov_cr2(const struct translator *t, struct guest_insn *g);

/* guest_kind_row.translate */
void translate_sti(struct translator *t, unsigned i);
void translate_swapgs(struct translator *t, unsigned i);
void translate_pause(struct translator *t, unsigned i);
void translate_pushfq(struct translator *t, unsigned i);
void translate_rdtsc(struct translator *t, unsigned i);
void translate_rdpkru(struct translator *t, unsigned i);
void translate_read_base(struct translator *t, unsigned i);
void translate_write_base(struct translator *t, unsigned i);
void translate_mov_cr2(struct translator *t, unsigned i);

/* A transfer between user and kernel that is the interpreter's, but quicker called straight; else
 * NULL. */
void (*special_routine(const struct guest_insn *g))(struct cpu *cpu);

#endif
