/* The chipset: the devices that every PC has, put together and wired.
 *
 * ISA interrupt n reaches the PIC's input n and the IOAPIC's pin n, but for IRQ 0, whose pin is 2
 * (the MADT says so). The PIC's output is LINT0 of CPU 0's local APIC. GSI 16 to 23 are IOAPIC pins
 * only. */
#ifndef VENEER_DEVICE_CHIPSET_CHIPSET_H
#define VENEER_DEVICE_CHIPSET_CHIPSET_H

#include "cpu/cpu.h"
#include "device/device.h"
#include "device/irq.h"
#include "host/char_backend.h"
#include "host/event_loop.h"
#include "host/input.h"

#include <stddef.h>

#define CHIPSET_GSI_COUNT 24

struct chipset;
struct dma8237;

#define CHIPSET_SERIAL_PORTS 4

struct chipset_config {
	/* With memory, ports, clock, cpu_count and cpus (all created) set. chipset_create() fills
	 * `opaque` and the interrupt controller's callbacks. */
	struct cpu_platform *platform;
	struct event_loop *loop;
	struct priority_lock *machine_lock;
	uint16_t debug_exit_port; /* 0: none */
	/* COM2 to COM4; each outlives the chipset; NULL: there is no such port. There is a COM1 in
	 * any case. */
	struct char_backend *more_serial[CHIPSET_SERIAL_PORTS - 1];
	struct char_backend *printer; /* outlives the chipset; NULL: there is no parallel port */
	int64_t rtc_offset_s;         /* how far the RTC is ahead of UTC */
	uint16_t debug_console_port;  /* Bochs' port 0xe9 hack: bytes to the console; 0: none */

	/* All called with the machine lock held, from a vCPU thread or the I/O thread; they must
	 * only note what was asked and return. */
	void *opaque;
	void (*power_off)(void *opaque);
	void (*sleep)(
		void *opaque); /* S3: to stop the vCPUs and call chipset_sleep(); NULL: no S3 */
	void (*wake)(void *opaque); /* to call chipset_wake() and start the vCPUs */
	void (*reset)(void *opaque);
	void (*debug_exit)(void *opaque, int status); /* exit status, (value << 1) | 1 */
};

/* Build everything and add it to the machine's port and MMIO spaces. NULL with a message in the
 * log. Call without the machine lock, before any vCPU runs. */
struct chipset *chipset_create(const struct chipset_config *config);
/* After all vCPUs and the event loop have stopped. */
void chipset_destroy(struct chipset *chipset);

/* The following are called with the machine lock held. */

/* Machine reset: every device to its power-up state; the RTC keeps the time. */
void chipset_reset(struct chipset *chipset);
/* The machine goes into S3: every device loses its state, but the RTC and what wakes the machine.
 * The vCPUs have been reset. */
void chipset_sleep(struct chipset *chipset);
bool chipset_is_asleep(const struct chipset *chipset);
/* The machine comes back from S3. `firmware`: what runs next is a BIOS, and is told why; else the
 * caller has done what a BIOS does, chipset_firmware_setup() among it. */
void chipset_wake(struct chipset *chipset, bool firmware);
/* What firmware does before it starts an operating system, for machines booted without one: PIC at
 * vectors 0x08 and 0x70 and mostly masked, the SCI level-triggered, CPU 0's local APIC enabled in
 * virtual wire mode, A20 open. */
void chipset_firmware_setup(struct chipset *chipset);
/* Connect COM1 to a console, NULL for none. With the vCPUs stopped. */
void chipset_connect_console(struct chipset *chipset, struct char_backend *console);
void chipset_power_button(struct chipset *chipset);
/* A pulse at LINT1 of all local APICs, which lets NMIs through where software has said so. */
void chipset_nmi(struct chipset *chipset);
/* The keyboard and the mouse, for those who have keys and movements to give. */
struct input chipset_input(struct chipset *chipset);
/* Set a byte of the CMOS memory, for what firmware looks up there about a further device. */
void chipset_set_cmos(struct chipset *chipset, unsigned index, uint8_t value);
/* A new line to global system interrupt 0..23 (ISA numbers below 16), for a further device; for
 * another number one that leads nowhere. Lines to the same interrupt are wired together. */
struct irq_line chipset_irq_line(struct chipset *chipset, unsigned gsi);
/* The DMA controllers, for a further device on the ISA bus. */
struct dma8237 *chipset_dma(struct chipset *chipset);
/* The devices, for further ones to be added: they are reset, saved, loaded and destroyed with the
 * chipset's own. */
struct device_list *chipset_devices(struct chipset *chipset);
/* A device signals an interrupt by a message: the write of `data` to `address` that a PCI function
 * would make. False: no local APIC took it, or the address is none of theirs. On any thread, lock
 * or no lock. */
bool chipset_msi(struct chipset *chipset, uint64_t address, uint32_t data);
/* All devices' state; see device_list_save() and device_list_load(). */
void chipset_save(struct chipset *chipset, struct state_writer *writer);
int chipset_load(struct chipset *chipset, struct state_reader *reader);

#endif
