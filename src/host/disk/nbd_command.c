#include "host/disk/nbd_command.h"

#include "host/disk/internal.h"

#include "base/bits.h"
#include "base/log.h"

#include <errno.h>
#include <stdlib.h>

#define MAX_TRANSFER (1 * MIB)
#define MAX_RANGE    (128 * MIB) /* of a command without data */

/* --- the server --- */

int nbd_offer_get(struct nbd_offer *offer, struct nbd_handle *handle, const char *name)
{
	int64_t size = nbd_get_size(handle);
	int64_t least = nbd_get_block_size(handle, LIBNBD_SIZE_MINIMUM);
	int64_t best = nbd_get_block_size(handle, LIBNBD_SIZE_PREFERRED);
	int64_t most = nbd_get_block_size(handle, LIBNBD_SIZE_MAXIMUM);

	if (size < DISK_SECTOR) {
		log_error("%s: the server's disk has %lld bytes: expected 512 or more", name,
			(long long)size);
		return -EINVAL;
	}
	if (least > DISK_SECTOR || (most > 0 && most < DISK_SECTOR)) {
		log_error("%s: the server wants requests of %lld to %lld bytes; a disk here has "
			  "sectors of 512",
			name, (long long)least, (long long)most);
		return -EINVAL;
	}
	*offer = (struct nbd_offer){
		.size = ALIGN_DOWN((uint64_t)size, DISK_SECTOR),
		.read_only = nbd_is_read_only(handle) > 0,
		.can_flush = nbd_can_flush(handle) > 0,
		.can_fua = nbd_can_fua(handle) > 0,
		.can_trim = nbd_can_trim(handle) > 0,
		.can_zero = nbd_can_zero(handle) > 0,
		.most = MAX_TRANSFER,
	};
	if (best >= DISK_SECTOR && best <= (int64_t)(64 * KIB) && !(best & (best - 1)))
		offer->best_block = (uint32_t)best;
	if (most > 0)
		offer->most = MIN(offer->most, ALIGN_DOWN((uint64_t)most, DISK_SECTOR));
	return 0;
}

/* --- making --- */

/* Zeros are data where the server has no command for them. */
static bool has_data(const struct nbd_offer *offer, const struct disk_request *request)
{
	return request->operation == DISK_READ || request->operation == DISK_WRITE ||
	       (request->operation == DISK_WRITE_ZEROES && !offer->can_zero);
}

/* What is read in one piece is read to where it is wanted. What is written is copied: the guest may
 * change it while it waits to be written again. */
static int set_buffer(struct nbd_command *command, uint64_t position)
{
	const struct disk_request *request = command->request;
	struct iovec piece = {0};
	uint64_t taken = 0;

	if (request->operation == DISK_READ)
		pieces_slice(request->pieces, request->piece_count, position, command->bytes,
			&piece, 1, &taken);
	if (taken == command->bytes) {
		command->buffer = piece.iov_base;
		return 0;
	}
	command->buffer = calloc(1, command->bytes);
	command->copied = true;
	if (!command->buffer)
		return -ENOMEM;
	if (request->operation == DISK_WRITE)
		pieces_copy_out(request->pieces, request->piece_count, position, command->buffer,
			command->bytes);
	return 0;
}

struct nbd_command *nbd_command_create_flush(struct disk_request *request)
{
	struct nbd_command *command = calloc(1, sizeof(*command));

	if (command)
		*command = (struct nbd_command){.request = request, .operation = DISK_FLUSH};
	return command;
}

struct nbd_command *nbd_command_create(
	const struct nbd_offer *offer, struct disk_request *request, uint64_t position)
{
	struct nbd_command *command = calloc(1, sizeof(*command));
	bool data = has_data(offer, request);

	if (!command)
		return NULL;
	command->request = request;
	command->operation = request->operation;
	command->offset = request->offset + position;
	command->bytes = MIN(request->bytes - position, data ? offer->most : MAX_RANGE);
	command->fua = request->fua && offer->can_fua;
	command->unmap = request->unmap;
	if (data && request->operation == DISK_WRITE_ZEROES)
		command->operation = DISK_WRITE;
	if (data && set_buffer(command, position) < 0) {
		nbd_command_free(command);
		return NULL;
	}
	return command;
}

void nbd_command_free(struct nbd_command *command)
{
	if (command->copied)
		free(command->buffer);
	free(command);
}

/* --- sending --- */

/* libnbd holds its lock here: the answer is only noted. */
static int answered(void *opaque, int *error)
{
	struct nbd_command *command = opaque;

	command->answered = true;
	command->error = *error;
	return 1; /* libnbd need not remember it */
}

int nbd_command_send(struct nbd_command *command, struct nbd_handle *handle)
{
	nbd_completion_callback done = {.callback = answered, .user_data = command};
	uint32_t flags = command->fua ? LIBNBD_CMD_FLAG_FUA : 0;
	int64_t cookie = -1;

	command->answered = false;
	switch (command->operation) {
	case DISK_READ:
		cookie = nbd_aio_pread(
			handle, command->buffer, command->bytes, command->offset, done, 0);
		break;
	case DISK_WRITE:
		cookie = nbd_aio_pwrite(
			handle, command->buffer, command->bytes, command->offset, done, flags);
		break;
	case DISK_FLUSH:
		cookie = nbd_aio_flush(handle, done, 0);
		break;
	case DISK_DISCARD:
		cookie = nbd_aio_trim(handle, command->bytes, command->offset, done, 0);
		break;
	case DISK_WRITE_ZEROES:
		cookie = nbd_aio_zero(handle, command->bytes, command->offset, done,
			flags | (command->unmap ? 0 : LIBNBD_CMD_FLAG_NO_HOLE));
		break;
	}
	return cookie < 0 ? -EIO : 0;
}

void nbd_command_deliver(const struct nbd_command *command)
{
	const struct disk_request *request = command->request;

	if (command->copied)
		pieces_copy_in(request->pieces, request->piece_count,
			command->offset - request->offset, command->buffer, command->bytes);
}
