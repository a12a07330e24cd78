/* In sectors of 2048 bytes:
 *
 *	16	primary volume descriptor
 *	17	end of the descriptors
 *	18, 19	path tables, which list the root directory: little- and big-endian
 *	20	root directory
 *	21...	the files
 *
 * Numbers are recorded both ways, one after the other (ECMA-119, 7.2.3 and 7.3.3). Linux shows the
 * names in lower case, without ".;1". */
#include "host/cloud_init.h"

#include "base/bits.h"
#include "base/log.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECTOR   2048
#define MAX_FILE (1 * MIB)

enum { DESCRIPTOR = 16, TERMINATOR, PATHS_LITTLE, PATHS_BIG, ROOT, FIRST_FILE };

/* Sorted, as a directory must be. */
static const struct source {
	const char *name, *recorded, *missing; /* missing: what stands for it; NULL: nothing does */
} sources[] = {
	{"meta-data", "META-DATA.;1", "instance-id: veneer\n"},
	{"network-config", "NETWORK-CONFIG.;1", NULL},
	{"user-data", "USER-DATA.;1", "#cloud-config\n"},
	{"vendor-data", "VENDOR-DATA.;1", NULL},
};

struct both16 {
	uint16_t little, big;
} __attribute__((packed));

struct both32 {
	uint32_t little, big;
} __attribute__((packed));

struct record { /* of a directory: 9.1 */
	uint8_t length, attributes_length;
	struct both32 sector, size;
	uint8_t date[7], flags, unit_size, gap;
	struct both16 volume;
	uint8_t name_length;
	char name[1];
} __attribute__((packed));

struct descriptor { /* 8.4 */
	uint8_t type;
	char identifier[5];
	uint8_t version, unused1;
	char system[32], volume[32], unused2[8];
	struct both32 sectors;
	char unused3[32];
	struct both16 set_size, sequence, sector_size;
	struct both32 paths_size;
	uint32_t paths_little, optional_little, paths_big, optional_big;
	struct record root;
	char texts[623]; /* of publisher, application and others */
	char dates[4][17];
	uint8_t structure_version, unused4;
} __attribute__((packed));

_Static_assert(sizeof(struct record) == 34 && sizeof(struct descriptor) == 883, "ECMA-119");

static struct both16 both16(uint16_t value)
{
	return (struct both16){htole16(value), htobe16(value)};
}

static struct both32 both32(uint32_t value)
{
	return (struct both32){htole32(value), htobe32(value)};
}

struct seed {
	uint8_t *bytes;
	uint32_t sectors; /* so far */
	size_t root_used; /* of the root directory */
	const char *option, *directory;
};

static void add_record(
	struct seed *seed, const char *name, size_t name_length, uint32_t sector, uint32_t size)
{
	struct record *record = (struct record *)(seed->bytes + ROOT * SECTOR + seed->root_used);

	*record = (struct record){.length = (uint8_t)ALIGN_UP(33 + name_length, 2),
		.sector = both32(sector),
		.size = both32(size),
		.flags = sector == ROOT ? 2 : 0, /* a directory */
		.volume = both16(1),
		.name_length = (uint8_t)name_length};
	memcpy((uint8_t *)record + 33, name, name_length);
	seed->root_used += record->length;
}

/* The source's bytes, MAX_FILE at most, to `to`. Their number, or -errno with a message. */
static ssize_t read_source(const struct seed *seed, const struct source *source, uint8_t *to)
{
	char path[4096];
	ssize_t size = -ENAMETOOLONG;
	FILE *file = NULL;

	if (snprintf(path, sizeof(path), "%s/%s", seed->directory, source->name) <
		(int)sizeof(path)) {
		file = fopen(path, "re");
		size = file ? (ssize_t)fread(to, 1, MAX_FILE, file) : -errno;
	}
	if (file && (ferror(file) || fgetc(file) != EOF))
		size = ferror(file) ? -EIO : -EFBIG;
	if (file)
		fclose(file);
	if (size < 0 && size != -ENOENT)
		log_error("%s %s: %s: %s", seed->option, seed->directory, source->name,
			strerror((int)-size));
	return size;
}

static int add_source(struct seed *seed, const struct source *source)
{
	uint8_t *to = seed->bytes + (size_t)seed->sectors * SECTOR;
	ssize_t size = read_source(seed, source, to);

	if (size == -ENOENT && !source->missing)
		return 0;
	if (size == -ENOENT) {
		size = (ssize_t)strlen(source->missing);
		memcpy(to, source->missing, (size_t)size);
	}
	if (size < 0)
		return (int)size;
	add_record(seed, source->recorded, strlen(source->recorded), seed->sectors, (uint32_t)size);
	seed->sectors += (uint32_t)(ALIGN_UP((uint64_t)size, SECTOR) / SECTOR);
	return 0;
}

static void write_descriptors(struct seed *seed)
{
	struct descriptor *volume = (struct descriptor *)(seed->bytes + DESCRIPTOR * SECTOR);
	static const uint8_t path[] = {1, 0};
	uint8_t *little = seed->bytes + PATHS_LITTLE * SECTOR;
	uint8_t *big = seed->bytes + PATHS_BIG * SECTOR;

	*volume = (struct descriptor){.type = 1,
		.identifier = {'C', 'D', '0', '0', '1'},
		.version = 1,
		.sectors = both32(seed->sectors),
		.set_size = both16(1),
		.sequence = both16(1),
		.sector_size = both16(SECTOR),
		.paths_size = both32(10),
		.paths_little = htole32(PATHS_LITTLE),
		.paths_big = htobe32(PATHS_BIG),
		.structure_version = 1};
	memcpy(&volume->root, seed->bytes + ROOT * SECTOR, sizeof(volume->root));
	memset(volume->system, ' ', sizeof(volume->system));
	memset(volume->volume, ' ', sizeof(volume->volume));
	memcpy(volume->volume, "cidata", 6);
	memset(volume->texts, ' ', sizeof(volume->texts));
	for (unsigned i = 0; i < 4; i++)
		memset(volume->dates[i], '0', 16); /* not said */
	memcpy(seed->bytes + TERMINATOR * SECTOR,
		"\xff"
		"CD001\1",
		7);
	/* Length of the name, no attributes, sector, parent's number; the root's name is a zero. */
	memcpy(little, path, 2);
	memcpy(big, path, 2);
	little[2] = big[5] = ROOT;
	little[6] = big[7] = 1;
}

static int fill(struct seed *seed)
{
	int error = 0;

	seed->sectors = FIRST_FILE;
	add_record(seed, "\0", 1, ROOT, SECTOR);
	add_record(seed, "\1", 1, ROOT, SECTOR);
	for (unsigned i = 0; i < ARRAY_SIZE(sources) && !error; i++)
		error = add_source(seed, &sources[i]);
	if (!error)
		write_descriptors(seed);
	return error;
}

int cloud_init_seed(const char *option, const char *directory)
{
	const size_t room = FIRST_FILE * SECTOR + ARRAY_SIZE(sources) * (MAX_FILE + SECTOR);
	struct seed seed = {.option = option, .directory = directory};
	struct stat status;
	size_t size;
	int fd = -1, error;

	if (stat(directory, &status) < 0 || !S_ISDIR(status.st_mode)) {
		log_error("%s %s: expected a directory with user-data", option, directory);
		return -EINVAL;
	}
	seed.bytes = calloc(1, room);
	if (!seed.bytes)
		return -ENOMEM;
	error = fill(&seed);
	size = (size_t)seed.sectors * SECTOR;
	if (!error && ((fd = memfd_create("cidata", MFD_CLOEXEC)) < 0 ||
			      write(fd, seed.bytes, size) != (ssize_t)size)) {
		error = fd < 0 ? -errno : -EIO;
		log_error("%s %s: cannot make a memory file: %s", option, directory,
			strerror(-error));
	}
	free(seed.bytes);
	if (!error)
		return fd;
	if (fd >= 0)
		close(fd);
	return error;
}
