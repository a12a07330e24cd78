/* Model-specific registers: one table says which exist, for which vendor and feature, and what
 * may be written (SDM vol. 4; APM vol. 2 appendix A; for the 0x4b564d00 block Linux's
 * Documentation/virt/kvm/x86/msr.rst). What is not in the table faults, as on real processors. */
#include "cpu/instruction_internal.h"
#include "cpu/instruction.h"
#include "cpu/mtrr.h"
#include "cpu/pvclock.h"
#include "cpu/steal_time.h"

/* --- which processors have it --- */

/* A register exists on every processor, a vendor's, or where the model has a feature. */
enum gate {
	ALWAYS,
	INTEL,
	AMD,
	IF_ARCH_CAPABILITIES,
	IF_KVM_CLOCK,
	IF_RDTSCP,
	IF_SPEC_CTRL,
	IF_STEAL_TIME,
	IF_TSC_ADJUST,
	IF_TSC_DEADLINE,
	IF_X2APIC,
	IF_XSAVES,
	GATE_COUNT
};

static const uint16_t gates[GATE_COUNT][2] = {
	[IF_ARCH_CAPABILITIES] = {CPUID_ARCH_CAPABILITIES, CPUID_ARCH_CAPABILITIES},
	[IF_KVM_CLOCK] = {CPUID_KVM_CLOCK, CPUID_KVM_CLOCK},
	[IF_RDTSCP] = {CPUID_RDTSCP, CPUID_RDPID},
	[IF_SPEC_CTRL] = {CPUID_SPEC_CTRL, CPUID_SPEC_CTRL},
	[IF_STEAL_TIME] = {CPUID_KVM_STEAL_TIME, CPUID_KVM_STEAL_TIME},
	[IF_TSC_ADJUST] = {CPUID_TSC_ADJUST, CPUID_TSC_ADJUST},
	[IF_TSC_DEADLINE] = {CPUID_TSC_DEADLINE, CPUID_TSC_DEADLINE},
	[IF_X2APIC] = {CPUID_X2APIC, CPUID_X2APIC},
	[IF_XSAVES] = {CPUID_XSAVES, CPUID_XSAVES},
};

static bool gate_open(const struct cpu *cpu, enum gate gate)
{
	if (gate == ALWAYS)
		return true;
	if (gate == INTEL || gate == AMD)
		return cpu->amd == (gate == AMD);
	return cpu_model_has(cpu->model, gates[gate][0]) ||
	       cpu_model_has(cpu->model, gates[gate][1]);
}

/* --- registers that do something --- */

static bool read_tsc(struct cpu *cpu, uint32_t msr, uint64_t *value)
{
	*value = cpu_tsc(cpu);
	return true;
}

/* TSC and TSC_ADJUST move together (SDM vol. 3B 18.17.3), and the time page follows the TSC. */
static void move_tsc(struct cpu *cpu, uint64_t delta)
{
	cpu->tsc_offset += delta;
	cpu->tsc_adjust += delta;
	if (cpu->platform->tsc_changed)
		cpu->platform->tsc_changed(cpu->platform->opaque, cpu);
	pvclock_update(cpu);
}

static bool write_tsc(struct cpu *cpu, uint32_t msr, uint64_t value)
{
	move_tsc(cpu, value - cpu_tsc(cpu));
	return true;
}

static bool write_tsc_adjust(struct cpu *cpu, uint32_t msr, uint64_t value)
{
	move_tsc(cpu, value - cpu->tsc_adjust);
	return true;
}

static bool read_apic(struct cpu *cpu, uint32_t msr, uint64_t *value)
{
	const struct cpu_platform *platform = cpu->platform;

	return platform->apic_msr_read &&
	       platform->apic_msr_read(platform->opaque, cpu, msr, value);
}

static bool write_apic(struct cpu *cpu, uint32_t msr, uint64_t value)
{
	const struct cpu_platform *platform = cpu->platform;

	return platform->apic_msr_write &&
	       platform->apic_msr_write(platform->opaque, cpu, msr, value);
}

static bool write_efer(struct cpu *cpu, uint32_t msr, uint64_t value)
{
	return efer_write(cpu, value);
}

static void set_segment_base(struct cpu *cpu, enum seg seg, uint64_t base)
{
	cpu->segment[seg].base = cpu->segment_base[seg] = base;
}

static bool read_segment_base(struct cpu *cpu, uint32_t msr, uint64_t *value)
{
	*value = cpu->segment[msr & 1 ? SEG_GS : SEG_FS].base;
	return true;
}

static bool write_segment_base(struct cpu *cpu, uint32_t msr, uint64_t value)
{
	if (!cpu_canonical_base(cpu, value))
		return false;
	set_segment_base(cpu, msr & 1 ? SEG_GS : SEG_FS, value);
	return true;
}

/* Intel checks the SYSENTER addresses; AMD, which has no 64-bit SYSENTER, does not. */
static bool write_sysenter(struct cpu *cpu, uint32_t msr, uint64_t value)
{
	if (!cpu->amd && !cpu_canonical_base(cpu, value))
		return false;
	if (msr == 0x175)
		cpu->sysenter_esp = value;
	else
		cpu->sysenter_eip = value;
	return true;
}

/* Some bits only report, here that there is neither BTS nor PEBS (SDM vol. 4 table 2-2). */
#define MISC_ENABLE_FIXED    (BIT(11) | BIT(12))
#define MISC_ENABLE_WRITABLE UINT64_C(0xc400c51889)

static bool read_misc_enable(struct cpu *cpu, uint32_t msr, uint64_t *value)
{
	*value = cpu->misc_enable | MISC_ENABLE_FIXED;
	return true;
}

static bool write_misc_enable(struct cpu *cpu, uint32_t msr, uint64_t value)
{
	if (value & ~MISC_ENABLE_WRITABLE)
		return false;
	cpu->misc_enable = value & ~MISC_ENABLE_FIXED;
	return true;
}

/* Commands: the predictors and caches they flush are the host's business. */
static bool write_command(struct cpu *cpu, uint32_t msr, uint64_t value)
{
	return (value & ~UINT64_C(1)) == 0;
}

/* Where RAM ends below and above 4 GiB. */
static bool read_top_of_memory(struct cpu *cpu, uint32_t msr, uint64_t *value)
{
	*value = msr == 0xc001001a ? cpu->memory->low_size
				   : MEMORY_HIGH_START + cpu->memory->high_size;
	return true;
}

static bool read_pvclock(struct cpu *cpu, uint32_t msr, uint64_t *value)
{
	*value = msr == 0x12 || msr == 0x4b564d01 ? cpu->pvclock_msr : cpu->pvclock_wall_msr;
	return true;
}

static bool write_pvclock(struct cpu *cpu, uint32_t msr, uint64_t value)
{
	if (msr == 0x12 || msr == 0x4b564d01)
		return pvclock_write_system_time(cpu, value);
	return pvclock_write_wall_clock(cpu, value);
}

static bool write_steal_time(struct cpu *cpu, uint32_t msr, uint64_t value)
{
	return steal_time_write(cpu, value);
}

static bool read_arch_capabilities(struct cpu *cpu, uint32_t msr, uint64_t *value)
{
	*value = cpu->model->arch_capabilities;
	return true;
}

static bool no_read(struct cpu *cpu, uint32_t msr, uint64_t *value)
{
	return false;
}

static bool no_write(struct cpu *cpu, uint32_t msr, uint64_t value)
{
	return false;
}

static bool ignore_write(struct cpu *cpu, uint32_t msr, uint64_t value)
{
	return true;
}

static bool write_canonical(struct cpu *cpu, uint32_t msr, uint64_t value);

/* --- the table --- */

struct msr {
	uint32_t first, last;
	enum gate gate;
	bool constant;  /* reads give `value`; else `value` masks the bits that may be written */
	uint16_t field; /* offset in struct cpu; 0: none */
	uint64_t value;
	bool (*read)(struct cpu *cpu, uint32_t msr, uint64_t *value); /* NULL: by field or value */
	bool (*write)(struct cpu *cpu, uint32_t msr, uint64_t value); /* NULL: to the field */
};

#define FIELD(msr, gate, member, mask)                                                             \
	{                                                                                          \
		msr, msr, gate, false, offsetof(struct cpu, member), mask, NULL, NULL              \
	}
#define FIELD_CALL(msr, gate, member, write)                                                       \
	{                                                                                          \
		msr, msr, gate, false, offsetof(struct cpu, member), 0, NULL, write                \
	}
#define CALL(first, last, gate, read, write)                                                       \
	{                                                                                          \
		first, last, gate, false, 0, 0, read, write                                        \
	}
#define CONSTANT(msr, gate, value)                                                                 \
	{                                                                                          \
		msr, msr, gate, true, 0, value, NULL, no_write                                     \
	}
/* Reads give a constant, writes are let pass. */
#define INERT(first, last, gate, value)                                                            \
	{                                                                                          \
		first, last, gate, true, 0, value, NULL, ignore_write                              \
	}
#define ANY (~UINT64_C(0))

/* Sorted by number. */
static const struct msr table[] = {
	CALL(0x10, 0x10, ALWAYS, read_tsc, write_tsc),
	CALL(0x11, 0x12, IF_KVM_CLOCK, read_pvclock, write_pvclock),
	CONSTANT(0x17, INTEL, 0),                        /* PLATFORM_ID */
	CALL(0x1b, 0x1b, ALWAYS, read_apic, write_apic), /* APIC_BASE */
	INERT(0x2a, 0x2a, INTEL, 0),                     /* EBL_CR_POWERON */
	CONSTANT(0x34, INTEL, 0),                        /* SMI_COUNT */
	CONSTANT(0x3a, INTEL, 1),                        /* FEATURE_CONTROL: locked, VMX off */
	FIELD_CALL(0x3b, IF_TSC_ADJUST, tsc_adjust, write_tsc_adjust),
	FIELD(0x48, IF_SPEC_CTRL, spec_ctrl, 0x87),
	CALL(0x49, 0x49, IF_SPEC_CTRL, no_read, write_command),
	INERT(0x79, 0x79, ALWAYS, 0),                /* UCODE_WRITE: nothing to update */
	INERT(0x8b, 0x8b, INTEL, UINT64_C(1) << 32), /* UCODE_REV */
	INERT(0x8b, 0x8b, AMD, 0x01000065),          /* PATCH_LEVEL */
	CONSTANT(0xcd, INTEL, 3),                    /* FSB_FREQ */
	CONSTANT(0xce, INTEL, 0),                    /* PLATFORM_INFO */
	CONSTANT(0xfe, ALWAYS, 0x508),               /* MTRRCAP: 8 variable, fixed, WC */
	CALL(0x10a, 0x10a, IF_ARCH_CAPABILITIES, read_arch_capabilities, no_write),
	FIELD(0x174, ALWAYS, sysenter_cs, ANY),
	FIELD_CALL(0x175, ALWAYS, sysenter_esp, write_sysenter),
	FIELD_CALL(0x176, ALWAYS, sysenter_eip, write_sysenter),
	CONSTANT(0x179, ALWAYS, 0), /* MCG_CAP: no machine-check banks */
	FIELD(0x17a, ALWAYS, mcg_status, 7),
	INERT(0x198, 0x199, INTEL, 0), /* PERF_STATUS, PERF_CTL */
	CALL(0x1a0, 0x1a0, ALWAYS, read_misc_enable, write_misc_enable),
	FIELD(0x1d9, ALWAYS, debug_control, 0x3f),
	CONSTANT(0x1db, ALWAYS, 0), /* last branch and exception records */
	CONSTANT(0x1dc, ALWAYS, 0), CONSTANT(0x1dd, ALWAYS, 0), CONSTANT(0x1de, ALWAYS, 0),
	CALL(0x200, 0x20f, ALWAYS, mtrr_read, mtrr_write),
	CALL(0x250, 0x26f, ALWAYS, mtrr_read, mtrr_write),
	FIELD_CALL(0x277, ALWAYS, pat, pat_write),
	CALL(0x2ff, 0x2ff, ALWAYS, mtrr_read, mtrr_write),
	CALL(0x6e0, 0x6e0, IF_TSC_DEADLINE, read_apic, write_apic), /* TSC_DEADLINE */
	CALL(0x800, 0x8ff, IF_X2APIC, read_apic, write_apic),       /* x2APIC */
	FIELD(0xda0, IF_XSAVES, xss, 0),
	CALL(0x4b564d00, 0x4b564d01, IF_KVM_CLOCK, read_pvclock, write_pvclock),
	FIELD_CALL(0x4b564d03, IF_STEAL_TIME, steal_msr, write_steal_time),
	FIELD_CALL(0xc0000080, ALWAYS, efer, write_efer), FIELD(0xc0000081, ALWAYS, star, ANY),
	FIELD_CALL(0xc0000082, ALWAYS, lstar, write_canonical),
	FIELD_CALL(0xc0000083, ALWAYS, cstar, write_canonical),
	FIELD(0xc0000084, ALWAYS, sfmask, 0xffffffff),
	CALL(0xc0000100, 0xc0000101, ALWAYS, read_segment_base, write_segment_base),
	FIELD_CALL(0xc0000102, ALWAYS, kernel_gs_base, write_canonical),
	FIELD(0xc0000103, IF_RDTSCP, tsc_aux, 0xffffffff),
	INERT(0xc0010000, 0xc0010007, AMD, 0), /* performance counters, which stand still */
	FIELD(0xc0010010, AMD, amd_syscfg, 0x7fc0000),
	FIELD(0xc0010015, AMD, amd_hwcr, UINT64_C(0xfffffffff)),
	CALL(0xc001001a, 0xc001001a, AMD, read_top_of_memory, ignore_write),
	CALL(0xc001001d, 0xc001001d, AMD, read_top_of_memory, ignore_write),
	INERT(0xc001001f, 0xc001001f, AMD, 0), /* NB_CFG */
	INERT(0xc0010020, 0xc0010020, AMD, 0), /* PATCH_LOADER */
	INERT(0xc0010055, 0xc0010055, AMD, 0), /* INT_PENDING_MSG */
	INERT(0xc0010058, 0xc0010058, AMD, 0), /* MMIO_CONF_BASE */
	INERT(0xc0010140, 0xc0010141, AMD, 0), /* OSVW: no errata to know of */
	INERT(0xc0011022, 0xc0011022, AMD, 0), /* DC_CFG */
	FIELD(0xc0011029, AMD, amd_de_cfg, UINT64_C(0xffffffff)),
	INERT(0xc001102a, 0xc001102a, AMD, 0), /* BU_CFG2 */
};

static const struct msr *find(const struct cpu *cpu, uint32_t msr)
{
	unsigned low = 0, high = ARRAY_SIZE(table);

	while (low < high) {
		unsigned middle = (low + high) / 2;

		if (table[middle].last < msr)
			low = middle + 1;
		else
			high = middle;
	}
	/* Vendors may have rows of their own for the same number. */
	for (; low < ARRAY_SIZE(table) && table[low].first <= msr; low++)
		if (gate_open(cpu, table[low].gate))
			return &table[low];
	return NULL;
}

static uint64_t *field_of(struct cpu *cpu, const struct msr *row)
{
	return (uint64_t *)((uint8_t *)cpu + row->field);
}

static bool write_canonical(struct cpu *cpu, uint32_t msr, uint64_t value)
{
	if (!cpu_canonical_base(cpu, value))
		return false;
	*field_of(cpu, find(cpu, msr)) = value;
	return true;
}

bool msr_read(struct cpu *cpu, uint32_t msr, uint64_t *value)
{
	const struct msr *row = find(cpu, msr);

	if (!row)
		return false;
	if (row->read)
		return row->read(cpu, msr, value);
	*value = row->constant ? row->value : *field_of(cpu, row);
	return true;
}

bool msr_write(struct cpu *cpu, uint32_t msr, uint64_t value)
{
	const struct msr *row = find(cpu, msr);

	if (!row)
		return false;
	if (row->write)
		return row->write(cpu, msr, value);
	if (value & ~row->value)
		return false;
	*field_of(cpu, row) = value;
	return true;
}

/* --- RDMSR, WRMSR --- */

void insn_rdmsr(struct cpu *cpu)
{
	uint64_t value;

	insn_require_cpl0(cpu);
	if (!msr_read(cpu, (uint32_t)cpu->gpr[RCX], &value))
		general_protection(cpu);
	cpu->gpr[RAX] = (uint32_t)value;
	cpu->gpr[RDX] = value >> 32;
}

void insn_wrmsr(struct cpu *cpu)
{
	uint64_t value = (cpu->gpr[RDX] << 32) | (uint32_t)cpu->gpr[RAX];

	insn_require_cpl0(cpu);
	if (!msr_write(cpu, (uint32_t)cpu->gpr[RCX], value))
		general_protection(cpu);
}
