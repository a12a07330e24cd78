/* Checks in a guest what POSIX promises of files, in the directory that is its argument. Prints
 * "check ok NAME" or "check FAIL NAME: why" for each check.
 *
 * usage: guest-posix DIRECTORY CACHE ENTRIES
 *
 * CACHE is how the directory was mounted: none, mmap or loose. ENTRIES: how many files the large
 * directory has. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

static const char *cache;
static unsigned entries;

/* The line that was not true; errno is shown besides. */
#define REQUIRE(truth)                                                                             \
	do {                                                                                       \
		if (!(truth))                                                                      \
			return __LINE__;                                                           \
	} while (0)
#define REFUSED(call, number) REQUIRE((call) < 0 && errno == (number))

static bool holds(int fd, const char *text)
{
	char bytes[64];

	return pread(fd, bytes, sizeof(bytes), 0) == (ssize_t)strlen(text) &&
	       memcmp(bytes, text, strlen(text)) == 0;
}

static int make(const char *name, const char *text)
{
	int fd = open(name, O_RDWR | O_CREAT | O_TRUNC, 0644);

	if (fd >= 0 && write(fd, text, strlen(text)) != (ssize_t)strlen(text)) {
		close(fd);
		return -1;
	}
	return fd;
}

static int check_removed(void)
{
	struct stat status;
	int fd = make("a", "text"), again;

	REQUIRE(fd >= 0 && unlink("a") == 0);
	REQUIRE(holds(fd, "text") && pwrite(fd, "X", 1, 0) == 1 && holds(fd, "Xext"));
	REQUIRE(fstat(fd, &status) == 0 && status.st_size == 4);
	REQUIRE(ftruncate(fd, 2) == 0 && holds(fd, "Xe"));
	again = make("a", "new");
	REQUIRE(again >= 0 && holds(again, "new") && holds(fd, "Xe"));
	close(fd);
	close(again);
	REQUIRE(unlink("a") == 0);
	return 0;
}

static int check_renamed(void)
{
	int old = make("old", "old"), new = make("new", "new");
	struct stat status;

	REQUIRE(old >= 0 && new >= 0 && rename("new", "old") == 0);
	REQUIRE(holds(old, "old") && holds(new, "new"));
	REQUIRE(access("new", F_OK) < 0 && stat("old", &status) == 0 && status.st_size == 3);
	close(old);
	old = open("old", O_RDONLY);
	REQUIRE(old >= 0 && holds(old, "new"));
	close(old);
	close(new);
	REQUIRE(mkdir("d", 0755) == 0 && mkdir("d/e", 0755) == 0);
	REFUSED(rename("d", "d/e/f"), EINVAL);
	REFUSED(rename("old", "d"), EISDIR);
	REFUSED(rename("d", "old"), ENOTDIR);
	REFUSED(rmdir("d"), ENOTEMPTY);
	REQUIRE(rename("old", "d/e/old") == 0 && rename("d", "g") == 0);
	REQUIRE(access("g/e/old", R_OK) == 0);
	REQUIRE(unlink("g/e/old") == 0 && rmdir("g/e") == 0 && rmdir("g") == 0);
	return 0;
}

static int check_append(void)
{
	int first = open("a", O_RDWR | O_CREAT | O_APPEND, 0644), second;

	second = open("a", O_WRONLY | O_APPEND);
	REQUIRE(first >= 0 && second >= 0);
	REQUIRE(write(first, "one", 3) == 3 && write(second, "two", 3) == 3 &&
		write(first, "six", 3) == 3);
	REQUIRE(fsync(first) == 0 && holds(first, "onetwosix"));
	close(first);
	close(second);
	REQUIRE(unlink("a") == 0);
	return 0;
}

static int check_size(void)
{
	const off_t far = (5ll << 30) + 3;
	struct stat status;
	char bytes[4];
	int fd = make("a", "12345678");

	REQUIRE(fd >= 0 && ftruncate(fd, 3) == 0 && holds(fd, "123"));
	REQUIRE(ftruncate(fd, 6) == 0 && pread(fd, bytes, 4, 2) == 4);
	REQUIRE(memcmp(bytes, "3\0\0\0", 4) == 0);
	REQUIRE(pwrite(fd, "end", 3, far) == 3 && fsync(fd) == 0);
	REQUIRE(fstat(fd, &status) == 0 && status.st_size == far + 3);
	REQUIRE(pread(fd, bytes, 4, far - 1) == 4 && memcmp(bytes, "\0end", 4) == 0);
	close(fd);
	/* Of what was never written there is nothing on the host's disk. */
	REQUIRE(stat("a", &status) == 0 && status.st_blocks < 1000);
	REQUIRE(truncate("a", 0) == 0 && stat("a", &status) == 0 && status.st_size == 0);
	REQUIRE(unlink("a") == 0);
	return 0;
}

static int check_attributes(void)
{
	const struct timespec times[2] = {{1000000000, 5000}, {1234567890, 123456000}};
	struct stat status;
	int fd = make("a", "text");

	REQUIRE(fd >= 0 && utimensat(AT_FDCWD, "a", times, 0) == 0 && stat("a", &status) == 0);
	/* Of the time that is set, Linux 6.1 sends its server the seconds only. */
	REQUIRE(status.st_mtim.tv_sec == 1234567890 &&
		(status.st_mtim.tv_nsec == 123456000 || !status.st_mtim.tv_nsec));
	REQUIRE(status.st_atim.tv_sec == 1000000000);
	REQUIRE(write(fd, "x", 1) == 1 && fsync(fd) == 0 && stat("a", &status) == 0);
	REQUIRE(status.st_mtim.tv_sec > 1234567890);
	REQUIRE(chmod("a", 0640) == 0 && stat("a", &status) == 0 &&
		status.st_mode == (S_IFREG | 0640));
	REQUIRE(link("a", "b") == 0 && stat("b", &status) == 0 && status.st_nlink == 2);
	REQUIRE(unlink("a") == 0 && stat("b", &status) == 0 && status.st_nlink == 1);
	REQUIRE(unlink("b") == 0);
	close(fd);
	return 0;
}

static int check_names(void)
{
	static const char *const names[] = {
		"Grüße", "日本語", "a b", "new\nline", "\xff\xfe", "..x"};
	char longest[300], target[300];
	struct dirent *entry;
	unsigned found = 0;
	DIR *directory;

	REQUIRE(mkdir("d", 0755) == 0 && chdir("d") == 0);
	for (unsigned i = 0; i < 6; i++)
		close(make(names[i], names[i]));
	memset(longest, 'x', sizeof(longest));
	longest[255] = 0;
	REQUIRE(mkdir(longest, 0755) == 0 && rmdir(longest) == 0);
	longest[255] = 'x';
	longest[256] = 0;
	REFUSED(mkdir(longest, 0755), ENAMETOOLONG);
	directory = opendir(".");
	REQUIRE(directory);
	while ((entry = readdir(directory)))
		for (unsigned i = 0; i < 6; i++)
			found += strcmp(names[i], entry->d_name) == 0;
	closedir(directory);
	REQUIRE(found == 6);
	for (unsigned i = 0; i < 6; i++)
		REQUIRE(unlink(names[i]) == 0);
	REQUIRE(symlink("to/nothing", "l") == 0 && readlink("l", target, sizeof(target)) == 10);
	REQUIRE(memcmp(target, "to/nothing", 10) == 0);
	REFUSED(open("l", O_RDONLY | O_NOFOLLOW), ELOOP);
	REFUSED(open("l", O_RDONLY), ENOENT);
	REQUIRE(unlink("l") == 0 && symlink("l", "l") == 0);
	REFUSED(open("l", O_RDONLY), ELOOP);
	REQUIRE(unlink("l") == 0 && chdir("..") == 0 && rmdir("d") == 0);
	return 0;
}

static int check_opening(void)
{
	int fd = make("a", "text");

	REQUIRE(fd >= 0);
	REFUSED(open("a", O_RDWR | O_CREAT | O_EXCL, 0644), EEXIST);
	REFUSED(open("a/b", O_RDONLY), ENOTDIR);
	REFUSED(open("a", O_RDONLY | O_DIRECTORY), ENOTDIR);
	REFUSED(open(".", O_RDWR), EISDIR);
	REFUSED(open("b", O_RDWR), ENOENT);
	REFUSED(mkdir("a", 0755), EEXIST);
	close(open("a", O_WRONLY | O_TRUNC));
	REQUIRE(holds(fd, ""));
	close(fd);
	REQUIRE(unlink("a") == 0);
	return 0;
}

/* They work within the guest; on the host they are never opened. */
static int check_special(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "socket"};
	int fd, socket_fd = socket(AF_UNIX, SOCK_STREAM, 0);
	struct stat status;
	pid_t child;

	REQUIRE(mkfifo("fifo", 0600) == 0 && stat("fifo", &status) == 0 &&
		S_ISFIFO(status.st_mode));
	child = fork();
	if (child == 0) {
		fd = open("fifo", O_WRONLY);
		_exit(write(fd, "text", 4) != 4);
	}
	fd = open("fifo", O_RDONLY);
	REQUIRE(fd >= 0 && read(fd, address.sun_path + 50, 10) == 4);
	REQUIRE(waitpid(child, NULL, 0) == child);
	close(fd);
	memset(address.sun_path + 50, 0, 10);
	REQUIRE(bind(socket_fd, (struct sockaddr *)&address, sizeof(address)) == 0);
	REQUIRE(stat("socket", &status) == 0 && S_ISSOCK(status.st_mode));
	close(socket_fd);
	REQUIRE(unlink("socket") == 0 && unlink("fifo") == 0);
	return 0;
}

static int check_locks(void)
{
	struct flock all = {.l_type = F_WRLCK};
	int fd = make("a", ""), status;
	pid_t child;

	REQUIRE(fd >= 0 && fcntl(fd, F_SETLK, &all) == 0);
	child = fork();
	if (child == 0) {
		int other = open("a", O_RDWR);

		if (fcntl(other, F_SETLK, &all) == 0 || errno != EAGAIN)
			_exit(1);
		_exit(fcntl(other, F_GETLK, &all) != 0 || all.l_type != F_WRLCK);
	}
	REQUIRE(waitpid(child, &status, 0) == child && status == 0);
	all.l_type = F_UNLCK;
	REQUIRE(fcntl(fd, F_SETLK, &all) == 0 && flock(fd, LOCK_EX) == 0);
	close(fd);
	REQUIRE(unlink("a") == 0);
	return 0;
}

static int check_mapping(void)
{
	int fd = make("a", "text");
	char *map;

	map = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
	REQUIRE(map != MAP_FAILED && memcmp(map, "text", 4) == 0);
	munmap(map, 4096);
	map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (strcmp(cache, "none") == 0) {
		REQUIRE(map == MAP_FAILED);
	} else {
		REQUIRE(map != MAP_FAILED);
		memcpy(map, "TEXT", 4);
		REQUIRE(msync(map, 4096, MS_SYNC) == 0);
		munmap(map, 4096);
	}
	close(fd);
	fd = open("a", O_RDONLY);
	REQUIRE(holds(fd, strcmp(cache, "none") ? "TEXT" : "text"));
	close(fd);
	REQUIRE(unlink("a") == 0);
	return 0;
}

static int check_xattrs(void)
{
	char bytes[100];

	close(make("a", ""));
	if (setxattr("a", "user.one", "value", 5, 0) < 0 && errno == EOPNOTSUPP)
		return unlink("a") ? __LINE__ : 0; /* the host's file system has none */
	REQUIRE(getxattr("a", "user.one", bytes, sizeof(bytes)) == 5 && !memcmp(bytes, "value", 5));
	REFUSED(setxattr("a", "user.one", "v", 1, XATTR_CREATE), EEXIST);
	REQUIRE(setxattr("a", "user.two", "", 0, 0) == 0);
	REQUIRE(listxattr("a", bytes, sizeof(bytes)) == 18);
	REQUIRE(removexattr("a", "user.one") == 0 && removexattr("a", "user.two") == 0);
	REFUSED(getxattr("a", "user.one", bytes, sizeof(bytes)), ENODATA);
	REQUIRE(listxattr("a", bytes, sizeof(bytes)) == 0 && unlink("a") == 0);
	return 0;
}

/* Several processes make, rename and remove at once. */
static int check_processes(void)
{
	pid_t child[4];
	int status;

	for (int p = 0; p < 4; p++) {
		child[p] = fork();
		for (int i = 0; child[p] == 0 && i < 100; i++) {
			char from[32], to[32];
			int fd;

			snprintf(from, sizeof(from), "p%d-%d", p, i);
			snprintf(to, sizeof(to), "q%d-%d", p, i);
			fd = make(from, from);
			if (fd < 0 || rename(from, to) < 0 || !holds(fd, from) || unlink(to) < 0)
				_exit(1);
			close(fd);
			if (i == 99)
				_exit(0);
		}
	}
	for (int p = 0; p < 4; p++)
		REQUIRE(waitpid(child[p], &status, 0) == child[p] && status == 0);
	return 0;
}

/* Each entry is seen once; and all are seen though those that were seen are removed. */
static int check_large_directory(void)
{
	struct dirent *entry;
	unsigned count = 0;
	char name[32];
	DIR *directory;

	REQUIRE(mkdir("d", 0755) == 0 && chdir("d") == 0);
	for (unsigned i = 0; i < entries; i++) {
		snprintf(name, sizeof(name), "entry%u", i);
		REQUIRE(mknod(name, S_IFREG | 0600, 0) == 0);
	}
	directory = opendir(".");
	while ((entry = readdir(directory)))
		count += entry->d_name[0] == 'e';
	REQUIRE(count == entries);
	rewinddir(directory);
	while ((entry = readdir(directory)))
		if (entry->d_name[0] == 'e')
			REQUIRE(unlink(entry->d_name) == 0);
	closedir(directory);
	REQUIRE(chdir("..") == 0 && rmdir("d") == 0);
	return 0;
}

static int check_file_system(void)
{
	struct statvfs status;

	REQUIRE(statvfs(".", &status) == 0 && status.f_blocks && status.f_namemax == 255);
	return 0;
}

static const struct {
	const char *name;
	int (*run)(void);
} checks[] = {
	{"what was removed is used", check_removed},
	{"renames", check_renamed},
	{"appending", check_append},
	{"sizes and holes", check_size},
	{"times, modes, links", check_attributes},
	{"names", check_names},
	{"opening", check_opening},
	{"FIFO and socket", check_special},
	{"locks", check_locks},
	{"mappings", check_mapping},
	{"extended attributes", check_xattrs},
	{"four processes", check_processes},
	{"large directory", check_large_directory},
	{"statfs", check_file_system},
};

int main(int argc, char **argv)
{
	if (argc != 4 || chdir(argv[1]) < 0)
		return 2;
	cache = argv[2];
	entries = (unsigned)atoi(argv[3]);
	umask(0);
	for (unsigned i = 0; i < sizeof(checks) / sizeof(*checks); i++) {
		int line;

		errno = 0;
		line = checks[i].run();
		if (line)
			printf("check FAIL %s: line %d, %s\n", checks[i].name, line,
				strerror(errno));
		else
			printf("check ok %s\n", checks[i].name);
		fflush(stdout);
		if (line && chdir(argv[1]) < 0)
			return 1;
	}
	return 0;
}
