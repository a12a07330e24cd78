#include "machine/saved_state.h"

#include "base/log.h"
#include "cpu/cpu_model_text.h"
#include "device/chipset/chipset.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SHAPE_NAME    "machine"
#define SHAPE_VERSION 2
#define MODEL_NAME    "cpu-model"
#define MODEL_VERSION 2
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

/* Of struct cpu_model, what its guest can see; the bits that CR4 and EFER may have follow from the
 * features. Only compared, so all values will do. */
static const struct state_field xstate_fields[] = {
	STATE_ANY(struct xstate_component, offset),
	STATE_ANY(struct xstate_component, size),
	STATE_BOOL(struct xstate_component, align),
	STATE_END,
};

static const struct state_field model_fields[] = {
	STATE_ARRAY_ANY(struct cpu_model, features.word),
	STATE_BOOL(struct cpu_model, amd),
	STATE_ANY(struct cpu_model, signature),
	STATE_ANY(struct cpu_model, physical_bits),
	STATE_ANY(struct cpu_model, linear_bits),
	STATE_ANY(struct cpu_model, xcr0),
	STATE_ANY(struct cpu_model, arch_capabilities),
	STATE_STRUCTS(struct cpu_model, xstate, xstate_fields),
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
	state_write(writer, MODEL_NAME, 0, MODEL_VERSION, model_fields, &machine->model);
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

static int refuse_feature(const struct cpu_features *saved, enum cpuid_feature feature)
{
	bool had = cpu_features_have(saved, feature);

	log_error("saved state: of a processor %s %s; this machine's has %s",
		had ? "with" : "without", cpu_feature_name(feature), had ? "none" : "it");
	return -EINVAL;
}

/* What the guest has found out about its processor must stay true, so the models must be alike. */
static int compare_models(const struct cpu_model *saved, const struct cpu_model *ours)
{
	int feature = cpu_features_first_difference(&saved->features, &ours->features);

	if (saved->amd != ours->amd)
		return refuse("a processor like AMD's (1) or Intel's (0):", saved->amd, ours->amd);
	if (feature >= 0)
		return refuse_feature(&saved->features, (enum cpuid_feature)feature);
	if (saved->signature != ours->signature)
		return refuse("a processor of signature", saved->signature, ours->signature);
	if (saved->physical_bits != ours->physical_bits)
		return refuse("physical address bits:", saved->physical_bits, ours->physical_bits);
	if (saved->linear_bits != ours->linear_bits)
		return refuse("linear address bits:", saved->linear_bits, ours->linear_bits);
	if (saved->xcr0 != ours->xcr0)
		return refuse("state components in XCR0:", saved->xcr0, ours->xcr0);
	if (saved->arch_capabilities != ours->arch_capabilities)
		return refuse("IA32_ARCH_CAPABILITIES", saved->arch_capabilities,
			ours->arch_capabilities);
	for (unsigned i = 0; i < XSTATE_COUNT; i++) {
		const struct xstate_component *a = &saved->xstate[i], *b = &ours->xstate[i];

		if (a->offset != b->offset || a->size != b->size || a->align != b->align) {
			log_error("saved state: XSAVE keeps state component %u elsewhere than "
				  "this machine's",
				i);
			return -EINVAL;
		}
	}
	return 0;
}

static int load_model(struct machine *machine, struct state_reader *reader)
{
	struct cpu_model saved;
	int error = read_section(reader, MODEL_NAME, 0, MODEL_VERSION, model_fields, &saved);

	return error ? error : compare_models(&saved, &machine->model);
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
	if (!error)
		error = load_model(machine, reader);
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
