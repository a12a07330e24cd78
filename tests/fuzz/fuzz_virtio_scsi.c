/* Commands of a hostile driver to the SCSI controller: any address, command and parameters in
 * chains of any pieces, task management, sizes, resets and completions at any moment. What must
 * hold, besides the sanitizers: the disk sees no request that is not within it (the fixture
 * checks), each chain is given back once or the device needs a reset, a reset ends, and what the
 * units' state has become can be saved and loaded. */
#include "../unit/block_fixture.h"

#include "device/virtio/scsi.h"

#include <linux/virtio_scsi.h>
#include <stdint.h>

struct step {
	uint8_t action; /* enum action, modulo */
	uint8_t cut;    /* into how many pieces each half of the chain is cut, roughly */
	uint8_t readable, writable; /* bytes behind the headers, in units that `unit` chooses */
	uint8_t unit;
	uint8_t target, lun; /* TASK: and the function */
	uint8_t block[16];   /* the command; then come its parameters */
};

enum action { COMMAND, TASK, COMPLETE, FAIL, IDLE, POSTED, RESET, CONFIG, ACTIONS };

static uint8_t out[256 * 512 + 512], in[256 * 512 + 512];
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

static void put_lun(uint8_t *lun, const struct step *step)
{
	lun[0] = step->unit & 32 ? step->cut : 1;
	lun[1] = step->target % 4;
	lun[2] = step->unit & 64 ? 0 : 0x40;
	lun[3] = step->lun % 4;
	lun[7] = step->unit & 128 ? 1 : 0;
}

static void send(const struct step *step, unsigned queue, size_t readable, size_t writable)
{
	struct virtio_chain *chain = &played.chains[0];
	unsigned before = played.given_back + played.needs_reset;

	readable = MIN(readable, sizeof(out));
	writable = MIN(writable, sizeof(in));
	*chain = (struct virtio_chain){
		.pieces = pieces, .readable_bytes = readable, .writable_bytes = writable};
	chain->readable = cut(pieces, out, readable, step->cut);
	chain->writable = cut(pieces + chain->readable, in, writable, step->cut / 2);
	if (chain->readable + chain->writable > VIRTIO_CHAIN_PIECES)
		return;
	played.taken = 0;
	played.chain_count = 1;
	fake.sent = fake.submitted;
	played.device->ops->notified(played.device, &played.device->queue[queue]);
	/* A function may wait for what disks have. */
	if (played.taken && !(queue == 0 && fake.first))
		require(played.given_back + played.needs_reset + fake.submitted - fake.sent ==
			before + 1);
	played.chain_count = played.taken = 0;
}

static void command(const struct step *step, const uint8_t *data, size_t size)
{
	static const uint16_t units[] = {1, 16, 512, 511};
	const struct virtio_scsi_config *config = (void *)played.device->config;
	size_t unit = units[step->unit & 3], header = 19 + config->cdb_size;

	memset(out, 0, sizeof(out));
	put_lun(out, step);
	out[8] = step->lun / 4;
	memcpy(out + 19, step->block, sizeof(step->block));
	memcpy(out + header, data, MIN(size, sizeof(out) - header));
	send(step, 2 + step->lun % 4, step->readable * unit + (step->unit & 8 ? 0 : header),
		step->writable * unit + (step->unit & 16 ? 0 : 12 + config->sense_size));
}

static void task(const struct step *step)
{
	struct virtio_scsi_ctrl_tmf_req request = {
		.type = step->block[0] % 4, .subtype = step->block[1] % 9, .tag = step->block[2]};

	put_lun(request.lun, step);
	memcpy(out, &request, sizeof(request));
	send(step, 0, step->unit & 8 ? step->readable : sizeof(request), step->writable);
}

static void reset(void)
{
	unsigned stopped = played.stopped;

	played.device->state.resetting = played.given_back & 1;
	played.device->ops->stop(played.device);
	while (fake_complete(0))
		;
	require(played.stopped == stopped + 1);
	played.device->ops->start(played.device);
}

static void run_step(const struct step *step, const uint8_t *data, size_t size)
{
	struct worker_task *posted = played.posted;

	switch (step->action % ACTIONS) {
	case COMMAND:
		command(step, data, size);
		break;
	case TASK:
		task(step);
		break;
	case COMPLETE:
		fake_complete(0);
		break;
	case FAIL:
		fake_complete(step->cut & 1 ? -EIO : step->cut & 2 ? -ENOSPC : -EOPNOTSUPP);
		break;
	case IDLE:
		idle();
		break;
	case POSTED:
		played.posted = NULL;
		if (posted)
			posted->run(posted->opaque);
		break;
	case RESET:
		reset();
		break;
	case CONFIG:
		memcpy(played.device->config + 20, step->block, 8);
		played.device->ops->config_written(played.device, 20, 8);
		break;
	}
}

static void save_and_load(void)
{
	const struct device_ops *ops = played.settings_ops;
	uint8_t *state = (uint8_t *)played.settings + ops->state_offset;
	struct state_writer writer = {0};
	struct state_reader reader;
	struct state_section section;

	state_write(&writer, ops->name, 0, ops->version, ops->fields, state);
	reader = (struct state_reader){writer.bytes, writer.size};
	require(state_next(&reader, &section) == 0);
	require(state_read(&section, ops->fields, state) == 0);
	free(writer.bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct scsi_unit_config units[] = {
		{0, 0, &fake.disk, false, "fuzz"},
		{0, 1, &fake.disk, false, ""},
		{2, 3, &fake.disk, true, ""},
	};
	struct step step;

	memset(&played, 0, sizeof(played));
	fake_disk_setup();
	require(virtio_scsi_create(NULL, -1, 0, units, ARRAY_SIZE(units), 4) == 0);
	reset();
	for (; size >= sizeof(step); data += sizeof(step), size -= sizeof(step)) {
		memcpy(&step, data, sizeof(step));
		run_step(&step, data + sizeof(step), size - sizeof(step));
	}
	reset();
	save_and_load();
	played.device->ops->destroy(played.device);
	require(fake.destroyed == ARRAY_SIZE(units));
	return 0;
}
