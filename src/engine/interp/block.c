/* The cache of decoded blocks: finding, decoding, and forgetting them.
 *
 * Three steps find a block for a RIP. JUMP_TO (interp.h) looks in the jump cache; block_find()
 * translates RIP as an instruction fetch and looks in a hash by RAM address; block_decode() makes
 * a new one. Blocks are carved from one arena per vCPU and never freed singly: a block whose code
 * was written is simply not found any more, and when the arena is full everything is dropped. */
#include "engine/options.h"
#include "engine/interp/ops.h"
#include "cpu/debugger.h"
#include "cpu/tlb.h"
#include "cpu/transfer.h"

#include <string.h>

#define HASH_BITS 16

static unsigned hash_of(uint64_t key, unsigned mode)
{
	return hash_slot(key ^ (uint64_t)mode << 56, HASH_BITS);
}

size_t block_hash_bytes(void)
{
	return sizeof(struct block *) << HASH_BITS;
}

void interp_drop_blocks(struct cpu *cpu)
{
	struct interp *interp = interp_of(cpu);

	memset(interp->hash, 0, block_hash_bytes());
	interp->arena_used = 0;
	interp->hot = NULL;
	interp->drops++;
	interp->serial++;
	interp->global_serial++;
	interp_context_changed(cpu);
}

/* What the jump cache holds depends on the address space, the privilege (which pages may be
 * executed) and the decode mode. Called whenever one of them changes. */
void interp_context_changed(struct cpu *cpu)
{
	struct interp *interp = interp_of(cpu);
	unsigned bits = cpu_code_bits(cpu);
	unsigned mode = bits == 64 ? MODE_CODE_64 : bits == 32 ? MODE_CODE_32 : 0;
	uint64_t low;

	if (bits != 64) {
		if (cpu_stack_bits(cpu) == 32)
			mode |= MODE_STACK_32;
		/* CS has a base and a limit here: equal RIPs may be different code. */
		interp->serial++;
		interp->global_serial++;
	}
	if (bits == 64 || cpu->segment[SEG_CS].limit == UINT32_MAX)
		mode |= MODE_FLAT_CODE;
	interp->mode = (uint16_t)mode;
	interp->rip_mask = bits == 64 ? ~UINT64_C(0) : UINT32_MAX;
	low = (cpu->cpl == 3 ? 0x80 : 0) | mode;
	interp->context_local = interp->serial << 9 | low;
	interp->context_global = interp->global_serial << 9 | 0x100 | low;
	if (interp->single)
		interp->context_local = interp->context_global = ~UINT64_C(0);
}

static void drop_jump_page(struct interp *interp, uint64_t linear)
{
	struct jump_slot *slot =
		&interp->jump[((linear >> PAGE_SHIFT) & (JUMP_PAGES - 1)) * JUMP_SLOTS];

	for (unsigned i = 0; i < JUMP_SLOTS; i++)
		slot[i].context = 0;
}

void interp_tlb_flushed(struct cpu *cpu, const struct tlb_request *request)
{
	struct interp *interp = interp_of(cpu);
	enum tlb_flush what = request->what;

	if (what == TLB_FLUSH_PCID || what == TLB_FLUSH_KEYS)
		return;
	if (what == TLB_FLUSH_PAGE && (interp->mode & MODE_CODE_64)) {
		drop_jump_page(interp, request->linear);
		return;
	}
	interp->serial++;
	if (what != TLB_FLUSH_NON_GLOBAL && what != TLB_FLUSH_SPACE_KEPT)
		interp->global_serial++;
	interp_context_changed(cpu);
}

/* Where code is read from: RAM from one address to its page's end. */
struct source {
	const uint8_t *host;
	uint64_t offset;    /* RAM offset */
	unsigned available; /* bytes to the page's end */
};

/* Code outside RAM reads as an idle bus, all ones, and that is not an instruction. */
static void fetch_source(struct cpu *cpu, uint64_t linear, struct source *out)
{
	out->host = access_fetch(cpu, linear);
	if (!out->host)
		cpu_raise(cpu, VECTOR_UD);
	out->available = (unsigned)(PAGE_SIZE - (linear & ~PAGE_MASK));
	out->offset = (uint64_t)(out->host - cpu->memory->ram);
}

static uint64_t next_page(const struct interp *interp, uint64_t linear)
{
	linear = (linear | ~PAGE_MASK) + 1;
	return interp->mode & MODE_CODE_64 ? linear : (uint32_t)linear;
}

static struct block *arena_take(struct cpu *cpu, size_t bytes)
{
	struct interp *interp = interp_of(cpu);

	if (interp->arena_used + bytes > interp->arena_limit) {
		interp->arena_limit = MIN(2 * interp->arena_limit, interp->arena_size);
		interp_drop_blocks(cpu);
	}
	return (struct block *)(interp->arena + interp->arena_used);
}

/* `insn` is the first one that stands for a guest instruction. */
static void finish_block(struct cpu *cpu, struct block *block, struct insn *insn, unsigned count,
	const uint8_t *code, unsigned bytes)
{
	struct interp *interp = interp_of(cpu);
	struct insn *after = insn + count;

	block->count = (uint16_t)count;
	block->bytes = (uint16_t)bytes;
	block->accesses = 0;
	for (unsigned i = 0; i < count; i++) {
		insn[i].remaining = (uint8_t)(count - 1 - i);
		block->accesses += !!(insn[i].attributes & (INSN_MEMORY | INSN_STACK));
	}
	*after = (struct insn){
		.run = block->mode & MODE_SINGLE    ? op_leave
		       : after[-1].next < PAGE_SIZE ? op_block_end
						    : op_page_end,
		.imm = after[-1].next,
		.next = after[-1].next,
	};
	interp->arena_used += (size_t)((uint8_t *)(after + 1) - (uint8_t *)block);
	if (code) {
		block->code = memcpy(interp->arena + interp->arena_used, code, bytes);
		interp->arena_used += bytes;
	}
	interp->arena_used = ALIGN_UP(interp->arena_used, 16);
	cpu->stats.blocks_decoded++;
}

/* A single instruction whose bytes may run into the next page. It is decoded from a copy that is
 * made after both pages are tracked. Where its first bytes alone make an instruction the second
 * page is left alone: fetching it may fault. */
static void decode_straddling(
	struct cpu *cpu, struct block *block, const struct source *first, uint64_t linear)
{
	uint8_t bytes[15];
	unsigned head = MIN(first->available, (unsigned)sizeof(bytes));
	struct source second;
	struct decoded ignored;

	fetch_source(cpu, next_page(interp_of(cpu), linear), &second);
	block->key2 = second.offset & PAGE_MASK;
	block->generation_now2 = &cpu->memory->code_generation[second.offset >> PAGE_SHIFT];
	block->generation2 = memory_code_track(
		cpu->memory, second.offset >> PAGE_SHIFT, 0, (unsigned)sizeof(bytes) - head);
	memcpy(bytes, first->host, head);
	memcpy(bytes + head, second.host, sizeof(bytes) - head);
	decode_instruction(cpu, block->mode, bytes, sizeof(bytes), (unsigned)(linear & ~PAGE_MASK),
		&block->insn[0], &ignored);
	finish_block(cpu, block, block->insn, 1, NULL, block->insn[0].length);
}

/* A compare and the branch on it become one handler; the branch's own insn stays, for its target.
 */
static void fuse_branches(struct insn *insn, unsigned count)
{
	for (unsigned i = 0; i + 1 < count; i++) {
		op_fn *fused = branch_fuse(insn[i].run, insn[i + 1].run);

		if (fused)
			insn[i].run = fused;
	}
}

/* From the block's end, since what matters is what comes after. */
static void drop_dead_flags(struct insn *insn, const struct decoded *decoded, unsigned count)
{
	bool dead = false;

	while (count--) {
		const struct decoded *this = &decoded[count];

		if (dead && this->quiet)
			insn[count].run = this->quiet;
		dead = this->plain && (dead || this->sets_all_flags);
	}
}

/* --- heat --- */

/* May a translator want this block? Then it begins with op_heat. Returns the insn after that. */
static struct insn *begin_with_heat(const struct cpu *cpu, struct block *block)
{
	if (!interp_of(cpu)->translated || (block->mode & MODE_SINGLE) ||
		!(block->mode & (MODE_CODE_64 | MODE_CODE_32)))
		return block->insn;
	block->insn[0] = (struct insn){
		.run = op_heat,
		.imm = interp_of(cpu)->first_heat,
		.next = (uint16_t)(block->key & ~PAGE_MASK),
	};
	return block->insn + 1;
}

OP(op_heat)
{
	struct interp *interp = interp_of(cpu);
	struct block *block;

	if (likely(in->imm)) {
		((struct insn *)in)->imm--;
		NEXT;
	}
	block = (struct block *)((uint8_t *)in - offsetof(struct block, insn));
	cpu->stats.instructions -= block->count;
	cpu->stats.accesses -= block->accesses;
	cpu->stats.blocks--;
	cpu->rip = cpu->next_rip = cpu->code_base + in->next;
	interp->hot = block;
	interp->hot_rip = cpu->rip;
	return NULL;
}

struct block *interp_hot(const struct cpu *cpu)
{
	const struct interp *interp = interp_of(cpu);

	return interp->hot_rip == cpu->rip ? interp->hot : NULL;
}

void interp_set_heat(struct block *block, unsigned count)
{
	if (block->insn[0].run == op_heat)
		block->insn[0].imm = count;
}

#define DECODE_WINDOW 512 /* most bytes of code in one block */

/* Decode from a copy, track the bytes used, then see that they have not changed meanwhile: how
 * long a block gets is only known afterwards, and tracking too much would make data that shares a
 * page with code expensive to write. False: they changed, or nothing fits in the page. */
static bool decode_run(struct cpu *cpu, struct block *block, const struct source *source)
{
	unsigned limit = block->mode & MODE_SINGLE ? 1 : BLOCK_MAX;
	unsigned start = (unsigned)(source->offset & ~PAGE_MASK);
	unsigned window = MIN(source->available, DECODE_WINDOW), count = 0, done = 0;
	uint64_t page = source->offset >> PAGE_SHIFT;
	uint8_t copy[DECODE_WINDOW];
	struct decoded decoded[BLOCK_MAX];
	struct insn *insn = begin_with_heat(cpu, block);
	bool ends = false;

	memcpy(copy, source->host, window);
	while (count < limit && !ends && done < window) {
		unsigned length = decode_instruction(cpu, block->mode, copy + done,
			MIN(window - done, 15), start + done, &insn[count], &decoded[count]);

		if (!length)
			break;
		ends = decoded[count].ends;
		done += length;
		count++;
	}
	if (!count)
		return false;
	block->generation = block->generation2 = memory_code_track(cpu->memory, page, start, done);
	if (memcmp(copy, source->host, done) != 0)
		return decode_run(cpu, block, source);
	drop_dead_flags(insn, decoded, count);
	fuse_branches(insn, count);
	finish_block(cpu, block, insn, count, copy, done);
	return true;
}

static struct block *block_decode(
	struct cpu *cpu, const struct source *source, uint64_t linear, unsigned mode)
{
	uint64_t page = source->offset >> PAGE_SHIFT;
	struct block *block = arena_take(cpu,
		sizeof(struct block) + (BLOCK_MAX + 2) * sizeof(struct insn) + DECODE_WINDOW + 16);

	block->key = source->offset;
	block->key2 = ~UINT64_C(0);
	block->code = NULL;
	block->mode = (uint16_t)mode;
	block->generation_now = block->generation_now2 = &cpu->memory->code_generation[page];
	if (!decode_run(cpu, block, source)) {
		block->generation = memory_code_track(cpu->memory, page,
			(unsigned)(source->offset & ~PAGE_MASK), source->available);
		decode_straddling(cpu, block, source, linear);
	}
	return block;
}

/* A straddling instruction's second half may be mapped elsewhere by now, or rewritten. */
static bool second_page_fresh(struct cpu *cpu, const struct block *block, uint64_t linear)
{
	struct source second;

	if (block->key2 == ~UINT64_C(0))
		return true;
	fetch_source(cpu, next_page(interp_of(cpu), linear), &second);
	return second.offset == block->key2 &&
	       atomic_load(block->generation_now2) == block->generation2;
}

/* The page was written, but these bytes may not have changed: data shares a line with code, or a
 * program generates the same code again. */
static bool revalidate(struct cpu *cpu, struct block *block, const struct source *source)
{
	uint32_t generation;

	if (!block->code || block->bytes > source->available)
		return false;
	generation = memory_code_track(cpu->memory, source->offset >> PAGE_SHIFT,
		(unsigned)(source->offset & ~PAGE_MASK), block->bytes);
	if (memcmp(block->code, source->host, block->bytes) != 0)
		return false;
	block->generation = block->generation2 = generation;
	return true;
}

/* Look for a block in its hash chain. A block whose code has changed is taken out of the chain:
 * code that is written again and again would otherwise make the chain longer and longer. */
static struct block *chain_find(struct cpu *cpu, struct block **link, const struct source *source,
	uint64_t linear, unsigned mode)
{
	struct block *block;

	while ((block = *link)) {
		if (block->key != source->offset || block->mode != mode) {
			link = &block->hash_next;
			continue;
		}
		if ((block_fresh(block) || revalidate(cpu, block, source)) &&
			second_page_fresh(cpu, block, linear))
			return block;
		*link = block->hash_next;
	}
	return NULL;
}

/* How far a relative branch leads from anywhere in a page. */
#define BRANCH_REACH ((UINT64_C(1) << 31) + 2 * PAGE_SIZE)

/* Relative branches are not checked where they cannot go wrong: in a code segment of 4 GiB, and in
 * 64-bit code far from addresses that are not canonical. */
static bool needs_checked_branches(const struct cpu *cpu, uint64_t linear, unsigned mode)
{
	if (mode & MODE_CODE_64)
		return !cpu_canonical(cpu, linear - BRANCH_REACH) ||
		       !cpu_canonical(cpu, linear + BRANCH_REACH);
	return !(mode & MODE_FLAT_CODE);
}

/* The block at a linear address; decodes it where there is none. */
static struct block *block_at(struct cpu *cpu, uint64_t linear, unsigned mode)
{
	struct interp *interp = interp_of(cpu);
	struct source source;
	struct block *block;
	unsigned slot;

	if (needs_checked_branches(cpu, linear, mode))
		mode |= MODE_CHECKED_BRANCHES;
	fetch_source(cpu, linear, &source);
	slot = hash_of(source.offset, mode);
	block = chain_find(cpu, &interp->hash[slot], &source, linear, mode);
	if (block)
		return block;
	block = block_decode(cpu, &source, linear, mode);
	block->hash_next = interp->hash[slot];
	interp->hash[slot] = block;
	return block;
}

/* Outside 64-bit mode every byte of code must lie within CS's limit. */
static bool within_limit(const struct cpu *cpu, const struct block *block, uint64_t rip)
{
	return (block->mode & MODE_FLAT_CODE) ||
	       rip + block->bytes - 1 <= cpu->segment[SEG_CS].limit;
}

/* Make cpu->code_base right for a block entered at `rip`. */
static void enter_page(struct cpu *cpu, const struct block *block, uint64_t rip)
{
	cpu->code_base = rip - (block->key & ~PAGE_MASK);
}

static uint64_t linear_of(const struct cpu *cpu, uint64_t rip)
{
	return interp_of(cpu)->mode & MODE_CODE_64 ? rip
						   : (uint32_t)(cpu->segment_base[SEG_CS] + rip);
}

struct block *block_find_single(struct cpu *cpu, uint64_t rip)
{
	struct block *block =
		block_at(cpu, linear_of(cpu, rip), interp_of(cpu)->mode | MODE_SINGLE);

	if (!within_limit(cpu, block, rip))
		cpu_raise_error(cpu, VECTOR_GP, 0);
	enter_page(cpu, block, rip);
	return block;
}

struct block *block_find(struct cpu *cpu, uint64_t rip)
{
	struct interp *interp = interp_of(cpu);
	struct jump_slot *slot;
	struct block *block;
	uint64_t linear;

	rip &= interp->rip_mask;
	cpu->rip = cpu->next_rip = rip;
	interp->current = NULL;
	if (attention(cpu) || interp->single)
		return NULL;
	transfer_check_near(cpu, rip);
	linear = linear_of(cpu, rip);
	if (debugger_page_stops(cpu, linear))
		return NULL;
	block = block_at(cpu, linear, interp->mode);
	if (!within_limit(cpu, block, rip))
		return block_find_single(cpu, rip);
	enter_page(cpu, block, rip);
	if (block->key2 != ~UINT64_C(0))
		return block;
	slot = jump_slot(interp, rip);
	slot->rip = rip;
	slot->block = block;
	slot->context =
		tlb_fetched_globally(cpu, linear) ? interp->context_global : interp->context_local;
	return block;
}

const struct insn *jump_slow(struct cpu *cpu, uint64_t rip)
{
	struct block *block = block_find(cpu, rip);

	if (!block)
		return NULL;
	ENTER_BLOCK(block);
}

OP(branch_slow)
{
	struct interp *interp = interp_of(cpu);
	uint64_t drops = interp->drops, target = in->imm;
	struct block *block = block_find(cpu, cpu->code_base + target);

	if (!block)
		return NULL;
	/* The target is in the page that we run in, whose mapping is in use. Do not write to `in`
	 * where finding the block has emptied the arena, and `in` with it. */
	if (drops == interp->drops && (block->mode & MODE_FLAT_CODE) &&
		!(block->mode & MODE_SINGLE) && block->key2 == ~UINT64_C(0))
		((struct insn *)in)->link = block;
	ENTER_BLOCK(block);
}
