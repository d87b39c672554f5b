/*
 * The order of durable steps.
 *
 *   1 packs      fsync, close, rename, each; then their folders
 *   2 journal    one entry that names the packs and says what else is new: appended
 *   3 journal    synced: this is the commit point
 *   4 index      applies what is durable
 *
 * 1. No step begins before the one above it is durable; OK is said behind the last.
 * 2. Who fails before 3 has left packs that no entry names: garbage. Who fails behind it
 *    has committed without having said so; the next open finds the entry.
 * 3. After a failed sync this handle writes nothing more: every later commit returns the
 *    first error. What the disk has is found out by the next open.
 * 4. Threads that commit at the same time share the sync of 3 (journal.c) and the
 *    transaction of 4: who comes later finds his entry applied.
 */
#include "cas/commit.h"

#include <assert.h>

#include "cas/apply.h"
#include "cas/base/clock.h"
#include "cas/base/err.h"
#include "cas/base/file.h"
#include "cas/base/mem.h"
#include "cas/journal.h"

/* What stays free: room for entries, for pages of the index, and to tell what is wrong. */
enum {
	SPACE_MARGIN = 1024 * 1024,
	SPACE_MARGIN_SMALL = 128 * 1024, /* for what adds no pack: forgetting goes on for longer */
};

/* ---- poison ---- */

static int
check_poison(struct larder_store *store, struct larder_err *err)
{
	int rc;

	pthread_mutex_lock(&store->commit_lock);
	rc = store->poison.status;
	if (rc < 0 && err != NULL)
		*err = store->poison;
	pthread_mutex_unlock(&store->commit_lock);
	return rc;
}

/* Returns rc. `err` may be NULL: then the sentence is a plain one. */
static int
poison(struct larder_store *store, int rc, const struct larder_err *err)
{
	pthread_mutex_lock(&store->commit_lock);
	if (store->poison.status == 0) {
		if (err != NULL && err->status == (enum larder_status)rc)
			store->poison = *err;
		else
			err_set(&store->poison, (enum larder_status)rc, "a sync failed");
		err_prefix(&store->poison, "writing stopped after a failed sync");
		err_hint(&store->poison, "open the store again to look at what the disk has");
	}
	pthread_mutex_unlock(&store->commit_lock);
	return rc;
}

/* ---- space ---- */

static int
check_space(struct larder_store *store, uint64_t bytes, uint64_t margin, struct larder_err *err)
{
	uint64_t left;
	int rc;

	rc = file_free_space(&left, store->root_fd, err);
	if (rc < 0)
		return rc;
	if (left > margin && left - margin >= bytes)
		return LARDER_OK;
	return err_set(err, LARDER_ERR_NO_SPACE,
	    "no space left: %llu bytes are free on the store's file system",
	    (unsigned long long)left);
}

/* ---- the journal of this handle ---- */

/* What the index has applied of this writer had been durable. */
static int
prove(struct larder_store *store, struct journal *journal, struct larder_err *err)
{
	struct index_position position;
	struct index_read *read;
	int rc;

	rc = index_read_begin(&read, store->index, err);
	if (rc < 0)
		return rc;
	rc = index_position_get(&position, read, &store->identity.writer, err);
	index_read_end(read);
	if (rc == 0)
		journal_prove(journal, &(struct journal_place) {
					   .segment = position.segment,
					   .offset = position.offset,
					   .sequence = position.sequence,
					   .chain = position.chain,
				       });
	return rc == LARDER_ERR_NOT_FOUND ? LARDER_OK : rc;
}

/* At the first write of the handle. */
static int
open_journal(struct larder_store *store, struct larder_err *err)
{
	struct journal *journal = NULL;
	bool known = false, changed = false;
	int rc = LARDER_OK;

	pthread_mutex_lock(&store->commit_lock);
	if (store->journal != NULL)
		goto out;
	known = store->identity.known;
	rc = identity_claim(&store->identity, &changed, store->root_fd, err);
	if (rc == 0)
		rc = journal_open(
		    &journal, store->root_fd, &store->config.id, &store->identity.writer, err);
	if (rc == 0)
		rc = prove(store, journal, err);
	if (rc == 0) {
		store->journal = journal;
		journal = NULL;
	}
out:
	pthread_mutex_unlock(&store->commit_lock);
	journal_close(journal);
	if (known && changed)
		store_notice(
		    store, "this store was copied, moved or restored: it has a new writer id");
	return rc;
}

/* ---- steps ---- */

static int
make_body(struct buf *body, const struct commit *commit, struct larder_err *err)
{
	int rc = LARDER_OK;

	for (size_t i = 0; rc == 0 && i < commit->pack_count; i++) {
		const struct pack_directory *d = pack_writer_directory(commit->packs[i]);
		const struct entry_pack pack = {
			.id = d->id,
			.file_len = d->file_len,
			.chunk_count = d->chunk_count,
		};

		rc = entry_op_pack(body, &pack);
	}
	if (rc == 0 && commit->operations != NULL)
		rc = buf_append(body, commit->operations->data, commit->operations->len);
	if (rc < 0)
		return buf_err(body, rc, err);
	/* The operations there are take a few KiB; ENTRY_OP_BODY is kept for those that will not.
	 */
	if (body->len > ENTRY_LEN_MAX)
		return err_set(err, LARDER_ERR_LIMIT,
		    "operations of %zu bytes in one commit: at most ENTRY_LEN_MAX (%d)", body->len,
		    ENTRY_LEN_MAX);
	return LARDER_OK;
}

static int
sync_packs(struct larder_store *store, const struct commit *commit, struct larder_err *err)
{
	struct id16 *ids;
	int rc = LARDER_OK;

	if (commit->pack_count == 0)
		return LARDER_OK;
	ids = mem_array(commit->pack_count, sizeof *ids);
	if (ids == NULL)
		return err_nomem(err);
	for (size_t i = 0; rc == 0 && i < commit->pack_count; i++) {
		ids[i] = *pack_writer_id(commit->packs[i]);
		rc = pack_writer_sync(commit->packs[i], err);
	}
	if (rc == 0)
		rc = pack_sync_dirs(store->root_fd, ids, commit->pack_count, err);
	mem_free(ids);
	return rc < 0 ? poison(store, rc, err) : LARDER_OK;
}

static int
write_journal(struct larder_store *store, struct commit *commit, const struct buf *body,
    struct larder_err *err)
{
	const struct id16 no_intent = { { 0 } };
	struct journal_place place;
	int rc;

	rc = journal_append(
	    store->journal, &place, body->data, body->len, clock_now_ns(), &no_intent, err);
	if (rc < 0) {
		bool poisoned = rc == LARDER_ERR_IO || journal_has_failed(store->journal);

		return poisoned ? poison(store, rc, err) : rc;
	}
	rc = journal_sync(store->journal, &place, err);
	if (rc < 0)
		return poison(store, rc, err);
	commit->journal_bytes = ENTRY_FRAME_HEAD_LEN + body->len + ENTRY_FRAME_TAIL_LEN;
	return LARDER_OK;
}

static int
apply(struct larder_store *store, const struct commit *commit, struct larder_err *err)
{
	struct apply run = {
		.store = store,
		.index = store->index,
		.hints = commit->hints,
		.context = commit->context,
		.fresh_count = commit->pack_count,
	};
	const struct pack_directory **fresh;
	int rc;

	fresh = mem_array(commit->pack_count + 1, sizeof *fresh);
	if (fresh == NULL)
		return err_nomem(err);
	for (size_t i = 0; i < commit->pack_count; i++)
		fresh[i] = pack_writer_directory(commit->packs[i]);
	run.fresh = fresh;
	rc = apply_run(&run, err);
	mem_free(fresh);
	if (rc == LARDER_ERR_NOT_FOUND) /* not a thing that is missing: the index is of no use */
		rc = err_set(err, LARDER_ERR_CORRUPT, "the index stands on another history");
	if (rc < 0)
		err_prefix(err, "committed, but not yet in the index");
	return rc;
}

int
commit_run(struct larder_store *store, struct commit *commit, struct larder_err *err)
{
	struct buf body;
	int rc;

	commit->journal_bytes = 0;
	buf_init(&body, 2 * ENTRY_LEN_MAX);
	rc = check_poison(store, err);
	if (rc == 0)
		rc = make_body(&body, commit, err);
	if (rc == 0 && body.len == 0) {
		buf_release(&body);
		return commit_hints(store, commit, err);
	}
	if (rc == 0)
		rc = check_space(store, body.len,
		    commit->pack_count > 0 ? SPACE_MARGIN : SPACE_MARGIN_SMALL, err);
	if (rc == 0)
		rc = open_journal(store, err);
	if (rc == 0)
		rc = sync_packs(store, commit, err);
	if (rc == 0)
		rc = write_journal(store, commit, &body, err);
	if (rc == 0)
		rc = apply(store, commit, err);
	buf_release(&body);
	return rc;
}

static int
write_hints(void *context, struct index_write *write, struct larder_err *err)
{
	struct commit *commit = context;

	return commit->hints(commit->context, write, err);
}

int
commit_hints(struct larder_store *store, struct commit *commit, struct larder_err *err)
{
	int rc;

	assert(commit->pack_count == 0);
	assert(commit->operations == NULL || commit->operations->len == 0);
	commit->journal_bytes = 0;
	rc = check_poison(store, err);
	if (rc == 0 && commit->hints != NULL)
		rc = index_update(store->index, write_hints, commit, err);
	return rc;
}

int
commit_space(struct larder_store *store, uint64_t bytes, struct larder_err *err)
{
	return check_space(store, bytes, SPACE_MARGIN, err);
}
