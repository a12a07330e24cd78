/* Why no interrupt gets lost, although a request takes no lock:
 *
 * PENDING_INTR of the vCPU tells that there is something to deliver, which depends on IRR, ISR,
 * TPR, the mode, LINT0. Every thread that changes one of these calls lapic_update() afterwards,
 * which looks at all of them and sets the bit, or clears it. All these are sequentially consistent
 * atomic operations, so there is one order of them all that every thread agrees with.
 *
 * - Of several changes that together make an interrupt deliverable, one is the last in this order.
 *   The thread that made it sees all the others when it looks. So it finds the bit set, or sets it.
 * - A thread that clears the bit looks once more after that. If the last change came before that
 *   second look, it is seen there, and the bit is set again. If it came after, the clearing was
 *   before it, and the thread that made the change finds the bit clear and sets it.
 *
 * A bit that is set with nothing to deliver (the vCPU raised its TPR meanwhile) costs the vCPU one
 * acknowledge that says so. On x86 the loads cost nothing more, the stores are an XCHG. */
#include "device/chipset/lapic_internal.h"

/* The highest vector in a 256-bit set; -1 if it is empty. */
static int highest_vector(const _Atomic uint32_t *set)
{
	for (int i = 7; i >= 0; i--) {
		uint32_t word = set[i];

		if (word)
			return 32 * i + 31 - __builtin_clz(word);
	}
	return -1;
}

static void vector_set(_Atomic uint32_t *set, unsigned vector)
{
	set[vector / 32] |= UINT32_C(1) << vector % 32;
}

static void vector_clear(_Atomic uint32_t *set, unsigned vector)
{
	set[vector / 32] &= ~(UINT32_C(1) << vector % 32);
}

static bool vector_test(const _Atomic uint32_t *set, unsigned vector)
{
	return set[vector / 32] >> vector % 32 & 1;
}

/* SDM vol. 3A 11.8.3.1. */
uint8_t lapic_ppr(const struct lapic *lapic)
{
	int in_service = highest_vector(lapic->state.isr);

	if (in_service < 0 || lapic->state.tpr >> 4 >= (unsigned)in_service >> 4)
		return (uint8_t)lapic->state.tpr;
	return (uint8_t)(in_service & 0xf0);
}

/* The vector that would be delivered now, or -1. */
static int deliverable(const struct lapic *lapic)
{
	int vector = highest_vector(lapic->state.irr);

	if (vector < 0 || !lapic_is_enabled(lapic) || vector >> 4 <= lapic_ppr(lapic) >> 4)
		return -1;
	return vector;
}

bool lapic_extint_pending(const struct lapic *lapic)
{
	uint32_t lint0 = lapic->state.lvt[LVT_LINT0];

	if (lapic->state.extint)
		return true;
	if (!lapic->state.lint0)
		return false;
	/* With the local APIC disabled the pin is the CPU's INTR. */
	return !lapic_is_enabled(lapic) ||
	       (!(lint0 & LVT_MASKED) && LVT_DELIVERY(lint0) == APIC_EXTINT);
}

void lapic_extint_acknowledged(struct lapic *lapic)
{
	lapic->state.extint = false;
	lapic_update(lapic);
}

static bool wants_cpu(const struct lapic *lapic)
{
	return deliverable(lapic) >= 0 || lapic_extint_pending(lapic);
}

void lapic_update(struct lapic *lapic)
{
	bool wanted = wants_cpu(lapic), told = atomic_load(&lapic->cpu->pending) & PENDING_INTR;

	if (!wanted && told) {
		cpu_clear_pending(lapic->cpu, PENDING_INTR);
		/* Another thread may have made a request since we looked, and found the bit still
		 * set. */
		wanted = wants_cpu(lapic);
		told = false;
	}
	if (wanted && !told)
		cpu_set_pending(lapic->cpu, PENDING_INTR);
}

void lapic_error(struct lapic *lapic, uint32_t bits)
{
	lapic->state.esr_pending |= bits;
	lapic_local_interrupt(lapic, LVT_ERROR);
}

void lapic_request(struct lapic *lapic, uint8_t vector, bool level)
{
	if (vector < 16) {
		/* An illegal vector in the error entry itself reports no error: it would never end.
		 */
		if ((lapic->state.lvt[LVT_ERROR] & 0xf0) == 0)
			lapic->state.esr_pending |= ESR_RECEIVE_ILLEGAL_VECTOR;
		else
			lapic_error(lapic, ESR_RECEIVE_ILLEGAL_VECTOR);
		return;
	}
	/* The trigger mode first: once the request is seen, its EOI may come at once. */
	if (level)
		vector_set(lapic->state.tmr, vector);
	else
		vector_clear(lapic->state.tmr, vector);
	vector_set(lapic->state.irr, vector);
	lapic_update(lapic);
}

void lapic_local_interrupt(struct lapic *lapic, enum lapic_lvt entry)
{
	uint32_t lvt = lapic->state.lvt[entry];

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
	bool rising = level && !lapic->state.lint0;

	lapic->state.lint0 = level;
	if (rising && LVT_DELIVERY(lapic->state.lvt[LVT_LINT0]) != APIC_EXTINT)
		lapic_local_interrupt(lapic, LVT_LINT0);
	lapic_update(lapic);
}

void lapic_pulse_lint1(struct lapic *lapic)
{
	if (lapic_is_enabled(lapic))
		lapic_local_interrupt(lapic, LVT_LINT1);
	else
		cpu_queue_nmi(lapic->cpu);
}

int lapic_acknowledge(struct lapic *lapic)
{
	int vector = deliverable(lapic);

	if (vector >= 0) {
		vector_clear(lapic->state.irr, (unsigned)vector);
		vector_set(lapic->state.isr, (unsigned)vector);
	}
	lapic_update(lapic);
	return vector;
}

void lapic_eoi(struct lapic *lapic)
{
	int vector = highest_vector(lapic->state.isr);

	if (vector < 0)
		return;
	vector_clear(lapic->state.isr, (unsigned)vector);
	if (vector_test(lapic->state.tmr, (unsigned)vector) &&
		!(lapic->state.svr & SVR_SUPPRESS_EOI) && lapic->bus->eoi)
		lapic->bus->eoi(lapic->bus->opaque, (uint8_t)vector);
	lapic_update(lapic);
}

uint8_t lapic_tpr(const struct lapic *lapic)
{
	return (uint8_t)lapic->state.tpr;
}

void lapic_set_tpr(struct lapic *lapic, uint8_t tpr)
{
	lapic->state.tpr = tpr;
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
		/* A SIPI that came while the processor was halted, and not waiting for one, is
		 * lost. */
		atomic_fetch_and(&lapic->cpu->pending, ~(uint32_t)PENDING_SIPI);
		cpu_set_pending(lapic->cpu, PENDING_INIT);
		return true;
	case APIC_STARTUP:
		/* Of several at once any one will do; PENDING_SIPI publishes it. */
		__atomic_store_n(&lapic->cpu->sipi_vector, message->vector, __ATOMIC_RELAXED);
		cpu_set_pending(lapic->cpu, PENDING_SIPI);
		return true;
	case APIC_EXTINT:
		if (!lapic_takes_interrupts(lapic))
			return false;
		lapic->state.extint = true;
		lapic_update(lapic);
		return true;
	default: /* SMI: there is no SMM */
		return false;
	}
}

/* SDM vol. 3A 11.4.7.1; ID, base address and mode stay. */
static void reset_registers(struct lapic *lapic)
{
	struct lapic_state *state = &lapic->state;

	lapic_timer_stop(lapic);
	state->tpr = 0;
	state->ldr = 0;
	state->dfr = UINT32_MAX;
	state->svr = 0xff;
	state->esr = 0;
	state->esr_pending = 0;
	state->icr_low = state->icr_high = 0;
	for (unsigned i = 0; i < LVT_COUNT; i++)
		state->lvt[i] = LVT_MASKED;
	for (unsigned i = 0; i < 8; i++) {
		state->irr[i] = 0;
		state->isr[i] = 0;
		state->tmr[i] = 0;
	}
	state->extint = false;
	state->timer_divide = state->timer_initial = 0;
	lapic_update(lapic);
}

void lapic_init_reset(struct lapic *lapic)
{
	reset_registers(lapic);
}

static void lapic_reset(void *device)
{
	struct lapic *lapic = device;

	lapic->state.base =
		LAPIC_DEFAULT_BASE | APIC_BASE_ENABLE | (lapic->id == 0 ? APIC_BASE_BSP : 0);
	lapic_tell_page(lapic);
	reset_registers(lapic);
}

static void lapic_firmware_setup(void *device)
{
	struct lapic *lapic = device;

	if (lapic->id != 0)
		return;
	lapic->state.svr |= SVR_ENABLE;
	lapic->state.lvt[LVT_LINT0] = APIC_EXTINT << 8;
	lapic->state.lvt[LVT_LINT1] = APIC_NMI << 8;
	lapic_update(lapic);
}

static bool lapic_valid(const void *device, const void *loaded)
{
	const struct lapic *lapic = device;
	const struct lapic_state *state = loaded;

	/* Vectors below 16 are the processor's own exceptions. */
	if (((state->irr[0] | state->isr[0]) & 0xffff) || !lapic_base_valid(lapic, state->base))
		return false;
	return lapic_registers_valid(lapic, state);
}

static void lapic_loaded(void *device)
{
	struct lapic *lapic = device;

	lapic_tell_page(lapic);
	lapic_timer_loaded(lapic);
	lapic_update(lapic);
}

static void lapic_destroy(void *device)
{
	struct lapic *lapic = device;

	timer_cancel(&lapic->timer);
}

static const struct state_field lapic_fields[] = {
	/* Beyond what any clock shows, and a period can still be added. */
	STATE_FIELD(struct lapic_state, timer_zero_ns, 0, INT64_MAX),
	STATE_ANY(struct lapic_state, tsc_deadline),
	STATE_ANY(struct lapic_state, base),
	STATE_ARRAY_ANY(struct lapic_state, irr),
	STATE_ARRAY_ANY(struct lapic_state, isr),
	STATE_ARRAY_ANY(struct lapic_state, tmr),
	STATE_FIELD(struct lapic_state, tpr, 0, 0xff),
	STATE_ANY(struct lapic_state, ldr),
	STATE_ANY(struct lapic_state, dfr),
	STATE_ANY(struct lapic_state, svr),
	STATE_ARRAY_ANY(struct lapic_state, lvt),
	STATE_ANY(struct lapic_state, esr_pending),
	STATE_ANY(struct lapic_state, esr),
	STATE_ANY(struct lapic_state, icr_low),
	STATE_ANY(struct lapic_state, icr_high),
	STATE_FIELD(struct lapic_state, timer_divide, 0, 0xb),
	STATE_ANY(struct lapic_state, timer_initial),
	STATE_BOOL(struct lapic_state, lint0),
	STATE_BOOL(struct lapic_state, extint),
	STATE_END,
};

const struct device_ops lapic_device = {
	.name = "lapic",
	.version = 1,
	DEVICE_STATE(struct lapic, lapic_fields),
	.reset = lapic_reset,
	.firmware_setup = lapic_firmware_setup,
	.valid = lapic_valid,
	.loaded = lapic_loaded,
	.destroy = lapic_destroy,
};
