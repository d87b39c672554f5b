/*
 * Windows of new chunks -> segments. See group.h.
 *
 * A window's life: filling (under `lock`, by any worker) -> sorted -> sifted in
 * slices (deltas and sketches, a task each) -> packed (a task per segment) ->
 * freed by whoever finishes last. Only `filling` and the list of all are shared;
 * from then on each task has its own range of items, and `left` says who is last.
 */
#include "cas/group.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "cas/base/err.h"
#include "cas/base/limits.h"
#include "cas/base/mem.h"
#include "cas/base/trace.h"
#include "cas/fetch.h"
#include "cas/object/features.h"

enum {
	GROUP_SEGMENT = 1024 * 1024, /* plain bytes of a segment of small chunks */
	GROUP_RUN_SEGMENT = 1024 * 1024,
	GROUP_LEVEL = 3,
	GROUP_RUN_LEVEL = 1,
	GROUP_DELTA_LEVEL = 3,
	WINDOW_BYTES = 32 * 1024 * 1024,
	WINDOW_META_BYTES = 8 * 1024 * 1024,
	WINDOW_ITEMS = 64 * 1024,
	SLAB_LEN = CHUNK_MAX,
	SLABS_KEPT = 40,
	SLICE_ITEMS = 128,
	DELTA_LEN_MIN = 192,  /* shorter chunks are not worth a base id */
	DELTA_SHARE = 4,      /* a delta is kept below 1/4 of the plain bytes */
	DELTA_META_SHARE = 2, /* ids do not compress: trees and attrs are better off sooner */
	SKETCH_LEN_MIN = 512,
	SKETCH_LEN_MAX =
	    8 * 1024, /* relatives are alike from their beginning: no need to look further */
	EXT_LEN_MAX = 15,
};

struct item {
	struct larder_id id;
	struct larder_id base;
	const uint8_t *data;
	uint32_t len;
	uint32_t seq; /* the order in which they came, which is about that of the walk */
	char ext[EXT_LEN_MAX + 1]; /* cut at EXT_LEN_MAX */
	bool has_base, sketch, done;
};

struct slab {
	struct slab *next;
	size_t used;
	uint8_t bytes[SLAB_LEN];
};

struct window {
	struct group *group;
	struct window *next, *previous; /* all windows there are */
	enum pack_type type;
	struct item *items;
	size_t count, room;
	size_t bytes;
	struct slab *slabs;
	atomic_size_t left; /* tasks of the present phase that are not finished */
};

struct slice {
	struct pool_task task;
	struct window *window;
	size_t from, to;
};

struct worker {
	struct pack_codec *codec;
	struct fetch_reader *reader;
	struct index_read *read;
	struct buf segment, plain, base;
	bool sketches_known; /* the index has some */
};

struct group {
	struct larder_store *store;
	struct pool *pool;
	unsigned rank;
	struct packer *packer;
	struct worker *workers;
	unsigned worker_count;

	pthread_mutex_t lock; /* guards the next ones */
	struct window *filling[PACK_TYPE_COUNT];
	struct window *all;
	struct slab *free_slabs;
	size_t free_count;
};

int
group_open(struct group **out, struct larder_store *store, struct pool *pool, unsigned rank,
    struct packer *packer, struct larder_err *err)
{
	struct group *g = mem_zalloc(sizeof *g);
	int rc = LARDER_OK;

	*out = NULL;
	if (g == NULL)
		return err_nomem(err);
	g->store = store;
	g->pool = pool;
	g->rank = rank;
	g->packer = packer;
	pthread_mutex_init(&g->lock, NULL);
	g->worker_count = pool_workers(pool);
	g->workers = mem_zarray(g->worker_count, sizeof *g->workers);
	if (g->workers == NULL) {
		rc = err_nomem(err);
		goto out;
	}
	for (unsigned i = 0; i < g->worker_count && rc == LARDER_OK; i++) {
		struct worker *w = &g->workers[i];

		buf_init(&w->segment, 2 * PACK_PLAIN_MAX);
		buf_init(&w->plain, PACK_PLAIN_MAX);
		buf_init(&w->base, PACK_PLAIN_MAX);
		rc = pack_codec_open(&w->codec, err);
		if (rc == LARDER_OK)
			rc = fetch_reader_open(&w->reader, store, err);
		if (rc == LARDER_OK)
			rc = index_read_begin(&w->read, store->index, err);
	}
	if (rc == LARDER_OK) {
		*out = g;
		g = NULL;
	}
out:
	group_close(g);
	return rc;
}

static void
window_free(struct window *w)
{
	struct group *g;
	struct slab *slab, *next;

	if (w == NULL)
		return;
	g = w->group;
	pthread_mutex_lock(&g->lock);
	for (slab = w->slabs; slab != NULL; slab = next) {
		next = slab->next;
		if (g->free_count < SLABS_KEPT) {
			slab->next = g->free_slabs;
			g->free_slabs = slab;
			g->free_count++;
		} else {
			mem_free(slab);
		}
	}
	if (w->previous != NULL)
		w->previous->next = w->next;
	else
		g->all = w->next;
	if (w->next != NULL)
		w->next->previous = w->previous;
	pthread_mutex_unlock(&g->lock);
	mem_free(w->items);
	mem_free(w);
}

void
group_close(struct group *g)
{
	struct slab *slab;

	if (g == NULL)
		return;
	for (unsigned i = 0; g->workers != NULL && i < g->worker_count; i++) {
		struct worker *w = &g->workers[i];

		index_read_end(w->read);
		fetch_reader_close(w->reader);
		pack_codec_close(w->codec);
		buf_release(&w->segment);
		buf_release(&w->plain);
		buf_release(&w->base);
	}
	while (g->all != NULL) /* after a failure some are half done */
		window_free(g->all);
	while ((slab = g->free_slabs) != NULL) {
		g->free_slabs = slab->next;
		mem_free(slab);
	}
	mem_free(g->workers);
	pthread_mutex_destroy(&g->lock);
	mem_free(g);
}

/* ---- filling ---- */

static uint8_t *
slab_take(struct group *g, struct window *w, size_t len)
{
	struct slab *slab = w->slabs;

	if (slab == NULL || SLAB_LEN - slab->used < len) {
		slab = g->free_slabs;
		if (slab != NULL) {
			g->free_slabs = slab->next;
			g->free_count--;
		} else {
			slab = mem_alloc(sizeof *slab);
			if (slab == NULL)
				return NULL;
		}
		slab->used = 0;
		slab->next = w->slabs;
		w->slabs = slab;
	}
	slab->used += len;
	return slab->bytes + slab->used - len;
}

static int
window_add(struct group *g, struct window *w, const struct group_chunk *chunk)
{
	struct item *item;
	uint8_t *p;

	if (w->count == w->room) {
		size_t more = w->room ? w->room * 2 : 1024;
		void *grown = mem_resize(w->items, more, sizeof *w->items);

		if (grown == NULL)
			return LARDER_ERR_NOMEM;
		w->items = grown;
		w->room = more;
	}
	p = slab_take(g, w, chunk->len);
	if (p == NULL)
		return LARDER_ERR_NOMEM;
	item = &w->items[w->count];
	memset(item, 0, sizeof *item);
	item->id = *chunk->id;
	if (chunk->base != NULL) {
		item->base = *chunk->base;
		item->has_base = true;
	}
	item->sketch = chunk->sketch;
	item->len = chunk->len;
	item->seq = (uint32_t)w->count;
	item->data = p;
	memcpy(p, chunk->data, chunk->len);
	for (uint32_t i = chunk->name_len; i-- > 1;)
		if (chunk->name[i] == '.') {
			uint32_t len = chunk->name_len - i - 1;

			memcpy(
			    item->ext, chunk->name + i + 1, len < EXT_LEN_MAX ? len : EXT_LEN_MAX);
			break;
		}
	w->count++;
	w->bytes += chunk->len;
	return LARDER_OK;
}

static int window_send(struct window *w, struct larder_err *err);

int
group_add(struct group *g, const struct group_chunk *chunk, struct larder_err *err)
{
	struct window *full = NULL, *w;
	size_t bytes_max = chunk->type == PACK_TYPE_DATA ? WINDOW_BYTES : WINDOW_META_BYTES;
	int rc = LARDER_OK;

	pthread_mutex_lock(&g->lock);
	w = g->filling[chunk->type];
	if (w != NULL && (w->bytes + chunk->len > bytes_max || w->count == WINDOW_ITEMS)) {
		full = w;
		w = g->filling[chunk->type] = NULL;
	}
	if (w == NULL) {
		w = mem_zalloc(sizeof *w);
		if (w != NULL) {
			w->group = g;
			w->type = chunk->type;
			w->next = g->all;
			if (w->next != NULL)
				w->next->previous = w;
			g->all = g->filling[chunk->type] = w;
		}
	}
	rc = w == NULL ? LARDER_ERR_NOMEM : window_add(g, w, chunk);
	pthread_mutex_unlock(&g->lock);
	if (rc < 0)
		rc = err_nomem(err);
	if (full != NULL) {
		int sent = window_send(full, rc < 0 ? NULL : err);

		if (rc == LARDER_OK)
			rc = sent;
	}
	return rc;
}

int
group_flush(struct group *g, struct larder_err *err)
{
	int rc = 0;

	for (int type = 0; type < PACK_TYPE_COUNT && rc >= 0; type++) {
		struct window *w;

		pthread_mutex_lock(&g->lock);
		w = g->filling[type];
		g->filling[type] = NULL;
		pthread_mutex_unlock(&g->lock);
		if (w != NULL) {
			rc = window_send(w, err);
			if (rc == LARDER_OK)
				rc = 1;
			else
				break;
		}
	}
	return rc;
}

/* ---- sifting: deltas and sketches ---- */

static uint64_t
sketch_key(uint64_t feature, unsigned i)
{
	return (feature & ~(uint64_t)3) | i;
}

static uint64_t
id_prefix(const struct larder_id *id)
{
	uint64_t v = 0;

	for (int i = 0; i < 8; i++)
		v = v << 8 | id->bytes[i];
	return v;
}

/* The base for this item: 1 with *base and *place, 0 when there is none. */
static int
find_base(struct larder_id *base, struct index_place *place, struct worker *w,
    const struct item *item, const uint64_t *features, struct larder_err *err)
{
	int rc;

	if (item->has_base && !id_equal(&item->base, &item->id)) {
		rc = index_chunk_get(place, w->read, &item->base, err);
		if (rc == LARDER_OK) {
			*base = item->base;
			return 1;
		}
		if (rc != LARDER_ERR_NOT_FOUND)
			return rc;
	}
	if (features == NULL || !w->sketches_known)
		return 0;
	for (unsigned i = 0; i < FEATURES_COUNT; i++) {
		uint64_t prefix;

		if (features[i] == 0)
			continue;
		rc = index_sketch_get(&prefix, w->read, sketch_key(features[i], i), err);
		if (rc == LARDER_OK)
			rc = index_chunk_by_prefix(base, place, w->read, prefix, err);
		if (rc == LARDER_OK && !id_equal(base, &item->id) && place->depth < PACK_DEPTH_MAX)
			return 1;
		if (rc < 0 && rc != LARDER_ERR_NOT_FOUND)
			return rc;
	}
	return 0;
}

/* Sketch one chunk, and make it a delta if there is a near base. */
static int
sift(struct group *g, struct worker *w, enum pack_type type, struct item *item,
    struct larder_err *err)
{
	uint64_t features[FEATURES_COUNT];
	struct larder_id base;
	struct index_place place;
	struct pack_plain plain = {
		.data = item->data, .len = item->len, .type = type, .level = GROUP_DELTA_LEVEL
	};
	bool sketched = type == PACK_TYPE_DATA && item->sketch && item->len >= SKETCH_LEN_MIN;
	int rc;

	if (sketched) {
		features_of(
		    features, item->data, item->len < SKETCH_LEN_MAX ? item->len : SKETCH_LEN_MAX);
		for (unsigned i = 0; i < FEATURES_COUNT; i++)
			if (features[i] != 0)
				packer_sketch(
				    g->packer, sketch_key(features[i], i), id_prefix(&item->id));
	}
	if (item->len < DELTA_LEN_MIN)
		return LARDER_OK;
	rc = find_base(&base, &place, w, item, sketched ? features : NULL, err);
	if (rc <= 0)
		return rc;
	if (place.depth >= PACK_DEPTH_MAX || place.type != (uint8_t)type ||
	    place.chunk_len > PACK_PLAIN_MAX)
		return LARDER_OK;
	buf_clear(&w->base);
	trace_add(TRACE_deltas_tried, 1);
	rc = fetch_chunk(&w->base, w->reader, &base, err);
	if (rc == LARDER_ERR_CORRUPT)
		return LARDER_OK; /* a damaged base is no base; check will name it */
	if (rc < 0)
		return rc;
	plain.base_id = &base;
	plain.base = w->base.data;
	plain.base_len = (uint32_t)w->base.len;
	plain.base_depth = place.depth;
	buf_clear(&w->segment);
	rc = pack_encode(&w->segment, w->codec, &plain,
	    item->len / (type == PACK_TYPE_DATA ? DELTA_SHARE : DELTA_META_SHARE), err);
	if (rc < 0)
		return rc;
	if (rc == 1)
		return LARDER_OK;
	rc = packer_add(g->packer, &w->segment, &item->id, &item->len, 1, err);
	if (rc == LARDER_OK) {
		item->done = true;
		trace_add(TRACE_deltas_kept, 1);
		trace_add(TRACE_segments_written, 1);
	}
	return rc;
}

static int window_pack(struct window *w, struct larder_err *err);

static int
sift_task(void *context, void *arg, unsigned worker, struct larder_err *err)
{
	struct slice *slice = arg;
	struct window *w = slice->window;
	struct group *g = w->group;
	struct worker *me = &g->workers[worker];
	struct index_counts counts = { 0 };
	int rc;

	(void)context;
	/* seen anew by each slice: chunks of this very put are committed meanwhile */
	rc = index_read_renew(me->read, err);
	if (rc == LARDER_OK)
		rc = index_counts_get(&counts, me->read, err);
	me->sketches_known = counts.sketches > 0;
	for (size_t i = slice->from; i < slice->to && rc == LARDER_OK; i++)
		rc = sift(g, me, w->type, &w->items[i], err);
	mem_free(slice);
	if (atomic_fetch_sub(&w->left, 1) == 1 && rc == LARDER_OK)
		return window_pack(w, err);
	return rc;
}

/* ---- packing: the others, together ---- */

static int
pack_task(void *context, void *arg, unsigned worker, struct larder_err *err)
{
	struct slice *slice = arg;
	struct window *w = slice->window;
	struct group *g = w->group;
	struct worker *me = &g->workers[worker];
	struct larder_id *ids = mem_array(slice->to - slice->from, sizeof *ids);
	uint32_t *lengths = mem_array(slice->to - slice->from, sizeof *lengths);
	struct pack_plain plain = { .type = w->type, .level = GROUP_LEVEL };
	uint32_t count = 0;
	int rc = LARDER_OK;

	(void)context;
	if (ids == NULL || lengths == NULL)
		rc = err_nomem(err);
	buf_clear(&me->plain);
	for (size_t i = slice->from; i < slice->to && rc == LARDER_OK; i++) {
		const struct item *item = &w->items[i];

		if (item->done)
			continue;
		rc = buf_append(&me->plain, item->data, item->len);
		if (rc < 0) {
			rc = buf_err(&me->plain, rc, err);
			break;
		}
		ids[count] = item->id;
		lengths[count++] = item->len;
	}
	if (rc == LARDER_OK && count > 0) {
		plain.data = me->plain.data;
		plain.len = (uint32_t)me->plain.len;
		buf_clear(&me->segment);
		rc = pack_encode(&me->segment, me->codec, &plain, 0, err);
		if (rc == LARDER_OK)
			rc = packer_add(g->packer, &me->segment, ids, lengths, count, err);
		trace_add(TRACE_segments_written, 1);
	}
	mem_free(ids);
	mem_free(lengths);
	mem_free(slice);
	if (atomic_fetch_sub(&w->left, 1) == 1)
		window_free(w);
	return rc;
}

static void
slice_drop(struct pool_task *task)
{
	mem_free(task);
}

static int
submit_slice(struct window *w, pool_fn fn, size_t from, size_t to, struct larder_err *err)
{
	struct slice *slice = mem_alloc(sizeof *slice);
	int rc;

	if (slice == NULL)
		return err_nomem(err);
	*slice = (struct slice){ .task.drop = slice_drop, .window = w, .from = from, .to = to };
	rc = pool_submit(w->group->pool, w->group->rank, fn, slice);
	if (rc < 0) {
		mem_free(slice);
		return err_nomem(err);
	}
	return LARDER_OK;
}

/* A failure stops the whole put; group_close then frees what is under way. */
static int
window_pack(struct window *w, struct larder_err *err)
{
	size_t from = 0, bytes = 0;
	int rc = LARDER_OK;

	/* one count for ourselves, so that nobody is last before all are submitted */
	atomic_store(&w->left, 1);
	for (size_t i = 0; i < w->count && rc == LARDER_OK; i++) {
		if (w->items[i].done)
			continue;
		if (bytes > 0 && bytes + w->items[i].len > GROUP_SEGMENT) {
			atomic_fetch_add(&w->left, 1);
			rc = submit_slice(w, pack_task, from, i, err);
			if (rc < 0)
				atomic_fetch_sub(&w->left, 1);
			from = i;
			bytes = 0;
		}
		bytes += w->items[i].len;
	}
	if (rc == LARDER_OK && bytes > 0) {
		atomic_fetch_add(&w->left, 1);
		rc = submit_slice(w, pack_task, from, w->count, err);
		if (rc < 0)
			atomic_fetch_sub(&w->left, 1);
	}
	if (atomic_fetch_sub(&w->left, 1) == 1)
		window_free(w);
	return rc;
}

static int
compare_items(const void *a, const void *b)
{
	const struct item *x = a, *y = b;
	int order = strcmp(x->ext, y->ext);

	return order != 0 ? order : x->seq < y->seq ? -1 : x->seq > y->seq;
}

static int
window_send(struct window *w, struct larder_err *err)
{
	bool sift_any = false;
	size_t count;
	int rc = LARDER_OK;

	/* trees and attrs come in the order of the walk, which is the better one for them */
	if (w->type == PACK_TYPE_DATA)
		qsort(w->items, w->count, sizeof *w->items, compare_items);
	for (size_t i = 0; i < w->count && !sift_any; i++)
		sift_any = w->items[i].has_base || w->items[i].sketch;
	if (!sift_any)
		return window_pack(w, err);

	/* with the last slice submitted the window may be gone */
	count = w->count;
	atomic_store(&w->left, (count + SLICE_ITEMS - 1) / SLICE_ITEMS);
	for (size_t i = 0; i < count && rc == LARDER_OK; i += SLICE_ITEMS)
		rc = submit_slice(
		    w, sift_task, i, i + SLICE_ITEMS < count ? i + SLICE_ITEMS : count, err);
	return rc;
}

/* ---- runs ---- */

int
group_run(struct group *g, unsigned worker, const uint8_t *data, const struct larder_id *ids,
    const uint32_t *lengths, uint32_t count, struct larder_err *err)
{
	struct worker *me = &g->workers[worker];
	uint32_t from = 0;
	int rc = LARDER_OK;

	while (from < count && rc == LARDER_OK) {
		struct pack_plain plain = {
			.data = data, .type = PACK_TYPE_DATA, .level = GROUP_RUN_LEVEL
		};
		uint32_t to = from;

		while (to < count && (to == from || plain.len + lengths[to] <= GROUP_RUN_SEGMENT))
			plain.len += lengths[to++];
		buf_clear(&me->segment);
		rc = pack_encode(&me->segment, me->codec, &plain, 0, err);
		if (rc == LARDER_OK)
			rc = packer_add(
			    g->packer, &me->segment, ids + from, lengths + from, to - from, err);
		trace_add(TRACE_segments_written, 1);
		data += plain.len;
		from = to;
	}
	return rc;
}
