/* The transmitter is infinitely fast as long as the back end takes bytes: a byte that is written to
 * THR is sent at once, and THR is empty again. So the "THR empty" interrupt comes back right after
 * each byte, as an edge of its own. What the back end does not take waits in the FIFO, and THR is
 * not empty. The vCPU that wrote the byte waits, too, after the access and without the machine
 * lock: many drivers poll LSR for some milliseconds only, and then write whether or not THR is
 * empty.
 *
 * The receiver takes bytes, and shows those that it has, only while the guest listens: it has
 * enabled receive interrupts, or polls for input. A driver clears the FIFO when it opens the port,
 * and on a real line what was sent before that is lost; here it would be the start of what the user
 * piped in.
 *
 * On a PC's card MCR's OUT2 gates the interrupt line. Here it does not: teaching kernels that were
 * only tried on emulators leave OUT2 off. */
#include "device/chipset/uart16550.h"

#include "base/bits.h"
#include "cpu/cpu.h"

#include <string.h>

enum { RBR_THR = 0, IER = 1, IIR_FCR = 2, LCR = 3, MCR = 4, LSR = 5, MSR = 6, SCR = 7 };

#define IER_RECEIVED    BIT(0)
#define IER_THR_EMPTY   BIT(1)
#define IER_LINE_STATUS BIT(2)
#define IER_MODEM       BIT(3)

#define IIR_MODEM       0x00
#define IIR_NONE        0x01
#define IIR_THR_EMPTY   0x02
#define IIR_RECEIVED    0x04
#define IIR_LINE_STATUS 0x06
#define IIR_TIMEOUT     0x0c /* characters below the trigger level have waited */
#define IIR_FIFOS       0xc0

#define FCR_ENABLE        BIT(0)
#define FCR_CLEAR_RECEIVE BIT(1)
#define LCR_DLAB          BIT(7)
#define MCR_LOOP          BIT(4)

#define LSR_DATA_READY BIT(0)
#define LSR_OVERRUN    BIT(1)
#define LSR_THR_EMPTY  BIT(5)
#define LSR_IDLE       BIT(6)

#define MSR_DELTAS    0x0f
#define MSR_TERI      BIT(2) /* trailing edge of RI */
#define MSR_CTS       BIT(4)
#define MSR_DSR       BIT(5)
#define MSR_RI        BIT(6)
#define MSR_DCD       BIT(7)
#define MSR_CONNECTED (MSR_CTS | MSR_DSR | MSR_DCD)

/* After so many reads of LSR in a row, with nothing sent in between, the guest counts as polling
 * for input. */
#define POLLS_OF_A_READER 16

static bool fifos_on(const struct uart16550 *uart)
{
	return uart->state.fcr & FCR_ENABLE;
}

static bool in_loopback(const struct uart16550 *uart)
{
	return uart->state.mcr & MCR_LOOP;
}

static bool is_listening(const struct uart16550 *uart)
{
	return (uart->state.ier & IER_RECEIVED) || uart->state.polls >= POLLS_OF_A_READER;
}

/* The receive FIFO in use. */
static struct uart16550_fifo *fifo(struct uart16550 *uart)
{
	return in_loopback(uart) ? &uart->state.loop : &uart->state.line;
}

static unsigned fifo_room(struct uart16550 *uart)
{
	unsigned capacity = fifos_on(uart) ? UART_FIFO_SIZE : 1;

	return capacity - MIN(capacity, fifo(uart)->count);
}

/* How many received bytes the guest can see. */
static unsigned received(struct uart16550 *uart)
{
	return in_loopback(uart) || is_listening(uart) ? fifo(uart)->count : 0;
}

/* The most urgent enabled interrupt, as IIR shows it. */
static uint8_t interrupt_cause(struct uart16550 *uart)
{
	static const uint8_t trigger_levels[4] = {1, 4, 8, 14};

	if ((uart->state.ier & IER_LINE_STATUS) && (uart->state.lsr & LSR_OVERRUN))
		return IIR_LINE_STATUS;
	if ((uart->state.ier & IER_RECEIVED) && received(uart)) {
		/* Nobody types faster than the four character times of the timeout. */
		if (fifos_on(uart) && received(uart) < trigger_levels[uart->state.fcr >> 6])
			return IIR_TIMEOUT;
		return IIR_RECEIVED;
	}
	if ((uart->state.ier & IER_THR_EMPTY) && uart->state.thre_pending)
		return IIR_THR_EMPTY;
	if ((uart->state.ier & IER_MODEM) && (uart->state.msr & MSR_DELTAS))
		return IIR_MODEM;
	return IIR_NONE;
}

static void update_irq(struct uart16550 *uart)
{
	irq_set(&uart->irq, interrupt_cause(uart) != IIR_NONE);
}

static void fifo_push(struct uart16550 *uart, uint8_t byte)
{
	struct uart16550_fifo *to = fifo(uart);

	if (!fifo_room(uart)) {
		uart->state.lsr |= LSR_OVERRUN;
		return;
	}
	to->bytes[(to->head + to->count++) % UART_FIFO_SIZE] = byte;
}

/* Ask the back end for the bytes that were refused, if the guest listens and there is room. */
static void ask_for_more(struct uart16550 *uart)
{
	struct char_backend *backend = uart->backend;

	if (uart->state.line.count || !uart->state.receive_refused || in_loopback(uart) ||
		!is_listening(uart))
		return;
	uart->state.receive_refused = false;
	if (backend && backend->ops->input_ready)
		backend->ops->input_ready(backend);
}

static size_t uart_receive(void *opaque, const void *bytes, size_t size)
{
	struct uart16550 *uart = opaque;
	const uint8_t *next = bytes;
	size_t taken = 0;

	if (is_listening(uart) && !in_loopback(uart))
		taken = MIN(size, fifo_room(uart));
	for (size_t i = 0; i < taken; i++)
		fifo_push(uart, next[i]);
	if (taken < size)
		uart->state.receive_refused = true;
	update_irq(uart);
	return taken;
}

/* Offer the back end what waits in the FIFO. */
static void send_waiting(struct uart16550 *uart)
{
	struct uart16550_fifo *out = &uart->state.out;
	struct char_backend *backend = uart->backend;

	while (out->count) {
		if (backend && !backend->ops->write(backend, &out->bytes[out->head], 1))
			return;
		out->head = (out->head + 1) % UART_FIFO_SIZE;
		out->count--;
	}
}

static void uart_output_ready(void *opaque)
{
	struct uart16550 *uart = opaque;
	bool waited = uart->state.out.count;

	send_waiting(uart);
	if (waited && !uart->state.out.count)
		uart->state.thre_pending = true;
	update_irq(uart);
}

static bool uart_reads(void *opaque)
{
	return is_listening(opaque);
}

/* The vCPU that wrote waits here, unless it is asked to stop. */
static void wait_for_room(void *opaque)
{
	struct uart16550 *uart = opaque;
	struct char_backend *backend = uart->backend;

	while (cpu_current && !(atomic_load(&cpu_current->pending) & PENDING_STOP) &&
		!backend->ops->wait_for_room(backend))
		;
}

void uart_connect(struct uart16550 *uart, struct char_backend *backend)
{
	struct uart16550_fifo *out = &uart->state.out;
	struct char_backend *before = uart->backend;

	if (before) {
		send_waiting(uart);
		while (out->count && before->ops->write_last) {
			before->ops->write_last(before, &out->bytes[out->head], 1);
			out->head = (out->head + 1) % UART_FIFO_SIZE;
			out->count--;
		}
		before->port = (struct char_port){0};
	}
	uart->backend = backend;
	if (backend)
		backend->port = (struct char_port){.receive = uart_receive,
			.output_ready = uart_output_ready,
			.reads = uart_reads,
			.opaque = uart};
	uart_output_ready(uart);
}

static uint8_t read_rbr(struct uart16550 *uart)
{
	struct uart16550_fifo *from = fifo(uart);
	uint8_t byte;

	if (!received(uart))
		return 0;
	byte = from->bytes[from->head];
	from->head = (from->head + 1) % UART_FIFO_SIZE;
	from->count--;
	update_irq(uart);
	ask_for_more(uart);
	return byte;
}

static void write_line(struct uart16550 *uart, uint8_t byte)
{
	struct uart16550_fifo *out = &uart->state.out;

	/* A full FIFO loses what is written to it, as on the chip. */
	send_waiting(uart);
	if (out->count < UART_FIFO_SIZE)
		out->bytes[(out->head + out->count++) % UART_FIFO_SIZE] = byte;
	send_waiting(uart);
	if (out->count && uart->backend->ops->wait_for_room)
		io_space_wait_after(wait_for_room, uart);
}

static void write_thr(struct uart16550 *uart, uint8_t byte)
{
	uart->state.polls = 0;
	uart->state.thre_pending = false;
	update_irq(uart);
	if (in_loopback(uart))
		fifo_push(uart, byte);
	else
		write_line(uart, byte);
	uart->state.thre_pending = !uart->state.out.count;
	update_irq(uart);
}

static void write_fcr(struct uart16550 *uart, uint8_t value)
{
	/* The other bits mean something only together with the enable bit. */
	if (!(value & FCR_ENABLE))
		value = 0;
	/* Bytes that the guest has not been shown stay. So do those there when the FIFO is switched
	 * on or off, though on the chip they would not. */
	if ((value & FCR_CLEAR_RECEIVE) && received(uart))
		fifo(uart)->count = 0;
	uart->state.fcr = value & 0xc9;
	update_irq(uart);
	ask_for_more(uart);
}

/* The modem's lines: in loopback, what MCR drives; else a cable that is always connected. */
static void update_modem_lines(struct uart16550 *uart)
{
	uint8_t lines = MSR_CONNECTED, changed;

	if (in_loopback(uart))
		lines = (uint8_t)((uart->state.mcr & 1) << 5 | (uart->state.mcr & 2) << 3 |
				  (uart->state.mcr & 4) << 4 | (uart->state.mcr & 8) << 4);
	changed = uart->state.msr ^ lines;
	uart->state.msr |= (changed & (MSR_CTS | MSR_DSR | MSR_DCD)) >> 4;
	if (changed & ~lines & MSR_RI)
		uart->state.msr |= MSR_TERI;
	uart->state.msr = lines | (uart->state.msr & MSR_DELTAS);
	update_irq(uart);
}

static uint64_t uart_read(void *opaque, uint64_t offset, unsigned size)
{
	struct uart16550 *uart = opaque;
	uint8_t value;

	switch (offset) {
	case RBR_THR:
		return uart->state.lcr & LCR_DLAB ? uart->state.divisor & 0xff : read_rbr(uart);
	case IER:
		return uart->state.lcr & LCR_DLAB ? uart->state.divisor >> 8 : uart->state.ier;
	case IIR_FCR:
		value = interrupt_cause(uart);
		if (value == IIR_THR_EMPTY) {
			uart->state.thre_pending = false;
			update_irq(uart);
		}
		return value | (fifos_on(uart) ? IIR_FIFOS : 0);
	case LCR:
		return uart->state.lcr;
	case MCR:
		return uart->state.mcr;
	case LSR:
		if (uart->state.polls < POLLS_OF_A_READER &&
			++uart->state.polls == POLLS_OF_A_READER)
			ask_for_more(uart);
		value = uart->state.lsr | (received(uart) ? LSR_DATA_READY : 0);
		if (uart->state.out.count)
			value &= (uint8_t) ~(LSR_THR_EMPTY | LSR_IDLE);
		uart->state.lsr &= (uint8_t)~LSR_OVERRUN;
		update_irq(uart);
		return value;
	case MSR:
		value = uart->state.msr;
		uart->state.msr &= (uint8_t)~MSR_DELTAS;
		update_irq(uart);
		return value;
	default:
		return uart->state.scr;
	}
}

static void uart_write(void *opaque, uint64_t offset, uint64_t value64, unsigned size)
{
	struct uart16550 *uart = opaque;
	uint8_t value = (uint8_t)value64;

	switch (offset) {
	case RBR_THR:
		if (uart->state.lcr & LCR_DLAB)
			uart->state.divisor = (uart->state.divisor & 0xff00) | value;
		else
			write_thr(uart, value);
		break;
	case IER:
		if (uart->state.lcr & LCR_DLAB) {
			uart->state.divisor = (uint16_t)((uart->state.divisor & 0xff) | value << 8);
			break;
		}
		/* Switching it on while THR is empty is a cause of its own; drivers test for it. */
		if ((value & ~uart->state.ier & IER_THR_EMPTY) && !uart->state.out.count)
			uart->state.thre_pending = true;
		uart->state.ier = value & 0x0f;
		update_irq(uart);
		ask_for_more(uart);
		break;
	case IIR_FCR:
		write_fcr(uart, value);
		break;
	case LCR:
		uart->state.lcr = value;
		break;
	case MCR:
		if (value & ~uart->state.mcr & MCR_LOOP)
			uart->state.loop.count = 0;
		uart->state.mcr = value & 0x1f;
		update_modem_lines(uart);
		ask_for_more(uart);
		break;
	case SCR:
		uart->state.scr = value;
		break;
	default: /* LSR and MSR cannot be written */
		break;
	}
}

static void uart_reset(void *device)
{
	struct uart16550 *uart = device;

	uart->state.ier = uart->state.fcr = uart->state.lcr = uart->state.mcr = uart->state.scr = 0;
	uart->state.lsr = LSR_THR_EMPTY | LSR_IDLE;
	uart->state.msr = MSR_CONNECTED;
	uart->state.divisor = 12; /* 9600 baud */
	uart->state.thre_pending = false;
	uart->state.polls = 0;
	/* A reset of the port does not lose what was sent before. */
	uart->state.line.count = uart->state.loop.count = 0;
	update_irq(uart);
}

static void uart_loaded(void *device)
{
	update_irq(device);
}

static const struct state_field fifo_fields[] = {
	STATE_ARRAY_ANY(struct uart16550_fifo, bytes),
	STATE_FIELD(struct uart16550_fifo, head, 0, UART_FIFO_SIZE - 1),
	STATE_FIELD(struct uart16550_fifo, count, 0, UART_FIFO_SIZE),
	STATE_END,
};

static const struct state_field uart_fields[] = {
	STATE_ANY(struct uart16550_state, divisor),
	STATE_ANY(struct uart16550_state, ier),
	STATE_ANY(struct uart16550_state, fcr),
	STATE_ANY(struct uart16550_state, lcr),
	STATE_ANY(struct uart16550_state, mcr),
	STATE_ANY(struct uart16550_state, lsr),
	STATE_ANY(struct uart16550_state, msr),
	STATE_ANY(struct uart16550_state, scr),
	STATE_FIELD(struct uart16550_state, polls, 0, POLLS_OF_A_READER),
	STATE_BOOL(struct uart16550_state, thre_pending),
	STATE_BOOL(struct uart16550_state, receive_refused),
	STATE_STRUCT(struct uart16550_state, line, fifo_fields),
	STATE_STRUCT(struct uart16550_state, loop, fifo_fields),
	STATE_STRUCT(struct uart16550_state, out, fifo_fields),
	STATE_END,
};

static const struct device_ops uart_device = {
	.name = "uart",
	.version = 1,
	DEVICE_STATE(struct uart16550, uart_fields),
	.reset = uart_reset,
	.loaded = uart_loaded,
};

int uart_init(struct uart16550 *uart, struct device_list *devices, unsigned number,
	struct io_space *ports, uint16_t port, struct irq_line irq)
{
	static const struct io_ops ops = {.read = uart_read, .write = uart_write, .width = 1};
	int error;

	*uart = (struct uart16550){.irq = irq};
	uart_reset(uart);
	error = io_space_add(ports, port, 8, "UART", &ops, uart);
	if (!error)
		device_list_add(devices, &uart->device, &uart_device, number);
	return error;
}
