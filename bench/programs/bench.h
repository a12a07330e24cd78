/*
 * What every program of the suite shares: its command line, its clock and the one line it prints.
 *
 *	PROGRAM [-m] [-n PERCENT]
 *
 * does PERCENT (100) of its usual work and prints "NAME CHECKSUM SECONDS". The checksum depends on
 * the work alone, so two machines that print different ones do not compute the same thing.
 *
 * A guest's clock may be wrong: Bochs' counts instructions. With -m the program therefore also
 * prints "begin NAME" just before the work, waits until that line has left the serial port, and so
 * lets the host measure the time between the two lines.
 */
#ifndef BENCH_H
#define BENCH_H

#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

/* A program's work, done @count times; returns its checksum. */
typedef uint64_t bench_work(uint64_t count);

/* A bad command line, or a system call failed: the result would mean nothing. */
static inline void bench_die(const char *what)
{
	perror(what);
	exit(1);
}

/* The next number of a fixed sequence that looks random (Marsaglia's xorshift64). */
static inline uint64_t bench_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* Fold @value into a checksum: order matters, and no value is lost. */
static inline uint64_t bench_mix(uint64_t sum, uint64_t value)
{
	return (sum ^ value) * 0x9e3779b97f4a7c15 + (sum >> 29);
}

static inline uint64_t bench_mix_double(uint64_t sum, double value)
{
	uint64_t bits;

	memcpy(&bits, &value, sizeof(bits));
	return bench_mix(sum, bits);
}

/* Wait until what was printed has left the serial port; no matter that a pipe cannot say so. */
static inline void bench_flush(void)
{
	fflush(stdout);
	tcdrain(STDOUT_FILENO);
}

static inline int bench_main(
	int argc, char **argv, const char *name, uint64_t count, bench_work *work)
{
	struct timespec begin, end;
	uint64_t percent = 100, sum;
	bool mark = false;
	int option;

	while ((option = getopt(argc, argv, "mn:")) != -1) {
		if (option == 'm')
			mark = true;
		else if (option == 'n')
			percent = strtoull(optarg, NULL, 10);
		else
			return 1;
	}
	count = count * percent / 100;
	if (count == 0)
		count = 1;

	if (mark) {
		printf("begin %s\n", name);
		bench_flush();
	}
	clock_gettime(CLOCK_MONOTONIC, &begin);
	sum = work(count);
	clock_gettime(CLOCK_MONOTONIC, &end);
	printf("%s %016" PRIx64 " %.6f\n", name, sum,
		(double)(end.tv_sec - begin.tv_sec) + (double)(end.tv_nsec - begin.tv_nsec) * 1e-9);
	bench_flush();
	return 0;
}

#endif
