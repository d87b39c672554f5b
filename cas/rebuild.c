/*
 * Filling a new index.
 *
 * 1. It says what the journal says: entries through the same code as everywhere (apply.c),
 *    chunks of the packs that entries name, and of no others. What a crashed put left in
 *    packs/ stays unknown, so that a rebuilt index equals one that was never lost. Of equal
 *    chunks the one committed first counts, as in apply.c.
 * 2. `seen` and sketches are hints and begin anew: the next put reads every file once, and
 *    finds fewer relatives for its first versions.
 * 3. Memory does not grow with the store: chunks go in sorted by id (placesort.c), because
 *    rows that are appended cost a fifth of rows that are inserted.
 */
#include "cas/rebuild.h"

#include "cas/apply.h"
#include "cas/base/clock.h"
#include "cas/base/err.h"
#include "cas/base/mem.h"
#include "cas/placesort.h"

enum {
	BATCH_ROWS = 64 * 1024, /* one transaction: some 1,200 pages when they are appended */
	PROGRESS_MS = 100,
};

/* ---- watching ---- */

int
rebuild_watch(struct rebuild *build, struct larder_err *err)
{
	const struct larder_watch *watch = build->watch;
	int64_t now;

	if (watch == NULL)
		return LARDER_OK;
	if (watch->cancel != NULL && *watch->cancel != 0)
		return err_set(err, LARDER_ERR_CANCELLED, "interrupted");
	now = clock_mono_ns();
	if (watch->on_progress != NULL &&
	    now - build->progress_ns >= (int64_t)PROGRESS_MS * 1000000) {
		build->progress_ns = now;
		watch->on_progress(watch->context, &build->progress);
	}
	return LARDER_OK;
}

/* ---- reading packs ---- */

/* Numbers and ids of the packs that the journal names, in the order of their numbers. */
struct pack_list {
	struct pack_name {
		uint32_t number;
		struct index_pack pack;
	} *packs;
	size_t count, room;
};

static int
list_pack(void *context, uint32_t number, const struct index_pack *pack, struct larder_err *err)
{
	struct pack_list *list = context;

	if (list->count == list->room) {
		size_t room = list->room < 64 ? 64 : 2 * list->room;
		struct pack_name *bigger = mem_resize(list->packs, room, sizeof *bigger);

		if (bigger == NULL)
			return err_nomem(err);
		list->packs = bigger;
		list->room = room;
	}
	list->packs[list->count++] = (struct pack_name) { .number = number, .pack = *pack };
	return LARDER_OK;
}

static int
list_packs(struct pack_list *list, struct index *index, struct larder_err *err)
{
	struct index_read *read;
	int rc;

	rc = index_read_begin(&read, index, err);
	if (rc < 0)
		return rc;
	rc = index_pack_each(read, list_pack, list, err);
	index_read_end(read);
	return rc;
}

static int
add_directory(struct rebuild *build, uint32_t number, const struct pack_directory *directory,
    struct larder_err *err)
{
	struct index_place place = { .pack = number };
	struct pack_place at;
	uint32_t segment = 0;
	int rc = LARDER_OK;

	for (uint32_t i = 0; rc == 0 && i < directory->chunk_count; i++) {
		pack_directory_place(&at, directory, i, &segment);
		place.segment_at = at.segment_at;
		place.chunk_at = at.chunk_at;
		place.chunk_len = at.chunk_len;
		place.depth = at.depth;
		place.type = at.type;
		rc = placesort_add(build->sort, &directory->ids[i], &place, err);
	}
	return rc;
}

static int
add_pack(struct rebuild *build, const struct pack_name *name, struct larder_err *err)
{
	struct pack_directory directory = { 0 };
	struct larder_err why = { 0 };
	int rc;

	rc = apply_read_directory(&directory, build->store, &name->pack, &why);
	if (rc == LARDER_ERR_CORRUPT || rc == LARDER_ERR_NOT_FOUND) {
		build->result.damages++;
		store_notice(build->store, "%s: its chunks are not in the index; run larder check",
		    why.message);
		return LARDER_OK;
	}
	if (rc < 0) {
		if (err != NULL)
			*err = why;
		return rc;
	}
	build->result.packs++;
	build->progress.files_done++;
	build->progress.bytes_done += name->pack.file_len;
	rc = add_directory(build, name->number, &directory, err);
	pack_directory_release(&directory);
	return rc;
}

static int
read_packs(struct rebuild *build, struct larder_err *err)
{
	struct pack_list list = { 0 };
	int rc;

	rc = list_packs(&list, build->index, err);
	build->progress.files_total = list.count;
	for (size_t i = 0; i < list.count; i++)
		build->progress.bytes_total += list.packs[i].pack.file_len;
	for (size_t i = 0; rc == 0 && i < list.count; i++) {
		rc = rebuild_watch(build, err);
		if (rc == 0)
			rc = add_pack(build, &list.packs[i], err);
	}
	mem_free(list.packs);
	return rc;
}

/* ---- writing chunks ---- */

/* One transaction. */
struct batch {
	size_t count;
	struct larder_id ids[BATCH_ROWS];
	struct index_place places[BATCH_ROWS];
};

static int
write_batch(void *context, struct index_write *write, struct larder_err *err)
{
	const struct batch *batch = context;
	int rc = 0;

	for (size_t i = 0; rc >= 0 && i < batch->count; i++)
		rc = index_chunk_append(write, &batch->ids[i], &batch->places[i], err);
	return rc < 0 ? rc : LARDER_OK;
}

/* As many rows as a transaction takes: 1 = there may be more. */
static int
fill_batch(struct batch *batch, struct placesort *sort, struct larder_err *err)
{
	int rc = 1;

	for (batch->count = 0; batch->count < BATCH_ROWS; batch->count++) {
		rc = placesort_next(
		    &batch->ids[batch->count], &batch->places[batch->count], sort, err);
		if (rc != 1)
			break;
	}
	return rc;
}

static int
write_chunks(struct rebuild *build, struct larder_err *err)
{
	struct batch *batch = mem_alloc(sizeof *batch);
	int more, rc;

	if (batch == NULL)
		return err_nomem(err);
	do {
		more = fill_batch(batch, build->sort, err);
		rc = more < 0 ? more : rebuild_watch(build, err);
		if (rc == 0)
			rc = index_update(build->index, write_batch, batch, err);
	} while (rc == 0 && more == 1);
	mem_free(batch);
	return rc;
}

static int
add_chunks(struct rebuild *build, struct larder_err *err)
{
	int rc;

	rc = placesort_open(&build->sort, build->store->root_fd, PLACESORT_ROWS, err);
	if (rc == 0)
		rc = read_packs(build, err);
	if (rc == 0)
		rc = write_chunks(build, err);
	placesort_close(build->sort);
	build->sort = NULL;
	return rc;
}

/* ---- where the old index stood ---- */

static int
keep_position(void *context, const struct index_position *position, struct larder_err *err)
{
	struct rebuild *build = context;
	struct index_position *bigger;

	bigger = mem_resize(build->stood, build->stood_count + 1, sizeof *bigger);
	if (bigger == NULL)
		return err_nomem(err);
	build->stood = bigger;
	bigger[build->stood_count++] = *position;
	return LARDER_OK;
}

/* As far as the old index can be read: it is a proof, and nothing else is taken from it. */
void
rebuild_prove(struct rebuild *build, struct index *old)
{
	struct index_read *read;

	if (index_read_begin(&read, old, NULL) < 0)
		return;
	if (index_position_each(read, keep_position, build, NULL) < 0) {
		/* what was read so far is true: every value has its checksum */
	}
	index_read_end(read);
}

/* A journal that ends before what an index had applied has lost committed entries. */
static int
check_positions(struct rebuild *build, struct larder_err *err)
{
	struct index_position now;
	struct index_read *read;
	char hex[ID16_HEX_LEN + 1];
	int rc;

	rc = index_read_begin(&read, build->index, err);
	for (size_t i = 0; rc == 0 && i < build->stood_count; i++) {
		const struct index_position *stood = &build->stood[i];

		rc = index_position_get(&now, read, &stood->writer, err);
		if (rc == LARDER_ERR_NOT_FOUND)
			now = (struct index_position) { 0 };
		else if (rc < 0)
			break;
		rc = LARDER_OK;
		if (now.sequence >= stood->sequence)
			continue;
		id16_to_hex(hex, &stood->writer);
		rc = err_set(err, LARDER_ERR_CORRUPT,
		    "journal/%s ends at entry %llu, but %llu had been committed", hex,
		    (unsigned long long)now.sequence, (unsigned long long)stood->sequence);
		err_hint(err, "larder reindex takes the journal as it is; entries are missing");
		if (build->tolerant) {
			store_notice(build->store,
			    "journal/%s ends at entry %llu, but %llu had been "
			    "committed",
			    hex, (unsigned long long)now.sequence,
			    (unsigned long long)stood->sequence);
			build->result.damages++;
			build->journal_damaged = true;
			rc = LARDER_OK;
		}
	}
	index_read_end(read);
	return rc;
}

/* ---- all of it ---- */

static int
add_entries(struct rebuild *build, bool without_chunks, struct larder_err *err)
{
	struct apply apply = {
		.store = build->store,
		.index = build->index,
		.tolerant = build->tolerant,
		.without_chunks = without_chunks,
	};
	int rc;

	rc = apply_run(&apply, err);
	build->result.entries += apply.entries;
	build->result.versions += apply.versions;
	build->result.damages += apply.damages;
	build->journal_damaged = build->journal_damaged || apply.journal_damaged;
	return rc;
}

int
rebuild_fill(struct rebuild *build, struct larder_err *err)
{
	struct index_counts counts;
	struct index_read *read;
	int rc;

	rc = add_entries(build, true, err);
	if (rc == 0)
		rc = add_chunks(build, err);
	if (rc == 0)
		rc = check_positions(build, err);
	if (rc < 0)
		return rc;
	rc = index_read_begin(&read, build->index, err);
	if (rc < 0)
		return rc;
	rc = index_counts_get(&counts, read, err);
	index_read_end(read);
	if (rc == 0)
		build->result.chunks = counts.chunks;
	return rc;
}

int
rebuild_catch_up(struct rebuild *build, struct larder_err *err)
{
	return add_entries(build, false, err);
}

void
rebuild_release(struct rebuild *build)
{
	mem_free(build->stood);
	build->stood = NULL;
	build->stood_count = 0;
}
