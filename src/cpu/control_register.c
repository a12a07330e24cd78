/* Control registers, EFER, XCR0: the consistency rules between them, and what changing them entails
 * (SDM vol. 3A 2.5, 4.1, 4.10.4, 10.8.5; vol. 2 MOV to control register). */
#include "cpu/instruction_internal.h"
#include "cpu/access.h"
#include "cpu/cpuid.h"
#include "cpu/fpu.h"
#include "cpu/instruction.h"
#include "cpu/paging.h"

#define CR0_DEFINED                                                                                \
	(CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_NW | CR0_CD | \
		CR0_PG)
#define CR3_NO_FLUSH BIT(63)

/* Bits whose change alters what the page tables mean: nothing cached may survive. */
#define CR0_PAGING (CR0_PG | CR0_WP | CR0_PE)
#define CR4_PAGING                                                                                 \
	(CR4_PSE | CR4_PAE | CR4_PGE | CR4_LA57 | CR4_PCIDE | CR4_SMEP | CR4_SMAP | CR4_PKE)
/* Bits whose change reloads the PDPTEs under PAE paging (SDM vol. 3A 4.4.1). */
#define CR0_RELOADS_PDPTES (CR0_CD | CR0_NW | CR0_PG)
#define CR4_RELOADS_PDPTES (CR4_PAE | CR4_PGE | CR4_PSE | CR4_SMEP)

void insn_require_cpl0(struct cpu *cpu)
{
	if (cpu->cpl != 0)
		general_protection(cpu);
}

static void context_changed(struct cpu *cpu)
{
	cpu_update_view(cpu);
	cpu->engine_ops->code_context_changed(cpu);
}

static bool pae_paging(uint64_t cr0, uint64_t cr4, uint64_t efer)
{
	return (cr0 & CR0_PG) && (cr4 & CR4_PAE) && !(efer & EFER_LMA);
}

/* --- CR0 --- */

/* Paging on with EFER.LME: IA-32e mode begins, in compatibility mode. */
static void check_enter_long_mode(struct cpu *cpu)
{
	unsigned tss = cpu->segment[SEG_TR].access & AR_TYPE_MASK;

	if (!(cpu->cr4 & CR4_PAE) || (cpu->segment[SEG_CS].access & AR_L) || tss == 1 ||
		tss == 3 /* a 16-bit TSS cannot go along */)
		general_protection(cpu);
}

bool cr0_consistent(uint64_t value)
{
	return (!(value & CR0_PG) || (value & CR0_PE)) && (!(value & CR0_NW) || (value & CR0_CD)) &&
	       (value & ~CR0_DEFINED) == 0 && (value & CR0_ET);
}

static void check_cr0(struct cpu *cpu, uint64_t value)
{
	if (!cr0_consistent(value))
		general_protection(cpu);
	if ((value & ~cpu->cr0 & CR0_PG) && (cpu->efer & EFER_LME))
		check_enter_long_mode(cpu);
	if ((cpu->cr0 & ~value & CR0_PG) && ((cpu->cr4 & CR4_PCIDE) || cpu_code64(cpu)))
		general_protection(cpu);
}

static void set_cr0(struct cpu *cpu, uint64_t value)
{
	uint64_t changed, efer = cpu->efer & ~EFER_LMA;

	value = (value & CR0_DEFINED) | CR0_ET;
	changed = cpu->cr0 ^ value;
	check_cr0(cpu, value);
	if ((value & CR0_PG) && (efer & EFER_LME))
		efer |= EFER_LMA;
	if ((changed & CR0_RELOADS_PDPTES) && pae_paging(value, cpu->cr4, efer) &&
		!paging_load_pdptes(cpu, cpu->cr3))
		general_protection(cpu);
	cpu->cr0 = value;
	cpu->efer = efer;
	if (changed & CR0_PAGING)
		tlb_flush_all(cpu);
	if (changed)
		context_changed(cpu);
}

/* --- CR3 --- */

static void set_cr3(struct cpu *cpu, uint64_t value)
{
	bool keep = false;

	if (cpu_long_mode(cpu)) {
		uint64_t reserved = ~(BIT(cpu->model->physical_bits) - 1);

		/* Bit 63 with CR4.PCIDE permits to keep what is cached for the new PCID. */
		if (cpu->cr4 & CR4_PCIDE) {
			keep = value & CR3_NO_FLUSH;
			value &= ~CR3_NO_FLUSH;
		}
		if (value & reserved)
			general_protection(cpu);
	} else if (pae_paging(cpu->cr0, cpu->cr4, cpu->efer) && !paging_load_pdptes(cpu, value)) {
		general_protection(cpu);
	}
	cpu->cr3 = value;
	if (keep)
		tlb_switch_space(cpu);
	else
		tlb_flush_non_global(cpu);
}

/* --- CR4 --- */

static void set_cr4(struct cpu *cpu, uint64_t value)
{
	uint64_t changed = cpu->cr4 ^ value;

	if (value & ~cpu->model->cr4)
		general_protection(cpu);
	if (cpu_long_mode(cpu) && (!(value & CR4_PAE) || (changed & CR4_LA57)))
		general_protection(cpu);
	if ((changed & value & CR4_PCIDE) && (!cpu_long_mode(cpu) || (cpu->cr3 & CR3_PCID)))
		general_protection(cpu);
	if ((changed & CR4_RELOADS_PDPTES) && pae_paging(cpu->cr0, value, cpu->efer) &&
		!paging_load_pdptes(cpu, cpu->cr3))
		general_protection(cpu);
	cpu->cr4 = value;
	if (changed & CR4_PAGING)
		tlb_flush_all(cpu);
	if (changed)
		context_changed(cpu);
}

/* --- MOV --- */

static void check_number(struct cpu *cpu, unsigned number)
{
	if (number > 8 || !(BIT(number) & (BIT(0) | BIT(2) | BIT(3) | BIT(4) | BIT(8))))
		cpu_raise(cpu, VECTOR_UD);
	insn_require_cpl0(cpu);
}

uint64_t control_register_read(struct cpu *cpu, unsigned number)
{
	check_number(cpu, number);
	switch (number) {
	case 0:
		return cpu->cr0;
	case 2:
		return cpu->cr2;
	case 3:
		return cpu->cr3;
	case 4:
		return cpu->cr4;
	default:
		return cpu->platform->apic_tpr_read(cpu->platform->opaque, cpu);
	}
}

void control_register_write(struct cpu *cpu, unsigned number, uint64_t value)
{
	check_number(cpu, number);
	if (!cpu_code64(cpu))
		value = (uint32_t)value;
	switch (number) {
	case 0:
		if (value >> 32)
			general_protection(cpu);
		set_cr0(cpu, value);
		break;
	case 2:
		cpu->cr2 = value;
		break;
	case 3:
		set_cr3(cpu, value);
		break;
	case 4:
		set_cr4(cpu, value);
		break;
	default:
		if (value > 15)
			general_protection(cpu);
		cpu->platform->apic_tpr_write(cpu->platform->opaque, cpu, value);
	}
}

void insn_require_no_umip(struct cpu *cpu)
{
	if ((cpu->cr4 & CR4_UMIP) && cpu->cpl != 0)
		general_protection(cpu);
}

uint16_t insn_smsw(struct cpu *cpu)
{
	insn_require_no_umip(cpu);
	return (uint16_t)cpu->cr0;
}

/* PE, MP, EM, TS; PE can be set but not cleared. */
void insn_lmsw(struct cpu *cpu, uint16_t value)
{
	uint64_t bits = CR0_PE | CR0_MP | CR0_EM | CR0_TS;

	insn_require_cpl0(cpu);
	set_cr0(cpu, (cpu->cr0 & ~(bits & ~CR0_PE)) | (value & bits));
}

void insn_clts(struct cpu *cpu)
{
	insn_require_cpl0(cpu);
	if (cpu->cr0 & CR0_TS)
		set_cr0(cpu, cpu->cr0 & ~CR0_TS);
}

/* --- EFER --- */

bool efer_write(struct cpu *cpu, uint64_t value)
{
	uint64_t changed = (cpu->efer ^ value) & ~EFER_LMA;

	/* LMA cannot be written; that a guest writes back what it read is no fault. */
	if (value & ~(cpu->model->efer | EFER_LMA))
		return false;
	if ((changed & EFER_LME) && (cpu->cr0 & CR0_PG))
		return false;
	cpu->efer = (value & ~EFER_LMA) | (cpu->efer & EFER_LMA);
	if (changed & EFER_NXE)
		tlb_flush_all(cpu);
	if (changed)
		context_changed(cpu);
	return true;
}

/* --- XCR0 --- */

#define XCR0_TILE (BIT(17) | BIT(18))

/* Components come in groups (SDM vol. 1 13.3). */
bool xcr0_consistent(uint64_t value)
{
	uint64_t avx512 = value & XCR0_AVX512, tile = value & XCR0_TILE;

	return (value & BIT(XSTATE_X87)) &&
	       (!(value & BIT(XSTATE_AVX)) || (value & BIT(XSTATE_SSE))) &&
	       (!avx512 || (avx512 == XCR0_AVX512 && (value & BIT(XSTATE_AVX)))) &&
	       (!tile || tile == XCR0_TILE);
}

void insn_xsetbv(struct cpu *cpu, uint32_t index, uint64_t value)
{
	if (!(cpu->cr4 & CR4_OSXSAVE))
		cpu_raise(cpu, VECTOR_UD);
	insn_require_cpl0(cpu);
	if (index != 0 || (value & ~cpu->model->xcr0) || !xcr0_consistent(value))
		general_protection(cpu);
	cpu->xcr0 = value;
	context_changed(cpu);
}

/* With index 1, XCR0 less the components in their initial state (SDM vol. 1 13.2). */
uint64_t insn_xgetbv(struct cpu *cpu, uint32_t index)
{
	if (!(cpu->cr4 & CR4_OSXSAVE))
		cpu_raise(cpu, VECTOR_UD);
	if (index > (cpu_model_has(cpu->model, CPUID_XGETBV1) ? 1 : 0))
		general_protection(cpu);
	return index ? fpu_xinuse(cpu) : cpu->xcr0;
}

/* --- TLB instructions --- */

void insn_invlpg(struct cpu *cpu, uint64_t linear)
{
	insn_require_cpl0(cpu);
	if (cpu_canonical(cpu, linear))
		tlb_flush_page(cpu, linear);
}

enum invpcid_type { INVPCID_ADDRESS, INVPCID_CONTEXT, INVPCID_ALL_GLOBAL, INVPCID_ALL };

/* The soft TLB holds translations of the current PCID only. For another one a single address is
 * not told from all: that is allowed, and rare. */
void insn_invpcid(struct cpu *cpu, uint64_t type, uint64_t descriptor_linear)
{
	uint64_t descriptor[2];
	struct address_space current = cpu_address_space(cpu), named = current;

	insn_require_cpl0(cpu);
	access_read(cpu, descriptor_linear, descriptor, sizeof(descriptor), ACCESS_PROGRAM);
	if (type > INVPCID_ALL || descriptor[0] > CR3_PCID)
		general_protection(cpu);
	if (type <= INVPCID_CONTEXT && descriptor[0] != 0 && !(cpu->cr4 & CR4_PCIDE))
		general_protection(cpu);
	if (type == INVPCID_ADDRESS && !cpu_canonical_base(cpu, descriptor[1]))
		general_protection(cpu);
	named.pcid = (uint16_t)descriptor[0];
	switch ((enum invpcid_type)type) {
	case INVPCID_ADDRESS:
		if (address_space_same_tag(named, current))
			tlb_flush_page(cpu, descriptor[1]);
		else
			tlb_flush_pcid(cpu, named);
		break;
	case INVPCID_CONTEXT:
		if (address_space_same_tag(named, current))
			tlb_flush_non_global(cpu);
		else
			tlb_flush_pcid(cpu, named);
		break;
	case INVPCID_ALL_GLOBAL:
		tlb_flush_all(cpu);
		break;
	case INVPCID_ALL:
		tlb_flush_non_global(cpu);
		named.pcid = TLB_EVERY_PCID;
		tlb_flush_pcid(cpu, named);
		break;
	}
}
