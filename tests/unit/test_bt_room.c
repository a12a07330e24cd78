/* The translator finds room in the low 2 GiB of the address space for as many vCPUs as a machine
 * may have, and reaches all the memory that a guest may be given. */
#include "cpu_fixture.h"

#include "engine/engine.h"
#include "engine/bt/bt.h"
#include "engine/interp/interp.h"
#include "host/low_memory.h"
#include "machine/machine.h"

#include <sys/mman.h>
#include <unistd.h>

static void many_cpus(void **state)
{
	struct cpu *cpus[MACHINE_MAX_CPUS] = {cpu};

	platform.cpu_count = MACHINE_MAX_CPUS;
	platform.cpus = cpus;
	for (unsigned i = 0; i < MACHINE_MAX_CPUS; i++) {
		if (i)
			cpus[i] = cpu_create(&platform, i);
		assert_non_null(cpus[i]);
		assert_int_equal(engine_bt.vcpu_create(cpus[i]), 0);
		if (!interp_of(cpus[i])->translator)
			fail_msg("vCPU %u only interprets", i);
		/* Two or three each would be worse than none. */
		assert_null(bt_of(cpus[i])->windows);
	}
	for (unsigned i = MACHINE_MAX_CPUS; i--;) {
		engine_bt.vcpu_destroy(cpus[i]);
		if (i)
			cpu_destroy(cpus[i]);
	}
}

static void much_memory(void **state)
{
	struct memory large;
	int32_t displacement;

	assert_int_equal(memory_create(&large, 900 * GIB, 52, &fixture_lock), 0);
	assert_true(memory_flags_displacement(&large, &displacement));
	memory_destroy(&large);
}

#define PIECE (64 * MIB)

/* Nearly all of the 2 GiB can be had. */
static void low_memory_is_found(void **state)
{
	void *piece[40];
	unsigned count = 0;

	while (count < ARRAY_SIZE(piece)) {
		piece[count] = low_memory_map(PIECE);
		assert_non_null(piece[count]);
		if (!low_memory_holds(piece[count++], PIECE))
			break;
	}
	assert_true(count > 24 && count < ARRAY_SIZE(piece));
	while (count--)
		munmap(piece[count], PIECE);
}

static void low_memory_of_a_file(void **state)
{
	int fd = memfd_create("test", MFD_CLOEXEC);
	const char *mapped[2];
	void *second_gib = low_memory_map(GIB - 128 * MIB);

	assert_int_equal(write(fd, "here", 4), 4);
	assert_true(low_memory_holds(second_gib, GIB - 128 * MIB));
	assert_int_equal(ftruncate(fd, 100 * MIB), 0);
	for (unsigned i = 0; i < 2; i++) {
		mapped[i] = low_memory_map_file(100 * MIB, PROT_READ, fd);
		assert_non_null(mapped[i]);
		assert_true(low_memory_holds(mapped[i], 100 * MIB));
		assert_memory_equal(mapped[i], "here", 4);
	}
	for (unsigned i = 0; i < 2; i++)
		munmap((void *)mapped[i], 100 * MIB);
	munmap(second_gib, GIB - 128 * MIB);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cpu_test(many_cpus),
		cpu_test(much_memory),
		cmocka_unit_test(low_memory_is_found),
		cmocka_unit_test(low_memory_of_a_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
