#ifndef LARDER_COMMIT_H
#define LARDER_COMMIT_H

/*
 * The order of durable steps, and the only door to durability in a process:
 * packs are synced and renamed, their directories synced, then the journal entry
 * is appended and synced (the commit point), then the index applies it.
 */
#include "cas/base/buf.h"
#include "cas/store.h"
#include "cas/types.h"

struct commit {
	/* finished (pack_writer_finish); synced here; stay the caller's to close */
	struct pack_writer **packs;
	size_t pack_count;
	/* further operations (cas/object/entry.h), encoded; the PACK ones are added by commit */
	const struct buf *operations;
	/* Rows for the hint tables, written in the same index transaction where possible; may be
	 * NULL. May be called again from the start, so it only writes through `write`. */
	int (*hints)(void *context, struct index_write *write, struct larder_err *err);
	void *context;
	uint64_t journal_bytes; /* out: bytes the journal grew by */
};

/*
 * On OK everything is durable and applied. On failure nothing was acknowledged:
 * the packs may be there without an entry (garbage). A failed sync poisons the
 * store handle. LIMIT: more operations than one entry holds (ENTRY_LEN_MAX).
 */
LARDER_MUST_USE int commit_run(struct larder_store *store, struct commit *commit,
    struct larder_err *err);
/* Hints alone, without an entry (an unchanged put that learned new stat data). */
LARDER_MUST_USE int commit_hints(struct larder_store *store, struct commit *commit,
    struct larder_err *err);
/* statvfs before large writes: NO_SPACE when less than `bytes` and a margin are free. */
LARDER_MUST_USE int commit_space(
    struct larder_store *store, uint64_t bytes, struct larder_err *err);

#endif
