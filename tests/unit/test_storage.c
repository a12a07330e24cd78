/* What the disk controllers have in common: drives, transfers by a list of guest memory, and the
 * commands of ATA and ATAPI. */
#include "storage_fixture.h"

#include "device/storage/atapi.h"

#include <semaphore.h>
#include <unistd.h>

#define SECTORS 4096

static struct memory_disk *on;
static struct drive drive;
static struct dma dma;
static struct transfer transfer;
static unsigned dones;
static int last_error;

static int setup(void **state)
{
	fixture_setup();
	on = memory_disk(SECTORS);
	assert_int_equal(drive_create(&drive, &on->disk, "test", f.loop, &f.lock), 0);
	dma.memory = &f.memory;
	atomic_store(&dma.enabled, true);
	dones = 0;
	return 0;
}

static int teardown(void **state)
{
	drive_destroy(&drive);
	fixture_teardown();
	return 0;
}

static void settle(void)
{
	assert_true(drive_quiesce(&drive, FAR_AWAY));
}

/* --- transfers --- */

/* Entries of 16 bytes in guest memory: address and size; the list ends with a size of 0. */
static bool next_entry(struct sg_list *list)
{
	uint64_t entry[2];

	if (dma_read(list->dma, list->table, entry, sizeof(entry)) < 0 || !entry[1])
		return false;
	list->table += sizeof(entry);
	list->address = entry[0];
	list->bytes = (uint32_t)entry[1];
	return true;
}

static void on_done(struct transfer *done, int error)
{
	dones++;
	last_error = error;
}

#define TABLE 0x1000
#define DATA  0x200000

static uint64_t put_entry(uint64_t table, uint64_t address, uint64_t bytes)
{
	uint64_t entry[4] = {address, bytes};

	assert_int_equal(memory_write(&f.memory, table, entry, sizeof(entry)), 0);
	return table + 16;
}

static void begin(void)
{
	transfer = (struct transfer){
		.list = {.dma = &dma, .next = next_entry, .table = TABLE}, .done = on_done};
}

/* Two-byte entries at the begin of a sector, odd cuts, more bytes than one request takes. */
static void list_of_any_cut(void **state)
{
	uint64_t bytes = 3 * MIB / 2, at = 0, table = TABLE;
	uint8_t *data = malloc(bytes);

	while (at < bytes) {
		uint64_t size = at < 600 ? 2 : at < 40000 ? 1022 : 70000;

		size = MIN(size, bytes - at);
		table = put_entry(table, DATA + at, size);
		at += size;
	}
	begin();
	transfer_list(&transfer, &drive, DISK_READ, 5 * DISK_SECTOR, bytes, false);
	settle();
	assert_int_equal(dones, 1);
	assert_int_equal(last_error, 0);
	assert_int_equal(transfer.moved, bytes);
	assert_true(on->reads > 1);
	assert_int_equal(memory_read(&f.memory, DATA, data, bytes), 0);
	assert_memory_equal(data, on->bytes + 5 * DISK_SECTOR, bytes);
	/* And back, elsewhere. */
	begin();
	transfer_list(&transfer, &drive, DISK_WRITE, 0, bytes, true);
	settle();
	assert_int_equal(last_error, 0);
	assert_int_equal(on->fuas, on->writes);
	assert_memory_equal(data, on->bytes, bytes);
	free(data);
}

static void list_too_short(void **state)
{
	put_entry(TABLE, DATA, 1000);
	begin();
	transfer_list(&transfer, &drive, DISK_READ, 0, 4 * DISK_SECTOR, false);
	settle();
	assert_int_equal(dones, 1);
	assert_int_equal(last_error, -EFAULT);
	assert_int_equal(transfer.moved, 512);
}

static void list_outside_ram(void **state)
{
	put_entry(TABLE, 64 * MIB, 4096);
	begin();
	transfer_list(&transfer, &drive, DISK_WRITE, 0, 4096, false);
	assert_int_equal(last_error, -EFAULT);
	atomic_store(&dma.enabled, false);
	put_entry(TABLE, DATA, 4096);
	begin();
	transfer_list(&transfer, &drive, DISK_WRITE, 0, 4096, false);
	assert_int_equal(dones, 2);
	assert_int_equal(last_error, -EFAULT);
	assert_int_equal(on->writes, 0);
}

static void errors_come_back(void **state)
{
	put_entry(TABLE, DATA, 4096);
	begin();
	on->error = -EIO;
	transfer_list(&transfer, &drive, DISK_READ, 0, 4096, false);
	settle();
	assert_int_equal(last_error, -EIO);
	transfer_flush(&transfer, &drive);
	settle();
	assert_int_equal(dones, 2);
	assert_int_equal(last_error, -EIO);
}

/* A pause does not wait longer than it is told to, and then finds what has come back meanwhile. */
static void quiesce_waits_for_the_disk(void **state)
{
	on->held = true;
	transfer = (struct transfer){.done = on_done};
	transfer_flush(&transfer, &drive);
	assert_false(drive_quiesce(&drive, 1));
	assert_int_equal(dones, 0);
	memory_disk_release(&drive);
	settle();
	assert_int_equal(dones, 1);
	assert_int_equal(on->flushes, 1);
}

static sem_t stuck;

static void stay(void *opaque)
{
	while (sem_wait(&stuck) < 0)
		; /* a signal */
}

/* A machine ends though the worker is in a system call that does not return. */
static void abandoned_while_the_worker_is_stuck(void **state)
{
	static struct worker_task task;

	sem_init(&stuck, 0, 0);
	worker_task_init(&task, stay, NULL);
	worker_post(drive.worker, &task);
	alarm(20);
	drive_abandon(&drive);
	alarm(0);
	sem_post(&stuck);
}

static void destroyed_with_a_job_in_flight(void **state)
{
	transfer = (struct transfer){.done = on_done};
	transfer_flush(&transfer, &drive);
	drive_destroy(&drive);
	assert_int_equal(dones, 0);
	assert_null(drive.disk);
}

static void ranges_are_discarded(void **state)
{
	uint64_t ranges[TRANSFER_RANGES] = {[1] = BIT(48) * 8 | 16, [63] = BIT(48) | 100};

	transfer = (struct transfer){.done = on_done};
	transfer_discard(&transfer, &drive, ranges);
	settle();
	assert_int_equal(dones, 1);
	assert_int_equal(on->discards, 2);
	assert_int_equal(on->bytes[16 * 512 + 9], 0);
	assert_int_equal(on->bytes[23 * 512 + 9], 0);
	assert_int_equal(on->bytes[24 * 512 + 9], 24);
	assert_int_equal(on->bytes[100 * 512 + 9], 0);
}

/* --- ATA --- */

static struct ata_state ata_state;
static uint16_t words[256];
static struct ata_command command;

static struct ata ata(void)
{
	return (struct ata){.state = &ata_state, .disk = &on->disk, .serial = "s-1"};
}

static uint8_t decode(uint8_t code, struct ata_registers registers)
{
	struct ata device = ata();

	return ata_decode(&device, code, &registers, &command, words);
}

static void reset_ata(void)
{
	struct ata device = ata();

	ata_reset(&device);
}

static void identify(void **state)
{
	uint8_t sum = 0;

	reset_ata();
	assert_int_equal(decode(ATA_IDENTIFY, (struct ata_registers){0}), 0);
	assert_int_equal(command.action, ATA_BLOCK_IN);
	for (unsigned i = 0; i < 512; i++)
		sum = (uint8_t)(sum + ((uint8_t *)words)[i]);
	assert_int_equal(sum, 0);
	assert_int_equal(words[1], 4096 / (16 * 63));
	assert_int_equal(words[60] | words[61] << 16, SECTORS);
	assert_int_equal(words[100] | words[101] << 16, SECTORS);
	assert_int_equal(words[10], 's' << 8 | '-');
	assert_int_equal(words[11], '1' << 8 | ' ');
	assert_int_equal(words[83] & BIT(10), BIT(10));
	assert_int_equal(words[169], 1);
	assert_int_equal(words[106], 0x6003); /* 4 KiB */
}

static void addresses(void **state)
{
	reset_ata();
	/* LBA28: 256 sectors where the count is 0. */
	assert_int_equal(
		decode(0x20, (struct ata_registers){.device = 0xe0, .low = {7}, .mid = {1}}), 0);
	assert_int_equal(command.offset, 0x107 * 512);
	assert_int_equal(command.bytes, 256 * 512);
	assert_int_equal(command.at_once, 512);
	assert_false(command.dma);
	/* The last sector, and one more. */
	assert_int_equal(
		decode(0xca,
			(struct ata_registers){
				.device = 0x40, .low = {0xff}, .mid = {0x0f}, .count = {1}}),
		0);
	assert_int_equal(command.action, ATA_WRITE);
	assert_true(command.dma);
	assert_int_equal(
		decode(0xca,
			(struct ata_registers){
				.device = 0x40, .low = {0xff}, .mid = {0x0f}, .count = {2}}),
		ATA_ERROR_IDNF | ATA_ERROR_ABRT);
	/* CHS: cylinder 1, head 2, sector 3. */
	assert_int_equal(decode(0x20,
				 (struct ata_registers){
					 .device = 0xa2, .low = {3}, .mid = {1}, .count = {1}}),
		0);
	assert_int_equal(command.offset, ((1 * 16 + 2) * 63 + 2) * 512);
	assert_int_equal(decode(0x20, (struct ata_registers){.device = 0xa2, .count = {1}}),
		ATA_ERROR_IDNF | ATA_ERROR_ABRT);
	/* Another geometry. */
	assert_int_equal(decode(0x91, (struct ata_registers){.device = 0xa3, .count = {10}}), 0);
	assert_int_equal(decode(0x20,
				 (struct ata_registers){
					 .device = 0xa2, .low = {3}, .mid = {1}, .count = {1}}),
		0);
	assert_int_equal(command.offset, ((1 * 4 + 2) * 10 + 2) * 512);
	/* LBA48: the bytes written before are the upper ones. */
	assert_int_equal(
		decode(0x25, (struct ata_registers){.low = {1, 0}, .mid = {2, 0}, .count = {0, 1}}),
		0);
	assert_int_equal(command.offset, 0x201 * 512);
	assert_int_equal(command.bytes, 256 * 512);
	assert_int_equal(
		decode(0x25, (struct ata_registers){.low = {0, 1}, .count = {1}}) & ATA_ERROR_IDNF,
		ATA_ERROR_IDNF);
}

static void settings(void **state)
{
	reset_ata();
	assert_int_equal(decode(0xc6, (struct ata_registers){.count = {3}}), ATA_ERROR_ABRT);
	assert_int_equal(decode(0xc6, (struct ata_registers){.count = {8}}), 0);
	assert_int_equal(decode(0xc4, (struct ata_registers){.device = 0x40, .count = {20}}), 0);
	assert_int_equal(command.at_once, 8 * 512);
	assert_int_equal(decode(0xc6, (struct ata_registers){0}), 0);
	assert_int_equal(decode(0xc4, (struct ata_registers){.device = 0x40, .count = {20}}),
		ATA_ERROR_ABRT);
	/* Without the write cache each write is durable. */
	assert_int_equal(decode(0xca, (struct ata_registers){.device = 0x40, .count = {1}}), 0);
	assert_false(command.fua);
	assert_int_equal(decode(0xef, (struct ata_registers){.feature = {0x82}}), 0);
	assert_int_equal(command.action, ATA_FLUSH);
	assert_int_equal(decode(0xca, (struct ata_registers){.device = 0x40, .count = {1}}), 0);
	assert_true(command.fua);
	assert_int_equal(decode(0xef, (struct ata_registers){.feature = {0x99}}), ATA_ERROR_ABRT);
	/* Multiword DMA mode 2 is shown where it was chosen. */
	assert_int_equal(decode(0xef, (struct ata_registers){.feature = {3}, .count = {0x22}}), 0);
	assert_int_equal(decode(ATA_IDENTIFY, (struct ata_registers){0}), 0);
	assert_int_equal(words[63], 0x407);
}

static void aborted(void **state)
{
	reset_ata();
	assert_int_equal(decode(0, (struct ata_registers){0}), ATA_ERROR_ABRT);
	assert_int_equal(decode(0xb0, (struct ata_registers){0}), ATA_ERROR_ABRT);
	assert_int_equal(decode(0x60, (struct ata_registers){.feature = {1}}), ATA_ERROR_ABRT);
	on->disk.read_only = true;
	assert_int_equal(
		decode(0xca, (struct ata_registers){.device = 0x40, .count = {1}}), ATA_ERROR_ABRT);
	assert_int_equal(
		decode(0x06, (struct ata_registers){.feature = {1}, .count = {1}}), ATA_ERROR_ABRT);
}

static void trim(void **state)
{
	struct ata device = ata();
	uint64_t ranges[64] = {BIT(48) * 4 | (SECTORS - 4)};

	reset_ata();
	assert_int_equal(decode(0x06, (struct ata_registers){.feature = {1}, .count = {1}}), 0);
	assert_int_equal(command.action, ATA_TRIM);
	assert_true(ata_trim_valid(&device, ranges));
	ranges[63] = BIT(48) | SECTORS;
	assert_false(ata_trim_valid(&device, ranges));
}

/* --- ATAPI --- */

static struct atapi_state disc_state;
static struct atapi_command packet_command;
static uint8_t answer[ATAPI_ANSWER_SIZE];

static uint8_t packet(const uint8_t *bytes, size_t size)
{
	uint8_t whole[ATAPI_PACKET] = {0};

	memcpy(whole, bytes, size);
	return atapi_decode(&(struct atapi){.state = &disc_state, .disk = &on->disk, .serial = ""},
		whole, &packet_command, answer);
}
#define PACKET(...) packet((const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

static void power_up(void)
{
	atapi_power_up(&(struct atapi){.state = &disc_state});
	assert_int_equal(PACKET(0), 0x64); /* the medium may have changed */
	assert_int_equal(PACKET(0), 0);
}

static void disc_is_read(void **state)
{
	power_up();
	assert_int_equal(PACKET(0x25), 0);
	assert_int_equal(answer[2] << 8 | answer[3], SECTORS / 4 - 1);
	assert_int_equal(PACKET(0x28, 0, 0, 0, 2, 1, 0, 0, 3), 0);
	assert_int_equal(packet_command.action, ATAPI_READ);
	assert_int_equal(packet_command.offset, 0x201 * 2048);
	assert_int_equal(packet_command.bytes, 3 * 2048);
	assert_int_equal(PACKET(0xa8, 0, 0, 0, 3, 0xff, 0, 0, 0, 1), 0);
	assert_int_equal(PACKET(0xa8, 0, 0, 0, 3, 0xff, 0, 0, 0, 2), 0x54);
	assert_int_equal(PACKET(0x03, 0, 0, 0, 18), 0);
	assert_int_equal(answer[2], 5);
	assert_int_equal(answer[12], 0x21);
	/* It has been told. */
	assert_int_equal(PACKET(0x03, 0, 0, 0, 18), 0);
	assert_int_equal(answer[2], 0);
}

static void table_of_contents(void **state)
{
	power_up();
	assert_int_equal(PACKET(0x43, 0, 0, 0, 0, 0, 0, 1, 0), 0);
	assert_int_equal(packet_command.bytes, 20);
	assert_int_equal(answer[1], 18);
	assert_int_equal(answer[6], 1);
	assert_int_equal(answer[14], 0xaa);
	assert_int_equal(answer[18] << 8 | answer[19], SECTORS / 4);
	assert_int_equal(PACKET(0x43, 2, 0, 0, 0, 0, 0xaa, 1, 0), 0);
	assert_int_equal(packet_command.bytes, 12);
	assert_int_equal(answer[9], 0);
	assert_int_equal(answer[10], (1024 + 150) / 75);
	assert_int_equal(answer[11], (1024 + 150) % 75);
}

static void tray(void **state)
{
	power_up();
	assert_int_equal(PACKET(0x1e, 0, 0, 0, 1), 0);
	assert_int_equal(PACKET(0x1b, 0, 0, 0, 2), 0x54); /* it is locked */
	assert_int_equal(PACKET(0x1e), 0);
	assert_int_equal(PACKET(0x1b, 0, 0, 0, 2), 0);
	assert_int_equal(PACKET(0), 0x24);
	assert_int_equal(PACKET(0x28, 0, 0, 0, 0, 1, 0, 0, 1), 0x24);
	assert_int_equal(PACKET(0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8), 0);
	assert_int_equal(answer[4], 3);
	assert_int_equal(answer[5], 1);
	assert_int_equal(PACKET(0x1b, 0, 0, 0, 3), 0);
	assert_int_equal(PACKET(0), 0x64);
	assert_int_equal(PACKET(0), 0);
}

static void what_it_is(void **state)
{
	power_up();
	assert_int_equal(PACKET(0x12, 0, 0, 0, 36), 0);
	assert_int_equal(answer[0], 5);
	assert_memory_equal(answer + 8, "VENEER  DVD-ROM", 15);
	assert_int_equal(PACKET(0x46, 0, 0, 0, 0, 0, 0, 1, 0), 0);
	assert_int_equal(answer[7], 8); /* so few sectors are a CD's */
	assert_int_equal(answer[3], packet_command.bytes - 4);
	assert_int_equal(PACKET(0x5a, 0, 0x2a, 0, 0, 0, 0, 0, 100), 0);
	assert_int_equal(packet_command.bytes, 28);
	assert_int_equal(answer[8], 0x2a);
	assert_int_equal(PACKET(0x5a, 0, 0x17, 0, 0, 0, 0, 0, 100), 0x54);
	assert_int_equal(PACKET(0xff), 0x54);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(list_of_any_cut),
		TEST(list_too_short),
		TEST(list_outside_ram),
		TEST(errors_come_back),
		TEST(quiesce_waits_for_the_disk),
		TEST(abandoned_while_the_worker_is_stuck),
		TEST(destroyed_with_a_job_in_flight),
		TEST(ranges_are_discarded),
		TEST(identify),
		TEST(addresses),
		TEST(settings),
		TEST(aborted),
		TEST(trim),
		TEST(disc_is_read),
		TEST(table_of_contents),
		TEST(tray),
		TEST(what_it_is),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
