/* The 16550A serial port (National Semiconductor PC16550D). */
#ifndef VENEER_DEVICE_CHIPSET_UART16550_H
#define VENEER_DEVICE_CHIPSET_UART16550_H

#include "device/device.h"
#include "device/irq.h"
#include "memory/io_space.h"

#include <stddef.h>

#define UART_COM1_PORT 0x3f8
#define UART_COM1_IRQ  4
#define UART_COM2_PORT 0x2f8
#define UART_COM2_IRQ  3
#define UART_FIFO_SIZE 16

struct uart16550_backend {
	/* The guest sent these bytes. May let go of the machine lock while it waits for room. */
	void (*transmit)(void *opaque, const void *bytes, size_t size);
	/* uart_receive() took less than it was offered, and now there is room again. */
	void (*receive_ready)(void *opaque);
	void *opaque;
};

struct uart16550_fifo {
	uint8_t bytes[UART_FIFO_SIZE];
	uint8_t head, count;
};

struct uart16550_state {
	uint16_t divisor;
	uint8_t ier, fcr, lcr, mcr, lsr, msr, scr;
	uint8_t polls;                    /* of LSR since something was sent */
	bool thre_pending;                /* "transmitter holding register empty" interrupt waits */
	bool receive_refused;             /* owe the backend a receive_ready() */
	struct uart16550_fifo line, loop; /* received from outside, and in loopback */
};

struct uart16550 {
	struct device device;
	struct uart16550_state state;
	struct irq_line irq;
	struct uart16550_backend backend;
};

/* Add the eight ports at `port`, and the device to the list as that of this number. 0 or -errno of
 * io_space_add(). Unused backend members may be NULL. / */
int uart_init(struct uart16550 *uart, struct device_list *devices, unsigned number,
	struct io_space *ports, uint16_t port, struct irq_line irq,
	const struct uart16550_backend *backend);

/* Bytes arrive from outside. Takes what the receive FIFO has room for, if the guest listens
 * (receive interrupts are on, or it polls for input), and returns how many; where that is not all,
 * the caller keeps the rest (and stops reading its source) until receive_ready().
 */
size_t uart_receive(struct uart16550 *uart, const void *bytes, size_t size);

#endif
