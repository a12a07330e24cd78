#include "device/chipset/acpi_pm.h"

#include "base/bits.h"
#include "base/log.h"

#define TIMER_STATUS        BIT(0)
#define GLOBAL_STATUS       BIT(5)
#define POWER_BUTTON_STATUS BIT(8)
#define SLEEP_BUTTON_STATUS BIT(9)
#define RTC_STATUS          BIT(10)
#define WAKE_STATUS         BIT(15)
#define PM1_ENABLES                                                                                \
	(TIMER_STATUS | GLOBAL_STATUS | POWER_BUTTON_STATUS | SLEEP_BUTTON_STATUS | RTC_STATUS)

/* What stays powered in S3 (ICH9 data sheet 316972, 13.8.3): the wells of bits 8 and up. */
#define PM1_STAYS 0xff00

#define SCI_ENABLED       BIT(0)
#define SLEEP_TYPE(value) ((value) >> 10 & 7)
#define SLEEP_TYPE_BITS   0x1c00
#define SLEEP_ENABLE      BIT(13)
#define CONTROL_STORED    0x1c03 /* SCI_EN, BM_RLD, SLP_TYP; the others are write-only */

#define RESET_CPU BIT(2)

#define SMI_ENABLED (BIT(0) | BIT(5)) /* GBL_SMI_EN, APMC_EN */

static uint64_t timer_ticks(const struct acpi_pm *pm)
{
	return clock_ns_to_ticks(clock_ns(pm->clock), ACPI_PM_TIMER_HZ);
}

/* How often bit 31 of the timer has changed. */
static uint64_t overflows(const struct acpi_pm *pm)
{
	return timer_ticks(pm) >> 31;
}

/* Drive the SCI as the registers have it, and wait for the timer's next overflow, if that would
 * change it. */
static void wait_for_overflow(struct acpi_pm *pm)
{
	const struct acpi_pm_state *state = &pm->state;

	timer_cancel(&pm->overflow_timer);
	if (state->pm1_enable & ~state->pm1_status & TIMER_STATUS)
		timer_arm(&pm->overflow_timer,
			clock_ticks_to_ns((state->overflows_seen + 1) << 31, ACPI_PM_TIMER_HZ));
	irq_set(&pm->sci, (state->pm1_control & SCI_ENABLED) &&
				  ((state->pm1_status & state->pm1_enable) ||
					  (state->gpe_status & state->gpe_enable)));
}

static void update_sci(struct acpi_pm *pm)
{
	uint64_t overflow = overflows(pm);

	if (overflow != pm->state.overflows_seen) {
		pm->state.overflows_seen = overflow;
		pm->state.pm1_status |= TIMER_STATUS;
	}
	wait_for_overflow(pm);
}

static void overflow_expired(void *opaque)
{
	update_sci(opaque);
}

static void wake_if_asleep(struct acpi_pm *pm)
{
	if (!pm->state.asleep)
		return;
	pm->state.pm1_status |= WAKE_STATUS;
	pm->calls.wake(pm->calls.opaque);
}

/* Wakes whether or not PWRBTN_EN is set. */
void acpi_pm_power_button(struct acpi_pm *pm)
{
	pm->state.pm1_status |= POWER_BUTTON_STATUS;
	update_sci(pm);
	wake_if_asleep(pm);
}

void acpi_pm_rtc_alarm(struct acpi_pm *pm)
{
	pm->state.pm1_status |= RTC_STATUS;
	update_sci(pm);
	if (pm->state.pm1_enable & RTC_STATUS)
		wake_if_asleep(pm);
}

void acpi_pm_wake(struct acpi_pm *pm, bool sci)
{
	pm->state.asleep = false;
	if (sci)
		pm->state.pm1_control |= SCI_ENABLED;
	update_sci(pm);
}

/* A status and an enable register side by side: reads give both, ones written to the status clear.
 */
static uint64_t pair_read(uint16_t status, uint16_t enable, uint64_t offset)
{
	return ((uint32_t)enable << 16 | status) >> (8 * offset);
}

static void pair_write(uint16_t *status, uint16_t *enable, uint16_t enables, uint64_t offset,
	uint64_t value, unsigned size)
{
	uint64_t written = bits_zero_extend(~UINT64_C(0), size) << (8 * offset);
	uint64_t bits = value << (8 * offset) & written;

	*status &= (uint16_t)~bits;
	*enable = (uint16_t)((*enable & ~(written >> 16)) | (bits >> 16)) & enables;
}

static uint64_t event_read(void *opaque, uint64_t offset, unsigned size)
{
	struct acpi_pm *pm = opaque;

	update_sci(pm);
	return pair_read(pm->state.pm1_status, pm->state.pm1_enable, offset);
}

static void event_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct acpi_pm *pm = opaque;

	update_sci(pm);
	pair_write(&pm->state.pm1_status, &pm->state.pm1_enable, PM1_ENABLES, offset, value, size);
	update_sci(pm);
}

static uint64_t control_read(void *opaque, uint64_t offset, unsigned size)
{
	struct acpi_pm *pm = opaque;

	return pm->state.pm1_control >> (8 * offset);
}

static void enter_sleep(struct acpi_pm *pm, unsigned type)
{
	if (type == ACPI_SLEEP_TYPE_S5)
		pm->calls.power_off(pm->calls.opaque);
	else if (type == ACPI_SLEEP_TYPE_S3 && pm->calls.sleep)
		pm->calls.sleep(pm->calls.opaque);
	else
		log_info("the guest asked for sleep type %u, which there is not", type);
}

static void control_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct acpi_pm *pm = opaque;
	uint16_t control = (uint16_t)value;

	if (size == 1)
		control = offset ? (uint16_t)((pm->state.pm1_control & 0x00ff) | value << 8)
				 : (uint16_t)((pm->state.pm1_control & 0xff00) | (value & 0xff));
	/* SCI_EN is firmware's to change (ACPI 6.4, 4.8.3.2.1), but the chip lets anybody, and
	 * Linux sets it after S3, because firmware forgets to. */
	pm->state.pm1_control = control & CONTROL_STORED;
	update_sci(pm);
	if (control & SLEEP_ENABLE)
		enter_sleep(pm, SLEEP_TYPE(control));
}

static uint64_t timer_read(void *opaque, uint64_t offset, unsigned size)
{
	struct acpi_pm *pm = opaque;

	return (uint32_t)timer_ticks(pm) >> (8 * offset);
}

static uint64_t gpe_read(void *opaque, uint64_t offset, unsigned size)
{
	struct acpi_pm *pm = opaque;

	return pair_read(pm->state.gpe_status, pm->state.gpe_enable, offset);
}

static void gpe_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct acpi_pm *pm = opaque;

	pair_write(&pm->state.gpe_status, &pm->state.gpe_enable, 0xffff, offset, value, size);
	update_sci(pm);
}

static uint64_t smi_read(void *opaque, uint64_t offset, unsigned size)
{
	struct acpi_pm *pm = opaque;

	return offset ? pm->state.smi_status : pm->state.smi_command;
}

/* There is no system management mode: we are the firmware that would answer. */
static void smi_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct acpi_pm *pm = opaque;

	if (offset) {
		pm->state.smi_status = (uint8_t)value;
		return;
	}
	pm->state.smi_command = (uint8_t)value;
	if (value == ACPI_ENABLE_VALUE)
		pm->state.pm1_control |= SCI_ENABLED;
	else if (value == ACPI_DISABLE_VALUE)
		pm->state.pm1_control &= (uint16_t)~SCI_ENABLED;
	update_sci(pm);
}

/* SMI_EN and SMI_STS of the ICH9. The bits that firmware sets when it has put its handler into
 * system management mode are set, so it does not try. */
static uint64_t smi_enable_read(void *opaque, uint64_t offset, unsigned size)
{
	return offset ? 0 : SMI_ENABLED;
}

static uint64_t reset_read(void *opaque, uint64_t offset, unsigned size)
{
	struct acpi_pm *pm = opaque;

	return pm->state.reset_control;
}

static void reset_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct acpi_pm *pm = opaque;

	pm->state.reset_control = value & 0x0a;
	if (value & RESET_CPU)
		pm->calls.reset(pm->calls.opaque);
}

static void acpi_pm_reset(void *device)
{
	struct acpi_pm *pm = device;

	pm->state = (struct acpi_pm_state){.overflows_seen = overflows(pm)};
	update_sci(pm);
}

static void acpi_pm_sleep(void *device)
{
	struct acpi_pm *pm = device;
	struct acpi_pm_state *state = &pm->state;

	*state = (struct acpi_pm_state){
		.overflows_seen = overflows(pm),
		.pm1_status = state->pm1_status & PM1_STAYS,
		.pm1_enable = state->pm1_enable & PM1_STAYS,
		.pm1_control = state->pm1_control & SLEEP_TYPE_BITS,
		.gpe_status = state->gpe_status,
		.gpe_enable = state->gpe_enable,
		.asleep = true,
	};
	update_sci(pm);
	/* It has happened since the guest looked. */
	if (state->pm1_status & state->pm1_enable & (RTC_STATUS | POWER_BUTTON_STATUS))
		wake_if_asleep(pm);
}

static void acpi_pm_loaded(void *device)
{
	wait_for_overflow(device);
}

static void acpi_pm_destroy(void *device)
{
	struct acpi_pm *pm = device;

	timer_cancel(&pm->overflow_timer);
}

static bool acpi_pm_valid(const void *device, const void *loaded)
{
	const struct acpi_pm *pm = device;
	const struct acpi_pm_state *state = loaded;

	return !(state->pm1_enable & ~PM1_ENABLES) && !(state->pm1_control & ~CONTROL_STORED) &&
	       (pm->calls.sleep || !state->asleep);
}

static const struct state_field acpi_pm_fields[] = {
	STATE_ANY(struct acpi_pm_state, overflows_seen),
	STATE_ANY(struct acpi_pm_state, pm1_status),
	STATE_ANY(struct acpi_pm_state, pm1_enable),
	STATE_ANY(struct acpi_pm_state, pm1_control),
	STATE_ANY(struct acpi_pm_state, gpe_status),
	STATE_ANY(struct acpi_pm_state, gpe_enable),
	STATE_ANY(struct acpi_pm_state, smi_command),
	STATE_ANY(struct acpi_pm_state, smi_status),
	STATE_ANY(struct acpi_pm_state, reset_control),
	STATE_BOOL(struct acpi_pm_state, asleep),
	STATE_END,
};

static const struct device_ops acpi_pm_device = {
	.name = "acpi-pm",
	.version = 2,
	DEVICE_STATE(struct acpi_pm, acpi_pm_fields),
	.reset = acpi_pm_reset,
	.sleep = acpi_pm_sleep,
	.valid = acpi_pm_valid,
	.loaded = acpi_pm_loaded,
	.destroy = acpi_pm_destroy,
};

int acpi_pm_init(struct acpi_pm *pm, struct device_list *devices, struct io_space *ports,
	struct irq_line sci, struct event_loop *loop, struct clock *clock,
	const struct acpi_pm_calls *calls)
{
	static const struct io_ops event = {.read = event_read, .write = event_write, .width = 2};
	static const struct io_ops control = {
		.read = control_read, .write = control_write, .width = 2};
	static const struct io_ops pm_timer = {.read = timer_read, .width = 4};
	static const struct io_ops gpe = {.read = gpe_read, .write = gpe_write, .width = 2};
	static const struct io_ops smi = {.read = smi_read, .write = smi_write, .width = 1};
	static const struct io_ops smi_enable = {.read = smi_enable_read, .width = 4};
	/* A doubleword access at 0xcf8 is for the PCI host bridge; no byte of it reaches this
	 * register. */
	static const struct io_ops reset_ops = {
		.read = reset_read, .write = reset_write, .width = 1, .undivided = true};
	static const struct {
		uint16_t port, size;
		const struct io_ops *ops;
		const char *name;
	} regions[] = {
		{ACPI_PM1_EVENT_PORT, ACPI_PM1_EVENT_SIZE, &event, "ACPI PM1 event block"},
		{ACPI_PM1_CONTROL_PORT, ACPI_PM1_CONTROL_SIZE, &control, "ACPI PM1 control block"},
		{ACPI_PM_TIMER_PORT, ACPI_PM_TIMER_SIZE, &pm_timer, "ACPI PM timer"},
		{ACPI_GPE0_PORT, ACPI_GPE0_SIZE, &gpe, "ACPI GPE0 block"},
		{ACPI_SMI_COMMAND_PORT, 2, &smi, "SMI command port"},
		{ACPI_SMI_ENABLE_PORT, 8, &smi_enable, "SMI enable and status"},
		{ACPI_RESET_PORT, 1, &reset_ops, "reset register"},
	};

	*pm = (struct acpi_pm){.sci = sci, .clock = clock, .calls = *calls};
	timer_init(&pm->overflow_timer, loop, overflow_expired, pm);
	device_list_add(devices, &pm->device, &acpi_pm_device, 0);
	acpi_pm_reset(pm);
	for (unsigned i = 0; i < ARRAY_SIZE(regions); i++) {
		int error = io_space_add(ports, regions[i].port, regions[i].size, regions[i].name,
			regions[i].ops, pm);

		if (error)
			return error;
	}
	return 0;
}
