/* Small helpers on integers, for every room. */
#ifndef VENEER_BASE_BITS_H
#define VENEER_BASE_BITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define likely(x)                       __builtin_expect(!!(x), 1)
#define unlikely(x)                     __builtin_expect(!!(x), 0)
#define ARRAY_SIZE(a)                   (sizeof(a) / sizeof((a)[0]))
#define BIT(n)                          (UINT64_C(1) << (n))
#define MIN(a, b)                       ((a) < (b) ? (a) : (b))
#define MAX(a, b)                       ((a) > (b) ? (a) : (b))
#define ALIGN_UP(x, a)                  (((x) + (a)-1) & ~((uint64_t)(a)-1))
#define ALIGN_DOWN(x, a)                ((x) & ~((uint64_t)(a)-1))
#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

#define KIB UINT64_C(1024)
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)

#define NS_PER_SECOND UINT64_C(1000000000)

/* Bits high..low of value, shifted down to bit 0. */
static inline uint64_t bits_get(uint64_t value, unsigned high, unsigned low)
{
	return (value >> low) & (~UINT64_C(0) >> (63 - (high - low)));
}

/* The value's low `bytes` bytes (1 to 8), zero-extended. */
static inline uint64_t bits_zero_extend(uint64_t value, unsigned bytes)
{
	return value & (~UINT64_C(0) >> (64 - 8 * bytes));
}

/* The value's low `bytes` bytes (1 to 8), sign-extended. */
static inline uint64_t bits_sign_extend(uint64_t value, unsigned bytes)
{
	unsigned shift = 64 - 8 * bytes;

	return (uint64_t)((int64_t)(value << shift) >> shift);
}

/* a * b >> shift without losing the high half; shift < 128. */
static inline uint64_t bits_mul_shift(uint64_t a, uint64_t b, unsigned shift)
{
	return (uint64_t)(((unsigned __int128)a * b) >> shift);
}

/* 2^64 divided by the golden ratio: odd, and its multiples spread evenly over 64 bits. */
#define HASH_MULTIPLIER UINT64_C(0x9e3779b97f4a7c15)

/* A slot in a hash table of 2^bits slots (Knuth's multiplicative hash: a product's high bits depend
 * on all bits of the key). A guest that chooses the key chooses the slot. */
static inline unsigned hash_slot(uint64_t key, unsigned bits)
{
	return (unsigned)((key * HASH_MULTIPLIER) >> (64 - bits));
}

#endif
