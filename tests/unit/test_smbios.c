/* SMBIOS tables, walked as Linux walks them: entry point, structures, their strings. */
#include "base/bits.h"
#include "base/log.h"
#include "machine/smbios.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct priority_lock lock = PRIORITY_LOCK_INITIALIZER;
static struct memory memory;
static struct smbios_config config;

static uint64_t read(const uint8_t *at, unsigned size)
{
	uint64_t value = 0;

	memcpy(&value, at, size);
	return value;
}

static const uint8_t *entry_point(void)
{
	const uint8_t *entry = memory_ram_pointer(&memory, 0xf0000);
	uint8_t sum = 0;

	assert_memory_equal(entry, "_SM3_", 5);
	assert_int_equal(entry[6], 24);
	for (unsigned i = 0; i < entry[6]; i++)
		sum += entry[i];
	assert_int_equal(sum, 0);
	return entry;
}

/* What follows a structure and its strings. */
static const uint8_t *next(const uint8_t *at)
{
	at += at[1];
	while (at[0] || at[1])
		at++;
	return at + 2;
}

/* The structure of that type; `skip`: past so many of them. NULL: there is none. */
static const uint8_t *find(uint8_t type, unsigned skip)
{
	const uint8_t *entry = entry_point();
	const uint8_t *at = memory_ram_pointer(&memory, read(entry + 16, 8));
	const uint8_t *end = at + read(entry + 12, 4);

	for (; at < end; at = next(at)) {
		assert_true(at[1] >= 4 && next(at) <= end);
		if (at[0] == type && !skip--)
			return at;
		if (at[0] == 127)
			assert_ptr_equal(next(at), end);
	}
	return NULL;
}

static const char *string(const uint8_t *at, unsigned offset)
{
	const char *text = (const char *)at + at[1];

	if (!at[offset])
		return "";
	for (unsigned number = 1; number < at[offset]; number++)
		text += strlen(text) + 1;
	return text;
}

static void write_tables(uint64_t memory_size, unsigned cpus)
{
	assert_int_equal(memory_create(&memory, memory_size, 40, &lock), 0);
	assert_int_equal(smbios_write_tables(&memory, &config, cpus), 0);
}

static int free_memory(void **state)
{
	if (memory.ram)
		memory_destroy(&memory);
	memory = (struct memory){0};
	smbios_config_free(&config);
	return 0;
}

static void test_defaults(void **state)
{
	static const uint8_t types[] = {0, 1, 3, 4, 16, 17, 19, 32, 127};

	write_tables(64 * MIB, 3);
	for (unsigned i = 0; i < sizeof(types); i++)
		assert_non_null(find(types[i], 0));
	assert_null(find(11, 0));
	assert_string_equal(string(find(1, 0), 4), "veneer");
	assert_string_equal(string(find(1, 0), 5), "veneer virtual machine");
	assert_int_equal(find(0, 0)[0x13] & 1 << 4, 1 << 4); /* it says that it is virtual */
	assert_int_equal(find(4, 0)[0x23], 3);
	assert_int_equal(read(find(17, 0) + 0xc, 2), 64);
	assert_int_equal(read(find(17, 0) + 4, 2), read(find(16, 0) + 2, 2));
	assert_int_equal(read(find(19, 0) + 8, 4), 64 * 1024 - 1);
	assert_null(find(19, 1));
}

/* Memory on both sides of the hole below 4 GiB, and more than the old fields can say. */
static void test_large_memory(void **state)
{
	write_tables(40 * GIB, 64);
	assert_int_equal(read(find(17, 0) + 0xc, 2), 0x7fff);
	assert_int_equal(read(find(17, 0) + 0x1c, 4), 40 * 1024);
	assert_int_equal(read(find(19, 1) + 4, 4), 4 * MIB);
	assert_int_equal(read(find(19, 1) + 8, 4) - read(find(19, 1) + 4, 4) + 1 +
				 read(find(19, 0) + 8, 4) + 1,
		40 * MIB);
}

static void test_words(void **state)
{
	static const uint8_t uuid[16] = {0x67, 0x45, 0x23, 0x01, 0xab, 0x89, 0xef, 0xcd, 0x01, 0x23,
		0x45, 0x67, 0x89, 0xab, 0xcd, 0xef};
	const uint8_t *oem;

	assert_int_equal(smbios_config_parse(&config, "--smbios",
				 "type=1,serial=a,,b,uuid=01234567-89ab-cdef-0123-456789abcdef"),
		0);
	assert_int_equal(smbios_config_parse(&config, "--smbios", "type=11,value=x=1,value=y"), 0);
	assert_int_equal(smbios_config_credential(&config, "--credential", "name=secret=1"), 0);
	write_tables(4 * MIB, 1);
	assert_string_equal(string(find(1, 0), 7), "a,b");
	assert_memory_equal(find(1, 0) + 8, uuid, 16);
	oem = find(11, 0);
	assert_int_equal(oem[4], 3);
	assert_string_equal(string(oem, 4), "io.systemd.credential:name=secret=1");
}

static void test_wrong_words(void **state)
{
	static const char *const wrong[] = {"", "serial=x", "type=1,serial",
		"type=1,serial=", "type=1,nothing=x", "type=2,serial=x", "type=x", "type=300",
		"type=1,uuid=0123", "type=1,uuid=01234567-89ab-cdef-0123-456789abcdeg",
		"type=11,text=x"};

	log_threshold = LOG_ERROR + 1;
	for (unsigned i = 0; i < ARRAY_SIZE(wrong); i++)
		assert_int_equal(smbios_config_parse(&config, "--smbios", wrong[i]), -EINVAL);
	assert_int_equal(smbios_config_credential(&config, "--credential", "x"), -EINVAL);
	assert_int_equal(smbios_config_credential(&config, "--credential", "=x"), -EINVAL);
	for (unsigned i = 0; i < SMBIOS_MAX_OEM; i++)
		assert_int_equal(smbios_config_credential(&config, "--credential", "a=b"), 0);
	assert_int_equal(smbios_config_credential(&config, "--credential", "a=b"), -EINVAL);
}

/* Strings that have no room are refused, and nothing is written past the end. */
static void test_no_room(void **state)
{
	char *large = calloc(1, 40000);

	log_threshold = LOG_ERROR + 1;
	assert_non_null(large);
	memset(large, 'x', 39999);
	config.oem[0] = large;
	config.oem_count = 1;
	write_tables(4 * MIB, 1);
	config.oem[1] = strdup(large);
	config.oem_count = 2;
	assert_int_equal(smbios_write_tables(&memory, &config, 1), -ENOSPC);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_defaults, free_memory),
		cmocka_unit_test_teardown(test_large_memory, free_memory),
		cmocka_unit_test_teardown(test_words, free_memory),
		cmocka_unit_test_teardown(test_wrong_words, free_memory),
		cmocka_unit_test_teardown(test_no_room, free_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
