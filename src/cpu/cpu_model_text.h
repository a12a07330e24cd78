/* A CPU model as words: "host,+avx2,-la57". */
#ifndef VENEER_CPU_CPU_MODEL_TEXT_H
#define VENEER_CPU_CPU_MODEL_TEXT_H

#include "cpu/cpu_model.h"

/* What there is to choose from. */
struct cpu_offer {
	struct cpu_features possible; /* what we implement, and this host can run */
	struct cpu_features native;   /* all that would need the host to have it */
	struct cpu_features withheld; /* what the engine cannot serve */
	bool quiet;                   /* warn of nothing: somebody will */
};

/* The features that the text names. 0, or -EINVAL with a message. */
int cpu_model_choose(const char *text, const struct cpu_offer *offer, struct cpu_features *chosen);

/* As --cpu has it; constant. Features that every x86-64 processor has are without a name. */
const char *cpu_feature_name(enum cpuid_feature feature);

/* A feature by its number in the list of those with names; NULL: there are no more. */
const char *cpu_feature_listed(unsigned index);

/* A processor that has a name (cpu_model_named.c). */
struct cpu_named_model {
	const char *name;
	const char *base; /* a model whose features it has, too; NULL: none */
	uint32_t signature;
	const char *features; /* separated by spaces */
};

/* NULL: there is none. A name may have the ending of one of QEMU's versions ("-v1", "-IBRS"). */
const struct cpu_named_model *cpu_model_find(const char *name, size_t length);
/* Add what such a processor has, with what its base has. */
void cpu_named_model_features(const struct cpu_named_model *model, struct cpu_features *features);
/* NULL: there are no more. */
const char *cpu_model_name(unsigned index);

/* Who made the processor that the text names, and which it is: `vendor` is "" and `signature` 0
 * where they are the host's. 0, or -EINVAL with a message. */
int cpu_model_identify(const char *text, char vendor[13], uint32_t *signature);

/* Remove features that depend on a feature that is missing (cpu_model.c). */
void cpu_features_drop_dependent(struct cpu_features *features);

#endif
