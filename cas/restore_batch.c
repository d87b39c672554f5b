/*
 * Pieces gathered, sorted by place, shared out by segments.
 *
 * A batch should be large: a segment whose chunks are wanted in two batches is
 * decoded twice. It is sent off when it is full, or when a worker has nothing
 * else to do and there is enough to do in it.
 */
#include "cas/restore.h"

#include <stdlib.h>
#include <string.h>

#include "cas/base/err.h"
#include "cas/base/mem.h"

enum {
	BATCH_MEMORY_MAX = 16 * 1024 * 1024, /* some 80,000 small files */
	BATCH_BYTES_WORTH = 8 * 1024 * 1024, /* plain bytes for which an idle worker begins */
	BLOCK_LEN = 256 * 1024,
	PIECES_START = 1024,
	STRETCH_BYTES = 1024 * 1024, /* of one task: a segment or more, */
	STRETCH_PIECES = 1024        /* and a part of one if very many want something of it */
};

struct restore_block {
	struct restore_block *next;
	size_t used, room;
	uint64_t bytes[];
};

void
restore_batch_free(struct restore *r, struct restore_batch *batch)
{
	struct restore_block *next;

	pthread_mutex_lock(&r->lock);
	if (batch->next != NULL)
		batch->next->previous = batch->previous;
	if (batch->previous != NULL)
		batch->previous->next = batch->next;
	else
		r->batches = batch->next;
	pthread_mutex_unlock(&r->lock);
	for (struct restore_block *b = batch->blocks; b != NULL; b = next) {
		next = b->next;
		mem_free(b);
	}
	mem_free(batch->pieces);
	mem_free(batch->stretches);
	mem_free(batch);
}

/* ---- gathering; these under r->lock ---- */

static void *
take(struct restore_batch *batch, size_t len)
{
	struct restore_block *b = batch->blocks;
	size_t need = (len + 7) & ~(size_t)7;
	void *out;

	if (b == NULL || b->room - b->used < need) {
		size_t room = need > BLOCK_LEN ? need : BLOCK_LEN;

		b = mem_alloc(sizeof *b + room);
		if (b == NULL)
			return NULL;
		b->used = 0;
		b->room = room;
		b->next = batch->blocks;
		batch->blocks = b;
		batch->memory += sizeof *b + room;
	}
	out = (uint8_t *)b->bytes + b->used;
	b->used += need;
	return out;
}

static struct restore_batch *
gathering(struct restore *r)
{
	struct restore_batch *batch = r->gathering;

	if (batch != NULL)
		return batch;
	batch = mem_zalloc(sizeof *batch);
	if (batch == NULL)
		return NULL;
	batch->next = r->batches;
	if (batch->next != NULL)
		batch->next->previous = batch;
	r->batches = batch;
	r->gathering = batch;
	return batch;
}

static int
append(struct restore_batch *batch, const struct restore_piece *piece)
{
	if (batch->count == batch->room) {
		size_t room = batch->room ? batch->room * 2 : PIECES_START;
		struct restore_piece *grown = mem_resize(batch->pieces, room, sizeof *grown);

		if (grown == NULL)
			return LARDER_ERR_NOMEM;
		batch->memory += (room - batch->room) * sizeof *grown;
		batch->pieces = grown;
		batch->room = room;
	}
	batch->pieces[batch->count++] = *piece;
	batch->bytes += piece->place.chunk_len;
	return LARDER_OK;
}

static struct restore_file *
copy_file(struct restore_batch *batch, const struct restore_file *file, const struct attrs_row *row)
{
	size_t name_len = strlen(file->name) + 1, meta_room = restore_meta_room(row);
	struct restore_file *copy = take(batch, sizeof *copy);
	char *name = take(batch, name_len);
	void *storage = meta_room > 0 ? take(batch, meta_room) : NULL;

	if (copy == NULL || name == NULL || (meta_room > 0 && storage == NULL))
		return NULL;
	*copy = *file;
	memcpy(name, file->name, name_len);
	copy->name = name;
	restore_meta_take(&copy->meta, row, storage);
	return copy;
}

static bool
is_full(const struct restore_batch *batch)
{
	return batch->memory >= BATCH_MEMORY_MAX;
}

/* ---- sending off ---- */

static int
compare(const void *a, const void *b)
{
	const struct index_place *x = &((const struct restore_piece *)a)->place;
	const struct index_place *y = &((const struct restore_piece *)b)->place;

	if (x->pack != y->pack)
		return x->pack < y->pack ? -1 : 1;
	if (x->segment_at != y->segment_at)
		return x->segment_at < y->segment_at ? -1 : 1;
	return (x->chunk_at > y->chunk_at) - (x->chunk_at < y->chunk_at);
}

static bool
one_segment(const struct restore_piece *a, const struct restore_piece *b)
{
	return a->place.pack == b->place.pack && a->place.segment_at == b->place.segment_at;
}

/* Where the stretch that begins at `from` ends. */
static size_t
stretch_end(const struct restore_batch *batch, size_t from)
{
	uint64_t bytes = 0;
	size_t to = from;

	do {
		bytes += batch->pieces[to].place.chunk_len;
		to++;
		if (to < batch->count && one_segment(&batch->pieces[to - 1], &batch->pieces[to]) &&
		    to - from < STRETCH_PIECES)
			continue;
		if (bytes >= STRETCH_BYTES || to - from >= STRETCH_PIECES)
			break;
	} while (to < batch->count);
	return to;
}

static int
share_out(struct restore_batch *batch, size_t *count)
{
	size_t n = 0;

	for (size_t at = 0; at < batch->count; n++)
		at = stretch_end(batch, at);
	batch->stretches = mem_array(n, sizeof *batch->stretches);
	if (batch->stretches == NULL)
		return LARDER_ERR_NOMEM;
	*count = 0;
	for (size_t at = 0; at < batch->count;) {
		struct restore_stretch *s = &batch->stretches[(*count)++];

		s->batch = batch;
		s->from = at;
		s->to = at = stretch_end(batch, at);
	}
	batch->memory += n * sizeof *batch->stretches;
	return LARDER_OK;
}

static int
write_stretch(void *context, void *arg, unsigned worker, struct larder_err *err)
{
	struct restore *r = context;
	const struct restore_stretch *s = arg;
	struct restore_batch *batch = s->batch;
	int rc;

	rc = restore_write_pieces(
	    r, &r->workers[worker], batch->pieces + s->from, s->to - s->from, err);
	if (rc < 0)
		return rc;
	if (atomic_fetch_sub(&batch->left, 1) == 1) {
		pool_uncharge(r->pool, batch->memory);
		restore_batch_free(r, batch);
	}
	restore_progress(r);
	return LARDER_OK;
}

/* Beyond the budget the worker that gathers writes itself, instead of queueing more. */
static int
send_off(struct restore *r, struct restore_worker *w, struct restore_batch *batch,
    struct larder_err *err)
{
	bool here = pool_over_budget(r->pool);
	size_t count;
	int rc;

	qsort(batch->pieces, batch->count, sizeof *batch->pieces, compare);
	rc = share_out(batch, &count);
	if (rc < 0)
		return err_nomem(err);
	pool_charge(r->pool, batch->memory);
	atomic_store(&batch->left, count);
	for (size_t i = 0; i < count && rc == LARDER_OK; i++) {
		struct restore_stretch *s = &batch->stretches[i]; /* the last one frees it */

		if (here && restore_cancelled(r))
			return err_set(err, LARDER_ERR_CANCELLED, "interrupted");
		if (here)
			rc = write_stretch(r, s, (unsigned)(w - r->workers), err);
		else if (pool_submit(r->pool, RESTORE_WRITE, write_stretch, s) < 0)
			rc = err_nomem(err);
	}
	return rc;
}

int
restore_batch_flush(struct restore *r, struct restore_worker *w, bool all, struct larder_err *err)
{
	struct restore_batch *batch;
	int rc;

	pthread_mutex_lock(&r->lock);
	batch = r->gathering;
	if (batch != NULL && !all && batch->bytes < BATCH_BYTES_WORTH &&
	    atomic_load(&r->walking) > 0)
		batch = NULL;
	if (batch != NULL)
		r->gathering = NULL;
	pthread_mutex_unlock(&r->lock);
	if (batch == NULL)
		return 0;
	rc = send_off(r, w, batch, err);
	return rc < 0 ? rc : 1;
}

/* The full batch, taken out; NULL while there is room. Under r->lock. */
static struct restore_batch *
take_full(struct restore *r)
{
	struct restore_batch *batch = r->gathering;

	if (!is_full(batch))
		return NULL;
	r->gathering = NULL;
	return batch;
}

int
restore_batch_add(struct restore *r, struct restore_worker *w, const struct restore_piece *piece,
    struct larder_err *err)
{
	struct restore_batch *batch, *full = NULL;
	int rc = LARDER_ERR_NOMEM;

	pthread_mutex_lock(&r->lock);
	batch = gathering(r);
	if (batch != NULL)
		rc = append(batch, piece);
	if (rc == LARDER_OK)
		full = take_full(r);
	pthread_mutex_unlock(&r->lock);
	if (rc < 0)
		return err_nomem(err);
	return full != NULL ? send_off(r, w, full, err) : LARDER_OK;
}

int
restore_batch_add_file(struct restore *r, struct restore_worker *w,
    const struct restore_piece *piece, const struct restore_file *file, const struct attrs_row *row,
    struct larder_err *err)
{
	struct restore_batch *batch, *full = NULL;
	struct restore_piece mine = *piece;
	int rc = LARDER_ERR_NOMEM;

	pthread_mutex_lock(&r->lock);
	batch = gathering(r);
	if (batch != NULL)
		mine.file = copy_file(batch, file, row);
	if (batch != NULL && mine.file != NULL)
		rc = append(batch, &mine);
	if (rc == LARDER_OK)
		full = take_full(r);
	pthread_mutex_unlock(&r->lock);
	if (rc < 0)
		return err_nomem(err);
	return full != NULL ? send_off(r, w, full, err) : LARDER_OK;
}
