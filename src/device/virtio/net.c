#include "device/virtio/net.h"

#include "base/log.h"
#include "device/virtio/net_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CONTROL_BATCH 16
#define SPEED_MBIT    10000 /* what drivers like to be told, and nothing depends on */
#define NO_MTU        1500  /* of a back end that names none */

_Static_assert(2 * NET_MAX_PAIRS + 1 <= VIRTIO_MAX_QUEUES, "each queue has its place");

#define ALWAYS_OFFERED                                                                             \
	(BIT(VIRTIO_NET_F_MAC) | BIT(VIRTIO_NET_F_STATUS) | BIT(VIRTIO_NET_F_SPEED_DUPLEX) |       \
		BIT(VIRTIO_NET_F_MRG_RXBUF) | BIT(VIRTIO_NET_F_CTRL_VQ) |                          \
		BIT(VIRTIO_NET_F_CTRL_RX) | BIT(VIRTIO_NET_F_CTRL_RX_EXTRA) |                      \
		BIT(VIRTIO_NET_F_CTRL_VLAN) | BIT(VIRTIO_NET_F_CTRL_MAC_ADDR))
#define SEGMENTATION                                                                               \
	(BIT(VIRTIO_NET_F_HOST_TSO4) | BIT(VIRTIO_NET_F_HOST_TSO6) | BIT(VIRTIO_NET_F_HOST_ECN))
#define OFFLOADS (BIT(VIRTIO_NET_F_CSUM) | SEGMENTATION | NET_GUEST_OFFLOADS)

/* --- the control queue (5.1.6.5) --- */

/* The vCPUs read the configuration under the machine lock, which the worker does not have. */
static void show_mac(void *opaque)
{
	struct net_device *net = opaque;
	uint64_t mac = atomic_load(&net->config_mac);

	memcpy(net->virtio.config + offsetof(struct virtio_net_config, mac), &mac,
		sizeof(net->mac));
}

static void set_config_mac(struct net_device *net, const uint8_t mac[6])
{
	uint64_t value = 0;

	memcpy(&value, mac, sizeof(net->mac));
	if (atomic_exchange(&net->config_mac, value) != value)
		event_loop_post(net->virtio.loop, &net->config_mac_work);
}

static unsigned largest_frame(const struct net_device *net)
{
	unsigned mtu = net->backend->mtu ? net->backend->mtu : NO_MTU;

	if (net_control_offloads(&net->settings.state) &
		(BIT(VIRTIO_NET_F_GUEST_TSO4) | BIT(VIRTIO_NET_F_GUEST_TSO6)))
		return NET_MAX_FRAME;
	return MIN(NET_HEADER + ETHERNET_HEADER + 4 + mtu, NET_MAX_FRAME);
}

/* What received frames may be like has changed. */
static void apply_offloads(struct net_device *net)
{
	net->largest_frame = largest_frame(net);
	if (net->backend->ops->guest_takes)
		net->backend->ops->guest_takes(
			net->backend, net_control_offloads(&net->settings.state));
}

/* Other receivers take the back end's frames from now on. */
static void share_out_frames(struct net_device *net)
{
	for (unsigned i = 0; i < net->max_pairs; i++) {
		if (i >= net->settings.state.pairs)
			net_receive_stop(&net->receiver[i]);
		net->receiver[i].starved = true;
		net_receive_notified(&net->receiver[i]);
	}
}

static uint8_t execute(struct net_device *net, const struct virtio_chain *chain)
{
	uint64_t offloads = net->settings.state.offloads;
	unsigned pairs = net->settings.state.pairs;
	uint8_t ack = net_control_execute(&net->settings.state, chain);

	set_config_mac(net, net->settings.state.mac);
	if (net->settings.state.offloads != offloads)
		apply_offloads(net);
	if (net->settings.state.pairs != pairs)
		share_out_frames(net);
	return ack;
}

/* The queue behind those of the pairs (5.1.2). */
static struct virtqueue *control_queue(struct net_device *net)
{
	bool multiqueue = net->virtio.features & BIT(VIRTIO_NET_F_MQ);

	return &net->virtio.queue[multiqueue ? 2 * net->max_pairs : 2];
}

static void serve_control(void *opaque)
{
	struct net_device *net = opaque;
	struct virtqueue *queue = control_queue(net);
	struct virtio_chain chain;
	unsigned commands;
	uint8_t ack;
	int got = 0;

	if (!net_queue_usable(net, queue) || !(net->virtio.features & BIT(VIRTIO_NET_F_CTRL_VQ)))
		return;
	for (commands = 0; commands < CONTROL_BATCH; commands++) {
		chain = (struct virtio_chain){.pieces = net->pieces, .limit = VIRTIO_CHAIN_PIECES};
		if ((got = virtqueue_take(queue, &chain)) <= 0)
			break;
		if (chain.writable_bytes) {
			ack = execute(net, &chain);
			virtio_chain_write(&chain, 0, &ack, sizeof(ack));
		}
		virtqueue_give_back(queue, &chain, MIN(chain.writable_bytes, sizeof(ack)));
	}
	virtqueue_tell_driver(queue);
	if (got < 0)
		virtio_needs_reset(&net->virtio);
	else if (commands == CONTROL_BATCH)
		worker_post(net->virtio.worker, &net->more_control);
}

/* --- the driver comes and goes --- */

/* Bits mean nothing without those that they need (5.1.3.1). */
static uint64_t transmit_features(uint64_t features)
{
	return features & BIT(VIRTIO_NET_F_CSUM) ? features : features & ~SEGMENTATION;
}

static void start(struct virtio_device *device)
{
	struct net_device *net = (struct net_device *)device;

	net_control_begin(&net->settings.state, device->features, net->max_pairs);
	net->transmit_features = transmit_features(device->features);
	apply_offloads(net);
	for (unsigned i = 0; i < net->max_pairs; i++)
		net->transmitter[i].blocked = false;
	share_out_frames(net);
}

/* Back ends have copied what they took: nothing is in flight. Frames that come wait there. Where
 * the machine stops, and not the driver resets the card, the settings stay. */
static void stop(struct virtio_device *device)
{
	struct net_device *net = (struct net_device *)device;

	for (unsigned i = 0; i < net->max_pairs; i++)
		net_receive_stop(&net->receiver[i]);
	if (device->state.resetting) {
		net_control_init(&net->settings.state, net->mac);
		set_config_mac(net, net->mac);
	}
	virtio_stopped(device);
}

static void queue_reset(struct virtio_device *device, struct virtqueue *queue)
{
	struct net_device *net = (struct net_device *)device;

	if (queue->index % 2 == 0 && queue->index / 2 < net->max_pairs)
		net_receive_stop(&net->receiver[queue->index / 2]);
}

static void notified(struct virtio_device *device, struct virtqueue *queue)
{
	struct net_device *net = (struct net_device *)device;
	unsigned pair = queue->index / 2;

	if (queue == control_queue(net))
		serve_control(net);
	else if (pair >= net->max_pairs)
		return; /* where the control queue is with more pairs */
	else if (queue->index & 1)
		net_transmit(&net->transmitter[pair]);
	else
		net_receive_notified(&net->receiver[pair]);
}

/* --- the back end's calls --- */

static void on_receive_ready(void *opaque, unsigned queue)
{
	struct net_device *net = opaque;

	net_receive(&net->receiver[queue % net->settings.state.pairs]);
}

static void on_send_ready(void *opaque, unsigned queue)
{
	struct net_device *net = opaque;

	net->transmitter[queue].blocked = false;
	net_transmit(&net->transmitter[queue]);
}

/* --- the settings, as one of the machine's devices --- */

static struct net_device *device_of_settings(void *settings)
{
	return container_of(settings, struct net_device, settings);
}

static void show_settings(void *settings)
{
	struct net_device *net = device_of_settings(settings);
	uint64_t mac = 0;

	memcpy(&mac, net->settings.state.mac, sizeof(net->mac));
	atomic_store(&net->config_mac, mac);
	show_mac(net);
}

static void reset_settings(void *settings)
{
	struct net_device *net = device_of_settings(settings);

	net_control_init(&net->settings.state, net->mac);
	show_settings(settings);
}

static bool settings_valid(const void *settings, const void *state)
{
	return ((const struct net_control *)state)->pairs <=
	       container_of(settings, const struct net_device, settings)->max_pairs;
}

static const struct device_ops settings_ops = {
	.name = "virtio-net-set",
	.version = 2,
	.fields = net_control_fields,
	.state_offset = offsetof(struct net_settings, state),
	.state_size = sizeof(struct net_control),
	.reset = reset_settings,
	.valid = settings_valid,
	.loaded = show_settings,
};

/* --- making and destroying --- */

static void destroy(struct virtio_device *device)
{
	struct net_device *net = (struct net_device *)device;

	event_loop_unpost(device->loop, &net->config_mac_work);
	net->backend->ops->destroy(net->backend);
	free(net);
}

static const struct virtio_ops ops = {
	.name = "virtio-net",
	.type = VIRTIO_NET,
	.pci_class = 0x020000, /* network controller, Ethernet */
	.start = start,
	.notified = notified,
	.stop = stop,
	.queue_reset = queue_reset,
	.destroy = destroy,
};

static uint64_t features_of(const struct net_device *net)
{
	uint64_t features = ALWAYS_OFFERED | (net->backend->offloads & OFFLOADS);

	if (features & NET_GUEST_OFFLOADS)
		features |= BIT(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS);
	if (net->backend->mtu)
		features |= BIT(VIRTIO_NET_F_MTU);
	if (net->max_pairs > 1)
		features |= BIT(VIRTIO_NET_F_MQ);
	return features;
}

static void describe(struct net_device *net)
{
	struct virtio_net_config config = {
		.status = VIRTIO_NET_S_LINK_UP,
		.max_virtqueue_pairs = (uint16_t)net->max_pairs,
		.mtu = net->backend->mtu,
		.speed = SPEED_MBIT,
		.duplex = 1, /* full */
	};

	net->virtio.ops = &ops;
	net->virtio.offered = features_of(net);
	net->virtio.queue_count = 2 * net->max_pairs + 1;
	net->virtio.queue_size = NET_QUEUE_SIZE;
	net->virtio.config_size =
		offsetof(struct virtio_net_config, duplex) + sizeof(config.duplex);
	memcpy(net->virtio.config, &config, net->virtio.config_size);
	reset_settings(&net->settings);
}

struct beginning {
	struct net_device *net;
	int error;
};

static void start_backend(void *opaque)
{
	struct beginning *beginning = opaque;
	struct net_device *net = beginning->net;
	const struct net_port port = {on_receive_ready, on_send_ready, net};

	beginning->error = net->backend->ops->start(net->backend, net->virtio.worker, &port);
}

int virtio_net_create(struct pci_bus *bus, int slot, uint32_t instance, struct net_backend *backend,
	const uint8_t mac[6])
{
	struct net_device *net = calloc(1, sizeof(*net));
	struct beginning beginning = {net, 0};
	int error;

	if (!net) {
		log_error("virtio-net: out of memory");
		backend->ops->destroy(backend);
		return -ENOMEM;
	}
	net->backend = backend;
	net->max_pairs = MAX(1, MIN(backend->queues, NET_MAX_PAIRS));
	memcpy(net->mac, mac, sizeof(net->mac));
	for (unsigned i = 0; i < net->max_pairs; i++) {
		net_receive_init(net, i);
		net_transmit_init(net, i);
	}
	worker_task_init(&net->more_control, serve_control, net);
	event_work_init(&net->config_mac_work, show_mac, net);
	describe(net);
	error = virtio_add(&net->virtio, bus, slot, instance);
	if (error) {
		backend->ops->destroy(backend);
		free(net);
		return error;
	}
	/* From here on the bus's list of devices destroys the card, also where this fails. */
	device_list_add(
		pci_bus_config(bus)->devices, &net->settings.device, &settings_ops, instance);
	worker_call(net->virtio.worker, start_backend, &beginning);
	return beginning.error;
}
