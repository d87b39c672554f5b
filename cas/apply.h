#ifndef LARDER_APPLY_H
#define LARDER_APPLY_H

/*
 * Journal entry -> index: the only code that changes what the index says.
 */
#include "cas/store.h"
#include "cas/types.h"

/*
 * Applies what is durable in every writer's journal and not yet applied.
 * `fresh` (may be NULL): directories of packs this process has just sealed, so
 * that they need not be read again.
 *
 * NOT_FOUND: the index stands on another history than the journal (then rebuild).
 * CORRUPT: the journal is damaged, or the index (index_is_doubtful tells). A pack
 * whose directory cannot be read is no failure: its chunks stay unknown, the user
 * gets a notice, and check will say it.
 */
LARDER_MUST_USE int apply_pending(struct larder_store *store,
    const struct pack_directory *const *fresh, size_t fresh_count, struct larder_err *err);
/* 1 when there is something to apply, 0 when not; failures as above. */
LARDER_MUST_USE int apply_needed(struct larder_store *store, struct larder_err *err);

/* Rows for the hint tables. May be called again from the start: it only writes through `write`. */
typedef int (*apply_hints_fn)(void *context, struct index_write *write, struct larder_err *err);

/* The same with everything that its callers inside want. */
struct apply {
	struct larder_store *store;
	struct index *index; /* the one to change: the store's, or a new one beside it */
	const struct pack_directory *const *fresh;
	size_t fresh_count;
	apply_hints_fn hints; /* beside the last entries, else in a transaction alone; or NULL */
	void *context;
	bool without_chunks;  /* reindex writes the chunks itself, sorted */
	bool tolerant;        /* damage in the journal is told and passed over */
	/* out */
	uint64_t entries, versions, damages;
	bool journal_damaged; /* some of the damages are in a journal */
	/* apply.c's own */
	unsigned waiting; /* writers with an entry that waits for another writer */
	bool waits_for_none;
};
LARDER_MUST_USE int apply_run(struct apply *apply, struct larder_err *err);

/*
 * The pack's directory, as long as it is the one that was committed (pack: from the
 * entry). CORRUPT and NOT_FOUND are this pack's own trouble.
 */
LARDER_MUST_USE int apply_read_directory(struct pack_directory *out, struct larder_store *store,
    const struct index_pack *pack, struct larder_err *err);

#endif
