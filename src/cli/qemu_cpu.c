/* -cpu MODEL,+feature,-feature,feature=on: as words of --cpu. */
#include "cli/qemu.h"

#include "base/bits.h"
#include "base/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* What else may stand there, and changes nothing here. */
static const char *const ignored[] = {
	"host-phys-bits",
	"host-phys-bits-limit",
	"phys-bits",
	"migratable",
	"check",
	"enforce",
	"kvm",
	"level",
	"min-level",
	"xlevel",
	"min-xlevel",
	"xlevel2",
	"min-xlevel2",
	"model-id",
	"l3-cache",
	"host-cache-info",
	"topoext",
	"full-cpuid-auto-level",
	"cpuid-0xb",
	"fill-mtrr-mask",
	"pmu",
	"tcg-cpuid",
	"legacy-cache",
	"kvm-hint-dedicated",
	"kvm-asyncpf",
	"kvm-asyncpf-int",
	"kvm-pv-eoi",
	"kvm-msi-ext-dest-id",
	"kvm-no-smi-migration",
	"vmware-cpuid-freq",
	"lmce",
	"x-force-features",
};

/* Models that are all that there is; the others are --cpu's own. */
static const char *const all_there_is[] = {"max", "host", "base"};

static bool is_one_of(const char *const *names, size_t count, const char *word, size_t length)
{
	for (size_t i = 0; i < count; i++)
		if (strlen(names[i]) == length && strncmp(names[i], word, length) == 0)
			return true;
	return false;
}

static int put_word(FILE *out, char *word)
{
	char *equals = strchr(word, '=');
	bool on = true;

	for (char *c = word; *c && c != equals; c++)
		if (*c == '_')
			*c = '-';
	if (*word == '+' || *word == '-') {
		fprintf(out, ",%s", word);
		return 0;
	}
	if (is_one_of(ignored, ARRAY_SIZE(ignored), word,
		    equals ? (size_t)(equals - word) : strlen(word)))
		return 0;
	if (equals && strncmp(word, "vendor=", 7) == 0) {
		fprintf(out, ",%s", word);
		return 0;
	}
	if (equals) {
		*equals = '\0';
		if (qemu_words_bool("-cpu", word, equals + 1, &on) < 0)
			return -EINVAL;
	}
	fprintf(out, ",%c%s", on ? '+' : '-', word);
	return 0;
}

int qemu_set_cpu(struct qemu *qemu, const char *value)
{
	char *copy, *rest, *word, *text = NULL;
	size_t size;
	FILE *out;
	int error = 0;

	if (strcmp(value, "help") == 0 || strcmp(value, "?") == 0) {
		qemu->list = qemu_list_cpus;
		return 0;
	}
	copy = rest = strdup(value);
	out = open_memstream(&text, &size);
	if (copy && out) {
		word = strsep(&rest, ",");
		if (is_one_of(all_there_is, ARRAY_SIZE(all_there_is), word, strlen(word)))
			word = "host";
		fputs(word, out);
		while (!error && (word = strsep(&rest, ",")))
			error = *word ? put_word(out, word) : 0;
		/* As QEMU does: a feature that cannot be had is warned of. */
		fputs(",check", out);
	} else {
		error = -ENOMEM;
	}
	free(copy);
	if (out)
		fclose(out);
	if (error) {
		free(text);
		return error;
	}
	qemu->machine.cpu = qemu_keep(qemu, text);
	return cpu_model_check(qemu->machine.cpu);
}
