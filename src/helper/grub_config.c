/* The script is read twice: for the last `set default=` that a reader without variables can follow,
 * then for its entries. Words with a variable in them ("$vt_handoff") are left out. */
#include "helper/grub_config.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define MAX_WORD  4096
#define MAX_DEPTH 16 /* of braces */

/* --- words (GRUB manual, "Shell-like scripting") --- */

enum token { TOKEN_WORD, TOKEN_END_OF_COMMAND, TOKEN_END };

struct reader {
	const char *next, *end;
	char word[MAX_WORD]; /* what is longer is cut */
	size_t length;
	bool quoted, variable; /* some of it is */
};

static bool at(const struct reader *reader, const char *characters)
{
	return reader->next < reader->end && *reader->next && strchr(characters, *reader->next);
}

static void append(struct reader *reader, char character)
{
	if (reader->length < MAX_WORD - 1)
		reader->word[reader->length++] = character;
}

/* After the opening quote, up to the closing one. */
static void read_quoted(struct reader *reader, char quote)
{
	for (; reader->next < reader->end && *reader->next != quote; reader->next++) {
		if (quote == '"' && *reader->next == '\\' && reader->next + 1 < reader->end)
			reader->next++;
		else if (quote == '"' && *reader->next == '$')
			reader->variable = true;
		append(reader, *reader->next);
	}
	reader->quoted = true;
	if (reader->next < reader->end)
		reader->next++;
}

static void skip_blanks(struct reader *reader)
{
	for (;;)
		if (at(reader, " \t\r"))
			reader->next++;
		else if (at(reader, "\\") && reader->next + 1 < reader->end &&
			 reader->next[1] == '\n')
			reader->next += 2;
		else
			break;
	if (at(reader, "#"))
		while (reader->next < reader->end && *reader->next != '\n')
			reader->next++;
}

static enum token read_token(struct reader *reader)
{
	char character;

	skip_blanks(reader);
	reader->length = 0;
	reader->quoted = reader->variable = false;
	if (reader->next == reader->end)
		return TOKEN_END;
	if (at(reader, "\n;")) {
		reader->next++;
		return TOKEN_END_OF_COMMAND;
	}
	while (reader->next < reader->end && !at(reader, " \t\r\n;")) {
		character = *reader->next++;
		if (character == '"' || character == '\'') {
			read_quoted(reader, character);
			continue;
		}
		if (character == '\\' && reader->next < reader->end)
			character = *reader->next++;
		else if (character == '$')
			reader->variable = true;
		append(reader, character);
	}
	reader->word[reader->length] = 0;
	return TOKEN_WORD;
}

static bool is_brace(const struct reader *reader, char brace)
{
	return !reader->quoted && reader->word[0] == brace && !reader->word[1];
}

/* --- the choice --- */

/* grubenv's "saved_entry=" line, which `set default="${saved_entry}"` speaks of. */
static bool find_saved(const char *environment, char choice[MAX_WORD])
{
	static const char name[] = "saved_entry=";
	const char *line = environment;

	while (line && strncmp(line, name, strlen(name)) != 0) {
		line = strchr(line, '\n');
		if (line)
			line++;
	}
	if (!line)
		return false;
	line += strlen(name);
	snprintf(choice, MAX_WORD, "%.*s", (int)strcspn(line, "\n"), line);
	return choice[0] != 0;
}

static void find_choice(
	const char *text, size_t size, const char *environment, char choice[MAX_WORD])
{
	static const char name[] = "default=";
	struct reader reader = {.next = text, .end = text + size};
	enum token token;
	bool set = false;

	strcpy(choice, "0");
	for (unsigned number = 0; (token = read_token(&reader)) != TOKEN_END; number++) {
		if (token == TOKEN_END_OF_COMMAND) {
			number = (unsigned)-1;
			continue;
		}
		if (number == 0)
			set = strcmp(reader.word, "set") == 0;
		if (number != 1 || !set || strncmp(reader.word, name, strlen(name)) != 0)
			continue;
		if (!reader.variable)
			strcpy(choice, reader.word + strlen(name));
		else if (strstr(reader.word, "saved_entry"))
			find_saved(environment, choice);
	}
}

/* --- the entries --- */

/* What a brace has opened. */
struct frame {
	bool menu, entry;
	bool chosen;       /* the choice names it, or leads into it */
	unsigned children; /* entries and menus in it so far */
};

/* How the next brace is to be understood. */
struct opening {
	bool menu, entry;
	char title[MAX_WORD], id[MAX_WORD];
};

struct parser {
	struct reader reader;
	const char *choice;
	struct frame frames[MAX_DEPTH];
	unsigned depth, menus; /* frames in use; how many of them are menus */
	struct opening opening;
	struct grub_entry *entry; /* that is being read */
};

/* Does the choice's part for this depth of menus name the opening ("1>0": by number, title or id)?
 * A choice that ends with a menu means its first entry. */
static bool is_chosen(const struct parser *parser, unsigned number)
{
	const char *part = parser->choice;
	char text[16];
	size_t length;

	if (!part)
		return true;
	for (unsigned i = 0; i < parser->menus; i++) {
		part += strcspn(part, ">");
		if (!*part)
			return number == 0;
		part++;
	}
	length = strcspn(part, ">");
	snprintf(text, sizeof(text), "%u", number);
	return (strlen(text) == length && memcmp(text, part, length) == 0) ||
	       (strlen(parser->opening.title) == length &&
		       memcmp(parser->opening.title, part, length) == 0) ||
	       (length && strlen(parser->opening.id) == length &&
		       memcmp(parser->opening.id, part, length) == 0);
}

static bool open_frame(struct parser *parser)
{
	struct frame *parent = &parser->frames[parser->depth];
	struct opening *opening = &parser->opening;

	if (parser->depth == MAX_DEPTH - 1)
		return false;
	parser->frames[++parser->depth] = (struct frame){
		.menu = opening->menu, .entry = opening->entry, .chosen = parent->chosen};
	if (opening->menu || opening->entry) {
		parser->frames[parser->depth].chosen =
			parent->chosen && is_chosen(parser, parent->children++);
		memset(parser->entry, 0, sizeof(*parser->entry));
	}
	parser->menus += opening->menu;
	*opening = (struct opening){0};
	return true;
}

/* menuentry TITLE [--class X]... [--id X | $menuentry_id_option X] {
 * False where there is no brace. */
static bool read_opening(struct parser *parser)
{
	struct reader *reader = &parser->reader;
	bool title = true, id = false;

	while (read_token(reader) == TOKEN_WORD) {
		if (is_brace(reader, '{'))
			return open_frame(parser);
		if (title)
			strcpy(parser->opening.title, reader->word);
		else if (id)
			strcpy(parser->opening.id, reader->word);
		title = false;
		id = strcmp(reader->word, "--id") == 0 ||
		     strstr(reader->word, "menuentry_id_option");
	}
	parser->opening = (struct opening){0};
	return false;
}

/* "(hd0,gpt1)/boot/x" or "($root)/boot/x": without the device. */
static void copy_path(char path[GRUB_MAX_PATH], const char *word)
{
	const char *end = word[0] == '(' ? strchr(word, ')') : NULL;

	snprintf(path, GRUB_MAX_PATH, "%s", end ? end + 1 : word);
}

static void read_kernel(struct parser *parser)
{
	struct reader *reader = &parser->reader;
	struct grub_entry *entry = parser->entry;
	size_t used = 0;

	entry->cmdline[0] = 0;
	if (read_token(reader) != TOKEN_WORD)
		return;
	copy_path(entry->kernel, reader->word);
	while (read_token(reader) == TOKEN_WORD) {
		if (reader->variable || used + reader->length + 2 > GRUB_MAX_CMDLINE)
			continue;
		used += (size_t)snprintf(entry->cmdline + used, GRUB_MAX_CMDLINE - used, "%s%s",
			used ? " " : "", reader->word);
	}
}

static void read_initrds(struct parser *parser)
{
	struct grub_entry *entry = parser->entry;

	entry->initrd_count = 0;
	while (read_token(&parser->reader) == TOKEN_WORD)
		if (entry->initrd_count < GRUB_MAX_INITRDS)
			copy_path(entry->initrd[entry->initrd_count++], parser->reader.word);
}

static bool is_one_of(const char *word, const char *a, const char *b, const char *c)
{
	return strcmp(word, a) == 0 || strcmp(word, b) == 0 || strcmp(word, c) == 0;
}

/* A command's first word has been read. True: so has the rest of it. */
static bool read_command(struct parser *parser)
{
	const char *word = parser->reader.word;
	bool in_entry = parser->frames[parser->depth].entry;

	parser->opening.menu = strcmp(word, "submenu") == 0;
	parser->opening.entry = strcmp(word, "menuentry") == 0;
	if (parser->opening.menu || parser->opening.entry)
		read_opening(parser);
	else if (in_entry && is_one_of(word, "linux", "linuxefi", "linux16"))
		read_kernel(parser);
	else if (in_entry && is_one_of(word, "initrd", "initrdefi", "initrd16"))
		read_initrds(parser);
	else
		return false;
	return true;
}

/* True: it closes the chosen entry, which has a kernel. */
static bool close_frame(struct parser *parser)
{
	const struct frame *frame = &parser->frames[parser->depth];

	if (!parser->depth)
		return false;
	parser->menus -= frame->menu;
	parser->depth--;
	return frame->entry && frame->chosen && parser->entry->kernel[0];
}

/* `choice` NULL: any. */
static bool find_entry(const char *text, size_t size, const char *choice, struct grub_entry *entry)
{
	static struct parser parser; /* too large for a stack */
	bool first = true;
	enum token token;

	parser = (struct parser){.reader = {.next = text, .end = text + size},
		.choice = choice,
		.frames = {{.chosen = true}},
		.entry = entry};
	while ((token = read_token(&parser.reader)) != TOKEN_END) {
		if (token == TOKEN_END_OF_COMMAND)
			first = true;
		else if (is_brace(&parser.reader, '{'))
			first = open_frame(&parser);
		else if (!is_brace(&parser.reader, '}'))
			first = first && read_command(&parser);
		else if (close_frame(&parser))
			return true;
	}
	return false;
}

int grub_config_default(
	const char *text, size_t size, const char *environment, struct grub_entry *entry)
{
	static char choice[MAX_WORD];

	find_choice(text, size, environment, choice);
	return find_entry(text, size, choice, entry) || find_entry(text, size, NULL, entry)
		       ? 0
		       : -ENOENT;
}
