/* The memory of a link: a page of control, the ring of side 0's frames, the ring of side 1's. In a
 * ring, each frame follows its length (4 bytes), and fills up to a multiple of ALIGNMENT.
 *
 * head and tail count bytes and wrap at 2^32. One end alone writes each of them, and keeps its own
 * copy (`own`), so that the shared one tells the other end something but is never read back.
 *
 * Both ends sleep by the same rule: one that finds nothing to do writes a flag, and looks once
 * more; the other one moves its index, and looks at the flag. Both are sequentially consistent, so
 * one of them sees what the other one wrote. */
#include "host/net/link.h"

#include "base/bits.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define ALIGNMENT    16
#define LENGTH       4 /* bytes of a length */
#define CONTROL_SIZE 4096
#define MEMORY_SIZE  (CONTROL_SIZE + 2 * NET_LINK_RING)
#define SEALS        (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

/* What each end writes has a cache line of its own. */
struct net_ring_control {
	_Alignas(64) _Atomic uint32_t tail; /* the sender's: up to here there are frames */
	_Atomic uint32_t sender_waits;
	_Alignas(64) _Atomic uint32_t head; /* the receiver's: up to here they have been taken */
	_Atomic uint32_t receiver_sleeps;
};

struct net_link_control {
	struct net_ring_control ring[2];
	_Atomic uint64_t takes[2];
};

/* --- making --- */

/* Map one ring at `at`, and once more behind it. */
static bool map_ring(uint8_t *at, int memory, unsigned number)
{
	off_t offset = CONTROL_SIZE + (off_t)number * NET_LINK_RING;

	for (unsigned i = 0; i < 2; i++)
		if (mmap(at + i * NET_LINK_RING, NET_LINK_RING, PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_FIXED, memory, offset) == MAP_FAILED)
			return false;
	return true;
}

#define MAP_SIZE (CONTROL_SIZE + 4 * (size_t)NET_LINK_RING)

static int map_link(struct net_link *link, int socket, int memory, unsigned side)
{
	uint8_t *map = mmap(NULL, MAP_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint8_t *rings = map + CONTROL_SIZE;

	if (map == MAP_FAILED)
		return -errno;
	if (mmap(map, CONTROL_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, memory, 0) ==
			MAP_FAILED ||
		!map_ring(rings, memory, 0) || !map_ring(rings + 2 * NET_LINK_RING, memory, 1)) {
		int error = errno;

		munmap(map, MAP_SIZE);
		return -error;
	}
	*link = (struct net_link){
		.socket = socket, .map = map, .control = (void *)map, .side = side};
	link->out.control = &link->control->ring[side];
	link->out.data = rings + (size_t)side * 2 * NET_LINK_RING;
	link->in.control = &link->control->ring[!side];
	link->in.data = rings + (size_t)!side * 2 * NET_LINK_RING;
	return 0;
}

int net_link_create(struct net_link *link, int socket, int *memory)
{
	int fd = memfd_create("veneer-net", MFD_CLOEXEC | MFD_ALLOW_SEALING), error = 0;

	if (fd < 0)
		return -errno;
	if (ftruncate(fd, MEMORY_SIZE) < 0 || fcntl(fd, F_ADD_SEALS, SEALS) < 0)
		error = -errno;
	if (!error)
		error = map_link(link, socket, fd, 0);
	if (error)
		close(fd);
	else
		*memory = fd;
	return error;
}

/* Without its seals the memory could be cut off under us, and an access would be SIGBUS. */
int net_link_join(struct net_link *link, int socket, int memory)
{
	int seals = fcntl(memory, F_GET_SEALS);
	struct stat stat;

	if (seals < 0 || (seals & SEALS) != SEALS || fstat(memory, &stat) < 0 ||
		stat.st_size != MEMORY_SIZE)
		return -EPROTO;
	return map_link(link, socket, memory, 1);
}

void net_link_close(struct net_link *link)
{
	if (link->map) {
		munmap(link->map, MAP_SIZE);
		close(link->socket);
	}
	*link = (struct net_link){.socket = -1};
}

/* --- waking --- */

/* Where the socket is full, the other end has not yet read what was to wake it. */
static void wake_other(struct net_link *link)
{
	const char byte = 0;
	ssize_t ignored = send(link->socket, &byte, 1, MSG_DONTWAIT | MSG_NOSIGNAL);

	(void)ignored;
}

static void wake_if(struct net_link *link, _Atomic uint32_t *flag)
{
	if (atomic_load(flag) && atomic_exchange(flag, 0))
		wake_other(link);
}

int net_link_drain(struct net_link *link)
{
	char bytes[4096];
	ssize_t size;

	/* Once: who sends without end is read again when the others have had their turn. */
	size = recv(link->socket, bytes, sizeof(bytes), MSG_DONTWAIT);
	if (size > 0 || (size < 0 && (errno == EAGAIN || errno == EINTR)))
		return 0;
	return -EPIPE;
}

/* --- sending --- */

/* Bytes free in the ring, by what the receiver has written last. */
static int64_t room(struct net_ring *out)
{
	uint32_t used;

	out->other = atomic_load(&out->control->head);
	used = out->own - out->other;
	return used <= NET_LINK_RING && used % ALIGNMENT == 0 ? NET_LINK_RING - (int64_t)used
							      : -EPROTO;
}

/* As room(), but first the receiver is asked to wake us where it is less than `wanted`. */
static int64_t room_or_wait(struct net_ring *out, uint32_t wanted)
{
	int64_t space = room(out);

	if (space < 0 || space >= wanted)
		return space;
	atomic_store(&out->control->sender_waits, 1);
	return room(out);
}

int net_link_room(struct net_link *link, bool wait)
{
	int64_t space = wait ? room_or_wait(&link->out, NET_LINK_RING / 2) : room(&link->out);

	return (int)space;
}

static void copy_pieces(uint8_t *to, const struct iovec *pieces, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		memcpy(to, pieces[i].iov_base, pieces[i].iov_len);
		to += pieces[i].iov_len;
	}
}

int net_link_send(struct net_link *link, const struct iovec *pieces, unsigned count, size_t bytes)
{
	struct net_ring *out = &link->out;
	uint32_t place = out->own % NET_LINK_RING, length = (uint32_t)bytes;
	uint32_t size = (uint32_t)ALIGN_UP(bytes + LENGTH, ALIGNMENT);

	if (NET_LINK_RING - (out->own - out->other) < size) {
		int64_t space = room_or_wait(out, size);

		if (space < 0)
			return (int)space;
		if (space < size) {
			net_link_flush(link);
			return -EAGAIN;
		}
	}
	memcpy(out->data + place, &length, LENGTH);
	copy_pieces(out->data + place + LENGTH, pieces, count);
	out->own += size;
	atomic_store_explicit(&out->control->tail, out->own, memory_order_release);
	link->unannounced = true;
	return 0;
}

void net_link_flush(struct net_link *link)
{
	if (!link->unannounced)
		return;
	link->unannounced = false;
	atomic_thread_fence(memory_order_seq_cst);
	wake_if(link, &link->out.control->receiver_sleeps);
}

/* --- receiving --- */

/* Bytes that wait in the ring. */
static int64_t waiting(struct net_ring *in)
{
	uint32_t count;

	in->other = atomic_load(&in->control->tail);
	count = in->other - in->own;
	return count <= NET_LINK_RING && count % ALIGNMENT == 0 ? (int64_t)count : -EPROTO;
}

static int64_t waiting_or_sleep(struct net_ring *in)
{
	int64_t count = waiting(in);

	if (count)
		return count;
	atomic_store(&in->control->receiver_sleeps, 1);
	count = waiting(in);
	if (count)
		atomic_store(&in->control->receiver_sleeps, 0);
	return count ? count : -EAGAIN;
}

ssize_t net_link_peek(struct net_link *link, uint8_t **frame, size_t least)
{
	struct net_ring *in = &link->in;
	int64_t count = in->other - in->own;
	uint32_t length;

	if (!count) {
		count = waiting_or_sleep(in);
		if (count < 0)
			return (ssize_t)count;
	}
	length = *(volatile uint32_t *)(in->data + in->own % NET_LINK_RING);
	if (length < least || length > NET_MAX_FRAME ||
		ALIGN_UP((uint64_t)length + LENGTH, ALIGNMENT) > (uint64_t)count)
		return -EPROTO;
	in->size = (uint32_t)ALIGN_UP(length + LENGTH, ALIGNMENT);
	*frame = in->data + in->own % NET_LINK_RING + LENGTH;
	return length;
}

ssize_t net_scatter(const struct iovec *pieces, unsigned count, const uint8_t *frame, size_t bytes)
{
	size_t left = bytes, room = 0;

	for (unsigned i = 0; i < count; i++)
		room += pieces[i].iov_len;
	if (room < bytes)
		return -EMSGSIZE;
	for (; left; pieces++) {
		size_t part = MIN(left, pieces->iov_len);

		memcpy(pieces->iov_base, frame, part);
		frame += part;
		left -= part;
	}
	return (ssize_t)bytes;
}

void net_link_taken(struct net_link *link)
{
	struct net_ring *in = &link->in;

	in->own += in->size;
	atomic_store(&in->control->head, in->own);
	if (atomic_load(&in->control->sender_waits) &&
		atomic_load(&in->control->tail) - in->own <= NET_LINK_RING / 2)
		wake_if(link, &in->control->sender_waits);
}

/* --- offloads --- */

void net_link_set_takes(struct net_link *link, uint64_t features)
{
	atomic_store(&link->control->takes[link->side], features);
}

uint64_t net_link_takes(const struct net_link *link)
{
	return atomic_load_explicit(&link->control->takes[!link->side], memory_order_relaxed);
}
