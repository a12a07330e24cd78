/* The characters that a VGA's BIOS has: for machines that start without one. */
#ifndef VENEER_HOST_DISPLAY_FONT_H
#define VENEER_HOST_DISPLAY_FONT_H

#include <stddef.h>
#include <stdint.h>

#define VIDEO_BIOS      "/usr/share/seabios/vgabios-stdvga.bin"
#define VIDEO_BIOS_MOST (64 * 1024) /* bytes */
#define FONT_SIZE       4096        /* 256 characters of 8x16, a byte a row */

/* Find the font in a video BIOS. NULL: there is none. */
const uint8_t *font_find(const uint8_t *bios, size_t size);
/* Read the video BIOS of Debian's package seabios. The bytes are the caller's (free()); NULL where
 * it cannot be read, without a message. */
uint8_t *font_read_bios(size_t *size);

#endif
