#ifndef LARDER_CHECKPACK_H
#define LARDER_CHECKPACK_H

/*
 * What the workers of a check share while they go through the packs:
 * checkpack.c (tasks, directories), checksegment.c (decode, hash, compare),
 * checkdelta.c (deltas, each after what it is made against) and checkindex.c
 * (the index against the directories).
 */
#include "cas/base/pool.h"
#include "cas/base/sha256.h"
#include "cas/check.h"
#include "cas/segcache.h"
#include "pack/pack.h"

enum {
	CHECK_BATCH_LEN = 1024 * 1024, /* plain bytes that are hashed together */
	CHECK_BATCH_PIECES = 2048,
	CHECK_RANK_RANGE = 0, /* what is begun is ended first */
	CHECK_RANK_PACK = 1,
};

/* A chunk that is decoded and waits to be hashed. */
struct check_piece {
	const struct larder_id *id; /* what it should hash to; lent until it is hashed */
	struct larder_id digest;
	const struct id16 *pack;
	uint32_t segment_at;
	bool delta;
	struct larder_id base;
};

struct delta;
struct delta_block;

struct check_worker {
	struct pack_codec *codec;
	struct buf stored[PACK_DEPTH_MAX + 1]; /* one per step of a chain */
	struct buf plain[PACK_DEPTH_MAX + 1];  /* deltas that others are made against */
	uint8_t *batch; /* CHECK_BATCH_LEN + PACK_PLAIN_MAX */
	size_t batch_len;
	struct check_piece *pieces;
	struct sha256_job *jobs;
	size_t piece_count;

	/* deltas that were read and wait to be decoded */
	struct delta *deltas;
	size_t delta_count;
	struct delta_block *blocks;
};

struct range;

struct pack_pass {
	struct check *c;
	struct pool *pool;
	struct check_worker *workers;
	unsigned worker_count;
	struct segcache *bases;
	atomic_size_t deltas_len; /* memory of the deltas that wait, of all workers */
	struct range *ranges;     /* under the check's lock: those that were not run yet */
};

/* ---- checksegment.c ---- */

/* Makes what is needed at first use. A zeroed worker is closed. */
LARDER_MUST_USE int check_worker_open(struct check_worker *w, struct larder_err *err);
void check_worker_close(struct check_worker *w);
/* One segment of a pack that has `number` in the index (0: none). Flushes when there is enough. */
LARDER_MUST_USE int check_segment(struct pack_pass *pass, struct check_worker *w,
    const struct pack_directory *directory, uint32_t segment, uint32_t number,
    struct larder_err *err);
/* The piece's bytes are the next `len` behind batch_len. Flushes when there is enough. */
LARDER_MUST_USE int check_piece_add(struct pack_pass *pass, struct check_worker *w,
    const struct check_piece *piece, uint32_t len, struct larder_err *err);
/* Hash and compare what is gathered. */
LARDER_MUST_USE int check_flush(struct pack_pass *pass, struct check_worker *w,
    struct larder_err *err);
/* `why` follows the object's id in the sentence. */
LARDER_MUST_USE int check_bad_piece(struct check *c, const struct check_piece *piece,
    const char *why, struct larder_err *err);

/* ---- checkdelta.c ---- */

enum {
	/* waiting deltas are decoded when they take this much, */
	CHECK_DELTAS_LEN = 32 * 1024 * 1024,
	/* and no more than this waits: others are decoded at once, whatever it costs */
	CHECK_DELTAS_LEN_MAX = 64 * 1024 * 1024,
};

/* A delta that was read into stored[0]: kept for later, or decoded now. */
LARDER_MUST_USE int check_delta(struct pack_pass *pass, struct check_worker *w,
    const struct check_piece *piece, uint32_t number, const struct pack_segment *header,
    struct larder_err *err);
/* All that were kept. By the thread that made the pool, while nothing runs in it. */
LARDER_MUST_USE int check_deltas(struct pack_pass *pass, struct larder_err *err);
void check_deltas_release(struct check_worker *w);

/* ---- checkindex.c ---- */

/* Pages, values, and what it says about each pack. */
LARDER_MUST_USE int check_index(struct pack_pass *pass, struct larder_err *err);
/* Does the index say what the directory says? */
LARDER_MUST_USE int check_index_pack(struct check *c, const struct check_pack *pack,
    const struct pack_directory *directory, struct larder_err *err);
/* What was in packs that are lost is bad. */
LARDER_MUST_USE int check_index_lost(struct check *c, struct larder_err *err);

#endif
