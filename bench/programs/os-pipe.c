/* One byte to and fro between two processes over two pipes: context switches. */
#include "bench.h"

#include <sys/wait.h>

static void transfer(ssize_t result)
{
	if (result != 1)
		bench_die("pipe");
}

static uint64_t ping_pong(uint64_t count)
{
	int there[2], back[2];
	uint64_t sum = 0;
	uint8_t byte;
	pid_t child;

	if (pipe(there) || pipe(back))
		bench_die("pipe");
	child = fork();
	if (child < 0)
		bench_die("fork");
	if (child == 0) {
		close(there[1]);
		while (read(there[0], &byte, 1) == 1) {
			byte = (uint8_t)(byte * 5 + 1);
			transfer(write(back[1], &byte, 1));
		}
		_exit(0);
	}
	while (count--) {
		byte = (uint8_t)count;
		transfer(write(there[1], &byte, 1));
		transfer(read(back[0], &byte, 1));
		sum = bench_mix(sum, byte);
	}
	close(there[1]);
	waitpid(child, NULL, 0);
	return sum;
}

int main(int argc, char **argv)
{
	return bench_main(argc, argv, "os-pipe", 12000, ping_pong);
}
