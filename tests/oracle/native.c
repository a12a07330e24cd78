/* Run one instruction on the host's own processor, with all its registers chosen.
 *
 * A signal frame is the whole user-visible state of a thread, and sigreturn loads all of it. So
 * nothing here is written in assembly but one INT3: its handler writes the wanted state into the
 * frame and returns into the instruction under test; the next signal, which that instruction or the
 * INT3 behind it raises, finds the result in its frame, and puts back what the first one
 * interrupted.
 *
 * A random instruction may well hit what an engine keeps in the low 2 GiB. So where there is such
 * an engine, all this happens in a process of its own. */
#include "oracle.h"

#include <cpuid.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#define ALTERNATE_STACK 65536

static enum { IDLE, ENTERING, RUNNING } phase;
static const struct oracle_case *current;
static const struct oracle_state *current_start;
static struct oracle_state *current_end;
static gregset_t host_registers;
static struct sigaction previous[NSIG];

/* General registers of a frame, in encoding order. */
static const int frame_gpr[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI,
	REG_RDI, REG_R8, REG_R9, REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};

/* Offsets of state components in the frame's XSAVE area. */
static struct {
	unsigned avx, opmask, zmm_hi256, hi16_zmm;
	uint64_t enabled;
} layout;

static uint8_t *xsave_area(ucontext_t *context)
{
	return (uint8_t *)context->uc_mcontext.fpregs;
}

static void load_vectors(uint8_t *area, const struct oracle_state *state)
{
	uint64_t bits;

	for (unsigned i = 0; i < 16; i++)
		memcpy(area + 160 + 16 * i, state->zmm[i], 16);
	if (!(layout.enabled & 4))
		return;
	memcpy(&bits, area + 512, 8);
	bits |= layout.enabled & 0xe7;
	memcpy(area + 512, &bits, 8);
	for (unsigned i = 0; i < 16; i++)
		memcpy(area + layout.avx + 16 * i, state->zmm[i] + 16, 16);
	if ((layout.enabled & 0xe0) != 0xe0)
		return;
	memcpy(area + layout.opmask, state->opmask, 64);
	for (unsigned i = 0; i < 16; i++)
		memcpy(area + layout.zmm_hi256 + 32 * i, state->zmm[i] + 32, 32);
	memcpy(area + layout.hi16_zmm, state->zmm[16], 1024);
}

/* A component whose bit is clear is in its initial state, whatever its bytes are. */
static void copy_component(void *to, const uint8_t *from, unsigned size, bool present)
{
	if (present)
		memcpy(to, from, size);
	else
		memset(to, 0, size);
}

static void store_vectors(const uint8_t *area, struct oracle_state *state)
{
	uint64_t present = 3;

	memset(state->zmm, 0, sizeof(state->zmm));
	memset(state->opmask, 0, sizeof(state->opmask));
	if (layout.enabled & 4)
		memcpy(&present, area + 512, 8);
	for (unsigned i = 0; i < 16; i++)
		copy_component(state->zmm[i], area + 160 + 16 * i, 16, present & 2);
	if (!(layout.enabled & 4))
		return;
	for (unsigned i = 0; i < 16; i++)
		copy_component(state->zmm[i] + 16, area + layout.avx + 16 * i, 16, present & 4);
	if ((layout.enabled & 0xe0) != 0xe0)
		return;
	copy_component(state->opmask, area + layout.opmask, 64, present & 0x20);
	for (unsigned i = 0; i < 16; i++)
		copy_component(
			state->zmm[i] + 32, area + layout.zmm_hi256 + 32 * i, 32, present & 0x40);
	copy_component(state->zmm[16], area + layout.hi16_zmm, 1024, present & 0x80);
}

static void set_selectors(greg_t *registers, uint16_t cs, uint16_t ss)
{
	registers[REG_CSGSFS] = (greg_t)(((uint64_t)registers[REG_CSGSFS] & 0x0000ffffffff0000) |
					 cs | (uint64_t)ss << 48);
}

static void enter(ucontext_t *context)
{
	greg_t *registers = context->uc_mcontext.gregs;
	uint8_t *area = xsave_area(context);

	memcpy(host_registers, registers, sizeof(gregset_t));
	for (unsigned i = 0; i < 16; i++)
		registers[frame_gpr[i]] = (greg_t)current_start->gpr[i];
	registers[REG_RIP] = (greg_t)current_start->rip;
	registers[REG_EFL] = (greg_t)current_start->rflags;
	set_selectors(registers, current->code_bits == 64 ? 0x33 : 0x23, 0x2b);
	memcpy(area, current_start->x87, 24);
	memcpy(area + 32, current_start->x87 + 32, 128);
	memcpy(area + 24, &current_start->mxcsr, 4);
	load_vectors(area, current_start);
}

static void leave(ucontext_t *context)
{
	static const uint8_t clean_x87[24] = {0x7f, 0x03};
	greg_t *registers = context->uc_mcontext.gregs;
	struct oracle_state *end = current_end;
	uint8_t *area = xsave_area(context);
	uint32_t mxcsr = 0x1f80;

	for (unsigned i = 0; i < 16; i++)
		end->gpr[i] = (uint64_t)registers[frame_gpr[i]];
	end->rip = (uint64_t)registers[REG_RIP];
	end->rflags = (uint64_t)registers[REG_EFL];
	end->vector = (unsigned)registers[REG_TRAPNO];
	end->error = (uint64_t)registers[REG_ERR];
	end->cr2 = (uint64_t)registers[REG_CR2];
	memcpy(end->x87, area, sizeof(end->x87));
	memcpy(&end->mxcsr, area + 24, 4);
	store_vectors(area, end);

	memcpy(registers, host_registers, sizeof(gregset_t));
	memcpy(area, clean_x87, sizeof(clean_x87));
	memcpy(area + 24, &mxcsr, 4);
}

static void handle(int signal, siginfo_t *info, void *context)
{
	struct sigaction *old = &previous[signal];

	/* The guest's EFLAGS.AC is still set here, and we are not that careful. */
	__asm__ volatile("pushfq; andl $~0x40000, (%%rsp); popfq" : : : "memory", "cc");
	switch (phase) {
	case ENTERING:
		phase = RUNNING;
		enter(context);
		return;
	case RUNNING:
		phase = IDLE;
		leave(context);
		return;
	case IDLE:
		break;
	}
	if (old->sa_flags & SA_SIGINFO)
		old->sa_sigaction(signal, info, context);
	else
		sigaction(signal, &(struct sigaction){.sa_handler = SIG_DFL}, NULL);
}

static void *map_at(uint64_t address, size_t size, int protection)
{
	void *got = mmap((void *)(uintptr_t)address, size, protection,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE | MAP_POPULATE, -1, 0);

	if (got != (void *)(uintptr_t)address) {
		fprintf(stderr, "oracle: cannot map 0x%lx\n", (unsigned long)address);
		exit(2);
	}
	return got;
}

static void find_layout(void)
{
	unsigned eax, ebx, ecx, edx, low, high;

	__cpuid(1, eax, ebx, ecx, edx);
	if (!(ecx & (1u << 27)))
		return;
	__asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
	layout.enabled = low;
	__cpuid_count(13, 2, eax, layout.avx, ecx, edx);
	__cpuid_count(13, 5, eax, layout.opmask, ecx, edx);
	__cpuid_count(13, 6, eax, layout.zmm_hi256, ecx, edx);
	__cpuid_count(13, 7, eax, layout.hi16_zmm, ecx, edx);
}

static void prepare(void)
{
	static const int signals[] = {SIGTRAP, SIGSEGV, SIGBUS, SIGILL, SIGFPE};
	struct sigaction action = {.sa_sigaction = handle, .sa_flags = SA_SIGINFO | SA_ONSTACK};
	static uint8_t alternate[ALTERNATE_STACK] __attribute__((aligned(64)));
	stack_t stack = {.ss_sp = alternate, .ss_size = sizeof(alternate)};
	uint8_t *code = map_at(ORACLE_CODE, ORACLE_CODE_SIZE, PROT_READ | PROT_WRITE | PROT_EXEC);

	memset(code, 0xcc, ORACLE_CODE_SIZE);
	map_at(ORACLE_DATA, ORACLE_DATA_SIZE, PROT_READ | PROT_WRITE);
	find_layout();
	if (sigaltstack(&stack, NULL) < 0) {
		fprintf(stderr, "oracle: no alternate signal stack\n");
		exit(2);
	}
	sigfillset(&action.sa_mask);
	for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
		sigaction(signals[i], &action, &previous[signals[i]]);
	/* 32-bit code needs data segments; 64-bit code, ours included, does not care. */
	__asm__ volatile("mov %0, %%ds; mov %0, %%es" : : "r"(0x2b));
}

static void run_here(
	const struct oracle_case *test, const struct oracle_state *start, struct oracle_state *end)
{
	uint8_t *code = (uint8_t *)(uintptr_t)ORACLE_CODE;
	uint8_t *data = (uint8_t *)(uintptr_t)ORACLE_DATA;

	memcpy(code + test->offset, test->bytes, test->length);
	memcpy(data, start->data, ORACLE_DATA_SIZE);
	current = test;
	current_start = start;
	current_end = end;
	phase = ENTERING;
	__asm__ volatile("int3"
			 :
			 :
			 : "memory", "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6",
			 "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14",
			 "xmm15", "st");
	memcpy(end->data, data, ORACLE_DATA_SIZE);
	memset(code + test->offset, 0xcc, test->length);
}

/* --- in another process --- */

static struct {
	struct oracle_case test;
	struct oracle_state start, end;
} * shared;
static int to_server[2], from_server[2];

/* Until the other end is gone. */
static void serve(void)
{
	char byte;

	prepare();
	while (read(to_server[0], &byte, 1) == 1) {
		run_here(&shared->test, &shared->start, &shared->end);
		if (write(from_server[1], &byte, 1) != 1)
			break;
	}
	_exit(0);
}

void native_init(bool apart)
{
	pid_t child;

	if (!apart) {
		prepare();
		return;
	}
	shared = mmap(
		NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	child = shared == MAP_FAILED || pipe(to_server) < 0 || pipe(from_server) < 0 ? -1 : fork();
	if (child < 0) {
		fprintf(stderr, "oracle: cannot start another process\n");
		exit(2);
	}
	close(to_server[!!child ? 0 : 1]);
	close(from_server[!!child ? 1 : 0]);
	if (!child)
		serve();
}

void native_run(
	const struct oracle_case *test, const struct oracle_state *start, struct oracle_state *end)
{
	char byte = 0;

	if (!shared) {
		run_here(test, start, end);
		return;
	}
	shared->test = *test;
	shared->start = *start;
	if (write(to_server[1], &byte, 1) != 1 || read(from_server[0], &byte, 1) != 1) {
		fprintf(stderr, "oracle: the process that ran an instruction natively is gone\n");
		exit(2);
	}
	*end = shared->end;
}
