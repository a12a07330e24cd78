/* A machine in the middle of its work becomes bytes, another is made of them, and goes on to the
 * same end: again and again while a guest kernel runs, under each engine and from one to the
 * other. The kernels check themselves what they compute, in their registers, in their devices and
 * on their clocks; the exit status says whether they were content.
 *
 * usage: test_saved_state DIRECTORY-OF-GUEST-KERNELS */
#include "machine/saved_state.h"

#include "base/log.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#define MEMORY (64 * MIB)
/* What all engines can serve. */
#define MODEL "host,-la57"
/* Each stretch of work is longer than the one before, so that early and late moves are tried and
 * there are not too many. */
#define STEP_MS(moves) (20 + 15 * (moves))
#define MOVES_MAX      200

static const char *kernels;

/* A machine, and the thread that runs it. */
struct runner {
	struct machine machine;
	struct machine_listener listener;
	pthread_t thread;
	pthread_cond_t changed;
	bool paused, ended;
	struct machine_result result;
	int output; /* what the guest said, a file */
};

static void on_event(void *opaque, const struct machine_event *event)
{
	struct runner *r = opaque;

	if (event->kind == MACHINE_PAUSED)
		r->paused = true;
	if (event->kind == MACHINE_RESUMED)
		r->paused = false;
	if (event->kind == MACHINE_ENDED)
		r->ended = true;
	pthread_cond_broadcast(&r->changed);
}

static void *run_machine(void *opaque)
{
	struct runner *r = opaque;

	r->result = machine_run(&r->machine);
	return NULL;
}

static void create_model(
	struct runner *r, const char *kernel, const char *engine, unsigned cpus, const char *model)
{
	static char path[4096];
	char cmdline[16];
	struct machine_config config = {
		.kernel_path = path,
		.cmdline = cmdline,
		.memory_size = MEMORY,
		.cpu_count = cpus,
		.engine = engine_find(engine),
		.cpu = model,
		.debug_exit_port = 0xf4,
		.console_input = -1,
		.display = {.kind = DISPLAY_NONE},
	};

	snprintf(path, sizeof(path), "%s/%s", kernels, kernel);
	snprintf(cmdline, sizeof(cmdline), "cpus=%u", cpus);
	memset(r, 0, sizeof(*r));
	r->output = memfd_create("output", MFD_CLOEXEC);
	assert_true(r->output >= 0);
	config.console_output = r->output;
	pthread_cond_init(&r->changed, NULL);
	assert_int_equal(machine_create(&r->machine, &config), 0);
	r->listener = (struct machine_listener){.notify = on_event, .opaque = r};
	machine_listen(&r->machine, &r->listener);
}

static void create(struct runner *r, const char *kernel, const char *engine, unsigned cpus)
{
	create_model(r, kernel, engine, cpus, MODEL);
}

static void start(struct runner *r)
{
	assert_int_equal(pthread_create(&r->thread, NULL, run_machine, r), 0);
}

static void destroy(struct runner *r)
{
	machine_destroy(&r->machine);
	pthread_cond_destroy(&r->changed);
	close(r->output);
}

/* Let it run for a while. False: it has ended meanwhile; else it is paused. */
static bool run_on(struct runner *r, unsigned ms)
{
	bool paused;

	priority_lock_take(&r->machine.lock);
	machine_resume(&r->machine);
	priority_lock_release(&r->machine.lock);
	usleep(ms * 1000);
	priority_lock_take(&r->machine.lock);
	machine_pause(&r->machine);
	while (!r->paused && !r->ended)
		priority_lock_wait(&r->machine.lock, &r->changed);
	paused = r->paused && r->machine.request.end == MACHINE_RUNS_ON;
	priority_lock_release(&r->machine.lock);
	return paused;
}

static void end(struct runner *r)
{
	priority_lock_take(&r->machine.lock);
	machine_request_end(&r->machine, MACHINE_QUIT, 0);
	priority_lock_release(&r->machine.lock);
	pthread_join(r->thread, NULL);
}

/* Those pages of the file that exist: all others are zero, in both. */
static void copy_ram(struct runner *to, struct runner *from)
{
	int fd = from->machine.memory.fd;
	off_t end = 0, start;

	while ((start = lseek(fd, end, SEEK_DATA)) >= 0) {
		end = lseek(fd, start, SEEK_HOLE);
		assert_int_equal(
			pread(fd, to->machine.memory.ram + start, (size_t)(end - start), start),
			end - start);
	}
}

static void print_output(const struct runner *r)
{
	char line[4000];
	ssize_t size = pread(r->output, line, sizeof(line) - 1, 0);

	line[MAX(size, 0)] = 0;
	print_message("# the last machine's output:\n%s\n", line);
}

/* From `engines`[0] to [1], and back, until the kernel ends. */
static void relay(const char *kernel, unsigned cpus, const char *const engines[2])
{
	static struct runner runners[2];
	struct runner *now = &runners[0];
	unsigned moves = 0;

	create(now, kernel, engines[0], cpus);
	start(now);
	while (run_on(now, STEP_MS(moves))) {
		struct runner *next = &runners[now == &runners[0]];
		struct state_writer writer = {0}, again = {0};
		struct state_reader reader;

		moves++;
		assert_in_range(moves, 0, MOVES_MAX);
		priority_lock_take(&now->machine.lock);
		assert_int_equal(machine_save(&now->machine, &writer), 0);
		priority_lock_release(&now->machine.lock);
		create(next, kernel, engines[moves % 2], cpus);
		copy_ram(next, now);
		reader = (struct state_reader){writer.bytes, writer.size};
		assert_int_equal(machine_load(&next->machine, &reader), 0);
		/* What was loaded is what was saved. */
		priority_lock_take(&next->machine.lock);
		assert_int_equal(machine_save(&next->machine, &again), 0);
		priority_lock_release(&next->machine.lock);
		assert_int_equal(again.size, writer.size);
		assert_memory_equal(again.bytes, writer.bytes, writer.size);
		free(writer.bytes);
		free(again.bytes);
		end(now);
		destroy(now);
		now = next;
		start(now);
	}
	pthread_join(now->thread, NULL);
	if (now->result.end != MACHINE_DEBUG_EXIT || now->result.value != 1)
		print_output(now);
	assert_int_equal(now->result.end, MACHINE_DEBUG_EXIT);
	assert_int_equal(now->result.value, 1);
	destroy(now);
	/* One that has ended before it was ever saved proves nothing. */
	print_message("# %s, %s and %s: %u moves\n", kernel, engines[0], engines[1], moves);
	assert_true(moves > 0);
}

/* Kernels that run long enough, with much going on, each in its way. */
static const struct {
	const char *name;
	unsigned cpus;
} work[] = {{"hotcode", 1}, {"anytime", 1}, {"time", 1}, {"sleep", 1}, {"multicpu", 4}};

static void relay_all(const char *first, const char *second)
{
	for (unsigned i = 0; i < ARRAY_SIZE(work); i++)
		relay(work[i].name, work[i].cpus, (const char *const[]){first, second});
}

static void interp_goes_on(void **state)
{
	relay_all("interp", "interp");
}

static void bt_goes_on(void **state)
{
	relay_all("bt", "bt");
}

static void engines_change(void **state)
{
	relay_all("bt", "interp");
}

/* --- input while it stands --- */

static struct state_writer saved(struct runner *r)
{
	struct state_writer writer = {0};

	priority_lock_take(&r->machine.lock);
	assert_int_equal(machine_save(&r->machine, &writer), 0);
	priority_lock_release(&r->machine.lock);
	return writer;
}

/* What is typed between machine_load() and machine_resume() is nobody's yet: it is not in what is
 * saved then, and waits for the machine that takes over. */
static void loaded_machine_takes_no_input(void **state)
{
	static struct runner from, to;
	struct state_writer before, after;
	struct state_reader reader;
	int input[2], waiting = 0;

	create(&from, "multicpu", "interp", 2);
	start(&from);
	assert_true(run_on(&from, 50));
	io_space_write(&from.machine.ports, 0x3f9, 1, 1); /* COM1 listens: IER */
	before = saved(&from);
	end(&from);

	assert_int_equal(pipe(input), 0);
	assert_int_equal(write(input[1], "typed", 5), 5);
	create(&to, "multicpu", "interp", 2);
	to.machine.config.console_input = input[0];
	copy_ram(&to, &from);
	reader = (struct state_reader){before.bytes, before.size};
	assert_int_equal(machine_load(&to.machine, &reader), 0);
	start(&to);
	usleep(100000);
	after = saved(&to);
	assert_int_equal(after.size, before.size);
	assert_memory_equal(after.bytes, before.bytes, before.size);
	end(&to);
	assert_int_equal(ioctl(input[0], FIONREAD, &waiting), 0);
	assert_int_equal(waiting, 5);
	free(before.bytes);
	free(after.bytes);
	destroy(&from);
	destroy(&to);
	close(input[0]);
	close(input[1]);
}

/* --- bytes that are not what was saved --- */

/* Loading is refused with a message that has these words in it. */
static void assert_refused(struct runner *to, const struct state_writer *bytes, const char *words)
{
	struct state_reader reader = {bytes->bytes, bytes->size};
	int standard_error = dup(STDERR_FILENO), error;
	FILE *messages = tmpfile();
	char text[500];

	dup2(fileno(messages), STDERR_FILENO);
	error = machine_load(&to->machine, &reader);
	dup2(standard_error, STDERR_FILENO);
	close(standard_error);
	rewind(messages);
	text[fread(text, 1, sizeof(text) - 1, messages)] = 0;
	fclose(messages);
	assert_int_equal(error, -EINVAL);
	if (!strstr(text, words))
		fail_msg("'%s' does not say '%s'", text, words);
}

/* The guest relies on what it has found in CPUID. */
static void another_cpu_model_is_refused(const struct state_writer *bytes)
{
	static const struct {
		const char *model, *words;
	} models[] = {
		{"x86-64-v2,-la57", "of a processor with "},
		{MODEL ",-smep", "with smep; this machine's has none"},
		{MODEL ",-arat", "with arat; this machine's has none"},
		{"host", "without la57; this machine's has it"},
	};
	static const struct {
		size_t offset;
		const char *words;
	} fields[] = {
		{offsetof(struct cpu_model, amd), "AMD"},
		{offsetof(struct cpu_model, signature), "signature"},
		{offsetof(struct cpu_model, physical_bits), "physical address bits"},
		{offsetof(struct cpu_model, linear_bits), "linear address bits"},
		{offsetof(struct cpu_model, xcr0), "XCR0"},
		{offsetof(struct cpu_model, arch_capabilities), "IA32_ARCH_CAPABILITIES"},
		{offsetof(struct cpu_model, xstate[XSTATE_PKRU].offset), "component 9"},
		{offsetof(struct cpu_model, xstate[XSTATE_PKRU].size), "component 9"},
		{offsetof(struct cpu_model, xstate[XSTATE_AVX].align), "component 2"},
	};
	static struct runner to;

	for (unsigned i = 0; i < ARRAY_SIZE(models); i++) {
		create_model(&to, "multicpu", "interp", 2, models[i].model);
		assert_refused(&to, bytes, models[i].words);
		destroy(&to);
	}
	create(&to, "multicpu", "interp", 2);
	for (unsigned i = 0; i < ARRAY_SIZE(fields); i++) {
		uint8_t *at = (uint8_t *)&to.machine.model + fields[i].offset;

		*at ^= 1;
		assert_refused(&to, bytes, fields[i].words);
		*at ^= 1;
	}
	destroy(&to);
}

static void bad_bytes_are_refused(void **state)
{
	static struct runner from, to;
	struct state_writer writer = {0};
	struct state_reader reader;
	static const char *const engines[] = {"bt", "interp"};

	create(&from, "multicpu", "interp", 2);
	start(&from);
	assert_true(run_on(&from, 50));
	priority_lock_take(&from.machine.lock);
	assert_int_equal(machine_save(&from.machine, &writer), 0);
	priority_lock_release(&from.machine.lock);
	end(&from);

	/* Another shape. */
	create(&to, "multicpu", "interp", 3);
	assert_refused(&to, &writer, "processors");
	destroy(&to);
	another_cpu_model_is_refused(&writer);
	/* Cut short, anywhere. */
	create(&to, "multicpu", "interp", 2);
	for (size_t size = 0; size < writer.size; size += 97) {
		reader = (struct state_reader){writer.bytes, size};
		assert_int_equal(machine_load(&to.machine, &reader), -EINVAL);
	}
	destroy(&to);
	/* Bytes changed: refused, or a machine that runs, whatever comes of its guest. */
	srand(1);
	for (unsigned i = 0; i < 60; i++) {
		size_t at = (size_t)rand() % writer.size;
		uint8_t before = writer.bytes[at];

		writer.bytes[at] ^= (uint8_t)(1 + rand() % 255);
		create(&to, "multicpu", engines[i % 2], 2);
		copy_ram(&to, &from);
		reader = (struct state_reader){writer.bytes, writer.size};
		if (machine_load(&to.machine, &reader) == 0) {
			start(&to);
			if (run_on(&to, 20))
				end(&to);
			else
				pthread_join(to.thread, NULL);
			assert_int_not_equal(to.result.end, MACHINE_FAILED);
		}
		destroy(&to);
		writer.bytes[at] = before;
	}
	free(writer.bytes);
	destroy(&from);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(interp_goes_on),
		cmocka_unit_test(bt_goes_on),
		cmocka_unit_test(engines_change),
		cmocka_unit_test(loaded_machine_takes_no_input),
		cmocka_unit_test(bad_bytes_are_refused),
	};

	if (argc != 2) {
		fprintf(stderr, "usage: %s DIRECTORY-OF-GUEST-KERNELS\n", argv[0]);
		return 2;
	}
	kernels = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
