#include "machine/core_dump.h"

#include "cpu/cpu.h"

#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/procfs.h>
#include <unistd.h>

/* What QEMU's note has, as crash(8) knows it. */
struct qemu_segment {
	uint32_t selector, limit, flags, pad;
	uint64_t base;
};

struct qemu_cpu {
	uint32_t version, size;
	uint64_t rax, rbx, rcx, rdx, rsi, rdi, rsp, rbp, r8_to_r15[8], rip, rflags;
	struct qemu_segment cs, ds, es, fs, gs, ss, ldt, tr, gdt, idt;
	uint64_t cr[5];
	uint64_t kernel_gs_base;
};

/* Names of notes are padded to 4 bytes, and what follows them is aligned no better. */
struct __attribute__((packed)) prstatus_note {
	Elf64_Nhdr header;
	char name[8];
	struct elf_prstatus status;
};

struct __attribute__((packed)) qemu_note {
	Elf64_Nhdr header;
	char name[8];
	struct qemu_cpu cpu;
};

struct __attribute__((packed)) cpu_notes {
	struct prstatus_note prstatus;
	struct qemu_note qemu;
};
_Static_assert(sizeof(struct cpu_notes) % 4 == 0, "notes follow each other without a gap");

/* --- a processor --- */

static void fill_prstatus(
	struct prstatus_note *note, const struct cpu_state *state, uint64_t rflags, unsigned index)
{
	/* struct user_regs_struct's order (sys/user.h) */
	const uint64_t registers[] = {state->gpr[R15], state->gpr[R14], state->gpr[R13],
		state->gpr[R12], state->gpr[RBP], state->gpr[RBX], state->gpr[R11], state->gpr[R10],
		state->gpr[R9], state->gpr[R8], state->gpr[RAX], state->gpr[RCX], state->gpr[RDX],
		state->gpr[RSI], state->gpr[RDI], UINT64_MAX, state->rip,
		state->segment[SEG_CS].selector, rflags, state->gpr[RSP],
		state->segment[SEG_SS].selector, state->segment[SEG_FS].base,
		state->segment[SEG_GS].base, state->segment[SEG_DS].selector,
		state->segment[SEG_ES].selector, state->segment[SEG_FS].selector,
		state->segment[SEG_GS].selector};

	_Static_assert(sizeof(registers) == sizeof(note->status.pr_reg), "all registers are there");
	*note = (struct prstatus_note){
		.header = {.n_namesz = 5, .n_descsz = sizeof(note->status), .n_type = NT_PRSTATUS},
		.name = "CORE",
		.status = {.pr_pid = (int)index + 1},
	};
	memcpy(&note->status.pr_reg, registers, sizeof(registers));
}

/* The flags are those of a descriptor's upper half. */
static struct qemu_segment qemu_segment(const struct segment *segment)
{
	return (struct qemu_segment){.selector = segment->selector,
		.limit = segment->limit,
		.flags = (segment->access & 0xf0ff) << 8,
		.base = segment->base};
}

static void fill_qemu(struct qemu_note *note, const struct cpu_state *state, uint64_t rflags)
{
	const uint64_t *gpr = state->gpr;

	*note = (struct qemu_note){
		.header = {.n_namesz = 5, .n_descsz = sizeof(note->cpu), .n_type = 0},
		.name = "QEMU",
		.cpu = {.version = 1,
			.size = sizeof(note->cpu),
			.rax = gpr[RAX],
			.rbx = gpr[RBX],
			.rcx = gpr[RCX],
			.rdx = gpr[RDX],
			.rsi = gpr[RSI],
			.rdi = gpr[RDI],
			.rsp = gpr[RSP],
			.rbp = gpr[RBP],
			.rip = state->rip,
			.rflags = rflags,
			.cs = qemu_segment(&state->segment[SEG_CS]),
			.ds = qemu_segment(&state->segment[SEG_DS]),
			.es = qemu_segment(&state->segment[SEG_ES]),
			.fs = qemu_segment(&state->segment[SEG_FS]),
			.gs = qemu_segment(&state->segment[SEG_GS]),
			.ss = qemu_segment(&state->segment[SEG_SS]),
			.ldt = qemu_segment(&state->segment[SEG_LDTR]),
			.tr = qemu_segment(&state->segment[SEG_TR]),
			.gdt = {.limit = state->gdtr.limit, .base = state->gdtr.base},
			.idt = {.limit = state->idtr.limit, .base = state->idtr.base},
			.cr = {state->cr0, 0, state->cr2, state->cr3, state->cr4},
			.kernel_gs_base = state->kernel_gs_base},
	};
	memcpy(note->cpu.r8_to_r15, &gpr[R8], sizeof(note->cpu.r8_to_r15));
}

static void fill_notes(struct machine *machine, struct cpu_notes *notes)
{
	struct cpu_state state;

	for (unsigned i = 0; i < machine->config.cpu_count; i++) {
		uint64_t rflags;

		cpu_get_state(machine->cpus[i], &state);
		rflags = cpu_rflags(machine->cpus[i]);
		fill_prstatus(&notes[i].prstatus, &state, rflags, i);
		fill_qemu(&notes[i].qemu, &state, rflags);
	}
}

/* --- the file --- */

struct core {
	struct machine *machine;
	int fd;
	bool sparse;     /* holes can be left in it */
	uint64_t offset; /* what has been written ends here */
	Elf64_Phdr segments[1 + MEMORY_REGIONS];
	unsigned segment_count;
	struct cpu_notes *notes;
	uint64_t notes_size;
	uint8_t *kernel_note; /* VMCOREINFO; NULL: none */
	uint64_t kernel_note_size;
};

static int write_bytes(struct core *core, const void *bytes, uint64_t size)
{
	const uint8_t *at = bytes;

	core->offset += size;
	while (size) {
		ssize_t done = write(core->fd, at, MIN(size, 16 * MIB));

		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return done < 0 ? -errno : -EIO;
		at += done;
		size -= (uint64_t)done;
	}
	return 0;
}

static int skip(struct core *core, uint64_t size)
{
	static const uint8_t zeroes[64 * KIB];
	int error = 0;

	if (core->sparse) {
		core->offset += size;
		return lseek(core->fd, (off_t)size, SEEK_CUR) < 0 ? -errno : 0;
	}
	while (size && !error) {
		uint64_t piece = MIN(size, sizeof(zeroes));

		error = write_bytes(core, zeroes, piece);
		size -= piece;
	}
	return error;
}

/* RAM that the guest has never used is a hole in its own file, and is not read. */
static int write_region(struct core *core, const struct memory_region *region)
{
	const struct memory *memory = &core->machine->memory;
	uint64_t at = region->offset, end = region->offset + region->size;
	int error = 0;

	while (at < end && !error) {
		off_t data = lseek(memory->fd, (off_t)at, SEEK_DATA), hole;
		uint64_t start = data < 0 ? end : MIN((uint64_t)data, end);

		error = skip(core, start - at);
		if (error || start == end)
			break;
		hole = lseek(memory->fd, (off_t)start, SEEK_HOLE);
		at = hole < 0 ? end : MIN((uint64_t)hole, end);
		error = write_bytes(core, memory->ram + start, at - start);
	}
	return error;
}

static void plan(struct core *core)
{
	uint64_t notes_size = core->notes_size + core->kernel_note_size;
	const struct memory *memory = &core->machine->memory;
	uint64_t offset;

	core->segment_count = 1;
	for (unsigned i = 0; i < memory->region_count; i++)
		core->segment_count += memory->region[i].kind != MEMORY_HOLE;
	offset = sizeof(Elf64_Ehdr) + core->segment_count * sizeof(Elf64_Phdr);
	core->segments[0] =
		(Elf64_Phdr){.p_type = PT_NOTE, .p_offset = offset, .p_filesz = notes_size};
	offset = ALIGN_UP(offset + notes_size, PAGE_SIZE);
	for (unsigned i = 0, next = 1; i < memory->region_count; i++) {
		const struct memory_region *region = &memory->region[i];

		if (region->kind == MEMORY_HOLE)
			continue;
		core->segments[next++] = (Elf64_Phdr){.p_type = PT_LOAD,
			.p_flags = PF_R,
			.p_offset = offset,
			.p_vaddr = region->gpa,
			.p_paddr = region->gpa,
			.p_filesz = region->size,
			.p_memsz = region->size};
		offset += region->size;
	}
}

static int write_headers(struct core *core)
{
	const Elf64_Ehdr header = {
		.e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB,
			EV_CURRENT},
		.e_type = ET_CORE,
		.e_machine = EM_X86_64,
		.e_version = EV_CURRENT,
		.e_phoff = sizeof(header),
		.e_ehsize = sizeof(header),
		.e_phentsize = sizeof(Elf64_Phdr),
		.e_phnum = (Elf64_Half)core->segment_count,
	};
	int error = write_bytes(core, &header, sizeof(header));

	if (!error)
		error = write_bytes(core, core->segments, core->segment_count * sizeof(Elf64_Phdr));
	if (!error)
		error = write_bytes(core, core->notes, core->notes_size);
	if (!error)
		error = write_bytes(core, core->kernel_note, core->kernel_note_size);
	return error ? error : skip(core, ALIGN_UP(core->offset, PAGE_SIZE) - core->offset);
}

static int write_core(struct core *core)
{
	const struct memory *memory = &core->machine->memory;
	int error = write_headers(core);

	for (unsigned i = 0; !error && i < memory->region_count; i++)
		if (memory->region[i].kind != MEMORY_HOLE)
			error = write_region(core, &memory->region[i]);
	if (!error && core->sparse && ftruncate(core->fd, (off_t)core->offset) < 0)
		error = -errno;
	return error;
}

int core_dump_write(struct machine *machine, int fd)
{
	struct core core = {.machine = machine, .fd = fd};
	unsigned count = machine->config.cpu_count;
	int error;

	core.notes = calloc(count, sizeof(*core.notes));
	if (!core.notes)
		return -ENOMEM;
	core.notes_size = count * sizeof(*core.notes);
	fill_notes(machine, core.notes);
	core.kernel_note =
		vmcoreinfo_read(&machine->vmcoreinfo, &machine->memory, &core.kernel_note_size);
	plan(&core);
	core.sparse = lseek(fd, 0, SEEK_CUR) == 0 && ftruncate(fd, 0) == 0;
	error = write_core(&core);
	free(core.kernel_note);
	free(core.notes);
	return error;
}
