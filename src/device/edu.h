/* QEMU's device for learning to write drivers (docs/specs/edu.txt): it inverts a number, computes a
 * factorial, raises interrupts, and moves bytes between memory and a buffer of its own. */
#ifndef VENEER_DEVICE_EDU_H
#define VENEER_DEVICE_EDU_H

#include "device/pci/pci.h"

#define EDU_VENDOR 0x1234
#define EDU_DEVICE 0x11e8

/* Registers in BAR 0 (memory, 1 MiB), of 4 bytes, and from 0x80 on of 4 or 8. */
enum edu_register {
	EDU_ID = 0x00,
	EDU_INVERT = 0x04,    /* reads the complement of what was written */
	EDU_FACTORIAL = 0x08, /* a write of n computes n! modulo 2^32 */
	EDU_STATUS = 0x20,
	EDU_INTERRUPTS = 0x24,  /* bits that assert the interrupt */
	EDU_RAISE = 0x60,       /* a write sets such bits */
	EDU_ACKNOWLEDGE = 0x64, /* a write clears them */
	EDU_DMA_SOURCE = 0x80,
	EDU_DMA_TARGET = 0x88,
	EDU_DMA_COUNT = 0x90,
	EDU_DMA_COMMAND = 0x98,
	EDU_BUFFER = 0x40000, /* where DMA finds the buffer: not to be read or written here */
};
#define EDU_BUFFER_SIZE 4096

#define EDU_ID_VALUE UINT32_C(0x010000ed) /* version 1.0 */

#define EDU_STATUS_COMPUTING 0x01
#define EDU_STATUS_INTERRUPT 0x80 /* interrupt when a factorial is computed */

#define EDU_DMA_START     0x01
#define EDU_DMA_TO_RAM    0x02 /* else from RAM to the buffer */
#define EDU_DMA_INTERRUPT 0x04

#define EDU_INTERRUPT_FACTORIAL 0x001
#define EDU_INTERRUPT_DMA       0x100

/* Put one on the bus: `slot` as for pci_add(). 0, or -errno with a message. */
int edu_create(struct pci_bus *bus, struct device_list *devices, int slot);

#endif
