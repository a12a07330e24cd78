/* What the programs that make code at run time share: a page of small functions. */
#ifndef BENCH_JIT_H
#define BENCH_JIT_H

#include "bench.h"

#include <sys/mman.h>

#define PAGE      4096
#define FUNCTIONS 64
#define STRIDE    (PAGE / FUNCTIONS)

typedef uint32_t function(uint32_t value);

/* function(value) = value * factor ^ mask */
static inline void emit(uint8_t *at, uint32_t factor, uint32_t mask)
{
	static const uint8_t code[] = {
		0x69, 0xc7, 0, 0, 0, 0, /* imul $factor, %edi, %eax */
		0x35, 0, 0, 0, 0,       /* xor $mask, %eax */
		0xc3,                   /* ret */
	};

	memcpy(at, code, sizeof(code));
	memcpy(at + 2, &factor, sizeof(factor));
	memcpy(at + 7, &mask, sizeof(mask));
}

#endif
