/* Pieces of memory, in which the bytes of a request are scattered. */
#ifndef VENEER_HOST_DISK_PIECES_H
#define VENEER_HOST_DISK_PIECES_H

#include <stdint.h>
#include <sys/uio.h>

/* The pieces that hold bytes [skip, skip + bytes) of `pieces`, at most `limit`, in `out`. Returns
 * how many there are; `*taken`: how many bytes they are. */
unsigned pieces_slice(const struct iovec *pieces, unsigned count, uint64_t skip, uint64_t bytes,
	struct iovec *out, unsigned limit, uint64_t *taken);
/* Copy between `bytes` at `skip` in the pieces and a buffer. */
void pieces_copy_in(const struct iovec *pieces, unsigned count, uint64_t skip, const void *from,
	uint64_t bytes);
void pieces_copy_out(
	const struct iovec *pieces, unsigned count, uint64_t skip, void *to, uint64_t bytes);
/* Zero all from `skip` to the end. */
void pieces_clear(const struct iovec *pieces, unsigned count, uint64_t skip);

#endif
