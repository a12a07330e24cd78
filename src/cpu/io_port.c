/* IN and OUT: the right to a port (SDM vol. 1 19.5), then the port. */
#include "cpu/access.h"
#include "cpu/debug.h"
#include "cpu/descriptor.h"
#include "cpu/instruction.h"

#define TSS_IO_MAP_BASE 0x66

/* All of the ports' bits in the TSS's map must be clear. Two bytes are read always, so that the map
 * must have one byte beyond the last port's. */
static bool map_permits(struct cpu *cpu, uint16_t port, unsigned size)
{
	const struct segment *tss = &cpu->segment[SEG_TR];
	uint32_t base, bits;

	if ((tss->access & AR_UNUSABLE) || (tss->access & AR_TYPE_MASK) != SYS_TSS32_BUSY ||
		tss->limit < TSS_IO_MAP_BASE + 1)
		return false;
	base = (uint32_t)access_load(cpu, tss->base + TSS_IO_MAP_BASE, 2, ACCESS_SUPERVISOR);
	if (base + port / 8 + 1 > tss->limit)
		return false;
	bits = (uint32_t)access_load(cpu, tss->base + base + port / 8, 2, ACCESS_SUPERVISOR);
	return ((bits >> (port % 8)) & ((1u << size) - 1)) == 0;
}

void insn_check_io(struct cpu *cpu, uint16_t port, unsigned size)
{
	if (!cpu_protected(cpu))
		return;
	if (!cpu_v86(cpu) && cpu->cpl <= bits_get(cpu->system_flags, 13, 12))
		return;
	if (!map_permits(cpu, port, size))
		cpu_raise_error(cpu, VECTOR_GP, 0);
}

uint32_t insn_in(struct cpu *cpu, uint16_t port, unsigned size)
{
	uint32_t value;

	insn_check_io(cpu, port, size);
	cpu->stats.port_io++;
	value = (uint32_t)io_space_read(cpu->platform->ports, port, size);
	debug_check_io(cpu, port, size);
	return value;
}

void insn_out(struct cpu *cpu, uint16_t port, uint32_t value, unsigned size)
{
	insn_check_io(cpu, port, size);
	cpu->stats.port_io++;
	io_space_write(cpu->platform->ports, port, value, size);
	debug_check_io(cpu, port, size);
}

unsigned insn_in_block(struct cpu *cpu, uint16_t port, void *bytes, unsigned size, unsigned count)
{
	unsigned done;

	insn_check_io(cpu, port, size);
	if (debug_io_armed(cpu))
		return 0;
	done = io_space_read_block(cpu->platform->ports, port, bytes, size, count);
	cpu->stats.port_io += done;
	return done;
}

unsigned insn_out_block(
	struct cpu *cpu, uint16_t port, const void *bytes, unsigned size, unsigned count)
{
	unsigned done;

	insn_check_io(cpu, port, size);
	if (debug_io_armed(cpu))
		return 0;
	done = io_space_write_block(cpu->platform->ports, port, bytes, size, count);
	cpu->stats.port_io += done;
	return done;
}
