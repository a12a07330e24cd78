/* What the CPU model withholds is refused: each feature that has a name, by an instruction, a
 * register or a bit that belongs to it, under the engine that argv names, cold and hot. With the
 * feature the same goes through, so that no row can pass for another reason. */
#include "engine_fixture.h"

#include <errno.h>
#include <unistd.h>

#define CODE     0x200000
#define AREA     0x300000 /* RDI */
#define HANDLERS 0x400000 /* 16 bytes for each exception */
#define GIB_PAGE (HIGH_HALF + GIB)

static const struct engine *engine;
static bool created;

/* What goes into EDX:EAX. */
enum value {
	NOTHING,
	CR4_WITH,   /* CR4 and `number` */
	EFER_WITH,  /* EFER and `number` */
	XCR0_WITH,  /* XCR0 and `number` */
	STATE_MASK, /* all of the extended state */
	NUMBER,     /* `number` */
};

struct attempt {
	const char *feature;
	uint8_t size, code[11];
	uint8_t vector; /* what it raises without the feature; with it, nothing */
	enum value value;
	uint64_t number;
	uint32_t ecx;
};

#define UD(feature, size, ...)                                                                     \
	{                                                                                          \
		feature, size, {__VA_ARGS__}, VECTOR_UD, NOTHING, 0, 0                             \
	}
#define UD_STATE(feature, ...)                                                                     \
	{                                                                                          \
		feature, 3, {__VA_ARGS__}, VECTOR_UD, STATE_MASK, 0, 0                             \
	}
#define CR4(feature, bit)                                                                          \
	{                                                                                          \
		feature, 3, {0x0f, 0x22, 0xe0}, VECTOR_GP, CR4_WITH, bit, 0                        \
	}
#define EFER(feature, bit)                                                                         \
	{                                                                                          \
		feature, 2, {0x0f, 0x30}, VECTOR_GP, EFER_WITH, bit, 0xc0000080                    \
	}
#define XCR0(feature, bits)                                                                        \
	{                                                                                          \
		feature, 3, {0x0f, 0x01, 0xd1}, VECTOR_GP, XCR0_WITH, bits, 0                      \
	}
#define RDMSR(feature, msr)                                                                        \
	{                                                                                          \
		feature, 2, {0x0f, 0x32}, VECTOR_GP, NOTHING, 0, msr                               \
	}
#define WRMSR(feature, msr, value)                                                                 \
	{                                                                                          \
		feature, 2, {0x0f, 0x30}, VECTOR_GP, NUMBER, value, msr                            \
	}

static const struct attempt attempts[] = {
	UD("pni", 4, 0xf2, 0x0f, 0xf0, 0x07),                          /* lddqu xmm0, [rdi] */
	UD("pclmulqdq", 6, 0x66, 0x0f, 0x3a, 0x44, 0xc1, 0),           /* pclmulqdq */
	UD("ssse3", 5, 0x66, 0x0f, 0x38, 0x1c, 0xc1),                  /* pabsb */
	UD("fma", 5, 0xc4, 0xe2, 0x71, 0x98, 0xc2),                    /* vfmadd132ps */
	UD("cx16", 4, 0x48, 0x0f, 0xc7, 0x0f),                         /* cmpxchg16b [rdi] */
	UD("sse4.1", 5, 0x66, 0x0f, 0x38, 0x29, 0xc1),                 /* pcmpeqq */
	UD("sse4.2", 5, 0x66, 0x0f, 0x38, 0x37, 0xc1),                 /* pcmpgtq */
	UD("movbe", 4, 0x0f, 0x38, 0xf0, 0x07),                        /* movbe eax, [rdi] */
	UD("popcnt", 4, 0xf3, 0x0f, 0xb8, 0xc1),                       /* popcnt eax, ecx */
	UD("aes", 5, 0x66, 0x0f, 0x38, 0xdb, 0xc1),                    /* aesimc */
	UD("avx", 4, 0xc5, 0xf8, 0x28, 0xc1),                          /* vmovaps xmm */
	UD("avx", 4, 0xc5, 0xf8, 0xae, 0x1f),                          /* vstmxcsr [rdi] */
	UD("f16c", 5, 0xc4, 0xe2, 0x79, 0x13, 0xc1),                   /* vcvtph2ps */
	UD("rdrand", 3, 0x0f, 0xc7, 0xf0),                             /* rdrand eax */
	UD("bmi1", 5, 0xc4, 0xe2, 0x70, 0xf2, 0xc1),                   /* andn */
	UD("avx2", 4, 0xc5, 0xf5, 0xfc, 0xc1),                         /* vpaddb ymm */
	UD("bmi2", 5, 0xc4, 0xe2, 0x71, 0xf7, 0xc2),                   /* shlx */
	UD("avx512f", 6, 0x62, 0xf1, 0x7c, 0x48, 0x28, 0xc1),          /* vmovaps zmm */
	UD("avx512dq", 6, 0x62, 0xf1, 0xf5, 0x48, 0x54, 0xc2),         /* vandpd */
	UD("rdseed", 3, 0x0f, 0xc7, 0xf8),                             /* rdseed eax */
	UD("adx", 5, 0x66, 0x0f, 0x38, 0xf6, 0xc1),                    /* adcx */
	UD("avx512ifma", 6, 0x62, 0xf2, 0xf5, 0x48, 0xb4, 0xc2),       /* vpmadd52luq */
	UD("avx512cd", 6, 0x62, 0xf2, 0x7d, 0x48, 0x44, 0xc1),         /* vplzcntd */
	UD("sha-ni", 4, 0x0f, 0x38, 0xc8, 0xc1),                       /* sha1nexte */
	UD("avx512bw", 6, 0x62, 0xf1, 0x75, 0x48, 0xfc, 0xc2),         /* vpaddb zmm */
	UD("avx512vl", 6, 0x62, 0xf1, 0x7c, 0x08, 0x28, 0xc1),         /* vmovaps xmm, EVEX */
	UD("avx512vbmi", 6, 0x62, 0xf2, 0x75, 0x48, 0x8d, 0xc2),       /* vpermb */
	UD("avx512vbmi2", 7, 0x62, 0xf3, 0x75, 0x48, 0x71, 0xc2, 1),   /* vpshldd */
	UD("gfni", 5, 0x66, 0x0f, 0x38, 0xcf, 0xc1),                   /* gf2p8mulb */
	UD("vaes", 5, 0xc4, 0xe2, 0x75, 0xdc, 0xc2),                   /* vaesenc ymm */
	UD("vpclmulqdq", 6, 0xc4, 0xe3, 0x75, 0x44, 0xc2, 0),          /* vpclmulqdq ymm */
	UD("avx512vnni", 6, 0x62, 0xf2, 0x75, 0x48, 0x50, 0xc2),       /* vpdpbusd zmm */
	UD("avx512bitalg", 6, 0x62, 0xf2, 0x7d, 0x48, 0x54, 0xc1),     /* vpopcntb */
	UD("avx512-vpopcntdq", 6, 0x62, 0xf2, 0x7d, 0x48, 0x55, 0xc1), /* vpopcntd */
	UD("avx-vnni", 5, 0xc4, 0xe2, 0x71, 0x50, 0xc2),               /* vpdpbusd */
	UD("avx512-bf16", 6, 0x62, 0xf2, 0x76, 0x48, 0x52, 0xc2),      /* vdpbf16ps */
	UD("sse4a", 4, 0x66, 0x0f, 0x79, 0xc1),                        /* extrq */

	UD("hypervisor", 3, 0x0f, 0x01, 0xc1), /* vmcall */
	UD("hypervisor", 3, 0x0f, 0x01, 0xd9), /* vmmcall */
	RDMSR("kvmclock", 0x12),
	RDMSR("kvmclock", 0x4b564d01),
	RDMSR("kvm-steal-time", 0x4b564d03),
	RDMSR("hypervisor", 0x12),
	RDMSR("hypervisor", 0x4b564d01),
	UD("fsgsbase", 5, 0xf3, 0x48, 0x0f, 0xae, 0xc0), /* rdfsbase rax */
	UD("fsgsbase", 5, 0xf3, 0x48, 0x0f, 0xae, 0xc8), /* rdgsbase rax */
	UD("fsgsbase", 5, 0xf3, 0x48, 0x0f, 0xae, 0xd0), /* wrfsbase rax */
	UD("fsgsbase", 5, 0xf3, 0x48, 0x0f, 0xae, 0xd8), /* wrgsbase rax */
	CR4("fsgsbase", CR4_FSGSBASE),
	UD("invpcid", 5, 0x66, 0x0f, 0x38, 0x82, 0x07), /* invpcid rax, [rdi] */
	UD("smap", 3, 0x0f, 0x01, 0xcb),                /* stac */
	UD("smap", 3, 0x0f, 0x01, 0xca),                /* clac */
	CR4("smap", CR4_SMAP),
	CR4("smep", CR4_SMEP),
	CR4("umip", CR4_UMIP),
	CR4("vme", CR4_VME),
	CR4("vme", CR4_PVI),
	CR4("pcid", CR4_PCIDE),
	CR4("xsave", CR4_OSXSAVE),
	UD("clflushopt", 4, 0x66, 0x0f, 0xae, 0x3f), /* clflushopt [rdi] */
	UD("clwb", 4, 0x66, 0x0f, 0xae, 0x37),       /* clwb [rdi] */
	UD("pku", 3, 0x0f, 0x01, 0xee),              /* rdpkru */
	UD("pku", 3, 0x0f, 0x01, 0xef),              /* wrpkru */
	CR4("pku", CR4_PKE),
	XCR0("pku", BIT(XSTATE_PKRU)),
	XCR0("avx", XCR0_AVX),
	XCR0("avx512f", XCR0_AVX | XCR0_AVX512),
	WRMSR("la57", 0xc0000100, UINT64_C(0x00ffaaaaaaaaaaaa)),
	UD("rdpid", 4, 0xf3, 0x0f, 0xc7, 0xf8), /* rdpid rax */
	UD("rdtscp", 3, 0x0f, 0x01, 0xf9),
	UD_STATE("xsave", 0x0f, 0xae, 0x27),    /* xsave [rdi] */
	UD_STATE("xsave", 0x0f, 0xae, 0x2f),    /* xrstor [rdi] */
	UD("xsave", 3, 0x0f, 0x01, 0xd0),       /* xgetbv */
	UD_STATE("xsaveopt", 0x0f, 0xae, 0x37), /* xsaveopt [rdi] */
	UD_STATE("xsavec", 0x0f, 0xc7, 0x27),   /* xsavec [rdi] */
	UD_STATE("xsaves", 0x0f, 0xc7, 0x2f),   /* xsaves [rdi] */
	UD_STATE("xsaves", 0x0f, 0xc7, 0x1f),   /* xrstors [rdi] */
	/* xrstor [rdi], in the compacted format */
	{"xsavec", 3, {0x0f, 0xae, 0x2f}, VECTOR_GP, STATE_MASK, 0, 0},
	/* xgetbv with 1 */
	{"xgetbv1", 3, {0x0f, 0x01, 0xd0}, VECTOR_GP, NOTHING, 0, 1},
	UD("lahf-lm", 1, 0x9f),
	UD("lahf-lm", 1, 0x9e), /* sahf */
	/* ldmxcsr [rdi + 0x800] with MM set */
	{"misalignsse", 7, {0x0f, 0xae, 0x97, 0, 8, 0, 0}, VECTOR_GP, NOTHING, 0, 0},
	EFER("nx", EFER_NXE),
	EFER("fxsr-opt", EFER_FFXSR),
	EFER("auto-ibrs", EFER_AUTOIBRS),
	/* mov rax, [GIB_PAGE] */
	{"pdpe1gb", 10, {0x48, 0xa1, 0, 0, 0, 0x40, 0, 0x80, 0xff, 0xff}, VECTOR_PF, NOTHING, 0, 0},
	RDMSR("tsc-adjust", 0x3b),
	RDMSR("x2apic", 0x802),
	WRMSR("x2apic", 0x80b, 0),
	RDMSR("tsc-deadline", 0x6e0),
	WRMSR("tsc-deadline", 0x6e0, 0),
	RDMSR("spec-ctrl", 0x48),
	WRMSR("spec-ctrl", 0x49, 1),
	RDMSR("arch-capabilities", 0x10a),
	RDMSR("xsaves", 0xda0),
};

/* Those with nothing to refuse, or whose hypercall gives an error number (test_paravirt): without
 * it LZCNT is BSR (test_decode), PREFETCHW a NOP, MMXEXT part
 * of SSE, REP MOVSB slower, a leaf of CPUID empty (test_cpuid). The others, from ARAT on, tell what
 * software need not do. */
static const char *const harmless[] = {"abm", "3dnowprefetch", "mmxext", "erms", "fsrm", "topoext",
	"arat", "xsaveerptr", "amd-no-ssb", "btc-no", "no-nested-data-bp",
	"lfence-always-serializing", "null-sel-clr-base", "srso-no", "tsa-sq-no", "tsa-l1-no",
	"kvm-nopiodelay", "kvm-pv-unhalt", "kvm-pv-tlb-flush", "kvm-pv-ipi", "kvm-pv-sched-yield",
	"kvmclock-stable-bit"};

/* --- a local APIC that has every register --- */

static bool apic_read(void *opaque, struct cpu *c, uint32_t msr, uint64_t *value)
{
	*value = 0;
	return true;
}

static bool apic_write(void *opaque, struct cpu *c, uint32_t msr, uint64_t value)
{
	return true;
}

/* --- running --- */

static void build_model(const char *text)
{
	static struct cpuid_host host;
	struct cpu_features withheld = {{0}};

	if (!host.count)
		cpuid_host_read(&host);
	if (engine->withheld)
		engine->withheld(&options, &withheld);
	assert_int_equal(cpu_model_build(&fixture_model, &host, &withheld, text), 0);
}

static void create(const char *text)
{
	fpu_init();
	assert_int_equal(fixture_setup(NULL), 0);
	cpu_destroy(cpu);
	build_model(text);
	platform.apic_msr_read = apic_read;
	platform.apic_msr_write = apic_write;
	cpu = cpu_create(&platform, 0);
	assert_non_null(cpu);
	assert_int_equal(engine_fixture_create(engine), 0);
	created = true;
}

static void destroy(void)
{
	engine_fixture_destroy(engine);
	fixture_teardown(NULL);
	created = false;
}

/* After a test that failed in the middle. */
static int teardown(void **state)
{
	if (created)
		destroy();
	return 0;
}

/* mov ebx, vector; hlt */
static void put_handlers(void)
{
	for (unsigned vector = 0; vector < 32; vector++) {
		put(HANDLERS + 16 * vector, 0xbb | (uint64_t)vector << 8 | UINT64_C(0xf4) << 40, 6);
		idt_set64(vector, 0xe, CODE0, HIGH_HALF + HANDLERS + 16 * vector, 0, 0);
	}
}

static void put_code(const struct attempt *attempt)
{
	put(CODE, 0xdb31, 2); /* xor ebx, ebx */
	assert_int_equal(memory_write(&memory, CODE + 2, attempt->code, attempt->size), 0);
	put(CODE + 2 + attempt->size, 0xf4, 1); /* hlt */
}

/* All that the processor has is on, but what would keep the code from running. */
static void enter(void)
{
	enter_long(0);
	cpu->cr4 |= fixture_model.cr4 &
		    (CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE | CR4_FSGSBASE | CR4_PKE);
	cpu->efer &= fixture_model.efer;
	cpu->xcr0 = fixture_model.xcr0;
	put(TABLES + 0x1000 + 8, 0x83, 8);
	put_handlers();
	memset(cpu->fpu.zmm, 0, sizeof(cpu->fpu.zmm));
	tlb_flush_all(cpu);
	cpu->engine_ops->code_context_changed(cpu);
}

static uint64_t value_for(const struct attempt *attempt)
{
	switch (attempt->value) {
	case CR4_WITH:
		return cpu->cr4 | attempt->number;
	case EFER_WITH:
		return cpu->efer | attempt->number;
	case XCR0_WITH:
		return 1 | attempt->number;
	case STATE_MASK:
		return ~UINT64_C(0);
	case NUMBER:
		return attempt->number;
	default:
		return 0;
	}
}

/* Which exception does it raise? 0: none. */
static unsigned attempt_once(const struct attempt *attempt)
{
	static const uint8_t zeroes[PAGE_SIZE];
	uint64_t value;

	enter();
	assert_int_equal(memory_write(&memory, AREA, zeroes, sizeof(zeroes)), 0);
	if (attempt->vector == VECTOR_GP)
		put(AREA + 520, BIT(63), 8); /* XCOMP_BV: compacted */
	if (strcmp(attempt->feature, "xsaves") == 0)
		put(AREA + 520, BIT(63), 8);
	put(AREA + 0x800, 0x21f80, 4); /* MXCSR with MM */
	value = value_for(attempt);
	cpu->gpr[RAX] = (uint32_t)value;
	cpu->gpr[RDX] = value >> 32;
	cpu->gpr[RCX] = attempt->ecx;
	cpu->gpr[RDI] = HIGH_HALF + AREA;
	cpu->gpr[RSP] = HIGH_HALF + STACK0;
	cpu_clear_pending(cpu, PENDING_STOP);
	cpu->activity = ACTIVITY_RUNNING;
	cpu->rip = cpu->next_rip = HIGH_HALF + CODE;
	fpu_init(); /* the test library has handlers of its own */
	assert_int_equal(engine->vcpu_run(cpu), VCPU_EXIT_HALTED);
	return (unsigned)cpu->gpr[RBX];
}

static void attempt_all(const struct attempt *attempt, bool has)
{
	put_code(attempt);
	for (unsigned round = 0; round < 4; round++) {
		unsigned vector = attempt_once(attempt), expected = has ? 0 : attempt->vector;

		if (vector != expected)
			fail_msg("%s, %s, attempt %td, round %u: vector %u", attempt->feature,
				has ? "there" : "withheld", attempt - attempts, round, vector);
	}
}

/* Does the model of this host and engine have it? */
static bool is_there(const char *text)
{
	struct cpu_features with;

	build_model(NULL);
	with = fixture_model.features;
	build_model(text);
	return memcmp(&with, &fixture_model.features, sizeof(with)) != 0;
}

/* What belongs to one feature, with it and without. */
static void refused_where_withheld(void **state)
{
	char text[64];

	for (unsigned i = 0, next; i < ARRAY_SIZE(attempts); i = next) {
		const char *feature = attempts[i].feature;
		bool has;

		for (next = i; next < ARRAY_SIZE(attempts) &&
			       strcmp(attempts[next].feature, feature) == 0;)
			next++;
		snprintf(text, sizeof(text), "host,-%s", feature);
		has = is_there(text);
		for (unsigned with = 0; with <= has; with++) {
			create(with ? "host" : text);
			for (unsigned k = i; k < next; k++)
				attempt_all(&attempts[k], with);
			destroy();
		}
	}
}

static bool is_tested(const char *name)
{
	for (unsigned i = 0; i < ARRAY_SIZE(attempts); i++)
		if (strcmp(attempts[i].feature, name) == 0)
			return true;
	for (unsigned i = 0; i < ARRAY_SIZE(harmless); i++)
		if (strcmp(harmless[i], name) == 0)
			return true;
	return false;
}

/* The message about a feature that is unknown lists those that are not. */
static void read_names(char *text, size_t size)
{
	FILE *file = tmpfile();
	int standard_error = dup(STDERR_FILENO);
	size_t length;

	dup2(fileno(file), STDERR_FILENO);
	assert_int_equal(cpu_model_check("host,-no-such-feature"), -EINVAL);
	dup2(standard_error, STDERR_FILENO);
	close(standard_error);
	rewind(file);
	length = fread(text, 1, size - 1, file);
	fclose(file);
	text[length] = 0;
}

static void every_name_is_tested(void **state)
{
	char text[2048], *rest, *word;
	unsigned count = 0;

	read_names(text, sizeof(text));
	rest = strstr(text, "there are:");
	assert_non_null(rest);
	strtok_r(rest, ":", &rest);
	while ((word = strtok_r(NULL, " \n", &rest))) {
		if (!is_tested(word))
			fail_msg("nothing tests that '%s' is refused", word);
		count++;
	}
	assert_true(count > 60);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(refused_where_withheld, teardown),
		cmocka_unit_test(every_name_is_tested),
	};

	engine = argc > 1 && strcmp(argv[1], "bt") == 0 ? &engine_bt : &engine_interp;
	options.heat = 1;
	return cmocka_run_group_tests_name(engine->name, tests, NULL, NULL);
}
