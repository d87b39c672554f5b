#ifndef LARDER_INDEX_H
#define LARDER_INDEX_H

/*
 * The room's interface: what is where, in LMDB; a cache of what packs and
 * journal say (SCHEMA.md). Deleted, it is rebuilt.
 *
 * This room does not know that packs or journal segments exist: it knows
 * numbers, offsets and lengths as integers, and names as bytes. Values never
 * leave it as pointers into the map: they are decoded into the caller's structs.
 *
 * Every value (but those of sketches) carries a checksum; a wrong one is CORRUPT,
 * counted (TRACE_index_bad_values), and marks the index doubtful, which makes the
 * next open answer CORRUPT, so that the store rebuilds it. Every table keeps a
 * count and a multiset hash of its rows in the same transaction.
 *
 * What a damaged page *hides* shows only in a walk over all pages (index_open
 * after an unclean end, index_verify): a caller that gets NOT_FOUND for what must
 * be there marks the index doubtful and answers from packs and journal.
 *
 * NOT_FOUND is never an event: err stays as it was. After an error `out` holds
 * nothing to rely on.
 *
 * Threads: an index may be shared. One read handle belongs to one thread at a
 * time and should be short-lived: while it lives no page that its snapshot uses
 * can be used again, and the map cannot grow. One environment per process and
 * directory: a second index_open of the same directory shares it (counted). Nothing
 * survives a fork: in the child all calls are USAGE, closers do nothing, and
 * index_open works anew.
 */
#include "cas/base/buf.h"
#include "cas/base/id.h"
#include "cas/types.h"

struct index;
struct index_read;
struct index_write;

struct index_options {
	int dir_fd; /* the store's root, or another directory for --index-dir; lent for the call */
	const char *dir;   /* "index" */
	struct id16 store; /* an index of another store is CORRUPT */
	bool create;       /* make it when absent; else NOT_FOUND */
	bool scratch;      /* for reindex: NOSYNC until index_sync */
};

/*
 * NOT_FOUND: absent and !create. CORRUPT: damaged, cut short, of another store,
 * of another schema version, or marked doubtful: must be rebuilt (the caller
 * removes the folder or builds a new one beside it and swaps). REFUSED: network
 * file system. LIMIT: 64 different ones are open. Whoever opens it first reads the
 * meta pages by pread before LMDB sees the file, and walks all pages and rows
 * (some 0.1 s per million chunks, 0.5 s from a cold disk) when the file is not
 * what the last clean end in this boot left (session.h); others wait for that.
 */
LARDER_MUST_USE int index_open(
    struct index **out, const struct index_options *options, struct larder_err *err);
/* Cannot fail; marks a clean end when no write failed. NULL is fine. */
void index_close(struct index *index);
/* All pages and meta durable. For scratch indexes before the swap. */
LARDER_MUST_USE int index_sync(struct index *index, struct larder_err *err);
/* The next open answers CORRUPT, in every process. */
void index_mark_doubtful(struct index *index);
/* Did anybody, in any process, mark it? */
bool index_is_doubtful(struct index *index);
/*
 * For a program's SIGSEGV/SIGBUS handler: true when `address` lies in the map of
 * an open index, or this thread is inside LMDB (a damaged page can lead it
 * anywhere, and its assertions come as SIGSEGV); then the index was marked
 * doubtful, and the program ends. Async-signal-safe.
 */
bool index_fault(const void *address);

/* ---- transactions ---- */

LARDER_MUST_USE int index_read_begin(
    struct index_read **out, struct index *index, struct larder_err *err);
/*
 * Sees what was committed meanwhile; drops the old snapshot. On error the handle
 * is only good for renewing again, or ending.
 */
LARDER_MUST_USE int index_read_renew(struct index_read *read, struct larder_err *err);
void index_read_end(struct index_read *read); /* NULL is fine */

/*
 * Run `fn` in one write transaction and commit it. Waits for the write lock.
 * `fn` may be run again from the start when the map had to grow, so it only
 * writes through `write`. Its negative status aborts; so does a failed write that
 * it kept to itself. At most INDEX_DIRTY_PAGES_MAX pages change in one transaction
 * (else LIMIT): callers keep to some ten thousand rows a call. Any failed commit or
 * sync poisons this process' environment: later writes return the first error
 * until its last handle was closed and it is opened again; reading goes on.
 * BUSY: the map is full, and this process has been reading for 5 s. USAGE: an
 * update inside an update.
 */
typedef int (*index_write_fn)(void *context, struct index_write *write, struct larder_err *err);
LARDER_MUST_USE int index_update(
    struct index *index, index_write_fn fn, void *context, struct larder_err *err);
/* A read view of the same transaction (sees its own changes); lent for the call of fn. */
struct index_read *index_write_view(struct index_write *write);

/* ---- chunks.c: id -> place ---- */

struct index_place {
	uint32_t pack; /* number, see packs */
	uint32_t segment_at;
	uint32_t chunk_at;
	uint32_t chunk_len;
	uint8_t depth;
	uint8_t type;
};
LARDER_MUST_USE int index_chunk_get(struct index_place *out, struct index_read *read,
    const struct larder_id *id, struct larder_err *err); /* NOT_FOUND is no event: err untouched */
/* 1 = written, 0 = there already (the old place stays). */
LARDER_MUST_USE int index_chunk_put(struct index_write *write, const struct larder_id *id,
    const struct index_place *place, struct larder_err *err);
/*
 * Append in rising id order into an empty table: for reindex, the fastest way (some
 * fifteen times). 1, or 0 for an id equal to the last: the first stays. USAGE: out of order.
 */
LARDER_MUST_USE int index_chunk_append(struct index_write *write, const struct larder_id *id,
    const struct index_place *place, struct larder_err *err);
/* Remove, only while it stands in this pack. NOT_FOUND otherwise. */
LARDER_MUST_USE int index_chunk_drop(
    struct index_write *write, const struct larder_id *id, uint32_t pack, struct larder_err *err);
/* In id order from `lowest` to `highest` (both included); fn's non-zero answer stops and is
 * returned. */
typedef int (*index_chunk_fn)(void *context, const struct larder_id *id,
    const struct index_place *place, struct larder_err *err);
LARDER_MUST_USE int index_chunk_each(struct index_read *read, const struct larder_id *lowest,
    const struct larder_id *highest, index_chunk_fn fn, void *context, struct larder_err *err);
/* The first id whose first 8 bytes (big-endian) are `prefix`: for sketches. */
LARDER_MUST_USE int index_chunk_by_prefix(struct larder_id *id, struct index_place *place,
    struct index_read *read, uint64_t prefix, struct larder_err *err);

/* ---- packs.c: number <-> id ---- */

struct index_pack {
	struct id16 id;
	uint64_t file_len;
	uint32_t chunk_count;
};
/* *number: the one it has, or a fresh one (1, 2, ...; never used again). */
LARDER_MUST_USE int index_pack_put(uint32_t *number, struct index_write *write,
    const struct index_pack *pack, struct larder_err *err);
LARDER_MUST_USE int index_pack_get(
    struct index_pack *out, struct index_read *read, uint32_t number, struct larder_err *err);
LARDER_MUST_USE int index_pack_find(
    uint32_t *number, struct index_read *read, const struct id16 *id, struct larder_err *err);
LARDER_MUST_USE int index_pack_drop(
    struct index_write *write, uint32_t number, struct larder_err *err);
typedef int (*index_pack_fn)(
    void *context, uint32_t number, const struct index_pack *pack, struct larder_err *err);
LARDER_MUST_USE int index_pack_each(struct index_read *read, index_pack_fn fn, void *context,
    struct larder_err *err); /* in number order */

/* ---- names.c: name -> versions ---- */

struct index_tag {
	const char *key, *value; /* NUL-terminated */
};

/* One version of a name. Strings are NUL-terminated. */
struct index_version {
	const char *name;
	uint64_t number;
	struct id16 gid;
	int64_t created_ns;
	int64_t ended_ns; /* 0: alive; else when it was forgotten (kept for --as-of) */
	uint8_t kind;     /* enum entry_version_kind, as a number */
	bool list;
	struct larder_id id;
	struct larder_id attrs;
	uint64_t bytes, new_bytes, stored_bytes, files;
	bool has_sha256;
	struct larder_id sha256;
	const struct index_tag *tags;
	size_t tag_count;
};
/* Holder of a decoded version: strings live in it until the next use or index_version_release.
 * Zeroed is fine. */
struct index_version_row {
	struct index_version version;
	struct buf storage;
};
void index_version_release(struct index_version_row *row);

/*
 * Insert or replace by (name, gid). number 0 asks for the next free one;
 * a number that another gid has gets the next free one too; *number is what it got.
 * A version that is there keeps its number, whatever is asked for. Numbers are not
 * given twice. USAGE: no name. LIMIT: NAME_LEN_MAX, TAGS_MAX, TAG_LEN_MAX, numbers used up.
 */
LARDER_MUST_USE int index_version_put(uint64_t *number, struct index_write *write,
    const struct index_version *version, struct larder_err *err);
/* Sets ended_ns of the version with this gid; 0: alive again. NOT_FOUND when there is none. */
LARDER_MUST_USE int index_version_end(struct index_write *write, const char *name,
    const struct id16 *gid, int64_t ended_ns, struct larder_err *err);
/*
 * number 0: the latest by (created_ns, gid). at_ns: as the store was then (created <= at <
 * ended), for a given number too: NOT_FOUND when it was not there then; INT64_MAX = now.
 */
LARDER_MUST_USE int index_version_get(struct index_version_row *out, struct index_read *read,
    const char *name, uint64_t number, int64_t at_ns, struct larder_err *err);
/*
 * Iterators hold no cursor between calls: they continue by key, so the read
 * handle may be renewed in between and a slow consumer blocks nobody.
 */
struct index_name_iter {
	struct buf last;    /* name given last; zeroed struct = from the start; buf_release() it */
	const char *prefix; /* NUL-terminated; lent; NULL = "" */
	int64_t at_ns;
};
/* The latest version of the next name in bytewise name order: 1, 0 at the end. */
LARDER_MUST_USE int index_name_next(struct index_version_row *out, struct index_name_iter *iter,
    struct index_read *read, struct larder_err *err);
/* The version of `name` with the greatest number below `below` (UINT64_MAX = from the newest): 1,
 * 0. Ended ones too. */
LARDER_MUST_USE int index_version_before(struct index_version_row *out, struct index_read *read,
    const char *name, uint64_t below, struct larder_err *err);

/* ---- seen.c, sketches.c: hints ---- */

/* Values up to 60 KiB; key is any 16 bytes. Losing rows costs time, not answers. */
LARDER_MUST_USE int index_seen_get(struct buf *out, struct index_read *read, const uint8_t key[16],
    struct larder_err *err); /* NOT_FOUND: err untouched; out is replaced */
LARDER_MUST_USE int index_seen_put(struct index_write *write, const uint8_t key[16],
    const void *data, size_t len, struct larder_err *err);
LARDER_MUST_USE int index_seen_clear(struct index_write *write, struct larder_err *err);

/* feature -> first 8 bytes of the id of the latest chunk that has it (index_chunk_by_prefix). */
LARDER_MUST_USE int index_sketch_get(
    uint64_t *id_prefix, struct index_read *read, uint64_t feature, struct larder_err *err);
LARDER_MUST_USE int index_sketch_put(
    struct index_write *write, uint64_t feature, uint64_t id_prefix, struct larder_err *err);

/* ---- position.c: how far each writer's journal is applied ---- */

struct index_position {
	struct id16 writer;
	uint64_t segment;  /* its first sequence */
	uint64_t offset;   /* end of the last applied entry in it */
	uint64_t sequence; /* of that entry */
	struct larder_id chain;
};
LARDER_MUST_USE int index_position_get(struct index_position *out, struct index_read *read,
    const struct id16 *writer, struct larder_err *err); /* NOT_FOUND: nothing applied */
LARDER_MUST_USE int index_position_put(
    struct index_write *write, const struct index_position *position, struct larder_err *err);
typedef int (*index_position_fn)(
    void *context, const struct index_position *position, struct larder_err *err);
LARDER_MUST_USE int index_position_each(
    struct index_read *read, index_position_fn fn, void *context, struct larder_err *err);

/* ---- figures and checks ---- */

struct index_counts {
	uint64_t chunks, packs, names, versions, seen,
	    sketches;   /* kept, not counted; names alive and ended */
	uint64_t bytes; /* of the file on disk */
};
LARDER_MUST_USE int index_counts_get(
    struct index_counts *out, struct index_read *read, struct larder_err *err);

/*
 * Everything: pages, every value's checksum, counts and multiset hashes of every
 * table. Each finding goes to `found` as one sentence; returns 0 when all is well,
 * else CORRUPT.
 */
typedef void (*index_found_fn)(void *context, const char *sentence);
LARDER_MUST_USE int index_verify(
    struct index *index, index_found_fn found, void *context, struct larder_err *err);

#endif
