/*
 * larder_get: a version, or what lies at a path in it, becomes files again.
 *
 * 1. Nothing is written but below the staged name beside the destination, and
 *    that name becomes the destination's only when everything in it was read,
 *    verified and written.
 * 2. Every byte that is written was hashed and compared before.
 * 3. After a failure the staged thing stays: the next try compares what is there
 *    with what should be, and writes only what differs.
 *
 * Nothing is synced: a restore is not a promise about the destination's disk, and
 * the store is still there. Who wants it calls sync.
 */
#include "cas/restore.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cas/base/clock.h"
#include "cas/base/err.h"
#include "cas/base/file.h"
#include "cas/base/mem.h"
#include "cas/staging.h"

enum {
	IN_FLIGHT_MAX = 32 * 1024 * 1024, /* memory of batches that are being written */
	HANDLES_MAX = 256,                /* directories that a worker keeps open */
	HANDLES_MIN = 8,
	OTHER_DESCRIPTORS = 200, /* packs, index, what the program has open */
	PROGRESS_NS = 100 * 1000 * 1000
};

/* ---- what the caller hears ---- */

bool
restore_cancelled(const struct restore *r)
{
	const volatile int *cancel = r->options->watch.cancel;

	return cancel != NULL && __atomic_load_n(cancel, __ATOMIC_RELAXED) != 0;
}

void
restore_item(struct restore *r, const struct restore_dir *dir, const char *name,
    enum larder_status status, const char *fmt, ...)
{
	struct larder_item item = { .path = "", .status = status };
	struct buf path = { 0 };
	char message[256];
	va_list args;

	atomic_fetch_add(&r->skipped, 1);
	if (r->options->watch.on_item == NULL)
		return;
	va_start(args, fmt);
	vsnprintf(message, sizeof message, fmt, args);
	va_end(args);
	item.message = message;
	if (!r->top_is_new && !r->verify_only)
		item.path = "."; /* one entry, whose name is a staged one */
	else if (restore_path(&path, dir, name) == LARDER_OK)
		item.path = (const char *)path.data;
	pthread_mutex_lock(&r->watch_lock);
	r->options->watch.on_item(r->options->watch.context, &item);
	pthread_mutex_unlock(&r->watch_lock);
	buf_release(&path);
}

/* Errors that say something about one name, and not about the whole destination. */
static bool
is_about_the_entry(const struct larder_err *cause)
{
	switch (cause->sys_errno) {
	case EACCES:
	case EEXIST:
	case EILSEQ:
	case EINVAL:
	case EMLINK:
	case ENAMETOOLONG:
	case ENODEV:
	case ENXIO:
	case EOPNOTSUPP:
	case EOVERFLOW:
	case EPERM:
		return true;
	default:
		return cause->status == LARDER_ERR_EXISTS;
	}
}

int
restore_refused(struct restore *r, const struct restore_dir *dir, const char *name, int status,
    const struct larder_err *cause, struct larder_err *err)
{
	if (is_about_the_entry(cause)) {
		restore_item(r, dir, name,
		    cause->sys_errno == EPERM || cause->sys_errno == EACCES ? LARDER_ERR_REFUSED
									    : cause->status,
		    "%s", cause->message);
		return LARDER_OK;
	}
	if (err != NULL)
		*err = *cause;
	return status;
}

void
restore_progress(struct restore *r)
{
	const struct larder_watch *watch = &r->options->watch;
	struct larder_progress progress = { .files_total = r->files_total,
		.bytes_total = r->bytes_total };
	int64_t now;

	if (watch->on_progress == NULL || pthread_mutex_trylock(&r->watch_lock) != 0)
		return;
	now = clock_mono_ns();
	if (now >= r->progress_due_ns) {
		r->progress_due_ns = now + PROGRESS_NS;
		progress.files_done = atomic_load(&r->files);
		progress.bytes_done = atomic_load(&r->bytes);
		watch->on_progress(watch->context, &progress);
	}
	pthread_mutex_unlock(&r->watch_lock);
}

/* ---- workers ---- */

static unsigned
handles_each(unsigned workers)
{
	struct rlimit limit;
	rlim_t each;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur <= OTHER_DESCRIPTORS)
		return HANDLES_MIN;
	each = (limit.rlim_cur - OTHER_DESCRIPTORS) / workers;
	return each < HANDLES_MIN ? HANDLES_MIN : each > HANDLES_MAX ? HANDLES_MAX : (unsigned)each;
}

static int
open_worker(struct restore *r, struct restore_worker *w, struct larder_err *err)
{
	w->handles = mem_zarray(r->handle_count, sizeof *w->handles);
	if (w->handles == NULL)
		return err_nomem(err);
	for (unsigned i = 0; i < r->handle_count; i++)
		w->handles[i].fd = -1;
	return fetch_reader_open(&w->reader, r->store, err);
}

static void
close_worker(const struct restore *r, struct restore_worker *w)
{
	for (unsigned i = 0; w->handles != NULL && i < r->handle_count; i++)
		file_close(w->handles[i].fd);
	mem_free(w->handles);
	mem_free(w->chain);
	mem_free(w->jobs);
	mem_free(w->digests);
	mem_free(w->places);
	mem_free(w->ids);
	buf_release(&w->scratch);
	fetch_reader_close(w->reader);
}

/* Nothing else to do: what is gathered may be enough, or the last there is. */
static int
idle(void *context, unsigned worker, struct larder_err *err)
{
	struct restore *r = context;

	return restore_batch_flush(r, &r->workers[worker], false, err);
}

static void
restore_close(struct restore *r)
{
	struct restore_late *next;

	pool_close(r->pool);
	writeback_close(r->writeback);
	restore_links_free(r);
	for (struct restore_late *late = r->late_links; late != NULL; late = next) {
		next = late->next;
		mem_free(late);
	}
	/* after a failure some are left */
	while (r->batches != NULL)
		restore_batch_free(r, r->batches);
	while (r->larges != NULL)
		restore_large_free(r, r->larges);
	while (r->dirs != NULL)
		restore_dir_free(r, r->dirs);
	mem_free(r->held);
	for (unsigned i = 0; r->workers != NULL && i < r->worker_count; i++)
		close_worker(r, &r->workers[i]);
	mem_free(r->workers);
	pthread_mutex_destroy(&r->lock);
	pthread_mutex_destroy(&r->links_lock);
	pthread_mutex_destroy(&r->watch_lock);
}

static int
restore_open(struct restore *r, struct larder_store *store,
    const struct larder_get_options *options, struct larder_err *err)
{
	const struct pool_options pool = { .workers = store->threads,
		.order = { [RESTORE_DIR] = POOL_LIFO },
		.bytes_max = IN_FLIGHT_MAX,
		.context = r,
		.idle = idle,
		.cancel = options->watch.cancel };
	int rc;

	memset(r, 0, sizeof *r);
	r->store = store;
	r->options = options;
	r->verify_only = options->verify_only;
	r->euid = geteuid();
	r->is_root = r->euid == 0;
	r->top_fd = -1;
	pthread_mutex_init(&r->lock, NULL);
	pthread_mutex_init(&r->links_lock, NULL);
	pthread_mutex_init(&r->watch_lock, NULL);
	rc = writeback_open(&r->writeback, err);
	if (rc == LARDER_OK)
		rc = pool_open(&r->pool, &pool, err);
	if (rc < 0)
		return rc;
	r->worker_count = pool_workers(r->pool);
	r->handle_count = handles_each(r->worker_count);
	r->workers = mem_zarray(r->worker_count, sizeof *r->workers);
	if (r->workers == NULL)
		return err_nomem(err);
	for (unsigned i = 0; i < r->worker_count && rc == LARDER_OK; i++)
		rc = open_worker(r, &r->workers[i], err);
	return rc;
}

/* ---- running ---- */

static int
wait_for_all(struct restore *r, struct larder_err *err)
{
	int rc = pool_wait(r->pool, err);

	if (rc == LARDER_OK) /* nobody else uses the workers now */
		rc = restore_dirs_end(r, &r->workers[0], err);
	return rc;
}

static int
run_dir(struct restore *r, const struct spec_target *target, struct larder_err *err)
{
	struct restore_dir *top;
	int rc;

	rc = restore_dir_new(&top, r, NULL, "", 0, err);
	if (rc < 0)
		return rc;
	top->tree = target->id;
	top->has_attrs = target->has_attrs;
	top->attrs = target->attrs;
	top->existing = r->resume;
	rc = restore_dir_submit(r, top, err);
	return rc < 0 ? rc : wait_for_all(r, err);
}

/* Anything but a directory: one entry `name` of the top, which is not ours. */
static int
run_entry(struct restore *r, const struct spec_target *target, const char *name,
    const struct staging *staging, struct larder_err *err)
{
	const struct tree_entry tree = { .name = name,
		.name_len = strlen(name),
		.kind = target->kind,
		.executable = target->executable,
		.list = target->list,
		.size = target->bytes,
		.id = target->id,
		.target = target->target,
		.target_len = target->target_len,
		.major = target->major,
		.minor = target->minor };
	struct attrs_row row = target->row;
	/* in verify_only no descriptor is asked for; any number but -1 says "one file" */
	const struct restore_entry entry = { .tree = &tree,
		.row = target->has_row ? &row : NULL,
		.lent_fd = staging != NULL ? staging->fd : INT32_MAX,
		.lent_existing = staging != NULL && staging->existing };
	struct restore_dir *top;
	int rc;

	row.link = 0; /* there is only one name here */
	rc = restore_dir_new(&top, r, NULL, "", 0, err);
	if (rc == LARDER_OK)
		rc = restore_take_entry(r, &r->workers[0], top, &entry, err);
	if (rc == LARDER_OK)
		rc = pool_wait(r->pool, err);
	return rc < 0 ? rc : restore_dir_done(r, &r->workers[0], top, err);
}

/*
 * What the mode of a new directory would be: asked of the kernel, since asking
 * for the umask changes it. The staged name is one that nothing in there has.
 */
static int
learn_mode(uint32_t *mode, const struct staging *staging, struct larder_err *err)
{
	struct stat st = { 0 };
	int rc;

	(void)unlinkat(staging->fd, staging->staged, AT_REMOVEDIR);
	rc = file_mkdir(staging->fd, staging->staged, 0777, err);
	if (rc < 0)
		return rc;
	if (fstatat(staging->fd, staging->staged, &st, AT_SYMLINK_NOFOLLOW) < 0)
		rc = err_sys(err, "look at %s", staging->staged);
	*mode = st.st_mode & 0777;
	(void)unlinkat(staging->fd, staging->staged, AT_REMOVEDIR);
	return rc;
}

static int
write_dir(struct restore *r, const struct spec_target *target, struct staging *staging,
    struct larder_err *err)
{
	int rc;

	rc = staging_make_dir(staging, err);
	if (rc == LARDER_OK && !target->has_attrs)
		rc = learn_mode(&r->top_mode, staging, err);
	if (rc < 0)
		return rc;
	r->top_fd = staging->fd;
	r->top_is_new = true;
	r->resume = staging->existing;
	return run_dir(r, target, err);
}

static int
write_entry(struct restore *r, const struct spec_target *target, struct staging *staging,
    struct larder_err *err)
{
	int rc;

	if (target->kind == TREE_FILE)
		rc = staging_make_file(staging,
		    target->has_row      ? 0600
		    : target->executable ? 0777
					 : 0666,
		    err);
	else
		rc = staging_clear(staging, err);
	if (rc < 0)
		return rc;
	r->top_fd = staging->parent_fd;
	rc = run_entry(r, target, staging->staged, staging, err);
	if (rc == LARDER_OK && target->kind != TREE_FILE && atomic_load(&r->skipped) > 0) {
		struct stat st;

		if (fstatat(staging->parent_fd, staging->staged, &st, AT_SYMLINK_NOFOLLOW) < 0)
			rc = err_set(err, LARDER_ERR_REFUSED, "it could not be made");
	}
	return rc;
}

/* ---- the call ---- */

/* The staged name comes from what is restored: content and attributes. */
static void
identify(struct larder_id *out, const struct spec_target *target)
{
	struct sha256 stream;
	uint8_t kind = (uint8_t)target->kind;

	sha256_init(&stream);
	sha256_update(&stream, &kind, 1);
	sha256_update(&stream, target->id.bytes, LARDER_ID_LEN);
	sha256_update(&stream, target->attrs.bytes, LARDER_ID_LEN);
	sha256_final(&stream, out);
}

static void
describe(struct larder_get_result *out, const struct spec_target *target)
{
	memcpy(out->name, target->name, sizeof out->name);
	out->version = target->version;
	out->id = target->id;
}

static int
get_to(
    struct restore *r, const struct spec_target *target, const char *dest, struct larder_err *err)
{
	struct staging staging = { .parent_fd = -1, .fd = -1 };
	struct larder_id what;
	int rc;

	identify(&what, target);
	rc = staging_open(&staging, dest, r->options->overwrite, &what, err);
	if (rc < 0)
		return rc;
	rc = target->kind == TREE_DIR ? write_dir(r, target, &staging, err)
				      : write_entry(r, target, &staging, err);
	if (rc == LARDER_OK)
		rc = staging_move(&staging, err);
	if (rc == 1) {
		const struct restore_dir none = { .parent = NULL };

		restore_item(r, &none, NULL, LARDER_ERR_IO, "%s",
		    err != NULL ? err->message : "what was replaced could not be removed");
		rc = LARDER_OK;
	}
	staging_close(&staging);
	return rc;
}

static int
get(struct larder_store *store, const struct spec_target *target, const char *dest,
    const struct larder_get_options *options, struct larder_get_result *result,
    struct larder_err *err)
{
	struct restore r;
	int rc;

	rc = restore_open(&r, store, options, err);
	if (rc == LARDER_OK) {
		r.files_total = target->whole ? target->files : 0;
		r.bytes_total = target->bytes;
		if (!r.verify_only)
			rc = get_to(&r, target, dest, err);
		else if (target->kind == TREE_DIR)
			rc = run_dir(&r, target, err);
		else
			rc = run_entry(&r, target, "file", NULL, err);
	}
	result->files = atomic_load(&r.files);
	result->bytes = atomic_load(&r.bytes);
	result->skipped = atomic_load(&r.skipped);
	restore_close(&r);
	if (rc == LARDER_OK && result->skipped > 0)
		rc = err_set(err, LARDER_ERR_PARTIAL,
		    "%llu entries or attributes could not be restored",
		    (unsigned long long)result->skipped);
	return rc;
}

int
larder_get(struct larder_store *store, const char *spec, const char *dest,
    const struct larder_get_options *options, struct larder_get_result *result,
    struct larder_err *err)
{
	static const struct larder_get_options defaults = LARDER_GET_OPTIONS_INIT;
	struct larder_get_result ignored;
	struct spec_target target = { 0 };
	struct fetch_reader *reader = NULL;
	int rc;

	rc = store_enter(store, err);
	if (rc < 0)
		return rc;
	if (options == NULL)
		options = &defaults;
	if (result == NULL)
		result = &ignored;
	memset(result, 0, sizeof *result);
	if (spec == NULL || (dest == NULL && !options->verify_only))
		return err_set(err, LARDER_ERR_USAGE, "larder_get needs a spec and a destination");

	rc = fetch_reader_open(&reader, store, err);
	if (rc == LARDER_OK)
		rc = spec_resolve(&target, store, reader, spec, options->at_ns, err);
	fetch_reader_close(reader);
	if (rc < 0)
		return rc;
	describe(result, &target);
	rc = get(store, &target, dest, options, result, err);
	if (rc < 0)
		spec_prefix(err, spec);
	spec_release(&target);
	return rc;
}
