/* Fids: the client's names for what it knows of the tree. */
#include "helper/share/internal.h"

#include <errno.h>
#include <stdlib.h>

#define BUCKETS 65536
#define NO_FID  UINT32_MAX

static struct fid **bucket(struct p9_server *server, uint32_t number)
{
	if (!server->fids)
		server->fids = calloc(BUCKETS, sizeof(struct fid *));
	return server->fids ? &server->fids[number % BUCKETS] : NULL;
}

struct fid *fid_find(struct p9_server *server, uint32_t number)
{
	struct fid **place = bucket(server, number);
	struct fid *fid = place ? *place : NULL;

	while (fid && fid->number != number)
		fid = fid->next;
	return fid;
}

int fid_add(struct p9_server *server, uint32_t number, uint32_t uid, struct node *node,
	struct fid **fid)
{
	struct fid **place = bucket(server, number);

	if (number == NO_FID || fid_find(server, number))
		return -EBADF;
	if (server->fid_count == P9_MOST_FIDS)
		return -ENFILE;
	*fid = place ? calloc(1, sizeof(**fid)) : NULL;
	if (!*fid)
		return -ENOMEM;
	**fid = (struct fid){.number = number,
		.uid = uid,
		.node = node_hold(node),
		.file.open.fd = -1,
		.next = *place};
	*place = *fid;
	server->fid_count++;
	return 0;
}

void fid_remove(struct p9_server *server, struct fid *fid)
{
	struct fid **place = bucket(server, fid->number);

	while (*place != fid)
		place = &(*place)->next;
	*place = fid->next;
	if (fid->use == FID_FILE || fid->use == FID_DIRECTORY)
		tree_close(server->tree, &fid->file);
	node_put(server->tree, fid->node);
	server->xattr_bytes -= fid->value_size;
	free(fid->value);
	free(fid->xattr);
	free(fid);
	server->fid_count--;
}

void fid_remove_all(struct p9_server *server)
{
	for (unsigned i = 0; server->fid_count && i < BUCKETS; i++)
		while (server->fids[i])
			fid_remove(server, server->fids[i]);
}

int fid_make_value(struct p9_server *server, struct fid *fid, size_t size)
{
	if (size > P9_MOST_XATTR - server->xattr_bytes)
		return -ENOSPC;
	fid->value = calloc(1, size ? size : 1);
	if (!fid->value)
		return -ENOMEM;
	fid->value_size = (uint32_t)size;
	server->xattr_bytes += size;
	return 0;
}

struct fid *fid_take(struct p9_server *server)
{
	uint32_t number = p9_get32(&server->in);

	return server->in.bad ? NULL : fid_find(server, number);
}
