/* The 9P device by itself: the test is the queue, the worker and the share. */
#include "device/virtio/p9.h"
#include "device/virtio/virtio.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct {
	struct virtio_device *device;
	struct device_list devices;
	struct pci_config config;
	struct share_port port;
	unsigned chains; /* that the driver has made available */
	uint8_t request[16], reply[16];
	unsigned submitted, given_back, resets, stops;
	uint32_t slot, written;
	bool closed;
} f;

/* --- the queue --- */

int virtqueue_take(struct virtqueue *queue, struct virtio_chain *chain)
{
	if (!f.chains)
		return 0;
	f.chains--;
	chain->pieces[0] = (struct iovec){f.request, sizeof(f.request)};
	chain->pieces[1] = (struct iovec){f.reply, sizeof(f.reply)};
	chain->readable = chain->writable = 1;
	chain->readable_bytes = sizeof(f.request);
	chain->writable_bytes = sizeof(f.reply);
	return 1;
}

void virtqueue_give_back(
	struct virtqueue *queue, const struct virtio_chain *chain, uint32_t written)
{
	f.given_back++;
	f.written = written;
}

void virtqueue_tell_driver(struct virtqueue *queue)
{
}

uint64_t virtio_chain_read(
	const struct virtio_chain *chain, uint64_t offset, void *buffer, uint64_t size)
{
	memcpy(buffer, f.request + offset, size);
	return size;
}

uint64_t virtio_chain_write(
	const struct virtio_chain *chain, uint64_t offset, const void *buffer, uint64_t size)
{
	memcpy(f.reply + offset, buffer, size);
	return size;
}

/* --- the transport and the worker --- */

int virtio_add(struct virtio_device *device, struct pci_bus *bus, int slot, uint32_t instance)
{
	f.device = device;
	return 0;
}

void virtio_needs_reset(struct virtio_device *device)
{
}

void virtio_stopped(struct virtio_device *device)
{
	f.stops++;
}

const struct pci_config *pci_bus_config(const struct pci_bus *bus)
{
	f.config.devices = &f.devices;
	return &f.config;
}

void worker_task_init(struct worker_task *task, void (*run)(void *opaque), void *opaque)
{
}

void worker_post(struct worker *worker, struct worker_task *task)
{
}

void worker_call(struct worker *worker, void (*run)(void *opaque), void *opaque)
{
	run(opaque);
}

int worker_add_idle(struct worker *worker, void (*run)(void *opaque), void *opaque)
{
	return 0;
}

void worker_want_idle(struct worker *worker)
{
}

/* --- the share --- */

int share_start(struct share *share, struct worker *worker, const struct share_port *port)
{
	f.port = *port;
	return 0;
}

int share_submit(struct share *share, uint32_t slot, const struct iovec *pieces, unsigned readable,
	unsigned writable)
{
	assert_ptr_equal(pieces[0].iov_base, f.request);
	assert_ptr_equal(pieces[1].iov_base, f.reply);
	f.submitted++;
	f.slot = slot;
	return 0;
}

void share_flush(struct share *share)
{
}

void share_reset(struct share *share)
{
	f.resets++;
}

void share_abandon(struct share *share)
{
}

void share_close(struct share *share)
{
	f.closed = true;
}

/* --- the tests --- */

static int setup(void **state)
{
	memset(&f, 0, sizeof(f));
	if (virtio_p9_create(NULL, PCI_ANY_SLOT, 0, NULL, "name") < 0)
		return -1;
	f.device->running = true;
	f.device->ops->start(f.device);
	memcpy(f.request, "\20\0\0\0\x64\x34\x12", 7);
	return 0;
}

static int teardown(void **state)
{
	f.device->ops->destroy(f.device);
	return f.closed ? 0 : -1;
}

static void serve(unsigned chains)
{
	f.chains = chains;
	f.device->ops->notified(f.device, &f.device->queue[0]);
}

static bool answer(uint32_t slot, uint32_t bytes)
{
	return f.port.answered(f.port.opaque, slot, bytes);
}

static void test_tag(void **state)
{
	assert_int_equal(f.device->config_size, 6);
	assert_memory_equal(f.device->config, "\4\0name", 6);
	assert_int_equal(f.device->ops->type, 9);
}

static void test_answers(void **state)
{
	serve(1);
	assert_int_equal(f.submitted, 1);
	/* Of no request, of none under way, larger than there is room. */
	assert_false(answer(1 << 20, 0));
	assert_false(answer((f.slot + 1) % 128, 0));
	assert_false(answer(f.slot, 17));
	assert_int_equal(f.given_back, 0);
	assert_true(answer(f.slot, 12));
	assert_int_equal(f.written, 12);
	assert_false(answer(f.slot, 12));
	/* As many as the queue has room for, and one more when one of them is answered. */
	serve(200);
	assert_int_equal(f.submitted, 129);
	assert_true(answer(f.slot, 12));
	f.device->ops->notified(f.device, &f.device->queue[0]);
	assert_int_equal(f.submitted, 130);
}

/* What was asked, and what is asked from then on, fails with EIO. */
static void test_lost(void **state)
{
	serve(3);
	f.port.lost(f.port.opaque);
	assert_int_equal(f.given_back, 3);
	assert_int_equal(f.written, 11);
	assert_memory_equal(f.reply, "\v\0\0\0\a\x34\x12\5\0\0\0", 11);
	serve(1);
	assert_int_equal(f.submitted, 3);
	assert_int_equal(f.given_back, 4);
}

static void test_stop_waits(void **state)
{
	serve(2);
	f.device->state.resetting = true;
	f.device->ops->stop(f.device);
	f.device->ops->stop(f.device);
	assert_int_equal(f.stops, 0);
	assert_int_equal(f.resets, 1);
	serve(1);
	assert_int_equal(f.submitted, 2);
	assert_true(answer(f.slot, 12));
	assert_int_equal(f.stops, 0);
	assert_true(answer(!f.slot ? 1 : f.slot + 1, 12));
	assert_int_equal(f.stops, 1);
}

/* A guest that has talked to the server cannot be loaded; one that has not, or whose driver was
 * reset, can. */
static void test_saved(void **state)
{
	struct device *session = f.devices.first;
	uint8_t *used = (uint8_t *)session + session->ops->state_offset;

	assert_string_equal(session->ops->name, "virtio-9p-use");
	assert_true(session->ops->valid(session, used));
	serve(1);
	assert_false(session->ops->valid(session, used));
	answer(f.slot, 12);
	/* A pause changes nothing. */
	f.device->ops->stop(f.device);
	assert_int_equal(f.resets, 0);
	assert_false(session->ops->valid(session, used));
	f.device->ops->start(f.device);
	f.device->state.resetting = true;
	f.device->ops->stop(f.device);
	assert_true(session->ops->valid(session, used));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_tag),
		TEST(test_answers),
		TEST(test_lost),
		TEST(test_stop_waits),
		TEST(test_saved),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
