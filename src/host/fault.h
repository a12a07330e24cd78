/* The signals by which the processor reports a fault: SIGSEGV, SIGBUS, SIGILL, SIGFPE and SIGTRAP.
 *
 * Several rooms have faults of their own, in code that they generate, and each knows its own by the
 * address of the instruction. Only host/fault.c installs handlers for these signals, so that the
 * order in which the rooms are asked is a list (enum fault_owner) and does not depend on which room
 * registered first. A fault that nobody claims goes to the handler that the process had before (a
 * sanitizer's, say), and else ends the process as the signal's default action does. */
#ifndef VENEER_HOST_FAULT_H
#define VENEER_HOST_FAULT_H

#include <signal.h>
#include <stdbool.h>

/* In the order in which they are asked. */
enum fault_owner {
	FAULT_TRANSLATED_CODE, /* the binary translator's units and glue (engine/bt/fault.c) */
	FAULT_NATIVE_STUB,     /* the interpreter's stubs of x87 and SIMD (cpu/fpu.c) */
	/* No generated code faulted: the process is about to die. This handler cleans up and
	 * returns false (host/terminal.c). */
	FAULT_FATAL,
	FAULT_OWNERS
};

/* True: it was mine, and `context` says how to go on. Runs with all signals blocked that
 * fault_other_signals() names, on the thread's alternate stack if it has one. It must return, since
 * that is how the interrupted FPU state comes back: to go elsewhere it changes the registers in
 * `context`. */
typedef bool fault_handler(int signal, siginfo_t *info, void *context);

/* Have faults offered to `handler` from now on; it replaces the owner's earlier one. This also
 * installs our handler for the signals, again where a library has replaced it meanwhile. */
void fault_handle(enum fault_owner owner, fault_handler *handler);

/* Fill in the set of all signals except those that the processor or abort() raise on a thread,
 * which cannot be put off. vCPU threads block this set, and so do the signal handlers that run on
 * them. */
void fault_other_signals(sigset_t *mask);

#endif
