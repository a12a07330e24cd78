/* The processor of cpu_fixture.h, run by an engine. */
#ifndef VENEER_TESTS_ENGINE_FIXTURE_H
#define VENEER_TESTS_ENGINE_FIXTURE_H

#include "cpu_fixture.h"

#include "engine/engine.h"

static struct engine_options options; /* for the next vCPU */
static struct engine_machine *engine_machine;

static inline int engine_fixture_create(const struct engine *engine)
{
	int error = engine->machine_create(&engine_machine, &platform, &options);

	return error ? error : engine->vcpu_create(engine_machine, cpu);
}

static inline void engine_fixture_destroy(const struct engine *engine)
{
	engine->vcpu_destroy(cpu);
	engine->machine_destroy(engine_machine);
}

#endif
