/* System instructions that are neither about control registers nor control transfers: descriptor
 * table registers, FS and GS bases, protection keys, HLT, CPUID. */
#include "cpu/access.h"
#include "cpu/fpu.h"
#include "cpu/instruction_internal.h"
#include "cpu/cpuid.h"
#include "cpu/instruction.h"
#include "cpu/segmentation.h"

#include <string.h>

static void require(struct cpu *cpu, bool condition)
{
	if (!condition)
		cpu_raise(cpu, VECTOR_UD);
}

/* --- GDTR, IDTR, LDTR, TR --- */

void insn_store_table(struct cpu *cpu, const struct descriptor_table *table, uint64_t linear,
	unsigned operand_size)
{
	uint8_t image[10];
	uint64_t base = table->base;

	insn_require_no_umip(cpu);
	memcpy(image, &table->limit, 2);
	memcpy(image + 2, &base, 8);
	access_write(cpu, linear, image, operand_size == 8 ? 10 : 6, ACCESS_PROGRAM);
}

void insn_load_table(
	struct cpu *cpu, struct descriptor_table *table, uint64_t linear, unsigned operand_size)
{
	uint8_t image[10] = {0};
	uint64_t base;
	uint16_t limit;

	insn_require_cpl0(cpu);
	access_read(cpu, linear, image, operand_size == 8 ? 10 : 6, ACCESS_PROGRAM);
	memcpy(&limit, image, 2);
	memcpy(&base, image + 2, 8);
	if (operand_size == 2)
		base &= 0xffffff;
	if (operand_size == 8 && !cpu_canonical_base(cpu, base))
		general_protection(cpu);
	table->base = base;
	table->limit = limit;
}

uint16_t insn_sldt(struct cpu *cpu)
{
	require(cpu, !cpu_real_segments(cpu));
	insn_require_no_umip(cpu);
	return cpu->segment[SEG_LDTR].selector;
}

uint16_t insn_str(struct cpu *cpu)
{
	require(cpu, !cpu_real_segments(cpu));
	insn_require_no_umip(cpu);
	return cpu->segment[SEG_TR].selector;
}

void insn_lldt(struct cpu *cpu, uint16_t selector)
{
	require(cpu, !cpu_real_segments(cpu));
	insn_require_cpl0(cpu);
	segment_load_ldtr(cpu, selector);
}

void insn_ltr(struct cpu *cpu, uint16_t selector)
{
	require(cpu, !cpu_real_segments(cpu));
	insn_require_cpl0(cpu);
	segment_load_tr(cpu, selector);
}

/* --- FS and GS bases --- */

static void set_base(struct cpu *cpu, enum seg seg, uint64_t base)
{
	cpu->segment[seg].base = base;
	cpu->segment_base[seg] = base;
}

void insn_swapgs(struct cpu *cpu)
{
	uint64_t base = cpu->segment[SEG_GS].base;

	require(cpu, cpu_code64(cpu));
	insn_require_cpl0(cpu);
	set_base(cpu, SEG_GS, cpu->kernel_gs_base);
	cpu->kernel_gs_base = base;
}

uint64_t insn_read_fs_gs_base(struct cpu *cpu, enum seg seg)
{
	require(cpu, cpu_code64(cpu) && (cpu->cr4 & CR4_FSGSBASE));
	return cpu->segment[seg].base;
}

void insn_write_fs_gs_base(struct cpu *cpu, enum seg seg, uint64_t value)
{
	require(cpu, cpu_code64(cpu) && (cpu->cr4 & CR4_FSGSBASE));
	if (!cpu_canonical_base(cpu, value))
		general_protection(cpu);
	set_base(cpu, seg, value);
}

/* --- protection keys, SMAP --- */

uint32_t insn_rdpkru(struct cpu *cpu)
{
	require(cpu, cpu->cr4 & CR4_PKE);
	if ((uint32_t)cpu->gpr[RCX] != 0)
		general_protection(cpu);
	return cpu->fpu.pkru;
}

void insn_wrpkru(struct cpu *cpu, uint32_t value)
{
	require(cpu, cpu->cr4 & CR4_PKE);
	if ((uint32_t)cpu->gpr[RCX] != 0 || (uint32_t)cpu->gpr[RDX] != 0)
		general_protection(cpu);
	fpu_set_pkru(cpu, value);
}

void insn_clac_stac(struct cpu *cpu, bool set)
{
	require(cpu, (cpu->model->cr4 & CR4_SMAP) && cpu->cpl == 0);
	if (set)
		cpu->system_flags |= RFLAGS_AC;
	else
		cpu->system_flags &= ~RFLAGS_AC;
	cpu_update_view(cpu);
}

/* --- caches, waiting --- */

void insn_invd_wbinvd(struct cpu *cpu)
{
	insn_require_cpl0(cpu);
}

void insn_hlt(struct cpu *cpu)
{
	insn_require_cpl0(cpu);
	cpu->activity = ACTIVITY_HALTED;
	cpu->interrupt_shadow = SHADOW_NONE;
}

/* --- CPUID --- */

void insn_cpuid(struct cpu *cpu)
{
	struct cpuid_result leaf;

	cpuid_query(cpu, (uint32_t)cpu->gpr[RAX], (uint32_t)cpu->gpr[RCX], &leaf);
	cpu->gpr[RAX] = leaf.eax;
	cpu->gpr[RBX] = leaf.ebx;
	cpu->gpr[RCX] = leaf.ecx;
	cpu->gpr[RDX] = leaf.edx;
}
