#ifndef LARDER_JOURNAL_SCAN_H
#define LARDER_JOURNAL_SCAN_H

/*
 * What journal.c (who appends) and journal_read.c (who reads) both need to see
 * of one writer's folder: its segments, the frames in them, and the state that
 * the processes of a machine share in its file `lock`. Nobody else includes this.
 * Bytes of the file `lock`: OBJECTS.md, "The lock file of a writer".
 */
#include "cas/base/buf.h"
#include "cas/base/id.h"
#include "cas/object/entry.h"
#include "cas/types.h"

/* ---- the shared state: two records, each written under its own lock ---- */

enum {
	JOURNAL_RECORD_LEN = 64,
	JOURNAL_SYNCED_AT = 0,
	JOURNAL_APPENDED_AT = 64,
	JOURNAL_LOCK_LEN = 128,
	/* locked, never written */
	JOURNAL_APPEND_LOCK_AT = 128, /* lock A */
	JOURNAL_SYNC_LOCK_AT = 129,   /* lock S; who wants both takes A first */
};

/* Written under lock S. */
struct journal_synced {
	struct id16 boot;
	uint64_t segment; /* the one that is appended to */
	uint64_t
	    durable;  /* bytes of it known to be on disk; the end of an entry, or of the header */
	bool syncing; /* somebody began a sync and did not end it */
	bool bad;     /* nothing behind `durable` counts, and nothing is appended any more */
};

/* Written under lock A: the last entry of the segment, so that nobody has to search it. */
struct journal_appended {
	uint64_t segment;
	uint64_t end; /* of the entry, or of the header when there is none */
	uint64_t sequence;
	int64_t time_ns;
	struct larder_id chain;
};

void journal_synced_encode(uint8_t out[JOURNAL_RECORD_LEN], const struct journal_synced *synced);
void journal_appended_encode(uint8_t out[JOURNAL_RECORD_LEN],
    const struct journal_appended *appended, const struct id16 *boot);

/* The id of this boot; IO when the machine does not tell. */
LARDER_MUST_USE int journal_boot(struct id16 *boot, struct larder_err *err);
/*
 * 1 = read; 0 = there is none of this boot (or none at all): it says nothing. Waits for
 * lock S only when the record is being written all the time.
 */
LARDER_MUST_USE int journal_synced_read(
    struct journal_synced *out, int lock_fd, const struct id16 *boot, struct larder_err *err);
/* The same for the other record; also 0 when it is of another segment. Never waits. */
LARDER_MUST_USE int journal_appended_read(struct journal_appended *out, int lock_fd,
    const struct id16 *boot, uint64_t segment, struct larder_err *err);

/* ---- the folder ---- */

enum { JOURNAL_FOLDER_LEN = 8 + ID16_HEX_LEN + 1, JOURNAL_NAME_LEN = 16 + 1 };

void journal_folder(
    char out[JOURNAL_FOLDER_LEN], const struct id16 *writer); /* "journal/0a1b..." */
void journal_name(char out[JOURNAL_NAME_LEN], uint64_t first);

/* First sequences of the segments there are, ascending; free with mem_free. */
LARDER_MUST_USE int journal_list(
    uint64_t **firsts, size_t *count, int folder_fd, struct larder_err *err);
/* Open a segment (O_RDONLY or O_RDWR) and read its header; CORRUPT when it belongs elsewhere. */
LARDER_MUST_USE int journal_segment_open(int *fd, struct journal_segment_header *header,
    int folder_fd, uint64_t first, int flags, const struct id16 *store, const struct id16 *writer,
    struct larder_err *err);

/* ---- frames, one after the other ---- */

struct journal_walk {
	int fd; /* lent */
	char name[JOURNAL_NAME_LEN];
	uint64_t at;            /* where the next frame begins */
	uint64_t limit;         /* frames end here or before */
	uint64_t sequence;      /* of the last frame */
	int64_t time_ns;        /* of the last frame */
	struct larder_id chain; /* after the last frame */
	bool believe;      /* the next frame's chain is not compared: damage was told before it */
	struct buf window; /* bytes of the file from window_at on */
	uint64_t window_at;
};

/*
 * Start at `at`, where the chain is `chain` and the frame before has `sequence`.
 * journal_walk_release() ends it and may follow a walk that never began (zeroed).
 */
void journal_walk_begin(struct journal_walk *walk, int fd, uint64_t first, uint64_t at,
    uint64_t limit, uint64_t sequence, const struct larder_id *chain);
void journal_walk_release(struct journal_walk *walk);
/*
 * 1 = one more frame, lent until the next call, sequence and chain right; 0 = at the limit.
 * CORRUPT: no such frame at walk->at, which stays; journal_walk_skip() goes on behind it.
 */
LARDER_MUST_USE int journal_walk_next(
    struct journal_walk *walk, struct entry_frame *frame, struct larder_err *err);
/*
 * After CORRUPT: moves to the next whole frame with a higher sequence, wherever it is, and
 * believes its chain. 1 = there is one (take it with journal_walk_next), 0 = none: nothing moved.
 */
LARDER_MUST_USE int journal_walk_skip(struct journal_walk *walk, struct larder_err *err);
/*
 * After CORRUPT: was what should stand at walk->at on disk once? 1 when a whole frame behind
 * it has a durable mark beyond it; 0 when there is no proof. Does not move.
 */
LARDER_MUST_USE int journal_walk_proof(struct journal_walk *walk, struct larder_err *err);

#endif
