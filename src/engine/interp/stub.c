/* The cache of stubs: from an instruction's bytes to its native code.
 *
 * The key is the instruction with everything taken out that a stub does not depend on: segment and
 * address-size prefixes, base, index and displacement. So `add xmm0, [rax+8]` and `add xmm0,
 * gs:[rbx*4]` are one stub, and a whole operating system makes a few thousand.
 *
 * Code memory is a memfd mapped twice, writable here and executable there, so that no mapping is
 * both writable and executable, and no protection has to be switched (mprotect costs a microsecond
 * and a TLB shootdown). The vCPU's thread writes a stub before it first calls it, on the same
 * processor or after a context switch, which serializes. */
#include "base/log.h"
#include "engine/interp/stub_internal.h"
#include "isa/register.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define CODE_ALIGNMENT 16
#define KEY_SIZE       16

struct entry {
	uint64_t key[2];
	struct stub stub;
	struct native_elements elements;
};

struct stub_cache {
	struct cpu *cpu;
	size_t limit, used; /* bytes of code */
	uint8_t *writable, *executable;
	struct entry *entries;
	uint32_t *table; /* open addressing; index into entries + 1, 0: free */
	uint32_t entry_limit, entry_count, table_mask;
};

/* --- creation --- */

/* Zeroed memory that costs nothing until it is touched. */
static void *map_lazily(size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return memory == MAP_FAILED ? NULL : memory;
}

static int map_code(struct stub_cache *cache)
{
	int fd = memfd_create("veneer-stubs", MFD_CLOEXEC);
	void *writable, *executable;

	if (fd < 0 || ftruncate(fd, (off_t)cache->limit) < 0) {
		if (fd >= 0)
			close(fd);
		return -errno;
	}
	writable = mmap(NULL, cache->limit, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	executable = mmap(NULL, cache->limit, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
	close(fd);
	cache->writable = writable == MAP_FAILED ? NULL : writable;
	cache->executable = executable == MAP_FAILED ? NULL : executable;
	return cache->writable && cache->executable ? 0 : -ENOMEM;
}

static void unmap(void *memory, size_t size)
{
	if (memory)
		munmap(memory, size);
}

struct stub_cache *stub_cache_create(struct cpu *cpu, size_t limit)
{
	struct stub_cache *cache = calloc(1, sizeof(*cache));
	uint32_t slots = 16;

	if (!cache)
		return NULL;
	cache->cpu = cpu;
	cache->limit = ALIGN_UP(MAX(limit, 16 * STUB_CODE_MAX), PAGE_SIZE);
	cache->entry_limit = (uint32_t)(cache->limit / 64);
	while (slots < 2 * cache->entry_limit)
		slots *= 2;
	cache->table_mask = slots - 1;
	cache->entries = map_lazily(cache->entry_limit * sizeof(struct entry));
	cache->table = map_lazily(slots * sizeof(uint32_t));
	if (!cache->entries || !cache->table || map_code(cache) < 0) {
		log_error("no memory for generated code: %zu KiB of executable memory are needed",
			cache->limit / 1024);
		stub_cache_destroy(cache);
		return NULL;
	}
	cpu->native_start = (uintptr_t)cache->executable;
	cpu->native_end = (uintptr_t)cache->executable + cache->limit;
	return cache;
}

void stub_cache_destroy(struct stub_cache *cache)
{
	if (!cache)
		return;
	cache->cpu->native_start = cache->cpu->native_end = 0;
	unmap(cache->entries, cache->entry_limit * sizeof(struct entry));
	unmap(cache->table, (cache->table_mask + 1) * sizeof(uint32_t));
	unmap(cache->writable, cache->limit);
	unmap(cache->executable, cache->limit);
	free(cache);
}

void stub_cache_reset(struct stub_cache *cache)
{
	cache->used = 0;
	cache->entry_count = 0;
	memset(cache->table, 0, (cache->table_mask + 1) * sizeof(uint32_t));
}

/* --- keys --- */

struct key {
	uint8_t bytes[KEY_SIZE];
	unsigned used;
};

static void add(struct key *key, unsigned value)
{
	if (key->used < KEY_SIZE)
		key->bytes[key->used++] = (uint8_t)value;
}

/* The prefixes that matter, in a fixed order; of F2 and F3 the last counts. */
static unsigned prefix_bits(const ZydisDecodedInstruction *in)
{
	unsigned bits = 0;

	for (unsigned i = 0; i < in->raw.prefix_count; i++) {
		switch (in->raw.prefixes[i].value) {
		case 0x66:
			bits |= 1;
			break;
		case 0xf0:
			bits |= 2;
			break;
		case 0xf2:
			bits = (bits & ~12u) | 4;
			break;
		case 0xf3:
			bits = (bits & ~12u) | 8;
			break;
		}
	}
	return bits;
}

/* REX without any bit set still makes AH to BH into SPL to DIL. */
static unsigned rex_bits(const ZydisDecodedInstruction *in, const ZydisDecodedOperand *operands,
	unsigned rex, bool memory)
{
	if (memory)
		rex &= 0xfc;
	for (unsigned i = 0; i < in->operand_count; i++) {
		if (operands[i].type == ZYDIS_OPERAND_TYPE_REGISTER &&
			isa_register_class(operands[i].reg.value) == ZYDIS_REGCLASS_GPR8)
			return rex;
	}
	return rex == 0x40 ? 0 : rex;
}

/* REX, VEX or EVEX. Register extensions of base and index do not count where there is a memory
 * operand; the fields are inverted in VEX and EVEX, but any fixed value will do. */
static void add_encoding(struct key *key, const ZydisDecodedInstruction *in,
	const ZydisDecodedOperand *operands, const uint8_t *bytes, bool memory)
{
	const uint8_t *from;

	switch (in->encoding) {
	case ZYDIS_INSTRUCTION_ENCODING_VEX:
		from = bytes + in->raw.vex.offset;
		add(key, from[0]);
		if (from[0] == 0xc4) {
			add(key, memory ? from[1] | 0x60 : from[1]);
			from++;
		}
		add(key, from[1]);
		break;
	case ZYDIS_INSTRUCTION_ENCODING_EVEX:
		from = bytes + in->raw.evex.offset;
		add(key, memory ? from[1] | 0x60 : from[1]);
		add(key, from[2]);
		add(key, from[3]);
		break;
	default:
		if (in->attributes & ZYDIS_ATTRIB_HAS_REX)
			add(key, rex_bits(in, operands, bytes[in->raw.rex.offset], memory));
		else
			add(key, 0);
	}
}

/* Masked and gathered operands check addresses themselves: they know their segment, and a gather
 * its index register and address size. */
static void add_address(struct key *key, const ZydisDecodedInstruction *in,
	const ZydisDecodedOperand *operands, const uint8_t *bytes)
{
	for (unsigned i = 0; i < in->operand_count; i++) {
		if (operands[i].type != ZYDIS_OPERAND_TYPE_MEMORY)
			continue;
		add(key, (unsigned)operands[i].mem.segment);
		if (operands[i].mem.type != ZYDIS_MEMOP_TYPE_VSIB)
			continue;
		add(key, in->address_width);
		add(key, (unsigned)operands[i].mem.index);
		add(key, operands[i].mem.scale);
	}
}

static void make_key(const ZydisDecodedInstruction *in, const ZydisDecodedOperand *operands,
	const uint8_t *bytes, uint64_t out[2])
{
	bool modrm = in->attributes & ZYDIS_ATTRIB_HAS_MODRM;
	bool memory = modrm && in->raw.modrm.mod != 3;
	bool x87 = in->opcode_map == ZYDIS_OPCODE_MAP_DEFAULT && in->opcode >= 0xd8 &&
		   in->opcode <= 0xdf;
	struct key key = {{0}, 0};

	/* Every part has its place, so that no two instructions can run into each other. */
	add(&key, in->machine_mode << 4 | (unsigned)in->encoding);
	add(&key, prefix_bits(in) << 4 | (unsigned)in->opcode_map);
	add_encoding(&key, in, operands, bytes, memory);
	add(&key, in->opcode);
	if (modrm) {
		/* x87 instructions record their ModRM byte (FOP). */
		uint8_t value = bytes[in->raw.modrm.offset];

		add(&key, memory && !x87 ? value & 0x38 : value);
	}
	for (unsigned i = 0; i < 2; i++) {
		for (unsigned at = 0; at < in->raw.imm[i].size / 8u; at++)
			add(&key, bytes[in->raw.imm[i].offset + at]);
	}
	if (memory && in->encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY)
		add_address(&key, in, operands, bytes);
	memcpy(out, key.bytes, KEY_SIZE);
}

static uint32_t hash(const uint64_t key[2])
{
	uint64_t mixed = (key[0] ^ (key[1] << 32 | key[1] >> 32)) * HASH_MULTIPLIER;

	return (uint32_t)((mixed ^ (key[1] * UINT64_C(0xc2b2ae3d27d4eb4f))) >> 32);
}

/* --- look-up --- */

static const struct stub *make_stub(struct stub_cache *cache, struct entry *entry,
	const ZydisDecodedInstruction *in, const ZydisDecodedOperand *operands,
	const uint8_t *bytes)
{
	struct stub *stub = &entry->stub;
	struct native native;
	unsigned size;

	if (!native_select(cache->cpu->model, in, operands, bytes, &native))
		return NULL;
	entry->elements = native.elements;
	*stub = (struct stub){.rules = native.rules,
		.tag_offset = native.rules.memory == NATIVE_READ ||
					      native.rules.memory == NATIVE_MASKED_READ
				      ? offsetof(struct tlb_entry, read)
				      : offsetof(struct tlb_entry, write),
		.elements = native.rules.memory >= NATIVE_GATHER ? &entry->elements : NULL};
	if (native.emulated) {
		stub->code = stub_routine(in);
		return stub;
	}
	size = stub_emit(&native, cache->writable + cache->used);
	if (!size)
		return NULL;
	stub->code = (stub_code *)(uintptr_t)(cache->executable + cache->used);
	cache->used += ALIGN_UP(size, CODE_ALIGNMENT);
	return stub;
}

const struct stub *stub_get(struct stub_cache *cache, const ZydisDecodedInstruction *in,
	const ZydisDecodedOperand *operands, const uint8_t *bytes)
{
	const struct stub *stub;
	struct entry *entry;
	uint64_t key[2];
	uint32_t slot;

	make_key(in, operands, bytes, key);
	for (slot = hash(key) & cache->table_mask; cache->table[slot];
		slot = (slot + 1) & cache->table_mask) {
		entry = &cache->entries[cache->table[slot] - 1];
		if (entry->key[0] == key[0] && entry->key[1] == key[1])
			return &entry->stub;
	}
	if (cache->used + STUB_CODE_MAX > cache->limit || cache->entry_count == cache->entry_limit)
		return STUB_FULL;
	entry = &cache->entries[cache->entry_count];
	stub = make_stub(cache, entry, in, operands, bytes);
	if (stub) {
		memcpy(entry->key, key, sizeof(key));
		cache->table[slot] = ++cache->entry_count;
		cache->cpu->stats.stubs++;
	}
	return stub;
}
