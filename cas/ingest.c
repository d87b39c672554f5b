/*
 * Put: a file, a directory or a stream becomes the next version of a name.
 *
 * 1. Directories are looked at depth first, by any worker; a directory is
 *    complete when all in it is, and whoever completes it encodes its tree and
 *    attributes and goes on with its parent.
 * 2. A file whose stat agrees with what was remembered is not read; a directory
 *    in which nothing changed is not even encoded.
 * 3. What is remembered is written by the commit that makes everything durable,
 *    never before: a row therefore never refers to what is not in the store.
 * 4. The version stands in the last journal entry, after all packs it needs.
 *
 * Looking: ingestlook.c. Directories on their way: ingestnode.c. The end:
 * ingestend.c. Files: smallfile.c, bigfile.c. Which chunks share a segment: group.c.
 */
#include "cas/ingest.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cas/base/clock.h"
#include "cas/base/err.h"
#include "cas/base/file.h"
#include "cas/base/limits.h"
#include "cas/base/mem.h"
#include "cas/object/entry.h"

enum {
	FRESH_MAX = 256 * 1024, /* ids a generation; 40 bytes each and slack */
	PROGRESS_NS = 100 * 1000 * 1000,
	IN_FLIGHT_MAX = 48 * 1024 * 1024,
};

/* ---- what the user hears ---- */

void
ingest_path(char *out, size_t room, const struct ingest *in, const struct ingest_node *node,
    const char *name)
{
	const char *below = node != NULL && !node->lone_file ? node->path : "";
	bool named = name != NULL && name[0] != 0 && (node == NULL || !node->lone_file);

	snprintf(out, room, "%s%s%s%s%s", in->top, below[0] ? "/" : "", below, named ? "/" : "",
	    named ? name : "");
}

void
ingest_item(struct ingest *in, const struct ingest_node *node, const char *name,
    enum larder_status status, const char *message)
{
	char path[2 * PATH_LEN_MAX];
	struct larder_item item = { .path = path, .status = status, .message = message };

	atomic_fetch_add(&in->skipped, 1);
	if (in->options->watch.on_item == NULL)
		return;
	ingest_path(path, sizeof path, in, node, name);
	pthread_mutex_lock(&in->watch_lock);
	in->options->watch.on_item(in->options->watch.context, &item);
	pthread_mutex_unlock(&in->watch_lock);
}

void
ingest_progress(struct ingest *in)
{
	const struct larder_watch *watch = &in->options->watch;
	struct larder_progress progress = { 0 };
	int64_t now;

	if (watch->on_progress == NULL || pthread_mutex_trylock(&in->watch_lock) != 0)
		return;
	now = clock_mono_ns();
	if (now >= in->progress_due_ns) {
		in->progress_due_ns = now + PROGRESS_NS;
		progress.files_done = atomic_load(&in->files);
		progress.bytes_done = atomic_load(&in->bytes);
		progress.bytes_new = atomic_load(&in->new_bytes);
		progress.bytes_known = atomic_load(&in->known_bytes);
		watch->on_progress(watch->context, &progress);
	}
	pthread_mutex_unlock(&in->watch_lock);
}

/* ---- chunks and objects ---- */

int
ingest_admit(struct ingest *in, unsigned worker, const struct larder_id *id, struct larder_err *err)
{
	struct index_place place;
	bool known;
	int rc;

	pthread_mutex_lock(&in->fresh_lock);
	known = idset_find(&in->fresh[0], id) != NULL || idset_find(&in->fresh[1], id) != NULL;
	pthread_mutex_unlock(&in->fresh_lock);
	if (known)
		return 0;
	rc = index_chunk_get(&place, in->workers[worker].read, id, err);
	if (rc != LARDER_ERR_NOT_FOUND)
		return rc; /* OK = 0: known */

	/* Two workers may have come this far with the same id: the first one has it. */
	pthread_mutex_lock(&in->fresh_lock);
	if (in->fresh[0].count >= FRESH_MAX) {
		struct idset older = in->fresh[1];

		/* what leaves here was committed long ago: a quarter of a million chunks came after
		 * it */
		in->fresh[1] = in->fresh[0];
		in->fresh[0] = older;
		idset_clear(&in->fresh[0]);
	}
	rc = idset_find(&in->fresh[1], id) != NULL ? 0 : idset_add(&in->fresh[0], id, 0);
	pthread_mutex_unlock(&in->fresh_lock);
	return rc < 0 ? err_nomem(err) : rc;
}

int
ingest_object(struct ingest *in, unsigned worker, struct larder_id *id, enum pack_type type,
    const void *data, size_t len, const struct larder_id *base, struct larder_err *err)
{
	struct group_chunk chunk = {
		.type = type, .id = id, .data = data, .len = (uint32_t)len, .name = "", .base = base
	};
	int rc;

	sha256(id, data, len);
	rc = ingest_admit(in, worker, id, err);
	if (rc == 1)
		rc = group_add(in->group, &chunk, err);
	return rc < 0 ? rc : LARDER_OK;
}

/* ---- the call ---- */

static int
idle(void *context, unsigned worker, struct larder_err *err)
{
	return small_flush(context, worker, err);
}

static void
drop(void *context, void *arg)
{
	struct pool_task *task = arg;

	(void)context;
	task->drop(task);
}

static int
workers_open(struct ingest *in, struct larder_err *err)
{
	int rc = LARDER_OK;

	in->worker_count = pool_workers(in->pool);
	in->workers = mem_zarray(in->worker_count, sizeof *in->workers);
	if (in->workers == NULL)
		return err_nomem(err);
	for (unsigned i = 0; i < in->worker_count && rc == LARDER_OK; i++) {
		struct ingest_worker *w = &in->workers[i];

		buf_init(&w->bytes, PACK_PLAIN_MAX);
		buf_init(&w->row, 64 * KIB);
		w->batch = mem_alloc(BATCH_LEN + 2 * SMALL_FILE_MAX + 256);
		if (w->batch == NULL)
			return err_nomem(err);
		rc = index_read_begin(&w->read, in->store->index, err);
		if (rc == LARDER_OK)
			rc = fetch_reader_open(&w->reader, in->store, err);
	}
	return rc;
}

static int
spill_open(struct ingest *in, struct larder_err *err)
{
	char name[64], hex[ID16_HEX_LEN + 1];
	struct id16 id;
	int rc;

	rc = id16_random(&id, err);
	if (rc < 0)
		return rc;
	id16_to_hex(hex, &id);
	snprintf(name, sizeof name, "tmp/seen-%s", hex);
	rc = file_open(
	    &in->spill_fd, in->store->root_fd, name, O_RDWR | O_CREAT | O_EXCL, 0600, err);
	if (rc == LARDER_OK)
		rc = file_unlink(in->store->root_fd, name, err);
	return rc;
}

/* What the exclusions are, as part of the key of what is remembered. */
static void
hash_rules(struct ingest *in)
{
	struct sha256 stream;
	uint8_t flag = in->rules.one_file_system;

	sha256_init(&stream);
	sha256_update(&stream, &flag, 1);
	for (size_t i = 0; i < in->rules.exclude_count; i++)
		sha256_update(&stream, in->rules.exclude[i], strlen(in->rules.exclude[i]) + 1);
	sha256_final(&stream, &in->rules_id);
}

static int
load_before(struct ingest *in, const char *name, struct larder_err *err)
{
	struct index_version_row row = { 0 };
	struct index_read *read = NULL;
	int rc;

	rc = index_read_begin(&read, in->store->index, err);
	if (rc == LARDER_OK) {
		rc = index_version_get(&row, read, name, 0, INT64_MAX, err);
		if (rc == LARDER_OK) {
			in->has_before = row.version.kind == ENTRY_KIND_DIR;
			in->was_chunk = row.version.kind == ENTRY_KIND_FILE && !row.version.list &&
					row.version.bytes > 0;
			in->before_id = row.version.id;
		} else if (rc == LARDER_ERR_NOT_FOUND) {
			rc = LARDER_OK;
		}
	}
	index_version_release(&row);
	index_read_end(read);
	return rc;
}

static void
ingest_close(struct ingest *in)
{
	if (in->pool != NULL) { /* after an early error workers may still be at it */
		struct larder_err over = { .status = LARDER_ERR_CANCELLED };

		pool_fail(in->pool, LARDER_ERR_CANCELLED, &over);
		if (pool_wait(in->pool, &over) < 0)
			big_abandon(in);
	}
	pool_close(in->pool);
	while (in->nodes != NULL) /* after a failure */
		ingest_node_drop(&in->nodes->task);
	group_close(in->group);
	packer_close(in->packer);
	for (unsigned i = 0; in->workers != NULL && i < in->worker_count; i++) {
		struct ingest_worker *w = &in->workers[i];

		index_read_end(w->read);
		fetch_reader_close(w->reader);
		mem_free(w->batch);
		buf_release(&w->bytes);
		buf_release(&w->row);
	}
	mem_free(in->workers);
	walk_owners_release(&in->owners);
	idset_release(&in->fresh[0]);
	idset_release(&in->fresh[1]);
	buf_release(&in->spill);
	file_close(in->spill_fd);
	if (in->top_fd >= 0)
		close(in->top_fd);
	pthread_mutex_destroy(&in->fresh_lock);
	pthread_mutex_destroy(&in->spill_lock);
	pthread_mutex_destroy(&in->watch_lock);
	pthread_mutex_destroy(&in->bigs_lock);
	pthread_mutex_destroy(&in->nodes_lock);
	mem_free(in->top);
}

static int
ingest_open(struct ingest *in, struct larder_store *store, const char *name,
    const struct larder_put_options *options, struct larder_err *err)
{
	struct pool_options pool = { .workers = store->threads,
		.order = { POOL_FIFO, POOL_FIFO, POOL_LIFO },
		.bytes_max = IN_FLIGHT_MAX,
		.context = in,
		.drop = drop,
		.idle = idle,
		.cancel = options->watch.cancel };
	struct stat st;
	int rc;

	in->store = store;
	in->options = options;
	in->spill_fd = -1;
	pthread_mutex_init(&in->fresh_lock, NULL);
	pthread_mutex_init(&in->spill_lock, NULL);
	pthread_mutex_init(&in->watch_lock, NULL);
	pthread_mutex_init(&in->bigs_lock, NULL);
	pthread_mutex_init(&in->nodes_lock, NULL);
	walk_owners_init(&in->owners);
	idset_init(&in->fresh[0], 2 * FRESH_MAX);
	idset_init(&in->fresh[1], 2 * FRESH_MAX);
	buf_init(&in->spill, 4 * MIB);
	in->overlap = chunker_most(&store->chunker, UINT64_MAX);
	in->rules.exclude = options->exclude;
	in->rules.exclude_count = options->exclude_count;
	in->rules.one_file_system = options->one_file_system;
	if (fstat(store->root_fd, &st) < 0)
		return err_sys(err, "stat the store");
	in->rules.store_dev = (uint64_t)st.st_dev;
	in->rules.store_ino = (uint64_t)st.st_ino;
	hash_rules(in);
	rc = load_before(in, name, err);
	if (rc == LARDER_OK)
		rc = pool_open(&in->pool, &pool, err);
	if (rc == LARDER_OK)
		rc = workers_open(in, err);
	if (rc == LARDER_OK)
		rc = packer_open(&in->packer, store, options->dry_run, err);
	if (rc == LARDER_OK)
		rc = group_open(&in->group, store, in->pool, RANK_COMPRESS, in->packer, err);
	if (rc == LARDER_OK && !options->dry_run)
		rc = spill_open(in, err);
	return rc;
}

/* Everything that is still gathered goes on its way; nothing is left in memory afterwards. */
static int
drain(struct ingest *in, struct larder_err *err)
{
	int rc;

	do {
		rc = pool_wait(in->pool, err);
		if (rc < 0)
			return rc;
		rc = group_flush(in->group, err);
	} while (rc == 1);
	return rc;
}

static int
check_options(const char *name, const struct larder_put_options *options, struct larder_err *err)
{
	if (name == NULL || (options->tags == NULL && options->tag_count > 0))
		return err_set(err, LARDER_ERR_USAGE, "a name is needed");
	if (options->tag_count > TAGS_MAX)
		return err_set(err, LARDER_ERR_USAGE, "%zu tags; at most %d (TAGS_MAX)",
		    options->tag_count, TAGS_MAX);
	for (size_t i = 0; i < options->tag_count; i++) {
		const struct larder_tag *t = &options->tags[i];

		if (t->key == NULL || t->value == NULL || t->key[0] == 0)
			return err_set(err, LARDER_ERR_USAGE, "a tag needs a key and a value");
		if (strlen(t->key) > TAG_LEN_MAX || strlen(t->value) > TAG_LEN_MAX)
			return err_set(err, LARDER_ERR_USAGE,
			    "tag %.40s: longer than %d bytes (TAG_LEN_MAX)", t->key, TAG_LEN_MAX);
		for (size_t j = 0; j < i; j++)
			if (strcmp(options->tags[j].key, t->key) == 0)
				return err_set(
				    err, LARDER_ERR_USAGE, "tag %s is given twice", t->key);
	}
	if (strncmp(name, "id:", 3) == 0)
		return err_set(err, LARDER_ERR_USAGE,
		    "a name cannot begin with id:, which asks for an object by its id");
	return entry_name_check(name, strlen(name), err);
}

/* Common to both calls: options as we know them, name, an empty result. */
static int
begin(struct larder_put_options *known, struct larder_store *store, const char *name,
    const struct larder_put_options *options, struct larder_put_result *result,
    struct larder_err *err)
{
	struct larder_put_options defaults = LARDER_PUT_OPTIONS_INIT;
	int rc = store_enter(store, err);

	if (rc < 0)
		return rc;
	if (result == NULL)
		return err_set(err, LARDER_ERR_USAGE, "a place for the result is needed");
	*known = defaults;
	if (options != NULL)
		memcpy(
		    known, options, options->size < sizeof *known ? options->size : sizeof *known);
	memset(result, 0, sizeof *result);
	return check_options(name, known, err);
}

/* The top as an open descriptor and an absolute path; its kind decides what runs. */
static int
open_top(struct ingest *in, const char *path, struct ingest_node **node, pool_fn *task,
    struct larder_err *err)
{
	char absolute[PATH_MAX];
	const char *slash;
	struct stat st;

	in->top_fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (in->top_fd < 0)
		return err_sys(err, "open %s", path);
	if (fstat(in->top_fd, &st) < 0)
		return err_sys(err, "stat %s", path);
	if (realpath(path, absolute) == NULL)
		return err_sys(err, "%s", path);
	in->top = mem_strdup(absolute);
	if (in->top == NULL)
		return err_nomem(err);
	in->rules.root_dev = (uint64_t)st.st_dev;
	if (S_ISDIR(st.st_mode)) {
		if ((uint64_t)st.st_dev == in->rules.store_dev &&
		    (uint64_t)st.st_ino == in->rules.store_ino)
			return err_set(err, LARDER_ERR_USAGE, "%s is the store itself", path);
		*node = ingest_node_new(in, NULL, 0, "");
		*task = ingest_look_task;
	} else if (S_ISREG(st.st_mode)) {
		slash = strrchr(absolute, '/');
		*node = ingest_lone_node(in, slash ? slash + 1 : absolute);
		*task = ingest_lone_task;
	} else {
		return err_set(err, LARDER_ERR_USAGE,
		    "%s is neither a file nor a directory; give a pipe as -", path);
	}
	return *node == NULL ? err_nomem(err) : LARDER_OK;
}

int
larder_put(struct larder_store *store, const char *name, const char *path,
    const struct larder_put_options *options, struct larder_put_result *result,
    struct larder_err *err)
{
	struct larder_put_options known;
	struct ingest_node *node = NULL;
	struct ingest *in = NULL;
	pool_fn task;
	int rc;

	rc = begin(&known, store, name, options, result, err);
	if (rc < 0)
		return rc;
	in = mem_zalloc(sizeof *in);
	if (in == NULL)
		return err_nomem(err);
	in->top_fd = -1;
	rc = ingest_open(in, store, name, &known, err);
	if (rc == LARDER_OK)
		rc = open_top(in, path, &node, &task, err);
	if (rc == LARDER_OK && pool_submit(in->pool, RANK_DIR, task, node) < 0)
		rc = err_nomem(err);
	if (rc == LARDER_OK)
		rc = drain(in, err);
	if (rc == LARDER_OK && !in->done)
		rc = err_set(err, LARDER_ERR_IO, "%s could not be read", path);
	if (rc == LARDER_OK)
		rc = ingest_end(in, name, result, err);
	ingest_close(in);
	mem_free(in);
	return rc;
}

/* ---- a stream ---- */

struct stream_task {
	struct pool_task task;
	struct ingest_node *node;
	uint8_t *head;
	size_t head_len;
};

static void
stream_drop(struct pool_task *task)
{
	mem_free(task);
}

static int
stream_small_task(void *context, void *arg, unsigned worker, struct larder_err *err)
{
	struct stream_task *t = arg;
	struct ingest_node *node = t->node;
	int rc = small_add(context, worker, node, 0, t->head, t->head_len, err);

	mem_free(t);
	if (rc == LARDER_OK)
		rc = ingest_node_done(context, worker, node, err);
	return rc;
}

static int
stream_done_task(void *context, void *arg, unsigned worker, struct larder_err *err)
{
	struct stream_task *t = arg;
	struct ingest_node *node = t->node;

	mem_free(t);
	return ingest_node_done(context, worker, node, err);
}

static int
put_stream(struct ingest *in, int fd, struct larder_err *err)
{
	struct ingest_node *node = ingest_lone_node(in, "");
	struct stream_task *t = mem_zalloc(sizeof *t);
	uint8_t *head = mem_alloc(SMALL_FILE_MAX + 1);
	size_t len = 0;
	bool small, ended = false;
	int rc = LARDER_OK;

	if (node == NULL || t == NULL || head == NULL) {
		rc = err_nomem(err);
		goto out;
	}
	rc = stream_read(in, fd, head, &len, SMALL_FILE_MAX + 1, &ended, err);
	t->task.drop = stream_drop;
	t->node = node;
	t->head = head;
	t->head_len = len;
	small = len <= SMALL_FILE_MAX;
	if (rc == LARDER_OK && !small)
		rc = big_stream(in, node, 0, fd, head, len, err);
	if (rc < 0)
		pool_fail(in->pool, rc, err);
	if (rc == LARDER_OK &&
	    pool_submit(in->pool, RANK_DIR, small ? stream_small_task : stream_done_task, t) < 0)
		rc = err_nomem(err);
	if (rc == LARDER_OK) {
		t = NULL;
		rc = drain(in, err);
	} else {
		rc = pool_wait(in->pool,
		    err); /* which had the first error, perhaps; workers still use the node */
	}
out:
	mem_free(t);
	mem_free(head);
	return rc;
}

int
larder_put_fd(struct larder_store *store, const char *name, int fd,
    const struct larder_put_options *options, struct larder_put_result *result,
    struct larder_err *err)
{
	struct larder_put_options known;
	struct ingest *in;
	int rc;

	rc = begin(&known, store, name, options, result, err);
	if (rc < 0)
		return rc;
	in = mem_zalloc(sizeof *in);
	if (in == NULL)
		return err_nomem(err);
	in->top_fd = -1;
	rc = ingest_open(in, store, name, &known, err);
	if (rc == LARDER_OK && (in->top = mem_strdup("standard input")) == NULL)
		rc = err_nomem(err);
	if (rc == LARDER_OK)
		rc = put_stream(in, fd, err);
	if (rc == LARDER_OK)
		rc = ingest_end(in, name, result, err);
	ingest_close(in);
	mem_free(in);
	return rc;
}
