/* Requests of a hostile driver to the block device: chains of any pieces, headers and ranges of any
 * content, resets and completions at any moment. What must hold, besides the sanitizers: the disk
 * sees no request that is not within it (the fixture checks), each chain is given back once or the
 * device needs a reset, and a reset ends. */
#include "../unit/block_fixture.h"

#include <stdint.h>

struct step {
	uint8_t action; /* enum action, modulo */
	uint8_t cut;    /* into how many pieces each half of the chain is cut, roughly */
	uint8_t readable, writable; /* bytes, beside the header, in units that `unit` chooses */
	uint8_t type, unit;
	uint16_t sector;
};

enum action { REQUEST, COMPLETE, FAIL, IDLE, POSTED, RESET, CONFIG, ACTIONS };

static uint8_t out[256 * 512 + 16], in[256 * 512 + 1];
static struct iovec pieces[2 * 1024];

static void require(bool condition)
{
	if (!condition)
		abort();
}

static unsigned cut(struct iovec *to, uint8_t *bytes, size_t size, unsigned count)
{
	size_t part = count ? size / count + 1 : size;
	unsigned made = 0;

	for (size_t at = 0; at < size; at += part)
		to[made++] = (struct iovec){bytes + at, MIN(part, size - at)};
	if (count & 1)
		to[made++] = (struct iovec){bytes, 0};
	return made;
}

static void request(const struct step *step, const uint8_t *data, size_t size)
{
	static const uint16_t units[] = {1, 16, 512, 511};
	size_t unit = units[step->unit & 3];
	size_t readable = step->readable * unit, writable = step->writable * unit;
	struct virtio_chain *chain = &played.chains[0];
	unsigned before = played.given_back + played.needs_reset;

	memset(out, 0, 16);
	out[0] = step->type;
	memcpy(out + 8, &step->sector, sizeof(step->sector));
	if (step->unit & 4)
		memset(out + 8, 0xff, 8);
	memcpy(out + 16, data, MIN(size, sizeof(out) - 16));
	if (!(step->unit & 8))
		readable += 16;
	if (!(step->unit & 16))
		writable++;
	readable = MIN(readable, sizeof(out));
	*chain = (struct virtio_chain){.pieces = pieces,
		.readable_bytes = readable,
		.writable_bytes = MIN(writable, sizeof(in))};
	chain->readable = cut(pieces, out, readable, step->cut);
	chain->writable = cut(pieces + chain->readable, in, chain->writable_bytes, step->cut / 2);
	if (chain->readable + chain->writable > VIRTIO_CHAIN_PIECES)
		return;
	played.taken = 0;
	played.chain_count = 1;
	fake.sent = fake.submitted;
	played.device->ops->notified(played.device, &played.device->queue[step->sector % 4]);
	if (played.taken)
		require(played.given_back + played.needs_reset + fake.submitted - fake.sent ==
			before + 1);
	played.chain_count = played.taken = 0;
}

static void reset(void)
{
	unsigned stopped = played.stopped;

	played.device->state.resetting = played.given_back & 1;
	played.device->ops->stop(played.device);
	while (fake_complete(0))
		;
	require(played.stopped == stopped + 1);
	played.device->features = ~UINT64_C(0);
	played.device->ops->start(played.device);
}

static void run_step(const struct step *step, const uint8_t *data, size_t size)
{
	struct worker_task *task = played.posted;

	switch (step->action % ACTIONS) {
	case REQUEST:
		request(step, data, size);
		break;
	case COMPLETE:
		fake_complete(0);
		break;
	case FAIL:
		fake_complete(step->cut & 1 ? -EIO : -EOPNOTSUPP);
		break;
	case IDLE:
		idle();
		break;
	case POSTED:
		played.posted = NULL;
		if (task)
			task->run(task->opaque);
		break;
	case RESET:
		reset();
		break;
	case CONFIG:
		memset(played.device->config, step->cut, VIRTIO_CONFIG_SIZE);
		played.device->ops->config_written(played.device, 0, VIRTIO_CONFIG_SIZE);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct step step;

	memset(&played, 0, sizeof(played));
	fake_disk_setup();
	require(virtio_block_create(NULL, -1, 0, &fake.disk, "fuzz", 4) == 0);
	reset();
	for (; size >= sizeof(step); data += sizeof(step), size -= sizeof(step)) {
		memcpy(&step, data, sizeof(step));
		run_step(&step, data + sizeof(step), size - sizeof(step));
	}
	reset();
	played.device->ops->destroy(played.device);
	require(fake.destroyed == 1);
	return 0;
}
