/* The pair of 8259A interrupt controllers of a PC, with the edge/level control registers. */
#ifndef VENEER_DEVICE_CHIPSET_PIC_H
#define VENEER_DEVICE_CHIPSET_PIC_H

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

struct pic {
	struct pic_chip chip[2]; /* master, slave */
	struct irq_line output;  /* INTR */
};

/* Add the ports 0x20, 0x21, 0xa0, 0xa1, 0x4d0, 0x4d1. 0 or -errno. */
int pic_init(struct pic *pic, struct io_space *ports, struct irq_line output);
void pic_reset(struct pic *pic);

/* Drive input `irq` (0..15; 2 is the cascade and not driven from outside). */
void pic_set_irq(struct pic *pic, unsigned irq, bool level);

/* The INTA cycle: the vector of the most urgent request, which is now in service; the spurious
 * vector (IR7) where there is none. */
uint8_t pic_acknowledge(struct pic *pic);

/* What firmware leaves behind: vectors 0x08 and 0x70, everything masked but the inputs for PCI. */
void pic_firmware_setup(struct pic *pic);

static inline bool pic_output(const struct pic *pic)
{
	return pic->chip[0].output;
}

#endif
