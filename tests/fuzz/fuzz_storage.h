/* What the fuzzers of disk controllers have in common: spaces, memory and an event loop, and disks
 * whose worker is the fuzzer's own thread: it runs when settle() is called. The input is a list of
 * steps. */
#ifndef VENEER_TESTS_FUZZ_FUZZ_STORAGE_H
#define VENEER_TESTS_FUZZ_FUZZ_STORAGE_H

#include "../unit/memory_disk.h"

#include "device/device.h"
#include "device/irq.h"
#include "memory/memory.h"

struct step {
	uint8_t action, choice;
	uint16_t value;
};

/* --- what each fuzzer has of its own --- */

/* Make the controller, and set it up as a driver would. */
void storage_create(void);
/* `data`: what follows in the input. */
void storage_step(const struct step *step, const uint8_t *data, size_t size);

static struct priority_lock lock = PRIORITY_LOCK_INITIALIZER;
static struct clock machine_clock;
static struct event_loop *loop;
static struct memory memory;
static struct io_space ports;
static struct device_list devices;
static struct worker_task *posted[64];
static unsigned posted_count;
static bool at_once; /* a task runs when it is posted */
static struct {
	void (*run)(void *opaque);
	void *opaque;
	bool wanted;
} idle;

static inline void require(bool condition)
{
	if (!condition)
		abort();
}

/* --- the worker, in the place of the real one --- */

struct worker *worker_create(const char *name)
{
	return (struct worker *)&posted;
}

void worker_destroy(struct worker *worker)
{
}

void worker_task_init(struct worker_task *task, void (*run)(void *opaque), void *opaque)
{
	task->run = run;
	task->opaque = opaque;
}

void worker_post(struct worker *worker, struct worker_task *task)
{
	if (at_once) {
		task->run(task->opaque);
		return;
	}
	for (unsigned i = 0; i < posted_count; i++)
		if (posted[i] == task)
			return;
	require(posted_count < ARRAY_SIZE(posted));
	posted[posted_count++] = task;
}

void worker_call(struct worker *worker, void (*run)(void *opaque), void *opaque)
{
	run(opaque);
}

int worker_add_idle(struct worker *worker, void (*run)(void *opaque), void *opaque)
{
	idle.run = run;
	idle.opaque = opaque;
	return 0;
}

void worker_want_idle(struct worker *worker)
{
	idle.wanted = true;
}

static inline void run_worker(void)
{
	unsigned bound = 100000;

	while (posted_count || idle.wanted) {
		require(bound--);
		if (posted_count) {
			struct worker_task *task = posted[0];

			memmove(posted, posted + 1, --posted_count * sizeof(*posted));
			task->run(task->opaque);
		} else {
			idle.wanted = false;
			idle.run(idle.opaque);
		}
	}
}

/* Let all jobs come back, and those that follow from them: they must come to an end. */
static inline void settle(void)
{
	unsigned bound = 100000;

	run_worker();
	while (!device_list_quiesce(&devices, 0)) {
		require(bound--);
		run_worker();
	}
}

/* --- the machine --- */

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	clock_init(&machine_clock);
	machine_clock.paused = true;
	loop = event_loop_create(&machine_clock, &lock);
	require(loop && memory_create(&memory, 4 * MIB, 40, &lock) == 0);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct step step;

	io_space_init(&ports, &lock);
	posted_count = 0;
	at_once = idle.wanted = false;
	storage_create();
	for (; size >= sizeof(step); data += sizeof(step), size -= sizeof(step)) {
		memcpy(&step, data, sizeof(step));
		storage_step(&step, data + sizeof(step), size - sizeof(step));
	}
	settle();
	at_once = true;
	device_list_destroy(&devices);
	io_space_destroy(&ports);
	io_space_destroy(&memory.mmio);
	io_space_init(&memory.mmio, &lock);
	return 0;
}

static inline void ignore_irq(void *opaque, unsigned number, bool level)
{
}

static inline void save_and_load(void)
{
	struct state_writer writer = {0};
	struct state_reader reader;

	settle();
	device_list_save(&devices, &writer);
	require(!writer.failed);
	reader = (struct state_reader){writer.bytes, writer.size};
	require(device_list_load(&devices, &reader) == 0);
	free(writer.bytes);
	device_list_resume(&devices);
}

#endif
