/* The CPU model of tests: all that this host and we have. */
#ifndef VENEER_TESTS_MODEL_FIXTURE_H
#define VENEER_TESTS_MODEL_FIXTURE_H

#include "cpu/cpu_model.h"

static struct cpu_model fixture_model;

/* A test changes its copy as it likes: each set-up makes it anew. */
static inline const struct cpu_model *make_fixture_model(void)
{
	static struct cpuid_host host;

	if (!host.count)
		cpuid_host_read(&host);
	cpu_model_build(&fixture_model, &host, NULL, NULL);
	return &fixture_model;
}

static inline struct cpuid_result host_leaf(uint32_t leaf, uint32_t subleaf)
{
	return cpuid_host_leaf(&fixture_model.host, leaf, subleaf);
}

#endif
