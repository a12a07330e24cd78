#include "debug/session.h"

#include "debug/commands.h"

#include <stdlib.h>
#include <string.h>

#define SIGNAL_INT  2
#define SIGNAL_TRAP 5

static struct cpu *cpu_of(const struct session *session, unsigned index)
{
	return session->machine->cpus[index];
}

static unsigned cpu_count(const struct session *session)
{
	return session->machine->config.cpu_count;
}

/* --- sending --- */

static void send_packet(struct session *session)
{
	packet_end(&session->out);
	session->send(session->opaque, session->out.data, session->out.size);
}

/* --- why the machine has stopped --- */

static void tell_watchpoint(struct session *session, const struct cpu *cpu)
{
	static const char *const names[] = {[DEBUGGER_WRITE] = "watch",
		[DEBUGGER_READ] = "rwatch",
		[DEBUGGER_READ | DEBUGGER_WRITE] = "awatch"};

	packet_format(&session->out, "%s:%llx;", names[cpu->debugger.watch_access],
		(unsigned long long)cpu->debugger.watch_address);
}

/* Software and hardware breakpoints are the same thing here, but gdb wants to hear of its own. */
static void tell_breakpoint(struct session *session, const struct cpu *cpu)
{
	bool hardware = true;

	if (!session->says_breakpoints)
		return;
	for (unsigned i = 0; i < session->points.breakpoint_count; i++)
		if (session->points.breakpoint[i] == debugger_code_address(cpu))
			hardware &= session->is_hardware[i];
	packet_text(&session->out, hardware ? "hwbreak:;" : "swbreak:;");
}

static void put_stop(struct session *session, unsigned signal, unsigned index)
{
	struct cpu *cpu = cpu_of(session, index);

	packet_format(&session->out, "T%02xthread:%02x;", signal, index + 1);
	if (cpu->debugger.stop == DEBUGGER_WATCHPOINT)
		tell_watchpoint(session, cpu);
	else if (cpu->debugger.stop == DEBUGGER_BREAKPOINT)
		tell_breakpoint(session, cpu);
	/* Said once. */
	if (cpu->debugger.stop != DEBUGGER_RUNS_ON)
		debugger_run_on(cpu);
	session->cpu = session->step_cpu = index;
}

static void send_stop(struct session *session, unsigned signal, unsigned index)
{
	session->waits = false;
	packet_begin(&session->out);
	put_stop(session, signal, index);
	send_packet(session);
}

/* Several vCPUs may have stopped at once. That one is at a breakpoint it will find again; an access
 * to what is watched would be lost, so it is told when the client lets the machine run. */
static bool find_stopped(const struct session *session, bool only_watchpoints, unsigned *index)
{
	for (unsigned i = 0; i < cpu_count(session); i++) {
		uint8_t stop = cpu_of(session, i)->debugger.stop;

		if (stop == DEBUGGER_WATCHPOINT || (stop && !only_watchpoints)) {
			*index = i;
			return true;
		}
	}
	return false;
}

void session_ended(struct session *session, struct machine_result result)
{
	if (!session->waits)
		return;
	session->waits = false;
	packet_begin(&session->out);
	if (result.end == MACHINE_SIGNAL)
		packet_format(&session->out, "X%02x", (unsigned)result.value & 0xff);
	else
		packet_format(&session->out, "W%02x",
			result.end == MACHINE_DEBUG_EXIT ? (unsigned)result.value & 0xff : 0);
	send_packet(session);
}

/* --- running on --- */

void session_run(struct session *session, uint64_t held, uint64_t step)
{
	unsigned index;

	if (find_stopped(session, true, &index)) {
		session->stopped_it = true;
		send_stop(session, SIGNAL_TRAP, index);
		return;
	}
	for (unsigned i = 0; i < cpu_count(session); i++)
		debugger_set_step(cpu_of(session, i), step >> i & 1);
	session->waits = true;
	session->stopped_it = false;
	machine_resume_without(session->machine, held);
}

void session_points_changed(struct session *session)
{
	for (unsigned i = 0; i < cpu_count(session); i++)
		debugger_set_points(cpu_of(session, i), &session->points);
}

static void forget_points(struct session *session)
{
	session->points.breakpoint_count = session->points.watchpoint_count = 0;
	session_points_changed(session);
	for (unsigned i = 0; i < cpu_count(session); i++)
		debugger_set_step(cpu_of(session, i), false);
}

void session_detach(struct session *session)
{
	forget_points(session);
	session->waits = session->stopped_it = false;
	machine_resume(session->machine);
}

/* --- coming and going --- */

bool session_ready(const struct session *session)
{
	return session->machine->phase == MACHINE_PHASE_PAUSED;
}

void session_wake(struct session *session)
{
	session->stopped_it |= session->machine->phase == MACHINE_PHASE_RUNNING;
	machine_pause(session->machine);
}

void session_open(struct session *session)
{
	session_wake(session);
}

static void finish_closing(struct session *session)
{
	unsigned index;
	bool ours = session->stopped_it || find_stopped(session, false, &index);

	session->closing = false;
	forget_points(session);
	if (ours)
		machine_resume(session->machine);
}

bool session_close(struct session *session)
{
	bool points = session->points.breakpoint_count || session->points.watchpoint_count;

	session->waits = false;
	if (session->machine->phase == MACHINE_PHASE_PAUSED) {
		finish_closing(session);
	} else if (points) {
		session->closing = true;
		session_wake(session);
	} else if (session->stopped_it) {
		machine_resume(session->machine); /* which calls the pause off */
	}
	return !session->closing;
}

void session_free(struct session *session)
{
	free(session->description);
	session->description = NULL;
}

void session_paused(struct session *session)
{
	unsigned index;

	for (unsigned i = 0; i < cpu_count(session); i++)
		debugger_set_step(cpu_of(session, i), false);
	if (session->closing) {
		finish_closing(session);
		return;
	}
	if (!session->waits)
		return;
	if (!find_stopped(session, false, &index)) {
		send_stop(session, SIGNAL_INT, session->cpu);
		return;
	}
	session->stopped_it = true;
	send_stop(session, SIGNAL_TRAP, index);
}

/* --- packets --- */

static void acknowledge(struct session *session, char sign)
{
	if (!session->no_acks)
		session->send(session->opaque, &sign, 1);
}

static void answer(struct session *session)
{
	struct packet_text text = {session->in.data, session->in.data + session->in.size};

	acknowledge(session, '+');
	packet_begin(&session->out);
	if (command_run(session, &text))
		send_packet(session);
}

void session_take(struct session *session, uint8_t byte)
{
	switch (packet_take(&session->in, byte)) {
	case PACKET_COMPLETE:
		answer(session);
		break;
	case PACKET_BROKEN:
		acknowledge(session, '-');
		break;
	case PACKET_TOO_LONG:
		acknowledge(session, '+');
		packet_begin(&session->out);
		packet_text(&session->out, COMMAND_WRONG);
		send_packet(session);
		break;
	case PACKET_NAK:
		if (session->out.complete && !session->no_acks)
			session->send(session->opaque, session->out.data, session->out.size);
		break;
	case PACKET_INTERRUPT: /* it has done its work: the machine is paused */
	case PACKET_ACK:
	case PACKET_MORE:
		break;
	}
}

void session_put_stop(struct session *session)
{
	put_stop(session, SIGNAL_TRAP, session->cpu);
}
