#include "machine/linux.h"

#include "machine/e820.h"
#include "machine/layout.h"

/* A VGA's text mode 3, with the cursor in the upper left corner, as setup code would have asked a
 * BIOS. */
static void describe_text_screen(struct screen_info *screen)
{
	screen->orig_video_mode = 3;
	screen->orig_video_cols = 80;
	screen->orig_video_lines = 25;
	screen->orig_video_isVGA = 1;
	screen->orig_video_points = 16;
	screen->orig_video_ega_bx = 3; /* not 0x10, which a CGA has */
}

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

	if (request->text_screen)
		describe_text_screen(&params->screen_info);
	params->hdr.type_of_loader = 0xff; /* "undefined": we have no loader number */
	params->hdr.vid_mode = 0xffff;     /* "normal": as it is */
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
