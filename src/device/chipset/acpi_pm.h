/* ACPI fixed hardware: PM1 event and control, the PM timer, GPE0, the SMI command port and the
 * reset register (ACPI 6.4, 4.8). The FADT repeats these numbers.
 *
 * It is also what goes on while the machine sleeps (S3), and wakes it: the power button, and the
 * real-time clock where RTC_EN is set. */
#ifndef VENEER_DEVICE_CHIPSET_ACPI_PM_H
#define VENEER_DEVICE_CHIPSET_ACPI_PM_H

#include "device/device.h"
#include "device/irq.h"
#include "host/event_loop.h"
#include "memory/io_space.h"

#define ACPI_PM1_EVENT_PORT   0x600 /* 4 bytes: status, enable */
#define ACPI_PM1_EVENT_SIZE   4
#define ACPI_PM1_CONTROL_PORT 0x604 /* 2 bytes */
#define ACPI_PM1_CONTROL_SIZE 2
#define ACPI_PM_TIMER_PORT    0x608 /* 4 bytes, 32 bits wide: set TMR_VAL_EXT */
#define ACPI_PM_TIMER_SIZE    4
#define ACPI_GPE0_PORT        0x620 /* 4 bytes: 2 status, 2 enable */
#define ACPI_GPE0_SIZE        4
#define ACPI_SMI_ENABLE_PORT  0x630 /* 8 bytes: SMI_EN and SMI_STS; read-only */
#define ACPI_SMI_COMMAND_PORT 0xb2
#define ACPI_ENABLE_VALUE     0xf1
#define ACPI_DISABLE_VALUE    0xf0
/* SLP_TYP. The numbers are QEMU's: OVMF and small systems write them without reading \_S5. */
#define ACPI_SLEEP_TYPE_S5 0
#define ACPI_SLEEP_TYPE_S3 1
#define ACPI_RESET_PORT    0xcf9
#define ACPI_RESET_VALUE   0x06
#define ACPI_SCI_IRQ       9 /* level-triggered, active high */
#define ACPI_PM_TIMER_HZ   3579545

struct acpi_pm_state {
	uint64_t overflows_seen; /* how often bit 31 had changed when we last looked */
	uint16_t pm1_status, pm1_enable, pm1_control;
	uint16_t gpe_status, gpe_enable;
	uint8_t smi_command, smi_status;
	uint8_t reset_control;
	bool asleep; /* in S3: the power of everything else is off */
};

/* What the machine does. All are called with the machine lock held. `sleep` and `wake` NULL: there
 * is no S3. */
struct acpi_pm_calls {
	void (*power_off)(void *opaque);
	void (*sleep)(void *opaque); /* S3: to stop the processors, and call device_list_sleep() */
	void (*wake)(void *opaque);  /* to start them, after acpi_pm_wake() */
	void (*reset)(void *opaque);
	void *opaque;
};

struct acpi_pm {
	struct device device;
	struct acpi_pm_state state;
	struct clock *clock;
	struct irq_line sci;
	struct acpi_pm_calls calls;
	struct timer overflow_timer; /* the PM timer's most significant bit changes */
};

/* Add the ports, and the device to the list. 0 or -errno. */
int acpi_pm_init(struct acpi_pm *pm, struct device_list *devices, struct io_space *ports,
	struct irq_line sci, struct event_loop *loop, struct clock *clock,
	const struct acpi_pm_calls *calls);

/* Press the power button, which asks the guest to shut down, or wakes it. */
void acpi_pm_power_button(struct acpi_pm *pm);
/* The RTC's interrupt line, IRQ8#, which sets RTC_STS. */
void acpi_pm_rtc_alarm(struct acpi_pm *pm);
/* The machine goes on from S3. `sci`: in ACPI mode, as firmware puts it (ACPI 6.4, 16.3.2). */
void acpi_pm_wake(struct acpi_pm *pm, bool sci);

#endif
