/*
 * Transactions.
 *
 * 1. Ended read handles are kept, with their slot in LMDB's table of readers and
 *    their cursors, so that beginning allocates nothing and takes a fraction of a
 *    microsecond.
 * 2. An update is run again when the map was full: first without readers that
 *    died, then with a larger map.
 * 3. After a commit or sync that failed this process writes no more to the
 *    environment, and its end is not noted as clean: what the page cache shows
 *    after a failed sync may not be what the disk has.
 */
#include <assert.h>

#include "cas/base/clock.h"
#include "cas/base/file.h"
#include "cas/base/mem.h"
#include "cas/base/trace.h"
#include "index/lmdbcall.h"
#include "index/table.h"

enum { SECOND_NS = 1000000000 };

static _Thread_local struct env *writing; /* the environment whose index_update this thread is in */

/* Into the gate, if there is something behind it. */
static int
pass_gate(struct env *env, struct larder_err *err)
{
	gate_enter(env);
	if (env->map != NULL)
		return LARDER_OK;
	gate_leave(env);
	return err_set(err, LARDER_ERR_NOMEM, "index: its map was lost");
}

/* ---- dead readers ---- */

void
env_check_readers(struct env *env)
{
	int dead = 0;

	/* Fails only when a lock does; then the next call will say so. */
	(void)mdb_reader_check(env->lmdb, &dead);
}

/* A reader that died keeps every page that was in use then: look now and then, and when it shows.
 */
static void
check_readers_sometimes(struct env *env)
{
	int64_t now = clock_mono_ns();
	MDB_envinfo info;
	bool due;

	mdb_env_info(env->lmdb, &info);
	pthread_mutex_lock(&env->lock);
	due = now - env->checked_ns > (int64_t)ENV_CHECK_S * SECOND_NS ||
	      info.me_last_pgno > env->checked_pages + env->checked_pages / 4 + 256;
	if (due) {
		env->checked_ns = now;
		env->checked_pages = info.me_last_pgno;
	}
	pthread_mutex_unlock(&env->lock);
	if (due)
		env_check_readers(env);
}

/* ---- reading ---- */

static void
note_snapshot(struct index_read *read)
{
	MDB_envinfo info;

	mdb_env_info(read->env->lmdb, &info);
	read->end = read->env->map + (info.me_last_pgno + 1) * read->env->page_size;
	read->cursors_stale = ~0u;
	read->begun = true;
}

/* Enters the gate, whatever it takes to get a snapshot; outside again on failure. */
static int
begin_snapshot(struct index_read *read, struct larder_err *err)
{
	struct env *env = read->env;

	for (int tries = 0;; tries++) {
		size_t seen;
		int rc;

		rc = pass_gate(env, err);
		if (rc < 0)
			return rc;
		seen = env->map_len;
		rc = read->txn != NULL ? lmdb_renew(env, read->txn)
				       : lmdb_begin(env, MDB_RDONLY, &read->txn);
		if (rc == 0) {
			note_snapshot(read);
			return LARDER_OK;
		}
		gate_leave(env);
		if (rc == MDB_READERS_FULL && tries == 0) {
			env_check_readers(env);
			continue;
		}
		if (rc == MDB_MAP_RESIZED && tries < 8) {
			rc = gate_grow_map(env, seen, err);
			if (rc < 0)
				return rc;
			continue;
		}
		return env_err(env, rc, err, "begin to read");
	}
}

static struct index_read *
take_idle(struct env *env)
{
	struct index_read *read;

	pthread_mutex_lock(&env->lock);
	read = env->idle;
	if (read != NULL) {
		env->idle = read->next;
		env->idle_count--;
	}
	pthread_mutex_unlock(&env->lock);
	return read;
}

static void
free_read(struct index_read *read)
{
	for (size_t t = 0; t < TABLE_COUNT; t++)
		if (read->cursors[t] != NULL)
			mdb_cursor_close(read->cursors[t]);
	if (read->txn != NULL)
		mdb_txn_abort(read->txn);
	mem_free(read);
}

int
index_read_begin(struct index_read **out, struct index *index, struct larder_err *err)
{
	struct env *env = index->env;
	struct index_read *read;
	int rc;

	rc = env_is_this_process(env, err);
	if (rc < 0)
		return rc;
	read = take_idle(env);
	if (read == NULL)
		read = mem_zalloc(sizeof *read);
	if (read == NULL)
		return err_nomem(err);
	read->env = env;
	rc = begin_snapshot(read, err);
	if (rc < 0) {
		free_read(read);
		return rc;
	}
	*out = read;
	return LARDER_OK;
}

static void
drop_snapshot(struct index_read *read)
{
	if (!read->begun)
		return;
	mdb_txn_reset(read->txn);
	read->begun = false;
	gate_leave(read->env);
}

int
index_read_renew(struct index_read *read, struct larder_err *err)
{
	int rc;

	assert(read->write == NULL && read->cursors_busy == 0);
	rc = env_is_this_process(read->env, err);
	if (rc < 0)
		return rc;
	drop_snapshot(read);
	return begin_snapshot(read, err);
}

void
index_read_end(struct index_read *read)
{
	struct env *env;

	if (read == NULL || env_is_this_process(read->env, NULL) < 0)
		return;
	assert(read->write == NULL && read->cursors_busy == 0);
	env = read->env;
	drop_snapshot(read);
	pthread_mutex_lock(&env->lock);
	if (env->idle_count < ENV_IDLE_MAX) {
		read->next = env->idle;
		env->idle = read;
		env->idle_count++;
		read = NULL;
	}
	pthread_mutex_unlock(&env->lock);
	if (read != NULL)
		free_read(read);
}

void
env_free_idle(struct env *env)
{
	struct index_read *read;

	while ((read = env->idle) != NULL) {
		env->idle = read->next;
		for (size_t t = 0; t < TABLE_COUNT; t++)
			if (read->cursors[t] != NULL)
				mdb_cursor_close(read->cursors[t]);
		mdb_txn_abort(read->txn);
		mem_free(read);
	}
}

/* ---- writing ---- */

static int
is_healthy(struct env *env, struct larder_err *err)
{
	int rc;

	pthread_mutex_lock(&env->lock);
	rc = (int)env->poison.status;
	if (rc < 0 && err != NULL)
		*err = env->poison;
	pthread_mutex_unlock(&env->lock);
	return rc;
}

/* What failed may be half on disk: this process writes no more to it. */
static int
poison(struct env *env, int code, struct larder_err *err, const char *what)
{
	struct larder_err first = { 0 };
	int rc = env_err(env, code, &first, what);

	atomic_store(&env->failed, true);
	session_forget(&env->session);
	pthread_mutex_lock(&env->lock);
	if (env->poison.status == 0)
		env->poison = first;
	pthread_mutex_unlock(&env->lock);
	if (err != NULL)
		*err = first;
	return rc;
}

struct index_read *
index_write_view(struct index_write *write)
{
	return &write->view;
}

static int
commit(struct index_write *write, struct larder_err *err)
{
	struct env *env = write->view.env;
	int rc;

	rc = lmdb_commit(env, write->view.txn);
	write->view.txn = NULL;
	if (rc == MDB_MAP_FULL) {
		write->map_full = true;
		return LARDER_ERR_LIMIT;
	}
	if (rc != 0)
		return poison(env, rc, err, "commit");
	trace_add(TRACE_index_commits, 1);
	atomic_store(&env->wrote, true);
	return LARDER_OK;
}

static void
abort_write(struct index_write *write)
{

	if (write->view.txn == NULL)
		return;
	lmdb_abort(write->view.env, write->view.txn);
	write->view.txn = NULL;
}

/* The transaction is begun. */
static int
run(struct index_write *write, index_write_fn fn, void *context, struct larder_err *err)
{
	int rc;

	rc = table_read_sums(&write->sums, &write->view, err);
	if (rc == 0)
		rc = fn(context, write, err);
	if (write->failed < 0)
		return rc < 0 ? rc
			      : err_set(err, (enum larder_status)write->failed,
				    "index: a write failed");
	if (rc < 0)
		return rc;
	if (!write->changed)
		return LARDER_OK;
	rc = table_write_sums(write, err);
	return rc < 0 ? rc : commit(write, err);
}

/* *again: the map was too small, *seen bytes long. */
static int
update_once(struct env *env, index_write_fn fn, void *context, bool *again, size_t *seen,
    struct larder_err *err)
{
	struct index_write write = { .view = { .env = env, .begun = true } };
	int rc;

	write.view.write = &write;
	rc = pass_gate(env, err);
	if (rc < 0)
		return rc;
	*seen = env->map_len;
	check_readers_sometimes(env);
	rc = lmdb_begin(env, 0, &write.view.txn);
	if (rc == MDB_MAP_RESIZED) {
		*again = true;
	} else if (rc != 0) {
		rc = rc == MDB_PANIC ? poison(env, rc, err, "begin to write")
				     : env_err(env, rc, err, "begin to write");
	} else {
		/* While it waited for the lock another thread may have failed. */
		rc = is_healthy(env, err);
		if (rc == 0)
			rc = run(&write, fn, context, err);
		*again = write.map_full;
		abort_write(&write);
	}
	gate_leave(env);
	buf_release(&write.value);
	return rc;
}

int
index_update(struct index *index, index_write_fn fn, void *context, struct larder_err *err)
{
	struct env *env = index->env;
	int rc;

	rc = env_is_this_process(env, err);
	if (rc == 0 && writing == env)
		rc = err_set(err, LARDER_ERR_USAGE, "index: an update inside an update");
	if (rc == 0)
		rc = is_healthy(env, err);
	if (rc < 0)
		return rc;
	for (int tries = 0;; tries++) {
		struct env *outer = writing;
		bool again = false;
		size_t seen;

		writing = env;
		rc = update_once(env, fn, context, &again, &seen, err);
		writing = outer;
		if (!again)
			return rc;
		/* First without those that died; then with more room. */
		env_check_readers(env);
		if (tries > 0) {
			rc = gate_grow_map(env, seen, err);
			if (rc < 0)
				return rc;
		}
	}
}

int
index_sync(struct index *index, struct larder_err *err)
{
	struct env *env = index->env;
	int rc;

	rc = env_is_this_process(env, err);
	if (rc == 0)
		rc = is_healthy(env, err);
	if (rc < 0)
		return rc;
	gate_enter(env);
	rc = lmdb_sync(env);
	rc = rc != 0 ? poison(env, rc, err, "sync") : LARDER_OK;
	gate_leave(env);
	if (rc == 0)
		rc = file_sync_dir(env->dir_fd, ".", err);
	return rc;
}
