/* What the files of the AHCI controller share. */
#ifndef VENEER_DEVICE_STORAGE_AHCI_INTERNAL_H
#define VENEER_DEVICE_STORAGE_AHCI_INTERNAL_H

#include "device/storage/ahci.h"
#include "device/storage/atapi.h"

#define AHCI_SLOTS 32

/* PxCMD. */
#define AHCI_CMD_START       0x00000001u
#define AHCI_CMD_CLO         0x00000008u
#define AHCI_CMD_FIS         0x00000010u
#define AHCI_CMD_FIS_RUNS    0x00004000u
#define AHCI_CMD_RUNS        0x00008000u
#define AHCI_CMD_WRITABLE    0x0f000017u
#define AHCI_CMD_SLOT(value) ((uint32_t)(value) << 8)

/* PxIS. */
#define AHCI_IS_REGISTERS 0x00000001u /* a D2H register FIS */
#define AHCI_IS_PIO_SETUP 0x00000002u
#define AHCI_IS_SET_BITS  0x00000008u /* a set device bits FIS */
#define AHCI_IS_CONNECT   0x00000040u
#define AHCI_IS_BUS_FATAL 0x20000000u
#define AHCI_IS_TASK_FILE 0x40000000u
#define AHCI_IS_ALL       0xfdc000ffu

#define AHCI_SERR_EXCHANGED 0x04000000u

struct ahci_port_state {
	uint64_t list, fis; /* PxCLB, PxFB */
	uint32_t is, ie, cmd, sctl, serr, sact, ci;
	uint32_t signature;
	uint8_t status, error; /* PxTFD */
	uint8_t slot;          /* the command begun last */
	uint8_t control;       /* of the last register FIS: SRST */
	bool halted;           /* by an error, until the port is stopped */
	struct ata_state ata;
	struct atapi_state atapi;
};

struct ahci_state {
	uint32_t ghc, is;
	struct ahci_port_state port[AHCI_PORTS];
};

/* A command under way. */
struct ahci_slot {
	struct transfer transfer;
	struct ahci_port *port;
	uint64_t header; /* in guest memory */
	bool running, dropped;
	bool queued, pio_in, reads;
	uint8_t index, tag;
	struct ata_registers registers;
	uint8_t buffer[ATA_BLOCK];
};

struct ahci_port {
	struct ahci *ahci;
	struct ahci_port_state *state;
	struct drive drive; /* .disk NULL: there is none */
	bool cdrom;
	char serial[21];
	struct ahci_slot *slots; /* NULL: there is no drive */
	unsigned running;        /* slots, the dropped ones included */
	bool dropping;           /* some of them are dropped: nothing begins */
	bool signature_wanted;   /* when they have come back */
	bool scheduling;
};

struct ahci {
	struct device device;
	struct ahci_state state;
	struct pci_function function;
	struct ahci_port port[AHCI_PORTS];
};

/* --- ahci.c: registers and interrupts --- */

/* These bits of PxIS are set. */
void ahci_post(struct ahci_port *port, uint32_t bits);
/* No command of the port's is under way any more that a reset or a stop has dropped. */
void ahci_drained(struct ahci_port *port);
unsigned ahci_port_index(const struct ahci_port *port);

/* --- ahci_command.c --- */

/* Begin what the port's CI says, as far as it can be begun. */
void ahci_schedule(struct ahci_port *port);
/* Forget what is under way. */
void ahci_drop(struct ahci_port *port);
/* The device's registers after a reset: PxTFD, PxSIG, and the FIS. */
void ahci_signature(struct ahci_port *port);

#endif
