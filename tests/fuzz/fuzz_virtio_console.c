/* A console device whose driver writes anything: the queues' setup is sound, RAM around it is the
 * input. It begins with a struct plan; the rest is RAM from ROOM on, where the rings are. Clients
 * come, talk and go. */
#include "fuzz_virtio.h"

#include "device/virtio/console.h"

#include <stdlib.h>

#include <linux/virtio_console.h>

#define QUEUES 6 /* two ports and the control queues */
#define STEPS  24

struct plan {
	uint8_t step[STEPS]; /* a queue to notify, or an event */
};

/* --- far ends, whose clients come, talk and go --- */

static struct far {
	struct char_backend backend;
	size_t room;
} far_end[2];

static size_t far_write(struct char_backend *backend, const void *bytes, size_t size)
{
	struct far *far = container_of(backend, struct far, backend);
	size_t taken = backend->open ? MIN(size, far->room) : size;

	far->room -= backend->open ? taken : 0;
	return taken;
}

static void far_input_ready(struct char_backend *backend)
{
}

static const struct char_backend_ops far_ops = {.write = far_write, .input_ready = far_input_ready};

static void client_step(struct far *far, bool leave)
{
	static const char bytes[5000];
	const struct char_port *port = &far->backend.port;

	if (leave == far->backend.open) {
		far->backend.open = !leave;
		port->opened(port->opaque, !leave);
		return;
	}
	require(port->receive(port->opaque, bytes, sizeof(bytes)) <= sizeof(bytes));
	far->room = 100;
	port->output_ready(port->opaque);
}

/* --- the driver and the clients --- */

static void start(void)
{
	device->features =
		VIRTIO_F_VERSION_1 | VIRTIO_F_INDIRECT_DESC | BIT(VIRTIO_CONSOLE_F_MULTIPORT);
	start_device(QUEUES);
}

static void stop(bool reset)
{
	device->state.resetting = reset;
	device->running = false;
	device->ops->stop(device);
	for (unsigned i = 0; i < QUEUES; i++)
		require(device->queue[i].in_flight == 0 || device->queue[i].broken);
}

static void step(uint8_t what)
{
	unsigned queue = what & 7;

	if (queue < QUEUES) {
		device->ops->notified(device, &device->queue[queue]);
	} else if (queue == 6 && what >> 5 == 7 && armed_timer) {
		expire_timer();
	} else if (queue == 6) {
		client_step(&far_end[what >> 3 & 1], what >> 4 & 1);
	} else {
		stop(what >> 3 & 1);
		start();
	}
	/* The driver makes what is in its ring available again. */
	for (unsigned i = 0; i < QUEUES; i++)
		if (queue < QUEUES && (i == queue || what & BIT(3 + i % 5)))
			make_available(i);
	for (unsigned i = 0; i < 4 && posted_count; i++)
		run_one();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct console_port_config ports[2] = {
		{.name = "one", .console = true, .lossy = true, .backend = &far_end[0].backend},
		{.name = "two", .number = 1, .backend = &far_end[1].backend},
	};
	struct console_device *console;
	struct plan plan;

	if (size < sizeof(plan))
		return 0;
	memcpy(&plan, data, sizeof(plan));
	size -= sizeof(plan);
	fill_ram(data + sizeof(plan), size);
	fixture_reset();
	for (unsigned i = 0; i < 2; i++)
		far_end[i] = (struct far){.backend.ops = &far_ops};
	require(virtio_console_create(NULL, 0, ports, 2, &console) == 0);
	start();
	for (unsigned i = 0; i < STEPS; i++)
		step(plan.step[i]);
	stop(false);
	device->ops->destroy(device);
	return 0;
}
