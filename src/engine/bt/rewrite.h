/* One guest instruction as host code: the same bytes, with general registers renamed and the memory
 * operand replaced. This is "identical translation", as far as it goes. */
#ifndef VENEER_ENGINE_BT_REWRITE_H
#define VENEER_ENGINE_BT_REWRITE_H

#include "engine/bt/emit.h"

struct rewrite {
	const ZydisDecodedInstruction *in;
	const ZydisDecodedOperand *operands;
	const uint8_t *bytes;
	uint8_t host[16]; /* guest register to host register */
	bool high_is_low; /* what is AH to BH in the guest is AL to BL here */
	const struct host_memory
		*memory; /* instead of the memory operand; NULL where there is none */
};

/* Emit it. The caller has seen to it that it can be expressed: no REX prefix may be needed where
 * AH to BH are named. */
void rewrite_emit(struct code *c, const struct rewrite *rewrite);

/* verify_rewrite.c: what is wrong with the `size` bytes at `made`, which are to be the instruction
 * so rewritten? NULL: nothing. Reads no more than these bytes. */
const char *rewrite_difference(const struct rewrite *rewrite, const uint8_t *made, unsigned size);

#endif
