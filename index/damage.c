/*
 * What damage is turned into: a status with a sentence, a doubt in the session
 * file, and for what LMDB runs into while it believes a damaged page, an answer
 * for the program's signal handler.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "cas/base/file.h"
#include "cas/base/trace.h"
#include "index/env.h"

_Thread_local struct trap *env_trap;

/*
 * Where the maps are, for index_fault(), which may take no lock. len is 0 while
 * a slot or its map is not in use; session stays valid while taken.
 */
static struct map_slot {
	atomic_bool taken; /* changes under the lock of the registry */
	_Atomic uintptr_t start;
	_Atomic size_t len;
	struct session *_Atomic session;
} maps[ENV_OPEN_MAX];

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

/* ---- faults ---- */

int
env_take_slot(struct env *env, struct larder_err *err)
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

void
env_give_slot(struct env *env)
{
	atomic_store(&maps[env->slot].len, 0);
	atomic_store(&maps[env->slot].session, NULL);
	atomic_store(&maps[env->slot].taken, false);
}

void
env_note_map(struct env *env, const uint8_t *start, size_t len)
{
	atomic_store(&maps[env->slot].len, 0);
	atomic_store(&maps[env->slot].start, (uintptr_t)start);
	atomic_store(&maps[env->slot].len, len);
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
void
env_on_assert(MDB_env *lmdb, const char *message)
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

/* ---- statuses ---- */

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
	    fstatat(env->dir_fd, ENV_DATA, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
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
