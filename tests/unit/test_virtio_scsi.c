#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "block_fixture.h"
#include "device/storage/scsi_data.h"
#include "device/virtio/scsi.h"

#include <linux/virtio_scsi.h>

#define BLOCK   DISK_SECTOR
#define NOTHING 0x77

enum { DISK_TARGET = 0, CDROM_TARGET = 2, CDROM_LUN = 300 };

/* One request, in the test's memory. */
static struct virtio_scsi_cmd_req header;
static uint8_t out[64 * 1024], in[64 * 1024];
static struct virtio_scsi_cmd_resp response;
static struct iovec pieces[2048];

static void create(void)
{
	const struct scsi_unit_config units[] = {
		{DISK_TARGET, 0, &fake.disk, false, "serial-of-20-letters"},
		{CDROM_TARGET, CDROM_LUN, &fake.disk, true, ""},
	};

	assert_int_equal(virtio_scsi_create(NULL, -1, 0, units, ARRAY_SIZE(units), 8), 0);
	played.device->ops->start(played.device);
}

static int setup(void **state)
{
	memset(&played, 0, sizeof(played));
	fake_disk_setup();
	for (unsigned i = 0; i < sizeof(fake.bytes); i++)
		fake.bytes[i] = (uint8_t)(i / BLOCK + i * 7);
	create();
	return 0;
}

static int teardown(void **state)
{
	while (fake_complete(0))
		;
	played.device->ops->destroy(played.device);
	assert_int_equal(fake.destroyed, 2);
	return 0;
}

static void offer(const struct iovec *from, unsigned readable, unsigned writable)
{
	struct virtio_chain *chain = &played.chains[played.chain_count++];

	*chain = (struct virtio_chain){
		.pieces = (struct iovec *)from, .readable = readable, .writable = writable};
	for (unsigned i = 0; i < readable + writable; i++)
		*(i < readable ? &chain->readable_bytes : &chain->writable_bytes) +=
			from[i].iov_len;
}

static void notify(unsigned queue)
{
	played.device->ops->notified(played.device, &played.device->queue[queue]);
	idle();
}

static void complete_all(void)
{
	while (fake_complete(0))
		;
	idle();
}

static void put_lun(uint8_t lun[8], uint8_t target, uint16_t number)
{
	memcpy(lun, (uint8_t[8]){1, target, (uint8_t)(0x40 | number >> 8), (uint8_t)number}, 8);
}

/* Not completed. */
static void send_command(uint8_t target, uint16_t lun, const uint8_t *block, size_t size,
	size_t out_bytes, size_t in_bytes)
{
	unsigned readable = 1, count = 2;

	memset(&header, 0, sizeof(header));
	put_lun(header.lun, target, lun);
	header.tag = 77;
	memcpy(header.cdb, block, size);
	memset(&response, NOTHING, sizeof(response));
	pieces[0] = (struct iovec){&header, sizeof(header)};
	if (out_bytes)
		pieces[readable++] = (struct iovec){out, out_bytes};
	pieces[readable] = (struct iovec){&response, sizeof(response)};
	count = readable + 1;
	if (in_bytes)
		pieces[count++] = (struct iovec){in, in_bytes};
	offer(pieces, readable, count - readable);
	notify(2);
}

/* The status. */
static uint8_t command_at(uint8_t target, uint16_t lun, const uint8_t *block, size_t size,
	size_t out_bytes, size_t in_bytes)
{
	unsigned given_back = played.given_back, told = played.told;

	send_command(target, lun, block, size, out_bytes, in_bytes);
	complete_all();
	assert_int_equal(played.given_back, given_back + 1);
	assert_int_equal(played.told, told + 1);
	assert_int_equal(played.needs_reset, 0);
	return response.status;
}

#define COMMAND(out_bytes, in_bytes, ...)                                                          \
	command_at(DISK_TARGET, 0, (const uint8_t[]){__VA_ARGS__},                                 \
		sizeof((const uint8_t[]){__VA_ARGS__}), out_bytes, in_bytes)
#define CD_COMMAND(in_bytes, ...)                                                                  \
	command_at(CDROM_TARGET, CDROM_LUN, (const uint8_t[]){__VA_ARGS__},                        \
		sizeof((const uint8_t[]){__VA_ARGS__}), 0, in_bytes)

static void good(uint8_t status, size_t residual)
{
	assert_int_equal(response.response, VIRTIO_SCSI_S_OK);
	assert_int_equal(status, 0);
	assert_int_equal(response.sense_len, 0);
	assert_int_equal(response.resid, residual);
}

static void failed(uint8_t status, uint8_t key, uint8_t code, uint8_t qualifier)
{
	assert_int_equal(response.response, VIRTIO_SCSI_S_OK);
	assert_int_equal(status, 2);
	assert_int_equal(response.sense_len, 18);
	assert_int_equal(response.sense[0], 0x70);
	assert_int_equal(response.sense[2], key);
	assert_int_equal(response.sense[12], code);
	assert_int_equal(response.sense[13], qualifier);
}

/* What each unit says first. */
static void get_ready(void)
{
	failed(COMMAND(0, 0, 0), UNIT_ATTENTION, WAS_RESET, 0);
	failed(CD_COMMAND(0, 0), UNIT_ATTENTION, WAS_RESET, 0);
	failed(CD_COMMAND(0, 0), UNIT_ATTENTION, MEDIUM_CHANGED, 0);
	good(CD_COMMAND(0, 0), 0);
	good(COMMAND(0, 0, 0), 0);
}

static void identifies_units(void **state)
{
	/* Also while a unit attention waits. */
	good(COMMAND(0, 36, 0x12, 0, 0, 0, 36), 0);
	assert_int_equal(in[0], SCSI_DISK);
	assert_int_equal(in[2], 5);
	assert_memory_equal(in + 8, "VENEER  DISK ", 13);
	good(CD_COMMAND(96, 0x12, 0, 0, 0, 96), 60);
	assert_int_equal(in[0], SCSI_CDROM);
	assert_int_equal(in[1], 0x80);
	assert_int_equal(in[3] & 15, 2);
	/* Allocation lengths cut. */
	good(COMMAND(0, 36, 0x12, 0, 0, 0, 5), 31);
	failed(COMMAND(0, 36, 0x12, 0, 1, 0, 36), ILLEGAL_REQUEST, BAD_FIELD, 0);
	/* There is no unit of that number; and no such target. */
	good(command_at(DISK_TARGET, 5, (uint8_t[]){0x12, 0, 0, 0, 36}, 5, 0, 36), 0);
	assert_int_equal(in[0], 0x7f);
	failed(command_at(DISK_TARGET, 5, (uint8_t[]){0}, 1, 0, 0), ILLEGAL_REQUEST, NO_SUCH_UNIT,
		0);
	good(command_at(DISK_TARGET, 5, (uint8_t[]){3, 0, 0, 0, 18}, 5, 0, 18), 0);
	assert_int_equal(in[12], NO_SUCH_UNIT);
	command_at(1, 0, (uint8_t[]){0}, 1, 0, 0);
	assert_int_equal(response.response, VIRTIO_SCSI_S_BAD_TARGET);
	/* REPORT LUNS, of a target without unit 0, too. */
	good(command_at(CDROM_TARGET, 0, (uint8_t[]){0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 64}, 10, 0, 64),
		48);
	assert_int_equal(get32(in), 8);
	assert_int_equal(get16(in + 8), 0x4000 | CDROM_LUN);
}

static void pages(void **state)
{
	good(COMMAND(0, 255, 0x12, 1, 0, 0, 255), 255 - 10);
	assert_memory_equal(in, "\0\0\0\6\x00\x80\x83\xb0\xb1\xb2", 10);
	good(COMMAND(0, 255, 0x12, 1, 0x80, 0, 255), 255 - 24);
	assert_memory_equal(in, "\0\x80\0\x14serial-of-20-letters", 24);
	good(COMMAND(0, 255, 0x12, 1, 0x83, 0, 255), 255 - 36);
	assert_memory_equal(in + 4, "\2\1\0\x1cVENEER  serial-of-20-letters", 32);
	good(COMMAND(0, 64, 0x12, 1, 0xb0, 0, 64), 0);
	assert_int_equal(get32(in + 20), 4 << 20);
	assert_int_equal(get32(in + 24), 16);
	assert_int_equal(get32(in + 28), 8);
	good(COMMAND(0, 64, 0x12, 1, 0xb1, 0, 64), 0);
	assert_int_equal(get16(in + 4), 1);
	good(COMMAND(0, 64, 0x12, 1, 0xb2, 0, 64), 56);
	assert_int_equal(in[5], 0xe4);
	assert_int_equal(in[6], 2);
	failed(COMMAND(0, 64, 0x12, 1, 0x89, 0, 64), ILLEGAL_REQUEST, BAD_FIELD, 0);
	/* Without a serial number, and of a disc. */
	good(CD_COMMAND(64, 0x12, 1, 0, 0, 64), 59);
	failed(CD_COMMAND(64, 0x12, 1, 0xb0, 0, 64), ILLEGAL_REQUEST, BAD_FIELD, 0);
}

static void capacity_and_modes(void **state)
{
	get_ready();
	good(COMMAND(0, 8, 0x25), 0);
	assert_int_equal(get32(in), FAKE_SECTORS - 1);
	assert_int_equal(get32(in + 4), BLOCK);
	good(COMMAND(0, 32, 0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32), 0);
	assert_int_equal(get64(in), FAKE_SECTORS - 1);
	assert_int_equal(in[13], 3);
	assert_int_equal(in[14], 0xc0);
	failed(COMMAND(0, 32, 0x9e, 0x12), ILLEGAL_REQUEST, BAD_FIELD, 0);
	good(COMMAND(0, 192, 0x1a, 0, 0x3f, 0, 192), 192 - 36);
	assert_int_equal(in[0], 35);
	assert_int_equal(in[2], 0x10);
	good(COMMAND(0, 64, 0x5a, 0, 0x08, 0, 0, 0, 0, 0, 64), 64 - 28);
	assert_int_equal(get16(in), 26);
	assert_int_equal(in[8], 8);
	assert_int_equal(in[10], 4); /* writes are cached */
	failed(COMMAND(0, 64, 0x1a, 0, 0x0a, 0, 64), ILLEGAL_REQUEST, BAD_FIELD, 0);
	failed(COMMAND(0, 64, 0x1a, 0, 0xff, 0, 64), ILLEGAL_REQUEST, NO_SAVED_VALUES, 0);
	failed(COMMAND(0, 0, 0xff), ILLEGAL_REQUEST, BAD_COMMAND, 0);
}

static void reads_and_writes(void **state)
{
	static const unsigned written[] = {63, 10, 11, 20, 30};

	get_ready();
	good(COMMAND(0, 1024, 0x08, 0, 0, 3, 2), 0);
	assert_memory_equal(in, fake.bytes + 3 * BLOCK, 1024);
	good(COMMAND(0, 2048, 0x28, 0, 0, 0, 0, 60, 0, 0, 4), 0);
	assert_memory_equal(in, fake.bytes + 60 * BLOCK, 2048);
	good(COMMAND(0, 512, 0xa8, 0, 0, 0, 0, 9, 0, 0, 0, 1), 0);
	assert_memory_equal(in, fake.bytes + 9 * BLOCK, 512);
	/* With room left over. */
	good(COMMAND(0, 1000, 0x88, 0, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 1), 488);
	assert_memory_equal(in, fake.bytes + 9 * BLOCK, 512);
	memset(out, 0xa5, sizeof(out));
	good(COMMAND(512, 0, 0x0a, 0, 0, 63, 1), 0);
	good(COMMAND(1024, 0, 0x2a, 0, 0, 0, 0, 10, 0, 0, 2), 0);
	good(COMMAND(512, 0, 0xaa, 0, 0, 0, 0, 20, 0, 0, 0, 1), 0);
	good(COMMAND(600, 0, 0x8a, 0, 0, 0, 0, 0, 0, 0, 0, 30, 0, 0, 0, 1), 88);
	for (unsigned i = 0; i < ARRAY_SIZE(written); i++)
		assert_memory_equal(fake.bytes + written[i] * BLOCK, out, BLOCK);
	assert_memory_not_equal(fake.bytes + 31 * BLOCK, out, 88);
	/* 0 blocks are 256 of 6 bytes, which do not fit, and else none. */
	failed(COMMAND(0, 512, 0x08, 0, 0, 0, 0), ILLEGAL_REQUEST, OUT_OF_RANGE, 0);
	good(COMMAND(0, 512, 0x28, 0, 0, 0, 0, 64, 0, 0, 0), 512);
	failed(COMMAND(0, 512, 0x28, 0, 0, 0, 0, 64, 0, 0, 1), ILLEGAL_REQUEST, OUT_OF_RANGE, 0);
	failed(COMMAND(0, 512, 0x88, 0, 255, 255, 255, 255, 255, 255, 255, 255, 0, 0, 0, 1),
		ILLEGAL_REQUEST, OUT_OF_RANGE, 0);
	failed(COMMAND(0, 512, 0x28, 0x20, 0, 0, 0, 0, 0, 0, 1), ILLEGAL_REQUEST, BAD_FIELD, 0);
	/* FUA, a flush, and a look. */
	send_command(0, 0, (uint8_t[]){0x2a, 8, 0, 0, 0, 0, 0, 0, 1}, 9, 512, 0);
	assert_true(fake.first->fua);
	complete_all();
	send_command(0, 0, (uint8_t[]){0x35}, 1, 0, 0);
	assert_int_equal(fake.first->operation, DISK_FLUSH);
	complete_all();
	good(COMMAND(0, 0, 0x2f, 0, 0, 0, 0, 60, 0, 0, 4), 0);
	failed(COMMAND(0, 0, 0x2f, 0, 0, 0, 0, 60, 0, 0, 5), ILLEGAL_REQUEST, OUT_OF_RANGE, 0);
}

/* 5.6.6.1: the driver has given less room than the command wants. */
static void overruns(void **state)
{
	unsigned submitted = fake.submitted;

	get_ready();
	COMMAND(0, 511, 0x28, 0, 0, 0, 0, 0, 0, 0, 1);
	assert_int_equal(response.response, VIRTIO_SCSI_S_OVERRUN);
	COMMAND(0, 0, 0x28, 0, 0, 0, 0, 0, 0, 0, 1);
	assert_int_equal(response.response, VIRTIO_SCSI_S_OVERRUN);
	COMMAND(100, 0, 0x2a, 0, 0, 0, 0, 0, 0, 0, 1);
	assert_int_equal(response.response, VIRTIO_SCSI_S_OVERRUN);
	COMMAND(0, 7, 0x25);
	assert_int_equal(response.response, VIRTIO_SCSI_S_OVERRUN);
	COMMAND(23, 0, 0x42, 0, 0, 0, 0, 0, 0, 0, 24);
	assert_int_equal(response.response, VIRTIO_SCSI_S_OVERRUN);
	assert_int_equal(fake.submitted, submitted);
	/* Both ways: a feature that is not offered. */
	COMMAND(512, 512, 0x28, 0, 0, 0, 0, 0, 0, 0, 1);
	assert_int_equal(response.response, VIRTIO_SCSI_S_FAILURE);
}

static void put_range(unsigned index, uint64_t first, uint32_t count)
{
	put64(out + 8 + 16 * index, first);
	put32(out + 16 + 16 * index, count);
}

static bool is_zero(unsigned first, unsigned count)
{
	static const uint8_t zeroes[BLOCK];

	for (; count; first++, count--)
		if (memcmp(fake.bytes + first * BLOCK, zeroes, BLOCK) != 0)
			return false;
	return true;
}

static void unmaps(void **state)
{
	static const uint8_t two[] = {0x42, 0, 0, 0, 0, 0, 0, 0, 40};

	get_ready();
	memset(out, 0, sizeof(out));
	put16(out, 38);
	put16(out + 2, 32);
	put_range(0, 4, 2);
	put_range(1, 8, 1);
	good(command_at(0, 0, two, sizeof(two), 40, 0), 0);
	assert_true(is_zero(4, 2) && is_zero(8, 1) && !is_zero(6, 1) && !is_zero(7, 1));
	/* All are checked before the first one is done. */
	put_range(0, 10, 2);
	put_range(1, 63, 2);
	failed(command_at(0, 0, two, sizeof(two), 40, 0), ILLEGAL_REQUEST, OUT_OF_RANGE, 0);
	assert_false(is_zero(10, 1));
	put_range(1, 0, (4 << 20) + 1);
	failed(command_at(0, 0, two, sizeof(two), 40, 0), ILLEGAL_REQUEST, BAD_LIST_FIELD, 0);
	put16(out + 2, 48);
	failed(command_at(0, 0, two, sizeof(two), 40, 0), ILLEGAL_REQUEST, BAD_LIST_LENGTH, 0);
	failed(COMMAND(512, 0, 0x42, 0, 0, 0, 0, 0, 0, 2, 0), ILLEGAL_REQUEST, BAD_LIST_LENGTH, 0);
	failed(COMMAND(512, 0, 0x42, 0, 0, 0, 0, 0, 0, 0, 7), ILLEGAL_REQUEST, BAD_LIST_LENGTH, 0);
	put16(out + 2, 0);
	good(command_at(0, 0, two, sizeof(two), 40, 0), 0);
	/* WRITE SAME, with a block of zeroes and without. */
	memset(out, 0, sizeof(out));
	send_command(0, 0, (uint8_t[]){0x41, 8, 0, 0, 0, 12, 0, 0, 2}, 9, 512, 0);
	assert_true(fake.first->unmap && fake.first->operation == DISK_WRITE_ZEROES);
	complete_all();
	good(response.status, 0);
	assert_true(is_zero(12, 2) && !is_zero(14, 1));
	good(COMMAND(0, 0, 0x93, 1, 0, 0, 0, 0, 0, 0, 0, 15, 0, 0, 0, 1), 0);
	assert_true(is_zero(15, 1));
	failed(COMMAND(0, 0, 0x93, 1, 0, 0, 0, 0, 0, 0, 0, 15), ILLEGAL_REQUEST, BAD_FIELD, 0);
	out[511] = 1;
	failed(COMMAND(512, 0, 0x41, 0, 0, 0, 0, 20, 0, 0, 1), ILLEGAL_REQUEST, BAD_LIST_FIELD, 0);
	assert_false(is_zero(20, 1));
}

static void what_the_disk_cannot_do(void **state)
{
	get_ready();
	fake.disk.can_discard = fake.disk.can_write_zeroes = false;
	failed(COMMAND(40, 0, 0x42, 0, 0, 0, 0, 0, 0, 0, 40), ILLEGAL_REQUEST, BAD_COMMAND, 0);
	failed(COMMAND(512, 0, 0x41, 0, 0, 0, 0, 0, 0, 0, 1), ILLEGAL_REQUEST, BAD_COMMAND, 0);
	good(COMMAND(0, 64, 0x12, 1, 0xb2, 0, 64), 56);
	assert_int_equal(in[5], 0);
	fake.disk.read_only = true;
	failed(COMMAND(512, 0, 0x2a, 0, 0, 0, 0, 0, 0, 0, 1), DATA_PROTECT, WRITE_PROTECTED, 0);
	good(COMMAND(0, 192, 0x1a, 0, 0x3f, 0, 192), 192 - 36);
	assert_int_equal(in[2], 0x90);
}

static void errors_of_the_disk(void **state)
{
	static const struct {
		uint8_t block[9];
		int error;
		uint8_t key, code, qualifier;
	} rows[] = {
		{{0x28, 0, 0, 0, 0, 0, 0, 0, 1}, -EIO, MEDIUM_ERROR, UNRECOVERED_READ, 0},
		{{0x35}, -EIO, MEDIUM_ERROR, WRITE_ERROR, 0},
		{{0x35}, -ENOSPC, DATA_PROTECT, WRITE_PROTECTED, 7},
		{{0x35}, -EOPNOTSUPP, ILLEGAL_REQUEST, BAD_COMMAND, 0},
	};

	get_ready();
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		send_command(0, 0, rows[i].block, 9, 0, rows[i].block[0] == 0x28 ? 512 : 0);
		assert_true(fake_complete(rows[i].error));
		failed(response.status, rows[i].key, rows[i].code, rows[i].qualifier);
		assert_int_equal(response.resid, rows[i].block[0] == 0x28 ? 512 : 0);
	}
}

static void discs(void **state)
{
	get_ready();
	good(CD_COMMAND(8, 0x25), 0);
	assert_int_equal(get32(in), FAKE_SECTORS / 4 - 1);
	assert_int_equal(get32(in + 4), 2048);
	good(CD_COMMAND(4096, 0x28, 0, 0, 0, 0, 14, 0, 0, 2), 0);
	assert_memory_equal(in, fake.bytes + 14 * 2048, 4096);
	good(CD_COMMAND(20, 0x43, 0, 0, 0, 0, 0, 0, 0, 20), 0);
	good(CD_COMMAND(64, 0x46, 0, 0, 1, 0, 0, 0, 0, 64), 64 - 40);
	assert_int_equal(in[8 + 7], 1); /* it is on SCSI */
	failed(CD_COMMAND(0, 0x2a), ILLEGAL_REQUEST, BAD_COMMAND, 0);
	/* The tray is open. */
	good(CD_COMMAND(0, 0x1b, 0, 0, 0, 2), 0);
	failed(CD_COMMAND(0, 0), NOT_READY, NO_MEDIUM, 2);
	/* The sense was given with the status, and is not asked for again. */
	good(CD_COMMAND(18, 0x03, 0, 0, 0, 18), 0);
	assert_int_equal(in[2], NO_SENSE);
}

/* --- task management --- */

static struct virtio_scsi_ctrl_tmf_req task;
static uint8_t task_response;

static void send_task(uint32_t subtype, uint8_t target, uint16_t lun)
{
	static struct iovec both[2] = {{&task, sizeof(task)}, {&task_response, 1}};

	task = (struct virtio_scsi_ctrl_tmf_req){
		.type = VIRTIO_SCSI_T_TMF, .subtype = subtype, .tag = 77};
	put_lun(task.lun, target, lun);
	task_response = NOTHING;
	offer(both, 1, 1);
	notify(0);
}

static void manages_tasks(void **state)
{
	static const uint8_t write[] = {0x2a, 0, 0, 0, 0, 0, 0, 0, 1};

	get_ready();
	send_task(VIRTIO_SCSI_T_TMF_ABORT_TASK, DISK_TARGET, 0);
	assert_int_equal(task_response, VIRTIO_SCSI_S_OK);
	send_task(VIRTIO_SCSI_T_TMF_QUERY_TASK, DISK_TARGET, 0);
	assert_int_equal(task_response, VIRTIO_SCSI_S_OK);
	send_task(VIRTIO_SCSI_T_TMF_ABORT_TASK, 9, 0);
	assert_int_equal(task_response, VIRTIO_SCSI_S_BAD_TARGET);
	send_task(VIRTIO_SCSI_T_TMF_ABORT_TASK, DISK_TARGET, 9);
	assert_int_equal(task_response, VIRTIO_SCSI_S_INCORRECT_LUN);
	send_task(VIRTIO_SCSI_T_TMF_CLEAR_ACA, DISK_TARGET, 0);
	assert_int_equal(task_response, VIRTIO_SCSI_S_FUNCTION_REJECTED);
	send_task(99, DISK_TARGET, 0);
	assert_int_equal(task_response, VIRTIO_SCSI_S_FUNCTION_REJECTED);
	send_command(0, 0, write, sizeof(write), 512, 0);
	send_task(VIRTIO_SCSI_T_TMF_QUERY_TASK, DISK_TARGET, 0);
	assert_int_equal(task_response, VIRTIO_SCSI_S_FUNCTION_SUCCEEDED);
	send_task(VIRTIO_SCSI_T_TMF_ABORT_TASK_SET, CDROM_TARGET, CDROM_LUN);
	assert_int_equal(task_response, VIRTIO_SCSI_S_OK);
	/* It waits for the write, not for those after it; and the next function for it. */
	send_task(VIRTIO_SCSI_T_TMF_LOGICAL_UNIT_RESET, DISK_TARGET, 0);
	assert_int_equal(task_response, NOTHING);
	send_command(0, 0, write, sizeof(write), 512, 0);
	assert_true(fake_complete(0));
	assert_int_equal(task_response, VIRTIO_SCSI_S_OK);
	complete_all();
	failed(COMMAND(0, 0, 0), UNIT_ATTENTION, WAS_RESET, 0);
	good(COMMAND(0, 0, 0), 0);
	send_task(VIRTIO_SCSI_T_TMF_I_T_NEXUS_RESET, CDROM_TARGET, 0);
	assert_int_equal(task_response, VIRTIO_SCSI_S_OK);
	failed(CD_COMMAND(0, 0), UNIT_ATTENTION, WAS_RESET, 0);
}

static void the_next_function_waits(void **state)
{
	static const uint8_t write[] = {0x2a, 0, 0, 0, 0, 0, 0, 0, 1};

	get_ready();
	send_command(0, 0, write, sizeof(write), 512, 0);
	send_task(VIRTIO_SCSI_T_TMF_ABORT_TASK, DISK_TARGET, 0);
	send_task(VIRTIO_SCSI_T_TMF_QUERY_TASK_SET, DISK_TARGET, 0);
	assert_int_equal(played.taken, played.chain_count - 1);
	complete_all();
	assert_non_null(played.posted);
	played.posted->run(played.posted->opaque);
	assert_int_equal(played.taken, played.chain_count);
	assert_int_equal(task_response, VIRTIO_SCSI_S_OK);
}

static void no_events(void **state)
{
	struct virtio_scsi_ctrl_an_req request = {.type = VIRTIO_SCSI_T_AN_SUBSCRIBE};
	struct virtio_scsi_ctrl_an_resp answer = {NOTHING, NOTHING};
	struct iovec both[2] = {{&request, sizeof(request)}, {&answer, sizeof(answer)}};
	unsigned taken = played.taken;

	put_lun(request.lun, CDROM_TARGET, CDROM_LUN);
	offer(both, 1, 1);
	notify(1); /* the event queue's buffers stay there */
	assert_int_equal(played.taken, taken);
	notify(0);
	assert_int_equal(answer.event_actual, 0);
	assert_int_equal(answer.response, VIRTIO_SCSI_S_OK);
}

/* --- hostile drivers --- */

static void needs_reset_without_a_response(void **state)
{
	pieces[0] = (struct iovec){&header, sizeof(header)};
	pieces[1] = (struct iovec){&response, 107};
	offer(pieces, 1, 1);
	notify(2);
	assert_int_equal(played.needs_reset, 1);
	offer(pieces, 1, 1);
	notify(2); /* nothing is taken any more */
	assert_int_equal(played.taken, 1);
	played.device->ops->stop(played.device);
	played.device->ops->start(played.device);
	played.taken = played.chain_count = 0;
	pieces[0] = (struct iovec){&task, 11};
	offer(pieces, 1, 1);
	notify(0);
	assert_int_equal(played.needs_reset, 2);
}

static void short_requests_fail(void **state)
{
	memset(&response, NOTHING, sizeof(response));
	pieces[0] = (struct iovec){&header, sizeof(header) - 1};
	pieces[1] = (struct iovec){&response, sizeof(response)};
	offer(pieces, 1, 1);
	notify(2);
	assert_int_equal(response.response, VIRTIO_SCSI_S_FAILURE);
	assert_int_equal(played.needs_reset, 0);
}

static void stop_waits(void **state)
{
	get_ready();
	send_command(0, 0, (uint8_t[]){0x35}, 1, 0, 0);
	send_task(VIRTIO_SCSI_T_TMF_LOGICAL_UNIT_RESET, DISK_TARGET, 0);
	played.device->ops->stop(played.device);
	assert_int_equal(played.stopped, 0);
	assert_true(fake_complete(0));
	assert_int_equal(played.stopped, 1);
	assert_int_equal(task_response, VIRTIO_SCSI_S_OK);
}

/* --- what the driver sets --- */

static struct virtio_scsi_config *shown(void)
{
	return (struct virtio_scsi_config *)played.device->config;
}

static void write_sizes(uint32_t sense_size, uint32_t cdb_size)
{
	shown()->sense_size = sense_size;
	shown()->cdb_size = cdb_size;
	shown()->num_queues = 99;
	played.device->ops->config_written(played.device, 20, 4);
}

static void sizes(void **state)
{
	assert_int_equal(shown()->num_queues, 4);
	assert_int_equal(played.device->queue_count, 6);
	assert_int_equal(shown()->max_target, CDROM_TARGET);
	assert_int_equal(shown()->max_lun, CDROM_LUN);
	write_sizes(4, 16);
	assert_int_equal(shown()->num_queues, 4);
	memset(&response, NOTHING, sizeof(response));
	memset(&header, 0, sizeof(header));
	put_lun(header.lun, DISK_TARGET, 0);
	pieces[0] = (struct iovec){&header, 19 + 16};
	pieces[1] = (struct iovec){&response, 12 + 4};
	offer(pieces, 1, 1);
	notify(2);
	assert_int_equal(response.status, 2);
	assert_int_equal(response.sense_len, 4);
	assert_int_equal(response.sense[2], UNIT_ATTENTION);
	assert_int_equal(response.sense[4], NOTHING);
	/* What is too much is as if it had not been written. */
	write_sizes(257, 257);
	assert_int_equal(shown()->sense_size, 4);
	assert_int_equal(shown()->cdb_size, 16);
	/* A stop of the machine changes nothing; a reset does. */
	played.device->ops->stop(played.device);
	assert_int_equal(shown()->sense_size, 4);
	played.device->state.resetting = true;
	played.device->ops->stop(played.device);
	assert_int_equal(shown()->sense_size, 96);
	played.device->state.resetting = false;
	write_sizes(4, 16);
	played.settings_ops->reset(played.settings);
	assert_int_equal(shown()->cdb_size, 32);
}

/* The settings as bytes, which another controller takes. */
static void saved(void **state)
{
	struct state_writer writer = {0};
	struct state_reader reader;
	struct state_section section;
	const struct device_ops *ops = played.settings_ops;

	get_ready();
	good(CD_COMMAND(0, 0x1b, 0, 0, 0, 2), 0);
	write_sizes(64, 40);
	state_write(&writer, ops->name, 0, ops->version, ops->fields,
		(uint8_t *)played.settings + ops->state_offset);
	ops->reset(played.settings);
	reader = (struct state_reader){writer.bytes, writer.size};
	assert_int_equal(state_next(&reader, &section), 0);
	assert_int_equal(
		state_read(&section, ops->fields, (uint8_t *)played.settings + ops->state_offset),
		0);
	ops->loaded(played.settings);
	assert_int_equal(shown()->sense_size, 64);
	assert_int_equal(shown()->cdb_size, 40);
	write_sizes(96, 32);
	/* No unit attention, and an open tray. */
	good(COMMAND(0, 0, 0), 0);
	failed(CD_COMMAND(0, 0), NOT_READY, NO_MEDIUM, 2);
	free(writer.bytes);
}

static void disks_go_with_a_device_that_fails(void **state)
{
	const struct scsi_unit_config unit = {0, 0, &fake.disk, false, ""};

	teardown(state);
	memset(&played, 0, sizeof(played));
	fake_disk_setup();
	played.add_error = -ENOSPC;
	assert_int_equal(virtio_scsi_create(NULL, -1, 0, &unit, 1, 1), -ENOSPC);
	assert_int_equal(fake.destroyed, 1);
	setup(state);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(identifies_units),
		TEST(pages),
		TEST(capacity_and_modes),
		TEST(reads_and_writes),
		TEST(overruns),
		TEST(unmaps),
		TEST(what_the_disk_cannot_do),
		TEST(errors_of_the_disk),
		TEST(discs),
		TEST(manages_tasks),
		TEST(the_next_function_waits),
		TEST(no_events),
		TEST(needs_reset_without_a_response),
		TEST(short_requests_fail),
		TEST(stop_waits),
		TEST(sizes),
		TEST(saved),
		TEST(disks_go_with_a_device_that_fails),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
