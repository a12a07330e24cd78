/* The keyboard controller with its keyboard and mouse, the A20 gate and the reset line. */
#ifndef VENEER_DEVICE_CHIPSET_I8042_H
#define VENEER_DEVICE_CHIPSET_I8042_H

#include "device/chipset/ps2_keyboard.h"
#include "device/chipset/ps2_mouse.h"
#include "device/device.h"
#include "device/irq.h"
#include "host/event_loop.h"
#include "host/input.h"
#include "memory/io_space.h"

struct i8042_state {
	uint8_t status, config; /* config: the command byte */
	uint8_t output_port;
	uint8_t command; /* controller command waiting for its data byte; 0: none */
	uint8_t output;  /* output buffer; valid while status says so */
	uint8_t port92;
	uint8_t ram[32];
	bool released; /* the translation has removed a prefix: the next code is of a release */
	uint64_t next_event_ns; /* machine time before which no byte of a key or a movement comes */
	struct ps2_keyboard keyboard;
	struct ps2_mouse mouse;
};

struct i8042 {
	struct device device;
	struct i8042_state state;
	struct irq_line keyboard_irq, mouse_irq;
	struct timer event_timer;
	const struct clock *clock;
	void (*reset)(void *opaque);
	void *opaque;
};

/* Add ports 0x60, 0x64 and 0x92, and the device to the list. reset() is called where the guest
 * pulses the reset line. 0 or -errno. */
int i8042_init(struct i8042 *i8042, struct device_list *devices, struct io_space *ports,
	struct irq_line keyboard_irq, struct irq_line mouse_irq, struct event_loop *loop,
	const struct clock *clock, void (*reset)(void *opaque), void *opaque);
/* What the keys and the mouse of the user are connected to. */
struct input i8042_input(struct i8042 *i8042);

#endif
