/* A network card's part, for tests of back ends: frames that come are kept until the test, on its
 * own thread, asks for them. */
#ifndef VENEER_TESTS_NET_FIXTURE_H
#define VENEER_TESTS_NET_FIXTURE_H

#include "base/bits.h"
#include "host/net/net_backend.h"
#include "host/net/offload.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define CARD_KEEPS 64 /* frames; more are counted only */

struct kept_frame {
	size_t size; /* with the header */
	uint8_t bytes[NET_MAX_FRAME];
};

struct card {
	struct worker *worker;
	struct net_backend *net;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct kept_frame *kept[CARD_KEEPS];
	unsigned count;
	uint64_t frames, bytes; /* all that came */
	unsigned room_announced;
	bool deaf; /* takes nothing */
};

static inline void card_receive_ready(void *opaque, unsigned queue)
{
	struct card *card = opaque;
	static __thread uint8_t buffer[NET_MAX_FRAME];
	const struct iovec pieces[] = {{buffer, 20}, {buffer + 20, sizeof(buffer) - 20}};
	ssize_t size;

	while (!card->deaf &&
		(size = card->net->ops->receive(card->net, queue, pieces, 2)) != -EAGAIN) {
		if (size < 0)
			continue;
		pthread_mutex_lock(&card->lock);
		card->frames++;
		card->bytes += (uint64_t)size;
		if (card->count < CARD_KEEPS) {
			struct kept_frame *frame = malloc(sizeof(*frame));

			frame->size = (size_t)size;
			memcpy(frame->bytes, buffer, (size_t)size);
			card->kept[card->count++] = frame;
		}
		pthread_cond_broadcast(&card->changed);
		pthread_mutex_unlock(&card->lock);
	}
}

static inline void card_send_ready(void *opaque, unsigned queue)
{
	struct card *card = opaque;

	pthread_mutex_lock(&card->lock);
	card->room_announced++;
	pthread_cond_broadcast(&card->changed);
	pthread_mutex_unlock(&card->lock);
}

static inline void card_start(void *opaque)
{
	struct card *card = opaque;
	const struct net_port port = {card_receive_ready, card_send_ready, card};

	assert_int_equal(card->net->ops->start(card->net, card->worker, &port), 0);
	if (card->net->ops->guest_takes)
		card->net->ops->guest_takes(card->net, NET_SOFTWARE_OFFLOADS);
}

/* Plug a card into this; frees what the configuration holds. */
static inline struct card *card_create_config(struct net_config *config)
{
	struct card *card = calloc(1, sizeof(*card));

	pthread_mutex_init(&card->lock, NULL);
	pthread_cond_init(&card->changed, NULL);
	assert_int_equal(net_open(config, &card->net), 0);
	net_config_free(config);
	card->worker = worker_create("card");
	assert_non_null(card->worker);
	worker_call(card->worker, card_start, card);
	return card;
}

/* Plug a card into what --net says. */
static inline struct card *card_create(const char *value)
{
	struct net_config config;

	assert_int_equal(net_config_parse(&config, "--net", value), 0);
	return card_create_config(&config);
}

static inline void card_destroy(struct card *card)
{
	worker_destroy(card->worker);
	card->net->ops->destroy(card->net);
	while (card->count)
		free(card->kept[--card->count]);
	free(card);
}

struct card_sending {
	struct card *card;
	const struct iovec *pieces;
	unsigned count;
	size_t size;
	int result;
};

static inline void card_send_on_worker(void *opaque)
{
	struct card_sending *sending = opaque;
	struct net_backend *net = sending->card->net;

	sending->result = net->ops->send(net, 0, sending->pieces, sending->count, sending->size);
	if (net->ops->flush)
		net->ops->flush(net);
}

/* 0 or -EAGAIN. `header`: NULL: a plain one. */
static inline int card_send(
	struct card *card, const struct virtio_net_hdr_v1 *header, const void *frame, size_t size)
{
	struct virtio_net_hdr_v1 plain = {0};
	const struct iovec pieces[] = {{header ? (void *)(uintptr_t)header : &plain, NET_HEADER},
		{(void *)(uintptr_t)frame, size}};
	struct card_sending sending = {card, pieces, 2, NET_HEADER + size, 0};

	worker_call(card->worker, card_send_on_worker, &sending);
	return sending.result;
}

/* The first frame kept for which wanted() is true, which the caller frees; those before it are
 * dropped. NULL: none came within the time. */
static inline struct kept_frame *card_wait(struct card *card,
	bool (*wanted)(const uint8_t *frame, size_t size, void *opaque), void *opaque,
	unsigned timeout_ms)
{
	struct kept_frame *found = NULL;
	struct timespec until;
	int error = 0;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += timeout_ms / 1000;
	until.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
	if (until.tv_nsec >= (long)NS_PER_SECOND) {
		until.tv_nsec -= (long)NS_PER_SECOND;
		until.tv_sec++;
	}
	pthread_mutex_lock(&card->lock);
	while (!found && !error) {
		while (!found && card->count) {
			struct kept_frame *frame = card->kept[0];

			memmove(card->kept, card->kept + 1, --card->count * sizeof(card->kept[0]));
			if (wanted(frame->bytes + NET_HEADER, frame->size - NET_HEADER, opaque))
				found = frame;
			else
				free(frame);
		}
		if (!found)
			error = pthread_cond_timedwait(&card->changed, &card->lock, &until);
	}
	pthread_mutex_unlock(&card->lock);
	return found;
}

/* --- frames --- */

static inline void put16(uint8_t *at, unsigned value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

static inline void put32(uint8_t *at, uint32_t value)
{
	put16(at, value >> 16);
	put16(at + 2, value & 0xffff);
}

static inline uint32_t get32(const uint8_t *at)
{
	return (uint32_t)at[0] << 24 | at[1] << 16 | at[2] << 8 | at[3];
}

/* Ethernet and IPv4 headers, before `size` bytes of what it carries. */
static inline void put_ip(uint8_t *frame, const uint8_t to[6], const uint8_t from[6],
	uint8_t protocol, uint32_t source, uint32_t target, unsigned size)
{
	uint8_t *ip = frame + 14;
	uint16_t sum;

	memcpy(frame, to, 6);
	memcpy(frame + 6, from, 6);
	put16(frame + 12, 0x0800);
	memset(ip, 0, 20);
	ip[0] = 0x45;
	put16(ip + 2, 20 + size);
	ip[8] = 64;
	ip[9] = protocol;
	put32(ip + 12, source);
	put32(ip + 16, target);
	sum = (uint16_t)~net_sum(0, ip, 20);
	memcpy(ip + 10, &sum, 2);
}

#endif
