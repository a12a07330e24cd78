/* Operands the long way: addresses in every mode with all checks, and the slow halves of loads and
 * stores that handlers fall into when the TLB does not know the page. */
#include "engine/interp/ops.h"
#include "cpu/segmentation.h"
#include "cpu/transfer.h"

void sync_rip(struct cpu *cpu, const struct insn *in)
{
	struct interp *interp = interp_of(cpu);
	uint64_t next = cpu->code_base + in->next;

	cpu->next_rip = next & interp->rip_mask;
	cpu->rip = (next - in->length) & interp->rip_mask;
	interp->current = in;
}

OP(leave_after)
{
	cpu->stats.instructions -= in->remaining;
	cpu->rip = cpu->next_rip = (cpu->code_base + in->next) & interp_of(cpu)->rip_mask;
	return NULL;
}

uint64_t ea_offset(struct cpu *cpu, const struct insn *in)
{
	uint64_t offset = REG(guest_8, in->base) + (REG(guest_8, in->index) << in->scale) +
			  (uint64_t)(int64_t)in->disp;

	if (in->attributes & INSN_ADDRESS_32)
		return (uint32_t)offset;
	if (in->attributes & INSN_ADDRESS_16)
		return (uint16_t)offset;
	return offset;
}

void check_canonical(struct cpu *cpu, const struct insn *in, uint64_t linear, unsigned size)
{
	if (likely(cpu_canonical(cpu, linear) && cpu_canonical(cpu, linear + size - 1)))
		return;
	cpu_raise_error(cpu, in->attributes & INSN_STACK ? VECTOR_SS : VECTOR_GP, 0);
}

/* A segment that covers all 4 GiB and may be read and written: nothing to check. */
static bool flat(const struct segment *segment)
{
	unsigned mask = AR_P | AR_S | AR_CODE | AR_EXPAND_DOWN | AR_WRITABLE | AR_UNUSABLE;

	return segment->limit == UINT32_MAX &&
	       (segment->access & mask) == (AR_P | AR_S | AR_WRITABLE);
}

uint64_t ea_checked(struct cpu *cpu, const struct insn *in, unsigned size, bool write)
{
	uint64_t offset = ea_offset(cpu, in), linear;

	if (interp_of(cpu)->mode & MODE_CODE_64) {
		linear = offset + cpu->segment_base[in->segment];
		check_canonical(cpu, in, linear, size);
		return linear;
	}
	if (likely(flat(&cpu->segment[in->segment]) && offset + size - 1 <= UINT32_MAX))
		return (uint32_t)(cpu->segment_base[in->segment] + offset);
	return segment_linear(cpu, in->segment, offset, size, write);
}

uint64_t ea_legacy(struct cpu *cpu, const struct insn *in, unsigned size, bool write)
{
	sync_rip(cpu, in);
	return ea_checked(cpu, in, size, write);
}

uint64_t load_slow(
	struct cpu *cpu, const struct insn *in, uint64_t linear, uint64_t unused, unsigned size)
{
	sync_rip(cpu, in);
	if (interp_of(cpu)->mode & MODE_CODE_64)
		check_canonical(cpu, in, linear, size);
	return access_load(cpu, linear, size, ACCESS_PROGRAM);
}

uint64_t update_slow(
	struct cpu *cpu, const struct insn *in, uint64_t linear, uint64_t unused, unsigned size)
{
	sync_rip(cpu, in);
	if (interp_of(cpu)->mode & MODE_CODE_64)
		check_canonical(cpu, in, linear, size);
	return access_load_for_update(cpu, linear, size);
}

uint64_t store_slow(
	struct cpu *cpu, const struct insn *in, uint64_t linear, uint64_t value, unsigned size)
{
	sync_rip(cpu, in);
	if (interp_of(cpu)->mode & MODE_CODE_64)
		check_canonical(cpu, in, linear, size);
	return access_store(cpu, linear, value, size, ACCESS_PROGRAM);
}

uint64_t written_slow(
	struct cpu *cpu, const struct insn *in, uint64_t host, uint64_t unused, unsigned size)
{
	return access_written_slow(cpu, (void *)(uintptr_t)host, size);
}

uint64_t check_target_slow(
	struct cpu *cpu, const struct insn *in, uint64_t target, uint64_t unused, unsigned size)
{
	sync_rip(cpu, in);
	transfer_check_near(cpu, target);
	return 0;
}

uint64_t operand_read(struct cpu *cpu, const struct insn *in, unsigned size)
{
	if (in->attributes & INSN_MEMORY)
		return access_load(cpu, ea_checked(cpu, in, size, false), size, ACCESS_PROGRAM);
	return bits_zero_extend(REG(guest_8, in->src), size);
}

void slow_store(struct cpu *cpu, uint64_t linear, uint64_t value, unsigned size)
{
	if (access_store(cpu, linear, value, size, ACCESS_PROGRAM))
		interp_of(cpu)->leave = true;
}

void operand_write(struct cpu *cpu, const struct insn *in, uint64_t value, unsigned size)
{
	if (in->attributes & INSN_MEMORY) {
		slow_store(cpu, ea_checked(cpu, in, size, true), value, size);
		return;
	}
	if (size == 4)
		REG(guest_8, in->dst) = (uint32_t)value;
	else if (size == 8)
		REG(guest_8, in->dst) = value;
	else if (size == 2)
		REG(guest_2, in->dst) = (uint16_t)value;
	else
		REG(guest_1, in->dst) = (uint8_t)value;
}
