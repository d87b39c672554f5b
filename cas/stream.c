/*
 * larder_get_fd: the bytes of one file, in order, to a descriptor.
 *
 * The calling thread reads the list of chunks and hands parts of it to workers,
 * which decode and verify each into its own buffer; it writes them in order. The
 * parts form a ring, so memory is bounded and reading runs ahead of writing.
 *
 * 1. Only verified chunks are written.
 * 2. Where the SHA-256 of the whole is known, it is compared before the last part
 *    is let go: who gets all bytes has the right ones.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "cas/base/clock.h"
#include "cas/base/err.h"
#include "cas/base/mem.h"
#include "cas/base/pool.h"
#include "cas/base/sha256.h"
#include "cas/fetch.h"
#include "cas/reach.h"
#include "cas/spec.h"
#include "cas/store.h"

enum {
	PART_LEN = 4 * 1024 * 1024,
	PARTS_MAX = 12,          /* 48 MiB */
	ALONE_MAX = 1024 * 1024, /* up to here no thread is worth its start */
	PROGRESS_NS = 100 * 1000 * 1000
};

struct chunk {
	struct larder_id id;
	uint64_t len;
};

struct part {
	struct chunk *chunks;
	size_t count, room;
	size_t len;
	uint8_t *data;
	bool done; /* under stream->lock, like rc and err */
	int rc;
	struct larder_err err;
};

struct worker {
	struct fetch_reader *reader;
	struct larder_id *ids, *digests;
	struct index_place *places;
	struct sha256_job *jobs;
	size_t room;
};

struct stream {
	const struct larder_get_options *options;
	int fd;
	struct pool *pool;
	struct worker *workers;
	unsigned worker_count;
	pthread_mutex_t lock;
	pthread_cond_t part_done;
	struct part parts[PARTS_MAX];
	unsigned part_count;
	unsigned first,
	    used; /* the ring: parts that were handed out, oldest first; the next is open */
	bool hash;
	struct sha256 sha256;
	uint64_t bytes, bytes_total;
	int64_t progress_due_ns;
};

/* ---- writing ---- */

static int
wait_until_writable(int fd, struct larder_err *err)
{
	struct pollfd p = { .fd = fd, .events = POLLOUT };

	if (poll(&p, 1, -1) < 0 && errno != EINTR)
		return err_sys(err, "wait for the output");
	return LARDER_OK;
}

static bool
cancelled(const struct larder_get_options *options)
{
	const volatile int *cancel = options->watch.cancel;

	return cancel != NULL && __atomic_load_n(cancel, __ATOMIC_RELAXED) != 0;
}

static int
write_all(const struct larder_get_options *options, int fd, const uint8_t *data, size_t len,
    struct larder_err *err)
{
	while (len > 0 && !options->verify_only) {
		ssize_t n;
		int rc;

		if (cancelled(options))
			return err_set(err, LARDER_ERR_CANCELLED, "interrupted");
		n = write(fd, data, len);
		if (n >= 0) {
			data += n;
			len -= (size_t)n;
		} else if (errno == EAGAIN) {
			rc = wait_until_writable(fd, err);
			if (rc < 0)
				return rc;
		} else if (errno != EINTR) {
			return err_sys(err, "write the output");
		}
	}
	return LARDER_OK;
}

static int
compare_whole(struct sha256 *stream, const struct larder_id *want, struct larder_err *err)
{
	char hex[ID_HEX_LEN + 1];
	struct larder_id got;

	sha256_final(stream, &got);
	if (id_equal(&got, want))
		return LARDER_OK;
	id_to_hex(hex, want);
	return err_set(err, LARDER_ERR_CORRUPT,
	    "the file as a whole does not have the SHA-256 %s; its last bytes were not written",
	    hex);
}

/* ---- a part, by a worker ---- */

static int
more_room(struct worker *w, size_t count, struct larder_err *err)
{
	if (count <= w->room)
		return LARDER_OK;
	mem_free(w->ids);
	mem_free(w->digests);
	mem_free(w->places);
	mem_free(w->jobs);
	w->ids = mem_array(count, sizeof *w->ids);
	w->digests = mem_array(count, sizeof *w->digests);
	w->places = mem_array(count, sizeof *w->places);
	w->jobs = mem_array(count, sizeof *w->jobs);
	w->room = 0;
	if (w->ids == NULL || w->digests == NULL || w->places == NULL || w->jobs == NULL)
		return err_nomem(err);
	w->room = count;
	return LARDER_OK;
}

static int
copy_chunk(struct worker *w, uint8_t *to, const struct chunk *chunk,
    const struct index_place *place, struct larder_err *err)
{
	static const struct larder_id none;
	const uint8_t *plain;
	uint32_t plain_len;
	int rc;

	if (place->pack == 0)
		return fetch_missing(w->reader, &chunk->id, err);
	rc = fetch_segment(&plain, &plain_len, w->reader, place->pack, place->segment_at, err);
	if (rc < 0)
		return rc;
	if (place->chunk_len != chunk->len || place->chunk_at > plain_len ||
	    place->chunk_len > plain_len - place->chunk_at)
		return fetch_verify(w->reader, &chunk->id, place, &none, err);
	memcpy(to, plain + place->chunk_at, place->chunk_len);
	return LARDER_OK;
}

static int
fill(struct worker *w, struct part *part, struct larder_err *err)
{
	size_t at = 0;
	int rc;

	rc = more_room(w, part->count, err);
	if (rc < 0)
		return rc;
	for (size_t i = 0; i < part->count; i++)
		w->ids[i] = part->chunks[i].id;
	rc = fetch_places(w->places, w->reader, w->ids, part->count, err);
	for (size_t i = 0; i < part->count && rc == LARDER_OK; i++) {
		const struct chunk *c = &part->chunks[i];

		rc = copy_chunk(w, part->data + at, c, &w->places[i], err);
		w->jobs[i] = (struct sha256_job){
			.data = part->data + at, .len = c->len, .out = &w->digests[i]
		};
		at += c->len;
	}
	if (rc < 0)
		return rc;
	sha256_many(w->jobs, part->count);
	for (size_t i = 0; i < part->count && rc == LARDER_OK; i++)
		rc = fetch_verify(w->reader, &w->ids[i], &w->places[i], &w->digests[i], err);
	return rc;
}

static int
fill_part(void *context, void *arg, unsigned worker, struct larder_err *err)
{
	struct stream *s = context;
	struct part *part = arg;
	int rc = fill(&s->workers[worker], part, err);

	pthread_mutex_lock(&s->lock);
	part->done = true;
	part->rc = rc;
	if (rc < 0)
		part->err = *err;
	pthread_cond_signal(&s->part_done);
	pthread_mutex_unlock(&s->lock);
	return LARDER_OK; /* the failure counts when its turn comes: what is before it may go out */
}

/* ---- the ring, by the calling thread ---- */

static struct part *
open_part(struct stream *s)
{
	return &s->parts[(s->first + s->used) % s->part_count];
}

static void
progress(struct stream *s)
{
	const struct larder_watch *watch = &s->options->watch;
	struct larder_progress p = {
		.bytes_done = s->bytes, .bytes_total = s->bytes_total, .files_total = 1
	};
	int64_t now;

	if (watch->on_progress == NULL)
		return;
	now = clock_mono_ns();
	if (now < s->progress_due_ns)
		return;
	s->progress_due_ns = now + PROGRESS_NS;
	watch->on_progress(watch->context, &p);
}

/* The oldest part goes out. `want` when it is the last one and the whole has a known hash. */
static int
write_oldest(struct stream *s, const struct larder_id *want, struct larder_err *err)
{
	struct part *part = &s->parts[s->first];
	int rc;

	pthread_mutex_lock(&s->lock);
	while (!part->done)
		pthread_cond_wait(&s->part_done, &s->lock);
	rc = part->rc;
	pthread_mutex_unlock(&s->lock);
	s->first = (s->first + 1) % s->part_count;
	s->used--;
	if (rc < 0) {
		if (err != NULL)
			*err = part->err;
		return rc;
	}
	if (s->hash)
		sha256_update(&s->sha256, part->data, part->len);
	if (want != NULL)
		rc = compare_whole(&s->sha256, want, err);
	if (rc == LARDER_OK)
		rc = write_all(s->options, s->fd, part->data, part->len, err);
	if (rc == LARDER_OK)
		s->bytes += part->len;
	part->count = part->len = 0;
	part->done = false;
	progress(s);
	return rc;
}

static int
hand_out(struct stream *s, struct larder_err *err)
{
	struct part *part = open_part(s);

	if (part->data == NULL) {
		part->data = mem_alloc(PART_LEN);
		if (part->data == NULL)
			return err_nomem(err);
	}
	if (pool_submit(s->pool, 0, fill_part, part) < 0)
		return err_nomem(err);
	s->used++;
	return LARDER_OK;
}

static int
add_chunk(void *context, const struct larder_id *id, uint64_t len, struct larder_err *err)
{
	struct stream *s = context;
	struct part *part = open_part(s);
	int rc;

	if (cancelled(s->options))
		return err_set(err, LARDER_ERR_CANCELLED, "interrupted");
	if (len > CHUNK_MAX)
		return err_set(
		    err, LARDER_ERR_CORRUPT, "a chunk of %llu bytes", (unsigned long long)len);
	if (part->len + len > PART_LEN) {
		rc = hand_out(s, err);
		if (rc == LARDER_OK && s->used == s->part_count) /* the open one must be free */
			rc = write_oldest(s, NULL, err);
		if (rc < 0)
			return rc;
		part = open_part(s);
	}
	if (part->count == part->room) {
		size_t room = part->room ? part->room * 2 : 256;
		struct chunk *grown = mem_resize(part->chunks, room, sizeof *grown);

		if (grown == NULL)
			return err_nomem(err);
		part->chunks = grown;
		part->room = room;
	}
	part->chunks[part->count].id = *id;
	part->chunks[part->count++].len = len;
	part->len += len;
	return LARDER_OK;
}

static int
open_workers(struct stream *s, struct larder_store *store, struct larder_err *err)
{
	const struct pool_options options = { .workers = store->threads, .context = s };
	int rc;

	rc = pool_open(&s->pool, &options, err);
	if (rc < 0)
		return rc;
	s->worker_count = pool_workers(s->pool);
	s->part_count = 2 * s->worker_count + 2;
	if (s->part_count > PARTS_MAX)
		s->part_count = PARTS_MAX;
	s->workers = mem_zarray(s->worker_count, sizeof *s->workers);
	if (s->workers == NULL)
		return err_nomem(err);
	for (unsigned i = 0; i < s->worker_count && rc == LARDER_OK; i++)
		rc = fetch_reader_open(&s->workers[i].reader, store, err);
	return rc;
}

static void
close_stream(struct stream *s)
{
	pool_close(s->pool);
	for (unsigned i = 0; s->workers != NULL && i < s->worker_count; i++) {
		struct worker *w = &s->workers[i];

		fetch_reader_close(w->reader);
		mem_free(w->ids);
		mem_free(w->digests);
		mem_free(w->places);
		mem_free(w->jobs);
	}
	for (unsigned i = 0; i < PARTS_MAX; i++) {
		mem_free(s->parts[i].chunks);
		mem_free(s->parts[i].data);
	}
	mem_free(s->workers);
	pthread_cond_destroy(&s->part_done);
	pthread_mutex_destroy(&s->lock);
}

static int
stream_list(struct larder_store *store, struct fetch_reader *reader,
    const struct spec_target *target, int fd, const struct larder_get_options *options,
    uint64_t *bytes, struct larder_err *err)
{
	struct stream s = { .options = options,
		.fd = fd,
		.hash = target->has_sha256,
		.bytes_total = target->bytes };
	int rc;

	pthread_mutex_init(&s.lock, NULL);
	pthread_cond_init(&s.part_done, NULL);
	sha256_init(&s.sha256);
	rc = open_workers(&s, store, err);
	if (rc == LARDER_OK)
		rc = reach_file(reader, &target->id, add_chunk, NULL, &s, err);
	if (rc == LARDER_OK && open_part(&s)->count > 0)
		rc = hand_out(&s, err);
	while (rc == LARDER_OK && s.used > 0)
		rc = write_oldest(&s, s.used == 1 && s.hash ? &target->sha256 : NULL, err);
	*bytes = s.bytes;
	close_stream(&s);
	return rc;
}

/* ---- small files ---- */

struct alone {
	struct fetch_reader *reader;
	struct buf bytes;
};

static int
append_chunk(void *context, const struct larder_id *id, uint64_t len, struct larder_err *err)
{
	struct alone *a = context;
	size_t before = a->bytes.len;
	int rc = fetch_chunk(&a->bytes, a->reader, id, err);

	if (rc == LARDER_OK && a->bytes.len - before != len)
		rc = err_set(err, LARDER_ERR_CORRUPT, "a chunk of %zu bytes where %llu belong",
		    a->bytes.len - before, (unsigned long long)len);
	return rc;
}

static int
stream_alone(struct fetch_reader *reader, const struct spec_target *target, int fd,
    const struct larder_get_options *options, uint64_t *bytes, struct larder_err *err)
{
	struct alone a = { .reader = reader };
	struct sha256 whole;
	int rc = LARDER_OK;

	buf_init(&a.bytes, ALONE_MAX + PACK_PLAIN_MAX);
	if (target->list)
		rc = reach_file(reader, &target->id, append_chunk, NULL, &a, err);
	else if (target->bytes > 0)
		rc = append_chunk(&a, &target->id, target->bytes, err);
	if (rc == LARDER_OK && target->has_sha256) {
		sha256_init(&whole);
		sha256_update(&whole, a.bytes.data, a.bytes.len);
		rc = compare_whole(&whole, &target->sha256, err);
	}
	if (rc == LARDER_OK)
		rc = write_all(options, fd, a.bytes.data, a.bytes.len, err);
	*bytes = rc == LARDER_OK ? a.bytes.len : 0;
	buf_release(&a.bytes);
	return rc;
}

/* ---- the call ---- */

static int
stream_target(struct larder_store *store, struct fetch_reader *reader,
    const struct spec_target *target, int fd, const struct larder_get_options *options,
    struct larder_get_result *result, struct larder_err *err)
{
	int rc;

	if (target->kind == TREE_DIR)
		return err_set(err, LARDER_ERR_USAGE, "is a directory: only files are bytes");
	if (target->kind != TREE_FILE)
		return err_set(err, LARDER_ERR_USAGE, "is no regular file: only files are bytes");
	rc = target->bytes <= ALONE_MAX || !target->list
		 ? stream_alone(reader, target, fd, options, &result->bytes, err)
		 : stream_list(store, reader, target, fd, options, &result->bytes, err);
	if (rc == LARDER_OK && result->bytes != target->bytes)
		rc = err_set(err, LARDER_ERR_CORRUPT, "its chunks have %llu bytes and not %llu",
		    (unsigned long long)result->bytes, (unsigned long long)target->bytes);
	result->files = rc == LARDER_OK;
	return rc;
}

int
larder_get_fd(struct larder_store *store, const char *spec, int fd,
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
	if (result == NULL)
		result = &ignored;
	memset(result, 0, sizeof *result);
	if (spec == NULL)
		return err_set(err, LARDER_ERR_USAGE, "larder_get_fd needs a spec");
	rc = fetch_reader_open(&reader, store, err);
	if (rc < 0)
		return rc;
	if (options == NULL)
		options = &defaults;
	rc = spec_resolve(&target, store, reader, spec, options->at_ns, err);
	if (rc == LARDER_OK) {
		memcpy(result->name, target.name, sizeof result->name);
		result->version = target.version;
		result->id = target.id;
		rc = stream_target(store, reader, &target, fd, options, result, err);
		if (rc < 0)
			spec_prefix(err, spec);
	}
	spec_release(&target);
	fetch_reader_close(reader);
	return rc;
}
