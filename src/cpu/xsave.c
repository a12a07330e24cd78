/* The state images that instructions read and write: FXSAVE, the XSAVE family, FNSAVE and FNSTENV.
 *
 * All of them work on cpu->fpu, which fpu_sync() has made true, and never touch it before every
 * byte they need has been read or probed, so that a page fault in the middle leaves nothing half
 * done. XSAVE areas are laid out as the host lays out its own, because the guest's CPUID is made
 * from the host's; PKRU, which is ours even where the host has none, then goes behind the rest.
 *
 * Whether a component is "in use" is decided by comparing it with its initial state: always exact,
 * where a processor may say "in use" too often. */
#include "cpu/access.h"
#include "cpu/fpu.h"

#include <string.h>

#define FSW_ES          BIT(7) /* an unmasked exception is pending */
#define LEGACY_SIZE     512
#define HEADER_SIZE     64
#define XCOMP_COMPACTED BIT(63)

/* Offsets in the legacy region (SDM vol. 1 table 10-2). */
enum { FCW = 0, FSW = 2, FTW = 4, FOP = 6, FIP = 8, FDP = 16, MXCSR = 24, ST = 32, XMM = 160 };

/* --- the layout --- */

/* Where component `i` lies in an area that holds `set`. */
static unsigned component_offset(
	const struct cpu_model *model, unsigned i, uint64_t set, bool compact)
{
	unsigned offset = LEGACY_SIZE + HEADER_SIZE;

	if (!compact)
		return model->xstate[i].offset;
	for (unsigned j = XSTATE_AVX; j <= i; j++) {
		if (!(set & BIT(j)))
			continue;
		if (model->xstate[j].align)
			offset = ALIGN_UP(offset, 64);
		if (j < i)
			offset += model->xstate[j].size;
	}
	return offset;
}

unsigned fpu_xsave_size(const struct cpu_model *model, uint64_t set, bool compact)
{
	unsigned size = LEGACY_SIZE + HEADER_SIZE;

	for (unsigned i = XSTATE_AVX; i < XSTATE_COUNT; i++) {
		if (set & BIT(i))
			size = MAX(size,
				component_offset(model, i, set, compact) + model->xstate[i].size);
	}
	return size;
}

/* --- components, unpacked and back --- */

static unsigned vector_count(const struct cpu *cpu)
{
	return cpu_code64(cpu) ? 16 : 8;
}

static bool is_zero(const void *data, size_t size)
{
	const uint64_t *words = data;
	uint64_t any = 0;

	for (size_t i = 0; i < size / 8; i++)
		any |= words[i];
	return !any;
}

/* Upper part of the first 16 registers: bytes [from, from + size) of each. */
static bool upper_is_zero(const struct fpu *fpu, unsigned from, unsigned size)
{
	bool zero = true;

	for (unsigned i = 0; i < 16 && zero; i++)
		zero = is_zero(fpu->zmm[i] + from, size);
	return zero;
}

static bool x87_is_initial(const struct fpu *fpu)
{
	uint16_t fcw;

	memcpy(&fcw, fpu->x87 + FCW, 2);
	return fcw == FCW_DEFAULT && fpu->x87[FSW] == 0 && fpu->x87[FSW + 1] == 0 &&
	       fpu->x87[FTW] == 0 && !fpu->fop && !fpu->fip && !fpu->fdp &&
	       is_zero(fpu->x87 + ST, 128);
}

static uint64_t in_use(const struct fpu *fpu)
{
	uint64_t set = 0;

	if (!x87_is_initial(fpu))
		set |= BIT(XSTATE_X87);
	if (!upper_is_zero(fpu, 0, 16))
		set |= BIT(XSTATE_SSE);
	if (!upper_is_zero(fpu, 16, 16))
		set |= BIT(XSTATE_AVX);
	if (!is_zero(fpu->opmask, sizeof(fpu->opmask)))
		set |= BIT(XSTATE_OPMASK);
	if (!upper_is_zero(fpu, 32, 32))
		set |= BIT(XSTATE_ZMM_HI256);
	if (!is_zero(fpu->zmm[16], 16 * 64))
		set |= BIT(XSTATE_HI16_ZMM);
	if (fpu->pkru)
		set |= BIT(XSTATE_PKRU);
	return set;
}

uint64_t fpu_xinuse(struct cpu *cpu)
{
	fpu_sync(cpu);
	return in_use(&cpu->fpu) & cpu->xcr0;
}

/* Component `i` (2 and up) as the area holds it; returns how many of its bytes the current mode
 * transfers: outside 64-bit mode only registers 0 to 7 (SDM vol. 1 13.4). */
static unsigned pack(const struct cpu *cpu, unsigned i, uint8_t out[XSTATE_SIZE_MAX])
{
	const struct fpu *fpu = &cpu->fpu;
	unsigned count = vector_count(cpu);

	memset(out, 0, XSTATE_SIZE_MAX);
	switch (i) {
	case XSTATE_AVX:
		for (unsigned r = 0; r < count; r++)
			memcpy(out + 16 * r, fpu->zmm[r] + 16, 16);
		return 16 * count;
	case XSTATE_OPMASK:
		memcpy(out, fpu->opmask, 64);
		return 64;
	case XSTATE_ZMM_HI256:
		for (unsigned r = 0; r < count; r++)
			memcpy(out + 32 * r, fpu->zmm[r] + 32, 32);
		return 32 * count;
	case XSTATE_HI16_ZMM:
		memcpy(out, fpu->zmm[16], 1024);
		return count == 16 ? 1024 : 0;
	case XSTATE_PKRU:
		memcpy(out, &fpu->pkru, 4);
		return 8;
	default:
		return 0;
	}
}

void fpu_set_pkru(struct cpu *cpu, uint32_t value)
{
	uint32_t changed = cpu->fpu.pkru ^ value;

	if (!changed)
		return;
	cpu->fpu.pkru = value;
	/* The TLB holds rights with the keys already applied. */
	if (cpu->cr4 & CR4_PKE)
		tlb_flush_keys(cpu, changed);
}

/* The reverse: put a component from an area into cpu->fpu; all zeroes are the initial state. */
static void unpack(struct cpu *cpu, unsigned i, const uint8_t in[XSTATE_SIZE_MAX])
{
	struct fpu *fpu = &cpu->fpu;
	unsigned count = vector_count(cpu);
	uint32_t pkru;

	switch (i) {
	case XSTATE_AVX:
		for (unsigned r = 0; r < count; r++)
			memcpy(fpu->zmm[r] + 16, in + 16 * r, 16);
		break;
	case XSTATE_OPMASK:
		memcpy(fpu->opmask, in, 64);
		break;
	case XSTATE_ZMM_HI256:
		for (unsigned r = 0; r < count; r++)
			memcpy(fpu->zmm[r] + 32, in + 32 * r, 32);
		break;
	case XSTATE_HI16_ZMM:
		if (count == 16)
			memcpy(fpu->zmm[16], in, 1024);
		break;
	case XSTATE_PKRU:
		memcpy(&pkru, in, 4);
		fpu_set_pkru(cpu, pkru);
		break;
	}
}

/* The legacy region's x87 part: bytes 0..23 and 32..159 of `image`. AMD's processors save the last
 * instruction and operand only where an unmasked exception is pending, else zeroes (APM vol. 5,
 * FXSAVE); Intel's always. */
static void pack_x87(const struct cpu *cpu, uint8_t *image, unsigned operand_size)
{
	const struct fpu *fpu = &cpu->fpu;

	memcpy(image, fpu->x87, MXCSR);
	memcpy(image + ST, fpu->x87 + ST, 128);
	image[FTW + 1] = 0;
	memset(image + FOP, 0, 2);
	memset(image + FIP, 0, 16);
	if (cpu->amd && !(fpu->x87[FSW] & FSW_ES))
		return;
	memcpy(image + FOP, &fpu->fop, 2);
	/* Selectors are saved as zero: CPUID says they are deprecated (leaf 7, EBX bit 13). */
	memcpy(image + FIP, &fpu->fip, operand_size == 8 ? 8 : 4);
	memcpy(image + FDP, &fpu->fdp, operand_size == 8 ? 8 : 4);
}

static void unpack_x87(struct fpu *fpu, const uint8_t *image, unsigned operand_size)
{
	memcpy(fpu->x87, image, MXCSR);
	memcpy(fpu->x87 + ST, image + ST, 128);
	memset(fpu->x87 + FIP, 0, 16);
	memcpy(&fpu->fop, image + FOP, 2);
	fpu->fop &= 0x7ff;
	fpu->fip = fpu->fdp = 0;
	memcpy(&fpu->fip, image + FIP, operand_size == 8 ? 8 : 4);
	memcpy(&fpu->fdp, image + FDP, operand_size == 8 ? 8 : 4);
	fpu->fcs = fpu->fds = 0;
}

static void initialise_x87(struct fpu *fpu)
{
	static const uint8_t initial[160] = {FCW_DEFAULT & 0xff, FCW_DEFAULT >> 8};

	memcpy(fpu->x87, initial, sizeof(initial));
	fpu->fip = fpu->fdp = 0;
	fpu->fop = fpu->fcs = fpu->fds = 0;
}

static void put32(uint8_t *at, uint32_t value)
{
	memcpy(at, &value, 4);
}

static uint32_t get32(const uint8_t *at)
{
	uint32_t value;

	memcpy(&value, at, 4);
	return value;
}

static uint64_t get64(const uint8_t *at)
{
	uint64_t value;

	memcpy(&value, at, 8);
	return value;
}

static void require(struct cpu *cpu, bool condition)
{
	if (!condition)
		cpu_raise_error(cpu, VECTOR_GP, 0);
}

/* --- FXSAVE, FXRSTOR --- */

static void check_fxsave(struct cpu *cpu, uint64_t linear)
{
	fpu_check(cpu, FPU_CLASS_FXSAVE);
	require(cpu, !(linear & 15));
}

/* AMD's fast form leaves the XMM registers out (APM vol. 2 11.4.4). */
static unsigned fxsave_size(const struct cpu *cpu)
{
	if ((cpu->efer & EFER_FFXSR) && cpu->cpl == 0 && cpu_code64(cpu))
		return XMM;
	return XMM + 16 * vector_count(cpu);
}

void fpu_fxsave(struct cpu *cpu, uint64_t linear, unsigned operand_size)
{
	uint8_t image[LEGACY_SIZE] = {0};

	check_fxsave(cpu, linear);
	fpu_sync(cpu);
	pack_x87(cpu, image, operand_size);
	put32(image + MXCSR, cpu->fpu.mxcsr);
	put32(image + MXCSR + 4, fpu_mxcsr_mask(cpu->model));
	for (unsigned r = 0; r < 16; r++)
		memcpy(image + XMM + 16 * r, cpu->fpu.zmm[r], 16);
	access_write(cpu, linear, image, fxsave_size(cpu), ACCESS_PROGRAM);
}

void fpu_fxrstor(struct cpu *cpu, uint64_t linear, unsigned operand_size)
{
	uint8_t image[LEGACY_SIZE];
	unsigned size = fxsave_size(cpu);

	check_fxsave(cpu, linear);
	access_read(cpu, linear, image, size, ACCESS_PROGRAM);
	require(cpu, !(get32(image + MXCSR) & ~fpu_mxcsr_mask(cpu->model)));
	unpack_x87(&cpu->fpu, image, operand_size);
	cpu->fpu.mxcsr = get32(image + MXCSR);
	for (unsigned at = XMM; at < size; at += 16)
		memcpy(cpu->fpu.zmm[(at - XMM) / 16], image + at, 16);
	fpu_reload(cpu);
}

/* --- XSAVE --- */

static void check_xsave(struct cpu *cpu, uint64_t linear, bool supervisor)
{
	fpu_check(cpu, FPU_CLASS_XSAVE);
	require(cpu, !supervisor || cpu->cpl == 0);
	require(cpu, !(linear & 63));
}

static void save_legacy(
	struct cpu *cpu, uint64_t linear, uint64_t write, bool mxcsr, unsigned operand_size)
{
	const struct fpu *fpu = &cpu->fpu;
	enum access_mode mode = ACCESS_PROGRAM;
	uint8_t image[XMM + 256];

	pack_x87(cpu, image, operand_size);
	put32(image + MXCSR, fpu->mxcsr);
	put32(image + MXCSR + 4, fpu_mxcsr_mask(cpu->model));
	for (unsigned r = 0; r < 16; r++)
		memcpy(image + XMM + 16 * r, fpu->zmm[r], 16);

	if (write & BIT(XSTATE_X87))
		access_write(cpu, linear, image, MXCSR, mode);
	if (mxcsr)
		access_write(cpu, linear + MXCSR, image + MXCSR, 8, mode);
	if (write & BIT(XSTATE_X87))
		access_write(cpu, linear + ST, image + ST, 128, mode);
	if (write & BIT(XSTATE_SSE))
		access_write(cpu, linear + XMM, image + XMM, 16 * vector_count(cpu), mode);
}

/* SDM vol. 1 13.7 to 13.11. There is no "modified" optimization: a component in use is written. */
void fpu_xsave(struct cpu *cpu, uint64_t linear, uint64_t mask, enum xsave_form form,
	unsigned operand_size)
{
	bool compact = form == XSAVE_COMPACT || form == XSAVE_SUPERVISOR;
	enum access_mode mode = ACCESS_PROGRAM;
	uint8_t buffer[XSTATE_SIZE_MAX];
	uint64_t requested, used, write, header[2];
	bool mxcsr;

	check_xsave(cpu, linear, form == XSAVE_SUPERVISOR);
	fpu_sync(cpu);
	requested = mask & (form == XSAVE_SUPERVISOR ? cpu->xcr0 | cpu->xss : cpu->xcr0);
	used = in_use(&cpu->fpu);
	/* MXCSR belongs to SSE here, in the compacted format only (SDM vol. 1 13.10). */
	if (compact && cpu->fpu.mxcsr != MXCSR_DEFAULT)
		used |= BIT(XSTATE_SSE);
	write = form == XSAVE_STANDARD ? requested : requested & used;
	mxcsr = compact ? write & BIT(XSTATE_SSE) : requested & (BIT(XSTATE_SSE) | BIT(XSTATE_AVX));

	access_probe_write(cpu, linear, fpu_xsave_size(cpu->model, requested, compact), mode);
	if (compact) {
		header[0] = requested & used;
		header[1] = requested | XCOMP_COMPACTED;
	} else {
		access_read(cpu, linear + LEGACY_SIZE, header, 8, mode);
		header[0] = (header[0] & ~requested) | (requested & used);
	}
	save_legacy(cpu, linear, write, mxcsr, operand_size);
	for (unsigned i = XSTATE_AVX; i < XSTATE_COUNT; i++) {
		if (!(write & BIT(i)))
			continue;
		access_write(cpu, linear + component_offset(cpu->model, i, requested, compact),
			buffer, pack(cpu, i, buffer), mode);
	}
	access_write(cpu, linear + LEGACY_SIZE, header, compact ? 16 : 8, mode);
}

/* --- XRSTOR --- */

/* What XRSTOR read, before any of it is in force. */
struct restore {
	uint64_t requested, present;
	uint8_t legacy[LEGACY_SIZE];
	uint8_t component[XSTATE_COUNT][XSTATE_SIZE_MAX];
	bool compact;
};

static void check_header(struct cpu *cpu, struct restore *from, const uint8_t *header,
	uint64_t allowed, bool supervisor)
{
	uint64_t xcomp = get64(header + 8);

	from->present = get64(header);
	from->compact = xcomp & XCOMP_COMPACTED;
	if (from->compact) {
		require(cpu, cpu_model_has(cpu->model, CPUID_XSAVEC));
		require(cpu, !(xcomp & ~XCOMP_COMPACTED & ~allowed));
		require(cpu, !(from->present & ~xcomp));
		require(cpu, is_zero(header + 16, HEADER_SIZE - 16));
	} else {
		require(cpu, !supervisor);
		require(cpu, !(from->present & ~cpu->xcr0));
		require(cpu, is_zero(header + 8, 16));
	}
}

static void read_components(struct cpu *cpu, struct restore *from, uint64_t linear, uint64_t layout)
{
	enum access_mode mode = ACCESS_PROGRAM;
	uint64_t load = from->requested & from->present;

	if (load & BIT(XSTATE_X87)) {
		access_read(cpu, linear, from->legacy, MXCSR, mode);
		access_read(cpu, linear + ST, from->legacy + ST, 128, mode);
	}
	if (load & BIT(XSTATE_SSE))
		access_read(cpu, linear + XMM, from->legacy + XMM, 16 * vector_count(cpu), mode);
	for (unsigned i = XSTATE_AVX; i < XSTATE_COUNT; i++) {
		if (!(from->requested & BIT(i)))
			continue;
		if (load & BIT(i))
			access_read(cpu,
				linear + component_offset(cpu->model, i, layout, from->compact),
				from->component[i], cpu->model->xstate[i].size, mode);
		else
			memset(from->component[i], 0, XSTATE_SIZE_MAX);
	}
}

/* MXCSR's new value. The standard format loads it whenever SSE or AVX is asked for, whatever
 * XSTATE_BV says; the compacted one treats it as part of SSE (SDM vol. 1 13.8). */
static uint32_t restored_mxcsr(struct cpu *cpu, const struct restore *from, uint64_t linear)
{
	uint32_t value = cpu->fpu.mxcsr;
	bool sse = from->requested & BIT(XSTATE_SSE);

	if (from->compact ? sse && (from->present & BIT(XSTATE_SSE))
			  : sse || (from->requested & BIT(XSTATE_AVX)))
		access_read(cpu, linear + MXCSR, &value, 4, ACCESS_PROGRAM);
	else if (sse)
		value = MXCSR_DEFAULT;
	require(cpu, !(value & ~fpu_mxcsr_mask(cpu->model)));
	return value;
}

void fpu_xrstor(
	struct cpu *cpu, uint64_t linear, uint64_t mask, bool supervisor, unsigned operand_size)
{
	uint64_t allowed = supervisor ? cpu->xcr0 | cpu->xss : cpu->xcr0;
	uint64_t header[HEADER_SIZE / 8];
	struct restore from;
	uint32_t mxcsr;

	check_xsave(cpu, linear, supervisor);
	access_read(cpu, linear + LEGACY_SIZE, header, HEADER_SIZE, ACCESS_PROGRAM);
	check_header(cpu, &from, (uint8_t *)header, allowed, supervisor);
	fpu_sync(cpu);
	from.requested = mask & allowed;
	mxcsr = restored_mxcsr(cpu, &from, linear);
	read_components(cpu, &from, linear, header[1]);

	if (from.requested & from.present & BIT(XSTATE_X87))
		unpack_x87(&cpu->fpu, from.legacy, operand_size);
	else if (from.requested & BIT(XSTATE_X87))
		initialise_x87(&cpu->fpu);
	cpu->fpu.mxcsr = mxcsr;
	if (from.requested & BIT(XSTATE_SSE)) {
		if (!(from.present & BIT(XSTATE_SSE)))
			memset(from.legacy + XMM, 0, 256);
		for (unsigned r = 0; r < vector_count(cpu); r++)
			memcpy(cpu->fpu.zmm[r], from.legacy + XMM + 16 * r, 16);
	}
	for (unsigned i = XSTATE_AVX; i < XSTATE_COUNT; i++) {
		if (from.requested & BIT(i))
			unpack(cpu, i, from.component[i]);
	}
	fpu_reload(cpu);
}

/* --- FNSAVE and its kin (SDM vol. 1 8.1.10) --- */

static unsigned top_of(const struct fpu *fpu)
{
	return (fpu->x87[FSW + 1] >> 3) & 7;
}

/* Two tag bits per physical register, from the one-bit tags and the contents. */
static uint16_t full_tags(const struct fpu *fpu)
{
	unsigned top = top_of(fpu);
	uint16_t tags = 0;

	for (unsigned i = 0; i < 8; i++) {
		const uint8_t *st = fpu->x87 + ST + 16 * ((i - top) & 7);
		uint64_t significand = get64(st);
		unsigned exponent = (st[8] | st[9] << 8) & 0x7fff;
		unsigned tag;

		if (!(fpu->x87[FTW] & BIT(i)))
			tag = 3; /* empty */
		else if (exponent == 0)
			tag = significand ? 2 : 1; /* special, zero */
		else if (exponent == 0x7fff || !(significand >> 63))
			tag = 2;
		else
			tag = 0;
		tags |= tag << (2 * i);
	}
	return tags;
}

static uint64_t real_pointer(const struct cpu *cpu, uint64_t pointer)
{
	return (pointer + ((uint32_t)cpu->fpu.fcs << 4)) & 0xffffffff;
}

/* The environment in the current mode's layout; returns its size. */
static unsigned pack_environment(const struct cpu *cpu, uint8_t *out, unsigned operand_size)
{
	const struct fpu *fpu = &cpu->fpu;
	bool real = cpu_real_segments(cpu);
	uint32_t fip = real ? real_pointer(cpu, fpu->fip) : fpu->fip;
	uint32_t fdp = fpu->fdp; /* recorded as a linear address */
	uint16_t fcw = fpu->x87[FCW] | fpu->x87[FCW + 1] << 8;
	uint16_t fsw = fpu->x87[FSW] | fpu->x87[FSW + 1] << 8;
	uint32_t word[7] = {fcw, fsw, full_tags(fpu)};

	if (real) {
		unsigned high = operand_size == 2 ? 0xf : 0xffff;

		word[3] = fip & 0xffff;
		word[4] = ((fip >> 16) & high) << 12 | fpu->fop;
		word[5] = fdp & 0xffff;
		word[6] = ((fdp >> 16) & high) << 12;
	} else {
		/* Selectors are zero, as in FXSAVE. */
		word[3] = fip;
		word[4] = (uint32_t)fpu->fop << 16;
		word[5] = fdp;
		word[6] = 0xffff0000;
	}
	for (unsigned i = 0; i < 7; i++) {
		if (operand_size == 2) {
			out[2 * i] = word[i];
			out[2 * i + 1] = word[i] >> 8;
		} else {
			bool half = i < 3 || (real && (i == 3 || i == 5));

			put32(out + 4 * i, half ? word[i] | 0xffff0000 : word[i]);
		}
	}
	return operand_size == 2 ? 14 : 28;
}

/* The image numbers registers from the top of the stack, but they stay where they are when the
 * status word moves the top: renumber them for a top that was `old`. */
static void renumber(struct fpu *fpu, unsigned old)
{
	unsigned moved = (top_of(fpu) - old) & 7;
	uint8_t before[128];

	if (!moved)
		return;
	memcpy(before, fpu->x87 + ST, 128);
	for (unsigned i = 0; i < 8; i++)
		memcpy(fpu->x87 + ST + 16 * i, before + 16 * ((i + moved) & 7), 16);
}

static void unpack_environment(struct cpu *cpu, const uint8_t *in, unsigned operand_size)
{
	struct fpu *fpu = &cpu->fpu;
	bool real = cpu_real_segments(cpu);
	unsigned old_top = top_of(fpu);
	uint32_t word[7];
	uint8_t tags = 0;
	bool error;

	for (unsigned i = 0; i < 7; i++)
		word[i] = operand_size == 2 ? in[2 * i] | (uint32_t)in[2 * i + 1] << 8
					    : get32(in + 4 * i);
	for (unsigned i = 0; i < 8; i++)
		tags |= (((word[2] >> (2 * i)) & 3) != 3) << i;
	/* The summary bits follow from flags and masks, whatever the image says. */
	error = word[1] & ~word[0] & 0x3f;
	word[1] = (word[1] & ~0x8080u) | (error ? 0x8080 : 0);
	memset(fpu->x87, 0, MXCSR);
	put32(fpu->x87, (word[0] & 0xffff) | word[1] << 16);
	fpu->x87[FTW] = tags;
	renumber(fpu, old_top);

	fpu->fcs = fpu->fds = 0;
	if (real) {
		fpu->fip = (word[3] & 0xffff) | (word[4] >> 12) << 16;
		fpu->fdp = (word[5] & 0xffff) | (word[6] >> 12) << 16;
		fpu->fop = word[4] & 0x7ff;
	} else {
		fpu->fip = word[3];
		fpu->fdp = word[5];
		if (operand_size != 2)
			fpu->fop = (word[4] >> 16) & 0x7ff;
	}
}

/* #NM, then #AC where the program has asked for that. */
static void check_image(struct cpu *cpu, uint64_t linear, unsigned operand_size)
{
	fpu_check(cpu, FPU_CLASS_X87);
	if (cpu->tlb == cpu->tlb_views[TLB_USER_ALIGNED] && (linear & (operand_size - 1)))
		cpu_raise_error(cpu, VECTOR_AC, 0);
}

void fpu_fnstenv(struct cpu *cpu, uint64_t linear, unsigned operand_size)
{
	uint8_t image[28];
	unsigned size;

	check_image(cpu, linear, operand_size);
	fpu_sync(cpu);
	size = pack_environment(cpu, image, operand_size);
	access_write(cpu, linear, image, size, ACCESS_PROGRAM);
	/* All exceptions are masked afterwards, so none is pending. */
	cpu->fpu.x87[FCW] |= 0x3f;
	cpu->fpu.x87[FSW] &= 0x7f;
	cpu->fpu.x87[FSW + 1] &= 0x7f;
	fpu_reload(cpu);
}

void fpu_fldenv(struct cpu *cpu, uint64_t linear, unsigned operand_size)
{
	uint8_t image[28];

	fpu_check(cpu, FPU_CLASS_X87);
	fpu_raise_pending(cpu);
	check_image(cpu, linear, operand_size);
	access_read(cpu, linear, image, operand_size == 2 ? 14 : 28, ACCESS_PROGRAM);
	fpu_sync(cpu);
	unpack_environment(cpu, image, operand_size);
	fpu_reload(cpu);
}

void fpu_fnsave(struct cpu *cpu, uint64_t linear, unsigned operand_size)
{
	uint8_t image[108];
	unsigned size, old_top;

	check_image(cpu, linear, operand_size);
	fpu_sync(cpu);
	old_top = top_of(&cpu->fpu);
	size = pack_environment(cpu, image, operand_size);
	for (unsigned i = 0; i < 8; i++, size += 10)
		memcpy(image + size, cpu->fpu.x87 + ST + 16 * i, 10);
	access_write(cpu, linear, image, size, ACCESS_PROGRAM);
	/* As FNINIT: the registers are empty but keep their contents. */
	memset(cpu->fpu.x87, 0, MXCSR);
	put32(cpu->fpu.x87, FCW_DEFAULT);
	renumber(&cpu->fpu, old_top);
	cpu->fpu.fip = cpu->fpu.fdp = 0;
	cpu->fpu.fop = cpu->fpu.fcs = cpu->fpu.fds = 0;
	fpu_reload(cpu);
}

void fpu_frstor(struct cpu *cpu, uint64_t linear, unsigned operand_size)
{
	unsigned environment = operand_size == 2 ? 14 : 28;
	uint8_t image[108];

	fpu_check(cpu, FPU_CLASS_X87);
	fpu_raise_pending(cpu);
	check_image(cpu, linear, operand_size);
	access_read(cpu, linear, image, environment + 80, ACCESS_PROGRAM);
	fpu_sync(cpu);
	unpack_environment(cpu, image, operand_size);
	memset(cpu->fpu.x87 + ST, 0, 128);
	for (unsigned i = 0; i < 8; i++)
		memcpy(cpu->fpu.x87 + ST + 16 * i, image + environment + 10 * i, 10);
	fpu_reload(cpu);
}
