/* One command's data between a drive and guest memory or a buffer, in pieces of bounded size.
 *
 * Guest memory is named by a list of the controller's format (PRD table of a PCI IDE controller,
 * PRDT of AHCI), which is read from guest memory as the transfer proceeds. The disk reads and
 * writes guest memory directly. */
#ifndef VENEER_DEVICE_STORAGE_TRANSFER_H
#define VENEER_DEVICE_STORAGE_TRANSFER_H

#include "device/storage/drive.h"
#include "memory/dma.h"

#define TRANSFER_PIECES 256       /* as many as a sector has 16-bit words */
#define TRANSFER_CHUNK  (1 * MIB) /* in one request to the disk at most */

/* A list of stretches of guest memory, and how far it has been used. */
struct sg_list {
	struct dma *dma;
	/* Read the entry at `table` into address and bytes (not 0), and move on. False: there is
	 * none, or it cannot be read. */
	bool (*next)(struct sg_list *list);
	uint64_t table;
	uint32_t entries; /* that are left, where the format counts them */
	uint64_t address; /* what is left of the entry read last */
	uint32_t bytes;
};

/* Copy between the list, from where it is, and a buffer. How many bytes were: fewer where the list
 * ends, or names what is not RAM. */
uint64_t sg_list_copy(struct sg_list *list, void *buffer, uint64_t bytes, bool to_guest);

struct transfer {
	struct drive_job job;
	struct sg_list list; /* set by the controller, for transfer_list() */
	/* 0; -EFAULT: the list is too short, or names what is not RAM; -errno of the disk. It may
	 * be called before the call that begins the transfer returns. Machine lock held. */
	void (*done)(struct transfer *transfer, int error);
	uint64_t moved; /* bytes that have been transferred, for the controller */
	/* The transfer's own. */
	struct drive *drive;
	uint64_t left, chunk;
	unsigned piece, piece_count; /* piece: of ranges */
	struct iovec pieces[TRANSFER_PIECES];
	const uint64_t *ranges;
};

/* Begin: `operation` is DISK_READ or DISK_WRITE, offset and bytes multiples of DISK_SECTOR within
 * the disk, bytes not 0. A transfer is used again when it is done. By the list; by one buffer. */
void transfer_list(struct transfer *transfer, struct drive *drive, enum disk_operation operation,
	uint64_t offset, uint64_t bytes, bool fua);
void transfer_buffer(struct transfer *transfer, struct drive *drive, enum disk_operation operation,
	uint64_t offset, void *buffer, uint64_t bytes, bool fua);
void transfer_flush(struct transfer *transfer, struct drive *drive);
/* Discard ranges as DATA SET MANAGEMENT names them: 64 words, the first sector in bits 47:0, how
 * many in bits 63:48 (0: none). All have been checked; `ranges` stays the caller's. */
#define TRANSFER_RANGES 64
void transfer_discard(struct transfer *transfer, struct drive *drive, const uint64_t *ranges);

#endif
