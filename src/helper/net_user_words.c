#include "helper/net_user_words.h"

#include "base/bits.h"
#include "host/net/forward.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int set_number(struct net_user_words *settings, const char *option, const char *value)
{
	settings->number = (unsigned)strtoul(value, NULL, 10) % 250;
	return 0;
}

static int set_restrict(struct net_user_words *settings, const char *option, const char *value)
{
	settings->restricted = true;
	return 0;
}

static int set_forward(struct net_user_words *settings, const char *option, const char *value)
{
	if (settings->forward_count == NET_MAX_FORWARDS)
		return -E2BIG;
	settings->forward_text[settings->forward_count] = value;
	return net_forward_parse(&settings->forward[settings->forward_count++], option, value);
}

static int set_host_name(struct net_user_words *settings, const char *option, const char *value)
{
	settings->host_name = value;
	return 0;
}

static int set_domain_name(struct net_user_words *settings, const char *option, const char *value)
{
	settings->domain_name = value;
	return 0;
}

static int set_search(struct net_user_words *settings, const char *option, const char *value)
{
	if (settings->search_count == NET_MAX_SEARCH)
		return -E2BIG;
	settings->search[settings->search_count++] = value;
	return 0;
}

static int set_boot_file(struct net_user_words *settings, const char *option, const char *value)
{
	settings->boot_file = value;
	return 0;
}

static const struct {
	const char *name;
	int (*set)(struct net_user_words *settings, const char *option, const char *value);
} rows[] = {
	{"number=", set_number},
	{"restrict=", set_restrict},
	{"hostfwd=", set_forward},
	{"hostname=", set_host_name},
	{"domainname=", set_domain_name},
	{"dnssearch=", set_search},
	{"bootfile=", set_boot_file},
};

int net_user_take_word(struct net_user_words *words, const char *word)
{
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		size_t length = strlen(rows[i].name);

		if (strncmp(word, rows[i].name, length) == 0)
			return rows[i].set(words, rows[i].name, word + length);
	}
	return -EINVAL;
}
