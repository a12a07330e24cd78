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

/* A vCPU of `engine`, with `options` and nothing at its local APIC's page; what a test's own set-up
 * and teardown call. */
static inline int engine_fixture_setup(void **state, const struct engine *engine)
{
	if (fixture_setup(state))
		return -1;
	cpu->apic_page = ~UINT64_C(0);
	return engine_fixture_create(engine);
}

static inline int engine_fixture_teardown(void **state, const struct engine *engine)
{
	engine_fixture_destroy(engine);
	options = (struct engine_options){0};
	return fixture_teardown(state);
}

/* Run at `rip`, until the vCPU comes back. */
static inline enum vcpu_exit engine_fixture_run(const struct engine *engine, uint64_t rip)
{
	fpu_init(); /* the test library has handlers of its own */
	cpu_clear_pending(cpu, PENDING_STOP);
	cpu->activity = ACTIVITY_RUNNING;
	cpu->rip = cpu->next_rip = rip;
	return engine->vcpu_run(cpu);
}

#endif
