/* The user network, by veneer-net-user, with a tiny guest: ARP, DHCP, UDP and TCP. */
#include "net_fixture.h"

#include "host/helper.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LONG_ENOUGH 20000 /* ms */
#define GUEST       0x0a00020f
#define HOST        0x0a000202

static const uint8_t guest_mac[6] = {0x52, 0x54, 0, 0x12, 0x34, 0x56};
static const uint8_t broadcast[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
static uint8_t host_mac[6];
static struct card *card;

static bool has_openat2(void)
{
	const struct open_how how = {.flags = O_PATH | O_CLOEXEC};
	int fd = (int)syscall(SYS_openat2, AT_FDCWD, "/", &how, sizeof(how));

	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

/* --- ARP and DHCP --- */

/* False: there is no room now. */
static bool send_arp(unsigned operation, uint32_t address, const uint8_t target_mac[6])
{
	uint8_t frame[42] = {0}, *arp = frame + 14;

	memcpy(frame, operation == 1 ? broadcast : target_mac, 6);
	memcpy(frame + 6, guest_mac, 6);
	put16(frame + 12, 0x0806);
	memcpy(arp, "\0\1\10\0\6\4", 6);
	put16(arp + 6, operation);
	memcpy(arp + 8, guest_mac, 6);
	put32(arp + 14, GUEST);
	memcpy(arp + 18, target_mac, 6);
	put32(arp + 24, address);
	return card_send(card, NULL, frame, sizeof(frame)) == 0;
}

static bool is_arp_reply(const uint8_t *frame, size_t size, void *opaque)
{
	return size >= 42 && frame[12] == 8 && frame[13] == 6 && frame[21] == 2;
}

static bool find_host(unsigned timeout_ms)
{
	struct kept_frame *reply;

	reply = send_arp(1, HOST, (const uint8_t[6]){0})
			? card_wait(card, is_arp_reply, NULL, timeout_ms)
			: NULL;
	if (!reply)
		return false;
	memcpy(host_mac, reply->bytes + NET_HEADER + 22, 6);
	free(reply);
	return true;
}

static void answers_arp(void **state)
{
	assert_true(find_host(LONG_ENOUGH));
	assert_memory_equal(host_mac, "\x52\x55\x0a\x00\x02\x02", 6);
}

static bool is_dhcp_offer(const uint8_t *frame, size_t size, void *opaque)
{
	return size > 14 + 20 + 8 + 240 && frame[23] == IPPROTO_UDP && frame[37] == 68;
}

static void send_udp(uint16_t from, uint16_t to, uint32_t source, uint32_t address,
	const uint8_t mac[6], const void *data, unsigned size)
{
	uint8_t frame[14 + 20 + 8 + 600] = {0}, *udp = frame + 34;

	assert_true(size <= 600);
	put_ip(frame, mac, guest_mac, IPPROTO_UDP, source, address, 8 + size);
	put16(udp, from);
	put16(udp + 2, to);
	put16(udp + 4, 8 + size);
	memcpy(udp + 8, data, size);
	assert_int_equal(card_send(card, NULL, frame, 42 + size), 0);
}

/* Ask for an address. The answer, from its IP header on, is the caller's. */
static struct kept_frame *discover(void)
{
	uint8_t dhcp[300] = {0};
	struct kept_frame *offer;

	dhcp[0] = 1; /* a request, on Ethernet */
	dhcp[1] = 1;
	dhcp[2] = 6;
	put32(dhcp + 4, 0x12345678);
	memcpy(dhcp + 28, guest_mac, 6);
	memcpy(dhcp + 236, "\x63\x82\x53\x63\x35\x01\x01\xff", 8);
	send_udp(68, 67, 0, 0xffffffff, broadcast, dhcp, sizeof(dhcp));
	offer = card_wait(card, is_dhcp_offer, NULL, LONG_ENOUGH);
	assert_non_null(offer);
	assert_int_equal(get32(offer->bytes + NET_HEADER + 42 + 4), 0x12345678);
	return offer;
}

static void offers_an_address(void **state)
{
	struct kept_frame *offer = discover();

	assert_int_equal(get32(offer->bytes + NET_HEADER + 42 + 16), GUEST);
	free(offer);
}

/* A DHCP option's value begins with this text (RFC 2132). */
static bool has_option(const struct kept_frame *offer, uint8_t option, const char *text)
{
	const uint8_t *at = offer->bytes + NET_HEADER + 42 + 240;
	const uint8_t *end = offer->bytes + offer->size;

	while (end - at > 2 && *at != 255 && *at != option)
		at += *at ? 2 + at[1] : 1;
	return end - at > 2 && *at == option && end - at >= 2 + at[1] && at[1] >= strlen(text) &&
	       memcmp(at + 2, text, strlen(text)) == 0;
}

static void offers_names(void **state)
{
	struct kept_frame *offer;

	card = card_create("user,hostname=box,domainname=example.org,dnssearch=a.example,"
			   "dnssearch=b.example,bootfile=boot.ipxe");
	offer = discover();
	assert_true(has_option(offer, 12, "box"));
	assert_true(has_option(offer, 15, "example.org"));
	assert_true(has_option(offer, 119, "\1a\7example\0\1b"));
	assert_string_equal((char *)offer->bytes + NET_HEADER + 42 + 108, "boot.ipxe");
	free(offer);
	card_destroy(card);
}

/* Several of a machine's cards may be on user networks. */
static void networks_have_addresses_of_their_own(void **state)
{
	struct net_config config;
	struct kept_frame *offer;

	assert_int_equal(net_config_parse(&config, "--net", "user"), 0);
	config.number = 3;
	card = card_create_config(&config);
	offer = discover();
	assert_int_equal(get32(offer->bytes + NET_HEADER + 42 + 16), GUEST + (3 << 8));
	free(offer);
	card_destroy(card);
}

static bool is_router_advertisement(const uint8_t *frame, size_t size, void *opaque)
{
	return size > 54 + 16 && frame[12] == 0x86 && frame[13] == 0xdd && frame[20] == 58 &&
	       frame[54] == 134;
}

/* IPv6 addresses are made of what a router says (RFC 4861). */
static void advertises_an_ipv6_prefix(void **state)
{
	static const uint8_t all_routers[16] = {0xff, 2, [15] = 2};
	uint8_t frame[62] = {0x33, 0x33, [5] = 2};
	struct kept_frame *answer;
	const uint8_t *at, *end;
	uint16_t sum;

	memcpy(frame + 6, guest_mac, 6);
	put16(frame + 12, 0x86dd);
	frame[14] = 0x60;
	put16(frame + 18, 8);
	frame[20] = 58; /* ICMPv6 */
	frame[21] = 255;
	frame[22] = 0xfe;
	frame[23] = 0x80;
	frame[37] = 9;
	memcpy(frame + 38, all_routers, 16);
	frame[54] = 133; /* router solicitation */
	sum = (uint16_t)~net_sum(net_sum(0, (const uint8_t[4]){0, 8, 0, 58}, 4), frame + 22, 40);
	memcpy(frame + 56, &sum, 2);
	assert_int_equal(card_send(card, NULL, frame, sizeof(frame)), 0);
	answer = card_wait(card, is_router_advertisement, NULL, LONG_ENOUGH);
	assert_non_null(answer);
	end = answer->bytes + answer->size;
	for (at = answer->bytes + NET_HEADER + 70; end - at >= 32 && *at != 3; at += 8 * at[1])
		assert_true(at[1]);
	assert_true(end - at >= 32);
	assert_memory_equal(at + 16, "\xfe\xc0\0\0\0\0\0\0", 8);
	free(answer);
}

/* --- TFTP --- */

static bool is_tftp(const uint8_t *frame, size_t size, void *opaque)
{
	return size >= 46 && frame[12] == 8 && frame[13] == 0 && frame[23] == IPPROTO_UDP &&
	       frame[36] == 0x20 && frame[37] == 0;
}

/* A file's bytes, as a client gets them (RFC 1350); -1: the server refuses. */
static int fetch(const char *name, uint8_t *data, unsigned room)
{
	uint8_t packet[600] = {0, 1};
	unsigned length = (unsigned)strlen(name) + 1, got = 0, block = 1, size = 512;

	memcpy(packet + 2, name, length);
	memcpy(packet + 2 + length, "octet", 6);
	send_udp(0x2000, 69, GUEST, HOST, host_mac, packet, 2 + length + 6);
	while (size == 512) {
		struct kept_frame *frame = card_wait(card, is_tftp, NULL, LONG_ENOUGH);
		const uint8_t *udp;

		assert_non_null(frame);
		udp = frame->bytes + NET_HEADER + 34;
		if (udp[9] == 5) {
			free(frame);
			return -1;
		}
		assert_int_equal(udp[9], 3);
		assert_int_equal(udp[10] << 8 | udp[11], block);
		size = (unsigned)(udp[4] << 8 | udp[5]) - 12;
		assert_true(got + size <= room);
		memcpy(data + got, udp + 12, size);
		got += size;
		put16(packet, 4); /* ACK */
		put16(packet + 2, block++);
		send_udp(
			0x2000, (uint16_t)(udp[0] << 8 | udp[1]), GUEST, HOST, host_mac, packet, 4);
		free(frame);
	}
	return (int)got;
}

static void write_file(const char *path, const uint8_t *data, unsigned size)
{
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	assert_int_equal(fwrite(data, 1, size, file), size);
	fclose(file);
}

static void files_of_one_directory_are_served(void **state)
{
	static const char *const refused[] = {"none", "out", "up", "../secret", "/../secret",
		"sub/../../secret", "fifo", "sub", "", "/etc/passwd", "outside/secret"};
	char base[] = "/tmp/test-net-user-XXXXXX", command[400], words[100];
	uint8_t data[1500], got[2048];

	assert_non_null(mkdtemp(base));
	snprintf(command, sizeof(command),
		"cd %s && mkdir -p dir/sub && ln -s boot dir/in && ln -s ../boot dir/sub/in && "
		"ln -s /etc/passwd dir/out && ln -s ../secret dir/up && ln -s .. dir/outside && "
		"mkfifo dir/fifo",
		base);
	assert_int_equal(system(command), 0);
	for (unsigned i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 7 + (i >> 8));
	snprintf(words, sizeof(words), "%s/dir/boot", base);
	write_file(words, data, sizeof(data));
	snprintf(words, sizeof(words), "%s/secret", base);
	write_file(words, data, sizeof(data));
	snprintf(words, sizeof(words), "user,tftp=%s/dir", base);
	card = has_openat2() ? card_create(words) : NULL;
	if (card) {
		assert_true(find_host(LONG_ENOUGH));
		assert_int_equal(fetch("boot", got, sizeof(got)), sizeof(data));
		assert_memory_equal(got, data, sizeof(data));
		assert_int_equal(fetch("/in", got, sizeof(got)), sizeof(data));
		assert_int_equal(fetch("sub/in", got, sizeof(got)), sizeof(data));
		for (unsigned i = 0; i < ARRAY_SIZE(refused); i++)
			assert_int_equal(fetch(refused[i], got, sizeof(got)), -1);
		card_destroy(card);
		/* Nothing is served where nothing is said. */
		card = card_create("user");
		assert_true(find_host(LONG_ENOUGH));
		assert_int_equal(fetch("boot", got, sizeof(got)), -1);
		card_destroy(card);
	}
	snprintf(command, sizeof(command), "rm -r %s", base);
	assert_int_equal(system(command), 0);
	if (!card)
		skip();
}

/* --- TCP --- */

/* The guest's end of a connection. */
struct connection {
	uint16_t port, host_port;
	uint32_t sequence, acknowledged; /* our next, and theirs */
};

static void send_segment(struct connection *c, uint8_t flags, const void *data, unsigned size,
	bool checksummed, unsigned mss)
{
	static uint8_t frame[NET_MAX_FRAME];
	uint8_t *tcp = frame + 34;
	unsigned header = mss ? 24 : 20;
	struct virtio_net_hdr_v1 offload = {
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .csum_start = 34, .csum_offset = 16};
	struct net_packet packet;
	uint16_t sum;

	put_ip(frame, host_mac, guest_mac, IPPROTO_TCP, GUEST, HOST, header + size);
	memset(tcp, 0, header);
	put16(tcp, c->port);
	put16(tcp + 2, c->host_port);
	put32(tcp + 4, c->sequence);
	put32(tcp + 8, c->acknowledged);
	tcp[12] = (uint8_t)(header / 4 << 4);
	tcp[13] = flags;
	put16(tcp + 14, 0xffff);
	if (mss) {
		put16(tcp + 20, 0x0204);
		put16(tcp + 22, mss);
	}
	memcpy(tcp + header, data, size);
	assert_true(net_packet_parse(&packet, frame, 34 + header + size));
	sum = net_pseudo_sum(&packet, frame);
	memcpy(tcp + 16, &sum, 2);
	if (checksummed) {
		net_fill_checksum(frame, 34 + header + size, 34, 16);
		offload = (struct virtio_net_hdr_v1){0};
	} else if (size > 1460) {
		offload.gso_type = VIRTIO_NET_HDR_GSO_TCPV4;
		offload.gso_size = 1460;
		offload.hdr_len = 54;
	}
	assert_int_equal(card_send(card, &offload, frame, 34 + header + size), 0);
	c->sequence += size + (flags & 2 ? 1 : 0);
}

static bool is_segment(const uint8_t *frame, size_t size, void *opaque)
{
	const struct connection *c = opaque;

	return size >= 54 && frame[12] == 8 && frame[13] == 0 && frame[23] == IPPROTO_TCP &&
	       (frame[36] << 8 | frame[37]) == c->port &&
	       (!c->host_port || (frame[34] << 8 | frame[35]) == c->host_port);
}

static struct kept_frame *next_segment(struct connection *c)
{
	struct kept_frame *frame = card_wait(card, is_segment, c, LONG_ENOUGH);

	assert_non_null(frame);
	return frame;
}

static int listen_on(uint16_t *port)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&address, length), 0);
	assert_int_equal(listen(fd, 1), 0);
	getsockname(fd, (struct sockaddr *)&address, &length);
	*port = ntohs(address.sin_port);
	return fd;
}

/* From the guest to a listener of this host's. Returns the host's end. */
static int connect_to_host(struct connection *c, uint16_t from, unsigned mss, bool checksummed)
{
	uint16_t port;
	int listener = listen_on(&port), fd;
	struct kept_frame *frame;

	assert_true(find_host(LONG_ENOUGH));
	*c = (struct connection){.port = from, .host_port = port, .sequence = 1000};
	send_segment(c, 0x02, "", 0, checksummed, mss);
	frame = next_segment(c);
	assert_int_equal(frame->bytes[NET_HEADER + 47], 0x12); /* SYN, ACK */
	assert_int_equal(get32(frame->bytes + NET_HEADER + 42), c->sequence);
	c->acknowledged = get32(frame->bytes + NET_HEADER + 38) + 1;
	free(frame);
	send_segment(c, 0x10, "", 0, checksummed, 0);
	fd = accept(listener, NULL, NULL);
	assert_true(fd >= 0);
	close(listener);
	return fd;
}

static uint8_t pattern(uint32_t i)
{
	return (uint8_t)(i * 31 + (i >> 8));
}

#define MUCH 60000

static void a_large_segment_goes_whole(void **state)
{
	static uint8_t data[MUCH], got[MUCH];
	struct connection c;
	int fd = connect_to_host(&c, 40000, 1460, false);

	for (unsigned i = 0; i < MUCH; i++)
		data[i] = pattern(i);
	send_segment(&c, 0x18, data, MUCH, false, 0);
	assert_int_equal(recv(fd, got, MUCH, MSG_WAITALL), MUCH);
	assert_memory_equal(got, data, MUCH);
	/* With a checksum of its own, too. */
	send_segment(&c, 0x18, data, 1000, true, 0);
	assert_int_equal(recv(fd, got, 1000, MSG_WAITALL), 1000);
	assert_memory_equal(got, data, 1000);
	close(fd);
}

/* Receive `size` bytes of the pattern; the largest piece that came in one frame, and the smallest
 * gso_size. */
static void receive_pattern(struct connection *c, uint32_t size, unsigned *largest, unsigned *mss)
{
	uint32_t first = c->acknowledged;

	*largest = 0;
	*mss = UINT16_MAX;
	while (c->acknowledged - first < size) {
		struct kept_frame *frame = next_segment(c);
		const uint8_t *bytes = frame->bytes + NET_HEADER;
		struct virtio_net_hdr_v1 header;
		struct net_packet packet;
		unsigned got;

		memcpy(&header, frame->bytes, NET_HEADER);
		assert_true(net_header_valid(&header, frame->size - NET_HEADER));
		assert_int_equal(header.num_buffers, 1);
		assert_true(net_packet_parse(&packet, bytes, frame->size - NET_HEADER));
		got = packet.end - packet.payload;
		if (get32(bytes + 38) == c->acknowledged && got) {
			for (unsigned i = 0; i < got; i++)
				assert_int_equal(bytes[packet.payload + i],
					pattern(c->acknowledged - first + i));
			c->acknowledged += got;
			*largest = MAX(*largest, got);
			if (header.gso_type)
				*mss = MIN(*mss, header.gso_size);
			else
				assert_true(got <= 1460);
			send_segment(c, 0x10, "", 0, false, 0);
		}
		free(frame);
	}
}

static void send_pattern(int fd, uint32_t size)
{
	static uint8_t data[4 * MUCH];

	for (uint32_t i = 0; i < size; i++)
		data[i] = pattern(i);
	assert_int_equal(send(fd, data, size, 0), size);
}

static void large_segments_come(void **state)
{
	unsigned largest, mss;
	struct connection c;
	int fd = connect_to_host(&c, 40001, 1400, false);

	send_pattern(fd, 4 * MUCH);
	receive_pattern(&c, 4 * MUCH, &largest, &mss);
	assert_true(largest > 16000);
	assert_int_equal(mss, 1400);
	close(fd);
	/* As well where the SYN bears its checksum, which has to fit when the option is changed. */
	fd = connect_to_host(&c, 40002, 1300, true);
	send_pattern(fd, MUCH);
	receive_pattern(&c, MUCH, &largest, &mss);
	assert_true(largest > 16000);
	assert_int_equal(mss, 1300);
	close(fd);
}

static void take_nothing_large(void *opaque)
{
	card->net->ops->guest_takes(card->net, 0);
}

static void take_all(void *opaque)
{
	card->net->ops->guest_takes(card->net, NET_SOFTWARE_OFFLOADS);
}

/* Not even on a connection that was made when it did. */
static void a_guest_that_takes_nothing_large(void **state)
{
	unsigned largest, mss;
	struct connection c;
	int fd = connect_to_host(&c, 40003, 1460, false);

	worker_call(card->worker, take_nothing_large, NULL);
	send_pattern(fd, 4 * MUCH);
	receive_pattern(&c, 4 * MUCH, &largest, &mss);
	assert_int_equal(mss, UINT16_MAX);
	assert_true(largest <= 1460);
	close(fd);
	fd = connect_to_host(&c, 40004, 1460, false);
	send_pattern(fd, MUCH);
	receive_pattern(&c, MUCH, &largest, &mss);
	assert_true(largest <= 1460);
	close(fd);
	worker_call(card->worker, take_all, NULL);
}

/* Those that are there when a card stops listening wait, and are announced again. */
static void wanted_again(void *opaque)
{
	bool *wanted = opaque;

	card->deaf = !*wanted;
	card->net->ops->want_receive(card->net, 0, *wanted);
}

static void frames_wait_for_a_card_without_room(void **state)
{
	struct kept_frame *frame;
	bool wanted = false;

	assert_true(find_host(LONG_ENOUGH));
	worker_call(card->worker, wanted_again, &wanted);
	send_arp(1, HOST, (const uint8_t[6]){0});
	assert_null(card_wait(card, is_arp_reply, NULL, 100));
	wanted = true;
	worker_call(card->worker, wanted_again, &wanted);
	frame = card_wait(card, is_arp_reply, NULL, LONG_ENOUGH);
	assert_non_null(frame);
	free(frame);
}

/* --- forwards --- */

static uint16_t free_port(int type)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof(address);
	int fd = socket(AF_INET, type, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&address, length), 0);
	getsockname(fd, (struct sockaddr *)&address, &length);
	close(fd);
	return ntohs(address.sin_port);
}

static int host_socket(int type, uint16_t port)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
		.sin_port = htons(port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, type, 0);

	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

static bool is_datagram(const uint8_t *frame, size_t size, void *opaque)
{
	return size >= 42 && frame[12] == 8 && frame[13] == 0 && frame[23] == IPPROTO_UDP &&
	       frame[36] == 0 && frame[37] == 99;
}

static void ports_lead_to_the_guest(void **state)
{
	uint16_t tcp = free_port(SOCK_STREAM), udp = free_port(SOCK_DGRAM);
	unsigned largest, mss;
	struct connection c = {.port = 22};
	struct kept_frame *frame;
	char value[200];
	int fd;

	snprintf(value, sizeof(value),
		"user,hostfwd=tcp:127.0.0.1:%u-:22,hostfwd=udp:127.0.0.1:%u-10.0.2.15:99", tcp,
		udp);
	card = card_create(value);
	assert_true(find_host(LONG_ENOUGH));
	fd = host_socket(SOCK_STREAM, tcp);
	frame = next_segment(&c);
	assert_int_equal(frame->bytes[NET_HEADER + 47], 0x02);
	c.host_port =
		(uint16_t)(frame->bytes[NET_HEADER + 34] << 8 | frame->bytes[NET_HEADER + 35]);
	c.acknowledged = get32(frame->bytes + NET_HEADER + 38) + 1;
	free(frame);
	send_segment(&c, 0x12, "", 0, false, 1200);
	free(next_segment(&c));
	send_pattern(fd, MUCH);
	receive_pattern(&c, MUCH, &largest, &mss);
	assert_true(largest > 16000);
	assert_int_equal(mss, 1200);
	close(fd);

	fd = host_socket(SOCK_DGRAM, udp);
	assert_int_equal(send(fd, "ping", 4, 0), 4);
	frame = card_wait(card, is_datagram, NULL, LONG_ENOUGH);
	assert_non_null(frame);
	assert_memory_equal(frame->bytes + NET_HEADER + 42, "ping", 4);
	free(frame);
	close(fd);
	card_destroy(card);
}

/* A datagram that is larger than the guest's frames comes in fragments. */
static void a_large_datagram(void **state)
{
	static uint8_t data[5000];
	uint16_t udp = free_port(SOCK_DGRAM);
	unsigned received = 0;
	char value[100];
	int fd;

	snprintf(value, sizeof(value), "user,hostfwd=udp:127.0.0.1:%u-:99", udp);
	card = card_create(value);
	assert_true(find_host(LONG_ENOUGH));
	worker_call(card->worker, take_nothing_large, NULL);
	for (unsigned i = 0; i < sizeof(data); i++)
		data[i] = pattern(i);
	fd = host_socket(SOCK_DGRAM, udp);
	assert_int_equal(send(fd, data, sizeof(data), 0), sizeof(data));
	while (received < 8 + sizeof(data)) {
		struct kept_frame *frame = NULL;
		const uint8_t *ip;
		unsigned offset, size;

		do {
			free(frame);
			pthread_mutex_lock(&card->lock);
			frame = card->count ? card->kept[0] : NULL;
			if (frame)
				memmove(card->kept, card->kept + 1,
					--card->count * sizeof(card->kept[0]));
			pthread_mutex_unlock(&card->lock);
			usleep(1000);
		} while (!frame || frame->bytes[NET_HEADER + 23] != IPPROTO_UDP);
		ip = frame->bytes + NET_HEADER + 14;
		offset = (ip[6] << 8 | ip[7]) % 0x2000 * 8;
		size = (unsigned)(ip[2] << 8 | ip[3]) - 20;
		assert_true(frame->size <= NET_HEADER + 1514);
		assert_int_equal(net_sum(0, ip, 20), 0xffff);
		assert_int_equal(offset, received);
		for (unsigned i = received ? 0 : 8; i < size; i++)
			assert_int_equal(ip[20 + i], pattern(received + i - 8));
		received += size;
		assert_int_equal(!!(ip[6] & 0x20), received < 8 + sizeof(data));
		free(frame);
	}
	close(fd);
	card_destroy(card);
}

static void a_port_that_is_taken(void **state)
{
	struct net_config config;
	struct net_backend *net;
	char value[100];
	uint16_t port;
	int listener = listen_on(&port);

	snprintf(value, sizeof(value), "user,hostfwd=tcp:127.0.0.1:%u-:22", port);
	assert_int_equal(net_config_parse(&config, "--net", value), 0);
	assert_int_equal(net_open(&config, &net), -EIO);
	net_config_free(&config);
	close(listener);
}

/* Nothing gets out, and the network's own services are there. */
static void restricted(void **state)
{
	uint16_t port;
	int listener = listen_on(&port);
	struct pollfd waiting = {.fd = listener, .events = POLLIN};
	struct connection c = {.port = 40005, .host_port = port, .sequence = 1};

	card = card_create("user,restrict=on");
	assert_true(find_host(LONG_ENOUGH));
	send_segment(&c, 0x02, "", 0, false, 1460);
	offers_an_address(NULL);
	assert_int_equal(poll(&waiting, 1, 100), 0);
	close(listener);
	card_destroy(card);
}

/* --- a helper that ends --- */

/* This process's only child. */
static pid_t helper_pid(void)
{
	char path[300], line[300];
	DIR *processes = opendir("/proc");
	struct dirent *entry;
	pid_t found = 0;

	while ((entry = readdir(processes))) {
		int pid = atoi(entry->d_name), parent = 0;
		FILE *file;

		snprintf(path, sizeof(path), "/proc/%d/stat", pid);
		file = pid > 0 ? fopen(path, "r") : NULL;
		if (!file)
			continue;
		if (fgets(line, sizeof(line), file) && strrchr(line, ')') &&
			sscanf(strrchr(line, ')'), ") %*c %d", &parent) == 1 &&
			parent == getpid() && strstr(line, "(veneer-net-user)"))
			found = pid;
		fclose(file);
	}
	closedir(processes);
	return found;
}

static void another_helper_is_started(void **state)
{
	pid_t first, second;

	card = card_create("user");
	for (unsigned i = 0; i < 2; i++) {
		assert_true(find_host(LONG_ENOUGH));
		first = helper_pid();
		assert_true(first > 0);
		kill(first, i ? SIGKILL : SIGSEGV);
		while ((second = helper_pid()) == first || !second)
			usleep(1000);
		for (unsigned tries = 0; tries < 100 && !find_host(200); tries++)
			;
		assert_true(find_host(LONG_ENOUGH));
	}
	first = helper_pid();
	card_destroy(card);
	assert_int_equal(kill(first, 0), -1);
}

/* Nobody reads, and nothing is lost for ever: send() refuses, and says when it has room again. */
static void a_helper_that_is_stopped(void **state)
{
	uint8_t frame[2000] = {0};
	pid_t pid;
	int error = 0;

	card = card_create("user");
	assert_true(find_host(LONG_ENOUGH));
	pid = helper_pid();
	kill(pid, SIGSTOP);
	for (unsigned i = 0; i < 2000 && !error; i++)
		error = card_send(card, NULL, frame, sizeof(frame));
	assert_int_equal(error, -EAGAIN);
	assert_int_equal(card->room_announced, 0);
	kill(pid, SIGCONT);
	pthread_mutex_lock(&card->lock);
	while (!card->room_announced)
		pthread_cond_wait(&card->changed, &card->lock);
	pthread_mutex_unlock(&card->lock);
	assert_true(find_host(LONG_ENOUGH));
	card_destroy(card);
}

/* One that never goes on is replaced. */
static void a_helper_that_hangs(void **state)
{
	pid_t pid;

	card = card_create("user");
	assert_true(find_host(LONG_ENOUGH));
	pid = helper_pid();
	kill(pid, SIGSTOP);
	send_arp(1, HOST, (const uint8_t[6]){0});
	for (unsigned tries = 0; tries < 200 && kill(pid, 0) == 0; tries++)
		usleep(100000);
	assert_int_equal(kill(pid, 0), -1);
	for (unsigned tries = 0; tries < 100 && !find_host(200); tries++)
		;
	assert_true(find_host(LONG_ENOUGH));
	card_destroy(card);
}

/* Frames that no driver sends, and packets that lie about themselves. */
static void garbage(void **state)
{
	static uint8_t frame[2000];
	struct virtio_net_hdr_v1 header;
	unsigned tries;

	card = card_create("user");
	assert_true(find_host(LONG_ENOUGH));
	srand(2);
	for (unsigned i = 0; i < 3000; i++) {
		unsigned size = 14 + (unsigned)rand() % 1500;

		for (unsigned j = 0; j < size; j++)
			frame[j] = (uint8_t)rand();
		if (i & 1)
			put_ip(frame, host_mac, guest_mac, (uint8_t[]){1, 6, 17, 2}[i / 2 % 4],
				GUEST, HOST, size);
		memset(&header, 0, sizeof(header));
		if (i & 2)
			for (unsigned j = 0; j < NET_HEADER; j++)
				((uint8_t *)&header)[j] = (uint8_t)rand();
		card_send(card, &header, frame, size);
	}
	for (tries = 0; tries < 100 && !find_host(200); tries++)
		usleep(100000);
	assert_true(find_host(LONG_ENOUGH));
	card_destroy(card);
}

static int plug_in(void **state)
{
	card = card_create("user");
	return !card;
}

static int unplug(void **state)
{
	card_destroy(card);
	return 0;
}

#define WITH_CARD(test) cmocka_unit_test_setup_teardown(test, plug_in, unplug)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_CARD(answers_arp),
		WITH_CARD(offers_an_address),
		cmocka_unit_test(offers_names),
		cmocka_unit_test(networks_have_addresses_of_their_own),
		WITH_CARD(advertises_an_ipv6_prefix),
		cmocka_unit_test(files_of_one_directory_are_served),
		WITH_CARD(a_large_segment_goes_whole),
		WITH_CARD(large_segments_come),
		WITH_CARD(a_guest_that_takes_nothing_large),
		WITH_CARD(frames_wait_for_a_card_without_room),
		cmocka_unit_test(ports_lead_to_the_guest),
		cmocka_unit_test(a_large_datagram),
		cmocka_unit_test(a_port_that_is_taken),
		cmocka_unit_test(restricted),
		cmocka_unit_test(another_helper_is_started),
		cmocka_unit_test(a_helper_that_is_stopped),
		cmocka_unit_test(a_helper_that_hangs),
		cmocka_unit_test(garbage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
