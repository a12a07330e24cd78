/* One table says what there is: the description, and every access, go by it. */
#include "debug/registers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What is read and changed: a copy of the state, and what is not in it. */
struct values {
	struct cpu_state state;
	uint64_t cr8;
	bool code64;
};

enum feature {
	FEATURE_CORE,
	FEATURE_SSE,
	FEATURE_LINUX,
	FEATURE_SEGMENTS,
	FEATURE_AVX,
	FEATURE_AVX512,
	FEATURE_PKEYS,
	FEATURE_SYSTEM,
};

#define NO_CPUID 0

#define FLAG(name, bit) "<field name=\"" name "\" start=\"" #bit "\" end=\"" #bit "\"/>"

/* The types of GDB's own descriptions (GDB manual, "Predefined Target Types", "i386 Features"). */
#define TYPE_VEC128                                                                                \
	"<vector id=\"v4f\" type=\"ieee_single\" count=\"4\"/>"                                    \
	"<vector id=\"v2d\" type=\"ieee_double\" count=\"2\"/>"                                    \
	"<vector id=\"v16i8\" type=\"int8\" count=\"16\"/>"                                        \
	"<vector id=\"v8i16\" type=\"int16\" count=\"8\"/>"                                        \
	"<vector id=\"v4i32\" type=\"int32\" count=\"4\"/>"                                        \
	"<vector id=\"v2i64\" type=\"int64\" count=\"2\"/>"                                        \
	"<union id=\"vec128\">"                                                                    \
	"<field name=\"v4_float\" type=\"v4f\"/><field name=\"v2_double\" type=\"v2d\"/>"          \
	"<field name=\"v16_int8\" type=\"v16i8\"/><field name=\"v8_int16\" type=\"v8i16\"/>"       \
	"<field name=\"v4_int32\" type=\"v4i32\"/><field name=\"v2_int64\" type=\"v2i64\"/>"       \
	"<field name=\"uint128\" type=\"uint128\"/></union>"

static const struct feature_row {
	const char *name, *types;
	enum cpuid_feature needs; /* NO_CPUID: every processor has it */
	bool always;
} features[] = {
	[FEATURE_CORE] = {.name = "org.gnu.gdb.i386.core",
		.types = "<flags id=\"i386_eflags\" size=\"4\">" FLAG("CF", 0) FLAG("", 1)
			FLAG("PF", 2) FLAG("AF", 4) FLAG("ZF", 6) FLAG("SF", 7) FLAG("TF", 8)
				FLAG("IF", 9) FLAG("DF", 10) FLAG("OF", 11) FLAG("NT", 14)
					FLAG("RF", 16) FLAG("VM", 17) FLAG("AC", 18) FLAG("VIF", 19)
						FLAG("VIP", 20) FLAG("ID", 21) "</flags>",
		.always = true},
	[FEATURE_SSE] = {.name = "org.gnu.gdb.i386.sse",
		.types = TYPE_VEC128 "<flags id=\"i386_mxcsr\" size=\"4\">" FLAG("IE", 0)
			FLAG("DE", 1) FLAG("ZE", 2) FLAG("OE", 3) FLAG("UE", 4) FLAG("PE", 5) FLAG(
				"DAZ", 6) FLAG("IM", 7) FLAG("DM", 8) FLAG("ZM", 9) FLAG("OM", 10)
				FLAG("UM", 11) FLAG("PM", 12) FLAG("FZ", 15) "</flags>",
		.always = true},
	[FEATURE_LINUX] = {.name = "org.gnu.gdb.i386.linux", .types = "", .always = true},
	[FEATURE_SEGMENTS] = {.name = "org.gnu.gdb.i386.segments", .types = "", .always = true},
	[FEATURE_AVX] = {.name = "org.gnu.gdb.i386.avx", .types = "", .needs = CPUID_AVX},
	[FEATURE_AVX512] = {.name = "org.gnu.gdb.i386.avx512",
		.types = TYPE_VEC128 "<vector id=\"v2ui128\" type=\"uint128\" count=\"2\"/>",
		.needs = CPUID_AVX512F},
	[FEATURE_PKEYS] = {.name = "org.gnu.gdb.i386.pkeys", .types = "", .needs = CPUID_PKU},
	[FEATURE_SYSTEM] = {.name = "org.veneer.gdb.i386.system",
		.types = "<flags id=\"x64_cr0\" size=\"8\">" FLAG("PE", 0) FLAG("MP", 1) FLAG(
			"EM", 2) FLAG("TS", 3) FLAG("ET", 4) FLAG("NE", 5) FLAG("WP", 16) FLAG("AM",
			18) FLAG("NW", 29) FLAG("CD", 30) FLAG("PG",
			31) "</flags>"
			    "<flags id=\"x64_cr4\" size=\"8\">" FLAG("VME", 0) FLAG("PVI", 1) FLAG(
				    "TSD", 2) FLAG("DE", 3) FLAG("PSE", 4) FLAG("PAE", 5)
				    FLAG("MCE", 6) FLAG("PGE", 7) FLAG("PCE", 8) FLAG(
					    "OSFXSR", 9) FLAG("OSXMMEXCPT", 10) FLAG("UMIP",
					    11) FLAG("LA57", 12) FLAG("FSGSBASE", 16) FLAG("PCIDE",
					    17) FLAG("OSXSAVE", 18) FLAG("SMEP", 20) FLAG("SMAP",
					    21) FLAG("PKE",
					    22) "</flags>"
						"<flags id=\"x64_efer\" size=\"8\">" FLAG("SCE", 0)
							FLAG("LME", 8) FLAG("LMA", 10) FLAG("NXE",
								11) FLAG("FFXSR", 14) "</flags>",
		.always = true},
};

/* --- registers that are no field of struct cpu_state --- */

/* Get *value, or with `set` take it. False: there can be no such value. */
typedef bool special(struct values *v, unsigned index, uint64_t *value, bool set);

static bool special_general(struct values *v, unsigned index, uint64_t *value, bool set)
{
	/* In the order of the description. */
	static const enum gpr order[] = {RAX, RBX, RCX, RDX, RSI, RDI, RBP, RSP};
	unsigned number = index < ARRAY_SIZE(order) ? order[index] : index;
	uint64_t mask = v->code64 ? ~UINT64_C(0) : number < R8 ? UINT32_MAX : 0;

	if (!set)
		*value = v->state.gpr[number] & mask;
	else if (mask)
		v->state.gpr[number] = *value & mask;
	return true;
}

static bool special_rip(struct values *v, unsigned index, uint64_t *value, bool set)
{
	uint64_t mask = v->code64 ? ~UINT64_C(0) : UINT32_MAX;

	if (set)
		v->state.rip = *value & mask;
	else
		*value = v->state.rip & mask;
	return true;
}

static bool special_flags(struct values *v, unsigned index, uint64_t *value, bool set)
{
	struct cpu_state *s = &v->state;

	if (!set) {
		*value = s->system_flags | ((s->arithmetic_flags >> 8) & 0xd5) |
			 (uint64_t)(s->arithmetic_flags & 1) << 11;
		return true;
	}
	s->arithmetic_flags =
		(uint16_t)(((*value & 0xd5) | 2) << 8 | ((*value & RFLAGS_OF) ? 1 : 0));
	s->system_flags = (*value & ~RFLAGS_ARITHMETIC) | RFLAGS_FIXED1;
	return true;
}

/* A selector that is loaded has a descriptor, which would have to be loaded with it; in real mode
 * it is a paragraph. */
static bool special_selector(struct values *v, unsigned index, uint64_t *value, bool set)
{
	static const enum seg order[] = {SEG_CS, SEG_SS, SEG_DS, SEG_ES, SEG_FS, SEG_GS};
	struct segment *segment = &v->state.segment[order[index]];

	if (!set) {
		*value = segment->selector;
		return true;
	}
	if (segment->selector == *value)
		return true;
	if (((v->state.cr0 & CR0_PE) && !(v->state.system_flags & RFLAGS_VM)) || *value >> 16)
		return false;
	segment->selector = (uint16_t)*value;
	segment->base = *value << 4;
	return true;
}

/* The x87 unit: fields of the FXSAVE image. */
enum { X87_CONTROL = 0, X87_STATUS = 2, X87_TAGS = 4, X87_STACK = 32 };

/* The tag word from the image's, which has a bit a register (SDM vol. 1 10.5.1.1). */
static unsigned tag_of(const uint8_t st[10])
{
	uint64_t significand;
	uint16_t exponent;

	memcpy(&significand, st, 8);
	memcpy(&exponent, st + 8, 2);
	exponent &= 0x7fff;
	if (!exponent && !significand)
		return 1;
	return exponent && exponent != 0x7fff && significand >> 63 ? 0 : 2;
}

static bool special_tags(struct values *v, unsigned index, uint64_t *value, bool set)
{
	uint8_t *image = v->state.fpu.x87, present = 0;
	uint16_t status;
	unsigned top, i;

	memcpy(&status, image + X87_STATUS, 2);
	top = status >> 11 & 7;
	if (set) {
		for (i = 0; i < 8; i++)
			present |= (uint8_t)(((*value >> (2 * i) & 3) != 3) << i);
		image[X87_TAGS] = present;
		return true;
	}
	for (i = 0, *value = 0; i < 8; i++) {
		const uint8_t *st = image + X87_STACK + 16 * ((i - top) & 7);

		*value |= (uint64_t)(image[X87_TAGS] & BIT(i) ? tag_of(st) : 3) << (2 * i);
	}
	return true;
}

static bool special_x87_word(struct values *v, unsigned index, uint64_t *value, bool set)
{
	uint16_t word;

	memcpy(&word, v->state.fpu.x87 + index, 2);
	if (!set)
		*value = word;
	word = (uint16_t)*value;
	memcpy(v->state.fpu.x87 + index, &word, 2);
	return true;
}

/* Where the last x87 instruction and its operand were: a selector, or in 64-bit mode the rest of
 * the address; and the lower half. */
static bool special_pointer(struct values *v, unsigned index, uint64_t *value, bool set)
{
	struct fpu *fpu = &v->state.fpu;
	uint64_t *pointer = index < 2 ? &fpu->fip : &fpu->fdp;
	uint16_t *selector = index < 2 ? &fpu->fcs : &fpu->fds;
	bool upper = !(index & 1);

	if (!set)
		*value = !upper           ? (uint32_t)*pointer
			 : *pointer >> 32 ? (uint16_t)(*pointer >> 32)
					  : *selector;
	else if (!upper)
		*pointer = (*pointer & ~(uint64_t)UINT32_MAX) | (uint32_t)*value;
	else if (!(*pointer >> 32))
		*selector = (uint16_t)*value;
	return true;
}

/* What Linux' own gdb has for a system call that is to be restarted: there is none. */
static bool special_no_system_call(struct values *v, unsigned index, uint64_t *value, bool set)
{
	if (!set)
		*value = ~UINT64_C(0);
	return true;
}

static bool special_cr8(struct values *v, unsigned index, uint64_t *value, bool set)
{
	if (set)
		v->cr8 = *value;
	else
		*value = v->cr8;
	return !(*value >> 4);
}

/* --- the table --- */

/* One that only special() knows, which gets `index`; one that is a field; and `count` of them, from
 * number `first` on, `bytes` each and `stride` bytes apart. */
#define SPECIAL(feature, name, type, bits, count, index, function)                                 \
	{                                                                                          \
		feature, name, type, bits, count, index, 0, 0, 0, function                         \
	}
#define FIELD(feature, name, type, bits, member)                                                   \
	{                                                                                          \
		feature, name, type, bits, 1, 0, offsetof(struct cpu_state, member),               \
			sizeof(((struct cpu_state *)0)->member), 0, NULL                           \
	}
#define FIELDS(feature, name, type, count, first, member, bytes, stride)                           \
	{                                                                                          \
		feature, name, type, 8 * (bytes), count, first,                                    \
			offsetof(struct cpu_state, member), bytes, stride, NULL                    \
	}

static const struct register_row {
	enum feature feature;
	const char *name, *type; /* a name may be a pattern for the number */
	unsigned bits, count, first, offset, field, stride;
	special *special;
} table[] = {
	SPECIAL(FEATURE_CORE, "rax", "int64", 64, 1, 0, special_general),
	SPECIAL(FEATURE_CORE, "rbx", "int64", 64, 1, 1, special_general),
	SPECIAL(FEATURE_CORE, "rcx", "int64", 64, 1, 2, special_general),
	SPECIAL(FEATURE_CORE, "rdx", "int64", 64, 1, 3, special_general),
	SPECIAL(FEATURE_CORE, "rsi", "int64", 64, 1, 4, special_general),
	SPECIAL(FEATURE_CORE, "rdi", "int64", 64, 1, 5, special_general),
	SPECIAL(FEATURE_CORE, "rbp", "data_ptr", 64, 1, 6, special_general),
	SPECIAL(FEATURE_CORE, "rsp", "data_ptr", 64, 1, 7, special_general),
	SPECIAL(FEATURE_CORE, "r%u", "int64", 64, 8, 8, special_general),
	SPECIAL(FEATURE_CORE, "rip", "code_ptr", 64, 1, 0, special_rip),
	SPECIAL(FEATURE_CORE, "eflags", "i386_eflags", 32, 1, 0, special_flags),
	SPECIAL(FEATURE_CORE, "cs", "int32", 32, 1, 0, special_selector),
	SPECIAL(FEATURE_CORE, "ss", "int32", 32, 1, 1, special_selector),
	SPECIAL(FEATURE_CORE, "ds", "int32", 32, 1, 2, special_selector),
	SPECIAL(FEATURE_CORE, "es", "int32", 32, 1, 3, special_selector),
	SPECIAL(FEATURE_CORE, "fs", "int32", 32, 1, 4, special_selector),
	SPECIAL(FEATURE_CORE, "gs", "int32", 32, 1, 5, special_selector),
	FIELDS(FEATURE_CORE, "st%u", "i387_ext", 8, 0, fpu.x87[X87_STACK], 10, 16),
	SPECIAL(FEATURE_CORE, "fctrl", "int32", 32, 1, X87_CONTROL, special_x87_word),
	SPECIAL(FEATURE_CORE, "fstat", "int32", 32, 1, X87_STATUS, special_x87_word),
	SPECIAL(FEATURE_CORE, "ftag", "int32", 32, 1, 0, special_tags),
	SPECIAL(FEATURE_CORE, "fiseg", "int32", 32, 1, 0, special_pointer),
	SPECIAL(FEATURE_CORE, "fioff", "int32", 32, 1, 1, special_pointer),
	SPECIAL(FEATURE_CORE, "foseg", "int32", 32, 1, 2, special_pointer),
	SPECIAL(FEATURE_CORE, "fooff", "int32", 32, 1, 3, special_pointer),
	FIELD(FEATURE_CORE, "fop", "int32", 32, fpu.fop),
	FIELDS(FEATURE_SSE, "xmm%u", "vec128", 16, 0, fpu.zmm[0][0], 16, 64),
	FIELD(FEATURE_SSE, "mxcsr", "i386_mxcsr", 32, fpu.mxcsr),
	SPECIAL(FEATURE_LINUX, "orig_rax", "int64", 64, 1, 0, special_no_system_call),
	FIELD(FEATURE_SEGMENTS, "fs_base", "int64", 64, segment[SEG_FS].base),
	FIELD(FEATURE_SEGMENTS, "gs_base", "int64", 64, segment[SEG_GS].base),
	FIELDS(FEATURE_AVX, "ymm%uh", "uint128", 16, 0, fpu.zmm[0][16], 16, 64),
	FIELDS(FEATURE_AVX512, "k%u", "uint64", 8, 0, fpu.opmask[0], 8, 8),
	FIELDS(FEATURE_AVX512, "zmm%uh", "v2ui128", 16, 0, fpu.zmm[0][32], 32, 64),
	FIELDS(FEATURE_AVX512, "xmm%u", "vec128", 16, 16, fpu.zmm[16][0], 16, 64),
	FIELDS(FEATURE_AVX512, "ymm%uh", "uint128", 16, 16, fpu.zmm[16][16], 16, 64),
	FIELDS(FEATURE_AVX512, "zmm%uh", "v2ui128", 16, 16, fpu.zmm[16][32], 32, 64),
	FIELD(FEATURE_PKEYS, "pkru", "uint32", 32, fpu.pkru),
	FIELD(FEATURE_SYSTEM, "k_gs_base", "int64", 64, kernel_gs_base),
	FIELD(FEATURE_SYSTEM, "cr0", "x64_cr0", 64, cr0),
	FIELD(FEATURE_SYSTEM, "cr2", "int64", 64, cr2),
	FIELD(FEATURE_SYSTEM, "cr3", "int64", 64, cr3),
	FIELD(FEATURE_SYSTEM, "cr4", "x64_cr4", 64, cr4),
	SPECIAL(FEATURE_SYSTEM, "cr8", "int64", 64, 1, 0, special_cr8),
	FIELD(FEATURE_SYSTEM, "efer", "x64_efer", 64, efer),
};

static bool present(const struct cpu_model *model, enum feature feature)
{
	return features[feature].always || cpu_model_has(model, features[feature].needs);
}

static unsigned size_of(const struct register_row *row)
{
	return row->bits / 8;
}

/* The row that has register *number, which becomes its number in the row; NULL: there is none. */
static const struct register_row *find(const struct cpu_model *model, unsigned *number)
{
	for (unsigned i = 0; i < ARRAY_SIZE(table); i++) {
		if (!present(model, table[i].feature))
			continue;
		if (*number < table[i].count)
			return &table[i];
		*number -= table[i].count;
	}
	return NULL;
}

unsigned registers_count(const struct cpu_model *model)
{
	unsigned count = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(table); i++)
		if (present(model, table[i].feature))
			count += table[i].count;
	return count;
}

unsigned register_size(const struct cpu_model *model, unsigned number)
{
	const struct register_row *row = find(model, &number);

	return row ? size_of(row) : 0;
}

/* --- the description --- */

static void describe_rows(FILE *to, enum feature feature)
{
	for (unsigned i = 0; i < ARRAY_SIZE(table); i++)
		for (unsigned n = 0; n < table[i].count && table[i].feature == feature; n++) {
			char name[16];

			snprintf(name, sizeof(name), table[i].name, table[i].first + n);
			fprintf(to, "<reg name=\"%s\" bitsize=\"%u\" type=\"%s\"/>\n", name,
				table[i].bits, table[i].type);
		}
}

char *registers_description(const struct cpu_model *model)
{
	char *text = NULL;
	size_t size;
	FILE *to = open_memstream(&text, &size);

	if (!to)
		return NULL;
	fputs("<?xml version=\"1.0\"?>\n<!DOCTYPE target SYSTEM \"gdb-target.dtd\">\n"
	      "<target><architecture>i386:x86-64</architecture>\n",
		to);
	/* As the rows of the table are in the order of their features, so are the numbers. */
	for (enum feature feature = 0; feature < ARRAY_SIZE(features); feature++) {
		if (!present(model, feature))
			continue;
		fprintf(to, "<feature name=\"%s\">\n%s\n", features[feature].name,
			features[feature].types);
		describe_rows(to, feature);
		fputs("</feature>\n", to);
	}
	fputs("</target>\n", to);
	if (fclose(to) == 0)
		return text;
	free(text);
	return NULL;
}

/* --- reading and writing --- */

static void get_values(struct cpu *cpu, struct values *v)
{
	cpu_get_state(cpu, &v->state);
	v->code64 = cpu_code64(cpu);
	v->cr8 = cpu->platform->apic_tpr_read
			 ? cpu->platform->apic_tpr_read(cpu->platform->opaque, cpu)
			 : 0;
}

static bool set_values(struct cpu *cpu, const struct values *v, uint64_t cr8_before)
{
	if (cpu_set_state(cpu, &v->state) < 0)
		return false;
	if (v->cr8 != cr8_before && cpu->platform->apic_tpr_write)
		cpu->platform->apic_tpr_write(cpu->platform->opaque, cpu, v->cr8);
	return true;
}

static void get(struct values *v, const struct register_row *row, unsigned n, uint8_t *bytes)
{
	uint64_t value;

	memset(bytes, 0, size_of(row));
	if (!row->special) {
		memcpy(bytes, (uint8_t *)&v->state + row->offset + n * row->stride, row->field);
		return;
	}
	row->special(v, row->first + n, &value, false);
	memcpy(bytes, &value, size_of(row));
}

static bool set(struct values *v, const struct register_row *row, unsigned n, const uint8_t *bytes)
{
	uint64_t value = 0;

	if (!row->special) {
		memcpy((uint8_t *)&v->state + row->offset + n * row->stride, bytes, row->field);
		return true;
	}
	memcpy(&value, bytes, size_of(row));
	return row->special(v, row->first + n, &value, true);
}

unsigned registers_read(struct cpu *cpu, uint8_t bytes[REGISTERS_ROOM])
{
	struct values v;
	unsigned size = 0;

	get_values(cpu, &v);
	for (unsigned i = 0; i < ARRAY_SIZE(table); i++)
		for (unsigned n = 0; n < table[i].count && present(cpu->model, table[i].feature);
			n++) {
			get(&v, &table[i], n, bytes + size);
			size += size_of(&table[i]);
		}
	return size;
}

unsigned register_read(struct cpu *cpu, unsigned number, uint8_t bytes[REGISTER_LARGEST])
{
	const struct register_row *row = find(cpu->model, &number);
	struct values v;

	if (!row)
		return 0;
	get_values(cpu, &v);
	get(&v, row, number, bytes);
	return size_of(row);
}

bool registers_write(struct cpu *cpu, const uint8_t *bytes, size_t size)
{
	unsigned count = registers_count(cpu->model);
	struct values v;
	uint64_t cr8;

	get_values(cpu, &v);
	cr8 = v.cr8;
	for (unsigned i = 0; i < count; i++) {
		unsigned n = i;
		const struct register_row *row = find(cpu->model, &n);

		if (size < size_of(row))
			break;
		if (!set(&v, row, n, bytes))
			return false;
		bytes += size_of(row);
		size -= size_of(row);
	}
	return set_values(cpu, &v, cr8);
}

bool register_write(struct cpu *cpu, unsigned number, const uint8_t *bytes)
{
	const struct register_row *row = find(cpu->model, &number);
	struct values v;
	uint64_t cr8;

	if (!row)
		return false;
	get_values(cpu, &v);
	cr8 = v.cr8;
	return set(&v, row, number, bytes) && set_values(cpu, &v, cr8);
}
