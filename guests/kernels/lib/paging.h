/*
 * Page tables a guest kernel writes itself. One walk, pte_slot(), serves the four formats:
 * two levels of 4-byte entries, or three (PAE), four or five levels of 8-byte ones.
 */
#ifndef PAGING_H
#define PAGING_H

#include "kernel.h"

#define PTE_P       (1ull << 0)
#define PTE_W       (1ull << 1)
#define PTE_U       (1ull << 2)
#define PTE_PWT     (1ull << 3)
#define PTE_PCD     (1ull << 4)
#define PTE_A       (1ull << 5)
#define PTE_D       (1ull << 6)
#define PTE_PS      (1ull << 7)
#define PTE_G       (1ull << 8)
#define PTE_NX      (1ull << 63)
#define PTE_PKEY(n) ((u64)(n) << 59)

/* Page-fault error code (SDM vol. 3A 4.7). */
#define PF_P    1
#define PF_W    2
#define PF_U    4
#define PF_RSVD 8
#define PF_I    16
#define PF_PK   32

/* A window that no kernel image or RAM below 1 GiB reaches: free for test mappings. */
#define TEST_VA 0x40000000ul

struct address_space {
	int levels; /* 2 to 5 */
	void *root;
};

/* The tables the CPU booted with. */
extern struct address_space boot_space;

/*
 * The entry of level LEVEL (1 is the leaf of a 4-KiB page) on the way to ADDRESS. Tables above it
 * are made as needed, open for everything; a large page in the way is dropped.
 */
void *pte_slot(struct address_space *space, ulong address, int level);
u64 pte_get(struct address_space *space, ulong address, int level);
void pte_set(struct address_space *space, ulong address, int level, u64 value);
/* Changes bits of an existing entry. */
void pte_change(struct address_space *space, ulong address, int level, u64 clear, u64 set);
/* Maps a 4-KiB page and forgets an old translation of it. */
void map_page(struct address_space *space, ulong address, u64 physical, u64 flags);
/* A new address space with the low 4 GiB mapped one to one in large pages with FLAGS. */
void space_init(struct address_space *space, int levels, u64 flags);

#endif
