#include "machine/saved_state.h"

#include "base/log.h"
#include "device/chipset/chipset.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SHAPE_NAME    "machine"
#define SHAPE_VERSION 1
#define CPU_NAME      "cpu"

/* What the saved and the loading machine must have in common, and the clock. */
struct shape {
	uint64_t memory_size, cpu_count;
	uint64_t tsc_khz; /* within a thousandth: some hosts do not tell, and it is measured */
	uint64_t cycles;  /* that the clock shows */
};

static const struct state_field shape_fields[] = {
	STATE_ANY(struct shape, memory_size),
	STATE_ANY(struct shape, cpu_count),
	STATE_ANY(struct shape, tsc_khz),
	STATE_ANY(struct shape, cycles),
	STATE_END,
};

/* struct cpu_state is saved as plain bytes: it has no padding, and cpu_set_state() checks its
 * values. */
static const struct state_field cpu_fields[] = {
	{0, 1, sizeof(struct cpu_state), NULL, 0, UINT8_MAX},
	STATE_END,
};

static struct shape shape_of(const struct machine *machine)
{
	return (struct shape){
		.memory_size = machine->config.memory_size,
		.cpu_count = machine->config.cpu_count,
		.tsc_khz = machine->clock.tsc_khz,
		.cycles = clock_cycles(&machine->clock),
	};
}

int machine_save(struct machine *machine, struct state_writer *writer)
{
	struct shape shape = shape_of(machine);
	struct cpu_state state;
	unsigned i;

	state_write(writer, SHAPE_NAME, 0, SHAPE_VERSION, shape_fields, &shape);
	for (i = 0; i < machine->config.cpu_count; i++) {
		cpu_get_state(machine->cpus[i], &state);
		state_write(writer, CPU_NAME, i, CPU_STATE_VERSION, cpu_fields, &state);
	}
	chipset_save(machine->chipset, writer);
	return writer->failed ? -ENOMEM : 0;
}

/* Read the next section, which must have this name and version. */
static int read_section(struct state_reader *reader, const char *name, unsigned instance,
	uint32_t version, const struct state_field *fields, void *to)
{
	struct state_section section;

	if (state_next(reader, &section) < 0 || strcmp(section.name, name) != 0 ||
		section.instance != instance) {
		log_error("saved state: section %s %u is missing", name, instance);
		return -EINVAL;
	}
	if (section.version != version) {
		log_error("saved state: section %s has version %u; this veneer has %u", name,
			section.version, version);
		return -EINVAL;
	}
	if (state_read(&section, fields, to) < 0) {
		log_error("saved state: section %s %u is damaged", name, instance);
		return -EINVAL;
	}
	return 0;
}

static int refuse(const char *what, uint64_t saved, uint64_t ours)
{
	log_error("saved state: of a machine with %s %llu; this one has %llu", what,
		(unsigned long long)saved, (unsigned long long)ours);
	return -EINVAL;
}

static int load_shape(struct machine *machine, struct state_reader *reader)
{
	struct shape saved, ours = shape_of(machine);
	int error = read_section(reader, SHAPE_NAME, 0, SHAPE_VERSION, shape_fields, &saved);

	if (error)
		return error;
	if (saved.memory_size != ours.memory_size)
		return refuse("memory of bytes:", saved.memory_size, ours.memory_size);
	if (saved.cpu_count != ours.cpu_count)
		return refuse("processors:", saved.cpu_count, ours.cpu_count);
	if (saved.cycles >> 62) {
		log_error("saved state: the clock cannot have run for so long");
		return -EINVAL;
	}
	if (saved.tsc_khz - ours.tsc_khz * 999 / 1000 > ours.tsc_khz / 500)
		return refuse("a TSC of kHz:", saved.tsc_khz, ours.tsc_khz);
	clock_set(&machine->clock, saved.cycles, saved.tsc_khz);
	return 0;
}

static int load_cpu(struct cpu *cpu, struct state_reader *reader)
{
	struct cpu_state state;
	int error =
		read_section(reader, CPU_NAME, cpu->index, CPU_STATE_VERSION, cpu_fields, &state);

	if (error)
		return error;
	error = cpu_set_state(cpu, &state);
	if (error)
		log_error("saved state: processor %u cannot have this state", cpu->index);
	return error;
}

int machine_load(struct machine *machine, struct state_reader *reader)
{
	unsigned i;
	int error;

	clock_pause(&machine->clock);
	error = load_shape(machine, reader);
	for (i = 0; !error && i < machine->config.cpu_count; i++)
		error = load_cpu(machine->cpus[i], reader);
	if (error)
		return error;
	priority_lock_take(&machine->lock);
	error = chipset_load(machine->chipset, reader);
	if (!error)
		machine->phase = MACHINE_PHASE_PAUSED;
	priority_lock_release(&machine->lock);
	return error;
}
