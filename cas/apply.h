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
 * that they need not be read again. CORRUPT when the index stands on another
 * history than the journal (then rebuild) or a pack cannot be read.
 */
LARDER_MUST_USE int apply_pending(struct larder_store *store,
    const struct pack_directory *const *fresh, size_t fresh_count, struct larder_err *err);
/* 1 when there is something to apply, 0 when not. */
LARDER_MUST_USE int apply_needed(struct larder_store *store, struct larder_err *err);

#endif
