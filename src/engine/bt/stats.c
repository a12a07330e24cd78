#include "engine/bt/stats.h"

#include "engine/bt/bt.h"
#include "engine/bt/verify.h"
#include "engine/options.h"

static const struct {
	const char *name;
	size_t offset;
} rows[] = {
#define ROW(name, field)                                                                           \
	{                                                                                          \
		name, offsetof(struct bt_stats, field)                                             \
	}
	ROW("units made", units),
	ROW("  instructions in them", guest_instructions_translated),
	ROW("  identical ones", identical),
	ROW("  bytes of host code", translated_bytes),
	ROW("entries from the loop", entries),
	ROW("exits chained", chained),
	ROW("exits: jump table", jump_misses),
	ROW("jump table filled without exit", jumps_found),
	ROW("exits: interpret one", interpreted),
	ROW("exits: soft TLB", soft_misses),
	ROW("exits: other faults", other_faults),
	ROW("hidden faults", hidden_faults),
	ROW("  not yet worth a page", rents),
	ROW("true faults", true_faults),
	ROW("retranslations", retranslations),
	ROW("window mappings", maps),
	ROW("window unmappings", unmaps),
	ROW("window protections", protects),
	ROW("pages revalidated", revalidations),
	ROW("  spared by tracing", spared),
	ROW("page tables traced", traces),
	ROW("windows evicted", window_evictions),
	ROW("address spaces", spaces),
	ROW("cache flushes", cache_flushes),
	ROW("  an eighth emptied for room", regions_emptied),
	ROW("code pages dropped", pages_dropped),
	ROW("  units taken back", units_taken_back),
	ROW("    with new constants", units_patched),
	ROW("kicks", kicks),
	ROW("host single steps", steps),
};

static uint64_t value(const struct bt_stats *stats, size_t offset)
{
	return *(const uint64_t *)((const char *)stats + offset);
}

static unsigned count_without(
	struct cpu *const *cpus, unsigned count, bool (*has)(const struct cpu *cpu))
{
	unsigned without = 0;

	for (unsigned i = 0; i < count; i++)
		without += !has(cpus[i]);
	return without;
}

static bool translates(const struct cpu *cpu)
{
	return interp_of(cpu)->translator;
}

static bool has_windows(const struct cpu *cpu)
{
	return translates(cpu) && bt_of(cpu)->windows;
}

/* What the host lacks, or is not to be used, and so makes translated code slow, or leaves it all to
 * the interpreter. `any`: the half of one of the CPUs that translate, NULL where none does. */
static void print_host_lacks(
	struct cpu *const *cpus, unsigned count, const struct bt *any, FILE *to)
{
	fprintf(to, "%-22s %16u\n%-22s %16u\n", "CPUs that only interpret",
		count_without(cpus, count, translates), "CPUs without windows",
		count_without(cpus, count, has_windows));
	if (!any)
		return;
	fprintf(to, "%-22s %16s\n", "address arithmetic",
		any->host.bmi2 ? "BMI2" : "without BMI2: slow");
	fprintf(to, "%-22s %16s\n", "windows by GS base",
		any->host.fsgsbase ? "FSGSBASE" : "none: slower");
}

static void print_verified(const struct verify_counts *counts, FILE *to)
{
	fprintf(to, "%-22s %16llu\n%-22s %16llu\n%-22s %16llu\n%-22s %16llu\n", "units verified",
		(unsigned long long)counts->runs, "  exits compared",
		(unsigned long long)counts->compared, "  exits not reached",
		(unsigned long long)counts->incomplete, "  inputs changed",
		(unsigned long long)counts->raced);
}

void bt_print_stats(struct cpu *const *cpus, unsigned count, FILE *to)
{
	struct bt_stats sum = {0};
	uint64_t translated = 0, interpreted = 0;
	struct verify_counts verified = {0};
	const struct bt *any = NULL;
	bool verify = false;

	for (unsigned i = 0; i < count; i++) {
		const struct bt *bt = bt_of(cpus[i]);

		if (!bt)
			continue;
		any = bt;
		for (size_t k = 0; k < sizeof(sum) / sizeof(uint64_t); k++)
			((uint64_t *)&sum)[k] += ((const uint64_t *)&bt->stats)[k];
		translated += bt->run.count;
		verify = bt->options.verify;
		if (verify) /* one vCPU only */
			verified = verify_counts(bt);
		interpreted += cpus[i]->stats.instructions;
	}
	fprintf(to, "\ntranslation\n");
	print_host_lacks(cpus, count, any, to);
	if (translated)
		fprintf(to, "%-22s %16llu  %.2f %% of all\n", "instructions in units",
			(unsigned long long)translated,
			100.0 * (double)translated / (double)(translated + interpreted));
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		fprintf(to, "%-22s %16llu\n", rows[i].name,
			(unsigned long long)value(&sum, rows[i].offset));
	if (verify)
		print_verified(&verified, to);
}
