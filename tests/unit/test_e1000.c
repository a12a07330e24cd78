#include "device_fixture.h"
#include "e1000_fixture.h"

#define TX_RING 0x10000
#define RX_RING 0x11000
#define RING    8
#define BUFFER  0x20000 /* each of 2 KiB, for descriptor n */

static const uint8_t mac[] = {0x52, 0x54, 0x00, 0x12, 0x34, 0x56};
static struct e1000 *card;
static uint64_t bar;

static bool no_message(void *opaque, uint64_t address, uint32_t data)
{
	return false;
}

static int setup(void **state)
{
	struct pci_config config;

	fixture_setup();
	config = (struct pci_config){.memory = &f.memory,
		.ports = &f.ports,
		.devices = &f.devices,
		.loop = f.loop,
		.msi = no_message};
	for (unsigned i = 0; i < PCI_INTX_GSIS; i++)
		config.intx[i] = fixture_irq(0);
	fake = (struct fake_net){.backend = {.ops = &fake_ops, .queues = 1}};
	assert_int_equal(e1000_create(pci_create(&config), PCI_ANY_SLOT, 0, &fake.backend, mac), 0);
	device_list_firmware_setup(&f.devices);
	card = card_on_list(&f.devices);
	/* Memory, I/O and bus master on. */
	io_space_write(&f.ports, 0xcf8, 0x80000804, 4);
	io_space_write(&f.ports, 0xcfc, 0x7, 2);
	bar = card->function.mapped[0];
	assert_true(bar);
	device_list_resume(&f.devices);
	settle(card);
	return 0;
}

static int teardown(void **state)
{
	fixture_teardown();
	return 0;
}

static uint32_t get(unsigned offset)
{
	return (uint32_t)io_space_read(&f.memory.mmio, bar + offset, 4);
}

static void set(unsigned offset, uint32_t value)
{
	io_space_write(&f.memory.mmio, bar + offset, value, 4);
	settle(card);
}

static void rings(void)
{
	set(E1000_TDBAL, TX_RING);
	set(E1000_TDLEN, RING * 16);
	set(E1000_TCTL, E1000_TCTL_EN);
	set(E1000_RDBAL, RX_RING);
	set(E1000_RDLEN, RING * 16);
	for (uint64_t i = 0; i < RING; i++) {
		const uint64_t descriptor[] = {BUFFER + i * 2048, 0};

		memory_write(&f.memory, RX_RING + 16 * i, descriptor, 16);
	}
}

static void describe(unsigned index, uint64_t address, uint32_t low, uint32_t high)
{
	memory_write(&f.memory, TX_RING + 16 * index, &address, 8);
	memory_write(&f.memory, TX_RING + 16 * index + 8, &low, 4);
	memory_write(&f.memory, TX_RING + 16 * index + 12, &high, 4);
}

static uint8_t done(unsigned index)
{
	uint8_t status;

	memory_read(&f.memory, TX_RING + 16 * index + 12, &status, 1);
	return status;
}

/* --- what a driver finds --- */

static void eeprom_bit(uint32_t in)
{
	set(E1000_EECD, 0x42 | in << 2);
	set(E1000_EECD, 0x43 | in << 2);
	set(E1000_EECD, 0x42 | in << 2);
}

static uint16_t eeprom_by_wire(unsigned address)
{
	uint16_t word = 0;

	set(E1000_EECD, 0x40);
	assert_int_equal(get(E1000_EECD) & 0x180, 0x180); /* present, granted */
	set(E1000_EECD, 0x42);
	for (unsigned command = 6 << 6 | address, bit = 9; bit--;)
		eeprom_bit(command >> bit & 1);
	for (unsigned bit = 0; bit < 16; bit++) {
		set(E1000_EECD, 0x43);
		word = (uint16_t)(word << 1 | (get(E1000_EECD) >> 3 & 1));
		set(E1000_EECD, 0x42);
	}
	set(E1000_EECD, 0);
	return word;
}

static void eeprom(void **state)
{
	uint16_t sum = 0;

	assert_int_equal(eeprom_by_wire(0), 0x5452);
	assert_int_equal(eeprom_by_wire(1), 0x1200);
	assert_int_equal(eeprom_by_wire(2), 0x5634);
	for (unsigned i = 0; i < 64; i++) {
		set(E1000_EERD, 1 | i << 8);
		assert_int_equal(get(E1000_EERD) & 0xffff, i << 8 | 0x10);
		assert_int_equal(get(E1000_EERD) >> 16, eeprom_by_wire(i));
		sum = (uint16_t)(sum + (get(E1000_EERD) >> 16));
	}
	assert_int_equal(sum, 0xbaba);
	assert_int_equal(get(E1000_RA), 0x12005452);
	assert_int_equal(get(E1000_RA + 4), 0x80005634);
}

static void phy(void **state)
{
	set(E1000_MDIC, 0x08000000 | 1 << 21 | 2 << 16);
	assert_int_equal(get(E1000_MDIC) & 0x5000ffff, 0x10000141);
	set(E1000_MDIC, 0x08000000 | 2 << 21 | 2 << 16); /* nobody has this address */
	assert_int_equal(get(E1000_MDIC) & 0x50000000, 0x50000000);
	set(E1000_MDIC, 0x04000000 | 1 << 21 | 4 << 16 | 0x1234);
	set(E1000_MDIC, 0x08000000 | 1 << 21 | 4 << 16);
	assert_int_equal(get(E1000_MDIC) & 0xffff, 0x1234);
	set(E1000_MDIC, 0x04000000 | 1 << 21 | 0 << 16 | 0x9140); /* reset */
	assert_int_equal(get(E1000_ICR) & 4, 4);
	set(E1000_MDIC, 0x08000000 | 1 << 21 | 4 << 16);
	assert_int_equal(get(E1000_MDIC) & 0xffff, 0x0de1);
	set(E1000_MDIC, 0x08000000 | 1 << 21 | 0 << 16);
	assert_int_equal(get(E1000_MDIC) & 0xffff, 0x1140);
	assert_int_equal(get(E1000_STATUS) & 0x83, 0x83);
}

static void by_the_io_bar(void **state)
{
	uint16_t io = (uint16_t)card->function.mapped[1];

	assert_true(io);
	io_space_write(&f.ports, io, E1000_VET, 4);
	assert_int_equal(io_space_read(&f.ports, io + 4u, 4), 0x8100);
	io_space_write(&f.ports, io + 4u, 0x88a8, 4);
	assert_int_equal(get(E1000_VET), 0x88a8);
	set(E1000_CTRL, E1000_CTRL_RESET);
	assert_int_equal(get(E1000_VET), 0x8100);
	io_space_write(&f.ports, io, 0xffffffff, 4);
	assert_int_equal(io_space_read(&f.ports, io + 4u, 4), 0);
}

static void interrupts(void **state)
{
	set(E1000_ICS, 4);
	assert_false(f.level[0]);
	set(E1000_IMS, 0x84);
	assert_true(f.level[0]);
	set(E1000_IMC, 0x80);
	assert_int_equal(get(E1000_IMS), 4);
	assert_true(f.level[0]);
	assert_int_equal(get(E1000_ICR), 4);
	assert_false(f.level[0]);
	assert_int_equal(get(E1000_ICR), 0);
	/* Not more often than the driver has asked for. */
	set(E1000_ITR, 1000); /* 256 us */
	set(E1000_ICS, 4);
	assert_int_equal(f.edges[0], 2);
	get(E1000_ICR);
	set(E1000_ICS, 4);
	assert_false(f.level[0]);
	advance(256 * US - 1);
	assert_false(f.level[0]);
	advance(1);
	assert_true(f.level[0]);
	assert_int_equal(f.edges[0], 3);
}

/* --- frames of the guest --- */

static void put_frame(uint8_t *frame, size_t size)
{
	for (size_t i = 0; i < size; i++)
		frame[i] = (uint8_t)(i * 7);
	memory_write(&f.memory, BUFFER, frame, size);
}

static void legacy_frame(void **state)
{
	uint8_t frame[300];

	rings();
	put_frame(frame, sizeof(frame));
	describe(0, BUFFER, 0x08000000 | 100, 0);
	set(E1000_TDT, 1);
	assert_int_equal(fake.sent_count, 0); /* its end is not there */
	assert_int_equal(get(E1000_TDH), 0);
	describe(1, BUFFER + 100, 0x09000000 | 200, 0);
	set(E1000_TDT, 2);
	assert_int_equal(fake.sent_count, 1);
	assert_int_equal(fake.sent_size, 300);
	assert_memory_equal(fake.sent, frame, 300);
	assert_int_equal(get(E1000_TDH), 2);
	assert_int_equal(done(0) & 1, 1);
	assert_int_equal(done(1) & 1, 1);
	assert_int_equal(get(E1000_ICR), 3);
	/* With a checksum from byte 20 on at byte 30; no report. */
	describe(2, BUFFER, 0x05000000 | 30 << 16 | 100, 20 << 8);
	set(E1000_TDT, 3);
	assert_int_equal(fake.sent_count, 2);
	assert_int_equal(net_sum(0, fake.sent + 20, 80) == 0xffff,
		net_sum((uint16_t) ~(frame[30] | frame[31] << 8), frame + 20, 80) == 0xffff);
	assert_int_equal(done(2) & 1, 0);
	assert_int_equal(get(E1000_ICR), 2);
}

static void frames_wait_for_the_back_end(void **state)
{
	uint8_t frame[100];

	rings();
	put_frame(frame, sizeof(frame));
	for (unsigned i = 0; i < 7; i++)
		describe(i, BUFFER, 0x09000000 | sizeof(frame), 0);
	fake.full = true;
	set(E1000_TDT, 7);
	assert_int_equal(get(E1000_TDH), 0);
	worker_call(card->worker, make_room, NULL);
	settle(card);
	assert_int_equal(fake.sent_count, 7);
	assert_int_equal(get(E1000_TDH), 7);
}

static void frames_that_no_driver_sends(void **state)
{
	rings();
	describe(0, BUFFER, 0x09000000 | 5, 0);                    /* short */
	describe(1, UINT64_C(0xfff000000000), 0x09000000 | 60, 0); /* from nowhere */
	for (unsigned i = 2; i < 7; i++)
		describe(i, BUFFER, 0x28100000 | 0xffff, 0); /* too long */
	describe(6, BUFFER, 0x29100000 | 0xffff, 0);
	set(E1000_TDT, 7);
	assert_int_equal(fake.sent_count, 0);
	assert_int_equal(get(E1000_TDH), 7);
	assert_int_equal(done(0) & 1, 1);
	set(E1000_TDT, 60000); /* outside of the ring */
	set(E1000_TDLEN, 0);
	set(E1000_TDT, 0);
	assert_int_equal(fake.sent_count, 0);
}

/* A TCP packet over IPv4 of 54 + `payload` bytes, as a driver leaves it that wants segments. */
static size_t put_tcp(unsigned payload)
{
	uint8_t frame[4096] = {0x52, 0x55, 10, 0, 2, 2, 0x52, 0x54, 0, 0x12, 0x34, 0x56, 8, 0, 0x45,
		0, 0, 0, 0, 1, 0x40, 0, 64, 6, 0, 0, 10, 0, 2, 15, 10, 0, 2, 2, 4, 0, 0, 80, 0, 0,
		0, 1, 0, 0, 0, 2, 0x50, 0x18, 16, 0, 0, 0, 0, 0};

	for (unsigned i = 0; i < payload; i++)
		frame[54 + i] = (uint8_t)(i * 13);
	memory_write(&f.memory, BUFFER, frame, 54 + payload);
	return 54 + payload;
}

static void describe_context(unsigned mss)
{
	const uint64_t places = 14 | 24 << 8 | 33 << 16 | UINT64_C(34) << 32 | UINT64_C(50) << 40;

	describe(0, places, (uint32_t)(0x27000000 | 1000), (uint32_t)(mss << 16 | 54 << 8));
}

static bool tcp_sums_are_right(const uint8_t *frame, size_t size)
{
	struct net_packet packet;

	return net_packet_parse(&packet, frame, size) && packet.tcp &&
	       net_sum(0, frame + 14, 20) == 0xffff &&
	       net_sum(net_pseudo_sum(&packet, frame), frame + packet.transport,
		       packet.end - packet.transport) == 0xffff;
}

static void segments_cut_here(void **state)
{
	size_t size = put_tcp(2000);

	rings();
	describe_context(900);
	describe(1, BUFFER, (uint32_t)(0x2d100000 | size), 0x0300);
	set(E1000_TDT, 2);
	assert_int_equal(fake.sent_count, 3);
	assert_int_equal(fake.header.gso_type, VIRTIO_NET_HDR_GSO_NONE);
	assert_int_equal(fake.sent_size, 54 + 200);
	assert_true(tcp_sums_are_right(fake.sent, fake.sent_size));
	assert_int_equal(get(E1000_TDH), 2);
}

static void segments_left_to_the_back_end(void **state)
{
	size_t size = put_tcp(2000);

	fake.backend.offloads = NET_SOFTWARE_OFFLOADS;
	rings();
	describe_context(900);
	describe(1, BUFFER, (uint32_t)(0x2d100000 | size), 0x0300);
	set(E1000_TDT, 2);
	assert_int_equal(fake.sent_count, 1);
	assert_int_equal(fake.header.gso_type, VIRTIO_NET_HDR_GSO_TCPV4);
	assert_int_equal(fake.header.gso_size, 900);
	assert_int_equal(fake.header.hdr_len, 54);
	assert_int_equal(fake.sent_size, size);
	net_fill_checksum(fake.sent, fake.sent_size, 34, 16);
	assert_true(tcp_sums_are_right(fake.sent, fake.sent_size));
	/* No longer than a segment: it is one. */
	size = put_tcp(100);
	describe(2, BUFFER, (uint32_t)(0x2d100000 | size), 0x0300);
	set(E1000_TDT, 3);
	assert_int_equal(fake.header.gso_type, VIRTIO_NET_HDR_GSO_NONE);
	assert_true(tcp_sums_are_right(fake.sent, fake.sent_size));
}

static void vlan_tag_inserted(void **state)
{
	uint8_t frame[100];

	rings();
	put_frame(frame, sizeof(frame));
	set(E1000_CTRL, E1000_CTRL_VME);
	describe(0, BUFFER, 0x49000000 | sizeof(frame), 0x01230000);
	set(E1000_TDT, 1);
	assert_int_equal(fake.sent_size, 104);
	assert_memory_equal(fake.sent, frame, 12);
	assert_memory_equal(fake.sent + 12, ((uint8_t[]){0x81, 0x00, 0x01, 0x23}), 4);
	assert_memory_equal(fake.sent + 16, frame + 12, 88);
}

/* --- frames for the guest --- */

struct got {
	uint64_t address;
	uint16_t length, checksum;
	uint8_t status, errors;
	uint16_t special;
};

static struct got got(unsigned index)
{
	struct got got;

	memory_read(&f.memory, RX_RING + 16 * index, &got, 16);
	return got;
}

static void reception(void **state)
{
	uint8_t frame[1400] = {0x52, 0x54, 0x00, 0x12, 0x34, 0x56}, copy[1400];

	rings();
	set(E1000_RDT, 7);
	arrive(card, frame, 100);
	assert_int_equal(get(E1000_RDH), 0); /* it is not enabled */
	set(E1000_RCTL, E1000_RCTL_EN | E1000_RCTL_SECRC);
	for (unsigned i = 14; i < sizeof(frame); i++)
		frame[i] = (uint8_t)(i * 3);
	arrive(card, frame, 100);
	assert_int_equal(get(E1000_RDH), 1);
	assert_int_equal(got(0).length, 100);
	assert_int_equal(got(0).status, 7);
	memory_read(&f.memory, BUFFER, copy, 100);
	assert_memory_equal(copy, frame, 100);
	assert_int_equal(get(E1000_ICR), 0x80);
	/* Short ones are filled up; the CRC is there where it is wanted. */
	set(E1000_RCTL, E1000_RCTL_EN);
	arrive(card, frame, 20);
	assert_int_equal(got(1).length, 64);
	/* Over several buffers of 512 bytes. */
	set(E1000_RCTL, E1000_RCTL_EN | E1000_RCTL_SECRC | 2 << E1000_RCTL_SIZE_SHIFT);
	arrive(card, frame, 1400);
	assert_int_equal(get(E1000_RDH), 5);
	assert_int_equal(got(2).length, 512);
	assert_int_equal(got(2).status & 2, 0);
	assert_int_equal(got(4).length, 1400 - 1024);
	assert_int_equal(got(4).status & 3, 3);
}

static void frames_wait_for_buffers(void **state)
{
	uint8_t frame[100] = {0x52, 0x54, 0x00, 0x12, 0x34, 0x56};

	rings();
	set(E1000_RCTL, E1000_RCTL_EN);
	arrive(card, frame, sizeof(frame));
	assert_false(fake.wanted);
	assert_int_equal(get(E1000_RDH), 0);
	assert_int_equal(get(E1000_ICR), 0x40);
	set(E1000_RDT, 2);
	assert_int_equal(get(E1000_RDH), 1);
	assert_true(fake.wanted);
	/* While the machine stands nothing is stored. */
	device_list_quiesce(&f.devices, 0);
	arrive(card, frame, sizeof(frame));
	assert_int_equal(get(E1000_RDH), 1);
	assert_false(fake.wanted);
	device_list_resume(&f.devices);
	settle(card);
	assert_int_equal(get(E1000_RDH), 2);
}

static unsigned accepted(uint32_t rctl, const uint8_t address[6])
{
	uint8_t frame[60] = {0};
	uint32_t before;

	memcpy(frame, address, 6);
	set(E1000_RDH, 0);
	set(E1000_RDT, 7);
	set(E1000_RCTL, E1000_RCTL_EN | rctl);
	before = get(E1000_RDH);
	arrive(card, frame, sizeof(frame));
	return get(E1000_RDH) - before;
}

static void filter(void **state)
{
	static const uint8_t other[] = {0x52, 0x54, 0x00, 0x12, 0x34, 0x57};
	static const uint8_t all[] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
	static const uint8_t group[] = {0x01, 0x00, 0x5e, 0x00, 0x12, 0x34};
	unsigned hash = 0x3412 >> 4 & 0xfff;

	rings();
	assert_int_equal(accepted(0, mac), 1);
	assert_int_equal(accepted(0, other), 0);
	assert_int_equal(accepted(E1000_RCTL_UPE, other), 1);
	assert_int_equal(accepted(0, all), 0);
	assert_int_equal(accepted(E1000_RCTL_BAM, all), 1);
	assert_int_equal(accepted(0, group), 0);
	assert_int_equal(accepted(E1000_RCTL_MPE, group), 1);
	set(E1000_MTA + hash / 32 * 4, UINT32_C(1) << hash % 32);
	assert_int_equal(accepted(0, group), 1);
	memcpy(fake.waiting, mac, 6);
	/* Long frames are for those who asked. */
	set(E1000_RDH, 0);
	for (unsigned i = 0; i < 2; i++) {
		uint8_t frame[2000] = {0x52, 0x54, 0x00, 0x12, 0x34, 0x56};

		set(E1000_RCTL, E1000_RCTL_EN | (i ? E1000_RCTL_LPE : 0));
		arrive(card, frame, sizeof(frame));
		assert_int_equal(get(E1000_RDH), i);
	}
}

static void vlan_tag_taken_out(void **state)
{
	uint8_t frame[100] = {0x52, 0x54, 0x00, 0x12, 0x34, 0x56}, copy[100];

	memcpy(frame + 12, (uint8_t[]){0x81, 0x00, 0x21, 0x23, 0x08, 0x00}, 6);
	rings();
	set(E1000_RDT, 7);
	set(E1000_CTRL, E1000_CTRL_VME);
	set(E1000_RCTL, E1000_RCTL_EN | E1000_RCTL_SECRC | E1000_RCTL_VFE);
	arrive(card, frame, sizeof(frame));
	assert_int_equal(get(E1000_RDH), 0);
	set(E1000_VFTA + 0x123 / 32 * 4, UINT32_C(1) << 0x123 % 32);
	arrive(card, frame, sizeof(frame));
	assert_int_equal(get(E1000_RDH), 1);
	assert_int_equal(got(0).length, 96);
	assert_int_equal(got(0).special, 0x2123);
	assert_int_equal(got(0).status & 8, 8);
	memory_read(&f.memory, BUFFER, copy, 96);
	assert_memory_equal(copy + 12, frame + 16, 80);
}

static void saved_and_loaded(void **state)
{
	struct state_writer saved = {0};
	struct state_reader reader;

	rings();
	describe_context(500);
	set(E1000_TDT, 1);
	assert_int_equal(get(E1000_TDH), 1);
	set(E1000_IMS, 2);
	assert_true(f.level[0]);
	device_list_save(&f.devices, &saved);
	device_list_reset(&f.devices);
	assert_false(f.level[0]);
	reader = (struct state_reader){saved.bytes, saved.size};
	assert_int_equal(device_list_load(&f.devices, &reader), 0);
	assert_true(f.level[0]);
	assert_int_equal(card->state.context.mss, 500);
	assert_int_equal(get(E1000_TDBAL), TX_RING);
	free(saved.bytes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(eeprom, setup, teardown),
		cmocka_unit_test_setup_teardown(phy, setup, teardown),
		cmocka_unit_test_setup_teardown(by_the_io_bar, setup, teardown),
		cmocka_unit_test_setup_teardown(interrupts, setup, teardown),
		cmocka_unit_test_setup_teardown(legacy_frame, setup, teardown),
		cmocka_unit_test_setup_teardown(frames_wait_for_the_back_end, setup, teardown),
		cmocka_unit_test_setup_teardown(frames_that_no_driver_sends, setup, teardown),
		cmocka_unit_test_setup_teardown(segments_cut_here, setup, teardown),
		cmocka_unit_test_setup_teardown(segments_left_to_the_back_end, setup, teardown),
		cmocka_unit_test_setup_teardown(vlan_tag_inserted, setup, teardown),
		cmocka_unit_test_setup_teardown(reception, setup, teardown),
		cmocka_unit_test_setup_teardown(frames_wait_for_buffers, setup, teardown),
		cmocka_unit_test_setup_teardown(filter, setup, teardown),
		cmocka_unit_test_setup_teardown(vlan_tag_taken_out, setup, teardown),
		cmocka_unit_test_setup_teardown(saved_and_loaded, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
