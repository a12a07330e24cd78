/* Messages to the person who runs veneer. Everything goes to standard error, because standard
 * output is the guest's console. */
#ifndef VENEER_BASE_LOG_H
#define VENEER_BASE_LOG_H

enum log_level { LOG_ERROR, LOG_WARNING, LOG_INFO, LOG_DEBUG };

/* Messages above this level are dropped. Default: LOG_WARNING. */
extern enum log_level log_threshold;

/* Print "veneer: <message>\n"; thread-safe. The message names the option, file or device, what is
 * wrong and what would be right. On a terminal in raw mode the line end is "\r\n". */
void log_message(enum log_level level, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* From now on the first error of this thread is copied to `text`, of `size` bytes, and none is
 * printed, until it ends: for whoever has somebody to tell of it. They do not nest. */
void log_capture_begin(char *text, unsigned long size);
void log_capture_end(void);

/* Set while the terminal is in raw mode: a line ends with "\r\n". */
extern _Atomic _Bool log_carriage_return;

#define log_error(...)   log_message(LOG_ERROR, __VA_ARGS__)
#define log_warning(...) log_message(LOG_WARNING, __VA_ARGS__)
#define log_info(...)    log_message(LOG_INFO, __VA_ARGS__)
#define log_debug(...)   log_message(LOG_DEBUG, __VA_ARGS__)

#endif
