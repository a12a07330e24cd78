/* What memory/ promises of ROM, revoked pages and the log of stores, seen by a guest program: under
 * each engine, cold and hot, through the TLB, native stubs, the soft TLB (lower half) and windows
 * (upper half). */
#include "engine_fixture.h"

#include "engine/bt/bt.h"

#include <pthread.h>
#include <unistd.h>

#define CODE    0x200000
#define DATA    0x300000
#define OUTSIDE RAM_SIZE /* mapped, and nothing is there */
#define TURNS   100

static const struct engine *engine;
static uint64_t base; /* where the code sees guest-physical 0 */

static int setup(void **state)
{
	fpu_init();
	options.heat = 1;
	return engine_fixture_setup(state, engine);
}

static int teardown(void **state)
{
	return engine_fixture_teardown(state, engine);
}

static void enter(void)
{
	enter_long(0);
	put(TABLES + 0x2000 + OUTSIDE / (2 * MIB) * 8, OUTSIDE | 0xe7, 8);
	cpu->cr4 |= CR4_OSFXSR | CR4_OSXMMEXCPT;
	tlb_flush_all(cpu);
	memset(cpu->fpu.zmm, 0xcc, 16);
	memcpy(cpu->fpu.x87, &(uint16_t){0x37f}, 2);
}

static void run_at(uint64_t gpa)
{
	assert_int_equal(engine_fixture_run(engine, base + gpa), VCPU_EXIT_HALTED);
}

/* Stores of several kinds to [rdi], round and round. */
static const uint8_t stores[] = {
	0xb9, TURNS, 0, 0, 0,            /* mov ecx, TURNS */
	0xc7, 0x07, 0x11, 0x22, 0x33, 0, /* 1: mov dword [rdi], 0x332211 */
	0x48, 0x01, 0x47, 0x08,          /* add [rdi + 8], rax */
	0xf0, 0x48, 0xff, 0x47, 0x10,    /* lock inc qword [rdi + 16] */
	0x0f, 0x11, 0x47, 0x20,          /* movups [rdi + 32], xmm0 */
	0xd9, 0xe8, 0xdd, 0x5f, 0x30,    /* fld1; fstp qword [rdi + 48] */
	0x48, 0x87, 0x47, 0x40,          /* xchg [rdi + 64], rax */
	0x48, 0x89, 0xfa,                /* mov rdx, rdi */
	0x48, 0x83, 0xc7, 0x50, 0xa4,    /* add rdi, 80; movsb */
	0x48, 0x89, 0xd7,                /* mov rdi, rdx */
	0xff, 0xc9, 0x75, 0xd5,          /* dec ecx; jnz 1b */
	0xf4,                            /* hlt */
};

static void store_to(uint64_t gpa)
{
	cpu->gpr[RDI] = base + gpa;
	cpu->gpr[RSI] = base + STACK0;
	cpu->gpr[RAX] = 1;
	cpu->gpr[RSP] = base + STACK0;
	run_at(CODE);
}

static void load_stores(void)
{
	assert_int_equal(memory_write(&memory, CODE, stores, sizeof(stores)), 0);
}

static void fill(uint8_t image[PAGE_SIZE])
{
	for (unsigned i = 0; i < PAGE_SIZE; i++)
		image[i] = (uint8_t)(i * 7 + 3);
}

/* Cold, hot, and where the page was RAM while the code became hot. */
static void stores_to_rom_are_dropped(void **state)
{
	uint8_t image[PAGE_SIZE], now[PAGE_SIZE];
	static const uint64_t places[] = {DATA, OUTSIDE + 0x3000};

	enter();
	load_stores();
	fill(image);
	for (unsigned i = 0; i < ARRAY_SIZE(places); i++) {
		store_to(places[i]);
		assert_int_equal(memory_rom_add(&memory, places[i], PAGE_SIZE, image, "ROM"), 0);
		for (unsigned round = 0; round < 3; round++)
			store_to(places[i]);
		assert_int_equal(memory_read(&memory, places[i], now, PAGE_SIZE), 0);
		assert_memory_equal(now, image, PAGE_SIZE);
		/* What XCHG read in the last turn is the ROM's. */
		assert_memory_equal(&cpu->gpr[RAX], image + 64, 8);
		assert_int_equal(memory_rom_remove(&memory, places[i]), 0);
		store_to(places[i]);
	}
	/* RAM again. */
	assert_int_equal(get(DATA, 4), 0x332211);
	/* Nothing: what XCHG reads. */
	assert_true(cpu->gpr[RAX] == ~UINT64_C(0));
}

/* A page table in ROM works, and gets no bits set. */
static void page_tables_in_rom(void **state)
{
	uint8_t table[PAGE_SIZE] = {0};

	enter();
	load_stores();
	for (unsigned i = 0; i < 9; i++) /* no A, no D */
		memcpy(table + i * 8, &(uint64_t){i * 2 * MIB | 0x87}, 8);
	assert_int_equal(memory_rom_add(&memory, TABLES + 0x2000, PAGE_SIZE, table, "ROM"), 0);
	store_to(DATA);
	store_to(DATA);
	assert_int_equal(get(DATA, 4), 0x332211);
	assert_int_equal(get(TABLES + 0x2000 + 8, 8), 2 * MIB | 0x87);
}

/* Code in a ROM runs hot; when another ROM takes its place, that runs. */
static void revoked_code_is_forgotten(void **state)
{
	static const uint64_t places[] = {DATA, OUTSIDE + 0x5000};
	uint8_t image[PAGE_SIZE] = {
		0xb9, TURNS, 0, 0, 0,        /* mov ecx, TURNS */
		0x83, 0xc0, 0x01,            /* 1: add eax, 1 */
		0xff, 0xc9, 0x75, 0xf9, 0xf4 /* dec ecx; jnz 1b; hlt */
	};

	enter();
	for (unsigned i = 0; i < ARRAY_SIZE(places); i++)
		for (unsigned step = 1; step < 4; step++) {
			/* The request comes from this thread, or from another. */
			struct cpu *mine = cpu_current;

			cpu_current = step == 2 ? NULL : mine;
			image[7] = (uint8_t)step;
			assert_int_equal(
				memory_rom_add(&memory, places[i], PAGE_SIZE, image, "ROM"), 0);
			cpu_current = mine;
			for (unsigned round = 0; round < 3; round++) {
				cpu->gpr[RAX] = 0;
				run_at(places[i]);
				assert_int_equal(cpu->gpr[RAX], step * TURNS);
			}
			assert_true(cpu_revoked(cpu));
			assert_int_equal(memory_rom_remove(&memory, places[i]), 0);
		}
}

static uint64_t flash_load(void *opaque, uint64_t offset, unsigned size)
{
	++*(unsigned *)opaque;
	return 0x80;
}

/* As flash memory does: 0x70 shows a status, 0xff the bytes again. */
static void flash_store(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	memory_rom_hide(&memory, OUTSIDE + 0x6000, (uint8_t)value == 0x70);
}

/* Loads of a ROM reach the device behind it while it is hidden, wherever its host address was kept.
 */
static void hidden_rom_is_a_device(void **state)
{
	static const struct io_ops ops = {.read = flash_load, .write = flash_store, .width = 1};
	static const uint8_t code[] = {
		0xb9, TURNS, 0, 0, 0,       /* mov ecx, TURNS */
		0xc6, 0x07, 0x70,           /* 1: mov byte [rdi], 0x70 */
		0x8a, 0x07, 0x02, 0x47, 31, /* mov al, [rdi]; add al, [rdi + 31] */
		0xc6, 0x07, 0xff,           /* mov byte [rdi], 0xff */
		0x02, 0x47, 32,             /* add al, [rdi + 32] */
		0x00, 0xc3,                 /* add bl, al */
		0xff, 0xc9, 0x75, 0xec,     /* dec ecx; jnz 1b */
		0xf4,                       /* hlt */
	};
	uint8_t image[PAGE_SIZE];
	unsigned loads = 0;

	enter();
	fill(image);
	assert_int_equal(memory_write(&memory, CODE, code, sizeof(code)), 0);
	assert_int_equal(memory_rom_add(&memory, OUTSIDE + 0x6000, PAGE_SIZE, image, "flash"), 0);
	assert_int_equal(
		io_space_add(&memory.mmio, OUTSIDE + 0x6000, PAGE_SIZE, "flash", &ops, &loads), 0);
	for (unsigned round = 0; round < 3; round++) {
		cpu->gpr[RBX] = 0;
		cpu->gpr[RDI] = base + OUTSIDE + 0x6000;
		run_at(CODE);
		assert_int_equal(cpu->gpr[RBX], (uint8_t)(TURNS * image[32]));
		assert_int_equal(loads, 2 * TURNS * (round + 1));
	}
}

static bool in_log(uint64_t gpa)
{
	uint64_t pages[RAM_SIZE / PAGE_SIZE / 64] = {0};

	memory_log_take(&memory, 0, RAM_SIZE / PAGE_SIZE, pages);
	return pages[gpa / PAGE_SIZE / 64] >> (gpa / PAGE_SIZE % 64) & 1;
}

/* Each kind of store alone, hot: the log has its page after each time that it was taken. */
static void stores_are_in_the_log(void **state)
{
	static const struct {
		uint8_t bytes[8], size;
	} kinds[] = {
		{{0xc7, 0x07, 1, 2, 3, 4}, 6},       /* mov dword [rdi], imm */
		{{0x48, 0x01, 0x47, 0x08}, 4},       /* add [rdi + 8], rax */
		{{0xf0, 0x48, 0xff, 0x47, 0x10}, 5}, /* lock inc */
		{{0x0f, 0x11, 0x47, 0x20}, 4},       /* movups */
		{{0xd9, 0xe8, 0xdd, 0x5f, 0x30}, 5}, /* fld1; fstp */
		{{0x48, 0x87, 0x47, 0x40}, 4},       /* xchg */
		{{0xaa, 0x48, 0xff, 0xcf}, 4},       /* stosb; dec rdi */
		{{0x48, 0x0f, 0xab, 0x47, 0x48}, 5}, /* bts [rdi + 72], rax */
		{{0x48, 0x89, 0xfc, 0x48, 0x83, 0xc4, 0x60, 0x50},
			8},                                   /* rsp = rdi + 96; push rax */
		{{0x0f, 0xc3, 0x47, 0x50}, 4},                /* movnti [rdi + 80], eax */
		{{0x0f, 0x94, 0x47, 0x70}, 4},                /* setz [rdi + 112] */
		{{0x48, 0x0f, 0xae, 0x87, 0x80, 0, 0, 0}, 8}, /* fxsave64 [rdi + 128] */
	};
	uint8_t code[32] = {0xb9, TURNS, 0, 0, 0};

	enter();
	assert_int_equal(memory_log_start(&memory), 0);
	for (unsigned k = 0; k < ARRAY_SIZE(kinds); k++) {
		unsigned size = 5 + kinds[k].size;

		memcpy(code + 5, kinds[k].bytes, kinds[k].size);
		code[size++] = 0xff;
		code[size++] = 0xc9;
		code[size++] = 0x75;
		code[size++] = (uint8_t) - (kinds[k].size + 4);
		code[size++] = 0xf4;
		assert_int_equal(memory_write(&memory, CODE, code, size), 0);
		for (unsigned round = 0; round < 4; round++) {
			in_log(DATA);
			assert_false(in_log(DATA));
			cpu->gpr[RSI] = base + STACK0;
			store_to(DATA);
			if (!in_log(DATA))
				fail_msg("store %u, round %u", k, round);
			assert_false(in_log(DATA + PAGE_SIZE));
		}
	}
	memory_log_stop(&memory);
}

/* A device's store, and the bits that the processor sets in tables. */
static void implicit_stores_are_in_the_log(void **state)
{
	enter();
	load_stores();
	assert_int_equal(memory_log_start(&memory), 0);
	assert_int_equal(memory_write(&memory, DATA, "x", 1), 0);
	assert_true(in_log(DATA));
	put(TABLES + 0x2000 + 8, 2 * MIB | 0x87, 8);
	in_log(DATA);
	tlb_flush_all(cpu);
	store_to(DATA);
	assert_int_equal(get(TABLES + 0x2000 + 8, 8), 2 * MIB | 0xe7);
	assert_true(in_log(TABLES + 0x2000));
	memory_log_stop(&memory);
}

/* A running vCPU that never leaves its code still acts on a request to revoke pages. */
static void *vcpu_thread(void *opaque)
{
	return (void *)(uintptr_t)engine->vcpu_run(cpu);
}

static void a_running_vcpu_is_reached(void **state)
{
	static const uint8_t code[] = {
		0x48, 0x8b, 0x07, 0xeb, 0xfb}; /* 1: mov rax, [rdi]; jmp 1b */
	pthread_t thread;
	void *exit;

	enter();
	assert_int_equal(memory_write(&memory, CODE, code, sizeof(code)), 0);
	fpu_init();
	cpu_clear_pending(cpu, PENDING_STOP);
	cpu->gpr[RDI] = base + DATA;
	cpu->rip = cpu->next_rip = base + CODE;
	cpu_current = NULL;
	pthread_create(&thread, NULL, vcpu_thread, NULL);
	for (unsigned i = 0; i < 20; i++) {
		unsigned waited = 0;

		memory_revoke(&memory, DATA >> PAGE_SHIFT, 1);
		while (!cpu_revoked(cpu) && waited++ < 20000)
			usleep(1000);
		assert_true(cpu_revoked(cpu));
		usleep(1000);
	}
	cpu_set_pending(cpu, PENDING_STOP);
	pthread_join(thread, &exit);
	assert_int_equal((uintptr_t)exit, VCPU_EXIT_STOPPED);
}

static int run_under(const struct engine *which, uint64_t half, const char *name)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(stores_to_rom_are_dropped, setup, teardown),
		cmocka_unit_test_setup_teardown(page_tables_in_rom, setup, teardown),
		cmocka_unit_test_setup_teardown(revoked_code_is_forgotten, setup, teardown),
		cmocka_unit_test_setup_teardown(hidden_rom_is_a_device, setup, teardown),
		cmocka_unit_test_setup_teardown(stores_are_in_the_log, setup, teardown),
		cmocka_unit_test_setup_teardown(implicit_stores_are_in_the_log, setup, teardown),
		cmocka_unit_test_setup_teardown(a_running_vcpu_is_reached, setup, teardown),
	};

	engine = which;
	base = half;
	return cmocka_run_group_tests_name(name, tests, NULL, NULL);
}

int main(int argc, char **argv)
{
	const char *which = argc > 1 ? argv[1] : "interp";

	if (strcmp(which, "interp") == 0)
		return run_under(&engine_interp, 0, "interp");
	if (strcmp(which, "bt") == 0)
		return run_under(&engine_bt, 0, "bt, soft TLB");
	return run_under(&engine_bt, HIGH_HALF, "bt, windows");
}
