#include "memory/memory.h"
#include "sanitized.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

/* RAM of 4 GiB: where its low piece ends, how much is missing up to 4 GiB, where the high piece
 * ends. */
#define LOW  MEMORY_PCI_HOLE_START
#define HOLE (4 * GIB - LOW)
#define END  (4 * GIB + HOLE)

static struct priority_lock lock = PRIORITY_LOCK_INITIALIZER;
static struct memory memory;

static int setup(void **state)
{
	return memory_create(&memory, 16 * MIB, 40, &lock);
}

static int setup_large(void **state)
{
	return memory_create(&memory, 4 * GIB, 40, &lock);
}

static int teardown(void **state)
{
	memory_destroy(&memory);
	return 0;
}

static void bad_sizes(void **state)
{
	struct memory bad;

	assert_int_equal(memory_create(&bad, 0, 40, &lock), -EINVAL);
	assert_int_equal(memory_create(&bad, MIB - PAGE_SIZE, 40, &lock), -EINVAL);
	assert_int_equal(memory_create(&bad, MIB + 1, 40, &lock), -EINVAL);
	assert_int_equal(memory_create(&bad, UINT64_MAX & PAGE_MASK, 40, &lock), -EINVAL);
}

/* By who is given the file, to map it. */
static void the_file_cannot_be_cut_off(void **state)
{
	assert_int_equal(ftruncate(memory.fd, 0), -1);
	assert_int_equal(errno, EPERM);
}

/* RAM in somebody else's file: what it has is seen, what is written is in it, and a reset clears
 * what is RAM. */
static void ram_in_a_file(void **state)
{
	char path[] = "/tmp/veneer-memory-XXXXXX", word[5] = "";
	int fd = mkstemp(path);
	struct memory shared;

	assert_int_equal(pwrite(fd, "abcd", 4, 0x5000), 4);
	assert_int_equal(memory_create_in(&shared, 2 * MIB, 40, &lock, memory_open_file(path)), 0);
	assert_int_equal(memory_allocate(&shared) == 0 || errno == EINVAL, 1);
	assert_memory_equal(shared.ram + 0x5000, "abcd", 4);
	assert_int_equal(memory_write(&shared, 0x6000, "efgh", 4), 0);
	assert_int_equal(pread(fd, word, 4, 0x6000), 4);
	assert_string_equal(word, "efgh");
	assert_int_equal(memory_clear(&shared), 0);
	assert_memory_equal(shared.ram + 0x5000, "\0\0\0\0", 4);
	memory_destroy(&shared);
	close(fd);
	unlink(path);
	assert_int_equal(
		memory_create_in(&shared, 2 * MIB, 40, &lock, memory_open_file("/tmp")), 0);
	memory_destroy(&shared);
	assert_int_equal(memory_open_file("/dev/null"), -EINVAL);
	assert_int_equal(memory_open_file("/no/such/place"), -ENOENT);
}

static void small_ram_is_one_piece(void **state)
{
	assert_int_equal(memory.low_size, 16 * MIB);
	assert_int_equal(memory.high_size, 0);
	assert_ptr_equal(memory_ram_pointer(&memory, 0), memory.ram);
	assert_null(memory_ram_pointer(&memory, 0xa0000));
	assert_null(memory_ram_pointer(&memory, 0xbffff));
	assert_ptr_equal(memory_ram_pointer(&memory, 0xc0000), memory.ram + 0xc0000);
	assert_null(memory_ram_pointer(&memory, 16 * MIB));
	assert_null(memory_ram_pointer(&memory, 4 * GIB));
	assert_null(memory_ram_pointer(&memory, UINT64_MAX));
}

static void large_ram_goes_round_the_hole(void **state)
{
	assert_int_equal(memory.low_size, LOW);
	assert_int_equal(memory.high_size, HOLE);
	assert_null(memory_ram_pointer(&memory, LOW));
	assert_null(memory_ram_pointer(&memory, 4 * GIB - 1));
	assert_ptr_equal(memory_ram_pointer(&memory, 4 * GIB), memory.ram + LOW);
	assert_null(memory_ram_pointer(&memory, END));
}

static void copies_only_what_is_wholly_ram(void **state)
{
	char buffer[PAGE_SIZE] = "hello", back[PAGE_SIZE];

	assert_int_equal(memory_write(&memory, 0x1ffe, buffer, 6), 0);
	assert_int_equal(memory_read(&memory, 0x1ffe, back, 6), 0);
	assert_string_equal(back, "hello");

	assert_int_equal(memory_write(&memory, 0x9fffe, buffer, 6), -EFAULT);
	assert_int_equal(memory.ram[0x9fffe], 0);
	assert_int_equal(memory_write(&memory, 16 * MIB - 2, buffer, 6), -EFAULT);
	assert_int_equal(memory_read(&memory, 0xa0000, back, 1), -EFAULT);
	assert_int_equal(memory_read(&memory, UINT64_MAX, back, 2), -EFAULT);
	assert_int_equal(memory_read(&memory, 0x1000, back, UINT64_MAX), -EFAULT);
	/* Both ends are RAM, the middle is not. */
	assert_int_equal(memory_read(&memory, 0x9f000, NULL, 0x30000), -EFAULT);
	assert_int_equal(memory_read(&memory, UINT64_MAX, back, 0), 0);
}

static void copies_do_not_cross_the_hole(void **state)
{
	assert_int_equal(memory_read(&memory, LOW - 16, NULL, HOLE + 32), -EFAULT);
}

static void write_to_tracked_line_starts_a_generation(void **state)
{
	uint32_t generation = memory_code_track(&memory, 5, 0x100, 0x10);

	assert_int_equal(memory.page_flags[5], PAGE_CODE);
	assert_int_equal(memory.code_lines[5], 1 << 2);
	assert_true(memory_written(&memory, memory.ram + 0x5100, 1));
	assert_int_not_equal(memory.code_generation[5], generation);
	/* The page is data again until code is decoded in it. */
	assert_int_equal(memory.page_flags[5], 0);
	assert_false(memory_written(&memory, memory.ram + 0x5100, 1));
}

static void write_beside_code_does_not(void **state)
{
	uint32_t generation = memory_code_track(&memory, 5, 0x17f, 2); /* lines 2 and 3 */

	assert_int_equal(memory.code_lines[5], 3 << 2);
	assert_false(memory_written(&memory, memory.ram + 0x50f8, 8));
	assert_false(memory_written(&memory, memory.ram + 0x5200, 8));
	assert_int_equal(memory.code_generation[5], generation);
	/* One byte reaches in. */
	assert_true(memory_written(&memory, memory.ram + 0x50f9, 8));
}

static void clearing_leaves_zeros_and_no_copy_of_code(void **state)
{
	uint32_t generation = memory_code_track(&memory, 5, 0, 16);
	uint64_t value = 1, gpas[] = {0, 5 * PAGE_SIZE + 2048, 16 * MIB - 8};

	for (unsigned i = 0; i < ARRAY_SIZE(gpas); i++)
		assert_int_equal(memory_write(&memory, gpas[i], &value, 8), 0);
	assert_int_equal(memory.code_generation[5], generation);
	assert_int_equal(memory_clear(&memory), 0);
	assert_int_not_equal(memory.code_generation[5], generation);
	assert_int_equal(memory.page_flags[5], 0);
	for (unsigned i = 0; i < ARRAY_SIZE(gpas); i++) {
		assert_int_equal(memory_read(&memory, gpas[i], &value, 8), 0);
		assert_int_equal(value, 0);
	}
}

static void last_line_of_a_page(void **state)
{
	memory_code_track(&memory, 5, 0xfff, 15); /* an instruction that goes on in page 6 */
	assert_int_equal(memory.code_lines[5], UINT32_C(1) << 31);
	assert_int_equal(memory.code_lines[6], 0);
	memory_code_track(&memory, 6, 0, 4096);
	assert_int_equal(memory.code_lines[6], UINT32_MAX);
}

static void dma_drops_code_in_every_page_it_touches(void **state)
{
	static const uint8_t zeros[3 * PAGE_SIZE];
	uint32_t before[3];

	for (unsigned i = 0; i < 3; i++)
		before[i] = memory_code_track(&memory, 8 + i, 0, 16);
	assert_int_equal(memory_write(&memory, 0x8800, zeros, PAGE_SIZE), 0);
	assert_int_equal(memory.code_generation[8], before[0]); /* only its second half */
	assert_int_not_equal(memory.code_generation[9], before[1]);
	assert_int_equal(memory.code_generation[10], before[2]);
}

/* A vCPU stores to code, with no fence between its store and its look at the flag, while another
 * decodes: a decoded copy that is taken for good must not be older than the store. */
static _Atomic uint64_t code_word __attribute__((aligned(64)));
static atomic_bool stop;

static void *storing_thread(void *opaque)
{
	_Atomic uint64_t *code = (_Atomic uint64_t *)(memory.ram + 0x7000);

	for (uint64_t i = 1; !stop; i++) {
		atomic_store_explicit(code, i, memory_order_relaxed);
		atomic_signal_fence(memory_order_seq_cst);
		if (atomic_load_explicit(&memory.page_flags[7], memory_order_relaxed))
			memory_written(&memory, code, 8);
		/* The generation that a copy of the old bytes must not have. */
		atomic_store_explicit(&code_word, i, memory_order_release);
		/* Time for the other side to look before the next round sets things right. */
		for (unsigned spin = 0; spin < 30; spin++)
			__builtin_ia32_pause();
	}
	return NULL;
}

static void no_stale_copy_survives_a_race(void **state)
{
	_Atomic uint64_t *code = (_Atomic uint64_t *)(memory.ram + 0x7000);
	pthread_t thread;
	uint64_t copy = 0, stale = 0, fresh = 0;
	uint32_t generation = 0;

	memory.needs_membarrier = true;
	pthread_create(&thread, NULL, storing_thread, NULL);
	for (unsigned i = 0; i < 300000; i++) {
		uint64_t promised;

		generation = memory_code_track(&memory, 7, 0, 8);
		copy = atomic_load_explicit(code, memory_order_relaxed);
		for (unsigned spin = 0; spin < i % 8; spin++)
			__builtin_ia32_pause();
		promised = atomic_load_explicit(&code_word, memory_order_acquire);
		/* Everything up to `promised` was stored and looked after before we read it. */
		if (memory.code_generation[7] == generation) {
			fresh++;
			stale += copy < promised;
		}
		/* Let the other side have the lock. */
		for (unsigned spin = 0; spin < 20 + i % 16; spin++)
			__builtin_ia32_pause();
	}
	stop = true;
	pthread_join(thread, NULL);
	assert_int_equal(stale, 0);
	assert_int_not_equal(fresh, 0);
}

/* --- listeners --- */

static struct heard {
	unsigned protects, revokes, writes, regions;
	uint64_t page, count;
	struct memory_region region[16];
	bool present[16];
} heard;

static void note_protect(void *opaque, uint64_t page, uint64_t count)
{
	assert_ptr_equal(opaque, &memory);
	assert_true(memory_page_watched(&memory, page));
	heard.protects++;
	heard.page = page;
	heard.count = count;
}

static void note_revoke(void *opaque, uint64_t page, uint64_t count)
{
	heard.revokes++;
	heard.page = page;
	heard.count = count;
}

/* The generation has moved on; a thread that still sees lines waits for the lock, and so for the
 * end of this call. */
static void note_written(void *opaque, uint64_t page)
{
	assert_int_equal(memory.code_generation[page], 1);
	assert_int_not_equal(memory.code_lines[page], 0);
	heard.writes++;
	heard.page = page;
}

static void note_region(void *opaque, const struct memory_region *region, bool present)
{
	assert_true(heard.regions < ARRAY_SIZE(heard.region));
	heard.present[heard.regions] = present;
	heard.region[heard.regions++] = *region;
}

static struct memory_listener listener = {
	note_protect, note_revoke, note_written, note_region, &memory, NULL};

static void listen_to_memory(void)
{
	heard = (struct heard){0};
	memory_listen(&memory, &listener);
}

static void listeners_see_pages_become_code_and_change(void **state)
{
	listen_to_memory();
	memory_code_track(&memory, 9, 0x100, 4);
	assert_int_equal(heard.protects, 1);
	assert_int_equal(heard.page, 9);
	assert_int_equal(heard.count, 1);
	memory_code_track(&memory, 9, 0x200, 4); /* the page is code already */
	assert_int_equal(heard.protects, 1);
	memory_written(&memory, memory.ram + 0x9300, 4); /* data in it */
	assert_int_equal(heard.writes, 0);
	memory_written(&memory, memory.ram + 0x9200, 4);
	assert_int_equal(heard.writes, 1);
	memory_written(&memory, memory.ram + 0x9100, 4); /* all gone with the first */
	assert_int_equal(heard.writes, 1);
	heard.page = 0;
	memory_code_track(&memory, 9, 0x100, 4);
	assert_int_equal(heard.protects, 2);
	assert_int_equal(heard.page, 9);
	memory_unlisten(&memory, &listener);
	memory_code_track(&memory, 10, 0x100, 4);
	assert_int_equal(heard.protects, 2);
}

static char order[4];

static void first_revoke(void *opaque, uint64_t page, uint64_t count)
{
	strcat(order, opaque);
}

static void listeners_are_told_in_order_and_may_leave(void **state)
{
	struct memory_listener a = {.revoke = first_revoke, .opaque = (char[]){"a"}};
	struct memory_listener b = {.revoke = first_revoke, .opaque = (char[]){"b"}};
	struct memory_listener silent = {0};

	memory_listen(&memory, &a);
	memory_listen(&memory, &silent);
	memory_listen(&memory, &b);
	memory_revoke(&memory, 1, 1);
	assert_string_equal(order, "ab");
	memory_unlisten(&memory, &a);
	memory_revoke(&memory, 1, 1);
	assert_string_equal(order, "abb");
	memory_unlisten(&memory, &b);
	memory_unlisten(&memory, &silent);
}

static void revoking_drops_code(void **state)
{
	uint32_t generation = memory_code_track(&memory, 9, 0x100, 4);

	listen_to_memory();
	memory_revoke(&memory, 8, 3);
	assert_int_equal(heard.revokes, 1);
	assert_int_equal(heard.writes, 1);
	assert_int_equal(heard.page, 8);
	assert_int_equal(heard.count, 3);
	assert_int_not_equal(memory.code_generation[9], generation);
	assert_int_equal(memory.page_flags[9], 0);
	memory_unlisten(&memory, &listener);
}

/* --- regions and ROM --- */

static void assert_region(
	unsigned index, uint64_t gpa, uint64_t size, enum memory_kind kind, uint64_t offset)
{
	const struct memory_region *region = &memory.region[index];

	assert_true(index < memory.region_count);
	assert_int_equal(region->gpa, gpa);
	assert_int_equal(region->size, size);
	assert_int_equal(region->kind, kind);
	assert_int_equal(region->fd, kind == MEMORY_HOLE ? -1 : memory.fd);
	assert_int_equal(region->offset, offset);
}

static void ram_is_rows_of_a_table(void **state)
{
	assert_int_equal(memory.region_count, 4);
	assert_region(0, 0, 0xa0000, MEMORY_RAM, 0);
	assert_region(1, 0xa0000, 0x20000, MEMORY_HOLE, 0);
	assert_region(2, 0xc0000, LOW - 0xc0000, MEMORY_RAM, 0xc0000);
	assert_region(3, 4 * GIB, HOLE, MEMORY_RAM, LOW);
	assert_null(memory_region_at(&memory, LOW));
	assert_null(memory_region_at(&memory, END));
	assert_null(memory_region_at(&memory, UINT64_MAX));
	assert_ptr_equal(memory_region_at(&memory, 0xbffff), &memory.region[1]);
	assert_ptr_equal(memory_region_at(&memory, END - 1), &memory.region[3]);
}

/* Every row leads to the bytes that memory_ram_pointer() gives, also through its file. */
static void rows_and_pointers_agree(void **state)
{
	static const uint8_t image[2 * PAGE_SIZE] = {1};

	assert_int_equal(memory_rom_add(&memory, 0xf0000, PAGE_SIZE, image, "a"), 0);
	assert_int_equal(memory_rom_add(&memory, 0xfffff000, PAGE_SIZE, image, "b"), 0);
	assert_int_equal(memory_rom_add(&memory, 0xffffc000, 2 * PAGE_SIZE, image, "c"), 0);
	for (unsigned i = 0; i < memory.region_count; i++) {
		const struct memory_region *r = &memory.region[i];
		const uint64_t at[] = {r->gpa, r->gpa + r->size - 1};

		for (unsigned j = 0; j < 2; j++) {
			uint8_t byte = (uint8_t)(0x10 * i + j + 1), back = 0;
			uint8_t *pointer = memory_ram_pointer(&memory, at[j]);

			if (r->kind == MEMORY_HOLE) {
				assert_null(pointer);
				continue;
			}
			assert_non_null(pointer);
			*pointer = byte;
			assert_int_equal(
				pread(r->fd, &back, 1, (off_t)(r->offset + (at[j] - r->gpa))), 1);
			assert_int_equal(back, byte);
			assert_int_equal(memory_page_number(&memory, pointer),
				(r->offset + (at[j] - r->gpa)) >> PAGE_SHIFT);
			assert_int_equal(!memory_page_writable(
						 &memory, memory_page_number(&memory, pointer)),
				r->kind == MEMORY_ROM);
		}
	}
}

static void rom_in_ram_splits_it_and_goes_again(void **state)
{
	uint8_t image[PAGE_SIZE] = "BIOS", byte = 7, text[5] = "";
	uint32_t generation = memory_code_track(&memory, 0xf0, 0, 16);

	assert_int_equal(memory_write(&memory, 0xf1000, &byte, 1), 0);
	listen_to_memory();
	assert_int_equal(memory_rom_add(&memory, 0xf0000, PAGE_SIZE, image, "BIOS"), 0);
	assert_int_equal(memory.region_count, 5);
	assert_region(2, 0xc0000, 0x30000, MEMORY_RAM, 0xc0000);
	assert_region(3, 0xf0000, PAGE_SIZE, MEMORY_ROM, 0xf0000);
	assert_region(4, 0xf1000, 16 * MIB - 0xf1000, MEMORY_RAM, 0xf1000);
	/* Told: the old row goes, three come; and the page is revoked, with its code. */
	assert_int_equal(heard.regions, 4);
	assert_false(heard.present[0]);
	assert_int_equal(heard.region[0].size, 16 * MIB - 0xc0000);
	assert_true(heard.present[2]);
	assert_int_equal(heard.region[2].kind, MEMORY_ROM);
	assert_int_equal(heard.revokes, 1);
	assert_int_equal(heard.page, 0xf0);
	assert_int_not_equal(memory.code_generation[0xf0], generation);
	/* It is read, and not written. */
	assert_int_equal(memory_read(&memory, 0xf0000, text, 4), 0);
	assert_string_equal(text, "BIOS");
	assert_int_equal(memory_write(&memory, 0xf0000, &byte, 1), -EFAULT);
	assert_int_equal(memory_read(&memory, 0xeffff, text, 4), 0); /* across its start */
	assert_memory_equal(text + 1, "BIO", 3);
	/* As it was, but for the bytes. */
	assert_int_equal(memory_rom_remove(&memory, 0xf0000), 0);
	assert_int_equal(memory.region_count, 3);
	assert_region(2, 0xc0000, 16 * MIB - 0xc0000, MEMORY_RAM, 0xc0000);
	assert_int_equal(heard.revokes, 2);
	assert_int_equal(memory_write(&memory, 0xf0000, &byte, 1), 0);
	assert_int_equal(memory_rom_remove(&memory, 0xf0000), -ENOENT);
	assert_int_equal(memory_rom_remove(&memory, 0xc0000), -ENOENT); /* RAM */
	memory_unlisten(&memory, &listener);
}

/* A guest may move such a ROM about as it likes: room that was given back is used again. */
/* As after a reset: the firmware is still there. */
static void clearing_spares_roms(void **state)
{
	uint8_t image[PAGE_SIZE] = "BIOS", byte = 7, text[5] = "";

	assert_int_equal(memory_rom_add(&memory, 0xf0000, PAGE_SIZE, image, "in RAM"), 0);
	assert_int_equal(memory_rom_add(&memory, 0xfffff000, PAGE_SIZE, image, "outside"), 0);
	assert_int_equal(memory_write(&memory, 0xeffff, &byte, 1), 0);
	assert_int_equal(memory_write(&memory, 0xf1000, &byte, 1), 0);
	assert_int_equal(memory_clear(&memory), 0);
	assert_int_equal(memory_read(&memory, 0xf0000, text, 4), 0);
	assert_string_equal(text, "BIOS");
	assert_int_equal(memory_read(&memory, 0xfffff000, text, 4), 0);
	assert_string_equal(text, "BIOS");
	assert_int_equal(memory_write(&memory, 0xf0000, &byte, 1), -EFAULT);
	assert_int_equal(memory_read(&memory, 0xeffff, &byte, 1), 0);
	assert_int_equal(byte, 0);
	assert_int_equal(memory_read(&memory, 0xf1000, &byte, 1), 0);
	assert_int_equal(byte, 0);
}

static void rom_outside_ram_has_room_of_its_own(void **state)
{
	uint8_t *image = calloc(1, MEMORY_ROM_ROOM + PAGE_SIZE);
	uint8_t byte = 0;

	image[0] = 0x55;
	for (unsigned i = 0; i < 100; i++) {
		uint64_t gpa = 0xe0000000 + i * MIB;

		assert_int_equal(memory_rom_add(&memory, gpa, MEMORY_ROM_ROOM / 2, image, "a"), 0);
		assert_int_equal(memory_read(&memory, gpa, &byte, 1), 0);
		assert_int_equal(byte, 0x55);
		assert_int_equal(memory_rom_remove(&memory, gpa), 0);
		assert_int_equal(memory_read(&memory, gpa, &byte, 1), -EFAULT);
	}
	assert_int_equal(memory_rom_add(&memory, 0xd0000000, MEMORY_ROM_ROOM / 2, image, "a"), 0);
	assert_int_equal(memory_rom_add(&memory, 0xe0000000, MEMORY_ROM_ROOM / 4, image, "b"), 0);
	assert_int_equal(
		memory_rom_add(&memory, 0xf0000000, MEMORY_ROM_ROOM / 2, image, "c"), -ENOSPC);
	assert_int_equal(memory_rom_remove(&memory, 0xd0000000), 0);
	assert_int_equal(memory_rom_add(&memory, 0xf0000000, MEMORY_ROM_ROOM / 2, image, "c"), 0);
	assert_int_equal(
		memory_rom_add(&memory, 0xd0000000, MEMORY_ROM_ROOM + PAGE_SIZE, image, "d"),
		-ENOSPC);
	free(image);
}

static void rom_in_the_way_of_something_is_refused(void **state)
{
	static const uint8_t image[PAGE_SIZE * 2];
	static const struct {
		uint64_t gpa, size;
		int error;
	} bad[] = {
		{0xf0000, 0, -EINVAL},
		{0xf0001, PAGE_SIZE, -EINVAL},
		{0xf0000, 100, -EINVAL},
		{-PAGE_SIZE, 2 * PAGE_SIZE, -EINVAL},
		{0x9f000, 2 * PAGE_SIZE, -EEXIST}, /* half in the VGA window */
		{0xa0000, PAGE_SIZE, -EEXIST},
		{0xbf000, 2 * PAGE_SIZE, -EEXIST},
		{16 * MIB - PAGE_SIZE, 2 * PAGE_SIZE, -EEXIST}, /* half behind RAM */
		{0xe0001000, PAGE_SIZE, -EEXIST},               /* on another ROM's second page */
		{0xdffff000, 2 * PAGE_SIZE, -EEXIST},
	};

	assert_int_equal(memory_rom_add(&memory, 0xe0000000, 2 * PAGE_SIZE, image, "first"), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(memory_rom_add(&memory, bad[i].gpa, bad[i].size, image, "bad"),
			bad[i].error);
	assert_int_equal(memory.region_count, 4);
	/* As many as there are rows. */
	for (unsigned i = 0; i < MEMORY_REGIONS; i++)
		memory_rom_add(&memory, 0xe1000000 + i * 2 * PAGE_SIZE, PAGE_SIZE, image, "many");
	assert_int_equal(memory_rom_add(&memory, 0xf1000000, PAGE_SIZE, image, "bad"), -ENOSPC);
	assert_in_range(memory.region_count, MEMORY_REGIONS - 1, MEMORY_REGIONS);
}

/* --- ranges for DMA --- */

static void ranges_are_pieces_of_host_memory(void **state)
{
	struct iovec pieces[3];
	static const uint8_t image[PAGE_SIZE] = "ROM";

	assert_int_equal(memory_range(&memory, 0x1234, 0, true, pieces, 3), 0);
	assert_int_equal(memory_range(&memory, 0x1234, 3 * PAGE_SIZE, true, pieces, 3), 1);
	assert_ptr_equal(pieces[0].iov_base, memory.ram + 0x1234);
	assert_int_equal(pieces[0].iov_len, 3 * PAGE_SIZE);
	/* All of a piece of RAM, to its last byte. */
	assert_int_equal(memory_range(&memory, 0xc0000, LOW - 0xc0000, true, pieces, 1), 1);
	assert_int_equal(memory_range(&memory, END - 1, 1, true, pieces, 1), 1);
	assert_ptr_equal(pieces[0].iov_base, memory.ram + 4 * GIB - 1);
	/* A ROM that touches RAM's end in the guest, not in the file. */
	assert_int_equal(memory_rom_add(&memory, LOW, PAGE_SIZE, image, "ROM"), 0);
	assert_int_equal(memory_range(&memory, LOW - 8, 16, false, pieces, 3), 2);
	assert_ptr_equal(pieces[0].iov_base, memory.ram + LOW - 8);
	assert_int_equal(pieces[0].iov_len, 8);
	assert_memory_equal(pieces[1].iov_base, "ROM", 3);
	assert_int_equal(pieces[1].iov_len, 8);
	assert_int_equal(memory_range(&memory, LOW - 8, 16, false, pieces, 1), -E2BIG);
	assert_int_equal(memory_range(&memory, LOW - 8, 16, true, pieces, 3), -EFAULT);
	/* One in RAM is in the way of writing only. */
	assert_int_equal(memory_rom_add(&memory, 0xf0000, PAGE_SIZE, image, "ROM"), 0);
	assert_int_equal(memory_range(&memory, 0xef000, 3 * PAGE_SIZE, false, pieces, 1), 1);
	assert_int_equal(memory_range(&memory, 0xef000, 3 * PAGE_SIZE, true, pieces, 3), -EFAULT);
}

/* What begins before a copy of a ROM, and goes on into it. */
static void guarded_pages_are_not_written(void **state)
{
	uint8_t bytes[32] = "over the border";
	struct iovec pieces[2];

	memory_guard(&memory, 0xc8000, 2 * PAGE_SIZE, true);
	assert_int_equal(memory_write(&memory, 0xc8000 - 16, bytes, sizeof(bytes)), -EFAULT);
	assert_int_equal(memory.ram[0xc8000], 0);
	assert_int_equal(memory_range(&memory, 0xc0000, 0x9000, true, pieces, 2), -EFAULT);
	assert_int_equal(memory_range(&memory, 0xc0000, 0x9000, false, pieces, 2), 1);
	assert_int_equal(memory_write(&memory, 0xc8000 - 32, bytes, sizeof(bytes)), 0);
	assert_int_equal(memory_write(&memory, 0xca000, bytes, sizeof(bytes)), 0);
	memory_guard(&memory, 0xc8000, 2 * PAGE_SIZE, false);
	assert_int_equal(memory_write(&memory, 0xc8000 - 16, bytes, sizeof(bytes)), 0);
}

static void hostile_ranges_are_refused(void **state)
{
	static const struct {
		uint64_t gpa, size;
	} bad[] = {
		{0x9ffff, 2}, /* into the VGA window */
		{0xa0000, 1},
		{0xbffff, 2},  /* out of it */
		{0, 0x100000}, /* around it */
		{LOW - 1, 2},  /* into the PCI hole */
		{LOW, 1},
		{LOW - 1, HOLE + 2}, /* across it */
		{4 * GIB - 1, 2},
		{END - 1, 2},
		{END, 1},
		{0, UINT64_MAX},
		{1, UINT64_MAX},
		{UINT64_MAX, 1},
		{UINT64_MAX, 2},
		{UINT64_MAX - 1, 3},
		{4 * GIB, UINT64_MAX},
		{4 * GIB, -4 * GIB},
		{0x1000, -UINT64_C(0x1000)},
		{0x1000, -UINT64_C(0x800)},
		{BIT(52), PAGE_SIZE},
	};
	static const uint8_t image[PAGE_SIZE];
	struct iovec pieces[4];
	uint8_t byte = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_int_equal(
			memory_range(&memory, bad[i].gpa, bad[i].size, false, pieces, 4), -EFAULT);
		assert_int_equal(
			memory_range(&memory, bad[i].gpa, bad[i].size, true, pieces, 4), -EFAULT);
		assert_int_equal(memory_write(&memory, bad[i].gpa, &byte, bad[i].size), -EFAULT);
		assert_int_equal(memory_read(&memory, bad[i].gpa, &byte, bad[i].size), -EFAULT);
	}
	assert_int_equal(memory_range(&memory, 0, 1, true, NULL, 0), -E2BIG);
	/* From the last page of all, were there anything, round to the first. */
	assert_int_equal(memory_rom_add(&memory, -PAGE_SIZE, PAGE_SIZE, image, "last"), 0);
	assert_int_equal(memory_range(&memory, -PAGE_SIZE, PAGE_SIZE, false, pieces, 4), 1);
	assert_int_equal(memory_range(&memory, UINT64_MAX - 7, 16, false, pieces, 4), -EFAULT);
}

/* Only as far as the request got, and in all its pieces. */
static void asynchronous_writes_drop_code(void **state)
{
	struct iovec pieces[2];
	uint32_t before[4];

	for (unsigned i = 0; i < 4; i++)
		before[i] = memory_code_track(&memory, 8 + i, 0, 16);
	assert_int_equal(memory_range(&memory, 0x8000, PAGE_SIZE + 8, true, pieces, 1), 1);
	assert_int_equal(memory_range(&memory, 0xa008, 2 * PAGE_SIZE, true, pieces + 1, 1), 1);
	/* A device may change the pieces' bytes; listeners are not told of that. */
	memset(pieces[0].iov_base, 1, pieces[0].iov_len);
	assert_int_equal(memory.code_generation[8], before[0]);
	memory_range_written(&memory, pieces, 2, PAGE_SIZE);
	assert_int_not_equal(memory.code_generation[8], before[0]);
	assert_int_equal(memory.code_generation[9], before[1]); /* a short read ended there */
	memory_range_written(&memory, pieces, 2, PAGE_SIZE + 8 + PAGE_SIZE - 8);
	assert_int_not_equal(memory.code_generation[9], before[1]);
	assert_int_not_equal(memory.code_generation[10], before[2]);
	assert_int_equal(memory.code_generation[11], before[3]);
	memory_range_written(&memory, pieces, 2, UINT64_MAX);
	assert_int_not_equal(memory.code_generation[11], before[3]);
}

/* --- the log --- */

static bool logged(uint64_t page)
{
	uint64_t pages[16 * MIB / PAGE_SIZE / 64] = {0};

	memory_log_take(&memory, 0, 16 * MIB / PAGE_SIZE, pages);
	return pages[page / 64] >> (page % 64) & 1;
}

static void log_holds_what_was_stored_to_since(void **state)
{
	uint64_t pages[2] = {0}, value = 1;

	listen_to_memory();
	assert_int_equal(memory_log_take(&memory, 0, 64, pages), 0); /* none yet */
	assert_int_equal(memory_log_start(&memory), 0);
	assert_int_equal(memory_log_start(&memory), -EBUSY);
	assert_true(memory.region[0].logged && memory.region[2].logged);
	assert_false(memory.region[1].logged);
	assert_int_equal(heard.protects, 1);
	assert_int_equal(heard.count, 16 * MIB / PAGE_SIZE);
	assert_int_equal(heard.regions, 2);
	/* Page 70 by a store through a pointer, 71 and 72 by a device. */
	assert_false(memory_written(&memory, memory.ram + 70 * PAGE_SIZE, 8));
	assert_int_equal(memory.page_flags[70], 0); /* the next store costs nothing */
	memory_write(&memory, 72 * PAGE_SIZE - 4, &value, 8);
	assert_int_equal(memory_log_take(&memory, 0, 64, pages), 0);
	assert_int_equal(memory_log_take(&memory, 64, 64, pages + 1), 3);
	assert_int_equal(pages[0], 0);
	assert_int_equal(pages[1], 7 << 6);
	/* Taken: they are protected anew, and noticed anew. */
	assert_int_equal(heard.protects, 4);
	assert_int_equal(heard.page, 72);
	assert_false(logged(70));
	memory_written(&memory, memory.ram + 70 * PAGE_SIZE, 8);
	assert_true(logged(70));
	memory_log_stop(&memory);
	assert_int_equal(memory.page_flags[70], 0);
	assert_false(memory.region[0].logged);
	memory_unlisten(&memory, &listener);
}

/* A page may be both; each flag goes its own way. */
static void log_and_code_in_one_page(void **state)
{
	uint32_t generation;

	assert_int_equal(memory_log_start(&memory), 0);
	generation = memory_code_track(&memory, 9, 0x100, 4);
	assert_false(memory_written(&memory, memory.ram + 0x9800, 4));
	assert_int_equal(memory.page_flags[9], PAGE_CODE);
	assert_true(logged(9));
	assert_int_equal(memory.page_flags[9], PAGE_CODE | PAGE_LOGGED);
	assert_true(memory_written(&memory, memory.ram + 0x9100, 4));
	assert_int_not_equal(memory.code_generation[9], generation);
	assert_int_equal(memory.page_flags[9], 0);
	assert_true(logged(9));
	memory_log_stop(&memory);
}

/* --- video memory --- */

static void aperture_shows_video_memory(void **state)
{
	struct memory_aperture *bar = memory_aperture_add(&memory, MEMORY_VIDEO);
	struct memory_aperture *window = memory_aperture_add(&memory, 64 * KIB);
	uint8_t *video = memory_video(&memory);
	uint64_t start, end;
	struct iovec piece;

	listen_to_memory();
	assert_null(memory_ram_pointer(&memory, 0xe0000000));
	memory_aperture_move(&memory, bar, 0xe0000000, 0);
	assert_int_equal(heard.revokes, 1);
	assert_ptr_equal(memory_ram_pointer(&memory, 0xe0000000), video);
	assert_ptr_equal(memory_ram_pointer(&memory, 0xe0ffffff), video + MEMORY_VIDEO - 1);
	assert_null(memory_ram_pointer(&memory, 0xe1000000));
	assert_true(memory_around(&memory, 0xe0001000, &start, &end));
	assert_int_equal(start, 0xe0000000);
	assert_int_equal(end, 0xe1000000);
	assert_int_equal(memory_range(&memory, 0xe0001000, PAGE_SIZE, true, &piece, 1), 1);
	assert_ptr_equal(piece.iov_base, video + PAGE_SIZE);
	/* Moved: what was there is revoked, and so is what comes. */
	memory_aperture_move(&memory, bar, 0xf0000000, 0);
	assert_int_equal(heard.revokes, 3);
	assert_null(memory_ram_pointer(&memory, 0xe0000000));
	assert_ptr_equal(memory_ram_pointer(&memory, 0xf0000000), video);
	/* In the VGA window, at one bank and then at another. The same place again is no move. */
	assert_null(memory_ram_pointer(&memory, 0xa0000));
	memory_aperture_move(&memory, window, 0xa0000, 0);
	memory_aperture_move(&memory, window, 0xa0000, 3 * 64 * KIB);
	memory_aperture_move(&memory, window, 0xa0000, 3 * 64 * KIB);
	assert_int_equal(heard.revokes, 6);
	assert_ptr_equal(memory_ram_pointer(&memory, 0xaffff), video + 4 * 64 * KIB - 1);
	assert_null(memory_ram_pointer(&memory, 0xb0000));
	memory_aperture_move(&memory, window, MEMORY_NOWHERE, 0);
	assert_null(memory_ram_pointer(&memory, 0xa0000));
	/* RAM comes first. */
	memory_aperture_move(&memory, bar, 0, 0);
	assert_ptr_equal(memory_ram_pointer(&memory, 0), memory.ram);
	memory_unlisten(&memory, &listener);
}

static void video_memory_has_a_log_of_its_own(void **state)
{
	struct memory_aperture *bar = memory_aperture_add(&memory, MEMORY_VIDEO);
	uint64_t pages[MEMORY_VIDEO_PAGES / 64] = {0}, value = 1;

	listen_to_memory();
	memory_aperture_move(&memory, bar, 0xe0000000, 0);
	assert_int_equal(memory_log_start(&memory), 0);
	memory_write(&memory, 0xe0003000, &value, 8); /* not logged: it is no RAM */
	memory_video_log_start(&memory);
	memory_write(&memory, 0xe0000000 + 70 * PAGE_SIZE - 4, &value, 8);
	memory_write(&memory, 0x5000, &value, 8);
	assert_int_equal(memory_video_log_take(&memory, pages), 2);
	assert_int_equal(pages[1], 3 << 5);
	assert_int_equal(memory_video_log_take(&memory, pages), 0);
	assert_true(logged(5));
	memory_write(&memory, 0xe0000000 + 70 * PAGE_SIZE, &value, 8);
	memory_video_log_stop(&memory);
	assert_int_equal(memory_page_flags(&memory, memory_video(&memory)), 0);
	memory_video_log_start(&memory);
	assert_int_equal(memory_video_log_take(&memory, pages), 0);
	memory_video_log_stop(&memory);
	memory_log_stop(&memory);
	memory_unlisten(&memory, &listener);
}

/* A writer counts up with no fence between its store and its look at the flag. A page that is not
 * in the log holds nothing that was not read after the log was taken before. */
static void *logged_thread(void *opaque)
{
	_Atomic uint64_t *word = (_Atomic uint64_t *)(memory.ram + 0x7000);
	static volatile uint64_t lines[32][8];

	for (uint64_t i = 1; !stop; i++) {
		/* Stores that take long, so that the next one waits while the flag is loaded. */
		for (unsigned line = 0; line < ARRAY_SIZE(lines); line++)
			lines[line][0] = i;
		atomic_store_explicit(word, i, memory_order_relaxed);
		atomic_signal_fence(memory_order_seq_cst);
		if (atomic_load_explicit(&memory.page_flags[7], memory_order_relaxed))
			memory_written(&memory, word, 8);
		atomic_store_explicit(&code_word, i, memory_order_release);
		for (unsigned line = 0; line < ARRAY_SIZE(lines); line++)
			__builtin_ia32_clflush((const void *)lines[line]);
		for (unsigned spin = 0; spin < i % 64; spin++)
			__builtin_ia32_pause();
	}
	return NULL;
}

static void no_store_escapes_the_log(void **state)
{
	_Atomic uint64_t *word = (_Atomic uint64_t *)(memory.ram + 0x7000);
	uint64_t copy = 0, in_log = 0, escaped = 0;
	pthread_t thread;

	stop = false;
	code_word = 0;
	assert_int_equal(memory_log_start(&memory), 0);
	pthread_create(&thread, NULL, logged_thread, NULL);
	/* On a busy host the writer may run late and seldom: so many of its stores must have been
	 * in the log, too. */
	for (unsigned i = 0; i < 100000 || (in_log < 100 && i < 10000000); i++) {
		uint64_t pages = 0, done = atomic_load_explicit(&code_word, memory_order_acquire);

		memory_log_take(&memory, 0, 64, &pages);
		if (pages & BIT(7)) {
			copy = atomic_load_explicit(word, memory_order_relaxed);
			in_log++;
		} else {
			escaped += copy < done;
		}
		for (unsigned spin = 0; spin < i % 64; spin++)
			__builtin_ia32_pause();
	}
	stop = true;
	pthread_join(thread, NULL);
	assert_int_equal(escaped, 0);
	assert_true(in_log >= 100);
	memory_log_stop(&memory);
}

/* Sanitizers have these addresses for themselves; then there is no displacement, and it says so. */
static void flags_are_a_displacement_away(void **state)
{
	int32_t displacement = 0;
	bool reachable = memory_flags_displacement(&memory, &displacement);
	uint64_t last = memory.ram_size - 1;

	if (!UNDER_SANITIZER)
		assert_true(reachable);
	if (!reachable)
		return;
	assert_ptr_equal((void *)(((uintptr_t)memory.ram >> PAGE_SHIFT) + (uintptr_t)displacement),
		memory.page_flags);
	assert_ptr_equal(
		(void *)(((uintptr_t)(memory.ram + last) >> PAGE_SHIFT) + (uintptr_t)displacement),
		&memory.page_flags[last >> PAGE_SHIFT]);
	assert_true((uintptr_t)memory.ram + last < UINT64_C(1) << 42);
	assert_int_equal((uintptr_t)memory.ram % (2 * MIB), 0);
}

/* --- pairs of pages --- */

static void a_pair_shows_two_pages_side_by_side(void **state)
{
	struct memory_pair pair;
	uint8_t *first = memory.ram + 7 * PAGE_SIZE, *second = memory.ram + 3 * PAGE_SIZE, *at;

	assert_int_equal(memory_pair_create(&memory, &pair), 0);
	at = memory_pair_show(&memory, &pair, first, second);
	assert_non_null(at);
	memcpy(at + PAGE_SIZE - 2, "abcd", 4);
	assert_memory_equal(first + PAGE_SIZE - 2, "ab", 2);
	assert_memory_equal(second, "cd", 2);
	assert_ptr_equal(memory_pair_show(&memory, &pair, second, first), at);
	assert_memory_equal(at, "cd", 2);
	memory_pair_forget(&pair);
	assert_ptr_equal(memory_pair_show(&memory, &pair, second, first), at);
	memory_pair_destroy(&pair);
}

/* Nothing but RAM and ROM is mapped in a pair, and nothing outside the pair. */
static void a_pair_shows_pages_of_ram_only(void **state)
{
	uint8_t *page = memory.ram, *end = memory.ram + memory.file_size;
	struct memory_pair pair;

	assert_int_equal(memory_pair_create(&memory, &pair), 0);
	assert_null(memory_pair_show(&memory, &pair, end, page));
	assert_null(memory_pair_show(&memory, &pair, page, end));
	assert_null(memory_pair_show(&memory, &pair, page - PAGE_SIZE, page));
	assert_null(memory_pair_show(&memory, &pair, page + 1, page));
	assert_non_null(memory_pair_show(&memory, &pair, page, end - PAGE_SIZE));
	memory_pair_destroy(&pair);
}

/* A guest can make the translator use up the host's mappings, and its locked accesses must stay
 * atomic then. */
static void a_pair_needs_no_further_mappings(void **state)
{
	size_t room = 8 * GIB, used = 0;
	struct memory_pair pair;
	uint8_t *at, *many;

	assert_int_equal(memory_pair_create(&memory, &pair), 0);
	many = mmap(NULL, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	assert_ptr_not_equal(many, MAP_FAILED);
	while (used < room && mprotect(many + used, PAGE_SIZE, PROT_READ) == 0)
		used += 2 * PAGE_SIZE;
	at = memory_pair_show(
		&memory, &pair, memory.ram + 5 * PAGE_SIZE, memory.ram + 2 * PAGE_SIZE);
	munmap(many, room);
	assert_true(used < room);
	assert_non_null(at);
	memory_pair_destroy(&pair);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bad_sizes),
		cmocka_unit_test_setup_teardown(the_file_cannot_be_cut_off, setup, teardown),
		cmocka_unit_test(ram_in_a_file),
		cmocka_unit_test_setup_teardown(small_ram_is_one_piece, setup, teardown),
		cmocka_unit_test_setup_teardown(
			large_ram_goes_round_the_hole, setup_large, teardown),
		cmocka_unit_test_setup_teardown(copies_only_what_is_wholly_ram, setup, teardown),
		cmocka_unit_test_setup_teardown(
			copies_do_not_cross_the_hole, setup_large, teardown),
		cmocka_unit_test_setup_teardown(
			write_to_tracked_line_starts_a_generation, setup, teardown),
		cmocka_unit_test_setup_teardown(write_beside_code_does_not, setup, teardown),
		cmocka_unit_test_setup_teardown(
			clearing_leaves_zeros_and_no_copy_of_code, setup, teardown),
		cmocka_unit_test_setup_teardown(last_line_of_a_page, setup, teardown),
		cmocka_unit_test_setup_teardown(
			dma_drops_code_in_every_page_it_touches, setup, teardown),
		cmocka_unit_test_setup_teardown(no_stale_copy_survives_a_race, setup, teardown),
		cmocka_unit_test_setup_teardown(
			listeners_see_pages_become_code_and_change, setup, teardown),
		cmocka_unit_test_setup_teardown(
			listeners_are_told_in_order_and_may_leave, setup, teardown),
		cmocka_unit_test_setup_teardown(revoking_drops_code, setup, teardown),
		cmocka_unit_test_setup_teardown(ram_is_rows_of_a_table, setup_large, teardown),
		cmocka_unit_test_setup_teardown(rows_and_pointers_agree, setup_large, teardown),
		cmocka_unit_test_setup_teardown(clearing_spares_roms, setup, teardown),
		cmocka_unit_test_setup_teardown(
			rom_in_ram_splits_it_and_goes_again, setup, teardown),
		cmocka_unit_test_setup_teardown(
			rom_outside_ram_has_room_of_its_own, setup, teardown),
		cmocka_unit_test_setup_teardown(
			rom_in_the_way_of_something_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(
			ranges_are_pieces_of_host_memory, setup_large, teardown),
		cmocka_unit_test_setup_teardown(
			guarded_pages_are_not_written, setup_large, teardown),
		cmocka_unit_test_setup_teardown(hostile_ranges_are_refused, setup_large, teardown),
		cmocka_unit_test_setup_teardown(asynchronous_writes_drop_code, setup, teardown),
		cmocka_unit_test_setup_teardown(
			log_holds_what_was_stored_to_since, setup, teardown),
		cmocka_unit_test_setup_teardown(log_and_code_in_one_page, setup, teardown),
		cmocka_unit_test_setup_teardown(aperture_shows_video_memory, setup, teardown),
		cmocka_unit_test_setup_teardown(video_memory_has_a_log_of_its_own, setup, teardown),
		cmocka_unit_test_setup_teardown(no_store_escapes_the_log, setup, teardown),
		cmocka_unit_test_setup_teardown(flags_are_a_displacement_away, setup, teardown),
		cmocka_unit_test_setup_teardown(
			flags_are_a_displacement_away, setup_large, teardown),
		cmocka_unit_test_setup_teardown(
			a_pair_shows_two_pages_side_by_side, setup, teardown),
		cmocka_unit_test_setup_teardown(a_pair_shows_pages_of_ram_only, setup, teardown),
		cmocka_unit_test_setup_teardown(a_pair_needs_no_further_mappings, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
