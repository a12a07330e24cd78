#include "cli/stats.h"

static void print_count(const char *name, uint64_t count)
{
	fprintf(stderr, "%-22s %16llu\n", name, (unsigned long long)count);
}

/* A count, and what share of `whole` it is. */
static void print_share(const char *name, uint64_t count, uint64_t whole, const char *of)
{
	fprintf(stderr, "%-22s %16llu", name, (unsigned long long)count);
	if (whole)
		fprintf(stderr, "  %.4f %% of %s", 100.0 * (double)count / (double)whole, of);
	fputc('\n', stderr);
}

void stats_print(const struct machine *machine, double seconds, double startup_ms)
{
	const struct engine *engine = machine->config.engine;
	struct cpu_stats sum;

	machine_add_stats(machine, &sum);
	fprintf(stderr, "\nengine %s, %u vCPU%s, %llu MiB\n", engine->name,
		machine->config.cpu_count, machine->config.cpu_count == 1 ? "" : "s",
		(unsigned long long)(machine->config.memory_size / MIB));
	fprintf(stderr, "%-22s %16.3f ms\n", "start-up", startup_ms);
	fprintf(stderr, "%-22s %16.3f s\n", "run", seconds);
	fprintf(stderr, "%-22s %16llu  %.1f million a second\n", "instructions",
		(unsigned long long)sum.instructions,
		seconds > 0 ? (double)sum.instructions / seconds / 1e6 : 0);
	print_count("blocks run", sum.blocks);
	print_count("blocks decoded", sum.blocks_decoded);
	print_share("decode-cache hits", sum.blocks - MIN(sum.blocks, sum.blocks_decoded),
		sum.blocks, "blocks run");
	print_count("code invalidations", sum.code_invalidations);
	print_count("native stubs made", sum.stubs);
	/* Loads and stores are counted by the block, so a block left early counts some too many. */
	print_share("TLB hits, about", sum.accesses - MIN(sum.accesses, sum.tlb_misses),
		sum.accesses, "loads and stores");
	print_count("TLB misses", sum.tlb_misses);
	print_count("TLB flushes", sum.tlb_flushes);
	print_count("page faults", sum.page_faults);
	print_count("exceptions", sum.exceptions);
	print_count("interrupts", sum.interrupts);
	print_count("exits: port I/O", sum.port_io);
	print_count("exits: MMIO", sum.mmio);
	print_count("exits: halt", sum.halts);
	print_count("resets", machine->resets);
	for (unsigned i = 0; i < machine->config.disk_count; i++)
		if (machine->disk[i])
			fprintf(stderr, "disk %-17u %16s  %s\n", i, machine->disk[i]->how,
				machine->config.disks[i].path);
	if (engine->print_stats)
		engine->print_stats(machine->cpus, machine->config.cpu_count, stderr);
}
