/* GRUB's configuration, grub.cfg: which kernel its menu starts by default, and with what. It is a
 * script; only menu entries and the choice among them are understood, as they are written by
 * grub-mkconfig. */
#ifndef VENEER_HELPER_GRUB_CONFIG_H
#define VENEER_HELPER_GRUB_CONFIG_H

#include <stddef.h>

#define GRUB_MAX_PATH    512
#define GRUB_MAX_CMDLINE 4096
#define GRUB_MAX_INITRDS 4

struct grub_entry {
	char kernel[GRUB_MAX_PATH]; /* in GRUB's root file system */
	char cmdline[GRUB_MAX_CMDLINE];
	char initrd[GRUB_MAX_INITRDS][GRUB_MAX_PATH]; /* to be loaded one after the other */
	unsigned initrd_count;
};

/* Find the default entry; where the script's choice cannot be understood, the first one with a
 * kernel. `environment`: what is in grubenv, ended by a zero; NULL: there is none. 0, or -ENOENT.
 */
int grub_config_default(
	const char *text, size_t size, const char *environment, struct grub_entry *entry);

#endif
