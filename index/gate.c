/*
 * The gate, and what happens behind it while it is closed: the map grows.
 *
 * 1. Every transaction of this process passes the gate and is inside until it ends.
 * 2. The map changes only while the gate is closed and nobody is inside.
 * 3. An environment whose map could not be made again has none (env->map is
 *    NULL), and no transaction begins in it any more.
 */
#include <assert.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>

#include "cas/base/clock.h"
#include "cas/base/file.h"
#include "index/lmdbcall.h"
#include "index/pagewalk.h"
#include "index/table.h"

/* Address space, not memory; with RLIMIT_AS set there is less of it. */
#define MAP_LEN_START (64 * GIB)
#define MAP_LEN_START_LIMITED (1 * GIB)
#define MAP_LEN_MAX (GIB * 1024 * 64)

enum { SECOND_NS = 1000000000 };

size_t env_map_len_start;
unsigned env_gate_wait_ms = 5000;

int
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

void
gate_release(struct env *env)
{
	pthread_cond_destroy(&env->gate_moved);
	pthread_mutex_destroy(&env->gate_lock);
	pthread_mutex_destroy(&env->lock);
}

void
gate_leave(struct env *env)
{
	if (atomic_fetch_sub(&env->inside, 1) == 1 && atomic_load(&env->closed)) {
		pthread_mutex_lock(&env->gate_lock);
		pthread_cond_broadcast(&env->gate_moved);
		pthread_mutex_unlock(&env->gate_lock);
	}
}

void
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
		 ? file_pread_all(fd, want, sizeof want, number * env->page_size, ENV_DATA, err)
		 : LARDER_ERR_CORRUPT;
	same = rc == 0 && memcmp(want, page, sizeof want) == 0;
	trap_leave(&trap);
	if (rc < 0 && rc != LARDER_ERR_CORRUPT)
		return rc;
	if (!same)
		return env_bad_value(env, TABLE_HEAD, err);

	env->map = page - number * env->page_size;
	env->map_len = info.me_mapsize;
	env_note_map(env, env->map, env->map_len);
	return LARDER_OK;
}

/* Reads the head in a transaction of its own: who it is, and where the map lies. */
int
env_read_head(struct row_head *head, struct env *env, struct larder_err *err)
{
	const uint8_t *lent;
	MDB_txn *txn;
	MDB_stat stat;
	int rc;

	rc = lmdb_begin(env, MDB_RDONLY, &txn);
	if (rc != 0)
		return env_err(env, rc, err, "begin");
	mdb_env_stat(env->lmdb, &stat);
	env->page_size = stat.ms_psize;
	rc = table_read_head(head, env, txn, &lent, err);
	if (rc == 0)
		rc = locate_map(env, lent, err);
	lmdb_abort(env, txn);
	return rc;
}

/* LMDB gives the old map up before it asks for the new one: ask whether it could have it. */
static bool
is_there_room(size_t more)
{
	void *room =
	    mmap(NULL, more, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (room == MAP_FAILED)
		return false;
	munmap(room, more);
	return true;
}

/* The gate is closed. */
static int
move_map(struct env *env, size_t len, struct larder_err *err)
{
	struct row_head head;
	int rc;

	if (!is_there_room(len - env->map_len))
		return err_set(
		    err, LARDER_ERR_NOMEM, "index: no address space for a map of %zu bytes", len);
	env->map = NULL;
	env_note_map(env, NULL, 0);
	/* Once more, should another process have outgrown it in between. */
	for (int tries = 0;; tries++, len *= 2) {
		rc = mdb_env_set_mapsize(env->lmdb, len);
		if (rc != 0)
			return env_err(env, rc, err, "grow the map");
		rc = env_read_head(&head, env, err);
		if (rc != LARDER_ERR_LIMIT || tries == 3)
			return rc;
	}
}

int
gate_grow_map(struct env *env, size_t seen, struct larder_err *err)
{
	size_t len = seen;
	struct stat st;
	int fd, rc;

	rc = gate_close(env, err);
	if (rc < 0)
		return rc;
	mdb_env_get_fd(env->lmdb, &fd);
	if (env->map == NULL) {
		rc = err_set(err, LARDER_ERR_NOMEM, "index: its map was lost");
	} else if (env->map_len > seen) {
		rc = LARDER_OK;
	} else if (fstat(fd, &st) < 0) {
		rc = err_sys(err, "index: %s", ENV_DATA);
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

size_t
gate_map_len(void)
{
	struct rlimit limit;

	if (env_map_len_start > 0)
		return env_map_len_start;
	if (getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY)
		return MAP_LEN_START_LIMITED;
	return MAP_LEN_START;
}
