/* The engine "bt": a vCPU's translator is created and destroyed, and what cpu/ and memory/ have to
 * tell reaches its caches and windows. */
#include "engine/bt/bt.h"
#include "engine/bt/cache.h"
#include "engine/bt/fault.h"
#include "engine/bt/run.h"
#include "engine/bt/serve.h"
#include "engine/bt/soft_tlb.h"
#include "engine/bt/stats.h"
#include "engine/bt/trace.h"
#include "engine/bt/unit.h"
#include "engine/bt/verify.h"
#include "engine/bt/window.h"
#include "engine/engine.h"
#include "engine/options.h"

#include "base/log.h"
#include "base/sanitizer.h"
#include "host/low_memory.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>

#ifndef HWCAP2_FSGSBASE
#define HWCAP2_FSGSBASE 2 /* user code may use WRGSBASE */
#endif

/* --- hooks --- */

static void flushed(struct cpu *cpu, const struct tlb_request *request)
{
	struct bt *bt = bt_of(cpu);

	interp_tlb_flushed(cpu, request);
	if (request->what == TLB_FLUSH_NON_GLOBAL || request->what == TLB_FLUSH_SPACE_KEPT)
		bt->run.young_left = bt_young_runs(bt);
	soft_tlb_flush(bt, request->what, request->linear);
	cache_flush_jumps(bt, request->what, request->linear);
	if (bt->windows)
		windows_flush(bt, request);
}

static const struct cpu_engine_ops bt_ops = {
	.code_context_changed = interp_context_changed,
	.tlb_flushed = flushed,
	.kick = bt_kick,
	.pull = cpu_pull_live,
	.push = cpu_push_live,
};

/* What memory/ tells, on any thread. */
static void on_protect(void *opaque, uint64_t page, uint64_t count)
{
	windows_protect(opaque, page, count);
}

static void on_revoke(void *opaque, uint64_t page, uint64_t count)
{
	windows_revoke(opaque, page, count);
}

static void on_written(void *opaque, uint64_t page)
{
	cache_page_written(opaque, page);
}

/* --- a machine --- */

static int bt_machine_create(struct engine_machine **machine, struct cpu_platform *platform,
	const struct engine_options *options)
{
	int error = options->trace ? bt_trace_open(options->trace) : 0;

	return error ? error : interp_machine_create(machine, platform, options);
}

/* --- one vCPU --- */

/* AddressSanitizer takes the low addresses. ThreadSanitizer holds signals back until the program
 * calls a function that it knows; translated code calls none, and kicks are signals: a loop would
 * never hear of anything. */
static bool bt_worthwhile(void)
{
	return !ADDRESS_SANITIZED && !THREAD_SANITIZED;
}

/* Where it cannot translate it interprets. */
static int bt_available(void)
{
	return 0;
}

static void free_bt(struct bt *bt)
{
	memory_unlisten(bt->cpu->memory, &bt->memory_listener);
	interp_of(bt->cpu)->translator = NULL;
	if (bt->windows)
		windows_destroy(bt);
	cache_destroy(bt);
	verify_destroy(bt);
	free(bt->translator);
	munmap(bt, sizeof(*bt));
}

static void bt_vcpu_destroy(struct cpu *cpu)
{
	cpu->engine_ops = &cpu_engine_ops_none;
	if (bt_of(cpu))
		free_bt(bt_of(cpu));
	interp_vcpu_destroy(cpu);
}

/* The vCPU goes on without. */
static int without_translation(struct cpu *cpu, const char *why)
{
	log_warning("engine bt: vCPU %u only interprets: %s", cpu->index, why);
	return 0;
}

static void find_host_features(struct bt *bt)
{
	unsigned without = bt->options.without;

	bt->host.fsgsbase = (getauxval(AT_HWCAP2) & HWCAP2_FSGSBASE) && !(without & HOST_FSGSBASE);
	bt->host.bmi2 = cpu_model_host_has(bt->cpu->model, CPUID_BMI2) && !(without & HOST_BMI2);
}

static int bt_vcpu_create(struct engine_machine *machine, struct cpu *cpu)
{
	struct bt *bt;
	const char *why = NULL;
	int error = interp_vcpu_create(machine, cpu);

	if (error || THREAD_SANITIZED)
		return error;
	bt = low_memory_map(sizeof(*bt));
	if (!bt)
		return without_translation(cpu, "no memory for its tables");
	bt->cpu = cpu;
	bt->options = machine->options;
	bt->run.vectors_away = bt->run.wide_away = 1;
	bt->run.young_left = bt_young_runs(bt);
	bt_mode_init(bt);
	bt->run.mask_index = (uint64_t)(SOFT_TLB_SIZE - 1) << PAGE_SHIFT;
	bt->run.mask_page = PAGE_MASK;
	bt->run.mask_offset = ~PAGE_MASK;
	bt->run.mask_bit[0] = 31;
	bt->run.mask_bit[1] = 63;
	find_host_features(bt);
	interp_of(cpu)->translator = bt;
	bt->translator = malloc(sizeof(*bt->translator));
	error = bt->translator ? cache_create(bt) : -ENOMEM;
	if (error && error != -ENOSPC)
		why = strerror(-error);
	else if (error || !cpu_reachable_32(cpu) || !low_memory_holds(bt, sizeof(*bt)))
		why = "there is no room for its tables and code in the low 2 GiB of the address "
		      "space";
	else if (!memory_flags_displacement(cpu->memory, &bt->host.flags_displacement))
		why = "there is so much guest memory (--memory) that it lies beyond the reach of "
		      "translated code";
	if (why) {
		free_bt(bt);
		return without_translation(cpu,
			ADDRESS_SANITIZED ? "AddressSanitizer takes the addresses that translated "
					    "code needs"
					  : why);
	}
	windows_create(bt); /* without them all goes through the soft TLB */
	bt_signals_init();
	bt->memory_listener = (struct memory_listener){
		.protect = on_protect, .revoke = on_revoke, .written = on_written, .opaque = bt};
	memory_listen(cpu->memory, &bt->memory_listener);
	cpu->engine_ops = &bt_ops;
	interp_of(cpu)->translated = bt_translated;
	return 0;
}

static enum vcpu_exit bt_vcpu_run(struct cpu *cpu)
{
	struct bt *bt = bt_of(cpu);
	enum vcpu_exit exit;

	/* This may be another thread than last time. */
	if (bt)
		bt->run.gs_base_now = ~UINT64_C(0);
	if (bt && bt_thread_enter(bt) < 0)
		interp_of(cpu)->translated = NULL;
	exit = interp_vcpu_run(cpu);
	return bt && verify_failed(bt) ? VCPU_EXIT_FAILED : exit;
}

static void withhold(struct cpu_features *features, enum cpuid_feature feature)
{
	features->word[CPUID_WORD(feature)] |= CPUID_BIT(feature);
}

/* Vectors are carried in the host's registers: what the translator is to do without, the guest
 * is. */
static void bt_withheld(const struct engine_options *options, struct cpu_features *features)
{
	withhold(features, CPUID_LA57); /* windows show 48-bit linear addresses */
	if (options->without & HOST_AVX)
		withhold(features, CPUID_AVX);
	if (options->without & HOST_AVX512)
		withhold(features, CPUID_AVX512F);
}

const struct engine engine_bt = {
	.name = "bt",
	.summary = "binary translation: near-native speed without hardware virtualization",
	.capabilities = ENGINE_TRANSLATES,
	.withheld = bt_withheld,
	.available = bt_available,
	.worthwhile = bt_worthwhile,
	.machine_create = bt_machine_create,
	.machine_destroy = interp_machine_destroy,
	.vcpu_create = bt_vcpu_create,
	.vcpu_destroy = bt_vcpu_destroy,
	.vcpu_run = bt_vcpu_run,
	.print_stats = bt_print_stats,
};
