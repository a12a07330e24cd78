/* What all SCSI devices have in common (SPC-3), whatever carries their commands: a CD-ROM drive
 * behind ATA's packets (atapi.h), units of a SCSI controller (scsi.h). */
#ifndef VENEER_DEVICE_STORAGE_SCSI_DATA_H
#define VENEER_DEVICE_STORAGE_SCSI_DATA_H

#include <stdbool.h>
#include <stdint.h>

/* SPC-3 4.5.6. */
enum sense_key {
	NO_SENSE = 0,
	NOT_READY = 2,
	MEDIUM_ERROR = 3,
	ILLEGAL_REQUEST = 5,
	UNIT_ATTENTION = 6,
	DATA_PROTECT = 7,
};

/* Additional sense codes. */
enum sense_code {
	WRITE_ERROR = 0x0c,
	UNRECOVERED_READ = 0x11,
	BAD_LIST_LENGTH = 0x1a,
	BAD_COMMAND = 0x20,
	OUT_OF_RANGE = 0x21,
	BAD_FIELD = 0x24,
	NO_SUCH_UNIT = 0x25,
	BAD_LIST_FIELD = 0x26,
	WRITE_PROTECTED = 0x27,
	MEDIUM_CHANGED = 0x28,
	WAS_RESET = 0x29,
	NO_SAVED_VALUES = 0x39,
	NO_MEDIUM = 0x3a,
	REMOVAL_REFUSED = 0x53, /* qualifier 2 */
};

/* Why a command failed. Key NO_SENSE: it did not. */
struct scsi_sense {
	uint8_t key, code, qualifier;
};

/* --- bytes, most significant first --- */

static inline uint16_t get16(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

static inline uint32_t get32(const uint8_t *at)
{
	return (uint32_t)get16(at) << 16 | get16(at + 2);
}

static inline uint64_t get64(const uint8_t *at)
{
	return (uint64_t)get32(at) << 32 | get32(at + 4);
}

static inline void put16(uint8_t *at, unsigned value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

static inline void put32(uint8_t *at, uint32_t value)
{
	put16(at, value >> 16);
	put16(at + 2, value & 0xffff);
}

static inline void put64(uint8_t *at, uint64_t value)
{
	put32(at, (uint32_t)(value >> 32));
	put32(at + 4, (uint32_t)value);
}

/* --- answers, to memory that is zero; they return their size --- */

#define SCSI_SENSE_SIZE 18

/* Sense data in fixed format (4.5.3). */
unsigned scsi_put_sense(uint8_t *out, struct scsi_sense sense);

enum scsi_type { SCSI_DISK = 0, SCSI_CDROM = 5 };

/* Standard INQUIRY data (6.4.2). `format`: byte 3. `name`: 28 characters: vendor, product,
 * revision. */
unsigned scsi_put_inquiry(
	uint8_t *out, enum scsi_type type, uint8_t version, uint8_t format, const char *name);

/* A mode page (7.4). write() gets MODE SENSE's `device`. */
struct scsi_mode_page {
	uint8_t code;
	unsigned (*write)(const void *device, uint8_t *out);
};

/* MODE SENSE of 6 and 10 bytes (6.9, 6.10): the pages that `packet` asks for, without block
 * descriptors. `medium`, `specific`: the header's bytes of the medium's type and of the device. */
struct scsi_sense scsi_mode_sense(const struct scsi_mode_page *pages, unsigned count,
	const void *device, const uint8_t *packet, uint8_t medium, uint8_t specific, uint8_t *out,
	unsigned *size);

#endif
