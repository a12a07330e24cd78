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

/* What QEMU knows, and no processor here has: left out with a warning, as QEMU leaves out what an
 * accelerator has not. */
static const char unknown[] =
	" 3dnow 3dnowext ace2 ace2-en acpi amd-ssbd amd-stibp amx-bf16 amx-int8 amx-tile"
	" arch-lbr avic avx512-4fmaps avx512-4vnniw avx512-fp16 avx512-vp2intersect"
	" avx512er avx512pf bus-lock-detect cid cldemote clzero cmp-legacy"
	" core-capability cr8legacy dca decodeassists ds ds-cpl dtes64 est extapic"
	" flushbyasid fma4 full-width-write hle ht ia64 ibpb ibrs ibrs-all ibs intel-pt"
	" intel-pt-lip invtsc kvm-asyncpf kvm-asyncpf-int kvm-hint-dedicated kvm-mmu"
	" kvm-msi-ext-dest-id kvm-poll-control kvm-pv-eoi lbrv lwp md-clear mds-no"
	" monitor movdir64b movdiri mpx nodeid-msr npt nrip-save osvw pause-filter pbe"
	" pcommit pdcm perfctr-core perfctr-nb pfthreshold phe phe-en pks pmm pmm-en pn"
	" pschange-mc-no rdctl-no rsba rtm serialize skinit skip-l1dfl-vmentry smx"
	" split-lock-detect ss ssb-no ssbd stibp svm svm-lock svme-addr-chk taa-no tbm"
	" tce tm tm2 tsc-scale tsx-ctrl tsx-ldtrk v-vmsave-vmload vgif virt-ssbd"
	" vmcb-clean vmx waitpkg wbnoinvd wdt xcrypt xcrypt-en xfd xop xstore xstore-en"
	" xtpr"
	" ";

/* What each processor here has. */
static const char everywhere[] =
	" apic clflush cmov cx8 de fpu fxsr lm mca mce mmx msr mtrr pae pat pge pse pse36"
	" sep sse sse2 syscall tsc"
	" ";

/* `list` has a space before and behind each word. */
static bool lists(const char *list, const char *word)
{
	char spaced[64];

	snprintf(spaced, sizeof(spaced), " %s ", word);
	return strstr(list, spaced);
}

static bool is_one_of(const char *const *names, size_t count, const char *word, size_t length)
{
	for (size_t i = 0; i < count; i++)
		if (strlen(names[i]) == length && strncmp(names[i], word, length) == 0)
			return true;
	return false;
}

static void put_feature(FILE *out, bool on, const char *name)
{
	if (lists(everywhere, name) && on)
		return;
	if (!lists(unknown, name) && strncmp(name, "vmx-", 4) != 0 && strncmp(name, "sgx", 3) != 0)
		fprintf(out, ",%c%s", on ? '+' : '-', name);
	else if (on)
		log_warning("-cpu: left out: %s: there is no such feature here", name);
}

static int put_word(FILE *out, char *word)
{
	char *equals = strchr(word, '=');
	bool on = true;

	for (char *c = word; *c && c != equals; c++)
		if (*c == '_')
			*c = '-';
	if (*word == '+' || *word == '-') {
		put_feature(out, *word == '+', word + 1);
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
	if (strncmp(word, "hv-", 3) == 0 && on) {
		log_error("-cpu %s: there is no interface of Hyper-V here", word);
		return -EINVAL;
	}
	put_feature(out, on, word);
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
