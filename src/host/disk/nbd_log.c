#include "host/disk/nbd_log.h"

#include <stddef.h>

static uint64_t memory_of(const struct nbd_command *command)
{
	return sizeof(*command) + (command->buffer ? command->bytes : 0);
}

void nbd_log_init(struct nbd_log *log)
{
	*log = (struct nbd_log){.end = &log->first};
}

void nbd_log_add(struct nbd_log *log, struct nbd_command *command)
{
	command->sequence = log->sequence++;
	command->next = NULL;
	command->request = NULL;
	*log->end = command;
	log->end = &command->next;
	log->bytes += memory_of(command);
}

void nbd_log_forget(struct nbd_log *log, uint64_t sequence)
{
	struct nbd_command *command;

	while ((command = log->first) && command->sequence < sequence) {
		log->first = command->next;
		log->bytes -= memory_of(command);
		nbd_command_free(command);
	}
	if (!log->first)
		log->end = &log->first;
}
