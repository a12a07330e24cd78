/* The AHCI controller, as a driver finds it: command lists in guest memory, queued commands, errors
 * and resets. */
#include "storage_fixture.h"

#include "device/storage/ahci_internal.h"

#define SECTORS 4096
#define LIST    0x10000 /* of port 0; port 1's is 64 KiB further, and so on */
#define FIS     0x11000
#define TABLES  0x12000 /* 256 bytes for each slot */
#define DATA    0x200000

#define MMIO UINT64_C(0xc8000000)

static struct memory_disk *disk, *disc;
static struct ahci *ahci;
static unsigned messages;

static bool on_msi(void *opaque, uint64_t address, uint32_t data)
{
	messages++;
	return true;
}

static uint32_t get(unsigned offset)
{
	return (uint32_t)io_space_read(&f.memory.mmio, MMIO + offset, 4);
}

static void set(unsigned offset, uint32_t value)
{
	io_space_write(&f.memory.mmio, MMIO + offset, value, 4);
}

static unsigned port(unsigned index, unsigned offset)
{
	return 0x100 + 0x80 * index + offset;
}

static void settle(void)
{
	for (struct device *device = f.devices.first; device; device = device->next)
		if (device->ops->quiesce)
			assert_true(device->ops->quiesce(device, FAR_AWAY));
}

static void config_write(unsigned offset, uint32_t value, unsigned size)
{
	io_space_write(&f.ports, 0xcf8, 0x80000000u | 5 << 11 | (offset & 0xfc), 4);
	io_space_write(&f.ports, 0xcfc + (offset & 3), value, size);
}

static void start_port(unsigned index)
{
	set(port(index, 0x00), LIST + index * 0x10000);
	set(port(index, 0x08), FIS + index * 0x10000);
	set(port(index, 0x14), ~0u);
	set(port(index, 0x18), 0x10);
	set(port(index, 0x18), 0x11);
}

static int setup(void **state)
{
	struct pci_config config = {
		.memory = &f.memory, .ports = &f.ports, .devices = &f.devices, .msi = on_msi};
	struct pci_bus *bus;

	fixture_setup();
	config.loop = f.loop;
	config.intx[5] = fixture_irq(16);
	bus = pci_create(&config);
	assert_non_null(bus);
	disk = memory_disk(SECTORS);
	disc = memory_disk(SECTORS);
	disc->disk.read_only = true;
	assert_int_equal(ahci_create(bus, 5,
				 (struct ide_drive_config[AHCI_PORTS]){
					 {&disk->disk, false, "first"}, {&disc->disk, true, ""}}),
		0);
	for (struct device *device = f.devices.first; device; device = device->next)
		if (!strcmp(device->ops->name, "ahci"))
			ahci = (struct ahci *)device;
	config_write(0x24, (uint32_t)MMIO, 4);
	config_write(4, 6, 2);
	set(4, 0x80000002);
	start_port(0);
	start_port(1);
	messages = 0;
	return 0;
}

static int teardown(void **state)
{
	fixture_teardown();
	return 0;
}

/* --- commands --- */

static void poke(uint64_t address, const void *bytes, unsigned size)
{
	assert_int_equal(memory_write(&f.memory, address, bytes, size), 0);
}

static uint32_t peek(uint64_t address)
{
	uint32_t value;

	assert_int_equal(memory_read(&f.memory, address, &value, 4), 0);
	return value;
}

static uint64_t table_of(unsigned index, unsigned slot)
{
	return TABLES + index * 0x10000 + slot * 256;
}

/* A command with one region. */
static void put(unsigned index, unsigned slot, const uint8_t *fis, uint64_t data, uint32_t bytes)
{
	uint64_t table = table_of(index, slot);
	uint32_t header[4] = {5 | (bytes ? 1 << 16 : 0), 0, (uint32_t)table, 0};
	uint32_t region[4] = {(uint32_t)data, 0, 0, bytes - 1};

	poke(LIST + index * 0x10000 + slot * 32, header, sizeof(header));
	poke(table, fis, 20);
	poke(table + 0x80, region, sizeof(region));
}

static void put_command(unsigned slot, uint8_t code, uint32_t lba, uint16_t count, uint64_t data)
{
	uint8_t fis[20] = {0x27, 0x80, code, 0, (uint8_t)lba, (uint8_t)(lba >> 8),
		(uint8_t)(lba >> 16), 0x40, (uint8_t)(lba >> 24)};
	bool queued = code == 0x60 || code == 0x61;

	fis[queued ? 3 : 12] = (uint8_t)count;
	fis[queued ? 11 : 13] = (uint8_t)(count >> 8);
	if (queued)
		fis[12] = (uint8_t)(slot << 3);
	put(0, slot, fis, data, count * 512u);
}

static void issue(unsigned index, uint32_t slots)
{
	set(port(index, 0x38), slots);
	settle();
}

static void assert_data(uint64_t address, uint32_t lba, uint32_t count)
{
	uint8_t *data = malloc(count * 512);

	assert_int_equal(memory_read(&f.memory, address, data, count * 512), 0);
	assert_memory_equal(data, disk->bytes + lba * 512, count * 512);
	free(data);
}

static void presence(void **state)
{
	assert_int_equal(get(0) & 0x1f, AHCI_PORTS - 1);
	assert_int_equal(get(0) >> 8 & 31, 31);
	assert_int_equal(get(0x0c), 0x3f);
	assert_int_equal(get(port(0, 0x28)), 0x133);
	assert_int_equal(get(port(0, 0x24)), 0x101);
	assert_int_equal(get(port(0, 0x20)), 0x150);
	assert_int_equal(get(port(1, 0x24)), 0xeb140101);
	assert_int_equal(get(port(2, 0x28)), 0);
	assert_int_equal(get(port(2, 0x24)), UINT32_MAX);
	assert_int_equal(get(port(0, 0x18)) & 0xc011, 0xc011);
	/* A port without a device begins nothing. */
	start_port(2);
	issue(2, 1);
	assert_int_equal(get(port(2, 0x38)), 1);
}

static void read_and_write(void **state)
{
	put_command(3, 0x25, 7, 300, DATA);
	issue(0, 8);
	assert_int_equal(get(port(0, 0x38)), 0);
	assert_int_equal(get(port(0, 0x10)), 1);
	assert_int_equal(get(8), 1);
	assert_true(f.level[16]);
	assert_int_equal(peek(LIST + 3 * 32 + 4), 300 * 512);
	assert_int_equal(peek(FIS + 0x40) & 0xffffff, 0x504034);
	assert_data(DATA, 7, 300);
	set(port(0, 0x10), ~0u);
	set(8, 1);
	assert_false(f.level[16]);
	put_command(0, 0x35, 2000, 300, DATA);
	issue(0, 1);
	assert_data(DATA, 2000, 300);
	put_command(0, 0xea, 0, 0, 0);
	issue(0, 1);
	assert_int_equal(disk->flushes, 1);
}

static void identify_is_pio(void **state)
{
	put_command(0, 0xec, 0, 1, DATA);
	issue(0, 1);
	assert_int_equal(get(port(0, 0x10)), 2);
	assert_int_equal(peek(FIS + 0x20) & 0xffff, 0x605f);
	assert_int_equal(peek(DATA + 150) & 31, 31);       /* word 75 */
	assert_int_equal(peek(DATA + 152) & 0x100, 0x100); /* word 76: queueing */
}

/* 32 commands under way at once, which end in the order that the disk likes. */
static void queued(void **state)
{
	disk->held = true;
	for (unsigned i = 0; i < 32; i++)
		put_command(i, i & 1 ? 0x61 : 0x60, i * 20, 8, DATA + i * 0x1000);
	set(port(0, 0x34), ~0u);
	set(port(0, 0x38), ~0u);
	assert_int_equal(get(port(0, 0x38)), 0);
	assert_int_equal(get(port(0, 0x34)), UINT32_MAX);
	memory_disk_release(&ahci->port[0].drive);
	settle();
	assert_int_equal(get(port(0, 0x34)), 0);
	assert_int_equal(disk->reads, 16);
	assert_int_equal(disk->writes, 16);
	assert_int_equal(get(port(0, 0x10)), 8);
	for (unsigned i = 0; i < 32; i++)
		assert_data(DATA + i * 0x1000, i * 20, 8);
}

/* One that is not queued waits for those that are, and then they for it. */
static void mixed(void **state)
{
	disk->held = true;
	put_command(0, 0x60, 0, 8, DATA);
	put_command(1, 0xea, 0, 0, 0);
	set(port(0, 0x34), 1);
	set(port(0, 0x38), 3);
	assert_int_equal(get(port(0, 0x38)), 2);
	memory_disk_release(&ahci->port[0].drive);
	settle();
	assert_int_equal(get(port(0, 0x38)), 0);
	assert_int_equal(disk->flushes, 1);
}

static void queued_error(void **state)
{
	disk->error = -EIO;
	put_command(5, 0x60, 0, 8, DATA);
	set(port(0, 0x34), 1 << 5);
	issue(0, 1 << 5);
	assert_int_equal(get(port(0, 0x10)) & 0x40000008, 0x40000008);
	assert_int_equal(get(port(0, 0x20)), 0x4051);
	assert_int_equal(get(port(0, 0x34)), 1 << 5);
	/* It begins nothing until it has been stopped. */
	disk->error = 0;
	put_command(1, 0x25, 0, 8, DATA);
	issue(0, 2);
	assert_int_equal(get(port(0, 0x38)), 2);
	set(port(0, 0x18), 0x10);
	assert_int_equal(get(port(0, 0x18)) & 0x8000, 0);
	assert_int_equal(get(port(0, 0x38)), 0);
	assert_int_equal(get(port(0, 0x34)), 0);
	set(port(0, 0x18), 0x11);
	put_command(1, 0x2f, 0x10, 1, DATA);
	issue(0, 2);
	assert_int_equal(peek(DATA) & 0xff0000ff, 0x40000005);
}

static void errors(void **state)
{
	put_command(0, 0x25, SECTORS, 1, DATA);
	issue(0, 1);
	assert_int_equal(get(port(0, 0x10)) & 0x40000001, 0x40000001);
	assert_int_equal(get(port(0, 0x20)), 0x1451);
	assert_int_equal(get(port(0, 0x38)), 1);
	/* A list that is nowhere. */
	set(port(0, 0x18), 0x10);
	set(port(0, 0x00), 0xf0000000);
	set(port(0, 0x18), 0x11);
	issue(0, 1);
	assert_int_equal(get(port(0, 0x10)) & 0x20000000, 0x20000000);
}

static void stop_in_flight(void **state)
{
	uint32_t mark = 0x12345678;

	disk->held = true;
	put_command(0, 0x25, 0, 8, DATA);
	set(port(0, 0x38), 1);
	set(port(0, 0x18), 0x10);
	/* It runs until what is in flight has come back. */
	assert_int_equal(get(port(0, 0x18)) & 0x8000, 0x8000);
	assert_int_equal(get(port(0, 0x38)), 0);
	memory_disk_release(&ahci->port[0].drive);
	settle();
	assert_int_equal(get(port(0, 0x18)) & 0x8000, 0);
	assert_int_equal(get(port(0, 0x10)), 0);
	poke(DATA, &mark, 4);
	set(port(0, 0x18), 0x11);
	issue(0, 1);
	assert_data(DATA, 0, 8);
}

static void link_reset_in_flight(void **state)
{
	disk->held = true;
	put_command(0, 0x25, 0, 8, DATA);
	set(port(0, 0x38), 1);
	set(port(0, 0x18), 0x10);
	set(port(0, 0x2c), 0x301);
	assert_int_equal(get(port(0, 0x28)), 0);
	set(port(0, 0x2c), 0x300);
	assert_int_equal(get(port(0, 0x28)), 0x133);
	assert_int_equal(get(port(0, 0x20)) & 0x80, 0x80);
	memory_disk_release(&ahci->port[0].drive);
	settle();
	assert_int_equal(get(port(0, 0x20)), 0x150);
	assert_int_equal(get(port(0, 0x24)), 0x101);
	assert_int_equal(get(port(0, 0x30)), 0x04000000);
	assert_int_equal(get(port(0, 0x10)), 0x40);
}

static void controller_reset_in_flight(void **state)
{
	disk->held = true;
	put_command(0, 0x25, 0, 8, DATA);
	set(port(0, 0x38), 1);
	set(4, 0x80000001);
	assert_int_equal(get(4), 0x80000001);
	memory_disk_release(&ahci->port[0].drive);
	settle();
	assert_int_equal(get(4), 0x80000000);
	assert_int_equal(get(port(0, 0x18)), 0);
	assert_int_equal(get(port(0, 0x20)), 0x150);
}

static void soft_reset(void **state)
{
	uint8_t fis[20] = {0x27, [15] = 4};

	put(1, 0, fis, 0, 0);
	issue(1, 1);
	fis[15] = 0;
	put(1, 1, fis, 0, 0);
	issue(1, 2);
	assert_int_equal(get(port(1, 0x38)), 0);
	assert_int_equal(get(port(1, 0x24)), 0xeb140101);
	assert_int_equal(peek(0x10000 + FIS + 0x44) & 0xffffff, 0xeb1401);
}

static void packets(void **state)
{
	uint8_t fis[20] = {0x27, 0x80, 0xa0, 1};
	uint8_t packet[12] = {0};
	uint8_t data[8192];

	put(1, 0, fis, DATA, 8192);
	poke(table_of(1, 0) + 0x40, packet, 12);
	issue(1, 1); /* the medium may have changed */
	assert_int_equal(get(port(1, 0x20)), 0x6451);
	set(port(1, 0x18), 0x10);
	set(port(1, 0x18), 0x11);
	set(port(1, 0x10), ~0u);
	packet[0] = 0x28;
	packet[5] = 9;
	packet[8] = 4;
	poke(table_of(1, 0) + 0x40, packet, 12);
	issue(1, 1);
	assert_int_equal(get(port(1, 0x10)), 1);
	assert_int_equal(peek(0x10000 + LIST + 4), 8192);
	assert_int_equal(memory_read(&f.memory, DATA, data, sizeof(data)), 0);
	assert_memory_equal(data, disc->bytes + 9 * 2048, sizeof(data));
}

static void message_signalled(void **state)
{
	unsigned capability = 0x34;

	for (capability = 0x40; capability < 0xf0; capability += 4) {
		io_space_write(&f.ports, 0xcf8, 0x80000000u | 5 << 11 | capability, 4);
		if ((io_space_read(&f.ports, 0xcfc, 4) & 0xff) == 5)
			break;
	}
	config_write(capability + 4, 0xfee00000, 4);
	config_write(capability + 2, 1, 2);
	put_command(0, 0x25, 0, 8, DATA);
	issue(0, 1);
	assert_int_equal(messages, 1);
	assert_false(f.level[16]);
	put_command(1, 0x25, 0, 8, DATA);
	issue(0, 2);
	assert_int_equal(messages, 2);
	/* One of two is served: a message for the other. */
	set(8, 1);
	assert_int_equal(messages, 3);
	set(port(0, 0x10), ~0u);
	set(8, 1);
	assert_int_equal(messages, 3);
}

static void saved(void **state)
{
	struct state_writer writer = {0};
	struct state_reader reader;

	assert_all_state_is_saved();
	disk->error = -EIO;
	put_command(5, 0x60, 0, 8, DATA);
	set(port(0, 0x34), 1 << 5);
	issue(0, 1 << 5);
	device_list_save(&f.devices, &writer);
	set(4, 0x80000001);
	assert_int_equal(get(port(0, 0x34)), 0);
	assert_false(f.level[16]);
	reader = (struct state_reader){writer.bytes, writer.size};
	assert_int_equal(device_list_load(&f.devices, &reader), 0);
	assert_int_equal(get(port(0, 0x34)), 1 << 5);
	assert_int_equal(get(port(0, 0x20)), 0x4051);
	assert_true(f.level[16]);
	ahci->state.port[0].list |= 4;
	writer.size = 0;
	device_list_save(&f.devices, &writer);
	reader = (struct state_reader){writer.bytes, writer.size};
	assert_int_equal(device_list_load(&f.devices, &reader), -EINVAL);
	free(writer.bytes);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(presence),
		TEST(read_and_write),
		TEST(identify_is_pio),
		TEST(queued),
		TEST(mixed),
		TEST(queued_error),
		TEST(errors),
		TEST(stop_in_flight),
		TEST(link_reset_in_flight),
		TEST(controller_reset_in_flight),
		TEST(soft_reset),
		TEST(packets),
		TEST(message_signalled),
		TEST(saved),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
