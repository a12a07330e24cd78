/* fork, exec of this same program with an argument that makes it end at once, wait. */
#include "bench.h"

#include <sys/wait.h>

static char *self;

static uint64_t exec_and_wait(uint64_t count)
{
	uint64_t sum = 0;

	while (count--) {
		int status;
		pid_t child = fork();

		if (child < 0)
			bench_die("fork");
		if (child == 0) {
			execl(self, self, "child", (char *)NULL);
			_exit(127);
		}
		if (waitpid(child, &status, 0) != child)
			bench_die("waitpid");
		if (WEXITSTATUS(status) != 42)
			bench_die("exec");
		sum = bench_mix(sum, (uint64_t)status);
	}
	return sum;
}

int main(int argc, char **argv)
{
	self = argv[0];
	if (argc == 2 && strcmp(argv[1], "child") == 0)
		return 42;
	return bench_main(argc, argv, "os-exec", 200, exec_and_wait);
}
