#ifndef LARDER_JOURNAL_H
#define LARDER_JOURNAL_H

/*
 * The journal: what was committed, in order, per writer. Append, sync, read.
 * Rules in journal.c's head and TRUST.md 4.2, 4.3; bytes in cas/object/entry.h.
 *
 * Appending: journal_open takes the writer's lock file; many processes may have
 * it open. journal_append writes one entry under lock A and gives its place;
 * journal_sync returns when that entry is on disk, sharing the sync with
 * everybody who waits (lock S). Between them nothing is acknowledged. A handle
 * may be shared by threads.
 */
#include "cas/base/buf.h"
#include "cas/base/id.h"
#include "cas/object/entry.h"
#include "cas/types.h"

struct journal;

LARDER_MUST_USE int journal_open(struct journal **out, int root_fd, const struct id16 *store,
    const struct id16 *writer, struct larder_err *err);
void journal_close(struct journal *journal);

/* The end of an entry: where it is, and what the chain is after it. */
struct journal_place {
	uint64_t segment; /* first sequence of the segment's file */
	uint64_t offset;  /* end of the entry in it */
	uint64_t sequence;
	struct larder_id chain;
};
/*
 * What was once known to be durable up to here (an index has applied it): if the
 * journal turns out to end before, that is damage and not a torn tail. Before the
 * first append.
 */
void journal_prove(struct journal *journal, const struct journal_place *durable);
/*
 * The entry's time is `time_ns`, or just behind that of the entry before it if a clock
 * went back: the times of one writer rise. Nothing was written on failure, or what
 * was will never count. CORRUPT: the end of the journal is damaged. LIMIT: the body.
 */
LARDER_MUST_USE int journal_append(struct journal *journal, struct journal_place *place,
    const void *body, size_t body_len, int64_t time_ns, const struct id16 *intent,
    struct larder_err *err);
/* Any failure: the entry is not acknowledged, and the caller writes no more through this handle. */
LARDER_MUST_USE int journal_sync(
    struct journal *journal, const struct journal_place *place, struct larder_err *err);

/*
 * For who takes damaged journals as they are: what this boot knows of the ends of all journals is
 * forgotten, so that what cannot be read there does not stand in the way. Nobody else may have
 * the store open.
 */
LARDER_MUST_USE int journal_forget_ends(int root_fd, struct larder_err *err);
/* Has a sync through this handle failed, here or in an append that ended a segment? */
bool journal_has_failed(struct journal *journal);

/* ---- reading ---- */

/* Each writer that has a folder under journal/, in ascending order. */
typedef int (*journal_writer_fn)(void *context, const struct id16 *writer, struct larder_err *err);
LARDER_MUST_USE int journal_each_writer(
    int root_fd, journal_writer_fn fn, void *context, struct larder_err *err);

/*
 * Entries of one writer after `from` (NULL: from the beginning), up to what is
 * durable (torn tails are the end, not an error; TRUST.md 4.3), each with its
 * chain checked. *tail (may be NULL) gets the bytes after the last valid entry.
 *
 * NOT_FOUND: `from` is not in this journal, which has gone another way: an index
 * of another history. CORRUPT: damage with proof that it had been durable. `bad`
 * (may be NULL) then gets each damage as a sentence and reading goes on behind it
 * as far as CRCs allow; the answer at the end is CORRUPT all the same.
 *
 * Without `from` the journal alone decides what is a torn tail. Who has an index
 * compares its position afterwards: that the journal ends before it is damage.
 */
typedef int (*journal_entry_fn)(void *context, const struct entry_frame *frame,
    const struct journal_place *place, struct larder_err *err);
typedef void (*journal_bad_fn)(void *context, const char *sentence);
LARDER_MUST_USE int journal_read(int root_fd, const struct id16 *store, const struct id16 *writer,
    const struct journal_place *from, journal_entry_fn fn, journal_bad_fn bad, void *context,
    uint64_t *tail, struct larder_err *err);

/*
 * Cheap: is there anything durable after `from` (NULL: anything at all)? 1, 0.
 * NOT_FOUND: another history. CORRUPT: the journal ends before `from`. In the first
 * look after a boot 1 may turn out to be a torn tail.
 */
LARDER_MUST_USE int journal_has_more(int root_fd, const struct id16 *store,
    const struct id16 *writer, const struct journal_place *from, struct larder_err *err);

/* Bytes of all journals. */
LARDER_MUST_USE int journal_bytes(uint64_t *bytes, int root_fd, struct larder_err *err);

#endif
