/* NVMe's queues (NVM Express 1.4, 4.1): commands are taken from submission queues, and their
 * completions put into completion queues.
 *
 * A command is begun only where its completion will have room, so that none that is done waits: a
 * controller whose disk is quiet has nothing to save but the queues' positions. Doorbells hold what
 * the guest has written there, and are checked when they are looked at. */
#include "device/storage/nvme_internal.h"

#include "base/bits.h"

#include <string.h>

static bool may_begin(const struct nvme *nvme)
{
	return atomic_load(&nvme->running) && !atomic_load(&nvme->quiet_wanted) &&
	       !atomic_load(&nvme->fatal);
}

/* --- completion queues --- */

/* Entries that the driver has not taken; as many as there can be where its doorbell is nonsense. */
static unsigned used(const struct nvme_cq *cq)
{
	unsigned head = atomic_load_explicit(&cq->head, memory_order_acquire);

	return head < cq->size ? (cq->tail + cq->size - head) % cq->size : cq->size;
}

bool nvme_has_room(const struct nvme *nvme, unsigned index)
{
	const struct nvme_cq *cq = &nvme->state.cq[index];

	return used(cq) + nvme->cq_reserved[index] + 1 < cq->size;
}

/* The phase bit is stored last: the driver waits for it. */
static void push(struct nvme *nvme, unsigned index, const uint32_t entry[4])
{
	struct nvme_cq *cq = &nvme->state.cq[index];
	struct dma *dma = &nvme->function.dma;
	struct iovec piece;

	if (dma_range(dma, cq->address + cq->tail * NVME_COMPLETION_SIZE, NVME_COMPLETION_SIZE,
		    true, &piece, 1) != 1) {
		nvme_fatal(nvme);
		return;
	}
	memcpy(piece.iov_base, entry, 3 * sizeof(*entry));
	atomic_store_explicit(
		(_Atomic uint32_t *)piece.iov_base + 3, entry[3], memory_order_release);
	dma_range_written(dma, &piece, 1, NVME_COMPLETION_SIZE);
	if (++cq->tail == cq->size) {
		cq->tail = 0;
		cq->phase = !cq->phase;
	}
	if (cq->interrupts)
		nvme->to_signal |= 1u << index;
	worker_want_idle(nvme->worker);
}

void nvme_complete(struct nvme *nvme, unsigned index, uint16_t command, enum nvme_status status,
	uint32_t result)
{
	struct nvme_sq *sq = &nvme->state.sq[index];
	uint32_t entry[4] = {result, 0, sq->head | index << 16,
		command | (uint32_t)nvme->state.cq[sq->cq].phase << 16 | (uint32_t)status << 17};

	nvme->cq_reserved[sq->cq]--;
	push(nvme, sq->cq, entry);
	if (nvme->deletion[index].wanted && !nvme->sq_in_flight[index]) {
		nvme->deletion[index].wanted = false;
		sq->size = 0;
		nvme_complete(nvme, 0, nvme->deletion[index].command, NVME_SUCCESS, 0);
	}
}

/* --- interrupts --- */

static bool any_unread(const struct nvme *nvme)
{
	for (unsigned i = 0; i < NVME_QUEUES; i++)
		if (nvme->state.cq[i].size && nvme->state.cq[i].interrupts &&
			used(&nvme->state.cq[i]))
			return true;
	return false;
}

static void signal_driver(struct nvme *nvme)
{
	uint32_t to_signal = nvme->to_signal;

	nvme->to_signal = 0;
	if (!pci_msi_enabled(&nvme->function)) {
		bool pin = any_unread(nvme);

		if (atomic_exchange(&nvme->pin, pin) != pin)
			event_loop_post(nvme->loop, &nvme->pin_work);
		return;
	}
	for (unsigned i = 0; i < NVME_QUEUES; i++)
		if (to_signal & 1u << i)
			pci_notify(&nvme->function, nvme->state.cq[i].vector);
}

void nvme_flush_work(struct nvme *nvme)
{
	if (nvme->submitted) {
		nvme->submitted = false;
		nvme->disk->ops->flush_queue(nvme->disk);
	}
	signal_driver(nvme);
}

/* --- submission queues --- */

/* Where the driver says that the queue ends; its beginning where that cannot be. */
static unsigned tail_of(struct nvme *nvme, struct nvme_sq *sq)
{
	uint16_t tail = atomic_load_explicit(&sq->tail, memory_order_acquire);

	if (tail < sq->size)
		return tail;
	atomic_compare_exchange_strong(&sq->tail, &tail, sq->head);
	nvme_raise_event(nvme, sq->size ? NVME_EVENT_DOORBELL_VALUE : NVME_EVENT_DOORBELL);
	return sq->head;
}

static void begin(struct nvme *nvme, unsigned index, const struct nvme_command *command)
{
	uint32_t result = 0;
	enum nvme_status status;

	nvme->cq_reserved[nvme->state.sq[index].cq]++;
	status = index ? nvme_io(nvme, index, command) : nvme_admin(nvme, command, &result);
	if (status != NVME_IN_FLIGHT)
		nvme_complete(nvme, index, command->id, status, result);
}

/* Take what is in the queue: at most as many commands as it can hold, since the driver may add some
 * as fast as they are done. True: there are more. */
static bool serve_queue(struct nvme *nvme, unsigned index)
{
	struct nvme_sq *sq = &nvme->state.sq[index];
	struct nvme_command command;

	for (unsigned i = 0; i < sq->size && may_begin(nvme); i++) {
		if (sq->head == tail_of(nvme, sq) || nvme->deletion[index].wanted ||
			!nvme_has_room(nvme, sq->cq))
			return false;
		if (index && !nvme_io_possible(nvme)) {
			nvme->starved = true;
			return false;
		}
		if (dma_read(&nvme->function.dma, sq->address + sq->head * NVME_COMMAND_SIZE,
			    &command, sizeof(command)) < 0) {
			nvme_fatal(nvme);
			return false;
		}
		sq->head = sq->head + 1 == sq->size ? 0 : sq->head + 1;
		begin(nvme, index, &command);
	}
	return sq->size && may_begin(nvme);
}

void nvme_serve(struct nvme *nvme)
{
	bool more = false;

	if (!may_begin(nvme))
		return;
	for (unsigned i = 0; i < NVME_QUEUES; i++)
		if (nvme->state.sq[i].size)
			more |= serve_queue(nvme, i);
		else if (atomic_load(&nvme->state.sq[i].tail))
			tail_of(nvme, &nvme->state.sq[i]);
	nvme_tell_events(nvme);
	if (more)
		worker_post(nvme->worker, &nvme->serve_task);
	/* What was put into a queue is signalled when the worker is done with all else; that what
	 * the driver has taken lowers the pin is seen there, too. */
	worker_want_idle(nvme->worker);
}

void nvme_clear_queues(struct nvme *nvme)
{
	struct nvme_state *state = &nvme->state;

	for (unsigned i = 0; i < NVME_QUEUES; i++) {
		state->sq[i] = (struct nvme_sq){0};
		state->cq[i] = (struct nvme_cq){0};
		nvme->cq_reserved[i] = 0;
		nvme->deletion[i].wanted = false;
	}
	memset(state->event_request, 0, sizeof(state->event_request));
	state->event_requests = 0;
	state->events_masked = false;
	atomic_store(&state->events, 0);
	nvme->to_signal = 0;
	nvme->starved = false;
	nvme_reset_features(nvme);
}
