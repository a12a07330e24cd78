/* The PC's DMA: two 8237A controllers, and the page registers that give their addresses bits 16 to
 * 23. Channels 0 to 3 move bytes, 5 to 7 words; 4 is the cascade. Nothing moves by itself: a device
 * says when it has data, and how much. */
#ifndef VENEER_DEVICE_CHIPSET_DMA8237_H
#define VENEER_DEVICE_CHIPSET_DMA8237_H

#include "device/device.h"
#include "memory/memory.h"

struct dma8237_channel {
	uint16_t base_address, base_count, address, count;
	uint8_t mode;
};

struct dma8237_chip {
	struct dma8237_channel channel[4];
	uint8_t command;
	uint8_t mask;    /* bit n: channel n does nothing */
	uint8_t reached; /* bit n: channel n has reached its terminal count */
	bool high;       /* the flip-flop: the next byte of an address or a count is the high one */
};

struct dma8237_state {
	struct dma8237_chip chip[2];
	uint8_t page[16];
};

struct dma8237 {
	struct device device;
	struct dma8237_state state;
	struct memory *memory;
	struct {
		void (*ready)(void *opaque);
		void *opaque;
	} user[8];
};

/* Add the ports and the device to the list. 0 or -errno. */
int dma8237_init(struct dma8237 *dma, struct device_list *devices, struct io_space *ports,
	struct memory *memory);

/* The device at a channel: ready(opaque) is called when software may have made the channel ready,
 * inside its write of a register. */
void dma8237_connect(
	struct dma8237 *dma, unsigned channel, void (*ready)(void *opaque), void *opaque);
/* Move up to `size` bytes between `buffer` and memory, as the channel (0 to 3, 5 to 7) is
 * programmed. Returns how many were: 0 where it is masked, or the other way round; fewer where the
 * terminal count was reached, which `*terminal` says. What is not RAM reads as ones. Machine lock
 * held. */
uint32_t dma8237_move(struct dma8237 *dma, unsigned channel, void *buffer, uint32_t size,
	bool to_memory, bool *terminal);

#endif
