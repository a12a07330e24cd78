/* Runs inside the guest: writes files in three ways, and says on the console what the kernel has
 * reported as durable; or looks what is there. The host kills the machine and compares.
 *
 *	guest-safety DIRECTORY STREAMS check
 *		prints "found STREAM N" for each: its records 1 to N are there; and "corrupt STREAM
 *		N" for what must never be seen
 *	guest-safety DIRECTORY STREAMS write
 *		goes on from there, and prints "synced STREAM N" when record N is durable, until it
 *		is killed
 *
 * A stream is a process. Its way is its number modulo 3:
 *
 *	append	records of different sizes at the end of a file, each followed by fdatasync()
 *	replace	a new file, fsync(), renamed over the old one, fsync() of the directory
 *	slots	blocks of a file written in turn, each followed by fdatasync() */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define RECORD_MAX 16384
#define SLOTS      32
#define SLOT_SIZE  4096

struct record { /* and then words that follow from it */
	uint64_t stream, number, size;
};

static unsigned stream;
static uint8_t buffer[RECORD_MAX], expected[RECORD_MAX];
static char path[256], other[256];

static void die(const char *what)
{
	dprintf(STDOUT_FILENO, "failed %u %s: %s\n", stream, what, strerror(errno));
	exit(1);
}

static void say(const char *what, uint64_t number)
{
	dprintf(STDOUT_FILENO, "%s %u %llu\n", what, stream, (unsigned long long)number);
}

static uint64_t mix(uint64_t value)
{
	value = (value ^ value >> 30) * 0xbf58476d1ce4e5b9;
	value = (value ^ value >> 27) * 0x94d049bb133111eb;
	return value ^ value >> 31;
}

static size_t record_size(uint64_t number)
{
	if (stream % 3 == 2)
		return SLOT_SIZE;
	return 64 + mix(number * 31 + stream) % (RECORD_MAX - 64) / 8 * 8;
}

/* The record as it must be: each byte follows from stream and number. */
static size_t make_record(uint8_t *to, uint64_t number)
{
	struct record record = {stream, number, record_size(number)};
	uint64_t word;

	memcpy(to, &record, sizeof(record));
	for (size_t at = sizeof(record); at < record.size; at += 8) {
		word = mix(number << 20 ^ (uint64_t)stream << 60 ^ at);
		memcpy(to + at, &word, 8);
	}
	return record.size;
}

static bool record_at(int fd, off_t offset, uint64_t number)
{
	size_t size = make_record(expected, number);

	return pread(fd, buffer, size, offset) == (ssize_t)size &&
	       memcmp(buffer, expected, size) == 0;
}

static void write_record(int fd, off_t offset, uint64_t number)
{
	size_t size = make_record(buffer, number);

	if (pwrite(fd, buffer, size, offset) != (ssize_t)size)
		die("write");
}

static int open_file(const char *name, int flags)
{
	int fd = open(name, flags | O_RDWR, 0644);

	if (fd < 0)
		die(name);
	return fd;
}

/* --- append --- */

/* The last record, and where it ends. What follows was not reported as durable. */
static uint64_t append_find(int fd, off_t *end)
{
	uint64_t number = 0;

	for (*end = 0; record_at(fd, *end, number + 1); *end += (off_t)record_size(++number))
		;
	return number;
}

static uint64_t append_check(void)
{
	int fd = open(path, O_RDONLY);
	off_t end;
	uint64_t number = fd < 0 ? 0 : append_find(fd, &end);

	close(fd);
	return number;
}

static void append_write(void)
{
	int fd = open_file(path, O_CREAT);
	off_t end;
	uint64_t number = append_find(fd, &end);

	if (ftruncate(fd, end) < 0 || fsync(fd) < 0)
		die("truncate");
	for (number++;; number++) {
		write_record(fd, end, number);
		if (fdatasync(fd) < 0)
			die("fdatasync");
		say("synced", number);
		end += (off_t)record_size(number);
	}
}

/* --- replace --- */

/* The file is one record, entirely: a rename shows the old or the new one. */
static uint64_t replace_check(void)
{
	struct record record = {0};
	struct stat status;
	int fd = open(path, O_RDONLY);

	if (fd < 0)
		return 0;
	if (pread(fd, &record, sizeof(record), 0) != sizeof(record) || record.stream != stream ||
		fstat(fd, &status) < 0 || status.st_size != (off_t)record_size(record.number) ||
		!record_at(fd, 0, record.number)) {
		say("corrupt", record.number);
		record.number = 0;
	}
	close(fd);
	return record.number;
}

static void replace_write(void)
{
	uint64_t number = replace_check();
	int directory = open(".", O_RDONLY | O_DIRECTORY);

	for (number++;; number++) {
		int fd = open_file(other, O_CREAT | O_TRUNC);

		write_record(fd, 0, number);
		if (fsync(fd) < 0 || close(fd) < 0 || rename(other, path) < 0 ||
			fsync(directory) < 0)
			die("replace");
		say("synced", number);
	}
}

/* --- slots --- */

/* The highest number whose record, and those that were last in the other slots, are there. The slot
 * that was being written may be anything. */
static uint64_t slots_check(void)
{
	int fd = open(path, O_RDONLY);
	uint64_t found[SLOTS] = {0}, highest = 0;
	unsigned missing = 0;

	for (unsigned slot = 0; fd >= 0 && slot < SLOTS; slot++) {
		struct record record;

		if (pread(fd, &record, sizeof(record), slot * SLOT_SIZE) == sizeof(record) &&
			record.stream == stream && record.number % SLOTS == slot &&
			record_at(fd, slot * SLOT_SIZE, record.number))
			found[slot] = record.number;
		if (found[slot] > highest)
			highest = found[slot];
	}
	for (uint64_t number = highest; number && number + SLOTS > highest; number--)
		if (found[number % SLOTS] != number && number + SLOTS != highest + 1)
			missing++;
	if (missing)
		say("corrupt", highest);
	close(fd);
	return highest;
}

static void slots_write(void)
{
	uint64_t number = slots_check();
	int fd = open_file(path, O_CREAT);

	for (number++;; number++) {
		write_record(fd, (off_t)(number % SLOTS) * SLOT_SIZE, number);
		if (fdatasync(fd) < 0)
			die("fdatasync");
		say("synced", number);
	}
}

static const struct {
	const char *name;
	uint64_t (*check)(void);
	void (*write)(void);
} ways[] = {
	{"append", append_check, append_write},
	{"replace", replace_check, replace_write},
	{"slots", slots_check, slots_write},
};

int main(int argc, char **argv)
{
	unsigned streams = argc == 4 ? (unsigned)atoi(argv[2]) : 0;

	if (!streams || chdir(argv[1]) < 0) {
		fprintf(stderr, "usage: guest-safety DIRECTORY STREAMS check|write\n");
		return 2;
	}
	for (stream = 0; stream < streams; stream++) {
		const char *name = ways[stream % 3].name;

		snprintf(path, sizeof(path), "%s-%u", name, stream);
		snprintf(other, sizeof(other), "%s-%u.new", name, stream);
		if (strcmp(argv[3], "check") == 0)
			say("found", ways[stream % 3].check());
		else if (fork() == 0)
			ways[stream % 3].write();
	}
	while (wait(NULL) > 0)
		;
	return 0;
}
