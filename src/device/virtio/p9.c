/* The 9P device: chains go to the share's server (host/share/share.h), which reads the message from
 * guest memory and writes the reply there. The device looks at neither, but for one case: when
 * the server is lost, a message's tag is what an error must bear that Linux takes for its answer.
 *
 * A stop takes nothing more from the queue, and waits for the answers to what is under way. */
#include "device/virtio/p9.h"

#include "base/log.h"
#include "device/virtio/virtio.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define QUEUE_SIZE   128
#define FEATURE_TAG  BIT(0) /* VIRTIO_9P_MOUNT_TAG */
#define PIECES       (2 * QUEUE_SIZE)
#define CLASS        0x018000 /* mass storage, other */
#define RLERROR      7
#define HEADER_SIZE  7  /* size[4] type[1] tag[2] */
#define RLERROR_SIZE 11 /* and an error number */

_Static_assert(QUEUE_SIZE <= SHARE_MAX_REQUESTS && PIECES <= SHARE_MAX_PIECES, "wire.h");

struct p9_request {
	struct virtio_chain chain;
	struct iovec pieces[PIECES];
	bool under_way;
	struct p9_request *next; /* a free one */
};

/* What the server keeps of a client (its fids) cannot be saved. */
struct p9_session {
	struct device device;
	struct p9_session_state {
		bool used; /* the driver has sent a message since its last reset */
	} state;
};

struct virtio_p9 {
	struct virtio_device device;
	struct share *share;
	struct p9_session session;

	/* The worker's. */
	struct p9_request requests[QUEUE_SIZE], *free;
	unsigned under_way;
	bool stopping, broken, lost;
	struct worker_task more;
};

/* --- requests --- */

static void give_back(struct virtio_p9 *p9, struct p9_request *request, uint32_t bytes)
{
	virtqueue_give_back(&p9->device.queue[0], &request->chain, bytes);
	request->under_way = false;
	request->next = p9->free;
	p9->free = request;
	p9->under_way--;
	worker_want_idle(p9->device.worker);
}

static void stop_when_done(struct virtio_p9 *p9)
{
	if (!p9->stopping || p9->under_way)
		return;
	virtqueue_tell_driver(&p9->device.queue[0]);
	virtio_stopped(&p9->device);
}

/* Rlerror: EIO. */
static void refuse(struct virtio_p9 *p9, struct p9_request *request)
{
	uint8_t header[HEADER_SIZE] = {0}, reply[RLERROR_SIZE] = {RLERROR_SIZE, 0, 0, 0, RLERROR};

	virtio_chain_read(&request->chain, 0, header, sizeof(header));
	memcpy(reply + 5, header + 5, 2);
	reply[7] = EIO;
	give_back(p9, request,
		(uint32_t)virtio_chain_write(&request->chain, 0, reply, sizeof(reply)));
}

static void submit(struct virtio_p9 *p9, struct p9_request *request)
{
	struct virtio_chain *chain = &request->chain;

	request->under_way = true;
	p9->under_way++;
	p9->session.state.used = true;
	/* What was submitted to a server that is dying is refused when it is lost. */
	if (p9->lost)
		refuse(p9, request);
	else
		share_submit(p9->share, (uint32_t)(request - p9->requests), chain->pieces,
			chain->readable, chain->writable);
	worker_want_idle(p9->device.worker);
}

/* At most as many chains as the queue can hold, since the driver may add some as fast as they are
 * answered. */
static void serve(struct virtio_p9 *p9)
{
	struct virtqueue *queue = &p9->device.queue[0];
	struct p9_request *request;
	int got;

	for (unsigned i = 0; (request = p9->free) && i < QUEUE_SIZE; i++) {
		request->chain = (struct virtio_chain){.pieces = request->pieces, .limit = PIECES};
		got = virtqueue_take(queue, &request->chain);
		if (got < 0) {
			p9->broken = true;
			virtio_needs_reset(&p9->device);
		}
		if (got <= 0)
			return;
		p9->free = request->next;
		submit(p9, request);
	}
	worker_post(p9->device.worker, &p9->more);
}

static void serve_more(void *opaque)
{
	struct virtio_p9 *p9 = opaque;

	if (p9->device.running && !p9->stopping && !p9->broken && p9->free)
		serve(p9);
}

static void p9_notified(struct virtio_device *device, struct virtqueue *queue)
{
	serve_more(container_of(device, struct virtio_p9, device));
}

static void p9_idle(void *opaque)
{
	struct virtio_p9 *p9 = opaque;

	share_flush(p9->share);
	if (p9->device.running)
		virtqueue_tell_driver(&p9->device.queue[0]);
}

/* --- the share --- */

static bool answered(void *opaque, uint32_t slot, uint32_t bytes)
{
	struct virtio_p9 *p9 = opaque;
	struct p9_request *request = &p9->requests[slot < QUEUE_SIZE ? slot : 0];
	bool was_full = !p9->free;

	if (slot >= QUEUE_SIZE || !request->under_way || bytes > request->chain.writable_bytes)
		return false;
	give_back(p9, request, bytes);
	if (was_full)
		worker_post(p9->device.worker, &p9->more);
	stop_when_done(p9);
	return true;
}

static void lost(void *opaque)
{
	struct virtio_p9 *p9 = opaque;

	p9->lost = true;
	for (unsigned i = 0; i < QUEUE_SIZE; i++)
		if (p9->requests[i].under_way)
			refuse(p9, &p9->requests[i]);
	worker_post(p9->device.worker, &p9->more);
	stop_when_done(p9);
}

/* --- the device --- */

static void p9_start(struct virtio_device *device)
{
	struct virtio_p9 *p9 = container_of(device, struct virtio_p9, device);

	p9->stopping = p9->broken = false;
}

static void p9_stop(struct virtio_device *device)
{
	struct virtio_p9 *p9 = container_of(device, struct virtio_p9, device);

	if (!p9->stopping && device->state.resetting) {
		share_reset(p9->share);
		p9->session.state.used = false;
	}
	p9->stopping = true;
	stop_when_done(p9);
}

static void p9_abandon(struct virtio_device *device)
{
	share_abandon(container_of(device, struct virtio_p9, device)->share);
}

static void p9_free(struct virtio_p9 *p9)
{
	share_close(p9->share);
	free(p9);
}

static void p9_destroy(struct virtio_device *device)
{
	p9_free(container_of(device, struct virtio_p9, device));
}

static const struct virtio_ops p9_ops = {
	.name = "virtio-9p",
	.type = VIRTIO_9P,
	.pci_class = CLASS,
	.start = p9_start,
	.notified = p9_notified,
	.stop = p9_stop,
	.abandon = p9_abandon,
	.destroy = p9_destroy,
};

/* --- the session, as one of the machine's devices --- */

static bool session_valid(const void *device, const void *opaque)
{
	const struct p9_session_state *state = opaque;

	if (!state->used)
		return true;
	log_error("saved state: the guest had a shared directory mounted, whose server cannot be "
		  "restored; unmount it and unload the driver before saving");
	return false;
}

static const struct state_field session_fields[] = {
	STATE_BOOL(struct p9_session_state, used),
	STATE_END,
};

static const struct device_ops session_ops = {
	.name = "virtio-9p-use",
	.version = 1,
	DEVICE_STATE(struct p9_session, session_fields),
	.valid = session_valid,
};

/* --- making --- */

struct begin {
	struct virtio_p9 *p9;
	int error;
};

/* On the worker. */
static void begin_share(void *opaque)
{
	struct begin *begin = opaque;
	struct virtio_p9 *p9 = begin->p9;
	const struct share_port port = {answered, lost, p9};

	begin->error = share_start(p9->share, p9->device.worker, &port);
	if (!begin->error)
		begin->error = worker_add_idle(p9->device.worker, p9_idle, p9);
}

int virtio_p9_create(
	struct pci_bus *bus, int slot, uint32_t instance, struct share *share, const char *tag)
{
	struct virtio_p9 *p9 = calloc(1, sizeof(*p9));
	size_t length = strlen(tag);
	struct begin begin = {.p9 = p9};
	int error;

	if (!p9) {
		log_error("no memory for a shared directory");
		share_close(share);
		return -ENOMEM;
	}
	p9->share = share;
	for (unsigned i = 0; i < QUEUE_SIZE; i++) {
		p9->requests[i].next = p9->free;
		p9->free = &p9->requests[i];
	}
	worker_task_init(&p9->more, serve_more, p9);
	p9->device.ops = &p9_ops;
	p9->device.offered = FEATURE_TAG;
	p9->device.queue_count = 1;
	p9->device.queue_size = QUEUE_SIZE;
	p9->device.config[0] = (uint8_t)length;
	memcpy(p9->device.config + 2, tag, length);
	p9->device.config_size = (unsigned)(2 + length);
	error = virtio_add(&p9->device, bus, slot, instance);
	if (error) {
		p9_free(p9);
		return error;
	}
	device_list_add(pci_bus_config(bus)->devices, &p9->session.device, &session_ops, instance);
	worker_call(p9->device.worker, begin_share, &begin);
	return begin.error;
}
