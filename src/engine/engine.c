#include "engine/engine.h"

#include <errno.h>
#include <string.h>

static bool is_word(const char *word, size_t length, const char *name)
{
	return strlen(name) == length && memcmp(word, name, length) == 0;
}

int engine_options_test(struct engine_options *options, const char *words)
{
	static const struct {
		const char *name;
		unsigned heat, without;
		bool predict;
	} table[] = {
		{"hot", 1, 0, false},
		{"predict", 0, 0, true},
		{"no-bmi2", 0, HOST_BMI2, false},
		{"no-fsgsbase", 0, HOST_FSGSBASE, false},
		{"no-avx", 0, HOST_AVX, false},
		{"no-avx512", 0, HOST_AVX512, false},
		{"no-homes", 0, HOST_HOMES, false},
		{"no-room", 0, HOST_CODE_ROOM, false},
	};

	for (;;) {
		size_t length = strcspn(words, ","), i = 0;

		while (i < ARRAY_SIZE(table) && !is_word(words, length, table[i].name))
			i++;
		if (i == ARRAY_SIZE(table))
			return -EINVAL;
		options->heat |= table[i].heat;
		options->without |= table[i].without;
		options->predict |= table[i].predict;
		if (!words[length])
			return 0;
		words += length + 1;
	}
}

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
