/* Generated stubs: one guest SIMD, x87 or rare integer instruction, run natively.
 *
 * A stub is host code made from the guest instruction's own bytes, with its memory operand redirected to a
 * pointer we pass, and its register operands loaded from and stored to struct cpu around it. So the host's own unit
 * computes, and rounding, flags and exceptions are exactly the processor's. Stubs do not depend on addresses: equal
 * instruction forms share one. */
#ifndef VENEER_ENGINE_INTERP_STUB_H
#define VENEER_ENGINE_INTERP_STUB_H

#include "cpu/cpu.h"
#include "cpu/fpu.h"

#include <Zydis/Zydis.h>

typedef void stub_code(struct cpu *cpu, void *memory);

enum stub_memory {
	STUB_NO_MEMORY,
	STUB_READ,
	STUB_WRITE,
	STUB_READ_WRITE,
	STUB_GATHER, /* VSIB: emulated element by element, see stub_run() */
	STUB_MASKED, /* fault suppression by mask: VMASKMOV, AVX-512 masks, MASKMOVDQU */
};

struct stub {
	stub_code *code;
	enum fpu_class check;
	bool check_needed; /* false for integer instructions */
	enum stub_memory memory;
	uint16_t memory_size; /* bytes, up to 64 (and 108/512 never: state images are in fpu.h) */
	uint16_t alignment; /* #GP(0) unless the address is a multiple (MOVAPS...); 1: none */
	bool x87; /* records fip, fdp, fop */
	uint16_t fop;
	struct stub_masked *masked; /* how to find the active elements; NULL else */
};

struct stub_cache;
/* Shared by all vCPUs; locks itself. Code memory is mapped twice (write, execute), bounded to `limit` bytes. */
struct stub_cache *stub_cache_create(size_t limit);
void stub_cache_destroy(struct stub_cache *cache);

/* The stub for a decoded instruction, made if there is none yet. NULL: not an instruction a stub can run (a
 * system instruction, or one the host does not have): the caller raises #UD. The stub lives as long as the cache. */
const struct stub *stub_get(struct stub_cache *cache, const ZydisDecodedInstruction *instruction,
	const ZydisDecodedOperand *operands, const uint8_t *bytes);

/* Execute: checks, address translation of the operand at `linear` (already segment-checked), bounce buffer for crossing
 * or device memory, the native code. Raises. Returns true where the store hit code of this CPU's
 * current block (see access_written()). For STUB_GATHER `linear` is the base without the index register. */
bool stub_run(struct cpu *cpu, const struct stub *stub, uint64_t linear);

#endif
