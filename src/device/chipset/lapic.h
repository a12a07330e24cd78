/* The local APICs (SDM vol. 3A chapter 11): one per vCPU, and the bus that joins them with the
 * IOAPIC. xAPIC and x2APIC.
 *
 * Interrupts need no machine lock: a thread that sends a message to a local APIC sets a bit of its
 * IRR and kicks its vCPU, and the vCPU takes, completes and prioritises interrupts by itself. Which
 * thread may change what:
 *
 *	IRR, TMR, errors, ExtINT	any thread, by atomic operations
 *	ISR, TPR, ICR, ID registers	changed by the vCPU's own thread, lock or no lock
 *	mode, SVR, LVT			changed by the vCPU's own thread under the machine lock
 *	LINT0's level, the timer	any thread, under the machine lock
 *
 * All that another thread looks at is atomic. lapic.c says why no interrupt gets lost. Functions
 * are called with the machine lock held unless they say otherwise.
 *
 * The timer's input clock is 1 GHz: with the divide configuration at 1, a count is a nanosecond. */
#ifndef VENEER_DEVICE_CHIPSET_LAPIC_H
#define VENEER_DEVICE_CHIPSET_LAPIC_H

#include "cpu/cpu.h"
#include "device/device.h"
#include "host/event_loop.h"

#define LAPIC_DEFAULT_BASE UINT64_C(0xfee00000)

/* The delivery mode field of ICR, LVT, IOAPIC redirection entries and MSI data. */
enum apic_delivery {
	APIC_FIXED = 0,
	APIC_LOWEST_PRIORITY = 1,
	APIC_SMI = 2,
	APIC_NMI = 4,
	APIC_INIT = 5,
	APIC_STARTUP = 6,
	APIC_EXTINT = 7,
};

#define APIC_BROADCAST UINT32_C(0xffffffff)

/* An interrupt message on the bus. */
struct apic_message {
	uint32_t destination; /* APIC ID or logical set; APIC_BROADCAST for all */
	bool logical;
	bool level;       /* trigger mode: level; the EOI goes back to the IOAPIC */
	uint8_t delivery; /* enum apic_delivery, or a reserved value: dropped */
	uint8_t vector;
};

enum lapic_lvt {
	LVT_TIMER,
	LVT_THERMAL,
	LVT_PERFORMANCE,
	LVT_LINT0,
	LVT_LINT1,
	LVT_ERROR,
	LVT_COUNT
};

struct lapic_state {
	uint64_t timer_zero_ns; /* when the running count reaches 0; 0: it does not run */
	uint64_t tsc_deadline;  /* IA32_TSC_DEADLINE; 0: disarmed */
	_Atomic uint64_t base;  /* IA32_APIC_BASE */
	_Atomic uint32_t irr[8], isr[8], tmr[8];
	_Atomic uint32_t tpr, ldr, dfr, svr;
	_Atomic uint32_t lvt[LVT_COUNT];
	_Atomic uint32_t esr_pending; /* errors since the last write of ESR */
	uint32_t esr;                 /* as latched by that write */
	uint32_t icr_low, icr_high;
	uint32_t timer_divide, timer_initial;
	atomic_bool lint0;  /* level of the pin */
	atomic_bool extint; /* an ExtINT message came: the PIC has the vector */
};

struct lapic {
	struct device device;
	struct lapic_state state;
	struct lapic_bus *bus;
	struct cpu *cpu;
	uint32_t id;
	struct timer timer;
};

struct lapic_bus_state {
	_Atomic uint32_t next; /* where the search for a lowest-priority target starts */
};

struct lapic_bus {
	struct device device;
	struct lapic_bus_state state;
	struct lapic *lapics;
	unsigned count;
	struct clock *clock;
	/* A level-triggered interrupt of this vector was completed somewhere: to the IOAPIC. Called
	 * without the machine lock. */
	void (*eoi)(void *opaque, uint8_t vector);
	void *opaque;
};

/* One local APIC for each of the CPUs; all are added to the list. 0 or -ENOMEM. Firmware leaves the
 * boot processor's enabled, LINT0 as ExtINT, LINT1 as NMI. */
int lapic_bus_init(struct lapic_bus *bus, struct device_list *devices, struct cpu **cpus,
	unsigned count, struct event_loop *loop, struct clock *clock);

/* INIT: as at power-up, but the mode and the base address stay (SDM vol. 3A 11.4.7.3). */
void lapic_init_reset(struct lapic *lapic);

/* Deliver a message to the local APICs that it addresses. False: none took it. On any thread, lock
 * or no lock. */
bool lapic_bus_deliver(struct lapic_bus *bus, const struct apic_message *message);

/* The same to the local APIC with this ID only, whatever message->destination says. */
bool lapic_bus_deliver_to(struct lapic_bus *bus, uint32_t id, const struct apic_message *message);

/* The PIC's output, wired to LINT0. */
void lapic_set_lint0(struct lapic *lapic, bool level);
/* A pulse at LINT1, which is a processor's NMI pin where its local APIC is disabled. */
void lapic_pulse_lint1(struct lapic *lapic);
/* Take the most urgent deliverable interrupt into service: its vector, or -1 where there is none.
 * On the vCPU's own thread, lock or no lock. */
int lapic_acknowledge(struct lapic *lapic);
/* Does LINT0 (or a disabled local APIC) let the PIC's interrupt through to the CPU now? */
bool lapic_extint_pending(const struct lapic *lapic);
/* The CPU has asked the PIC for the vector. */
void lapic_extint_acknowledged(struct lapic *lapic);

/* Must the machine lock be held for this access? The others, EOI, TPR and ICR among them, are made
 * on the vCPU's own thread without. */
bool lapic_msr_needs_lock(uint32_t msr, bool write);
bool lapic_mmio_needs_lock(uint64_t offset, bool write);

/* IA32_APIC_BASE, IA32_TSC_DEADLINE and the x2APIC MSRs. False: #GP. */
bool lapic_msr_read(struct lapic *lapic, uint32_t msr, uint64_t *value);
bool lapic_msr_write(struct lapic *lapic, uint32_t msr, uint64_t value);
/* The xAPIC page. */
uint64_t lapic_mmio_read(struct lapic *lapic, uint64_t offset, unsigned size);
void lapic_mmio_write(struct lapic *lapic, uint64_t offset, uint64_t value, unsigned size);
/* The task priority register, all eight bits. On the vCPU's own thread, lock or no lock. */
uint8_t lapic_tpr(const struct lapic *lapic);
void lapic_set_tpr(struct lapic *lapic, uint8_t tpr);

/* The guest wrote its TSC, so a TSC deadline is reached at another machine time. */
void lapic_tsc_changed(struct lapic *lapic);

#endif
