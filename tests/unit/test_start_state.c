/* The boot processor's state at the kernel's first instruction (docs/boot.md), and that what it
 * points to in guest memory says the same. */
#include "model_fixture.h"
#include "boot_fixture.h"

#include "cpu/paging.h"

static struct boot_fixture fixture;
static struct io_space ports;
static struct clock machine_clock;
static struct cpu_platform platform;
static struct cpu *cpu;

static int setup(void **state)
{
	boot_fixture_init(&fixture, 16 * MIB, 1);
	io_space_init(&ports, &fixture.lock);
	clock_init(&machine_clock);
	platform = (struct cpu_platform){.memory = &fixture.memory,
		.model = make_fixture_model(),
		.ports = &ports,
		.clock = &machine_clock,
		.cpu_count = 1,
		.cpus = &cpu};
	cpu = cpu_create(&platform, 0);
	return cpu ? 0 : -1;
}

static int teardown(void **state)
{
	cpu_destroy(cpu);
	io_space_destroy(&ports);
	boot_fixture_free(&fixture);
	return 0;
}

static void check_common(const struct boot_start *start)
{
	enum seg seg;

	assert_int_equal(cpu->rip, start->rip);
	assert_int_equal(cpu_rflags(cpu), 2);
	assert_int_equal(cpu->cpl, 0);
	assert_int_equal(cpu->gpr[RAX], start->rax);
	assert_int_equal(cpu->gpr[RBX], start->rbx);
	assert_int_equal(cpu->gpr[RSI], start->rsi);
	assert_int_equal(cpu->gpr[RBP] | cpu->gpr[RDI] | cpu->gpr[RSP], 0);
	assert_int_equal(cpu->segment[SEG_CS].selector, 0x10);
	for (seg = SEG_ES; seg <= SEG_GS; seg++) {
		assert_int_equal(cpu->segment[seg].base, 0);
		assert_int_equal(cpu->segment[seg].limit, 0xffffffff);
		if (seg != SEG_CS)
			assert_int_equal(cpu->segment[seg].selector, 0x18);
	}
	assert_int_equal(cpu->idtr.limit, 0);
}

static void test_protected_mode(void **state)
{
	const struct boot_start start = {
		.mode = BOOT_PROTECTED_MODE, .rip = 0x100000, .rax = 1, .rbx = 2, .rsi = 3};

	boot_start_cpu(cpu, &start);
	check_common(&start);
	assert_true(cpu_protected(cpu));
	assert_false(cpu->cr0 & CR0_PG);
	assert_int_equal(cpu_code_bits(cpu), 32);
	assert_int_equal(cpu_stack_bits(cpu), 32);
	/* __BOOT_CS: 4 GiB, executable and readable, 32-bit; __BOOT_DS: 4 GiB, writable. */
	assert_int_equal(guest64(&fixture, cpu->gdtr.base + 0x10), 0x00cf9b000000ffff);
	assert_int_equal(guest64(&fixture, cpu->gdtr.base + 0x18), 0x00cf93000000ffff);
	assert_true(cpu->gdtr.limit >= 0x1f);
}

static void test_long_mode(void **state)
{
	static const uint64_t addresses[] = {
		0, 0x7fff, 0x1234567, 0x12345678, 0xfee00123, 0xffffffff};
	const struct boot_start start = {.mode = BOOT_LONG_MODE, .rip = 0x1000200, .rsi = 0x40000};
	struct translation translation;
	unsigned i;

	boot_start_cpu(cpu, &start);
	check_common(&start);
	assert_true(cpu_long_mode(cpu));
	assert_int_equal(cpu_code_bits(cpu), 64);
	assert_int_equal(guest64(&fixture, cpu->gdtr.base + 0x10), 0x00af9b000000ffff);
	for (i = 0; i < ARRAY_SIZE(addresses); i++) {
		assert_int_equal(
			paging_walk(cpu, addresses[i], PAGING_WRITE, &translation), WALKED);
		assert_int_equal(translation.gpa, addresses[i]);
	}
	assert_int_equal(paging_walk(cpu, 0x100000000, 0, &translation), PAGE_FAULT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_protected_mode, setup, teardown),
		cmocka_unit_test_setup_teardown(test_long_mode, setup, teardown),
	};

	return cmocka_run_group_tests_name("start state", tests, NULL, NULL);
}
