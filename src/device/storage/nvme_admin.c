/* Commands of NVMe's admin queue (NVM Express 1.4, chapter 5). */
#include "device/storage/nvme_internal.h"

#include "base/bits.h"

#include <string.h>

enum opcode {
	DELETE_SQ = 0x00,
	CREATE_SQ = 0x01,
	GET_LOG_PAGE = 0x02,
	DELETE_CQ = 0x04,
	CREATE_CQ = 0x05,
	IDENTIFY = 0x06,
	ABORT = 0x08,
	SET_FEATURES = 0x09,
	GET_FEATURES = 0x0a,
	ASYNC_EVENT_REQUEST = 0x0c,
};

#define FLAG_FUSED_OR_SGL 0xc3

#define QUEUE_CONTIGUOUS BIT(0)
#define QUEUE_INTERRUPTS BIT(1)

#define FEATURE_QUEUES 0x07
#define LOG_ERROR      1

/* --- queues --- */

/* What both kinds have: number, size and place. */
static enum nvme_status check_queue(const struct nvme_command *command, bool exists)
{
	unsigned index = command->dw10 & 0xffff, size = (command->dw10 >> 16) + 1;

	if (!index || index >= NVME_QUEUES || exists)
		return NVME_INVALID_QUEUE;
	if (size < 2 || size > NVME_ENTRIES)
		return NVME_INVALID_QUEUE_SIZE;
	if (!(command->dw11 & QUEUE_CONTIGUOUS))
		return NVME_INVALID_FIELD;
	if (command->prp[0] % NVME_PAGE)
		return NVME_INVALID_PRP_OFFSET;
	return NVME_SUCCESS;
}

/* Index 0 stands for none: it is the admin queue's, which is neither made nor deleted so. */
static unsigned queue_of(const struct nvme_command *command)
{
	unsigned index = command->dw10 & 0xffff;

	return index < NVME_QUEUES ? index : 0;
}

static enum nvme_status create_cq(
	struct nvme *nvme, const struct nvme_command *command, uint32_t *result)
{
	struct nvme_cq *cq = &nvme->state.cq[queue_of(command)];
	enum nvme_status status = check_queue(command, cq->size);
	uint16_t vector = (uint16_t)(command->dw11 >> 16);

	if (status != NVME_SUCCESS)
		return status;
	if (vector >= NVME_QUEUES)
		return NVME_INVALID_VECTOR;
	*cq = (struct nvme_cq){.address = command->prp[0],
		.size = (uint16_t)((command->dw10 >> 16) + 1),
		.vector = vector,
		.phase = true,
		.interrupts = command->dw11 & QUEUE_INTERRUPTS};
	return NVME_SUCCESS;
}

static enum nvme_status create_sq(
	struct nvme *nvme, const struct nvme_command *command, uint32_t *result)
{
	struct nvme_sq *sq = &nvme->state.sq[queue_of(command)];
	enum nvme_status status = check_queue(command, sq->size);
	unsigned cq = command->dw11 >> 16;

	if (status != NVME_SUCCESS)
		return status;
	if (!cq || cq >= NVME_QUEUES || !nvme->state.cq[cq].size)
		return NVME_COMPLETION_QUEUE_INVALID;
	*sq = (struct nvme_sq){.address = command->prp[0],
		.size = (uint16_t)((command->dw10 >> 16) + 1),
		.cq = (uint16_t)cq};
	return NVME_SUCCESS;
}

/* Its commands come to their end first. */
static enum nvme_status delete_sq(
	struct nvme *nvme, const struct nvme_command *command, uint32_t *result)
{
	unsigned index = queue_of(command);

	if (!index || !nvme->state.sq[index].size || nvme->deletion[index].wanted)
		return NVME_INVALID_QUEUE;
	if (nvme->sq_in_flight[index]) {
		nvme->deletion[index].wanted = true;
		nvme->deletion[index].command = command->id;
		return NVME_IN_FLIGHT;
	}
	nvme->state.sq[index] = (struct nvme_sq){0};
	return NVME_SUCCESS;
}

static enum nvme_status delete_cq(
	struct nvme *nvme, const struct nvme_command *command, uint32_t *result)
{
	unsigned index = queue_of(command);

	if (!index || !nvme->state.cq[index].size)
		return NVME_INVALID_QUEUE;
	for (unsigned i = 0; i < NVME_QUEUES; i++)
		if (nvme->state.sq[i].size && nvme->state.sq[i].cq == index)
			return NVME_INVALID_QUEUE_DELETION;
	nvme->state.cq[index] = (struct nvme_cq){0};
	nvme->to_signal &= ~(1u << index);
	return NVME_SUCCESS;
}

/* --- features (5.21) --- */

static const struct feature {
	uint32_t initial, writable;
	bool there;
} features[NVME_LAST_FEATURE + 1] = {
	[0x01] = {0, 0xffffff07, true},     /* arbitration */
	[0x02] = {0, 0, true},              /* power management: one state */
	[0x04] = {0x157, 0x003fffff, true}, /* temperature threshold */
	[0x05] = {0, 0x0000ffff, true},     /* error recovery */
	[0x06] = {1, 1, true},              /* volatile write cache */
	[FEATURE_QUEUES] = {0, 0, true},    /* number of queues */
	[0x08] = {0, 0x0000ffff, true},     /* interrupt coalescing: there is none */
	[0x09] = {0, 0x0001ffff, true},     /* interrupt vector configuration */
	[0x0a] = {0, 1, true},              /* write atomicity */
	[0x0b] = {0, 0x000003ff, true},     /* asynchronous event configuration */
};

void nvme_reset_features(struct nvme *nvme)
{
	for (unsigned i = 0; i <= NVME_LAST_FEATURE; i++)
		nvme->state.feature[i] = features[i].initial;
}

static const struct feature *find_feature(const struct nvme_command *command)
{
	unsigned index = command->dw10 & 0xff;

	return index <= NVME_LAST_FEATURE && features[index].there ? &features[index] : NULL;
}

/* Whatever the driver asks for, it gets all that there are. */
static uint32_t queue_counts(void)
{
	return (NVME_QUEUES - 2) | (NVME_QUEUES - 2) << 16;
}

static enum nvme_status set_features(
	struct nvme *nvme, const struct nvme_command *command, uint32_t *result)
{
	const struct feature *feature = find_feature(command);
	unsigned index = command->dw10 & 0xff;

	if (!feature || (command->dw10 & BIT(31))) /* nothing outlives a reset */
		return NVME_INVALID_FIELD;
	if (index == FEATURE_QUEUES) {
		*result = queue_counts();
		return (command->dw11 & 0xffff) == 0xffff || command->dw11 >> 16 == 0xffff
			       ? NVME_INVALID_FIELD
			       : NVME_SUCCESS;
	}
	nvme->state.feature[index] = command->dw11 & feature->writable;
	return NVME_SUCCESS;
}

static enum nvme_status get_features(
	struct nvme *nvme, const struct nvme_command *command, uint32_t *result)
{
	const struct feature *feature = find_feature(command);
	unsigned index = command->dw10 & 0xff, select = command->dw10 >> 8 & 7;

	if (!feature || select > 2) /* current, default, saved */
		return NVME_INVALID_FIELD;
	if (index == FEATURE_QUEUES)
		*result = queue_counts();
	else
		*result = select ? feature->initial : nvme->state.feature[index];
	return NVME_SUCCESS;
}

/* --- what it says about itself --- */

static enum nvme_status identify(
	struct nvme *nvme, const struct nvme_command *command, uint32_t *result)
{
	uint8_t bytes[NVME_PAGE] = {0};
	unsigned structure = command->dw10 & 0xff;

	/* Of a namespace that there is not. */
	if ((structure == 0 || structure == 3) && command->namespace != 1)
		return NVME_INVALID_NAMESPACE;
	if (!nvme_identify(nvme, structure, command->namespace, bytes))
		return NVME_INVALID_FIELD;
	return nvme_copy(nvme, command, bytes, sizeof(bytes), true);
}

static enum nvme_status get_log_page(
	struct nvme *nvme, const struct nvme_command *command, uint32_t *result)
{
	uint8_t log[NVME_PAGE] = {0};
	unsigned page = command->dw10 & 0xff, size = nvme_log_page(nvme, page, log);
	uint64_t bytes = ((command->dw10 >> 16 | (uint64_t)(command->dw11 & 0xffff) << 16) + 1) * 4;
	uint64_t offset = command->dw12 | (uint64_t)command->dw13 << 32;

	if (!size)
		return NVME_INVALID_LOG_PAGE;
	if (offset % 4 || offset > size)
		return NVME_INVALID_FIELD;
	/* What is behind a log's end is not defined: it is not stored. */
	bytes = MIN(bytes, size - offset);
	if (page == LOG_ERROR && !(command->dw10 & BIT(15)))
		nvme->state.events_masked = false;
	return bytes ? nvme_copy(nvme, command, log + offset, bytes, true) : NVME_SUCCESS;
}

/* --- events --- */

void nvme_raise_event(struct nvme *nvme, enum nvme_event event)
{
	atomic_fetch_or(&nvme->state.events, (uint8_t)(1u << event));
	nvme_tell_events(nvme);
}

/* After one, the driver hears of no more of its type until it has read the error log (5.2). */
void nvme_tell_events(struct nvme *nvme)
{
	struct nvme_state *state = &nvme->state;
	uint8_t events = atomic_load(&state->events);
	unsigned event;

	if (!events || state->events_masked || !state->event_requests || !nvme_has_room(nvme, 0))
		return;
	event = (unsigned)__builtin_ctz(events);
	atomic_fetch_and(&state->events, (uint8_t) ~(1u << event));
	state->events_masked = true;
	nvme->cq_reserved[0]++;
	nvme_complete(nvme, 0, state->event_request[--state->event_requests], NVME_SUCCESS,
		event << 8 | LOG_ERROR << 16);
}

/* It completes when there is an event, and takes no room for that before. */
static enum nvme_status request_event(
	struct nvme *nvme, const struct nvme_command *command, uint32_t *result)
{
	struct nvme_state *state = &nvme->state;

	if (state->event_requests == NVME_EVENTS)
		return NVME_TOO_MANY_EVENT_REQUESTS;
	state->event_request[state->event_requests++] = command->id;
	nvme->cq_reserved[0]--;
	return NVME_IN_FLIGHT;
}

/* Nothing that the disk has is taken back: bit 0 says so. */
static enum nvme_status abort_command(
	struct nvme *nvme, const struct nvme_command *command, uint32_t *result)
{
	*result = 1;
	return NVME_SUCCESS;
}

static const struct {
	uint8_t opcode;
	enum nvme_status (*run)(
		struct nvme *nvme, const struct nvme_command *command, uint32_t *result);
} commands[] = {
	{DELETE_SQ, delete_sq},
	{CREATE_SQ, create_sq},
	{GET_LOG_PAGE, get_log_page},
	{DELETE_CQ, delete_cq},
	{CREATE_CQ, create_cq},
	{IDENTIFY, identify},
	{ABORT, abort_command},
	{SET_FEATURES, set_features},
	{GET_FEATURES, get_features},
	{ASYNC_EVENT_REQUEST, request_event},
};

enum nvme_status nvme_admin(struct nvme *nvme, const struct nvme_command *command, uint32_t *result)
{
	if (command->flags & FLAG_FUSED_OR_SGL)
		return NVME_INVALID_FIELD;
	for (unsigned i = 0; i < ARRAY_SIZE(commands); i++)
		if (commands[i].opcode == command->opcode)
			return commands[i].run(nvme, command, result);
	return NVME_INVALID_OPCODE;
}
