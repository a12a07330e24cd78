/* I/O at the third level: not at a device's registers, and not at a message to a file server, but
 * where a program asks its system for a file. A process of the guest opts in by a hypercall; from
 * then on open, read, write and close of what lies below one name are done here, at the SYSCALL
 * instruction, and the guest's kernel is not entered. All its other calls go on to its kernel.
 *
 *	VMCALL, RAX = CALL, RBX = what, at CPL 3; the answer is in RAX, 0 or more, or -errno
 *
 *	OPT_IN		RCX: where 8 bytes of the process are that nobody else writes, in a
 *			locked page; RDX: the name, "/level3/" for instance, up to 63 bytes
 *	OPT_OUT
 *	INSTRUCTIONS	how many the vCPU has run, under the interpreter
 *
 * The files are those of a directory of the host, which the environment of the monitor names
 * (VENEER_SYSCALL_DIRECTORY). A path of the guest's leads below it by openat2(2), through no
 * symbolic link, to a regular file. Descriptors are counted from FIRST_FD on, where the guest's
 * kernel has none, so they mean nothing to it: no select, no mmap, no inheritance by fork.
 *
 * How a process is known again. By the page tables it runs with; but these may be another's when
 * it has died. So 8 random bytes are put where it has said, and are compared at each call. They are
 * looked at without a fault: where they are not to be found, the call is the guest kernel's. exec
 * and exit end it, too, and a child of fork has page tables of its own, thus is not one that opted
 * in.
 *
 * A buffer's pages are touched before anything is done, and one that is not there is a page fault
 * of the program at its SYSCALL, after which the guest runs that again. (The kernel would have said
 * EFAULT where there is nothing at all.) */
#include "cpu/syscall_level.h"

#include "base/bits.h"
#include "base/log.h"
#include "cpu/access.h"
#include "cpu/cpu.h"
#include "cpu/paging.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define CALL         UINT64_C(0x33767633)
#define ENVIRONMENT  "VENEER_SYSCALL_DIRECTORY"
#define FIRST_FD     0x40000000
#define MOST_FDS     64
#define MOST_BYTES   (512 * KIB) /* of one read or write: a guest takes less for an answer */
#define PIECES       (MOST_BYTES / PAGE_SIZE + 1)
#define TABLES       UINT64_C(0x000ffffffffff000) /* of CR3 */
#define AT_FDCWD_LOW ((uint32_t)AT_FDCWD)

enum what { OPT_OUT, OPT_IN, INSTRUCTIONS };

static struct process {
	uint64_t tables; /* 0: a free place */
	uint64_t token, token_at;
	char name[64];
	int fd[MOST_FDS]; /* -1: none */
} processes[16];
static atomic_uint process_count;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of all that is above */
static int directory = -1;

/* --- processes: with the lock --- */

static void forget(struct process *process)
{
	for (unsigned i = 0; i < MOST_FDS; i++)
		if (process->fd[i] >= 0)
			close(process->fd[i]);
	process->tables = 0;
	atomic_fetch_sub(&process_count, 1);
}

static bool has_token(struct cpu *cpu, const struct process *process)
{
	uint64_t gpa, value;

	return paging_look(cpu, process->token_at, &gpa) &&
	       memory_read(cpu->memory, gpa, &value, sizeof(value)) == 0 && value == process->token;
}

static struct process *find(struct cpu *cpu)
{
	for (unsigned i = 0; i < ARRAY_SIZE(processes); i++)
		if (processes[i].tables == (cpu->cr3 & TABLES) && has_token(cpu, &processes[i]))
			return &processes[i];
	return NULL;
}

/* --- the program's memory, without the lock: it may raise --- */

/* A string of at most `size` bytes with its zero: its length, or `size` where it has no end. */
static size_t read_string(struct cpu *cpu, uint64_t address, char *text, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		text[i] = (char)access_load(cpu, address + i, 1, ACCESS_PROGRAM);
		if (!text[i])
			return i;
	}
	return size;
}

/* The pages of a buffer. -EFAULT: one of them is no RAM. */
static int find_pieces(
	struct cpu *cpu, uint64_t address, size_t size, bool write, struct iovec *pieces)
{
	int count = 0;

	while (size) {
		size_t part = MIN(size, PAGE_SIZE - (address & ~PAGE_MASK));
		void *at = access_pointer(cpu, address, 1, write);

		if (!at)
			return -EFAULT;
		pieces[count++] = (struct iovec){at, part};
		address += part;
		size -= part;
	}
	return count;
}

/* --- calls --- */

static int open_below(const char *path, uint64_t flags, uint64_t mode)
{
	struct open_how how = {.flags = O_PATH | O_CLOEXEC | O_NOFOLLOW,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS};
	int at = (int)syscall(SYS_openat2, directory, path, &how, sizeof(how)), fd;
	char again[32];
	struct stat status;

	if (at < 0 && errno == ENOENT && flags & O_CREAT) {
		how.flags = (flags & O_ACCMODE) | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW;
		how.mode = mode & 0777;
		fd = (int)syscall(SYS_openat2, directory, path, &how, sizeof(how));
		return fd < 0 ? -errno : fd;
	}
	if (at < 0)
		return -errno;
	/* What was seen to be a file is what is opened. */
	snprintf(again, sizeof(again), "/proc/self/fd/%d", at);
	if (fstat(at, &status) < 0 || !S_ISREG(status.st_mode))
		fd = -EACCES;
	else if (flags & O_EXCL && flags & O_CREAT)
		fd = -EEXIST;
	else if ((fd = open(again, (int)(flags & (O_ACCMODE | O_TRUNC | O_APPEND)) | O_CLOEXEC)) <
		 0)
		fd = -errno;
	close(at);
	return fd;
}

static int64_t serve_open(struct process *process, const char *path, uint64_t flags, uint64_t mode)
{
	for (unsigned i = 0; i < MOST_FDS; i++) {
		if (process->fd[i] >= 0)
			continue;
		process->fd[i] = open_below(path, flags, mode);
		return process->fd[i] < 0 ? process->fd[i] : FIRST_FD + (int64_t)i;
	}
	return -EMFILE;
}

static int64_t serve_transfer(
	struct cpu *cpu, int fd, const struct iovec *pieces, int count, bool is_read)
{
	ssize_t done = is_read ? readv(fd, pieces, count) : writev(fd, pieces, count);
	ssize_t left = done;

	for (int i = 0; is_read && left > 0; i++) {
		size_t part = MIN((size_t)left, pieces[i].iov_len);

		access_written(cpu, pieces[i].iov_base, (unsigned)part);
		left -= (ssize_t)part;
	}
	return done < 0 ? -errno : done;
}

/* What the call wants, read from the program before the lock is taken. */
struct call {
	uint64_t number, a[4];
	char path[4096];
	struct iovec pieces[PIECES];
	int piece_count;
};

static bool is_ours(uint64_t fd)
{
	return (uint32_t)fd - FIRST_FD < MOST_FDS;
}

/* The calls that it may serve; others are the kernel's at once. */
static bool take(struct cpu *cpu, struct call *call)
{
	bool is_read = call->number == SYS_read;

	switch (call->number) {
	case SYS_openat:
		if ((uint32_t)call->a[0] != AT_FDCWD_LOW)
			return false;
		memmove(call->a, call->a + 1, 3 * sizeof(call->a[0]));
		call->number = SYS_open;
		/* fall through */
	case SYS_open:
		return read_string(cpu, call->a[0], call->path, sizeof(call->path)) <
		       sizeof(call->path);
	case SYS_read:
	case SYS_write:
		if (!is_ours(call->a[0]))
			return false;
		call->piece_count = find_pieces(
			cpu, call->a[1], MIN(call->a[2], MOST_BYTES), is_read, call->pieces);
		return true;
	case SYS_close:
		return is_ours(call->a[0]);
	case SYS_execve:
	case SYS_execveat:
	case SYS_exit_group:
		return true;
	default:
		return false;
	}
}

/* True: served, with this result. */
static bool serve(struct cpu *cpu, struct process *process, struct call *call, int64_t *result)
{
	unsigned index = (uint32_t)call->a[0] - FIRST_FD;
	size_t name = strlen(process->name);

	switch (call->number) {
	case SYS_open:
		if (strncmp(call->path, process->name, name) != 0)
			return false;
		*result = serve_open(process, call->path + name, call->a[1], call->a[2]);
		return true;
	case SYS_read:
	case SYS_write:
		*result = process->fd[index] < 0 ? -EBADF
			  : call->piece_count < 0
				  ? call->piece_count
				  : serve_transfer(cpu, process->fd[index], call->pieces,
					    call->piece_count, call->number == SYS_read);
		return true;
	case SYS_close:
		*result = process->fd[index] < 0 ? -EBADF : 0;
		if (!*result)
			close(process->fd[index]);
		process->fd[index] = -1;
		return true;
	default: /* its end */
		forget(process);
		return false;
	}
}

bool syscall_level_serve(struct cpu *cpu)
{
	static __thread struct call call;
	struct process *process;
	int64_t result = 0;
	bool served;

	if (likely(!atomic_load_explicit(&process_count, memory_order_relaxed)) || cpu->cpl != 3 ||
		!cpu_code64(cpu))
		return false;
	pthread_mutex_lock(&lock);
	process = find(cpu);
	pthread_mutex_unlock(&lock);
	if (!process)
		return false;
	call.number = cpu->gpr[RAX];
	call.a[0] = cpu->gpr[RDI];
	call.a[1] = cpu->gpr[RSI];
	call.a[2] = cpu->gpr[RDX];
	call.a[3] = cpu->gpr[R10];
	if (!take(cpu, &call))
		return false;
	pthread_mutex_lock(&lock);
	process = find(cpu);
	served = process && serve(cpu, process, &call, &result);
	pthread_mutex_unlock(&lock);
	if (!served)
		return false;
	cpu->gpr[RAX] = (uint64_t)result;
	/* As SYSCALL and SYSRET would have left them. */
	cpu->gpr[RCX] = cpu->next_rip;
	cpu->gpr[R11] = cpu_rflags(cpu) & ~RFLAGS_RF;
	return true;
}

/* --- the hypercall --- */

static int opt_in(struct cpu *cpu, uint64_t token_at, const char *name, uint64_t *token)
{
	struct process *process = NULL;

	for (unsigned i = 0; i < ARRAY_SIZE(processes); i++)
		if (!processes[i].tables)
			process = &processes[i];
	if (directory < 0 && getenv(ENVIRONMENT))
		directory = open(getenv(ENVIRONMENT), O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (directory < 0)
		return -ENOENT;
	if (!process)
		return -ENOSPC;
	*process = (struct process){.tables = cpu->cr3 & TABLES, .token_at = token_at};
	memset(process->fd, -1, sizeof(process->fd));
	strcpy(process->name, name);
	getrandom(&process->token, sizeof(process->token), 0);
	*token = process->token;
	atomic_fetch_add(&process_count, 1);
	return 0;
}

static int64_t change(struct cpu *cpu, enum what what)
{
	uint64_t token_at = cpu->gpr[RCX], token = 0;
	struct process *process;
	char name[64];
	int error = 0;

	if (what == OPT_IN) {
		if (token_at % 8 ||
			read_string(cpu, cpu->gpr[RDX], name, sizeof(name)) == sizeof(name))
			return -EINVAL;
		access_probe_write(cpu, token_at, sizeof(token), ACCESS_PROGRAM);
	}
	pthread_mutex_lock(&lock);
	process = find(cpu);
	if (process)
		forget(process);
	if (what == OPT_IN)
		error = opt_in(cpu, token_at, name, &token);
	pthread_mutex_unlock(&lock);
	if (what == OPT_IN && !error)
		access_write(cpu, token_at, &token, sizeof(token), ACCESS_PROGRAM);
	return error;
}

bool syscall_level_hypercall(struct cpu *cpu)
{
	uint64_t what = cpu->gpr[RBX];

	if (cpu->gpr[RAX] != CALL || cpu->cpl != 3 || !cpu_code64(cpu))
		return false;
	if (what == INSTRUCTIONS)
		cpu->gpr[RAX] = cpu->stats.instructions;
	else
		cpu->gpr[RAX] = what > INSTRUCTIONS ? (uint64_t)-EINVAL
						    : (uint64_t)change(cpu, (enum what)what);
	return true;
}
