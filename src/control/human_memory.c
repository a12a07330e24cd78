/* Memory, for a human: what is in it, what is where, and what the page tables map. */
#include "control/human.h"

#include "cpu/paging.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* --- x and xp --- */

#define MOST_UNITS 4096

struct format {
	unsigned long count;
	char format; /* x, d, u, o, c */
	unsigned size;
};

/* [/[COUNT][FORMAT][SIZE]] */
static const char *parse_format(const char *words, struct format *format)
{
	char *end;

	*format = (struct format){1, 'x', 4};
	words += strspn(words, " ");
	if (*words != '/')
		return words;
	words++;
	if (*words >= '0' && *words <= '9') {
		format->count = strtoul(words, &end, 10);
		words = end;
	}
	for (; *words && *words != ' '; words++) {
		static const char sizes[] = "bhwg";
		const char *size = strchr(sizes, *words);

		if (size)
			format->size = 1U << (size - sizes);
		else if (strchr("xduoc", *words))
			format->format = *words;
		else
			return NULL;
	}
	if (format->format == 'c')
		format->size = 1;
	return format->count && format->count <= MOST_UNITS ? words : NULL;
}

static void print_unit(FILE *out, const struct format *format, uint64_t value)
{
	int64_t number = (int64_t)(value << (64 - 8 * format->size)) >> (64 - 8 * format->size);

	switch (format->format) {
	case 'd':
		fprintf(out, " %" PRId64, number);
		break;
	case 'u':
		fprintf(out, " %" PRIu64, value);
		break;
	case 'o':
		fprintf(out, " 0%" PRIo64, value);
		break;
	case 'c':
		fprintf(out, value >= ' ' && value < 127 ? " '%c'" : " '\\x%02x'", (unsigned)value);
		break;
	default:
		fprintf(out, " 0x%0*" PRIx64, (int)(2 * format->size), value);
		break;
	}
}

/* A byte at an address; false: none is there. */
typedef bool read_byte(struct human *human, uint64_t address, uint8_t *byte);

static bool read_physical(struct human *human, uint64_t address, uint8_t *byte)
{
	const uint8_t *at = memory_ram_pointer(&human->machine->memory, address);

	if (at)
		*byte = *at;
	return at;
}

static bool read_linear(struct human *human, uint64_t address, uint8_t *byte)
{
	struct translation translation;

	return human->cpu &&
	       paging_walk(human->cpu, address, PAGING_PROBE, &translation) == WALKED &&
	       read_physical(human, translation.gpa, byte);
}

static bool read_unit(
	struct human *human, read_byte *read, uint64_t address, unsigned size, uint64_t *value)
{
	uint8_t byte;

	*value = 0;
	for (unsigned i = 0; i < size; i++) {
		if (!read(human, address + i, &byte))
			return false;
		*value |= (uint64_t)byte << (8 * i);
	}
	return true;
}

static void show(struct human *human, const char *words, read_byte *read)
{
	struct format format;
	uint64_t address, value;
	char *end;

	words = parse_format(words, &format);
	if (!words || !*(words += strspn(words, " "))) {
		fprintf(human->out, "expected /[COUNT][xduoc][bhwg] and an address\n");
		return;
	}
	errno = 0;
	address = strtoull(words, &end, 0);
	if (errno || end == words || *(end + strspn(end, " "))) {
		fprintf(human->out, "'%s' is no address\n", words);
		return;
	}
	for (unsigned long i = 0; i < format.count; i++, address += format.size) {
		if (i * format.size % 16 == 0)
			fprintf(human->out, "%s%016" PRIx64 ":", i ? "\n" : "", address);
		if (!read_unit(human, read, address, format.size, &value)) {
			fprintf(human->out, " Cannot access memory");
			break;
		}
		print_unit(human->out, &format, value);
	}
	fputc('\n', human->out);
}

void human_x(struct human *human, const char *words)
{
	show(human, words, read_linear);
}

void human_xp(struct human *human, const char *words)
{
	show(human, words, read_physical);
}

/* --- the page tables --- */

#define MOST_PAGES 20000 /* that are looked at: a guest can map one page any number of times */

#define ENTRY_PRESENT  BIT(0)
#define ENTRY_WRITABLE BIT(1)
#define ENTRY_USER     BIT(2)
#define ENTRY_ACCESSED BIT(5)
#define ENTRY_DIRTY    BIT(6)
#define ENTRY_LARGE    BIT(7)
#define ENTRY_GLOBAL   BIT(8)
#define ENTRY_NX       BIT(63)
#define ENTRY_ADDRESS  UINT64_C(0x000ffffffffff000)

/* A way of paging: how many levels there are, and bits of the address that each takes. */
struct walk {
	struct human *human;
	unsigned entry_size;
	unsigned top;        /* the bits of an address that the first level has to choose from */
	unsigned index_bits; /* of the others */
	unsigned left;       /* pages that may still be looked at */
	void (*page)(struct walk *walk, uint64_t linear, uint64_t entry, uint64_t size);
	/* human_mem()'s: the range that goes on */
	uint64_t start, end, rights;
};

static void walk_table(struct walk *walk, uint64_t table, uint64_t linear, unsigned top,
	unsigned bits, uint64_t rights)
{
	unsigned shift = top - bits;

	for (uint64_t i = 0; i < BIT(bits) && walk->left; i++) {
		uint64_t entry, at = linear | i << shift, both;
		bool leaf;

		if (!read_unit(walk->human, read_physical, table + i * walk->entry_size,
			    walk->entry_size, &entry) ||
			!(entry & ENTRY_PRESENT))
			continue;
		walk->left--;
		if (top == 48 || top == 57) /* its upper half is at the upper end */
			at = (uint64_t)((int64_t)(at << (64 - top)) >> (64 - top));
		both = (entry & ~(ENTRY_WRITABLE | ENTRY_USER)) |
		       (entry & rights & (ENTRY_WRITABLE | ENTRY_USER));
		leaf = shift == PAGE_SHIFT || ((entry & ENTRY_LARGE) && shift <= 30);
		if (leaf)
			walk->page(walk, at, both, BIT(shift));
		else
			walk_table(walk, entry & ENTRY_ADDRESS, at, shift, walk->index_bits,
				/* PAE's first level has no rights. */
				walk->top == 32 && bits == 2 ? rights : both);
	}
}

/* False: paging is off. */
static bool walk_all(struct walk *walk)
{
	struct cpu *cpu = walk->human->cpu;
	struct cpu_state state;
	unsigned first;

	walk->left = MOST_PAGES;
	if (!cpu)
		return false;
	cpu_get_state(cpu, &state);
	if (!(state.cr0 & CR0_PG))
		return false;
	walk->entry_size = state.cr4 & CR4_PAE ? 8 : 4;
	walk->index_bits = state.cr4 & CR4_PAE ? 9 : 10;
	walk->top = !(state.efer & EFER_LMA) ? 32 : state.cr4 & CR4_LA57 ? 57 : 48;
	first = walk->top == 32 && walk->entry_size == 8 ? 2 : walk->index_bits;
	walk_table(walk, state.cr3 & (first == 2 ? ~UINT64_C(0x1f) : ENTRY_ADDRESS), 0, walk->top,
		first, ENTRY_WRITABLE | ENTRY_USER);
	return true;
}

static void print_end(struct walk *walk, bool paging)
{
	if (!paging)
		fprintf(walk->human->out, "PG disabled\n");
	else if (!walk->left)
		fprintf(walk->human->out, "(there is more)\n");
}

static void print_page(struct walk *walk, uint64_t linear, uint64_t entry, uint64_t size)
{
	fprintf(walk->human->out, "%016" PRIx64 ": %016" PRIx64 " %c%c%c%c%c%c%c\n", linear,
		entry & ENTRY_ADDRESS & ~(size - 1), entry & ENTRY_NX ? 'X' : '-',
		entry & ENTRY_GLOBAL ? 'G' : '-', size > PAGE_SIZE ? 'P' : '-',
		entry & ENTRY_DIRTY ? 'D' : '-', entry & ENTRY_ACCESSED ? 'A' : '-',
		entry & ENTRY_USER ? 'U' : '-', entry & ENTRY_WRITABLE ? 'W' : '-');
}

void human_tlb(struct human *human, const char *words)
{
	struct walk walk = {.human = human, .page = print_page};

	print_end(&walk, walk_all(&walk));
}

static void print_range(struct walk *walk)
{
	if (walk->end != walk->start)
		fprintf(walk->human->out, "%016" PRIx64 "-%016" PRIx64 " %016" PRIx64 " %cr%c\n",
			walk->start, walk->end, walk->end - walk->start,
			walk->rights & ENTRY_USER ? 'u' : '-',
			walk->rights & ENTRY_WRITABLE ? 'w' : '-');
}

static void join_page(struct walk *walk, uint64_t linear, uint64_t entry, uint64_t size)
{
	uint64_t rights = entry & (ENTRY_USER | ENTRY_WRITABLE);

	if (linear != walk->end || rights != walk->rights) {
		print_range(walk);
		walk->start = linear;
		walk->rights = rights;
	}
	walk->end = linear + size;
}

void human_mem(struct human *human, const char *words)
{
	struct walk walk = {.human = human, .page = join_page};
	bool paging = walk_all(&walk);

	print_range(&walk);
	print_end(&walk, paging);
}

/* --- what is where --- */

static void print_space(FILE *out, const char *name, const struct io_space *space, int digits)
{
	fprintf(out, "%s\n", name);
	for (unsigned i = 0; i < space->count; i++) {
		const struct io_region *region = &space->regions[i];

		fprintf(out, "  %0*" PRIx64 "-%0*" PRIx64 ": %s\n", digits, region->start, digits,
			region->start + region->size - 1, region->name);
	}
}

void human_mtree(struct human *human, const char *words)
{
	static const char *const kinds[] = {
		[MEMORY_RAM] = "ram", [MEMORY_ROM] = "rom", [MEMORY_HOLE] = "hole"};
	const struct memory *memory = &human->machine->memory;

	fprintf(human->out, "memory\n");
	for (unsigned i = 0; i < memory->region_count; i++) {
		const struct memory_region *region = &memory->region[i];

		fprintf(human->out, "  %016" PRIx64 "-%016" PRIx64 " (%s): %s\n", region->gpa,
			region->gpa + region->size - 1, kinds[region->kind],
			region->name ? region->name : "");
	}
	print_space(human->out, "registers in memory", &memory->mmio, 16);
	print_space(human->out, "I/O ports", &human->machine->ports, 4);
}
