#include "device/chipset/lapic_internal.h"

/* The highest vector in a 256-bit set; -1 if it is empty. */
static int highest_vector(const uint32_t *set)
{
	for (int i = 7; i >= 0; i--)
		if (set[i])
			return 32 * i + 31 - __builtin_clz(set[i]);
	return -1;
}

static void vector_set(uint32_t *set, unsigned vector)
{
	set[vector / 32] |= UINT32_C(1) << vector % 32;
}

static void vector_clear(uint32_t *set, unsigned vector)
{
	set[vector / 32] &= ~(UINT32_C(1) << vector % 32);
}

static bool vector_test(const uint32_t *set, unsigned vector)
{
	return set[vector / 32] >> vector % 32 & 1;
}

/* SDM vol. 3A 11.8.3.1. */
uint8_t lapic_ppr(const struct lapic *lapic)
{
	int in_service = highest_vector(lapic->isr);

	if (in_service < 0 || lapic->tpr >> 4 >= (unsigned)in_service >> 4)
		return (uint8_t)lapic->tpr;
	return (uint8_t)(in_service & 0xf0);
}

/* The vector that would be delivered now, or -1. */
static int deliverable(const struct lapic *lapic)
{
	int vector = highest_vector(lapic->irr);

	if (vector < 0 || !lapic_is_enabled(lapic) || vector >> 4 <= lapic_ppr(lapic) >> 4)
		return -1;
	return vector;
}

bool lapic_extint_pending(const struct lapic *lapic)
{
	uint32_t lint0 = lapic->lvt[LVT_LINT0];

	if (lapic->extint)
		return true;
	if (!lapic->lint0)
		return false;
	/* A disabled local APIC leaves the pin to be the CPU's plain INTR. */
	return !lapic_is_enabled(lapic) ||
	       (!(lint0 & LVT_MASKED) && LVT_DELIVERY(lint0) == APIC_EXTINT);
}

void lapic_extint_acknowledged(struct lapic *lapic)
{
	lapic->extint = false;
	lapic_update(lapic);
}

void lapic_update(struct lapic *lapic)
{
	bool wanted = deliverable(lapic) >= 0 || lapic_extint_pending(lapic);
	bool have = atomic_load(&lapic->cpu->pending) & PENDING_INTR;

	if (wanted && !have)
		cpu_set_pending(lapic->cpu, PENDING_INTR);
	else if (!wanted && have)
		cpu_clear_pending(lapic->cpu, PENDING_INTR);
}

void lapic_error(struct lapic *lapic, uint32_t bits)
{
	lapic->esr_pending |= bits;
	lapic_local_interrupt(lapic, LVT_ERROR);
}

void lapic_request(struct lapic *lapic, uint8_t vector, bool level)
{
	if (vector < 16) {
		/* An illegal vector in the error entry itself reports no error: it would never end.
		 */
		if ((lapic->lvt[LVT_ERROR] & 0xf0) == 0)
			lapic->esr_pending |= ESR_RECEIVE_ILLEGAL_VECTOR;
		else
			lapic_error(lapic, ESR_RECEIVE_ILLEGAL_VECTOR);
		return;
	}
	vector_set(lapic->irr, vector);
	if (level)
		vector_set(lapic->tmr, vector);
	else
		vector_clear(lapic->tmr, vector);
	lapic_update(lapic);
}

void lapic_local_interrupt(struct lapic *lapic, enum lapic_lvt entry)
{
	uint32_t lvt = lapic->lvt[entry];

	if ((lvt & LVT_MASKED) || !lapic_is_enabled(lapic))
		return;
	switch (entry == LVT_TIMER || entry == LVT_ERROR ? APIC_FIXED : LVT_DELIVERY(lvt)) {
	case APIC_FIXED:
		lapic_request(lapic, (uint8_t)lvt, false);
		break;
	case APIC_NMI:
		cpu_queue_nmi(lapic->cpu);
		break;
	case APIC_INIT:
		cpu_set_pending(lapic->cpu, PENDING_INIT);
		break;
	default: /* ExtINT is a level, see lapic_extint_pending(); there is no SMM */
		break;
	}
}

void lapic_set_lint0(struct lapic *lapic, bool level)
{
	bool rising = level && !lapic->lint0;

	lapic->lint0 = level;
	if (rising && LVT_DELIVERY(lapic->lvt[LVT_LINT0]) != APIC_EXTINT)
		lapic_local_interrupt(lapic, LVT_LINT0);
	lapic_update(lapic);
}

int lapic_acknowledge(struct lapic *lapic)
{
	int vector = deliverable(lapic);

	if (vector >= 0) {
		vector_clear(lapic->irr, (unsigned)vector);
		vector_set(lapic->isr, (unsigned)vector);
	}
	lapic_update(lapic);
	return vector;
}

void lapic_eoi(struct lapic *lapic)
{
	int vector = highest_vector(lapic->isr);

	if (vector < 0)
		return;
	vector_clear(lapic->isr, (unsigned)vector);
	if (vector_test(lapic->tmr, (unsigned)vector) && !(lapic->svr & SVR_SUPPRESS_EOI) &&
		lapic->bus->eoi)
		lapic->bus->eoi(lapic->bus->opaque, (uint8_t)vector);
	lapic_update(lapic);
}

void lapic_set_tpr(struct lapic *lapic, uint8_t tpr)
{
	lapic->tpr = tpr;
	lapic_update(lapic);
}

bool lapic_accept(struct lapic *lapic, const struct apic_message *message)
{
	switch (message->delivery) {
	case APIC_FIXED:
	case APIC_LOWEST_PRIORITY:
		if (!lapic_takes_interrupts(lapic))
			return false;
		lapic_request(lapic, message->vector, message->level);
		return true;
	case APIC_NMI:
		cpu_queue_nmi(lapic->cpu);
		return true;
	case APIC_INIT:
		cpu_set_pending(lapic->cpu, PENDING_INIT);
		return true;
	case APIC_STARTUP:
		lapic->cpu->sipi_vector = message->vector;
		cpu_set_pending(lapic->cpu, PENDING_SIPI);
		return true;
	case APIC_EXTINT:
		if (!lapic_takes_interrupts(lapic))
			return false;
		lapic->extint = true;
		lapic_update(lapic);
		return true;
	default: /* SMI: there is no SMM */
		return false;
	}
}

/* SDM vol. 3A 11.4.7.1; ID, base address and mode stay. */
static void reset_registers(struct lapic *lapic)
{
	lapic_timer_stop(lapic);
	lapic->tpr = lapic->ldr = 0;
	lapic->dfr = UINT32_MAX;
	lapic->svr = 0xff;
	lapic->esr = lapic->esr_pending = 0;
	lapic->icr_low = lapic->icr_high = 0;
	for (unsigned i = 0; i < LVT_COUNT; i++)
		lapic->lvt[i] = LVT_MASKED;
	for (unsigned i = 0; i < 8; i++)
		lapic->irr[i] = lapic->isr[i] = lapic->tmr[i] = 0;
	lapic->extint = false;
	lapic->timer_divide = lapic->timer_initial = 0;
	lapic_update(lapic);
}

void lapic_init_reset(struct lapic *lapic)
{
	reset_registers(lapic);
}

void lapic_reset(struct lapic *lapic)
{
	lapic->base = LAPIC_DEFAULT_BASE | APIC_BASE_ENABLE | (lapic->id == 0 ? APIC_BASE_BSP : 0);
	lapic->cpu->apic_page = LAPIC_DEFAULT_BASE;
	reset_registers(lapic);
}

void lapic_firmware_setup(struct lapic *lapic)
{
	lapic->svr |= SVR_ENABLE;
	lapic->lvt[LVT_LINT0] = APIC_EXTINT << 8;
	lapic->lvt[LVT_LINT1] = APIC_NMI << 8;
	lapic_update(lapic);
}
