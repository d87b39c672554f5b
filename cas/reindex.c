/*
 * A new index: built beside the old one, synced, put in its place.
 *
 * 1. Nobody has the old index open when the new one takes its place: every handle of every
 *    process holds STORE_LOCK_OPEN shared while it lives, the swap holds it exclusive. So
 *    no process goes on with an index that others do not see, and numbers of packs, which
 *    differ between the two, are never mixed. Building takes STORE_LOCK_BUILD only; others
 *    go on meanwhile, and what they commit is applied before the swap.
 * 2. A crash leaves the old index, or none, or the new one; index.new and index.old are
 *    rubbish wherever they are found.
 *
 * What goes into it is rebuild.c's business.
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
#include "cas/rebuild.h"

static const char index_name[] = "index", new_name[] = "index.new", old_name[] = "index.old";

enum {
	WAIT_MS = 30 * 1000, /* for other handles to be closed */
	WAIT_STEP_MS = 20,
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

/* ---- building and swapping ---- */

/* index.new, with all that is committed by now. Under STORE_LOCK_BUILD. */
static int
build_index(struct rebuild *build, struct larder_err *err)
{
	int rc;

	rc = remove_index(build->store->index_fd, new_name, err);
	if (rc == 0)
		rc = open_index(&build->index, build->store, new_name, true, true, err);
	return rc == 0 ? rebuild_fill(build, err) : rc;
}

static int
wait_a_little(struct rebuild *build, struct larder_err *err)
{
	const struct timespec step = { .tv_nsec = (long)WAIT_STEP_MS * 1000000 };

	nanosleep(&step, NULL);
	return rebuild_watch(build, err);
}

/* Until this handle is the only one, at most WAIT_MS. Only who holds STORE_LOCK_BUILD comes here,
 * so that no two handles wait for one another. */
static int
wait_for_others(struct rebuild *build, struct larder_err *err)
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

/*
 * The user takes a damaged journal as it is: it is left alone from now on, and the next entry
 * begins another one. Nobody else has the store open.
 */
static int
leave_journals(struct larder_store *store, struct larder_err *err)
{
	int rc;

	pthread_mutex_lock(&store->commit_lock);
	journal_close(store->journal);
	store->journal = NULL;
	rc = identity_forget(&store->identity, store->root_fd, err);
	if (rc == 0)
		rc = journal_forget_ends(store->root_fd, err);
	pthread_mutex_unlock(&store->commit_lock);
	return rc;
}

/* The new index in the place of the old one, and open in the handle. Nobody else has one open. */
static int
install(struct rebuild *build, struct larder_err *err)
{
	struct larder_store *store = build->store;
	struct fetch *fetch;
	int rc;

	rc = rebuild_catch_up(build, err); /* what was committed meanwhile */
	if (rc == 0 && build->journal_damaged)
		rc = leave_journals(store, err);
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
swap_in(struct rebuild *build, struct larder_err *err)
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
rebuild(struct rebuild *build, struct larder_err *err)
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
	rebuild_release(build);
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
try_index(struct rebuild *build, struct larder_err *why, struct larder_err *err)
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
		rebuild_prove(build, store->index);
	else if (rc != LARDER_ERR_CORRUPT ||
		 (store->index != NULL && !index_is_doubtful(store->index))) {
		/* the machine; or the journal, and then the index is not to blame */
		if (err != NULL)
			*err = *why;
		rebuild_release(build);
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
build_quietly_or_tell(struct rebuild *build, const struct larder_err *why, struct larder_err *err)
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
	struct rebuild build = { .store = store };
	struct larder_err why;
	int rc;

	rc = try_index(&build, &why, err);
	if (rc != 0)
		goto out;
	rc = lock_build(store, err);
	if (rc < 0)
		goto out;
	/* Perhaps somebody has built it while we waited. */
	rebuild_release(&build);
	rc = try_index(&build, &why, err);
	if (rc == 0)
		rc = build_quietly_or_tell(&build, &why, err);
	unlock_build(store);
out:
	rebuild_release(&build);
	return rc < 0 ? rc : LARDER_OK;
}

/* ---- the public verb ---- */

int
larder_reindex(struct larder_store *store, const struct larder_watch *watch,
    struct larder_reindex_result *result, struct larder_err *err)
{
	struct rebuild build = { .store = store, .tolerant = true, .watch = watch };
	struct index *old = NULL;
	int rc;

	rc = store_enter_bare(store, err);
	if (rc < 0)
		return rc;
	rc = lock_build(store, err);
	if (rc < 0)
		return rc;
	if (store->index != NULL) {
		rebuild_prove(&build, store->index);
	} else if (open_index(&old, store, index_name, false, false, NULL) == 0) {
		rebuild_prove(&build, old);
		index_close(old);
	}
	rc = rebuild(&build, err);
	unlock_build(store);
	if (result != NULL)
		*result = build.result;
	return rc;
}
