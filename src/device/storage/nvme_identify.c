/* What an NVMe controller says about itself: identify data (NVM Express 1.4, 5.15.2) and log pages
 * (5.14.1). */
#include "device/storage/nvme_internal.h"

#include "base/bits.h"

#include <stdio.h>
#include <string.h>

#define VENDOR 0x1b36

enum structure { NAMESPACE, CONTROLLER, ACTIVE_NAMESPACES, DESCRIPTORS };
enum log_page { LOG_ERROR = 1, LOG_HEALTH = 2, LOG_FIRMWARE = 3 };

#define ROOM_TEMPERATURE 300 /* kelvins */
#define WARNING_KELVINS  343
#define CRITICAL_KELVINS 373

static void put(uint8_t *bytes, unsigned at, uint64_t value, unsigned size)
{
	memcpy(bytes + at, &value, size);
}

static void put_text(uint8_t *bytes, unsigned at, const char *text, unsigned size)
{
	size_t length = strnlen(text, size);

	memset(bytes + at, ' ', size);
	memcpy(bytes + at, text, length);
}

static void describe_controller(const struct nvme *nvme, uint8_t *bytes)
{
	const struct disk *disk = nvme->disk;

	put(bytes, 0, VENDOR, 2);
	put(bytes, 2, VENDOR, 2);
	put_text(bytes, 4, nvme->serial, NVME_SERIAL);
	put_text(bytes, 24, "veneer NVMe", 40);
	put_text(bytes, 64, VENEER_VERSION, 8);
	bytes[77] = NVME_MDTS;
	put(bytes, 80, 0x00010400, 4); /* version */
	bytes[111] = 1;                /* an I/O controller */
	bytes[258] = 3;                /* commands that Abort may be asked for at once, less one */
	bytes[259] = NVME_EVENTS - 1;
	bytes[260] = 3; /* one firmware slot, which is read-only */
	put(bytes, 266, WARNING_KELVINS, 2);
	put(bytes, 268, CRITICAL_KELVINS, 2);
	bytes[512] = 0x66; /* entries of 64 bytes, and of 16 */
	bytes[513] = 0x44;
	put(bytes, 516, 1, 4); /* namespaces */
	put(bytes, 520, (disk->can_discard ? 0x04 : 0) | (disk->can_write_zeroes ? 0x08 : 0), 2);
	bytes[525] = 7; /* a write cache, which is flushed for all namespaces, too */
	snprintf((char *)bytes + 768, 256, "nqn.2014-08.org.nvmexpress:veneer:%s", nvme->serial);
	put(bytes, 2048, 2500, 2); /* the one power state: at most 25 W */
}

static void describe_namespace(const struct nvme *nvme, uint8_t *bytes)
{
	const struct disk *disk = nvme->disk;
	uint64_t blocks = disk->size / NVME_BLOCK;
	uint32_t best = disk->block_size / NVME_BLOCK - 1; /* counts begin at 0 */

	for (unsigned at = 0; at < 24; at += 8) /* size, capacity, use */
		put(bytes, at, blocks, 8);
	bytes[24] = 0x10 | (disk->can_discard ? 0x01 : 0); /* the sizes below; thin provisioning */
	put(bytes, 64, best, 2);                           /* writes: granularity, alignment */
	put(bytes, 66, best, 2);
	put(bytes, 68, best, 2); /* discards: the same */
	put(bytes, 70, best, 2);
	put(bytes, 72, best, 2);
	bytes[99] = disk->read_only;
	bytes[130] = __builtin_ctz(NVME_BLOCK); /* the one format, without metadata */
}

bool nvme_identify(const struct nvme *nvme, unsigned structure, uint32_t namespace, uint8_t *bytes)
{
	switch (structure) {
	case NAMESPACE:
		describe_namespace(nvme, bytes);
		return true;
	case CONTROLLER:
		describe_controller(nvme, bytes);
		return true;
	case ACTIVE_NAMESPACES:
		bytes[0] = namespace < 1;
		return namespace < UINT32_MAX - 1;
	case DESCRIPTORS: /* it has no identifiers */
		return true;
	default:
		return false;
	}
}

unsigned nvme_log_page(const struct nvme *nvme, unsigned page, uint8_t *bytes)
{
	switch (page) {
	case LOG_ERROR: /* of one entry, in which there never was an error */
		return 64;
	case LOG_HEALTH:
		put(bytes, 1, ROOM_TEMPERATURE, 2);
		bytes[3] = 100; /* percent of the spare room are left */
		bytes[4] = 10;
		return 512;
	case LOG_FIRMWARE:
		bytes[0] = 1;
		put_text(bytes, 8, VENEER_VERSION, 8);
		return 512;
	default:
		return 0;
	}
}
