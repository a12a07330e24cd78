/* When is it worth mapping a page into a window: what a fault, a mapping, a protection change and a
 * page-table walk cost. Nanoseconds, medians. */
#include "experiment.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#define PAGE  4096ul
#define PAGES 4096ul
#define BATCH 64

static int memory;         /* stands for guest RAM */
static char *window, *ram; /* where a guest page is to appear; all of the RAM, mapped */
static enum { SKIP, MAP, PROTECT } answer;

/* What a SIGSEGV costs that only skips the instruction (2 bytes: mov [rdi], al), or repairs it. */
static void handle(int signal, siginfo_t *info, void *context)
{
	ucontext_t *u = context;
	char *page = (char *)((uintptr_t)info->si_addr & ~(PAGE - 1));
	if (answer == SKIP)
		u->uc_mcontext.gregs[REG_RIP] += 2;
	else if (answer == PROTECT)
		mprotect(page, PAGE, PROT_READ | PROT_WRITE);
	else if (mmap(page, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, memory,
			 page - window) == MAP_FAILED)
		_exit(1);
}

static inline void store(char *at)
{
	__asm__ volatile(".byte 0x88, 0x07" : : "D"(at), "a"(1) : "memory"); /* mov [rdi], al */
}

static void reserve(void)
{
	if (mmap(window, PAGES * PAGE, PROT_NONE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == MAP_FAILED) {
		perror("mapping: mmap");
		exit(1);
	}
}

/* Scattered pages, so that the kernel cannot merge neighbours and the memfd has all pages. */
static char *page_at(unsigned i)
{
	return window + (i * 2654435761ul >> 4 & (PAGES - 1)) * PAGE;
}

static void fault_and_skip(unsigned i)
{
	answer = SKIP;
	store(page_at(i));
}

static void fault_and_map(unsigned i)
{
	answer = MAP;
	store(page_at(i));
}

static void fault_and_protect(unsigned i)
{
	answer = PROTECT;
	store(page_at(i));
}

static void map_and_touch(unsigned i)
{
	char *page = page_at(i);
	mmap(page, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, memory, page - window);
	store(page);
}

static void map_16_and_touch_16(unsigned i)
{
	char *page = window + (uintptr_t)i % (PAGES / 16) * 16 * PAGE;
	mmap(page, 16 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, memory,
		page - window);
	for (int n = 0; n < 16; n++)
		store(page + (uintptr_t)n * PAGE);
}

static void map_16_populate(unsigned i)
{
	char *page = window + (uintptr_t)i % (PAGES / 16) * 16 * PAGE;
	mmap(page, 16 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED | MAP_POPULATE, memory,
		page - window);
}

static void unmap(unsigned i)
{
	mmap(page_at(i), PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED,
		-1, 0);
}

static void protect_again(unsigned i)
{
	mprotect(page_at(i), PAGE, i & 1 ? PROT_READ : PROT_READ | PROT_WRITE);
}

/* A four-level walk as the translator does it: three loads, checks, the leaf. */
static uint64_t tables[4][512];
static void walk(unsigned i)
{
	uint64_t linear = i * 2654435761ul * PAGE, entry = (uint64_t)tables[0];
	for (int level = 3; level >= 0; level--) {
		uint64_t *table = (uint64_t *)(entry & ~7ul);
		entry = __atomic_load_n(&table[linear >> (12 + 9 * level) & 511], __ATOMIC_RELAXED);
		if (!(entry & 1))
			exit(1);
	}
	__asm__ volatile("" : : "r"(entry));
}

/* Four levels that lead back to themselves: every walk succeeds. */
static void fill_tables(void)
{
	for (int i = 0; i < 4; i++)
		for (int n = 0; n < 512; n++)
			tables[i][n] = (uint64_t)tables[(i + 1) % 4] | 1;
}

static void nothing(void)
{
}

static void map_all(void)
{
	mmap(window, PAGES * PAGE, PROT_READ, MAP_SHARED | MAP_FIXED, memory, 0);
}

static void map_all_writable(void)
{
	mmap(window, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, memory, 0);
	for (unsigned i = 0; i < PAGES; i++)
		store(window + i * PAGE);
}

static const struct {
	const char *name;
	void (*before)(void), (*run)(unsigned);
	int per;
} rows[] = {
	{"a walk of four levels in C", nothing, walk, 1},
	{"SIGSEGV, handler skips the instruction", reserve, fault_and_skip, 1},
	{"SIGSEGV, handler maps the page, store again", reserve, fault_and_map, 1},
	{"SIGSEGV, handler makes a read-only page writable, store again", map_all,
		fault_and_protect, 1},
	{"mmap of one page without a fault, first touch", reserve, map_and_touch, 1},
	{"mmap of 16 pages, first touch of each: per page", reserve, map_16_and_touch_16, 16},
	{"mmap of 16 pages with MAP_POPULATE: per page", reserve, map_16_populate, 16},
	{"taking a touched page out again (mmap PROT_NONE)", map_all_writable, unmap, 1},
	{"mprotect of a touched page, either way", map_all_writable, protect_again, 1},
};

int main(void)
{
	fill_tables();
	memory = memfd_create("guest", MFD_CLOEXEC);
	if (memory < 0 || ftruncate(memory, PAGES * PAGE) < 0) {
		perror("mapping: memfd_create");
		return 1;
	}
	ram = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
	window = mmap(
		NULL, PAGES * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (ram == MAP_FAILED || window == MAP_FAILED) {
		perror("mapping: mmap");
		return 1;
	}
	memset(ram, 1, PAGES * PAGE);
	stack_t stack = {.ss_sp = malloc(65536), .ss_size = 65536};
	sigaltstack(&stack, NULL);
	struct sigaction action = {.sa_sigaction = handle, .sa_flags = SA_SIGINFO | SA_ONSTACK};
	sigaction(SIGSEGV, &action, NULL);

	printf("| what | ns |\n|---|---|\n");
	for (size_t row = 0; row < sizeof(rows) / sizeof(*rows); row++) {
		static double sample[ROUNDS];
		for (int round = 0; round < ROUNDS; round++) {
			rows[row].before();
			double start = experiment_now();
			for (unsigned i = 0; i < BATCH; i++)
				rows[row].run(i);
			sample[round] = (experiment_now() - start) / BATCH / rows[row].per;
		}
		printf("| %s | %.0f |\n", rows[row].name, experiment_median(sample, ROUNDS));
	}
	return 0;
}
