/* The NVMe controller, as a driver finds it: registers, admin commands, queues, requests by pages
 * and lists of pages, resets and saved states. */
#include "storage_fixture.h"

#include "device/storage/nvme_internal.h"

#include <linux/pci.h>
#include <sched.h>
#include <time.h>

#define SLOT    5
#define SECTORS 8192
#define MMIO    UINT64_C(0xc8000000)
#define TABLE   UINT64_C(0xc8010000) /* of MSI-X */

/* Guest memory. */
#define ADMIN_SQ 0x10000
#define ADMIN_CQ 0x11000
#define IO_SQ    0x12000
#define IO_CQ    0x13000
#define LIST     0x20000
#define DATA     0x200000
#define ENTRIES  8

enum { FLUSH, WRITE, READ, ZEROES = 8, DATASET };
enum {
	DELETE_SQ,
	CREATE_SQ,
	LOG_PAGE,
	DELETE_CQ = 4,
	CREATE_CQ,
	IDENTIFY,
	ABORT = 8,
	SET,
	GET,
	EVENT = 12
};

static struct memory_disk *disk;
static struct nvme *nvme;
static atomic_uint messages[32];

/* The driver's side of a queue pair. */
static struct queue {
	uint64_t sq, cq;
	unsigned index, tail, head;
	bool phase;
} admin, io;

static bool on_message(void *opaque, uint64_t address, uint32_t data)
{
	atomic_fetch_add(&messages[data], 1);
	return true;
}

static void config_write(unsigned offset, uint32_t value, unsigned size)
{
	io_space_write(&f.ports, 0xcf8, 0x80000000u | SLOT << 11 | (offset & 0xfc), 4);
	io_space_write(&f.ports, 0xcfc + (offset & 3), value, size);
}

static uint32_t config_read(unsigned offset, unsigned size)
{
	io_space_write(&f.ports, 0xcf8, 0x80000000u | SLOT << 11 | (offset & 0xfc), 4);
	return (uint32_t)io_space_read(&f.ports, 0xcfc + (offset & 3), size);
}

static uint32_t reg(unsigned offset)
{
	return (uint32_t)io_space_read(&f.memory.mmio, MMIO + offset, 4);
}

static void set_reg(unsigned offset, uint64_t value, unsigned size)
{
	io_space_write(&f.memory.mmio, MMIO + offset, value, size);
}

/* What the worker has posted to the I/O thread is done. */
static void run_posted(void)
{
	event_loop_stop(f.loop);
	assert_int_equal(event_loop_run(f.loop), 0);
}

static void wait_status(uint32_t mask, uint32_t wanted)
{
	for (unsigned i = 0; i < 10000; i++) {
		run_posted();
		if ((reg(0x1c) & mask) == wanted)
			return;
		nanosleep(&(struct timespec){0, 1000000}, NULL);
	}
	fail_msg("CSTS is 0x%x", reg(0x1c));
}

static void enable_msix(void)
{
	unsigned at = config_read(PCI_CAPABILITY_LIST, 1);

	while (config_read(at, 1) != PCI_CAP_ID_MSIX)
		at = config_read(at + 1, 1);
	for (unsigned i = 0; i < NVME_QUEUES; i++) {
		io_space_write(&f.memory.mmio, TABLE + 16 * i, 0xfee00000, 8);
		io_space_write(&f.memory.mmio, TABLE + 16 * i + 8, i, 8);
	}
	config_write(at + PCI_MSIX_FLAGS, PCI_MSIX_FLAGS_ENABLE, 2);
}

static void enable(void)
{
	uint8_t zeros[0x1000] = {0};

	for (uint64_t at = ADMIN_SQ; at <= IO_CQ; at += sizeof(zeros))
		assert_int_equal(memory_write(&f.memory, at, zeros, sizeof(zeros)), 0);
	admin = (struct queue){ADMIN_SQ, ADMIN_CQ, 0, 0, 0, true};
	io = (struct queue){IO_SQ, IO_CQ, 1, 0, 0, true};
	set_reg(0x24, (ENTRIES - 1) << 16 | (ENTRIES - 1), 4);
	set_reg(0x28, ADMIN_SQ, 8);
	set_reg(0x30, ADMIN_CQ, 8);
	set_reg(0x14, 0x00460001, 4);
	assert_int_equal(reg(0x1c), NVME_CSTS_READY);
}

static void create(void)
{
	struct pci_config config = {.memory = &f.memory,
		.ports = &f.ports,
		.devices = &f.devices,
		.loop = f.loop,
		.msi = on_message};
	struct pci_bus *bus = pci_create(&config);

	assert_non_null(bus);
	disk = memory_disk(SECTORS);
	disk->disk.can_write_zeroes = true;
	assert_int_equal(nvme_create(bus, SLOT, 0, &disk->disk, "number"), 0);
	for (struct device *device = f.devices.first; device; device = device->next)
		if (strcmp(device->ops->name, "nvme") == 0)
			nvme = (struct nvme *)device;
	memset(messages, 0, sizeof(messages));
}

static int setup(void **state)
{
	fixture_setup();
	create();
	config_write(PCI_BASE_ADDRESS_0, (uint32_t)MMIO, 4);
	config_write(PCI_BASE_ADDRESS_0 + 16, (uint32_t)TABLE, 4);
	config_write(PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
	return 0;
}

static int teardown(void **state)
{
	fixture_teardown();
	return 0;
}

/* --- commands --- */

static void ring_sq(const struct queue *queue)
{
	set_reg(0x1000 + 8 * queue->index, queue->tail, 4);
}

static void put(struct queue *queue, const struct nvme_command *command)
{
	assert_int_equal(memory_write(&f.memory, queue->sq + 64 * queue->tail, command, 64), 0);
	queue->tail = (queue->tail + 1) % ENTRIES;
}

struct completion {
	uint32_t result, unused;
	uint16_t sq_head, sq, id, status;
};

static bool take(struct queue *queue, struct completion *completion)
{
	assert_int_equal(memory_read(&f.memory, queue->cq + 16 * queue->head, completion, 16), 0);
	if ((completion->status & 1) != queue->phase)
		return false;
	completion->status >>= 1;
	queue->head = (queue->head + 1) % ENTRIES;
	queue->phase ^= !queue->head;
	set_reg(0x1004 + 8 * queue->index, queue->head, 4);
	return true;
}

static struct completion wait_for(struct queue *queue)
{
	struct completion completion;

	for (unsigned i = 0; i < 10000; i++) {
		if (take(queue, &completion))
			return completion;
		nanosleep(&(struct timespec){0, 1000000}, NULL);
	}
	fail_msg("no completion");
	return completion;
}

static uint16_t run_with(struct queue *queue, struct nvme_command command, uint32_t *result)
{
	static uint16_t id;
	struct completion completion;

	command.id = ++id;
	put(queue, &command);
	ring_sq(queue);
	completion = wait_for(queue);
	assert_int_equal(completion.id, command.id);
	assert_int_equal(completion.sq, queue->index);
	assert_int_equal(completion.sq_head, queue->tail);
	if (result)
		*result = completion.result;
	return completion.status;
}

#define RUN(queue, ...) run_with(&(queue), (struct nvme_command){__VA_ARGS__}, NULL)

static void create_queues(void)
{
	assert_int_equal(RUN(admin, .opcode = CREATE_CQ, .prp = {IO_CQ},
				 .dw10 = (ENTRIES - 1) << 16 | 1, .dw11 = 3 << 16 | 3),
		0);
	assert_int_equal(RUN(admin, .opcode = CREATE_SQ, .prp = {IO_SQ},
				 .dw10 = (ENTRIES - 1) << 16 | 1, .dw11 = 1 << 16 | 1),
		0);
}

static void enable_io(void)
{
	enable_msix();
	enable();
	create_queues();
}

/* --- registers --- */

static void presence(void **state)
{
	assert_int_equal(config_read(0, 4), 0x00101b36);
	assert_int_equal(config_read(8, 4) >> 8, 0x010802);
	assert_int_equal(reg(0), 0x140103ff);
	assert_int_equal(reg(4), 0x20);
	assert_int_equal(reg(8), 0x00010400);
	assert_int_equal(reg(0x1c), 0);
	enable();
	set_reg(0x14, 0x00460000, 4);
	wait_status(NVME_CSTS_READY, 0);
}

static void what_cannot_be_enabled(void **state)
{
	static const struct {
		uint32_t aqa, cc;
	} bad[] = {{0, 0x00460001}, {0x00070000, 0x00460001}, {0x00070007, 0x00460081},
		{0x00070007, 0x00460011}, {0x00070007, 0x00450001}};

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		set_reg(0x24, bad[i].aqa, 4);
		set_reg(0x14, bad[i].cc, 4);
		assert_int_equal(reg(0x1c), NVME_CSTS_FATAL);
		set_reg(0x14, 0, 4);
		assert_int_equal(reg(0x1c), 0);
	}
}

static void queues_where_no_memory_is(void **state)
{
	set_reg(0x24, 0x00070007, 4);
	set_reg(0x28, 0x7000000000, 8);
	set_reg(0x14, 0x00460001, 4);
	set_reg(0x1000, 1, 4);
	wait_status(NVME_CSTS_FATAL, NVME_CSTS_FATAL);
	set_reg(0x14, 0, 4);
	wait_status(UINT32_MAX, 0);
	enable(); /* and all is well again */
	assert_int_equal(RUN(admin, .opcode = ABORT), 0);
}

/* --- admin commands --- */

static void identify(void **state)
{
	uint8_t bytes[4096];

	enable();
	assert_int_equal(RUN(admin, .opcode = IDENTIFY, .prp = {DATA}, .dw10 = 1), 0);
	memory_read(&f.memory, DATA, bytes, sizeof(bytes));
	assert_memory_equal(bytes + 4, "number              veneer NVMe", 31);
	assert_int_equal(bytes[77], 8);
	assert_int_equal(bytes[520], 0x0c);
	/* Over two pages. */
	assert_int_equal(RUN(admin, .opcode = IDENTIFY, .namespace = 1,
				 .prp = {DATA + 0xf00, DATA + 0x8000}),
		0);
	memory_read(&f.memory, DATA + 0xf00, bytes, 0x100);
	memory_read(&f.memory, DATA + 0x8000, bytes + 0x100, 0xf00);
	assert_int_equal(bytes[0] | bytes[1] << 8, SECTORS);
	assert_int_equal(bytes[130], 9);
	assert_int_equal(RUN(admin, .opcode = IDENTIFY, .prp = {DATA}, .dw10 = 2), 0);
	memory_read(&f.memory, DATA, bytes, 8);
	assert_int_equal(bytes[0], 1);
	assert_int_equal(bytes[4], 0);
	assert_int_equal(RUN(admin, .opcode = IDENTIFY, .namespace = 2, .prp = {DATA}),
		NVME_INVALID_NAMESPACE);
	assert_int_equal(
		RUN(admin, .opcode = IDENTIFY, .prp = {DATA}, .dw10 = 0x77), NVME_INVALID_FIELD);
	assert_int_equal(RUN(admin, .opcode = IDENTIFY, .prp = {0x7000000000}, .dw10 = 1),
		NVME_DATA_TRANSFER_ERROR);
	assert_int_equal(RUN(admin, .opcode = 0x7f), NVME_INVALID_OPCODE);
	assert_int_equal(RUN(admin, .opcode = ABORT, .flags = 0x40), NVME_INVALID_FIELD);
}

static void features_and_logs(void **state)
{
	uint32_t result;
	uint8_t bytes[512];

	enable();
	assert_int_equal(
		run_with(&admin, (struct nvme_command){.opcode = SET, .dw10 = 7, .dw11 = 0x30003},
			&result),
		0);
	assert_int_equal(result, (NVME_QUEUES - 2) * 0x10001);
	assert_int_equal(RUN(admin, .opcode = SET, .dw10 = 6, .dw11 = 0xfffffffe), 0);
	run_with(&admin, (struct nvme_command){.opcode = GET, .dw10 = 6}, &result);
	assert_int_equal(result, 0);
	run_with(&admin, (struct nvme_command){.opcode = GET, .dw10 = 0x106}, &result);
	assert_int_equal(result, 1);
	assert_int_equal(RUN(admin, .opcode = GET, .dw10 = 3), NVME_INVALID_FIELD);
	assert_int_equal(RUN(admin, .opcode = SET, .dw10 = 0xff), NVME_INVALID_FIELD);
	assert_int_equal(RUN(admin, .opcode = LOG_PAGE, .prp = {DATA}, .dw10 = 127 << 16 | 2), 0);
	memory_read(&f.memory, DATA, bytes, sizeof(bytes));
	assert_int_equal(bytes[3], 100);
	assert_int_equal(RUN(admin, .opcode = LOG_PAGE, .prp = {DATA}, .dw10 = 0xff02,
				 .dw11 = 0xffff, .dw12 = 500),
		0);
	assert_int_equal(
		RUN(admin, .opcode = LOG_PAGE, .prp = {DATA}, .dw10 = 9), NVME_INVALID_LOG_PAGE);
	assert_int_equal(RUN(admin, .opcode = LOG_PAGE, .prp = {DATA}, .dw10 = 2, .dw12 = 516),
		NVME_INVALID_FIELD);
}

static void queues_that_cannot_be(void **state)
{
	static const struct {
		uint8_t opcode;
		uint32_t dw10, dw11;
		uint64_t at;
		uint16_t status;
	} bad[] = {
		{CREATE_CQ, 7 << 16, 1, IO_CQ, NVME_INVALID_QUEUE},
		{CREATE_CQ, 7 << 16 | NVME_QUEUES, 1, IO_CQ, NVME_INVALID_QUEUE},
		{CREATE_CQ, 2, 1, IO_CQ, NVME_INVALID_QUEUE_SIZE},
		{CREATE_CQ, 1024 << 16 | 2, 1, IO_CQ, NVME_INVALID_QUEUE_SIZE},
		{CREATE_CQ, 0xffff << 16 | 2u, 1, IO_CQ, NVME_INVALID_QUEUE_SIZE},
		{CREATE_CQ, 7 << 16 | 2, 0, IO_CQ, NVME_INVALID_FIELD},
		{CREATE_CQ, 7 << 16 | 2, 1, IO_CQ + 8, NVME_INVALID_PRP_OFFSET},
		{CREATE_CQ, 7 << 16 | 2, 1 | NVME_QUEUES << 16, IO_CQ, NVME_INVALID_VECTOR},
		{CREATE_CQ, 7 << 16 | 1, 1, IO_CQ, NVME_INVALID_QUEUE},
		{CREATE_SQ, 7 << 16 | 1, 1 | 1 << 16, IO_SQ, NVME_INVALID_QUEUE},
		{CREATE_SQ, 7 << 16 | 2, 1 | 2 << 16, IO_SQ, NVME_COMPLETION_QUEUE_INVALID},
		{CREATE_SQ, 7 << 16 | 2, 1, IO_SQ, NVME_COMPLETION_QUEUE_INVALID},
		{CREATE_SQ, 7 << 16 | 2, 1 | 0xffffu << 16, IO_SQ, NVME_COMPLETION_QUEUE_INVALID},
		{DELETE_CQ, 1, 0, 0, NVME_INVALID_QUEUE_DELETION},
		{DELETE_CQ, 0, 0, 0, NVME_INVALID_QUEUE},
		{DELETE_CQ, 0xffff, 0, 0, NVME_INVALID_QUEUE},
		{DELETE_SQ, 0, 0, 0, NVME_INVALID_QUEUE},
		{DELETE_SQ, 2, 0, 0, NVME_INVALID_QUEUE},
	};

	enable_io();
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(RUN(admin, .opcode = bad[i].opcode, .prp = {bad[i].at},
					 .dw10 = bad[i].dw10, .dw11 = bad[i].dw11),
			bad[i].status);
	assert_int_equal(RUN(admin, .opcode = DELETE_SQ, .dw10 = 1), 0);
	assert_int_equal(RUN(admin, .opcode = DELETE_CQ, .dw10 = 1), 0);
	io = (struct queue){IO_SQ, IO_CQ, 1, 0, 0, true};
	create_queues();
}

static void events(void **state)
{
	struct completion completion;

	enable();
	for (unsigned i = 0; i < NVME_EVENTS; i++)
		put(&admin, &(struct nvme_command){.opcode = EVENT, .id = 100});
	ring_sq(&admin);
	assert_int_equal(RUN(admin, .opcode = EVENT), NVME_TOO_MANY_EVENT_REQUESTS);
	set_reg(0x1000, ENTRIES, 4);
	completion = wait_for(&admin);
	assert_int_equal(completion.id, 100);
	assert_int_equal(completion.status, 0);
	assert_int_equal(completion.result, 0x010100);
	/* Of the next one it is told when it has read the log. */
	set_reg(0x1008, 3, 4);
	assert_int_equal(RUN(admin, .opcode = ABORT), 0);
	assert_int_equal(RUN(admin, .opcode = LOG_PAGE, .prp = {DATA}, .dw10 = 15 << 16 | 1), 0);
	completion = wait_for(&admin);
	assert_int_equal(completion.id, 100);
	assert_int_equal(completion.result, 0x010000);
}

/* --- reading and writing --- */

static void assert_data(uint64_t at, uint64_t sector, unsigned bytes)
{
	uint8_t data[512];

	for (unsigned i = 0; i < bytes; i += 512) {
		assert_int_equal(memory_read(&f.memory, at + i, data, 512), 0);
		assert_memory_equal(data, disk->bytes + sector * 512 + i, 512);
	}
}

static void reads_by_pages(void **state)
{
	enable_io();
	assert_int_equal(RUN(io, .opcode = READ, .namespace = 1, .prp = {DATA + 0x200}, .dw10 = 7,
				 .dw12 = 1),
		0);
	assert_data(DATA + 0x200, 7, 1024);
	assert_int_equal(RUN(io, .opcode = READ, .namespace = 1,
				 .prp = {DATA + 0xe00, DATA + 0x5000}, .dw10 = 20, .dw12 = 7),
		0);
	assert_data(DATA + 0xe00, 20, 512);
	assert_data(DATA + 0x5000, 21, 7 * 512);
	assert_true(atomic_load(&messages[3]) >= 2);
	assert_int_equal(
		RUN(io, .opcode = READ, .namespace = 1, .prp = {DATA}, .dw10 = SECTORS - 1), 0);
	assert_int_equal(RUN(io, .opcode = READ, .namespace = 1, .prp = {DATA}, .dw10 = SECTORS),
		NVME_LBA_OUT_OF_RANGE);
	assert_int_equal(RUN(io, .opcode = READ, .namespace = 1, .prp = {DATA}, .dw10 = SECTORS - 1,
				 .dw12 = 1),
		NVME_LBA_OUT_OF_RANGE);
	assert_int_equal(
		RUN(io, .opcode = READ, .namespace = 1, .prp = {DATA}, .dw10 = ~0u, .dw11 = ~0u),
		NVME_LBA_OUT_OF_RANGE);
	assert_int_equal(
		RUN(io, .opcode = READ, .namespace = 2, .prp = {DATA}), NVME_INVALID_NAMESPACE);
	assert_int_equal(RUN(io, .opcode = READ, .namespace = 1, .prp = {DATA + 1}),
		NVME_INVALID_PRP_OFFSET);
	assert_int_equal(RUN(io, .opcode = READ, .namespace = 1, .prp = {0x7000000000}),
		NVME_DATA_TRANSFER_ERROR);
	assert_int_equal(
		RUN(io, .opcode = READ, .namespace = 1, .prp = {DATA, DATA + 8}, .dw12 = 15),
		NVME_INVALID_PRP_OFFSET);
	assert_int_equal(RUN(io, .opcode = READ, .namespace = 1, .prp = {DATA}, .dw12 = 0x800),
		NVME_INVALID_FIELD); /* more than 1 MiB */
	assert_int_equal(
		RUN(io, .opcode = READ, .namespace = 1, .flags = 0x40), NVME_INVALID_FIELD);
	assert_int_equal(RUN(io, .opcode = 0x05, .namespace = 1), NVME_INVALID_OPCODE);
}

static void put_list(uint64_t at, const uint64_t *entries, unsigned count)
{
	assert_int_equal(memory_write(&f.memory, at, entries, count * 8), 0);
}

/* 1 MiB, by a list that goes on in another page after two entries. */
static void reads_by_lists(void **state)
{
	uint64_t entries[300];

	enable_io();
	put_list(LIST + 0xfe8, (uint64_t[]){DATA + 0x1000, DATA + 0x2000, LIST + 0x1000}, 3);
	for (unsigned i = 0; i < 253; i++)
		entries[i] = DATA + 0x3000 + i * 0x1000;
	put_list(LIST + 0x1000, entries, 253);
	assert_int_equal(RUN(io, .opcode = READ, .namespace = 1, .prp = {DATA, LIST + 0xfe8},
				 .dw10 = 100, .dw12 = 2047),
		0);
	assert_data(DATA, 100, MIB);
	/* A list of which only the end of a page is left, where the next page's address is. */
	put_list(LIST + 0xff8, (uint64_t[]){LIST + 0x1000}, 1);
	assert_int_equal(RUN(io, .opcode = READ, .namespace = 1, .prp = {DATA, LIST + 0xff8},
				 .dw10 = 50, .dw12 = 31),
		0);
	assert_data(DATA + 0x3000, 58, 3 * 0x1000);
	put_list(LIST + 0xff8, (uint64_t[]){LIST + 0xff8}, 1);
	assert_int_equal(RUN(io, .opcode = READ, .namespace = 1, .prp = {DATA, LIST + 0xff8},
				 .dw10 = 50, .dw12 = 31),
		NVME_INVALID_PRP_OFFSET);
	put_list(LIST, (uint64_t[]){DATA + 0x1000, DATA + 0x2004}, 2);
	assert_int_equal(RUN(io, .opcode = READ, .namespace = 1, .prp = {DATA, LIST}, .dw12 = 23),
		NVME_INVALID_PRP_OFFSET);
	assert_int_equal(
		RUN(io, .opcode = READ, .namespace = 1, .prp = {DATA, LIST + 4}, .dw12 = 23),
		NVME_INVALID_PRP_OFFSET);
}

static void writes(void **state)
{
	uint8_t data[1024];

	enable_io();
	memset(data, 0xa5, sizeof(data));
	memory_write(&f.memory, DATA, data, sizeof(data));
	assert_int_equal(
		RUN(io, .opcode = WRITE, .namespace = 1, .prp = {DATA}, .dw10 = 9, .dw12 = 1), 0);
	assert_memory_equal(disk->bytes + 9 * 512, data, sizeof(data));
	assert_int_equal(disk->fuas, 0);
	assert_int_equal(
		RUN(io, .opcode = WRITE, .namespace = 1, .prp = {DATA}, .dw12 = BIT(30)), 0);
	assert_int_equal(disk->fuas, 1);
	assert_int_equal(RUN(admin, .opcode = SET, .dw10 = 6), 0); /* no write cache */
	assert_int_equal(RUN(io, .opcode = WRITE, .namespace = 1, .prp = {DATA}), 0);
	assert_int_equal(disk->fuas, 2);
	assert_int_equal(RUN(io, .opcode = FLUSH, .namespace = UINT32_MAX), 0);
	assert_int_equal(RUN(io, .opcode = FLUSH, .namespace = 1), 0);
	assert_int_equal(disk->flushes, 2);
	assert_int_equal(RUN(io, .opcode = ZEROES, .namespace = 1, .dw10 = 9, .dw12 = 1), 0);
	assert_int_equal(
		RUN(io, .opcode = ZEROES, .namespace = 1, .dw10 = SECTORS), NVME_LBA_OUT_OF_RANGE);
	disk->error = -EIO;
	assert_int_equal(RUN(io, .opcode = WRITE, .namespace = 1, .prp = {DATA}), NVME_WRITE_FAULT);
	assert_int_equal(RUN(io, .opcode = READ, .namespace = 1, .prp = {DATA}), NVME_READ_ERROR);
	disk->error = -ENOSPC;
	assert_int_equal(
		RUN(io, .opcode = WRITE, .namespace = 1, .prp = {DATA}), NVME_CAPACITY_EXCEEDED);
	disk->error = 0;
	disk->disk.read_only = true;
	assert_int_equal(RUN(io, .opcode = WRITE, .namespace = 1, .prp = {DATA}), NVME_READ_ONLY);
}

static void discards(void **state)
{
	struct nvme_range ranges[3] = {{0, 2, 10}, {0, 0, 5}, {0, 1, 30}};

	enable_io();
	memory_write(&f.memory, DATA, ranges, sizeof(ranges));
	assert_int_equal(RUN(io, .opcode = DATASET, .namespace = 1, .prp = {DATA}, .dw10 = 2), 0);
	assert_int_equal(disk->discards, 0); /* advice */
	assert_int_equal(
		RUN(io, .opcode = DATASET, .namespace = 1, .prp = {DATA}, .dw10 = 2, .dw11 = 4), 0);
	assert_int_equal(disk->discards, 2);
	assert_int_equal(disk->bytes[10 * 512] | disk->bytes[11 * 512] | disk->bytes[30 * 512], 0);
	assert_int_equal(disk->bytes[12 * 512], 12);
	ranges[2].first = SECTORS;
	memory_write(&f.memory, DATA, ranges, sizeof(ranges));
	assert_int_equal(
		RUN(io, .opcode = DATASET, .namespace = 1, .prp = {DATA}, .dw10 = 2, .dw11 = 4),
		NVME_LBA_OUT_OF_RANGE);
	assert_int_equal(disk->discards, 2);
}

/* --- resets, pauses, interrupts --- */

/* Puts `count` reads into the queue, which the disk keeps. */
static void hold_reads(unsigned count)
{
	disk->held = true;
	for (unsigned i = 0; i < count; i++)
		put(&io, &(struct nvme_command){.opcode = READ,
				 .id = (uint16_t)i,
				 .namespace = 1,
				 .prp = {DATA + i * 0x1000},
				 .dw10 = i});
	ring_sq(&io);
	for (unsigned i = 0; i < 10000 && !disk->first; i++)
		nanosleep(&(struct timespec){0, 1000000}, NULL);
	assert_non_null(disk->first);
}

static void release(void)
{
	worker_call(nvme->worker, memory_disk_go_on, &disk->disk);
}

static void stop_waits_for_the_disk(void **state)
{
	enable_io();
	hold_reads(3);
	set_reg(0x14, 0x00460000, 4);
	run_posted();
	assert_int_equal(reg(0x1c), NVME_CSTS_READY);
	set_reg(0x14, 0x00460001, 4); /* too early */
	release();
	wait_status(UINT32_MAX, 0);
	assert_int_equal(disk->reads, 3);
	enable();
	create_queues();
	assert_int_equal(RUN(io, .opcode = READ, .namespace = 1, .prp = {DATA}), 0);
}

static void queue_deletion_waits_for_the_disk(void **state)
{
	struct completion completion;

	enable_io();
	hold_reads(3);
	put(&admin, &(struct nvme_command){.opcode = DELETE_SQ, .id = 77, .dw10 = 1});
	ring_sq(&admin);
	assert_int_equal(RUN(admin, .opcode = ABORT), 0);
	release();
	completion = wait_for(&admin);
	assert_int_equal(completion.id, 77);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(wait_for(&io).id, i);
	assert_int_equal(RUN(admin, .opcode = DELETE_CQ, .dw10 = 1), 0);
}

static void function_level_reset(void **state)
{
	unsigned at = config_read(PCI_CAPABILITY_LIST, 1);

	enable_io();
	hold_reads(2);
	while (config_read(at, 1) != PCI_CAP_ID_EXP)
		at = config_read(at + 1, 1);
	config_write(at + PCI_EXP_DEVCTL, PCI_EXP_DEVCTL_BCR_FLR, 2);
	release();
	config_write(PCI_BASE_ADDRESS_0, (uint32_t)MMIO, 4);
	config_write(PCI_BASE_ADDRESS_0 + 16, (uint32_t)TABLE, 4);
	config_write(PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
	wait_status(UINT32_MAX, 0);
	assert_int_equal(reg(0x14), 0);
	assert_int_equal(reg(0x28), 0);
	enable_io();
	assert_int_equal(RUN(io, .opcode = READ, .namespace = 1, .prp = {DATA}), 0);
}

static void full_completion_queue(void **state)
{
	unsigned got = 0;
	struct completion completion;

	enable_io();
	for (unsigned i = 0; i < ENTRIES - 1; i++)
		put(&io,
			&(struct nvme_command){.opcode = FLUSH, .namespace = 1, .id = (uint16_t)i});
	ring_sq(&io);
	/* All but one of its entries are taken: the driver has freed none. */
	for (unsigned i = 0; i < 10000 && disk->flushes < ENTRIES - 1; i++)
		nanosleep(&(struct timespec){0, 1000000}, NULL);
	put(&io, &(struct nvme_command){.opcode = FLUSH, .namespace = 1, .id = ENTRIES - 1});
	ring_sq(&io);
	assert_int_equal(RUN(admin, .opcode = ABORT), 0);
	assert_int_equal(disk->flushes, ENTRIES - 1);
	while (got < ENTRIES) {
		completion = wait_for(&io);
		assert_int_equal(completion.id, got++);
	}
	assert_int_equal(disk->flushes, ENTRIES);
}

static void pin(void **state)
{
	enable();
	put(&admin, &(struct nvme_command){.opcode = ABORT});
	ring_sq(&admin);
	for (unsigned i = 0; i < 10000 && !nvme->function.state.intx; i++) {
		run_posted();
		nanosleep(&(struct timespec){0, 1000000}, NULL);
	}
	assert_true(nvme->function.state.intx);
	set_reg(0x0c, 1, 4); /* masked */
	assert_false(nvme->function.state.intx);
	set_reg(0x10, 1, 4);
	assert_true(nvme->function.state.intx);
	wait_for(&admin);
	for (unsigned i = 0; i < 10000 && nvme->function.state.intx; i++) {
		run_posted();
		nanosleep(&(struct timespec){0, 1000000}, NULL);
	}
	assert_false(nvme->function.state.intx);
}

static void shutdown_flushes(void **state)
{
	enable_io();
	set_reg(0x14, 0x00464001, 4);
	wait_status(NVME_CSTS_SHUTDOWN, NVME_CSTS_SHUT);
	assert_int_equal(disk->flushes, 1);
	set_reg(0x14, 0, 4);
	wait_status(UINT32_MAX, 0);
}

/* --- saved state --- */

/* Commands that the disk has end first; those in the queue wait in it, and go on in the other
 * machine. */
static void saved_with_commands_in_flight(void **state)
{
	struct state_writer saved = {0};
	struct state_reader reader;

	enable_io();
	hold_reads(3);
	assert_false(nvme->device.ops->quiesce(&nvme->device, 0));
	put(&io, &(struct nvme_command){.opcode = READ,
			 .id = 3,
			 .namespace = 1,
			 .prp = {DATA + 0x3000},
			 .dw10 = 3});
	ring_sq(&io);
	release();
	assert_true(nvme->device.ops->quiesce(&nvme->device, FAR_AWAY));
	assert_int_equal(disk->reads, 3);
	device_list_save(&f.devices, &saved);
	device_list_destroy(&f.devices); /* the memory is the new machine's */
	io_space_destroy(&f.ports);
	io_space_destroy(&f.memory.mmio);
	io_space_init(&f.ports, &f.lock);
	io_space_init(&f.memory.mmio, &f.lock);
	f.devices = (struct device_list){0};
	create();
	reader = (struct state_reader){saved.bytes, saved.size};
	assert_int_equal(device_list_load(&f.devices, &reader), 0);
	nvme->device.ops->resume(&nvme->device);
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(wait_for(&io).id, i);
		assert_data(DATA + i * 0x1000, i, 512);
	}
	assert_int_equal(disk->reads, 1);
	free(saved.bytes);
}

/* The queues are forgotten, and the I/O thread has not said so yet. */
static void saved_between_stop_and_its_end(void **state)
{
	struct state_writer saved = {0};
	struct state_reader reader;

	enable_io();
	set_reg(0x14, 0x00460000, 4);
	assert_true(nvme->device.ops->quiesce(&nvme->device, FAR_AWAY));
	assert_int_equal(reg(0x1c), NVME_CSTS_READY);
	assert_int_equal(nvme->state.sq[0].size, 0);
	device_list_save(&f.devices, &saved);
	reader = (struct state_reader){saved.bytes, saved.size};
	assert_int_equal(device_list_load(&f.devices, &reader), 0);
	free(saved.bytes);
	nvme->device.ops->resume(&nvme->device);
	assert_int_equal(reg(0x1c), 0);
	enable_io();
	assert_int_equal(RUN(io, .opcode = READ, .namespace = 1, .prp = {DATA}), 0);
}

static bool valid(void)
{
	return nvme->device.ops->valid(&nvme->device, &nvme->state);
}

static void refused_with(void *field, uint8_t value)
{
	uint8_t before;

	memcpy(&before, field, 1);
	memcpy(field, &value, 1);
	assert_false(valid());
	memcpy(field, &before, 1);
	assert_true(valid());
}

static void states_that_cannot_be(void **state)
{
	enable_io();
	assert_true(nvme->device.ops->quiesce(&nvme->device, FAR_AWAY));
	assert_true(valid());
	refused_with(&nvme->state.sq[1].head, ENTRIES);
	refused_with(&nvme->state.sq[1].cq, 2);
	refused_with(&nvme->state.sq[1].cq, 0);
	refused_with(&nvme->state.sq[0].cq, 1);
	refused_with(&nvme->state.sq[1].address, 8);
	refused_with(&nvme->state.cq[1].tail, ENTRIES);
	refused_with(&nvme->state.cq[1].size, 1);
	refused_with(&nvme->state.cq[0].size, 0);
	refused_with(&nvme->state.registers.cc, 2);
	assert_all_state_is_saved();
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(presence),
		T(what_cannot_be_enabled),
		T(queues_where_no_memory_is),
		T(identify),
		T(features_and_logs),
		T(queues_that_cannot_be),
		T(events),
		T(reads_by_pages),
		T(reads_by_lists),
		T(writes),
		T(discards),
		T(stop_waits_for_the_disk),
		T(queue_deletion_waits_for_the_disk),
		T(function_level_reset),
		T(full_completion_queue),
		T(pin),
		T(shutdown_flushes),
		T(saved_with_commands_in_flight),
		T(saved_between_stop_and_its_end),
		T(states_that_cannot_be),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
