/* What the files of the IDE controller share. */
#ifndef VENEER_DEVICE_STORAGE_IDE_INTERNAL_H
#define VENEER_DEVICE_STORAGE_IDE_INTERNAL_H

#include "device/irq.h"
#include "device/storage/atapi.h"
#include "device/storage/ide.h"

#define IDE_BUFFER (16 * KIB)

enum ide_phase {
	IDE_IDLE,
	IDE_PACKET, /* the guest is to write a packet */
	IDE_IN,     /* the guest is to read from the buffer */
	IDE_OUT,    /* the guest is to write to the buffer */
	IDE_DMA,    /* it waits for the bus master */
	IDE_BUSY,   /* the disk has a job; never saved */
};

struct ide_drive_state {
	struct ata_registers registers;
	struct ata_state ata;
	struct atapi_state atapi;
};

struct ide_channel_state {
	struct ide_drive_state drive[2];
	uint8_t selected;
	uint8_t control; /* the device control register */
	uint8_t phase;
	bool irq; /* INTRQ, whether or not it is enabled */
	/* The command under way. */
	uint8_t action; /* enum ata_action */
	bool fua;
	bool packet_dma;        /* the PACKET command's data moves by DMA */
	uint32_t at_once;       /* bytes between two interrupts */
	uint32_t position, end; /* in the buffer, and where its data ends */
	uint32_t block_end;     /* where the next interrupt is */
	uint64_t offset, left;  /* in the disk, of what is not in the buffer yet, or still there */
	/* The bus master. */
	uint8_t master_command, master_status;
	uint32_t master_table;
	uint8_t buffer[IDE_BUFFER];
};

struct ide_drive {
	struct drive drive; /* .disk NULL: there is none */
	bool cdrom;
	char serial[21];
};

struct ide_channel {
	struct device device;
	struct ide_channel_state state;
	struct ide_drive drive[2];
	struct irq_line line;
	struct dma *dma;
	struct transfer transfer;
	bool reset_wanted; /* when the job in flight has come back */
};

extern const struct device_ops ide_channel_device;

/* --- ide.c --- */

/* The command block (8 ports), and the control block (1 port). */
extern const struct io_ops ide_command_block, ide_control_block;

void ide_channel_init(struct ide_channel *channel);
/* Back to power-up: at once, or when what is in flight has come back. */
void ide_channel_reset(struct ide_channel *channel);
/* The bus master has been started: do what waits for it. */
void ide_channel_dma_started(struct ide_channel *channel);

/* --- ide_master.c --- */

#define IDE_MASTER_START     0x01 /* in the command register */
#define IDE_MASTER_ACTIVE    0x01 /* in the status register */
#define IDE_MASTER_ERROR     0x02
#define IDE_MASTER_INTERRUPT 0x04

/* 8 ports. */
extern const struct io_ops ide_master_ops;
/* The list of guest memory that the bus master was given, from its beginning. */
struct sg_list ide_master_list(const struct ide_channel *channel);

#endif
