/* The user's terminal: raw mode, and the Ctrl-a keys. */
#ifndef VENEER_HOST_TERMINAL_H
#define VENEER_HOST_TERMINAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Put `fd` into raw mode, if it is a terminal, and see to it that it is restored on every way out:
 * exit(), and the signals that end the process. After SIGTSTP and SIGCONT it is raw again. One
 * terminal per process. 0, also where fd is no terminal; -errno. */
int terminal_raw(int fd);
/* Back to what it was. Safe in a signal handler, and when there is nothing to restore. */
void terminal_restore(void);
/* Is a terminal in raw mode now? Then a line ends with "\r\n". */
bool terminal_is_raw(void);

/* What the user typed after Ctrl-a. */
enum terminal_command { TERMINAL_NONE, TERMINAL_QUIT, TERMINAL_HELP, TERMINAL_NEXT };

struct terminal_parser {
	bool escaped; /* the last byte was an unanswered Ctrl-a */
	bool shared;  /* several ports share the terminal: Ctrl-a c goes to the next */
};

/* Take typed bytes from in[0..size) up to the first command, and put those that are for the guest
 * into out (room for size + 1). *consumed and *produced get the counts. Ctrl-a x quits, Ctrl-a h
 * asks for help, Ctrl-a c is TERMINAL_NEXT where the terminal is shared, Ctrl-a a and Ctrl-a Ctrl-a
 * send one Ctrl-a; Ctrl-a and anything else sends both. */
enum terminal_command terminal_parse(struct terminal_parser *parser, const uint8_t *in, size_t size,
	uint8_t *out, size_t *consumed, size_t *produced);

/* The text of Ctrl-a h, with "\r\n" line ends. */
extern const char terminal_help[];
/* And what is to be added where it is shared. */
extern const char terminal_help_shared[];

#endif
