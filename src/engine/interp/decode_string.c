/* String instructions: one handler for each, which string.c repeats. */
#include "engine/interp/decoding.h"

bool choose_string(struct decoding *d)
{
	static slow_fn *const ports[] = {slow_ins, slow_outs};
	static slow_fn *const strings[8] = {[2] = slow_movs,
		[3] = slow_cmps,
		[5] = slow_stos,
		[6] = slow_lods,
		[7] = slow_scas};
	struct insn *in = d->insn;
	bool port = d->zydis.opcode < 0x70; /* 6C to 6F; the others are A4 to AF */
	slow_fn *call = port ? ports[d->zydis.opcode >> 1 & 1] : strings[d->zydis.opcode >> 1 & 7];

	/* The size is in the opcode's low bit and the operand size; port instructions know no 8. */
	in->size = d->zydis.opcode & 1 ? (uint8_t)(d->zydis.operand_width / 8) : 1;
	if (port && in->size == 8)
		in->size = 4;
	in->segment = SEG_DS;
	for (unsigned i = 0; i < d->zydis.operand_count; i++)
		if (is_memory(&d->operand[i]) &&
			(d->operand[i].mem.base == ZYDIS_REGISTER_RSI ||
				d->operand[i].mem.base == ZYDIS_REGISTER_ESI ||
				d->operand[i].mem.base == ZYDIS_REGISTER_SI))
			in->segment = segment_of(d->operand[i].mem.segment);
	in->attributes |= decoding_address_size(d);
	if (d->zydis.attributes & ZYDIS_ATTRIB_HAS_REPNE)
		in->attributes |= INSN_REPNE;
	else if (d->zydis.attributes & (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE))
		in->attributes |= INSN_REP;
	return use_slow(d, call, op_call_string);
}
