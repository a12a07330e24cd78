/* Loading an x86 ELF executable to the physical addresses its program headers name. */
#ifndef VENEER_MACHINE_ELF_H
#define VENEER_MACHINE_ELF_H

#include "machine/boot.h"

struct elf_program {
	bool is_64bit;
	uint64_t entry; /* guest-physical */
	uint64_t end;   /* of the highest segment, its zeroed part included */
};

bool elf_recognizes(const uint8_t *header, uint64_t size);

/* Load every PT_LOAD segment. Guest RAM is zero already, so what a segment has in memory but not
 * in the file is left as it is. 0, or -errno with a message. */
int elf_load_program(const struct boot_request *request, struct elf_program *program);

#endif
