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

#include <Zydis/Zydis.h>

typedef void stub_code(struct cpu *cpu, void *memory);

enum stub_memory {
	STUB_NO_MEMORY,
	STUB_READ,
	STUB_WRITE,
	STUB_READ_WRITE,
	STUB_GATHER,       /* VSIB, gather or scatter: emulated element by element */
	STUB_MASKED_READ,  /* faults suppressed by a mask: VMASKMOV, AVX-512 masks, */
	STUB_MASKED_WRITE, /* MASKMOVDQU, compress and expand */
};

struct stub {
	stub_code *code;
	uint8_t check;       /* enum fpu_class */
	uint8_t memory;      /* enum stub_memory */
	uint8_t tag_offset;  /* of the TLB tag to compare, in struct tlb_entry */
	uint8_t memory_size; /* bytes, up to 64 */
	uint8_t alignment;   /* #GP(0) unless the address is a multiple (MOVAPS...); 1: none */
	uint8_t natural_alignment; /* #AC, where a program has asked for that, unless it is a
				      multiple */
	bool misaligned_mode;      /* ... except where MXCSR.MM is set */
	/* VCVTPS2PH on Intel's processors: its floating-point exceptions come before its store's,
	 * so it is run as a masked store even where it has no mask. */
	bool computes_first;
	bool locked; /* LOCK prefix, or XCHG */
	bool x87;    /* records fip, fdp, fop */
	bool waits;  /* x87 or MMX: raises a pending exception first */
	uint16_t fop;
	const struct stub_elements
		*elements; /* of a masked operand, gather or scatter; else NULL */
};

/* What a segment check needs to know. */
static inline bool stub_writes(const struct stub *stub)
{
	return stub->memory == STUB_WRITE || stub->memory == STUB_READ_WRITE ||
	       stub->memory == STUB_MASKED_WRITE;
}

struct stub_cache;
#define STUB_FULL ((const struct stub *)1)

/* A cache with up to `limit` bytes of code memory (used pages only are backed). NULL, with a
 * message, where the host refuses. Sets cpu->native_start and native_end. */
struct stub_cache *stub_cache_create(struct cpu *cpu, size_t limit);
void stub_cache_destroy(struct stub_cache *cache);
/* Forget all stubs; every `const struct stub *` becomes invalid. */
void stub_cache_reset(struct stub_cache *cache);

/* The stub for a decoded instruction, made if there is none yet. NULL: not an instruction a stub
 * can run (control flow, stack, string or system instruction, state images of fpu.h, a bit string
 * addressed by register, LEA) or one that the guest's CPUID does not show: the caller, having
 * sorted out its own, raises #UD. `bytes` is what was decoded; the stub lives as long as the cache.
 */
const struct stub *stub_get(struct stub_cache *cache, const ZydisDecodedInstruction *instruction,
	const ZydisDecodedOperand *operands, const uint8_t *bytes);

/* What stub_run() does where the operand is not plainly in RAM under a TLB hit. */
bool stub_run_slow(struct cpu *cpu, const struct stub *stub, uint64_t linear);

/* The last x87 instruction and operand, which the host's unit would give as host addresses. */
static inline void stub_record_x87(struct cpu *cpu, const struct stub *stub, uint64_t linear)
{
	cpu->fpu.fip = cpu->rip;
	cpu->fpu.fcs = cpu->segment[SEG_CS].selector;
	cpu->fpu.fop = stub->fop;
	if (stub->memory != STUB_NO_MEMORY)
		cpu->fpu.fdp = linear;
}

/* Execute: checks, address translation of the operand at `linear` (already segment-checked), bounce
 * buffer for crossing or device memory, the native code. Raises, so cpu->rip must be true; state is
 * then as before the instruction, except that gathers and scatters leave their progress as the
 * architecture says. Returns true where the store hit code that this or another vCPU has decoded
 * (see access_written()). For STUB_GATHER `linear` is the address without the index register. For
 * it and for masked operands in 64-bit mode `linear` must not be checked for canonical form before:
 * only the elements that are accessed are, here. */
static inline bool stub_run(struct cpu *cpu, const struct stub *stub, uint64_t linear)
{
	const struct tlb_entry *entry;
	void *pointer;

	fpu_check(cpu, stub->check);
	if (stub->memory == STUB_NO_MEMORY) {
		stub->code(cpu, NULL);
		if (stub->x87)
			stub_record_x87(cpu, stub, linear);
		return false;
	}
	entry = access_tlb(cpu, linear);
	if (unlikely(*(const uint64_t *)((const char *)entry + stub->tag_offset) !=
			     (linear & PAGE_MASK) ||
		     (linear & ~PAGE_MASK) + stub->memory_size > PAGE_SIZE ||
		     (linear & (stub->alignment - 1)) || stub->memory == STUB_GATHER))
		return stub_run_slow(cpu, stub, linear);

	pointer = (void *)(linear + entry->addend);
	stub->code(cpu, pointer);
	if (stub->x87)
		stub_record_x87(cpu, stub, linear);
	return stub_writes(stub) && access_written(cpu, pointer, stub->memory_size);
}

#endif
