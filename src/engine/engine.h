/* The engine contract: a way to run a processor. Engines share cpu/, memory/ and the devices; they
 * differ in how guest instructions get executed. */
#ifndef VENEER_ENGINE_ENGINE_H
#define VENEER_ENGINE_ENGINE_H

#include "cpu/cpu.h"
#include "engine/options.h"

#include <stdio.h>

enum vcpu_exit {
	VCPU_EXIT_STOPPED,       /* PENDING_STOP was set; it is still set */
	VCPU_EXIT_HALTED,        /* HLT: wait for pending, then run again */
	VCPU_EXIT_WAIT_FOR_SIPI, /* INIT received, or an AP before its SIPI */
	VCPU_EXIT_SHUTDOWN,      /* triple fault */
	VCPU_EXIT_DEBUG,         /* cpu->debugger.stop says why: see cpu/debugger.h */
	VCPU_EXIT_FAILED,        /* the engine has done something wrong; there was a message */
};

enum engine_capability {
	ENGINE_TRANSLATES = 1 << 0, /* options about translation mean something to it */
};

/* What an engine has one of for each machine: options, a hypervisor's machine, a memory listener.
 * Each engine has its own such struct, and only it looks inside. */
struct engine_machine;

struct engine {
	const char *name;
	const char *summary;   /* one line for --help */
	unsigned capabilities; /* enum engine_capability */
	/* Add the CPU features that a guest cannot have under this engine, with these options.
	 * NULL: it can have all. */
	void (*withheld)(const struct engine_options *options, struct cpu_features *features);
	/* 0, or -errno with a message: this host cannot run it. Asking changes nothing. */
	int (*available)(void);
	/* Would it do better than the next here? "auto" asks. NULL: yes. */
	bool (*worthwhile)(void);
	/* Its part of a machine whose memory exists (platform->memory, with the regions so far; of
	 * later ones tells a memory listener) and whose vCPUs do not. 0, or -errno with a message.
	 */
	int (*machine_create)(struct engine_machine **machine, struct cpu_platform *platform,
		const struct engine_options *options);
	/* After the last vCPU. */
	void (*machine_destroy)(struct engine_machine *machine);
	/* Sets cpu->engine_state and cpu->engine_ops. 0, or -errno with a message. */
	int (*vcpu_create)(struct engine_machine *machine, struct cpu *cpu);
	void (*vcpu_destroy)(struct cpu *cpu);
	/* Run until an exit. Called on the vCPU's own thread, without the machine lock. */
	enum vcpu_exit (*vcpu_run)(struct cpu *cpu);
	/* The engine's own part of --stats, all vCPUs stopped. May be NULL. */
	void (*print_stats)(struct cpu *const *cpus, unsigned count, FILE *to);
};

extern const struct engine engine_interp;
extern const struct engine engine_bt;

/* By name, or by "auto"; NULL where there is none. */
const struct engine *engine_find(const char *name);
/* All engines, ended by NULL. */
extern const struct engine *const engines[];

#endif
