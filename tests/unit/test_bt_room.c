/* The translator finds room in the low 2 GiB of the address space for as many vCPUs as a machine
 * may have, and reaches all the memory that a guest may be given. */
#include "engine_fixture.h"

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
	assert_int_equal(engine_bt.machine_create(&engine_machine, &platform, &options), 0);
	for (unsigned i = 0; i < MACHINE_MAX_CPUS; i++) {
		if (i)
			cpus[i] = cpu_create(&platform, i);
		assert_non_null(cpus[i]);
		assert_int_equal(engine_bt.vcpu_create(engine_machine, cpus[i]), 0);
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
	engine_bt.machine_destroy(engine_machine);
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

/* All of the low memory of which a MiB is left in one place. */
static unsigned take_low_memory(void **piece, size_t *size, unsigned room)
{
	unsigned count = 0;

	for (size_t bytes = PIECE; bytes >= MIB; bytes /= 2)
		for (;;) {
			void *start = low_memory_map(bytes);

			assert_non_null(start);
			if (!low_memory_holds(start, bytes)) {
				munmap(start, bytes);
				break;
			}
			assert_in_range(count, 0, room - 1);
			piece[count] = start;
			size[count++] = bytes;
		}
	return count;
}

/* Where there is none, the interpreter goes on alone, and hears of what changes. */
static void no_room(void **state)
{
	static void *piece[1000];
	static size_t size[ARRAY_SIZE(piece)];
	unsigned count = take_low_memory(piece, size, ARRAY_SIZE(piece));

	int error = engine_fixture_create(&engine_bt);

	while (count--)
		munmap(piece[count], size[count]);
	assert_int_equal(error, 0);
	assert_null(interp_of(cpu)->translator);
	assert_int_equal(interp_of(cpu)->mode & MODE_CODE_64, 0);
	enter_long(0);
	assert_int_equal(interp_of(cpu)->mode & MODE_CODE_64, MODE_CODE_64);
	engine_fixture_destroy(&engine_bt);
}

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

/* A stretch that is too long for what is left is given up at once. */
static void low_memory_is_not_found(void **state)
{
	void *piece[40];
	unsigned count = 0;
	int fd = memfd_create("test", MFD_CLOEXEC);

	assert_int_equal(ftruncate(fd, 600 * MIB), 0);
	do
		assert_non_null(piece[count] = low_memory_map(PIECE));
	while (low_memory_holds(piece[count++], PIECE) && count < ARRAY_SIZE(piece));
	alarm(30);
	assert_null(low_memory_map_file(600 * MIB, PROT_READ, fd));
	assert_null(low_memory_map_file(PIECE + MIB, PROT_READ, fd));
	alarm(0);
	while (count--)
		munmap(piece[count], PIECE);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cpu_test(many_cpus),
		cpu_test(much_memory),
		cpu_test(no_room),
		cmocka_unit_test(low_memory_is_found),
		cmocka_unit_test(low_memory_of_a_file),
		cmocka_unit_test(low_memory_is_not_found),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
