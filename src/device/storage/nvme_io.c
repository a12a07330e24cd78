/* Commands of NVMe's I/O queues (NVM Express 1.4, chapter 6), and the pages that they name (4.3).
 *
 * Everything that a command says is checked here, once, before the disk gets a request. */
#include "device/storage/nvme_internal.h"

#include "base/bits.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ALL_NAMESPACES UINT32_MAX

#define FLAG_FUSED    0x03
#define FLAG_SGL      0xc0
#define FUA           BIT(30) /* of dw12 */
#define DEALLOCATE    BIT(25)
#define DISCARD_BYTES (2 * GIB) /* of one request to the disk */

#define FEATURE_WRITE_CACHE 0x06

enum opcode { FLUSH = 0x00, WRITE = 0x01, READ = 0x02, WRITE_ZEROES = 0x08, DATASET = 0x09 };

/* --- pages --- */

/* Where the bytes of a command are: the walk through its PRP entries. */
struct prp_walk {
	struct nvme *nvme;
	struct iovec *pieces;
	unsigned count, limit;
	bool to_guest;
	uint64_t left; /* bytes not yet found */
};

/* Take up to a page of bytes at `address`. Neighbours in host memory become one piece. */
static enum nvme_status take_page(struct prp_walk *walk, uint64_t address)
{
	uint64_t bytes = MIN(walk->left, NVME_PAGE - address % NVME_PAGE);
	struct iovec piece, *last = walk->count ? &walk->pieces[walk->count - 1] : NULL;

	if (dma_range(&walk->nvme->function.dma, address, bytes, walk->to_guest, &piece, 1) != 1)
		return NVME_DATA_TRANSFER_ERROR;
	if (last && (uint8_t *)last->iov_base + last->iov_len == piece.iov_base)
		last->iov_len += bytes;
	else if (walk->count == walk->limit)
		return NVME_INVALID_FIELD;
	else
		walk->pieces[walk->count++] = piece;
	walk->left -= bytes;
	return NVME_SUCCESS;
}

/* The list at `list`, from page to page: the last entry of a page names the next one where there is
 * more to come. Each page but the first begins one and has room for two entries, so it comes to an
 * end. */
static enum nvme_status walk_list(struct prp_walk *walk, uint64_t list)
{
	uint64_t entries[NVME_PAGE / 8];
	enum nvme_status status = NVME_SUCCESS;
	bool first = true;

	while (walk->left && status == NVME_SUCCESS) {
		uint64_t pages = (walk->left + NVME_PAGE - 1) / NVME_PAGE;
		uint64_t room = (NVME_PAGE - list % NVME_PAGE) / 8;
		uint64_t data = pages > room ? room - 1 : pages;

		if (list % 8 || (!first && list % NVME_PAGE))
			return NVME_INVALID_PRP_OFFSET;
		if (dma_read(&walk->nvme->function.dma, list, entries, MIN(pages, room) * 8) < 0)
			return NVME_DATA_TRANSFER_ERROR;
		for (unsigned i = 0; i < data && status == NVME_SUCCESS; i++)
			status = entries[i] % NVME_PAGE ? NVME_INVALID_PRP_OFFSET
							: take_page(walk, entries[i]);
		if (walk->left)
			list = entries[room - 1];
		first = false;
	}
	return status;
}

static enum nvme_status walk_pages(struct prp_walk *walk, const struct nvme_command *command)
{
	enum nvme_status status;

	if (command->prp[0] % 4)
		return NVME_INVALID_PRP_OFFSET;
	status = take_page(walk, command->prp[0]);
	if (status != NVME_SUCCESS || !walk->left)
		return status;
	if (walk->left > NVME_PAGE)
		return walk_list(walk, command->prp[1]);
	return command->prp[1] % NVME_PAGE ? NVME_INVALID_PRP_OFFSET
					   : take_page(walk, command->prp[1]);
}

enum nvme_status nvme_copy(struct nvme *nvme, const struct nvme_command *command, void *buffer,
	uint64_t bytes, bool to_guest)
{
	struct iovec pieces[2];
	struct prp_walk walk = {nvme, pieces, 0, 2, to_guest, bytes};
	enum nvme_status status = walk_pages(&walk, command);
	uint8_t *at = buffer;

	if (status != NVME_SUCCESS)
		return status;
	for (unsigned i = 0; i < walk.count; at += pieces[i++].iov_len)
		if (to_guest)
			memcpy(pieces[i].iov_base, at, pieces[i].iov_len);
		else
			memcpy(at, pieces[i].iov_base, pieces[i].iov_len);
	if (to_guest)
		dma_range_written(&nvme->function.dma, pieces, walk.count, bytes);
	return NVME_SUCCESS;
}

/* --- requests --- */

static struct nvme_request *request_get(struct nvme *nvme)
{
	struct nvme_request *request = nvme->free;

	if (request)
		nvme->free = request->next;
	else if (nvme->fresh < NVME_REQUESTS)
		request = &nvme->requests[nvme->fresh++];
	if (request)
		request->nvme = nvme;
	return request;
}

static void request_put(struct nvme_request *request)
{
	struct nvme *nvme = request->nvme;

	free(request->ranges);
	request->ranges = NULL;
	request->next = nvme->free;
	nvme->free = request;
}

static void submit(struct nvme_request *request)
{
	struct nvme *nvme = request->nvme;

	disk_submit(nvme->disk, &request->disk);
	nvme->submitted = true;
	worker_want_idle(nvme->worker);
}

static enum nvme_status status_of(const struct disk_request *request, int error)
{
	if (!error)
		return NVME_SUCCESS;
	if (error == -ENOSPC)
		return NVME_CAPACITY_EXCEEDED;
	return request->operation == DISK_READ ? NVME_READ_ERROR : NVME_WRITE_FAULT;
}

static void finish(struct nvme_request *request, enum nvme_status status)
{
	struct nvme *nvme = request->nvme;
	unsigned sq = request->sq;
	uint16_t command = request->id;

	request_put(request);
	nvme->in_flight--;
	nvme->sq_in_flight[sq]--;
	nvme_complete(nvme, sq, command, status, 0);
	if (nvme->starved) {
		nvme->starved = false;
		worker_post(nvme->worker, &nvme->serve_task);
	}
	nvme_check_quiet(nvme);
}

static void request_done(struct disk_request *disk_request, int error)
{
	struct nvme_request *request = container_of(disk_request, struct nvme_request, disk);

	/* What a read that failed has written is not known. */
	if (disk_request->operation == DISK_READ)
		dma_range_written(&request->nvme->function.dma, disk_request->pieces,
			disk_request->piece_count, disk_request->bytes);
	finish(request, status_of(disk_request, error));
}

/* --- Dataset Management: ranges, one request after the other --- */

/* The next request to the disk. False: all are done. */
static bool place_range(struct nvme_request *request)
{
	const struct nvme_range *range;
	uint64_t bytes;

	while (request->range < request->range_count) {
		range = &request->ranges[request->range];
		bytes = (uint64_t)range->blocks * NVME_BLOCK - request->range_done;
		if (bytes) {
			request->disk.offset = range->first * NVME_BLOCK + request->range_done;
			request->disk.bytes = MIN(bytes, DISCARD_BYTES);
			request->range_done += request->disk.bytes;
			return true;
		}
		request->range++;
		request->range_done = 0;
	}
	return false;
}

/* A disk that cannot discard a range keeps it, which the command allows. */
static void range_done(struct disk_request *disk_request, int error)
{
	struct nvme_request *request = container_of(disk_request, struct nvme_request, disk);

	if (error && error != -EOPNOTSUPP)
		finish(request, status_of(disk_request, error));
	else if (place_range(request))
		submit(request);
	else
		finish(request, NVME_SUCCESS);
}

static bool in_namespace(const struct nvme *nvme, uint64_t first, uint64_t blocks)
{
	uint64_t size = nvme->disk->size / NVME_BLOCK;

	return first <= size && blocks <= size - first;
}

static enum nvme_status begin_dataset(
	struct nvme_request *request, const struct nvme_command *command)
{
	struct nvme *nvme = request->nvme;
	unsigned count = (command->dw10 & 0xff) + 1;
	enum nvme_status status;

	_Static_assert(NVME_RANGES * sizeof(struct nvme_range) == NVME_PAGE, "they are one page");
	if (!(command->dw11 & BIT(2))) /* no deallocation: all else is advice */
		return NVME_SUCCESS;
	request->ranges = calloc(count, sizeof(*request->ranges));
	if (!request->ranges)
		return NVME_WRITE_FAULT;
	status = nvme_copy(nvme, command, request->ranges, count * sizeof(*request->ranges), false);
	if (status != NVME_SUCCESS)
		return status;
	for (unsigned i = 0; i < count; i++)
		if (!in_namespace(nvme, request->ranges[i].first, request->ranges[i].blocks))
			return NVME_LBA_OUT_OF_RANGE;
	request->disk.operation = DISK_DISCARD;
	request->disk.done = range_done;
	request->range = 0;
	request->range_count = count;
	request->range_done = 0;
	return place_range(request) ? NVME_IN_FLIGHT : NVME_SUCCESS;
}

/* --- the other commands --- */

static bool write_cache(const struct nvme *nvme)
{
	return nvme->state.feature[FEATURE_WRITE_CACHE] & 1;
}

/* The blocks of Read, Write and Write Zeroes. */
static enum nvme_status place_blocks(
	struct nvme_request *request, const struct nvme_command *command)
{
	const struct nvme *nvme = request->nvme;
	uint64_t first = command->dw10 | (uint64_t)command->dw11 << 32;
	uint64_t blocks = (command->dw12 & 0xffff) + 1;

	if (!in_namespace(nvme, first, blocks))
		return NVME_LBA_OUT_OF_RANGE;
	request->disk.offset = first * NVME_BLOCK;
	request->disk.bytes = blocks * NVME_BLOCK;
	request->disk.fua = request->disk.operation != DISK_READ &&
			    ((command->dw12 & FUA) || !write_cache(nvme));
	return NVME_SUCCESS;
}

static enum nvme_status begin_data(struct nvme_request *request, const struct nvme_command *command)
{
	enum nvme_status status = place_blocks(request, command);
	struct prp_walk walk = {request->nvme, request->pieces, 0, NVME_PIECES,
		request->disk.operation == DISK_READ, request->disk.bytes};

	if (status != NVME_SUCCESS)
		return status;
	if (request->disk.bytes > NVME_MAX_BYTES)
		return NVME_INVALID_FIELD;
	status = walk_pages(&walk, command);
	request->disk.pieces = request->pieces;
	request->disk.piece_count = walk.count;
	return status == NVME_SUCCESS ? NVME_IN_FLIGHT : status;
}

static enum nvme_status begin_flush(
	struct nvme_request *request, const struct nvme_command *command)
{
	return NVME_IN_FLIGHT;
}

static enum nvme_status begin_zeroes(
	struct nvme_request *request, const struct nvme_command *command)
{
	enum nvme_status status = place_blocks(request, command);

	request->disk.unmap = command->dw12 & DEALLOCATE;
	return status == NVME_SUCCESS ? NVME_IN_FLIGHT : status;
}

static const struct io_command {
	uint8_t opcode;
	bool writes;
	enum disk_operation operation;
	enum nvme_status (*begin)(struct nvme_request *request, const struct nvme_command *command);
} commands[] = {
	{FLUSH, false, DISK_FLUSH, begin_flush},
	{WRITE, true, DISK_WRITE, begin_data},
	{READ, false, DISK_READ, begin_data},
	{WRITE_ZEROES, true, DISK_WRITE_ZEROES, begin_zeroes},
	{DATASET, true, DISK_DISCARD, begin_dataset},
};

static const struct io_command *find_command(const struct nvme *nvme, uint8_t opcode)
{
	if ((opcode == WRITE_ZEROES && !nvme->disk->can_write_zeroes) ||
		(opcode == DATASET && !nvme->disk->can_discard))
		return NULL;
	for (unsigned i = 0; i < ARRAY_SIZE(commands); i++)
		if (commands[i].opcode == opcode)
			return &commands[i];
	return NULL;
}

enum nvme_status nvme_io(struct nvme *nvme, unsigned sq, const struct nvme_command *command)
{
	const struct io_command *kind = find_command(nvme, command->opcode);
	struct nvme_request *request;
	enum nvme_status status;

	if (!kind)
		return NVME_INVALID_OPCODE;
	if (command->flags & (FLAG_FUSED | FLAG_SGL))
		return NVME_INVALID_FIELD;
	if (command->namespace != 1 &&
		!(kind->operation == DISK_FLUSH && command->namespace == ALL_NAMESPACES))
		return NVME_INVALID_NAMESPACE;
	if (kind->writes && nvme->disk->read_only)
		return NVME_READ_ONLY;
	request = request_get(nvme); /* there is one: nvme_serve() has looked */
	request->sq = (uint16_t)sq;
	request->id = command->id;
	request->disk = (struct disk_request){.operation = kind->operation, .done = request_done};
	status = kind->begin(request, command);
	if (status != NVME_IN_FLIGHT) {
		request_put(request);
		return status;
	}
	nvme->in_flight++;
	nvme->sq_in_flight[sq]++;
	submit(request);
	return NVME_IN_FLIGHT;
}

bool nvme_io_possible(const struct nvme *nvme)
{
	return nvme->free || nvme->fresh < NVME_REQUESTS;
}
