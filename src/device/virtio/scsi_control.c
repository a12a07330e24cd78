/* The control queue of the SCSI controller (virtio 1.2, 5.6.6.2): task management functions.
 *
 * A request that a disk has cannot be called back. A function that aborts requests waits until they
 * have ended, each as it does; then it is complete. Requests that come after it are not waited for.
 * What is asked of the events of units is answered by "none". */
#include "device/virtio/scsi_internal.h"

#include "base/bits.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* What a function does with the requests of the unit, or target, that it names. */
struct function {
	bool known;
	bool one;    /* of the request with its tag alone */
	bool target; /* of all units of the target */
	bool query;  /* are there any? */
	bool reset;  /* units are, then */
};

static const struct function functions[] = {
	[VIRTIO_SCSI_T_TMF_ABORT_TASK] = {.known = true, .one = true},
	[VIRTIO_SCSI_T_TMF_ABORT_TASK_SET] = {.known = true},
	[VIRTIO_SCSI_T_TMF_CLEAR_TASK_SET] = {.known = true},
	[VIRTIO_SCSI_T_TMF_I_T_NEXUS_RESET] = {.known = true, .target = true, .reset = true},
	[VIRTIO_SCSI_T_TMF_LOGICAL_UNIT_RESET] = {.known = true, .reset = true},
	[VIRTIO_SCSI_T_TMF_QUERY_TASK] = {.known = true, .one = true, .query = true},
	[VIRTIO_SCSI_T_TMF_QUERY_TASK_SET] = {.known = true, .query = true},
};

static bool concerns(const struct virtio_scsi_unit *unit, const struct function *function,
	const struct virtio_scsi_unit *named, uint8_t target)
{
	return function->target ? unit->target == target : unit == named;
}

static bool request_concerned(const struct scsi_request *request, const struct function *function,
	const struct virtio_scsi_unit *named, const struct virtio_scsi_ctrl_tmf_req *task)
{
	return request->in_flight && concerns(request->unit, function, named, task->lun[1]) &&
	       (!function->one || request->tag == task->tag);
}

/* Wait for the requests, of which there are `count`. */
static bool wait_for(struct virtio_scsi *scsi, const struct virtio_chain *chain, unsigned count)
{
	unsigned pieces = chain->readable + chain->writable;

	scsi->task.pieces = malloc(pieces * sizeof(*chain->pieces));
	if (!scsi->task.pieces)
		return false;
	memcpy(scsi->task.pieces, chain->pieces, pieces * sizeof(*chain->pieces));
	scsi->task.chain = *chain;
	scsi->task.chain.pieces = scsi->task.pieces;
	scsi->task.awaited = count;
	scsi->task.active = true;
	return true;
}

static void answer_task(
	struct virtio_scsi *scsi, const struct virtio_chain *chain, uint8_t response)
{
	virtio_chain_write(chain, 0, &response, sizeof(response));
	scsi_give_back(scsi, &scsi->device.queue[CONTROL_QUEUE], chain, sizeof(response));
}

static void reset_units(struct virtio_scsi *scsi, uint32_t units)
{
	for (unsigned i = 0; i < scsi->unit_count; i++)
		if (units & BIT(i))
			scsi_reset(&scsi->units[i].scsi);
}

static unsigned find_requests(struct virtio_scsi *scsi, const struct function *function,
	const struct virtio_scsi_unit *named, const struct virtio_scsi_ctrl_tmf_req *task)
{
	unsigned count = 0;

	for (unsigned i = 0; i < scsi->fresh; i++) {
		struct scsi_request *request = &scsi->requests[i];

		request->awaited = request_concerned(request, function, named, task);
		count += request->awaited;
	}
	return count;
}

static uint32_t find_units(const struct virtio_scsi *scsi, const struct function *function,
	const struct virtio_scsi_unit *named, uint8_t target)
{
	uint32_t units = 0;

	for (unsigned i = 0; function->reset && i < scsi->unit_count; i++)
		if (concerns(&scsi->units[i], function, named, target))
			units |= (uint32_t)BIT(i);
	return units;
}

static void begin_task(struct virtio_scsi *scsi, const struct virtio_chain *chain,
	const struct virtio_scsi_ctrl_tmf_req *task)
{
	static const struct function none;
	const struct function *function =
		task->subtype < ARRAY_SIZE(functions) ? &functions[task->subtype] : &none;
	bool target_exists;
	struct virtio_scsi_unit *named = scsi_find_unit(scsi, task->lun, &target_exists);
	uint8_t response = VIRTIO_SCSI_S_OK;
	unsigned count;

	if (!target_exists) {
		answer_task(scsi, chain, VIRTIO_SCSI_S_BAD_TARGET);
		return;
	}
	if (!function->known) {
		answer_task(scsi, chain, VIRTIO_SCSI_S_FUNCTION_REJECTED);
		return;
	}
	if (!named && !function->target) {
		answer_task(scsi, chain, VIRTIO_SCSI_S_INCORRECT_LUN);
		return;
	}
	count = find_requests(scsi, function, named, task);
	if (function->query && count)
		response = VIRTIO_SCSI_S_FUNCTION_SUCCEEDED;
	scsi->task.units_to_reset = find_units(scsi, function, named, task->lun[1]);
	if (!function->query && count) {
		if (wait_for(scsi, chain, count))
			return;
		response = VIRTIO_SCSI_S_FAILURE;
	} else {
		reset_units(scsi, scsi->task.units_to_reset);
	}
	answer_task(scsi, chain, response);
}

void scsi_awaited_ended(struct virtio_scsi *scsi)
{
	if (!scsi->task.active || --scsi->task.awaited)
		return;
	scsi->task.active = false;
	reset_units(scsi, scsi->task.units_to_reset);
	answer_task(scsi, &scsi->task.chain, VIRTIO_SCSI_S_OK);
	free(scsi->task.pieces);
}

/* No asynchronous notifications are had. */
static void answer_events(struct virtio_scsi *scsi, const struct virtio_chain *chain)
{
	struct virtio_scsi_ctrl_an_resp response = {.response = VIRTIO_SCSI_S_OK};
	struct virtio_scsi_ctrl_an_req request;
	bool target_exists;

	virtio_chain_read(chain, 0, &request, sizeof(request));
	scsi_find_unit(scsi, request.lun, &target_exists);
	if (!target_exists)
		response.response = VIRTIO_SCSI_S_BAD_TARGET;
	virtio_chain_write(chain, 0, &response, sizeof(response));
	scsi_give_back(scsi, &scsi->device.queue[CONTROL_QUEUE], chain, sizeof(response));
}

int scsi_begin_control(struct virtio_scsi *scsi, const struct virtio_chain *chain)
{
	struct virtio_scsi_ctrl_tmf_req task = {0};
	uint64_t bytes = virtio_chain_read(chain, 0, &task, sizeof(task));

	if (bytes == sizeof(task) && task.type == VIRTIO_SCSI_T_TMF &&
		chain->writable_bytes >= sizeof(struct virtio_scsi_ctrl_tmf_resp)) {
		begin_task(scsi, chain, &task);
		return 0;
	}
	if (bytes >= sizeof(struct virtio_scsi_ctrl_an_req) &&
		(task.type == VIRTIO_SCSI_T_AN_QUERY || task.type == VIRTIO_SCSI_T_AN_SUBSCRIBE) &&
		chain->writable_bytes >= sizeof(struct virtio_scsi_ctrl_an_resp)) {
		answer_events(scsi, chain);
		return 0;
	}
	return -EINVAL;
}
