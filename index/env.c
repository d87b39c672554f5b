/*
 * Opening, transactions, the room to grow, and what happens when LMDB or the
 * disk fails.
 *
 * 1. A data.mdb is open at most once in a process (LMDB forbids a second time
 *    and does not notice): handles share it, found by device and inode.
 * 2. Nothing passes a fork: every call compares the process id.
 * 3. LMDB sees a file only after its meta pages were checked, and all of its
 *    pages and rows when the last end was not clean in this boot.
 * 4. The map changes only while no transaction of this process runs: the gate.
 * 5. After a commit or sync that failed nothing more is written through the
 *    environment, and its end is not noted as clean: what the page cache shows
 *    after a failed sync may not be what the disk has.
 *
 * Flags: never MDB_WRITEMAP (a full disk would be a SIGBUS). MDB_NOMETASYNC: a
 * power cut may take back the last transaction as a whole, which the journal
 * replays. MDB_NOSYNC for scratch only. Rows: table.c. Who was here: session.c.
 */
#include "index/env.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cas/base/clock.h"
#include "cas/base/file.h"
#include "cas/base/mem.h"
#include "cas/base/random.h"
#include "cas/base/trace.h"
#include "index/pagewalk.h"
#include "index/table.h"
#include "index/verify.h"

/* Address space, not memory; with RLIMIT_AS set there is less of it. */
#define MAP_LEN_START (64 * GIB)
#define MAP_LEN_START_LIMITED (1 * GIB)
#define MAP_LEN_MAX (GIB * 1024 * 64)

enum {
	SECOND_NS = 1000000000,
	READERS_LEN = (ENV_READERS_MAX + 2) * 64, /* of lock.mdb: what LMDB wants for as many */
};

static const char data_path[] = "data.mdb";
static const char lock_path[] = "lock.mdb";

size_t env_map_len_start;
bool env_trusts_blindly;
unsigned env_gate_wait_ms = 5000;
_Thread_local struct trap *env_trap;
static _Thread_local struct env *writing; /* the environment whose index_update this thread is in */

static pthread_mutex_t registry_lock = PTHREAD_MUTEX_INITIALIZER;
static struct env *registry; /* registry_lock */
static pthread_once_t registry_once = PTHREAD_ONCE_INIT;
static pid_t process; /* this one: changes only in the child of a fork, while it has one thread */

/*
 * Where the maps are, for index_fault(), which may take no lock. len is 0 while
 * a slot or its map is not in use; session stays valid while taken.
 */
static struct map_slot {
	atomic_bool taken; /* changes under registry_lock */
	_Atomic uintptr_t start;
	_Atomic size_t len;
	struct session *_Atomic session;
} maps[ENV_OPEN_MAX];

/* ---- damage ---- */

void
index_mark_doubtful(struct index *index)
{
	if (index != NULL && env_is_ours(index->env, NULL) == 0)
		session_doubt(&index->env->session);
}

bool
index_is_doubtful(struct index *index)
{
	return session_is_doubted(&index->env->session);
}

bool
index_fault(const void *address)
{
	uintptr_t at = (uintptr_t)address;

	if (env_trap != NULL) {
		session_doubt(&env_trap->env->session);
		return true;
	}
	for (size_t i = 0; i < ENV_OPEN_MAX; i++) {
		uintptr_t start = atomic_load(&maps[i].start);
		size_t len = atomic_load(&maps[i].len);
		struct session *session = atomic_load(&maps[i].session);

		if (session != NULL && at - start < len) {
			session_doubt(session);
			return true;
		}
	}
	return false;
}

/* LMDB's assertion failed: it aborts the process when this returns. */
static void
on_assert(MDB_env *lmdb, const char *message)
{
	struct trap *trap = env_trap;

	(void)lmdb, (void)message;
	if (trap == NULL)
		return;
	session_doubt(&trap->env->session);
	if (trap->jumps) {
		env_trap = trap->outer;
		longjmp(trap->at, 1);
	}
	raise(SIGSEGV); /* index_fault() knows this thread to be inside LMDB */
}

int
env_bad_value(struct env *env, enum index_table table, struct larder_err *err)
{
	const char *name = row_table_name(table);

	trace_add(TRACE_index_bad_values, 1);
	session_doubt(&env->session);
	err_set(err, LARDER_ERR_CORRUPT, "index: damaged row in %s", name ? name : "the head");
	err_hint(err, "the next command rebuilds the index");
	return LARDER_ERR_CORRUPT;
}

/* EIO is also what LMDB makes of a short write: of a full disk, or a file as long as it may be. */
static int
explain_eio(const struct env *env)
{
	struct rlimit limit;
	struct stat st;
	uint64_t bytes;

	if (file_free_space(&bytes, env->dir_fd, NULL) == 0 && bytes < (uint64_t)64 * 1024)
		return ENOSPC;
	if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY &&
	    fstatat(env->dir_fd, data_path, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	    (rlim_t)st.st_size >= limit.rlim_cur)
		return EFBIG;
	return EIO;
}

static int
system_err(struct env *env, int code, struct larder_err *err, const char *what)
{
	errno = code == EIO ? explain_eio(env) : code;
	return err_sys(err, "index: %s", what);
}

int
env_err(struct env *env, int code, struct larder_err *err, const char *what)
{
	assert(code != 0);
	if (code > 0)
		return system_err(env, code, err, what);
	switch (code) {
	case MDB_NOTFOUND:
		return LARDER_ERR_NOT_FOUND;
	case MDB_MAP_FULL:
	case MDB_MAP_RESIZED:
	case MDB_TXN_FULL:
	case MDB_READERS_FULL:
		return err_set(err, LARDER_ERR_LIMIT, "index: %s: %s", what, mdb_strerror(code));
	case MDB_PANIC:
		return err_set(err, LARDER_ERR_IO, "index: %s: %s", what, mdb_strerror(code));
	default:
		session_doubt(&env->session);
		err_set(err, LARDER_ERR_CORRUPT, "index: %s: %s", what, mdb_strerror(code));
		err_hint(err, "the next command rebuilds the index");
		return LARDER_ERR_CORRUPT;
	}
}

/* ---- processes ---- */

static void
lock_registry(void)
{
	pthread_mutex_lock(&registry_lock);
}

static void
unlock_registry(void)
{
	pthread_mutex_unlock(&registry_lock);
}

static void
unlock_registry_in_child(void)
{
	process = getpid();
	env_trap = NULL;
	writing = NULL;
	pthread_mutex_unlock(&registry_lock);
}

static void
prepare_registry(void)
{
	process = getpid();
	/* A fork must not find the lock held by a thread that the child does not have. */
	pthread_atfork(lock_registry, unlock_registry, unlock_registry_in_child);
}

static int
forked(struct larder_err *err)
{
	return err_set(err, LARDER_ERR_USAGE, "index: opened before a fork");
}

int
env_is_ours(const struct env *env, struct larder_err *err)
{
	return env->pid == process ? LARDER_OK : forked(err);
}

/* The same by asking the system, for a process that was made without libc's fork: per transaction.
 */
static int
is_this_process(const struct env *env, struct larder_err *err)
{
	return env->pid == getpid() ? LARDER_OK : forked(err);
}

/* ---- the gate ---- */

static int
gate_init(struct env *env, struct larder_err *err)
{
	pthread_condattr_t attr;
	int rc;

	rc = pthread_mutex_init(&env->lock, NULL);
	assert(rc == 0);
	rc = pthread_mutex_init(&env->gate_lock, NULL);
	assert(rc == 0);
	rc = pthread_condattr_init(&attr);
	if (rc == 0) {
		pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
		rc = pthread_cond_init(&env->gate_moved, &attr);
		pthread_condattr_destroy(&attr);
	}
	return rc == 0 ? LARDER_OK : err_nomem(err);
}

static void
gate_release(struct env *env)
{
	pthread_cond_destroy(&env->gate_moved);
	pthread_mutex_destroy(&env->gate_lock);
	pthread_mutex_destroy(&env->lock);
}

static void
gate_leave(struct env *env)
{
	if (atomic_fetch_sub(&env->inside, 1) == 1 && atomic_load(&env->closed)) {
		pthread_mutex_lock(&env->gate_lock);
		pthread_cond_broadcast(&env->gate_moved);
		pthread_mutex_unlock(&env->gate_lock);
	}
}

static void
gate_enter(struct env *env)
{
	for (;;) {
		atomic_fetch_add(&env->inside, 1);
		if (!atomic_load(&env->closed))
			return;
		gate_leave(env);
		pthread_mutex_lock(&env->gate_lock);
		while (atomic_load(&env->closed))
			pthread_cond_wait(&env->gate_moved, &env->gate_lock);
		pthread_mutex_unlock(&env->gate_lock);
	}
}

/* From now on nobody is inside, until gate_open(). BUSY when somebody stays for too long. */
static int
gate_close(struct env *env, struct larder_err *err)
{
	int64_t until_ns = clock_mono_ns() + (int64_t)env_gate_wait_ms * (SECOND_NS / 1000);
	struct timespec until = {
		.tv_sec = (time_t)(until_ns / SECOND_NS),
		.tv_nsec = (long)(until_ns % SECOND_NS),
	};
	int rc = 0;

	pthread_mutex_lock(&env->gate_lock);
	while (rc == 0 && atomic_load(&env->closed))
		rc = pthread_cond_timedwait(&env->gate_moved, &env->gate_lock, &until);
	if (rc == 0) {
		atomic_store(&env->closed, true);
		while (rc == 0 && atomic_load(&env->inside) > 0)
			rc = pthread_cond_timedwait(&env->gate_moved, &env->gate_lock, &until);
		if (rc != 0) {
			atomic_store(&env->closed, false);
			pthread_cond_broadcast(&env->gate_moved);
		}
	}
	pthread_mutex_unlock(&env->gate_lock);
	if (rc == 0)
		return LARDER_OK;
	return err_set(err, LARDER_ERR_BUSY,
	    "index: cannot grow while this process reads, for more than %u ms", env_gate_wait_ms);
}

static void
gate_open(struct env *env)
{
	pthread_mutex_lock(&env->gate_lock);
	atomic_store(&env->closed, false);
	pthread_cond_broadcast(&env->gate_moved);
	pthread_mutex_unlock(&env->gate_lock);
}

/* ---- the map ---- */

static uint64_t
native_page_number(const uint8_t *page)
{
	uint64_t number;

	memcpy(&number, page, sizeof number);
	return number;
}

/*
 * LMDB does not tell where its map is. A value of the main tree lies in it, on a
 * page that says its number: that gives the start, if the page is what the
 * file has at that number.
 */
static int
locate_map(struct env *env, const uint8_t *value, struct larder_err *err)
{
	const uint8_t *page = value - (uintptr_t)value % env->page_size;
	uint8_t want[PAGEWALK_PAGE_MIN];
	struct trap trap;
	MDB_envinfo info;
	uint64_t number;
	int fd, rc;
	bool same;

	trap_enter(&trap, env, false);
	number = native_page_number(page);
	mdb_env_info(env->lmdb, &info);
	mdb_env_get_fd(env->lmdb, &fd);
	rc = number <= info.me_last_pgno
		 ? file_pread_all(fd, want, sizeof want, number * env->page_size, data_path, err)
		 : LARDER_ERR_CORRUPT;
	same = rc == 0 && memcmp(want, page, sizeof want) == 0;
	trap_leave(&trap);
	if (rc < 0 && rc != LARDER_ERR_CORRUPT)
		return rc;
	if (!same)
		return env_bad_value(env, TABLE_HEAD, err);

	env->map = page - number * env->page_size;
	env->map_len = info.me_mapsize;
	atomic_store(&maps[env->slot].start, (uintptr_t)env->map);
	atomic_store(&maps[env->slot].len, env->map_len);
	return LARDER_OK;
}

static int
begin_lmdb(struct env *env, unsigned flags, MDB_txn **txn)
{
	struct trap trap;
	int rc;

	trap_enter(&trap, env, false);
	rc = mdb_txn_begin(env->lmdb, NULL, flags, txn);
	trap_leave(&trap);
	return rc;
}

/* Reads the head in a transaction of its own: who it is, and where the map lies. */
static int
read_head(struct row_head *head, struct env *env, struct larder_err *err)
{
	const uint8_t *lent;
	MDB_txn *txn;
	MDB_stat stat;
	int rc;

	rc = begin_lmdb(env, MDB_RDONLY, &txn);
	if (rc != 0)
		return env_err(env, rc, err, "begin");
	mdb_env_stat(env->lmdb, &stat);
	env->page_size = stat.ms_psize;
	rc = table_read_head(head, env, txn, &lent, err);
	if (rc == 0)
		rc = locate_map(env, lent, err);
	mdb_txn_abort(txn);
	return rc;
}

/* The gate is closed. Without its map the environment is of no more use. */
static int
move_map(struct env *env, size_t len, struct larder_err *err)
{
	struct row_head head;
	int rc;

	atomic_store(&maps[env->slot].len, 0);
	rc = mdb_env_set_mapsize(env->lmdb, len);
	rc = rc != 0 ? env_err(env, rc, err, "grow the map") : read_head(&head, env, err);
	if (rc < 0) {
		pthread_mutex_lock(&env->lock);
		if (env->poison.status == 0)
			err_set(&env->poison, (enum larder_status)rc,
			    "index: its map of %zu bytes was lost", len);
		pthread_mutex_unlock(&env->lock);
	}
	return rc;
}

/*
 * A larger map: twice what it was when this process filled it, or as large as
 * another process made the file. `seen` is how long it was for the caller, in
 * case somebody was faster.
 */
static int
grow_map(struct env *env, size_t seen, struct larder_err *err)
{
	size_t len = seen;
	struct stat st;
	int fd, rc;

	rc = gate_close(env, err);
	if (rc < 0)
		return rc;
	mdb_env_get_fd(env->lmdb, &fd);
	if (env->map_len > seen) {
		rc = LARDER_OK;
	} else if (fstat(fd, &st) < 0) {
		rc = err_sys(err, "index: %s", data_path);
	} else {
		do
			len *= 2;
		while (len / 2 < (size_t)st.st_size && len < MAP_LEN_MAX);
		rc = len > MAP_LEN_MAX
			 ? err_set(err, LARDER_ERR_LIMIT, "index: a map of %zu bytes", len)
			 : move_map(env, len, err);
	}
	gate_open(env);
	return rc;
}

static size_t
map_len_start(void)
{
	struct rlimit limit;

	if (env_map_len_start > 0)
		return env_map_len_start;
	if (getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY)
		return MAP_LEN_START_LIMITED;
	return MAP_LEN_START;
}

/* ---- dead readers ---- */

static void
check_readers(struct env *env)
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
		check_readers(env);
}

/* ---- opening ---- */

static int
open_tables(struct env *env, MDB_txn *txn, unsigned flags)
{
	int rc;

	rc = mdb_dbi_open(txn, NULL, 0, &env->main);
	for (unsigned t = 0; rc == 0 && t < TABLE_COUNT; t++)
		rc = mdb_dbi_open(txn, row_table_name((enum index_table)t), flags, &env->dbi[t]);
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
	rc = begin_lmdb(env, 0, &write.view.txn);
	if (rc != 0)
		return env_err(env, rc, err, "begin");
	rc = open_tables(env, write.view.txn, MDB_CREATE);
	rc = rc != 0 ? env_err(env, rc, err, "make the tables")
		     : table_write_head(env, write.view.txn, &head, err);
	if (rc == 0)
		rc = table_write_sums(&write, err);
	if (rc < 0) {
		mdb_txn_abort(write.view.txn);
		return rc;
	}
	rc = mdb_txn_commit(write.view.txn);
	if (rc == 0 && !env->scratch)
		rc = mdb_env_sync(env->lmdb, 1);
	if (rc != 0)
		return env_err(env, rc, err, "make the tables");
	return env->scratch ? LARDER_OK : file_sync_dir(env->dir_fd, ".", err);
}

static int
find_tables(struct env *env, struct larder_err *err)
{
	struct trap trap;
	MDB_txn *txn;
	int rc;

	rc = begin_lmdb(env, MDB_RDONLY, &txn);
	if (rc != 0)
		return env_err(env, rc, err, "begin");
	if (_setjmp(trap.at) != 0) {
		mdb_txn_abort(txn);
		return env_err(env, MDB_CORRUPTED, err, "find the tables");
	}
	trap_enter(&trap, env, true);
	rc = open_tables(env, txn, 0);
	trap_leave(&trap);
	if (rc != 0) {
		mdb_txn_abort(txn);
		return env_err(env, rc == MDB_NOTFOUND ? MDB_INVALID : rc, err, "find the tables");
	}
	rc = mdb_txn_commit(txn); /* of a read transaction: keeps the handles */
	return rc != 0 ? env_err(env, rc, err, "find the tables") : LARDER_OK;
}

static int
check_head(struct env *env, struct larder_err *err)
{
	struct row_head head;
	int rc;

	rc = read_head(&head, env, err);
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

/* Two of LMDB's three descriptors have it already; its first, for data, has not. */
static int
close_on_exec(struct env *env, struct larder_err *err)
{
	int fd;

	mdb_env_get_fd(env->lmdb, &fd);
	if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
		return err_sys(err, "index: %s", data_path);
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

	if (fstatat(env->dir_fd, lock_path, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	    st.st_blocks * 512 >= READERS_LEN)
		return LARDER_OK;
	if (file_open(&fd, env->dir_fd, lock_path, O_RDWR | O_CREAT | O_NOFOLLOW, 0600, NULL) < 0)
		return LARDER_OK;
	if (fallocate(fd, 0, 0, READERS_LEN) < 0 &&
	    (errno == ENOSPC || errno == EDQUOT || errno == EFBIG))
		rc = err_sys(err, "index: %s", lock_path);
	file_close(fd);
	return rc;
}

static int
open_lmdb(struct env *env, struct larder_err *err)
{
	unsigned flags = MDB_NOTLS | MDB_NORDAHEAD | MDB_NOMETASYNC;
	char path[64];
	struct trap trap;
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
		rc = mdb_env_set_mapsize(env->lmdb, map_len_start());
	if (rc == 0)
		rc = mdb_env_set_assert(env->lmdb, on_assert);
	if (rc == 0) {
		trap_enter(&trap, env, false);
		rc = mdb_env_open(env->lmdb, path, flags, 0600);
		trap_leave(&trap);
	}
	if (rc != 0)
		return env_err(env, rc, err, "open");
	return close_on_exec(env, err);
}

static void
close_lmdb(struct env *env)
{
	atomic_store(&maps[env->slot].len, 0);
	if (env->lmdb != NULL)
		mdb_env_close(env->lmdb);
	env->lmdb = NULL;
}

/* Is there a database that was finished once? Then data_fd is it; else -1. */
static int
open_data(int *data_fd, int dir_fd, struct larder_err *err)
{
	uint64_t len;
	int rc;

	rc = file_open(data_fd, dir_fd, data_path, O_RDONLY | O_NOFOLLOW, 0, NULL);
	if (rc == LARDER_ERR_NOT_FOUND) {
		*data_fd = -1;
		return LARDER_OK;
	}
	if (rc < 0)
		return file_open(data_fd, dir_fd, data_path, O_RDONLY | O_NOFOLLOW, 0, err);
	rc = file_size(&len, *data_fd, data_path, err);
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

	if (fstatat(env->dir_fd, lock_path, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) &&
	    st.st_size % 64 == 0 && st.st_size <= 1024 * 1024)
		return LARDER_OK;
	if (unlinkat(env->dir_fd, lock_path, 0) < 0 && errno != ENOENT)
		return err_sys(err, "index: %s", lock_path);
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
			session_note(&env->session, data_fd);
	}
	if (rc == LARDER_ERR_CORRUPT) {
		session_doubt(&env->session);
		err_prefix(err, "index");
		err_hint(err, "the next command rebuilds the index");
	}
	return rc;
}

/* Files of a making that was never finished: nothing in them counts. */
static int
start_over(struct env *env, struct larder_err *err)
{
	int rc;

	rc = file_unlink(env->dir_fd, data_path, err);
	if (rc == 0 || rc == LARDER_ERR_NOT_FOUND)
		rc = file_unlink(env->dir_fd, lock_path, err);
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
		session_note(&env->session, fd);
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
		check_readers(env);
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

static int
remember_file(struct env *env, struct larder_err *err)
{
	struct stat st;
	int fd;

	mdb_env_get_fd(env->lmdb, &fd);
	if (fstat(fd, &st) < 0)
		return err_sys(err, "index: %s", data_path);
	env->dev = st.st_dev;
	env->ino = st.st_ino;
	env->checked_ns = clock_mono_ns();
	env->checked_pages = (size_t)st.st_size / env->page_size;
	return LARDER_OK;
}

/* env->dir_fd is open; everybody else who wants to open this index waits. */
static int
open_env(struct env *env, bool create, struct larder_err *err)
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
		rc = err_set(err, LARDER_ERR_CORRUPT, "index: %s is gone", data_path);
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

static int
take_slot(struct env *env, struct larder_err *err)
{
	for (unsigned i = 0; i < ENV_OPEN_MAX; i++)
		if (!atomic_load(&maps[i].taken)) {
			env->slot = i;
			atomic_store(&maps[i].session, &env->session);
			atomic_store(&maps[i].taken, true);
			return LARDER_OK;
		}
	return err_set(err, LARDER_ERR_LIMIT, "index: more than %d open at a time", ENV_OPEN_MAX);
}

static void
give_slot(struct env *env)
{
	atomic_store(&maps[env->slot].len, 0);
	atomic_store(&maps[env->slot].session, NULL);
	atomic_store(&maps[env->slot].taken, false);
}

static void
free_idle(struct env *env)
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

/* Nobody refers to it any more; it may be half open. */
static void
close_env(struct env *env)
{
	int fd;

	free_idle(env);
	if (env->lmdb != NULL && atomic_load(&env->failed))
		session_forget(&env->session);
	else if (env->lmdb != NULL && atomic_load(&env->wrote) &&
		 mdb_env_get_fd(env->lmdb, &fd) == 0)
		session_note(&env->session, fd);
	close_lmdb(env);
	give_slot(env);
	session_close(&env->session);
	file_close(env->dir_fd);
	gate_release(env);
	mem_free(env);
}

static int
new_env(struct env **out, int dir_fd, const struct index_options *options, struct larder_err *err)
{
	struct env *env = mem_zalloc(sizeof *env);
	int rc;

	if (env == NULL) {
		file_close(dir_fd);
		return err_nomem(err);
	}
	env->pid = process;
	env->dir_fd = dir_fd;
	env->session.fd = -1;
	env->store = options->store;
	env->scratch = options->scratch;
	rc = gate_init(env, err);
	if (rc == 0) {
		rc = take_slot(env, err);
		if (rc < 0)
			gate_release(env);
	}
	if (rc < 0) {
		file_close(dir_fd);
		mem_free(env);
		return rc;
	}
	rc = open_env(env, options->create, err);
	if (rc < 0) {
		close_env(env);
		return rc;
	}
	*out = env;
	return LARDER_OK;
}

/* The one that this process has open already; its data.mdb is in the directory. */
static struct env *
find_env(int dir_fd)
{
	struct stat st;

	if (fstatat(dir_fd, data_path, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return NULL;
	for (struct env *env = registry; env != NULL; env = env->next)
		if (env->dev == st.st_dev && env->ino == st.st_ino && env->pid == process)
			return env;
	return NULL;
}

static int
open_dir(int *dir_fd, const struct index_options *options, struct larder_err *err)
{
	int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW, rc;

	rc = file_open(dir_fd, options->dir_fd, options->dir, flags, 0, err);
	if (rc == LARDER_ERR_NOT_FOUND && options->create) {
		rc = file_mkdir(options->dir_fd, options->dir, 0700, err);
		if (rc == 0 && !options->scratch)
			rc = file_sync_dir(options->dir_fd, ".", err);
		if (rc == 0 || rc == LARDER_ERR_EXISTS)
			rc = file_open(dir_fd, options->dir_fd, options->dir, flags, 0, err);
	}
	if (rc < 0)
		return rc;
	rc = file_refuse_network_fs(*dir_fd, options->dir, err);
	if (rc < 0)
		file_close(*dir_fd);
	return rc;
}

/* registry_lock is held. Takes dir_fd over. */
static int
find_or_open(
    struct env **out, int dir_fd, const struct index_options *options, struct larder_err *err)
{
	struct env *env = find_env(dir_fd);
	int rc;

	if (env == NULL) {
		rc = new_env(&env, dir_fd, options, err);
		if (rc < 0)
			return rc;
		env->next = registry;
		registry = env;
	} else {
		file_close(dir_fd);
		if (memcmp(&env->store, &options->store, sizeof env->store) != 0)
			return err_set(err, LARDER_ERR_CORRUPT, "index: of another store");
		if (session_is_doubted(&env->session))
			return err_set(err, LARDER_ERR_CORRUPT, "index: marked for being rebuilt");
	}
	env->handles++;
	*out = env;
	return LARDER_OK;
}

/* registry_lock is held. */
static void
let_go(struct env *env)
{
	struct env **at = &registry;

	if (--env->handles > 0)
		return;
	while (*at != env)
		at = &(*at)->next;
	*at = env->next;
	close_env(env);
}

int
index_open(struct index **out, const struct index_options *options, struct larder_err *err)
{
	struct index *index = mem_zalloc(sizeof *index);
	int dir_fd, rc;

	if (index == NULL)
		return err_nomem(err);
	pthread_once(&registry_once, prepare_registry);
	pthread_mutex_lock(&registry_lock);
	rc = open_dir(&dir_fd, options, err);
	if (rc == 0)
		rc = find_or_open(&index->env, dir_fd, options, err);
	pthread_mutex_unlock(&registry_lock);
	if (rc < 0) {
		mem_free(index);
		return rc;
	}
	*out = index;
	return LARDER_OK;
}

void
index_close(struct index *index)
{
	if (index == NULL)
		return;
	/* In a forked child everything stays as it is: LMDB's end would be the parent's. */
	if (is_this_process(index->env, NULL) == 0) {
		pthread_mutex_lock(&registry_lock);
		let_go(index->env);
		pthread_mutex_unlock(&registry_lock);
	}
	mem_free(index);
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
		struct trap trap;
		size_t seen;
		int rc;

		gate_enter(env);
		seen = env->map_len;
		trap_enter(&trap, env, false);
		rc = read->txn != NULL ? mdb_txn_renew(read->txn)
				       : mdb_txn_begin(env->lmdb, NULL, MDB_RDONLY, &read->txn);
		trap_leave(&trap);
		if (rc == 0) {
			note_snapshot(read);
			return LARDER_OK;
		}
		gate_leave(env);
		if (rc == MDB_READERS_FULL && tries == 0) {
			check_readers(env);
			continue;
		}
		if (rc == MDB_MAP_RESIZED && tries < 8) {
			rc = grow_map(env, seen, err);
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

	rc = is_this_process(env, err);
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
	rc = is_this_process(read->env, err);
	if (rc < 0)
		return rc;
	drop_snapshot(read);
	return begin_snapshot(read, err);
}

void
index_read_end(struct index_read *read)
{
	struct env *env;

	if (read == NULL || is_this_process(read->env, NULL) < 0)
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
	struct trap trap;
	int rc;

	trap_enter(&trap, env, false);
	rc = mdb_txn_commit(write->view.txn);
	trap_leave(&trap);
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
	struct trap trap;

	if (write->view.txn == NULL)
		return;
	trap_enter(&trap, write->view.env, false);
	mdb_txn_abort(write->view.txn);
	trap_leave(&trap);
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
	gate_enter(env);
	*seen = env->map_len;
	rc = begin_lmdb(env, 0, &write.view.txn);
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

	rc = is_this_process(env, err);
	if (rc == 0 && writing == env)
		rc = err_set(err, LARDER_ERR_USAGE, "index: an update inside an update");
	if (rc == 0)
		rc = is_healthy(env, err);
	if (rc < 0)
		return rc;
	check_readers_sometimes(env);
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
		check_readers(env);
		if (tries > 0) {
			rc = grow_map(env, seen, err);
			if (rc < 0)
				return rc;
		}
	}
}

int
index_sync(struct index *index, struct larder_err *err)
{
	struct env *env = index->env;
	struct trap trap;
	int rc;

	rc = is_this_process(env, err);
	if (rc == 0)
		rc = is_healthy(env, err);
	if (rc < 0)
		return rc;
	gate_enter(env);
	trap_enter(&trap, env, false);
	rc = mdb_env_sync(env->lmdb, 1);
	trap_leave(&trap);
	rc = rc != 0 ? poison(env, rc, err, "sync") : LARDER_OK;
	gate_leave(env);
	if (rc == 0)
		rc = file_sync_dir(env->dir_fd, ".", err);
	return rc;
}
