/* The floppy controller and the DMA controllers, as a driver finds them. */
#include "storage_fixture.h"

#include "device/storage/floppy_internal.h"

#define DATA 0x12340 /* guest memory, within 64 KiB */

static struct memory_disk *disk, *second;
static struct dma8237 dma;
static struct floppy *floppy;

static int make(uint64_t sectors, uint64_t second_sectors)
{
	struct floppy_config config = {.devices = &f.devices,
		.ports = &f.ports,
		.dma = &dma,
		.irq = fixture_irq(6),
		.machine_lock = &f.lock};

	fixture_setup();
	config.loop = f.loop;
	disk = memory_disk(sectors);
	config.disks[0] = &disk->disk;
	if (second_sectors) {
		second = memory_disk(second_sectors);
		config.disks[1] = &second->disk;
	}
	assert_int_equal(dma8237_init(&dma, &f.devices, &f.ports, &f.memory), 0);
	return floppy_create(&config);
}

static int setup(void **state)
{
	if (make(2880, 1440) < 0)
		return -1;
	for (struct device *device = f.devices.first; device; device = device->next) {
		if (device->ops->firmware_setup)
			device->ops->firmware_setup(device);
		if (!strcmp(device->ops->name, "floppy"))
			floppy = (struct floppy *)device;
	}
	outb(0x3f2, 0x0c);
	assert_true(f.level[6]);
	outb(0x3f7, 0); /* 500 kb/s */
	return 0;
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

static void command(const uint8_t *bytes, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		assert_int_equal(inb(0x3f4) & 0xc0, 0x80);
		outb(0x3f5, bytes[i]);
	}
	settle();
}
#define COMMAND(...) command((const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

static uint8_t result[10];

static void results(unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		assert_int_equal(inb(0x3f4) & 0xd0, 0xd0);
		result[i] = inb(0x3f5);
	}
	assert_int_equal(inb(0x3f4), 0x80);
}

static void program_dma(uint8_t mode, uint32_t address, uint32_t bytes)
{
	outb(0x0a, 6);
	outb(0x0c, 0);
	outb(0x0b, mode);
	outb(0x04, (uint8_t)address);
	outb(0x04, (uint8_t)(address >> 8));
	outb(0x81, (uint8_t)(address >> 16));
	outb(0x05, (uint8_t)(bytes - 1));
	outb(0x05, (uint8_t)((bytes - 1) >> 8));
	outb(0x0a, 2);
}

static void seek(uint8_t drive, uint8_t cylinder)
{
	COMMAND(0x0f, drive, cylinder);
	assert_true(f.level[6]);
	COMMAND(0x08);
	results(2);
	assert_int_equal(result[0], 0x20 | drive);
	assert_int_equal(result[1], cylinder);
	assert_false(f.level[6]);
}

static void sense_resets(void)
{
	for (unsigned i = 0; i < 4; i++) {
		COMMAND(0x08);
		results(2);
		assert_int_equal(result[0], 0xc0 | i);
	}
	COMMAND(0x08);
	results(1);
	assert_int_equal(result[0], 0x80);
}

static void reset(void **state)
{
	sense_resets();
	assert_false(f.level[6]);
	outb(0x3f2, 0x08);
	assert_int_equal(inb(0x3f4), 0);
	outb(0x3f2, 0x0c);
	assert_true(f.level[6]);
	sense_resets();
	outb(0x3f4, 0x80);
	assert_true(f.level[6]);
}

static void identification(void **state)
{
	sense_resets();
	COMMAND(0x10);
	results(1);
	assert_int_equal(result[0], 0x90);
	COMMAND(0x18); /* no 82078 */
	results(1);
	assert_int_equal(result[0], 0x80);
	COMMAND(0x04, 4);
	results(1);
	assert_int_equal(result[0], 0x3c);
	assert_int_equal(floppy_drive_type(1440 * 1024), 4);
	assert_int_equal(floppy_drive_type(1441 * 1024), 0);
}

static void change_line(void **state)
{
	sense_resets();
	outb(0x3f2, 0x1c);
	assert_int_equal(inb(0x3f7), 0x80);
	seek(0, 1);
	assert_int_equal(inb(0x3f7), 0);
	outb(0x3f2, 0x2d); /* the second drive's is its own */
	assert_int_equal(inb(0x3f7), 0x80);
}

static void read_by_dma(void **state)
{
	uint8_t data[20 * 512];

	sense_resets();
	seek(0, 3);
	/* From the 17th sector of the first side: two there, and 18 of the second side. */
	program_dma(0x46, DATA, sizeof(data));
	COMMAND(0xe6, 0, 3, 0, 17, 2, 18, 0x1b, 0xff);
	assert_true(f.level[6]);
	results(7);
	assert_false(f.level[6]);
	assert_int_equal(result[0], 4); /* head 1 */
	assert_int_equal(result[1], 0);
	assert_int_equal(result[3], 4);
	assert_int_equal(result[4], 0);
	assert_int_equal(result[5], 1);
	assert_int_equal(memory_read(&f.memory, DATA, data, sizeof(data)), 0);
	assert_memory_equal(data, disk->bytes + (3 * 36 + 16) * 512, sizeof(data));
	assert_int_equal(inb(0x08) & 4, 4); /* the terminal count */
}

/* The channel ends within a sector, and is ready later than the controller. */
static void write_by_dma(void **state)
{
	uint8_t data[700];

	for (unsigned i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 3 + 1);
	assert_int_equal(memory_write(&f.memory, DATA, data, sizeof(data)), 0);
	sense_resets();
	seek(0, 0);
	COMMAND(0xc5, 4, 0, 1, 2, 2, 18, 0x1b, 0xff);
	assert_int_equal(inb(0x3f4), 0x10);
	program_dma(0x4a, DATA, sizeof(data));
	settle();
	results(7);
	assert_int_equal(result[0], 4);
	assert_int_equal(result[4], 1);
	assert_int_equal(result[5], 4);
	assert_memory_equal(disk->bytes + (18 + 1) * 512, data, sizeof(data));
	assert_int_equal(disk->bytes[(18 + 1) * 512 + 700], 0);
	assert_int_equal(disk->bytes[(18 + 3) * 512 + 9], 21);
}

static void byte_by_byte(void **state)
{
	uint8_t data[1024];

	sense_resets();
	seek(0, 2);
	COMMAND(0x03, 0xaf, 0x03); /* no DMA */
	COMMAND(0x46, 0, 2, 0, 17, 2, 18, 0x1b, 0xff);
	for (unsigned i = 0; i < sizeof(data); i++) {
		assert_int_equal(inb(0x3f4), 0xf0);
		data[i] = inb(0x3f5);
	}
	results(7);
	assert_memory_equal(data, disk->bytes + (2 * 36 + 16) * 512, sizeof(data));
	/* Without a terminal count a track's end is not normal. */
	assert_int_equal(result[0], 0x40);
	assert_int_equal(result[1], 0x80);
	COMMAND(0x45, 0, 2, 0, 18, 2, 18, 0x1b, 0xff);
	assert_int_equal(inb(0x3f4), 0xb0);
	for (unsigned i = 0; i < 512; i++)
		outb(0x3f5, 0x77);
	settle();
	results(7);
	assert_int_equal(disk->bytes[(2 * 36 + 17) * 512 + 511], 0x77);
}

static void format(void **state)
{
	uint8_t names[18 * 4];

	for (unsigned i = 0; i < 18; i++)
		memcpy(names + 4 * i, (uint8_t[]){5, 1, (uint8_t)(i * 7 % 18 + 1), 2}, 4);
	assert_int_equal(memory_write(&f.memory, DATA, names, sizeof(names)), 0);
	sense_resets();
	seek(0, 5);
	program_dma(0x4a, DATA, sizeof(names));
	COMMAND(0x4d, 4, 2, 18, 0x50, 0xf6);
	results(7);
	assert_int_equal(result[0], 4);
	assert_int_equal(disk->bytes[(5 * 36 + 18) * 512], 0xf6);
	assert_int_equal(disk->bytes[(5 * 36 + 36) * 512 - 1], 0xf6);
	assert_int_equal(disk->bytes[(5 * 36 + 36) * 512 + 9], (5 * 36 + 36) & 0xff);
	/* A track with a sector twice cannot be. */
	names[2] = names[6];
	assert_int_equal(memory_write(&f.memory, DATA, names, sizeof(names)), 0);
	program_dma(0x4a, DATA, sizeof(names));
	COMMAND(0x4d, 4, 2, 18, 0x50, 0);
	results(7);
	assert_int_equal(result[0] & 0xc0, 0x40);
}

static void refused(uint8_t status1, uint8_t status2)
{
	results(7);
	assert_int_equal(result[0] & 0xc0, 0x40);
	assert_int_equal(result[1], status1);
	assert_int_equal(result[2], status2);
}

static void errors(void **state)
{
	sense_resets();
	seek(0, 1);
	program_dma(0x46, DATA, 512);
	COMMAND(0x46, 0, 1, 0, 19, 2, 18, 0x1b, 0xff); /* no such sector */
	refused(4, 0);
	COMMAND(0x46, 0, 2, 0, 1, 2, 18, 0x1b, 0xff); /* the head is elsewhere */
	refused(4, 0x10);
	COMMAND(0x46, 0, 1, 0, 1, 3, 18, 0x1b, 0xff);
	refused(4, 0);
	outb(0x3f7, 2); /* another rate's marks are not seen: probes depend on it */
	COMMAND(0x46, 0, 1, 0, 1, 2, 18, 0x1b, 0xff);
	refused(1, 0);
	COMMAND(0x4a, 0);
	refused(1, 0);
	outb(0x3f7, 0);
	COMMAND(0x46, 2, 0, 0, 1, 2, 18, 0x1b, 0xff); /* no such drive */
	results(7);
	assert_int_equal(result[0], 0x4a);
	disk->disk.read_only = true;
	program_dma(0x4a, DATA, 512);
	COMMAND(0x45, 0, 1, 0, 1, 2, 18, 0x1b, 0xff);
	refused(2, 0);
	assert_int_equal(disk->writes, 0);
	disk->error = -EIO;
	program_dma(0x46, DATA, 512);
	COMMAND(0x46, 0, 1, 0, 1, 2, 18, 0x1b, 0xff);
	refused(0x20, 0);
}

static void second_drive(void **state)
{
	uint8_t data[512];

	sense_resets();
	seek(1, 79);
	outb(0x3f7, 2);
	program_dma(0x46, DATA, 512);
	COMMAND(0x46, 5, 79, 1, 9, 2, 9, 0x1b, 0xff);
	results(7);
	assert_int_equal(result[0], 5);
	assert_int_equal(memory_read(&f.memory, DATA, data, 512), 0);
	assert_memory_equal(data, second->bytes + 1439 * 512, 512);
}

static void reset_in_flight(void **state)
{
	static const uint8_t read[] = {0x46, 0, 0, 0, 1, 2, 18, 0x1b, 0xff};

	sense_resets();
	seek(0, 0);
	disk->held = true;
	program_dma(0x46, DATA, 512);
	for (unsigned i = 0; i < 9; i++)
		outb(0x3f5, read[i]);
	assert_int_equal(inb(0x3f4), 0x10);
	outb(0x3f2, 0x08);
	outb(0x3f2, 0x0c);
	assert_int_equal(inb(0x3f4), 0x10);
	memory_disk_release(&floppy->drive[0]);
	settle();
	assert_int_equal(inb(0x3f4), 0x80);
	sense_resets();
}

static void saved_while_it_waits_for_dma(void **state)
{
	struct state_writer saved = {0};
	struct state_reader reader;
	uint8_t data[512];

	assert_all_state_is_saved();
	sense_resets();
	seek(0, 0);
	COMMAND(0x46, 0, 0, 0, 1, 2, 18, 0x1b, 0xff);
	device_list_save(&f.devices, &saved);
	outb(0x3f4, 0x80);
	sense_resets();
	reader = (struct state_reader){saved.bytes, saved.size};
	assert_int_equal(device_list_load(&f.devices, &reader), 0);
	program_dma(0x46, DATA, 512);
	results(7);
	assert_int_equal(result[5], 2);
	assert_int_equal(memory_read(&f.memory, DATA, data, 512), 0);
	assert_memory_equal(data, disk->bytes, 512);
	/* A run that leaves the track could leave the disk. */
	COMMAND(0x46, 0, 0, 0, 1, 2, 18, 0x1b, 0xff);
	floppy->state.run = 36;
	saved.size = 0;
	device_list_save(&f.devices, &saved);
	reader = (struct state_reader){saved.bytes, saved.size};
	assert_int_equal(device_list_load(&f.devices, &reader), -EINVAL);
	free(saved.bytes);
}

static void sizes(void **state)
{
	assert_int_equal(make(2881, 0), -EINVAL);
	fixture_teardown();
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(make(i ? 320 : 5760, 0), 0);
		fixture_teardown();
	}
}

/* --- the DMA controllers --- */

static void dma_registers(void **state)
{
	bool terminal;
	uint8_t byte = 0x5a, words[4] = {1, 2, 3, 4}, back[4];

	program_dma(0x46, 0x12fffe, 4);
	assert_int_equal(inb(0x81), 0x12);
	outb(0x0c, 0);
	assert_int_equal(inb(0x04), 0xfe);
	assert_int_equal(inb(0x04), 0xff);
	assert_int_equal(inb(0x05), 3);
	/* The address does not carry into the page. */
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(dma8237_move(&dma, 2, &byte, 1, true, &terminal), 1);
		assert_int_equal(terminal, i == 3);
	}
	assert_int_equal(memory_read(&f.memory, 0x120001, back, 1), 0);
	assert_int_equal(back[0], 0x5a);
	assert_int_equal(inb(0x0f) & 4, 4); /* masked itself */
	assert_int_equal(dma8237_move(&dma, 2, &byte, 1, true, &terminal), 0);
	/* Auto-initialisation, downwards. */
	program_dma(0x76, 0x20001, 2);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(dma8237_move(&dma, 2, words, 2, true, &terminal), 2);
	assert_int_equal(memory_read(&f.memory, 0x20000, back, 2), 0);
	assert_int_equal(back[0], 2);
	assert_int_equal(back[1], 1);
	assert_int_equal(dma8237_move(&dma, 2, words, 2, false, &terminal), 0);
	/* Channel 5 moves words. */
	outb(0xd6, 0x45);
	outb(0xd8, 0);
	outb(0xc4, 0x10);
	outb(0xc4, 0);
	outb(0xc6, 1);
	outb(0xc6, 0);
	outb(0x8b, 0x02);
	outb(0xd4, 1);
	assert_int_equal(dma8237_move(&dma, 5, words, 4, true, &terminal), 4);
	assert_true(terminal);
	assert_int_equal(memory_read(&f.memory, 0x20020, back, 4), 0);
	assert_memory_equal(back, words, 4);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(reset),
		TEST(identification),
		TEST(change_line),
		TEST(read_by_dma),
		TEST(write_by_dma),
		TEST(byte_by_byte),
		TEST(format),
		TEST(errors),
		TEST(second_drive),
		TEST(reset_in_flight),
		TEST(saved_while_it_waits_for_dma),
		cmocka_unit_test(sizes),
		TEST(dma_registers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
