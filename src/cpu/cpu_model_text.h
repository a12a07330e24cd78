/* A CPU model as words: "host,+avx2,-la57". */
#ifndef VENEER_CPU_CPU_MODEL_TEXT_H
#define VENEER_CPU_CPU_MODEL_TEXT_H

#include "cpu/cpu_model.h"

/* What there is to choose from. */
struct cpu_offer {
	struct cpu_features possible; /* what we implement, and this host can run */
	struct cpu_features native;   /* all that would need the host to have it */
	struct cpu_features withheld; /* what the engine cannot serve */
};

/* The features that the text names. 0, or -EINVAL with a message. */
int cpu_model_choose(const char *text, const struct cpu_offer *offer, struct cpu_features *chosen);

/* As --cpu has it; constant. Features that every x86-64 processor has are without a name. */
const char *cpu_feature_name(enum cpuid_feature feature);

/* Remove features that depend on a feature that is missing (cpu_model.c). */
void cpu_features_drop_dependent(struct cpu_features *features);

#endif
