/* The registers are the same in both modes, 16 bytes apart in the xAPIC's page and one apart in the
 * x2APIC's MSRs, but for what each mode has not, and for how it objects: an xAPIC notes an illegal
 * register address in ESR, an x2APIC faults (SDM vol. 3A 11.4, 11.12). */
#include "device/chipset/lapic_internal.h"

#include "cpu/mappable.h"

#define MSR_TSC_DEADLINE 0x6e0
#define MSR_X2APIC       0x800

enum lapic_register {
	REGISTER_ID = 0x02,
	REGISTER_VERSION = 0x03,
	REGISTER_TPR = 0x08,
	REGISTER_APR = 0x09,
	REGISTER_PPR = 0x0a,
	REGISTER_EOI = 0x0b,
	REGISTER_RRD = 0x0c,
	REGISTER_LDR = 0x0d,
	REGISTER_DFR = 0x0e,
	REGISTER_SVR = 0x0f,
	REGISTER_ISR = 0x10,
	REGISTER_TMR = 0x18,
	REGISTER_IRR = 0x20,
	REGISTER_ESR = 0x28,
	REGISTER_ICR = 0x30,
	REGISTER_ICR_HIGH = 0x31,
	REGISTER_LVT = 0x32,
	REGISTER_INITIAL_COUNT = 0x38,
	REGISTER_CURRENT_COUNT = 0x39,
	REGISTER_DIVIDE = 0x3e,
	REGISTER_SELF_IPI = 0x3f,
	REGISTER_COUNT = 0x40,
};

/* Integrated APIC, six LVT entries, EOI broadcasts can be suppressed. */
#define VERSION (0x14 | (LVT_COUNT - 1) << 16 | 1 << 24)

#define X 1 /* the xAPIC has it */
#define S 2 /* the x2APIC ... */

#define READS  1
#define WRITES 2

/* In which mode a register can be read and written, and which bits can be set in an x2APIC.
 * Registers that the I/O thread's timer uses, too, need the machine lock. */
static const struct {
	uint8_t read, write;
	uint32_t writable;
	uint8_t locked; /* for what the machine lock is needed: READS, WRITES */
} access_rights[REGISTER_COUNT] = {
	[REGISTER_ID] = {X | S, 0, 0, 0},
	[REGISTER_VERSION] = {X | S, 0, 0, 0},
	[REGISTER_TPR] = {X | S, X | S, 0xff, 0},
	[REGISTER_APR] = {X, 0, 0, 0},
	[REGISTER_PPR] = {X | S, 0, 0, 0},
	[REGISTER_EOI] = {X, X | S, 0, 0},
	[REGISTER_RRD] = {X, 0, 0, 0},
	[REGISTER_LDR] = {X | S, X, 0, 0},
	[REGISTER_DFR] = {X, X, 0, 0},
	[REGISTER_SVR] = {X | S, X | S, 0x13ff, WRITES},
	[REGISTER_ISR... REGISTER_IRR + 7] = {X | S, 0, 0, 0},
	[REGISTER_ESR] = {X | S, X | S, 0, 0},
	[REGISTER_ICR] = {X | S, X | S, 0xcdfff, 0},
	[REGISTER_ICR_HIGH] = {X, X, 0, 0},
	[REGISTER_LVT + LVT_TIMER] = {X | S, X | S, 0x700ff, WRITES},
	[REGISTER_LVT + LVT_THERMAL] = {X | S, X | S, 0x107ff, WRITES},
	[REGISTER_LVT + LVT_PERFORMANCE] = {X | S, X | S, 0x107ff, WRITES},
	[REGISTER_LVT + LVT_LINT0] = {X | S, X | S, 0x1a7ff, WRITES},
	[REGISTER_LVT + LVT_LINT1] = {X | S, X | S, 0x1a7ff, WRITES},
	[REGISTER_LVT + LVT_ERROR] = {X | S, X | S, 0x100ff, WRITES},
	[REGISTER_INITIAL_COUNT] = {X | S, X | S, UINT32_MAX, WRITES},
	[REGISTER_CURRENT_COUNT] = {X | S, 0, 0, READS},
	[REGISTER_DIVIDE] = {X | S, X | S, 0xb, WRITES},
	[REGISTER_SELF_IPI] = {0, S, 0xff, 0},
};

/* What a write may contain besides the writable bits: read-only ones that come back as they were.
 */
#define LVT_READ_ONLY (BIT(12) | BIT(14))

static uint32_t register_read(struct lapic *lapic, unsigned index)
{
	switch (index) {
	case REGISTER_ID:
		return lapic_is_x2apic(lapic) ? lapic->id : lapic->id << 24;
	case REGISTER_VERSION:
		return VERSION;
	case REGISTER_TPR:
		return lapic->state.tpr;
	case REGISTER_PPR:
		return lapic_ppr(lapic);
	case REGISTER_LDR:
		return lapic_is_x2apic(lapic) ? lapic_x2apic_ldr(lapic) : lapic->state.ldr;
	case REGISTER_DFR:
		return lapic->state.dfr;
	case REGISTER_SVR:
		return lapic->state.svr;
	case REGISTER_ISR ... REGISTER_ISR + 7:
		return lapic->state.isr[index - REGISTER_ISR];
	case REGISTER_TMR ... REGISTER_TMR + 7:
		return lapic->state.tmr[index - REGISTER_TMR];
	case REGISTER_IRR ... REGISTER_IRR + 7:
		return lapic->state.irr[index - REGISTER_IRR];
	case REGISTER_ESR:
		return lapic->state.esr;
	case REGISTER_ICR:
		return lapic->state.icr_low;
	case REGISTER_ICR_HIGH:
		return lapic->state.icr_high;
	case REGISTER_LVT ... REGISTER_LVT + LVT_COUNT - 1:
		return lapic->state.lvt[index - REGISTER_LVT];
	case REGISTER_INITIAL_COUNT:
		return lapic->state.timer_initial;
	case REGISTER_CURRENT_COUNT:
		return lapic_timer_current(lapic);
	case REGISTER_DIVIDE:
		return lapic->state.timer_divide;
	default: /* APR, RRD, EOI */
		return 0;
	}
}

/* The bits of a register that can be written. */
static uint32_t writable(const struct lapic *lapic, unsigned index)
{
	if (index == REGISTER_LVT + LVT_TIMER &&
		!cpu_model_has(lapic->cpu->model, CPUID_TSC_DEADLINE))
		return access_rights[index].writable & ~(uint32_t)LVT_TSC_DEADLINE;
	return access_rights[index].writable;
}

static void write_lvt(struct lapic *lapic, unsigned entry, uint32_t value)
{
	uint32_t before = lapic->state.lvt[entry];

	value &= writable(lapic, REGISTER_LVT + entry);
	/* While the local APIC is disabled by SVR, mask bits cannot be cleared. */
	if (!(lapic->state.svr & SVR_ENABLE))
		value |= LVT_MASKED;
	lapic->state.lvt[entry] = value;
	if (entry == LVT_TIMER)
		lapic_timer_lvt_changed(lapic, before);
	lapic_update(lapic);
}

static void write_svr(struct lapic *lapic, uint32_t value)
{
	lapic->state.svr = value & access_rights[REGISTER_SVR].writable;
	if (!(lapic->state.svr & SVR_ENABLE))
		for (unsigned i = 0; i < LVT_COUNT; i++)
			write_lvt(lapic, i, lapic->state.lvt[i] | LVT_MASKED);
	lapic_update(lapic);
}

static void register_write(struct lapic *lapic, unsigned index, uint32_t value)
{
	switch (index) {
	case REGISTER_TPR:
		lapic_set_tpr(lapic, (uint8_t)value);
		break;
	case REGISTER_EOI:
		lapic_eoi(lapic);
		break;
	case REGISTER_LDR:
		lapic->state.ldr = value & 0xff000000;
		break;
	case REGISTER_DFR:
		lapic->state.dfr = value | 0x0fffffff;
		break;
	case REGISTER_SVR:
		write_svr(lapic, value);
		break;
	case REGISTER_ESR: /* any write shows the errors since the last one */
		lapic->state.esr = atomic_exchange(&lapic->state.esr_pending, 0);
		break;
	case REGISTER_ICR:
		lapic->state.icr_low =
			value & access_rights[REGISTER_ICR].writable & ~(uint32_t)BIT(12);
		lapic_send_ipi(lapic);
		break;
	case REGISTER_ICR_HIGH:
		lapic->state.icr_high = value & 0xff000000;
		break;
	case REGISTER_LVT ... REGISTER_LVT + LVT_COUNT - 1:
		write_lvt(lapic, index - REGISTER_LVT, value);
		break;
	case REGISTER_INITIAL_COUNT:
		lapic_timer_set_initial(lapic, value);
		break;
	case REGISTER_DIVIDE:
		lapic_timer_set_divide(lapic, value);
		break;
	case REGISTER_SELF_IPI:
		if (value < 16)
			lapic_error(lapic, ESR_SEND_ILLEGAL_VECTOR);
		else if (lapic_takes_interrupts(lapic))
			lapic_request(lapic, (uint8_t)value, false);
		break;
	}
}

/* --- xAPIC --- */

uint64_t lapic_mmio_read(struct lapic *lapic, uint64_t offset, unsigned size)
{
	unsigned index = (unsigned)(offset >> 4) & 0xff, byte = offset & 0xf;

	/* Each register has 4 bytes, and the 12 bytes after it are reserved. */
	if (byte + size > 4 && !(byte == 0 && size == 8))
		return 0;
	if (index >= REGISTER_COUNT || !(access_rights[index].read & X)) {
		lapic_error(lapic, ESR_ILLEGAL_REGISTER);
		return 0;
	}
	return bits_zero_extend((uint64_t)register_read(lapic, index) >> (8 * byte), size);
}

void lapic_mmio_write(struct lapic *lapic, uint64_t offset, uint64_t value, unsigned size)
{
	unsigned index = (unsigned)(offset >> 4) & 0xff;

	/* Registers must be written whole (SDM vol. 3A 11.4.1). */
	if (offset & 0xf || size < 4)
		return;
	if (index >= REGISTER_COUNT ||
		!((access_rights[index].write | access_rights[index].read) & X))
		lapic_error(lapic, ESR_ILLEGAL_REGISTER);
	else if (access_rights[index].write & X)
		register_write(lapic, index, (uint32_t)value);
}

/* --- MSRs --- */

bool lapic_mmio_needs_lock(uint64_t offset, bool write)
{
	unsigned index = (unsigned)(offset >> 4) & 0xff;

	return index < REGISTER_COUNT && (access_rights[index].locked & (write ? WRITES : READS));
}

bool lapic_msr_needs_lock(uint32_t msr, bool write)
{
	if (msr >= MSR_X2APIC && msr < MSR_X2APIC + REGISTER_COUNT)
		return lapic_mmio_needs_lock((msr - MSR_X2APIC) << 4, write);
	return true;
}

static uint64_t mode_of(uint64_t base)
{
	return base & (APIC_BASE_ENABLE | APIC_BASE_X2APIC);
}

bool lapic_base_valid(const struct lapic *lapic, uint64_t base)
{
	const struct cpu_model *model = lapic->cpu->model;
	uint64_t reserved = ~(BIT(model->physical_bits) - 1) | BIT(9) | 0xff;

	if (!cpu_model_has(model, CPUID_X2APIC))
		reserved |= APIC_BASE_X2APIC;
	return !(base & reserved) && mode_of(base) != APIC_BASE_X2APIC;
}

void lapic_tell_page(struct lapic *lapic)
{
	uint64_t base = lapic->state.base;

	cpu_set_apic_page(
		lapic->cpu, mode_of(base) == APIC_BASE_ENABLE ? base & PAGE_MASK : ~UINT64_C(0));
}

bool lapic_registers_valid(const struct lapic *lapic, const struct lapic_state *state)
{
	for (unsigned i = 0; i < LVT_COUNT; i++)
		if (state->lvt[i] & ~writable(lapic, REGISTER_LVT + i))
			return false;
	return !(state->svr & ~writable(lapic, REGISTER_SVR)) &&
	       !(state->timer_divide & ~writable(lapic, REGISTER_DIVIDE));
}

/* SDM vol. 3A 11.12.1: which changes of mode are legal. */
static bool write_base(struct lapic *lapic, uint64_t value)
{
	const uint64_t x2apic = APIC_BASE_ENABLE | APIC_BASE_X2APIC;
	uint64_t before = mode_of(lapic->state.base), after = mode_of(value);

	if (!lapic_base_valid(lapic, value) || (before == 0 && after == x2apic) ||
		(before == x2apic && after == APIC_BASE_ENABLE))
		return false;
	lapic->state.base = value;
	lapic_tell_page(lapic);
	if (after == 0 && before != 0)
		lapic_init_reset(lapic);
	if (after == x2apic && before != x2apic)
		lapic->state.icr_high = 0; /* its layout differs */
	lapic_update(lapic);
	return true;
}

static bool x2apic_read(struct lapic *lapic, unsigned index, uint64_t *value)
{
	if (!lapic_is_x2apic(lapic) || !(access_rights[index].read & S))
		return false;
	*value = register_read(lapic, index);
	if (index == REGISTER_ICR)
		*value |= (uint64_t)lapic->state.icr_high << 32;
	return true;
}

static bool x2apic_write(struct lapic *lapic, unsigned index, uint64_t value)
{
	uint64_t may_be_set = writable(lapic, index);

	if (!lapic_is_x2apic(lapic) || !(access_rights[index].write & S))
		return false;
	if (index == REGISTER_ICR)
		may_be_set |= ~UINT64_C(0) << 32;
	if (index >= REGISTER_LVT && index < REGISTER_LVT + LVT_COUNT)
		may_be_set |= LVT_READ_ONLY;
	if (value & ~may_be_set)
		return false;
	if (index == REGISTER_ICR)
		lapic->state.icr_high = (uint32_t)(value >> 32);
	register_write(lapic, index, (uint32_t)value);
	return true;
}

bool lapic_msr_read(struct lapic *lapic, uint32_t msr, uint64_t *value)
{
	if (msr == MSR_APIC_BASE)
		*value = lapic->state.base;
	else if (msr == MSR_TSC_DEADLINE)
		*value = lapic_timer_deadline(lapic);
	else if (msr >= MSR_X2APIC && msr < MSR_X2APIC + REGISTER_COUNT)
		return x2apic_read(lapic, msr - MSR_X2APIC, value);
	else
		return false;
	return true;
}

bool lapic_msr_write(struct lapic *lapic, uint32_t msr, uint64_t value)
{
	if (msr == MSR_APIC_BASE)
		return write_base(lapic, value);
	if (msr >= MSR_X2APIC && msr < MSR_X2APIC + REGISTER_COUNT)
		return x2apic_write(lapic, msr - MSR_X2APIC, value);
	if (msr != MSR_TSC_DEADLINE)
		return false;
	lapic_timer_set_deadline(lapic, value);
	return true;
}
