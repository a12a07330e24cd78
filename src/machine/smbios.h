/* SMBIOS tables (DMTF DSP0134, version 3.0): what the machine tells of itself by names, and strings
 * that its owner gives it, among them credentials for systemd. */
#ifndef VENEER_MACHINE_SMBIOS_H
#define VENEER_MACHINE_SMBIOS_H

#include "memory/memory.h"

#define SMBIOS_MAX_FIELDS 32
#define SMBIOS_MAX_OEM    64

struct smbios_config {
	char *fields[SMBIOS_MAX_FIELDS]; /* by their row in smbios.c; NULL: as it is there */
	char *oem[SMBIOS_MAX_OEM];       /* strings of type 11 */
	unsigned oem_count;
};

/* The value of --smbios: "type=1,serial=X,...", or "type=11,value=STRING". 0, or -EINVAL with a
 * message; what has been taken before that stays. */
int smbios_config_parse(struct smbios_config *config, const char *option, const char *value);
/* NAME=VALUE: what systemd's services find as a credential. Likewise. */
int smbios_config_credential(struct smbios_config *config, const char *option, const char *value);

void smbios_config_free(struct smbios_config *config);

/* Write the tables where Linux looks for them, from 0xf0000 on (5.2.2). 0, or -errno with a
 * message. */
int smbios_write_tables(
	struct memory *memory, const struct smbios_config *config, unsigned cpu_count);

/* For firmware that puts them where it likes: an entry point that knows of no address, and the
 * table, which the caller frees. 0, or -errno with a message. */
#define SMBIOS_ENTRY_SIZE 24
int smbios_build_files(const struct memory *memory, const struct smbios_config *config,
	unsigned cpu_count, uint8_t entry[SMBIOS_ENTRY_SIZE], uint8_t **table, uint32_t *size);

#endif
