#include "device/storage/scsi_data.h"

#include "base/bits.h"

#include <string.h>

#define MODE_SENSE_6 0x1a
#define ALL_PAGES    0x3f

unsigned scsi_put_sense(uint8_t *out, struct scsi_sense sense)
{
	out[0] = 0x70;
	out[2] = sense.key;
	out[7] = SCSI_SENSE_SIZE - 8;
	out[12] = sense.code;
	out[13] = sense.qualifier;
	return SCSI_SENSE_SIZE;
}

unsigned scsi_put_inquiry(
	uint8_t *out, enum scsi_type type, uint8_t version, uint8_t format, const char *name)
{
	out[0] = (uint8_t)type;
	out[1] = type == SCSI_CDROM ? 0x80 : 0; /* removable */
	out[2] = version;
	out[3] = format;
	out[4] = 36 - 5;
	memcpy(out + 8, name, 28);
	return 36;
}

struct scsi_sense scsi_mode_sense(const struct scsi_mode_page *pages, unsigned count,
	const void *device, const uint8_t *packet, uint8_t medium, uint8_t specific, uint8_t *out,
	unsigned *size)
{
	uint8_t code = packet[2] & 0x3f, control = packet[2] >> 6;
	unsigned header = packet[0] == MODE_SENSE_6 ? 4 : 8;

	*size = header;
	if (control == 3)
		return (struct scsi_sense){ILLEGAL_REQUEST, NO_SAVED_VALUES, 0};
	for (unsigned i = 0; i < count; i++)
		if (code == ALL_PAGES || code == pages[i].code) {
			unsigned page = pages[i].write(device, out + *size);

			if (control == 1) /* what may be changed: nothing */
				memset(out + *size + 2, 0, page - 2);
			*size += page;
		}
	if (*size == header)
		return (struct scsi_sense){ILLEGAL_REQUEST, BAD_FIELD, 0};
	if (header == 4) {
		out[0] = (uint8_t)(*size - 1);
		out[1] = medium;
		out[2] = specific;
	} else {
		put16(out, *size - 2);
		out[2] = medium;
		out[3] = specific;
	}
	return (struct scsi_sense){0};
}
