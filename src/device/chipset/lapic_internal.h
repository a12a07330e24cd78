/* What the parts of the local APIC share: lapic.c (interrupts), lapic_registers.c (what the guest
 * reads and writes), lapic_timer.c, lapic_bus.c (messages between local APICs). */
#ifndef VENEER_DEVICE_CHIPSET_LAPIC_INTERNAL_H
#define VENEER_DEVICE_CHIPSET_LAPIC_INTERNAL_H

#include "device/chipset/lapic.h"

#define SVR_ENABLE       BIT(8)
#define SVR_SUPPRESS_EOI BIT(12)

#define LVT_DELIVERY(lvt) ((lvt) >> 8 & 7)
#define LVT_MASKED        BIT(16)
#define LVT_TIMER_MODE    (BIT(17) | BIT(18))
#define LVT_ONE_SHOT      UINT32_C(0)
#define LVT_PERIODIC      BIT(17)
#define LVT_TSC_DEADLINE  BIT(18)

#define ESR_SEND_ILLEGAL_VECTOR    BIT(5)
#define ESR_RECEIVE_ILLEGAL_VECTOR BIT(6)
#define ESR_ILLEGAL_REGISTER       BIT(7)

static inline bool lapic_is_enabled(const struct lapic *lapic)
{
	return lapic->state.base & APIC_BASE_ENABLE;
}

static inline bool lapic_is_x2apic(const struct lapic *lapic)
{
	return lapic->state.base & APIC_BASE_X2APIC;
}

/* Enabled by IA32_APIC_BASE and by the spurious vector register: takes interrupts. */
static inline bool lapic_takes_interrupts(const struct lapic *lapic)
{
	return lapic_is_enabled(lapic) && (lapic->state.svr & SVR_ENABLE);
}

/* Tell the CPU whether there is something deliverable. After each change of IRR, ISR, TPR, LINT0,
 * mode; on any thread. */
void lapic_update(struct lapic *lapic);
uint8_t lapic_ppr(const struct lapic *lapic);
/* Request an interrupt of this local APIC's CPU. On any thread. */
void lapic_request(struct lapic *lapic, uint8_t vector, bool level);
/* Raise a local interrupt, if its LVT entry is not masked. */
void lapic_local_interrupt(struct lapic *lapic, enum lapic_lvt entry);
void lapic_error(struct lapic *lapic, uint32_t bits);
void lapic_eoi(struct lapic *lapic);

/* A message reached this local APIC. False: not taken. On any thread. */
bool lapic_accept(struct lapic *lapic, const struct apic_message *message);
/* ICR was written. On the own thread. */
void lapic_send_ipi(struct lapic *lapic);
uint32_t lapic_x2apic_ldr(const struct lapic *lapic);

/* Is loaded state allowed? Checks IA32_APIC_BASE, and the registers that have fixed bits. */
bool lapic_base_valid(const struct lapic *lapic, uint64_t base);
bool lapic_registers_valid(const struct lapic *lapic, const struct lapic_state *state);
/* Tell the CPU where the registers are, as IA32_APIC_BASE has it. */
void lapic_tell_page(struct lapic *lapic);
/* The timer's state was loaded. */
void lapic_timer_loaded(struct lapic *lapic);
extern const struct device_ops lapic_device;

void lapic_timer_init(struct lapic *lapic, struct event_loop *loop);
void lapic_timer_set_initial(struct lapic *lapic, uint32_t count);
uint32_t lapic_timer_current(const struct lapic *lapic);
void lapic_timer_set_divide(struct lapic *lapic, uint32_t divide);
void lapic_timer_set_deadline(struct lapic *lapic, uint64_t deadline);
uint64_t lapic_timer_deadline(struct lapic *lapic);
/* The LVT timer entry was written; `before` is what it held. */
void lapic_timer_lvt_changed(struct lapic *lapic, uint32_t before);
void lapic_timer_stop(struct lapic *lapic);

#endif
