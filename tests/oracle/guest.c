/* Run one instruction under an engine, in a machine that is only a CPU and RAM. An engine that
 * translates does so at once: the instruction runs in a translation of its own.
 *
 * The guest is a user-mode program with the host's selectors and the oracle's pages, under an IDT
 * whose 32 handlers are one HLT each: so the engine returns as soon as an exception has been
 * delivered, RIP says which, and the stack holds the frame. */
#include "engine/bt/window.h"
#include "engine/engine.h"
#include "engine/options.h"
#include "cpu/access.h"
#include "cpu/cpuid.h"
#include "cpu/fpu.h"
#include "cpu/transfer.h"
#include "oracle.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RAM_SIZE (2 * MIB)

/* Where the supervisor sees guest-physical address 0. In the upper half, because a program on the
 * host finds nothing in the lower one either. */
#define SUPERVISOR UINT64_C(0xffff800000000000)

/* Guest-physical addresses. */
enum {
	PML4 = 0x1000,
	PDPT_UPPER = 0x2000,
	PD_UPPER = 0x3000,
	PDPT_USER = 0x4000,
	PD_USER = 0x5000,
	PT_USER = 0x6000,
	GDT = 0x7000,
	IDT = 0x8000,
	TSS = 0x9000,
	HANDLERS = 0xa000,
	STACK_TOP = 0xc000,
	CODE_PAGE = 0x10000,
	DATA_PAGES = 0x11000,
};

#define PTE_P  BIT(0)
#define PTE_W  BIT(1)
#define PTE_U  BIT(2)
#define PTE_A  BIT(5)
#define PTE_D  BIT(6)
#define PTE_PS BIT(7)
#define PTE_NX BIT(63)

static struct memory memory;
static struct io_space ports;
static struct clock machine_clock;
static struct priority_lock machine_lock;
static struct cpu *vcpu;
static const struct engine *engine;
static const struct engine_options *engine_options;
static struct engine_machine *engine_machine;
static bool want_windows;

static int no_interrupt(void *opaque, struct cpu *cpu)
{
	return -1;
}

static bool no_msr_read(void *opaque, struct cpu *cpu, uint32_t msr, uint64_t *value)
{
	return false;
}

static bool no_msr_write(void *opaque, struct cpu *cpu, uint32_t msr, uint64_t value)
{
	return false;
}

static uint64_t no_tpr(void *opaque, struct cpu *cpu)
{
	return 0;
}

static const char *model_text; /* NULL: all that there is */

void guest_use_model(const char *text)
{
	model_text = text;
}

const struct cpu_model *oracle_model(void)
{
	static struct cpu_model model;
	struct cpu_features withheld = {{0}};
	struct cpuid_host host;

	if (!model.signature) {
		if (engine && engine->withheld)
			engine->withheld(engine_options, &withheld);
		cpuid_host_read(&host);
		if (cpu_model_build(&model, &host, &withheld, model_text) < 0)
			exit(2);
	}
	return &model;
}

static bool is_withheld(enum cpuid_feature feature)
{
	return cpu_model_host_has(oracle_model(), feature) &&
	       !cpu_model_has(oracle_model(), feature);
}

/* By Zydis' extensions and, where these are too coarse, by the names of its instruction sets. This
 * is not the table by which the engines decide (isa/native.c). An instruction may need several. */
bool guest_is_denied(const struct oracle_case *test)
{
	static const struct {
		ZydisISAExt ext;
		enum cpuid_feature feature;
	} extensions[] = {
		{ZYDIS_ISA_EXT_AES, CPUID_AES},
		{ZYDIS_ISA_EXT_PCLMULQDQ, CPUID_PCLMULQDQ},
		{ZYDIS_ISA_EXT_SHA, CPUID_SHA},
		{ZYDIS_ISA_EXT_MOVBE, CPUID_MOVBE},
		{ZYDIS_ISA_EXT_ADOX_ADCX, CPUID_ADX},
		{ZYDIS_ISA_EXT_BMI1, CPUID_BMI1},
		{ZYDIS_ISA_EXT_BMI2, CPUID_BMI2},
		{ZYDIS_ISA_EXT_AVX, CPUID_AVX},
		{ZYDIS_ISA_EXT_AVXAES, CPUID_AVX},
		{ZYDIS_ISA_EXT_AVXAES, CPUID_AES},
		{ZYDIS_ISA_EXT_F16C, CPUID_F16C},
		{ZYDIS_ISA_EXT_FMA, CPUID_FMA},
		{ZYDIS_ISA_EXT_AVX2, CPUID_AVX2},
		{ZYDIS_ISA_EXT_AVX2GATHER, CPUID_AVX2},
		{ZYDIS_ISA_EXT_AVX512EVEX, CPUID_AVX512F},
		{ZYDIS_ISA_EXT_AVX512VEX, CPUID_AVX512F},
		{ZYDIS_ISA_EXT_SSE4A, CPUID_SSE4A},
		{ZYDIS_ISA_EXT_CLFLUSHOPT, CPUID_CLFLUSHOPT},
		{ZYDIS_ISA_EXT_CLWB, CPUID_CLWB},
	};
	static const struct {
		const char *beginning;
		enum cpuid_feature feature;
	} sets[] = {
		{"AVX512BW", CPUID_AVX512BW},
		{"AVX512CD", CPUID_AVX512CD},
		{"AVX512DQ", CPUID_AVX512DQ},
		{"AVX512_BF16", CPUID_AVX512_BF16},
		{"AVX512_BITALG", CPUID_AVX512_BITALG},
		{"AVX512_GFNI", CPUID_GFNI},
		{"AVX512_IFMA", CPUID_AVX512_IFMA},
		{"AVX512_VAES", CPUID_VAES},
		{"AVX512_VBMI_", CPUID_AVX512_VBMI},
		{"AVX512_VBMI2", CPUID_AVX512_VBMI2},
		{"AVX512_VNNI", CPUID_AVX512_VNNI},
		{"AVX512_VPCLMULQDQ", CPUID_VPCLMULQDQ},
		{"AVX512_VPOPCNTDQ", CPUID_AVX512_VPOPCNTDQ},
	};
	const ZydisDecodedInstruction *in = &test->instruction;
	const char *set = ZydisISASetGetString(in->meta.isa_set);
	/* Zydis has the VEX.128 form in AVX. */
	bool denied = in->mnemonic == ZYDIS_MNEMONIC_VPCLMULQDQ && in->avx.vector_length == 128 &&
		      in->encoding == ZYDIS_INSTRUCTION_ENCODING_VEX &&
		      is_withheld(CPUID_PCLMULQDQ);

	for (unsigned i = 0; i < ARRAY_SIZE(extensions); i++)
		denied |=
			extensions[i].ext == in->meta.isa_ext && is_withheld(extensions[i].feature);
	for (unsigned i = 0; i < ARRAY_SIZE(sets); i++)
		denied |= !strncmp(set, sets[i].beginning, strlen(sets[i].beginning)) &&
			  is_withheld(sets[i].feature);
	return denied;
}

static struct cpu_platform platform = {
	.memory = &memory,
	.ports = &ports,
	.clock = &machine_clock,
	.acknowledge_interrupt = no_interrupt,
	.apic_msr_read = no_msr_read,
	.apic_msr_write = no_msr_write,
	.apic_tpr_read = no_tpr,
	.cpu_count = 1,
	.cpus = &vcpu,
};

static void put64(uint64_t at, uint64_t value)
{
	memcpy(memory.ram + at, &value, 8);
}

static uint64_t get64(uint64_t at)
{
	uint64_t value;

	memcpy(&value, memory.ram + at, 8);
	return value;
}

static void map_user(uint64_t linear, uint64_t physical, uint64_t flags)
{
	put64(PT_USER + ((linear >> 12) & 511) * 8,
		physical | PTE_P | PTE_U | PTE_A | PTE_D | flags);
}

static void make_page_tables(void)
{
	put64(PML4 + 256 * 8, PDPT_UPPER | PTE_P | PTE_W);
	put64(PDPT_UPPER, PD_UPPER | PTE_P | PTE_W);
	put64(PD_UPPER, PTE_P | PTE_W | PTE_A | PTE_D | PTE_PS);
	put64(PML4, PDPT_USER | PTE_P | PTE_W | PTE_U);
	put64(PDPT_USER, PD_USER | PTE_P | PTE_W | PTE_U);
	put64(PD_USER + ((ORACLE_CODE >> 21) & 511) * 8, PT_USER | PTE_P | PTE_W | PTE_U);
	map_user(ORACLE_CODE, CODE_PAGE, PTE_W);
	for (uint64_t at = 0; at < ORACLE_DATA_SIZE; at += 4096)
		map_user(ORACLE_DATA + at, DATA_PAGES + at, PTE_W | PTE_NX);
}

/* Linux's selectors: 0x10 and 0x18 kernel, 0x23 32-bit code, 0x2b data, 0x33 64-bit code. */
static void make_tables(void)
{
	put64(GDT + 0x10, UINT64_C(0x00af9b000000ffff));
	put64(GDT + 0x18, UINT64_C(0x00cf93000000ffff));
	put64(GDT + 0x20, UINT64_C(0x00cffb000000ffff));
	put64(GDT + 0x28, UINT64_C(0x00cff3000000ffff));
	put64(GDT + 0x30, UINT64_C(0x00affb000000ffff));
	put64(TSS + 4, SUPERVISOR + STACK_TOP); /* RSP0 */
	memory.ram[TSS + 102] = 0xff;           /* no I/O bitmap */
	memory.ram[TSS + 103] = 0xff;
	for (unsigned vector = 0; vector < 32; vector++) {
		uint64_t handler = SUPERVISOR + HANDLERS + 16 * vector;
		bool user = vector == VECTOR_BP || vector == VECTOR_OF;

		put64(IDT + 16 * vector, (handler & 0xffff) | 0x10 << 16 |
						 (uint64_t)(user ? 0xee : 0x8e) << 40 |
						 (handler >> 16) << 48);
		put64(IDT + 16 * vector + 8, handler >> 32);
		memory.ram[HANDLERS + 16 * vector] = 0xf4; /* HLT */
	}
	memset(memory.ram + CODE_PAGE, 0xcc, 4096);
}

static void set_flat(enum seg seg, uint16_t selector, uint32_t access)
{
	struct segment value = {.limit = 0xffffffff, .access = access, .selector = selector};

	cpu_set_segment(vcpu, seg, &value);
}

static void set_control(void)
{
	vcpu->cr0 = CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_PG;
	vcpu->cr3 = PML4;
	vcpu->cr4 = CR4_PAE | CR4_PGE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE;
	vcpu->cr4 &= vcpu->model->cr4;
	vcpu->efer = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE;
	vcpu->xcr0 = vcpu->model->xcr0;
	vcpu->gdtr = (struct descriptor_table){.base = SUPERVISOR + GDT, .limit = 0x37};
	vcpu->idtr = (struct descriptor_table){.base = SUPERVISOR + IDT, .limit = 32 * 16 - 1};
	vcpu->apic_page = ~UINT64_C(0);
	cpu_set_segment(vcpu, SEG_TR,
		&(struct segment){.base = SUPERVISOR + TSS,
			.limit = 103,
			.access = AR_P | 11,
			.selector = 8});
	tlb_flush_all(vcpu);
}

bool guest_init(const char *engine_name, const struct engine_options *options, bool windows)
{
	engine = engine_find(engine_name);
	engine_options = options;
	if (!engine) {
		fprintf(stderr, "oracle: no engine '%s'\n", engine_name);
		return false;
	}
	want_windows = windows;
	priority_lock_init(&machine_lock);
	clock_init(&machine_clock);
	io_space_init(&ports, &machine_lock);
	if (memory_create(&memory, RAM_SIZE, oracle_model()->physical_bits, &machine_lock) < 0)
		return false;
	platform.model = oracle_model();
	fpu_init();
	vcpu = cpu_create(&platform, 0);
	if (!vcpu || engine->machine_create(&engine_machine, &platform, options) < 0 ||
		engine->vcpu_create(engine_machine, vcpu) < 0)
		return false;
	make_page_tables();
	make_tables();
	set_control();
	return true;
}

void guest_destroy(void)
{
	engine->vcpu_destroy(vcpu);
	cpu_destroy(vcpu);
	engine->machine_destroy(engine_machine);
	memory_destroy(&memory);
	io_space_destroy(&ports);
}

static void load_state(const struct oracle_case *test, const struct oracle_state *start)
{
	uint32_t data = AR_P | AR_S | AR_WRITABLE | AR_ACCESSED | 3 << AR_DPL_SHIFT | AR_DB | AR_G;
	uint32_t code =
		AR_P | AR_S | AR_CODE | AR_READABLE | AR_ACCESSED | 3 << AR_DPL_SHIFT | AR_G;

	vcpu->activity = ACTIVITY_RUNNING;
	vcpu->interrupt_shadow = 0;
	vcpu->cr2 = 0;
	if (test->code_bits == 64)
		set_flat(SEG_CS, 0x33, code | AR_L);
	else
		set_flat(SEG_CS, 0x23, code | AR_DB);
	set_flat(SEG_SS, 0x2b, data);
	set_flat(SEG_DS, 0x2b, data);
	set_flat(SEG_ES, 0x2b, data);
	cpu_set_segment(vcpu, SEG_FS, &(struct segment){.access = AR_UNUSABLE});
	cpu_set_segment(vcpu, SEG_GS, &(struct segment){.access = AR_UNUSABLE});
	cpu_set_cpl(vcpu, 3);
	memcpy(vcpu->gpr, start->gpr, sizeof(start->gpr));
	vcpu->rip = vcpu->next_rip = start->rip;
	cpu_set_rflags(vcpu, start->rflags);
	memcpy(vcpu->fpu.zmm, start->zmm, sizeof(start->zmm));
	memcpy(vcpu->fpu.opmask, start->opmask, sizeof(start->opmask));
	memcpy(vcpu->fpu.x87, start->x87, sizeof(start->x87));
	vcpu->fpu.mxcsr = start->mxcsr;
	cpu_update_view(vcpu);
	/* User code gets windows when it has run for long; here it must not have to. */
	if (want_windows && bt_of(vcpu)) {
		windows_use_space(bt_of(vcpu));
		if (!windows_is_mature(bt_of(vcpu)))
			windows_mature(bt_of(vcpu));
	}
}

/* An exception with an error code pushes one more word. */
static bool has_error_code(unsigned vector)
{
	return vector == 8 || (vector >= 10 && vector <= 14) || vector == 17;
}

static void store_state(struct oracle_state *end)
{
	uint64_t frame = vcpu->gpr[RSP] - SUPERVISOR;

	memcpy(end->gpr, vcpu->gpr, sizeof(end->gpr));
	end->vector = (unsigned)((vcpu->rip - SUPERVISOR - HANDLERS) / 16);
	end->error = 0;
	if (has_error_code(end->vector)) {
		end->error = get64(frame);
		frame += 8;
	}
	end->rip = get64(frame);
	end->rflags = get64(frame + 16);
	end->gpr[RSP] = get64(frame + 24);
	end->cr2 = vcpu->cr2;
	memcpy(end->zmm, vcpu->fpu.zmm, sizeof(end->zmm));
	memcpy(end->opmask, vcpu->fpu.opmask, sizeof(end->opmask));
	memcpy(end->x87, vcpu->fpu.x87, sizeof(end->x87));
	end->mxcsr = vcpu->fpu.mxcsr;
	memcpy(end->data, memory.ram + DATA_PAGES, ORACLE_DATA_SIZE);
}

void guest_run(
	const struct oracle_case *test, const struct oracle_state *start, struct oracle_state *end)
{
	static const uint8_t int3[15] = {0xcc, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc,
		0xcc, 0xcc, 0xcc, 0xcc, 0xcc};
	enum vcpu_exit reason;

	memory_write(&memory, CODE_PAGE + test->offset, test->bytes, test->length);
	memcpy(memory.ram + DATA_PAGES, start->data, ORACLE_DATA_SIZE);
	load_state(test, start);
	reason = engine->vcpu_run(vcpu);
	if (reason == VCPU_EXIT_HALTED && vcpu->rip - SUPERVISOR - HANDLERS < 512) {
		store_state(end);
	} else {
		memset(end, 0, sizeof(*end));
		end->vector = 0x100 + reason;
	}
	memory_write(&memory, CODE_PAGE + test->offset, int3, test->length);
}
