/* How a guest memory operand is reached: every kernel in every variant, as a ratio to native. */
#include "experiment.h"

#include <sys/mman.h>

#define HOST       0x200000000000ul /* where the guest's memory is */
#define GUEST      0x7e0000000000ul /* what the guest calls that: slot 0xfc */
#define ARENA      (1ul << 20)
#define TABLE      0x80000ul /* constants of the CRC and SHA kernels */
#define LIST       0xc0000ul
#define TLB_SIZE   1024
#define TABLE_SIZE 65536

/* What the rewritten code reaches; in the low 2 GiB because the program is not position
 * independent. */
uint64_t reach_delta, reach_table[TABLE_SIZE], reach_tlb_minus[TLB_SIZE],
	reach_tlb_addend[TLB_SIZE];
uint8_t reach_same[2 * TABLE_SIZE];
uint64_t reach_index_mask = 0x3ff000, reach_page_mask = ~0xffful;
uint64_t reach_minus_slot = -(0xfcul << 39), reach_window,
	 reach_spread = 0xfffful << 48 | ((1ul << 39) - 1);

_Noreturn void reach_failed(void)
{
	fprintf(stderr, "reach: an address check failed\n");
	exit(1);
}

typedef long kernel(uint64_t data, long n, uint64_t table);

/* clang-format off */
#define VARIANTS(X)                                                                                \
	X(native)                                                                                  \
	X(predicted) X(base) X(constant) X(flags) X(gs) X(table) X(pdep) X(byte) X(tlb) X(once)    \
		X(once_byte) X(once_gs) X(elided) X(elided_gs)
#define KERNELS(X)                                                                                 \
	X(sort, 0, 2000)                                                                           \
	X(chase, LIST, 60000) X(crc, 0, 40000) X(sum, 0, 16384) X(sha, 0, 60) X(fields, 0, 10000)
/* clang-format on */

#define DECLARE(v)                                                                                 \
	kernel kernel_sort_##v, kernel_chase_##v, kernel_crc_##v, kernel_sum_##v, kernel_sha_##v,  \
		kernel_fields_##v;
VARIANTS(DECLARE)
#define NAME(v) #v,
static const char *const variant_names[] = {VARIANTS(NAME)};
#define COUNT                (sizeof(variant_names) / sizeof(*variant_names))
#define P_sort(v)            kernel_sort_##v,
#define P_chase(v)           kernel_chase_##v,
#define P_crc(v)             kernel_crc_##v,
#define P_sum(v)             kernel_sum_##v,
#define P_sha(v)             kernel_sha_##v,
#define P_fields(v)          kernel_fields_##v,
#define KERNEL(k, offset, n) {#k, offset, n, {VARIANTS(P_##k)}},
static const struct {
	const char *name;
	uint64_t offset;
	long n;
	kernel *run[COUNT];
} kernels[] = {KERNELS(KERNEL)};

static uint32_t random_state;
static uint32_t next_random(void)
{
	return random_state = random_state * 1664525u + 1013904223u, random_state >> 8;
}

/* Fill the arena, with pointers as seen from `base`. */
static void fill(uint64_t base)
{
	random_state = 1;
	uint32_t *words = (uint32_t *)HOST;
	for (size_t i = 0; i < ARENA / 4; i++)
		words[i] = next_random();
	/* The list: 256 nodes of 64 bytes at LIST, in random order. */
	unsigned order[256];
	for (unsigned i = 0; i < 256; i++)
		order[i] = i;
	for (unsigned i = 255; i > 0; i--) {
		unsigned j = next_random() % (i + 1), t = order[i];
		order[i] = order[j], order[j] = t;
	}
	for (unsigned i = 0; i < 256; i++)
		*(uint64_t *)(HOST + LIST + order[i] * 64ul) =
			base + LIST + order[(i + 1) % 256] * 64ul;
}

int main(void)
{
	if (mmap((void *)HOST, ARENA, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) != (void *)HOST) {
		perror("reach: mmap");
		return 1;
	}
	reach_window = HOST;
	reach_same[TABLE_SIZE] = 1;
	reach_delta = HOST - GUEST;
	reach_table[(uint16_t)(GUEST >> 39)] = reach_delta;
	for (unsigned i = 0; i < ARENA >> 12; i++) {
		reach_tlb_minus[i] = -(GUEST + ((uint64_t)i << 12));
		reach_tlb_addend[i] = reach_delta;
	}
	/* Not arch_prctl(), which refuses what is no user address. */
	__asm__ volatile("wrgsbase %0" : : "r"(reach_delta));

	printf("| time against native |");
	for (size_t k = 0; k < sizeof(kernels) / sizeof(*kernels); k++)
		printf(" %s |", kernels[k].name);
	printf("\n|---|");
	for (size_t k = 0; k < sizeof(kernels) / sizeof(*kernels); k++)
		printf("---|");
	printf("\n");
	static double ratio[COUNT][16];
	for (size_t k = 0; k < sizeof(kernels) / sizeof(*kernels); k++) {
		static double sample[COUNT][ROUNDS];
		long expected = 0;
		for (int round = 0; round < ROUNDS; round++)
			for (size_t v = 0; v < COUNT; v++) {
				uint64_t base = v ? GUEST : HOST;
				fill(base);
				double start = experiment_now();
				long result = kernels[k].run[v](
					base + kernels[k].offset, kernels[k].n, base + TABLE);
				sample[v][round] = experiment_now() - start;
				if (!v && !round)
					expected = result;
				if (result != expected) {
					fprintf(stderr, "reach: %s/%s computed something else\n",
						kernels[k].name, variant_names[v]);
					return 1;
				}
			}
		double native = experiment_median(sample[0], ROUNDS);
		fprintf(stderr, "%s: native %.0f us\n", kernels[k].name, native / 1000);
		for (size_t v = 0; v < COUNT; v++)
			ratio[v][k] = experiment_median(sample[v], ROUNDS) / native;
	}
	for (size_t v = 0; v < COUNT; v++) {
		printf("| %s |", variant_names[v]);
		for (size_t k = 0; k < sizeof(kernels) / sizeof(*kernels); k++)
			printf(" %.2f |", ratio[v][k]);
		printf("\n");
	}
	return 0;
}
