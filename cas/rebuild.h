#ifndef LARDER_REBUILD_H
#define LARDER_REBUILD_H

/*
 * Filling a new, empty index with what journal and packs say. Where it comes from and
 * what becomes of it is reindex.c's business.
 */
#include "cas/store.h"
#include "cas/types.h"

struct placesort;

/* One rebuilding. Caller's storage: zeroed but for the first four, then rebuild_release(). */
struct rebuild {
	struct larder_store *store;
	struct index *index;              /* the new one, empty and scratch; the caller's */
	bool tolerant;                    /* damage is told and passed over; else it is CORRUPT */
	const struct larder_watch *watch; /* may be NULL */
	struct larder_reindex_result result; /* out */
	bool journal_damaged;                /* out: some of its damages are in a journal */
	/* rebuild.c's own */
	int64_t progress_ns; /* last told */
	struct larder_progress progress;
	struct index_position *stood; /* where the old index stood: the journal had been that far */
	size_t stood_count;
	struct placesort *sort;
};

/* What `old` has applied had been committed: a journal that ends before that is damaged. */
void rebuild_prove(struct rebuild *build, struct index *old);
/* Everything that is committed by now. CORRUPT: see tolerant. CANCELLED. */
LARDER_MUST_USE int rebuild_fill(struct rebuild *build, struct larder_err *err);
/* Once filled: what was committed since. */
LARDER_MUST_USE int rebuild_catch_up(struct rebuild *build, struct larder_err *err);
/* Tells progress now and then; CANCELLED when the caller wants to stop. */
LARDER_MUST_USE int rebuild_watch(struct rebuild *build, struct larder_err *err);
void rebuild_release(struct rebuild *build);

#endif
