/* How long a thread has waited for a processor: runnable, and another one ran. Linux counts it for
 * each thread (Documentation/scheduler/sched-stats.rst, /proc/PID/schedstat). */
#ifndef VENEER_HOST_RUN_DELAY_H
#define VENEER_HOST_RUN_DELAY_H

#include <stdint.h>

/* A file descriptor that counts for the calling thread, or -1 where the host does not tell. The
 * caller closes it. */
int run_delay_open(void);

/* In nanoseconds since the thread began; of -1, 0. Any thread; a system call of half a
 * microsecond. */
uint64_t run_delay_ns(int file);

#endif
