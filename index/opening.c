/*
 * How one environment is opened.
 *
 * 1. LMDB sees a file only after its meta pages were checked, and all of its
 *    pages and rows when the last end was not clean in this boot.
 * 2. Whoever opens is alone in doing so (session.c); only who has nobody beside
 *    him looks at the file before LMDB does, since only then it stands still.
 * 3. Nothing counts until tables, head and sums are there, made in one transaction.
 *
 * Flags: never MDB_WRITEMAP (a full disk would be a SIGBUS). MDB_NOMETASYNC: a
 * power cut may take back the last transaction as a whole, which the journal
 * replays. MDB_NOSYNC for scratch only.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cas/base/clock.h"
#include "cas/base/file.h"
#include "cas/base/random.h"
#include "index/lmdbcall.h"
#include "index/pagewalk.h"
#include "index/table.h"
#include "index/verify.h"

enum { READERS_LEN = (ENV_READERS_MAX + 2) * 64 }; /* of lock.mdb: what LMDB wants for as many */

bool env_trusts_blindly;

/* ---- tables ---- */

static int
open_tables(struct env *env, struct index_read *read, unsigned flags)
{
	int rc;

	rc = lmdb_table_open(read, NULL, 0, &env->main);
	for (unsigned t = 0; rc == 0 && t < TABLE_COUNT; t++)
		rc =
		    lmdb_table_open(read, row_table_name((enum index_table)t), flags, &env->dbi[t]);
	return rc;
}

/* Tables, head and sums, in one transaction, on disk. */
static int
make_tables(struct env *env, struct larder_err *err)
{
	struct row_head head = { .schema = ROW_SCHEMA, .store = env->store };
	struct index_write write = { .view = { .env = env, .begun = true } };
	int rc;

	rc = random_bytes(&head.seed, sizeof head.seed, err);
	if (rc < 0)
		return rc;
	env->seed = head.seed;
	write.sums.next_pack = 1;
	write.view.write = &write;
	rc = lmdb_begin(env, 0, &write.view.txn);
	if (rc != 0)
		return env_err(env, rc, err, "begin");
	rc = open_tables(env, &write.view, MDB_CREATE);
	rc = rc != 0 ? env_err(env, rc, err, "make the tables")
		     : table_write_head(env, write.view.txn, &head, err);
	if (rc == 0)
		rc = table_write_sums(&write, err);
	if (rc < 0) {
		lmdb_abort(env, write.view.txn);
		return rc;
	}
	rc = lmdb_commit(env, write.view.txn);
	if (rc == 0 && !env->scratch)
		rc = lmdb_sync(env);
	if (rc != 0)
		return env_err(env, rc, err, "make the tables");
	return env->scratch ? LARDER_OK : file_sync_dir(env->dir_fd, ".", err);
}

static int
find_tables(struct env *env, struct larder_err *err)
{
	struct index_read read = { .env = env };
	int rc;

	rc = lmdb_begin(env, MDB_RDONLY, &read.txn);
	if (rc != 0)
		return env_err(env, rc, err, "begin");
	rc = open_tables(env, &read, 0);
	if (rc != 0) {
		lmdb_abort(env, read.txn);
		return env_err(env, rc == MDB_NOTFOUND ? MDB_INVALID : rc, err, "find the tables");
	}
	rc = lmdb_commit(env, read.txn); /* of a read transaction: keeps the handles */
	return rc != 0 ? env_err(env, rc, err, "find the tables") : LARDER_OK;
}

static int
check_head(struct env *env, struct larder_err *err)
{
	struct row_head head;
	int rc;

	rc = env_read_head(&head, env, err);
	if (rc == LARDER_ERR_NOT_FOUND)
		return env_err(env, MDB_INVALID, err, "no head");
	if (rc < 0)
		return rc;
	if (head.schema != ROW_SCHEMA)
		return err_set(
		    err, LARDER_ERR_CORRUPT, "index: schema %u, not %d", head.schema, ROW_SCHEMA);
	if (memcmp(&head.store, &env->store, sizeof head.store) != 0)
		return err_set(err, LARDER_ERR_CORRUPT, "index: of another store");
	env->seed = head.seed;
	return LARDER_OK;
}

/* ---- LMDB ---- */

/* Two of LMDB's three descriptors have it already; its first, for data, has not. */
static int
close_on_exec(struct env *env, struct larder_err *err)
{
	int fd;

	mdb_env_get_fd(env->lmdb, &fd);
	if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
		return err_sys(err, "index: %s", ENV_DATA);
	return LARDER_OK;
}

/*
 * LMDB makes its file of readers with a hole in it and maps that: on a full disk its first touch
 * is a SIGBUS. So the file gets its room before. What else may be wrong with it LMDB will tell.
 */
static int
make_room_for_readers(struct env *env, struct larder_err *err)
{
	struct stat st;
	int fd, rc = LARDER_OK;

	if (fstatat(env->dir_fd, ENV_LOCK, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	    st.st_blocks * 512 >= READERS_LEN)
		return LARDER_OK;
	if (file_open(&fd, env->dir_fd, ENV_LOCK, O_RDWR | O_CREAT | O_NOFOLLOW, 0600, NULL) < 0)
		return LARDER_OK;
	if (fallocate(fd, 0, 0, READERS_LEN) < 0 &&
	    (errno == ENOSPC || errno == EDQUOT || errno == EFBIG))
		rc = err_sys(err, "index: %s", ENV_LOCK);
	file_close(fd);
	return rc;
}

static int
open_lmdb(struct env *env, struct larder_err *err)
{
	unsigned flags = MDB_NOTLS | MDB_NORDAHEAD | MDB_NOMETASYNC;
	char path[64];
	int rc;

	if (env->scratch)
		flags |= MDB_NOSYNC;
	rc = make_room_for_readers(env, err);
	if (rc < 0)
		return rc;
	/* The directory is a descriptor; LMDB wants a path. */
	snprintf(path, sizeof path, "/proc/self/fd/%d", env->dir_fd);
	rc = mdb_env_create(&env->lmdb);
	if (rc == 0)
		rc = mdb_env_set_maxdbs(env->lmdb, TABLE_COUNT);
	if (rc == 0)
		rc = mdb_env_set_maxreaders(env->lmdb, ENV_READERS_MAX);
	if (rc == 0)
		rc = mdb_env_set_mapsize(env->lmdb, gate_map_len());
	if (rc == 0)
		rc = mdb_env_set_assert(env->lmdb, env_on_assert);
	if (rc == 0)
		rc = lmdb_open(env, path, flags);
	if (rc != 0)
		return env_err(env, rc, err, "open");
	return close_on_exec(env, err);
}

/* ---- a file that is there ---- */

/* Is there a database that was finished once? Then data_fd is it; else -1. */
static int
open_data(int *data_fd, int dir_fd, struct larder_err *err)
{
	struct larder_err why = { 0 };
	uint64_t len;
	int rc;

	rc = file_open(data_fd, dir_fd, ENV_DATA, O_RDONLY | O_NOFOLLOW, 0, &why);
	if (rc == LARDER_ERR_NOT_FOUND) {
		*data_fd = -1;
		return LARDER_OK;
	}
	if (rc < 0) {
		if (err != NULL)
			*err = why;
		return rc;
	}
	rc = file_size(&len, *data_fd, ENV_DATA, err);
	if (rc == 0 && len == 0) {
		file_close(*data_fd);
		*data_fd = -1;
	}
	return rc;
}

/*
 * Nobody uses the locks, and LMDB begins them anew. Their file stays, for the room that it has on
 * a full disk, unless it is not one that LMDB could have made.
 */
static int
drop_odd_locks(struct env *env, struct larder_err *err)
{
	struct stat st;

	if (fstatat(env->dir_fd, ENV_LOCK, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) &&
	    st.st_size % 64 == 0 && st.st_size <= 1024 * 1024)
		return LARDER_OK;
	if (unlinkat(env->dir_fd, ENV_LOCK, 0) < 0 && errno != ENOENT)
		return err_sys(err, "index: %s", ENV_LOCK);
	return LARDER_OK;
}

/* Before LMDB sees a file that this process is the first to open. */
static int
examine(struct env *env, enum session_end end, int data_fd, struct larder_err *err)
{
	struct pagewalk_meta metas[2];
	int rc;

	rc = pagewalk_metas(metas, data_fd, err);
	if (rc == 0)
		rc = drop_odd_locks(env, err);
	if (rc == 0 && end != SESSION_CLEAN && !env_trusts_blindly) {
		if (end == SESSION_FAILED)
			(void)posix_fadvise(data_fd, 0, 0, POSIX_FADV_DONTNEED);
		rc = verify_file(data_fd, NULL, NULL, err);
		if (rc == 0)
			session_note(&env->session, data_fd, true);
	}
	if (rc == LARDER_ERR_CORRUPT) {
		session_doubt(&env->session);
		err_prefix(err, "index");
		err_hint(err, "the next command rebuilds the index");
	}
	return rc;
}

static int
open_existing(struct env *env, struct larder_err *err)
{
	int rc;

	rc = open_lmdb(env, err);
	if (rc == 0)
		rc = find_tables(env, err);
	if (rc == 0)
		rc = check_head(env, err);
	if (rc == 0)
		env_check_readers(env);
	return rc;
}

/* ---- a file that is not ---- */

/* Files of a making that was never finished: nothing in them counts. */
static int
start_over(struct env *env, struct larder_err *err)
{
	int rc;

	rc = file_unlink(env->dir_fd, ENV_DATA, err);
	if (rc == 0 || rc == LARDER_ERR_NOT_FOUND)
		rc = file_unlink(env->dir_fd, ENV_LOCK, err);
	return rc == LARDER_ERR_NOT_FOUND ? LARDER_OK : rc;
}

static int
make_new(struct env *env, struct larder_err *err)
{
	int rc, fd;

	rc = start_over(env, err);
	if (rc == 0)
		rc = open_lmdb(env, err);
	if (rc == 0)
		rc = make_tables(env, err);
	if (rc == 0)
		rc = check_head(env, err);
	if (rc == 0) {
		mdb_env_get_fd(env->lmdb, &fd);
		session_note(&env->session, fd, true);
	}
	return rc;
}

/* A file without a finished first transaction, in a folder where none was ever finished. */
static bool
is_unfinished(enum session_end end, int data_fd)
{
	struct pagewalk_meta metas[2];

	return end == SESSION_NEVER &&
	       (data_fd < 0 || (pagewalk_metas(metas, data_fd, NULL) == 0 && metas[0].txn == 0));
}

/* ---- both ---- */

static int
remember_file(struct env *env, struct larder_err *err)
{
	struct stat st;
	int fd;

	mdb_env_get_fd(env->lmdb, &fd);
	if (fstat(fd, &st) < 0)
		return err_sys(err, "index: %s", ENV_DATA);
	env->dev = st.st_dev;
	env->ino = st.st_ino;
	env->checked_ns = clock_mono_ns();
	env->checked_pages = (size_t)st.st_size / env->page_size;
	return LARDER_OK;
}

/* Everybody else who wants to open this index waits. */
int
env_open(struct env *env, bool create, struct larder_err *err)
{
	enum session_end end;
	int data_fd = -1, rc;
	bool alone;

	rc = session_open(&env->session, &alone, env->dir_fd, err);
	if (rc < 0)
		return rc;
	rc = open_data(&data_fd, env->dir_fd, err);
	if (rc == 0)
		rc = session_look(&end, &env->session, data_fd, err);
	if (rc < 0)
		goto out;
	if (end == SESSION_DOUBTED)
		rc = err_set(err, LARDER_ERR_CORRUPT, "index: marked for being rebuilt");
	else if (alone && is_unfinished(end, data_fd))
		rc = create ? make_new(env, err)
			    : err_set(err, LARDER_ERR_NOT_FOUND, "index: not finished");
	else if (data_fd < 0)
		rc = err_set(err, LARDER_ERR_CORRUPT, "index: %s is gone", ENV_DATA);
	else {
		if (alone)
			rc = examine(env, end, data_fd, err);
		if (rc == 0)
			rc = open_existing(env, err);
	}
	if (rc == 0)
		rc = remember_file(env, err);
	if (rc == 0)
		rc = session_opened(&env->session, err);
out:
	file_close(data_fd);
	return rc;
}
