#include "host/disk/internal.h"

#include <stddef.h>

static void run_finished(void *opaque)
{
	struct disk_finished *finished = opaque;
	struct disk_request *request = finished->first, *next;

	finished->first = NULL;
	finished->end = &finished->first;
	for (; request; request = next) {
		next = request->next;
		request->done(request, (int)(int64_t)request->number[0]);
	}
}

void disk_finished_init(struct disk_finished *finished, struct worker *worker)
{
	*finished = (struct disk_finished){.worker = worker, .end = &finished->first};
	worker_task_init(&finished->task, run_finished, finished);
}

void disk_finish_later(struct disk_finished *finished, struct disk_request *request, int error)
{
	request->number[0] = (uint64_t)(int64_t)error;
	request->next = NULL;
	*finished->end = request;
	finished->end = &request->next;
	worker_post(finished->worker, &finished->task);
}
