/* What instructions of one shape decode to.
 *
 * Programs are made of few shapes: instructions that differ in nothing but their displacement and
 * their immediate. Decoding one from its bytes takes Zydis some 200 ns, putting two numbers into
 * what came out for another of its shape a tenth of that. */
#ifndef VENEER_ISA_DECODE_CACHE_H
#define VENEER_ISA_DECODE_CACHE_H

#include "isa/decode.h"

struct decode_cache;

/* For one model, and one thread at a time. NULL: no memory. */
struct decode_cache *decode_cache_create(const struct cpu_model *model);
/* NULL is allowed. */
void decode_cache_destroy(struct decode_cache *cache);

/* isa_decode() of 64-bit code for the cache's model, with the same answer in all that it fills in.
 */
enum isa_status decode_cached(struct decode_cache *cache, const uint8_t *bytes, size_t available,
	ZydisDecodedInstruction *instruction, ZydisDecodedOperand *operands);

#endif
