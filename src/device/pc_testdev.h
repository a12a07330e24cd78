/* QEMU's pc-testdev: what kvm-unit-tests wants of a machine to test it from inside. Port latches,
 * interrupt lines that the guest drives itself, and a scratch MMIO region. Not for ordinary guests.
 */
#ifndef VENEER_DEVICE_PC_TESTDEV_H
#define VENEER_DEVICE_PC_TESTDEV_H

#include "device/device.h"
#include "device/irq.h"
#include "memory/io_space.h"

#define PC_TESTDEV_LINES 24
#define PC_TESTDEV_MMIO  0x10000

struct pc_testdev_state {
	uint32_t latch;
	bool asserted[PC_TESTDEV_LINES];
	uint8_t scratch[PC_TESTDEV_MMIO];
};

struct pc_testdev {
	struct device device;
	struct pc_testdev_state state;
	struct irq_line lines[PC_TESTDEV_LINES];
};

/* Make one, add ports 0xe0..0xeb and 0x2000..0x2017 and MMIO at 0xff000000, and add it to the list,
 * which frees it. `lines` are GSI 0..23. 0 or -errno. */
int pc_testdev_create(struct device_list *devices, struct io_space *ports, struct io_space *mmio,
	const struct irq_line lines[PC_TESTDEV_LINES]);

#endif
