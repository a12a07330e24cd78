/* COM2 with a file at its other end: what the guest sends is appended to the file, and nothing ever
 * arrives. It gives a guest's kernel a console apart from its user's. */
#ifndef VENEER_MACHINE_SERIAL_LOG_H
#define VENEER_MACHINE_SERIAL_LOG_H

#include "device/device.h"
#include "device/irq.h"
#include "memory/io_space.h"

struct serial_log;

/* Make or truncate the file and add the port. NULL with a message. `path` must outlive it. */
struct serial_log *serial_log_create(
	const char *path, struct device_list *devices, struct io_space *ports, struct irq_line irq);
/* Write out what is still buffered. After the list of devices, in which the port is, is
 * destroyed. */
void serial_log_destroy(struct serial_log *log);

#endif
