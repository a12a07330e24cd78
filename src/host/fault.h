/* The signals by which the processor reports a fault: SIGSEGV, SIGBUS, SIGILL, SIGFPE and SIGTRAP.
 *
 * Several rooms have faults of their own, in code that they generate, and each knows its own by the
 * address of the instruction. One file has the signals, so that the order in which the rooms are
 * asked is a list (enum fault_owner) and does not follow from who came first. A fault that nobody
 * claims goes to the handler that the process had before (a sanitizer's, say), and else ends the
 * process as the signal's default action does. */
#ifndef VENEER_HOST_FAULT_H
#define VENEER_HOST_FAULT_H

#include <signal.h>
#include <stdbool.h>

/* In the order in which they are asked. */
enum fault_owner {
	FAULT_TRANSLATED_CODE, /* the binary translator's units and glue (engine/bt/fault.c) */
	FAULT_NATIVE_STUB,     /* the interpreter's stubs of x87 and SIMD (cpu/fpu.c) */
	/* Nobody's: the process is about to die. This one cleans up and returns false
	 * (host/terminal.c). */
	FAULT_FATAL,
	FAULT_OWNERS
};

/* True: it was mine, and `context` says how to go on. Runs with all signals blocked that
 * fault_other_signals() names, on the thread's alternate stack if it has one. It must return, since
 * that is how the interrupted FPU state comes back: to go elsewhere it changes the registers in
 * `context`. */
typedef bool fault_handler(int signal, siginfo_t *info, void *context);

/* Have faults offered to `handler` from now on; it replaces the owner's earlier one. This also puts
 * the signals into our hands, again where somebody else has taken them meanwhile. */
void fault_handle(enum fault_owner owner, fault_handler *handler);

/* All signals but those that the processor or abort() raise on a thread, which cannot wait: what
 * handlers on a vCPU's thread block, and such a thread itself. */
void fault_other_signals(sigset_t *mask);

#endif
