/* Stubs whose memory operand is not simply RAM: it crosses a page, is a device's, misses the TLB,
 * is misaligned, or only some of its elements exist.
 *
 * The way out is a bounce buffer: read the operand into it, run the stub on it, write it back. All
 * that may fault is done before the stub runs, so the guest sees either nothing or everything.
 *
 * Masked operands may only fault, and may only be written, where the mask says so. For a load the
 * mask is evaluated here. For a store the processor itself tells: run the stub on a buffer of
 * zeroes and on one of ones; bytes that come out equal were stored. That needs no knowledge of any
 * instruction (VPCOMPRESS, MASKMOVQ and AVX-512 stores all obey), and nothing but the buffer
 * changes twice.
 *
 * Gathers and scatters run element by element in C. They are allowed to stop half way, with the
 * finished elements taken out of the mask, and that is what happens if an element faults. */
#include "cpu/segmentation.h"
#include "engine/interp/stub_internal.h"

#include <string.h>

#define BOUNCE_SIZE 64

struct bounce {
	uint8_t data[BOUNCE_SIZE];
} __attribute__((aligned(64)));

/* --- plain operands --- */

/* A buffer with the operand's alignment, where that is for the processor to judge. */
struct misaligned_bounce {
	uint8_t data[2 * BOUNCE_SIZE];
} __attribute__((aligned(64)));

/* #AC, which a program asks for with EFLAGS.AC. The view's TLB is never filled then, so all its
 * accesses come here. */
static void check_natural_alignment(struct cpu *cpu, const struct stub *stub, uint64_t linear)
{
	if (unlikely(cpu->tlb == cpu->tlb_views[TLB_USER_ALIGNED] &&
		     (linear & (stub->rules.natural_alignment - 1))))
		cpu_raise_error(cpu, VECTOR_AC, 0);
}

static void check_alignment(struct cpu *cpu, const struct stub *stub, uint64_t linear)
{
	if (likely(!(linear & (stub->rules.alignment - 1))))
		return;
	if (stub->rules.misaligned_mode && (fpu_stmxcsr(cpu) & MXCSR_MM))
		return;
	cpu_raise_error(cpu, VECTOR_GP, 0);
}

static void run_bounced(struct cpu *cpu, const struct stub *stub, uint64_t linear)
{
	enum access_mode mode = ACCESS_PROGRAM;
	struct bounce bounce;

	if (stub->rules.memory != NATIVE_READ)
		access_probe_write(cpu, linear, stub->rules.memory_size, mode);
	/* An x87 store with an unmasked exception stores nothing: then the old bytes are put back.
	 */
	if (stub->rules.memory != NATIVE_WRITE || stub->rules.x87)
		access_read(cpu, linear, bounce.data, stub->rules.memory_size, mode);
	stub->code(cpu, bounce.data);
	if (stub->rules.memory != NATIVE_READ)
		access_write(cpu, linear, bounce.data, stub->rules.memory_size, mode);
}

struct locked_stub {
	const struct stub *stub;
	uint64_t linear;
};

static void bounce_locked(struct cpu *cpu, const void *opaque)
{
	const struct locked_stub *locked = opaque;

	run_bounced(cpu, locked->stub, locked->linear);
}

/* A locked access that crosses a page, or that has no host pointer for other reasons. True where it
 * hit code. */
static bool run_locked(struct cpu *cpu, const struct stub *stub, uint64_t linear)
{
	void *pointer = access_locked_pointer(cpu, linear, stub->rules.memory_size);

	if (!pointer) {
		access_locked_work(cpu, bounce_locked, &(struct locked_stub){stub, linear});
		return true;
	}
	stub->code(cpu, pointer);
	return access_locked_written(cpu, linear, stub->rules.memory_size);
}

/* --- masked operands --- */

static uint64_t ones(unsigned count)
{
	return count >= 64 ? ~UINT64_C(0) : BIT(count) - 1;
}

/* Which of the operand's elements in memory a masked load reads: bit n for element n. */
static uint64_t active_elements(const struct cpu *cpu, const struct native_elements *elements)
{
	uint64_t mask = 0, active = 0;

	switch (elements->kind) {
	case ELEMENTS_VECTOR:
		for (unsigned i = 0; i < elements->count; i++) {
			const uint8_t *element = cpu->fpu.zmm[elements->mask] + i * elements->size;

			mask |= (uint64_t)(element[elements->size - 1] >> 7) << i;
		}
		return mask;
	case ELEMENTS_EXPAND:
		mask = cpu->fpu.opmask[elements->mask] & ones(elements->count);
		return ones((unsigned)__builtin_popcountll(mask));
	default:
		mask = cpu->fpu.opmask[elements->mask] & ones(elements->count);
		/* A broadcast: element n of the result is element n mod memory_count of memory. */
		for (unsigned i = 0; i < elements->count; i += elements->memory_count)
			active |= (mask >> i) & ones(elements->memory_count);
		return active;
	}
}

/* The caller has not looked at the address, because inactive elements may be anywhere. */
static void check_element(struct cpu *cpu, const struct stub *stub, uint64_t linear, unsigned size)
{
	if (likely(!cpu_code64(cpu) ||
		    (cpu_canonical(cpu, linear) && cpu_canonical(cpu, linear + size - 1))))
		return;
	cpu_raise_error(cpu, stub->elements->segment == SEG_SS ? VECTOR_SS : VECTOR_GP, 0);
}

/* A move that requires alignment, at a misaligned address. Whether it faults if no element is
 * accessed is the processor's choice, so let it choose: there is nothing to access if it does
 * not. */
static bool run_misaligned(struct cpu *cpu, const struct stub *stub, uint64_t linear)
{
	struct misaligned_bounce bounce = {{0}};

	if (likely(!(linear & (stub->rules.alignment - 1))))
		return false;
	stub->code(cpu, bounce.data + (linear & (BOUNCE_SIZE - 1)));
	return true;
}

static void run_masked_read(struct cpu *cpu, const struct stub *stub, uint64_t linear)
{
	const struct native_elements *elements = stub->elements;
	uint64_t active = active_elements(cpu, elements);
	struct bounce bounce = {{0}};

	for (unsigned i = 0; i < elements->memory_count; i++) {
		if (!(active & BIT(i)))
			continue;
		check_element(cpu, stub, linear + i * elements->size, elements->size);
		check_natural_alignment(cpu, stub, linear);
		access_read(cpu, linear + i * elements->size, bounce.data + i * elements->size,
			elements->size, ACCESS_PROGRAM);
	}
	stub->code(cpu, bounce.data);
}

/* The first run of stored bytes at or after *start; its size, or 0. */
static unsigned next_run(
	const struct bounce *zeroes, const struct bounce *ones, unsigned size, unsigned *start)
{
	unsigned end;

	while (*start < size && zeroes->data[*start] != ones->data[*start])
		++*start;
	for (end = *start; end < size && zeroes->data[end] == ones->data[end];)
		end++;
	return end - *start;
}

/* Raise what a store of these bytes would, page by page. They are pieces of an operand, so their
 * own alignment is not checked. */
static void probe_run(struct cpu *cpu, uint64_t linear, unsigned size)
{
	uint64_t next_page = (linear | ~PAGE_MASK) + 1;

	access_probe_write(cpu, linear, 1, ACCESS_PROGRAM);
	if (next_page - linear < size)
		access_probe_write(cpu, next_page, 1, ACCESS_PROGRAM);
}

static void run_masked_write(struct cpu *cpu, const struct stub *stub, uint64_t linear)
{
	enum access_mode mode = ACCESS_PROGRAM;
	uint32_t mxcsr = fpu_stmxcsr(cpu);
	struct bounce zeroes, ones;
	unsigned size;

	memset(zeroes.data, 0, sizeof(zeroes.data));
	memset(ones.data, 0xff, sizeof(ones.data));
	/* A store that faults raises no floating-point exception, and no flag: not yet. */
	if (!stub->rules.computes_first)
		fpu_ldmxcsr(cpu, mxcsr | MXCSR_MASKS);
	stub->code(cpu, zeroes.data);
	stub->code(cpu, ones.data);
	if (!stub->rules.computes_first)
		fpu_ldmxcsr(cpu, mxcsr);
	if (!stub->elements->suppresses) {
		check_element(cpu, stub, linear, stub->rules.memory_size);
		check_natural_alignment(cpu, stub, linear);
		probe_run(cpu, linear, stub->rules.memory_size);
	}
	for (unsigned at = 0; (size = next_run(&zeroes, &ones, stub->rules.memory_size, &at));
		at += size) {
		check_element(cpu, stub, linear + at, size);
		check_natural_alignment(cpu, stub, linear);
		probe_run(cpu, linear + at, size);
	}
	stub->code(cpu, zeroes.data);
	for (unsigned at = 0; (size = next_run(&zeroes, &ones, stub->rules.memory_size, &at));
		at += size)
		access_write(cpu, linear + at, zeroes.data + at, size, mode);
}

/* --- gathers and scatters: their elements are not checked for #AC --- */

static bool take_element(const struct cpu *cpu, const struct native_elements *elements, unsigned i)
{
	if (elements->vector_mask)
		return cpu->fpu.zmm[elements->mask][i * elements->size + elements->size - 1] >> 7;
	return cpu->fpu.opmask[elements->mask] & BIT(i);
}

static void finish_element(struct cpu *cpu, const struct native_elements *elements, unsigned i)
{
	if (elements->vector_mask)
		memset(cpu->fpu.zmm[elements->mask] + i * elements->size, 0, elements->size);
	else
		cpu->fpu.opmask[elements->mask] &= ~BIT(i);
}

static uint64_t element_offset(
	const struct cpu *cpu, const struct native_elements *elements, uint64_t base, unsigned i)
{
	uint64_t index = 0, offset;

	memcpy(&index, cpu->fpu.zmm[elements->index] + i * elements->index_size,
		elements->index_size);
	offset = base + bits_sign_extend(index, elements->index_size) * elements->scale;
	return bits_zero_extend(offset, elements->address_bits / 8);
}

static void clear_above(uint8_t *data, unsigned used)
{
	memset(data + used, 0, 64 - used);
}

/* Intel's processors make a whole mask vector ones and zeroes before the first element is accessed,
 * as the SDM's VGATHERDPS says, those elements too that have no index; AMD's leave elements that
 * were not reached. */
static void normalise_mask(struct cpu *cpu, const struct native_elements *elements)
{
	uint8_t *mask = cpu->fpu.zmm[elements->mask];

	for (unsigned i = 0; i < elements->vector_size / elements->size; i++)
		memset(mask + i * elements->size, take_element(cpu, elements, i) ? 0xff : 0,
			elements->size);
	clear_above(mask, elements->vector_size);
}

static void run_indexed(struct cpu *cpu, const struct stub *stub, uint64_t linear)
{
	const struct native_elements *elements = stub->elements;
	enum access_mode mode = ACCESS_PROGRAM;
	enum seg segment = elements->segment;
	uint8_t *data = cpu->fpu.zmm[elements->data];
	uint64_t base = linear;

	if (!cpu_code64(cpu) || segment == SEG_FS || segment == SEG_GS)
		base -= cpu->segment_base[segment];
	if (elements->vector_mask && !cpu->amd)
		normalise_mask(cpu, elements);
	for (unsigned i = 0; i < elements->count; i++) {
		uint64_t at;

		if (!take_element(cpu, elements, i)) {
			finish_element(cpu, elements, i);
			continue;
		}
		at = segment_linear(cpu, segment, element_offset(cpu, elements, base, i),
			elements->size, elements->scatter);
		if (elements->scatter) {
			access_write(cpu, at, data + i * elements->size, elements->size, mode);
		} else {
			access_read(cpu, at, data + i * elements->size, elements->size, mode);
			/* AVX-512 forms write whole vectors from the first element on, although a
			 * later one may fault; Intel's processors do so for AVX2 forms too. (The
			 * manuals leave it open.) */
			if (!elements->vector_mask || !cpu->amd)
				clear_above(data, elements->vector_size);
		}
		finish_element(cpu, elements, i);
	}
	if (!elements->scatter)
		clear_above(data, elements->count * elements->size);
	if (elements->vector_mask)
		memset(cpu->fpu.zmm[elements->mask], 0, 64);
	else
		cpu->fpu.opmask[elements->mask] = 0;
}

/* --- all together --- */

bool stub_run_slow(struct cpu *cpu, const struct stub *stub, uint64_t linear)
{
	void *pointer;

	if (stub->rules.memory == NATIVE_GATHER) {
		run_indexed(cpu, stub, linear);
		return stub->elements->scatter;
	}
	/* A pending x87 exception comes before anything that memory may raise. */
	if (stub->rules.waits)
		fpu_raise_pending(cpu);
	if (stub->rules.memory == NATIVE_MASKED_READ) {
		if (!run_misaligned(cpu, stub, linear))
			run_masked_read(cpu, stub, linear);
		return false;
	}
	if (stub->rules.memory == NATIVE_MASKED_WRITE) {
		if (!run_misaligned(cpu, stub, linear))
			run_masked_write(cpu, stub, linear);
		return true;
	}
	check_alignment(cpu, stub, linear);
	check_natural_alignment(cpu, stub, linear);
	pointer = access_pointer(
		cpu, linear, stub->rules.memory_size, stub->rules.memory != NATIVE_READ);
	if (pointer) {
		stub->code(cpu, pointer);
	} else if (stub->rules.locked) {
		return run_locked(cpu, stub, linear);
	} else {
		run_bounced(cpu, stub, linear);
	}
	if (stub->rules.x87)
		stub_record_x87(cpu, stub, linear);
	if (pointer && stub->rules.memory != NATIVE_READ)
		return access_written(cpu, pointer, stub->rules.memory_size);
	return stub->rules.memory != NATIVE_READ;
}
