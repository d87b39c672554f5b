/*
 * Id -> place -> segment, decoded once -> chunk, verified. See fetch.h.
 *
 * 1. Nothing is believed: the segment's checksum is the pack room's business,
 *    that a chunk's bytes hash to its id is checked here, for the chunk that is
 *    asked for and for every base on the way to it.
 * 2. A chain of deltas is read down to its end before any of it is decoded. The
 *    depths in the headers must fall with every step and start at PACK_DEPTH_MAX
 *    or less, so every chain ends.
 * 3. Transactions are as short as a look-up: none is open while a file is read,
 *    a frame decoded or another thread waited for.
 * 4. Who decodes a delta has set it aside, so no thread waits for one that waits.
 */
#include "cas/fetch.h"

#include <string.h>

#include "cas/base/err.h"
#include "cas/base/id.h"
#include "cas/base/limits.h"
#include "cas/base/mem.h"
#include "cas/base/sha256.h"
#include "cas/base/trace.h"
#include "cas/segcache.h"
#include "index/index.h"
#include "pack/pack.h"

enum {
	PACK_IDS_KEPT = 64, /* numbers of packs that a reader remembers the ids of */
	STORED_MAX = 2 * PACK_PLAIN_MAX
};

struct fetch {
	struct segcache *cache;
};

struct fetch_reader {
	struct larder_store *store;
	struct segcache *cache;
	struct pack_codec *codec;
	struct segment *lent; /* by fetch_segment */
	struct {
		uint32_t number;
		struct id16 id;
	} packs[PACK_IDS_KEPT];
	struct buf stored[PACK_DEPTH_MAX + 1]; /* one per step of a chain */
};

int
fetch_open(struct fetch **out, struct larder_store *store, struct larder_err *err)
{
	struct fetch *fetch = mem_zalloc(sizeof *fetch);
	int rc;

	(void)store;
	*out = NULL;
	if (fetch == NULL)
		return err_nomem(err);
	rc = segcache_open(&fetch->cache, FETCH_CACHE_BYTES, err);
	if (rc < 0)
		mem_free(fetch);
	else
		*out = fetch;
	return rc;
}

void
fetch_close(struct fetch *fetch)
{
	if (fetch == NULL)
		return;
	segcache_close(fetch->cache);
	mem_free(fetch);
}

int
fetch_reader_open(struct fetch_reader **out, struct larder_store *store, struct larder_err *err)
{
	struct fetch_reader *reader = mem_zalloc(sizeof *reader);
	int rc;

	*out = NULL;
	if (reader == NULL)
		return err_nomem(err);
	reader->store = store;
	reader->cache = store->fetch->cache;
	for (size_t i = 0; i <= PACK_DEPTH_MAX; i++)
		buf_init(&reader->stored[i], STORED_MAX);
	rc = pack_codec_open(&reader->codec, err);
	if (rc < 0)
		fetch_reader_close(reader);
	else
		*out = reader;
	return rc;
}

void
fetch_reader_close(struct fetch_reader *reader)
{
	if (reader == NULL)
		return;
	segcache_give(reader->cache, reader->lent);
	pack_codec_close(reader->codec);
	for (size_t i = 0; i <= PACK_DEPTH_MAX; i++)
		buf_release(&reader->stored[i]);
	mem_free(reader);
}

/* ---- places ---- */

int
fetch_places(struct index_place *out, struct fetch_reader *reader, const struct larder_id *ids,
    size_t count, struct larder_err *err)
{
	struct index_read *read;
	int rc;

	rc = index_read_begin(&read, reader->store->index, err);
	if (rc < 0)
		return rc;
	for (size_t i = 0; i < count && rc == LARDER_OK; i++) {
		rc = index_chunk_get(&out[i], read, &ids[i], err);
		if (rc == LARDER_ERR_NOT_FOUND) {
			memset(&out[i], 0, sizeof out[i]);
			rc = LARDER_OK;
		}
	}
	index_read_end(read);
	return rc;
}

int
fetch_place(struct index_place *out, struct fetch_reader *reader, const struct larder_id *id,
    struct larder_err *err)
{
	int rc = fetch_places(out, reader, id, 1, err);

	return rc == LARDER_OK && out->pack == 0 ? LARDER_ERR_NOT_FOUND : rc;
}

int
fetch_missing(struct fetch_reader *reader, const struct larder_id *id, struct larder_err *err)
{
	char hex[ID_HEX_LEN + 1];

	index_mark_doubtful(reader->store->index);
	id_to_hex(hex, id);
	err_set(err, LARDER_ERR_CORRUPT, "object %s is not in the store", hex);
	err_hint(err, "the index is rebuilt at the next call; then try larder check");
	return LARDER_ERR_CORRUPT;
}

/* Place of an object that something refers to. */
static int
place_of(struct index_place *out, struct fetch_reader *reader, const struct larder_id *id,
    struct larder_err *err)
{
	int rc = fetch_place(out, reader, id, err);

	return rc == LARDER_ERR_NOT_FOUND ? fetch_missing(reader, id, err) : rc;
}

/* Numbers of packs are never used again, so what is remembered stays right. */
static int
pack_id(struct id16 *out, struct fetch_reader *reader, uint32_t number, struct larder_err *err)
{
	size_t slot = number % PACK_IDS_KEPT;
	struct index_read *read;
	struct index_pack pack;
	int rc;

	if (number != 0 && reader->packs[slot].number == number) {
		*out = reader->packs[slot].id;
		return LARDER_OK;
	}
	rc = index_read_begin(&read, reader->store->index, err);
	if (rc < 0)
		return rc;
	rc = index_pack_get(&pack, read, number, err);
	index_read_end(read);
	if (rc == LARDER_ERR_NOT_FOUND) {
		index_mark_doubtful(reader->store->index);
		return err_set(
		    err, LARDER_ERR_CORRUPT, "the index has no pack of number %u", number);
	}
	if (rc < 0)
		return rc;
	reader->packs[slot].number = number;
	reader->packs[slot].id = *out = pack.id;
	return LARDER_OK;
}

/* ---- chunks of a segment ---- */

static int
wrong_chunk(struct fetch_reader *reader, const struct larder_id *id,
    const struct index_place *place, const char *what, struct larder_err *err)
{
	char hex[ID_HEX_LEN + 1], pack_hex[ID16_HEX_LEN + 1];
	struct id16 pack = { 0 };
	int rc = pack_id(&pack, reader, place->pack, err);

	if (rc < 0 && rc != LARDER_ERR_CORRUPT)
		return rc;
	index_mark_doubtful(reader->store->index);
	id_to_hex(hex, id);
	id16_to_hex(pack_hex, &pack);
	err_set(err, LARDER_ERR_CORRUPT, "object %s: pack %s: segment at %u: bytes %u to %u %s",
	    hex, pack_hex, place->segment_at, place->chunk_at, place->chunk_at + place->chunk_len,
	    what);
	err_hint(err, "try larder check --read");
	return LARDER_ERR_CORRUPT;
}

int
fetch_verify(struct fetch_reader *reader, const struct larder_id *id,
    const struct index_place *place, const struct larder_id *digest, struct larder_err *err)
{
	if (id_equal(id, digest))
		return LARDER_OK;
	return wrong_chunk(reader, id, place, "hash to something else", err);
}

static bool
inside(const struct segment *segment, const struct index_place *place)
{
	return place->chunk_at <= segment->len &&
	       place->chunk_len <= segment->len - place->chunk_at;
}

/* The chunk's bytes in its segment, verified: lent as long as the segment is held. */
static int
chunk_in(const uint8_t **out, struct fetch_reader *reader, const struct segment *segment,
    const struct larder_id *id, const struct index_place *place, struct larder_err *err)
{
	struct larder_id digest;
	int rc = LARDER_OK;

	if (!inside(segment, place))
		return wrong_chunk(reader, id, place, "are not in it", err);
	*out = segment->data + place->chunk_at;
	if (!segment->known || place->chunk_len != segment->len || !id_equal(&segment->id, id)) {
		sha256(&digest, *out, place->chunk_len);
		rc = fetch_verify(reader, id, place, &digest, err);
	}
	return rc;
}

/* ---- segments ---- */

/* A chain of deltas, the one that is wanted first; each is set aside until its base is there. */
struct chain {
	struct {
		struct segment *segment;
		struct pack_segment header;
		struct index_place base;
	} step[PACK_DEPTH_MAX + 1];
	unsigned count;
	struct segment *end; /* held: the base of the last step, or what was wanted */
};

static int
read_step(struct chain *chain, struct fetch_reader *reader, struct segment *segment,
    struct larder_err *err)
{
	struct pack_segment *header = &chain->step[chain->count].header;
	struct id16 pack;
	int rc;

	rc = pack_id(&pack, reader, segment->pack, err);
	if (rc == LARDER_OK)
		rc = pack_segment_read(header, &reader->stored[chain->count], reader->store->packs,
		    &pack, segment->at, 0, err);
	if (rc == LARDER_ERR_NOT_FOUND) { /* not for the caller: it did not ask for a pack */
		rc = LARDER_ERR_CORRUPT;
		if (err != NULL)
			err->status = LARDER_ERR_CORRUPT;
		err_hint(err, "try larder check");
	}
	if (rc == LARDER_OK && chain->count > 0 &&
	    header->depth >= chain->step[chain->count - 1].header.depth)
		rc =
		    err_set(err, LARDER_ERR_CORRUPT, "a base of depth %u under a delta of depth %u",
			header->depth, chain->step[chain->count - 1].header.depth);
	return rc;
}

static int
decode_step(const struct chain *chain, unsigned i, struct fetch_reader *reader,
    struct segment *segment, const uint8_t *base, uint32_t base_len, struct larder_err *err)
{
	const struct pack_segment *header = &chain->step[i].header;
	struct buf *stored = &reader->stored[i];
	char hex[ID16_HEX_LEN + 1];
	struct id16 pack;
	int rc;

	if (header->codec == PACK_CODEC_STORED && stored->len == header->plain_len) {
		segcache_adopt(segment, stored->data, header->plain_len); /* what a copy would be */
		memset(stored, 0, sizeof *stored);
		buf_init(stored, STORED_MAX);
		return LARDER_OK;
	}
	rc = segcache_room(segment, header->plain_len, err);
	if (rc < 0)
		return rc;
	rc = pack_decode(segment->data, reader->codec, header, stored->data, base, base_len, err);
	trace_add(TRACE_segments_decoded, 1);
	if (rc == LARDER_ERR_CORRUPT && pack_id(&pack, reader, segment->pack, NULL) == LARDER_OK) {
		id16_to_hex(hex, &pack);
		err_prefix(err, "pack %s: segment at %u", hex, segment->at);
	}
	return rc;
}

/* Down: until a segment that is decoded already, or needs no base. */
static int
read_chain(struct chain *chain, struct fetch_reader *reader, uint32_t pack, uint32_t at,
    struct larder_err *err)
{
	for (;;) {
		struct pack_segment *header = &chain->step[chain->count].header;
		struct segment *segment;
		int rc = segcache_take(&segment, reader->cache, pack, at, err);

		if (rc == 1) {
			trace_add(TRACE_segments_cached, 1);
			chain->end = segment;
			return LARDER_OK;
		}
		if (rc < 0)
			return rc;
		rc = read_step(chain, reader, segment, err);
		if (rc == LARDER_OK && header->codec != PACK_CODEC_ZSTD_BASE) {
			rc = decode_step(chain, chain->count, reader, segment, NULL, 0, err);
			if (rc == LARDER_OK) {
				segcache_ready(reader->cache, segment);
				chain->end = segment;
				return LARDER_OK;
			}
		}
		if (rc < 0) {
			segcache_drop(reader->cache, segment);
			return rc;
		}
		segcache_aside(reader->cache, segment);
		chain->step[chain->count].segment = segment;
		rc = place_of(&chain->step[chain->count].base, reader, &header->base, err);
		if (rc < 0) {
			err_prefix(err, "base of a delta");
			chain->count++; /* to be dropped with the others */
			return rc;
		}
		pack = chain->step[chain->count].base.pack;
		at = chain->step[chain->count].base.segment_at;
		chain->count++;
	}
}

/* Up again: each delta on the one below it, which is verified first. */
static int
decode_chain(struct chain *chain, struct fetch_reader *reader, struct larder_err *err)
{
	while (chain->count > 0) {
		unsigned i = chain->count - 1;
		struct segment *segment = chain->step[i].segment;
		const struct larder_id *base_id = &chain->step[i].header.base;
		const struct index_place *place = &chain->step[i].base;
		const uint8_t *base = NULL;
		int rc;

		rc = chunk_in(&base, reader, chain->end, base_id, place, err);
		if (rc == LARDER_OK)
			rc = decode_step(chain, i, reader, segment, base, place->chunk_len, err);
		if (rc < 0)
			return rc;
		if (i > 0) { /* a base itself: verified here, once for all who come */
			const struct larder_id *id = &chain->step[i - 1].header.base;

			rc = chunk_in(&base, reader, segment, id, &chain->step[i - 1].base, err);
			if (rc < 0)
				return rc;
			segment->known = segment->len == chain->step[i - 1].base.chunk_len;
			segment->id = *id;
		}
		chain->count--;
		segcache_give(reader->cache, chain->end);
		chain->end = segment;
		segcache_ready(reader->cache, segment);
	}
	return LARDER_OK;
}

/* *out is held by the caller. */
static int
take_segment(struct segment **out, struct fetch_reader *reader, uint32_t pack, uint32_t at,
    struct larder_err *err)
{
	struct chain chain;
	int rc;

	chain.count = 0;
	chain.end = NULL;
	rc = read_chain(&chain, reader, pack, at, err);
	if (rc == LARDER_OK)
		rc = decode_chain(&chain, reader, err);
	if (rc == LARDER_OK) {
		*out = chain.end;
		return LARDER_OK;
	}
	while (chain.count > 0)
		segcache_drop(reader->cache, chain.step[--chain.count].segment);
	segcache_give(reader->cache, chain.end);
	return rc;
}

int
fetch_segment(const uint8_t **plain, uint32_t *plain_len, struct fetch_reader *reader,
    uint32_t pack, uint32_t segment_at, struct larder_err *err)
{
	int rc;

	segcache_give(reader->cache, reader->lent);
	reader->lent = NULL;
	rc = take_segment(&reader->lent, reader, pack, segment_at, err);
	if (rc < 0)
		return rc;
	*plain = reader->lent->data;
	*plain_len = reader->lent->len;
	return LARDER_OK;
}

int
fetch_chunk(struct buf *out, struct fetch_reader *reader, const struct larder_id *id,
    struct larder_err *err)
{
	char hex[ID_HEX_LEN + 1];
	struct segment *segment;
	struct index_place place;
	const uint8_t *data;
	int rc;

	rc = place_of(&place, reader, id, err);
	if (rc < 0)
		return rc;
	rc = take_segment(&segment, reader, place.pack, place.segment_at, err);
	if (rc < 0) {
		id_to_hex(hex, id);
		err_prefix(err, "object %s", hex);
		return rc;
	}
	rc = chunk_in(&data, reader, segment, id, &place, err);
	if (rc == LARDER_OK) {
		rc = buf_append(out, data, place.chunk_len);
		if (rc < 0)
			rc = buf_err(out, rc, err);
	}
	segcache_give(reader->cache, segment);
	return rc;
}
