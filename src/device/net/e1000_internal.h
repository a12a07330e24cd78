/* The card's files among themselves.
 *
 *	e1000.c			registers, interrupts, the device
 *	e1000_eeprom.c		EEPROM and PHY
 *	e1000_transmit.c	frames of the guest
 *	e1000_receive.c		frames for the guest
 *
 * All of the card's state is under the machine lock. Frames are moved by its worker, which takes
 * that lock for a few of them at a time. */
#ifndef VENEER_DEVICE_NET_E1000_INTERNAL_H
#define VENEER_DEVICE_NET_E1000_INTERNAL_H

#include "base/bits.h"
#include "device/net/e1000.h"

#define E1000_REGISTERS_SIZE 0x5800
#define E1000_BATCH          8 /* frames that are moved before others get the machine lock */

enum e1000_register {
	E1000_CTRL = 0x0000,
	E1000_STATUS = 0x0008,
	E1000_EECD = 0x0010,
	E1000_EERD = 0x0014,
	E1000_MDIC = 0x0020,
	E1000_VET = 0x0038,
	E1000_ICR = 0x00c0,
	E1000_ITR = 0x00c4,
	E1000_ICS = 0x00c8,
	E1000_IMS = 0x00d0,
	E1000_IMC = 0x00d8,
	E1000_RCTL = 0x0100,
	E1000_TCTL = 0x0400,
	E1000_PBA = 0x1000,
	E1000_RDBAL = 0x2800,
	E1000_RDBAH = 0x2804,
	E1000_RDLEN = 0x2808,
	E1000_RDH = 0x2810,
	E1000_RDT = 0x2818,
	E1000_TDBAL = 0x3800,
	E1000_TDBAH = 0x3804,
	E1000_TDLEN = 0x3808,
	E1000_TDH = 0x3810,
	E1000_TDT = 0x3818,
	E1000_STATISTICS = 0x4000,
	E1000_MPC = 0x4010,
	E1000_GPRC = 0x4074,
	E1000_GPTC = 0x4080,
	E1000_STATISTICS_END = 0x4100,
	E1000_RXCSUM = 0x5000,
	E1000_MTA = 0x5200,
	E1000_RA = 0x5400, /* 16 times low and high half */
	E1000_VFTA = 0x5600,
};

#define E1000_CTRL_RESET BIT(26)
#define E1000_CTRL_VME   BIT(30) /* VLAN tags are kept beside the frame */

#define E1000_RCTL_EN         BIT(1)
#define E1000_RCTL_UPE        BIT(3) /* all unicast */
#define E1000_RCTL_MPE        BIT(4) /* all multicast */
#define E1000_RCTL_LPE        BIT(5) /* long frames */
#define E1000_RCTL_MO_SHIFT   12
#define E1000_RCTL_BAM        BIT(15) /* broadcast */
#define E1000_RCTL_SIZE_SHIFT 16
#define E1000_RCTL_VFE        BIT(18) /* VLAN filter */
#define E1000_RCTL_BSEX       BIT(25) /* buffers are 16 times as large */
#define E1000_RCTL_SECRC      BIT(26) /* without the frame's CRC */

#define E1000_TCTL_EN BIT(1)

#define E1000_INTERRUPT_TXDW BIT(0)
#define E1000_INTERRUPT_TXQE BIT(1)
#define E1000_INTERRUPT_LSC  BIT(2)
#define E1000_INTERRUPT_RXO  BIT(6)
#define E1000_INTERRUPT_RXT0 BIT(7)
#define E1000_INTERRUPT_MDAC BIT(9)

/* What a context descriptor says of the frames after it (82540EM manual, 3.3.6). */
struct e1000_context {
	uint8_t ip_start, ip_offset, tcp_start, tcp_offset;
	uint16_t ip_end, tcp_end; /* the last byte; 0: the frame's */
	uint8_t header_size, flags;
	uint16_t mss;
};

struct e1000_state {
	uint32_t registers[E1000_REGISTERS_SIZE / 4];
	uint16_t phy[32];
	uint8_t eeprom_bits; /* of a command, that were shifted in; and after it, shifted out */
	uint16_t eeprom_command;
	uint32_t io_address;
	uint64_t quiet_ns; /* machine time before which no interrupt comes */
	struct e1000_context context;
};

struct e1000 {
	struct device device;
	struct e1000_state state;
	struct pci_function function;
	struct net_backend *backend;
	struct worker *worker;
	struct worker_task transmit, receive;
	struct priority_lock *lock; /* the machine lock */
	const struct clock *clock;
	struct timer throttle;
	uint8_t mac[6];
	bool running; /* the machine is: the worker may work on guest memory */
	/* The worker's. */
	bool starved, blocked; /* the guest has no buffers; the back end has no room */
	size_t waiting;        /* bytes of a frame in `arrived` for which there were no buffers */
	uint8_t arrived[NET_MAX_FRAME + 64];
	uint8_t frame[NET_MAX_FRAME];
	uint8_t segment[NET_MAX_FRAME];
};

static inline uint32_t *e1000_register(struct e1000 *card, unsigned offset)
{
	return &card->state.registers[offset / 4];
}

/* Something has happened that is an interrupt's cause. */
void e1000_interrupt(struct e1000 *card, uint32_t causes);

/* A ring of descriptors of 16 bytes. */
struct e1000_ring {
	uint64_t base;
	uint32_t count, head, tail;
};
/* By its registers, which begin at `base`. False: it has no descriptors. */
bool e1000_ring(struct e1000 *card, unsigned base, struct e1000_ring *ring);

/* --- e1000_eeprom.c --- */

uint32_t e1000_read_eecd(struct e1000 *card);
void e1000_write_eecd(struct e1000 *card, uint32_t value);
void e1000_write_eerd(struct e1000 *card, uint32_t value);
void e1000_write_mdic(struct e1000 *card, uint32_t value);
void e1000_reset_phy(struct e1000 *card);

/* --- on the worker --- */

void e1000_transmit(void *card);
void e1000_receive(void *card);

#endif
