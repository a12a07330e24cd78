/* The cache of stubs: from an instruction's bytes to its native code.
 *
 * The key is the instruction with everything taken out that a stub does not depend on: segment and
 * address-size prefixes, base, index and displacement. So `add xmm0, [rax+8]` and `add xmm0, gs:[rbx*4]`
 * are one stub, and a whole operating system makes a few thousand.
 *
 * Code memory is a memfd mapped twice, writable here and executable there, so that no page is ever both
 * to the processor's eyes and nothing has to be switched (mprotect costs a microsecond and a TLB
 * shootdown). The vCPU's thread writes a stub before it first calls it, on the same processor or after
 * a context switch, which serializes. */
#include "base/log.h"
#include "engine/interp/stub_internal.h"

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
	struct stub_elements elements;
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
	cpu->fpu.native_start = (uintptr_t)cache->executable;
	cpu->fpu.native_end = (uintptr_t)cache->executable + cache->limit;
	return cache;
}

void stub_cache_destroy(struct stub_cache *cache)
{
	if (!cache)
		return;
	cache->cpu->fpu.native_start = cache->cpu->fpu.native_end = 0;
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

static bool is_address_prefix(uint8_t value)
{
	return value == 0x67 || value == 0x26 || value == 0x2e || value == 0x36 || value == 0x3e ||
	       value == 0x64 || value == 0x65;
}

static unsigned copy_key(uint8_t *key, unsigned used, const uint8_t *from, unsigned size)
{
	memcpy(key + used, from, MIN(size, KEY_SIZE - used));
	return MIN(used + size, KEY_SIZE);
}

/* Register extensions of base and index do not count where there is a memory operand. The fields
 * are inverted in VEX and EVEX, but any fixed value will do. */
static unsigned copy_vex_key(uint8_t *key, unsigned used, const ZydisDecodedInstruction *in,
	const uint8_t *bytes, bool memory)
{
	unsigned start = in->encoding == ZYDIS_INSTRUCTION_ENCODING_VEX ? in->raw.vex.offset
									: in->raw.evex.offset;
	unsigned at = used;

	used = copy_key(key, used, bytes + start, in->raw.modrm.offset - start);
	if (memory && key[at] != 0xc5)
		key[at + 1] |= 0x60;
	return used;
}

/* A gather's stub holds its index register, segment, and address size. */
static unsigned copy_indexed_key(uint8_t *key, unsigned used, const ZydisDecodedInstruction *in,
	const ZydisDecodedOperand *operands, const uint8_t *bytes)
{
	for (unsigned i = 0; i < in->operand_count; i++) {
		if (operands[i].type == ZYDIS_OPERAND_TYPE_MEMORY)
			key[used++] = (uint8_t)operands[i].mem.segment;
	}
	key[used++] = in->address_width;
	/* The extension bits, which copy_vex_key() took out: one of them is the index's. */
	key[used++] = bytes[(in->encoding == ZYDIS_INSTRUCTION_ENCODING_VEX
				    ? in->raw.vex.offset : in->raw.evex.offset) + 1];
	return copy_key(key, used, bytes + in->raw.modrm.offset, 2);
}

static void make_key(const ZydisDecodedInstruction *in, const ZydisDecodedOperand *operands,
	const uint8_t *bytes, uint64_t out[2])
{
	bool modrm = in->attributes & ZYDIS_ATTRIB_HAS_MODRM;
	bool memory = modrm && in->raw.modrm.mod != 3;
	bool x87 = in->opcode_map == ZYDIS_OPCODE_MAP_DEFAULT && in->opcode >= 0xd8 &&
		   in->opcode <= 0xdf;
	uint8_t key[KEY_SIZE + 8] = { 0 };
	unsigned used = 0;

	key[used++] = (uint8_t)(in->machine_mode << 4 | in->length);
	if (memory) /* the length tells nothing then */
		key[0] &= 0xf0;
	for (unsigned i = 0; i < in->raw.prefix_count; i++) {
		uint8_t value = in->raw.prefixes[i].value;

		if (is_address_prefix(value))
			continue;
		if (in->encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY && memory &&
			(in->attributes & ZYDIS_ATTRIB_HAS_REX) && i == in->raw.rex.offset)
			value &= 0xfc;
		key[used++] = value;
		used = MIN(used, KEY_SIZE);
	}
	if (in->encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY) {
		/* One byte for the map: so the key is never longer than the instruction and the mode. */
		if (in->opcode_map != ZYDIS_OPCODE_MAP_DEFAULT)
			used = copy_key(key, used, (uint8_t[]){ 0xf0 | in->opcode_map }, 1);
		used = copy_key(key, used, &in->opcode, 1);
	} else {
		used = copy_vex_key(key, used, in, bytes, memory);
	}
	if (in->avx.vector_length && operands && memory && in->raw.modrm.rm == 4 &&
		(in->meta.category == ZYDIS_CATEGORY_GATHER ||
			in->meta.category == ZYDIS_CATEGORY_SCATTER ||
			in->meta.category == ZYDIS_CATEGORY_AVX2GATHER)) {
		used = copy_indexed_key(key, used, in, operands, bytes);
	} else if (modrm) {
		/* x87 instructions record their ModRM byte (FOP). */
		uint8_t value = bytes[in->raw.modrm.offset];

		used = copy_key(key, used, (uint8_t[]){ memory && !x87 ? value & 0x38 : value }, 1);
	}
	for (unsigned i = 0; i < 2; i++) {
		if (in->raw.imm[i].size)
			used = copy_key(key, used, bytes + in->raw.imm[i].offset,
				in->raw.imm[i].size / 8);
	}
	memcpy(out, key, KEY_SIZE);
}

static uint32_t hash(const uint64_t key[2])
{
	uint64_t mixed = (key[0] ^ (key[1] << 32 | key[1] >> 32)) * UINT64_C(0x9e3779b97f4a7c15);

	return (uint32_t)((mixed ^ (key[1] * UINT64_C(0xc2b2ae3d27d4eb4f))) >> 32);
}

/* --- look-up --- */

static const struct stub *make_stub(struct stub_cache *cache, struct entry *entry,
	const ZydisDecodedInstruction *in, const ZydisDecodedOperand *operands,
	const uint8_t *bytes)
{
	struct stub *stub = &entry->stub;
	struct stub_plan plan;
	stub_code *fixed = NULL;
	unsigned size;

	if (!stub_select(in, operands, bytes, stub, &plan, &entry->elements, &fixed))
		return NULL;
	stub->tag_offset = stub->memory == STUB_READ || stub->memory == STUB_MASKED_READ
				   ? offsetof(struct tlb_entry, read)
				   : offsetof(struct tlb_entry, write);
	if (stub->memory >= STUB_GATHER)
		stub->elements = &entry->elements;
	if (fixed) {
		stub->code = fixed;
		return stub;
	}
	size = stub_emit(&plan, cache->writable + cache->used);
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
	}
	return stub;
}
