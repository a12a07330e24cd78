/* What the tests of the boot protocols share: guest RAM, an image in memory to spoil byte by byte,
 * and the call under test. */
#ifndef VENEER_TESTS_BOOT_FIXTURE_H
#define VENEER_TESTS_BOOT_FIXTURE_H

#include "base/bits.h"
#include "base/log.h"
#include "machine/boot.h"
#include "machine/layout.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct boot_fixture {
	struct priority_lock lock;
	struct memory memory;
	uint8_t *bytes; /* the kernel image */
	size_t size;
	const char *cmdline;
	const uint8_t *initrd;
	size_t initrd_size;
	const struct boot_module *modules;
	unsigned module_count;
	struct boot_start start;
};

static inline void boot_fixture_init(struct boot_fixture *f, uint64_t memory_size, size_t size)
{
	memset(f, 0, sizeof(*f));
	log_threshold = LOG_ERROR;
	priority_lock_init(&f->lock);
	assert_int_equal(memory_create(&f->memory, memory_size, 40, &f->lock), 0);
	f->size = size;
	f->bytes = calloc(1, size);
	assert_non_null(f->bytes);
	f->cmdline = "";
}

static inline void boot_fixture_free(struct boot_fixture *f)
{
	memory_destroy(&f->memory);
	free(f->bytes);
	priority_lock_destroy(&f->lock);
}

static inline void put16(struct boot_fixture *f, size_t offset, uint16_t value)
{
	memcpy(f->bytes + offset, &value, sizeof(value));
}

static inline void put32(struct boot_fixture *f, size_t offset, uint32_t value)
{
	memcpy(f->bytes + offset, &value, sizeof(value));
}

static inline void put64(struct boot_fixture *f, size_t offset, uint64_t value)
{
	memcpy(f->bytes + offset, &value, sizeof(value));
}

/* boot_load() on a copy of the image's exact size, so that AddressSanitizer sees an overrun. */
static inline int boot_fixture_load(struct boot_fixture *f)
{
	uint8_t *copy = malloc(f->size ? f->size : 1);
	struct image kernel, initrd;
	struct boot_request request = {.memory = &f->memory,
		.kernel = &kernel,
		.initrd = f->initrd ? &initrd : NULL,
		.modules = f->modules,
		.module_count = f->module_count,
		.cmdline = f->cmdline,
		.rsdp = 0xe0000};
	int error;

	assert_non_null(copy);
	memcpy(copy, f->bytes, f->size);
	image_from_bytes(&kernel, "--kernel", copy, f->size);
	image_from_bytes(&initrd, "--initrd", f->initrd, f->initrd_size);
	error = boot_load(&request, &f->start);
	free(copy);
	return error;
}

static inline uint32_t guest32(const struct boot_fixture *f, uint64_t gpa)
{
	uint32_t value = 0;

	assert_int_equal(memory_read(&f->memory, gpa, &value, sizeof(value)), 0);
	return value;
}

static inline uint64_t guest64(const struct boot_fixture *f, uint64_t gpa)
{
	return guest32(f, gpa) | (uint64_t)guest32(f, gpa + 4) << 32;
}

static inline void assert_guest_bytes(
	const struct boot_fixture *f, uint64_t gpa, const void *expected, size_t size)
{
	const uint8_t *ram = memory_ram_pointer(&f->memory, gpa);

	assert_non_null(ram);
	assert_memory_equal(ram, expected, size);
}

#endif
