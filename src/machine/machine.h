/* A machine: memory, devices, processors and a kernel, put together and run.
 *
 *	machine_create()	everything is built and the kernel is loaded
 *	machine_run()		one thread a vCPU; the caller's thread becomes the I/O thread
 *	machine_destroy()
 *
 * Whatever ends a run, a device, the user or a signal, only notes the end (machine_request_end()),
 * tells the vCPUs to stop and makes the event loop return; machine_run() then acts on it, on its
 * own thread, with all vCPUs stopped. */
#ifndef VENEER_MACHINE_MACHINE_H
#define VENEER_MACHINE_MACHINE_H

#include "engine/engine.h"
#include "host/console.h"
#include "machine/boot.h"

#include <stdio.h>

#define MACHINE_MAX_CPUS   64
#define MACHINE_MIN_MEMORY (2 * MIB)
#define MACHINE_MAX_MEMORY (1024 * GIB)

struct machine_config {
	const char *kernel_path;
	const char *initrd_path;  /* NULL: none */
	const char *cmdline;      /* "" where there is none */
	const char *serial2_path; /* file that gets what the guest sends to COM2; NULL: no COM2 */
	uint64_t memory_size;     /* whole pages, MACHINE_MIN_MEMORY to MACHINE_MAX_MEMORY */
	unsigned cpu_count;       /* 1 to MACHINE_MAX_CPUS */
	const struct engine *engine;
	bool reboot;              /* a guest's reset starts it again; else it ends the run */
	uint16_t debug_exit_port; /* 0: none */
	bool pc_testdev;          /* kvm-unit-tests' device; see device/pc_testdev.h */
	int console_input, console_output; /* descriptors; input -1: none */
};

/* How a run ended. */
enum machine_end {
	MACHINE_RUNS_ON, /* it has not */
	MACHINE_POWERED_OFF,
	MACHINE_RESET,      /* and config.reboot is off */
	MACHINE_DEBUG_EXIT, /* value: the exit status, (v << 1) | 1 */
	MACHINE_TRIPLE_FAULT,
	MACHINE_QUIT,   /* by the user, with Ctrl-a x */
	MACHINE_SIGNAL, /* value: the signal's number */
	MACHINE_FAILED, /* it would not start again, or an engine went wrong; there was a message */
};

struct machine_result {
	enum machine_end end;
	int value;
};

struct chipset;
struct serial_log;
struct pc_testdev;
struct vcpu_thread;

struct machine {
	struct machine_config config;
	struct priority_lock lock;
	struct clock clock;
	struct memory memory;
	struct io_space ports;
	struct event_loop *loop;
	struct cpu_platform platform;
	struct cpu *cpus[MACHINE_MAX_CPUS];
	struct vcpu_thread *threads; /* while vCPUs run */
	struct chipset *chipset;
	struct serial_log *serial2;
	struct pc_testdev *testdev;
	struct console *console; /* while it runs */
	struct image kernel, initrd;
	struct boot_start start;       /* how the loaded kernel wants to be entered */
	struct machine_result request; /* why the vCPUs are to stop; under the lock */
	unsigned resets;
};

/* Build a machine and load its kernel. The strings in config must outlive it. 0, or -errno with a
 * message; then nothing is left behind. */
int machine_create(struct machine *machine, const struct machine_config *config);
/* Run until something ends it, SIGINT, SIGTERM and SIGHUP included. The console is in the user's
 * hands again, and what the guest wrote is written, when it returns. */
struct machine_result machine_run(struct machine *machine);
void machine_destroy(struct machine *machine);

/* End the run, or reset the machine where `end` is MACHINE_RESET and the configuration allows. What
 * the user asks for (MACHINE_QUIT, MACHINE_SIGNAL) and MACHINE_FAILED replace what the guest asks
 * for; between equals the first request counts. Machine lock held; from any thread. */
void machine_request_end(struct machine *machine, enum machine_end end, int value);

/* All vCPUs' counters added up. With the vCPUs stopped. */
void machine_add_stats(const struct machine *machine, struct cpu_stats *sum);

#endif
