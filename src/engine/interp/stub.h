/* Generated stubs: one guest SIMD, x87 or rare integer instruction, run natively.
 *
 * A stub is host code made from the guest instruction's own bytes, with its memory operand
 * redirected to a pointer we pass, and its register operands loaded from and stored to struct cpu
 * around it. So the host's own unit computes, and rounding, flags and exceptions are exactly the
 * processor's. Stubs do not depend on addresses: equal instruction forms share one.
 *
 * A cache belongs to one vCPU and is used on its thread only, so nothing here locks. Its code
 * memory is mapped twice, once to write and once to execute. When it is full, stub_get() gives
 * STUB_FULL: the engine drops its decoded blocks, which hold pointers to stubs, calls
 * stub_cache_reset() and decodes again. */
#ifndef VENEER_ENGINE_INTERP_STUB_H
#define VENEER_ENGINE_INTERP_STUB_H

#include "cpu/access.h"
#include "cpu/cpu.h"
#include "cpu/fpu.h"
#include "isa/native.h"

typedef void stub_code(struct cpu *cpu, void *memory);

struct stub {
	stub_code *code;
	struct native_rules rules;
	uint8_t tag_offset; /* of the TLB tag to compare, in struct tlb_entry */
	const struct native_elements
		*elements; /* of a masked operand, gather or scatter; else NULL */
};

struct stub_cache;
#define STUB_FULL ((const struct stub *)1)

/* A cache with up to `limit` bytes of code memory (used pages only are backed). NULL, with a
 * message, where the host refuses. Sets cpu->native_start and native_end. */
struct stub_cache *stub_cache_create(struct cpu *cpu, size_t limit);
void stub_cache_destroy(struct stub_cache *cache);
/* Forget all stubs; every `const struct stub *` becomes invalid. */
void stub_cache_reset(struct stub_cache *cache);

/* The stub for a decoded instruction, made if there is none yet. NULL: it cannot run natively (see
 * native_select()): the caller, having sorted out its own, raises #UD. `bytes` is what was decoded;
 * the stub lives as long as the cache. */
const struct stub *stub_get(struct stub_cache *cache, const ZydisDecodedInstruction *instruction,
	const ZydisDecodedOperand *operands, const uint8_t *bytes);

/* What stub_run() does where the operand is not plainly in RAM under a TLB hit. */
bool stub_run_slow(struct cpu *cpu, const struct stub *stub, uint64_t linear);

/* The last x87 instruction and operand, which the host's unit would give as host addresses. */
static inline void stub_record_x87(struct cpu *cpu, const struct stub *stub, uint64_t linear)
{
	cpu->fpu.fip = cpu->rip;
	cpu->fpu.fcs = cpu->segment[SEG_CS].selector;
	cpu->fpu.fop = stub->rules.fop;
	if (stub->rules.memory != NATIVE_NO_MEMORY)
		cpu->fpu.fdp = linear;
}

/* Execute: checks, address translation of the operand at `linear` (already segment-checked), bounce
 * buffer for crossing or device memory, the native code. Raises, so cpu->rip must be true; state is
 * then as before the instruction, except that gathers and scatters leave their progress as the
 * architecture says. Returns true where the store hit code that this or another vCPU has decoded
 * (see access_written()). For NATIVE_GATHER `linear` is the address without the index register. For
 * it and for masked operands in 64-bit mode `linear` must not be checked for canonical form before:
 * only the elements that are accessed are, here. */
static inline bool stub_run(struct cpu *cpu, const struct stub *stub, uint64_t linear)
{
	const struct tlb_entry *entry;
	void *pointer;

	fpu_check(cpu, stub->rules.check);
	if (stub->rules.memory == NATIVE_NO_MEMORY) {
		stub->code(cpu, NULL);
		if (stub->rules.x87)
			stub_record_x87(cpu, stub, linear);
		return false;
	}
	entry = access_tlb(cpu, linear);
	if (unlikely(*(const uint64_t *)((const char *)entry + stub->tag_offset) !=
			     (linear & PAGE_MASK) ||
		     (linear & ~PAGE_MASK) + stub->rules.memory_size > PAGE_SIZE ||
		     (linear & (stub->rules.alignment - 1)) || stub->rules.memory == NATIVE_GATHER))
		return stub_run_slow(cpu, stub, linear);

	pointer = (void *)(linear + entry->addend);
	stub->code(cpu, pointer);
	if (stub->rules.x87)
		stub_record_x87(cpu, stub, linear);
	return native_writes(&stub->rules) && access_written(cpu, pointer, stub->rules.memory_size);
}

#endif
