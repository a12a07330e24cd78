/* The 16550A serial port (National Semiconductor PC16550D). */
#ifndef VENEER_DEVICE_CHIPSET_UART16550_H
#define VENEER_DEVICE_CHIPSET_UART16550_H

#include "device/device.h"
#include "device/irq.h"
#include "host/char_backend.h"
#include "memory/io_space.h"

#include <stddef.h>

#define UART_COM1_PORT 0x3f8
#define UART_COM1_IRQ  4
#define UART_COM2_PORT 0x2f8
#define UART_COM2_IRQ  3
#define UART_COM3_PORT 0x3e8 /* with COM1's interrupt, and COM4 with COM2's */
#define UART_COM4_PORT 0x2e8
#define UART_FIFO_SIZE 16

struct uart16550_fifo {
	uint8_t bytes[UART_FIFO_SIZE];
	uint8_t head, count;
};

struct uart16550_state {
	uint16_t divisor;
	uint8_t ier, fcr, lcr, mcr, lsr, msr, scr;
	uint8_t polls;                    /* of LSR since something was sent */
	bool thre_pending;                /* "transmitter holding register empty" interrupt waits */
	bool receive_refused;             /* the back end must get an input_ready() */
	struct uart16550_fifo line, loop; /* received from outside, and in loopback */
	struct uart16550_fifo out;        /* written, and not yet taken by the back end */
};

struct uart16550 {
	struct device device;
	struct uart16550_state state;
	struct irq_line irq;
	struct char_backend *backend; /* NULL: nobody is there, and what is sent is lost */
};

/* Add the eight ports at `port`, and the device to the list as that of this number. 0 or -errno. */
int uart_init(struct uart16550 *uart, struct device_list *devices, unsigned number,
	struct io_space *ports, uint16_t port, struct irq_line irq);
/* Connect the line to another back end, NULL for none. The one before gets what was not yet sent.
 * It takes input as far as the receive FIFO has room and the guest listens (receive interrupts are
 * on, or it polls for input). Machine lock held, with the vCPUs stopped. */
void uart_connect(struct uart16550 *uart, struct char_backend *backend);

#endif
