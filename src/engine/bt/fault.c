/* Signals in translated code.
 *
 * The host's processor faults, but the cause is nearly always the guest: a page that its window
 * does not show yet (a hidden fault: map the page and run the host instruction again), a page that
 * the guest may not reach, a division by zero. After every fault but a hidden one the unit is left
 * in the state before the guest instruction; the interpreter then runs the instruction and raises
 * the guest's exception. To go back it is enough to forget the scratch registers, for a translation
 * does nothing visible before its one commit.
 *
 * A kick goes back to the instruction's start, too, where the instruction has not committed. Where
 * it has, the rest of its translation must run: the handler sets TF, and looks again after each
 * host instruction, until there is a place to stop or the code has left for C by itself. So units
 * that are chained into a loop need not poll for kicks.
 *
 * A handler never jumps out (see host/fault.h): it changes the interrupted registers and returns.
 */
#include "engine/bt/fault.h"

#include "base/log.h"
#include "cpu/fpu.h"
#include "engine/bt/window.h"
#include "host/fault.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#ifndef SS_AUTODISARM
#define SS_AUTODISARM (1U << 31)
#endif
#ifndef AT_MINSIGSTKSZ
#define AT_MINSIGSTKSZ 51
#endif

/* The signal stack's size without the signal frame. windows_fault() walks the guest's page tables
 * on this stack. */
#define STACK_BYTES ((size_t)64 * KIB)
#define GUARD_BYTES ((size_t)PAGE_SIZE)

#define PAGE_FAULT_WRITE 2 /* in REG_ERR */

/* The handler of a kick has set TF. */
static _Thread_local bool stepping;

/* --- going back --- */

/* Is the host instruction at `pc`, one of ours, a repeated one? */
static bool has_rep_prefix(uintptr_t pc)
{
	const uint8_t *byte = (const uint8_t *)pc;

	while (*byte == 0x66 || *byte == 0x67)
		byte++;
	return *byte == 0xf2 || *byte == 0xf3;
}

/* Continue as if the instruction at `where` had never begun, at the glue that leaves for C. */
static void roll_back(struct bt *bt, greg_t *registers, const struct bt_where *where, unsigned exit)
{
	bt->cpu->rip = where->rip;
	bt->rolled_back.unit = where->unit;
	bt->rolled_back.insn = where->insn;
	if (exit == BT_EXIT_ID_KICK && where->unit->insns[where->insn].shadowed)
		bt->cpu->interrupt_shadow = SHADOW_STI;
	if (where->state == MARK_STRINGS) {
		registers[REG_RSI] -= (greg_t)bt->run.string_delta[0];
		registers[REG_RDI] -= (greg_t)bt->run.string_delta[1];
		/* The turns that a repeated instruction has done stay done. */
		if (has_rep_prefix((uintptr_t)registers[REG_RIP]))
			registers[REG_R11] = registers[REG_RCX];
	}
	registers[REG_RCX] = exit;
	registers[REG_RIP] = (greg_t)bt->glue.exit_rolled_back;
	registers[REG_EFL] &= ~(greg_t)(RFLAGS_TF | RFLAGS_AC | RFLAGS_DF);
	stepping = false;
}

/* --- faults --- */

/* Report a fault that no guest can bring about; the process is about to die of it. This is a signal
 * handler, so it writes to the descriptor itself. */
static void report_fault(const char *what, const greg_t *registers, const siginfo_t *info)
{
	char line[200];
	int size =
		snprintf(line, sizeof(line), "veneer: %s (host RIP %#llx, address %p, trap %lld)\n",
			what, registers[REG_RIP], info->si_addr, registers[REG_TRAPNO]);

	if (size > 0 && write(STDERR_FILENO, line, MIN((size_t)size, sizeof(line) - 1)) < 0)
		return;
}

/* May the trap be an exception of the guest's, other than a page fault? The interpreter will meet
 * it again. */
static bool is_exception(greg_t trap)
{
	switch (trap) {
	case VECTOR_DE:
	case VECTOR_UD:
	case VECTOR_SS: /* an address that is not canonical, by RSP or RBP */
	case VECTOR_GP: /* the same by other registers; a vector that is not aligned */
	case VECTOR_MF:
	case VECTOR_AC:
	case VECTOR_XM:
		return true;
	default:
		return false;
	}
}

/* Count a fault that would not come with the soft TLB. ADAPT_FAULTS of them make the instruction
 * worth translating again. */
static void count_against(const struct bt_where *where)
{
	struct bt_insn *insn = &where->unit->insns[where->insn];

	if (insn->adapted < UINT8_MAX)
		insn->adapted++;
}

/* Handle a page fault. True: the page is mapped now. */
static bool fill_window(struct bt *bt, const struct bt_where *where, uintptr_t address, bool write)
{
	uint64_t linear, rents = bt->stats.rents;
	bool in_window = windows_linear(bt, address, &linear);

	if (in_window && windows_fault(bt, linear, write, where->unit->mode.user))
		return true;
	bt->stats.other_faults += !in_window;
	/* Two kinds of fault do not count against the instruction: the first one in a page that
	 * waits to be mapped (rent), and one of the stack, since stacks grow, and their pages are
	 * copied when they are written. */
	if (bt->stats.rents == rents && !(in_window && where->unit->insns[where->insn].stack))
		count_against(where);
	return false;
}

/* Handle a fault of a unit and return true; leave others to their owners (false). */
static bool on_unit_fault(int signal, siginfo_t *info, void *context)
{
	greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
	uintptr_t pc = (uintptr_t)registers[REG_RIP];
	struct bt *bt = cpu_current ? bt_of(cpu_current) : NULL;
	greg_t trap = registers[REG_TRAPNO];
	struct bt_where where;

	/* With si_code <= 0 the signal comes from kill(2), and REG_TRAPNO is left from an earlier
	 * fault. */
	if (!bt || !bt_owns_pc(bt, pc) || info->si_code <= 0)
		return false;
	if (!bt_locate(bt, pc, &where) || where.state == MARK_AFTER) {
		report_fault("fault in generated code; this is a bug in veneer", registers, info);
		return false;
	}
	if (trap == VECTOR_PF && signal == SIGSEGV) {
		if (fill_window(bt, &where, (uintptr_t)info->si_addr,
			    registers[REG_ERR] & PAGE_FAULT_WRITE))
			return true;
	} else if (is_exception(trap)) {
		if (trap == VECTOR_SS || trap == VECTOR_GP)
			count_against(&where);
		bt->stats.other_faults++;
	} else {
		report_fault(signal == SIGBUS ? "the host has no memory left for the guest's RAM"
					      : "unexpected fault in generated code",
			registers, info);
		return false;
	}
	roll_back(bt, registers, &where, BT_EXIT_ID_FAULT);
	return true;
}

/* --- kicks --- */

static void stop_stepping(greg_t *registers)
{
	if (stepping)
		registers[REG_EFL] &= ~(greg_t)RFLAGS_TF;
	stepping = false;
}

/* Leave translated code here, or else after the next host instruction. */
static void stop_soon(struct bt *bt, greg_t *registers)
{
	uintptr_t pc = (uintptr_t)registers[REG_RIP];
	struct bt_where where;

	/* The code is on its way to C already, so do not step: a step takes 11 us where the host is
	 * itself virtual. */
	if (pc >= bt->glue.exit && pc < bt->glue.load_vectors) {
		stop_stepping(registers);
		return;
	}
	if (bt_locate(bt, pc, &where) && where.state != MARK_AFTER) {
		roll_back(bt, registers, &where, BT_EXIT_ID_KICK);
		return;
	}
	registers[REG_EFL] |= RFLAGS_TF;
	stepping = true;
	bt->stats.steps++;
}

static void on_kick(int signal, siginfo_t *info, void *context)
{
	greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
	struct bt *bt = cpu_current ? bt_of(cpu_current) : NULL;

	/* The thread is in C: glue.enter will look at cpu->attention. */
	if (!bt || !bt_owns_pc(bt, (uintptr_t)registers[REG_RIP]))
		return;
	bt->stats.kicks++;
	if (!stepping)
		stop_soon(bt, registers);
}

static bool on_trap(siginfo_t *info, void *context)
{
	greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
	struct bt *bt;

	if (!stepping || info->si_code != TRAP_TRACE)
		return false;
	bt = bt_of(cpu_current);
	if (bt_owns_pc(bt, (uintptr_t)registers[REG_RIP]))
		stop_soon(bt, registers);
	else
		stop_stepping(registers);
	return true;
}

static bool on_fault_signal(int signal, siginfo_t *info, void *context)
{
	return signal == SIGTRAP ? on_trap(info, context) : on_unit_fault(signal, info, context);
}

void bt_kick(struct cpu *cpu)
{
	struct bt *bt = bt_of(cpu);

	/* `attention` was set before this load, and the vCPU's thread sets `running` before it
	 * looks at `attention`: so at least one of the two threads sees what the other set. */
	if (cpu != cpu_current && atomic_load(&bt->running))
		syscall(SYS_tgkill, getpid(), bt->tid, BT_KICK_SIGNAL);
}

void bt_signals_init(void)
{
	struct sigaction kick = {
		.sa_sigaction = on_kick, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART};

	fault_handle(FAULT_TRANSLATED_CODE, on_fault_signal);
	/* Kicks are blocked while a fault is handled (fault_handle()), for such a kick would find
	 * the thread in C and do nothing. A kick's handler blocks the same signals. */
	fault_other_signals(&kick.sa_mask);
	sigaction(BT_KICK_SIGNAL, &kick, NULL);
}

/* --- the signal stack --- */

static _Thread_local pid_t thread_id; /* 0: this thread has not been prepared yet */
static pthread_key_t stack_key;
static pthread_once_t stack_key_once = PTHREAD_ONCE_INIT;
static int stack_key_error;

static size_t stack_bytes(void)
{
	size_t frame = getauxval(AT_MINSIGSTKSZ); /* more than MINSIGSTKSZ, with AVX-512 or AMX */

	return (MAX(frame, (size_t)MINSIGSTKSZ) + STACK_BYTES + PAGE_SIZE - 1) & PAGE_MASK;
}

static void free_stack(void *mapping)
{
	sigaltstack(&(stack_t){.ss_flags = SS_DISABLE}, NULL);
	munmap(mapping, GUARD_BYTES + stack_bytes());
}

static void create_stack_key(void)
{
	stack_key_error = pthread_key_create(&stack_key, free_stack);
}

static int create_stack(void)
{
	stack_t stack = {.ss_size = stack_bytes(), .ss_flags = (int)SS_AUTODISARM};
	char *mapping;
	int error;

	pthread_once(&stack_key_once, create_stack_key);
	if (stack_key_error)
		return -stack_key_error;
	mapping = mmap(NULL, GUARD_BYTES + stack.ss_size, PROT_NONE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (mapping == MAP_FAILED)
		return -errno;
	stack.ss_sp = mapping + GUARD_BYTES;
	if (mprotect(stack.ss_sp, stack.ss_size, PROT_READ | PROT_WRITE) < 0 ||
		sigaltstack(&stack, NULL) < 0) {
		error = -errno;
		munmap(mapping, GUARD_BYTES + stack.ss_size);
		return error;
	}
	pthread_setspecific(stack_key, mapping);
	return 0;
}

static int prepare_thread(void)
{
	static const int signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, BT_KICK_SIGNAL};
	sigset_t set;
	int error = create_stack();

	if (error < 0) {
		log_error("cannot make a vCPU's signal stack: %s", strerror(-error));
		return error;
	}
	sigemptyset(&set);
	for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
		sigaddset(&set, signals[i]);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	thread_id = (pid_t)syscall(SYS_gettid);
	return 0;
}

int bt_thread_enter(struct bt *bt)
{
	if (unlikely(!thread_id)) {
		int error = prepare_thread();

		if (error < 0)
			return error;
	}
	bt->tid = thread_id;
	return 0;
}
