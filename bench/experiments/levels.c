/* In the guest: read a file from its start, in reads of one size, and say what that took.
 *
 *	levels FILE BYTES-A-READ MEBIBYTES [monitor]
 *
 * "monitor": files below /level3/ are served at the SYSCALL instruction (syscall_level.c). It says
 * "@ BYTES-A-READ MiB SECONDS INSTRUCTIONS". */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define CALL 0x33767633

enum { OPT_OUT, OPT_IN, INSTRUCTIONS };

static int64_t hypercall(uint64_t what, const void *token, const char *name)
{
	uint64_t result = CALL;

	asm volatile("vmcall" : "+a"(result) : "b"(what), "c"(token), "d"(name) : "memory");
	return (int64_t)result;
}

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
	static uint64_t token __attribute__((aligned(4096)));
	size_t size = (size_t)atol(argv[2]), left = (size_t)atol(argv[3]) << 20, done = 0;
	uint8_t *buffer = aligned_alloc(4096, size);
	uint32_t sum = 0;
	int64_t instructions;
	double start;
	ssize_t got;
	int fd;

	memset(buffer, 0, size);
	if (argc > 4 &&
		(mlock(&token, sizeof(token)) < 0 || hypercall(OPT_IN, &token, "/level3/") != 0)) {
		fputs("the monitor has no such call\n", stderr);
		return 1;
	}
	fd = open(argv[1], O_RDONLY);
	if (fd < 0) {
		perror(argv[1]);
		return 1;
	}
	start = now();
	instructions = hypercall(INSTRUCTIONS, NULL, NULL);
	while (done < left && (got = read(fd, buffer, size)) > 0) {
		sum += buffer[done >> 20 & 0xfff];
		done += (size_t)got;
	}
	instructions = hypercall(INSTRUCTIONS, NULL, NULL) - instructions;
	printf("@ %zu %.3f %.4f %lld %08x\n", size, (double)done / 1048576, now() - start,
		(long long)instructions, sum);
	close(fd);
	return done < left;
}
