/* The ATA commands of a disk (ATA8-ACS, T13/1699-D), for every controller: what a command's
 * registers ask for, checked. The controller moves the data, and says how it ended. */
#ifndef VENEER_DEVICE_STORAGE_ATA_H
#define VENEER_DEVICE_STORAGE_ATA_H

#include "base/state.h"
#include "device/storage/transfer.h"

#define ATA_BLOCK 512 /* what a command that does not reach the disk brings or takes */

/* The status register, and the error register. */
#define ATA_STATUS_ERR  0x01
#define ATA_STATUS_DRQ  0x08
#define ATA_STATUS_DSC  0x10 /* seek complete; "service" for ATAPI */
#define ATA_STATUS_DF   0x20
#define ATA_STATUS_DRDY 0x40
#define ATA_STATUS_BSY  0x80
#define ATA_ERROR_ABRT  0x04
#define ATA_ERROR_IDNF  0x10
#define ATA_ERROR_UNC   0x40

#define ATA_DEVICE_LBA 0x40

/* Commands that the controllers act on themselves. */
#define ATA_DEVICE_RESET    0x08
#define ATA_DIAGNOSTIC      0x90
#define ATA_PACKET          0xa0
#define ATA_IDENTIFY_PACKET 0xa1
#define ATA_IDENTIFY        0xec

/* A device's registers. Those of two bytes take the newest at 0, and keep the one before at 1. */
struct ata_registers {
	uint8_t feature[2], count[2], low[2], mid[2], high[2];
	uint8_t device, status, error;
};
extern const struct state_field ata_registers_fields[];

/* After power-up, a reset or EXECUTE DEVICE DIAGNOSTIC: what tells a disk from an ATAPI device. */
void ata_signature(struct ata_registers *registers, bool atapi);

struct ata_state {
	uint16_t cylinders;
	uint8_t heads, sectors; /* INITIALIZE DEVICE PARAMETERS; never 0 */
	uint8_t multiple;       /* sectors; 0: SET MULTIPLE MODE has switched it off */
	uint8_t transfer_mode;  /* as SET FEATURES was told */
	bool write_cache;
	/* The queued command that failed last: READ LOG EXT's page 10h. */
	bool failed;
	uint8_t failed_tag, failed_status, failed_error;
};
extern const struct state_field ata_state_fields[];

/* A disk as ATA sees it: filled in by the controller. */
struct ata {
	struct ata_state *state;
	const struct disk *disk;
	const char *serial; /* up to 20 characters */
	bool sata;          /* with native command queueing */
};

void ata_reset(const struct ata *ata);
/* Is the state one that this disk may have? */
bool ata_valid(const struct ata_state *state);

enum ata_action {
	ATA_NOTHING,  /* it is done */
	ATA_BLOCK_IN, /* the buffer goes to the guest */
	ATA_READ,     /* sectors */
	ATA_WRITE,
	ATA_FLUSH,
	ATA_TRIM, /* a buffer comes from the guest; then ata_trim_valid(), transfer_discard() */
};

struct ata_command {
	enum ata_action action;
	bool dma, queued; /* how the data moves */
	bool fua;         /* WRITE: durable when it is done */
	uint8_t tag;      /* of a queued command */
	uint64_t offset;  /* in bytes */
	uint64_t bytes;   /* READ, WRITE: not 0; BLOCK_IN, TRIM: ATA_BLOCK */
	uint32_t at_once; /* bytes between two interrupts, where it is PIO */
};

/* What the command in the registers asks for. `buffer`, of ATA_BLOCK bytes, is filled for
 * ATA_BLOCK_IN. Returns 0, or the bits of the error register: the command has failed. */
uint8_t ata_decode(const struct ata *ata, uint8_t code, struct ata_registers *registers,
	struct ata_command *command, void *buffer);
/* Do the ranges in the buffer lie within the disk? */
bool ata_trim_valid(const struct ata *ata, const void *buffer);

/* Text as IDENTIFY has it: padded by spaces, the bytes of each word swapped. `size` is even. */
void ata_text(uint16_t *words, const char *text, unsigned size);

#endif
