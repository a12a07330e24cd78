/* What the files of the floppy disk controller share. */
#ifndef VENEER_DEVICE_STORAGE_FLOPPY_INTERNAL_H
#define VENEER_DEVICE_STORAGE_FLOPPY_INTERNAL_H

#include "device/storage/floppy.h"
#include "device/storage/transfer.h"

#define FLOPPY_BUFFER (36 * DISK_SECTOR) /* a track of the largest medium */

struct floppy_medium {
	uint32_t size; /* KiB */
	uint8_t cylinders, heads, sectors;
	uint8_t rate; /* as CCR has it */
	uint8_t drive;
};

enum floppy_phase {
	FLOPPY_COMMAND, /* the guest writes a command's bytes */
	FLOPPY_IN,      /* data goes to the guest, by DMA or byte by byte */
	FLOPPY_OUT,
	FLOPPY_RESULT,
	FLOPPY_BUSY, /* the disk has a job; never saved */
};

struct floppy_state {
	uint8_t dor, rate, tape; /* registers */
	uint8_t phase;
	uint8_t command[9]; /* and its parameters, as far as they have come */
	uint8_t command_length;
	uint8_t result[10];
	uint8_t result_length, result_position;
	uint8_t cylinder[4];         /* where each drive's head is */
	bool changed[FLOPPY_DRIVES]; /* the change line */
	uint8_t resets_to_tell;      /* SENSE INTERRUPT STATUS is to tell of so many drives more */
	bool seek_done;              /* and of a seek's end */
	uint8_t seek_status;
	uint8_t specify[2]; /* SPECIFY's parameters; bit 0 of the second: no DMA */
	uint8_t configure[3], perpendicular;
	bool locked;
	bool irq;
	/* The transfer under way: the next sector to be moved into or out of the buffer, and how
	 * many of them the buffer has. */
	uint8_t head, sector, run;
	uint32_t position;
	uint8_t buffer[FLOPPY_BUFFER];
};

struct floppy {
	struct device device;
	struct floppy_state state;
	struct drive drive[FLOPPY_DRIVES];
	const struct floppy_medium *medium[FLOPPY_DRIVES]; /* NULL: no drive */
	struct dma8237 *dma;
	struct irq_line irq;
	struct transfer transfer;
	bool reset_wanted;
	bool ended; /* the job in flight is the transfer's last */
};

/* --- floppy.c: registers, and the ends of a command --- */

void floppy_set_irq(struct floppy *floppy, bool level);
/* The result phase, with an interrupt where `interrupt`. */
void floppy_result(struct floppy *floppy, const uint8_t *bytes, unsigned count, bool interrupt);

/* --- floppy_command.c --- */

/* The command's bytes that there are to be, by the first. */
unsigned floppy_command_length(uint8_t code);
/* All of a command's bytes have come. */
void floppy_run_command(struct floppy *floppy);

/* --- floppy_transfer.c --- */

/* READ and WRITE DATA, READ TRACK, FORMAT TRACK, VERIFY: what the command's bytes say. */
void floppy_begin_transfer(struct floppy *floppy);
/* Move what can be moved by DMA. */
void floppy_pump(struct floppy *floppy);
/* A byte of the data by the FIFO register, without DMA. */
uint8_t floppy_read_byte(struct floppy *floppy);
void floppy_write_byte(struct floppy *floppy, uint8_t value);
/* Does the state say only what this medium allows? */
bool floppy_transfer_valid(const struct floppy *floppy, const struct floppy_state *state);

#define FLOPPY_ST0_ABNORMAL  0x40
#define FLOPPY_ST0_INVALID   0x80
#define FLOPPY_ST0_CHANGED   0xc0 /* after a reset */
#define FLOPPY_ST0_SEEK      0x20
#define FLOPPY_ST0_NOT_READY 0x08

/* Which drive, and its head, the second byte of a command names. */
static inline unsigned floppy_selected(const struct floppy_state *state)
{
	return state->command[1] & 3;
}

static inline const struct floppy_medium *floppy_medium(
	const struct floppy *floppy, const struct floppy_state *state)
{
	unsigned drive = floppy_selected(state);

	return drive < FLOPPY_DRIVES ? floppy->medium[drive] : NULL;
}

static inline bool floppy_uses_dma(const struct floppy_state *state)
{
	return !(state->specify[1] & 1);
}

#endif
