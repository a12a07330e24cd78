/* A request of the SCSI controller (virtio 1.2, 5.6.6.1): the header names a unit and has the
 * command's block; behind it is data for the unit. The response has a header, sense data, and data
 * from the unit behind them. What the command asks for, storage/scsi.c knows. */
#include "device/virtio/scsi_internal.h"

#include "base/bits.h"
#include "host/disk/pieces.h"

#include <errno.h>
#include <string.h>

#define GOOD            0x00
#define CHECK_CONDITION 0x02

/* --- the end --- */

static void end(struct scsi_request *request, uint8_t response, struct scsi_sense sense)
{
	uint8_t data[SCSI_SENSE_SIZE] = {0};
	struct virtio_scsi_cmd_resp header = {.response = response};

	if (response == VIRTIO_SCSI_S_OK && sense.key) {
		header.status = CHECK_CONDITION;
		header.sense_len = MIN(scsi_put_sense(data, sense), request->sense_size);
		virtio_chain_write(&request->chain, RESPONSE_HEADER, data, header.sense_len);
	}
	header.resid = (uint32_t)MIN(
		request->data_in + request->data_out - request->transferred, UINT32_MAX);
	virtio_chain_write(&request->chain, 0, &header, RESPONSE_HEADER);
	scsi_request_ended(request);
}

static void end_by_sense(struct scsi_request *request, struct scsi_sense sense)
{
	end(request, VIRTIO_SCSI_S_OK, sense);
}

/* --- the disk --- */

static void submit_range(struct scsi_request *request)
{
	const struct scsi_command *command = &request->command;
	const struct scsi_range *range = &command->ranges[request->range];
	struct disk *disk = request->unit->disk;

	request->disk.offset = range->offset;
	request->disk.bytes = range->bytes;
	request->unit->submitted = true;
	disk_submit(disk, &request->disk);
	worker_want_idle(request->scsi->device.worker);
}

static void range_done(struct disk_request *disk_request, int error)
{
	struct scsi_request *request = container_of(disk_request, struct scsi_request, disk);
	const struct scsi_command *command = &request->command;

	if (!error && ++request->range < command->range_count) {
		submit_range(request);
		return;
	}
	if (!error)
		request->transferred += command->bytes;
	end_by_sense(request,
		error ? scsi_disk_failed(command->operation, error) : (struct scsi_sense){0});
}

static void begin_work(struct scsi_request *request)
{
	const struct scsi_command *command = &request->command;

	request->disk = (struct disk_request){.operation = command->operation,
		.fua = command->fua,
		.unmap = command->unmap,
		.pieces = request->data,
		.piece_count = request->data_count,
		.done = range_done};
	request->range = 0;
	request->in_flight = true;
	request->scsi->in_flight++;
	submit_range(request);
}

/* --- the command --- */

/* Find the pieces of the command's data; the chain's are `pieces`, of which the first `skip` bytes
 * are none. False: there is not enough of them, or too many for the disk. */
static bool find_data(
	struct scsi_request *request, const struct iovec *pieces, unsigned count, uint64_t skip)
{
	uint64_t found;

	request->data_count = pieces_slice(
		pieces, count, skip, request->command.bytes, request->data, QUEUE_SIZE, &found);
	return found == request->command.bytes;
}

/* Does the chain have what the command wants to move? (5.6.6.1: else it is an overrun.) */
static bool has_data(struct scsi_request *request, unsigned cdb_size)
{
	const struct scsi_command *command = &request->command;
	const struct virtio_chain *chain = &request->chain;

	switch (command->action) {
	case SCSI_NOTHING:
		return true;
	case SCSI_ANSWER:
		return command->bytes <= request->data_in;
	case SCSI_TAKE:
		return command->bytes <= request->data_out;
	case SCSI_WORK:
		break;
	}
	if (command->operation == DISK_READ)
		return find_data(request, chain->pieces + chain->readable, chain->writable,
			RESPONSE_HEADER + request->sense_size);
	return command->operation != DISK_WRITE ||
	       find_data(request, chain->pieces, chain->readable, REQUEST_HEADER + cdb_size);
}

static struct scsi_sense take_parameters(struct scsi_request *request, unsigned cdb_size)
{
	uint8_t parameters[SCSI_PARAMETERS];
	uint64_t bytes = request->command.bytes;

	virtio_chain_read(&request->chain, REQUEST_HEADER + cdb_size, parameters, bytes);
	request->transferred = bytes;
	return scsi_take_parameters(&request->unit->scsi, &request->command, parameters);
}

static unsigned list_luns(const struct virtio_scsi *scsi, uint8_t target, uint16_t *luns)
{
	unsigned count = 0;

	for (unsigned i = 0; i < scsi->unit_count; i++)
		if (scsi->units[i].target == target)
			luns[count++] = scsi->units[i].lun;
	return count;
}

static void begin_command(
	struct scsi_request *request, uint8_t target, const uint8_t *block, unsigned cdb_size)
{
	const struct scsi_unit *unit = request->unit ? &request->unit->scsi : NULL;
	struct scsi_command *command = &request->command;
	uint8_t answer[SCSI_ANSWER_SIZE];
	uint16_t luns[SCSI_MAX_LUNS];
	struct scsi_sense sense = scsi_decode(
		unit, luns, list_luns(request->scsi, target, luns), block, command, answer);

	if (!sense.key && !has_data(request, cdb_size)) {
		end(request, VIRTIO_SCSI_S_OVERRUN, sense);
		return;
	}
	if (!sense.key && command->action == SCSI_TAKE)
		sense = take_parameters(request, cdb_size);
	if (!sense.key && command->action == SCSI_WORK) {
		begin_work(request);
		return;
	}
	if (!sense.key && command->action == SCSI_ANSWER) {
		virtio_chain_write(&request->chain, RESPONSE_HEADER + request->sense_size, answer,
			command->bytes);
		request->transferred = command->bytes;
	}
	end_by_sense(request, sense);
}

int scsi_begin_request(struct scsi_request *request)
{
	struct virtio_scsi *scsi = request->scsi;
	const struct virtio_chain *chain = &request->chain;
	unsigned cdb_size = atomic_load(&scsi->settings.state.cdb_size);
	uint64_t header = REQUEST_HEADER + cdb_size, response;
	uint8_t bytes[REQUEST_HEADER + MAX_CDB_SIZE] = {0};
	bool target_exists;

	request->sense_size = atomic_load(&scsi->settings.state.sense_size);
	response = RESPONSE_HEADER + request->sense_size;
	if (chain->writable_bytes < response)
		return -EINVAL;
	request->data_in = chain->writable_bytes - response;
	request->data_out = chain->readable_bytes > header ? chain->readable_bytes - header : 0;
	/* To move data both ways is a feature that is not offered. */
	if (virtio_chain_read(chain, 0, bytes, header) != header ||
		(request->data_in && request->data_out)) {
		end(request, VIRTIO_SCSI_S_FAILURE, (struct scsi_sense){0});
		return 0;
	}
	request->unit = scsi_find_unit(scsi, bytes, &target_exists);
	memcpy(&request->tag, bytes + 8, sizeof(request->tag));
	if (target_exists)
		begin_command(request, bytes[1], bytes + REQUEST_HEADER, cdb_size);
	else
		end(request, VIRTIO_SCSI_S_BAD_TARGET, (struct scsi_sense){0});
	return 0;
}
