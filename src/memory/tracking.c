/* Page flags: noticing stores to code, to page tables and to pages whose stores are logged, and
 * telling the listeners. Why no store is missed is argued at memory_code_track() and
 * memory_log_take(). */
#include "memory/internal.h"

#include <errno.h>
#include <linux/membarrier.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Make all other threads of this process pass a memory barrier. */
static void process_barrier(void)
{
	static _Atomic bool expedited_missing;
	void *page;

	if (!expedited_missing) {
		if (syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) == 0)
			return;
		expedited_missing = true;
	}
	if (syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) == 0)
		return;
	/* No membarrier at all (a sandbox may forbid it). Taking a right away from a page that is
	 * in some TLB makes the kernel interrupt every processor that runs one of our threads, and
	 * that is a barrier too. */
	page = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (page == MAP_FAILED)
		return;
	*(volatile char *)page = 1;
	mprotect(page, PAGE_SIZE, PROT_READ);
	munmap(page, PAGE_SIZE);
}

/* --- listeners --- */

void memory_listen(struct memory *memory, struct memory_listener *listener)
{
	struct memory_listener **end = &memory->listeners;

	pthread_mutex_lock(&memory->lock);
	while (*end)
		end = &(*end)->next;
	listener->next = NULL;
	*end = listener;
	pthread_mutex_unlock(&memory->lock);
}

void memory_unlisten(struct memory *memory, struct memory_listener *listener)
{
	pthread_mutex_lock(&memory->lock);
	for (struct memory_listener **at = &memory->listeners; *at; at = &(*at)->next)
		if (*at == listener) {
			*at = listener->next;
			break;
		}
	pthread_mutex_unlock(&memory->lock);
}

static void listeners_protect(struct memory *memory, uint64_t page, uint64_t count)
{
	for (struct memory_listener *l = memory->listeners; l; l = l->next)
		if (l->protect)
			l->protect(l->opaque, page, count);
}

/* All copies of code of the page are stale. */
static void drop_code(struct memory *memory, uint64_t page)
{
	/* The generation first: a thread that sees the lines cleared must not be able to enter an
	 * old copy. */
	atomic_fetch_add(&memory->code_generation[page], 1);
	for (struct memory_listener *l = memory->listeners; l; l = l->next)
		if (l->written)
			l->written(l->opaque, page);
	atomic_store(&memory->code_lines[page], 0);
	atomic_fetch_and(&memory->page_flags[page], (uint8_t)~PAGE_CODE);
}

void memory_revoke_locked(struct memory *memory, uint64_t page, uint64_t count)
{
	for (uint64_t i = 0; i < count; i++)
		if (memory->code_lines[page + i])
			drop_code(memory, page + i);
	for (struct memory_listener *l = memory->listeners; l; l = l->next)
		if (l->revoke)
			l->revoke(l->opaque, page, count);
}

void memory_revoke(struct memory *memory, uint64_t page, uint64_t count)
{
	pthread_mutex_lock(&memory->lock);
	memory_revoke_locked(memory, page, count);
	pthread_mutex_unlock(&memory->lock);
}

/* --- code --- */

uint32_t memory_code_lines(unsigned offset, unsigned size)
{
	unsigned first = offset >> MEMORY_CODE_LINE_SHIFT;
	unsigned last = (offset + size - 1) >> MEMORY_CODE_LINE_SHIFT;

	return (uint32_t)bits_get(~UINT64_C(0), MIN(last, 31u) - first, 0) << first;
}

/* Why this is safe against a writer on another thread, which stores, then loads the flags, and,
 * where they were not 0, passes a fence and loads the lines:
 *
 *	- It loaded PAGE_CODE as clear. Then it did so before our barrier, its store came before
 *	  that, and so we read the new bytes.
 *	- It saw the flag, but its fence came before our lines were set: its store came before the
 *	  fence, so again we read the new bytes.
 *	- It saw the lines: it starts a new generation after ours, and our copy is stale.
 *
 * The lock keeps us from relying on a flag whose barrier another decoder has not finished, and from
 * reading a generation in the middle of a writer's change. A writer without a look at the flags,
 * through a window, is what `protect` is for: when it returns, the store has either been done, and
 * we read the new bytes, or will fault. */
uint32_t memory_code_track_lines(struct memory *memory, uint64_t page, uint32_t lines)
{
	uint32_t generation;

	pthread_mutex_lock(&memory->lock);
	generation = memory->code_generation[page];
	atomic_fetch_or(&memory->code_lines[page], lines);
	if (!(memory->page_flags[page] & PAGE_CODE)) {
		atomic_fetch_or(&memory->page_flags[page], PAGE_CODE);
		listeners_protect(memory, page, 1);
		if (memory->needs_membarrier)
			process_barrier();
	}
	pthread_mutex_unlock(&memory->lock);
	return generation;
}

uint32_t memory_code_track(struct memory *memory, uint64_t page, unsigned offset, unsigned size)
{
	return memory_code_track_lines(memory, page, memory_code_lines(offset, size));
}

/* --- page tables --- */

/* With the lock held. The version first: a thread that sees the flag cleared must not find the old
 * one. */
static void let_go(struct memory *memory, uint64_t page)
{
	if (!(memory->page_flags[page] & PAGE_TABLE))
		return;
	atomic_fetch_add(&memory->table_version[page], 1);
	atomic_fetch_and(&memory->page_flags[page], (uint8_t)~PAGE_TABLE);
	memory->tables--;
}

uint32_t memory_table_trace(struct memory *memory, uint64_t page)
{
	uint32_t version;

	pthread_mutex_lock(&memory->lock);
	if (!(memory->page_flags[page] & PAGE_TABLE)) {
		bool full = memory->tables == MEMORY_TABLES_MAX;

		for (uint64_t i = 0; full && memory->tables; i++)
			let_go(memory, i);
		atomic_fetch_or(&memory->page_flags[page], PAGE_TABLE);
		memory->tables++;
		listeners_protect(memory, page, 1);
		if (memory->needs_membarrier)
			process_barrier();
	}
	version = memory->table_version[page];
	pthread_mutex_unlock(&memory->lock);
	return version;
}

/* --- stores --- */

static uint64_t first_video_page(const struct memory *memory)
{
	return (memory->file_size - MEMORY_VIDEO) >> PAGE_SHIFT;
}

/* With the lock held. */
static void write_down(struct memory *memory, uint64_t page)
{
	if (!(memory->page_flags[page] & PAGE_LOGGED))
		return;
	atomic_fetch_and(&memory->page_flags[page], (uint8_t)~PAGE_LOGGED);
	if (page >= first_video_page(memory)) {
		page -= first_video_page(memory);
		memory->video_log[page / 64] |= BIT(page % 64);
	} else {
		atomic_fetch_or(&memory->log[page / 64], BIT(page % 64));
	}
}

bool memory_written(struct memory *memory, const void *pointer, unsigned size)
{
	uint64_t page = memory_page_number(memory, pointer);
	uint32_t mask = memory_code_lines((uintptr_t)pointer & (PAGE_SIZE - 1), size);
	bool code;

	atomic_thread_fence(memory_order_seq_cst);
	code = atomic_load_explicit(&memory->code_lines[page], memory_order_relaxed) & mask;
	if (!code && !(memory->page_flags[page] & (PAGE_LOGGED | PAGE_TABLE)))
		return false;
	pthread_mutex_lock(&memory->lock);
	write_down(memory, page);
	let_go(memory, page);
	if (memory->code_lines[page] & mask)
		drop_code(memory, page);
	pthread_mutex_unlock(&memory->lock);
	/* Another writer may have cleared the lines before us; the code that we hit is stale either
	 * way. */
	return code;
}

void memory_range_written(
	struct memory *memory, const struct iovec *pieces, unsigned count, uint64_t bytes)
{
	/* Order the store before the load of the flags: see "Code tracking" in the header. */
	atomic_thread_fence(memory_order_seq_cst);
	for (unsigned i = 0; i < count && bytes; i++) {
		const uint8_t *at = pieces[i].iov_base, *end = at + MIN(pieces[i].iov_len, bytes);

		bytes -= (uint64_t)(end - at);
		while (at < end) {
			uint64_t in_page = PAGE_SIZE - ((uintptr_t)at & (PAGE_SIZE - 1));
			uint64_t some = MIN((uint64_t)(end - at), in_page);

			if (memory->page_flags[memory_page_number(memory, at)])
				memory_written(memory, at, (unsigned)some);
			at += some;
		}
	}
}

/* --- the log --- */

int memory_log_start(struct memory *memory)
{
	uint64_t pages = memory->ram_size >> PAGE_SHIFT;
	int error = 0;

	pthread_mutex_lock(&memory->lock);
	if (memory->log) {
		error = -EBUSY;
	} else {
		memory->log = calloc((pages + 63) / 64, sizeof(*memory->log));
		error = memory->log ? 0 : -ENOMEM;
	}
	if (!error) {
		for (uint64_t i = 0; i < pages; i++)
			atomic_fetch_or(&memory->page_flags[i], PAGE_LOGGED);
		listeners_protect(memory, 0, pages);
		process_barrier();
		memory_regions_set_logged(memory, true);
	}
	pthread_mutex_unlock(&memory->lock);
	return error;
}

/* The pages of one word of the log get their flag back. */
static void log_again(struct memory *memory, uint64_t first, uint64_t stored)
{
	while (stored) {
		uint64_t page = first + (uint64_t)__builtin_ctzll(stored);

		atomic_fetch_or(&memory->page_flags[page], PAGE_LOGGED);
		listeners_protect(memory, page, 1);
		stored &= stored - 1;
	}
}

/* First the flags, then the barrier, then the log is taken: a store whose writer found the flag
 * clear was done before the barrier, so the page can be read with it; one whose writer found it set
 * is logged under the lock after us, in the next log. Flag and log change together in the lock, so
 * that no page is left without both. */
uint64_t memory_log_take(struct memory *memory, uint64_t first, uint64_t count, uint64_t *pages)
{
	uint64_t total = 0;

	pthread_mutex_lock(&memory->lock);
	if (memory->log) {
		for (uint64_t i = 0; i < count; i += 64)
			log_again(memory, first + i, memory->log[(first + i) / 64]);
		process_barrier();
		for (uint64_t i = 0; i < count; i += 64) {
			uint64_t stored = atomic_exchange(&memory->log[(first + i) / 64], 0);

			pages[i / 64] |= stored;
			total += (unsigned)__builtin_popcountll(stored);
		}
	}
	pthread_mutex_unlock(&memory->lock);
	return total;
}

void memory_log_stop(struct memory *memory)
{
	pthread_mutex_lock(&memory->lock);
	if (memory->log) {
		for (uint64_t i = 0; i < memory->ram_size >> PAGE_SHIFT; i++)
			atomic_fetch_and(&memory->page_flags[i], (uint8_t)~PAGE_LOGGED);
		free(memory->log);
		memory->log = NULL;
		memory_regions_set_logged(memory, false);
	}
	pthread_mutex_unlock(&memory->lock);
}

/* --- the log of video memory --- */

/* All pages get the flag, or lose it. With the lock held. */
static void set_video_logged(struct memory *memory, bool on)
{
	uint64_t first = first_video_page(memory);

	memory->video_logged = on;
	memset(memory->video_log, 0, sizeof(memory->video_log));
	for (uint64_t page = first; page < first + MEMORY_VIDEO_PAGES; page++)
		if (on)
			atomic_fetch_or(&memory->page_flags[page], PAGE_LOGGED);
		else
			atomic_fetch_and(&memory->page_flags[page], (uint8_t)~PAGE_LOGGED);
}

void memory_video_log_start(struct memory *memory)
{
	pthread_mutex_lock(&memory->lock);
	if (!memory->video_logged) {
		set_video_logged(memory, true);
		listeners_protect(memory, first_video_page(memory), MEMORY_VIDEO_PAGES);
		process_barrier();
	}
	pthread_mutex_unlock(&memory->lock);
}

/* See memory_log_take(). */
uint64_t memory_video_log_take(struct memory *memory, uint64_t *pages)
{
	uint64_t first = first_video_page(memory), total = 0;

	pthread_mutex_lock(&memory->lock);
	for (unsigned i = 0; i < MEMORY_VIDEO_PAGES / 64; i++) {
		log_again(memory, first + 64 * i, memory->video_log[i]);
		total += (unsigned)__builtin_popcountll(memory->video_log[i]);
		pages[i] |= memory->video_log[i];
		memory->video_log[i] = 0;
	}
	if (total)
		process_barrier();
	pthread_mutex_unlock(&memory->lock);
	return total;
}

void memory_video_log_stop(struct memory *memory)
{
	pthread_mutex_lock(&memory->lock);
	set_video_logged(memory, false);
	pthread_mutex_unlock(&memory->lock);
}
