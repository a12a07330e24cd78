/* Control transfers that do more than change RIP: far jumps, calls and returns, call gates,
 * interrupt and exception delivery, IRET, task switches, fast system calls.
 *
 * Convention of all routines here and in instruction.h: on entry cpu->rip is the instruction's own
 * address (offset in CS) and cpu->next_rip the following one's; a transfer sets next_rip (and CS
 * and the rest). They either complete or raise with nothing changed that would prevent a restart.
 * `operand_size` is 2, 4 or 8 bytes. */
#ifndef VENEER_CPU_TRANSFER_H
#define VENEER_CPU_TRANSFER_H

#include "cpu/cpu.h"

void transfer_far_jump(struct cpu *cpu, uint16_t selector, uint64_t offset, unsigned operand_size);
void transfer_far_call(struct cpu *cpu, uint16_t selector, uint64_t offset, unsigned operand_size);
void transfer_far_return(struct cpu *cpu, unsigned operand_size, unsigned pop_bytes);
void transfer_iret(struct cpu *cpu, unsigned operand_size);

/* INT n, INT3, INTO (after OF was seen set), INT1. Checks IOPL and VME redirection in virtual-8086
 * mode. */
enum software_interrupt { SOFTWARE_INT_N, SOFTWARE_INT3, SOFTWARE_INTO, SOFTWARE_INT1 };
void transfer_software_interrupt(struct cpu *cpu, uint8_t vector, enum software_interrupt kind);

void transfer_syscall(struct cpu *cpu);
void transfer_sysret(struct cpu *cpu, unsigned operand_size);
void transfer_sysenter(struct cpu *cpu);
void transfer_sysexit(struct cpu *cpu, unsigned operand_size);

/* What a near branch target is checked for: CS limit or canonical form; raises #GP(0). */
void transfer_check_near(struct cpu *cpu, uint64_t target);

/* Deliver through the IDT (or IVT) what cpu->exception holds: an exception from cpu_raise(), or an
 * interrupt filled in by the caller. cpu->rip is the return address to push (cpu->next_rip where
 * exception.software), RF handling per SDM vol. 3A 17.3.1.1. Faults on the way become double faults
 * or a shutdown by the table in SDM vol. 3A 6.15; it sets its own cpu->unwind while it works and
 * restores it. On success rip == next_rip == handler. False: triple fault; activity is
 * ACTIVITY_SHUTDOWN. */
bool exception_deliver(struct cpu *cpu);

/* What a vCPU takes next at an instruction boundary, in priority order (SDM vol. 3A 6.9). */
enum cpu_event {
	CPU_EVENT_NONE,
	CPU_EVENT_INIT,
	CPU_EVENT_SIPI,
	CPU_EVENT_DEBUG, /* #DB for what is in pending_debug */
	CPU_EVENT_NMI,
	CPU_EVENT_INTERRUPT, /* maskable; its controller gives the vector when it is taken */
	CPU_EVENT_UNHALT,    /* HLT ends, and nothing is delivered; see cpu_unhalt() */
	CPU_EVENTS
};

/* Decide: which of the requests that can be acted upon as IF, blocking by NMI and shadows are.
 * Changes nothing. */
enum cpu_event cpu_next_event(struct cpu *cpu);
/* Do it: reset, start, or deliver through the IDT. The request may have gone away since. */
void cpu_take_event(struct cpu *cpu, enum cpu_event event);

/* Act on cpu->pending at an instruction boundary, in priority order (SDM vol. 3A 6.9): INIT, SIPI,
 * debug traps, NMI, maskable interrupts (IF, interrupt shadow). Clears cpu->attention first, so
 * that requests that cannot be taken now do not stop every block; what makes them deliverable sets
 * it again (cpu_set_rflags() with IF, IRET, the end of a shadow). On entry cpu->rip == next
 * instruction. A halted CPU becomes running if something is delivered. Returns false where the vCPU
 * must leave its run loop: PENDING_STOP, or activity is not RUNNING. */
bool cpu_service_pending(struct cpu *cpu);

/* Is there something that would wake a halted CPU (given IF and blocking)? */
bool cpu_has_wakeup(struct cpu *cpu);

#endif
