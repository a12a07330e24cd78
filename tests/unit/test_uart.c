#include "device/chipset/uart16550.h"

#include "cpu/cpu.h"
#include "device_fixture.h"

#include <string.h>

enum { DATA = 0x3f8, IER, IIR, LCR, MCR, LSR, MSR, SCR };
#define FCR IIR
#define IRQ 4

static struct uart16550 uart;
static char sent[256];
static size_t sent_count;
static unsigned asked, waits;

static size_t room; /* how much the line's other end takes */

static size_t transmit(struct char_backend *backend, const void *bytes, size_t size)
{
	size = MIN(size, room);
	memcpy(sent + sent_count, bytes, size);
	sent_count += size;
	room -= size;
	return size;
}

static void write_last(struct char_backend *backend, const void *bytes, size_t size)
{
	memcpy(sent + sent_count, bytes, size);
	sent_count += size;
}

static void receive_ready(struct char_backend *backend)
{
	asked++;
}

static bool wait_for_room(struct char_backend *backend)
{
	/* The device's callback is over: the lock is free. */
	assert_int_equal(pthread_mutex_trylock(&f.lock.mutex), 0);
	pthread_mutex_unlock(&f.lock.mutex);
	waits++;
	return waits % 3 == 0;
}

static const struct char_backend_ops ops = {
	.write = transmit,
	.write_last = write_last,
	.input_ready = receive_ready,
	.wait_for_room = wait_for_room,
};
static struct char_backend line = {.ops = &ops};

static size_t uart_receive(struct uart16550 *to, const void *bytes, size_t size)
{
	return line.port.receive(line.port.opaque, bytes, size);
}

static int setup(void **state)
{

	fixture_setup();
	sent_count = asked = waits = 0;
	room = SIZE_MAX;
	assert_int_equal(uart_init(&uart, &f.devices, 0, &f.ports, DATA, fixture_irq(IRQ)), 0);
	uart_connect(&uart, &line);
	return 0;
}

static int teardown(void **state)
{
	fixture_teardown();
	return 0;
}

static void power_up_values(void **state)
{
	assert_int_equal(inb(IER), 0);
	assert_int_equal(inb(IIR), 0x01);
	assert_int_equal(inb(LSR), 0x60);
	assert_int_equal(inb(MSR) & 0xf0, 0xb0);
	assert_false(f.level[IRQ]);
}

/* The steps by which Linux's 8250 driver finds out which chip it has (autoconfig). */
static void linux_probe(void **state)
{
	outb(IER, 0);
	assert_int_equal(inb(IER), 0);
	outb(IER, 0x0f);
	assert_int_equal(inb(IER), 0x0f);
	outb(IER, 0xff);
	assert_int_equal(inb(IER), 0x0f); /* no sleep mode, no DMA */
	outb(MCR, 0x1a);
	assert_int_equal(inb(MSR) & 0xf0, 0x90);
	outb(MCR, 0);
	outb(FCR, 1);
	assert_int_equal(inb(IIR) >> 6, 3); /* 16550A */
	outb(FCR, 0);
	assert_int_equal(inb(IIR) >> 6, 0);
	outb(SCR, 0xa5);
	assert_int_equal(inb(SCR), 0xa5);
}

static void divisor_latch(void **state)
{
	outb(LCR, 0x83);
	outb(DATA, 0x34);
	outb(IER, 0x12);
	assert_int_equal(inb(DATA), 0x34);
	assert_int_equal(inb(IER), 0x12);
	outb(LCR, 0x03);
	assert_int_equal(sent_count, 0);
	assert_int_equal(inb(IER), 0);
	assert_int_equal(uart.state.divisor, 0x1234);
}

static void transmits_at_once(void **state)
{
	for (const char *c = "hi\n"; *c; c++) {
		assert_int_equal(inb(LSR) & 0x60, 0x60);
		outb(DATA, (uint8_t)*c);
	}
	assert_int_equal(sent_count, 3);
	assert_memory_equal(sent, "hi\n", 3);
	assert_int_equal(f.edges[IRQ], 0);
}

/* The line's other end takes no more: THR is not empty until it does, and nothing is lost. */
static void a_line_without_room(void **state)
{
	outb(IER, 2);
	room = 1;
	outb(DATA, 'a');
	assert_int_equal(inb(LSR) & 0x60, 0x60);
	outb(DATA, 'b');
	assert_int_equal(inb(LSR) & 0x60, 0);
	assert_false(f.level[IRQ]);
	outb(IER, 0);
	outb(IER, 2); /* not a cause now */
	assert_false(f.level[IRQ]);
	outb(DATA, 'c'); /* by a driver that does not look */
	assert_int_equal(sent_count, 1);
	room = 1;
	line.port.output_ready(line.port.opaque);
	assert_int_equal(inb(LSR) & 0x60, 0);
	room = 10;
	line.port.output_ready(line.port.opaque);
	assert_int_equal(inb(LSR) & 0x60, 0x60);
	assert_true(f.level[IRQ]);
	assert_memory_equal(sent, "abc", 3);
	/* Bytes that are still in the FIFO when the machine stops are written. */
	room = 0;
	outb(DATA, 'd');
	outb(DATA, 'e');
	uart_connect(&uart, NULL);
	assert_int_equal(sent_count, 5);
	assert_memory_equal(sent, "abcde", 5);
	assert_null(line.port.receive);
	outb(DATA, 'f'); /* nobody is there */
	assert_int_equal(inb(LSR) & 0x60, 0x60);
}

/* A vCPU that wrote waits until there is room or it is asked to stop, without the machine lock. */
static void a_vcpu_waits_for_room(void **state)
{
	static struct cpu cpu;

	cpu_current = &cpu;
	room = 0;
	outb(DATA, 'a');
	assert_int_equal(waits, 3);
	atomic_store(&cpu.pending, PENDING_STOP);
	outb(DATA, 'b');
	assert_int_equal(waits, 3);
	/* It waits for a write that found no room, and for no other access. */
	atomic_store(&cpu.pending, 0);
	inb(LSR);
	outb(SCR, 1);
	assert_int_equal(waits, 3);
	cpu_current = NULL;
}

static void thr_empty_interrupt(void **state)
{
	outb(IER, 2); /* THR is empty: that alone is a cause */
	assert_true(f.level[IRQ]);
	assert_int_equal(inb(IIR), 0x02);
	/* Reading IIR has answered it. */
	assert_false(f.level[IRQ]);
	assert_int_equal(inb(IIR), 0x01);
	/* Each byte that has gone is a new cause, and a new edge even if the last was not answered.
	 */
	outb(DATA, 'a');
	assert_int_equal(f.edges[IRQ], 2);
	outb(DATA, 'b');
	assert_int_equal(f.edges[IRQ], 3);
	assert_true(f.level[IRQ]);
	/* Off and on again: drivers check that this asks again. */
	inb(IIR);
	outb(IER, 0);
	assert_false(f.level[IRQ]);
	outb(IER, 2);
	assert_true(f.level[IRQ]);
}

static void receives_without_fifo(void **state)
{
	outb(IER, 1);
	assert_int_equal(uart_receive(&uart, "xyz", 3), 1);
	assert_true(f.level[IRQ]);
	assert_int_equal(inb(IIR), 0x04);
	assert_int_equal(inb(LSR) & 1, 1);
	assert_int_equal(asked, 0);
	assert_int_equal(inb(DATA), 'x');
	assert_false(f.level[IRQ]);
	assert_int_equal(inb(LSR) & 1, 0);
	assert_int_equal(asked, 1); /* now send the rest */
	assert_int_equal(inb(DATA), 0);
	assert_int_equal(asked, 1);
}

/* Input that comes before the guest listens must survive the driver's clearing the FIFO when it
 * opens the port. */
static void early_input_waits(void **state)
{
	assert_int_equal(uart_receive(&uart, "boot", 4), 0);
	outb(FCR, 7);
	for (int i = 0; i < 100; i++) { /* output, as the kernel's console does it */
		inb(LSR);
		outb(DATA, '.');
	}
	inb(DATA);
	assert_int_equal(asked, 0);
	/* Linux's 8250 driver: a test of IER while it probes, clearing, and then the opening. */
	outb(FCR, 0);
	outb(IER, 0x0f);
	assert_int_equal(asked, 1);
	assert_int_equal(uart_receive(&uart, "boot", 4), 1);
	outb(IER, 0);
	assert_int_equal(inb(LSR) & 1, 0);
	outb(FCR, 1);
	outb(FCR, 7);
	outb(FCR, 0);
	outb(MCR, 0x10);
	outb(DATA, '?');
	assert_int_equal(inb(DATA), '?');
	outb(MCR, 0);
	assert_int_equal(inb(DATA), 0);
	outb(IER, 5);
	outb(FCR, 0x81);
	assert_int_equal(inb(DATA), 'b');
	assert_int_equal(asked, 2);
	assert_int_equal(uart_receive(&uart, "oot", 3), 3);
	assert_int_equal(inb(DATA), 'o');
}

static void polling_is_listening(void **state)
{
	assert_int_equal(uart_receive(&uart, "key", 3), 0);
	for (int i = 0; i < 100 && !asked; i++)
		assert_int_equal(inb(LSR) & 1, 0);
	assert_int_equal(asked, 1);
	assert_int_equal(uart_receive(&uart, "key", 3), 1);
	assert_int_equal(inb(LSR) & 1, 1);
	assert_int_equal(inb(DATA), 'k');
	assert_int_equal(asked, 2);
}

static void fifo_and_flow_control(void **state)
{
	outb(FCR, 0x81); /* trigger at 8 */
	outb(IER, 1);
	assert_int_equal(uart_receive(&uart, "12345", 5), 5);
	assert_int_equal(inb(IIR), 0xcc); /* below the trigger level: timeout */
	assert_int_equal(uart_receive(&uart, "67890abcdefgh", 13), 11);
	assert_int_equal(inb(IIR), 0xc4);
	assert_int_equal(uart_receive(&uart, "gh", 2), 0);
	for (const char *c = "1234567890abcdef"; *c; c++) {
		assert_int_equal(asked, 0);
		assert_true(f.level[IRQ]);
		assert_int_equal(inb(DATA), *c);
	}
	assert_int_equal(asked, 1);
	assert_false(f.level[IRQ]);
	assert_int_equal(inb(LSR) & 2, 0); /* waiting is not overrun */
}

static void trigger_levels(void **state)
{
	static const struct {
		uint8_t fcr;
		unsigned level;
	} rows[] = {{0x01, 1}, {0x41, 4}, {0x81, 8}, {0xc1, 14}};

	outb(IER, 1);
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		outb(FCR, rows[i].fcr | 2); /* and empty */
		for (unsigned count = 1; count <= 16; count++) {
			assert_int_equal(uart_receive(&uart, "x", 1), 1);
			assert_int_equal(inb(IIR), count < rows[i].level ? 0xcc : 0xc4);
		}
	}
}

static void clearing_the_fifo(void **state)
{
	outb(FCR, 1);
	outb(IER, 1);
	uart_receive(&uart, "0123456789abcdefgh", 18);
	outb(FCR, 3);
	assert_int_equal(inb(LSR) & 1, 0);
	assert_int_equal(asked, 1);
}

static void loopback(void **state)
{
	outb(MCR, 0x10);
	outb(IER, 5);
	outb(DATA, 'q');
	assert_int_equal(sent_count, 0);
	assert_int_equal(inb(IIR), 0x04);
	outb(DATA, 'r'); /* overrun: no FIFO, 'q' not read */
	assert_int_equal(inb(IIR), 0x06);
	assert_int_equal(inb(LSR) & 3, 3);
	assert_int_equal(inb(LSR) & 3, 1); /* reading clears the error */
	assert_int_equal(inb(DATA), 'q');
	/* What comes from outside waits until loopback is off. */
	outb(IER, 1);
	assert_int_equal(uart_receive(&uart, "o", 1), 0);
	assert_int_equal(asked, 0);
	outb(MCR, 0);
	assert_int_equal(asked, 1);
}

static void modem_status_interrupt(void **state)
{
	outb(IER, 8);
	outb(MCR, 0x10); /* loopback: all lines fall */
	assert_true(f.level[IRQ]);
	assert_int_equal(inb(IIR), 0x00);
	assert_int_equal(inb(MSR), 0x0b); /* CTS, DSR, DCD have changed */
	assert_false(f.level[IRQ]);
	assert_int_equal(inb(MSR), 0);
	outb(MCR, 0x14); /* RI rises: no interrupt; falls: trailing edge */
	assert_int_equal(inb(MSR), 0x40);
	outb(MCR, 0x10);
	assert_int_equal(inb(MSR), 0x04);
}

static void priority_of_causes(void **state)
{
	outb(MCR, 0x10);
	outb(IER, 0x0f);
	outb(DATA, 'a');
	outb(DATA, 'b');
	assert_int_equal(inb(IIR), 0x06);
	inb(LSR);
	assert_int_equal(inb(IIR), 0x04);
	inb(DATA);
	assert_int_equal(inb(IIR), 0x02);
	assert_int_equal(inb(IIR), 0x00);
	inb(MSR);
	assert_int_equal(inb(IIR), 0x01);
	assert_false(f.level[IRQ]);
}

static void reset(void **state)
{
	outb(IER, 3);
	uart_receive(&uart, "ab", 2);
	assert_true(f.level[IRQ]);
	device_list_reset(&f.devices);
	assert_false(f.level[IRQ]);
	power_up_values(state);
	assert_int_equal(asked, 0);
	outb(IER, 1); /* what was refused is not forgotten */
	assert_int_equal(asked, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(power_up_values, setup, teardown),
		cmocka_unit_test_setup_teardown(linux_probe, setup, teardown),
		cmocka_unit_test_setup_teardown(divisor_latch, setup, teardown),
		cmocka_unit_test_setup_teardown(transmits_at_once, setup, teardown),
		cmocka_unit_test_setup_teardown(a_line_without_room, setup, teardown),
		cmocka_unit_test_setup_teardown(a_vcpu_waits_for_room, setup, teardown),
		cmocka_unit_test_setup_teardown(thr_empty_interrupt, setup, teardown),
		cmocka_unit_test_setup_teardown(receives_without_fifo, setup, teardown),
		cmocka_unit_test_setup_teardown(early_input_waits, setup, teardown),
		cmocka_unit_test_setup_teardown(polling_is_listening, setup, teardown),
		cmocka_unit_test_setup_teardown(fifo_and_flow_control, setup, teardown),
		cmocka_unit_test_setup_teardown(trigger_levels, setup, teardown),
		cmocka_unit_test_setup_teardown(clearing_the_fifo, setup, teardown),
		cmocka_unit_test_setup_teardown(loopback, setup, teardown),
		cmocka_unit_test_setup_teardown(modem_status_interrupt, setup, teardown),
		cmocka_unit_test_setup_teardown(priority_of_causes, setup, teardown),
		cmocka_unit_test_setup_teardown(reset, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
