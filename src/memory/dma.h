/* DMA: how a device reaches guest RAM. Every access of a device goes through one of these, so that
 * what stands between the device and RAM (the function's bus master enable bit, one day a remapping
 * unit) and what watches stores to RAM (code tracking, the dirty log) are in one place.
 *
 * Addresses are those the device was told by its driver. Any thread, lock or no lock. */
#ifndef VENEER_MEMORY_DMA_H
#define VENEER_MEMORY_DMA_H

#include "memory/memory.h"

#include <errno.h>

/* What one requester (a PCI function) reaches memory by. */
struct dma {
	struct memory *memory;
	/* It may read and write memory at all (PCI command register, bit 2). */
	atomic_bool enabled;
};

static inline bool dma_enabled(const struct dma *dma)
{
	return atomic_load_explicit(&dma->enabled, memory_order_relaxed);
}

/* memory_read() and the others, for this requester; -EFAULT also where it is not enabled. */
static inline int dma_read(const struct dma *dma, uint64_t address, void *buffer, uint64_t size)
{
	return dma_enabled(dma) ? memory_read(dma->memory, address, buffer, size) : -EFAULT;
}

static inline int dma_write(struct dma *dma, uint64_t address, const void *buffer, uint64_t size)
{
	return dma_enabled(dma) ? memory_write(dma->memory, address, buffer, size) : -EFAULT;
}

static inline int dma_range(const struct dma *dma, uint64_t address, uint64_t size, bool write,
	struct iovec *pieces, unsigned limit)
{
	return dma_enabled(dma) ? memory_range(dma->memory, address, size, write, pieces, limit)
				: -EFAULT;
}

static inline void dma_range_written(
	struct dma *dma, const struct iovec *pieces, unsigned count, uint64_t bytes)
{
	memory_range_written(dma->memory, pieces, count, bytes);
}

#endif
