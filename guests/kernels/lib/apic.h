/* The local APIC in both its forms, the IOAPIC, the legacy PIC and PIT, as far as tests need them.
 */
#ifndef APIC_H
#define APIC_H

#include "kernel.h"

#define MSR_APIC_BASE    0x1b
#define APIC_BASE_BSP    (1 << 8)
#define APIC_BASE_X2APIC (1 << 10)
#define APIC_BASE_ENABLE (1 << 11)
#define MSR_TSC_DEADLINE 0x6e0
#define APIC_ADDRESS     0xfee00000ul
#define IOAPIC_ADDRESS   0xfec00000ul

/* Register offsets of the xAPIC; an x2APIC has MSR 0x800 + offset / 16. */
#define APIC_ID            0x20
#define APIC_VERSION       0x30
#define APIC_TPR           0x80
#define APIC_PPR           0xa0
#define APIC_EOI           0xb0
#define APIC_LDR           0xd0
#define APIC_DFR           0xe0
#define APIC_SPIV          0xf0
#define APIC_ISR           0x100
#define APIC_TMR           0x180
#define APIC_IRR           0x200
#define APIC_ESR           0x280
#define APIC_ICR           0x300
#define APIC_ICR_HIGH      0x310
#define APIC_LVT_TIMER     0x320
#define APIC_LVT_LINT0     0x350
#define APIC_LVT_LINT1     0x360
#define APIC_LVT_ERROR     0x370
#define APIC_TIMER_INITIAL 0x380
#define APIC_TIMER_COUNT   0x390
#define APIC_TIMER_DIVIDE  0x3e0
#define APIC_SELF_IPI      0x3f0 /* x2APIC only */

#define LVT_MASKED       (1 << 16)
#define LVT_PERIODIC     (1 << 17)
#define LVT_TSC_DEADLINE (2 << 17)
#define LVT_EXTINT       0x700
#define LVT_NMI          0x400

#define ICR_FIXED   0
#define ICR_NMI     0x400
#define ICR_INIT    0x500
#define ICR_STARTUP 0x600
#define ICR_LOGICAL (1 << 11)
#define ICR_PENDING (1 << 12)
#define ICR_ASSERT  (1 << 14)
#define ICR_SELF    (1 << 18)
#define ICR_ALL     (2 << 18)
#define ICR_OTHERS  (3 << 18)

#define SPURIOUS_VECTOR 0xff

u32 apic_read(u32 reg);
void apic_write(u32 reg, u32 value);
/* Sends LOW to APIC ID (or logical address) DEST and waits until it is on its way. */
void apic_icr(u32 dest, u32 low);
u32 apic_id(void);
void apic_eoi(void);
/* Software-enables the APIC of this CPU in the mode it is in. */
void apic_enable(void);
/* Puts this CPU's APIC into x2APIC mode; there is no direct way back. */
void x2apic_enable(void);
bool x2apic_mode(void);
/* Bit VECTOR of ISR, TMR or IRR. */
bool apic_bit(u32 bank, int vector);

u32 ioapic_read(u32 index);
void ioapic_write(u32 index, u32 value);
/* LOW is the low word of redirection entry PIN. */
void ioapic_route(int pin, u32 dest, u32 low);
#define IOAPIC_MASKED     (1 << 16)
#define IOAPIC_LEVEL      (1 << 15)
#define IOAPIC_LOW_ACTIVE (1 << 13)
#define IOAPIC_REMOTE_IRR (1 << 14)

/* Remaps both PICs to vectors FIRST to FIRST + 15, everything masked. */
void pic_init(u8 first);
void pic_mask(u16 mask);

#define PIT_HZ 1193182
/* Loads channel 0 in MODE with COUNT; 0x10000 is written as 0. */
void pit_set(int mode, u32 count);

/* A clock that READ reads, and the TSC at the same moment, as nearly as can be. */
struct clock_sample {
	u64 tsc;
	u32 value;
};
struct clock_sample clock_sample(u32 (*read)(void));

/* TSC cycles in a millisecond, measured once against channel 2 of the PIT. */
u32 tsc_per_ms(void);
void delay_ms(u32 ms);
/* Waits with interrupts on until *COUNTER reaches WANT or MS have passed. */
bool wait_for(volatile u32 *counter, u32 want, u32 ms);

#endif
