/* A disk's partition table: GPT (UEFI 2.10, chapter 5.3), or MBR with a chain of extended boot
 * records. Sectors of 512 bytes. */
#ifndef VENEER_HELPER_PARTITION_H
#define VENEER_HELPER_PARTITION_H

#include "helper/disk_source.h"

#define PARTITION_MAX 128

struct partition {
	uint64_t offset, size; /* bytes; all of it is on the disk */
};

/* The partitions, in the table's order; entries that are not on the disk are left out. Their
 * number; 0 where there is no table, or none that can be read. */
unsigned partition_list(const struct disk_source *disk, struct partition list[PARTITION_MAX]);

#endif
