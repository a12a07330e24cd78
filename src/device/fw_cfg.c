/* Ports: 0x510, a word, selects; 0x511 is the data; 0x514 is DMA's address, big-endian, whose lower
 * half starts the transfer. There is a struct in RAM that says what to transfer, and gets the
 * outcome. */
#include "device/fw_cfg.h"

#include "base/log.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SELECTOR_SIZE 2 /* ports; the data port is the second of them */
#define DMA_PORT      (FW_CFG_PORT + 4)
#define DMA_SIZE      8

#define ID_PORTS BIT(0)
#define ID_DMA   BIT(1)

enum {
	DMA_ERROR = 1 << 0,
	DMA_READ = 1 << 1,
	DMA_SKIP = 1 << 2,
	DMA_SELECT = 1 << 3, /* the item in bits 16 to 31 */
	DMA_WRITE = 1 << 4,
};

/* Reading past an item's end gives zeros: so many in one request. */
#define MOST_ZEROS (16 * MIB)
/* How much a guest has copied while it holds the machine lock. */
#define COPY_AT_ONCE (1 * MIB)

/* In guest memory, big-endian. */
struct dma_request {
	uint32_t control, length;
	uint64_t address;
} __attribute__((packed));

struct directory_entry {
	uint32_t size;
	uint16_t key, reserved;
	char name[FW_CFG_NAME];
} __attribute__((packed));

struct item {
	uint16_t key;
	const uint8_t *bytes;
	uint32_t size;
	uint8_t *owned;  /* `bytes`, where they are to be freed */
	uint8_t *stored; /* `bytes`, in the state, where the guest may write them */
	void (*make)(void *opaque, uint8_t *bytes, uint32_t size);
	void (*written)(void *opaque, const uint8_t *bytes, uint32_t size);
	void *opaque;
};

struct fw_cfg_state {
	uint16_t selected;
	uint32_t offset; /* of the next byte in the item */
	uint32_t dma_address_high;
	uint8_t written[FW_CFG_WRITABLE];
};

struct fw_cfg {
	struct device device;
	struct fw_cfg_state state;
	struct memory *memory;
	struct priority_lock *machine_lock;
	/* A READ by DMA that is under way: its struct, and what is left. The vCPU that began it is
	 * held up till it is done, so that it is never saved. */
	struct {
		uint64_t request, to;
		uint32_t left; /* 0: there is none */
	} copy;
	struct item items[FW_CFG_ITEMS];
	unsigned item_count, file_count;
	struct {
		uint32_t count; /* big-endian */
		struct directory_entry entry[FW_CFG_ITEMS];
	} __attribute__((packed)) directory;
	uint8_t initial[FW_CFG_WRITABLE];
	uint32_t writable_used;
};

/* --- items --- */

static struct item *find(struct fw_cfg *fw_cfg, uint16_t key)
{
	for (unsigned i = 0; i < fw_cfg->item_count; i++)
		if (fw_cfg->items[i].key == key)
			return &fw_cfg->items[i];
	return NULL;
}

/* The item of that number, without its former contents. */
static struct item *new_item(struct fw_cfg *fw_cfg, uint16_t key)
{
	struct item *item = find(fw_cfg, key);

	if (!item) {
		if (fw_cfg->item_count == FW_CFG_ITEMS) {
			log_error("no room in fw_cfg for item 0x%x", key);
			return NULL;
		}
		item = &fw_cfg->items[fw_cfg->item_count++];
	}
	free(item->owned);
	*item = (struct item){.key = key};
	return item;
}

static uint8_t *own(struct item *item, uint32_t size)
{
	item->owned = calloc(1, size ? size : 1);
	if (!item->owned) {
		log_error("out of memory for fw_cfg's item 0x%x", item->key);
		return NULL;
	}
	item->bytes = item->owned;
	item->size = size;
	return item->owned;
}

int fw_cfg_add_borrowed(struct fw_cfg *fw_cfg, uint16_t key, const void *bytes, uint32_t size)
{
	struct item *item = new_item(fw_cfg, key);

	if (!item)
		return -ENOSPC;
	item->bytes = bytes;
	item->size = size;
	return 0;
}

int fw_cfg_add(struct fw_cfg *fw_cfg, uint16_t key, const void *bytes, uint32_t size)
{
	struct item *item = new_item(fw_cfg, key);

	if (!item)
		return -ENOSPC;
	if (!own(item, size))
		return -ENOMEM;
	memcpy(item->owned, bytes, size);
	return 0;
}

int fw_cfg_add_number(struct fw_cfg *fw_cfg, uint16_t key, uint64_t value, unsigned size)
{
	value = htole64(value);
	return fw_cfg_add(fw_cfg, key, &value, size);
}

/* --- files --- */

/* A new line in the directory; *key is the file's number. */
static int add_entry(struct fw_cfg *fw_cfg, const char *name, uint32_t size, uint16_t *key)
{
	struct directory_entry *entry = fw_cfg->directory.entry;

	if (strlen(name) >= FW_CFG_NAME) {
		log_error("fw_cfg %s: expected a name of at most %u characters", name,
			FW_CFG_NAME - 1);
		return -EINVAL;
	}
	for (unsigned i = 0; i < fw_cfg->file_count; i++, entry++) {
		if (strcmp(entry->name, name) != 0)
			continue;
		log_error("fw_cfg %s: there are two files of that name", name);
		return -EEXIST;
	}
	if (fw_cfg->item_count == FW_CFG_ITEMS) {
		log_error("no room in fw_cfg for %s", name);
		return -ENOSPC;
	}
	*key = (uint16_t)(FW_CFG_FIRST_FILE + fw_cfg->file_count++);
	*entry = (struct directory_entry){.size = htobe32(size), .key = htobe16(*key)};
	memcpy(entry->name, name, strlen(name));
	fw_cfg->directory.count = htobe32(fw_cfg->file_count);
	return 0;
}

int fw_cfg_add_file(struct fw_cfg *fw_cfg, const char *name, const void *bytes, uint32_t size)
{
	uint16_t key;
	int error = add_entry(fw_cfg, name, size, &key);

	return error ? error : fw_cfg_add(fw_cfg, key, bytes, size);
}

int fw_cfg_add_file_number(struct fw_cfg *fw_cfg, const char *name, uint64_t value, unsigned size)
{
	value = htole64(value);
	return fw_cfg_add_file(fw_cfg, name, &value, size);
}

int fw_cfg_add_made_file(struct fw_cfg *fw_cfg, const char *name, uint32_t size,
	void (*make)(void *opaque, uint8_t *bytes, uint32_t size), void *opaque)
{
	struct item *item;
	uint16_t key;
	int error = add_entry(fw_cfg, name, size, &key);

	if (error)
		return error;
	item = new_item(fw_cfg, key);
	if (!item || !own(item, size))
		return -ENOMEM;
	item->make = make;
	item->opaque = opaque;
	return 0;
}

int fw_cfg_add_writable_file(struct fw_cfg *fw_cfg, const char *name, const void *bytes,
	uint32_t size, void (*written)(void *opaque, const uint8_t *bytes, uint32_t size),
	void *opaque)
{
	struct item *item;
	uint16_t key;
	int error;

	if (size > FW_CFG_WRITABLE - fw_cfg->writable_used) {
		log_error("no room in fw_cfg for %s, which the guest may write", name);
		return -ENOSPC;
	}
	error = add_entry(fw_cfg, name, size, &key);
	if (error)
		return error;
	item = new_item(fw_cfg, key);
	if (!item)
		return -ENOSPC;
	item->stored = fw_cfg->state.written + fw_cfg->writable_used;
	item->bytes = item->stored;
	item->size = size;
	item->written = written;
	item->opaque = opaque;
	memcpy(item->stored, bytes, size);
	memcpy(fw_cfg->initial + fw_cfg->writable_used, bytes, size);
	fw_cfg->writable_used += size;
	return 0;
}

/* --- the guest's accesses --- */

static void make_selected(struct fw_cfg *fw_cfg)
{
	struct item *item = find(fw_cfg, fw_cfg->state.selected);

	if (item && item->make)
		item->make(item->opaque, item->owned, item->size);
}

static void select_item(struct fw_cfg *fw_cfg, uint16_t key)
{
	fw_cfg->state.selected = key;
	fw_cfg->state.offset = 0;
	make_selected(fw_cfg);
}

/* The bytes that are left of the selected item, no more than `most`. */
static uint32_t take(struct fw_cfg *fw_cfg, const struct item *item, uint32_t most)
{
	uint32_t offset = fw_cfg->state.offset;
	uint32_t count = item && offset < item->size ? MIN(item->size - offset, most) : 0;

	fw_cfg->state.offset += count;
	return count;
}

static uint64_t data_read(void *opaque, uint64_t offset, unsigned size)
{
	struct fw_cfg *fw_cfg = opaque;
	const struct item *item = find(fw_cfg, fw_cfg->state.selected);

	if (offset != 1)
		return UINT64_MAX;
	return take(fw_cfg, item, 1) ? item->bytes[fw_cfg->state.offset - 1] : 0;
}

static unsigned data_read_block(
	void *opaque, uint64_t offset, void *bytes, unsigned size, unsigned count)
{
	struct fw_cfg *fw_cfg = opaque;
	const struct item *item = find(fw_cfg, fw_cfg->state.selected);
	uint32_t start = fw_cfg->state.offset, there;

	if (offset != 1 || size != 1)
		return 0;
	there = take(fw_cfg, item, count);
	if (there)
		memcpy(bytes, item->bytes + start, there);
	memset((uint8_t *)bytes + there, 0, count - there);
	return count;
}

static void selector_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	if (size == SELECTOR_SIZE)
		select_item(opaque, (uint16_t)value);
}

/* --- DMA --- */

static void tell_outcome(struct fw_cfg *fw_cfg, uint64_t request, bool good)
{
	uint32_t outcome = good ? 0 : htobe32(DMA_ERROR);

	memory_write(fw_cfg->memory, request + offsetof(struct dma_request, control), &outcome,
		sizeof(outcome));
}

static bool copy_out(struct fw_cfg *fw_cfg, uint64_t to, uint32_t length)
{
	static const uint8_t zeros[PAGE_SIZE];
	const struct item *item = find(fw_cfg, fw_cfg->state.selected);
	uint32_t start = fw_cfg->state.offset, count = take(fw_cfg, item, length);

	if (count && memory_write(fw_cfg->memory, to, item->bytes + start, count) < 0)
		return false;
	while (count < length) {
		uint32_t some = MIN(length - count, (uint32_t)sizeof(zeros));

		if (memory_write(fw_cfg->memory, to + count, zeros, some) < 0)
			return false;
		count += some;
	}
	return true;
}

/* True: there is more to be copied. */
static bool copy_some(struct fw_cfg *fw_cfg)
{
	uint32_t some = MIN(fw_cfg->copy.left, (uint32_t)COPY_AT_ONCE);
	bool good = copy_out(fw_cfg, fw_cfg->copy.to, some);

	fw_cfg->copy.to += some;
	fw_cfg->copy.left -= some;
	if (good && fw_cfg->copy.left)
		return true;
	fw_cfg->copy.left = 0;
	tell_outcome(fw_cfg, fw_cfg->copy.request, good);
	return false;
}

/* Without the machine lock, which others may want between two pieces. */
static void copy_rest(void *opaque)
{
	struct fw_cfg *fw_cfg = opaque;
	bool more;

	do {
		priority_lock_take(fw_cfg->machine_lock);
		more = copy_some(fw_cfg);
		priority_lock_release(fw_cfg->machine_lock);
	} while (more);
}

/* Another vCPU's while one is under way fails. */
static void begin_copy(struct fw_cfg *fw_cfg, uint64_t request, uint64_t to, uint32_t length)
{
	const struct item *item = find(fw_cfg, fw_cfg->state.selected);
	uint32_t offset = fw_cfg->state.offset;
	uint32_t there = item && offset < item->size ? item->size - offset : 0;

	if (fw_cfg->copy.left || length - MIN(length, there) > MOST_ZEROS) {
		tell_outcome(fw_cfg, request, false);
		return;
	}
	fw_cfg->copy.request = request;
	fw_cfg->copy.to = to;
	fw_cfg->copy.left = length;
	if (copy_some(fw_cfg))
		io_space_wait_after(copy_rest, fw_cfg);
}

static bool copy_in(struct fw_cfg *fw_cfg, struct item *item, uint64_t from, uint32_t length)
{
	uint32_t start = fw_cfg->state.offset;

	if (!item || !item->stored || take(fw_cfg, item, length) < length ||
		memory_read(fw_cfg->memory, from, item->stored + start, length) < 0)
		return false;
	if (item->written)
		item->written(item->opaque, item->stored, item->size);
	return true;
}

static void dma_start(struct fw_cfg *fw_cfg, uint64_t at)
{
	struct dma_request request;
	uint32_t control, length;
	struct item *item;
	bool good = true;

	if (memory_read(fw_cfg->memory, at, &request, sizeof(request)) < 0)
		return;
	control = be32toh(request.control);
	length = be32toh(request.length);
	if (control & DMA_SELECT)
		select_item(fw_cfg, (uint16_t)(control >> 16));
	if (control & DMA_READ) {
		begin_copy(fw_cfg, at, be64toh(request.address), length);
		return;
	}
	item = find(fw_cfg, fw_cfg->state.selected);
	if (control & DMA_WRITE)
		good = copy_in(fw_cfg, item, be64toh(request.address), length);
	else if (control & DMA_SKIP)
		take(fw_cfg, item, length);
	tell_outcome(fw_cfg, at, good);
}

static uint64_t dma_read(void *opaque, uint64_t offset, unsigned size)
{
	static const uint8_t signature[DMA_SIZE] = {'Q', 'E', 'M', 'U', ' ', 'C', 'F', 'G'};
	uint64_t value = 0;

	memcpy(&value, signature + offset, size);
	return value;
}

static void dma_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct fw_cfg *fw_cfg = opaque;
	uint32_t half = be32toh((uint32_t)value);

	if (size != 4)
		return;
	if (offset == 0)
		fw_cfg->state.dma_address_high = half;
	if (offset == 4) {
		uint64_t high = fw_cfg->state.dma_address_high;

		fw_cfg->state.dma_address_high = 0;
		dma_start(fw_cfg, high << 32 | half);
	}
}

/* --- the device --- */

static void fw_cfg_reset(void *device)
{
	struct fw_cfg *fw_cfg = device;

	fw_cfg->state = (struct fw_cfg_state){0};
	memcpy(fw_cfg->state.written, fw_cfg->initial, sizeof(fw_cfg->initial));
}

static void fw_cfg_loaded(void *device)
{
	struct fw_cfg *fw_cfg = device;

	make_selected(fw_cfg);
	for (unsigned i = 0; i < fw_cfg->item_count; i++) {
		struct item *item = &fw_cfg->items[i];

		if (item->written)
			item->written(item->opaque, item->stored, item->size);
	}
}

static void fw_cfg_destroy(void *device)
{
	struct fw_cfg *fw_cfg = device;

	for (unsigned i = 0; i < fw_cfg->item_count; i++)
		free(fw_cfg->items[i].owned);
	free(fw_cfg);
}

static const struct state_field fw_cfg_fields[] = {
	STATE_ANY(struct fw_cfg_state, selected),
	STATE_ANY(struct fw_cfg_state, offset),
	STATE_ANY(struct fw_cfg_state, dma_address_high),
	STATE_ARRAY_ANY(struct fw_cfg_state, written),
	STATE_END,
};

static const struct device_ops fw_cfg_device = {
	.name = "fw-cfg",
	.version = 1,
	DEVICE_STATE(struct fw_cfg, fw_cfg_fields),
	.reset = fw_cfg_reset,
	.loaded = fw_cfg_loaded,
	.destroy = fw_cfg_destroy,
};

static int add_ports(struct fw_cfg *fw_cfg, struct io_space *ports)
{
	static const struct io_ops selector = {
		.read = data_read, .write = selector_write, .read_block = data_read_block};
	static const struct io_ops dma = {.read = dma_read, .write = dma_write};
	int error = io_space_add(ports, FW_CFG_PORT, SELECTOR_SIZE, "fw_cfg", &selector, fw_cfg);

	return error ? error : io_space_add(ports, DMA_PORT, DMA_SIZE, "fw_cfg DMA", &dma, fw_cfg);
}

struct fw_cfg *fw_cfg_create(
	struct device_list *devices, struct io_space *ports, struct memory *memory)
{
	struct fw_cfg *fw_cfg = calloc(1, sizeof(*fw_cfg));
	int error = fw_cfg ? add_ports(fw_cfg, ports) : -ENOMEM;

	if (error) {
		log_error("cannot make fw_cfg: %s", strerror(-error));
		free(fw_cfg);
		return NULL;
	}
	fw_cfg->memory = memory;
	fw_cfg->machine_lock = ports->lock;
	device_list_add(devices, &fw_cfg->device, &fw_cfg_device, 0);
	if (fw_cfg_add(fw_cfg, FW_CFG_SIGNATURE, "QEMU", 4) < 0 ||
		fw_cfg_add_number(fw_cfg, FW_CFG_ID, ID_PORTS | ID_DMA, 4) < 0 ||
		fw_cfg_add_borrowed(fw_cfg, FW_CFG_DIRECTORY, &fw_cfg->directory,
			sizeof(fw_cfg->directory)) < 0)
		return NULL; /* the list has it */
	return fw_cfg;
}
