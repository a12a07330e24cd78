/* What the translator knows at a point of a unit, and so need not check again.
 *
 * Where an access has succeeded, its address was in the zone it was checked for. As long as the
 * registers that made the address change by constants only, other addresses made of them cannot
 * have gone farther than those constants say, and a window's guards are 64 GiB wide: such an access
 * needs no check. If it has left the window it faults, and the interpreter runs it.
 *
 *	mov rax, [rdi]		checked: rdi is in zone z
 *	mov rdx, [rdi + 8]	not checked
 *	add rdi, 16		still within 16 bytes of it
 *	mov [rdi], rdx		not checked; having succeeded, rdi itself is in zone z again
 *
 * Not every instruction that succeeds has touched its operand (guest_insn.touches);
 * tests/oracle/touch.c asks the host's processor.
 *
 * For a loop that is enough if what is known at its end includes what was assumed at its start. */
#ifndef VENEER_ENGINE_BT_FACTS_H
#define VENEER_ENGINE_BT_FACTS_H

#include <stdbool.h>
#include <stdint.h>

struct guest_insn;
struct translator;

/* An address less its displacement: guest registers, -1 where there is none. */
struct expression {
	int8_t base, index;
	uint8_t scale; /* 1, 2, 4, 8; 0 without index */
};

struct fact {
	struct expression e;
	bool valid;
	uint32_t zone;
	int64_t at; /* expression + at was in a slot of `zone` */
};

#define MAX_FACTS 8

struct facts {
	struct fact fact[MAX_FACTS];
	unsigned next;
	uint16_t narrow; /* registers whose upper 32 bits are zero */
	bool stack;      /* RSP + stack_at has been used: it was in its window */
	int64_t stack_at;
	/* at least so many of the vector registers are the host's: enum bt_vectors */
	uint8_t vectors;
};

/* The expression of instruction i's memory operand; false: not one that facts are about. */
bool facts_expression(const struct translator *t, unsigned i, struct expression *e);
/* The zone (bt.h) in which expression + disp lies, or so near to it that a guard catches it; or -1.
 * */
int facts_zone(const struct facts *f, const struct expression *e, int64_t disp);
/* Does instruction i access the stack near the host's RSP, so that it faults where that is outside
 * its window? Not through the soft TLB. */
bool facts_uses_stack(const struct translator *t, unsigned i);
/* The same, and where it succeeds it has touched it. */
bool facts_touches_stack(const struct translator *t, unsigned i);
/* What is known after instruction i. */
void facts_after(const struct translator *t, struct facts *f, unsigned i);
/* What is known after instructions first to last, if `f` is before them: along the straight run and
 * the branches forward within it. */
void facts_walk(const struct translator *t, struct facts *f, unsigned first, unsigned last);
/* Keep what both know. */
void facts_meet(struct facts *f, const struct facts *other);
/* A branch leads to instruction `insn` with f known: keep in join[insn] what is known on all of
 * them, and in *joined a bit for each instruction with such a branch. */
void facts_join(struct facts *join, uint64_t *joined, unsigned insn, const struct facts *f);
/* Does f include all of `needed`? */
bool facts_include(const struct facts *f, const struct facts *needed);
/* The largest part of `f` that holds at instruction `head` each time around, if it holds the first
 * time, for a loop whose last instruction is `back`. */
void facts_of_loop(const struct translator *t, struct facts *f, unsigned head, unsigned back);

#endif
