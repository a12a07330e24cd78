#include "machine/vmcoreinfo.h"

#include "base/log.h"
#include "device/fw_cfg.h"

#include <elf.h>
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FILE_NAME  "etc/vmcoreinfo"
#define FORMAT_ELF 1
#define MOST       (64 * KIB) /* Linux's is a page or two */

/* The file, little-endian. */
struct record {
	uint16_t host_format, guest_format;
	uint32_t size;
	uint64_t address;
} __attribute__((packed));

struct note {
	Elf64_Nhdr header;
	char name[12]; /* padded */
};

static const char name[] = "VMCOREINFO";

static void record_written(void *opaque, const uint8_t *bytes, uint32_t size)
{
	struct vmcoreinfo *vmcoreinfo = opaque;
	struct record record;

	memcpy(&record, bytes, sizeof(record));
	*vmcoreinfo = (struct vmcoreinfo){0};
	if (le16toh(record.guest_format) != FORMAT_ELF)
		return;
	vmcoreinfo->address = le64toh(record.address);
	vmcoreinfo->size = le32toh(record.size);
}

int vmcoreinfo_add(struct vmcoreinfo *vmcoreinfo, struct fw_cfg *fw_cfg)
{
	const struct record record = {.host_format = htole16(FORMAT_ELF)};

	if (!fw_cfg) {
		log_error("vmcoreinfo: there is no fw_cfg to write it to");
		return -EINVAL;
	}
	return fw_cfg_add_writable_file(
		fw_cfg, FILE_NAME, &record, sizeof(record), record_written, vmcoreinfo);
}

/* What the guest has said may be of a former life, or wrong. */
static bool is_note(const struct note *note, uint32_t size)
{
	if (note->header.n_namesz != sizeof(name) || note->header.n_descsz > size - sizeof(*note))
		return false;
	return memcmp(note->name, name, sizeof(name)) == 0;
}

uint8_t *vmcoreinfo_read(
	const struct vmcoreinfo *vmcoreinfo, const struct memory *memory, uint64_t *size)
{
	struct note note;
	uint8_t *bytes;

	*size = 0;
	if (vmcoreinfo->size < sizeof(note) || vmcoreinfo->size > MOST ||
		memory_read(memory, vmcoreinfo->address, &note, sizeof(note)) < 0 ||
		!is_note(&note, vmcoreinfo->size))
		return NULL;
	*size = ALIGN_UP(sizeof(note) + note.header.n_descsz, 4);
	bytes = calloc(1, *size);
	if (bytes && memory_read(memory, vmcoreinfo->address, bytes,
			     sizeof(note) + note.header.n_descsz) == 0) {
		/* It may have changed meanwhile where it is read for the second time. */
		memcpy(bytes, &note, sizeof(note));
		return bytes;
	}
	free(bytes);
	*size = 0;
	return NULL;
}
