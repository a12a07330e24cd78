#include "host/run_delay.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

int run_delay_open(void)
{
	return open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC);
}

/* The file has three numbers: time on a processor, time waiting for one, how often it got one. */
uint64_t run_delay_ns(int file)
{
	char text[64];
	ssize_t length = file < 0 ? 0 : pread(file, text, sizeof(text) - 1, 0);
	char *end;

	if (length <= 0)
		return 0;
	text[length] = '\0';
	strtoull(text, &end, 10);
	return strtoull(end, NULL, 10);
}
