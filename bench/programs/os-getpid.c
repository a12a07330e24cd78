/* The cheapest system call: the way into the kernel and back. */
#include "bench.h"

#include <sys/syscall.h>

static uint64_t system_calls(uint64_t count)
{
	long pid = getpid();
	uint64_t same = 0;

	while (count--)
		same += syscall(SYS_getpid) == pid;
	return same;
}

int main(int argc, char **argv)
{
	return bench_main(argc, argv, "os-getpid", 500000, system_calls);
}
