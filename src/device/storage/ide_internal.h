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

/* The device control register. */
#define IDE_CONTROL_NO_INTERRUPT 0x02
#define IDE_CONTROL_RESET        0x04
#define IDE_CONTROL_PREVIOUS     0x80 /* reads give the byte written before (48-bit addresses) */

/* ATAPI's interrupt reason, in the count register. */
#define IDE_REASON_COMMAND 1
#define IDE_REASON_IN      2
#define IDE_REASON_DONE    3

#define IDE_STATUS_READY (ATA_STATUS_DRDY | ATA_STATUS_DSC)

/* --- the selected device --- */

static inline struct ide_drive *ide_selected(struct ide_channel *channel)
{
	return &channel->drive[channel->state.selected];
}

static inline struct ata_registers *ide_registers(struct ide_channel *channel)
{
	return &channel->state.drive[channel->state.selected].registers;
}

static inline struct ata ide_ata(struct ide_channel *channel, unsigned index)
{
	return (struct ata){
		.state = &channel->state.drive[index].ata,
		.disk = channel->drive[index].drive.disk,
		.serial = channel->drive[index].serial,
	};
}

static inline struct atapi ide_atapi(struct ide_channel *channel, unsigned index)
{
	return (struct atapi){
		.state = &channel->state.drive[index].atapi,
		.disk = channel->drive[index].drive.disk,
		.serial = channel->drive[index].serial,
	};
}

/* --- ide.c --- */

/* The command block (8 ports), and the control block (1 port). */
extern const struct io_ops ide_command_block, ide_control_block;

void ide_channel_init(struct ide_channel *channel);
/* Back to power-up: at once, or when what is in flight has come back. */
void ide_channel_reset(struct ide_channel *channel);

/* --- ide_command.c --- */

/* Drive the interrupt line as the state says; and set INTRQ. */
void ide_update_line(struct ide_channel *channel);
void ide_set_irq(struct ide_channel *channel, bool level);
/* The command is over, with the bits of the error register; or because the disk has failed. */
void ide_complete(struct ide_channel *channel, uint8_t error);
void ide_fail(struct ide_channel *channel);
/* The disk is about to get a job. */
void ide_busy(struct ide_channel *channel);
/* A job has come back. True: what it was for is over, because of a reset meanwhile. */
bool ide_is_reset(struct ide_channel *channel);
/* Begin the command of the selected device, which is idle. */
void ide_run_disk_command(struct ide_channel *channel, uint8_t code);
void ide_run_cdrom_command(struct ide_channel *channel, uint8_t code);
/* The packet is in the buffer. */
void ide_run_packet(struct ide_channel *channel);

/* --- ide_pio.c --- */

/* The buffer is to take `bytes`, or has them. */
void ide_begin_buffer(struct ide_channel *channel, uint32_t bytes);
/* The next block is the guest's. */
void ide_begin_block(struct ide_channel *channel, enum ide_phase phase, bool interrupt);
/* Have the disk fill the buffer. */
void ide_load(struct ide_channel *channel);
/* Bytes that the guest reads from the data register, or writes to it: how many there were, and how
 * many there was room for, in this block. */
uint32_t ide_take_data(struct ide_channel *channel, void *to, uint32_t most);
uint32_t ide_put_data(struct ide_channel *channel, const void *from, uint32_t most);

/* --- ide_dma.c --- */

/* The command's data is to move by DMA: now, or when the bus master is started. */
void ide_begin_dma(struct ide_channel *channel);
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
