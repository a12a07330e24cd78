/* Runs inside the guest, under Debian's kernel: what a shell script cannot check. A static program
 * for the host's own processor; prints a line for each check, "check ok NAME" or "check FAIL NAME".
 */
#include <cpuid.h>
#include <pthread.h>
#include <signal.h>
#include <setjmp.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void check(bool passed, const char *name)
{
	printf("check %s %s\n", passed ? "ok" : "FAIL", name);
	fflush(stdout);
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* --- signals that come of the program's own instructions --- */

static sigjmp_buf landing;
static volatile sig_atomic_t caught;
static void *volatile fault_address;
static volatile int fault_code;

static void on_signal(int number, siginfo_t *info, void *context)
{
	caught = number;
	fault_address = info->si_addr;
	fault_code = info->si_code;
	siglongjmp(landing, 1);
}

static void catch (int number)
{
	struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_NODEFER};

	sigaction(number, &action, NULL);
}

/* Run `code`, which must raise the signal with that code. Keeps the address. */
#define RAISES(number, code_wanted, code)                                                          \
	({                                                                                         \
		caught = 0;                                                                        \
		if (sigsetjmp(landing, 1) == 0) {                                                  \
			code;                                                                      \
		}                                                                                  \
		caught == (number) && fault_code == (code_wanted);                                 \
	})

/* In assembly, because a compiler may do without the instruction. */
static int divide(int a, int b)
{
	__asm__ volatile("cltd\nidivl %1" : "+a"(a) : "r"(b) : "edx", "cc");
	return a;
}

static void check_faults(void)
{
	static const int numbers[] = {SIGSEGV, SIGFPE, SIGILL, SIGTRAP, SIGBUS};
	size_t i;
	volatile char *page =
		mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	for (i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		catch (numbers[i]);
	*page = 1;
	mprotect((void *)page, 4096, PROT_READ);
	check(RAISES(SIGSEGV, SEGV_ACCERR, page[5] = 2) && fault_address == page + 5 && *page == 1,
		"a write to a read-only page is SIGSEGV at its address");
	munmap((void *)page, 4096);
	check(RAISES(SIGSEGV, SEGV_MAPERR, page[7]) && fault_address == page + 7,
		"a read of an unmapped page is SIGSEGV at its address");
	check(RAISES(SIGSEGV, SI_KERNEL, *(volatile char *)0x8000000000000000),
		"a non-canonical address is SIGSEGV");
	check(RAISES(SIGFPE, FPE_INTDIV, divide(1, 0)), "a division by zero is SIGFPE");
	check(RAISES(SIGILL, ILL_ILLOPN, __asm__ volatile("ud2")), "ud2 is SIGILL");
	check(RAISES(SIGTRAP, SI_KERNEL, __asm__ volatile("int3")), "int3 is SIGTRAP");
	check(RAISES(SIGSEGV, SI_KERNEL, __asm__ volatile("hlt")), "hlt in user mode is SIGSEGV");
}

static volatile sig_atomic_t ticks;

static void on_tick(int number)
{
	ticks++;
}

static void check_timer_signal(void)
{
	struct itimerval interval = {{0, 20000}, {0, 20000}};
	double start = now();

	signal(SIGALRM, on_tick);
	setitimer(ITIMER_REAL, &interval, NULL);
	while (now() < start + 1)
		;
	memset(&interval, 0, sizeof(interval));
	setitimer(ITIMER_REAL, &interval, NULL);
	/* 50 are due; ticks that find one still pending are lost on a busy host. */
	check(ticks >= 20 && ticks <= 52, "an interval timer's signals reach a busy program");
}

/* --- processes and threads --- */

static void check_fork(void)
{
	enum { COUNT = 100 };
	int *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int own = 1, i, status, good = 0;

	for (i = 0; i < COUNT; i++) {
		if (fork() == 0) {
			own += i; /* copy on write: the parent must not see it */
			atomic_fetch_add((_Atomic int *)shared, own);
			_exit(i);
		}
	}
	for (i = 0; i < COUNT; i++)
		good += wait(&status) > 0 && WIFEXITED(status);
	check(good == COUNT && own == 1 && *shared == COUNT + COUNT * (COUNT - 1) / 2,
		"a hundred forks, copy on write");
}

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static long plain_count;
static atomic_long atomic_count;

static void *count_up(void *opaque)
{
	int i;

	for (i = 0; i < 20000; i++) {
		atomic_fetch_add(&atomic_count, 1);
		pthread_mutex_lock(&mutex);
		plain_count++;
		pthread_mutex_unlock(&mutex);
	}
	return NULL;
}

static void check_threads(void)
{
	pthread_t threads[8];
	int i;

	for (i = 0; i < 8; i++)
		pthread_create(&threads[i], NULL, count_up, NULL);
	for (i = 0; i < 8; i++)
		pthread_join(threads[i], NULL);
	check(atomic_count == 160000 && plain_count == 160000,
		"eight threads, atomics and a mutex");
}

/* --- floating point under preemption --- */

struct fp_image {
	uint8_t vectors[16][32] __attribute__((aligned(64)));
	double x87[8];
	uint32_t mxcsr;
	uint16_t control;
};

/* Load registers, spin in integer code long enough to be preempted, store them. */
#define FP_ROUND(MOV, REG)                                                                         \
	__asm__ volatile(                                                                          \
		MOV                                                                                \
		" 0(%0), " REG "0\n" MOV " 32(%0), " REG "1\n" MOV " 64(%0), " REG "2\n" MOV       \
		" 96(%0), " REG "3\n" MOV " 128(%0), " REG "4\n" MOV " 160(%0), " REG "5\n" MOV    \
		" 192(%0), " REG "6\n" MOV " 224(%0), " REG "7\n" MOV " 256(%0), " REG "8\n" MOV   \
		" 288(%0), " REG "9\n" MOV " 320(%0), " REG "10\n" MOV " 352(%0), " REG "11\n" MOV \
		" 384(%0), " REG "12\n" MOV " 416(%0), " REG "13\n" MOV " 448(%0), " REG           \
		"14\n" MOV " 480(%0), " REG "15\n"                                                 \
		"fldl 512(%0)\nfldl 520(%0)\nfldl 528(%0)\nfldl 536(%0)\n"                         \
		"fldl 544(%0)\nfldl 552(%0)\nfldl 560(%0)\nfldl 568(%0)\n"                         \
		"ldmxcsr 576(%0)\nfldcw 580(%0)\n"                                                 \
		"1: dec %2\njnz 1b\n" MOV " " REG "0, 0(%1)\n" MOV " " REG "1, 32(%1)\n" MOV       \
		" " REG "2, 64(%1)\n" MOV " " REG "3, 96(%1)\n" MOV " " REG "4, 128(%1)\n" MOV     \
		" " REG "5, 160(%1)\n" MOV " " REG "6, 192(%1)\n" MOV " " REG "7, 224(%1)\n" MOV   \
		" " REG "8, 256(%1)\n" MOV " " REG "9, 288(%1)\n" MOV " " REG "10, 320(%1)\n" MOV  \
		" " REG "11, 352(%1)\n" MOV " " REG "12, 384(%1)\n" MOV " " REG                    \
		"13, 416(%1)\n" MOV " " REG "14, 448(%1)\n" MOV " " REG "15, 480(%1)\n"            \
		"fstpl 568(%1)\nfstpl 560(%1)\nfstpl 552(%1)\nfstpl 544(%1)\n"                     \
		"fstpl 536(%1)\nfstpl 528(%1)\nfstpl 520(%1)\nfstpl 512(%1)\n"                     \
		"stmxcsr 576(%1)\nfnstcw 580(%1)\n"                                                \
		: "+r"(in), "+r"(out), "+r"(spin)                                                  \
		:                                                                                  \
		: "memory", "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7",  \
		"xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15", "st",        \
		"st(1)", "st(2)", "st(3)", "st(4)", "st(5)", "st(6)", "st(7)")

_Static_assert(offsetof(struct fp_image, x87) == 512, "the assembly's offsets");
_Static_assert(offsetof(struct fp_image, mxcsr) == 576, "the assembly's offsets");
_Static_assert(offsetof(struct fp_image, control) == 580, "the assembly's offsets");

static int fp_child(unsigned seed, bool avx)
{
	static struct fp_image pattern, result;
	struct fp_image *in = &pattern, *out = &result;
	double end = now() + 1.5;
	unsigned i, rounds = 0;

	for (i = 0; i < sizeof(pattern.vectors); i++)
		((uint8_t *)pattern.vectors)[i] =
			avx || i % 32 < 16 ? (uint8_t)(seed * 37 + i * 11) : 0;
	for (i = 0; i < 8; i++)
		pattern.x87[i] = seed * 1000.0 + i + 0.25;
	/* Every child its own rounding mode, in both units. */
	pattern.mxcsr = 0x1f80 | (seed & 3) << 13;
	pattern.control = (uint16_t)(0x037f | (seed & 3) << 10);
	for (; now() < end; rounds++) {
		long spin = 200000;

		memset(&result, 0, sizeof(result));
		if (avx)
			FP_ROUND("vmovdqu", "%%ymm");
		else
			FP_ROUND("movdqu", "%%xmm");
		in = &pattern;
		out = &result;
		if (memcmp(in, out, offsetof(struct fp_image, control) + 2) != 0)
			return 1;
	}
	return rounds > 3 ? 0 : 2;
}

static void check_fp(unsigned children)
{
	bool avx = __builtin_cpu_supports("avx"), good = true;
	unsigned i;
	int status;

	for (i = 0; i < children; i++)
		if (fork() == 0)
			_exit(fp_child(i + 1, avx));
	for (i = 0; i < children; i++)
		good &= wait(&status) > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0;
	check(good, avx ? "x87, SSE and AVX registers under preemption"
			: "x87 and SSE registers under preemption");
}

static void check_hypervisor(void)
{
	uint32_t eax, ebx, ecx, edx;
	char signature[13] = {0};

	__cpuid(1, eax, ebx, ecx, edx);
	check(ecx >> 31, "CPUID shows a hypervisor");
	__cpuid(0x40000000, eax, ebx, ecx, edx);
	memcpy(signature, &ebx, 4);
	memcpy(signature + 4, &ecx, 4);
	memcpy(signature + 8, &edx, 4);
	check(strcmp(signature, "KVMKVMKVM") == 0, "CPUID's hypervisor leaf is KVM's");
}

int main(int argc, char **argv)
{
	unsigned cpus = (unsigned)sysconf(_SC_NPROCESSORS_ONLN);

	check_hypervisor();
	check_faults();
	check_timer_signal();
	check_fork();
	check_threads();
	check_fp(2 * cpus + 1);
	return 0;
}
