/* A machine's saved state that nobody has saved: a processor in one of several modes, with some of
 * its bytes, and of the devices' bytes, changed. It is refused, or the machine runs a little, and
 * whatever becomes of its guest, the monitor is well. The input is a mode, a count of changes, the
 * changes, and the guest's code. */
#include "machine/saved_state.h"

#include "base/log.h"
#include "cpu/fpu.h"
#include "engine/interp/interp.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define CPUS     2
#define MEMORY   (4 * MIB)
#define SLICE_NS 300000 /* how long a processor runs at a time */
#define SLICES   2

/* Guest-physical addresses. */
#define GDT       0x1000
#define IDT32     0x2000
#define TSS32     0x3000
#define TSS64     0x3100
#define IDT64     0x4000
#define STACK_TOP 0x6f00
#define HANDLERS  0x7000
#define CODE      0x8000
#define CODE_SIZE 0x800
#define PML4      0x10000
#define PDPT      0x11000
#define DIRECTORY 0x12000 /* of 2-MiB pages */
#define LEGACY    0x13000 /* of 4-MiB pages */
#define PAE_PDPT  0x14000

struct header {
	uint8_t mode, changes;
};

struct change {
	uint16_t offset;
	uint8_t size;  /* of the value, less one, modulo 8 */
	uint8_t where; /* enum place, modulo */
	uint8_t value[8];
};

/* Vector registers are most of a processor's state, and all values of theirs are allowed. */
enum place { REGISTERS, UNITS, ANYWHERE, PLACES };

static struct machine machine;
static struct state_writer clean; /* the machine before its first instruction */
static size_t cpu_offset;         /* of CPU 0's struct cpu_state in it */
static timer_t timer;
static void *engine_states[CPUS]; /* where LeakSanitizer sees them: struct cpu it does not */

static void require(bool condition)
{
	if (!condition)
		abort();
}

/* --- the guest --- */

static const struct segment code32 = {.limit = ~0u, .access = 0xc09b, .selector = 0x08};
static const struct segment data0 = {.limit = ~0u, .access = 0xc093, .selector = 0x10};
static const struct segment code64 = {.limit = ~0u, .access = 0xa09b, .selector = 0x18};
static const struct segment data3 = {.limit = ~0u, .access = 0xc0f3, .selector = 0x23};
static const struct segment user64 = {.limit = ~0u, .access = 0xa0fb, .selector = 0x2b};
static const struct segment user32 = {.limit = ~0u, .access = 0xc0fb, .selector = 0x33};
static const struct segment real = {.limit = 0xffff, .access = 0x93};
static const struct segment v86 = {.limit = 0xffff, .access = 0xf3};

static const struct mode {
	uint64_t cr0, cr3, cr4, efer, flags;
	const struct segment *code, *data;
	uint8_t cpl;
} modes[] = {
	{CR0_ET, 0, 0, 0, 0, &real, &real, 0},
	{CR0_ET | CR0_PE, 0, CR4_OSFXSR, 0, 0, &code32, &data0, 0},
	{CR0_ET | CR0_PE | CR0_PG | CR0_WP, LEGACY, CR4_PSE, 0, 0, &code32, &data0, 0},
	{CR0_ET | CR0_PE | CR0_PG, PAE_PDPT, CR4_PAE, EFER_NXE, 0, &user32, &data3, 3},
	{CR0_ET | CR0_PE | CR0_PG, LEGACY, CR4_PSE | CR4_VME, 0, RFLAGS_VM, &v86, &v86, 3},
	{CR0_ET | CR0_PE | CR0_PG | CR0_NE, PML4, CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT,
		EFER_LME | EFER_LMA | EFER_SCE | EFER_NXE, RFLAGS_IF, &code64, &data0, 0},
	{CR0_ET | CR0_PE | CR0_PG | CR0_NE, PML4, CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT,
		EFER_LME | EFER_LMA | EFER_SCE | EFER_NXE, RFLAGS_IF, &user64, &data3, 3},
	{CR0_ET | CR0_PE | CR0_PG | CR0_NE, PML4, CR4_PAE | CR4_OSFXSR, EFER_LME | EFER_LMA, 0,
		&user32, &data3, 3},
};

static void put(uint64_t gpa, const void *bytes, uint64_t size)
{
	require(memory_write(&machine.memory, gpa, bytes, size) == 0);
}

static void put64(uint64_t gpa, uint64_t value)
{
	put(gpa, &value, sizeof(value));
}

static uint64_t descriptor(const struct segment *s)
{
	uint64_t limit = s->access & AR_G ? s->limit >> 12 : s->limit;

	return (limit & 0xffff) | limit >> 16 << 48 | (uint64_t)(s->access & 0xff) << 40 |
	       (uint64_t)(s->access >> 12) << 52 | s->base << 16;
}

/* An exception's handler goes on one byte after the instruction. */
static void put_handlers(void)
{
	static const uint8_t long_mode[] = {0x48, 0x83, 0x04, 0x24, 1, 0x48, 0xcf};
	static const uint8_t protected[] = {0x83, 0x04, 0x24, 1, 0xcf};
	static const uint8_t real_mode[] = {0x55, 0x89, 0xe5, 0x83, 0x46, 2, 1, 0x5d, 0xcf};
	const uint32_t vector = HANDLERS + 32;

	put(HANDLERS, long_mode, sizeof(long_mode));
	put(HANDLERS + 16, protected, sizeof(protected));
	put(HANDLERS + 32, real_mode, sizeof(real_mode));
	for (unsigned i = 0; i < 256; i++) {
		put(i * 4, &vector, 4);
		put64(IDT32 + i * 8, (HANDLERS + 16) | UINT64_C(0x08) << 16 | UINT64_C(0xee) << 40);
		put64(IDT64 + i * 16, HANDLERS | UINT64_C(0x18) << 16 | UINT64_C(0xee) << 40);
	}
}

static void put_tables(void)
{
	static const struct segment *const segments[] = {
		&code32, &data0, &code64, &data3, &user64, &user32};
	const uint32_t stack32[] = {0, STACK_TOP, 0x10};
	const uint64_t rights = 7; /* present, writable, user */

	for (unsigned i = 0; i < ARRAY_SIZE(segments); i++)
		put64(GDT + 8 + 8 * i, descriptor(segments[i]));
	put(TSS32, stack32, sizeof(stack32));
	put64(TSS64 + 4, STACK_TOP);
	put64(PML4, PDPT | rights);
	put64(PDPT, DIRECTORY | rights);
	put64(PAE_PDPT, DIRECTORY | 1);
	for (unsigned i = 0; i < 512; i++)
		put64(DIRECTORY + i * 8, i * 2 * MIB | 0x80 | rights);
	for (unsigned i = 0; i < 512; i++)
		put64(LEGACY + i * 8, (2 * i * 4 * MIB | 0x80 | rights) |
					      ((2 * i + 1) * 4 * MIB | 0x80 | rights) << 32);
}

static void prepare_memory(const uint8_t *code, size_t size)
{
	const uint8_t hlt = 0xf4;

	size = MIN(size, (size_t)CODE_SIZE);
	require(memory_clear(&machine.memory) == 0);
	put_handlers();
	put_tables();
	put(CODE, code, size);
	put(CODE + size, &hlt, 1);
}

static void prepare_cpu(struct cpu_state *s, const struct mode *mode)
{
	bool long_mode = mode->efer & EFER_LMA;

	s->cr0 = mode->cr0;
	s->cr3 = mode->cr3;
	s->cr4 = mode->cr4;
	s->efer = mode->efer;
	s->system_flags = RFLAGS_FIXED1 | mode->flags;
	s->cpl = mode->cpl;
	for (unsigned seg = SEG_ES; seg <= SEG_GS; seg++)
		s->segment[seg] = seg == SEG_CS ? *mode->code : *mode->data;
	s->segment[SEG_TR] = (struct segment){
		.base = long_mode ? TSS64 : TSS32, .limit = 0x67, .access = 0x8b, .selector = 0x38};
	s->gdtr.base = GDT;
	s->gdtr.limit = 0x37;
	s->idtr.base = long_mode ? IDT64 : mode->cr0 & CR0_PE ? IDT32 : 0;
	s->idtr.limit = 0xfff;
	if (mode->cr3 == PAE_PDPT)
		s->pdpte[0] = DIRECTORY | 1;
	for (unsigned i = 0; i < 16; i++)
		s->gpr[i] = 0x9000 + 0x100 * i;
	s->gpr[RSP] = STACK_TOP;
	s->rip = CODE;
}

/* --- the state --- */

static void change_bytes(struct state_writer *state, const struct change *change)
{
	size_t fpu = offsetof(struct cpu_state, fpu), x87 = fpu + offsetof(struct fpu, x87);
	size_t start[PLACES] = {cpu_offset, cpu_offset + x87, 0};
	size_t size[PLACES] = {fpu, sizeof(struct cpu_state) - x87, state->size};
	unsigned where = change->where % PLACES;
	size_t offset = change->offset % size[where];
	size_t count = MIN((size_t)change->size % 8 + 1, size[where] - offset);

	memcpy(state->bytes + start[where] + offset, change->value, count);
}

static int load(const struct state_writer *state)
{
	struct state_reader reader = {state->bytes, state->size};

	return machine_load(&machine, &reader);
}

static void save(struct state_writer *state)
{
	priority_lock_take(&machine.lock);
	require(machine_save(&machine, state) == 0);
	priority_lock_release(&machine.lock);
}

/* The machine has this state. */
static void require_state(const struct state_writer *want)
{
	struct state_writer now = {0};

	save(&now);
	require(now.size == want->size && !memcmp(now.bytes, want->bytes, now.size));
	free(now.bytes);
}

/* --- running --- */

static void on_slice(int signal)
{
	for (unsigned i = 0; i < CPUS; i++)
		cpu_set_pending(machine.cpus[i], PENDING_STOP);
}

static void run_cpu(struct cpu *cpu)
{
	const struct itimerspec slice = {{0, 0}, {0, SLICE_NS}};
	const struct itimerspec never = {{0, 0}, {0, 0}};

	cpu_clear_pending(cpu, PENDING_STOP);
	timer_settime(timer, 0, &slice, NULL);
	require(machine.config.engine->vcpu_run(cpu) != VCPU_EXIT_FAILED);
	timer_settime(timer, 0, &never, NULL);
	cpu_current = NULL;
}

static void run_machine(void)
{
	machine.request = (struct machine_result){MACHINE_RUNS_ON, 0};
	clock_resume(&machine.clock);
	for (unsigned i = 0; i < SLICES; i++) {
		for (unsigned cpu = 0; cpu < CPUS; cpu++)
			run_cpu(machine.cpus[cpu]);
		priority_lock_take(&machine.lock);
		event_loop_run_timers(machine.loop);
		priority_lock_release(&machine.lock);
	}
	require(machine.request.end != MACHINE_FAILED);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static const uint32_t kernel[] = {
		0x1badb002, 0x10003, -(0x1badb002u + 0x10003), CODE, CODE, 0, CODE + 36, CODE};
	static char path[64];
	struct machine_config config = {
		.kernel_path = path,
		.cmdline = "",
		.memory_size = MEMORY,
		.cpu_count = CPUS,
		.engine = &engine_interp,
		.debug_exit_port = 0xf4,
		.console_input = -1,
	};
	struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGVTALRM};
	struct state_reader reader;
	struct state_section section;
	int fd = memfd_create("kernel", MFD_CLOEXEC);

	log_threshold = LOG_ERROR;
	require(write(fd, kernel, sizeof(kernel)) == sizeof(kernel));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	require(machine_create(&machine, &config) == 0);
	for (unsigned i = 0; i < CPUS; i++)
		engine_states[i] = machine.cpus[i]->engine_state;
	machine.clock.paused = true;
	machine.clock.paused_tsc = 0;
	save(&clean);
	reader = (struct state_reader){clean.bytes, clean.size};
	do
		require(state_next(&reader, &section) == 0);
	while (strcmp(section.name, "cpu") != 0);
	require(section.size == sizeof(struct cpu_state));
	cpu_offset = (size_t)(section.bytes - clean.bytes);
	fpu_init();
	sigaction(SIGVTALRM, &(struct sigaction){.sa_handler = on_slice}, NULL);
	require(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct header header;
	struct change change;
	struct cpu_state cpu;
	struct state_writer state = {.size = clean.size};

	if (size < sizeof(header))
		return 0;
	memcpy(&header, data, sizeof(header));
	data += sizeof(header);
	size -= sizeof(header);
	state.bytes = malloc(state.size);
	require(state.bytes != NULL);
	memcpy(state.bytes, clean.bytes, state.size);
	memcpy(&cpu, state.bytes + cpu_offset, sizeof(cpu));
	prepare_cpu(&cpu, &modes[header.mode % ARRAY_SIZE(modes)]);
	memcpy(state.bytes + cpu_offset, &cpu, sizeof(cpu));
	for (; header.changes && size >= sizeof(change); header.changes--) {
		memcpy(&change, data, sizeof(change));
		change_bytes(&state, &change);
		data += sizeof(change);
		size -= sizeof(change);
	}
	prepare_memory(data, size);
	if (load(&state) == 0) {
		require_state(&state);
		run_machine();
	}
	require(load(&clean) == 0);
	require_state(&clean);
	free(state.bytes);
	return 0;
}
