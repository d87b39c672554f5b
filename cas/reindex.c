/*
 * A new index: built beside the old one, synced, put in its place.
 *
 * 1. It says what the journal says: entries through the same code as everywhere (apply.c),
 *    chunks of the packs that entries name, and of no others. What a crashed put left in
 *    packs/ stays unknown, so that a rebuilt index equals one that was never lost. Of equal
 *    chunks the one committed first counts, as in apply.c.
 * 2. `seen` and sketches are hints and begin anew: the next put reads every file once, and
 *    finds fewer relatives for its first versions.
 * 3. Nobody has the old index open when the new one takes its place: every handle of every
 *    process holds STORE_LOCK_OPEN shared while it lives, the swap holds it exclusive. So
 *    no process goes on with an index that others do not see, and numbers of packs, which
 *    differ between the two, are never mixed. Building takes STORE_LOCK_BUILD only; others
 *    go on meanwhile, and what they commit is applied before the swap.
 * 4. A crash leaves the old index, or none, or the new one; index.new and index.old are
 *    rubbish wherever they are found.
 *
 * Chunks go in sorted by id (placesort.c), because rows that are appended cost a fifth of
 * rows that are inserted.
 */
#include "cas/reindex.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cas/apply.h"
#include "cas/base/clock.h"
#include "cas/base/err.h"
#include "cas/base/file.h"
#include "cas/base/mem.h"
#include "cas/fetch.h"
#include "cas/journal.h"
#include "cas/placesort.h"

static const char index_name[] = "index", new_name[] = "index.new", old_name[] = "index.old";

enum {
	BATCH_ROWS = 64 * 1024, /* one transaction: some 1,200 pages when they are appended */
	WAIT_MS = 30 * 1000,    /* for other handles to be closed */
	WAIT_STEP_MS = 20,
	PROGRESS_MS = 100,
};

/* ---- folders ---- */

/* An index folder with all that is in it. What is absent is removed already. */
static int
remove_index(int parent_fd, const char *name, struct larder_err *err)
{
	char **names;
	size_t count;
	int fd, rc;

	rc = file_open(&fd, parent_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0, err);
	if (rc < 0)
		return rc == LARDER_ERR_NOT_FOUND ? LARDER_OK : rc;
	rc = file_list(&names, &count, fd, ".", err);
	for (size_t i = 0; rc == 0 && i < count; i++)
		rc = file_unlink(fd, names[i], err);
	mem_free(names);
	file_close(fd);
	if (rc == 0 && unlinkat(parent_fd, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
		rc = err_sys(err, "remove %s", name);
	if (rc < 0)
		err_prefix(err, "%s", name);
	return rc;
}

static int
swap_folders(int parent_fd, struct larder_err *err)
{
	int rc;

	rc = remove_index(parent_fd, old_name, err);
	if (rc == 0) {
		rc = file_rename(parent_fd, index_name, parent_fd, old_name, err);
		if (rc == LARDER_ERR_NOT_FOUND)
			rc = LARDER_OK;
	}
	if (rc == 0)
		rc = file_rename(parent_fd, new_name, parent_fd, index_name, err);
	if (rc == 0)
		rc = file_sync_dir(parent_fd, ".", err);
	if (rc == 0 && remove_index(parent_fd, old_name, NULL) < 0) {
		/* rubbish that the next build removes */
	}
	return rc;
}

static int
open_index(struct index **out, const struct larder_store *store, const char *name, bool create,
    bool scratch, struct larder_err *err)
{
	const struct index_options options = {
		.dir_fd = store->index_fd,
		.dir = name,
		.store = store->config.id,
		.create = create,
		.scratch = scratch,
	};

	return index_open(out, &options, err);
}

/* ---- a building ---- */

/* A building. */
struct build {
	struct larder_store *store;
	struct index *index; /* the new one */
	bool tolerant;
	const struct larder_watch *watch;
	int64_t progress_ns; /* last told */
	struct larder_progress progress;
	struct index_position *stood; /* where the old index stood: the journal had been that far */
	size_t stood_count;
	struct larder_reindex_result result;
	struct placesort *sort;
};

static int
check_watch(struct build *build, struct larder_err *err)
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
add_directory(struct build *build, uint32_t number, const struct pack_directory *directory,
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
add_pack(struct build *build, const struct pack_name *name, struct larder_err *err)
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
read_packs(struct build *build, struct larder_err *err)
{
	struct pack_list list = { 0 };
	int rc;

	rc = list_packs(&list, build->index, err);
	build->progress.files_total = list.count;
	for (size_t i = 0; i < list.count; i++)
		build->progress.bytes_total += list.packs[i].pack.file_len;
	for (size_t i = 0; rc == 0 && i < list.count; i++) {
		rc = check_watch(build, err);
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
write_chunks(struct build *build, struct larder_err *err)
{
	struct batch *batch = mem_alloc(sizeof *batch);
	int more, rc;

	if (batch == NULL)
		return err_nomem(err);
	do {
		more = fill_batch(batch, build->sort, err);
		rc = more < 0 ? more : check_watch(build, err);
		if (rc == 0)
			rc = index_update(build->index, write_batch, batch, err);
	} while (rc == 0 && more == 1);
	mem_free(batch);
	return rc;
}

static int
add_chunks(struct build *build, struct larder_err *err)
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
	struct build *build = context;
	struct index_position *bigger;

	bigger = mem_resize(build->stood, build->stood_count + 1, sizeof *bigger);
	if (bigger == NULL)
		return err_nomem(err);
	build->stood = bigger;
	bigger[build->stood_count++] = *position;
	return LARDER_OK;
}

/* As far as the old index can be read: it is a proof, and nothing else is taken from it. */
static void
keep_positions(struct build *build, struct index *old)
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
check_positions(struct build *build, struct larder_err *err)
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
			rc = LARDER_OK;
		}
	}
	index_read_end(read);
	return rc;
}

/* ---- building and swapping ---- */

static int
add_entries(struct build *build, bool without_chunks, struct larder_err *err)
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
	return rc;
}

/* index.new with all that is committed by now; closed again on failure. Under STORE_LOCK_BUILD. */
static int
build_index(struct build *build, struct larder_err *err)
{
	struct index_counts counts;
	struct index_read *read;
	int rc;

	rc = remove_index(build->store->index_fd, new_name, err);
	if (rc == 0)
		rc = open_index(&build->index, build->store, new_name, true, true, err);
	if (rc == 0)
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

static int
wait_a_little(struct build *build, struct larder_err *err)
{
	const struct timespec step = { .tv_nsec = (long)WAIT_STEP_MS * 1000000 };

	nanosleep(&step, NULL);
	return check_watch(build, err);
}

/* Until this handle is the only one, at most WAIT_MS. Only who holds STORE_LOCK_BUILD comes here,
 * so that no two handles wait for one another. */
static int
wait_for_others(struct build *build, struct larder_err *err)
{
	const int64_t until = clock_mono_ns() + (int64_t)WAIT_MS * 1000000;
	int rc;

	for (;;) {
		rc = file_lock(build->store->lock_fd, STORE_LOCK_OPEN, 1, true, false, "lock", err);
		if (rc != LARDER_ERR_BUSY)
			return rc;
		if (clock_mono_ns() >= until)
			break;
		rc = wait_a_little(build, err);
		if (rc < 0)
			return rc;
	}
	err_set(
	    err, LARDER_ERR_BUSY, "a new index waits for another process that uses the old one");
	err_hint(err, "end that process and try again");
	return LARDER_ERR_BUSY;
}

/* The new index in the place of the old one, and open in the handle. Nobody else has one open. */
static int
install(struct build *build, struct larder_err *err)
{
	struct larder_store *store = build->store;
	struct fetch *fetch;
	int rc;

	rc = add_entries(build, false, err); /* what was committed meanwhile */
	if (rc == 0)
		rc = index_sync(build->index, err);
	if (rc == 0)
		rc = fetch_open(
		    &fetch, store, err); /* the old one knows packs by their old numbers */
	if (rc < 0)
		return rc;
	fetch_close(store->fetch);
	store->fetch = fetch;
	index_close(build->index);
	build->index = NULL;
	index_close(store->index);
	store->index = NULL;
	rc = swap_folders(store->index_fd, err);
	return rc < 0 ? rc : open_index(&store->index, store, index_name, false, false, err);
}

static int
swap_in(struct build *build, struct larder_err *err)
{
	int rc, back;

	rc = wait_for_others(build, err);
	if (rc < 0)
		return rc;
	rc = install(build, err);
	back = file_lock(
	    build->store->lock_fd, STORE_LOCK_OPEN, 1, false, false, "lock", rc == 0 ? err : NULL);
	return rc == 0 ? back : rc;
}

/* Build and swap. Under STORE_LOCK_BUILD. */
static int
rebuild(struct build *build, struct larder_err *err)
{
	int rc;

	rc = build_index(build, err);
	if (rc == 0)
		rc = swap_in(build, err);
	index_close(build->index);
	build->index = NULL;
	if (rc < 0 && remove_index(build->store->index_fd, new_name, NULL) < 0) {
		/* rubbish that the next build removes */
	}
	mem_free(build->stood);
	build->stood = NULL;
	return rc;
}

static void
unlock_build(struct larder_store *store)
{
	if (file_unlock(store->lock_fd, STORE_LOCK_BUILD, 1, "lock", NULL) < 0) {
		/* cannot fail for a lock that is held */
	}
}

/*
 * While somebody else builds, nobody waits here with STORE_LOCK_OPEN: the builder's swap waits
 * for that. BUSY: the handle has the old index open and cannot let go of it.
 */
static int
lock_build(struct larder_store *store, struct larder_err *err)
{
	struct fetch *fetch;
	int rc;

	rc = file_lock(store->lock_fd, STORE_LOCK_BUILD, 1, true, false, "lock", err);
	if (rc != LARDER_ERR_BUSY)
		return rc;
	if (store->index != NULL) {
		rc = err_set(err, LARDER_ERR_BUSY, "another process is building a new index");
		err_hint(err, "try again when it has ended");
		return rc;
	}
	rc = fetch_open(&fetch, store, err); /* the old one may know packs by their old numbers */
	if (rc < 0)
		return rc;
	fetch_close(store->fetch);
	store->fetch = fetch;
	rc = file_unlock(store->lock_fd, STORE_LOCK_OPEN, 1, "lock", err);
	if (rc == 0)
		rc = file_lock(store->lock_fd, STORE_LOCK_BUILD, 1, true, true, "lock", err);
	if (rc < 0)
		return rc;
	rc = file_lock(store->lock_fd, STORE_LOCK_OPEN, 1, false, true, "lock", err);
	if (rc < 0)
		unlock_build(store);
	return rc;
}

/* ---- open ---- */

/* 1: open and up to date. 0: it must be built, *why says why. Where the old one stood is kept. */
static int
try_index(struct build *build, struct larder_err *why, struct larder_err *err)
{
	struct larder_store *store = build->store;
	int rc;

	*why = (struct larder_err) { 0 };
	rc = open_index(&store->index, store, index_name, false, false, why);
	if (rc == 0)
		rc = apply_needed(store, why);
	if (rc == 1)
		rc = apply_pending(store, NULL, 0, why);
	if (rc == 0)
		return 1;
	if (store->index == NULL && rc == LARDER_ERR_NOT_FOUND) {
		err_set(why, LARDER_ERR_NOT_FOUND, "absent");
		return 0;
	}
	if (rc == LARDER_ERR_NOT_FOUND)
		keep_positions(build, store->index);
	else if (rc != LARDER_ERR_CORRUPT ||
		 (store->index != NULL && !index_is_doubtful(store->index))) {
		/* the machine; or the journal, and then the index is not to blame */
		if (err != NULL)
			*err = *why;
		build->stood_count = 0;
	} else {
		rc = LARDER_ERR_NOT_FOUND;
	}
	index_close(store->index);
	store->index = NULL;
	return rc == LARDER_ERR_NOT_FOUND ? 0 : rc;
}

static int
count_writer(void *context, const struct id16 *writer, struct larder_err *err)
{
	struct larder_store *store = context;

	return journal_has_more(store->root_fd, &store->config.id, writer, NULL, err);
}

/* Nothing was ever committed: an empty index is made where it belongs. */
static int
make_first(struct larder_store *store, struct larder_err *err)
{
	int rc;

	rc = open_index(&store->index, store, index_name, true, false, err);
	if (rc == LARDER_ERR_CORRUPT) { /* half of one */
		rc = remove_index(store->index_fd, index_name, err);
		if (rc == 0)
			rc = open_index(&store->index, store, index_name, true, false, err);
	}
	return rc;
}

static int
build_quietly_or_tell(struct build *build, const struct larder_err *why, struct larder_err *err)
{
	int64_t start = clock_mono_ns();
	int rc;

	rc = journal_each_writer(build->store->root_fd, count_writer, build->store, err);
	if (rc < 0)
		return rc;
	if (rc == 0 && build->stood_count == 0 && why->status == LARDER_ERR_NOT_FOUND)
		return make_first(build->store, err);
	rc = rebuild(build, err);
	if (rc == 0)
		store_notice(build->store,
		    "index: %s; rebuilt from packs and journal (%llu chunks in %.1f s)",
		    why->message, (unsigned long long)build->result.chunks,
		    (double)(clock_mono_ns() - start) / 1e9);
	return rc;
}

int
reindex_open(struct larder_store *store, struct larder_err *err)
{
	struct build build = { .store = store };
	struct larder_err why;
	int rc;

	rc = try_index(&build, &why, err);
	if (rc != 0)
		goto out;
	rc = lock_build(store, err);
	if (rc < 0)
		goto out;
	/* Perhaps somebody has built it while we waited. */
	build.stood_count = 0;
	rc = try_index(&build, &why, err);
	if (rc == 0)
		rc = build_quietly_or_tell(&build, &why, err);
	unlock_build(store);
out:
	mem_free(build.stood);
	return rc < 0 ? rc : LARDER_OK;
}

/* ---- the public verb ---- */

int
larder_reindex(struct larder_store *store, const struct larder_watch *watch,
    struct larder_reindex_result *result, struct larder_err *err)
{
	struct build build = { .store = store, .tolerant = true, .watch = watch };
	struct index *old = NULL;
	int rc;

	rc = store_enter_bare(store, err);
	if (rc < 0)
		return rc;
	rc = lock_build(store, err);
	if (rc < 0)
		return rc;
	if (store->index != NULL) {
		keep_positions(&build, store->index);
	} else if (open_index(&old, store, index_name, false, false, NULL) == 0) {
		keep_positions(&build, old);
		index_close(old);
	}
	rc = rebuild(&build, err);
	unlock_build(store);
	if (result != NULL)
		*result = build.result;
	return rc;
}
