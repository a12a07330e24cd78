#include "control/descriptors.h"

#include "base/bits.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

void descriptors_init(struct descriptors *descriptors)
{
	for (unsigned i = 0; i < DESCRIPTORS_MOST; i++)
		descriptors->place[i].fd = -1;
}

static void close_place(struct descriptor *place)
{
	if (place->fd >= 0)
		close(place->fd);
	place->fd = -1;
}

void descriptors_close_all(struct descriptors *descriptors)
{
	for (unsigned i = 0; i < DESCRIPTORS_MOST; i++)
		close_place(&descriptors->place[i]);
}

void received_add(struct received *received, int fd)
{
	if (received->count == DESCRIPTORS_RECEIVED)
		close(received_take(received));
	received->fd[received->count++] = fd;
}

int received_take(struct received *received)
{
	int fd = received->fd[0];

	if (!received->count)
		return -1;
	received->count--;
	memmove(received->fd, received->fd + 1, received->count * sizeof(received->fd[0]));
	return fd;
}

void received_close(struct received *received)
{
	while (received->count)
		close(received_take(received));
}

static struct descriptor *find_named(struct descriptors *descriptors, const char *name)
{
	for (unsigned i = 0; i < DESCRIPTORS_MOST; i++) {
		struct descriptor *place = &descriptors->place[i];

		if (place->fd >= 0 && !place->in_set && strcmp(place->text, name) == 0)
			return place;
	}
	return NULL;
}

static int put(struct descriptors *descriptors, struct descriptor descriptor, const char *text)
{
	if (strlen(text) >= DESCRIPTORS_TEXT)
		return -ENAMETOOLONG;
	strcpy(descriptor.text, text);
	for (unsigned i = 0; i < DESCRIPTORS_MOST; i++) {
		if (descriptors->place[i].fd >= 0)
			continue;
		descriptors->place[i] = descriptor;
		return 0;
	}
	return -ENOSPC;
}

int descriptors_name(struct descriptors *descriptors, const char *name, int fd)
{
	struct descriptor *former = find_named(descriptors, name);

	if (former)
		close_place(former);
	return put(descriptors, (struct descriptor){.fd = fd}, name);
}

int descriptors_take(struct descriptors *descriptors, const char *name)
{
	struct descriptor *place = find_named(descriptors, name);
	int fd;

	if (!place)
		return -ENOENT;
	fd = place->fd;
	place->fd = -1;
	return fd;
}

/* The first number from 0 on that no set has. */
static int64_t new_set(const struct descriptors *descriptors)
{
	int64_t set = 0;

	for (unsigned i = 0; i < DESCRIPTORS_MOST; i++) {
		const struct descriptor *place = &descriptors->place[i];

		if (place->fd >= 0 && place->in_set && place->set == set) {
			set++;
			i = (unsigned)-1; /* look at all of them again */
		}
	}
	return set;
}

int64_t descriptors_add(struct descriptors *descriptors, int64_t set, const char *opaque, int fd)
{
	int error;

	if (set < 0)
		set = new_set(descriptors);
	error = put(descriptors, (struct descriptor){.fd = fd, .in_set = true, .set = set}, opaque);
	return error ? error : set;
}

int descriptors_remove(struct descriptors *descriptors, int64_t set, int fd)
{
	int result = -ENOENT;

	for (unsigned i = 0; i < DESCRIPTORS_MOST; i++) {
		struct descriptor *place = &descriptors->place[i];

		if (place->fd < 0 || !place->in_set || place->set != set ||
			(fd >= 0 && place->fd != fd))
			continue;
		close_place(place);
		result = 0;
	}
	return result;
}
