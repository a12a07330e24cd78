/* Files of an ext2, ext3 or ext4 file system, by libext2fs. What is in its journal only is not
 * seen: a system that was not shut down may have its last changes there. */
#ifndef VENEER_HELPER_EXT_FILES_H
#define VENEER_HELPER_EXT_FILES_H

#include "helper/disk_source.h"
#include "helper/partition.h"

#include <stdbool.h>

struct ext_files;

#define EXT_UUID_TEXT 37 /* with the zero that ends it */

/* The file system on that part of the disk, which must outlive it. NULL: there is none that can be
 * read. */
struct ext_files *ext_files_open(const struct disk_source *disk, const struct partition *part);
void ext_files_close(struct ext_files *files);

void ext_files_uuid(const struct ext_files *files, char text[EXT_UUID_TEXT]);
/* Is there a file or directory of that name? Symbolic links are followed within the file system. */
bool ext_files_exists(struct ext_files *files, const char *path);
/* Call entry(opaque, name) for each name in a directory, as it comes. 0
 * or -errno. */
int ext_files_list(struct ext_files *files, const char *path,
	void (*entry)(void *opaque, const char *name), void *opaque);
/* A file's beginning, up to size - 1 bytes and a zero after them. Its length, or -errno. */
int ext_files_read(struct ext_files *files, const char *path, char *text, size_t size);
/* Append a file of up to `limit` bytes to what is in `fd`. Its length; -ENOENT; -EFBIG; another
 * -errno. */
int64_t ext_files_copy(struct ext_files *files, const char *path, int fd, uint64_t limit);

#endif
