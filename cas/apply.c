/*
 * Applying the journal to the index.
 *
 * 1. Only what is durable is applied (journal_read.c), each writer's entries in order, each
 *    entry together with the position behind it in one transaction (apply_batch.c).
 * 2. Who finds that another process was faster reads the journal again from where that one
 *    got to.
 * 3. Writers are applied one after the other, so a version may be forgotten by one before
 *    the other one's entry that made it was applied. Such an entry waits, and its writer
 *    with it, until the others are through; only if that does not help, the version is
 *    one that was lost, and there is nothing to forget.
 */
#include "cas/apply.h"

#include <string.h>

#include "cas/apply_batch.h"
#include "cas/base/err.h"
#include "cas/journal.h"

/* ---- packs ---- */

static const struct pack_directory *
find_fresh(const struct apply *apply, const struct id16 *id)
{
	for (size_t i = 0; i < apply->fresh_count; i++)
		if (memcmp(apply->fresh[i]->id.bytes, id->bytes, ID16_LEN) == 0)
			return apply->fresh[i];
	return NULL;
}

static void
tell_bad_pack(struct apply *apply, const struct larder_err *why)
{
	apply->damages++;
	store_notice(
	    apply->store, "%s: its chunks are not in the index; run larder check", why->message);
}

int
apply_read_directory(struct pack_directory *out, struct larder_store *store,
    const struct index_pack *pack, struct larder_err *err)
{
	char path[PACK_PATH_LEN];
	int rc;

	rc = pack_directory_read(out, store->packs, &pack->id, err);
	if (rc < 0)
		return rc;
	if (out->file_len == pack->file_len && out->chunk_count == pack->chunk_count)
		return LARDER_OK;
	pack_path(path, &pack->id);
	rc = err_set(err, LARDER_ERR_CORRUPT,
	    "%s: %llu bytes with %u chunks, but %llu with %u were committed", path,
	    (unsigned long long)out->file_len, out->chunk_count, (unsigned long long)pack->file_len,
	    pack->chunk_count);
	pack_directory_release(out);
	return rc;
}

static int
take_pack(struct batch *b, const struct entry_pack *op, struct larder_err *err)
{
	const struct index_pack pack = {
		.id = op->id,
		.file_len = op->file_len,
		.chunk_count = op->chunk_count,
	};
	const struct pack_directory *lent = find_fresh(b->apply, &op->id);
	struct pack_directory own = { 0 };
	struct larder_err why = { 0 };
	int rc;

	if (b->apply->without_chunks)
		return batch_add_pack(b, &pack, NULL, NULL, err);
	if (lent != NULL)
		return batch_add_pack(b, &pack, lent, NULL, err);
	rc = apply_read_directory(&own, b->apply->store, &pack, &why);
	if (rc == 0)
		return batch_add_pack(b, &pack, NULL, &own, err);
	if (rc != LARDER_ERR_CORRUPT && rc != LARDER_ERR_NOT_FOUND) {
		if (err != NULL)
			*err = why;
		return rc;
	}
	tell_bad_pack(b->apply, &why);
	return batch_add_pack(b, &pack, NULL, NULL, err);
}

/* ---- entries ---- */

/* One writer's journal. */
struct reading {
	struct batch batch;
	bool failed; /* taking an entry failed, not reading it */
};

/* All operations decode, so that writing them cannot fail for their sake. *count: how many. */
static int
check_operations(
    size_t *count, struct apply *apply, const struct entry_frame *frame, struct larder_err *err)
{
	struct cursor body = cursor_of(frame->body, frame->body_len);
	struct entry_op op;
	int rc;

	for (*count = 0; (rc = entry_op_next(&body, &op, err)) == 1; (*count)++) {
		if (op.type == ENTRY_OP_BODY)
			return err_set(err, LARDER_ERR_VERSION,
			    "an entry whose operations are in a pack needs a newer larder");
		apply->versions += op.type == ENTRY_OP_VERSION;
	}
	return rc;
}

static int
take_packs(struct batch *b, const struct entry_frame *frame, struct larder_err *err)
{
	struct cursor body = cursor_of(frame->body, frame->body_len);
	struct entry_op op;
	int rc;

	while ((rc = entry_op_next(&body, &op, err)) == 1) {
		if (op.type != ENTRY_OP_PACK)
			continue;
		rc = take_pack(b, &op.pack, err);
		if (rc != 0)
			return rc;
	}
	return rc;
}

static int
take_entry(void *context, const struct entry_frame *frame, const struct journal_place *place,
    struct larder_err *err)
{
	struct reading *reading = context;
	struct batch *b = &reading->batch;
	struct entry_frame nothing = *frame;
	size_t count;
	int rc;

	if (batch_is_full(b, frame->body_len)) {
		rc = batch_flush(b, err);
		if (rc != 0)
			goto out;
	}
	rc = check_operations(&count, b->apply, frame, err);
	if (rc == LARDER_ERR_CORRUPT && b->apply->tolerant) {
		store_notice(b->apply->store, "journal entry %llu is damaged and left out",
		    (unsigned long long)frame->sequence);
		b->apply->damages++;
		b->apply->journal_damaged = true;
		nothing.body_len = 0; /* the index goes on behind it */
		return batch_add_entry(b, &nothing, place, 0, err);
	}
	if (rc == 0)
		rc = take_packs(b, frame, err);
	if (rc == 0)
		rc = batch_add_entry(b, frame, place, count, err);
out:
	if (rc < 0) {
		reading->failed = true;
		err_prefix(err, "journal entry %llu", (unsigned long long)frame->sequence);
	}
	return rc;
}

static void
tell_bad_journal(void *context, const char *sentence)
{
	struct reading *reading = context;

	reading->batch.apply->damages++;
	reading->batch.apply->journal_damaged = true;
	store_notice(reading->batch.apply->store, "%s", sentence);
}

/* ---- all writers ---- */

static int
read_position(struct index_position *out, struct index *index, const struct id16 *writer,
    struct larder_err *err)
{
	struct index_read *read;
	int rc;

	rc = index_read_begin(&read, index, err);
	if (rc < 0)
		return rc;
	rc = index_position_get(out, read, writer, err);
	index_read_end(read);
	return rc;
}

static struct journal_place
place_of(const struct index_position *position)
{
	return (struct journal_place) {
		.segment = position->segment,
		.offset = position->offset,
		.sequence = position->sequence,
		.chain = position->chain,
	};
}

/* 1 there is more than the index has, 0 not; *stands and *position: where it is. */
static int
look_at(struct index_position *position, bool *stands, struct larder_store *store,
    struct index *index, const struct id16 *writer, struct larder_err *err)
{
	struct journal_place from;
	int rc;

	rc = read_position(position, index, writer, err);
	if (rc < 0 && rc != LARDER_ERR_NOT_FOUND)
		return rc;
	*stands = rc == 0;
	if (*stands)
		from = place_of(position);
	return journal_has_more(
	    store->root_fd, &store->config.id, writer, *stands ? &from : NULL, err);
}

/* One reading of the journal from where the index is, to its end or to a reason to stop. */
static int
read_on(struct reading *reading, struct larder_err *err)
{
	struct batch *b = &reading->batch;
	struct larder_store *store = b->apply->store;
	bool own = memcmp(b->writer.bytes, store->identity.writer.bytes, ID16_LEN) == 0;
	struct journal_place from;
	int rc;

	if (b->stands)
		from = place_of(&b->position);
	reading->failed = false;
	rc = journal_read(store->root_fd, &store->config.id, &b->writer, b->stands ? &from : NULL,
	    take_entry, b->apply->tolerant ? tell_bad_journal : NULL, reading, NULL, err);
	if (rc == LARDER_ERR_CORRUPT && b->apply->tolerant && !reading->failed)
		rc = LARDER_OK; /* told */
	if (rc != 0)
		return rc;
	b->with_hints = own && b->apply->hints != NULL;
	return batch_flush(b, err);
}

static int
apply_writer(void *context, const struct id16 *writer, struct larder_err *err)
{
	struct apply *apply = context;
	struct reading reading;
	struct batch *b = &reading.batch;
	int rc;

	batch_init(b, apply, writer);
	do {
		rc = look_at(&b->position, &b->stands, apply->store, apply->index, writer, err);
		if (rc == LARDER_ERR_CORRUPT && apply->tolerant)
			rc = 1; /* reading tells it */
		if (rc == 1) {
			batch_clear(b);
			rc = read_on(&reading, err);
		}
	} while (rc == BATCH_STALE);
	batch_release(b);
	if (rc == BATCH_WAITS) {
		apply->waiting++;
		rc = LARDER_OK;
	}
	return rc;
}

/* Also a writer whose journal is not there any more had one. */
static int
check_position_there(void *context, const struct index_position *position, struct larder_err *err)
{
	const struct larder_store *store = context;
	struct journal_place from = place_of(position);
	int rc;

	rc = journal_has_more(store->root_fd, &store->config.id, &position->writer, &from, err);
	return rc < 0 ? rc : LARDER_OK;
}

static int
check_positions(struct larder_store *store, struct index *index, struct larder_err *err)
{
	struct index_read *read;
	int rc;

	rc = index_read_begin(&read, index, err);
	if (rc < 0)
		return rc;
	rc = index_position_each(read, check_position_there, store, err);
	index_read_end(read);
	return rc;
}

static int
write_hints(void *context, struct index_write *write, struct larder_err *err)
{
	struct apply *apply = context;

	return apply->hints(apply->context, write, err);
}

static int
count_writer(void *context, const struct id16 *writer, struct larder_err *err)
{
	unsigned *count = context;

	(void)writer, (void)err;
	(*count)++;
	return 0;
}

/* All writers, in rounds, as long as some wait for others (3). */
static int
apply_writers(struct apply *apply, struct larder_err *err)
{
	unsigned writers = 0;
	uint64_t before;
	int rc;

	rc = journal_each_writer(apply->store->root_fd, count_writer, &writers, err);
	if (rc < 0)
		return rc;
	apply->waits_for_none = writers <= 1;
	do {
		before = apply->entries;
		apply->waiting = 0;
		rc = journal_each_writer(apply->store->root_fd, apply_writer, apply, err);
	} while (rc == 0 && apply->waiting > 0 && apply->entries > before);
	if (rc == 0 && apply->waiting > 0) {
		apply->waits_for_none = true;
		rc = journal_each_writer(apply->store->root_fd, apply_writer, apply, err);
	}
	return rc;
}

int
apply_run(struct apply *apply, struct larder_err *err)
{
	int rc;

	rc = apply_writers(apply, err);
	if (rc == 0 && apply->hints != NULL)
		rc = index_update(apply->index, write_hints, apply, err);
	return rc;
}

int
apply_pending(struct larder_store *store, const struct pack_directory *const *fresh,
    size_t fresh_count, struct larder_err *err)
{
	struct apply apply = {
		.store = store,
		.index = store->index,
		.fresh = fresh,
		.fresh_count = fresh_count,
	};

	return apply_run(&apply, err);
}

static int
writer_needs(void *context, const struct id16 *writer, struct larder_err *err)
{
	struct larder_store *store = context;
	struct index_position position;
	bool stands;

	return look_at(&position, &stands, store, store->index, writer, err);
}

int
apply_needed(struct larder_store *store, struct larder_err *err)
{
	int rc;

	rc = check_positions(store, store->index, err);
	if (rc < 0)
		return rc;
	return journal_each_writer(store->root_fd, writer_needs, store, err);
}
