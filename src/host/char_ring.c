/* A ring buffer: the last bytes that were sent, for ringbuf-read. Nothing ever comes from it. */
#include "host/char_kinds.h"

#include "base/bits.h"
#include "base/log.h"

#include <pthread.h>
#include <stdlib.h>

#define DEFAULT_SIZE (64 * KIB)

struct char_ring {
	struct char_backend backend;
	pthread_mutex_t lock; /* ports write on any thread */
	uint32_t size;        /* a power of two */
	uint64_t in, out;     /* bytes so far: byte n is at n % size */
	uint8_t bytes[];
};

static size_t ring_write(struct char_backend *backend, const void *bytes, size_t size)
{
	struct char_ring *ring = container_of(backend, struct char_ring, backend);
	const uint8_t *next = bytes;

	pthread_mutex_lock(&ring->lock);
	for (size_t i = 0; i < size; i++)
		ring->bytes[ring->in++ % ring->size] = next[i];
	if (ring->in - ring->out > ring->size)
		ring->out = ring->in - ring->size;
	pthread_mutex_unlock(&ring->lock);
	return size;
}

void char_ring_write(struct char_backend *backend, const void *bytes, size_t size)
{
	ring_write(backend, bytes, size);
}

size_t char_ring_read(struct char_backend *backend, void *bytes, size_t size)
{
	struct char_ring *ring = container_of(backend, struct char_ring, backend);
	uint8_t *to = bytes;
	size_t count;

	pthread_mutex_lock(&ring->lock);
	count = MIN(size, ring->in - ring->out);
	for (size_t i = 0; i < count; i++)
		to[i] = ring->bytes[ring->out++ % ring->size];
	pthread_mutex_unlock(&ring->lock);
	return count;
}

static void ring_destroy(struct char_backend *backend, int timeout_ms)
{
	struct char_ring *ring = container_of(backend, struct char_ring, backend);

	pthread_mutex_destroy(&ring->lock);
	free(ring);
}

static const struct char_backend_ops ring_ops = {.write = ring_write, .destroy = ring_destroy};

struct char_backend *char_ring_open(
	const struct char_config *config, const char *option, struct event_loop *loop)
{
	uint32_t size = config->size ? config->size : DEFAULT_SIZE;
	struct char_ring *ring = calloc(1, sizeof(*ring) + size);

	if (!ring) {
		log_error("%s %s: out of memory", option, config->id);
		return NULL;
	}
	ring->backend = (struct char_backend){.ops = &ring_ops, .open = true};
	ring->size = size;
	pthread_mutex_init(&ring->lock, NULL);
	return &ring->backend;
}
