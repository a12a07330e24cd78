#include "helper/ext_files.h"

#include <errno.h>
#include <ext2fs/ext2fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SUPERBLOCK_MAGIC (1024 + 56)
#define COPY_BYTES       (1 << 20)

struct ext_files {
	const struct disk_source *disk;
	struct partition part;
	ext2_filsys fs;
};

/* --- an I/O manager: how libext2fs reads the part of the disk --- */

/* What channel_open() is for: ext2fs_open2() passes it a name only. */
static struct ext_files *opening;

static struct struct_io_manager manager;

static errcode_t channel_open(const char *name, int flags, io_channel *channel)
{
	io_channel new = calloc(1, sizeof(*new));

	if (!new)
		return EXT2_ET_NO_MEMORY;
	new->magic = EXT2_ET_MAGIC_IO_CHANNEL;
	new->manager = &manager;
	new->block_size = 1024;
	new->refcount = 1;
	new->private_data = opening;
	new->name = strdup(name);
	*channel = new;
	return 0;
}

static errcode_t channel_close(io_channel channel)
{
	if (--channel->refcount > 0)
		return 0;
	free(channel->name);
	free(channel);
	return 0;
}

static errcode_t channel_set_block_size(io_channel channel, int size)
{
	channel->block_size = size;
	return 0;
}

/* A negative count is one of bytes. */
static errcode_t channel_read(io_channel channel, unsigned long long block, int count, void *data)
{
	const struct ext_files *files = channel->private_data;
	uint64_t size = (uint64_t)channel->block_size, offset;
	uint64_t bytes = count < 0 ? -(uint64_t)(int64_t)count : (uint64_t)count * size;

	if (__builtin_mul_overflow(block, size, &offset) || offset > files->part.size ||
		bytes > files->part.size - offset ||
		disk_source_read(files->disk, files->part.offset + offset, data, bytes) < 0)
		return EXT2_ET_SHORT_READ;
	return 0;
}

static errcode_t channel_read_old(io_channel channel, unsigned long block, int count, void *data)
{
	return channel_read(channel, block, count, data);
}

static errcode_t channel_write(
	io_channel channel, unsigned long long block, int count, const void *data)
{
	return EXT2_ET_OP_NOT_SUPPORTED;
}

static errcode_t channel_write_old(
	io_channel channel, unsigned long block, int count, const void *data)
{
	return EXT2_ET_OP_NOT_SUPPORTED;
}

static errcode_t channel_flush(io_channel channel)
{
	return 0;
}

static struct struct_io_manager manager = {
	.magic = EXT2_ET_MAGIC_IO_MANAGER,
	.name = "veneer's disk",
	.open = channel_open,
	.close = channel_close,
	.set_blksize = channel_set_block_size,
	.read_blk = channel_read_old,
	.read_blk64 = channel_read,
	.write_blk = channel_write_old,
	.write_blk64 = channel_write,
	.flush = channel_flush,
};

/* --- files --- */

struct ext_files *ext_files_open(const struct disk_source *disk, const struct partition *part)
{
	struct ext_files *files;
	uint8_t magic[2];

	if (part->size < SUPERBLOCK_MAGIC + 2 ||
		disk_source_read(disk, part->offset + SUPERBLOCK_MAGIC, magic, 2) < 0 ||
		magic[0] != 0x53 || magic[1] != 0xef)
		return NULL;
	files = calloc(1, sizeof(*files));
	if (!files)
		return NULL;
	*files = (struct ext_files){.disk = disk, .part = *part};
	opening = files;
	if (ext2fs_open2("disk", NULL, EXT2_FLAG_64BITS | EXT2_FLAG_SKIP_MMP, 0, 0, &manager,
		    &files->fs)) {
		free(files);
		return NULL;
	}
	return files;
}

void ext_files_close(struct ext_files *files)
{
	ext2fs_free(files->fs);
	free(files);
}

void ext_files_uuid(const struct ext_files *files, char text[EXT_UUID_TEXT])
{
	static const char dash_before[16] = {[4] = 1, [6] = 1, [8] = 1, [10] = 1};
	const uint8_t *uuid = files->fs->super->s_uuid;

	for (unsigned i = 0; i < 16; i++)
		text += sprintf(text, dash_before[i] ? "-%02x" : "%02x", uuid[i]);
}

static bool find(struct ext_files *files, const char *path, ext2_ino_t *number)
{
	return ext2fs_namei_follow(files->fs, EXT2_ROOT_INO, EXT2_ROOT_INO, path, number) == 0;
}

bool ext_files_exists(struct ext_files *files, const char *path)
{
	ext2_ino_t number;

	return find(files, path, &number);
}

struct listing {
	void (*entry)(void *opaque, const char *name);
	void *opaque;
};

static int on_entry(ext2_ino_t directory, int place, struct ext2_dir_entry *entry, int offset,
	int block_size, char *buffer, void *opaque)
{
	const struct listing *listing = opaque;
	char name[EXT2_NAME_LEN + 1];
	int length = ext2fs_dirent_name_len(entry);

	memcpy(name, entry->name, (size_t)length);
	name[length] = 0;
	listing->entry(listing->opaque, name);
	return 0;
}

int ext_files_list(struct ext_files *files, const char *path,
	void (*entry)(void *opaque, const char *name), void *opaque)
{
	struct listing listing = {entry, opaque};
	ext2_ino_t number;

	if (!find(files, path, &number) || ext2fs_check_directory(files->fs, number))
		return -ENOENT;
	return ext2fs_dir_iterate2(files->fs, number, 0, NULL, on_entry, &listing) ? -EIO : 0;
}

/* A regular file. */
static int open_file(struct ext_files *files, const char *path, ext2_file_t *file, uint64_t *size)
{
	struct ext2_inode inode;
	ext2_ino_t number;

	if (!find(files, path, &number) || ext2fs_read_inode(files->fs, number, &inode) ||
		!LINUX_S_ISREG(inode.i_mode))
		return -ENOENT;
	*size = EXT2_I_SIZE(&inode);
	return ext2fs_file_open2(files->fs, number, &inode, 0, file) ? -EIO : 0;
}

int ext_files_read(struct ext_files *files, const char *path, char *text, size_t size)
{
	ext2_file_t file;
	uint64_t file_size;
	unsigned got = 0;
	int error = open_file(files, path, &file, &file_size);

	if (error)
		return error;
	error = ext2fs_file_read(file, text, (unsigned)size - 1, &got) ? -EIO : (int)got;
	ext2fs_file_close(file);
	text[got] = 0;
	return error;
}

static int write_all(int fd, const char *bytes, size_t size)
{
	ssize_t done;

	while (size) {
		done = write(fd, bytes, size);
		if (done < 0 && errno != EINTR)
			return -errno;
		if (done > 0) {
			bytes += done;
			size -= (size_t)done;
		}
	}
	return 0;
}

static int copy_all(ext2_file_t file, uint64_t size, int fd)
{
	char *buffer = malloc(COPY_BYTES);
	unsigned got = 1;
	int error = buffer ? 0 : -ENOMEM;

	for (; size && !error; size -= got) {
		if (ext2fs_file_read(file, buffer, COPY_BYTES, &got) || !got || got > size)
			error = -EIO;
		else
			error = write_all(fd, buffer, got);
	}
	free(buffer);
	return error;
}

int64_t ext_files_copy(struct ext_files *files, const char *path, int fd, uint64_t limit)
{
	ext2_file_t file;
	uint64_t size;
	int error = open_file(files, path, &file, &size);

	if (error)
		return error;
	error = size > limit ? -EFBIG : copy_all(file, size, fd);
	ext2fs_file_close(file);
	return error ? error : (int64_t)size;
}
