/*
 * Packs: against their checksums, against the hashes in their directories, and
 * the index against both. See check.h.
 *
 *   round 1   the index: pages and values (index_verify); its chunks in id order,
 *             which gives each pack a count and a sum of hashes of places
 *   round 2   the packs, in the order in which they were written: the directory,
 *             which gives the same count and sum if the index is right; with
 *             `read` its segments, some MiB a task
 *
 * 1. Nothing is looked up chunk by chunk: only where a pack's sums differ (the
 *    index has a chunk of it elsewhere, or is wrong) is each of its chunks asked for.
 * 2. Chunks are gathered until there are enough to be hashed side by side, and
 *    little enough to be in the processor's cache still.
 * 3. The base of a delta is taken as it is: if it is wrong, the delta does not
 *    hash to its id either, and the base is somebody else's chunk to check. So no
 *    base is hashed twice. Which of the two is to blame is settled at the end.
 */
#include <stdio.h>
#include <string.h>

#include "cas/base/err.h"
#include "cas/base/id.h"
#include "cas/base/limits.h"
#include "cas/base/mem.h"
#include "cas/base/pool.h"
#include "cas/base/random.h"
#include "cas/base/sha256.h"
#include "cas/base/trace.h"
#include "cas/check.h"
#include "cas/dirwalk.h"
#include "cas/segcache.h"

enum {
	BATCH_LEN = 1024 * 1024, /* plain bytes hashed together */
	BATCH_PIECES = 2048,
	RANGE_LEN = 4 * 1024 * 1024, /* bytes of a pack that one task reads */
	BASES_LEN = 48 * 1024 * 1024, /* decoded segments kept for deltas */
	INDEX_RANGES = 64,
	RANK_RANGE = 0,
	RANK_PACK = 1,
};

/* A chunk that is decoded and waits to be hashed. */
struct piece {
	const struct larder_id *id; /* in the directory */
	struct larder_id digest;
	uint32_t segment_at;
	bool delta;
	struct larder_id base;
};

struct worker {
	struct pack_codec *codec;
	struct buf stored[PACK_DEPTH_MAX + 1]; /* one per step of a chain */
	uint8_t *batch; /* BATCH_LEN + PACK_PLAIN_MAX */
	size_t batch_len;
	struct piece *pieces;
	struct sha256_job *jobs;
	size_t piece_count;
};

struct pack_pass {
	struct check *c;
	struct pool *pool;
	struct worker *workers;
	unsigned worker_count;
	struct segcache *bases;
	struct range *ranges; /* under the check's lock: those that were not run yet */
};

/* A directory that several tasks share. */
struct shared {
	struct pack_directory directory;
	atomic_uint holders;
};

struct range {
	struct range *next, **link; /* where the one before points to us */
	struct shared *shared;
	uint32_t first, end; /* segments */
	uint64_t bytes;
};

/* ---- the index in id order ---- */

static uint64_t
place_hash(const struct larder_id *id, uint32_t segment_at, uint32_t chunk_at, uint32_t chunk_len,
    unsigned depth, unsigned type)
{
	uint64_t h = 0;

	for (size_t i = 0; i < LARDER_ID_LEN; i += 8) {
		uint64_t word;

		memcpy(&word, id->bytes + i, 8);
		h = walk_mix(h, word);
	}
	h = walk_mix(h, (uint64_t)segment_at << 32 | chunk_at);
	return walk_mix(h, (uint64_t)chunk_len << 32 | depth << 8 | type);
}

static int
sum_row(void *context, const struct larder_id *id, const struct index_place *place,
    struct larder_err *err)
{
	struct check *c = context;
	struct check_pack *pack;

	(void)err;
	if (place->pack >= c->by_number_count || c->by_number[place->pack] == SIZE_MAX)
		return 0; /* committed after we began */
	pack = &c->packs[c->by_number[place->pack]];
	atomic_fetch_add_explicit(&pack->rows, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&pack->sum,
	    place_hash(id, place->segment_at, place->chunk_at, place->chunk_len, place->depth,
		place->type),
	    memory_order_relaxed);
	return 0;
}

/* One of INDEX_RANGES parts of the id space, each in a transaction of its own. */
static int
each_chunk(struct check *c, size_t part, index_chunk_fn fn, struct larder_err *err)
{
	struct larder_id lowest, highest;
	struct larder_err why = { 0 };
	struct index_read *read = NULL;
	int rc;

	memset(&lowest, 0, sizeof lowest);
	memset(&highest, 0xff, sizeof highest);
	lowest.bytes[0] = (uint8_t)(part * (256 / INDEX_RANGES));
	highest.bytes[0] = (uint8_t)(lowest.bytes[0] + 256 / INDEX_RANGES - 1);
	rc = index_read_begin(&read, c->store->index, &why);
	if (rc == LARDER_OK)
		rc = index_chunk_each(read, &lowest, &highest, fn, c, &why);
	index_read_end(read);
	return rc < 0 ? check_index_failed(c, rc, &why, err) : LARDER_OK;
}

static int
sum_part(void *context, void *arg, unsigned worker, struct larder_err *err)
{
	struct pack_pass *pass = context;
	size_t part = *(const size_t *)arg;
	int rc;

	(void)worker;
	rc = each_chunk(pass->c, part, sum_row, err);
	return rc < 0 ? rc : check_progress(pass->c, 0, 0, err);
}

static void
found_in_index(void *context, const char *sentence)
{
	struct check *c = context;
	int rc = check_damage(c, NULL, NULL, "index: %s", sentence);

	(void)rc; /* without memory for the line the verdict of index_verify still counts */
	atomic_store(&c->index_told, true);
}

static int
verify_index(void *context, void *arg, unsigned worker, struct larder_err *err)
{
	struct pack_pass *pass = context;
	struct larder_err why = { 0 };
	int rc;

	(void)arg;
	(void)worker;
	rc = index_verify(pass->c->store->index, found_in_index, pass->c, &why);
	return rc < 0 ? check_index_failed(pass->c, rc, &why, err) : LARDER_OK;
}

static int
map_numbers(struct check *c, struct larder_err *err)
{
	uint32_t highest = 0;

	for (size_t i = 0; i < c->pack_count; i++)
		if (c->packs[i].number > highest)
			highest = c->packs[i].number;
	c->by_number_count = (size_t)highest + 1;
	c->by_number = mem_array(c->by_number_count, sizeof *c->by_number);
	if (c->by_number == NULL)
		return err_nomem(err);
	for (size_t i = 0; i < c->by_number_count; i++)
		c->by_number[i] = SIZE_MAX;
	for (size_t i = 0; i < c->pack_count; i++)
		if (c->packs[i].number != 0)
			c->by_number[c->packs[i].number] = i;
	return LARDER_OK;
}

static int
sum_index(struct pack_pass *pass, struct larder_err *err)
{
	size_t parts[INDEX_RANGES];
	int rc;

	rc = pool_submit(pass->pool, RANK_RANGE, verify_index, NULL);
	for (size_t i = 0; i < INDEX_RANGES && rc == LARDER_OK; i++) {
		parts[i] = i;
		rc = pool_submit(pass->pool, RANK_RANGE, sum_part, &parts[i]);
	}
	if (rc < 0)
		pool_fail(pass->pool, rc, NULL);
	return pool_wait(pass->pool, err);
}

/* ---- a directory against the index ---- */

static int
look_up(struct index_place *out, struct check *c, const struct larder_id *id,
    struct larder_err *err)
{
	struct larder_err why = { 0 };
	struct index_read *read = NULL;
	int rc;

	rc = index_read_begin(&read, c->store->index, &why);
	if (rc == LARDER_OK)
		rc = index_chunk_get(out, read, id, &why);
	index_read_end(read);
	if (rc == LARDER_OK)
		return 1;
	if (rc == LARDER_ERR_NOT_FOUND)
		return 0;
	return check_index_failed(c, rc, &why, err);
}

/* The sums differ: each chunk by itself. */
static int
compare_each(struct check *c, const struct check_pack *pack,
    const struct pack_directory *directory, struct larder_err *err)
{
	char hex[ID16_HEX_LEN + 1], id_hex[ID_HEX_LEN + 1];
	uint64_t sum = 0, missing = 0;
	struct larder_id first = { { 0 } };
	uint32_t segment = 0;
	int rc = LARDER_OK;

	for (uint32_t i = 0; i < directory->chunk_count; i++) {
		const struct larder_id *id = &directory->ids[i];
		struct index_place in_index;
		struct pack_place place;

		rc = look_up(&in_index, c, id, err);
		if (rc < 0)
			return rc;
		pack_directory_place(&place, directory, i, &segment);
		if (rc == 0 && missing++ == 0)
			first = *id;
		if (rc == 1 && in_index.pack == pack->number &&
		    in_index.segment_at == place.segment_at &&
		    in_index.chunk_at == place.chunk_at && in_index.chunk_len == place.chunk_len)
			sum += place_hash(id, in_index.segment_at, in_index.chunk_at,
			    in_index.chunk_len, in_index.depth, in_index.type);
	}
	id16_to_hex(hex, &pack->id);
	if (missing > 0) {
		index_mark_doubtful(c->store->index);
		id_to_hex(id_hex, &first);
		rc = check_damage(c, NULL, err,
		    "index: %llu chunks of pack %s are not in it, the first is %s",
		    (unsigned long long)missing, hex, id_hex);
	} else if (sum != atomic_load(&pack->sum)) {
		index_mark_doubtful(c->store->index);
		rc = check_damage(
		    c, NULL, err, "index: has chunks at places in pack %s where they are not", hex);
	} else {
		rc = LARDER_OK;
	}
	return rc;
}

static int
compare_index(struct check *c, const struct check_pack *pack,
    const struct pack_directory *directory, struct larder_err *err)
{
	struct pack_place place;
	uint32_t segment = 0;
	uint64_t sum = 0;

	if (!pack->applied || c->index_told)
		return LARDER_OK;
	for (uint32_t i = 0; i < directory->chunk_count; i++) {
		pack_directory_place(&place, directory, i, &segment);
		sum += place_hash(&directory->ids[i], place.segment_at, place.chunk_at,
		    place.chunk_len, place.depth, place.type);
	}
	if (atomic_load(&pack->rows) == directory->chunk_count && atomic_load(&pack->sum) == sum)
		return LARDER_OK;
	return compare_each(c, pack, directory, err);
}

/* ---- bases of deltas ---- */

static int base_take(struct segment **held, const uint8_t **data, uint32_t *len,
    struct pack_pass *pass, struct worker *w, const struct larder_id *id, unsigned level,
    unsigned depth, struct larder_err *err);

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

/* Fills a segment that we are the loader of, down to its end; depths fall with each step. */
static int
base_load(struct segment *segment, struct pack_pass *pass, struct worker *w, unsigned level,
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
		    segment->at, 0, err);
	if (rc == LARDER_OK && header.depth >= depth)
		rc = err_set(err, LARDER_ERR_CORRUPT, "a base as deep as its delta");
	if (rc == LARDER_OK && header.codec == PACK_CODEC_ZSTD_BASE) {
		segcache_aside(pass->bases, segment);
		rc = base_take(&below, &base, &base_len, pass, w, &header.base, level + 1,
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
 * The plain bytes of a base, unverified: lent as long as *held is. `level`: which buffer is
 * free. `depth`: of the delta above, so level stays below PACK_DEPTH_MAX + 1.
 */
static int
base_take(struct segment **held, const uint8_t **data, uint32_t *len, struct pack_pass *pass,
    struct worker *w, const struct larder_id *id, unsigned level, unsigned depth,
    struct larder_err *err)
{
	struct index_read *read = NULL;
	struct index_place place;
	struct segment *segment;
	int rc;

	*held = NULL;
	rc = index_read_begin(&read, pass->c->store->index, err);
	if (rc == LARDER_OK)
		rc = index_chunk_get(&place, read, id, err);
	index_read_end(read);
	if (rc == LARDER_ERR_NOT_FOUND)
		return err_set(err, LARDER_ERR_CORRUPT, "its base is not in the store");
	if (rc < 0)
		return rc;
	rc = segcache_take(&segment, pass->bases, place.pack, place.segment_at, err);
	if (rc < 0)
		return rc;
	if (rc == 0) {
		rc = base_load(segment, pass, w, level, depth, err);
		if (rc < 0) {
			segcache_drop(pass->bases, segment);
			return rc;
		}
		segcache_ready(pass->bases, segment);
	}
	if (place.chunk_at > segment->len || place.chunk_len > segment->len - place.chunk_at) {
		segcache_give(pass->bases, segment);
		return err_set(err, LARDER_ERR_CORRUPT, "its base is not where the index says");
	}
	*held = segment;
	*data = segment->data + place.chunk_at;
	*len = place.chunk_len;
	return LARDER_OK;
}

/* ---- segments ---- */

static int
bad_segment(struct check *c, const struct pack_directory *directory,
    const struct pack_directory_segment *s, const char *why, struct larder_err *err)
{
	char hex[ID16_HEX_LEN + 1];
	uint64_t number;
	int rc;

	id16_to_hex(hex, &directory->id);
	if (strncmp(why, "pack ", 5) == 0) /* it says itself where it is */
		rc = check_damage(c, &number, err, "%s", why);
	else
		rc = check_damage(
		    c, &number, err, "pack %s: segment at %u: %s", hex, s->at, why);
	for (uint32_t i = 0; i < s->chunk_count && rc == LARDER_OK; i++)
		rc = check_bad(c, &directory->ids[s->chunk_first + i], number, err);
	return rc;
}

static int
bad_chunk(struct check *c, const struct pack_directory *directory, const struct piece *piece,
    const char *why, struct larder_err *err)
{
	char hex[ID16_HEX_LEN + 1], id_hex[ID_HEX_LEN + 1], what[400];
	uint64_t number;
	int rc;

	id16_to_hex(hex, &directory->id);
	id_to_hex(id_hex, piece->id);
	snprintf(what, sizeof what, "pack %s: segment at %u: object %s %s", hex,
	    piece->segment_at, id_hex, why);
	if (piece->delta)
		return check_orphan(c, piece->id, &piece->base, what, err);
	rc = check_damage(c, &number, err, "%s", what);
	return rc < 0 ? rc : check_bad(c, piece->id, number, err);
}

/* Hash what is gathered. */
static int
hash_batch(struct check *c, struct worker *w, const struct pack_directory *directory,
    struct larder_err *err)
{
	uint64_t bytes = 0;
	int rc = LARDER_OK;

	sha256_many(w->jobs, w->piece_count);
	for (size_t i = 0; i < w->piece_count && rc == LARDER_OK; i++)
		if (!id_equal(&w->pieces[i].digest, w->pieces[i].id))
			rc = bad_chunk(c, directory, &w->pieces[i],
			    "does not hash to what its bytes are named", err);
	for (size_t i = 0; i < w->piece_count; i++)
		bytes += w->jobs[i].len;
	pthread_mutex_lock(&c->lock);
	c->result.bytes += bytes;
	pthread_mutex_unlock(&c->lock);
	w->piece_count = 0;
	return rc;
}

/* The segment's chunks, decoded at the end of the batch, become pieces. */
static int
add_pieces(struct check *c, struct worker *w, const struct pack_directory *directory,
    const struct pack_directory_segment *s, const struct pack_segment *header,
    struct larder_err *err)
{
	size_t at = w->batch_len;
	int rc = LARDER_OK;

	w->batch_len += header->plain_len;
	for (uint32_t i = 0; i < s->chunk_count && rc == LARDER_OK; i++) {
		uint32_t chunk = s->chunk_first + i;
		struct piece *piece = &w->pieces[w->piece_count];

		piece->id = &directory->ids[chunk];
		piece->segment_at = s->at;
		piece->delta = header->codec == PACK_CODEC_ZSTD_BASE;
		if (piece->delta)
			piece->base = header->base;
		w->jobs[w->piece_count] = (struct sha256_job){ w->batch + at,
			directory->lengths[chunk], &piece->digest };
		at += directory->lengths[chunk];
		if (++w->piece_count == BATCH_PIECES)
			rc = hash_batch(c, w, directory, err); /* the bytes stay where they are */
	}
	return rc;
}

/* Does the header say what the directory says? */
static const char *
disagreement(const struct pack_directory *directory, const struct pack_directory_segment *s,
    const struct pack_segment *header)
{
	uint64_t plain_len = 0;

	for (uint32_t i = 0; i < s->chunk_count; i++)
		plain_len += directory->lengths[s->chunk_first + i];
	if (header->plain_len != plain_len)
		return "not as long as its chunks";
	if (header->store_len + PACK_SEGMENT_HEADER_LEN != s->len || header->depth != s->depth ||
	    header->type != (enum pack_type)s->type)
		return "not as the directory describes it";
	return NULL;
}

static int
decode_delta(struct pack_pass *pass, struct worker *w, const struct pack_directory *directory,
    const struct pack_directory_segment *s, const struct pack_segment *header,
    struct larder_err *err)
{
	struct piece piece = {
		.id = &directory->ids[s->chunk_first],
		.segment_at = s->at,
		.delta = true,
		.base = header->base,
	};
	struct larder_err why = { 0 };
	struct segment *held = NULL;
	const uint8_t *base;
	uint32_t base_len;
	int rc;

	rc = base_take(
	    &held, &base, &base_len, pass, w, &header->base, 1, header->depth, &why);
	if (rc == LARDER_OK)
		rc = pack_decode(w->batch + w->batch_len, w->codec, header, w->stored[0].data, base,
		    base_len, &why);
	segcache_give(pass->bases, held);
	if (rc == LARDER_OK)
		return add_pieces(pass->c, w, directory, s, header, err);
	if (check_is_damage(rc))
		return bad_chunk(pass->c, directory, &piece, why.message, err);
	if (err != NULL)
		*err = why;
	return rc;
}

static int
read_segment(struct pack_pass *pass, struct worker *w, const struct pack_directory *directory,
    const struct pack_directory_segment *s, struct larder_err *err)
{
	struct larder_err why = { 0 };
	struct pack_segment header;
	const char *differs;
	int rc;

	rc = pack_segment_read(&header, &w->stored[0], pass->c->files, &directory->id, s->at,
	    s->len, &why);
	if (rc == LARDER_OK) {
		differs = disagreement(directory, s, &header);
		if (differs != NULL)
			rc = err_set(&why, LARDER_ERR_CORRUPT, "%s", differs);
	}
	if (rc == LARDER_OK && header.codec == PACK_CODEC_ZSTD_BASE)
		return decode_delta(pass, w, directory, s, &header, err);
	if (rc == LARDER_OK)
		rc = pack_decode(w->batch + w->batch_len, w->codec, &header, w->stored[0].data,
		    NULL, 0, &why);
	if (rc == LARDER_OK)
		return add_pieces(pass->c, w, directory, s, &header, err);
	if (check_is_damage(rc))
		return bad_segment(pass->c, directory, s, why.message, err);
	if (err != NULL)
		*err = why;
	return rc;
}

static void
drop_shared(struct shared *shared)
{
	if (atomic_fetch_sub(&shared->holders, 1) != 1)
		return;
	pack_directory_release(&shared->directory);
	mem_free(shared);
}

static int
open_worker(struct worker *w, struct larder_err *err)
{
	int rc;

	if (w->batch != NULL)
		return LARDER_OK;
	rc = w->codec == NULL ? pack_codec_open(&w->codec, err) : LARDER_OK;
	if (rc < 0)
		return rc;
	for (size_t i = 0; i <= PACK_DEPTH_MAX; i++)
		buf_init(&w->stored[i], 2 * PACK_PLAIN_MAX);
	w->pieces = mem_array(BATCH_PIECES, sizeof *w->pieces);
	w->jobs = mem_array(BATCH_PIECES, sizeof *w->jobs);
	w->batch = mem_alloc(BATCH_LEN + PACK_PLAIN_MAX);
	return w->pieces == NULL || w->jobs == NULL || w->batch == NULL ? err_nomem(err)
									 : LARDER_OK;
}

static void
close_worker(struct worker *w)
{
	pack_codec_close(w->codec);
	for (size_t i = 0; i <= PACK_DEPTH_MAX; i++)
		buf_release(&w->stored[i]);
	mem_free(w->pieces);
	mem_free(w->jobs);
	mem_free(w->batch);
}

static int
read_range(struct pack_pass *pass, const struct shared *shared, uint32_t first, uint32_t end,
    unsigned worker, struct larder_err *err)
{
	const struct pack_directory *directory = &shared->directory;
	struct worker *w = &pass->workers[worker];
	int rc;

	rc = open_worker(w, err);
	for (uint32_t i = first; i < end && rc == LARDER_OK; i++) {
		rc = read_segment(pass, w, directory, &directory->segments[i], err);
		if (rc == LARDER_OK && w->batch_len >= BATCH_LEN) {
			rc = hash_batch(pass->c, w, directory, err);
			w->batch_len = 0;
		}
	}
	if (rc == LARDER_OK && w->piece_count > 0)
		rc = hash_batch(pass->c, w, directory, err);
	w->batch_len = w->piece_count = 0;
	return rc;
}

/* Takes the range out of the list and ends it. */
static void
drop_range(struct pack_pass *pass, struct range *range)
{
	pthread_mutex_lock(&pass->c->lock);
	*range->link = range->next;
	if (range->next != NULL)
		range->next->link = range->link;
	pthread_mutex_unlock(&pass->c->lock);
	drop_shared(range->shared);
	mem_free(range);
}

static int
run_range(void *context, void *arg, unsigned worker, struct larder_err *err)
{
	struct pack_pass *pass = context;
	struct range *range = arg;
	int rc;

	rc = read_range(pass, range->shared, range->first, range->end, worker, err);
	if (rc == LARDER_OK)
		rc = check_progress(pass->c, range->bytes, 0, err);
	drop_range(pass, range);
	return rc;
}

/* ---- packs ---- */

static int
submit_range(struct pack_pass *pass, struct shared *shared, uint32_t first, uint32_t end,
    uint64_t bytes, struct larder_err *err)
{
	struct range *range = mem_alloc(sizeof *range);

	if (range == NULL)
		return err_nomem(err);
	*range = (struct range){
		.link = &pass->ranges,
		.shared = shared,
		.first = first,
		.end = end,
		.bytes = bytes,
	};
	atomic_fetch_add(&shared->holders, 1);
	pthread_mutex_lock(&pass->c->lock);
	range->next = pass->ranges;
	if (range->next != NULL)
		range->next->link = &range->next;
	pass->ranges = range;
	pthread_mutex_unlock(&pass->c->lock);
	if (pool_submit(pass->pool, RANK_RANGE, run_range, range) < 0)
		return err_nomem(err); /* the list has it */
	return LARDER_OK;
}

static int
submit_ranges(struct pack_pass *pass, struct shared *shared, struct larder_err *err)
{
	const struct pack_directory *directory = &shared->directory;
	uint32_t first = 0;
	uint64_t bytes = 0;
	int rc = LARDER_OK;

	for (uint32_t i = 0; i < directory->segment_count && rc == LARDER_OK; i++) {
		bytes += directory->segments[i].len;
		if (bytes < RANGE_LEN && i + 1 < directory->segment_count)
			continue;
		rc = submit_range(pass, shared, first, i + 1, bytes, err);
		first = i + 1;
		bytes = 0;
	}
	return rc;
}

/* The pack as a whole cannot be read: what was in it is what the index had there. */
static int
lose_pack(struct check *c, struct check_pack *pack, const char *why, struct larder_err *err)
{
	char hex[ID16_HEX_LEN + 1];

	id16_to_hex(hex, &pack->id);
	pack->lost = true;
	if (strstr(why, hex) != NULL)
		return check_damage(c, &pack->damage, err, "%s", why);
	return check_damage(c, &pack->damage, err, "pack %s: %s", hex, why);
}

static int
check_directory(struct pack_pass *pass, struct check_pack *pack, struct shared *shared,
    struct larder_err *err)
{
	struct pack_directory *directory = &shared->directory;
	struct check *c = pass->c;
	struct larder_err why = { 0 };
	int rc;

	rc = pack_directory_read(directory, c->files, &pack->id, &why);
	if (rc == LARDER_OK && (directory->file_len != pack->file_len ||
				   directory->chunk_count != pack->chunk_count))
		rc = err_set(&why, LARDER_ERR_CORRUPT,
		    "%llu bytes and %u chunks, not the %llu and %u that were committed",
		    (unsigned long long)directory->file_len, directory->chunk_count,
		    (unsigned long long)pack->file_len, pack->chunk_count);
	if (rc < 0) {
		if (check_is_damage(rc))
			return lose_pack(c, pack, why.message, err);
		if (err != NULL)
			*err = why;
		return rc;
	}
	pthread_mutex_lock(&c->lock);
	c->result.segments += directory->segment_count;
	c->result.chunks += directory->chunk_count;
	pthread_mutex_unlock(&c->lock);
	return compare_index(c, pack, directory, err);
}

static int
run_pack(void *context, void *arg, unsigned worker, struct larder_err *err)
{
	struct pack_pass *pass = context;
	struct check_pack *pack = arg;
	struct shared *shared = mem_zalloc(sizeof *shared);
	uint64_t bytes = 0;
	int rc;

	if (shared == NULL)
		return err_nomem(err);
	atomic_store(&shared->holders, 1);
	rc = check_directory(pass, pack, shared, err);
	if (rc == LARDER_OK && pack->chosen && !pack->lost) {
		if (pack->file_len < 2 * RANGE_LEN) {
			rc = read_range(
			    pass, shared, 0, shared->directory.segment_count, worker, err);
			bytes = pack->file_len;
		} else {
			rc = submit_ranges(pass, shared, err);
		}
	}
	if (rc == LARDER_OK)
		rc = check_progress(pass->c, bytes, pack->chosen || !pass->c->options.read, err);
	drop_shared(shared);
	return rc;
}

static int
choose(struct check *c, struct larder_err *err)
{
	bool all = c->options.sample <= 0 || c->options.sample >= 100;
	size_t chosen = 0;

	if (!c->options.read || c->pack_count == 0)
		return LARDER_OK;
	for (size_t i = 0; i < c->pack_count; i++) {
		uint32_t dice = 0;
		int rc = all ? LARDER_OK : random_bytes(&dice, sizeof dice, err);

		if (rc < 0)
			return rc;
		c->packs[i].chosen = all || dice < c->options.sample / 100 * UINT32_MAX;
		chosen += c->packs[i].chosen;
	}
	if (chosen == 0) { /* a sample is at least one */
		uint32_t dice;
		int rc = random_bytes(&dice, sizeof dice, err);

		if (rc < 0)
			return rc;
		c->packs[dice % c->pack_count].chosen = true;
	}
	return LARDER_OK;
}

static int
read_packs(struct pack_pass *pass, struct larder_err *err)
{
	struct check *c = pass->c;
	int rc = choose(c, err);

	for (size_t i = 0; i < c->pack_count; i++) {
		if (!c->packs[i].chosen && c->options.read)
			continue;
		c->progress.files_total++;
		c->progress.bytes_total += c->options.read ? c->packs[i].file_len : 0;
	}
	for (size_t i = 0; i < c->pack_count && rc == LARDER_OK; i++)
		rc = pool_submit(pass->pool, RANK_PACK, run_pack, &c->packs[i]);
	if (rc < 0)
		pool_fail(pass->pool, rc, NULL);
	c->result.packs = c->pack_count;
	return pool_wait(pass->pool, err);
}

/* ---- packs that are lost ---- */

static int
take_lost(void *context, const struct larder_id *id, const struct index_place *place,
    struct larder_err *err)
{
	struct check *c = context;
	const struct check_pack *pack;

	if (place->pack >= c->by_number_count || c->by_number[place->pack] == SIZE_MAX)
		return 0;
	pack = &c->packs[c->by_number[place->pack]];
	return pack->lost ? check_bad(c, id, pack->damage, err) : 0;
}

static int
find_lost(struct check *c, struct larder_err *err)
{
	bool any = false;
	int rc = LARDER_OK;

	for (size_t i = 0; i < c->pack_count; i++)
		any = any || c->packs[i].lost;
	for (size_t part = 0; part < INDEX_RANGES && any && rc == LARDER_OK; part++)
		rc = each_chunk(c, part, take_lost, err);
	return rc;
}

/* ---- the passes ---- */

/* Ranges that are not run are in the list; nothing else is anybody's to free. */
static void
drop_task(void *context, void *arg)
{
	(void)context;
	(void)arg;
}

int
check_packs(struct check *c, struct larder_err *err)
{
	struct pack_pass pass = { .c = c };
	struct pool_options options = {
		.workers = c->store->threads,
		.order = { [RANK_RANGE] = POOL_FIFO, [RANK_PACK] = POOL_FIFO },
		.context = &pass,
		.drop = drop_task,
		.cancel = c->options.watch.cancel,
	};
	int rc;

	rc = map_numbers(c, err);
	if (rc == LARDER_OK)
		rc = segcache_open(&pass.bases, BASES_LEN, err);
	if (rc == LARDER_OK)
		rc = pool_open(&pass.pool, &options, err);
	if (rc < 0)
		goto out;
	pass.worker_count = pool_workers(pass.pool);
	pass.workers = mem_zarray(pass.worker_count, sizeof *pass.workers);
	if (pass.workers == NULL) {
		rc = err_nomem(err);
		goto out;
	}
	rc = sum_index(&pass, err);
	if (rc == LARDER_OK)
		rc = read_packs(&pass, err);
	if (rc == LARDER_OK)
		rc = find_lost(c, err);
out:
	pool_close(pass.pool);
	while (pass.ranges != NULL)
		drop_range(&pass, pass.ranges);
	for (unsigned i = 0; i < pass.worker_count && pass.workers != NULL; i++)
		close_worker(&pass.workers[i]);
	mem_free(pass.workers);
	segcache_close(pass.bases);
	return rc;
}

/* ---- garbage ---- */

static void
tell_garbage(struct check *c, const char *path, const char *message)
{
	struct larder_item item = { .path = path, .status = LARDER_OK, .message = message };

	c->options.watch.on_item(c->options.watch.context, &item);
}

static int
look_for_name(void *context, const struct id16 *id, struct larder_err *err)
{
	struct larder_id key = { { 0 } };
	char path[PACK_PATH_LEN];
	struct check *c = context;

	(void)err;
	memcpy(key.bytes, id->bytes, ID16_LEN);
	if (idset_find(&c->pack_ids, &key) != NULL)
		return 0;
	pack_path(path, id);
	tell_garbage(c, path, "garbage: no journal entry names this pack");
	return 0;
}

static void
take_odd(void *context, const char *path)
{
	tell_garbage(context, path, "garbage: not the name of a pack");
}

int
check_garbage(struct check *c, struct larder_err *err)
{
	struct larder_err why = { 0 };
	int rc;

	if (c->options.watch.on_item == NULL)
		return LARDER_OK;
	rc = pack_each(c->store->root_fd, look_for_name, take_odd, c, &why);
	if (rc == LARDER_OK)
		return rc;
	return check_is_damage(rc) ? check_damage(c, NULL, err, "packs: %s", why.message)
				   : err_set(err, (enum larder_status)rc, "%s", why.message);
}
