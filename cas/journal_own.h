#ifndef LARDER_JOURNAL_OWN_H
#define LARDER_JOURNAL_OWN_H

/*
 * The handle for appending, shared by journal.c (handle, locks, append), journal_sync.c
 * and journal_segment.c. Nobody else includes this. The rules are at the head of journal.c.
 */
#include <pthread.h>

#include "cas/journal.h"
#include "cas/journal_scan.h"

struct journal {
	int folder_fd, lock_fd;
	char path[JOURNAL_FOLDER_LEN]; /* for sentences */
	struct id16 store, writer, boot;
	bool proved;
	struct journal_place proof;

	pthread_mutex_t append_lock; /* beside lock A, which threads of one process share */
	pthread_mutex_t sync_lock;   /* beside lock S */
	int fd;           /* the segment appended to, -1 = none yet; changed under both locks */
	uint64_t segment; /* the same */
	struct journal_segment_header header; /* of that segment; the same */
	struct journal_appended last; /* its last entry as this handle knows it; append_lock */
	struct buf frame;             /* append_lock */
	struct larder_err
	    failure; /* first failed sync of this handle, the last thing it did; sync_lock */
};

/* For sentences; which ones, the folder tells. */
#define JOURNAL_LOCK "lock"
#define JOURNAL_SEGMENT "segment"

/* CORRUPT: acknowledged entries had been where this handle found something else. */
int journal_damaged(const struct journal *journal, uint64_t at, struct larder_err *err);

/* ---- journal.c ---- */

LARDER_MUST_USE int journal_lock_append(struct journal *journal, struct larder_err *err);
void journal_unlock_append(struct journal *journal);
LARDER_MUST_USE int journal_lock_sync(struct journal *journal, struct larder_err *err);
void journal_unlock_sync(struct journal *journal);
LARDER_MUST_USE int journal_write_synced(
    struct journal *journal, const struct journal_synced *synced, struct larder_err *err);
/* journal->last. Only saves the next one a search; a record that could not be written matches
 * nothing. */
void journal_write_appended(struct journal *journal);

/* ---- journal_sync.c; under lock S ---- */

/* The first failed sync of this handle: it writes nothing more. */
LARDER_MUST_USE int journal_check_failure(struct journal *journal, struct larder_err *err);
/* One fdatasync of the open segment; then everything before `end` is durable. */
LARDER_MUST_USE int journal_sync_to(
    struct journal *journal, struct journal_synced *synced, uint64_t end, struct larder_err *err);
/*
 * The bytes in [durable, end) may have met an error that somebody else saw: sync, drop them
 * from the page cache, read what the disk has. A sync that fails is an error; bytes that
 * are not what they should be make the segment bad, and that is none.
 */
LARDER_MUST_USE int journal_sync_inherited(
    struct journal *journal, struct journal_synced *synced, uint64_t end, struct larder_err *err);
/* What is read next comes from the disk. */
void journal_drop_cached(struct journal *journal);
/*
 * The last whole entry before `limit` of the open segment, found by reading all of it.
 * *torn: something that is no entry stands behind it. The walk is the caller's to release.
 */
LARDER_MUST_USE int journal_search_last(struct journal *journal, struct journal_appended *last,
    bool *torn, uint64_t limit, struct journal_walk *walk, struct larder_err *err);

/* ---- journal_segment.c; under lock A ---- */

/* After this the open segment is the one to append to, and journal->last its end. */
LARDER_MUST_USE int journal_find_end(struct journal *journal, struct larder_err *err);
/*
 * The open segment is whole up to `end`; what stands behind is nothing. Sync that, and go
 * on in a new one.
 */
LARDER_MUST_USE int journal_end_segment(
    struct journal *journal, uint64_t end, struct larder_err *err);

#endif
