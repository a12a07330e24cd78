/* The commands of a logical unit of a SCSI controller: a disk (SBC-3), or a CD-ROM drive, whose own
 * commands are atapi.c's (MMC-5). A command is decoded, and checked, here; the controller moves its
 * data and says how it ended, together with the reason (autosense). Belongs to one thread. */
#ifndef VENEER_DEVICE_STORAGE_SCSI_H
#define VENEER_DEVICE_STORAGE_SCSI_H

#include "device/storage/atapi.h"
#include "device/storage/scsi_data.h"
#include "host/disk/disk.h"

#define SCSI_CDB         16  /* bytes of a command's block that are looked at */
#define SCSI_ANSWER_SIZE 512 /* at least ATAPI_ANSWER_SIZE */
#define SCSI_PARAMETERS  512 /* at most, of a command's parameters */
#define SCSI_RANGES      16  /* in one command */
#define SCSI_MAX_LUNS    32  /* of one target that REPORT LUNS can list */

/* What the guest can notice. A disk has of it `attention` alone. */
struct scsi_unit_state {
	struct atapi_state drive;
	bool attention; /* the next command fails: "was reset" */
};
extern const struct state_field scsi_unit_state_fields[];

struct scsi_unit {
	struct scsi_unit_state *state;
	const struct disk *disk;
	const char *serial; /* "": none */
	bool cdrom;
};

/* As after power-up. A reset by the guest leaves a tray where it is. */
void scsi_power_up(const struct scsi_unit *unit);
void scsi_reset(const struct scsi_unit *unit);

enum scsi_action {
	SCSI_NOTHING,
	SCSI_ANSWER, /* `bytes` in the answer's buffer go to the guest */
	SCSI_TAKE,   /* `bytes` from the guest are for scsi_take_parameters() */
	SCSI_WORK,   /* the disk is to do `operation` with each range */
};

struct scsi_command {
	enum scsi_action action;
	uint64_t bytes; /* of data, also of DISK_READ and DISK_WRITE */
	enum disk_operation operation;
	bool fua, unmap; /* as in struct disk_request */
	unsigned range_count;
	struct scsi_range {
		uint64_t offset, bytes; /* within the disk */
	} ranges[SCSI_RANGES];
	uint8_t block[SCSI_CDB];
};

/* What a command asks for. `unit` NULL: the target has no unit of that number. `luns`: the target's
 * units, at most SCSI_MAX_LUNS. An answer is in `answer`, of SCSI_ANSWER_SIZE bytes. Returns why it
 * fails at once. */
struct scsi_sense scsi_decode(const struct scsi_unit *unit, const uint16_t *luns, unsigned count,
	const uint8_t block[SCSI_CDB], struct scsi_command *command, uint8_t *answer);
/* What the parameters of a command ask for, whose action was SCSI_TAKE: command->bytes of them. The
 * action becomes another one. */
struct scsi_sense scsi_take_parameters(
	const struct scsi_unit *unit, struct scsi_command *command, const uint8_t *parameters);
/* Why a command fails of which the disk says `error`. */
struct scsi_sense scsi_disk_failed(enum disk_operation operation, int error);

#endif
