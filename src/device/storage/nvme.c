/* NVMe: the controller's registers (NVM Express 1.4, 3.1), and its life. nvme_internal.h says who
 * may touch what.
 *
 *	vCPU, machine lock		worker				I/O thread, machine lock
 *	CC.EN = 0
 *	  running = false
 *	  stop_task ------------------> ... requests end ...
 *					nvme_check_quiet():
 *					  queues are forgotten
 *					  stopped_work -------------->	CSTS.RDY = 0
 *
 * A pause is the same without the forgetting: a paused controller has no command at its disk. */
#include "device/storage/nvme_internal.h"

#include "base/bits.h"
#include "base/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define VENDOR   0x1b36 /* QEMU's project gives these out; it has this one for NVMe */
#define DEVICE   0x0010
#define MSIX_BAR 4

#define REGISTERS_SIZE (16 * KIB)
#define DOORBELLS      0x1000
#define DOORBELLS_SIZE (2 * NVME_QUEUES * 4)

enum {
	CAP = 0x00,
	VS = 0x08,
	INTMS = 0x0c,
	INTMC = 0x10,
	CC = 0x14,
	CSTS = 0x1c,
	AQA = 0x24,
	ASQ = 0x28,
	ACQ = 0x30,
};

#define VERSION UINT32_C(0x00010400)
/* Entries, contiguous queues, ten seconds for a stop, the NVM command set, pages of 4 KiB. */
#define CAPABILITIES ((NVME_ENTRIES - 1) | BIT(16) | UINT64_C(20) << 24 | BIT(37))

#define CC_WRITABLE      UINT32_C(0x00fffff1)
#define CC_UNSUPPORTED   UINT32_C(0x00003ff0) /* other command sets, page sizes, arbitration */
#define CC_SHUTDOWN(v)   ((v) >> 14 & 3)
#define CC_SQ_ENTRY(v)   ((v) >> 16 & 15)
#define CC_CQ_ENTRY(v)   ((v) >> 20 & 15)
#define AQA_WRITABLE     UINT32_C(0x0fff0fff)
#define AQA_SQ_SIZE(v)   (((v)&0xfff) + 1)
#define AQA_CQ_SIZE(v)   (((v) >> 16 & 0xfff) + 1)
#define ADMIN_ENTRIES    4096
#define ADDRESS_WRITABLE (~UINT64_C(0xfff))

/* --- the worker's side of stopping --- */

void nvme_fatal(struct nvme *nvme)
{
	if (!atomic_exchange(&nvme->fatal, true))
		event_loop_post(nvme->loop, &nvme->fatal_work);
}

void nvme_check_quiet(struct nvme *nvme)
{
	if (nvme->in_flight || !(nvme->reset_wanted || nvme->waited_for))
		return;
	nvme_flush_work(nvme);
	if (nvme->reset_wanted) {
		nvme->reset_wanted = false;
		nvme_clear_queues(nvme);
		atomic_store(&nvme->reset_done, true);
		event_loop_post(nvme->loop, &nvme->stopped_work);
	}
	if (nvme->waited_for) {
		nvme->waited_for = false;
		sem_post(&nvme->quiet);
	}
}

static void run_serve(void *opaque)
{
	nvme_serve(opaque);
}

static void run_stop(void *opaque)
{
	struct nvme *nvme = opaque;

	nvme->reset_wanted = true;
	nvme_check_quiet(nvme);
}

/* Where the pause was called off before the worker got here, nothing stops. */
static void run_quiesce(void *opaque)
{
	struct nvme *nvme = opaque;

	nvme->waited_for = atomic_load(&nvme->quiet_wanted);
	nvme_check_quiet(nvme);
}

static void shutdown_done(struct disk_request *request, int error)
{
	struct nvme *nvme = container_of(request, struct nvme, shutdown);

	nvme->in_flight--;
	nvme->shutting = false;
	event_loop_post(nvme->loop, &nvme->shut_work);
	nvme_check_quiet(nvme);
}

/* What was written is to be durable when the driver sees the shutdown complete (7.6.2). */
static void run_shutdown(void *opaque)
{
	struct nvme *nvme = opaque;

	if (nvme->shutting)
		return;
	nvme->shutting = true;
	nvme->in_flight++;
	nvme->shutdown = (struct disk_request){.operation = DISK_FLUSH, .done = shutdown_done};
	disk_submit(nvme->disk, &nvme->shutdown);
	nvme->submitted = true;
	worker_want_idle(nvme->worker);
}

static void run_abandon(void *opaque)
{
	struct nvme *nvme = opaque;

	nvme->disk->ops->abandon(nvme->disk);
}

static void run_idle(void *opaque)
{
	nvme_flush_work(opaque);
}

/* --- what the worker has to say, with the machine lock --- */

static void update_pin(struct nvme *nvme)
{
	pci_set_intx(
		&nvme->function, atomic_load(&nvme->pin) && !(nvme->state.registers.masked & 1));
}

static void finish_reset(struct nvme *nvme)
{
	struct nvme_registers *registers = &nvme->state.registers;

	registers->resetting = false;
	registers->csts = 0;
	atomic_store(&nvme->fatal, false);
	atomic_store(&nvme->pin, false);
	update_pin(nvme);
}

static void finish_shutdown(struct nvme *nvme)
{
	struct nvme_registers *registers = &nvme->state.registers;

	if ((registers->csts & NVME_CSTS_SHUTDOWN) == NVME_CSTS_SHUTTING)
		registers->csts = (registers->csts & ~NVME_CSTS_SHUTDOWN) | NVME_CSTS_SHUT;
}

static void run_stopped(void *opaque)
{
	struct nvme *nvme = opaque;

	if (nvme->state.registers.resetting && atomic_load(&nvme->reset_done))
		finish_reset(nvme);
}

static void run_fatal(void *opaque)
{
	struct nvme *nvme = opaque;

	if (atomic_load(&nvme->fatal) && !nvme->state.registers.resetting)
		nvme->state.registers.csts |= NVME_CSTS_FATAL;
}

static void run_pin(void *opaque)
{
	update_pin(opaque);
}

static void run_shut(void *opaque)
{
	finish_shutdown(opaque);
}

/* --- registers --- */

static bool can_be_enabled(const struct nvme_registers *registers)
{
	unsigned sq_entry = CC_SQ_ENTRY(registers->cc), cq_entry = CC_CQ_ENTRY(registers->cc);

	return !(registers->cc & CC_UNSUPPORTED) && (!sq_entry || sq_entry == 6) &&
	       (!cq_entry || cq_entry == 4) && AQA_SQ_SIZE(registers->aqa) >= 2 &&
	       AQA_CQ_SIZE(registers->aqa) >= 2;
}

/* The worker does not look at the queues before `running`. */
static void enable(struct nvme *nvme)
{
	struct nvme_registers *registers = &nvme->state.registers;

	if (!can_be_enabled(registers)) {
		registers->csts = NVME_CSTS_FATAL;
		return;
	}
	nvme->state.sq[0] = (struct nvme_sq){
		.address = registers->asq, .size = (uint16_t)AQA_SQ_SIZE(registers->aqa)};
	nvme->state.cq[0] = (struct nvme_cq){.address = registers->acq,
		.size = (uint16_t)AQA_CQ_SIZE(registers->aqa),
		.phase = true,
		.interrupts = true};
	registers->csts = NVME_CSTS_READY;
	atomic_store(&nvme->running, true);
}

static void begin_reset(struct nvme *nvme)
{
	struct nvme_registers *registers = &nvme->state.registers;

	if (!atomic_load(&nvme->running)) {
		registers->csts = registers->resetting ? registers->csts : 0;
		return;
	}
	atomic_store(&nvme->running, false);
	atomic_store(&nvme->reset_done, false);
	registers->resetting = true;
	worker_post(nvme->worker, &nvme->stop_task);
}

static void begin_shutdown(struct nvme *nvme)
{
	struct nvme_registers *registers = &nvme->state.registers;

	registers->csts = (registers->csts & ~NVME_CSTS_SHUTDOWN) | NVME_CSTS_SHUTTING;
	worker_post(nvme->worker, &nvme->shutdown_task);
}

/* Until CSTS.RDY is 0 a driver must not enable it again (3.1.5): that is not heard. */
static void write_cc(struct nvme *nvme, uint32_t value)
{
	struct nvme_registers *registers = &nvme->state.registers;
	uint32_t before = registers->cc;

	registers->cc = value & CC_WRITABLE;
	if (registers->resetting)
		registers->cc &= ~NVME_CC_ENABLE;
	if (registers->cc & ~before & NVME_CC_ENABLE)
		enable(nvme);
	else if (before & ~registers->cc & NVME_CC_ENABLE)
		begin_reset(nvme);
	if (CC_SHUTDOWN(value) && !CC_SHUTDOWN(before) && !registers->resetting)
		begin_shutdown(nvme);
}

static void set_half(uint64_t *address, unsigned offset, uint32_t value)
{
	unsigned shift = 8 * (offset & 4);

	*address = ((*address & ~(UINT64_C(0xffffffff) << shift)) | (uint64_t)value << shift) &
		   ADDRESS_WRITABLE;
}

static uint32_t read_doubleword(const struct nvme *nvme, unsigned offset)
{
	const struct nvme_registers *registers = &nvme->state.registers;

	switch (offset) {
	case CAP:
		return (uint32_t)CAPABILITIES;
	case CAP + 4:
		return (uint32_t)(CAPABILITIES >> 32);
	case VS:
		return VERSION;
	case INTMS:
	case INTMC:
		return registers->masked;
	case CC:
		return registers->cc;
	case CSTS:
		return registers->csts;
	case AQA:
		return registers->aqa;
	case ASQ:
		return (uint32_t)registers->asq;
	case ASQ + 4:
		return (uint32_t)(registers->asq >> 32);
	case ACQ:
		return (uint32_t)registers->acq;
	case ACQ + 4:
		return (uint32_t)(registers->acq >> 32);
	default:
		return 0;
	}
}

static uint64_t registers_read(void *opaque, uint64_t offset, unsigned size)
{
	return read_doubleword(opaque, (unsigned)offset & ~3u) >> 8 * (offset & 3);
}

/* Software writes whole doublewords or quadwords, which arrive as two: what else is written is
 * ignored. */
static void registers_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct nvme *nvme = opaque;
	struct nvme_registers *registers = &nvme->state.registers;

	if (size != 4 || offset % 4)
		return;
	switch (offset) {
	case INTMS:
		registers->masked |= (uint32_t)value;
		update_pin(nvme);
		break;
	case INTMC:
		registers->masked &= ~(uint32_t)value;
		update_pin(nvme);
		break;
	case CC:
		write_cc(nvme, (uint32_t)value);
		break;
	case AQA:
		registers->aqa = (uint32_t)value & AQA_WRITABLE;
		break;
	case ASQ:
	case ASQ + 4:
		set_half(&registers->asq, (unsigned)offset, (uint32_t)value);
		break;
	case ACQ:
	case ACQ + 4:
		set_half(&registers->acq, (unsigned)offset, (uint32_t)value);
		break;
	}
}

/* Without a lock. What is written is looked at by the worker. */
static void doorbell(void *opaque, uint64_t offset, uint64_t value)
{
	struct nvme *nvme = opaque;
	unsigned index = (unsigned)(offset - DOORBELLS) / 8;

	if (!atomic_load(&nvme->running) || index >= NVME_QUEUES || offset % 4)
		return;
	atomic_store_explicit(
		offset % 8 ? &nvme->state.cq[index].head : &nvme->state.sq[index].tail,
		(uint16_t)value, memory_order_release);
	worker_post(nvme->worker, &nvme->serve_task);
}

/* --- the device --- */

/* Nothing of it is on the worker. */
static void nvme_reset(void *device)
{
	struct nvme *nvme = device;

	atomic_store(&nvme->running, false);
	nvme->state.registers = (struct nvme_registers){0};
	nvme_clear_queues(nvme);
	finish_reset(nvme);
}

/* A reset of the function alone, at any moment: CSTS says when it is over. */
static void function_reset(void *opaque)
{
	struct nvme *nvme = opaque;
	struct nvme_registers *registers = &nvme->state.registers;

	*registers =
		(struct nvme_registers){.csts = registers->csts, .resetting = registers->resetting};
	begin_reset(nvme);
	update_pin(nvme);
}

/* What an earlier pause that was called off has left in the semaphore is thrown away. */
static void ask_for_quiet(struct nvme *nvme)
{
	atomic_store(&nvme->quiet_wanted, true);
	while (sem_trywait(&nvme->quiet) == 0)
		;
	worker_post(nvme->worker, &nvme->quiesce_task);
}

static bool nvme_quiesce(void *device, uint64_t deadline_ns)
{
	struct nvme *nvme = device;
	struct timespec deadline = {.tv_sec = (time_t)(deadline_ns / NS_PER_SECOND),
		.tv_nsec = (long)(deadline_ns % NS_PER_SECOND)};
	int error;

	if (!nvme->quiescing)
		ask_for_quiet(nvme);
	do
		error = sem_clockwait(&nvme->quiet, CLOCK_MONOTONIC, &deadline) < 0 ? errno : 0;
	while (error == EINTR);
	nvme->quiescing = error;
	return !error;
}

static void nvme_abandon(void *device)
{
	struct nvme *nvme = device;

	if (nvme->disk->ops->abandon)
		worker_post(nvme->worker, &nvme->abandon_task);
}

/* Where the worker has not answered yet (device.h), what it is asked for goes on as ever. */
static void nvme_resume(void *device)
{
	struct nvme *nvme = device;

	atomic_store(&nvme->quiet_wanted, false);
	if (!nvme->quiescing) {
		if (nvme->state.registers.resetting)
			finish_reset(nvme);
		finish_shutdown(nvme);
		run_fatal(nvme);
		update_pin(nvme);
	}
	nvme->quiescing = false;
	worker_post(nvme->worker, &nvme->serve_task);
}

static void nvme_loaded(void *device)
{
	struct nvme *nvme = device;
	const struct nvme_registers *registers = &nvme->state.registers;

	atomic_store(&nvme->running, (registers->csts & NVME_CSTS_READY) && !registers->resetting);
	atomic_store(&nvme->fatal, registers->csts & NVME_CSTS_FATAL);
	atomic_store(&nvme->pin, nvme->function.state.intx);
}

static bool queue_place_valid(uint64_t address, unsigned size, unsigned at)
{
	if (!size)
		return !at;
	return size >= 2 && at < size && address % NVME_PAGE == 0;
}

static bool nvme_valid(const void *device, const void *loaded)
{
	const struct nvme_state *state = loaded;
	const struct nvme_registers *registers = &state->registers;

	for (unsigned i = 0; i < NVME_QUEUES; i++) {
		const struct nvme_sq *sq = &state->sq[i];
		const struct nvme_cq *cq = &state->cq[i];

		if (!queue_place_valid(sq->address, sq->size, sq->head) ||
			!queue_place_valid(cq->address, cq->size, cq->tail) ||
			(sq->size && (!state->cq[sq->cq].size || !i != !sq->cq)))
			return false;
	}
	if ((registers->csts & NVME_CSTS_READY) && !registers->resetting &&
		(!state->sq[0].size || !state->cq[0].size))
		return false;
	return !(registers->cc & ~CC_WRITABLE) && !(registers->aqa & ~AQA_WRITABLE) &&
	       !(registers->asq & ~ADDRESS_WRITABLE) && !(registers->acq & ~ADDRESS_WRITABLE);
}

static void free_nvme(struct nvme *nvme)
{
	if (nvme->worker)
		worker_destroy(nvme->worker);
	sem_destroy(&nvme->quiet);
	event_loop_unpost(nvme->loop, &nvme->stopped_work);
	event_loop_unpost(nvme->loop, &nvme->fatal_work);
	event_loop_unpost(nvme->loop, &nvme->pin_work);
	event_loop_unpost(nvme->loop, &nvme->shut_work);
	nvme->disk->ops->destroy(nvme->disk);
	free(nvme->requests);
	free(nvme);
}

static void nvme_destroy(void *device)
{
	nvme_quiesce(device, UINT64_MAX);
	free_nvme(device);
}

static const struct state_field registers_fields[] = {
	STATE_ANY(struct nvme_registers, cc),
	STATE_FIELD(struct nvme_registers, csts, 0, 15),
	STATE_ANY(struct nvme_registers, aqa),
	STATE_ANY(struct nvme_registers, asq),
	STATE_ANY(struct nvme_registers, acq),
	STATE_ANY(struct nvme_registers, masked),
	STATE_BOOL(struct nvme_registers, resetting),
	STATE_END,
};

static const struct state_field sq_fields[] = {
	STATE_ANY(struct nvme_sq, address),
	STATE_FIELD(struct nvme_sq, size, 0, ADMIN_ENTRIES),
	STATE_ANY(struct nvme_sq, head),
	STATE_FIELD(struct nvme_sq, cq, 0, NVME_QUEUES - 1),
	STATE_ANY(struct nvme_sq, tail),
	STATE_END,
};

static const struct state_field cq_fields[] = {
	STATE_ANY(struct nvme_cq, address),
	STATE_FIELD(struct nvme_cq, size, 0, ADMIN_ENTRIES),
	STATE_ANY(struct nvme_cq, tail),
	STATE_FIELD(struct nvme_cq, vector, 0, NVME_QUEUES - 1),
	STATE_BOOL(struct nvme_cq, phase),
	STATE_BOOL(struct nvme_cq, interrupts),
	STATE_ANY(struct nvme_cq, head),
	STATE_END,
};

static const struct state_field nvme_fields[] = {
	STATE_STRUCT(struct nvme_state, registers, registers_fields),
	STATE_STRUCTS(struct nvme_state, sq, sq_fields),
	STATE_STRUCTS(struct nvme_state, cq, cq_fields),
	STATE_ARRAY_ANY(struct nvme_state, feature),
	STATE_ARRAY_ANY(struct nvme_state, event_request),
	STATE_FIELD(struct nvme_state, event_requests, 0, NVME_EVENTS),
	STATE_FIELD(struct nvme_state, events, 0, 3),
	STATE_BOOL(struct nvme_state, events_masked),
	STATE_END,
};

static const struct device_ops nvme_device = {
	.name = "nvme",
	.version = 1,
	DEVICE_STATE(struct nvme, nvme_fields),
	.reset = nvme_reset,
	.valid = nvme_valid,
	.loaded = nvme_loaded,
	.quiesce = nvme_quiesce,
	.abandon = nvme_abandon,
	.resume = nvme_resume,
	.destroy = nvme_destroy,
};

/* --- making it --- */

static void init_tasks(struct nvme *nvme)
{
	worker_task_init(&nvme->serve_task, run_serve, nvme);
	worker_task_init(&nvme->stop_task, run_stop, nvme);
	worker_task_init(&nvme->quiesce_task, run_quiesce, nvme);
	worker_task_init(&nvme->shutdown_task, run_shutdown, nvme);
	worker_task_init(&nvme->abandon_task, run_abandon, nvme);
	event_work_init(&nvme->stopped_work, run_stopped, nvme);
	event_work_init(&nvme->fatal_work, run_fatal, nvme);
	event_work_init(&nvme->pin_work, run_pin, nvme);
	event_work_init(&nvme->shut_work, run_shut, nvme);
}

static int add_function(struct nvme *nvme, struct pci_bus *bus, int slot)
{
	static const struct io_ops registers = {
		.read = registers_read, .write = registers_write, .width = 4};
	const struct pci_description description = {
		.name = "nvme",
		.vendor = VENDOR,
		.device = DEVICE,
		.subsystem_vendor = 0x1af4,
		.subsystem = 0x1100,
		.class_code = 0x010802, /* NVM Express */
		.intx = true,
		.msix_vectors = NVME_QUEUES,
		.msix_bar = MSIX_BAR,
		.bar[0] = {.kind = PCI_BAR_MEMORY64,
			.size = REGISTERS_SIZE,
			.ops = &registers,
			.opaque = nvme,
			.doorbell = doorbell,
			.doorbell_start = DOORBELLS,
			.doorbell_size = DOORBELLS_SIZE},
		.opaque = nvme,
		.reset = function_reset,
	};

	return pci_add(bus, &nvme->function, slot, &description);
}

struct start {
	struct nvme *nvme;
	int error;
};

/* On the worker. */
static void run_start(void *opaque)
{
	struct start *start = opaque;
	struct nvme *nvme = start->nvme;

	start->error = nvme->disk->ops->start(nvme->disk, nvme->worker);
	if (!start->error)
		start->error = worker_add_idle(nvme->worker, run_idle, nvme);
}

static int start_worker(struct nvme *nvme, uint32_t instance)
{
	struct start start = {.nvme = nvme, .error = -ENOMEM};
	char name[16];

	snprintf(name, sizeof(name), "nvme%u", instance);
	nvme->requests = calloc(NVME_REQUESTS, sizeof(*nvme->requests));
	if (!nvme->requests) {
		log_error("out of memory for an NVMe controller's requests");
		return -ENOMEM;
	}
	nvme->worker = worker_create(name);
	if (nvme->worker)
		worker_call(nvme->worker, run_start, &start);
	return start.error;
}

int nvme_create(
	struct pci_bus *bus, int slot, uint32_t instance, struct disk *disk, const char *serial)
{
	const struct pci_config *config = pci_bus_config(bus);
	struct nvme *nvme = calloc(1, sizeof(*nvme));
	int error;

	if (!nvme) {
		log_error("out of memory for an NVMe controller");
		disk->ops->destroy(disk);
		return -ENOMEM;
	}
	nvme->disk = disk;
	nvme->loop = config->loop;
	if (*serial)
		memcpy(nvme->serial, serial, strnlen(serial, NVME_SERIAL));
	else /* controllers are told apart by it */
		snprintf(nvme->serial, sizeof(nvme->serial), "veneer%u", instance);
	sem_init(&nvme->quiet, 0, 0);
	init_tasks(nvme);
	error = start_worker(nvme, instance);
	if (!error)
		error = add_function(nvme, bus, slot);
	if (error) {
		free_nvme(nvme);
		return error;
	}
	device_list_add(config->devices, &nvme->device, &nvme_device, instance);
	nvme_reset(nvme);
	return 0;
}
