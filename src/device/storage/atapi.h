/* The packet commands of a CD-ROM or DVD-ROM drive (MMC-5, SPC-3), for every controller: what a
 * command asks for, checked. The controller moves the data, and says how it ended. */
#ifndef VENEER_DEVICE_STORAGE_ATAPI_H
#define VENEER_DEVICE_STORAGE_ATAPI_H

#include "device/storage/ata.h"
#include "device/storage/scsi_data.h"

#define ATAPI_PACKET      12
#define ATAPI_SECTOR      2048
#define ATAPI_ANSWER_SIZE 512 /* of what does not come from the disc */

struct atapi_state {
	uint8_t sense_key, sense_code, sense_qualifier; /* of the command that failed last */
	bool attention; /* the next command fails: "medium may have changed" */
	bool open;      /* the tray is */
	bool locked;
	bool event_pending; /* for GET EVENT STATUS NOTIFICATION */
};
extern const struct state_field atapi_state_fields[];

struct atapi {
	struct atapi_state *state;
	const struct disk *disk;
	const char *serial;
	bool on_scsi; /* a SCSI controller has it: INQUIRY and REQUEST SENSE are answered there */
};

/* As after power-up. A reset by the guest leaves the tray where it is. */
void atapi_power_up(const struct atapi *atapi);
void atapi_reset(const struct atapi *atapi);

enum atapi_action { ATAPI_NOTHING, ATAPI_ANSWER, ATAPI_READ };

struct atapi_command {
	enum atapi_action action;
	uint64_t offset; /* READ: in the disk */
	uint64_t bytes;  /* not 0 */
};

/* What a packet asks for; an answer is in `answer`, of ATAPI_ANSWER_SIZE bytes. Returns 0, or the
 * error register: the sense key in bits 7:4, and ABRT. */
uint8_t atapi_decode(const struct atapi *atapi, const uint8_t packet[ATAPI_PACKET],
	struct atapi_command *command, void *answer);
/* Why the last command failed; REQUEST SENSE will not say it any more. */
struct scsi_sense atapi_take_sense(const struct atapi *atapi);
/* The disk has failed to read: what REQUEST SENSE will say. Returns the error register. */
uint8_t atapi_read_failed(const struct atapi *atapi);
/* IDENTIFY PACKET DEVICE: ATA_BLOCK bytes. */
void atapi_identify(const struct atapi *atapi, bool sata, void *buffer);

#endif
