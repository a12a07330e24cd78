/* ACPI fixed hardware: PM1 event and control, the PM timer, GPE0, the SMI command port and the
 * reset register (ACPI 6.4, 4.8). The FADT repeats these numbers. */
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
#define ACPI_SLEEP_TYPE_S5    5 /* \_S5 */
#define ACPI_RESET_PORT       0xcf9
#define ACPI_RESET_VALUE      0x06
#define ACPI_SCI_IRQ          9 /* level-triggered, active high */
#define ACPI_PM_TIMER_HZ      3579545

struct acpi_pm_state {
	uint64_t overflows_seen; /* how often bit 31 had changed when we last looked */
	uint16_t pm1_status, pm1_enable, pm1_control;
	uint16_t gpe_status, gpe_enable;
	uint8_t smi_command, smi_status;
	uint8_t reset_control;
};

struct acpi_pm {
	struct device device;
	struct acpi_pm_state state;
	struct clock *clock;
	struct irq_line sci;
	void (*power_off)(void *opaque);
	void (*reset)(void *opaque);
	void *opaque;
	struct timer overflow_timer; /* the PM timer's most significant bit changes */
};

/* Add the ports, and the device to the list. 0 or -errno. */
int acpi_pm_init(struct acpi_pm *pm, struct device_list *devices, struct io_space *ports,
	struct irq_line sci, struct event_loop *loop, struct clock *clock,
	void (*power_off)(void *opaque), void (*reset)(void *opaque), void *opaque);

/* Press the power button, which asks the guest to shut down. */
void acpi_pm_power_button(struct acpi_pm *pm);

#endif
