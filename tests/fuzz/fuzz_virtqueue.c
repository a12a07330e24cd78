/* Virtqueues in RAM with any contents. The input is a struct header, and what RAM has from ROOM on.
 * What must hold, besides the sanitizers: whatever is taken lies in RAM, has the length that the
 * chain says, and no more chains are in flight than there are descriptors. */
#include "device/virtio/virtio.h"

#include <stdlib.h>
#include <string.h>

#define RAM       (1 * MIB)
#define ROOM      UINT64_C(0x1000)
#define ROUNDS    200
#define IN_FLIGHT 4

struct header {
	uint8_t kind, size_high; /* bit 0 packed, 1 event index, 2 indirect, 3 in order */
	uint8_t size_low, keep;  /* a chain is kept in flight where the bit of its number is set */
	uint16_t descriptors, driver, device; /* where the areas are, in units of 4 */
	uint16_t next_available, next_used;
	uint16_t again; /* the available index is moved on by this in each round */
};

static struct priority_lock lock = PRIORITY_LOCK_INITIALIZER;
static struct memory memory;
static struct dma dma;
static struct iovec pieces[IN_FLIGHT][VIRTIO_CHAIN_PIECES];
static struct virtio_chain chains[IN_FLIGHT];

static void require(bool condition)
{
	if (!condition)
		abort();
}

static void interrupt(void *opaque, struct virtqueue *queue)
{
}

static void check(const struct virtio_chain *chain)
{
	uint64_t bytes = 0;

	require(chain->readable + chain->writable <= chain->limit);
	for (unsigned i = 0; i < chain->readable + chain->writable; i++) {
		const uint8_t *at = chain->pieces[i].iov_base;

		require(at >= memory.ram && at + chain->pieces[i].iov_len <= memory.ram + RAM);
		bytes += chain->pieces[i].iov_len;
	}
	require(bytes == chain->readable_bytes + chain->writable_bytes);
}

static void use(struct virtqueue *queue, const struct header *header)
{
	unsigned kept = 0;
	uint8_t byte = 0;

	for (unsigned round = 0; round < ROUNDS; round++) {
		struct virtio_chain *chain = &chains[kept];
		int got;

		*chain =
			(struct virtio_chain){.pieces = pieces[kept], .limit = VIRTIO_CHAIN_PIECES};
		got = virtqueue_take(queue, chain);
		if (got < 0)
			break;
		if (!got && header->again && !queue->packed) {
			uint16_t *index = (uint16_t *)(queue->driver + 2);

			*index = (uint16_t)(*index + header->again);
			continue;
		}
		if (!got)
			break;
		check(chain);
		require(queue->in_flight == kept + 1);
		virtio_chain_read(chain, round, &byte, 1);
		virtio_chain_write(chain, round, &byte, 1);
		if (header->keep >> (round % 8) & 1 && kept + 1 < IN_FLIGHT) {
			kept++;
			continue;
		}
		if (round % 5 == 4) {
			virtqueue_untake(queue, chain);
			virtqueue_take(queue, chain);
			if (queue->broken)
				break;
		}
		/* The newest first: the others come back out of order. */
		virtqueue_give_back(queue, chain, round);
		if (kept && round % 3 == 0)
			virtqueue_give_back(queue, &chains[--kept], UINT32_MAX);
		virtqueue_tell_driver(queue);
	}
	require(queue->broken || queue->in_flight == kept);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct virtqueue queue = {.interrupt = interrupt};
	struct virtqueue_setup setup = {.enabled = true};
	struct header header;
	uint64_t features;

	if (!memory.ram) {
		require(memory_create(&memory, RAM, 40, &lock) == 0);
		dma = (struct dma){.memory = &memory, .enabled = true};
	}
	if (size < sizeof(header))
		return 0;
	memcpy(&header, data, sizeof(header));
	size -= sizeof(header);
	memset(memory.ram, 0, 0x10000);
	memcpy(memory.ram + ROOM, data + sizeof(header), MIN(size, UINT64_C(0xf000)));

	features = VIRTIO_F_VERSION_1 | (header.kind & 1 ? VIRTIO_F_RING_PACKED : 0) |
		   (header.kind & 2 ? VIRTIO_F_EVENT_IDX : 0) |
		   (header.kind & 4 ? VIRTIO_F_INDIRECT_DESC : 0) |
		   (header.kind & 8 ? VIRTIO_F_IN_ORDER : 0);
	setup.size = (uint16_t)(header.size_high << 8 | header.size_low);
	setup.descriptors = UINT64_C(4) * header.descriptors;
	setup.driver = UINT64_C(4) * header.driver;
	setup.device = UINT64_C(4) * header.device;
	setup.next_available = header.next_available;
	setup.next_used = header.next_used;
	if (virtqueue_start(&queue, &dma, &setup, 0, features) == 0)
		use(&queue, &header);
	return 0;
}
