/* Those who are told of what happens to a machine: monitors, the debugger. */
#include "machine/machine.h"

void machine_tell_event(struct machine *machine, const struct machine_event *event)
{
	for (struct machine_listener *listener = machine->listeners; listener;
		listener = listener->next)
		listener->notify(listener->opaque, event);
}

void machine_tell(
	struct machine *machine, enum machine_event_kind kind, struct machine_result cause)
{
	const struct machine_event event = {.kind = kind, .cause = cause};

	machine_tell_event(machine, &event);
}

void machine_listen(struct machine *machine, struct machine_listener *listener)
{
	listener->next = machine->listeners;
	machine->listeners = listener;
}

void machine_unlisten(struct machine *machine, struct machine_listener *listener)
{
	struct machine_listener **link = &machine->listeners;

	while (*link && *link != listener)
		link = &(*link)->next;
	if (*link)
		*link = listener->next;
}
