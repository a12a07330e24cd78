/* The keyboard controller, a keyboard and a mouse that are never used, the A20 gate and the reset
 * line. */
#ifndef VENEER_DEVICE_CHIPSET_I8042_H
#define VENEER_DEVICE_CHIPSET_I8042_H

#include "device/device.h"
#include "device/irq.h"
#include "memory/io_space.h"

#define PS2_QUEUE_SIZE 32

/* One of the two PS/2 devices. */
struct ps2_device {
	bool mouse;
	uint8_t expecting; /* command whose parameter comes next; 0: none */
	bool scanning;     /* would send key codes or movements */
	uint8_t last_sent;
	uint8_t scancode_set, leds, typematic;   /* keyboard */
	uint8_t resolution, sample_rate, status; /* mouse */
	uint8_t queue[PS2_QUEUE_SIZE];           /* bytes on their way to the controller */
	uint8_t head, count;
};

struct i8042_state {
	uint8_t status, config; /* config: the command byte */
	uint8_t output_port;
	uint8_t command; /* controller command waiting for its data byte; 0: none */
	uint8_t output;  /* output buffer; valid while status says so */
	uint8_t port92;
	uint8_t ram[32];
	struct ps2_device keyboard, mouse;
};

struct i8042 {
	struct device device;
	struct i8042_state state;
	struct irq_line keyboard_irq, mouse_irq;
	void (*reset)(void *opaque);
	void *opaque;
};

/* Add ports 0x60, 0x64 and 0x92, and the device to the list. reset() is called where the guest
 * pulses the reset line. 0 or -errno. */
int i8042_init(struct i8042 *i8042, struct device_list *devices, struct io_space *ports,
	struct irq_line keyboard_irq, struct irq_line mouse_irq, void (*reset)(void *opaque),
	void *opaque);

#endif
