#ifndef LARDER_REINDEX_H
#define LARDER_REINDEX_H

/*
 * A new index from packs and journal. larder_reindex() is for the user; this is
 * for larder_store_open().
 */
#include "cas/store.h"
#include "cas/types.h"

/*
 * Opens store->index and brings it up to the journal; builds a new one, with a
 * notice, when it is absent, damaged, of another store or of another history.
 * CORRUPT: the journal is damaged. BUSY: it must be built, and another process
 * has the old one open for too long.
 */
LARDER_MUST_USE int reindex_open(struct larder_store *store, struct larder_err *err);

#endif
