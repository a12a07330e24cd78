/* The network card by itself: queues in RAM with a driver's end of our own, a back end that notes
 * what it is sent, and virtio_fixture.h in place of the transport. */
#include "device/virtio/net.h"
#include "device/virtio/net_internal.h"
#include "virtio_driver.h"
#include "virtio_fixture.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#define RAM_SIZE   (8 * MIB)
#define RINGS(n)   (1 * MIB + (n)*32 * KIB) /* of queue n */
#define BUFFERS    (4 * MIB)
#define BUFFER     (2 * KIB)
#define QUEUE_SIZE 128

static const uint8_t mac[6] = {0x52, 0x54, 0, 1, 2, 3};
static const uint8_t other_mac[6] = {0x52, 0x54, 0, 9, 9, 9};

static struct priority_lock lock;
static struct memory memory;
static struct dma dma;
static struct driver driver[2 * NET_MAX_PAIRS + 1];
static unsigned interrupts;

/* --- the back end --- */

struct frame {
	size_t size;
	uint8_t bytes[NET_MAX_FRAME];
};

static struct net_port port;
static struct frame sent, waiting[NET_MAX_PAIRS]; /* waiting: one queue's each */
static unsigned sent_count, sent_queue, room, flushes, receives;
static unsigned offered_pieces; /* at the last receive */
static bool wanted[NET_MAX_PAIRS];
static uint64_t guest_takes;

static int backend_start(struct net_backend *net, struct worker *worker, const struct net_port *to)
{
	port = *to;
	return 0;
}

static int backend_send(struct net_backend *net, unsigned queue, const struct iovec *pieces,
	unsigned count, size_t bytes)
{
	if (!room)
		return -EAGAIN;
	room--;
	sent_count++;
	sent_queue = queue;
	sent.size = 0;
	for (unsigned i = 0; i < count; i++) {
		memcpy(sent.bytes + sent.size, pieces[i].iov_base, pieces[i].iov_len);
		sent.size += pieces[i].iov_len;
	}
	assert_int_equal(sent.size, bytes);
	return 0;
}

static ssize_t backend_receive(
	struct net_backend *net, unsigned queue, const struct iovec *pieces, unsigned count)
{
	struct frame *frame = &waiting[queue];
	size_t done = 0, size = frame->size;

	receives++;
	if (!size)
		return -EAGAIN;
	offered_pieces = count;
	frame->size = 0;
	for (unsigned i = 0; i < count; i++) {
		size_t part = MIN(size - done, pieces[i].iov_len);

		memcpy(pieces[i].iov_base, frame->bytes + done, part);
		done += part;
	}
	return done == size ? (ssize_t)size : -EMSGSIZE;
}

static void backend_want(struct net_backend *net, unsigned queue, bool on)
{
	wanted[queue] = on;
}

static void backend_flush(struct net_backend *net)
{
	flushes++;
}

static void backend_guest_takes(struct net_backend *net, uint64_t features)
{
	guest_takes = features;
}

static void backend_destroy(struct net_backend *net)
{
}

static const struct net_backend_ops backend_ops = {backend_start, backend_send, backend_receive,
	backend_want, backend_flush, backend_guest_takes, backend_destroy};
static struct net_backend backend;

/* A frame of that many bytes arrives, told to the device if it wants to know. */
static void arrive(unsigned queue, const uint8_t *to, size_t size)
{
	struct frame *frame = &waiting[queue];

	memset(frame->bytes, 0, NET_HEADER);
	frame->bytes[10] = 1;
	for (size_t i = NET_HEADER; i < size; i++)
		frame->bytes[i] = (uint8_t)(i * 7 + i / 251);
	memcpy(frame->bytes + NET_HEADER, to, 6);
	frame->size = size;
	if (wanted[queue])
		port.receive_ready(port.opaque, queue);
	run_posted();
}

/* --- the driver --- */

static void on_interrupt(void *opaque, struct virtqueue *queue)
{
	interrupts++;
}

static void start(uint64_t features)
{
	struct virtqueue_setup setup;

	device->features = features | VIRTIO_F_VERSION_1;
	for (unsigned i = 0; i < device->queue_count; i++) {
		driver_init(&driver[i], memory.ram, RINGS(i), QUEUE_SIZE, false, false);
		setup = driver_setup(&driver[i]);
		device->queue[i].interrupt = on_interrupt;
		assert_int_equal(
			virtqueue_start(&device->queue[i], &dma, &setup, i, device->features), 0);
	}
	device->running = true;
	device->ops->start(device);
}

/* By the driver's reset, or by the machine. */
static void stop(bool reset)
{
	device->state.resetting = reset;
	device->running = false;
	device->ops->stop(device);
	assert_int_equal(stopped, 1);
	stopped = 0;
}

static void notify(unsigned queue)
{
	device->ops->notified(device, &device->queue[queue]);
}

static void post_buffer(unsigned queue, uint64_t address, uint32_t size)
{
	struct buffer buffer = {address, size, VRING_DESC_F_WRITE};

	assert_true(driver_add(&driver[queue], &buffer, 1) >= 0);
}

static void post_buffers(unsigned queue, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		post_buffer(queue, BUFFERS + i * BUFFER, BUFFER);
	notify(queue);
}

static void create(unsigned queues, uint64_t offloads, uint16_t mtu)
{
	backend = (struct net_backend){
		.ops = &backend_ops, .queues = queues, .offloads = offloads, .mtu = mtu};
	assert_int_equal(virtio_net_create(NULL, PCI_ANY_SLOT, 0, &backend, mac), 0);
}

static int setup(void **state)
{
	priority_lock_init(&lock);
	dma = (struct dma){.memory = &memory, .enabled = true};
	room = 1000;
	fixture_reset();
	sent_count = flushes = interrupts = receives = 0;
	memset(waiting, 0, sizeof(waiting));
	memset(wanted, 0, sizeof(wanted));
	return memory_create(&memory, RAM_SIZE, 40, &lock);
}

static int teardown(void **state)
{
	if (device)
		device->ops->destroy(device);
	device = NULL;
	memory_destroy(&memory);
	priority_lock_destroy(&lock);
	return 0;
}

/* --- headers --- */

#define CSUM     BIT(VIRTIO_NET_F_CSUM)
#define TSO4     BIT(VIRTIO_NET_F_HOST_TSO4)
#define TSO6     BIT(VIRTIO_NET_F_HOST_TSO6)
#define ECN      BIT(VIRTIO_NET_F_HOST_ECN)
#define ALL      (CSUM | TSO4 | TSO6 | ECN)
#define NEEDS    VIRTIO_NET_HDR_F_NEEDS_CSUM
#define V4       VIRTIO_NET_HDR_GSO_TCPV4
#define V6       VIRTIO_NET_HDR_GSO_TCPV6
#define WITH_ECN VIRTIO_NET_HDR_GSO_ECN

static void headers_are_checked(void **state)
{
	/* flags, gso_type, hdr_len, gso_size, csum_start, csum_offset */
	static const struct {
		struct virtio_net_hdr_v1 header;
		size_t size;
		uint64_t features;
		bool good;
	} cases[] = {
		{{0}, 14, 0, true},
		{{0}, 13, ALL, false},
		{{0}, 65535 + 18, ALL, true},
		{{0}, 65535 + 19, ALL, false},
		{{NEEDS, 0, 0, 0, .csum_start = 34, .csum_offset = 16}, 52, CSUM, true},
		{{NEEDS, 0, 0, 0, .csum_start = 34, .csum_offset = 16}, 51, CSUM, false},
		{{NEEDS, 0, 0, 0, .csum_start = 34, .csum_offset = 16}, 52, TSO4, false},
		{{NEEDS, 0, 0, 0, .csum_start = 13, .csum_offset = 16}, 52, CSUM, false},
		{{NEEDS, 0, 0, 0, .csum_start = 0xffff, .csum_offset = 0xffff}, 1000, CSUM, false},
		{{NEEDS, V4, 54, 1448, .csum_start = 34, .csum_offset = 16}, 3000, ALL, true},
		{{NEEDS, V4, 54, 1448, .csum_start = 34, .csum_offset = 16}, 3000, CSUM, false},
		{{NEEDS, V4, 54, 1448, .csum_start = 34, .csum_offset = 16}, 3000, CSUM | TSO6,
			false},
		{{NEEDS, V6, 54, 1448, .csum_start = 34, .csum_offset = 16}, 3000, CSUM | TSO6,
			true},
		{{NEEDS, V4, 54, 0, .csum_start = 34, .csum_offset = 16}, 3000, ALL, false},
		{{NEEDS, V4, 3001, 1448, .csum_start = 34, .csum_offset = 16}, 3000, ALL, false},
		{{0, V4, 54, 1448, .csum_start = 34, .csum_offset = 16}, 3000, ALL, false},
		{{NEEDS, V4 | WITH_ECN, 54, 1448, .csum_start = 34, .csum_offset = 16}, 3000, ALL,
			true},
		{{NEEDS, V4 | WITH_ECN, 54, 1448, .csum_start = 34, .csum_offset = 16}, 3000,
			ALL & ~ECN, false},
		{{NEEDS, WITH_ECN, 54, 1448, .csum_start = 34, .csum_offset = 16}, 3000, ALL,
			false},
		{{NEEDS, VIRTIO_NET_HDR_GSO_UDP, 54, 1448, .csum_start = 34, .csum_offset = 16},
			3000, ALL, false},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		struct virtio_net_hdr_v1 header = cases[i].header;

		if (net_header_check(&header, cases[i].size, cases[i].features) != cases[i].good)
			fail_msg("case %u: expected %d", i, cases[i].good);
	}
}

/* What a guest leaves in a header without meaning is not handed on. */
static void headers_are_normalised(void **state)
{
	struct virtio_net_hdr_v1 header;

	memset(&header, 0xff, sizeof(header));
	header.flags = VIRTIO_NET_HDR_F_DATA_VALID;
	header.gso_type = VIRTIO_NET_HDR_GSO_NONE;
	assert_true(net_header_check(&header, 60, ALL));
	assert_memory_equal(
		&header, (&(struct virtio_net_hdr_v1){.num_buffers = 1}), sizeof(header));
}

/* --- what is offered --- */

static void features_follow_the_back_end(void **state)
{
	const struct virtio_net_config *config;

	create(1, 0, 0);
	assert_false(device->offered & (ALL | NET_GUEST_OFFLOADS));
	assert_false(device->offered & (BIT(VIRTIO_NET_F_MQ) | BIT(VIRTIO_NET_F_MTU) |
					       BIT(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS)));
	assert_true(device->offered & BIT(VIRTIO_NET_F_CTRL_VQ));
	assert_int_equal(device->queue_count, 3);
	device->ops->destroy(device);

	create(4, UINT64_MAX, 9000);
	assert_true((device->offered & ALL) == ALL);
	assert_false(device->offered & BIT(VIRTIO_NET_F_GUEST_UFO));
	assert_true(device->offered & BIT(VIRTIO_NET_F_MQ));
	assert_int_equal(device->queue_count, 9);
	config = (const void *)device->config;
	assert_memory_equal(config->mac, mac, 6);
	assert_int_equal(config->status, VIRTIO_NET_S_LINK_UP);
	assert_int_equal(config->max_virtqueue_pairs, 4);
	assert_int_equal(config->mtu, 9000);
}

/* --- transmit --- */

static void add_frame(unsigned queue, size_t size)
{
	uint8_t *at = memory.ram + BUFFERS;
	struct buffer buffers[] = {{BUFFERS, 5, 0}, {BUFFERS + 5, 30, 0},
		{BUFFERS + 35, (uint32_t)(NET_HEADER + size - 35), 0}};

	memset(at, 0, NET_HEADER);
	for (size_t i = NET_HEADER; i < NET_HEADER + size; i++)
		at[i] = (uint8_t)(i * 5 + i / 253);
	assert_true(driver_add(&driver[queue], buffers, 3) >= 0);
}

static unsigned take_back(unsigned queue)
{
	uint32_t written;
	unsigned count = 0;

	while (driver_get(&driver[queue], &written) >= 0)
		count++;
	return count;
}

static void frames_are_sent(void **state)
{
	create(1, 0, 0);
	start(0);
	add_frame(1, 1514);
	notify(1);
	assert_int_equal(sent_count, 1);
	assert_int_equal(sent.size, NET_HEADER + 1514);
	assert_memory_equal(
		sent.bytes + NET_HEADER, memory.ram + BUFFERS + NET_HEADER, sent.size - NET_HEADER);
	assert_int_equal(sent.bytes[10], 1);
	assert_int_equal(take_back(1), 1);
	assert_int_equal(flushes, 1);
	assert_int_equal(interrupts, 1);
}

static void bad_frames_are_dropped(void **state)
{
	struct buffer shorter = {BUFFERS, NET_HEADER - 1, 0}, huge = {0, (uint32_t)RAM_SIZE / 2, 0},
		      writable = {BUFFERS, 100, VRING_DESC_F_WRITE};

	create(1, 0, 0);
	start(0);
	assert_true(driver_add(&driver[1], &shorter, 1) >= 0);
	assert_true(driver_add(&driver[1], &writable, 1) >= 0);
	huge.address = 1 * MIB;
	assert_true(driver_add(&driver[1], &huge, 1) >= 0);
	add_frame(1, 60);
	notify(1);
	assert_int_equal(sent_count, 1);
	assert_int_equal(take_back(1), 4);
	assert_int_equal(needs_reset, 0);
}

static void full_back_end_holds_frames_up(void **state)
{
	create(1, 0, 0);
	start(0);
	room = 2;
	for (unsigned i = 0; i < 5; i++)
		add_frame(1, 60);
	notify(1);
	notify(1);
	assert_int_equal(sent_count, 2);
	assert_int_equal(take_back(1), 2);
	room = 100;
	port.send_ready(port.opaque, 0);
	assert_int_equal(sent_count, 5);
	assert_int_equal(take_back(1), 3);
}

/* A queue that never runs dry does not keep the others from their turn. */
static void turns_are_bounded(void **state)
{
	struct buffer whole = {BUFFERS, 100, 0};

	create(1, 0, 0);
	start(0);
	for (unsigned i = 0; i < 100; i++)
		assert_true(driver_add(&driver[1], &whole, 1) >= 0);
	notify(1);
	assert_int_equal(sent_count, NET_BATCH);
	assert_int_equal(posted_count, 1);
	assert_int_equal(interrupts, 1);
	run_posted();
	assert_int_equal(sent_count, 100);
	assert_int_equal(interrupts, 2);
}

/* --- receive --- */

static void frame_fills_one_buffer(void **state)
{
	uint32_t written;

	create(1, 0, 0);
	start(0);
	assert_false(wanted[0]);
	post_buffers(0, 4);
	assert_true(wanted[0]);
	arrive(0, mac, 1000);
	assert_true(driver_get(&driver[0], &written) >= 0);
	assert_int_equal(written, 1000);
	assert_int_equal(offered_pieces, 1);
	assert_memory_equal(memory.ram + BUFFERS, waiting[0].bytes, 1000);
	assert_int_equal(take_back(0), 0);
	assert_int_equal(interrupts, 1);
}

static void no_buffers_no_frames(void **state)
{
	create(1, 0, 0);
	start(0);
	post_buffers(0, 1);
	arrive(0, mac, 1000);
	assert_false(wanted[0]); /* there is no other buffer */
	waiting[0].size = 500;
	post_buffers(0, 1);
	assert_int_equal(waiting[0].size, 0);
	assert_false(wanted[0]);
	post_buffers(0, 1);
	assert_true(wanted[0]);
	assert_int_equal(take_back(0), 2);
}

#define MERGEABLE                                                                                  \
	(BIT(VIRTIO_NET_F_MRG_RXBUF) | BIT(VIRTIO_NET_F_GUEST_CSUM) | BIT(VIRTIO_NET_F_GUEST_TSO4))

/* The frame that the driver finds in its buffers, from buffer `first` on. */
static void check_merged(unsigned first, size_t size)
{
	const uint8_t *at = memory.ram + BUFFERS + first * BUFFER;
	unsigned count = (unsigned)((size + BUFFER - 1) / BUFFER);
	uint32_t written;

	assert_int_equal(at[10] | at[11] << 8, count);
	assert_memory_equal(at + NET_HEADER, waiting[0].bytes + NET_HEADER, size - NET_HEADER);
	for (unsigned i = 0; i < count; i++) {
		assert_true(driver_get(&driver[0], &written) >= 0);
		assert_int_equal(written, i + 1 < count ? BUFFER : size - i * BUFFER);
	}
}

static void large_frame_is_spread(void **state)
{
	create(1, MERGEABLE, 0);
	start(MERGEABLE);
	assert_int_equal(guest_takes, MERGEABLE & NET_GUEST_OFFLOADS);
	post_buffers(0, 100);
	arrive(0, mac, 60000);
	check_merged(0, 60000);
	arrive(0, mac, 100);
	check_merged(30, 100);
	arrive(0, mac, NET_MAX_FRAME);
	check_merged(31, NET_MAX_FRAME);
}

/* A frame of any size is not lost where the driver has posted little, and waits for more. */
static void large_frame_waits_for_buffers(void **state)
{
	create(1, MERGEABLE, 0);
	start(MERGEABLE);
	post_buffers(0, 3);
	arrive(0, mac, 100);
	check_merged(0, 100);
	arrive(0, mac, 9000);
	assert_int_equal(waiting[0].size, 0);
	assert_int_equal(take_back(0), 0);
	assert_false(wanted[0]);
	for (unsigned i = 3; i < 6; i++)
		post_buffer(0, BUFFERS + i * BUFFER, BUFFER);
	notify(0);
	check_merged(1, 9000);
}

static void too_large_for_unmergeable_is_dropped(void **state)
{
	create(1, 0, 0);
	start(0);
	post_buffers(0, 2);
	arrive(0, mac, 5000);
	assert_int_equal(take_back(0), 0);
	arrive(0, mac, 500);
	assert_int_equal(take_back(0), 1);
}

static void readable_buffer_breaks_the_rules(void **state)
{
	struct buffer readable = {BUFFERS, 2000, 0};

	create(1, 0, 0);
	start(0);
	assert_true(driver_add(&driver[0], &readable, 1) >= 0);
	notify(0);
	arrive(0, mac, 100);
	assert_true(needs_reset > 0);
}

static void reset_forgets_what_is_in_hand(void **state)
{
	create(1, MERGEABLE, 0);
	start(MERGEABLE);
	post_buffers(0, 40);
	arrive(0, mac, 100);
	stop(true);
	assert_int_equal(device->queue[0].in_flight, 0);
	waiting[0].size = 0;
	arrive(0, mac, 100);
	port.receive_ready(port.opaque, 0);
	assert_int_equal(waiting[0].size, 100); /* it waits */
	start(MERGEABLE);
	post_buffers(0, 40);
	assert_true(wanted[0]);
	port.receive_ready(port.opaque, 0);
	assert_int_equal(take_back(0), 1);
}

/* --- control --- */

#define CONTROL_FEATURES                                                                           \
	(BIT(VIRTIO_NET_F_CTRL_VQ) | BIT(VIRTIO_NET_F_CTRL_RX) | BIT(VIRTIO_NET_F_CTRL_RX_EXTRA) | \
		BIT(VIRTIO_NET_F_CTRL_MAC_ADDR))
#define COMMANDS (2 * MIB)

static int command_at(
	unsigned queue, uint8_t class, uint8_t code, const void *arguments, uint32_t size)
{
	uint8_t *at = memory.ram + COMMANDS;
	struct buffer buffers[] = {
		{COMMANDS, 2, 0}, {COMMANDS + 2, size, 0}, {COMMANDS + 4096, 1, 2}};
	uint32_t written;

	at[0] = class;
	at[1] = code;
	memcpy(at + 2, arguments, size);
	at[4096] = 0x55;
	assert_true(driver_add(&driver[queue], buffers, 3) >= 0);
	notify(queue);
	assert_true(driver_get(&driver[queue], &written) >= 0);
	assert_int_equal(written, 1);
	return at[4096];
}

static int command(uint8_t class, uint8_t code, const void *arguments, uint32_t size)
{
	return command_at(2, class, code, arguments, size);
}

static void set_mode(uint8_t code, bool on)
{
	uint8_t value = on;

	assert_int_equal(command(VIRTIO_NET_CTRL_RX, code, &value, 1), VIRTIO_NET_OK);
}

static bool gets_through(const uint8_t *to)
{
	arrive(0, to, 100);
	assert_int_equal(waiting[0].size, 0);
	return take_back(0) == 1;
}

static void modes_filter(void **state)
{
	static const uint8_t broadcast[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
	static const uint8_t multicast[6] = {0x33, 0x33, 0, 0, 0, 1};

	create(1, 0, 0);
	start(CONTROL_FEATURES);
	post_buffers(0, 60);
	assert_true(gets_through(other_mac));
	set_mode(VIRTIO_NET_CTRL_RX_PROMISC, false);
	assert_false(gets_through(other_mac));
	assert_false(gets_through(multicast));
	assert_true(gets_through(broadcast));
	assert_true(gets_through(mac));
	set_mode(VIRTIO_NET_CTRL_RX_ALLMULTI, true);
	assert_true(gets_through(multicast));
	set_mode(VIRTIO_NET_CTRL_RX_NOMULTI, true);
	assert_false(gets_through(multicast));
	set_mode(VIRTIO_NET_CTRL_RX_ALLUNI, true);
	assert_true(gets_through(other_mac));
	set_mode(VIRTIO_NET_CTRL_RX_NOUNI, true);
	assert_false(gets_through(mac));
	set_mode(VIRTIO_NET_CTRL_RX_NOBCAST, true);
	assert_false(gets_through(broadcast));
}

static void mac_table_filters(void **state)
{
	struct {
		uint32_t unicast;
		uint8_t mac[6];
		uint32_t multicast;
		uint8_t group[2][6];
	} __attribute__((packed))
	table = {1, {0x52, 0x54, 0, 9, 9, 9}, 2, {{1, 0, 0x5e, 0, 0, 1}, {1, 0, 0x5e, 0, 0, 2}}};
	uint8_t long_table[8 + 6 * (NET_MAC_TABLE + 1)] = {NET_MAC_TABLE + 1};
	static const uint8_t third[6] = {1, 0, 0x5e, 0, 0, 3}, stranger[6] = {2};

	create(1, 0, 0);
	start(CONTROL_FEATURES);
	post_buffers(0, 60);
	set_mode(VIRTIO_NET_CTRL_RX_PROMISC, false);
	assert_int_equal(
		command(VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, &table, sizeof(table)),
		VIRTIO_NET_OK);
	assert_true(gets_through(other_mac));
	assert_true(gets_through(table.group[1]));
	assert_false(gets_through(third));
	/* A table that ends too early changes nothing. */
	assert_int_equal(command(VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, &table,
				 sizeof(table) - 1),
		VIRTIO_NET_ERR);
	table.unicast = 0xffffffff;
	assert_int_equal(
		command(VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, &table, sizeof(table)),
		VIRTIO_NET_ERR);
	assert_true(gets_through(other_mac));
	assert_false(gets_through(stranger));
	assert_int_equal(command(VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, long_table,
				 sizeof(long_table)),
		VIRTIO_NET_OK);
	assert_true(gets_through(stranger));
	assert_false(gets_through(table.group[1]));
}

static void mac_address_changes_until_reset(void **state)
{
	create(1, 0, 0);
	start(CONTROL_FEATURES);
	post_buffers(0, 10);
	set_mode(VIRTIO_NET_CTRL_RX_PROMISC, false);
	assert_int_equal(command(VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, other_mac, 5),
		VIRTIO_NET_ERR);
	assert_int_equal(command(VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, other_mac, 6),
		VIRTIO_NET_OK);
	assert_memory_equal(device->config, other_mac, 6);
	assert_true(gets_through(other_mac));
	assert_false(gets_through(mac));
	stop(true);
	assert_memory_equal(device->config, mac, 6);
}

/* A machine that stops and goes on, or was saved and loaded, has what the driver has set. */
static void settings_outlive_a_stop(void **state)
{
	struct net_device *net;
	uint64_t none = 0, features = CONTROL_FEATURES | BIT(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS) |
				      BIT(VIRTIO_NET_F_GUEST_CSUM);

	create(1, UINT64_MAX, 0);
	net = (struct net_device *)device;
	start(features);
	set_mode(VIRTIO_NET_CTRL_RX_PROMISC, false);
	assert_int_equal(command(VIRTIO_NET_CTRL_GUEST_OFFLOADS, 0, &none, 8), VIRTIO_NET_OK);
	stop(false);
	start(features);
	assert_false(net->settings.state.promiscuous);
	assert_int_equal(guest_takes, 0);
	stop(true);
	start(features);
	assert_true(net->settings.state.promiscuous);
	assert_int_equal(guest_takes, BIT(VIRTIO_NET_F_GUEST_CSUM));
}

static void vlans_are_filtered(void **state)
{
	uint16_t vlan = 5, too_large = NET_VLANS;
	struct net_control control;
	uint8_t frame[NET_FILTER_SIZE] = {0x52, 0x54, 0, 1, 2, 3};

	create(1, 0, 0);
	start(CONTROL_FEATURES | BIT(VIRTIO_NET_F_CTRL_VLAN));
	set_mode(VIRTIO_NET_CTRL_RX_PROMISC, false);
	assert_int_equal(command(VIRTIO_NET_CTRL_VLAN, VIRTIO_NET_CTRL_VLAN_ADD, &too_large, 2),
		VIRTIO_NET_ERR);
	assert_int_equal(
		command(VIRTIO_NET_CTRL_VLAN, VIRTIO_NET_CTRL_VLAN_ADD, &vlan, 2), VIRTIO_NET_OK);
	control = ((struct net_device *)device)->settings.state;
	assert_true(net_control_accepts(&control, frame));
	frame[12] = 0x81;
	frame[15] = 5;
	assert_true(net_control_accepts(&control, frame));
	frame[14] = 0xe0; /* priority bits */
	assert_true(net_control_accepts(&control, frame));
	frame[15] = 6;
	assert_false(net_control_accepts(&control, frame));
	assert_int_equal(
		command(VIRTIO_NET_CTRL_VLAN, VIRTIO_NET_CTRL_VLAN_DEL, &vlan, 2), VIRTIO_NET_OK);
	control = ((struct net_device *)device)->settings.state;
	frame[15] = 5;
	assert_false(net_control_accepts(&control, frame));
}

static void offloads_are_set(void **state)
{
	uint64_t none = 0, csum = BIT(VIRTIO_NET_F_GUEST_CSUM), tso = BIT(VIRTIO_NET_F_GUEST_TSO4),
		 tso6 = BIT(VIRTIO_NET_F_GUEST_TSO6);
	uint8_t class = VIRTIO_NET_CTRL_GUEST_OFFLOADS;

	create(1, UINT64_MAX, 0);
	start(CONTROL_FEATURES | BIT(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS) | csum | tso);
	assert_int_equal(guest_takes, csum | tso);
	assert_int_equal(command(class, 0, &none, 8), VIRTIO_NET_OK);
	assert_int_equal(guest_takes, 0);
	assert_int_equal(command(class, 0, &csum, 8), VIRTIO_NET_OK);
	assert_int_equal(guest_takes, csum);
	assert_int_equal(command(class, 0, &tso, 8), VIRTIO_NET_OK);
	assert_int_equal(guest_takes, 0); /* segments need checksums */
	assert_int_equal(command(class, 0, &tso6, 8), VIRTIO_NET_ERR);
	assert_int_equal(command(class, 0, &csum, 7), VIRTIO_NET_ERR);
}

static void commands_without_their_feature_are_refused(void **state)
{
	uint8_t on = 1;
	uint16_t pairs = 1;

	create(1, 0, 0);
	start(BIT(VIRTIO_NET_F_CTRL_VQ));
	assert_int_equal(command(VIRTIO_NET_CTRL_RX, 0, &on, 1), VIRTIO_NET_ERR);
	assert_int_equal(command(VIRTIO_NET_CTRL_MAC, 1, mac, 6), VIRTIO_NET_ERR);
	assert_int_equal(command(VIRTIO_NET_CTRL_MQ, 0, &pairs, 2), VIRTIO_NET_ERR);
	assert_int_equal(command(0x77, 0x77, &on, 1), VIRTIO_NET_ERR);
}

static void pairs_share_the_back_ends_queues(void **state)
{
	uint16_t pairs = 2, none = 0, many = 5;
	uint8_t class = VIRTIO_NET_CTRL_MQ;

	create(4, 0, 0);
	start(CONTROL_FEATURES | BIT(VIRTIO_NET_F_MQ));
	post_buffers(0, 20);
	arrive(3, mac, 100); /* one pair takes all */
	assert_int_equal(take_back(0), 1);
	assert_int_equal(command_at(8, class, 0, &none, 2), VIRTIO_NET_ERR);
	assert_int_equal(command_at(8, class, 0, &many, 2), VIRTIO_NET_ERR);
	assert_int_equal(command_at(8, class, 0, &pairs, 2), VIRTIO_NET_OK);
	post_buffers(2, 20);
	arrive(3, mac, 100);
	assert_int_equal(take_back(0), 0);
	assert_int_equal(take_back(2), 1);
	arrive(2, mac, 100);
	assert_int_equal(take_back(0), 1);
	add_frame(5, 60);
	notify(5);
	assert_int_equal(sent_queue, 2);
}

/* Without VIRTIO_NET_F_MQ the control queue is the third, and what comes behind it does no harm. */
static void spare_queues_are_harmless(void **state)
{
	uint8_t on = 0;

	create(NET_MAX_PAIRS, 0, 0);
	start(CONTROL_FEATURES);
	assert_int_equal(command(VIRTIO_NET_CTRL_RX, 0, &on, 1), VIRTIO_NET_OK);
	for (unsigned i = 3; i < device->queue_count; i++)
		notify(i);
	assert_int_equal(needs_reset, 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(headers_are_checked),
		cmocka_unit_test(headers_are_normalised),
		TEST(features_follow_the_back_end),
		TEST(frames_are_sent),
		TEST(bad_frames_are_dropped),
		TEST(full_back_end_holds_frames_up),
		TEST(turns_are_bounded),
		TEST(frame_fills_one_buffer),
		TEST(no_buffers_no_frames),
		TEST(large_frame_is_spread),
		TEST(large_frame_waits_for_buffers),
		TEST(too_large_for_unmergeable_is_dropped),
		TEST(readable_buffer_breaks_the_rules),
		TEST(reset_forgets_what_is_in_hand),
		TEST(modes_filter),
		TEST(mac_table_filters),
		TEST(mac_address_changes_until_reset),
		TEST(settings_outlive_a_stop),
		TEST(vlans_are_filtered),
		TEST(offloads_are_set),
		TEST(commands_without_their_feature_are_refused),
		TEST(pairs_share_the_back_ends_queues),
		TEST(spare_queues_are_harmless),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
