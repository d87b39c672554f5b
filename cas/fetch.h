#ifndef LARDER_FETCH_H
#define LARDER_FETCH_H

/*
 * The one read path: id -> place -> segment, decoded once -> chunk, verified.
 * Shared by threads: a bounded cache of decoded segments (FETCH_CACHE_BYTES).
 * What comes out was hashed again and equals its id; else CORRUPT with the id
 * and the place in the sentence.
 */
#include "cas/base/buf.h"
#include "cas/store.h"
#include "cas/types.h"

enum { FETCH_CACHE_BYTES = 32 * 1024 * 1024 };

struct fetch;
LARDER_MUST_USE int fetch_open(struct fetch **out, struct larder_store *store,
    struct larder_err *err);
void fetch_close(struct fetch *fetch);

/*
 * A reader: per-thread scratch (codec, buffers, a read handle that is renewed
 * per call and never held across calls). Not shareable by threads.
 */
struct fetch_reader;
LARDER_MUST_USE int fetch_reader_open(struct fetch_reader **out, struct larder_store *store,
    struct larder_err *err);
void fetch_reader_close(struct fetch_reader *reader);

/* Place of a chunk. NOT_FOUND when the index does not know it (err untouched). */
LARDER_MUST_USE int fetch_place(struct index_place *out, struct fetch_reader *reader,
    const struct larder_id *id, struct larder_err *err);
/* Places of many in one transaction; .pack is 0 for those that the index does not know. */
LARDER_MUST_USE int fetch_places(struct index_place *out, struct fetch_reader *reader,
    const struct larder_id *ids, size_t count, struct larder_err *err);

/*
 * The chunk's plain bytes, verified, appended to `out` (max bytes: CHUNK_MAX, or
 * PACK_PLAIN_MAX for trees and lists). NOT_FOUND becomes CORRUPT "is not in the
 * store": an object that something refers to must be there.
 */
LARDER_MUST_USE int fetch_chunk(struct buf *out, struct fetch_reader *reader,
    const struct larder_id *id, struct larder_err *err);

/*
 * A decoded segment, for callers that want many chunks of it (restore, check):
 * lent until the next fetch_segment with this reader. Bases below it were
 * verified; its own chunks are the caller's to verify (sha256_many over the
 * pieces it uses, then fetch_verify), after comparing their places with plain_len.
 */
LARDER_MUST_USE int fetch_segment(const uint8_t **plain, uint32_t *plain_len,
    struct fetch_reader *reader, uint32_t pack, uint32_t segment_at, struct larder_err *err);
/* OK when `digest` is what the bytes at this place should hash to, else CORRUPT. */
LARDER_MUST_USE int fetch_verify(struct fetch_reader *reader, const struct larder_id *id,
    const struct index_place *place, const struct larder_id *digest, struct larder_err *err);
/* CORRUPT: the index does not know an object that something refers to. */
LARDER_MUST_USE int fetch_missing(struct fetch_reader *reader, const struct larder_id *id,
    struct larder_err *err);

#endif
