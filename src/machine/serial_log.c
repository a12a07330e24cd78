#include "machine/serial_log.h"

#include "base/log.h"
#include "device/chipset/uart16550.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct serial_log {
	struct uart16550 uart;
	const char *path;
	FILE *file; /* line-buffered, so that a reader of the file sees each line when it is done */
	bool failed;
};

/* A full disk must not stop the guest; it costs the log, and is said once. */
static void serial_log_transmit(void *opaque, const void *bytes, size_t size)
{
	struct serial_log *log = opaque;

	if (log->failed || fwrite(bytes, 1, size, log->file) == size)
		return;
	log->failed = true;
	log_error("--serial2 %s: cannot write: %s; the rest is lost", log->path, strerror(errno));
}

struct serial_log *serial_log_create(
	const char *path, struct device_list *devices, struct io_space *ports, struct irq_line irq)
{
	struct serial_log *log = calloc(1, sizeof(*log));
	struct uart16550_backend backend = {.transmit = serial_log_transmit, .opaque = log};

	if (!log) {
		log_error("--serial2 %s: out of memory", path);
		return NULL;
	}
	log->path = path;
	log->file = fopen(path, "we");
	if (!log->file) {
		log_error("--serial2 %s: cannot write: %s", path, strerror(errno));
		free(log);
		return NULL;
	}
	setvbuf(log->file, NULL, _IOLBF, BUFSIZ);
	if (uart_init(&log->uart, devices, 1, ports, UART_COM2_PORT, irq, &backend) < 0) {
		serial_log_destroy(log);
		return NULL;
	}
	return log;
}

void serial_log_destroy(struct serial_log *log)
{
	if (fclose(log->file) != 0 && !log->failed)
		log_error("--serial2 %s: cannot write: %s", log->path, strerror(errno));
	free(log);
}
