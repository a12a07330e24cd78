/* The words of veneer-net-user's command line:
 *
 *	number=N	its network is 10.0.(2 + N).0/24
 *	restrict=on
 *	hostfwd=FORWARD	more than once
 *	hostname=NAME, domainname=NAME, dnssearch=NAME (more than once), bootfile=NAME
 */
#ifndef VENEER_HELPER_NET_USER_WORDS_H
#define VENEER_HELPER_NET_USER_WORDS_H

#include "host/net/net_backend.h"

/* Zero-initialise. */
struct net_user_words {
	unsigned number;
	bool restricted;
	const char *host_name, *domain_name, *boot_file;
	const char *search[NET_MAX_SEARCH + 1]; /* ended by NULL */
	struct net_forward forward[NET_MAX_FORWARDS];
	const char *forward_text[NET_MAX_FORWARDS];
	unsigned search_count, forward_count;
};

/* 0, or -errno. Keeps pointers into the word. */
int net_user_take_word(struct net_user_words *words, const char *word);

#endif
