/* Which address space a translation belongs to: what the architecture tags TLB entries with (SDM
 * vol. 3A 4.10.1, vol. 3C 29.4.3). Whatever keeps something by linear address compares this, and
 * nothing else looks at CR3 for it: cpu_address_space() says which one a vCPU is in. A new kind of
 * space is a new field here. */
#ifndef VENEER_CPU_ADDRESS_SPACE_H
#define VENEER_CPU_ADDRESS_SPACE_H

#include <stdbool.h>
#include <stdint.h>

struct address_space {
	uint64_t root; /* guest-physical page of the top-level table */
	uint64_t eptp; /* of the second stage; 0: there is none */
	uint16_t pcid; /* 0 without CR4.PCIDE */
	uint16_t vpid; /* 0 outside VMX non-root operation */
};

/* What a flush names: the tag, not the tables. */
static inline bool address_space_same_tag(struct address_space a, struct address_space b)
{
	return a.pcid == b.pcid && a.vpid == b.vpid && a.eptp == b.eptp;
}

/* The same tables, whatever they are called. */
static inline bool address_space_same_tables(struct address_space a, struct address_space b)
{
	return a.root == b.root && a.eptp == b.eptp;
}

static inline bool address_space_equal(struct address_space a, struct address_space b)
{
	return address_space_same_tables(a, b) && address_space_same_tag(a, b);
}

#endif
