#include "host/display/font.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Code page 437 begins with nothing, and then a smiling face, in every VGA's font. */
static const uint8_t first[32] = {
	[18] = 0x7e, 0x81, 0xa5, 0x81, 0x81, 0xbd, 0x99, 0x81, 0x81, 0x7e};

const uint8_t *font_find(const uint8_t *bios, size_t size)
{
	const uint8_t *font = memmem(bios, size, first, sizeof(first));

	return font && (size_t)(bios + size - font) >= FONT_SIZE ? font : NULL;
}

uint8_t *font_read_bios(size_t *size)
{
	uint8_t *bytes = malloc(VIDEO_BIOS_MOST);
	int fd = open(VIDEO_BIOS, O_RDONLY | O_CLOEXEC);
	ssize_t got = bytes && fd >= 0 ? read(fd, bytes, VIDEO_BIOS_MOST) : -1;

	if (fd >= 0)
		close(fd);
	if (got <= 0) {
		free(bytes);
		return NULL;
	}
	*size = (size_t)got;
	return bytes;
}
