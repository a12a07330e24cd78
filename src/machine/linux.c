#include "machine/linux.h"

#include "machine/e820.h"
#include "machine/layout.h"

int linux_write_boot_params(const struct boot_request *request, struct boot_params *params,
	uint64_t initrd, uint64_t cmdline_max)
{
	struct e820_range map[E820_MAX];
	unsigned i, count = e820_build(request->memory, map);
	int error;

	for (i = 0; i < count; i++) {
		params->e820_table[i].addr = map[i].start;
		params->e820_table[i].size = map[i].size;
		params->e820_table[i].type = map[i].type;
	}
	params->e820_entries = (uint8_t)count;
	params->acpi_rsdp_addr = request->rsdp;

	params->hdr.type_of_loader = 0xff; /* "undefined": we have no loader number */
	params->hdr.vid_mode = 0xffff;     /* "normal": there is no screen to set up */
	params->hdr.cmd_line_ptr = (uint32_t)LAYOUT_CMDLINE;
	if (request->initrd) {
		params->hdr.ramdisk_image = (uint32_t)initrd; /* all of it is below 4 GiB */
		params->hdr.ramdisk_size = (uint32_t)request->initrd->size;
	}
	error = boot_write_cmdline(request, request->cmdline, cmdline_max);
	if (error)
		return error;
	return memory_write(request->memory, LAYOUT_BOOT_PARAMS, params, sizeof(*params));
}
