/*
 * The environments that this process has open, and handles to them.
 *
 * 1. A data.mdb is open at most once in a process (LMDB forbids a second time
 *    and does not notice): handles share it, found by device and inode.
 * 2. Nothing passes a fork: every call compares the process id. The child leaves
 *    what it inherited as it is, and may open anew.
 *
 * Opening one is opening.c; transactions are txn.c; the gate that lets the map
 * grow is gate.c; rows are table.c; who else is here, and how the last one
 * left, is session.c; what damage leads to is damage.c.
 */
#include "index/env.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cas/base/file.h"
#include "cas/base/mem.h"

static pthread_mutex_t registry_lock = PTHREAD_MUTEX_INITIALIZER;
static struct env *registry; /* registry_lock */
static pthread_once_t registry_once = PTHREAD_ONCE_INIT;
static pid_t process; /* this one: changes only in the child of a fork, while it has one thread */

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

int
env_is_this_process(const struct env *env, struct larder_err *err)
{
	return env->pid == getpid() ? LARDER_OK : forked(err);
}

/* ---- environments ---- */

/* Nobody refers to it any more; it may be half open. */
static void
close_env(struct env *env)
{
	int fd;

	env_free_idle(env);
	if (env->lmdb != NULL && atomic_load(&env->failed))
		session_forget(&env->session);
	else if (env->lmdb != NULL && atomic_load(&env->wrote) &&
		 mdb_env_get_fd(env->lmdb, &fd) == 0)
		session_note(&env->session, fd, false);
	env_note_map(env, NULL, 0);
	if (env->lmdb != NULL)
		mdb_env_close(env->lmdb);
	env_give_slot(env);
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
		rc = env_take_slot(env, err);
		if (rc < 0)
			gate_release(env);
	}
	if (rc < 0) {
		file_close(dir_fd);
		mem_free(env);
		return rc;
	}
	rc = env_open(env, options->create, err);
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

	if (fstatat(dir_fd, ENV_DATA, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return NULL;
	for (struct env *env = registry; env != NULL; env = env->next)
		if (env->dev == st.st_dev && env->ino == st.st_ino && env->pid == process)
			return env;
	return NULL;
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

/* ---- handles ---- */

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
	if (env_is_this_process(index->env, NULL) == 0) {
		pthread_mutex_lock(&registry_lock);
		let_go(index->env);
		pthread_mutex_unlock(&registry_lock);
	}
	mem_free(index);
}
