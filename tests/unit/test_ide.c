/* The IDE controller, as a driver finds it: registers of two channels, PIO and bus master DMA,
 * disks and CD-ROM drives. */
#include "storage_fixture.h"

#include "device/storage/ide_internal.h"

#define SECTORS 4096
#define TABLE   0x1000
#define DATA    0x200000
#define MASTER  0xc000

static struct memory_disk *disk, *second, *disc;
static struct pci_bus *bus;
static struct ide_channel *channels[2];

static bool no_msi(void *opaque, uint64_t address, uint32_t data)
{
	return false;
}

static void config_write(unsigned offset, uint32_t value, unsigned size)
{
	io_space_write(&f.ports, 0xcf8, 0x80000000u | 5 << 11 | (offset & 0xfc), 4);
	io_space_write(&f.ports, 0xcfc + (offset & 3), value, size);
}

static uint32_t config_read(unsigned offset, unsigned size)
{
	io_space_write(&f.ports, 0xcf8, 0x80000000u | 5 << 11 | (offset & 0xfc), 4);
	return (uint32_t)io_space_read(&f.ports, 0xcfc + (offset & 3), size);
}

static int set_up(bool with_disc)
{
	struct pci_config config = {
		.memory = &f.memory, .ports = &f.ports, .devices = &f.devices, .msi = no_msi};

	fixture_setup();
	config.loop = f.loop;
	bus = pci_create(&config);
	assert_non_null(bus);
	disk = memory_disk(SECTORS);
	second = memory_disk(64);
	disc = with_disc ? memory_disk(SECTORS) : NULL;
	if (disc)
		disc->disk.read_only = true;
	assert_int_equal(ide_create(bus, 5,
				 (struct ide_drive_config[]){{&disk->disk, false, "first"},
					 {&second->disk, false, "second"},
					 {disc ? &disc->disk : NULL, true, "disc"}, {0}},
				 (struct irq_line[]){fixture_irq(14), fixture_irq(15)}),
		0);
	for (struct device *device = f.devices.first; device; device = device->next)
		if (device->ops == &ide_channel_device)
			channels[device->instance] = (struct ide_channel *)device;
	config_write(0x20, MASTER, 4);
	config_write(4, 5, 2);
	return 0;
}

static int setup(void **state)
{
	return set_up(true);
}

static int setup_without_disc(void **state)
{
	return set_up(false);
}

static int teardown(void **state)
{
	fixture_teardown();
	return 0;
}

static void settle(void)
{
	for (struct device *device = f.devices.first; device; device = device->next)
		if (device->ops->quiesce)
			assert_true(device->ops->quiesce(device, FAR_AWAY));
}

static uint16_t inw(uint16_t port)
{
	return (uint16_t)io_space_read(&f.ports, port, 2);
}

static void outw(uint16_t port, uint16_t value)
{
	io_space_write(&f.ports, port, value, 2);
}

/* --- commands --- */

static void command(uint16_t base, uint8_t code, uint32_t lba, uint8_t count, bool slave)
{
	outb(base + 6, (uint8_t)(0xe0 | slave << 4 | lba >> 24));
	outb(base + 2, count);
	outb(base + 3, (uint8_t)lba);
	outb(base + 4, (uint8_t)(lba >> 8));
	outb(base + 5, (uint8_t)(lba >> 16));
	outb(base + 7, code);
	settle();
}

static void read_words(uint16_t base, void *to, unsigned bytes)
{
	for (unsigned i = 0; i < bytes / 2; i++) {
		((uint16_t *)to)[i] = inw(base);
		settle();
	}
}

static void write_words(uint16_t base, const void *from, unsigned bytes)
{
	for (unsigned i = 0; i < bytes / 2; i++)
		outw(base, ((const uint16_t *)from)[i]);
	settle();
}

static void presence(void **state)
{
	assert_int_equal(config_read(0, 4), 0x70108086);
	assert_int_equal(config_read(8, 4) >> 8, 0x010180);
	assert_int_equal(config_read(0x40, 4), 0x80008000);
	assert_int_equal(config_read(6, 2) & 0x10, 0); /* no capabilities */
	/* Signatures. */
	assert_int_equal(inb(0x1f7), 0x50);
	assert_int_equal(inb(0x1f4), 0);
	outb(0x1f6, 0xb0);
	assert_int_equal(inb(0x1f7), 0x50);
	assert_int_equal(inb(0x174), 0x14);
	assert_int_equal(inb(0x175), 0xeb);
	outb(0x176, 0xb0); /* there is none */
	assert_int_equal(inb(0x177), 0);
	outb(0x172, 0x55);
	assert_int_equal(inb(0x172), 0);
}

/* OVMF waits half a minute for a device that is busy. */
static void nobody_is_not_busy(void **state)
{
	outb(0x177, 0x90);
	assert_int_equal(inb(0x177), 0x7f);
	assert_int_equal(inb(0x376), 0x7f);
	assert_int_equal(inb(0x174), 0x7f);
}

static void pio_read(void **state)
{
	uint8_t data[40 * 512];

	command(0x1f0, 0x20, 5, 40, false);
	for (unsigned i = 0; i < 40; i++) {
		assert_true(f.level[14]);
		assert_int_equal(inb(0x3f6), 0x58);
		assert_true(f.level[14]);
		assert_int_equal(inb(0x1f7), 0x58);
		assert_false(f.level[14]);
		read_words(0x1f0, data + i * 512, 512);
	}
	assert_int_equal(inb(0x1f7), 0x50);
	assert_false(f.level[14]);
	assert_memory_equal(data, disk->bytes + 5 * 512, sizeof(data));
	assert_int_equal(f.edges[14], 40);
	assert_int_equal(disk->reads, 2); /* the buffer takes 32 sectors */
}

/* As `rep insw` and `rep outsw` do it: no more than a block at once. */
static void pio_by_strings(void **state)
{
	uint8_t data[3 * 512], more[512];

	assert_int_equal(io_space_read_block(&f.ports, 0x1f0, data, 2, 256), 0);
	command(0x1f0, 0x20, 5, 3, false);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(io_space_read_block(&f.ports, 0x1f0, data + i * 512, 2, 100), 100);
		assert_int_equal(
			io_space_read_block(&f.ports, 0x1f0, data + i * 512 + 200, 4, 100), 78);
		settle();
	}
	assert_memory_equal(data, disk->bytes + 5 * 512, sizeof(data));
	assert_int_equal(inb(0x1f7), 0x50);
	assert_int_equal(io_space_read_block(&f.ports, 0x1f0, more, 2, 256), 0);
	assert_int_equal(io_space_read_block(&f.ports, 0x1f2, more, 1, 256), 0);
	command(0x1f0, 0x30, 9, 1, true);
	assert_int_equal(io_space_write_block(&f.ports, 0x1f0, data, 2, 300), 256);
	settle();
	assert_memory_equal(second->bytes + 9 * 512, data, 512);
}

static void pio_write(void **state)
{
	uint8_t data[40 * 512];

	for (unsigned i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 7);
	command(0x1f0, 0xc6, 0, 16, true);
	inb(0x1f7);
	command(0x1f0, 0xc5, 8, 40, true); /* WRITE MULTIPLE: blocks of 16, 16 and 8 */
	assert_false(f.level[14]);
	assert_int_equal(inb(0x1f7), 0x58);
	write_words(0x1f0, data, 16 * 512);
	assert_int_equal(second->writes, 0);
	assert_true(f.level[14]);
	assert_int_equal(inb(0x1f7), 0x58);
	write_words(0x1f0, data + 16 * 512, 16 * 512);
	assert_int_equal(second->writes, 1);
	assert_int_equal(inb(0x1f7), 0x58);
	write_words(0x1f0, data + 32 * 512, 8 * 512);
	assert_true(f.level[14]);
	assert_int_equal(inb(0x1f7), 0x50);
	assert_memory_equal(second->bytes + 8 * 512, data, sizeof(data));
	assert_int_equal(disk->writes, 0);
}

static void put_table(const uint32_t *entries, unsigned count)
{
	assert_int_equal(memory_write(&f.memory, TABLE, entries, count * 4), 0);
	io_space_write(&f.ports, MASTER + 4, TABLE, 4);
}

static void dma_read_and_write(void **state)
{
	uint8_t data[0x12000];

	put_table((uint32_t[]){DATA, 0, DATA + 0x10000, 0x2000 | BIT(31)}, 4);
	/* Command first, then the bus master. */
	command(0x1f0, 0xc8, 3, 0x90, false);
	assert_int_equal(disk->reads, 0);
	assert_int_equal(inb(0x3f6), 0x58);
	outb(MASTER, 9);
	settle();
	assert_true(f.level[14]);
	assert_int_equal(inb(MASTER + 2) & 7, 4);
	assert_int_equal(inb(0x1f7), 0x50);
	outb(MASTER + 2, 4);
	assert_int_equal(inb(MASTER + 2) & 7, 0);
	outb(MASTER, 0);
	assert_int_equal(memory_read(&f.memory, DATA, data, sizeof(data)), 0);
	assert_memory_equal(data, disk->bytes + 3 * 512, sizeof(data));
	/* The bus master first. */
	outb(MASTER, 1);
	assert_int_equal(inb(MASTER + 2) & 1, 1);
	command(0x1f0, 0xca, 1000, 0x90, false);
	assert_memory_equal(data, disk->bytes + 1000 * 512, sizeof(data));
	assert_int_equal(inb(0x1f7), 0x50);
}

static void dma_table_too_short(void **state)
{
	put_table((uint32_t[]){DATA, 0x200 | BIT(31)}, 2);
	outb(MASTER, 9);
	command(0x1f0, 0xc8, 3, 2, false);
	assert_int_equal(inb(MASTER + 2) & 7, 6);
	assert_int_equal(inb(0x1f7), 0x51);
}

static void errors(void **state)
{
	command(0x1f0, 0x20, SECTORS - 1, 2, false);
	assert_true(f.level[14]);
	assert_int_equal(inb(0x1f7), 0x51);
	assert_int_equal(inb(0x1f1), ATA_ERROR_IDNF | ATA_ERROR_ABRT);
	disk->error = -EIO;
	command(0x1f0, 0x20, 0, 1, false);
	assert_int_equal(inb(0x1f7), 0x51);
	assert_int_equal(inb(0x1f1), ATA_ERROR_UNC);
	command(0x1f0, 0xe7, 0, 0, false);
	assert_int_equal(inb(0x1f1), ATA_ERROR_ABRT);
	disk->error = 0;
	command(0x1f0, 0xe7, 0, 0, false);
	assert_int_equal(inb(0x1f7), 0x50);
	assert_int_equal(disk->flushes, 2);
}

/* A reset while a job is in flight ends when that has come back, and the data is dropped. */
static void reset_in_flight(void **state)
{
	uint8_t word[2];

	disk->held = true;
	outb(0x1f6, 0xe0);
	outb(0x1f2, 1);
	outb(0x1f7, 0x20);
	assert_int_equal(inb(0x3f6) & 0x80, 0x80);
	outb(0x3f6, 4);
	outb(0x3f6, 0);
	assert_int_equal(inb(0x1f7), 0x80);
	outb(0x1f7, 0xec); /* not taken */
	memory_disk_release(&channels[0]->drive[0].drive);
	settle();
	assert_int_equal(inb(0x1f7), 0x50);
	assert_int_equal(inb(0x1f2), 1);
	assert_false(f.level[14]);
	command(0x1f0, 0x20, 9, 1, false);
	read_words(0x1f0, word, 2);
	assert_int_equal(word[0], 9);
}

/* While the reset bit is held the devices stay busy. */
static void reset_held(void **state)
{
	disk->held = true;
	outb(0x1f2, 1);
	outb(0x1f7, 0x20);
	outb(0x3f6, 4);
	memory_disk_release(&channels[0]->drive[0].drive);
	settle();
	assert_int_equal(inb(0x1f7), 0x80);
	outb(0x3f6, 0);
	assert_int_equal(inb(0x1f7), 0x50);
}

static void interrupts_off(void **state)
{
	outb(0x3f6, 2);
	command(0x1f0, 0xe5, 0, 0, false);
	assert_false(f.level[14]);
	outb(0x3f6, 0);
	assert_true(f.level[14]);
	inb(0x1f7);
	assert_false(f.level[14]);
}

/* --- the CD-ROM drive --- */

static void packet(uint8_t features, uint16_t limit, const uint8_t *bytes, size_t size)
{
	uint8_t whole[12] = {0};

	memcpy(whole, bytes, size);
	outb(0x176, 0xa0);
	outb(0x171, features);
	outb(0x174, (uint8_t)limit);
	outb(0x175, (uint8_t)(limit >> 8));
	outb(0x177, 0xa0);
	assert_int_equal(inb(0x177), 0x58);
	assert_int_equal(inb(0x172), 1);
	write_words(0x170, whole, 12);
}
#define PACKET(features, limit, ...)                                                               \
	packet(features, limit, (const uint8_t[]){__VA_ARGS__},                                    \
		sizeof((const uint8_t[]){__VA_ARGS__}))

static void ready(void)
{
	PACKET(0, 0, 0);
	assert_int_equal(inb(0x177), 0x51);
	assert_int_equal(inb(0x171), 0x64);
	PACKET(0, 0, 0);
	assert_int_equal(inb(0x177), 0x50);
}

static void disc_by_pio(void **state)
{
	uint8_t data[12 * 2048];
	unsigned at = 0, blocks = 0;

	ready();
	PACKET(0, 3000, 0x28, 0, 0, 0, 0, 4, 0, 0, 12);
	while (f.level[15]) {
		unsigned bytes = inb(0x175) << 8 | inb(0x174);

		if (inb(0x177) == 0x50)
			break;
		assert_int_equal(inb(0x172), 2);
		assert_true(bytes <= 3000 && at + bytes <= sizeof(data));
		read_words(0x170, data + at, bytes);
		at += bytes;
		blocks++;
	}
	assert_int_equal(at, sizeof(data));
	assert_int_equal(inb(0x172), 3);
	assert_memory_equal(data, disc->bytes + 4 * 2048, sizeof(data));
	assert_true(blocks >= 9);
}

static void disc_by_dma(void **state)
{
	uint8_t data[8192];

	ready();
	put_table((uint32_t[]){DATA, 0x2000 | BIT(31)}, 2);
	io_space_write(&f.ports, MASTER + 12, TABLE, 4);
	outb(MASTER + 8, 9);
	PACKET(1, 0, 0x28, 0, 0, 0, 0, 4, 0, 0, 4);
	assert_true(f.level[15]);
	assert_int_equal(inb(0x177), 0x50);
	assert_int_equal(memory_read(&f.memory, DATA, data, sizeof(data)), 0);
	assert_memory_equal(data, disc->bytes + 4 * 2048, sizeof(data));
	/* An answer that does not come from the disc. */
	outb(MASTER + 8, 0);
	outb(MASTER + 8, 9);
	PACKET(1, 0, 0x12, 0, 0, 0, 36);
	assert_int_equal(memory_read(&f.memory, DATA, data, 36), 0);
	assert_memory_equal(data + 8, "VENEER", 6);
}

static void cdrom_is_no_disk(void **state)
{
	command(0x170, 0xec, 0, 0, false);
	assert_int_equal(inb(0x177), 0x51);
	assert_int_equal(inb(0x174), 0x14);
	command(0x170, 0x20, 0, 1, false);
	assert_int_equal(inb(0x177), 0x51);
	command(0x170, 0xa1, 0, 0, false);
	assert_int_equal(inb(0x177), 0x58);
	assert_int_equal(inw(0x170), 0x8580);
	outb(0x177, 0x08);
	assert_int_equal(inb(0x177), 0);
	assert_int_equal(inb(0x174), 0x14);
}

/* --- saved state --- */

static struct state_writer save(void)
{
	struct state_writer writer = {0};

	device_list_save(&f.devices, &writer);
	assert_false(writer.failed);
	return writer;
}

static void saved_in_the_midst_of_pio(void **state)
{
	uint8_t data[40 * 512];
	struct state_writer saved;
	struct state_reader reader;

	assert_all_state_is_saved();
	command(0x1f0, 0x20, 5, 40, false);
	read_words(0x1f0, data, 1000);
	saved = save();
	read_words(0x1f0, data + 1000, sizeof(data) - 1000);
	assert_memory_equal(data, disk->bytes + 5 * 512, sizeof(data));
	memset(data + 1000, 0, sizeof(data) - 1000);
	reader = (struct state_reader){saved.bytes, saved.size};
	assert_int_equal(device_list_load(&f.devices, &reader), 0);
	read_words(0x1f0, data + 1000, sizeof(data) - 1000);
	assert_memory_equal(data, disk->bytes + 5 * 512, sizeof(data));
	free(saved.bytes);
}

/* Load what is there with `other` in place of the primary channel's state. */
static int load_with(const struct ide_channel_state *other)
{
	struct ide_channel_state *now = &channels[0]->state, good = *now;
	struct state_reader reader;
	struct state_writer saved;
	int error;

	*now = *other;
	saved = save();
	*now = good;
	reader = (struct state_reader){saved.bytes, saved.size};
	error = device_list_load(&f.devices, &reader);
	free(saved.bytes);
	return error;
}

/* Bytes from elsewhere may not make the controller leave its disk or its buffer. */
static void states_that_cannot_be(void **state)
{
	for (unsigned i = 0; i < 12; i++) {
		struct ide_channel_state other;

		command(0x1f0, 0x20, 5, 40, false);
		other = channels[0]->state;
		if (i == 0)
			other.phase = IDE_BUSY;
		if (i == 1)
			other.offset = disk->disk.size;
		if (i == 2)
			other.left += 1;
		if (i == 3)
			other.block_end = other.end + 2;
		if (i == 4)
			other.position = other.block_end;
		if (i == 5)
			other.selected = 2;
		if (i == 6)
			other.drive[0].ata.heads = 0;
		if (i == 7 || i == 8)
			other.action = ATA_TRIM;
		if (i == 8)
			other.offset = UINT64_MAX - 1023;
		if (i == 9 || i == 10) /* the rest of it would be written */
			other.phase = IDE_DMA;
		if (i == 9)
			other.action = ATA_NOTHING;
		if (i == 10)
			other.action = ATA_FLUSH;
		if (i == 11) {
			other.phase = IDE_PACKET;
			other.position = 0;
			other.block_end = other.end = ATAPI_PACKET;
		}
		assert_int_equal(load_with(&other), -EINVAL);
	}
}

static void saved_before_the_bus_master_starts(void **state)
{
	uint8_t data[4 * 2048];
	struct state_writer saved;
	struct state_reader reader;

	ready();
	put_table((uint32_t[]){DATA, 0x2000 | BIT(31)}, 2);
	io_space_write(&f.ports, MASTER + 12, TABLE, 4);
	PACKET(1, 0, 0x28, 0, 0, 0, 0, 4, 0, 0, 4);
	saved = save();
	reader = (struct state_reader){saved.bytes, saved.size};
	assert_int_equal(device_list_load(&f.devices, &reader), 0);
	free(saved.bytes);
	outb(MASTER + 8, 9);
	settle();
	assert_int_equal(memory_read(&f.memory, DATA, data, sizeof(data)), 0);
	assert_memory_equal(data, disc->bytes + 4 * 2048, sizeof(data));
}

/* READ LOG DMA EXT brings a block, whatever the command before it moved. */
static void log_by_dma(void **state)
{
	uint8_t data[1024];

	command(0x1f0, 0x20, 5, 40, false);
	read_words(0x1f0, data, 1024);
	outb(0x3f6, 4);
	outb(0x3f6, 0);
	memset(f.memory.ram + DATA, 0xaa, 1024);
	put_table((uint32_t[]){DATA, 1024 | BIT(31)}, 2);
	io_space_write(&f.ports, MASTER + 4, TABLE, 4);
	outb(MASTER, 9);
	for (unsigned port = 0x1f2; port <= 0x1f5; port++) {
		outb((uint16_t)port, 0);
		outb((uint16_t)port, port == 0x1f2);
	}
	outb(0x1f7, 0x47);
	assert_int_equal(inb(0x1f7), 0x50);
	assert_int_equal(f.memory.ram[DATA], 1);
	assert_int_equal(f.memory.ram[DATA + 511], 0);
	assert_int_equal(f.memory.ram[DATA + 512], 0xaa);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(presence),
		cmocka_unit_test_setup_teardown(nobody_is_not_busy, setup_without_disc, teardown),
		TEST(pio_read),
		TEST(pio_by_strings),
		TEST(pio_write),
		TEST(dma_read_and_write),
		TEST(dma_table_too_short),
		TEST(errors),
		TEST(reset_in_flight),
		TEST(reset_held),
		TEST(interrupts_off),
		TEST(disc_by_pio),
		TEST(disc_by_dma),
		TEST(cdrom_is_no_disk),
		TEST(saved_in_the_midst_of_pio),
		TEST(states_that_cannot_be),
		TEST(saved_before_the_bus_master_starts),
		TEST(log_by_dma),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
