/* What a debugger's client sends, to a machine of two processors that never runs: the first byte
 * says what mode the first of them is in, and which signs of the rest are Ctrl-C instead. Whatever
 * it is, there is at most one answer to a packet, and it has a frame. */
#include "debug/session.h"

#include "base/log.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MEMORY (2 * MIB)
#define PML4   0x10000

static struct priority_lock lock = PRIORITY_LOCK_INITIALIZER;
static struct memory memory;
static struct io_space ports;
static struct clock fuzz_clock;
static struct cpu_model model;
static struct cpu_platform platform;
static struct machine machine;
static struct session session;
static struct cpu_state start[2];

static void require(bool condition)
{
	if (!condition)
		abort();
}

void machine_pause(struct machine *asked)
{
	asked->phase = MACHINE_PHASE_PAUSED;
}

/* It stops again at once, and sometimes there is a reason. */
void machine_resume_without(struct machine *asked, uint64_t held)
{
	require(!(held >> asked->config.cpu_count));
	asked->phase = MACHINE_PHASE_RUNNING;
}

void machine_resume(struct machine *asked)
{
	machine_resume_without(asked, 0);
}

void machine_request_end(struct machine *asked, enum machine_end end, int value)
{
	require(end == MACHINE_QUIT);
}

static void on_send(void *opaque, const void *bytes, size_t size)
{
	const char *text = bytes;

	if (size == 1) {
		require(*text == '+' || *text == '-');
		return;
	}
	require(size >= 4 && size <= sizeof(session.out.data) && text[0] == '$' &&
		text[size - 3] == '#' && !memchr(text + 1, '$', size - 1));
}

static char *on_monitor(void *opaque, const char *line, unsigned cpu)
{
	require(cpu < machine.config.cpu_count);
	return strdup(line);
}

static void stop(unsigned reason)
{
	struct cpu *stopped = machine.cpus[reason & 1];

	if (session.points.watchpoint_count && (reason & 2)) {
		stopped->debugger.stop = DEBUGGER_WATCHPOINT;
		stopped->debugger.watch_address = session.points.watchpoint[0].address;
		stopped->debugger.watch_access = (uint8_t)session.points.watchpoint[0].access;
	} else if (reason & 4) {
		stopped->debugger.stop = DEBUGGER_BREAKPOINT;
	}
	machine_pause(&machine);
	session_paused(&session);
}

static void to_long_mode(struct cpu *cpu)
{
	struct cpu_state state;
	uint64_t entry[3] = {(PML4 + 0x1000) | 7, (PML4 + 0x2000) | 7, 0xe7};

	for (unsigned i = 0; i < 3; i++)
		require(memory_write(&memory, PML4 + i * 0x1000, &entry[i], 8) == 0);
	cpu_get_state(cpu, &state);
	state.cr0 |= CR0_PE | CR0_PG;
	state.cr0 &= ~(CR0_CD | CR0_NW);
	state.cr3 = PML4;
	state.cr4 |= CR4_PAE;
	state.efer |= EFER_LME | EFER_LMA;
	state.segment[SEG_CS] = (struct segment){.limit = ~0u, .access = 0xa09b, .selector = 0x18};
	state.rip = 0x1000;
	require(cpu_set_state(cpu, &state) == 0);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static struct cpuid_host host;
	static struct cpu *cpus[2];

	cpuid_host_read(&host);
	require(cpu_model_build(&model, &host, NULL, NULL) == 0);
	require(memory_create(&memory, MEMORY, model.physical_bits, &lock) == 0);
	io_space_init(&ports, &lock);
	clock_init(&fuzz_clock);
	platform = (struct cpu_platform){.memory = &memory,
		.model = &model,
		.ports = &ports,
		.clock = &fuzz_clock,
		.cpu_count = 2,
		.cpus = cpus};
	for (unsigned i = 0; i < 2; i++) {
		machine.cpus[i] = cpus[i] = cpu_create(&platform, i);
		require(cpus[i]);
		cpu_get_state(cpus[i], &start[i]);
	}
	machine.config.cpu_count = 2;
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!size)
		return 0;
	for (unsigned i = 0; i < 2; i++)
		require(cpu_set_state(machine.cpus[i], &start[i]) == 0);
	if (data[0] & 1)
		to_long_mode(machine.cpus[0]);
	machine.phase = MACHINE_PHASE_RUNNING;
	session = (struct session){
		.machine = &machine, .send = on_send, .monitor = data[0] & 2 ? on_monitor : NULL};
	session_open(&session);
	for (size_t i = 1; i < size; i++) {
		if (!session_ready(&session))
			stop(data[0] ^ data[i]);
		session_take(&session, data[i]);
	}
	if (!session_close(&session))
		stop(data[0]);
	require(!session.closing && !machine.cpus[0]->debugger.points);
	session_free(&session);
	return 0;
}
