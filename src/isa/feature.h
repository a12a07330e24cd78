/* Which features of a processor an instruction belongs to: one table, read by the decoder and by
 * the choice of what may run natively. */
#ifndef VENEER_ISA_FEATURE_H
#define VENEER_ISA_FEATURE_H

#include "cpu/cpu_model.h"

#include <Zydis/Zydis.h>

#include <stdbool.h>

/* Has the model every feature that the instruction needs? True where no feature is known to be
 * needed, which does not say that anything can run the instruction. */
bool isa_is_offered(const struct cpu_model *model, const ZydisDecodedInstruction *in);

/* Does the instruction set hold instructions that may run natively? */
bool isa_set_is_native(const ZydisDecodedInstruction *in);

#endif
