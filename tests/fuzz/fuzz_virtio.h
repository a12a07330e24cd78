/* What fuzzers of one virtio device's queues have in common: the queues' setup is sound, RAM around
 * it is the input, from ROOM on, where the rings are. */
#ifndef VENEER_TESTS_FUZZ_FUZZ_VIRTIO_H
#define VENEER_TESTS_FUZZ_FUZZ_VIRTIO_H

#include "../unit/virtio_fixture.h"

#define RAM        (1 * MIB)
#define ROOM       UINT64_C(0x1000)
#define QUEUE_SIZE 16
#define RING       0x200 /* apart: descriptors at 0, the driver's area at 0x100, ours at 0x140 */

static struct priority_lock lock = PRIORITY_LOCK_INITIALIZER;
static struct memory memory;
static struct dma dma;

static inline void require(bool condition)
{
	if (!condition)
		abort();
}

static inline void fill_ram(const uint8_t *data, size_t size)
{
	if (!memory.ram) {
		require(memory_create(&memory, RAM, 40, &lock) == 0);
		dma = (struct dma){.memory = &memory, .enabled = true};
	}
	memset(memory.ram, 0, 0x10000);
	memcpy(memory.ram + ROOM, data, MIN(size, UINT64_C(0xf000)));
}

static inline void ignore_interrupt(void *opaque, struct virtqueue *queue)
{
}

/* The driver is ready: device->features is what it took. */
static inline void start_device(unsigned queues)
{
	for (unsigned i = 0; i < queues; i++) {
		uint64_t base = ROOM + i * RING;
		struct virtqueue_setup setup = {.size = QUEUE_SIZE,
			.descriptors = base,
			.driver = base + 0x100,
			.device = base + 0x140,
			.enabled = true};

		device->queue[i].interrupt = ignore_interrupt;
		require(virtqueue_start(&device->queue[i], &dma, &setup, i, device->features) == 0);
	}
	device->running = true;
	device->ops->start(device);
}

/* The driver makes what is next in its ring available. */
static inline void make_available(unsigned queue)
{
	++*(uint16_t *)(memory.ram + ROOM + queue * RING + 0x102);
}

#endif
