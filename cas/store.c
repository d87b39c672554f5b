/*
 * The store: a directory in which packs and journal are the truth.
 *
 * What is always true of it, after any crash and with any number of processes:
 *
 *  1. A sealed pack or journal segment never changes.
 *  2. A journal entry names only packs that are sealed and synced; it is committed when it
 *     is synced.
 *  3. The index says only what sealed packs and the journal say, and changes only through
 *     cas/apply.c. Deleted, it comes back the same. (`seen` and sketches are hints: losing
 *     them costs time, not answers.)
 *  4. A name refers only to objects that are in the store: packs before journal, journal
 *     before index, index before acknowledgement.
 *  5. Things disappear in the opposite order: journal says so, index forgets, tombs wait,
 *     and only then a pack goes.
 *  6. Any file in tmp/ may be deleted at any time.
 *  7. A frame was decoded and compared before it was committed; what leaves the store was
 *     hashed again.
 *  8. A crash at any point loses at most what was not acknowledged, and leaves nothing that
 *     check calls damage.
 *  9. What retention or a hold protects is removed by no verb, option or order of verbs.
 * 10. Nothing outside a restore's destination is ever written; nothing of an archive is
 *     extracted to disk while it is taken in.
 *
 * Where they are kept: 1 pack/writer.c, cas/journal.c; 2 cas/commit.c; 3 cas/apply.c,
 * cas/reindex.c; 4 cas/commit.c; 7 pack/codec.c, cas/fetch.c; 8 all of them, and
 * cas/journal_read.c, which tells a torn tail from damage; 10 cas/restore.c. For 5 and 9
 * there is no verb yet: nothing takes a pack away, and nothing protects a name.
 *
 * In the directory:
 *
 *	config              what this store is; written last by init: its presence makes a store
 *	writer              which replica this is (cas/identity.c)
 *	lock                ranges that handles hold (enum store_lock)
 *	reserve             room that gc will need on a full disk
 *	packs/ journal/     the truth
 *	index/              expendable; elsewhere with index_dir
 *	tmp/ trash/         files that are being made; files that gc took out of use
 *
 * A handle holds STORE_LOCK_OPEN shared. Whoever gets it exclusive is alone: only then is
 * tmp/ cleared, and only then a new index takes the place of the old one (cas/reindex.c).
 */
#include "cas/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cas/base/err.h"
#include "cas/base/file.h"
#include "cas/base/limits.h"
#include "cas/base/mem.h"
#include "cas/base/pool.h"
#include "cas/base/sha256.h"
#include "cas/fetch.h"
#include "cas/journal.h"
#include "cas/reindex.h"

enum {
	RESERVE_LEN = 16 * 1024 * 1024,
	RESERVE_SHARE = 20, /* made only where this many of it are free */
};

/* ---- what needs no store ---- */

const char *
larder_version(void)
{
	return LARDER_VERSION;
}

const char *
larder_status_code(int status)
{
	return err_code((enum larder_status)status);
}

bool
larder_fault(const void *address)
{
	return index_fault(address);
}

static pthread_once_t checked_once = PTHREAD_ONCE_INIT;
static int checked; /* what sha256_self_check() said; written once, in checked_once */

static void
check_hash(void)
{
	checked = sha256_self_check();
}

/* ---- entering ---- */

int
store_enter_bare(const struct larder_store *store, struct larder_err *err)
{
	if (store == NULL)
		return err_set(err, LARDER_ERR_USAGE, "no store");
	if (store->pid != getpid())
		return err_set(err, LARDER_ERR_USAGE,
		    "this store was opened before a fork: the child must open its own");
	return LARDER_OK;
}

int
store_enter(const struct larder_store *store, struct larder_err *err)
{
	int rc = store_enter_bare(store, err);

	if (rc == 0 && store->index == NULL)
		rc = err_set(err, LARDER_ERR_USAGE, "this store was opened without its index");
	return rc;
}

void
store_notice(struct larder_store *store, const char *fmt, ...)
{
	char line[1024];
	va_list args;

	if (store->on_notice == NULL)
		return;
	va_start(args, fmt);
	vsnprintf(line, sizeof line, fmt, args);
	va_end(args);
	store->on_notice(store->notice_context, line);
}

/* ---- making a store ---- */

/* What init makes, in its order; also the only names of a store that is not finished. */
static const char *const folders[] = { "packs", "journal", "tmp", "trash" };
static const char *const files[] = { "lock", "reserve" };

static bool
left_by_init(const char *name)
{
	for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++)
		if (strcmp(name, folders[i]) == 0)
			return true;
	for (size_t i = 0; i < sizeof files / sizeof files[0]; i++)
		if (strcmp(name, files[i]) == 0)
			return true;
	return strncmp(name, "config.tmp-", strlen("config.tmp-")) == 0;
}

/* Names in a folder of the store; 0 when it is absent. */
static int
count_names(size_t *count, int root_fd, const char *path, struct larder_err *err)
{
	char **names;
	int rc;

	rc = file_list(&names, count, root_fd, path, err);
	mem_free(names);
	return rc == LARDER_ERR_NOT_FOUND ? LARDER_OK : rc;
}

/*
 * A directory without config: OK when a store may be made in it, which is empty, or begun
 * by an init that did not end: then there are its names and no others, its lock, which
 * comes first, among them, and its folders hold nothing yet. CORRUPT: it was a store.
 */
static int
judge_directory(int root_fd, struct larder_err *err)
{
	const char *stranger = NULL;
	size_t count, inside = 0, writers = 0;
	bool locked = false;
	char **names;
	int rc;

	rc = file_list(&names, &count, root_fd, ".", err);
	if (rc < 0)
		return rc;
	for (size_t i = 0; i < count; i++) {
		locked = locked || strcmp(names[i], "lock") == 0;
		if (stranger == NULL && !left_by_init(names[i]))
			stranger = names[i];
	}
	if (count > 0 && locked)
		rc = count_names(&writers, root_fd, "journal", err);
	if (rc == 0 && writers > 0) {
		rc = err_set(
		    err, LARDER_ERR_CORRUPT, "the file config is missing, but there is a journal");
		err_hint(err, "put config back from a copy of this store");
	}
	if (rc == 0 && locked)
		rc = count_names(&inside, root_fd, "tmp", err);
	if (rc == 0 && locked && inside == 0)
		rc = count_names(&inside, root_fd, "trash", err);
	if (rc == 0 && count > 0 && (stranger != NULL || !locked || inside > 0))
		rc = err_set(err, LARDER_ERR_USAGE,
		    "it is not empty and holds no store: there is \"%.200s\" in it",
		    stranger != NULL ? stranger : names[0]);
	mem_free(names);
	return rc;
}

static int
make_folders(int root_fd, struct larder_err *err)
{
	int rc = LARDER_OK;

	for (size_t i = 0; rc == 0 && i < sizeof folders / sizeof folders[0]; i++) {
		rc = file_mkdir(root_fd, folders[i], 0700, err);
		if (rc == LARDER_ERR_EXISTS)
			rc = LARDER_OK;
	}
	return rc == 0 ? pack_make_dirs(root_fd, err) : rc;
}

/* Kept for gc, so only where it does not itself fill the disk; without it a store is a store. */
static int
make_reserve(int root_fd, struct larder_err *err)
{
	uint64_t left;
	int fd, rc;

	rc = file_free_space(&left, root_fd, err);
	if (rc < 0 || left < (uint64_t)RESERVE_SHARE * RESERVE_LEN)
		return rc;
	rc = file_open(&fd, root_fd, "reserve", O_RDWR | O_CREAT | O_NOFOLLOW, 0600, err);
	if (rc < 0)
		return rc;
	rc = posix_fallocate(fd, 0, RESERVE_LEN);
	if (rc != 0) { /* a quota, or a file system that cannot: then there is none */
		file_close(fd);
		return file_unlink(root_fd, "reserve", err);
	}
	rc = file_sync(fd, "reserve", err);
	file_close(fd);
	return rc;
}

/* Its own name in the directory above, which we may be allowed to write to and not to read: then
 * it cannot be synced. */
static int
sync_above(int root_fd, struct larder_err *err)
{
	struct larder_err why = { 0 };
	int rc;

	rc = file_sync_dir(root_fd, "..", &why);
	if (rc == 0 || why.sys_errno == EACCES)
		return LARDER_OK;
	if (err != NULL)
		*err = why;
	return rc;
}

/* Under STORE_LOCK_INIT. Everything before config is durable before config is. */
static int
make_store(struct config *config, int root_fd, uint32_t chunk_size, struct larder_err *err)
{
	int rc;

	rc = judge_directory(root_fd, err);
	if (rc == 0 && fchmod(root_fd, 0700) < 0)
		rc = err_sys(err, "make it private");
	if (rc == 0)
		rc = make_folders(root_fd, err);
	if (rc == 0)
		rc = make_reserve(root_fd, err);
	if (rc == 0)
		rc = file_sync_dir(root_fd, ".", err);
	if (rc == 0)
		rc = sync_above(root_fd, err);
	if (rc == 0)
		rc = config_create(
		    config, root_fd, chunk_size != 0 ? chunk_size : CHUNKER_MEAN_DEFAULT, err);
	return rc;
}

/* The directory itself, if it is absent: its last component only. */
static int
make_directory(const char *path, struct larder_err *err)
{
	char *parent = mem_strdup(path);
	size_t len = strlen(path);
	int rc;

	if (parent == NULL)
		return err_nomem(err);
	while (len > 1 && parent[len - 1] == '/')
		len--;
	while (len > 0 && parent[len - 1] != '/')
		len--;
	while (len > 1 && parent[len - 1] == '/')
		len--;
	parent[len] = '\0';

	rc = file_mkdir(AT_FDCWD, path, 0700, err);
	if (rc == LARDER_ERR_EXISTS)
		rc = LARDER_OK;
	else if (rc == LARDER_ERR_NOT_FOUND)
		rc = err_set(
		    err, rc, "there is no directory %s to make it in", len > 0 ? parent : ".");
	mem_free(parent);
	return rc;
}

static int
open_root(struct larder_store *store, bool create, struct larder_err *err)
{
	int rc;

	rc = file_open(&store->root_fd, AT_FDCWD, store->path, O_RDONLY | O_DIRECTORY, 0, err);
	if (rc == LARDER_ERR_NOT_FOUND && create) {
		rc = make_directory(store->path, err);
		if (rc == 0)
			rc = file_open(
			    &store->root_fd, AT_FDCWD, store->path, O_RDONLY | O_DIRECTORY, 0, err);
	} else if (rc == LARDER_ERR_NOT_FOUND) {
		err_set(err, rc, "there is no store");
	} else if (rc == LARDER_ERR_IO && errno == ENOTDIR) {
		rc = err_set(err, LARDER_ERR_USAGE, "it is not a directory");
	}
	return rc == 0 ? file_refuse_network_fs(store->root_fd, "it", err) : rc;
}

static int
open_lock(struct larder_store *store, struct larder_err *err)
{
	return file_open(
	    &store->lock_fd, store->root_fd, "lock", O_RDWR | O_CREAT | O_NOFOLLOW, 0600, err);
}

/* No config: make the store, unless another process does it at the same time. */
static int
create_config(
    struct larder_store *store, const struct larder_open_options *options, struct larder_err *err)
{
	struct larder_err judged = { 0 };
	int rc;

	rc = judge_directory(store->root_fd, &judged);
	if (rc == LARDER_ERR_USAGE || rc == LARDER_ERR_CORRUPT) {
		int verdict = rc;

		/* what looks strange may be a store that was finished meanwhile */
		rc = config_read(&store->config, store->root_fd, err);
		if (rc == 0)
			return options->create_exclusive ? LARDER_ERR_EXISTS : LARDER_OK;
		rc = verdict;
	}
	if (rc < 0) {
		if (err != NULL)
			*err = judged;
		return rc;
	}
	if (!options->create && !options->create_exclusive)
		return err_set(err, LARDER_ERR_NOT_FOUND, "there is no store");
	rc = open_lock(store, err);
	if (rc < 0)
		return rc;
	rc = file_lock(store->lock_fd, STORE_LOCK_INIT, 1, true, true, "lock", err);
	if (rc < 0)
		return rc;
	rc = config_read(&store->config, store->root_fd, err);
	if (rc == 0 && options->create_exclusive)
		rc = LARDER_ERR_EXISTS;
	else if (rc == LARDER_ERR_NOT_FOUND)
		rc = make_store(&store->config, store->root_fd, options->chunk_size, err);
	if (file_unlock(store->lock_fd, STORE_LOCK_INIT, 1, "lock", NULL) < 0) {
		/* it goes with the descriptor */
	}
	return rc;
}

static int
find_config(
    struct larder_store *store, const struct larder_open_options *options, struct larder_err *err)
{
	int rc;

	rc = config_read(&store->config, store->root_fd, err);
	if (rc == LARDER_ERR_NOT_FOUND)
		rc = create_config(store, options, err);
	else if (rc == 0 && options->create_exclusive)
		rc = LARDER_ERR_EXISTS;
	if (rc == LARDER_ERR_EXISTS)
		return err_set(err, rc, "there is a store already");
	if (rc == 0 && store->config.prefix) {
		rc = err_set(err, LARDER_ERR_VERSION, "config: protocol prefix");
		err_hint(err, "this store needs a newer larder");
	}
	return rc;
}

/* ---- opening ---- */

/* What processes that died left behind; only while this handle is the only one. */
static void
clear_leftovers(struct larder_store *store, int dir_fd, const char *path, const char *containing)
{
	char **names;
	size_t count;

	if (file_list(&names, &count, dir_fd, path, NULL) < 0)
		return;
	for (size_t i = 0; i < count; i++) {
		char name[512];

		if (strstr(names[i], containing) == NULL)
			continue;
		snprintf(name, sizeof name, "%s/%s", path, names[i]);
		if (file_unlink(store->root_fd, name, NULL) < 0) {
			/* the next one tries again */
		}
	}
	mem_free(names);
}

static int
enter_store(struct larder_store *store, struct larder_err *err)
{
	int rc;

	if (store->lock_fd < 0) {
		rc = open_lock(store, err);
		if (rc < 0)
			return rc;
	}
	rc = file_lock(store->lock_fd, STORE_LOCK_OPEN, 1, true, false, "lock", err);
	if (rc == 0) {
		clear_leftovers(store, store->root_fd, "tmp", "");
		clear_leftovers(store, store->root_fd, ".", ".tmp-");
	}
	if (rc < 0 && rc != LARDER_ERR_BUSY)
		return rc;
	return file_lock(store->lock_fd, STORE_LOCK_OPEN, 1, false, true, "lock", err);
}

/* index_dir/<store id>/ is to index/ what the store's directory is otherwise: stores may share
 * one index_dir. */
static int
open_index_dir(struct larder_store *store, struct larder_err *err)
{
	char hex[ID16_HEX_LEN + 1];
	int fd = -1, rc;

	if (store->index_dir == NULL) {
		rc = file_open(
		    &store->index_fd, store->root_fd, ".", O_RDONLY | O_DIRECTORY, 0, err);
		return rc;
	}
	rc = make_directory(store->index_dir, err);
	if (rc == 0)
		rc = file_open(&fd, AT_FDCWD, store->index_dir, O_RDONLY | O_DIRECTORY, 0, err);
	if (rc == 0)
		rc = file_refuse_network_fs(fd, "it", err);
	id16_to_hex(hex, &store->config.id);
	if (rc == 0) {
		rc = file_mkdir(fd, hex, 0700, err);
		if (rc == LARDER_ERR_EXISTS)
			rc = LARDER_OK;
	}
	if (rc == 0)
		rc = file_open(
		    &store->index_fd, fd, hex, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0, err);
	file_close(fd);
	if (rc < 0)
		err_prefix(err, "index directory %s", store->index_dir);
	return rc;
}

/* Everything of the handle that is there already when the file system is asked. */
static int
new_store(struct larder_store **out, const char *path, const struct larder_open_options *options,
    struct larder_err *err)
{
	struct larder_store *store = mem_zalloc(sizeof *store);

	*out = NULL;
	if (store == NULL)
		return err_nomem(err);
	store->root_fd = store->lock_fd = store->index_fd = -1;
	store->pid = getpid();
	store->on_notice = options->on_notice;
	store->notice_context = options->context;
	store->threads = options->threads != 0 ? options->threads : pool_processors();
	pthread_mutex_init(&store->commit_lock, NULL);
	store->path = mem_strdup(path);
	if (options->index_dir != NULL)
		store->index_dir = mem_strdup(options->index_dir);
	if (store->path == NULL || (options->index_dir != NULL && store->index_dir == NULL)) {
		larder_store_close(store);
		return err_nomem(err);
	}
	*out = store;
	return LARDER_OK;
}

static int
open_store(
    struct larder_store *store, const struct larder_open_options *options, struct larder_err *err)
{
	int rc;

	rc = open_root(store, options->create || options->create_exclusive, err);
	if (rc == 0)
		rc = find_config(store, options, err);
	if (rc == 0)
		rc = enter_store(store, err);
	if (rc == 0)
		rc = identity_read(&store->identity, store->root_fd, err);
	if (rc == 0)
		rc = open_index_dir(store, err);
	if (rc == 0)
		rc = pack_files_open(&store->packs, store->root_fd, err);
	if (rc < 0)
		return rc;
	chunker_init(&store->chunker, store->config.seed, store->config.chunk_size);
	rc = fetch_open(&store->fetch, store, err);
	if (rc == 0 && !options->no_index)
		rc = reindex_open(store, err);
	return rc;
}

/* The caller's struct may be of another version of the library: what it does not have is default.
 */
static int
take_options(struct larder_open_options *out, const struct larder_open_options *options,
    struct larder_err *err)
{
	*out = (struct larder_open_options)LARDER_OPEN_OPTIONS_INIT;
	if (options != NULL) {
		if (options->size == 0)
			return err_set(err, LARDER_ERR_USAGE, "options without their size");
		memcpy(out, options, options->size < sizeof *out ? options->size : sizeof *out);
	}
	if (out->chunk_size != 0 &&
	    (out->chunk_size < CHUNKER_MEAN_MIN || out->chunk_size > CHUNKER_MEAN_MAX ||
		(out->chunk_size & (out->chunk_size - 1)) != 0))
		return err_set(err, LARDER_ERR_USAGE,
		    "chunk size %u: it must be a power of two from %d to %d", out->chunk_size,
		    CHUNKER_MEAN_MIN, CHUNKER_MEAN_MAX);
	return LARDER_OK;
}

int
larder_store_open(struct larder_store **out, const char *path,
    const struct larder_open_options *options, struct larder_err *err)
{
	struct larder_open_options taken;
	struct larder_store *store = NULL;
	int rc;

	if (out == NULL)
		return err_set(err, LARDER_ERR_USAGE, "no place for the store's handle");
	*out = NULL;
	if (path == NULL || path[0] == '\0')
		return err_set(err, LARDER_ERR_USAGE, "no path of a store");
	rc = take_options(&taken, options, err);
	if (rc < 0)
		return rc;
	pthread_once(&checked_once, check_hash);

	rc = new_store(&store, path, &taken, err);
	if (rc == 0)
		rc = open_store(store, &taken, err);
	if (rc < 0)
		goto out;
	if (checked < 0)
		store_notice(store, "this processor computes SHA-256 wrong in some of its ways: "
				    "the plain way is used, which is slower");
	*out = store;
	store = NULL; /* handed over: the cleanup below must not take it back */
out:
	if (rc < 0)
		err_prefix(err, "store %s", path);
	larder_store_close(store);
	return rc;
}

void
larder_store_close(struct larder_store *store)
{
	/* What a child inherits belongs to its parent: it is left alone, and goes with the process.
	 */
	if (store == NULL || store->pid != getpid())
		return;
	journal_close(store->journal);
	fetch_close(store->fetch);
	index_close(store->index);
	pack_files_close(store->packs);
	file_close(store->index_fd);
	file_close(store->lock_fd);
	file_close(store->root_fd);
	pthread_mutex_destroy(&store->commit_lock);
	mem_free(store->index_dir);
	mem_free(store->path);
	mem_free(store);
}

void
larder_store_info(struct larder_store_info *out, const struct larder_store *store)
{
	struct larder_store_info info = LARDER_STORE_INFO_INIT;

	/* Locked because the first write of a handle may change the writer; nothing is written
	 * here. */
	pthread_mutex_t *lock = (pthread_mutex_t *)(uintptr_t)&store->commit_lock;

	id16_to_hex(info.id, &store->config.id);
	pthread_mutex_lock(lock);
	if (store->identity.known)
		id16_to_hex(info.writer, &store->identity.writer);
	pthread_mutex_unlock(lock);
	info.path = store->path;
	info.mode = "plain";
	info.format = store->config.format;
	info.chunk_size = store->config.chunk_size;
	if (out->size < info.size)
		info.size = out->size;
	memcpy(out, &info, info.size);
}
