/* String instructions, with and without REP (SDM vol. 2B, REP).
 *
 * A repeated instruction may be interrupted between any two elements, so the registers are brought
 * up to date as it goes and it is restarted by leaving cpu->next_rip at the instruction itself.
 * That happens when attention is wanted, and after each element when single-stepping.
 *
 * MOVS and STOS are what memmove and memset are made of: runs within one page on both sides,
 * upwards or downwards, are done on host pointers. So are runs of INS and OUTS, upwards, at a port
 * whose device takes them at once. */
#include "engine/interp/ops.h"
#include "cpu/instruction.h"
#include "cpu/segmentation.h"

#include <string.h>

struct string_op {
	struct cpu *cpu;
	const struct insn *in;
	unsigned size;
	uint64_t address_mask;
	int64_t step;
	bool repeated;
};

static struct string_op string_begin(struct cpu *cpu, const struct insn *in)
{
	bool down = cpu->system_flags & RFLAGS_DF;

	return (struct string_op){
		.cpu = cpu,
		.in = in,
		.size = in->size,
		.address_mask = in->attributes & INSN_ADDRESS_16   ? UINT16_MAX
				: in->attributes & INSN_ADDRESS_32 ? UINT32_MAX
								   : ~UINT64_C(0),
		.step = down ? -(int64_t)in->size : (int64_t)in->size,
		.repeated = in->attributes & (INSN_REP | INSN_REPNE),
	};
}

/* Advance a register by `elements`, in its address size. */
static void advance(const struct string_op *op, enum gpr reg, uint64_t elements)
{
	uint64_t *gpr = &op->cpu->gpr[reg];
	uint64_t value = *gpr + (uint64_t)op->step * elements;

	if (op->address_mask == UINT16_MAX)
		*gpr = (*gpr & ~(uint64_t)UINT16_MAX) | (value & UINT16_MAX);
	else
		*gpr = value & op->address_mask;
}

static uint64_t remaining(const struct string_op *op)
{
	return op->repeated ? op->cpu->gpr[RCX] & op->address_mask : 1;
}

static void count_down(const struct string_op *op, uint64_t elements)
{
	uint64_t *rcx = &op->cpu->gpr[RCX];

	if (!op->repeated)
		return;
	if (op->address_mask == UINT16_MAX)
		*rcx = (*rcx & ~(uint64_t)UINT16_MAX) | ((*rcx - elements) & UINT16_MAX);
	else
		*rcx = (*rcx - elements) & op->address_mask;
}

/* Done with some elements: go on with the same instruction right now? If not, and there is work
 * left, it will be restarted. */
static bool string_continues(const struct string_op *op)
{
	struct cpu *cpu = op->cpu;

	if (!op->repeated || remaining(op) == 0)
		return false;
	if (!attention(cpu) && !interp_of(cpu)->stepping && !interp_of(cpu)->leave)
		return true;
	cpu->next_rip = cpu->rip;
	return false;
}

static uint64_t string_linear(
	const struct string_op *op, enum gpr reg, enum seg seg, unsigned bytes, bool write)
{
	struct cpu *cpu = op->cpu;
	uint64_t offset = cpu->gpr[reg] & op->address_mask, linear;

	if (!(interp_of(cpu)->mode & MODE_CODE_64))
		return segment_linear(cpu, seg, offset, bytes, write);
	linear = offset + (seg == SEG_FS || seg == SEG_GS ? cpu->segment_base[seg] : 0);
	if (unlikely(!cpu_canonical(cpu, linear) || !cpu_canonical(cpu, linear + bytes - 1)))
		cpu_raise_error(cpu, VECTOR_GP, 0);
	return linear;
}

static uint64_t source_linear(const struct string_op *op)
{
	return string_linear(op, RSI, op->in->segment, op->size, false);
}

static uint64_t destination_linear(const struct string_op *op, bool write)
{
	return string_linear(op, RDI, SEG_ES, op->size, write);
}

/* How many elements from the register's on lie in the segment and in the address size, without
 * wrapping round. The first one has been checked. */
static uint64_t in_segment(const struct string_op *op, enum gpr reg, enum seg seg)
{
	const struct segment *segment = &op->cpu->segment[seg];
	uint64_t offset = op->cpu->gpr[reg] & op->address_mask, first = 0, last = op->address_mask;
	bool limited = !(interp_of(op->cpu)->mode & MODE_CODE_64);

	if (limited && (segment->access & (AR_CODE | AR_EXPAND_DOWN)) == AR_EXPAND_DOWN) {
		first = (uint64_t)segment->limit + 1;
		last = MIN(last, segment->access & AR_DB ? UINT32_MAX : UINT16_MAX);
	} else if (limited) {
		last = MIN(last, segment->limit);
	}
	return op->step < 0 ? (offset - first) / op->size + 1
			    : (last - offset - (op->size - 1)) / op->size + 1;
}

/* How many elements from here on lie in one page, at most `most`: 1 where a run is not simple. */
static uint64_t run_length(const struct string_op *op, uint64_t linear, uint64_t most)
{
	uint64_t offset = linear & ~PAGE_MASK, in_page = (PAGE_SIZE - offset) / op->size;

	if (interp_of(op->cpu)->stepping || in_page == 0 ||
		op->cpu->tlb == op->cpu->tlb_views[TLB_USER_ALIGNED])
		return 1;
	return MIN(op->step < 0 ? offset / op->size + 1 : in_page, most);
}

/* The lowest byte of a run whose first element is at `linear`; NULL where it is not plain RAM.
 * Raises #PF for that element. */
static uint8_t *run_pointer(
	const struct string_op *op, uint64_t linear, uint64_t elements, bool write)
{
	uint8_t *first = access_pointer(op->cpu, linear, op->size, write);

	return first && op->step < 0 ? first - (elements - 1) * op->size : first;
}

/* A target that lies ahead of the source, in the direction of the copy, and overlaps it is filled
 * with a pattern: what is copied first is what is read later. */
static bool repeats(const struct string_op *op, uint64_t source, uint64_t target, uint64_t bytes)
{
	return (op->step < 0 ? source - target : target - source) < bytes;
}

static void note_written(const struct string_op *op, void *host, uint64_t bytes)
{
	if (access_written(op->cpu, host, (unsigned)bytes))
		interp_of(op->cpu)->leave = true;
}

static bool movs_run(const struct string_op *op, uint64_t from, uint64_t to)
{
	uint64_t most = MIN(remaining(op),
		MIN(in_segment(op, RSI, op->in->segment), in_segment(op, RDI, SEG_ES)));
	uint64_t elements = run_length(op, from, run_length(op, to, most));
	uint64_t bytes = elements * op->size;
	uint8_t *source, *target;

	if (elements < 2 || repeats(op, from, to, bytes))
		return false;
	source = run_pointer(op, from, elements, false);
	target = run_pointer(op, to, elements, true);
	if (!source || !target || repeats(op, (uintptr_t)source, (uintptr_t)target, bytes))
		return false;
	memmove(target, source, bytes);
	note_written(op, target, bytes);
	advance(op, RSI, elements);
	advance(op, RDI, elements);
	count_down(op, elements);
	return true;
}

void slow_movs(struct cpu *cpu, const struct insn *in)
{
	struct string_op op = string_begin(cpu, in);
	uint64_t from, to;

	if (remaining(&op) == 0)
		return;
	do {
		from = source_linear(&op);
		to = destination_linear(&op, true);
		if (remaining(&op) > 1 && movs_run(&op, from, to))
			continue;
		slow_store(cpu, to, access_load(cpu, from, op.size, ACCESS_PROGRAM), op.size);
		advance(&op, RSI, 1);
		advance(&op, RDI, 1);
		count_down(&op, 1);
	} while (string_continues(&op));
}

static void fill(uint8_t *target, uint64_t value, unsigned size, uint64_t elements)
{
	if (size == 1) {
		memset(target, (int)(value & 0xff), elements);
		return;
	}
	for (uint64_t i = 0; i < elements; i++)
		memcpy(target + i * size, &value, size);
}

static bool stos_run(const struct string_op *op, uint64_t to)
{
	uint64_t most = MIN(remaining(op), in_segment(op, RDI, SEG_ES));
	uint64_t elements = run_length(op, to, most);
	uint8_t *target;

	if (elements < 2)
		return false;
	target = run_pointer(op, to, elements, true);
	if (!target)
		return false;
	fill(target, op->cpu->gpr[RAX], op->size, elements);
	note_written(op, target, elements * op->size);
	advance(op, RDI, elements);
	count_down(op, elements);
	return true;
}

void slow_stos(struct cpu *cpu, const struct insn *in)
{
	struct string_op op = string_begin(cpu, in);
	uint64_t to;

	if (remaining(&op) == 0)
		return;
	do {
		to = destination_linear(&op, true);
		if (remaining(&op) > 1 && stos_run(&op, to))
			continue;
		slow_store(cpu, to, bits_zero_extend(cpu->gpr[RAX], op.size), op.size);
		advance(&op, RDI, 1);
		count_down(&op, 1);
	} while (string_continues(&op));
}

void slow_lods(struct cpu *cpu, const struct insn *in)
{
	struct string_op op = string_begin(cpu, in);

	if (remaining(&op) == 0)
		return;
	do {
		uint64_t value = access_load(cpu, source_linear(&op), op.size, ACCESS_PROGRAM);

		if (op.size >= 4)
			cpu->gpr[RAX] = value;
		else
			memcpy(&cpu->gpr[RAX], &value, op.size);
		advance(&op, RSI, 1);
		count_down(&op, 1);
	} while (string_continues(&op));
}

/* The flags of `left - right`, as CMP of that size sets them, as AH:AL of LAHF and SETO. */
static uint16_t compare(uint64_t left, uint64_t right, unsigned size)
{
	/* Compare in the top bits: carry, zero, sign and overflow come out right; adjust and
	 * parity, which look at low bits, are taken from a byte compare. */
	unsigned shift = 64 - 8 * size;
	uint64_t wide, low;

	asm("cmpq %2, %1\n\tlahf\n\tseto %%al"
		: "=a"(wide)
		: "r"(left << shift), "r"(right << shift)
		: "cc");
	asm("cmpb %b2, %b1\n\tlahf" : "=a"(low) : "r"(left), "r"(right) : "cc");
	return (uint16_t)((wide & 0xc301) | (low & 0x1400));
}

/* REPE goes on while ZF is set, REPNE while it is clear. A fault at a later element leaves, on
 * Intel's processors, the flags from before the instruction (SDM vol. 2B, REP); on AMD's, those of
 * the last comparison. So for Intel's they become the guest's at the end only. */
static bool compare_continues(const struct string_op *op, uint16_t flags)
{
	bool zero = flags & 0x4000, more;

	more = (!op->repeated || zero == !!(op->in->attributes & INSN_REP)) && string_continues(op);
	if (!more || op->cpu->amd)
		op->cpu->arithmetic_flags = flags;
	return more;
}

void slow_cmps(struct cpu *cpu, const struct insn *in)
{
	struct string_op op = string_begin(cpu, in);
	uint16_t flags;

	if (remaining(&op) == 0)
		return;
	do {
		/* Both vendors' processors report ES:[RDI] where both operands fault. */
		uint64_t right =
			access_load(cpu, destination_linear(&op, false), op.size, ACCESS_PROGRAM);
		uint64_t left = access_load(cpu, source_linear(&op), op.size, ACCESS_PROGRAM);

		flags = compare(left, right, op.size);
		advance(&op, RSI, 1);
		advance(&op, RDI, 1);
		count_down(&op, 1);
	} while (compare_continues(&op, flags));
}

void slow_scas(struct cpu *cpu, const struct insn *in)
{
	struct string_op op = string_begin(cpu, in);
	uint64_t wanted = bits_zero_extend(cpu->gpr[RAX], op.size);
	uint16_t flags;

	if (remaining(&op) == 0)
		return;
	do {
		uint64_t found =
			access_load(cpu, destination_linear(&op, false), op.size, ACCESS_PROGRAM);

		flags = compare(wanted, found, op.size);
		advance(&op, RDI, 1);
		count_down(&op, 1);
	} while (compare_continues(&op, flags));
}

/* How many elements from `linear` on may be moved at once, and where; 1: it is one alone. */
static unsigned io_run(
	const struct string_op *op, enum gpr reg, enum seg seg, uint64_t linear, uint8_t **at)
{
	uint64_t most = MIN(remaining(op), in_segment(op, reg, seg));
	uint64_t elements = op->step < 0 ? 1 : run_length(op, linear, most);

	*at = elements > 1 ? run_pointer(op, linear, elements, reg == RDI) : NULL;
	return *at ? (unsigned)elements : 1;
}

static bool ins_run(const struct string_op *op, uint64_t to)
{
	struct cpu *cpu = op->cpu;
	uint8_t *target;
	unsigned elements = io_run(op, RDI, SEG_ES, to, &target);

	if (elements > 1)
		elements = insn_in_block(cpu, (uint16_t)cpu->gpr[RDX], target, op->size, elements);
	if (!target || !elements)
		return false;
	note_written(op, target, elements * op->size);
	advance(op, RDI, elements);
	count_down(op, elements);
	return true;
}

static bool outs_run(const struct string_op *op, uint64_t from)
{
	struct cpu *cpu = op->cpu;
	uint8_t *source;
	unsigned elements = io_run(op, RSI, op->in->segment, from, &source);

	if (elements > 1)
		elements = insn_out_block(cpu, (uint16_t)cpu->gpr[RDX], source, op->size, elements);
	if (!source || !elements)
		return false;
	advance(op, RSI, elements);
	count_down(op, elements);
	return true;
}

/* The memory side is probed first: a port must not be read in vain, nor written twice. */
void slow_ins(struct cpu *cpu, const struct insn *in)
{
	struct string_op op = string_begin(cpu, in);

	insn_check_io(cpu, (uint16_t)cpu->gpr[RDX], op.size); /* even for a count of zero */
	if (remaining(&op) == 0)
		return;
	do {
		uint64_t to;

		to = destination_linear(&op, true);
		if (remaining(&op) > 1 && ins_run(&op, to))
			continue;
		access_probe_write(cpu, to, op.size, ACCESS_PROGRAM);
		slow_store(cpu, to, insn_in(cpu, (uint16_t)cpu->gpr[RDX], op.size), op.size);
		advance(&op, RDI, 1);
		count_down(&op, 1);
	} while (string_continues(&op));
}

void slow_outs(struct cpu *cpu, const struct insn *in)
{
	struct string_op op = string_begin(cpu, in);

	insn_check_io(cpu, (uint16_t)cpu->gpr[RDX], op.size);
	if (remaining(&op) == 0)
		return;
	do {
		uint64_t from = source_linear(&op), value;

		if (remaining(&op) > 1 && outs_run(&op, from))
			continue;
		value = access_load(cpu, from, op.size, ACCESS_PROGRAM);
		insn_out(cpu, (uint16_t)cpu->gpr[RDX], (uint32_t)value, op.size);
		advance(&op, RSI, 1);
		count_down(&op, 1);
	} while (string_continues(&op));
}
