/* Runs inside the guest: what its shell cannot do with a block device.
 *
 *	guest-disk storm DEVICE SECONDS THREADS [lost]
 *		threads that write and read blocks of their own past the page cache, in requests of
 *		several pieces, and compare; SIGTERM ends it, too. Prints "storm REQUESTS errors N
 *		wrong N"; fails where data were wrong or, without "lost", where a request failed:
 *		with it the device may go away, which ends a thread.
 *	guest-disk zero DEVICE OFFSET LENGTH
 *		has the device write zeroes (BLKZEROOUT)
 *
 * A static program for the host's own processor. */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define BLOCK  8192
#define BLOCKS 64 /* of a thread */
#define PIECES 4

static const char *device;
static double end;
static atomic_bool ended;
static atomic_ulong requests, errors, wrong;

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static uint64_t random_next(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static void fill(uint64_t *words, uint64_t seed)
{
	for (unsigned i = 0; i < BLOCK / 8; i++)
		words[i] = seed + i * 0x9e3779b97f4a7c15;
}

/* One request for the block at `offset`, in pieces that are no pages. */
static bool transfer(int fd, uint8_t *memory, uint64_t offset, bool write)
{
	static const unsigned cuts[PIECES + 1] = {0, 512, 4608, 5120, BLOCK};
	struct iovec pieces[PIECES];
	ssize_t done;

	for (unsigned i = 0; i < PIECES; i++)
		pieces[i] = (struct iovec){memory + cuts[i], cuts[i + 1] - cuts[i]};
	done = write ? pwritev(fd, pieces, PIECES, (off_t)offset)
		     : preadv(fd, pieces, PIECES, (off_t)offset);
	atomic_fetch_add(&requests, 1);
	if (done == BLOCK)
		return true;
	atomic_fetch_add(&errors, 1);
	return false;
}

static void *storm(void *opaque)
{
	uint64_t thread = (uintptr_t)opaque, random = thread * 77 + 1, written[BLOCKS] = {0};
	uint8_t *memory = aligned_alloc(4096, 2 * BLOCK), *at = memory + 512;
	static uint64_t expected[64][BLOCK / 8];
	int fd = open(device, O_RDWR | O_DIRECT);

	if (fd < 0 || !memory) {
		atomic_fetch_add(&errors, 1);
		return NULL;
	}
	while (!ended && now() < end) {
		uint64_t block = random_next(&random) % BLOCKS;
		uint64_t offset = (thread * BLOCKS + block) * BLOCK;
		bool write = !written[block] || random_next(&random) % 2;

		if (write) {
			written[block] = random_next(&random);
			fill((uint64_t *)at, written[block]);
		}
		if (!transfer(fd, at, offset, write))
			break;
		fill(expected[thread], written[block]);
		if (memcmp(at, expected[thread], BLOCK) != 0)
			atomic_fetch_add(&wrong, 1);
	}
	close(fd);
	free(memory);
	return NULL;
}

static void on_term(int number)
{
	ended = true;
}

static int storm_main(int count, char **words)
{
	unsigned threads = (unsigned)atoi(words[2]);
	pthread_t ids[64];

	if (threads > 64)
		return 2;
	device = words[0];
	end = now() + atof(words[1]);
	signal(SIGTERM, on_term);
	for (unsigned i = 0; i < threads; i++)
		if (pthread_create(&ids[i], NULL, storm, (void *)(uintptr_t)i))
			return 2;
	for (unsigned i = 0; i < threads; i++)
		pthread_join(ids[i], NULL);
	printf("storm %lu errors %lu wrong %lu\n", requests, errors, wrong);
	return wrong || requests < threads || (errors && count < 4);
}

static int zero_main(char **words)
{
	uint64_t range[2] = {strtoull(words[1], NULL, 0), strtoull(words[2], NULL, 0)};
	int fd = open(words[0], O_RDWR);

	if (fd < 0 || ioctl(fd, BLKZEROOUT, range) < 0) {
		perror(words[0]);
		return 1;
	}
	return 0;
}

int main(int argc, char **argv)
{
	if (argc >= 5 && strcmp(argv[1], "storm") == 0)
		return storm_main(argc - 2, argv + 2);
	if (argc == 5 && strcmp(argv[1], "zero") == 0)
		return zero_main(argv + 2);
	return 2;
}
