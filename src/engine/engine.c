#include "engine/engine.h"

#include <string.h>

struct engine_options engine_options;

/* "auto" takes the first that this host can run: the fastest come first. */
const struct engine *const engines[] = {&engine_bt, &engine_interp, NULL};

static bool suits(const struct engine *engine)
{
	return (!engine->worthwhile || engine->worthwhile()) && engine->available() == 0;
}

const struct engine *engine_find(const char *name)
{
	const struct engine *const *engine;
	bool automatic = strcmp(name, "auto") == 0;

	for (engine = engines; *engine; engine++)
		if (automatic ? suits(*engine) : strcmp((*engine)->name, name) == 0)
			return *engine;
	return NULL;
}
