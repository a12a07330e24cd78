#include "host/disk/internal.h"

#include "base/bits.h"

#include <string.h>

/* Where byte `skip` is: `*count` pieces are left from it on, `*skip` bytes into the first. */
static const struct iovec *find(const struct iovec *pieces, unsigned *count, uint64_t *skip)
{
	while (*count && *skip >= pieces->iov_len) {
		*skip -= pieces->iov_len;
		pieces++;
		--*count;
	}
	return pieces;
}

unsigned pieces_slice(const struct iovec *pieces, unsigned count, uint64_t skip, uint64_t bytes,
	struct iovec *out, unsigned limit, uint64_t *taken)
{
	unsigned made = 0;

	*taken = 0;
	pieces = find(pieces, &count, &skip);
	for (; count && made < limit && *taken < bytes; pieces++, count--, skip = 0) {
		uint64_t length = MIN(pieces->iov_len - skip, bytes - *taken);

		if (!length)
			continue;
		out[made++] = (struct iovec){(uint8_t *)pieces->iov_base + skip, length};
		*taken += length;
	}
	return made;
}

void pieces_copy_in(
	const struct iovec *pieces, unsigned count, uint64_t skip, const void *from, uint64_t bytes)
{
	const uint8_t *source = from;

	pieces = find(pieces, &count, &skip);
	for (; count && bytes; pieces++, count--, skip = 0) {
		uint64_t length = MIN(pieces->iov_len - skip, bytes);

		memcpy((uint8_t *)pieces->iov_base + skip, source, length);
		source += length;
		bytes -= length;
	}
}

void pieces_copy_out(
	const struct iovec *pieces, unsigned count, uint64_t skip, void *to, uint64_t bytes)
{
	uint8_t *target = to;

	pieces = find(pieces, &count, &skip);
	for (; count && bytes; pieces++, count--, skip = 0) {
		uint64_t length = MIN(pieces->iov_len - skip, bytes);

		memcpy(target, (const uint8_t *)pieces->iov_base + skip, length);
		target += length;
		bytes -= length;
	}
}

void pieces_clear(const struct iovec *pieces, unsigned count, uint64_t skip)
{
	pieces = find(pieces, &count, &skip);
	for (; count; pieces++, count--, skip = 0)
		memset((uint8_t *)pieces->iov_base + skip, 0, pieces->iov_len - skip);
}
