/* What a disk would boot: its kernel, initrd and command line, which a helper process
 * (helper/disk_boot.c) reads out of its file system. Nothing of the disk is parsed here. */
#ifndef VENEER_HOST_DISK_BOOT_H
#define VENEER_HOST_DISK_BOOT_H

#include "host/disk/disk.h"

struct disk_boot {
	int kernel_fd, initrd_fd; /* memfds; initrd_fd is -1 where there is none */
	char *cmdline;            /* the boot loader's */
};

/* 0, or -errno with a message; then there is nothing to free. -ENODATA: the disk can be read, and
 * has no kernel that we find; the message says why. A program that reads the disk is started where
 * its format wants one, and stays (disk_serve()). */
int disk_boot_read(struct disk_boot *boot, struct disk_config *disk);
void disk_boot_free(struct disk_boot *boot);

#endif
