#include "base/log.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LINE_MAX_BYTES 1024

enum log_level log_threshold = LOG_WARNING;
_Atomic _Bool log_carriage_return;

static _Thread_local struct {
	char *text; /* NULL: messages are printed */
	size_t size;
} captured;

void log_capture_begin(char *text, unsigned long size)
{
	captured.text = text;
	captured.size = size;
	*text = '\0';
}

void log_capture_end(void)
{
	captured.text = NULL;
}

static void write_all(int fd, const char *bytes, size_t size)
{
	while (size) {
		ssize_t written = write(fd, bytes, size);

		if (written < 0 && errno == EAGAIN) {
			struct pollfd ready = {.fd = fd, .events = POLLOUT};

			/* Somebody made standard error non-blocking. Do not wait for ever: the
			 * machine may depend on the thread that has something to say. */
			if (poll(&ready, 1, 100) <= 0)
				return;
			continue;
		}
		if (written < 0 && errno == EINTR)
			continue;
		if (written <= 0)
			return;
		bytes += written;
		size -= (size_t)written;
	}
}

/* The whole line goes out in one write(2), so that lines of several threads do not mix. */
void log_message(enum log_level level, const char *format, ...)
{
	static const char *const prefix[] = {
		[LOG_ERROR] = "veneer: ",
		[LOG_WARNING] = "veneer: warning: ",
		[LOG_INFO] = "veneer: ",
		[LOG_DEBUG] = "veneer: debug: ",
	};
	int saved_errno = errno;
	char line[LINE_MAX_BYTES];
	size_t room = sizeof(line) - 2; /* for the line end */
	size_t length;
	va_list arguments;

	if (level > log_threshold || (captured.text && level == LOG_ERROR && *captured.text))
		return;
	if (captured.text && level == LOG_ERROR) {
		va_start(arguments, format);
		vsnprintf(captured.text, captured.size, format, arguments);
		va_end(arguments);
		return;
	}
	length = (size_t)snprintf(line, room, "%s", prefix[level]);
	va_start(arguments, format);
	length += (size_t)vsnprintf(line + length, room - length, format, arguments);
	va_end(arguments);
	if (length > room - 1)
		length = room - 1; /* cut short */
	if (log_carriage_return)
		line[length++] = '\r';
	line[length++] = '\n';
	write_all(STDERR_FILENO, line, length);
	errno = saved_errno;
}
