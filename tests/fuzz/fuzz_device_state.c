/* Saved state that nobody has saved. A machine does some steps and is saved, bytes of that are
 * changed, and what results is loaded: refused, or the machine must go on as a sound one does. The
 * input is a count of steps, a count of changes, the changes, and the steps. */
#include "fuzz_chipset.h"

struct header {
	uint8_t steps_before, changes;
};

struct change {
	uint16_t offset;
	uint8_t value, cut; /* cut 1: the state ends here */
};

static void change_bytes(struct state_writer *state, const uint8_t *changes, unsigned count)
{
	struct change change;

	for (; count; count--, changes += sizeof(change)) {
		memcpy(&change, changes, sizeof(change));
		if (!state->size)
			return;
		change.offset %= state->size;
		state->bytes[change.offset] = change.value;
		if (change.cut == 1)
			state->size = change.offset;
	}
}

static bool same(const struct state_writer *a, const struct state_writer *b)
{
	return a->size == b->size && !memcmp(a->bytes, b->bytes, a->size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct state_writer before = {0}, changed = {0}, after = {0};
	struct state_reader reader;
	struct header header;
	size_t steps;

	if (size < sizeof(header))
		return 0;
	memcpy(&header, data, sizeof(header));
	data += sizeof(header);
	size -= sizeof(header);
	header.changes = (uint8_t)MIN(header.changes, size / sizeof(struct change));
	steps = size - header.changes * sizeof(struct change);
	steps = MIN(steps, header.steps_before * sizeof(struct step));

	create();
	run_steps(data + header.changes * sizeof(struct change), steps);
	chipset_save(chipset, &before);
	chipset_save(chipset, &changed);
	change_bytes(&changed, data, header.changes);
	reader = (struct state_reader){changed.bytes, changed.size};
	if (chipset_load(chipset, &reader) < 0) {
		chipset_save(chipset, &after);
		require(same(&before, &after)); /* all or nothing */
	}
	run_steps(data + header.changes * sizeof(struct change) + steps,
		size - header.changes * sizeof(struct change) - steps);
	destroy();
	free(before.bytes);
	free(changed.bytes);
	free(after.bytes);
	return 0;
}
