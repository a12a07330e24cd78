/* Signals: one sent to the process itself, and one from a write to a protected page. */
#include "bench.h"

#include <signal.h>
#include <sys/mman.h>

#define PAGE 4096

static volatile uint64_t *page;
static volatile uint64_t sent, faults;

static void handle_user(int signal)
{
	(void)signal;
	sent++;
}

static void handle_fault(int signal)
{
	(void)signal;
	faults++;
	mprotect((void *)page, PAGE, PROT_READ | PROT_WRITE);
}

static uint64_t signals(uint64_t count)
{
	struct sigaction user = {.sa_handler = handle_user};
	struct sigaction fault = {.sa_handler = handle_fault};

	page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (page == MAP_FAILED)
		bench_die("mmap");
	sigaction(SIGUSR1, &user, NULL);
	sigaction(SIGSEGV, &fault, NULL);
	while (count--) {
		raise(SIGUSR1);
		mprotect((void *)page, PAGE, PROT_READ);
		*page = count;
	}
	return bench_mix(bench_mix(0, sent), faults);
}

int main(int argc, char **argv)
{
	return bench_main(argc, argv, "os-signal", 10000, signals);
}
