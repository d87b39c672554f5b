#ifndef LARDER_APPLY_BATCH_H
#define LARDER_APPLY_BATCH_H

/*
 * One writer's entries on their way into the index: gathered, then written in one
 * transaction together with the position behind them. For apply.c only.
 */
#include "cas/apply.h"
#include "cas/journal.h"

struct batch_entry;
struct batch_rows;

struct batch {
	struct apply *apply;
	struct id16 writer;
	bool stands; /* the index has applied something of this writer, namely up to: */
	struct index_position position;
	bool with_hints; /* the next transaction takes apply's hints along */

	/* apply_batch.c's own */
	struct buf bodies; /* operations of the entries */
	struct batch_entry *entries;
	size_t entry_count;
	struct batch_rows **rows; /* each on its own: a directory pointed to does not move */
	size_t rows_count, rows_room;
	size_t chunk_count, operation_count;
	size_t written; /* entries that the transaction wrote */
	bool waits;     /* the entry behind them waits for another writer */
	bool stale;     /* another process was faster */
	struct buf text; /* strings with their NUL, for one operation */
};

/* Reasons to stop reading this writer's journal, which are no failures. */
enum batch_stop {
	BATCH_STALE = 1, /* another process was faster: read again from where it is */
	BATCH_WAITS = 2, /* go on with the other writers */
};

void batch_init(struct batch *b, struct apply *apply, const struct id16 *writer);
void batch_release(struct batch *b);
void batch_clear(struct batch *b);

/* Is there no room for one more entry? Then flush first. */
bool batch_is_full(const struct batch *b, size_t body_len);
/*
 * All chunks of a pack, in as many transactions as they need; the last one stays open.
 * directory: `own`, which is taken over whatever comes out, or else `lent`; neither: only
 * the pack's own row. May stop like batch_flush().
 */
LARDER_MUST_USE int batch_add_pack(struct batch *b, const struct index_pack *pack,
    const struct pack_directory *lent, struct pack_directory *own, struct larder_err *err);
/* Behind its packs. The operations have been decoded once. */
LARDER_MUST_USE int batch_add_entry(struct batch *b, const struct entry_frame *frame,
    const struct journal_place *place, size_t operation_count, struct larder_err *err);
/* Writes what there is. A positive answer is an enum batch_stop. */
LARDER_MUST_USE int batch_flush(struct batch *b, struct larder_err *err);

#endif
