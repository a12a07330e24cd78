/* veneer-disk-boot: reads out of a disk what its boot loader would start.
 *
 *	veneer-disk-boot START SIZE [TARGET]
 *
 * START, SIZE: the part of the file that is the disk, in bytes; SIZE 0: to its end. TARGET: it is
 * not in the file but an NBD server has it (disk_nbd.h).
 *
 * Descriptors: 3, the disk's file; 4 and 5, empty files for kernel and initrd; 6, one for the
 * kernel's command line. The initrd stays empty where there is none. Exit status 0; 2 where the
 * disk can be read but has no kernel that we find; else 1; both with a message.
 *
 * The disk is a file system, or has partitions with file systems; GRUB's configuration says what to
 * start, and else the newest kernel in /boot is taken. */
#include "base/sanitizer.h"
#include "helper/disk_nbd.h"
#include "helper/ext_files.h"
#include "helper/grub_config.h"
#include "helper/partition.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum { DISK_FD = 3, KERNEL_FD, INITRD_FD, CMDLINE_FD };

#define MAX_KERNEL  (UINT64_C(256) << 20)
#define MAX_INITRD  (UINT64_C(1) << 30)
#define MAX_SCRIPT  (1 << 20)
#define MAX_SECONDS 20
#define MAX_MEMORY  (UINT64_C(2) << 30)

static __attribute__((noreturn, format(printf, 2, 3))) void end(int status, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fputc('\n', stderr);
	exit(status);
}

#define die(...)       end(1, __VA_ARGS__)
#define no_kernel(...) end(2, __VA_ARGS__)

/* However much time, memory and room the disk would have us take. */
static void limit_resources(void)
{
	const struct rlimit seconds = {MAX_SECONDS, MAX_SECONDS}, memory = {MAX_MEMORY, MAX_MEMORY},
			    file = {MAX_INITRD, MAX_INITRD}, none = {0, 0};

	setrlimit(RLIMIT_CPU, &seconds);
	if (!ADDRESS_SANITIZED && !THREAD_SANITIZED) /* they reserve terabytes */
		setrlimit(RLIMIT_AS, &memory);
	setrlimit(RLIMIT_FSIZE, &file);
	setrlimit(RLIMIT_CORE, &none);
}

/* --- the disk's file systems --- */

static struct disk_source disk;
static struct ext_files *systems[PARTITION_MAX];
static unsigned system_count;

static void open_systems(void)
{
	struct partition list[PARTITION_MAX], whole = {0, disk.size};
	unsigned count = partition_list(&disk, list);
	struct ext_files *files = ext_files_open(&disk, &whole);

	if (files)
		systems[system_count++] = files;
	for (unsigned i = 0; i < count && !files; i++)
		if ((systems[system_count] = ext_files_open(&disk, &list[i])))
			system_count++;
	if (system_count)
		return;
	if (count)
		no_kernel("none of the %u partitions has an ext4 file system", count);
	no_kernel("no ext4 file system, and no table of partitions");
}

/* --- what is to be started --- */

static char cmdline[GRUB_MAX_CMDLINE + 128];

/* Copy kernel and initrds; a kernel that is not there lets the search go on. */
static bool take_entry(struct ext_files *files, const struct grub_entry *entry)
{
	static const char padding[4];
	uint64_t total = 0;
	int64_t size = ext_files_copy(files, entry->kernel, KERNEL_FD, MAX_KERNEL);

	if (size == -ENOENT)
		return false;
	if (size < 0)
		die("%s: cannot read it: %s", entry->kernel, strerror((int)-size));
	for (unsigned i = 0; i < entry->initrd_count; i++) {
		/* The kernel finds the next archive on a multiple of 4. */
		if (total % 4 && write(INITRD_FD, padding, 4 - total % 4) > 0)
			total += 4 - total % 4;
		size = ext_files_copy(files, entry->initrd[i], INITRD_FD, MAX_INITRD - total);
		if (size < 0)
			die("%s: cannot read it: %s", entry->initrd[i], strerror((int)-size));
		total += (uint64_t)size;
	}
	return true;
}

/* --- by GRUB's configuration --- */

static bool boot_by_grub(struct ext_files *files, const char *directory)
{
	static char script[MAX_SCRIPT], environment[1024];
	static struct grub_entry entry;
	char path[64];
	int size;

	snprintf(path, sizeof(path), "%s/grub.cfg", directory);
	size = ext_files_read(files, path, script, sizeof(script));
	if (size < 0)
		return false;
	snprintf(path, sizeof(path), "%s/grubenv", directory);
	if (ext_files_read(files, path, environment, sizeof(environment)) < 0)
		environment[0] = 0;
	if (grub_config_default(script, (size_t)size, environment, &entry) < 0)
		return false;
	strcpy(cmdline, entry.cmdline);
	/* The kernel is beside the configuration, where /boot is a file system of its own, too. */
	if (take_entry(files, &entry))
		return true;
	for (unsigned i = 0; i < system_count; i++)
		if (systems[i] != files && take_entry(systems[i], &entry))
			return true;
	return false;
}

static bool boot_by_any_grub(void)
{
	static const char *const directories[] = {"/boot/grub", "/grub", "/boot/grub2", "/grub2"};

	for (unsigned i = 0; i < system_count; i++)
		for (unsigned k = 0; k < sizeof(directories) / sizeof(directories[0]); k++)
			if (boot_by_grub(systems[i], directories[k]))
				return true;
	return false;
}

/* --- the newest kernel --- */

#define KERNEL_PREFIX "vmlinuz-"

struct newest {
	char version[256];
};

static void consider(void *opaque, const char *name)
{
	struct newest *newest = opaque;

	if (strncmp(name, KERNEL_PREFIX, strlen(KERNEL_PREFIX)) != 0)
		return;
	name += strlen(KERNEL_PREFIX);
	/* Not "0-rescue-...", nor what packages and editors put aside. */
	if (!isdigit((unsigned char)*name) || strstr(name, "rescue") || strstr(name, ".dpkg") ||
		strstr(name, ".old") || strchr(name, '~'))
		return;
	if (strverscmp(name, newest->version) > 0)
		snprintf(newest->version, sizeof(newest->version), "%s", name);
}

static void find_initrd(struct ext_files *files, const char *directory, const char *version,
	struct grub_entry *entry)
{
	static const char *const patterns[] = {
		"%s/initrd.img-%s", "%s/initramfs-%s.img", "%s/initrd-%s"};

	for (unsigned i = 0; i < sizeof(patterns) / sizeof(patterns[0]); i++) {
		snprintf(entry->initrd[0], GRUB_MAX_PATH, patterns[i], directory, version);
		if (ext_files_exists(files, entry->initrd[0])) {
			entry->initrd_count = 1;
			return;
		}
	}
}

static bool boot_newest(struct ext_files *files, const char *directory)
{
	static struct grub_entry entry;
	struct newest newest = {""};

	memset(&entry, 0, sizeof(entry));
	if (ext_files_list(files, *directory ? directory : "/", consider, &newest) == 0 &&
		newest.version[0]) {
		snprintf(entry.kernel, GRUB_MAX_PATH, "%s/" KERNEL_PREFIX "%s", directory,
			newest.version);
		find_initrd(files, directory, newest.version, &entry);
		return take_entry(files, &entry);
	}
	snprintf(entry.kernel, GRUB_MAX_PATH, "%s/vmlinuz", directory);
	snprintf(entry.initrd[0], GRUB_MAX_PATH, "%s/initrd.img", directory);
	entry.initrd_count = ext_files_exists(files, entry.initrd[0]);
	return take_entry(files, &entry);
}

/* The root file system, which need not be the one with the kernel. */
static struct ext_files *find_root(struct ext_files *files)
{
	for (unsigned i = 0; i < system_count; i++)
		if (ext_files_exists(systems[i], "/etc") && ext_files_exists(systems[i], "/usr"))
			return systems[i];
	return files;
}

static void compose_cmdline(struct ext_files *files)
{
	struct ext_files *root = find_root(files);
	char uuid[EXT_UUID_TEXT];
	size_t used;

	if (ext_files_read(root, "/etc/kernel/cmdline", cmdline, GRUB_MAX_CMDLINE) < 0)
		strcpy(cmdline, "ro");
	if (strncmp(cmdline, "root=", 5) == 0 || strstr(cmdline, " root="))
		return;
	used = strlen(cmdline);
	ext_files_uuid(root, uuid);
	snprintf(cmdline + used, sizeof(cmdline) - used, " root=UUID=%s", uuid);
}

static bool boot_any_newest(void)
{
	for (unsigned i = 0; i < system_count; i++) {
		if (!boot_newest(systems[i], "/boot") && !boot_newest(systems[i], ""))
			continue;
		compose_cmdline(systems[i]);
		return true;
	}
	return false;
}

/* --- */

/* One line, of characters that can be printed. */
static void write_cmdline(void)
{
	size_t length = strcspn(cmdline, "\n");

	for (size_t i = 0; i < length; i++)
		if (!isprint((unsigned char)cmdline[i]))
			cmdline[i] = ' ';
	if (write(CMDLINE_FD, cmdline, length) != (ssize_t)length)
		die("cannot write the command line: %s", strerror(errno));
}

static void open_disk(uint64_t start, uint64_t size, const char *target)
{
	const char *message = NULL;
	int error;

	if (target)
		message = disk_nbd_open(&disk, target, start, size);
	else if ((error = disk_source_file(&disk, DISK_FD, start, size)))
		message = strerror(-error);
	if (message)
		die("cannot read the disk: %s", message);
}

int main(int argc, char **argv)
{
	uint64_t start = argc > 1 ? strtoull(argv[1], NULL, 10) : 0;
	uint64_t size = argc > 2 ? strtoull(argv[2], NULL, 10) : 0;

	limit_resources();
	open_disk(start, size, argc > 3 ? argv[3] : NULL);
	open_systems();
	if (!boot_by_any_grub() && !boot_any_newest())
		no_kernel(
			"no kernel: there is no grub.cfg that names one, no /boot/vmlinuz-* and no "
			"/vmlinuz");
	write_cmdline();
	return 0;
}
