/* fork, a child that writes to one page and ends, wait. */
#include "bench.h"

#include <sys/wait.h>

static volatile uint8_t page[4096];

static uint64_t fork_and_wait(uint64_t count)
{
	uint64_t sum = 0;

	while (count--) {
		int status;
		pid_t child = fork();

		if (child < 0)
			bench_die("fork");
		if (child == 0) {
			page[0] = (uint8_t)count;
			_exit(page[0] & 63);
		}
		if (waitpid(child, &status, 0) != child)
			bench_die("waitpid");
		sum = bench_mix(sum, (uint64_t)WEXITSTATUS(status) + page[0]);
	}
	return sum;
}

int main(int argc, char **argv)
{
	return bench_main(argc, argv, "os-fork", 700, fork_and_wait);
}
