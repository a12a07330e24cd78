/* The unit in the making: its marks, its exits, and what is to be emitted out of line. */
#include "engine/bt/unit.h"

void mark(struct translator *t, unsigned insn, enum bt_mark_state state)
{
	if (t->mark_count == ARRAY_SIZE(t->marks)) {
		t->failed = true;
		return;
	}
	t->marks[t->mark_count++] = (struct bt_mark){.host = (uint16_t)(t->code.at - t->unit->code),
		.insn = (uint8_t)insn,
		.state = (uint8_t)state};
}

void add_cold(struct translator *t, enum cold_kind kind, unsigned insn, uintptr_t patch,
	uint32_t id, access_op *op)
{
	if (t->cold_count == MAX_COLD) {
		t->failed = true;
		return;
	}
	t->cold[t->cold_count++] = (struct cold){.kind = (uint8_t)kind,
		.insn = (uint8_t)insn,
		.mode = t->mode,
		.patch = patch,
		.id = id,
		.op = op};
}

uint32_t add_exit(struct translator *t, enum bt_exit_kind kind, unsigned insn)
{
	const struct bt_exit exit = {.kind = (uint8_t)kind,
		.insn = (uint16_t)insn,
		.rip = t->insn[insn].rip,
		.resume = t->here,
		.next_rip = guest_next(&t->insn[insn]),
		.unit = t->unit};
	uint32_t id;

	if (cache_add_exit(t->bt, &exit, &id))
		return id;
	t->code.full = true;
	return BT_EXIT_ID_NONE;
}

void emit_exit(struct translator *t, uint32_t id)
{
	emit_constant(&t->code, SCRATCH, id);
	emit_jump_memory(&t->code, at_address(&t->bt->glue.exit));
}

void emit_rip(struct translator *t, unsigned reg, uint64_t rip)
{
	emit_guest_rip(&t->code, t->mode, reg, rip);
}

void extract_field(struct translator *t, enum extract field, unsigned to, unsigned from)
{
	const struct bt_mark here = t->marks[t->mark_count - 1];

	if (!t->bt->host.bmi2)
		mark(t, here.insn, MARK_AFTER);
	emit_extract(&t->code, field, to, from);
	if (!t->bt->host.bmi2)
		mark(t, here.insn, here.state);
}
