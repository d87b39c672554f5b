/*
 * Deltas, each after what it is made against. See checkpack.h.
 *
 * 1. A delta that is met is read and kept, small as it is. When enough have
 *    gathered they are sorted: those made against other kept ones become their
 *    children, the others stand in the order of the segments that their bases
 *    are in. So every delta is decoded once, with the plain bytes of its base at
 *    hand, and every segment with bases in it once for all of them.
 * 2. The base of a delta is taken as it is: if it is wrong, the delta does not
 *    hash to its id either, and the base is somebody else's chunk to check. So no
 *    base is hashed twice. Which of the two is to blame is settled at the end.
 * 3. Depths fall with every step towards a base, so nothing goes in circles, and
 *    no chain is longer than PACK_DEPTH_MAX.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "cas/base/err.h"
#include "cas/base/id.h"
#include "cas/base/limits.h"
#include "cas/base/mem.h"
#include "cas/checkpack.h"

enum {
	BLOCK_LEN = 1024 * 1024,
	BASE_GUESS = 4 * 1024, /* bytes that most deltas have at most */
	SLICES = 8,            /* tasks a worker, so that all end at about the same time */
};

/* A delta that was read. What is stored, its base's id first, follows it in memory. */
struct delta {
	struct delta *next; /* of those that this worker keeps; then: of the same parent */
	struct delta *child;
	struct larder_id id;
	uint32_t pack, at;   /* where it is: number in the index */
	struct index_place base;
	uint32_t plain_len, store_len;
	uint8_t depth, type;
	uint8_t stored[];
};

struct delta_block {
	struct delta_block *next;
	size_t used, room;
	max_align_t bytes[];
};

/* ---- bases that are not kept ---- */

static int base_of(struct segment **held, const uint8_t **data, uint32_t *len,
    struct pack_pass *pass, struct check_worker *w, const struct larder_id *id, unsigned level,
    unsigned depth, struct larder_err *err);

static int
look_up_base(struct index_place *place, struct check *c, const struct larder_id *id,
    struct larder_err *err)
{
	struct index_read *read = NULL;
	int rc;

	rc = index_read_begin(&read, c->store->index, err);
	if (rc == LARDER_OK)
		rc = index_chunk_get(place, read, id, err);
	index_read_end(read);
	if (rc == LARDER_ERR_NOT_FOUND)
		return err_set(err, LARDER_ERR_CORRUPT, "its base is not in the store");
	return rc;
}

static int
pack_of(struct id16 *out, struct check *c, uint32_t number, struct larder_err *err)
{
	struct index_read *read = NULL;
	struct index_pack pack;
	int rc;

	if (number < c->by_number_count && c->by_number[number] != SIZE_MAX) {
		*out = c->packs[c->by_number[number]].id;
		return LARDER_OK;
	}
	rc = index_read_begin(&read, c->store->index, err);
	if (rc == LARDER_OK)
		rc = index_pack_get(&pack, read, number, err);
	index_read_end(read);
	if (rc == LARDER_OK)
		*out = pack.id;
	return rc;
}

/* Fills a segment that we are the loader of. */
static int
load(struct segment *segment, struct pack_pass *pass, struct check_worker *w, unsigned level,
    unsigned depth, struct larder_err *err)
{
	struct segment *below = NULL;
	struct pack_segment header;
	const uint8_t *base = NULL;
	uint32_t base_len = 0;
	struct id16 pack;
	int rc;

	rc = pack_of(&pack, pass->c, segment->pack, err);
	if (rc == LARDER_OK)
		rc = pack_segment_read(&header, &w->stored[level], pass->c->files, &pack,
		    segment->at, BASE_GUESS, err);
	if (rc == LARDER_OK && header.depth >= depth)
		rc = err_set(err, LARDER_ERR_CORRUPT, "a base as deep as its delta");
	if (rc == LARDER_OK && header.codec == PACK_CODEC_ZSTD_BASE) {
		segcache_aside(pass->bases, segment);
		rc = base_of(&below, &base, &base_len, pass, w, &header.base, level + 1,
		    header.depth, err);
	}
	if (rc == LARDER_OK)
		rc = segcache_room(segment, header.plain_len, err);
	if (rc == LARDER_OK)
		rc = pack_decode(segment->data, w->codec, &header, w->stored[level].data, base,
		    base_len, err);
	segcache_give(pass->bases, below);
	return rc;
}

/*
 * The segment that a base is in: *held is the caller's to give back. `level`: which of
 * stored[] is free. `depth`: of the delta, so that level stays below PACK_DEPTH_MAX + 1.
 */
static int
take_segment(struct segment **held, struct pack_pass *pass, struct check_worker *w,
    const struct index_place *place, unsigned level, unsigned depth, struct larder_err *err)
{
	struct segment *segment;
	int rc;

	*held = NULL;
	rc = segcache_take(&segment, pass->bases, place->pack, place->segment_at, err);
	if (rc < 0)
		return rc;
	if (rc == 0) {
		rc = load(segment, pass, w, level, depth, err);
		if (rc < 0) {
			segcache_drop(pass->bases, segment);
			return rc;
		}
		segcache_ready(pass->bases, segment);
	}
	*held = segment;
	return LARDER_OK;
}

static int
inside(const struct index_place *place, uint32_t len, struct larder_err *err)
{
	if (place->chunk_at <= len && place->chunk_len <= len - place->chunk_at)
		return LARDER_OK;
	return err_set(err, LARDER_ERR_CORRUPT, "its base is not where the index says");
}

/* The plain bytes of a base, lent as long as *held is. */
static int
base_of(struct segment **held, const uint8_t **data, uint32_t *len, struct pack_pass *pass,
    struct check_worker *w, const struct larder_id *id, unsigned level, unsigned depth,
    struct larder_err *err)
{
	struct index_place place;
	int rc;

	*held = NULL;
	rc = look_up_base(&place, pass->c, id, err);
	if (rc == LARDER_OK)
		rc = take_segment(held, pass, w, &place, level, depth, err);
	if (rc == LARDER_OK)
		rc = inside(&place, (*held)->len, err);
	if (rc < 0) {
		segcache_give(pass->bases, *held);
		*held = NULL;
		return rc;
	}
	*data = (*held)->data + place.chunk_at;
	*len = place.chunk_len;
	return LARDER_OK;
}

/* ---- a delta that is met ---- */

static void *
room_for(struct check_worker *w, size_t len)
{
	struct delta_block *block = w->blocks;
	void *at;

	len = (len + sizeof(max_align_t) - 1) / sizeof(max_align_t) * sizeof(max_align_t);
	if (block == NULL || block->room - block->used < len) {
		size_t room = len > BLOCK_LEN ? len : BLOCK_LEN;

		block = mem_alloc(sizeof *block + room);
		if (block == NULL)
			return NULL;
		block->used = 0;
		block->room = room;
		block->next = w->blocks;
		w->blocks = block;
	}
	at = (uint8_t *)block->bytes + block->used;
	block->used += len;
	return at;
}

static int
keep(struct pack_pass *pass, struct check_worker *w, const struct check_piece *piece,
    uint32_t number, const struct pack_segment *header, const struct index_place *base,
    struct larder_err *err)
{
	size_t len = sizeof(struct delta) + header->store_len;
	struct delta *delta = room_for(w, len);

	if (delta == NULL)
		return err_nomem(err);
	*delta = (struct delta){
		.next = w->deltas,
		.id = *piece->id,
		.pack = number,
		.at = piece->segment_at,
		.base = *base,
		.plain_len = header->plain_len,
		.store_len = header->store_len,
		.depth = (uint8_t)header->depth,
		.type = (uint8_t)header->type,
	};
	memcpy(delta->stored, w->stored[0].data, header->store_len);
	w->deltas = delta;
	w->delta_count++;
	atomic_fetch_add(&pass->deltas_len, len);
	return LARDER_OK;
}

static int
decode_now(struct pack_pass *pass, struct check_worker *w, const struct check_piece *piece,
    const struct pack_segment *header, struct larder_err *err)
{
	struct larder_err why = { 0 };
	struct segment *held;
	const uint8_t *base;
	uint32_t base_len;
	int rc;

	rc = base_of(&held, &base, &base_len, pass, w, &header->base, 1, header->depth, &why);
	if (rc == LARDER_OK)
		rc = pack_decode(w->batch + w->batch_len, w->codec, header, w->stored[0].data, base,
		    base_len, &why);
	segcache_give(pass->bases, held);
	if (rc == LARDER_OK)
		return check_piece_add(pass, w, piece, header->plain_len, err);
	if (check_is_damage(rc))
		return check_bad_piece(pass->c, piece, why.message, err);
	if (err != NULL)
		*err = why;
	return rc;
}

int
check_delta(struct pack_pass *pass, struct check_worker *w, const struct check_piece *piece,
    uint32_t number, const struct pack_segment *header, struct larder_err *err)
{
	struct larder_err why = { 0 };
	struct index_place base;
	int rc;

	if (number == 0 || number >= pass->c->by_number_count)
		return LARDER_OK; /* the index does not have the pack: told, or just committed */
	if (atomic_load(&pass->deltas_len) >= CHECK_DELTAS_LEN_MAX)
		return decode_now(pass, w, piece, header, err);
	rc = look_up_base(&base, pass->c, &header->base, &why);
	if (rc == LARDER_OK)
		return keep(pass, w, piece, number, header, &base, err);
	if (check_is_damage(rc))
		return check_bad_piece(pass->c, piece, why.message, err);
	if (err != NULL)
		*err = why;
	return rc;
}

void
check_deltas_release(struct check_worker *w)
{
	while (w->blocks != NULL) {
		struct delta_block *next = w->blocks->next;

		mem_free(w->blocks);
		w->blocks = next;
	}
	w->deltas = NULL;
	w->delta_count = 0;
}

/* ---- those that were kept ---- */

static struct check_piece
piece_of(const struct pack_pass *pass, const struct delta *d)
{
	struct check_piece piece = {
		.id = &d->id,
		.pack = &pass->c->packs[pass->c->by_number[d->pack]].id,
		.segment_at = d->at,
		.delta = true,
	};

	memcpy(piece.base.bytes, d->stored, LARDER_ID_LEN);
	return piece;
}

/* It cannot be decoded, and neither can what is made against it. */
static int
give_up(struct pack_pass *pass, const struct delta *d, const char *why, struct larder_err *err)
{
	struct check_piece piece = piece_of(pass, d);
	int rc = check_bad_piece(pass->c, &piece, why, err);

	for (const struct delta *child = d->child; child != NULL && rc == LARDER_OK;
	     child = child->next)
		rc = give_up(pass, child, "its base cannot be decoded", err);
	return rc;
}

/* With everything that is made against it. `level` counts the steps, at most PACK_DEPTH_MAX. */
static int
decode(struct pack_pass *pass, struct check_worker *w, const struct delta *d, const uint8_t *base,
    uint32_t base_len, unsigned level, struct larder_err *err)
{
	struct check_piece piece = piece_of(pass, d);
	struct pack_segment header = {
		.plain_len = d->plain_len,
		.store_len = d->store_len,
		.codec = PACK_CODEC_ZSTD_BASE,
		.depth = d->depth,
		.type = (enum pack_type)d->type,
		.base = piece.base,
	};
	struct larder_err why = { 0 };
	uint8_t *out = w->batch + w->batch_len;
	int rc = LARDER_OK;

	assert(level < PACK_DEPTH_MAX + 1);
	if (d->child != NULL) { /* the batch may be gone when they need it */
		rc = buf_resize(&w->plain[level], d->plain_len);
		if (rc < 0)
			return buf_err(&w->plain[level], rc, err);
		out = w->plain[level].data;
	}
	rc = pack_decode(out, w->codec, &header, d->stored, base, base_len, &why);
	if (rc < 0) {
		if (check_is_damage(rc))
			return give_up(pass, d, why.message, err);
		if (err != NULL)
			*err = why;
		return rc;
	}
	if (d->child != NULL)
		memcpy(w->batch + w->batch_len, out, d->plain_len);
	rc = check_piece_add(pass, w, &piece, d->plain_len, err);
	for (const struct delta *child = d->child; child != NULL && rc == LARDER_OK;
	     child = child->next)
		rc = decode(pass, w, child, out, d->plain_len, level + 1, err);
	return rc;
}

/* Deltas whose bases are in one segment. */
static int
decode_group(struct pack_pass *pass, struct check_worker *w, struct delta *const *group,
    size_t count, struct larder_err *err)
{
	struct larder_err why = { 0 };
	struct segment *held;
	unsigned depth = PACK_DEPTH_MAX;
	int rc, got;

	for (size_t i = 0; i < count; i++)
		if (group[i]->depth < depth)
			depth = group[i]->depth;
	got = take_segment(&held, pass, w, &group[0]->base, 0, depth, &why);
	if (got < 0 && !check_is_damage(got)) {
		if (err != NULL)
			*err = why;
		return got;
	}
	rc = LARDER_OK;
	for (size_t i = 0; i < count && rc == LARDER_OK; i++) {
		const struct delta *d = group[i];

		if (got < 0 || inside(&d->base, held->len, &why) < 0)
			rc = give_up(pass, d, why.message, err);
		else
			rc = decode(pass, w, d, held->data + d->base.chunk_at, d->base.chunk_len, 0,
			    err);
	}
	segcache_give(pass->bases, held);
	return rc;
}

static bool
same_segment(const struct delta *a, const struct delta *b)
{
	return a->base.pack == b->base.pack && a->base.segment_at == b->base.segment_at;
}

/* A task: groups, whole ones. */
struct slice {
	struct delta **deltas;
	size_t count;
};

static int
run_slice(void *context, void *arg, unsigned worker, struct larder_err *err)
{
	struct pack_pass *pass = context;
	const struct slice *slice = arg;
	struct check_worker *w = &pass->workers[worker];
	size_t at = 0;
	int rc = check_worker_open(w, err);

	while (at < slice->count && rc == LARDER_OK) {
		size_t end = at + 1;

		while (end < slice->count && same_segment(slice->deltas[at], slice->deltas[end]))
			end++;
		rc = decode_group(pass, w, slice->deltas + at, end - at, err);
		if (rc == LARDER_OK)
			rc = check_progress(pass->c, 0, 0, err);
		at = end;
	}
	if (rc == LARDER_OK)
		rc = check_flush(pass, w, err);
	w->batch_len = w->piece_count = 0;
	return rc;
}

/* ---- putting them in order ---- */

/* Which kept delta is at a place: open addressing, at most half full. */
struct by_place {
	struct delta **slots;
	size_t mask;
};

static size_t
slot_of(const struct by_place *map, uint32_t pack, uint32_t at)
{
	uint64_t h = ((uint64_t)pack << 32 | at) * UINT64_C(0x9e3779b97f4a7c15);
	size_t i = (size_t)(h >> 20) & map->mask;

	while (map->slots[i] != NULL && (map->slots[i]->pack != pack || map->slots[i]->at != at))
		i = (i + 1) & map->mask;
	return i;
}

static int
map_all(struct by_place *map, struct pack_pass *pass, size_t count, struct larder_err *err)
{
	size_t room = 16;

	while (room < 2 * count)
		room *= 2;
	map->slots = mem_zarray(room, sizeof(struct delta *));
	if (map->slots == NULL)
		return err_nomem(err);
	map->mask = room - 1;
	for (unsigned i = 0; i < pass->worker_count; i++)
		for (struct delta *d = pass->workers[i].deltas; d != NULL; d = d->next)
			map->slots[slot_of(map, d->pack, d->at)] = d;
	return LARDER_OK;
}

/* The children to their parents, in front of others; the rest into `top`. */
static size_t
link_all(struct delta **top, const struct by_place *map, struct pack_pass *pass)
{
	size_t count = 0;

	for (unsigned i = 0; i < pass->worker_count; i++) {
		struct delta *next;

		for (struct delta *d = pass->workers[i].deltas; d != NULL; d = next) {
			struct delta *parent
			    = map->slots[slot_of(map, d->base.pack, d->base.segment_at)];

			next = d->next;
			d->next = NULL;
			if (parent != NULL && parent->depth < d->depth && d->base.chunk_at == 0 &&
			    d->base.chunk_len == parent->plain_len) {
				d->next = parent->child;
				parent->child = d;
			} else {
				top[count++] = d;
			}
		}
		pass->workers[i].deltas = NULL;
	}
	return count;
}

static int
compare_bases(const void *a, const void *b)
{
	const struct index_place *x = &(*(struct delta *const *)a)->base;
	const struct index_place *y = &(*(struct delta *const *)b)->base;

	if (x->pack != y->pack)
		return x->pack < y->pack ? -1 : 1;
	if (x->segment_at != y->segment_at)
		return x->segment_at < y->segment_at ? -1 : 1;
	return (x->chunk_at > y->chunk_at) - (x->chunk_at < y->chunk_at);
}

static int
run_slices(struct pack_pass *pass, struct delta **top, size_t count, struct larder_err *err)
{
	size_t most = (size_t)pass->worker_count * SLICES, slice_count = 0, at = 0;
	struct slice *slices = mem_array(most + 1, sizeof *slices);
	int rc = LARDER_OK;

	if (slices == NULL)
		return err_nomem(err);
	while (at < count && rc == LARDER_OK) {
		size_t end = at + count / most + 1;

		if (end > count)
			end = count;
		while (end < count && same_segment(top[end - 1], top[end]))
			end++;
		slices[slice_count] = (struct slice){ top + at, end - at };
		rc = pool_submit(pass->pool, CHECK_RANK_RANGE, run_slice, &slices[slice_count++]);
		at = end;
	}
	if (rc < 0)
		pool_fail(pass->pool, rc, NULL);
	rc = pool_wait(pass->pool, err);
	mem_free(slices);
	return rc;
}

int
check_deltas(struct pack_pass *pass, struct larder_err *err)
{
	struct by_place map = { 0 };
	struct delta **top = NULL;
	size_t count = 0;
	int rc;

	for (unsigned i = 0; i < pass->worker_count; i++)
		count += pass->workers[i].delta_count;
	if (count == 0)
		return LARDER_OK;
	rc = map_all(&map, pass, count, err);
	if (rc < 0)
		goto out;
	top = mem_array(count, sizeof(struct delta *));
	if (top == NULL) {
		rc = err_nomem(err);
		goto out;
	}
	count = link_all(top, &map, pass);
	qsort(top, count, sizeof(struct delta *), compare_bases);
	rc = run_slices(pass, top, count, err);
out:
	mem_free(map.slots);
	mem_free(top);
	for (unsigned i = 0; i < pass->worker_count; i++)
		check_deltas_release(&pass->workers[i]);
	atomic_store(&pass->deltas_len, 0);
	return rc;
}
