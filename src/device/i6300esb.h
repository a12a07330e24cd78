/* The watchdog timer of Intel's 6300ESB I/O controller hub (data sheet 300641, chapter 16). It
 * counts down in two stages; at the end of the first it may interrupt, at the end of the second its
 * output says that the system hangs. Linux's driver is i6300esb.ko. */
#ifndef VENEER_DEVICE_I6300ESB_H
#define VENEER_DEVICE_I6300ESB_H

#include "device/pci/pci.h"

#define I6300ESB_VENDOR 0x8086
#define I6300ESB_DEVICE 0x25ab

/* In configuration space */
#define I6300ESB_CONFIG 0x60 /* 2 bytes */
#define I6300ESB_LOCK   0x68 /* 1 byte */
/* In BAR 0 */
#define I6300ESB_TIMER1 0x00 /* where the first stage begins to count */
#define I6300ESB_TIMER2 0x04
#define I6300ESB_STATUS 0x08
#define I6300ESB_RELOAD 0x0c

#define I6300ESB_CONFIG_INTERRUPT  0x0003 /* 0: INTx, 2: SMI, 3: none */
#define I6300ESB_CONFIG_FAST       0x0004 /* a tick is 2^5 clocks of 33 MHz, and not 2^15 */
#define I6300ESB_CONFIG_NO_OUTPUT  0x0020
#define I6300ESB_LOCK_LOCKED       0x01 /* this register stays until a reset */
#define I6300ESB_LOCK_ENABLED      0x02
#define I6300ESB_LOCK_FREE_RUNNING 0x04 /* begins anew with the first stage, without an end */
#define I6300ESB_RELOAD_RELOAD     0x0100
#define I6300ESB_RELOAD_TIMED_OUT  0x0200 /* the last reset was the watchdog's */
#define I6300ESB_KEY1              0x80   /* written to RELOAD, one after the other, */
#define I6300ESB_KEY2              0x86   /* these allow for one write to a register of the BAR */

/* Put one on the bus: `slot` as for pci_add(). expired() is called at the end of the second stage,
 * with the machine lock held. 0, or -errno with a message. */
int i6300esb_create(struct pci_bus *bus, struct device_list *devices, int slot,
	void (*expired)(void *opaque), void *opaque);

#endif
