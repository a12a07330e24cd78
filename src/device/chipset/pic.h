/* The pair of 8259A interrupt controllers of a PC, with the edge/level control registers. */
#ifndef VENEER_DEVICE_CHIPSET_PIC_H
#define VENEER_DEVICE_CHIPSET_PIC_H

#include "device/device.h"
#include "device/irq.h"
#include "memory/io_space.h"

struct pic_chip {
	uint8_t irr, isr, imr;
	uint8_t lines;        /* levels of the eight inputs */
	uint8_t elcr;         /* 1: level-triggered */
	uint8_t vector_base;  /* ICW2 */
	uint8_t priority_add; /* rotation: this input has the highest priority */
	uint8_t init_step;    /* which ICW is expected next; 0: none */
	bool init_icw4;       /* ICW4 will come */
	bool single;
	bool read_isr; /* OCW3: what a read of the command port gives */
	bool poll;
	bool special_mask;
	bool auto_eoi, rotate_on_auto_eoi;
	bool special_fully_nested;
	bool output;
};

struct pic_state {
	struct pic_chip chip[2]; /* master, slave */
};

struct pic {
	struct device device;
	struct pic_state state;
	struct irq_line output;   /* INTR */
	uint16_t level_triggered; /* inputs that firmware makes level-triggered */
};

/* Add the ports 0x20, 0x21, 0xa0, 0xa1, 0x4d0, 0x4d1, and the device to the list. Firmware leaves
 * vectors 0x08 and 0x70, everything masked but the inputs for PCI, and the inputs in the set
 * `level_triggered` as that. 0 or -errno. */
int pic_init(struct pic *pic, struct device_list *devices, struct io_space *ports,
	struct irq_line output, uint16_t level_triggered);

/* Drive input `irq` (0..15; 2 is the cascade and not driven from outside). */
void pic_set_irq(struct pic *pic, unsigned irq, bool level);

/* The INTA cycle: the vector of the most urgent request, which is now in service; the spurious
 * vector (IR7) where there is none. */
uint8_t pic_acknowledge(struct pic *pic);

#endif
