/* What scsi.c and scsi_disk.c share; for none else. */
#ifndef VENEER_DEVICE_STORAGE_SCSI_INTERNAL_H
#define VENEER_DEVICE_STORAGE_SCSI_INTERNAL_H

#include "device/storage/scsi.h"

/* In one range of UNMAP and WRITE SAME: 2 GiB, for the host's sake. */
#define SCSI_RANGE_BLOCKS (4u << 20)

#define SCSI_GOOD        ((struct scsi_sense){0})
#define SENSE(key, code) ((struct scsi_sense){key, code, 0})

/* An answer of `size` bytes, of which the guest has asked for `wanted`. */
static inline struct scsi_sense scsi_answer(
	struct scsi_command *command, uint64_t size, uint64_t wanted)
{
	command->bytes = size < wanted ? size : wanted;
	command->action = command->bytes ? SCSI_ANSWER : SCSI_NOTHING;
	return SCSI_GOOD;
}

/* A disk's own commands (SBC-3); the rest is scsi.c's. */
struct scsi_sense scsi_disk_decode(
	const struct scsi_unit *unit, struct scsi_command *command, uint8_t *answer);

#endif
