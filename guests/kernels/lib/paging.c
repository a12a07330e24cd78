#include "paging.h"

#ifdef __x86_64__
extern u8 boot_pml4[];
struct address_space boot_space = {4, boot_pml4};
#else
extern u8 boot_directory[];
struct address_space boot_space = {2, boot_directory};
#endif

static int entry_shift(struct address_space *space, int level)
{
	return space->levels == 2 ? 12 + 10 * (level - 1) : 12 + 9 * (level - 1);
}

static u64 entry_read(struct address_space *space, void *slot)
{
	return space->levels == 2 ? *(u32 *)slot : *(u64 *)slot;
}

static void entry_write(struct address_space *space, void *slot, u64 value)
{
	if (space->levels == 2)
		*(volatile u32 *)slot = value;
	else
		*(volatile u64 *)slot = value;
}

void *pte_slot(struct address_space *space, ulong address, int level)
{
	int entry_size = space->levels == 2 ? 4 : 8;
	int index_mask = 4096 / entry_size - 1;
	u8 *table = space->root;
	int l;

	for (l = space->levels;; l--) {
		u8 *slot = table;
		u64 entry;

		if (space->levels == 3 && l == 3)
			slot += (address >> 30 & 3) * 8;
		else
			slot += (address >> entry_shift(space, l) & index_mask) * entry_size;
		if (l == level)
			return slot;
		entry = entry_read(space, slot);
		if (!(entry & PTE_P) || (l < 4 && l > 1 && (entry & PTE_PS))) {
			/* In a PAE pointer table W and U are reserved bits (SDM vol. 3A 4.4.1). */
			u64 flags = space->levels == 3 && l == 3 ? PTE_P : PTE_P | PTE_W | PTE_U;

			entry = (ulong)page_alloc() | flags;
			entry_write(space, slot, entry);
		}
		table = (u8 *)(ulong)(entry & 0xffffffffff000ull);
	}
}

u64 pte_get(struct address_space *space, ulong address, int level)
{
	return entry_read(space, pte_slot(space, address, level));
}

void pte_set(struct address_space *space, ulong address, int level, u64 value)
{
	entry_write(space, pte_slot(space, address, level), value);
}

void pte_change(struct address_space *space, ulong address, int level, u64 clear, u64 set)
{
	void *slot = pte_slot(space, address, level);

	entry_write(space, slot, (entry_read(space, slot) & ~clear) | set);
}

void map_page(struct address_space *space, ulong address, u64 physical, u64 flags)
{
	pte_set(space, address, 1, physical | flags);
	invlpg(address);
}

void space_init(struct address_space *space, int levels, u64 flags)
{
	u64 page_size = levels == 2 ? 4 << 20 : 2 << 20;
	u64 address;

	space->levels = levels;
	space->root = page_alloc();
	for (address = 0; address < 1ull << 32; address += page_size)
		pte_set(space, address, 2, address | flags | PTE_PS | PTE_P);
}
