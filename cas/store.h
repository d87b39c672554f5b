#ifndef LARDER_STORE_INTERNAL_H
#define LARDER_STORE_INTERNAL_H

/*
 * What the files of this room share: the open store. The guarantees stand at
 * the head of store.c.
 */
#include <pthread.h>
#include <sys/types.h>

#include "cas/base/id.h"
#include "cas/config.h"
#include "cas/identity.h"
#include "cas/larder.h"
#include "cas/object/chunker.h"
#include "index/index.h"
#include "pack/pack.h"

struct journal;
struct fetch;

struct larder_store {
	char *path;  /* as given */
	int root_fd; /* the store's directory */
	int lock_fd; /* its file `lock`: enum store_lock; held shared as long as the handle lives */
	char *index_dir; /* as given; NULL: index/ in root_fd */
	int index_fd;    /* the directory that index/ is in */
	struct config config;
	struct identity identity; /* ours; filled at open, checked again before the first write */
	struct index *index;      /* NULL with no_index */
	struct pack_files *packs;
	struct fetch *fetch;      /* decoded segments, shared by threads */
	struct chunker chunker;   /* of this store's seed and chunk size */
	unsigned threads;
	pid_t pid;
	void (*on_notice)(void *context, const char *line);
	void *notice_context;

	pthread_mutex_t commit_lock; /* guards the next two, and identity once the handle is open */
	struct journal *journal;     /* ours, for appending; opened by the first write */
	struct larder_err poison;    /* first failed sync: every later write returns it */
};

/*
 * Ranges of the file `lock`, locked and never written. Who waits for BUILD holds no OPEN:
 * the builder may wait for that.
 */
enum store_lock {
	STORE_LOCK_OPEN = 0,  /* shared: a handle. Exclusive: nobody else has one */
	STORE_LOCK_BUILD = 1, /* exclusive: who builds an index */
	STORE_LOCK_INIT = 2,  /* exclusive: who makes the store */
};

/*
 * USAGE for no store, in a forked child, and without an index (no_index); else OK.
 * Every public call begins with it.
 */
LARDER_MUST_USE int store_enter(const struct larder_store *store, struct larder_err *err);
/* The same for what needs no index. */
LARDER_MUST_USE int store_enter_bare(const struct larder_store *store, struct larder_err *err);
/* One line for the user, if a callback was given. */
void store_notice(struct larder_store *store, const char *fmt, ...) LARDER_PRINTF(2, 3);

#endif
