/* A vCPU with windows, for their tests: page tables with one small table in each half, and accesses
 * as translated code makes them. */
#ifndef VENEER_TESTS_WINDOW_FIXTURE_H
#define VENEER_TESTS_WINDOW_FIXTURE_H

#include "cpu_fixture.h"

#include "engine/bt/window_internal.h"

#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <time.h>

enum { P = 1, W = 2, U = 4, A = 0x20, D = 0x40, PS = 0x80, G = 0x100 };

#define ROOT    TABLES
#define ROOT_B  (TABLES + 0x10000)
#define PDPT    (TABLES + 0x1000)
#define PD      (TABLES + 0x2000)
#define PT      (TABLES + 0x3000)
#define PDPT_UP (TABLES + 0x4000)
#define PD_UP   (TABLES + 0x5000)
#define PT_UP   (TABLES + 0x6000)
#define FRAME   UINT64_C(0x400000) /* data pages are here and above */
#define LOWER   (BIT(39) | BIT(30) | BIT(21))
#define UPPER   (UINT64_C(0xffff800000000000) | LOWER)

static struct bt *bt;
static sigjmp_buf landing;

static void on_segv(int signal)
{
	siglongjmp(landing, 1);
}

static inline void bt_flushed(struct cpu *c, const struct tlb_request *request)
{
	windows_flush(bt, request);
}

static inline void bt_context_changed(struct cpu *c)
{
}

static const struct cpu_engine_ops bt_ops = {
	bt_context_changed, bt_flushed, cpu_no_kick, cpu_pull_live, cpu_push_live};

static inline uint64_t low(unsigned page)
{
	return LOWER + page * PAGE_SIZE;
}

static inline uint64_t high(unsigned page)
{
	return UPPER + page * PAGE_SIZE;
}

static inline void map_low(unsigned page, uint64_t entry)
{
	put(PT + page * 8, entry, 8);
}

static inline void map_high(unsigned page, uint64_t entry)
{
	put(PT_UP + page * 8, entry, 8);
}

static inline void fill_tables(uint64_t root)
{
	put(root + 8, PDPT | P | W | U, 8);
	put(PDPT + 8, PD | P | W | U, 8);
	put(PD + 8, PT | P | W | U, 8);
	put(root + 257 * 8, PDPT_UP | P | W, 8);
	put(PDPT_UP + 8, PD_UP | P | W, 8);
	put(PD_UP + 8, PT_UP | P | W, 8);
}

static inline int bt_setup(void **state)
{
	if (fixture_setup(state) < 0)
		return -1;
	bt = mmap(NULL, sizeof(*bt), PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (bt == MAP_FAILED)
		return -1;
	bt->cpu = cpu;
	fill_tables(ROOT);
	fill_tables(ROOT_B);
	cpu->cr0 |= CR0_PE | CR0_PG | CR0_WP;
	cpu->cr4 |= CR4_PAE | CR4_PGE;
	cpu->cr3 = ROOT;
	cpu->efer |= EFER_LME | EFER_LMA | EFER_NXE;
	cpu->segment[SEG_CS].access |= AR_L;
	for (unsigned page = 0; page < 512; page++)
		put(FRAME + page * PAGE_SIZE, 0x1000 + page, 8);
	if (windows_create(bt) < 0)
		return -1;
	cpu->engine_ops = &bt_ops;
	return 0;
}

/* The same with page tables traced, as soon as a flush has put pages in doubt. */
static inline int traced_setup(void **state)
{
	if (bt_setup(state) < 0)
		return -1;
	windows_destroy(bt);
	bt->options.traced = true;
	bt->options.heat = 1;
	return windows_create(bt);
}

static inline int bt_teardown(void **state)
{
	cpu->engine_ops = &cpu_engine_ops_none;
	windows_destroy(bt);
	munmap(bt, sizeof(*bt));
	windows_limits = (struct windows_limits){0};
	return fixture_teardown(state);
}

#define traced_test(function) cmocka_unit_test_setup_teardown(function, traced_setup, bt_teardown)
#define bt_test(function)     cmocka_unit_test_setup_teardown(function, bt_setup, bt_teardown)

/* --- accesses as translated code makes them --- */

static inline volatile uint64_t *host_of(uint64_t linear, bool user)
{
	return (void *)(linear + bt->delta[!user][SLOT_OF(linear)]);
}

/* One try. */
static inline bool reaches(uint64_t linear, bool write, bool user, uint64_t *value)
{
	/* Here, because cmocka has put its own handler in for the test. */
	struct sigaction action = {.sa_handler = on_segv, .sa_flags = SA_NODEFER};

	sigaction(SIGSEGV, &action, NULL);
	if (sigsetjmp(landing, 0))
		return false;
	if (write)
		*host_of(linear, user) = *value;
	else
		*value = *host_of(linear, user);
	return true;
}

/* With hidden faults repaired; false: the interpreter would have to do it. */
static inline bool reach(uint64_t linear, bool write, bool user, uint64_t *value)
{
	cpu->cpl = user ? 3 : 0;
	windows_use_space(bt);
	for (unsigned tries = 0; tries < 3; tries++) {
		if (reaches(linear, write, user, value))
			return true;
		if (!windows_fault(bt, linear, write, user))
			return false;
	}
	fail_msg("%#lx faults again and again", linear);
	return false;
}

static inline bool load(uint64_t linear, uint64_t *value)
{
	return reach(linear, false, !(linear >> 63), value);
}

static inline bool store(uint64_t linear, uint64_t value)
{
	return reach(linear, true, !(linear >> 63), &value);
}

/* A user page is mapped on its second fault. */
static inline bool load_twice(uint64_t linear, uint64_t *value)
{
	return load(linear, value) || load(linear, value);
}

static inline void assert_loads(uint64_t linear, uint64_t expected)
{
	uint64_t value = 0;

	assert_true(load_twice(linear, &value));
	assert_int_equal(value, expected);
}

/* Can the page be read without any fault? */
static inline bool mapped(uint64_t linear, bool write)
{
	uint64_t value;
	bool user = !(linear >> 63);

	cpu->cpl = user ? 3 : 0;
	windows_use_space(bt);
	if (!reaches(linear, false, user, &value))
		return false;
	return !write || reaches(linear, true, user, &value);
}

static inline void load_cr3(uint64_t value)
{
	cpu->cpl = 0;
	control_register_write(cpu, 3, value);
}

static inline void mature(void)
{
	windows_mature(bt);
	assert_true(windows_is_mature(bt));
}

#endif
