/* Breakpoints and watchpoints: packets Z and z. */
#include "debug/commands.h"

#include <string.h>

enum point { POINT_SOFTWARE, POINT_HARDWARE, POINT_WRITE, POINT_READ, POINT_ACCESS, POINTS };

/* What follows the command's letter. Conditions, which may follow too, are for gdb to check: they
 * were not offered. */
static bool take_point(
	struct packet_text *text, enum point *point, uint64_t *address, uint64_t *size)
{
	uint64_t type;

	if (!packet_take_number(text, &type) || type >= POINTS || !packet_take_char(text, ',') ||
		!packet_take_number(text, address) || !packet_take_char(text, ',') ||
		!packet_take_number(text, size))
		return false;
	*point = (enum point)type;
	return type <= POINT_HARDWARE || (*size && *address + *size - 1 >= *address);
}

static bool is_breakpoint(enum point point)
{
	return point <= POINT_HARDWARE;
}

static unsigned access_of(enum point point)
{
	return point == POINT_WRITE  ? DEBUGGER_WRITE
	       : point == POINT_READ ? DEBUGGER_READ
				     : DEBUGGER_READ | DEBUGGER_WRITE;
}

/* The index of the breakpoint or watchpoint, or how many there are. */
static unsigned find(
	const struct session *session, enum point point, uint64_t address, uint64_t size)
{
	const struct debugger_points *points = &session->points;
	unsigned i;

	if (is_breakpoint(point)) {
		for (i = 0; i < points->breakpoint_count; i++)
			if (points->breakpoint[i] == address &&
				session->is_hardware[i] == (point == POINT_HARDWARE))
				break;
		return i;
	}
	for (i = 0; i < points->watchpoint_count; i++)
		if (points->watchpoint[i].address == address &&
			points->watchpoint[i].size == size &&
			points->watchpoint[i].access == access_of(point))
			break;
	return i;
}

static const char *insert(
	struct session *session, enum point point, uint64_t address, uint64_t size)
{
	struct debugger_points *points = &session->points;
	unsigned at = find(session, point, address, size);

	if (is_breakpoint(point)) {
		if (at < points->breakpoint_count)
			return "OK";
		if (at == DEBUGGER_BREAKPOINTS)
			return COMMAND_NO_ROOM;
		points->breakpoint[at] = address;
		session->is_hardware[at] = point == POINT_HARDWARE;
		points->breakpoint_count++;
	} else {
		if (at < points->watchpoint_count)
			return "OK";
		if (at == DEBUGGER_WATCHPOINTS)
			return COMMAND_NO_ROOM;
		points->watchpoint[at] =
			(struct debugger_watchpoint){address, size, access_of(point)};
		points->watchpoint_count++;
	}
	session_points_changed(session);
	return "OK";
}

bool command_insert_point(struct session *session, struct packet_text *text)
{
	enum point point;
	uint64_t address, size;

	packet_text(&session->out, take_point(text, &point, &address, &size)
					   ? insert(session, point, address, size)
					   : COMMAND_WRONG);
	return true;
}

static bool remove_point(struct session *session, enum point point, uint64_t address, uint64_t size)
{
	struct debugger_points *points = &session->points;
	unsigned at = find(session, point, address, size), last;

	if (is_breakpoint(point)) {
		if (at == points->breakpoint_count)
			return false;
		last = --points->breakpoint_count;
		points->breakpoint[at] = points->breakpoint[last];
		session->is_hardware[at] = session->is_hardware[last];
	} else {
		if (at == points->watchpoint_count)
			return false;
		points->watchpoint[at] = points->watchpoint[--points->watchpoint_count];
	}
	session_points_changed(session);
	return true;
}

bool command_remove_point(struct session *session, struct packet_text *text)
{
	enum point point;
	uint64_t address, size;

	packet_text(&session->out, take_point(text, &point, &address, &size) &&
						   remove_point(session, point, address, size)
					   ? "OK"
					   : COMMAND_WRONG);
	return true;
}
