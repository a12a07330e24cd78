/* The MC146818 real-time clock with its CMOS memory. Time is the host's wall clock at the machine's
 * start plus machine time, in UTC; a guest that sets it changes its own offset only. */
#ifndef VENEER_DEVICE_CHIPSET_RTC_H
#define VENEER_DEVICE_CHIPSET_RTC_H

#include "device/device.h"
#include "device/irq.h"
#include "host/event_loop.h"
#include "memory/io_space.h"

#define RTC_IRQ            8
#define RTC_CMOS_SIZE      128
#define RTC_CMOS_SHUTDOWN  0x0f
#define RTC_CMOS_CHECKSUM  0x2e /* of 0x10 to 0x2d, high byte first */
#define RTC_CMOS_CENTURY   0x32
#define RTC_CMOS_CPU_COUNT 0x5f /* processors less one, as QEMU gives it to SeaBIOS */

struct rtc_state {
	uint64_t wall_base_ns; /* host's wall clock at machine time 0 */
	int64_t offset_s;      /* what the guest has set its clock forward */
	/* Up to when the flags in register C take account of what has happened. */
	int64_t flags_s;
	uint64_t flags_periodic;
	uint8_t index;
	uint8_t cmos[RTC_CMOS_SIZE];
};

struct rtc {
	struct device device;
	struct rtc_state state;
	struct clock *clock;
	struct irq_line irq;
	struct timer periodic_timer, second_timer;
	/* The interrupt is asserted; set after rtc_init(). NULL: nobody is told but `irq`. */
	void (*interrupts)(void *opaque);
	void *opaque;
};

/* Add ports 0x70 and 0x71 and the device to the list, and fill the CMOS memory sizes. A machine
 * reset keeps the CMOS memory and the time, and disables the interrupts; S3 stops nothing. 0 or
 * -errno. */
int rtc_init(struct rtc *rtc, struct device_list *devices, struct io_space *ports,
	struct irq_line irq, struct event_loop *loop, struct clock *clock, uint64_t low_ram,
	uint64_t high_ram, unsigned cpu_count);

/* Set the clock forward, or back; not to before 1970. Before the guest runs. */
void rtc_shift(struct rtc *rtc, int64_t seconds);

/* Set a byte of the CMOS memory that is no register of the clock, and the checksum. */
void rtc_set_cmos(struct rtc *rtc, unsigned index, uint8_t value);

#endif
